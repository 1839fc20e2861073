//! What the writer sees of itself: what changed since the last batch, and how it is.

use std::collections::BTreeMap;

use portcullis_arbiter::{Evidence, Fact, GateState, Health, Heard, Policy, PolicyNow};
use portcullis_protocol::{BundleDigest, Digest, Millis, ReasonCode};

use super::Writer;
use crate::command::Status;
use crate::health::{Surroundings, tripped};
use crate::scrub::Scrub;
use crate::store;

/// PERMITs that are ended in one batch because their outcome is overdue.
const MOST_OVERDUE: u32 = 256;

/// The bundle in force is another by the time it is described. Nothing is decided by one that is not on record as in force:
/// it is looked at again for the next batch.
pub(super) struct Unclear;
/// What decides: a bundle, and the root by whose keys it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deciding {
    pub(super) bundle: BundleDigest,
    root: Option<Digest>,
}

/// What came into force, and what a record says of it.
type CameIntoForce = (Deciding, BTreeMap<String, String>);

impl Writer {
    pub(super) fn health(&mut self) -> Health {
        let mut health = self.surroundings();
        if let Ok(opened) = &self.phase
            && let Some(code) = opened.pending
            && tripped(&health).is_none()
        {
            health.evidence = Fact::Known(Evidence::Tripped(code));
        }
        health
    }

    /// The health of everything but the first batch.
    pub(super) fn surroundings(&mut self) -> Health {
        if let Ok(opened) = &self.phase {
            self.ports.stands(&opened.succession);
        }
        let surroundings =
            Surroundings { config: &self.config, lock: &self.lock, ports: self.ports.as_ref() };
        let mut health =
            surroundings.health(&mut self.watch, &mut self.phase, self.signer.as_mut(), &mut self.vault);
        // Before anything was signed those outside are asked when the ledger is opened: then they must be asked again.
        let refuted = self.known.as_ref().and_then(|_| self.heads.refuted());
        if let (None, Some(code)) = (tripped(&health), refuted) {
            health.evidence = Fact::Known(Evidence::Tripped(code));
        }
        health
    }

    /// Whether the next batch need not wait for anybody.
    pub(super) fn has_more(&self) -> bool {
        self.entering || self.expiring || self.archives.are_waiting()
    }

    /// Has a bundle that comes into force archived, before there is a decision that would have to wait for it.
    pub(super) fn archive_in_force(&mut self, digest: Option<&BundleDigest>) {
        let Some(digest) = digest else { return };
        let is_archived = self.phase.as_ref().is_ok_and(|opened| opened.archived.contains(digest));
        if let (false, Some(archive)) = (is_archived, self.ports.archive(digest)) {
            self.archives.add(*digest, archive, None);
        }
    }

    /// The bundle that came into force since the last batch, or by another root, and what a record says of it.
    ///
    /// # Errors
    /// [`Unclear`].
    pub(super) fn changed_bundle(&self, health: &Health) -> Result<Option<CameIntoForce>, Unclear> {
        let now = match &health.policy {
            Fact::Known(PolicyNow { digest, root, policy: Policy::InForce(_) }) => {
                digest.map(|bundle| Deciding { bundle, root: *root }).filter(|now| self.bundle != Some(*now))
            }
            // One that is still compiled is to decide, and is not in force.
            Fact::Known(PolicyNow { policy: Policy::Refused(_), .. }) | Fact::Unknown => None,
        };
        let Some(now) = now else { return Ok(None) };
        let found = self.ports.in_force().ok_or(Unclear)?;
        let described = Deciding { bundle: found.bundle.digest, root: found.root.map(|root| root.digest) };
        if described == now { Ok(Some((now, found.detail()))) } else { Err(Unclear) }
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
            facts: opened.map_or_else(Heard::new, |opened| opened.standing.heard().clone()),
            erasing: opened.map(|opened| opened.erasing()),
        }
    }

    pub(super) fn overdue(&self, now: Millis) -> Vec<u64> {
        let Ok(opened) = &self.phase else { return Vec::new() };
        // If it cannot be read now it is read at the next tick; the permits stay open, and their keys consumed.
        store::overdue(&opened.store.connection, now, MOST_OVERDUE).unwrap_or_else(|_| Vec::new()) // tidy: allow nothing is decided by it
    }
}
