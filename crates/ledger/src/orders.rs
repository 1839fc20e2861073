//! Operators' orders: each is carried out and put on record in one transaction, or neither.

use std::collections::BTreeMap;

use portcullis_protocol::{
    AgentId, AttemptId, Event, EventRecord, Order, Ordered, Outcome, Record, Resolution,
};

use crate::batch::Batch;
use crate::command::OrderRefused;
use crate::error::LedgerError;
use crate::payloads;
use crate::store;

impl Batch<'_> {
    /// Carries an order out. Returns the index of its record.
    pub(crate) fn ordered(&mut self, ordered: &Ordered) -> Result<Result<u64, OrderRefused>, LedgerError> {
        match &ordered.what {
            Order::ResolveOutcome { attempt, outcome } => self.resolve(ordered, attempt, *outcome),
            Order::ErasePayloads { subject } => self.erase(ordered, subject),
            Order::ActivateBundle { bundle } => self.activate(ordered, bundle.version),
        }
    }

    /// Says what became of a PERMIT that is in doubt. One that is still open may yet run, and one that has ended is
    /// in no doubt.
    fn resolve(
        &mut self,
        ordered: &Ordered,
        attempt: &AttemptId,
        resolution: Resolution,
    ) -> Result<Result<u64, OrderRefused>, LedgerError> {
        let Some(permit) = store::permit(self.connection, attempt)? else {
            return Ok(Err(OrderRefused::NoSuchPermit));
        };
        if permit.outcome != Some(Outcome::Unknown) {
            return Ok(Err(OrderRefused::NotInDoubt(permit.outcome)));
        }
        let Some(seq) = self.record_order(ordered)? else { return Ok(Err(OrderRefused::TooLong)) };
        self.end_by(&permit, resolution.outcome(), None, Some(ordered))?;
        Ok(Ok(seq))
    }

    /// Destroys an agent's key, and with it everything that was sealed under it. Sealed bytes stay for their time;
    /// nobody can open them.
    fn erase(
        &mut self,
        ordered: &Ordered,
        subject: &AgentId,
    ) -> Result<Result<u64, OrderRefused>, LedgerError> {
        if !payloads::erase_subject(self.connection, subject)? {
            return Ok(Err(OrderRefused::NothingKept));
        }
        self.vault.subjects.remove(subject);
        self.erased = true;
        Ok(self.record_order(ordered)?.ok_or(OrderRefused::TooLong))
    }

    /// Puts on record which bundle decides from the next batch on. That it can was found out before.
    fn activate(
        &mut self,
        ordered: &Ordered,
        version: u64,
    ) -> Result<Result<u64, OrderRefused>, LedgerError> {
        if version <= self.succession.version {
            return Ok(Err(OrderRefused::NotNewer));
        }
        Ok(self.record_order(ordered)?.ok_or(OrderRefused::TooLong))
    }

    /// Puts an order on record. `None` if no record can hold it: that is the operator's fault, not the ledger's.
    fn record_order(&mut self, ordered: &Ordered) -> Result<Option<u64>, LedgerError> {
        let record = EventRecord {
            seq: self.tree.size(),
            time: self.health.now,
            event: Event::Ordered,
            detail: BTreeMap::new(),
            order: Some(ordered.clone()),
        };
        let body = Record::Event(record.clone()).to_bytes();
        match body {
            Ok(body) => {
                self.succession.follow(&record);
                self.append(&body).map(Some)
            }
            Err(_) => Ok(None),
        }
    }
}
