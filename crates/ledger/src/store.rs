//! The database. Statements only: what they mean is decided elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_arbiter::{KeyStatus, StoredKey};
use portcullis_protocol::{AgentId, AttemptId, Digest, Millis, Outcome};
use portcullis_verify::{Hash, Tile};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, Row, params};

use crate::error::LedgerError;
use crate::place::{Identity, Place, identity};

const SCHEMA: &str = "
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB) STRICT;
CREATE TABLE records (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE tiles (level INTEGER NOT NULL, position INTEGER NOT NULL, hashes BLOB NOT NULL,
  PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (attempt BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE permits (seq INTEGER PRIMARY KEY, attempt BLOB NOT NULL UNIQUE, agent TEXT NOT NULL, key BLOB,
  due INTEGER NOT NULL, keep_result_ms INTEGER, outcome TEXT, outcome_seq INTEGER) STRICT;
CREATE INDEX permits_open ON permits (due) WHERE outcome IS NULL;
CREATE INDEX permits_in_doubt ON permits (seq) WHERE outcome = 'unknown';
CREATE TABLE keys (key BLOB PRIMARY KEY, operation BLOB NOT NULL, permit INTEGER NOT NULL,
  consumed INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE vault (id INTEGER PRIMARY KEY CHECK (id = 1), master BLOB NOT NULL) STRICT;
CREATE TABLE subjects (id INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL UNIQUE, wrapped BLOB NOT NULL) STRICT;
CREATE TABLE payloads (seq INTEGER PRIMARY KEY, subject INTEGER NOT NULL, expires INTEGER NOT NULL,
  sealed BLOB NOT NULL) STRICT;
CREATE INDEX payloads_expires ON payloads (expires);
CREATE TABLE bundles (digest BLOB PRIMARY KEY, archive BLOB NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;
";
/// The schema's version, as `user_version` has it.
const VERSION: u32 = 2;

/// The newest committed head, and the newest signed one that a commit has carried.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) note: Option<Vec<u8>>,
}

/// A PERMIT's state.
#[derive(Clone, Debug)]
pub(crate) struct PermitRow {
    pub(crate) seq: u64,
    pub(crate) attempt: AttemptId,
    pub(crate) agent: String,
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
    pub(crate) key: Option<&'a Digest>,
    pub(crate) operation: &'a Digest,
    pub(crate) now: Millis,
    pub(crate) due: Millis,
    pub(crate) keep_result_ms: Option<u64>,
}

/// An open database file.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connection: Connection,
    path: PathBuf,
    identity: Option<Identity>,
    log_identity: Option<Identity>,
}

impl Store {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        configure(&connection)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self::over(connection, path))
    }

    pub(crate) fn open(path: &Path) -> std::result::Result<Self, LedgerError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != VERSION {
            return Err(LedgerError::Corrupt(format!("its format is {version}, not {VERSION}")));
        }
        // What was read from the write-ahead log may never have been synced: make it durable before it counts.
        let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy {
            // A reader holds the log in use. SQLite has no locks on that file, so it may be opened beside it.
            std::fs::File::open(log_of(path))
                .and_then(|log| log.sync_all())
                .map_err(LedgerError::file("syncing the write-ahead log"))?;
        }
        Ok(Self::over(connection, path))
    }

    /// For readers beside the writer.
    pub(crate) fn read_only(path: &Path) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        Ok(connection)
    }

    /// Whether no database is there, or one that never held a record.
    pub(crate) fn is_blank(path: &Path) -> std::result::Result<bool, LedgerError> {
        if !path.try_exists().map_err(LedgerError::file("looking for a ledger"))? {
            return Ok(true);
        }
        let connection = Self::read_only(path)?;
        let tables: u32 = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'records'",
            [],
            |row| row.get(0),
        )?;
        if tables == 0 {
            return Ok(true);
        }
        let records: u64 = connection.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
        Ok(records == 0)
    }

    fn over(connection: Connection, path: &Path) -> Self {
        let log_identity = identity(&log_of(path));
        Self { connection, log_identity, identity: identity(path), path: path.to_owned() }
    }

    /// Whether database and write-ahead log still lie where they were opened. SQLite would go on writing to files
    /// that nobody can find again.
    pub(crate) fn place(&mut self) -> Place {
        let log = identity(&log_of(&self.path));
        if self.log_identity.is_none() {
            self.log_identity = log;
        }
        let place = Place::of(self.identity, identity(&self.path));
        // The database is there without its log, or with a strange one: closing it now writes what the log held
        // into the database, where waiting would lose it.
        if place == Place::Here && log != self.log_identity { Place::Replaced } else { place }
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is erased is overwritten, not just forgotten.
    connection.pragma_update(None, "secure_delete", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
}

pub(crate) fn head(connection: &Connection) -> Result<Option<Head>> {
    let mut statement = connection.prepare_cached("SELECT size, root, note FROM head WHERE id = 1")?;
    statement
        .query_row([], |row| Ok(Head { size: row.get(0)?, root: Hash(row.get(1)?), note: row.get(2)? }))
        .optional()
}

pub(crate) fn set_head(connection: &Connection, size: u64, root: &Hash, note: Option<&[u8]>) -> Result<()> {
    let text = "INSERT INTO head (id, size, root, note) VALUES (1, ?1, ?2, ?3)
        ON CONFLICT (id) DO UPDATE SET size = ?1, root = ?2, note = ?3";
    connection.prepare_cached(text)?.execute(params![size, root.0, note]).map(drop)
}

pub(crate) fn add_record(connection: &Connection, seq: u64, body: &[u8]) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO records (seq, body) VALUES (?1, ?2)")?;
    statement.execute(params![seq, body]).map(drop)
}

pub(crate) fn record(connection: &Connection, seq: u64) -> Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT body FROM records WHERE seq = ?1")?;
    statement.query_row([seq], |row| row.get(0)).optional()
}

/// Calls `each` with the records before index `end`, in order.
pub(crate) fn for_each_record<E: From<rusqlite::Error>>(
    connection: &Connection,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut statement =
        connection.prepare_cached("SELECT seq, body FROM records WHERE seq < ?1 ORDER BY seq")?;
    // SQLite's integers have a sign.
    let mut rows = statement.query([end.min(i64::MAX.unsigned_abs())])?;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        each(row.get(0)?, body)?;
    }
    Ok(())
}

pub(crate) fn add_tile(connection: &Connection, tile: &Tile) -> Result<()> {
    let hashes: Vec<u8> = tile.hashes.iter().flat_map(|hash| hash.0).collect();
    let mut statement =
        connection.prepare_cached("INSERT INTO tiles (level, position, hashes) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![tile.level, tile.index, hashes]).map(drop)
}

pub(crate) fn tile(connection: &Connection, level: u8, index: u64) -> Result<Vec<Hash>> {
    let mut statement =
        connection.prepare_cached("SELECT hashes FROM tiles WHERE level = ?1 AND position = ?2")?;
    let bytes: Vec<u8> = statement.query_row(params![level, index], |row| row.get(0))?;
    let (hashes, _rest) = bytes.as_chunks::<32>();
    Ok(hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// How many tiles are stored.
pub(crate) fn tiles(connection: &Connection) -> Result<u64> {
    connection.query_row("SELECT count(*) FROM tiles", [], |row| row.get(0))
}

pub(crate) fn add_attempt(connection: &Connection, attempt: &AttemptId, seq: u64) -> Result<()> {
    let mut statement = connection.prepare_cached("INSERT INTO attempts (attempt, seq) VALUES (?1, ?2)")?;
    statement.execute(params![attempt.as_bytes(), seq]).map(drop)
}

pub(crate) fn attempt(connection: &Connection, attempt: &AttemptId) -> Result<Option<u64>> {
    let mut statement = connection.prepare_cached("SELECT seq FROM attempts WHERE attempt = ?1")?;
    statement.query_row([attempt.as_bytes()], |row| row.get(0)).optional()
}

/// Enters a PERMIT, and its key as consumed.
pub(crate) fn add_permit(connection: &Connection, permit: &NewPermit<'_>) -> Result<()> {
    let key = permit.key.map(Digest::as_bytes);
    let text =
        "INSERT INTO permits (seq, attempt, agent, key, due, keep_result_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(text)?.execute(params![
        permit.seq,
        permit.attempt.as_bytes(),
        permit.agent.as_str(),
        key,
        permit.due.0,
        permit.keep_result_ms
    ])?;
    if let Some(key) = key {
        let text = "INSERT OR REPLACE INTO keys (key, operation, permit, consumed) VALUES (?1, ?2, ?3, ?4)";
        connection.prepare_cached(text)?.execute(params![
            key,
            permit.operation.as_bytes(),
            permit.seq,
            permit.now.0
        ])?;
    }
    Ok(())
}

const PERMIT: &str =
    "SELECT seq, attempt, agent, key, outcome, outcome_seq, due, keep_result_ms FROM permits";

fn permit_row(row: &Row<'_>) -> Result<PermitRow> {
    let outcome: Option<String> = row.get(4)?;
    Ok(PermitRow {
        seq: row.get(0)?,
        attempt: AttemptId::from_bytes(row.get(1)?),
        agent: row.get(2)?,
        key: row.get::<_, Option<[u8; 32]>>(3)?.map(Digest::from_bytes),
        keep_result_ms: row.get(7)?,
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

pub(crate) fn permit(connection: &Connection, attempt: &AttemptId) -> Result<Option<PermitRow>> {
    let mut statement = connection.prepare_cached(&format!("{PERMIT} WHERE attempt = ?1"))?;
    statement.query_row([attempt.as_bytes()], permit_row).optional()
}

/// PERMITs without outcome from index `first` on: those that were committed but never released.
pub(crate) fn open_permits_from(connection: &Connection, first: u64) -> Result<Vec<PermitRow>> {
    let mut statement =
        connection.prepare_cached(&format!("{PERMIT} WHERE seq >= ?1 AND outcome IS NULL ORDER BY seq"))?;
    statement.query_map([first], permit_row)?.collect()
}

/// At most `most` PERMITs whose outcome is overdue.
pub(crate) fn overdue(connection: &Connection, now: Millis, most: u32) -> Result<Vec<PermitRow>> {
    let text = format!("{PERMIT} WHERE outcome IS NULL AND due <= ?1 ORDER BY due LIMIT ?2");
    connection.prepare_cached(&text)?.query_map(params![now.0, most], permit_row)?.collect()
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

/// Ends a PERMIT. A key whose PERMIT was never spent or never released is given back.
pub(crate) fn end_permit(
    connection: &Connection,
    permit: &PermitRow,
    outcome: Outcome,
    outcome_seq: u64,
) -> Result<()> {
    let mut end =
        connection.prepare_cached("UPDATE permits SET outcome = ?2, outcome_seq = ?3 WHERE seq = ?1")?;
    end.execute(params![permit.seq, outcome.as_str(), outcome_seq])?;
    let Some(key) = &permit.key else { return Ok(()) };
    match outcome {
        Outcome::Expired | Outcome::Withheld => {
            let text = "DELETE FROM keys WHERE key = ?1 AND permit = ?2";
            connection.prepare_cached(text)?.execute(params![key.as_bytes(), permit.seq]).map(drop)
        }
        Outcome::Ok | Outcome::Failed | Outcome::Unknown => Ok(()),
    }
}

/// Which PERMIT consumed a key, and when.
pub(crate) fn key_permit(connection: &Connection, key: &Digest) -> Result<Option<(u64, Millis)>> {
    let text = "SELECT permit, consumed FROM keys WHERE key = ?1";
    let mut statement = connection.prepare_cached(text)?;
    statement.query_row([key.as_bytes()], |row| Ok((row.get(0)?, Millis(row.get(1)?)))).optional()
}

/// What a key was consumed for, by which PERMIT, and when.
pub(crate) fn key_row(connection: &Connection, key: &Digest) -> Result<Option<(Digest, u64, Millis)>> {
    let text = "SELECT operation, permit, consumed FROM keys WHERE key = ?1";
    let mut statement = connection.prepare_cached(text)?;
    let read = |row: &Row<'_>| Ok((Digest::from_bytes(row.get(0)?), row.get(1)?, Millis(row.get(2)?)));
    statement.query_row([key.as_bytes()], read).optional()
}

/// How much the state holds.
pub(crate) struct Totals {
    pub(crate) permits: u64,
    /// PERMITs with an outcome.
    pub(crate) ended: u64,
    pub(crate) keys: u64,
}

pub(crate) fn totals(connection: &Connection) -> Result<Totals> {
    let text = "SELECT (SELECT count(*) FROM permits), (SELECT count(outcome) FROM permits), (SELECT count(*) FROM keys)";
    connection
        .query_row(text, [], |row| Ok(Totals { permits: row.get(0)?, ended: row.get(1)?, keys: row.get(2)? }))
}

/// What a key was consumed for, if it was.
pub(crate) fn key(connection: &Connection, key: &Digest) -> Result<Option<StoredKey>> {
    let text = "SELECT keys.operation, keys.consumed, permits.outcome FROM keys JOIN permits ON permits.seq = keys.permit
        WHERE keys.key = ?1";
    let read = |row: &Row<'_>| {
        let outcome: Option<String> = row.get(2)?;
        let status = match outcome.map(|word| outcome_of(&word)).transpose()? {
            None => KeyStatus::InFlight,
            Some(Outcome::Ok | Outcome::Failed) => KeyStatus::Completed,
            // A key that should have been given back and was not: in doubt, so it does not run.
            Some(Outcome::Unknown | Outcome::Expired | Outcome::Withheld) => KeyStatus::Unknown,
        };
        let operation = Digest::from_bytes(row.get(0)?);
        Ok(StoredKey { operation, status, consumed: Millis(row.get(1)?) })
    };
    connection.prepare_cached(text)?.query_row([key.as_bytes()], read).optional()
}

/// How the PERMIT that consumed a key ended, and the index of the record that says so.
pub(crate) fn key_outcome(connection: &Connection, key: &Digest) -> Result<Option<(Outcome, u64)>> {
    let text =
        "SELECT permits.outcome, permits.outcome_seq FROM keys JOIN permits ON permits.seq = keys.permit
        WHERE keys.key = ?1";
    let read = |row: &Row<'_>| {
        let outcome: Option<String> = row.get(0)?;
        let outcome = outcome.map(|word| outcome_of(&word)).transpose()?;
        Ok(outcome.zip(row.get::<_, Option<u64>>(1)?))
    };
    Ok(connection.prepare_cached(text)?.query_row([key.as_bytes()], read).optional()?.flatten())
}
