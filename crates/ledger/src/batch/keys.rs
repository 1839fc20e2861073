//! What a batch does to idempotency keys, and its marks.

use std::collections::BTreeMap;

use portcullis_arbiter::{KeyStatus, StoredKey, standing_digest};
use portcullis_protocol::{Digest, Event, Outcome, Record};

use crate::batch::Batch;
use crate::edge;
use crate::error::LedgerError;
use crate::keys::{Entry, Mark, Slot, set_mark};
use crate::projection::KEYS;
use crate::standing::{self, STANDING};
use crate::store::{self, PermitRow};

/// Records between marks: about what the next start reads again.
pub(super) const MARK_EVERY: u64 = 32_768;
/// Records since the newest mark that make a mark at closing worth its record.
const MARK_AT_CLOSING: u64 = 1_024;

impl Batch<'_> {
    /// The last records of a ledger that is closed in good order.
    pub(crate) fn close(&mut self) -> Result<(), LedgerError> {
        self.mark_after(MARK_AT_CLOSING)?;
        self.event(Event::Closed, BTreeMap::new()).map(drop)
    }

    /// Makes a mark, if this many records have come since the newest.
    pub(super) fn mark_after(&mut self, records: u64) -> Result<(), LedgerError> {
        let since = self.tree.size().saturating_sub(self.mark.map_or(0, |mark| mark.seq));
        if since < records {
            return Ok(());
        }
        let slot = self.mark.map_or(Slot::First, |mark| mark.slot.other());
        let digest = self.chains.digest().to_string();
        // What has lapsed by now is not kept.
        self.standing.forget(self.health.now);
        let rows = self.standing.rows();
        let reserved = standing_digest(&rows).map(|digest| (STANDING.to_owned(), digest.to_string()));
        let told = [(KEYS.to_owned(), digest)].into_iter().chain(reserved);
        let detail = told.chain(self.succession.detail()).collect();
        let seq = self.event(Event::Marked, detail)?;
        self.chains.store(self.connection, slot)?;
        standing::store(self.connection, slot, &rows)?;
        let mark = Mark { seq, slot };
        set_mark(self.connection, mark)?;
        self.mark = Some(mark);
        Ok(())
    }

    /// A PERMIT consumes its key.
    pub(super) fn consume_key(
        &mut self,
        name: Digest,
        seq: u64,
        operation: &Digest,
    ) -> Result<(), LedgerError> {
        let entry = Entry { seq, time: self.health.now, name, permit: seq };
        self.chains.enter(self.connection, &entry, Some(operation))
    }

    /// A key whose PERMIT was never spent or never released is given back.
    pub(super) fn give_back(
        &mut self,
        permit: &PermitRow,
        outcome: Outcome,
        seq: u64,
    ) -> Result<(), LedgerError> {
        match (outcome, permit.key) {
            (Outcome::Expired | Outcome::Withheld, Some(name)) => {
                let entry = Entry { seq, time: self.health.now, name, permit: permit.seq };
                self.chains.enter(self.connection, &entry, None)
            }
            (Outcome::Expired | Outcome::Withheld, None)
            | (Outcome::Ok | Outcome::Failed | Outcome::Unknown, _) => Ok(()),
        }
    }

    /// What became of a key. That it may run again is said by the log, not by the state alone.
    pub(super) fn stored_key(&self, name: &Digest) -> Result<Option<StoredKey>, LedgerError> {
        let Some(consumed) = self.chains.find(self.connection, name)? else { return Ok(None) };
        let row = store::permit_at(self.connection, consumed.permit)?;
        let row =
            row.ok_or_else(|| LedgerError::Corrupt(format!("PERMIT {} is missing", consumed.permit)))?;
        let status = match row.outcome {
            None => KeyStatus::InFlight,
            Some(outcome @ (Outcome::Ok | Outcome::Failed)) => {
                self.prove_outcome(&row, outcome)?;
                KeyStatus::Completed
            }
            // A key that should have been given back and was not: in doubt, so it does not run.
            Some(Outcome::Unknown | Outcome::Expired | Outcome::Withheld) => KeyStatus::Unknown,
        };
        Ok(Some(StoredKey { operation: consumed.operation, status, consumed: consumed.time }))
    }

    /// How the PERMIT that consumed a key ended, and the index of the record that says so.
    pub(super) fn key_outcome(&self, name: &Digest) -> Result<Option<(Outcome, u64)>, LedgerError> {
        let Some(consumed) = self.chains.find(self.connection, name)? else { return Ok(None) };
        let row = store::permit_at(self.connection, consumed.permit)?;
        Ok(row.and_then(|row| row.outcome.zip(row.outcome_seq)))
    }

    fn prove_outcome(&self, permit: &PermitRow, outcome: Outcome) -> Result<(), LedgerError> {
        let differs =
            || LedgerError::Corrupt(format!("the outcome of PERMIT {} is not on record", permit.seq));
        match edge::proved(self.connection, self.tree, permit.outcome_seq.ok_or_else(differs)?)? {
            Record::Outcome(record) if record.permit == permit.seq && record.outcome == outcome => Ok(()),
            Record::Outcome(_)
            | Record::Decision(_)
            | Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => Err(differs()),
        }
    }
}
