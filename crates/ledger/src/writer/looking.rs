//! What the writer sees of itself: what changed since the last batch, and how it is.

use std::collections::BTreeMap;

use portcullis_arbiter::{Fact, GateState, Health};
use portcullis_protocol::{BundleDigest, Millis, ReasonCode};

use super::Writer;
use crate::command::Status;
use crate::health::tripped;
use crate::payloads;
use crate::scrub::Scrub;
use crate::store::{self, PermitRow};

/// How often it is looked whether payloads have expired, in boot-clock milliseconds.
const EXPIRY_EVERY: u64 = 60_000;
/// PERMITs that are ended in one batch because their outcome is overdue.
const MOST_OVERDUE: u32 = 256;

impl Writer {
    /// The bundle that came into force since the last batch, and what a record says of it. One that is another by the
    /// time it is looked at is looked at again for the next batch.
    pub(super) fn changed_bundle(&self, health: &Health) -> Option<(BundleDigest, BTreeMap<String, String>)> {
        let digest = match &health.policy {
            Fact::Known(policy) => policy.digest.filter(|digest| self.bundle != Some(*digest))?,
            Fact::Unknown => return None,
        };
        match self.ports.in_force() {
            Some(found) if found.bundle.digest == digest => Some((digest, found.detail())),
            Some(_) => None,
            // Nothing is known of it but what it is.
            None => Some((digest, BTreeMap::from([("digest".to_owned(), digest.to_string())]))),
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

    pub(super) fn overdue(&self, now: Millis) -> Vec<PermitRow> {
        let Ok(opened) = &self.phase else { return Vec::new() };
        // If it cannot be read now it is read at the next tick; the permits stay open, and their keys consumed.
        store::overdue(&opened.store.connection, now, MOST_OVERDUE).unwrap_or_else(|_| Vec::new()) // tidy: allow nothing is decided by it
    }

    /// Whether payloads are kept beyond their time. Looked at once a minute, and until none is left.
    pub(super) fn expired(&mut self, health: &Health) -> bool {
        let Ok(opened) = &self.phase else { return false };
        if self.unexpired.is_some_and(|looked| health.boot.saturating_sub(looked) < EXPIRY_EVERY) {
            return false;
        }
        // If it cannot be read now it is looked at again; nothing is decided by it.
        let expired = payloads::any_expired(&opened.store.connection, health.now).is_ok_and(|any| any);
        self.unexpired = (!expired).then_some(health.boot);
        expired
    }
}
