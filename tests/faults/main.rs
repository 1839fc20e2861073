//! Faults of the arbiter and of what it needs, one at a time, under a gate that is never restarted.
//!
//! The tool server is `@modelcontextprotocol/server-filesystem`; what reached it is what `tee` wrote down.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod campaign;
mod confined;
mod filled;
mod interlocks;
mod outcomes;
mod rotation;
mod signers;
mod spooled;
mod starts;
mod takeover;
mod tokens;
