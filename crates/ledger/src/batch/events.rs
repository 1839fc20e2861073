//! Records of what happened to the arbiter itself, and of what was only counted.

use std::collections::BTreeMap;

use portcullis_protocol::{AggregateRecord, Event, EventRecord, Record};

use crate::batch::Batch;
use crate::error::LedgerError;

impl Batch<'_> {
    pub(crate) fn event(
        &mut self,
        event: Event,
        detail: BTreeMap<String, String>,
    ) -> Result<u64, LedgerError> {
        let record = EventRecord { seq: self.tree.size(), time: self.health.now, event, detail, order: None };
        self.succession.follow(&record);
        self.append(&Record::Event(record).to_bytes()?)
    }

    pub(crate) fn aggregate(&mut self, mut record: AggregateRecord) -> Result<(), LedgerError> {
        record.seq = self.tree.size();
        let body = Record::Aggregate(record).to_bytes()?;
        self.append(&body).map(drop)
    }
}
