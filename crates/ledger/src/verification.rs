//! What is believed of a database that lies on a disk: nothing, before its records hash to heads that the log's
//! key signed.

use portcullis_protocol::{Millis, Record};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::{Hash, TileTree, UnverifiedCheckpoint, VerifiedCheckpoint, VerifierKey};
use rusqlite::Connection;

use crate::error::LedgerError;
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

/// Verifies a database against the anchor.
///
/// A head found in the anchor or in the database must be signed by `key`, and the records must hash to its root
/// at its size. The database may be ahead of the anchor, by what was committed and not yet anchored, never
/// behind it.
pub(crate) fn verify(
    connection: &Connection,
    anchor: Option<&[u8]>,
    key: &VerifierKey,
) -> Result<Verified, LedgerError> {
    let head =
        store::head(connection)?.ok_or_else(|| LedgerError::Corrupt("the database has no head".into()))?;
    let anchor = anchor.map(|note| checkpoint(note, key)).transpose()?;
    let carried = head.note.as_deref().map(|note| checkpoint(note, key)).transpose()?;
    if anchor.is_none() && head.size > 0 {
        return Err(LedgerError::BehindAnchor("the anchor is empty or was replaced".into()));
    }
    if let Some(anchor) = anchor.as_ref().filter(|anchor| anchor.size() > head.size) {
        let (anchored, size) = (anchor.size(), head.size);
        return Err(LedgerError::BehindAnchor(format!(
            "the anchor has {anchored} records, the ledger {size}"
        )));
    }
    let heads = anchor.as_ref().map(|anchor| (anchor.size(), anchor.root()));
    let carried = carried.map(|carried| (carried.size(), carried.root()));
    let (tree, last) = hash_all(connection, head.size, heads, carried)?;
    if tree.root() != head.root {
        return Err(LedgerError::Corrupt("the records do not hash to the database's head".into()));
    }
    Ok(Verified { tree, anchored: anchor, last })
}

fn checkpoint(note: &[u8], key: &VerifierKey) -> Result<VerifiedCheckpoint, LedgerError> {
    Ok(UnverifiedCheckpoint::parse(note)?.verify(std::slice::from_ref(key))?)
}

/// Hashes all records, comparing the root on the way with the heads that are expected at their sizes.
fn hash_all(
    connection: &Connection,
    size: u64,
    anchored: Option<(u64, Hash)>,
    carried: Option<(u64, Hash)>,
) -> Result<(TileTree, Millis), LedgerError> {
    let mut tree = TileTree::new();
    let mut newest = None;
    let agrees = |tree: &TileTree| -> Result<(), LedgerError> {
        if matches!(anchored, Some((at, root)) if at == tree.size() && root != tree.root()) {
            return Err(LedgerError::BehindAnchor(format!(
                "the first {} records are not those anchored",
                tree.size()
            )));
        }
        if matches!(carried, Some((at, root)) if at == tree.size() && root != tree.root()) {
            return Err(LedgerError::Corrupt(format!(
                "the first {} records are not those signed",
                tree.size()
            )));
        }
        Ok(())
    };
    store::for_each_record(connection, 0, |seq, body| {
        if seq != tree.size() {
            return Err(LedgerError::Corrupt(format!("record {} is missing", tree.size())));
        }
        tree.append(leaf_hash(body));
        for tile in tree.take_full_tiles() {
            if store::tile(connection, tile.level, tile.index)? != tile.hashes {
                return Err(LedgerError::Corrupt(format!(
                    "tile {} of level {} differs",
                    tile.index, tile.level
                )));
            }
        }
        if tree.size() == size {
            newest = Some(body.to_vec());
        }
        agrees(&tree)
    })?;
    if tree.size() != size {
        return Err(LedgerError::Corrupt(format!("{} records, where the head says {size}", tree.size())));
    }
    let last = newest.map(|body| Record::parse(&body)).transpose()?.map_or(Millis(0), |record| record.time());
    Ok((tree, last))
}
