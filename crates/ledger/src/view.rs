//! The log as others may read it beside its writer: its anchored head, and the tiles and records that this head
//! proves, each checked again whenever it is handed out.
//!
//! Opening a view costs what the right edge of the tree costs, not what the log's length does.

use std::path::Path;

use portcullis_protocol::{BundleDigest, Record};
use portcullis_verify::layout::{join_entries, join_hashes};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::tiles::TILE_WIDTH;
use portcullis_verify::{
    CheckedTileError, CheckedTiles, Hash, LogKeys, LogPath, TileReader, TileTree, VerifiedCheckpoint, tree,
};
use rusqlite::Connection;

use crate::anchored;
use crate::bundle_archive;
use crate::disagreement;
use crate::error::LedgerError;
use crate::generation::Generations;
use crate::opened::receipt_text;
use crate::store::{self, Store};

/// New records up to which a known tree is grown by them; beyond, the edge is read anew.
const GROWN: u64 = 4_096;

/// A head that was verified, with the right edge of its tree: what a later view begins with.
#[derive(Clone, Debug)]
pub struct LogTip {
    head: VerifiedCheckpoint,
    tree: TileTree,
}

impl LogTip {
    /// How many records the head covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head.size()
    }
}

/// A read-only view of a log at its newest anchored head.
pub struct LogView {
    connection: Connection,
    tip: LogTip,
}

impl std::fmt::Debug for LogView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogView").field("head", &self.tip.head).finish_non_exhaustive()
    }
}

impl LogView {
    /// Looks at the log of a data directory. `known` is what an earlier view of it ended with: the log never goes
    /// back behind that.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read, is not signed by a key that counts, or is not what the anchored head covers; the
    /// anchor is older than a head that lies with the ledger, or of another log; or a witness refutes the log.
    pub fn open(
        directory: &Path,
        anchor: &Path,
        keys: impl Into<LogKeys>,
        known: Option<&LogTip>,
    ) -> Result<Self, LedgerError> {
        let database = Generations::of(directory)
            .current()?
            .ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        let connection = Store::read_only(&database.database)?;
        // Before the records: what the anchor covers was committed before it was written.
        let head = anchored::head(directory, anchor, &keys.into(), &connection)?;
        if let Some(known) = known
            && known.head.note_bytes() == head.note_bytes()
        {
            return Ok(Self { connection, tip: known.clone() });
        }
        let tree = match known {
            Some(known) => grow(&connection, known, head.size())?,
            None => edge(&connection, head.size())?,
        };
        if tree.root() != head.root() {
            return Err(disagreement::of_tiles(&connection));
        }
        Ok(Self { connection, tip: LogTip { head, tree } })
    }

    /// Looks at the log of a data directory under any head of it whose signature was checked, such as one that was
    /// cosigned.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read, or its records are not those that the head covers.
    pub fn under(directory: &Path, head: VerifiedCheckpoint) -> Result<Self, LedgerError> {
        let database = Generations::of(directory)
            .current()?
            .ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        let connection = Store::read_only(&database.database)?;
        let held = store::head(&connection)?.map_or(0, |head| head.size);
        if head.size() > held {
            return Err(behind("it has fewer records than a head that was signed"));
        }
        let tree = edge(&connection, head.size())?;
        if tree.root() != head.root() {
            return Err(disagreement::of_tiles(&connection));
        }
        Ok(Self { connection, tip: LogTip { head, tree } })
    }

    /// The same under the same head, with the cosignatures that are kept of it, if any are.
    #[must_use]
    pub fn with_cosignatures(mut self, kept: Option<VerifiedCheckpoint>) -> Self {
        if let Some(kept) = kept.filter(|kept| kept.checkpoint() == self.tip.head.checkpoint()) {
            self.tip.head = kept;
        }
        self
    }

    /// The head that everything is proved under.
    #[must_use]
    pub const fn head(&self) -> &VerifiedCheckpoint {
        &self.tip.head
    }

    /// What a later view begins with.
    #[must_use]
    pub fn into_tip(self) -> LogTip {
        self.tip
    }

    /// The bytes of a resource of the log; `None` if the head covers no such thing.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read, or is not what the head proves: then nothing of it is returned.
    pub fn resource(&self, path: LogPath) -> Result<Option<Vec<u8>>, LedgerError> {
        if !path.is_within(self.tip.head.size()) {
            return Ok(None);
        }
        match path {
            LogPath::Checkpoint => Ok(Some(self.tip.head.note_bytes().to_vec())),
            LogPath::Tile { level, index, width } => {
                let hashes = self.tile(level, index, width)?;
                Ok(Some(join_hashes(&hashes)))
            }
            LogPath::Entries { index, width } => {
                let records = self.entries(index, width)?;
                let bytes = join_entries(records.iter().map(Vec::as_slice));
                bytes.map(Some).map_err(|error| LedgerError::Corrupt(error.to_string()))
            }
        }
    }

    /// The records of an entry bundle, from record 256 × `index` on, `width` of them.
    ///
    /// # Errors
    /// As [`resource`](Self::resource); and if the head does not cover so many.
    pub fn entries(&self, index: u64, width: u16) -> Result<Vec<Vec<u8>>, LedgerError> {
        let hashes = self.tile(0, index, width)?;
        let first = index.saturating_mul(u64::from(TILE_WIDTH));
        let records = bodies(&self.connection, first, first.saturating_add(u64::from(width)))?;
        for ((seq, record), hash) in (first..).zip(&records).zip(&hashes) {
            if leaf_hash(record) != *hash {
                return Err(LedgerError::Corrupt(format!("record {seq} is not the one in the tree")));
            }
        }
        Ok(records)
    }

    /// The record at an index, with its bytes.
    ///
    /// # Errors
    /// As [`resource`](Self::resource); and if the head covers no such record.
    pub fn record(&self, seq: u64) -> Result<(Record, Vec<u8>), LedgerError> {
        let width = u64::from(TILE_WIDTH);
        let [place, ..] = seq.to_le_bytes();
        let leaf = self.tile(0, seq / width, u16::from(place).saturating_add(1))?;
        let body = bodies(&self.connection, seq, seq.saturating_add(1))?.pop();
        let body = body.filter(|body| leaf.last() == Some(&leaf_hash(body)));
        let body =
            body.ok_or_else(|| LedgerError::Corrupt(format!("record {seq} is not the one in the tree")))?;
        Ok((Record::parse(&body)?, body))
    }

    /// The receipt of the record at an index.
    ///
    /// # Errors
    /// As [`record`](Self::record).
    pub fn receipt(&self, seq: u64) -> Result<String, LedgerError> {
        let (_, body) = self.record(seq)?;
        receipt_text(seq, body, &self.nodes(), &self.tip.head)
    }

    /// The archive of a bundle, if a record named it. Unverified: its digest must be the one asked for.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn bundle(&self, digest: &BundleDigest) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(bundle_archive::bundle(&self.connection, digest)?)
    }

    /// Root over the first `size` records.
    ///
    /// # Errors
    /// [`LedgerError`] if the head does not cover so many, or a tile cannot be read.
    pub fn root_at(&self, size: u64) -> Result<Hash, LedgerError> {
        tree::root(size, &self.checked_nodes()).map_err(|error| LedgerError::Corrupt(error.to_string()))
    }

    /// The hashes of the complete subtrees that `places` names, by tree level and index, each checked.
    ///
    /// # Errors
    /// [`LedgerError`] if one is not complete under the head, or a tile cannot be read.
    pub fn subtrees(&self, places: &[(u32, u64)]) -> Result<Vec<Hash>, LedgerError> {
        use portcullis_verify::NodeReader;
        let nodes = self.checked_nodes();
        let hash = |(level, index): &(u32, u64)| {
            nodes.node(*level, *index).map_err(|error| LedgerError::Corrupt(error.to_string()))
        };
        places.iter().map(hash).collect()
    }

    /// The first `width` hashes of a tile, which are those of the tile when it had grown so far.
    fn tile(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>, LedgerError> {
        let stored = |level, index| store::tile(&self.connection, level, index);
        let tiles = CheckedTiles::new(&self.tip.tree, stored);
        let mut hashes = tiles.tile(level, index).map_err(|error| match error {
            CheckedTileError::Storage { source, .. } => LedgerError::from(source),
            other @ (CheckedTileError::NoSuchTile { .. } | CheckedTileError::OtherTile { .. }) => {
                LedgerError::Corrupt(other.to_string())
            }
        })?;
        if hashes.len() < usize::from(width) {
            return Err(LedgerError::Corrupt(format!("the head covers no {width} hashes of tile {index}")));
        }
        hashes.truncate(usize::from(width));
        Ok(hashes)
    }

    /// For proofs that are checked when they are made.
    fn nodes(&self) -> TileReader<'_, impl Fn(u8, u64) -> rusqlite::Result<Vec<Hash>>> {
        TileReader::new(&self.tip.tree, |level, index| store::tile(&self.connection, level, index))
    }

    fn checked_nodes(&self) -> TileReader<'_, impl Fn(u8, u64) -> Result<Vec<Hash>, LedgerError>> {
        TileReader::new(&self.tip.tree, |level, index| self.tile(level, index, TILE_WIDTH))
    }
}

fn behind(what: &str) -> LedgerError {
    LedgerError::BehindAnchor(what.into())
}

/// The tree of a known one grown to `size` records.
fn grow(connection: &Connection, known: &LogTip, size: u64) -> Result<TileTree, LedgerError> {
    let before = known.tree.size();
    let Some(new) = size.checked_sub(before) else {
        return Err(behind("the anchor was put back to an older head"));
    };
    if new > GROWN {
        let tree = edge(connection, size)?;
        let reader = TileReader::new(&tree, |level, index| store::tile(connection, level, index));
        let root = tree::root(before, &reader).map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        if root != known.head.root() {
            return Err(behind("it was replaced by another log's records"));
        }
        return Ok(tree);
    }
    let mut tree = known.tree.clone();
    for body in bodies(connection, before, size)? {
        tree.append(leaf_hash(&body));
    }
    // They are in the database; read from there they are checked.
    drop(tree.take_full_tiles());
    Ok(tree)
}

/// The tree of `size` records, from the tiles and records at its right edge. Whether it is the right one, its root
/// tells.
fn edge(connection: &Connection, size: u64) -> Result<TileTree, LedgerError> {
    let mut rows = Vec::new();
    for edge in TileTree::right_edge_shape(size) {
        let first = edge.index.saturating_mul(u64::from(TILE_WIDTH));
        let end = first.saturating_add(u64::from(edge.width));
        let row: Vec<Hash> = match edge.level.checked_sub(1) {
            None => bodies(connection, first, end)?.iter().map(|body| leaf_hash(body)).collect(),
            Some(below) => (first..end)
                .map(|index| Ok(tree::tile_root(&store::tile(connection, below, index)?)))
                .collect::<rusqlite::Result<_>>()?,
        };
        rows.push(row);
    }
    Ok(TileTree::restore(size, rows)?)
}

/// The records from `first` up to, not including, `end`: all of them, or an error.
fn bodies(connection: &Connection, first: u64, end: u64) -> Result<Vec<Vec<u8>>, LedgerError> {
    let mut statement = connection
        .prepare_cached("SELECT seq, body FROM records WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")?;
    let mut rows = statement.query([first, end])?;
    let mut bodies = Vec::new();
    let mut expected = first;
    while let Some(row) = rows.next()? {
        let seq: u64 = row.get(0)?;
        if seq != expected {
            break;
        }
        bodies.push(row.get(1)?);
        expected = expected.saturating_add(1);
    }
    if expected == end {
        Ok(bodies)
    } else {
        Err(LedgerError::Corrupt(format!("record {expected} is missing")))
    }
}
