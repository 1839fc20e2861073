//! Proofs made beside the writer, at any size that the log once had, from the tiles in its database. What is read is
//! not believed: each proof is checked against signed heads before it is handed out.

use std::path::{Path, PathBuf};

use portcullis_verify::merkle::{leaf_hash, verify_consistency};
use portcullis_verify::{Hash, TileReader, TileTree, VerifiedCheckpoint, tree};
use rusqlite::Connection;

use crate::error::LedgerError;
use crate::generation::Generations;
use crate::opened::receipt_text;
use crate::store::{self, Store};

/// Where a ledger lies, for proofs beside its writer.
#[derive(Clone, Debug)]
pub struct Beside {
    directory: PathBuf,
}

impl Beside {
    /// The ledger of a data directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn connection(&self) -> Result<Connection, LedgerError> {
        let current = Generations::of(&self.directory).current()?;
        let current = current.ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        Ok(Store::read_only(&current.database)?)
    }

    /// The proof that the tree of `new` extends that of its first `old` records. It is checked against the root that
    /// those records have now: whether that is the root once signed, only who kept it can tell.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger cannot be read, or is not what `new` signed.
    pub fn consistency(&self, old: u64, new: &VerifiedCheckpoint) -> Result<Vec<Hash>, LedgerError> {
        let connection = self.connection()?;
        let stored = |level, index| store::tile(&connection, level, index);
        let older = tree_at(&connection, old)?;
        let newer = tree_at(&connection, new.size())?;
        let proof = tree::consistency_proof(old, new.size(), &TileReader::new(&newer, stored));
        let proof = proof.map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        verify_consistency(old, &older.root(), new.size(), &new.root(), &proof)
            .map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        Ok(proof)
    }

    /// The receipt of the record at an index, under a head that covers it.
    ///
    /// # Errors
    /// [`LedgerError`] if there is no such record under that head, or the ledger is not what the head signed.
    pub fn receipt(&self, seq: u64, head: &VerifiedCheckpoint) -> Result<String, LedgerError> {
        let connection = self.connection()?;
        let body = store::record(&connection, seq)?
            .ok_or_else(|| LedgerError::Corrupt(format!("there is no record {seq}")))?;
        receipt_under(&connection, seq, body, head)
    }
}

/// A receipt under any head that the log once had.
pub(crate) fn receipt_under(
    connection: &Connection,
    seq: u64,
    body: Vec<u8>,
    head: &VerifiedCheckpoint,
) -> Result<String, LedgerError> {
    let stored = |level, index| store::tile(connection, level, index);
    let tree = tree_at(connection, head.size())?;
    receipt_text(seq, body, &TileReader::new(&tree, stored), head)
}

/// The tree of the first `size` records, from full tiles and the records after them: some hundred reads, however
/// long the log is.
pub(crate) fn tree_at(connection: &Connection, size: u64) -> Result<TileTree, LedgerError> {
    let shape = TileTree::right_edge_shape(size);
    let mut edge = Vec::with_capacity(shape.len());
    for tile in &shape {
        let first = tile.index.saturating_mul(256);
        let places = first..first.saturating_add(u64::from(tile.width));
        let row: Result<Vec<Hash>, LedgerError> = match tile.level.checked_sub(1) {
            None => places.map(|seq| leaf(connection, seq)).collect(),
            Some(below) => places.map(|index| tile_root(connection, below, index)).collect(),
        };
        edge.push(row?);
    }
    Ok(TileTree::restore(size, edge)?)
}

fn leaf(connection: &Connection, seq: u64) -> Result<Hash, LedgerError> {
    let body = store::record(connection, seq)?;
    let body = body.ok_or_else(|| LedgerError::Corrupt(format!("record {seq} is missing")))?;
    Ok(leaf_hash(&body))
}

fn tile_root(connection: &Connection, level: u8, index: u64) -> Result<Hash, LedgerError> {
    let hashes = store::tile(connection, level, index)?;
    // A full tile is itself a tree, of which its hashes are the leaves.
    let mut tile = TileTree::new();
    hashes.into_iter().for_each(|hash| tile.append(hash));
    Ok(tile.root())
}
