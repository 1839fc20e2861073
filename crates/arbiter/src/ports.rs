//! What the writer asks of its surroundings when it settles a batch.

use portcullis_protocol::{InForce, Millis, Succession};

use crate::fact::{Fact, GateState};
use crate::settle::PolicyNow;

/// The surroundings of the ledger's writer. Asked once a batch, synchronously: an implementation answers at once
/// or says Unknown.
pub trait Ports: Send {
    /// Whether an operator has shut the gate.
    fn gate(&self) -> Fact<GateState>;

    /// The bundle in force, read again from where it lies.
    fn policy(&self, now: Millis) -> Fact<PolicyNow>;

    /// The bundle in force, with what makes it known again later; `None` if there is none now.
    fn in_force(&self) -> Option<InForce> {
        None
    }

    /// Told before each batch: what the log says of bundles that were in force. An older one is in force no more.
    fn stands(&self, _succession: &Succession) {}

    /// Whether this deployment has witnesses that cosign its checkpoints.
    fn witnesses(&self) -> Fact<bool> {
        Fact::Known(false)
    }
}
