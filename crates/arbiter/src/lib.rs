//! Facts in, one decision out.
//!
//! The core of the arbiter is pure and synchronous: [`decide`] maps the facts of a request to a
//! [`Verdict`](portcullis_protocol::Verdict), examining preconditions in one fixed order and stopping at the
//! first that fails. A fact is [`Fact::Known`] or [`Fact::Unknown`]; there is no way to turn an Unknown into a
//! value, and every Unknown is SILENCE.
//!
//! What depends on the request and the bundle alone is prepared outside the ledger's writer ([`prepare`]). What
//! depends on state is settled inside its transaction ([`settle`]), so that log order is decision order.

mod brought;
mod decide;
mod fact;
mod facts;
mod idempotency;
mod identity;
mod limits;
mod listing;
mod mandate;
#[cfg(test)]
mod mandate_tests;
mod ports;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
#[expect(dead_code, reason = "the policy crate's tests use the rest")]
#[path = "../../policy/src/random_bundles_tests.rs"]
mod random_bundles;
mod replay;
mod settle;
mod shadow;
mod sources;
mod standing;
#[cfg(test)]
mod testing;

pub use decide::{Facts, decide};
pub use fact::{
    Approval, Clock, Deadline, Evidence, Fact, Freshness, GateState, Identity, KeyState, LimitState, Policy,
    Sources, State, SurfaceMatch, Validity, Witness,
};
pub use idempotency::{ConsumedKey, KeyStatus, Keys, StoredKey, key_of, key_state};
pub use limits::Room;
pub use listing::{
    Listed, ListingFault, ListingIntake, derive_listing, listing_record, listings_kept, prepare_listing,
    settle_listing,
};
pub use mandate::Mandate;
pub use ports::Ports;
pub use replay::{Replay, ReplayFault};
pub use settle::{Credential, Health, Intake, PolicyNow, Settled, prepare, prepare_informed, record, settle};
pub use shadow::{Occasion, Shadow, Unforeseen};
pub use standing::{
    AllLabels, Heard, Labelled, MOST_KEPT, MOST_OF_AGENT, NewestFacts, NoStanding, Standing,
    digest as standing_digest, labels_of, share_labels,
};
