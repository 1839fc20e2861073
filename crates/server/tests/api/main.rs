//! The HTTP API as callers meet it: the real router behind a real socket, over a real ledger.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod agents;
mod bodies;
mod health;
mod identity;
mod keys;
mod late;
mod limits;
mod listing;
mod log;
mod orders;
mod routes;
mod simulated;
mod stop;
mod support;
