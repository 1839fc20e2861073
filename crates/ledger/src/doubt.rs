//! PERMITs that are in doubt: permitted, and nobody knows what became of them.

use portcullis_protocol::{Decision, DecisionRecord, Digest, Outcome, OutcomeRecord, Record};

use crate::error::LedgerError;
use crate::reader::LedgerReader;
use crate::store::{self, PermitRow};

/// A PERMIT whose newest outcome is `unknown`.
#[derive(Clone, Debug)]
pub struct InDoubt {
    /// The PERMIT.
    pub permit: DecisionRecord,
    /// The record that says `unknown`.
    pub unknown: OutcomeRecord,
    /// Commitment to the idempotency key that it blocks, where it has one: nothing runs under it until this is
    /// resolved.
    pub key: Option<Digest>,
}

impl LedgerReader {
    /// The PERMITs in doubt under the head, in order.
    ///
    /// # Errors
    /// If the database cannot be read, or its state is not what its records say.
    pub fn in_doubt(&self) -> Result<Vec<InDoubt>, LedgerError> {
        let rows = store::in_doubt(&self.connection)?;
        let covered = |row: &PermitRow| row.outcome_seq.is_some_and(|seq| seq < self.head().size());
        rows.into_iter().filter(covered).map(|row| self.doubted(row)).collect()
    }

    fn doubted(&self, row: PermitRow) -> Result<InDoubt, LedgerError> {
        let differs = || LedgerError::Corrupt(format!("the state of PERMIT {} is not on record", row.seq));
        let (Record::Decision(permit), Record::Outcome(unknown)) =
            (self.record(row.seq)?, self.record(row.outcome_seq.ok_or_else(differs)?)?)
        else {
            return Err(differs());
        };
        let agrees = permit.decision == Decision::Permit
            && permit.attempt == row.attempt
            && permit.key == row.key
            && unknown.permit == row.seq
            && unknown.outcome == Outcome::Unknown;
        if agrees { Ok(InDoubt { permit: *permit, unknown, key: row.key }) } else { Err(differs()) }
    }
}
