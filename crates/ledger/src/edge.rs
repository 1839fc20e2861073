//! Trees from stored tiles, without reading the records below them.

use portcullis_protocol::Record;
use portcullis_verify::merkle::{leaf_hash, verify_inclusion};
use portcullis_verify::{Hash, NodeReader, Tile, TileReader, TileTree, VerifiedCheckpoint, merkle, tree};
use rusqlite::Connection;

use crate::disagreement;
use crate::error::LedgerError;
use crate::store;

/// Records below a full tile.
pub(crate) const TILE: u64 = 256;

/// The tree of the first `size` records, rounded down to whole tiles, from the stored tiles. What it is worth is
/// told by its root, and by the roots of the trees that it grows into.
pub(crate) fn restore(connection: &Connection, size: u64) -> Result<TileTree, LedgerError> {
    let size = size - size % TILE;
    let mut edge = Vec::new();
    let mut below = None;
    for shape in TileTree::right_edge_shape(size) {
        let first = shape.index.saturating_mul(TILE);
        let mut row = Vec::with_capacity(usize::from(shape.width));
        if let Some(level) = below {
            for index in first..first.saturating_add(u64::from(shape.width)) {
                row.push(full_tile(connection, level, index)?.root());
            }
        }
        edge.push(row);
        below = Some(shape.level);
    }
    Ok(TileTree::restore(size, edge)?)
}

/// A stored tile, which must be full.
pub(crate) fn full_tile(connection: &Connection, level: u8, index: u64) -> Result<Tile, LedgerError> {
    let hashes = store::tile(connection, level, index)?;
    if hashes.len() == 256 {
        return Ok(Tile { level, index, hashes });
    }
    Err(LedgerError::Corrupt(format!("tile {index} of level {level} is not whole")))
}

/// The tree that a signed head covers.
///
/// # Errors
/// If it does not have the head's root: as [`disagreement::of_tiles`] says.
pub(crate) fn under(connection: &Connection, head: &VerifiedCheckpoint) -> Result<TileTree, LedgerError> {
    match first(connection, head.size()) {
        Ok(tree) if tree.size() == head.size() && tree.root() == head.root() => Ok(tree),
        Ok(_) => Err(disagreement::of_tiles(connection)),
        Err(error) => Err(error),
    }
}

/// The tree of the first `size` records: from the stored tiles, and from the records of the tile that still grew. It is smaller
/// where one of these is missing.
pub(crate) fn first(connection: &Connection, size: u64) -> Result<TileTree, LedgerError> {
    let mut tree = restore(connection, size)?;
    store::for_each_record(connection, tree.size(), size, |seq, body| {
        if seq == tree.size() {
            tree.append(leaf_hash(body));
        }
        Ok::<_, LedgerError>(())
    })?;
    Ok(tree)
}

/// The reader of a tree whose full tiles are stored.
pub(crate) fn reader<'a>(
    connection: &'a Connection,
    tree: &'a TileTree,
) -> TileReader<'a, impl Fn(u8, u64) -> rusqlite::Result<Vec<Hash>> + 'a> {
    TileReader::new(tree, move |level, index| store::tile(connection, level, index))
}

/// Checks that an older signed head covers the first records of a tree.
pub(crate) fn extends(
    connection: &Connection,
    tree: &TileTree,
    old: &VerifiedCheckpoint,
) -> Result<(), LedgerError> {
    let proof = tree::consistency_proof(old.size(), tree.size(), &reader(connection, tree));
    let proof = proof.map_err(|error| LedgerError::Corrupt(format!("the log's tiles: {error}")))?;
    merkle::verify_consistency(old.size(), &old.root(), tree.size(), &tree.root(), &proof)
        .map_err(|_| LedgerError::BehindAnchor("its records are not those that were signed".into()))
}

/// The record at an index, if it is the one that the tree has there.
pub(crate) fn proved(connection: &Connection, tree: &TileTree, seq: u64) -> Result<Record, LedgerError> {
    let body = store::record(connection, seq)?
        .ok_or_else(|| LedgerError::Corrupt(format!("record {seq} is missing")))?;
    prove(&reader(connection, tree), tree, seq, &body)?;
    Ok(Record::parse(&body)?)
}

fn prove<R: NodeReader>(reader: &R, tree: &TileTree, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
    let corrupt = || LedgerError::Corrupt(format!("record {seq} is not the one that the log has there"));
    let proof = tree::inclusion_proof(seq, tree.size(), reader).map_err(|_| corrupt())?;
    verify_inclusion(&leaf_hash(body), seq, tree.size(), &proof, &tree.root()).map_err(|_| corrupt())
}
