//! What the writer asks of its surroundings when it settles a batch.

use std::sync::Arc;

use portcullis_protocol::{BundleDigest, InForce, Millis, Snapshots, Succession};

use crate::fact::{Fact, GateState};
use crate::settle::PolicyNow;

/// The surroundings of the ledger's writer. Asked once a batch, synchronously: an implementation answers at once
/// or says Unknown.
pub trait Ports: Send {
    /// Whether an operator has shut the gate.
    fn gate(&self) -> Fact<GateState>;

    /// The bundle in force, read again from where it lies.
    fn policy(&self, now: Millis) -> Fact<PolicyNow>;

    /// The bundle in force, with what makes it known again later; `None` if there is none now. Nothing is decided by one
    /// that this does not tell of.
    fn in_force(&self) -> Option<InForce>;

    /// The archive of the bundle in force, if it has this digest: whoever replays a decision needs it.
    fn archive(&self, _digest: &BundleDigest) -> Option<Arc<[u8]>> {
        None
    }

    /// Told before each batch: what the log says of bundles that were in force. An older one is in force no more.
    fn stands(&self, _succession: &Succession) {}

    /// What the sources of facts say now that the bundle in force declares: looked at, and not read. Unknown if one of them
    /// says nothing, or something else than was gathered.
    fn sources(&self) -> Fact<Snapshots> {
        Fact::Known(Snapshots::new())
    }

    /// Whether this deployment has witnesses that cosign its checkpoints.
    fn witnesses(&self) -> Fact<bool> {
        Fact::Known(false)
    }
}
