//! What a Rust program links to be gated by Portcullis.
//!
//! An action runs by moving a [`Permit`] into it. A `Permit` comes only from [`Attempt::redeem`]: from a receipt
//! that verifies with a pinned key, for this very request and this very attempt, within its lifetime. It cannot
//! be made, copied or kept. It is spent only while every outcome of the program is on record, which is what
//! [`Outcomes`] sees to: one for each program and arbiter.
//!
//! ```
//! use portcullis_sdk::protocol::{AgentId, GateId, Outcome, request::Ask};
//! use portcullis_sdk::{Outcomes, Ran, Refusal, TrustedLog, run};
//!
//! async fn pay(
//!     outcomes: &Outcomes,
//!     log: &TrustedLog,
//!     me: (AgentId, GateId),
//!     charge: Ask,
//! ) -> Result<Ran<u32>, Refusal> {
//!     let deadline = std::time::Duration::from_secs(2);
//!     run(outcomes, log, me, charge, deadline, async |_running| {
//!         let cents = 1250; // … the effect, and then what became of it:
//!         (cents, Outcome::Ok, None)
//!     })
//!     .await
//! }
//! ```

mod attempt;
mod authorizer;
mod client;
mod clock;
mod endpoint;
mod http;
mod listing;
mod outcomes;
mod permit;
mod refusal;
mod simulation;
#[cfg(test)]
mod testing;

pub use attempt::{Attempt, GivenUp, TrustedLog, UntrustedLog, Witnessed};
pub use authorizer::{Authorizer, Call, Ran, authorize, run, run_attempt};
pub use client::{HttpClient, Received, Token, Unanswered};
pub use clock::BootInstant;
pub use endpoint::{Authorities, Endpoint, InvalidAuthorities, InvalidEndpoint};
pub use http::{HttpAuthorizer, fetch, order, prove};
pub use listing::{Listing, list};
pub use outcomes::Outcomes;
pub use permit::{Lapsed, OutcomeReport, Permit, Running};
pub use refusal::{Blocked, ReceiptRef, Refusal, Unavailable, Unverifiable};
pub use simulation::{Simulated, Simulation, simulate};

pub use portcullis_protocol as protocol;
