//! Witnesses as real processes: what they make of a log, and what a log makes of them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod cosigned;
mod hostile;
mod protocol;
mod rollback;
mod rotation;
mod surfaces;
