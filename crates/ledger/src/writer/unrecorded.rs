//! What the writer does with calls that it cannot put on record, and with what it kept of them.

use portcullis_arbiter::{Evidence, Fact, Health};
use portcullis_protocol::{Millis, ReasonCode};

use super::Writer;
use crate::spooling::Late;
use crate::waiting::{Unkept, Waiting};

impl Writer {
    /// Answers calls that cannot be put on record, because of `tripped`. A writer that is fenced leaves the spool, too,
    /// to the one that is not.
    pub(super) fn answer(&mut self, refused: Vec<Unkept>, tripped: ReasonCode, now: Millis) {
        if refused.is_empty() {
            return;
        }
        let tripped = if self.lock.is_held() { tripped } else { ReasonCode::StateFenced };
        let boot = self.config.clocks.boot();
        self.spooling.answer(refused, (tripped, now, boot), &mut self.quota, &self.counts);
    }

    /// What of the spool is entered into the log with the next batch: nothing while evidence is not sound.
    pub(super) fn late(&self, health: &Health) -> Late {
        if health.evidence == Fact::Known(Evidence::Sound) { self.spooling.late() } else { Late::default() }
    }

    /// Refuses what waits for a batch that came to nothing, or of which that is to be feared.
    pub(super) fn refuse_waiting(
        &mut self,
        waiting: Vec<Waiting>,
        code: ReasonCode,
        committed: bool,
        now: Millis,
    ) {
        let refused = waiting.into_iter().filter_map(|waiting| waiting.refuse(code, committed)).collect();
        self.answer(refused, code, now);
    }
}
