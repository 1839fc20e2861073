//! Disks that fail, fill up, lie and are put back, under the real process: no disk here is a mock.
//!
//! What ran is told by coreutils' `tee`, which stands before the tool server. After each round everything in that
//! journal must have a PERMIT on the surviving disk whose receipt verifies with the log's public key alone, and no key
//! may have run twice. Each campaign prints one line with its seed and its counts; `PORTCULLIS_SEED` repeats its
//! choices, `PORTCULLIS_LONG=1` runs many more rounds.
//!
//! Mounting needs root, as CI has it; without it these tests fail and say so.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod abandoned;
mod activation;
mod clocks;
mod cuts;
mod errors;
mod facts;
mod flipped;
mod forgetful;
mod full;
mod judge;
mod kills;
mod mounts;
mod restored;
mod roots;
mod scene;
mod spooled;
mod strace;
mod synced;
mod witnesses;
mod wrapped;
