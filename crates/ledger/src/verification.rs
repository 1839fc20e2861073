//! What is believed of a database that lies on a disk: nothing, before its records hash to heads that the log's
//! key signed, and its state is what those records say.

use portcullis_protocol::{Millis, Record};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{Hash, TileTree, UnverifiedCheckpoint, VerifiedCheckpoint, VerifierKey};
use rusqlite::Connection;

use crate::error::LedgerError;
use crate::projection::Projection;
use crate::store;

/// A database whose records were read and hashed, all of them.
pub(crate) struct Verified {
    /// The tree over its records.
    pub(crate) tree: TileTree,
    /// The anchored head, if there is one. What lies beyond it was committed, but never released.
    pub(crate) anchored: Option<VerifiedCheckpoint>,
    /// When the newest record was written.
    pub(crate) last: Millis,
}

/// A head that the records must contain.
struct Expected {
    size: u64,
    root: Hash,
    met: bool,
}

impl Expected {
    fn of(head: &VerifiedCheckpoint) -> Self {
        // The empty tree has one root, which reading the checkpoint has checked.
        Self { size: head.size(), root: head.root(), met: head.size() == 0 }
    }

    fn compare(&mut self, tree: &TileTree) {
        if self.size == tree.size() {
            self.met = self.root == tree.root();
        }
    }
}

/// Verifies a database against the anchor, and against newer heads that are `known` from elsewhere.
///
/// Every head must be signed by `key`, and the records must hash to its root at its size. The database may be
/// ahead of the anchor, by what was committed and not yet anchored, never behind it; and the anchor may be behind
/// no head that was ever signed and kept elsewhere, or what was released would be taken for what never was.
pub(crate) fn verify(
    connection: &Connection,
    anchor: Option<&[u8]>,
    key: &VerifierKey,
    known: &[&VerifiedCheckpoint],
) -> Result<Verified, LedgerError> {
    let head =
        store::head(connection)?.ok_or_else(|| LedgerError::Corrupt("the database has no head".into()))?;
    let anchored = anchor.map(|note| checkpoint(note, key)).transpose()?;
    let carried = head.note.as_deref().map(|note| checkpoint(note, key)).transpose()?;
    let anchored_size = anchored.as_ref().map(VerifiedCheckpoint::size);
    if anchored_size.is_none() && head.size > 0 {
        return Err(behind("the anchor is empty or was replaced"));
    }
    let newer = |head: &&VerifiedCheckpoint| anchored_size.is_none_or(|size| size < head.size());
    if carried.iter().chain(known.iter().copied()).any(|head| newer(&head)) {
        return Err(behind("the anchor is older than a head that was signed"));
    }
    if anchored_size.is_some_and(|size| size > head.size) {
        return Err(behind("the anchor has more records than the ledger"));
    }
    let mut expected: Vec<_> =
        anchored.iter().chain(&carried).chain(known.iter().copied()).map(Expected::of).collect();
    let signed = anchored_size.map_or(0, |size| size);
    let (tree, last) = hash_all(connection, head.size, Projection::new(connection, signed), &mut expected)?;
    if tree.root() != head.root {
        return Err(LedgerError::Corrupt("the records do not hash to the database's head".into()));
    }
    if expected.iter().any(|head| !head.met) {
        return Err(behind("its records are not those that were signed"));
    }
    Ok(Verified { tree, anchored, last })
}

fn behind(what: &str) -> LedgerError {
    LedgerError::BehindAnchor(what.into())
}

pub(crate) fn checkpoint(note: &[u8], key: &VerifierKey) -> Result<VerifiedCheckpoint, LedgerError> {
    Ok(UnverifiedCheckpoint::parse(note)?.verify(std::slice::from_ref(key))?)
}

/// Hashes all records, comparing the root on the way with the heads that are expected at their sizes, and the
/// state with what the records say.
fn hash_all(
    connection: &Connection,
    size: u64,
    mut projection: Projection<'_>,
    expected: &mut [Expected],
) -> Result<(TileTree, Millis), LedgerError> {
    let mut tree = TileTree::new();
    let mut newest = None;
    let mut tiles = 0;
    store::for_each_record(connection, u64::MAX, |seq, body| {
        if seq != tree.size() {
            return Err(LedgerError::Corrupt(format!("record {} is missing", tree.size())));
        }
        tree.append(leaf_hash(body));
        tiles += compare_tiles(connection, &mut tree)?;
        projection.compare(seq, body)?;
        if tree.size() == size {
            newest = Some(body.to_vec());
        }
        expected.iter_mut().for_each(|head| head.compare(&tree));
        Ok(())
    })?;
    if tree.size() != size {
        return Err(LedgerError::Corrupt(format!("{} records, where the head says {size}", tree.size())));
    }
    if store::tiles(connection)? != tiles {
        return Err(LedgerError::Corrupt("there are tiles of records that do not exist".into()));
    }
    projection.finish()?;
    let last = newest.map(|body| Record::parse(&body)).transpose()?.map_or(Millis(0), |record| record.time());
    Ok((tree, last))
}

/// Compares the tiles that became full with those in the database. Says how many.
fn compare_tiles(connection: &Connection, tree: &mut TileTree) -> Result<u64, LedgerError> {
    let mut compared = 0;
    for tile in tree.take_full_tiles() {
        if store::tile(connection, tile.level, tile.index)? != tile.hashes {
            return Err(LedgerError::Corrupt(format!("tile {} of level {} differs", tile.index, tile.level)));
        }
        compared += 1;
    }
    Ok(compared)
}
