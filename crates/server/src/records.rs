//! Reading a ledger on this machine, for `portcullis receipts`.

use std::collections::BTreeMap;

use portcullis_ledger::{LedgerError, LedgerReader};
use portcullis_protocol::{Outcome, Record};

use crate::config::ArbiterConfig;

/// The ledger cannot be read or does not verify.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RecordsError(#[from] LedgerError);

/// A decision with what became of it, or a simulation.
#[derive(Clone, Debug)]
pub struct Row {
    /// The decision.
    pub record: portcullis_protocol::DecisionRecord,
    /// The newest outcome, if it is a PERMIT that has one.
    pub outcome: Option<Outcome>,
    /// Whether it is no decision, but what would have been one.
    pub simulated: bool,
}

/// Opens the ledger under its anchored head. What is read of it is proved when it is read.
///
/// # Errors
/// [`RecordsError`].
pub fn open_ledger(config: &ArbiterConfig) -> Result<LedgerReader, RecordsError> {
    Ok(LedgerReader::open(&config.data, &config.anchor, &config.log_keys)?)
}

/// Every decision in the log, in order, with its newest outcome.
///
/// # Errors
/// [`RecordsError`].
pub fn rows(ledger: &LedgerReader) -> Result<Vec<Row>, RecordsError> {
    let mut rows = newest(ledger, usize::MAX)?;
    rows.retain(|row| !row.simulated);
    Ok(rows)
}

/// The newest decisions and simulations in the log, at most `count`, in order, each with its newest outcome. Reads no more of the log
/// than that takes: an outcome comes after its decision.
///
/// # Errors
/// [`RecordsError`].
pub fn newest(ledger: &LedgerReader, count: usize) -> Result<Vec<Row>, RecordsError> {
    let mut rows = Vec::new();
    let mut outcomes = BTreeMap::new();
    for tile in (0..ledger.tiles()).rev() {
        for listed in ledger.tile(tile)?.into_iter().rev() {
            if rows.len() >= count {
                break;
            }
            match listed.record {
                Record::Decision(record) => {
                    let outcome = outcomes.remove(&record.seq);
                    rows.push(Row { record: *record, outcome, simulated: false });
                }
                Record::Simulation(record) => {
                    rows.push(Row { record: *record, outcome: None, simulated: true });
                }
                Record::Outcome(record) => {
                    // Read backwards, the first is the newest.
                    outcomes.entry(record.permit).or_insert(record.outcome);
                }
                Record::Aggregate(_) | Record::Event(_) | Record::Late(_) | Record::Listing(_) => {}
            }
        }
        if rows.len() >= count {
            break;
        }
    }
    rows.reverse();
    Ok(rows)
}
