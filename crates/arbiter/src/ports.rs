//! What the writer asks of its surroundings when it settles a batch.

use portcullis_protocol::Millis;

use crate::fact::{Fact, GateState};
use crate::settle::PolicyNow;

/// The surroundings of the ledger's writer. Asked once a batch, synchronously: an implementation answers at once
/// or says Unknown.
pub trait Ports: Send {
    /// Whether an operator has shut the gate.
    fn gate(&self) -> Fact<GateState>;

    /// The bundle in force, read again from where it lies.
    fn policy(&self, now: Millis) -> Fact<PolicyNow>;

    /// Whether this deployment has witnesses that cosign its checkpoints.
    fn witnesses(&self) -> Fact<bool> {
        Fact::Known(false)
    }
}
