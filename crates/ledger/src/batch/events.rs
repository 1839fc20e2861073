//! Records of what happened to the arbiter itself, and of what was only counted.

use std::collections::BTreeMap;

use portcullis_protocol::{AggregateRecord, Event, EventRecord, ReasonCode, Record};

use crate::batch::Batch;
use crate::error::LedgerError;

impl Batch<'_> {
    fn event_record(&self, event: Event, detail: BTreeMap<String, String>) -> Record {
        Record::Event(EventRecord {
            seq: self.tree.size(),
            time: self.health.now,
            event,
            detail,
            order: None,
        })
    }

    pub(crate) fn event(
        &mut self,
        event: Event,
        detail: BTreeMap<String, String>,
    ) -> Result<u64, LedgerError> {
        let record = self.event_record(event, detail);
        let body = record.to_bytes()?;
        if let Record::Event(record) = &record {
            self.succession.follow(record);
        }
        self.append(&body)
    }

    pub(crate) fn aggregate(&mut self, mut record: AggregateRecord) -> Result<(), LedgerError> {
        record.seq = self.tree.size();
        let body = Record::Aggregate(record).to_bytes()?;
        self.append(&body).map(drop)
    }

    /// An operator's event. One that no record can hold is the operator's fault, not the ledger's.
    pub(super) fn reported_event(
        &mut self,
        event: Event,
        detail: BTreeMap<String, String>,
    ) -> Result<Result<u64, ReasonCode>, LedgerError> {
        match self.event_record(event, detail).to_bytes() {
            Ok(body) => self.append(&body).map(Ok),
            Err(_) => Ok(Err(ReasonCode::RequestTooLarge)),
        }
    }
}
