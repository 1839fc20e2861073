//! What was kept for its time, removed by the writer when nothing else waits.

use portcullis_arbiter::Health;

use super::Writer;
use crate::archive;
use crate::clock::Attempt;
use crate::payloads;

/// How often it is looked whether payloads have expired, in boot-clock milliseconds.
const EXPIRY_EVERY: u64 = 60_000;

impl Writer {
    /// Removes what was kept for its time, and says so: behind what callers wait for, and in a transaction of its own, so
    /// that its failure takes nothing of theirs with it. As long as calls come it rests in between.
    pub(super) fn expire(&mut self, health: &Health, idle: bool) {
        self.expiring = false;
        let rests = !idle && !self.removing.rest().is_zero();
        if rests || !self.expired(health) {
            return;
        }
        let size = |writer: &Self| writer.phase.as_ref().map_or(0, |opened| opened.tree.size());
        let (attempt, before) = (Attempt::begin(), size(self));
        self.transact(health, |batch| batch.expire());
        self.removing.ended(&attempt);
        self.expiring = size(self) > before && self.expired(health);
    }

    /// Whether payloads are kept beyond their time. Looked at once a minute, and until none is left.
    fn expired(&mut self, health: &Health) -> bool {
        let Ok(opened) = &self.phase else { return false };
        if self.unexpired.is_some_and(|looked| health.boot.saturating_sub(looked) < EXPIRY_EVERY) {
            return false;
        }
        // If it cannot be read now it is looked at again; nothing is decided by it.
        let connection = &opened.store.connection;
        let expired =
            [payloads::any_expired(connection, health.now), archive::any_expired(connection, health.now)];
        let expired = expired.into_iter().any(|any| any.is_ok_and(|any| any));
        self.unexpired = (!expired).then_some(health.boot);
        expired
    }
}
