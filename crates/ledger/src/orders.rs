//! Operators' orders: each is carried out and put on record in one transaction, or neither.

use std::collections::BTreeMap;

use portcullis_protocol::{
    AgentId, AttemptId, BundleRef, Event, EventRecord, Order, Ordered, Outcome, ReasonCode, Record,
    Resolution, SourceName, Vetted, may_follow,
};

use crate::batch::Batch;
use crate::command::{Given, OrderRefused};
use crate::error::LedgerError;
use crate::payloads;
use crate::store;

impl Batch<'_> {
    /// Carries an order out. Returns the index of its record.
    pub(crate) fn ordered(&mut self, given: &Given) -> Result<Result<u64, OrderRefused>, LedgerError> {
        let Given { ordered, vetted } = given;
        match &ordered.what {
            Order::ResolveOutcome { attempt, outcome } => self.resolve(ordered, attempt, *outcome),
            Order::ErasePayloads { subject } => self.erase(ordered, subject),
            Order::EraseFacts { source } => self.erase_facts(ordered, source),
            Order::ActivateBundle { bundle } => self.activate(ordered, bundle, vetted.as_ref()),
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
        let Some(seq) = self.record_order(ordered, BTreeMap::new())? else {
            return Ok(Err(OrderRefused::TooLong));
        };
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
        if !payloads::has_subject(self.connection, subject)? {
            return Ok(Err(OrderRefused::NothingKept));
        }
        let Some(seq) = self.record_order(ordered, BTreeMap::new())? else {
            return Ok(Err(OrderRefused::TooLong));
        };
        payloads::erase_subject(self.connection, subject, seq)?;
        self.vault.subjects.remove(subject);
        self.erased = true;
        Ok(Ok(seq))
    }

    /// Destroys what a source of facts gave. What it still gives is kept again with the next record that names it.
    fn erase_facts(
        &mut self,
        ordered: &Ordered,
        source: &SourceName,
    ) -> Result<Result<u64, OrderRefused>, LedgerError> {
        if !self.archive.holds(source) {
            return Ok(Err(OrderRefused::NoFactsKept));
        }
        let Some(seq) = self.record_order(ordered, BTreeMap::new())? else {
            return Ok(Err(OrderRefused::TooLong));
        };
        self.archive.erase(self.connection, source, seq)?;
        self.erased = true;
        Ok(Ok(seq))
    }

    /// Puts on record which bundle decides from the next batch on. That it can was found out before; whether it may follow
    /// the one that is in force by now is found out here, where no other can come in between.
    fn activate(
        &mut self,
        ordered: &Ordered,
        bundle: &BundleRef,
        vetted: Option<&Vetted>,
    ) -> Result<Result<u64, OrderRefused>, LedgerError> {
        if !self.succession.takes(bundle.version) {
            return Ok(Err(OrderRefused::NotNewer));
        }
        let Some(vetted) = vetted.filter(|vetted| vetted.bundle == bundle.digest) else {
            return Ok(Err(OrderRefused::Bundle(ReasonCode::PolicyUnproved)));
        };
        if let Err(code) = may_follow(self.succession.demand, vetted) {
            return Ok(Err(OrderRefused::Bundle(code)));
        }
        let Some(seq) = self.record_order(ordered, vetted.detail())? else {
            return Ok(Err(OrderRefused::TooLong));
        };
        self.name(&bundle.digest)?;
        Ok(Ok(seq))
    }

    /// Puts an order on record. `None` if no record can hold it: that is the operator's fault, not the ledger's.
    fn record_order(
        &mut self,
        ordered: &Ordered,
        detail: BTreeMap<String, String>,
    ) -> Result<Option<u64>, LedgerError> {
        let record = EventRecord {
            seq: self.tree.size(),
            time: self.health.now,
            event: Event::Ordered,
            detail,
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
