//! Comparing all of the state with all of the records, each table read once and in its own order.
//!
//! PERMITs lie in the order of their records, and are compared row by row. Attempts, outcomes and keys do not: of these
//! it is compared whether records and rows make the same list ([`crate::sums`]). Where everything agrees,
//! [`crate::projection`] would have found the same; where something differs it says what.

use portcullis_protocol::{AttemptId, Outcome};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};

use crate::audit;
use crate::edge::TILE;
use crate::error::LedgerError;
use crate::keys::{self, Entry};
use crate::late;
use crate::projection::{Counted, Ended, Permitted, Projection, Said, differs, recorded_as, said};
use crate::store;
use crate::sums::{Sum, SumKey};

/// Parts in which the tables without the log's order are read.
pub(crate) const PARTS: u16 = 256;

/// Lists, as records or rows have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lists {
    attempts: Sum,
    outcomes: Sum,
    keys: Sum,
    pub(crate) counted: Counted,
}

impl Lists {
    pub(crate) fn join(&mut self, other: &Self) {
        self.attempts.join(&other.attempts);
        self.outcomes.join(&other.outcomes);
        self.keys.join(&other.keys);
        self.counted.add(&other.counted);
    }
}

/// How far a comparison of all of the state came that was stopped, and what it had come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepPosition {
    /// The records before this index are compared, however many there are by now.
    pub(crate) size: u64,
    /// All tiles before this one were read.
    pub(crate) tiles: u64,
    /// All of [`PARTS`] parts before this one were read.
    pub(crate) parts: u16,
    pub(crate) key: SumKey,
    pub(crate) said: Lists,
    pub(crate) held: Lists,
}

impl SweepPosition {
    /// The beginning of a comparison of the records before index `size`.
    pub(crate) fn begin(size: u64) -> Self {
        let (said, held) = (Lists::default(), Lists::default());
        Self { size, tiles: 0, parts: 0, key: SumKey::draw(), said, held }
    }

    /// How many records were read, with their PERMITs.
    #[must_use]
    pub const fn records(&self) -> u64 {
        let records = self.tiles.saturating_mul(TILE);
        if records < self.size { records } else { self.size }
    }

    /// Whether all was read.
    pub(crate) const fn is_done(&self) -> bool {
        self.tiles >= self.size.div_ceil(TILE) && self.parts >= PARTS
    }
}

/// One reader's part of a comparison of the records before index `size`.
pub(crate) struct Sweep<'a> {
    connection: &'a Connection,
    key: &'a SumKey,
    size: u64,
    /// What the records say.
    pub(crate) said: Lists,
    /// What the state holds.
    pub(crate) held: Lists,
}

impl<'a> Sweep<'a> {
    pub(crate) fn new(connection: &'a Connection, key: &'a SumKey, size: u64) -> Self {
        Self { connection, key, size, said: Lists::default(), held: Lists::default() }
    }

    /// Reads the records of `tiles` tiles from the one with index `first` on, with their PERMITs. Returns how many
    /// records that were.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] if a PERMIT differs, or a record is missing.
    pub(crate) fn tiles(&mut self, first: u64, tiles: u64) -> Result<u64, LedgerError> {
        let begin = first.saturating_mul(TILE).min(self.size);
        let end = first.saturating_add(tiles).saturating_mul(TILE).min(self.size);
        let connection = self.connection;
        let mut permits = store::permits_in_order(connection)?;
        let mut rows = permits.query([begin, end])?;
        let mut next = begin;
        store::for_each_record(connection, begin, end, |seq, body| {
            if seq != next {
                return Err(differs(next));
            }
            next = next.saturating_add(1);
            match said(seq, body)? {
                Said::Permit(permit) => {
                    let row = rows.next()?.ok_or_else(|| differs(seq))?;
                    self.permit(&permit, row)
                }
                Said::Refusal { attempt, .. } => {
                    self.attempt(&attempt, seq);
                    Ok(())
                }
                Said::Outcome(ended) => self.outcome(&ended),
                // Seldom enough to be looked up.
                Said::Late(record) if !late::agrees(connection, &record)? => Err(differs(seq)),
                Said::Late(_) | Said::Mark(_) | Said::Nothing => Ok(()),
            }
        })?;
        if next != end || rows.next()?.is_some() {
            return Err(differs(next));
        }
        Ok(end.saturating_sub(begin))
    }

    /// Reads one of [`PARTS`] parts of the tables that have an order of their own.
    pub(crate) fn part(&mut self, part: u16) -> Result<(), LedgerError> {
        let Self { connection, key, size, held, .. } = self;
        let mut newest = None;
        store::for_each_attempt(connection, part, |attempt, seq| {
            newest = newest.max(Some(seq));
            if seq < *size {
                held.attempts.add(key, &(attempt, seq));
                held.counted.attempts = held.counted.attempts.saturating_add(1);
            }
        })?;
        keys::operations(connection, part, *size)?;
        keys::for_each_entry(connection, part, |bucket, entry| {
            newest = newest.max(Some(entry.seq));
            if entry.seq < *size {
                held.keys.add(key, &place(bucket, entry));
                held.counted.keys = held.counted.keys.saturating_add(1);
            }
        })?;
        audit::is_recorded(connection, newest)
    }

    fn attempt(&mut self, attempt: &AttemptId, seq: u64) {
        self.said.attempts.add(self.key, &(*attempt.as_bytes(), seq));
        self.said.counted.attempts = self.said.counted.attempts.saturating_add(1);
    }

    fn permit(&mut self, permit: &Permitted, row: &Row<'_>) -> Result<(), LedgerError> {
        let seq = permit.seq;
        let column = |index| row.get_ref(index).map_err(LedgerError::from);
        let key = column(3)?.as_blob_or_null().map_err(|_| differs(seq))?;
        let same = row.get::<_, u64>(0)? == seq
            && column(1)?.as_blob().is_ok_and(|attempt| attempt == permit.attempt.as_bytes())
            && column(2)?.as_str().is_ok_and(|agent| agent == permit.agent)
            && key == permit.key.as_ref().map(|key| key.as_bytes().as_slice())
            && permit.due.is_some_and(|due| row.get::<_, u64>(4).is_ok_and(|stored| stored == due.0));
        if !same {
            return Err(differs(seq));
        }
        store::kept_result(seq, column(7)?)?;
        self.attempt(&permit.attempt, seq);
        for counted in [&mut self.said.counted, &mut self.held.counted] {
            counted.permits = counted.permits.saturating_add(1);
        }
        match (column(5)?.as_str_or_null().map_err(|_| differs(seq))?, row.get::<_, Option<u64>>(6)?) {
            (None, None) => {}
            (Some(word), Some(at)) => {
                let outcome = store::outcome_of(word)?;
                if at < self.size {
                    self.held.outcomes.add(self.key, &end(seq, outcome, at, &permit.attempt));
                } else if !recorded_as(self.connection, at, seq, outcome)? {
                    // One that was recorded since belongs to a later head, and is seldom enough to be looked up.
                    return Err(differs(seq));
                }
            }
            (Some(_), None) | (None, Some(_)) => return Err(differs(seq)),
        }
        if let Some(name) = permit.key {
            self.key(&Entry { seq, time: permit.time, name, permit: seq });
        }
        Ok(())
    }

    fn key(&mut self, entry: &Entry) {
        self.said.keys.add(self.key, &place(keys::bucket(&entry.name), entry));
        self.said.counted.keys = self.said.counted.keys.saturating_add(1);
    }

    fn outcome(&mut self, ended: &Ended) -> Result<(), LedgerError> {
        let Ended { seq, permit, outcome, attempt, .. } = ended;
        self.said.outcomes.add(self.key, &end(*permit, *outcome, *seq, attempt));
        if let Some(before) = ended.supersedes {
            self.said.outcomes.remove(self.key, &end(*permit, Outcome::Unknown, before, attempt));
        }
        match outcome {
            Outcome::Expired | Outcome::Withheld => {
                // Seldom enough to be looked up.
                let key = Projection::new(self.connection, u64::MAX, None).key_of(*permit)?;
                if let Some(name) = key {
                    self.key(&Entry { seq: *seq, time: ended.time, name, permit: *permit });
                }
                Ok(())
            }
            Outcome::Ok | Outcome::Failed | Outcome::Unknown => Ok(()),
        }
    }
}

/// The end of a PERMIT as an entry of a list.
fn end(permit: u64, outcome: Outcome, seq: u64, attempt: &AttemptId) -> (u64, &'static str, u64, [u8; 32]) {
    (permit, outcome.as_str(), seq, *attempt.as_bytes())
}

/// What became of a key as an entry of a list.
fn place(bucket: usize, entry: &Entry) -> (usize, u64, u64, [u8; 32], u64) {
    (bucket, entry.seq, entry.permit, *entry.name.as_bytes(), entry.time.0)
}
