//! The database. Statements only: what they mean is decided elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use portcullis_protocol::Millis;
use portcullis_verify::{Hash, Tile};
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, params};

use crate::archive;
use crate::bundle_archive;
use crate::error::LedgerError;
use crate::place::{Identity, Place, identity};

mod permits;

pub(crate) use self::permits::{
    NewPermit, PermitRow, add_attempt, add_permit, attempt, attempts_before, attempts_between, attempts_from,
    end_permit, for_each_attempt, in_doubt, kept_result, last_permit, open_permits, open_permits_from,
    outcome_of, overdue, permit, permit_at, permits_between, permits_in_order, totals,
};

const SCHEMA: &str = "
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB) STRICT;
CREATE TABLE records (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE tiles (level INTEGER NOT NULL, position INTEGER NOT NULL, hashes BLOB NOT NULL,
  PRIMARY KEY (level, position)) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (attempt BLOB PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE permits (seq INTEGER PRIMARY KEY, attempt BLOB NOT NULL, agent TEXT NOT NULL, key BLOB,
  due INTEGER NOT NULL, keep_result BLOB NOT NULL, outcome TEXT, outcome_seq INTEGER) STRICT;
CREATE INDEX permits_open ON permits (due) WHERE outcome IS NULL;
CREATE INDEX permits_in_doubt ON permits (seq) WHERE outcome = 'unknown';
CREATE TABLE keys (bucket INTEGER NOT NULL, seq INTEGER NOT NULL, name BLOB NOT NULL, permit INTEGER NOT NULL,
  time INTEGER NOT NULL, operation BLOB, PRIMARY KEY (bucket, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE marks (slot INTEGER PRIMARY KEY CHECK (slot IN (0, 1)), seq INTEGER NOT NULL) STRICT;
CREATE TABLE chains (slot INTEGER NOT NULL, part INTEGER NOT NULL, heads BLOB NOT NULL,
  PRIMARY KEY (slot, part)) STRICT, WITHOUT ROWID;
CREATE TABLE standing (slot INTEGER NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (slot, name)) STRICT, WITHOUT ROWID;
CREATE TABLE vault (id INTEGER PRIMARY KEY CHECK (id = 1), master BLOB NOT NULL) STRICT;
CREATE TABLE subjects (id INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, wrapped BLOB, erased INTEGER,
  CHECK ((wrapped IS NULL) = (erased IS NOT NULL))) STRICT;
CREATE UNIQUE INDEX subjects_agent ON subjects (agent) WHERE wrapped IS NOT NULL;
CREATE TABLE payloads (seq INTEGER PRIMARY KEY, subject INTEGER NOT NULL, expires INTEGER NOT NULL,
  sealed BLOB NOT NULL) STRICT;
CREATE INDEX payloads_expires ON payloads (expires);
CREATE TABLE spools (series BLOB PRIMARY KEY, next INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 14;
";
/// How long somebody else's lock on the database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The schema's version, as `user_version` has it.
const VERSION: u32 = 14;

/// Memory for pages, in KiB.
const CACHE_KIB: i64 = 64 * 1024;
/// Pages in the write-ahead log from which on it is written back: 32 MiB. A page that many batches change is written
/// back once.
const CHECKPOINT_PAGES: u32 = 8_192;

/// The newest committed head, and the newest signed one that a commit has carried.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) note: Option<Vec<u8>>,
}

/// An open database file.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connection: Connection,
    path: PathBuf,
    identity: Option<Identity>,
    log_identity: Option<Identity>,
    /// Pages in the write-ahead log, as of the newest commit.
    log_pages: Arc<AtomicU32>,
}

impl Store {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        configure(&connection)?;
        connection.execute_batch(&[archive::SCHEMA, bundle_archive::SCHEMA].concat())?;
        connection.execute_batch(SCHEMA)?;
        Self::over(connection, path)
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
        Ok(Self::over(connection, path)?)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the write-ahead log into the database and cuts it to nothing. Says whether it did.
    pub(crate) fn empty_log(&self) -> Result<bool> {
        // A reader is not waited for: callers are.
        self.connection.busy_timeout(Duration::ZERO)?;
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        self.connection.busy_timeout(PATIENCE)?;
        emptied.map(|busy: bool| !busy)
    }

    /// For readers beside the writer.
    pub(crate) fn read_only(path: &Path) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        keep_statements(&connection)?;
        Ok(connection)
    }

    /// Whether no database is there, or one that never held a record.
    pub(crate) fn is_blank(path: &Path) -> std::result::Result<bool, LedgerError> {
        if !path.try_exists().map_err(LedgerError::file("looking for a ledger"))? {
            return Ok(true);
        }
        // A crash while the file was made leaves a rollback journal, which only a writer can roll back. A ledger with
        // records has none, and is only looked at.
        let connection =
            if beside(path, "-journal").try_exists().map_err(LedgerError::file("looking for a journal"))? {
                Connection::open_with_flags(
                    path,
                    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )?
            } else {
                Self::read_only(path)?
            };
        let tables: u32 = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'records'",
            [],
            |row| row.get(0),
        )?;
        if tables == 0 {
            return Ok(true);
        }
        let recorded: bool =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM records)", [], |row| row.get(0))?;
        Ok(!recorded)
    }

    fn over(mut connection: Connection, path: &Path) -> Result<Self> {
        let log_identity = identity(&log_of(path));
        let log_pages = Arc::new(AtomicU32::new(0));
        let noted = Arc::clone(&log_pages);
        // In place of SQLite's own hook, which writes back within the commit and keeps its errors to itself.
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            noted.store(u32::try_from(pages).map_or(0, |pages| pages), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { connection, log_identity, identity: identity(path), path: path.to_owned(), log_pages })
    }

    /// Writes the write-ahead log back into the database if it is long, without waiting for anybody. To be called when
    /// no caller waits for a commit. Returns how many syncs that took, with the one that begins the log anew.
    pub(crate) fn write_back(&self) -> Result<u64> {
        if self.log_pages.load(Ordering::Relaxed) < CHECKPOINT_PAGES {
            return Ok(0);
        }
        let (pages, written): (i64, i64) =
            self.connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        self.log_pages.store(0, Ordering::Relaxed);
        // What a reader still looks at stays in the log until the next time.
        Ok(if written == pages { 3 } else { 2 })
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
    beside(path, "-wal")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Statements are parsed once. Where an index holds a part of a table only, SQLite otherwise plans a statement anew whenever a
/// value of it changes: with each record of a check.
fn keep_statements(connection: &Connection) -> Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn configure(connection: &Connection) -> Result<()> {
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is erased is overwritten, not just forgotten.
    connection.pragma_update(None, "secure_delete", "ON")?;
    // A batch touches pages all over the indexes: those that do not fit are written twice.
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    keep_statements(connection)?;
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
}

pub(crate) fn head(connection: &Connection) -> Result<Option<Head>> {
    let mut statement = connection.prepare_cached("SELECT size, root, note FROM head WHERE id = 1")?;
    statement
        .query_row([], |row| Ok(Head { size: row.get(0)?, root: Hash(row.get(1)?), note: row.get(2)? }))
        .optional()
}

/// Size and root of the head, and how many records there are by the index of the newest, all of one moment.
pub(crate) fn head_beside_records(connection: &Connection) -> Result<Option<(u64, Hash, u64)>> {
    let text = "SELECT size, root, (SELECT ifnull(max(seq) + 1, 0) FROM records) FROM head WHERE id = 1";
    let mut statement = connection.prepare_cached(text)?;
    statement.query_row([], |row| Ok((row.get(0)?, Hash(row.get(1)?), row.get(2)?))).optional()
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

/// Whether a record is found by its key.
pub(crate) fn has_record(connection: &Connection, seq: u64) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM records WHERE seq = ?1)")?;
    statement.query_row([seq], |row| row.get(0))
}

pub(crate) fn record(connection: &Connection, seq: u64) -> Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT body FROM records WHERE seq = ?1")?;
    statement.query_row([seq], |row| row.get(0)).optional()
}

/// The time of the newest record; 0 of a log without records.
pub(crate) fn newest_time(connection: &Connection) -> std::result::Result<Millis, LedgerError> {
    #[derive(serde::Deserialize)]
    struct Glance {
        time: Millis,
    }
    let mut statement = connection.prepare_cached("SELECT body FROM records ORDER BY seq DESC LIMIT 1")?;
    let body: Option<Vec<u8>> = statement.query_row([], |row| row.get(0)).optional()?;
    let Some(body) = body else { return Ok(Millis(0)) };
    let glance = serde_json::from_slice::<Glance>(&body);
    glance.map(|glance| glance.time).map_err(|_| LedgerError::Corrupt("the newest record is none".into()))
}

/// The index of the newest record; `None` if there is none.
pub(crate) fn last_record(connection: &Connection) -> Result<Option<u64>> {
    connection.prepare_cached("SELECT max(seq) FROM records")?.query_row([], |row| row.get(0))
}

/// Calls `each` with the records from index `first` to before `end`, in order.
pub(crate) fn for_each_record<E: From<rusqlite::Error>>(
    connection: &Connection,
    first: u64,
    end: u64,
    mut each: impl FnMut(u64, &[u8]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut statement = connection
        .prepare_cached("SELECT seq, body FROM records WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")?;
    let mut rows = statement.query([signed(first), signed(end)])?;
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

/// Level and position of the last tile of each level, by level.
pub(crate) fn last_tiles(connection: &Connection) -> Result<Vec<(u64, u64)>> {
    let mut last = Vec::new();
    let mut next = connection.prepare_cached(
        "SELECT level, position FROM tiles WHERE level < ?1 ORDER BY level DESC, position DESC LIMIT 1",
    )?;
    let mut below: u64 = 256;
    while let Some((level, position)) =
        next.query_row([below], |row| Ok((row.get(0)?, row.get(1)?))).optional()?
    {
        last.push((level, position));
        below = level;
    }
    last.reverse();
    Ok(last)
}

/// How many tiles there are. Reads them all.
pub(crate) fn tile_count(connection: &Connection) -> Result<u64> {
    connection.query_row("SELECT count(*) FROM tiles", [], |row| row.get(0))
}

/// How many tiles a level has before position `end`. Reads them all.
pub(crate) fn tiles_before(connection: &Connection, level: u8, end: u64) -> Result<u64> {
    let text = "SELECT count(*) FROM tiles WHERE level = ?1 AND position < ?2";
    connection.query_row(text, params![level, signed(end)], |row| row.get(0))
}

/// SQLite's integers have a sign.
pub(crate) fn signed(index: u64) -> u64 {
    index.min(i64::MAX.unsigned_abs())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
