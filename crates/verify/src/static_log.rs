//! Verification of a whole exported log (c2sp.org/tlog-tiles), with nothing but the log's verifier key.
//!
//! From the top down: the checkpoint's signature, the growing tiles against its root, each full tile against the
//! tile above it, and the records of each bundle against their leaf hashes. So the first file that is reported
//! wrong is the one that was altered, and not another that contradicts it.

use portcullis_protocol::Record;
use portcullis_protocol::record::RecordError;

use crate::checked::{CheckedTileError, CheckedTiles};
use crate::checkpoint::{CheckpointError, UnverifiedCheckpoint, VerifiedCheckpoint};
use crate::layout::{LayoutError, LogPath, full_tiles, split_entries, split_hashes};
use crate::merkle::{Hash, leaf_hash, tree_root};
use crate::tiles::{TILE_WIDTH, TileError, TileReader, TileTree};
use crate::tree;
use crate::trust::LogKeys;

#[cfg(test)]
mod tests;

/// Why an exported log is refused. `E` is the reader's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaticLogError<E> {
    /// A file could not be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file.
        path: LogPath,
        /// Why.
        #[source]
        source: E,
    },
    /// A file is not there, and no pruning that the verifier agreed to explains it.
    #[error("`{path}` is missing")]
    Missing {
        /// The file.
        path: LogPath,
    },
    /// The checkpoint is malformed, or not signed by its log.
    #[error("`checkpoint` is not valid")]
    Checkpoint(#[from] CheckpointError),
    /// A file has not the form that its name calls for.
    #[error("`{path}` is malformed")]
    Layout {
        /// The file.
        path: LogPath,
        /// What is wrong with it.
        #[source]
        source: LayoutError,
    },
    /// A tile is not what the signed root was made of.
    #[error("`{path}` was altered: it is not what the signed root was made of")]
    AlteredTile {
        /// The file.
        path: LogPath,
    },
    /// All tiles agree with each other, and not with the checkpoint.
    #[error("the tiles are of another tree than the one that the checkpoint signs")]
    OtherTree,
    /// A record is not the one that its leaf hash was made of.
    #[error("`{path}` was altered: record {index} is not the one in the signed tree")]
    AlteredRecord {
        /// The file.
        path: LogPath,
        /// Zero-based index of the record.
        index: u64,
    },
    /// What the log has there is not a record of Portcullis.
    #[error("`{path}`: entry {index} is not a record")]
    Record {
        /// The file.
        path: LogPath,
        /// Zero-based index of the entry.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// The record says that it belongs elsewhere in the log.
    #[error("`{path}`: record {index} says that it is number {says}")]
    OtherPlace {
        /// The file.
        path: LogPath,
        /// Zero-based index of the record.
        index: u64,
        /// What the record says.
        says: u64,
    },
    /// A file of the pruned part is there, but the tile that would prove it was pruned.
    #[error("`{path}` cannot be proved, because the tile above it is gone: remove it too")]
    Unprovable {
        /// The file.
        path: LogPath,
    },
    /// The log does not contain an earlier head that it signed.
    #[error("the log signed another root for its first {size} records before: it was forked")]
    Forked {
        /// Size of the earlier checkpoint.
        size: u64,
    },
    /// An earlier head covers more records than this one.
    #[error(
        "the log had signed {earlier} records before, and this checkpoint covers {size}: it was rolled back"
    )]
    RolledBack {
        /// Size of the earlier checkpoint.
        earlier: u64,
        /// Size of this one.
        size: u64,
    },
    /// An earlier checkpoint is of another log.
    #[error("the earlier checkpoint is of another log")]
    OtherLog,
    /// Whoever asked wants to stop.
    #[error("stopped before all of it was verified")]
    Stopped,
    /// A file that is no part of the log.
    #[error("`{name}` is no part of this log")]
    Stray {
        /// Its name.
        name: String,
    },
}

/// How an exported log is to be verified.
#[derive(Clone, Copy, Debug)]
pub struct StaticLog<'a> {
    /// Keys of the logs that are accepted, each counting for what it counts.
    pub keys: &'a LogKeys,
    /// The log may lack what lies wholly below this record: its *minimum index*. 0 for a log that may not be pruned.
    pub pruned_below: u64,
    /// Earlier checkpoints that the log must contain.
    pub since: &'a [VerifiedCheckpoint],
}

/// What was found right. Only [`StaticLog::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedStaticLog {
    head: VerifiedCheckpoint,
    records: u64,
    absent: u64,
}

impl VerifiedStaticLog {
    /// The signed head.
    #[must_use]
    pub const fn head(&self) -> &VerifiedCheckpoint {
        &self.head
    }

    /// How many records were there and verified.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// How many records were not there, because they are pruned.
    #[must_use]
    pub const fn absent(&self) -> u64 {
        self.absent
    }

    /// Checks a file that `verify` did not ask for: a tile or bundle as it was when it had grown less far is the
    /// beginning of what it is now. Anything else is no part of the log.
    ///
    /// # Errors
    /// [`StaticLogError`]: `Stray`, `Read`, `Missing`, `AlteredTile`.
    pub fn check_other<E>(
        &self,
        name: &str,
        read: impl Fn(&LogPath) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<(), StaticLogError<E>> {
        let stray = || StaticLogError::Stray { name: name.to_owned() };
        let path: LogPath = name.parse().map_err(|_| stray())?;
        let now = path.grown(self.head.size()).ok_or_else(stray)?;
        if now == path {
            return Ok(());
        }
        if !path.is_within(self.head.size()) {
            return Err(stray());
        }
        let fetch = |path: LogPath| {
            let bytes = read(&path).map_err(|source| StaticLogError::Read { path, source })?;
            bytes.ok_or(StaticLogError::Missing { path })
        };
        let (older, newer) = (fetch(path)?, fetch(now)?);
        let shape = match path {
            LogPath::Checkpoint => Ok(()),
            LogPath::Tile { width, .. } => split_hashes(&older, width).map(drop),
            LogPath::Entries { width, .. } => split_entries(&older, width).map(drop),
        };
        shape.map_err(|source| StaticLogError::Layout { path, source })?;
        if newer.starts_with(&older) { Ok(()) } else { Err(StaticLogError::AlteredTile { path }) }
    }
}

impl StaticLog<'_> {
    /// Verifies every file of a log. `read` gives a file's bytes, or `None` if there is no such file; `go_on` is told,
    /// before each bundle, its first record and how many records there are, and says whether to go on.
    ///
    /// # Errors
    /// [`StaticLogError`], the first that was met.
    pub fn verify<E>(
        &self,
        read: impl Fn(&LogPath) -> Result<Option<Vec<u8>>, E>,
        go_on: impl FnMut(u64, u64) -> bool,
    ) -> Result<VerifiedStaticLog, StaticLogError<E>> {
        let files = Files { read, pruned_below: self.pruned_below };
        let head = files.need(LogPath::Checkpoint)?;
        let head = UnverifiedCheckpoint::parse(&head)?.verify_with(self.keys)?;
        let tree = files.edge(&head)?;
        let tiles = CheckedTiles::new(&tree, |level, index| files.stored(level, index));
        for (level, count) in full_tiles(head.size()).into_iter().rev() {
            if level > 0 {
                (0..count).try_for_each(|index| files.full_tile(&tiles, level, index).map(drop))?;
            }
        }
        let (records, absent) = files.records(&tiles, head.size(), go_on)?;
        self.compare(&head, &files, &tree)?;
        Ok(VerifiedStaticLog { head, records, absent })
    }

    /// Compares with the earlier checkpoints. The tiles below are checked by now.
    fn compare<E, F: Fn(&LogPath) -> Result<Option<Vec<u8>>, E>>(
        &self,
        head: &VerifiedCheckpoint,
        files: &Files<F>,
        tree: &TileTree,
    ) -> Result<(), StaticLogError<E>> {
        for earlier in self.since {
            if earlier.origin() != head.origin() {
                return Err(StaticLogError::OtherLog);
            }
            let size = earlier.size();
            if size > head.size() {
                return Err(StaticLogError::RolledBack { earlier: size, size: head.size() });
            }
            let reader = TileReader::new(tree, |level, index| {
                let path = LogPath::Tile { level, index, width: TILE_WIDTH };
                files.hashes(path)
            });
            let root = tree::root(size, &reader).map_err(|error| match error {
                TileError::Storage(error) => error,
                TileError::Incomplete { .. } | TileError::Width { .. } => StaticLogError::OtherTree,
            })?;
            if root != earlier.root() {
                return Err(StaticLogError::Forked { size });
            }
        }
        Ok(())
    }
}

/// The files, and what may be missing of them.
struct Files<F> {
    read: F,
    pruned_below: u64,
}

impl<E, F: Fn(&LogPath) -> Result<Option<Vec<u8>>, E>> Files<F> {
    fn get(&self, path: LogPath) -> Result<Option<Vec<u8>>, StaticLogError<E>> {
        (self.read)(&path).map_err(|source| StaticLogError::Read { path, source })
    }

    fn need(&self, path: LogPath) -> Result<Vec<u8>, StaticLogError<E>> {
        self.get(path)?.ok_or(StaticLogError::Missing { path })
    }

    /// The hashes of a tile, unchecked.
    fn hashes(&self, path: LogPath) -> Result<Vec<Hash>, StaticLogError<E>> {
        let LogPath::Tile { width, .. } = path else { return Err(StaticLogError::Missing { path }) };
        split_hashes(&self.need(path)?, width).map_err(|source| StaticLogError::Layout { path, source })
    }

    fn stored(&self, level: u8, index: u64) -> Result<Vec<Hash>, StaticLogError<E>> {
        self.hashes(LogPath::Tile { level, index, width: TILE_WIDTH })
    }

    /// The right edge, which must have the signed root.
    fn edge(&self, head: &VerifiedCheckpoint) -> Result<TileTree, StaticLogError<E>> {
        let size = head.size();
        let mut rows = Vec::new();
        for edge in TileTree::right_edge_shape(size) {
            let path = LogPath::Tile { level: edge.level, index: edge.index, width: edge.width };
            rows.push(if edge.width == 0 { Vec::new() } else { self.hashes(path)? });
        }
        let tree = TileTree::restore(size, rows).map_err(|_| StaticLogError::OtherTree)?;
        if tree.root() == head.root() { Ok(tree) } else { Err(self.edge_fault(&tree)) }
    }

    /// Which of the growing tiles is not what lies below it. All of them make up the root together, so the root
    /// alone does not tell.
    fn edge_fault(&self, tree: &TileTree) -> StaticLogError<E> {
        for (edge, row) in TileTree::right_edge_shape(tree.size()).iter().zip(tree.right_edge()) {
            let below: Result<Vec<Hash>, _> = if edge.level == 0 {
                self.leaves(LogPath::Entries { index: edge.index, width: edge.width })
            } else {
                let first = edge.index.saturating_mul(u64::from(TILE_WIDTH));
                let children = first..first.saturating_add(u64::from(edge.width));
                let root = |index| self.stored(edge.level - 1, index).map(|hashes| tree_root(&hashes));
                children.map(root).collect()
            };
            if edge.width > 0 && below.is_ok_and(|below| below != *row) {
                let path = LogPath::Tile { level: edge.level, index: edge.index, width: edge.width };
                return StaticLogError::AlteredTile { path };
            }
        }
        StaticLogError::OtherTree
    }

    /// The leaf hashes of a bundle's records, unchecked.
    fn leaves(&self, path: LogPath) -> Result<Vec<Hash>, StaticLogError<E>> {
        let LogPath::Entries { width, .. } = path else { return Err(StaticLogError::Missing { path }) };
        let bytes = self.need(path)?;
        let entries =
            split_entries(&bytes, width).map_err(|source| StaticLogError::Layout { path, source })?;
        Ok(entries.into_iter().map(leaf_hash).collect())
    }

    /// A checked tile; `None` if it, or what would prove it, was pruned.
    fn full_tile(
        &self,
        tiles: &CheckedTiles<'_, impl Fn(u8, u64) -> Result<Vec<Hash>, StaticLogError<E>>>,
        level: u8,
        index: u64,
    ) -> Result<Option<Vec<Hash>>, StaticLogError<E>> {
        let path = LogPath::Tile { level, index, width: TILE_WIDTH };
        let error = match tiles.tile(level, index) {
            Ok(hashes) => return Ok(Some(hashes)),
            Err(CheckedTileError::Storage { source, .. }) => source,
            Err(CheckedTileError::OtherTile { level, index }) => {
                return Err(StaticLogError::AlteredTile {
                    path: LogPath::Tile { level, index, width: TILE_WIDTH },
                });
            }
            Err(CheckedTileError::NoSuchTile { .. }) => return Err(StaticLogError::OtherTree),
        };
        let StaticLogError::Missing { path: missing } = error else { return Err(error) };
        if !missing.is_prunable(self.pruned_below) {
            return Err(error);
        }
        let is_there = missing != path && self.get(path)?.is_some();
        if is_there { Err(StaticLogError::Unprovable { path }) } else { Ok(None) }
    }

    /// Checks level 0 and the records. Returns how many records were there, and how many were not.
    fn records(
        &self,
        tiles: &CheckedTiles<'_, impl Fn(u8, u64) -> Result<Vec<Hash>, StaticLogError<E>>>,
        size: u64,
        mut go_on: impl FnMut(u64, u64) -> bool,
    ) -> Result<(u64, u64), StaticLogError<E>> {
        let (mut there, mut absent) = (0_u64, 0_u64);
        let mut first = 0;
        while first < size {
            if !go_on(first, size) {
                return Err(StaticLogError::Stopped);
            }
            let index = first / u64::from(TILE_WIDTH);
            let tile = LogPath::Tile { level: 0, index, width: TILE_WIDTH }.grown(size);
            let Some(tile @ LogPath::Tile { width, .. }) = tile else {
                return Err(StaticLogError::OtherTree);
            };
            let path = LogPath::Entries { index, width };
            let hashes = match tile {
                LogPath::Tile { width: TILE_WIDTH, .. } => self.full_tile(tiles, 0, index)?,
                LogPath::Tile { .. } | LogPath::Checkpoint | LogPath::Entries { .. } => {
                    Some(tiles.tile(0, index).map_err(|_| StaticLogError::AlteredTile { path: tile })?)
                }
            };
            match (self.get(path)?, hashes) {
                (Some(bytes), Some(hashes)) => {
                    check_records(path, first, &bytes, &hashes)?;
                    there = there.saturating_add(u64::from(width));
                }
                (Some(_), None) => return Err(StaticLogError::Unprovable { path }),
                (None, _) if path.is_prunable(self.pruned_below) => {
                    absent = absent.saturating_add(u64::from(width));
                }
                (None, _) => return Err(StaticLogError::Missing { path }),
            }
            first = first.saturating_add(u64::from(width));
        }
        Ok((there, absent))
    }
}

/// Checks that a bundle's entries are the records of these leaf hashes.
fn check_records<E>(
    path: LogPath,
    first: u64,
    bytes: &[u8],
    hashes: &[Hash],
) -> Result<(), StaticLogError<E>> {
    let LogPath::Entries { width, .. } = path else { return Err(StaticLogError::Missing { path }) };
    let entries = split_entries(bytes, width).map_err(|source| StaticLogError::Layout { path, source })?;
    for ((index, entry), hash) in (first..).zip(entries).zip(hashes) {
        if leaf_hash(entry) != *hash {
            return Err(StaticLogError::AlteredRecord { path, index });
        }
        let record = Record::parse(entry).map_err(|source| StaticLogError::Record { path, index, source })?;
        if record.seq() != index {
            return Err(StaticLogError::OtherPlace { path, index, says: record.seq() });
        }
    }
    Ok(())
}
