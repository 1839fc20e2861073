//! What the writer sees of itself: what changed since the last batch, and how it is.

use portcullis_arbiter::{Fact, GateState, Health};
use portcullis_protocol::{BundleDigest, Millis, ReasonCode};

use super::Writer;
use crate::command::Status;
use crate::health::tripped;
use crate::scrub::Scrub;
use crate::store;

impl Writer {
    pub(super) fn changed_bundle(&self, health: &Health) -> Option<BundleDigest> {
        match &health.policy {
            Fact::Known(policy) => policy.digest.filter(|digest| self.bundle != Some(*digest)),
            Fact::Unknown => None,
        }
    }

    /// What an operator has done since the last batch. Whether the gate is shut decides each call; this puts the
    /// lever's turns on record.
    pub(super) fn changed_gate(&self, health: &Health) -> Option<GateState> {
        match health.gate {
            Fact::Known(gate) if gate != self.gate => Some(gate),
            Fact::Known(_) | Fact::Unknown => None,
        }
    }

    pub(super) fn status(&self, health: &Health) -> Status {
        let opened = self.phase.as_ref().ok(); // tidy: allow the reason is in `tripped`
        let permits = opened.map(|opened| store::open_permits(&opened.store.connection));
        let unreadable = matches!(permits, Some(Err(_)));
        Status {
            tripped: tripped(health).or(unreadable.then_some(ReasonCode::StateUnreachable)),
            size: opened.map_or(0, |opened| opened.tree.size()),
            open_permits: permits.map_or(0, |permits| permits.map_or(0, |permits| permits)),
            syncs: self.syncs,
            batches: self.batches,
            last: opened.map_or(Millis(0), |opened| opened.last),
            scrub: opened.and_then(|opened| opened.scrub.as_ref()).map(Scrub::status),
            spool: self.spooling.status(),
        }
    }
}
