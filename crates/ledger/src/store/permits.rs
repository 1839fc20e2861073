//! Attempts, and PERMITs with their outcomes.

use portcullis_protocol::{AgentId, AttemptId, Digest, Millis, Outcome};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Result, Row, params};

use super::signed;
use crate::error::LedgerError;
use crate::row;

/// A PERMIT's state.
#[derive(Clone, Debug)]
pub(crate) struct PermitRow {
    pub(crate) seq: u64,
    pub(crate) attempt: AttemptId,
    pub(crate) agent: String,
    /// Commitment to its key, as the record has it.
    pub(crate) key: Option<Digest>,
    pub(crate) due: Millis,
    /// For how long its result is kept, in milliseconds, if it is.
    pub(crate) keep_result_ms: Option<u64>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) outcome_seq: Option<u64>,
}

/// A PERMIT to be entered.
pub(crate) struct NewPermit<'a> {
    pub(crate) seq: u64,
    pub(crate) attempt: &'a AttemptId,
    pub(crate) agent: &'a AgentId,
    /// Commitment to its key, as the record has it.
    pub(crate) key: Option<&'a Digest>,
    pub(crate) due: Millis,
    /// For how long its result is to be kept, in milliseconds, if it is.
    pub(crate) keep_result_ms: Option<u64>,
}

/// For how long the result of the PERMIT at an index is kept, as its row has it, with a mark: no record says it before the
/// outcome's, which says what came of this.
fn keep_result(seq: u64, keep_ms: Option<u64>) -> Vec<u8> {
    let value = keep_ms.map_or(Vec::new(), |keep_ms| keep_ms.to_be_bytes().to_vec());
    let mark = row::mark("permits", &[&seq.to_be_bytes(), &value]);
    [value.as_slice(), &mark].concat()
}

/// For how long the result of the PERMIT at an index is kept, in milliseconds, if it is: from its row.
///
/// # Errors
/// [`LedgerError::Corrupt`] if the value is not the one that was written.
pub(crate) fn kept_result(seq: u64, value: ValueRef<'_>) -> std::result::Result<Option<u64>, LedgerError> {
    let damaged = || LedgerError::Corrupt(format!("how long the result of record {seq} is kept was altered"));
    let held = value.as_blob().map_err(|_| damaged())?;
    let (value, _mark) = held.split_last_chunk::<{ row::MARK }>().ok_or_else(damaged)?;
    let keep_ms = match value {
        [] => None,
        value => Some(u64::from_be_bytes(value.try_into().map_err(|_| damaged())?)),
    };
    if keep_result(seq, keep_ms) == held { Ok(keep_ms) } else { Err(damaged()) }
}

pub(crate) fn add_attempt(connection: &Connection, attempt: &AttemptId, seq: u64) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO attempts (attempt, seq) VALUES (?1, ?2)")?;
    statement.execute(params![attempt.as_bytes(), seq]).map(drop)
}

pub(crate) fn attempt(connection: &Connection, attempt: &AttemptId) -> Result<Option<u64>> {
    let mut statement = connection.prepare_cached("SELECT seq FROM attempts WHERE attempt = ?1")?;
    statement.query_row([attempt.as_bytes()], |row| row.get(0)).optional()
}

/// Enters a PERMIT.
pub(crate) fn add_permit(connection: &Connection, permit: &NewPermit<'_>) -> Result<()> {
    let text =
        "INSERT INTO permits (seq, attempt, agent, key, due, keep_result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut statement = connection.prepare_cached(text)?;
    let values = params![
        permit.seq,
        permit.attempt.as_bytes(),
        permit.agent.as_str(),
        permit.key.map(Digest::as_bytes),
        permit.due.0,
        keep_result(permit.seq, permit.keep_result_ms)
    ];
    statement.execute(values).map(drop)
}

const PERMIT: &str = "SELECT seq, attempt, agent, key, outcome, outcome_seq, due, keep_result FROM permits";

fn permit_row(row: &Row<'_>) -> Result<PermitRow> {
    let outcome: Option<String> = row.get(4)?;
    let seq = row.get(0)?;
    let damaged = |error| rusqlite::Error::FromSqlConversionFailure(7, Type::Blob, Box::new(error));
    Ok(PermitRow {
        seq,
        attempt: AttemptId::from_bytes(row.get(1)?),
        agent: row.get(2)?,
        key: row.get::<_, Option<[u8; 32]>>(3)?.map(Digest::from_bytes),
        keep_result_ms: kept_result(seq, row.get_ref(7)?).map_err(damaged)?,
        outcome: outcome.map(|word| outcome_of(&word)).transpose()?,
        outcome_seq: row.get(5)?,
        due: Millis(row.get(6)?),
    })
}

/// An outcome's word that nobody wrote is damage, not an outcome.
pub(crate) fn outcome_of(word: &str) -> Result<Outcome> {
    let all = [Outcome::Ok, Outcome::Failed, Outcome::Unknown, Outcome::Expired, Outcome::Withheld];
    all.into_iter().find(|outcome| outcome.as_str() == word).ok_or(rusqlite::Error::InvalidQuery)
}

/// The PERMIT of an attempt.
pub(crate) fn permit(connection: &Connection, wanted: &AttemptId) -> Result<Option<PermitRow>> {
    let Some(seq) = attempt(connection, wanted)? else { return Ok(None) };
    Ok(permit_at(connection, seq)?.filter(|row| row.attempt == *wanted))
}

/// The PERMIT at an index.
pub(crate) fn permit_at(connection: &Connection, seq: u64) -> Result<Option<PermitRow>> {
    let mut statement = connection.prepare_cached(&format!("{PERMIT} WHERE seq = ?1"))?;
    statement.query_row([seq], permit_row).optional()
}

/// PERMITs from index `?1` to before `?2`, in order: index, attempt, agent, key, due, outcome, the outcome's index, and for how
/// long the result is kept.
pub(crate) fn permits_in_order(connection: &Connection) -> Result<CachedStatement<'_>> {
    connection.prepare_cached(
        "SELECT seq, attempt, agent, key, due, outcome, outcome_seq, keep_result FROM permits
         WHERE seq >= ?1 AND seq < ?2 ORDER BY seq",
    )
}

/// PERMITs without outcome from index `first` on: those that were committed but never released.
pub(crate) fn open_permits_from(connection: &Connection, first: u64) -> Result<Vec<PermitRow>> {
    let mut statement =
        connection.prepare_cached(&format!("{PERMIT} WHERE seq >= ?1 AND outcome IS NULL ORDER BY seq"))?;
    statement.query_map([first], permit_row)?.collect()
}

/// Indexes of at most `most` PERMITs whose outcome is overdue. Whoever ends one reads its row: one that is damaged is then
/// met by a batch, and does not hide the others here.
pub(crate) fn overdue(connection: &Connection, now: Millis, most: u32) -> Result<Vec<u64>> {
    let text = "SELECT seq FROM permits WHERE outcome IS NULL AND due <= ?1 ORDER BY due LIMIT ?2";
    connection.prepare_cached(text)?.query_map(params![now.0, most], |row| row.get(0))?.collect()
}

/// PERMITs whose newest outcome is `unknown`, in order.
pub(crate) fn in_doubt(connection: &Connection) -> Result<Vec<PermitRow>> {
    let mut statement =
        connection.prepare_cached(&format!("{PERMIT} WHERE outcome = 'unknown' ORDER BY seq"))?;
    statement.query_map([], permit_row)?.collect()
}

pub(crate) fn open_permits(connection: &Connection) -> Result<u64> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM permits WHERE outcome IS NULL")?;
    statement.query_row([], |row| row.get(0))
}

/// Ends a PERMIT, whose newest outcome must still be the one that `permit` says: it has one outcome, and only an `unknown`
/// is ever superseded.
pub(crate) fn end_permit(
    connection: &Connection,
    permit: &PermitRow,
    outcome: Outcome,
    outcome_seq: u64,
) -> Result<()> {
    let text = "UPDATE permits SET outcome = ?2, outcome_seq = ?3 WHERE seq = ?1 AND outcome_seq IS ?4";
    let values = params![permit.seq, outcome.as_str(), outcome_seq, permit.outcome_seq];
    match connection.prepare_cached(text)?.execute(values)? {
        1 => Ok(()),
        changed => Err(rusqlite::Error::StatementChangedRows(changed)),
    }
}

/// How many PERMITs the state holds from index `first` to before `end`.
pub(crate) fn permits_between(connection: &Connection, first: u64, end: u64) -> Result<u64> {
    let mut statement =
        connection.prepare_cached("SELECT count(*) FROM permits WHERE seq >= ?1 AND seq < ?2")?;
    statement.query_row([signed(first), signed(end)], |row| row.get(0))
}

/// How many attempts the state holds of records before index `end`. Reads them all.
pub(crate) fn attempts_before(connection: &Connection, end: u64) -> Result<u64> {
    connection.query_row("SELECT count(*) FROM attempts WHERE seq < ?1", [signed(end)], |row| row.get(0))
}

/// Indexes of the records of attempts from `first` to `last`, at most `most`.
pub(crate) fn attempts_from(
    connection: &Connection,
    first: &AttemptId,
    last: &AttemptId,
    most: u32,
) -> Result<Vec<u64>> {
    let text = "SELECT seq FROM attempts WHERE attempt BETWEEN ?1 AND ?2 ORDER BY attempt LIMIT ?3";
    let mut statement = connection.prepare_cached(text)?;
    statement.query_map(params![first.as_bytes(), last.as_bytes(), most], |row| row.get(0))?.collect()
}

/// The attempts that begin with a byte: the first, and what sorts behind the last.
fn attempts_part(part: u16) -> ([u8; 1], Vec<u8>) {
    let [_, byte] = part.to_be_bytes();
    // Nothing sorts behind the last part: an attempt of 33 bytes would, and would be one too many.
    ([byte], byte.checked_add(1).map_or_else(|| vec![u8::MAX; 33], |next| vec![next]))
}

/// How many attempts the state holds of records before index `end`, among those that begin with this byte; and the newest
/// record that any of these is of.
pub(crate) fn attempts_between(connection: &Connection, part: u16, end: u64) -> Result<(u64, Option<u64>)> {
    let text = "SELECT count(*) FILTER (WHERE seq < ?3), max(seq) FROM attempts WHERE attempt >= ?1 AND attempt < ?2";
    let (first, after) = attempts_part(part);
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    connection.prepare_cached(text)?.query_row(params![first, after, signed(end)], read)
}

/// The newest record that a PERMIT of the state is of.
pub(crate) fn last_permit(connection: &Connection) -> Result<Option<u64>> {
    connection.query_row("SELECT max(seq) FROM permits", [], |row| row.get(0))
}

/// Calls `each` with the attempts that begin with this byte and the indexes of their records.
pub(crate) fn for_each_attempt(
    connection: &Connection,
    part: u16,
    mut each: impl FnMut([u8; 32], u64),
) -> Result<()> {
    let text = "SELECT attempt, seq FROM attempts WHERE attempt >= ?1 AND attempt < ?2";
    let (first, after) = attempts_part(part);
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(params![first, after])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, row.get(1)?);
    }
    Ok(())
}

/// How much the state holds.
pub(crate) struct Totals {
    pub(crate) permits: u64,
    /// PERMITs with an outcome.
    pub(crate) ended: u64,
}

pub(crate) fn totals(connection: &Connection) -> Result<Totals> {
    let text = "SELECT count(*), count(outcome) FROM permits";
    connection.query_row(text, [], |row| Ok(Totals { permits: row.get(0)?, ended: row.get(1)? }))
}
