//! Reading a ledger on this machine, for `portcullis receipts`.

use portcullis_ledger::{LedgerError, LedgerReader};
use portcullis_protocol::{Outcome, Record};

use crate::config::ArbiterConfig;

/// The ledger cannot be read or does not verify.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecordsError(#[from] LedgerError);

/// A decision with what became of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// The decision.
    pub record: portcullis_protocol::DecisionRecord,
    /// The newest outcome, if it is a PERMIT that has one.
    pub outcome: Option<Outcome>,
}

/// Opens the ledger and verifies it against its anchored head.
///
/// # Errors
/// [`RecordsError`].
pub fn open_ledger(config: &ArbiterConfig) -> Result<LedgerReader, RecordsError> {
    Ok(LedgerReader::open(&config.data, &config.anchor, &config.log_key)?)
}

/// Every decision in the log, in order, with its newest outcome.
///
/// # Errors
/// [`RecordsError`].
pub fn rows(ledger: &LedgerReader) -> Result<Vec<Row>, RecordsError> {
    let mut rows: std::collections::BTreeMap<u64, Row> = std::collections::BTreeMap::new();
    ledger.for_each(|listed| match listed.record {
        Record::Decision(record) => {
            rows.insert(record.seq, Row { record: *record, outcome: None });
        }
        Record::Outcome(record) => {
            if let Some(row) = rows.get_mut(&record.permit) {
                row.outcome = Some(record.outcome);
            }
        }
        Record::Aggregate(_) | Record::Event(_) => {}
    })?;
    Ok(rows.into_values().collect())
}
