//! The archive of bundles: what replays need of the bundle that decided.
//!
//! A bundle may have megabytes, and writing them takes longer than a decision may wait. So an archive is written in parts,
//! one with each batch, before its bundle decides. A bundle that decides all the same before its last part is there is
//! written whole, in the batch of the first record that names it: no record is ever released without its bundle.
//!
//! An activation may come to nothing after that. Until a record names its bundle the archive is nobody's, and it goes when the
//! next one is archived.

use std::collections::VecDeque;
use std::sync::Arc;

use portcullis_protocol::{BundleDigest, Digest, ReasonCode};
use rusqlite::{Connection, Result, params};

use crate::batch::Batch;
use crate::command::Reply;
use crate::error::LedgerError;

/// Its table.
pub(crate) const SCHEMA: &str = "
CREATE TABLE bundles (digest BLOB NOT NULL, part INTEGER NOT NULL, parts INTEGER NOT NULL, bytes BLOB NOT NULL,
  PRIMARY KEY (digest, part)) STRICT, WITHOUT ROWID;
CREATE TABLE unnamed (digest BLOB PRIMARY KEY) STRICT, WITHOUT ROWID;
";

/// Bytes of a part.
const PART: usize = 64 * 1024;

/// The digests of the bundles that are archived whole.
pub(crate) fn archived(connection: &Connection) -> Result<Vec<BundleDigest>> {
    let text = "SELECT digest FROM bundles GROUP BY digest HAVING count(*) = max(parts)";
    let mut statement = connection.prepare_cached(text)?;
    let digests = statement.query_map([], |row| row.get(0).map(Digest::from_bytes).map(BundleDigest))?;
    digests.collect()
}

/// The digests of archives that no record names yet, whole or not.
pub(crate) fn unnamed(connection: &Connection) -> Result<Vec<BundleDigest>> {
    let mut statement = connection.prepare_cached("SELECT digest FROM unnamed")?;
    let digests = statement.query_map([], |row| row.get(0).map(Digest::from_bytes).map(BundleDigest))?;
    digests.collect()
}

/// Whether an archive is one that no record names, and goes with the next one.
pub(crate) fn is_unnamed(connection: &Connection, digest: &BundleDigest) -> Result<bool> {
    let text = "SELECT EXISTS (SELECT 1 FROM unnamed WHERE digest = ?1)";
    connection.prepare_cached(text)?.query_row([digest.0.as_bytes()], |row| row.get(0))
}

/// An archive, if all of it is there.
pub(crate) fn bundle(connection: &Connection, digest: &BundleDigest) -> Result<Option<Vec<u8>>> {
    let text = "SELECT parts, bytes FROM bundles WHERE digest = ?1 ORDER BY part";
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query([digest.0.as_bytes()])?;
    let (mut bytes, mut found, mut parts) = (Vec::new(), 0_u64, None);
    while let Some(row) = rows.next()? {
        parts = Some(row.get::<_, u64>(0)?);
        bytes.extend_from_slice(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?);
        found = found.saturating_add(1);
    }
    Ok((parts == Some(found)).then_some(bytes))
}

/// Forgets what there is of an archive.
fn forget(connection: &Connection, digest: &BundleDigest) -> Result<()> {
    let text = "DELETE FROM bundles WHERE digest = ?1";
    connection.prepare_cached(text)?.execute([digest.0.as_bytes()]).map(drop)
}

fn add_unnamed(connection: &Connection, digest: &BundleDigest) -> Result<()> {
    let text = "INSERT OR IGNORE INTO unnamed (digest) VALUES (?1)";
    connection.prepare_cached(text)?.execute([digest.0.as_bytes()]).map(drop)
}

fn remove_unnamed(connection: &Connection, digest: &BundleDigest) -> Result<()> {
    let text = "DELETE FROM unnamed WHERE digest = ?1";
    connection.prepare_cached(text)?.execute([digest.0.as_bytes()]).map(drop)
}

fn add_part(connection: &Connection, digest: &BundleDigest, archive: &[u8], part: usize) -> Result<()> {
    let text = "INSERT INTO bundles (digest, part, parts, bytes) VALUES (?1, ?2, ?3, ?4)";
    let bytes = archive.chunks(PART).nth(part).map_or(&[][..], |bytes| bytes);
    let values = params![digest.0.as_bytes(), part, parts(archive), bytes];
    connection.prepare_cached(text)?.execute(values).map(drop)
}

/// How many parts an archive has: one, even of nothing.
fn parts(archive: &[u8]) -> usize {
    archive.len().div_ceil(PART).max(1)
}

/// An archive that is being written.
struct Archiving {
    digest: BundleDigest,
    archive: Arc<[u8]>,
    next: usize,
    /// Who waits for it, before any record names the bundle; nobody, if one does.
    reply: Option<Reply<std::result::Result<(), ReasonCode>>>,
}

/// Archives that are to be written while nobody waits for them.
#[derive(Default)]
pub(crate) struct Archives(VecDeque<Archiving>);

impl Archives {
    pub(crate) fn add(
        &mut self,
        digest: BundleDigest,
        archive: Arc<[u8]>,
        reply: Option<Reply<std::result::Result<(), ReasonCode>>>,
    ) {
        self.0.push_back(Archiving { digest, archive, next: 0, reply });
    }

    /// Whether parts are still to be written.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.0.is_empty()
    }

    /// Writes the next part into a batch.
    pub(crate) fn write(&self, batch: &mut Batch<'_>) -> std::result::Result<(), LedgerError> {
        match self.0.front() {
            Some(first) => {
                let unnamed = first.reply.is_some();
                batch.archive_part(&first.digest, &first.archive, (first.next, unnamed))
            }
            None => Ok(()),
        }
    }

    /// Goes on behind the part that is in the database now.
    pub(crate) fn written(&mut self) {
        let Some(mut first) = self.0.pop_front() else { return };
        first.next = first.next.saturating_add(1);
        if first.next < parts(&first.archive) {
            self.0.push_front(first);
        } else if let Some(reply) = first.reply {
            reply(Ok(()));
        }
    }

    /// Begins anew: what of them is in the database after a failure is not known.
    pub(crate) fn restart(&mut self) {
        self.0.iter_mut().for_each(|it| it.next = 0);
    }

    /// Gives up what is not written: the first record that names such a bundle archives it.
    pub(crate) fn refuse(&mut self, code: ReasonCode) {
        self.0.drain(..).filter_map(|it| it.reply).for_each(|reply| reply(Err(code)));
    }
}

impl Batch<'_> {
    /// Archives a bundle whole, unless it is.
    pub(crate) fn archive_whole(
        &mut self,
        digest: &BundleDigest,
        archive: &[u8],
    ) -> std::result::Result<(), LedgerError> {
        self.name(digest)?;
        if !self.is_archived(digest) {
            // What a process that ended half-way left may be of other signatures.
            forget(self.connection, digest)?;
            (0..parts(archive)).try_for_each(|part| add_part(self.connection, digest, archive, part))?;
            self.archives.insert(*digest);
        }
        Ok(())
    }

    /// Archives one part of a bundle, unless all of it is there. With the last one it is archived.
    fn archive_part(
        &mut self,
        digest: &BundleDigest,
        archive: &[u8],
        (part, unnamed): (usize, bool),
    ) -> std::result::Result<(), LedgerError> {
        if self.is_archived(digest) {
            return Ok(());
        }
        if part == 0 {
            forget(self.connection, digest)?;
            if unnamed {
                self.forget_unnamed()?;
                add_unnamed(self.connection, digest)?;
                self.unnamed.insert(*digest);
            }
        }
        add_part(self.connection, digest, archive, part)?;
        self.kept_beside = true;
        if part.saturating_add(1) < parts(archive) {
            return Ok(());
        }
        // The earlier ones were written to what may have been another database.
        if bundle(self.connection, digest)?.as_deref() != Some(archive) {
            return self.archive_whole(digest, archive);
        }
        self.archives.insert(*digest);
        Ok(())
    }

    /// A record of this batch names a bundle: whatever is archived of it stays.
    pub(crate) fn name(&mut self, digest: &BundleDigest) -> std::result::Result<(), LedgerError> {
        if self.unnamed.remove(digest) {
            remove_unnamed(self.connection, digest)?;
        }
        Ok(())
    }

    /// Forgets the archives that no record names.
    fn forget_unnamed(&mut self) -> std::result::Result<(), LedgerError> {
        while let Some(digest) = self.unnamed.pop_first() {
            forget(self.connection, &digest)?;
            remove_unnamed(self.connection, &digest)?;
            self.archives.remove(&digest);
            self.forgotten.insert(digest);
        }
        Ok(())
    }

    fn is_archived(&self, digest: &BundleDigest) -> bool {
        let earlier = self.archived.contains(digest) && !self.forgotten.contains(digest);
        earlier || self.archives.contains(digest)
    }
}

#[cfg(test)]
#[path = "bundle_archive_tests.rs"]
mod tests;
