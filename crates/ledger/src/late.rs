//! Attempts that were kept in a spool, entered into the log: each once, whatever crashes when.
//!
//! Beside the records stands, for each series of entries, how far it was entered: the next number, and the record that
//! was the last. Numbers before the next are in the log already; a spool that brings them up again has not been told.

use std::collections::BTreeMap;

use portcullis_protocol::{Digest, Event, Keeper, LateRecord, ReasonCode, Record, Spooled};
use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::batch::Batch;
use crate::command::Reply;
use crate::error::LedgerError;
use crate::quota::Quota;
use crate::waiting::Waiting;

/// How far a series was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    /// The number behind the last that was entered.
    pub(crate) next: u64,
    /// The record that entered the last.
    pub(crate) seq: u64,
}

/// How far a series was entered; `None` if nothing of it was.
pub(crate) fn entered(connection: &Connection, series: &Digest) -> Result<Option<Entered>> {
    let mut statement = connection.prepare_cached("SELECT next, seq FROM spools WHERE series = ?1")?;
    let row = |row: &rusqlite::Row<'_>| Ok(Entered { next: row.get(0)?, seq: row.get(1)? });
    statement.query_row([series.as_bytes()], row).optional()
}

fn set_entered(connection: &Connection, series: &Digest, entered: Entered) -> Result<()> {
    let text = "INSERT INTO spools (series, next, seq) VALUES (?1, ?2, ?3)
        ON CONFLICT (series) DO UPDATE SET next = ?2, seq = ?3";
    let values = params![series.as_bytes(), entered.next, entered.seq];
    connection.prepare_cached(text)?.execute(values).map(drop)
}

/// How many series the state holds.
pub(crate) fn series_count(connection: &Connection) -> Result<u64> {
    connection.query_row("SELECT count(*) FROM spools", [], |row| row.get(0))
}

/// What a late record says of its series.
pub(crate) fn said(record: &LateRecord) -> (Digest, Entered) {
    let next = record.entry.number.saturating_add(1);
    (record.entry.series(record.keeper), Entered { next, seq: record.seq })
}

/// Whether the state of a series is what one of its records allows.
pub(crate) fn agrees(connection: &Connection, record: &LateRecord) -> Result<bool> {
    let (series, said) = said(record);
    Ok(entered(connection, &series)?.is_some_and(|state| {
        if state.seq == said.seq { state == said } else { state.seq > said.seq && state.next > said.next }
    }))
}

/// Checks that each series was entered as far as the record says that the state names. One that no record speaks of would have
/// what is kept under it left out.
pub(crate) fn audit(connection: &Connection) -> std::result::Result<(), LedgerError> {
    let mut statement = connection.prepare_cached("SELECT series, next, seq FROM spools")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (series, entered) =
            (Digest::from_bytes(row.get(0)?), Entered { next: row.get(1)?, seq: row.get(2)? });
        prove_entered(connection, &series, entered)?;
    }
    Ok(())
}

/// Checks that the record which the state names says what the state says: a number that was raised would have entries left
/// out.
fn prove_entered(
    connection: &Connection,
    series: &Digest,
    entered: Entered,
) -> std::result::Result<(), LedgerError> {
    let differs = || LedgerError::Corrupt(format!("the state of record {} is not what it says", entered.seq));
    let body = crate::store::record(connection, entered.seq)?.ok_or_else(differs)?;
    match Record::parse(&body)? {
        Record::Late(record) if said(&record) == (*series, entered) => Ok(()),
        Record::Late(_)
        | Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Listing(_)
        | Record::Simulation(_) => Err(differs()),
    }
}

/// What came of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lately {
    /// It is in the log now.
    Entered,
    /// It was in the log before, or none of it can ever be.
    Known,
    /// Not now.
    Refused,
}

impl Batch<'_> {
    /// Enters the arbiter's own spool: its entries, and how much of it could not be read.
    pub(crate) fn enter_spool(
        &mut self,
        entries: &[Spooled],
        unreadable: Option<u64>,
    ) -> std::result::Result<(), LedgerError> {
        if let Some(bytes) = unreadable {
            let detail = BTreeMap::from([("bytes".to_owned(), bytes.to_string())]);
            self.event(Event::SpoolDamaged, detail)?;
        }
        entries.iter().try_for_each(|entry| self.late(Keeper::Arbiter, entry, || true).map(drop))
    }

    /// Takes a gate's spool into the batch, with whoever waits for the answer.
    pub(crate) fn take_late(
        &mut self,
        entries: &[Spooled],
        reply: Reply<std::result::Result<u64, ReasonCode>>,
        quota: &mut Quota,
    ) -> std::result::Result<(), LedgerError> {
        let (answer, failed) = match self.late_from_gate(entries, quota) {
            Ok(taken) => (Ok(taken), Ok(())),
            Err(error) => (Err(error.code()), Err(error)),
        };
        self.waiting.push(Waiting::Late { reply, answer });
        failed
    }

    /// Enters what a gate kept, as far as its agents' shares of the log go. How many of the first are in the log.
    fn late_from_gate(
        &mut self,
        entries: &[Spooled],
        quota: &mut Quota,
    ) -> std::result::Result<u64, LedgerError> {
        let boot = self.health.boot;
        let mut taken: u64 = 0;
        for entry in entries {
            let admits = || quota.admits(&entry.attempted.agent, boot);
            if self.late(Keeper::Gate, entry, admits)? == Lately::Refused {
                break;
            }
            taken = taken.saturating_add(1);
        }
        Ok(taken)
    }

    /// Enters what a spool kept, unless it is in the log already, no record can hold it, or it is not to be admitted now.
    /// It is no decision: attempts, PERMITs and keys are not touched.
    fn late(
        &mut self,
        keeper: Keeper,
        entry: &Spooled,
        admits: impl FnOnce() -> bool,
    ) -> std::result::Result<Lately, LedgerError> {
        let series = entry.series(keeper);
        if let Some(entered) = entered(self.connection, &series)? {
            prove_entered(self.connection, &series, entered)?;
            if entry.number < entered.next {
                return Ok(Lately::Known);
            }
        }
        let record = LateRecord { seq: self.tree.size(), time: self.now(), keeper, entry: entry.clone() };
        let Ok(body) = Record::Late(record).to_bytes() else { return Ok(Lately::Known) };
        if !keeper.keeps(entry.attempted.reason) || entry.number >= LAST {
            return Ok(Lately::Known);
        }
        if !admits() {
            return Ok(Lately::Refused);
        }
        let seq = self.append(&body)?;
        let next = entry.number.saturating_add(1);
        set_entered(self.connection, &series, Entered { next, seq })?;
        Ok(Lately::Entered)
    }
}

/// Numbers from here on are none: JSON's integers end at 2^53.
const LAST: u64 = 1 << 53;
