//! Tiles that are believed: each hashed, and found to be what the tile above it says, up to a root that was signed.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::merkle::{Hash, tree_root};
use crate::tiles::{TILE_WIDTH, TileTree};

#[cfg(test)]
mod tests;

/// Why a tile is not believed. `E` is the storage's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckedTileError<E> {
    /// The tree has no such tile.
    #[error("a tree of {size} leaves has no tile {index} of level {level}")]
    NoSuchTile {
        /// Tile level.
        level: u8,
        /// Zero-based index within the level.
        index: u64,
        /// Number of leaves.
        size: u64,
    },
    /// The tile is another than the one that was hashed into the tree.
    #[error("tile {index} of level {level} is not the one that the tile above it was made of")]
    OtherTile {
        /// Tile level.
        level: u8,
        /// Zero-based index within the level.
        index: u64,
    },
    /// Storage failed.
    #[error("tile {index} of level {level} could not be read")]
    Storage {
        /// Tile level.
        level: u8,
        /// Zero-based index within the level.
        index: u64,
        /// Why.
        #[source]
        source: E,
    },
}

/// Reads tiles of a tree whose right edge is believed, because its root was compared with a signed one.
///
/// `stored` is called with tile level and index, and returns that full tile's hashes. It is trusted with nothing:
/// what it returns is compared with the tile above, which was compared with the one above that.
#[derive(Debug)]
pub struct CheckedTiles<'a, F> {
    tree: &'a TileTree,
    stored: F,
    /// By level from 1 on, the full tile that was last found right. Walking a log in order asks for each 256 times.
    above: RefCell<BTreeMap<u8, (u64, Vec<Hash>)>>,
}

impl<'a, F, E> CheckedTiles<'a, F>
where
    F: Fn(u8, u64) -> Result<Vec<Hash>, E>,
{
    /// A reader of the tiles of `tree`. Compare its root with a signed one first.
    pub const fn new(tree: &'a TileTree, stored: F) -> Self {
        Self { tree, stored, above: RefCell::new(BTreeMap::new()) }
    }

    /// The hashes of a tile: 256 of a full one, fewer of one that still grows.
    ///
    /// # Errors
    /// [`CheckedTileError`]. A failed tile above is reported as itself, not as this one.
    pub fn tile(&self, level: u8, index: u64) -> Result<Vec<Hash>, CheckedTileError<E>> {
        let size = self.tree.size();
        let missing = CheckedTileError::NoSuchTile { level, index, size };
        let Some(hashes_in_level) = size.checked_shr(u32::from(level) * 8) else { return Err(missing) };
        let growing = hashes_in_level / u64::from(TILE_WIDTH);
        if index == growing {
            let row = self.tree.right_edge().get(usize::from(level)).filter(|row| !row.is_empty());
            return row.cloned().ok_or(missing);
        }
        if index > growing {
            return Err(missing);
        }
        self.full(level, index)
    }

    fn full(&self, level: u8, index: u64) -> Result<Vec<Hash>, CheckedTileError<E>> {
        if let Some((known, hashes)) = self.above.borrow().get(&level)
            && *known == index
        {
            return Ok(hashes.clone());
        }
        let other = CheckedTileError::OtherTile { level, index };
        // The hash of a full tile is in the level above, which is there, because it holds this very hash.
        let expected = self.hash_of(level, index)?.ok_or(CheckedTileError::NoSuchTile {
            level,
            index,
            size: self.tree.size(),
        })?;
        let hashes = (self.stored)(level, index).map_err(|source| CheckedTileError::Storage {
            level,
            index,
            source,
        })?;
        if hashes.len() != usize::from(TILE_WIDTH) || tree_root(&hashes) != expected {
            return Err(other);
        }
        if level > 0 {
            self.above.borrow_mut().insert(level, (index, hashes.clone()));
        }
        Ok(hashes)
    }

    /// What the level above says that the root of this full tile is.
    fn hash_of(&self, level: u8, index: u64) -> Result<Option<Hash>, CheckedTileError<E>> {
        let [place, ..] = index.to_le_bytes();
        let above = self.tile(level.saturating_add(1), index / u64::from(TILE_WIDTH))?;
        Ok(above.get(usize::from(place)).copied())
    }
}
