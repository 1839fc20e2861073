//! Trees kept as tiles (c2sp.org/tlog-tiles): rows of 256 hashes, each the root of a full tile one level below.
//!
//! [`TileTree`] holds the right edge, the tiles that still grow. Full tiles never change; they leave it for
//! storage, so that memory stays logarithmic in the size of the log.

use std::borrow::Cow;

use crate::merkle::{Hash, empty_root, root_over, tree_root};
use crate::tree::NodeReader;

#[cfg(test)]
mod tests;

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Tree levels in a tile: 2^8 = 256.
const TILE_HEIGHT: u32 = 8;

/// A full tile, complete for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Tile level: 0 holds leaf hashes.
    pub level: u8,
    /// Zero-based index within the level.
    pub index: u64,
    /// Exactly 256 hashes.
    pub hashes: Vec<Hash>,
}

impl Tile {
    /// The root of its hashes: its entry in the tile above.
    #[must_use]
    pub fn root(&self) -> Hash {
        tree_root(&self.hashes)
    }
}

/// Place and width of the growing tile of one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeTile {
    /// Tile level: 0 holds leaf hashes.
    pub level: u8,
    /// Zero-based index within the level.
    pub index: u64,
    /// Hashes in it, 0 to 255. A tile of width 0 is not stored or served.
    pub width: u16,
}

/// Why a right edge does not belong to a tree of the given size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileTreeError {
    /// Larger than [`TileTree::MAX_SIZE`].
    #[error("a tree of {size} leaves is too large")]
    TooLarge {
        /// Number of leaves.
        size: u64,
    },
    /// Not one row for each level.
    #[error("a tree of this size has {expected} tile levels, not {found}")]
    Levels {
        /// Levels that the size calls for.
        expected: usize,
        /// Rows given.
        found: usize,
    },
    /// A row is too short or too long.
    #[error("the growing tile of level {level} has {expected} hashes, not {found}")]
    Width {
        /// Tile level.
        level: u8,
        /// Hashes that the size calls for.
        expected: u16,
        /// Hashes given.
        found: usize,
    },
}

/// The right edge of a tiled tree, in memory. Appending costs two hashes on average.
///
/// Clone it before a transaction, append to the clone, and drop the clone if the transaction fails. A clone copies
/// the edge (at most 8 KiB a level, a level for every factor of 256 in size) and the full tiles not yet taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileTree {
    size: u64,
    /// By tile level, the hashes of the tile that still grows: always fewer than 256.
    edge: Vec<Vec<Hash>>,
    full: Vec<Tile>,
}

impl TileTree {
    /// The largest tree that can be restored. Far enough from 2^64 that no log can append the rest.
    pub const MAX_SIZE: u64 = 1 << 62;

    /// The tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree of `size` leaves from its stored edge: by tile level, the hashes of the growing tile, empty where
    /// [`right_edge_shape`](Self::right_edge_shape) says width 0.
    ///
    /// Shape is checked, content cannot be: compare [`root`](Self::root) with the signed checkpoint.
    ///
    /// # Errors
    /// [`TileTreeError`] if the rows are not those of a tree of this size.
    pub fn restore(size: u64, right_edge: Vec<Vec<Hash>>) -> Result<Self, TileTreeError> {
        if size > Self::MAX_SIZE {
            return Err(TileTreeError::TooLarge { size });
        }
        let shape = Self::right_edge_shape(size);
        if shape.len() != right_edge.len() {
            return Err(TileTreeError::Levels { expected: shape.len(), found: right_edge.len() });
        }
        for (tile, row) in shape.iter().zip(&right_edge) {
            if row.len() != usize::from(tile.width) {
                let (level, expected) = (tile.level, tile.width);
                return Err(TileTreeError::Width { level, expected, found: row.len() });
            }
        }
        Ok(Self { size, edge: right_edge, full: Vec::new() })
    }

    /// The growing tile of every level of a tree of `size` leaves, level 0 first. Levels end where no tile holds a
    /// hash, so an empty tree has none.
    #[must_use]
    pub fn right_edge_shape(size: u64) -> Vec<EdgeTile> {
        let mut shape = Vec::new();
        let mut hashes = size;
        for level in 0.. {
            if hashes == 0 {
                break;
            }
            let [low, ..] = hashes.to_le_bytes();
            hashes >>= TILE_HEIGHT;
            shape.push(EdgeTile { level, index: hashes, width: u16::from(low) });
        }
        shape
    }

    /// Adds the hash of the next leaf ([`leaf_hash`](crate::merkle::leaf_hash)).
    pub fn append(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        let mut hashes_above = self.size;
        for (level, row) in (0..).zip(&mut self.edge) {
            row.push(hash);
            if row.len() < usize::from(TILE_WIDTH) {
                return;
            }
            let hashes = std::mem::take(row);
            hashes_above >>= TILE_HEIGHT;
            hash = tree_root(&hashes);
            self.full.push(Tile { level, index: hashes_above - 1, hashes });
        }
        self.edge.push(vec![hash]);
    }

    /// Number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of all leaves (RFC 6962 §2.1).
    #[must_use]
    pub fn root(&self) -> Hash {
        let below = self.edge.iter().fold(None, |below, row| root_over(row.iter().copied().chain(below)));
        match below {
            Some(root) => root,
            None => empty_root(),
        }
    }

    /// By tile level, the hashes of the growing tile: what [`restore`](Self::restore) takes.
    #[must_use]
    pub fn right_edge(&self) -> &[Vec<Hash>] {
        &self.edge
    }

    /// The tiles that became full since the last call, in the order in which they did. Until they are taken,
    /// [`TileReader`] finds them here; from then on its storage must have them.
    #[must_use = "a full tile that is dropped is lost to later proofs"]
    pub fn take_full_tiles(&mut self) -> Vec<Tile> {
        std::mem::take(&mut self.full)
    }
}

/// Why a [`TileReader`] has no hash. `E` is the storage's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// The subtree is not complete in this tree.
    #[error("a tree of {size} leaves has no complete subtree {index} of level {level}")]
    Incomplete {
        /// Tree level, not tile level.
        level: u32,
        /// Zero-based index within the level.
        index: u64,
        /// Number of leaves.
        size: u64,
    },
    /// Storage holds a full tile of another width.
    #[error("stored tile {index} of level {level} has {found} hashes, not 256")]
    Width {
        /// Tile level.
        level: u8,
        /// Zero-based index within the level.
        index: u64,
        /// Hashes found.
        found: usize,
    },
    /// Storage failed.
    #[error("a stored tile could not be read")]
    Storage(#[source] E),
}

/// Reads hashes of a [`TileTree`]: growing tiles from the tree, full ones from storage.
///
/// `stored` is called with tile level and tile index, and returns the 256 hashes of that full tile. One proof asks
/// for the same tile up to eight times: cache in `stored` if reading is slow.
#[derive(Clone, Debug)]
pub struct TileReader<'a, F> {
    tree: &'a TileTree,
    stored: F,
}

impl<'a, F> TileReader<'a, F> {
    /// A reader of `tree`, with `stored` for the full tiles already taken from it.
    pub fn new(tree: &'a TileTree, stored: F) -> Self {
        Self { tree, stored }
    }
}

impl<F, E> TileReader<'_, F>
where
    F: Fn(u8, u64) -> Result<Vec<Hash>, E>,
{
    fn full_tile(&self, level: u8, index: u64) -> Result<Cow<'_, [Hash]>, TileError<E>> {
        let here = |tile: &&Tile| tile.level == level && tile.index == index;
        if let Some(tile) = self.tree.full.iter().find(here) {
            return Ok(Cow::Borrowed(&tile.hashes));
        }
        let hashes = (self.stored)(level, index).map_err(TileError::Storage)?;
        if hashes.len() != usize::from(TILE_WIDTH) {
            return Err(TileError::Width { level, index, found: hashes.len() });
        }
        Ok(Cow::Owned(hashes))
    }
}

impl<F, E> NodeReader for TileReader<'_, F>
where
    F: Fn(u8, u64) -> Result<Vec<Hash>, E>,
{
    type Error = TileError<E>;

    fn node(&self, level: u32, index: u64) -> Result<Hash, TileError<E>> {
        let incomplete = TileError::Incomplete { level, index, size: self.tree.size };
        let Some(place) = Place::of(level, index, self.tree.size) else {
            return Err(incomplete);
        };
        let tile = match self.tree.edge.get(usize::from(place.level)) {
            Some(row) if place.growing => Cow::Borrowed(row.as_slice()),
            _ => self.full_tile(place.level, place.index)?,
        };
        let hashes = tile.get(place.hashes);
        hashes.and_then(|hashes| root_over(hashes.iter().copied())).ok_or(incomplete)
    }
}

/// Where the hashes below a node lie.
struct Place {
    /// Tile level.
    level: u8,
    /// Tile index.
    index: u64,
    /// Whether that tile is still growing.
    growing: bool,
    /// The hashes within the tile.
    hashes: std::ops::Range<usize>,
}

impl Place {
    /// `None` unless the node's subtree is complete in a tree of `size` leaves.
    fn of(level: u32, index: u64, size: u64) -> Option<Self> {
        let height = level % TILE_HEIGHT;
        let hashes_in_level = size.checked_shr(level - height)?;
        let first = index.checked_mul(1 << height)?;
        let end = first.checked_add(1 << height)?;
        if end > hashes_in_level {
            return None;
        }
        let Ok(tile_level) = u8::try_from(level / TILE_HEIGHT) else {
            return None;
        };
        let [start, ..] = first.to_le_bytes();
        Some(Self {
            level: tile_level,
            index: first >> TILE_HEIGHT,
            growing: first >> TILE_HEIGHT == hashes_in_level >> TILE_HEIGHT,
            hashes: usize::from(start)..usize::from(start) + (1 << height),
        })
    }
}
