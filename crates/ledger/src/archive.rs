//! What sources of facts gave, kept for whoever decides again by it: as long as a request is kept that was decided by it.
//!
//! The entities lie in a table by their digest, and beside them, of each source, until when they are needed. They are in
//! clear, and not one agent's: whom they are about, the ledger does not know. An operator erases all that a source gave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_protocol::{Digest, Millis, SnapshotUse, SourceName};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::LedgerError;
use crate::payloads::Kept;
use crate::row;

/// Its tables.
pub(crate) const SCHEMA: &str = "
CREATE TABLE snapshots (digest BLOB PRIMARY KEY, entities BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_uses (source TEXT NOT NULL, digest BLOB NOT NULL, expires INTEGER NOT NULL,
  erased INTEGER, mark BLOB NOT NULL, PRIMARY KEY (source, digest)) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_uses_digest ON snapshot_uses (digest);
";

/// The grain of the time for which facts are kept, in milliseconds: an hour. What every decision needs for a moment longer
/// than the one before is written once in it.
const GRAIN: u64 = 60 * 60 * 1_000;

/// Of each source, until when its facts of a digest are kept. A function of the table, in memory for the writer; like the
/// standing, only good as long as nothing fails.
#[derive(Debug, Default)]
pub(crate) struct Archive(BTreeMap<(SourceName, Digest), Millis>);

/// What is kept of the facts that a source gave.
pub(crate) fn facts(
    connection: &Connection,
    source: &SourceName,
    digest: &Digest,
) -> Result<Kept<Vec<u8>>, LedgerError> {
    let text = "SELECT entities FROM snapshots WHERE digest = ?1";
    let mut statement = connection.prepare_cached(text)?;
    if let Some(entities) = statement.query_row([digest.as_bytes()], |row| row.get(0)).optional()? {
        return Ok(Kept::Here(entities));
    }
    let text = "SELECT erased FROM snapshot_uses WHERE source = ?1 AND digest = ?2";
    let mut statement = connection.prepare_cached(text)?;
    let erased = statement.query_row(params![source.as_str(), digest.as_bytes()], |row| row.get(0));
    let erased: Option<Option<u64>> = erased.optional()?;
    Ok(if erased.flatten().is_some() { Kept::Erased } else { Kept::Nothing })
}

/// The facts of a source that a record names, of those that it was computed by.
///
/// # Errors
/// [`LedgerError::Corrupt`] if they are not among them: a record whose facts are nowhere could never be answered again.
pub(crate) fn given<'a>(
    snapshots: &'a [(Digest, Arc<[u8]>)],
    source: &SourceName,
    named: &SnapshotUse,
) -> Result<&'a (Digest, Arc<[u8]>), LedgerError> {
    let given = snapshots.iter().find(|(digest, _)| *digest == named.digest);
    given.ok_or_else(|| {
        LedgerError::Corrupt(format!("a record names facts of `{source}` that it was not computed by"))
    })
}

/// Whether facts are kept beyond their time.
pub(crate) fn any_expired(connection: &Connection, now: Millis) -> rusqlite::Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM snapshot_uses WHERE expires <= ?1)";
    connection.prepare_cached(text)?.query_row([now.0], |row| row.get(0))
}

impl Archive {
    pub(crate) fn of(connection: &Connection) -> Result<Self, LedgerError> {
        let held = uses(connection, "SELECT * FROM snapshot_uses WHERE erased IS NULL", [])?;
        Ok(Self(held.into_iter().map(|used| ((used.source, used.digest), used.expires)).collect()))
    }

    /// Keeps facts, for a request that is kept until then.
    pub(crate) fn keep(
        &mut self,
        connection: &Connection,
        (source, digest): (&SourceName, Digest),
        entities: &[u8],
        until: Millis,
    ) -> Result<(), LedgerError> {
        let until = Millis(until.0.div_ceil(GRAIN).saturating_mul(GRAIN));
        let held = self.0.get(&(source.clone(), digest)).copied();
        if held.is_some_and(|held| held >= until) {
            return Ok(());
        }
        let known = used(connection, source, &digest)?;
        // Each hour the table is held against what is known of it.
        if known.as_ref().filter(|known| known.erased.is_none()).map(|known| known.expires) != held {
            return Err(LedgerError::Corrupt(format!(
                "the kept facts {digest} are not those that were kept"
            )));
        }
        // What another source gave may be the same.
        let text = "INSERT OR IGNORE INTO snapshots (digest, entities) VALUES (?1, ?2)";
        connection.prepare_cached(text)?.execute(params![digest.as_bytes(), entities])?;
        let expires = known.map_or(until, |known| known.expires.max(until));
        Use { source: source.clone(), digest, expires, erased: None }.store(connection)?;
        self.0.insert((source.clone(), digest), expires);
        Ok(())
    }

    /// Removes the facts of at most `most` digests whose time is over, once no payload is left whose time is. Says how many.
    pub(crate) fn expire(
        &mut self,
        connection: &Connection,
        now: Millis,
        most: u32,
    ) -> Result<usize, LedgerError> {
        // As long as a request is there, what it was decided by is.
        let text = "SELECT * FROM snapshot_uses WHERE expires <= ?1
            AND NOT EXISTS (SELECT 1 FROM payloads WHERE expires <= ?1) ORDER BY expires LIMIT ?2";
        let over = uses(connection, text, params![now.0, most])?;
        for Use { source, digest, .. } in &over {
            let text = "DELETE FROM snapshot_uses WHERE source = ?1 AND digest = ?2";
            connection.prepare_cached(text)?.execute(params![source.as_str(), digest.as_bytes()])?;
            let text = "DELETE FROM snapshots WHERE digest = ?1
                AND NOT EXISTS (SELECT 1 FROM snapshot_uses WHERE digest = ?1 AND erased IS NULL)";
            connection.prepare_cached(text)?.execute([digest.as_bytes()])?;
            self.0.remove(&(source.clone(), *digest));
        }
        Ok(over.len())
    }

    /// Whether anything is kept of what a source gave.
    pub(crate) fn holds(&self, source: &SourceName) -> bool {
        self.0.keys().any(|(name, _)| name == source)
    }

    /// Destroys all that a source gave, whichever other source gave the same, by the order at this index. That it was erased,
    /// and by which order, is known as long as it would have been kept.
    pub(crate) fn erase(
        &mut self,
        connection: &Connection,
        source: &SourceName,
        order: u64,
    ) -> Result<(), LedgerError> {
        let text = "SELECT * FROM snapshot_uses WHERE erased IS NULL AND source = ?1";
        let own = uses(connection, text, params![source.as_str()])?;
        let digests: BTreeSet<Digest> = own.into_iter().map(|used| used.digest).collect();
        for digest in &digests {
            let text = "DELETE FROM snapshots WHERE digest = ?1";
            connection.prepare_cached(text)?.execute([digest.as_bytes()])?;
            let text = "SELECT * FROM snapshot_uses WHERE digest = ?1";
            for used in uses(connection, text, [digest.as_bytes()])? {
                Use { erased: used.erased.or(Some(order)), ..used }.store(connection)?;
            }
        }
        self.0.retain(|(_, digest), _| !digests.contains(digest));
        Ok(())
    }
}

/// Until when a source's facts of a digest are kept: a row of the table.
pub(crate) struct Use {
    pub(crate) source: SourceName,
    pub(crate) digest: Digest,
    pub(crate) expires: Millis,
    /// Index of the order by which they were erased, if they were.
    pub(crate) erased: Option<u64>,
}

impl Use {
    fn mark(&self) -> [u8; row::MARK] {
        let expires = self.expires.0.to_be_bytes();
        let erased = self.erased.map_or(Vec::new(), |order| order.to_be_bytes().to_vec());
        let values: [&[u8]; 4] = [self.source.as_str().as_bytes(), self.digest.as_bytes(), &expires, &erased];
        row::mark("snapshot_uses", &values)
    }

    pub(crate) fn store(&self, connection: &Connection) -> rusqlite::Result<()> {
        let text = "INSERT OR REPLACE INTO snapshot_uses (source, digest, expires, erased, mark)
            VALUES (?1, ?2, ?3, ?4, ?5)";
        connection
            .prepare_cached(text)?
            .execute(params![
                self.source.as_str(),
                self.digest.as_bytes(),
                self.expires.0,
                self.erased,
                self.mark()
            ])
            .map(drop)
    }

    /// From all columns of a row.
    fn read(row: &rusqlite::Row<'_>) -> Result<Self, LedgerError> {
        let damaged = || LedgerError::Corrupt("a row of `snapshot_uses` was altered".into());
        let source = row.get::<_, String>("source")?.parse().map_err(|_| damaged())?;
        let digest = Digest::from_bytes(row.get("digest")?);
        let used = Self { source, digest, expires: Millis(row.get("expires")?), erased: row.get("erased")? };
        if row.get::<_, Vec<u8>>("mark")? == used.mark() { Ok(used) } else { Err(damaged()) }
    }
}

fn uses(
    connection: &Connection,
    text: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<Use>, LedgerError> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Use::read(row)?);
    }
    Ok(found)
}

/// A source's facts of a digest: until when they are kept, or it is known that they were erased; `None` if no row says so.
pub(crate) fn used(
    connection: &Connection,
    source: &SourceName,
    digest: &Digest,
) -> Result<Option<Use>, LedgerError> {
    let text = "SELECT * FROM snapshot_uses WHERE source = ?1 AND digest = ?2";
    Ok(uses(connection, text, params![source.as_str(), digest.as_bytes()])?.pop())
}

/// All rows, each as it was written.
pub(crate) fn all_uses(connection: &Connection) -> Result<Vec<Use>, LedgerError> {
    uses(connection, "SELECT * FROM snapshot_uses", [])
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
