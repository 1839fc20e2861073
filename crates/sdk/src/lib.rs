//! What a Rust program links to be gated by Portcullis.
//!
//! An action runs by moving a [`Permit`] into it. A `Permit` comes only from [`Attempt::redeem`]: from a receipt
//! that verifies with a pinned key, for this very request and this very attempt, within its lifetime. It cannot
//! be made, copied or kept.
//!
//! ```
//! use portcullis_sdk::{Attempt, Authorizer, Permit, Refusal, TrustedLog, authorize};
//!
//! async fn charge(permit: Permit, cents: u32) -> Result<(), Refusal> {
//!     let running = permit.begin().map_err(|lapsed| lapsed.refusal)?;
//!     // … the effect, and then its outcome:
//!     let _report = running.finish(portcullis_protocol::Outcome::Ok, None);
//!     Ok(())
//! }
//!
//! async fn pay(arbiter: &dyn Authorizer, log: &TrustedLog, attempt: Attempt) -> Result<(), Refusal> {
//!     let deadline = std::time::Duration::from_secs(2);
//!     charge(authorize(arbiter, attempt, log, deadline).await?, 1250).await
//! }
//! ```

mod attempt;
mod authorizer;
mod client;
mod clock;
mod endpoint;
mod http;
mod permit;
mod refusal;
#[cfg(test)]
mod testing;

pub use attempt::{Attempt, TrustedLog, UntrustedLog, Witnessed};
pub use authorizer::{Authorizer, Call, authorize, run};
pub use client::{HttpClient, Token};
pub use clock::BootInstant;
pub use endpoint::{Authorities, Endpoint, InvalidAuthorities, InvalidEndpoint};
pub use http::{HttpAuthorizer, fetch, order};
pub use permit::{Lapsed, OutcomeReport, Permit, Running};
pub use refusal::{Blocked, ReceiptRef, Refusal, Unavailable, Unverifiable};

pub use portcullis_protocol as protocol;
