//! How gates of this kind have failed open, each as a test, on every entry that there is: MCP over stdio (`portcullis
//! mcp`), the HTTP API, the SDK in a program of its own, and `portcullis decide`.
//!
//! A test has the number of its incident in the name. What ran is told by the tool server's own journal, by what `tee`
//! recorded before it, and by the effect of the SDK's program; never by the gate.
//!
//! | # | not here, because |
//! |---|---|
//! | 6, 7, 8 | there are no approvals yet: nothing waits for a person, and nothing can be answered for one |
//! | 21 | there is no Envoy adapter yet |
//! | 26 | there are no hooks yet |
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
mod evidence;
mod identity;
mod paths;
mod policy;
mod scene;
