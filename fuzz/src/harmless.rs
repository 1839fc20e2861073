//! Two modules of this name: what the gate lets pass, and what the command line shows.

#[path = "../../crates/gate/src/harmless.rs"]
#[expect(dead_code, reason = "the gate uses all of it")]
mod passing;
#[path = "../../crates/cli/src/harmless.rs"]
mod shown;

pub(crate) use passing::CANCELLED;
pub(crate) use shown::harmless;
