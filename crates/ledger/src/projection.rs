//! The state as the log says it must be.
//!
//! Records are proved by signed heads; the tables beside them are not. A key that is missing from them would run
//! twice. So on opening, what the tables say is compared with what the records say, PERMIT by PERMIT.

use std::collections::BTreeSet;

use portcullis_protocol::{Decision, DecisionRecord, Digest, Domain, Outcome, OutcomeRecord, Record};
use rusqlite::Connection;

use crate::error::LedgerError;
use crate::store::{self, PermitRow};

/// A comparison in progress.
pub(crate) struct Projection<'a> {
    connection: &'a Connection,
    permits: u64,
    ended: u64,
    keys: u64,
    /// Commitments to keys that are not consumed although their PERMIT ran: a later PERMIT must have taken them
    /// over, after their window.
    lapsed: BTreeSet<Digest>,
}

impl<'a> Projection<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection, permits: 0, ended: 0, keys: 0, lapsed: BTreeSet::new() }
    }

    /// Compares what one record says.
    pub(crate) fn compare(&mut self, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
        let record = Record::parse(body)?;
        if record.seq() != seq {
            return Err(LedgerError::Corrupt(format!("record {seq} says that it is {}", record.seq())));
        }
        match record {
            Record::Decision(entry) if entry.decision == Decision::Permit => self.permit(&entry),
            Record::Outcome(entry) => self.outcome(&entry),
            Record::Decision(_) | Record::Aggregate(_) | Record::Event(_) => Ok(()),
        }
    }

    /// Compares the totals: what no record speaks of must not be there either.
    pub(crate) fn finish(self) -> Result<(), LedgerError> {
        let state = store::totals(self.connection)?;
        if (state.permits, state.ended, state.keys) != (self.permits, self.ended, self.keys) {
            return Err(LedgerError::Corrupt("the state holds what no record speaks of".into()));
        }
        if !self.lapsed.is_empty() {
            return Err(LedgerError::Corrupt("a consumed key is missing from the state".into()));
        }
        Ok(())
    }

    fn permit(&mut self, entry: &DecisionRecord) -> Result<(), LedgerError> {
        self.permits += 1;
        let row = store::permit(self.connection, &entry.attempt)?;
        let row = row.filter(|row| row.seq == entry.seq && row.agent == entry.agent.as_str());
        let row = row.ok_or_else(|| differs(entry.seq))?;
        if Some(row.due) != entry.outcome_due
            || store::attempt(self.connection, &entry.attempt)? != Some(entry.seq)
        {
            return Err(differs(entry.seq));
        }
        match (&entry.key, &row.key) {
            (None, None) => Ok(()),
            (Some(commitment), Some(key)) => self.key(entry, *commitment, &row, key),
            (Some(_), None) | (None, Some(_)) => Err(differs(entry.seq)),
        }
    }

    fn key(
        &mut self,
        entry: &DecisionRecord,
        commitment: Digest,
        row: &PermitRow,
        key: &str,
    ) -> Result<(), LedgerError> {
        if Digest::of(Domain::Key, &[row.agent.as_bytes(), key.as_bytes()]) != commitment {
            return Err(differs(entry.seq));
        }
        self.lapsed.remove(&commitment);
        let given_back = matches!(row.outcome, Some(Outcome::Expired | Outcome::Withheld));
        match store::key_permit(self.connection, &row.agent, key)? {
            Some((permit, consumed)) if permit == entry.seq => {
                self.keys += 1;
                if given_back || consumed != entry.time { Err(differs(entry.seq)) } else { Ok(()) }
            }
            // A later PERMIT consumed it, and is compared when its turn comes.
            Some((permit, _)) if permit > entry.seq => Ok(()),
            Some(_) | None if given_back => Ok(()),
            Some(_) | None => {
                self.lapsed.insert(commitment);
                Ok(())
            }
        }
    }

    fn outcome(&mut self, entry: &OutcomeRecord) -> Result<(), LedgerError> {
        let row = store::permit(self.connection, &entry.attempt)?.filter(|row| row.seq == entry.permit);
        match row.and_then(|row| row.outcome_seq.zip(row.outcome)) {
            Some((seq, outcome)) if seq == entry.seq && outcome == entry.outcome => {
                self.ended += 1;
                Ok(())
            }
            // Superseded by a later record, which is compared when its turn comes.
            Some((seq, _)) if seq > entry.seq && entry.outcome == Outcome::Unknown => Ok(()),
            Some(_) | None => Err(differs(entry.permit)),
        }
    }
}

fn differs(permit: u64) -> LedgerError {
    LedgerError::Corrupt(format!("the state of PERMIT {permit} is not what the records say"))
}
