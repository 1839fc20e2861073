use super::{CheckedTileError, CheckedTiles};
use crate::testing::leaves;
use crate::tiles::{Tile, TileTree};

/// A tree of 66,000 leaves, which has three levels of tiles, and its full tiles.
fn tree() -> (TileTree, Vec<Tile>) {
    let mut tree = TileTree::new();
    leaves(66_000).into_iter().for_each(|leaf| tree.append(leaf));
    let tiles = tree.take_full_tiles();
    (tree, tiles)
}

fn find(tiles: &[Tile], level: u8, index: u64) -> Result<Vec<crate::Hash>, &'static str> {
    let tile = tiles.iter().find(|tile| (tile.level, tile.index) == (level, index));
    tile.map(|tile| tile.hashes.clone()).ok_or("not stored")
}

#[test]
fn every_stored_tile_is_read_and_every_changed_one_refused() {
    let (tree, tiles) = tree();
    let good = CheckedTiles::new(&tree, |level, index| find(&tiles, level, index));
    for tile in &tiles {
        assert_eq!(good.tile(tile.level, tile.index), Ok(tile.hashes.clone()));
    }
    for changed in [0, 1, 255, 256] {
        let mut tampered = tiles.clone();
        tampered[changed].hashes.swap(3, 4);
        let (level, index) = (tampered[changed].level, tampered[changed].index);
        let reader = CheckedTiles::new(&tree, |level, index| find(&tampered, level, index));
        assert_eq!(reader.tile(level, index), Err(CheckedTileError::OtherTile { level, index }));
        // The tile above a good tile that was changed is the one that is named.
        let below = reader.tile(0, 7);
        let expected = match (level, index) {
            (1, 0) => Err(CheckedTileError::OtherTile { level: 1, index: 0 }),
            _ => Ok(find(&tiles, 0, 7).unwrap()),
        };
        assert_eq!(below, expected, "level {level} index {index}");
    }
}

#[test]
fn another_tile_of_the_same_tree_in_its_place_is_refused() {
    let (tree, tiles) = tree();
    let reader = CheckedTiles::new(&tree, |level, index| find(&tiles, level, index ^ 1));
    assert_eq!(
        reader.tile(1, 0),
        Err(CheckedTileError::Storage { level: 1, index: 0, source: "not stored" })
    );
    let short = CheckedTiles::new(&tree, |level, index| {
        find(&tiles, level, index).map(|hashes| hashes[..255].to_vec())
    });
    assert_eq!(short.tile(1, 0), Err(CheckedTileError::OtherTile { level: 1, index: 0 }));
}

#[test]
fn growing_tiles_come_from_the_tree_and_nothing_is_beyond_it() {
    let (tree, tiles) = tree();
    let reader = CheckedTiles::new(&tree, |level, index| find(&tiles, level, index));
    assert_eq!(reader.tile(0, 257).unwrap().len(), 66_000 - 257 * 256);
    assert_eq!(reader.tile(1, 1).unwrap().len(), 1);
    assert_eq!(reader.tile(2, 0).unwrap().len(), 1);
    for (level, index) in [(0, 258), (1, 2), (2, 1), (3, 0), (8, 0), (255, 0), (0, u64::MAX)] {
        let missing = CheckedTileError::NoSuchTile { level, index, size: 66_000 };
        assert_eq!(reader.tile(level, index), Err(missing));
    }
    let empty = TileTree::new();
    let reader = CheckedTiles::new(&empty, |_, _| Err("nothing"));
    assert_eq!(reader.tile(0, 0), Err(CheckedTileError::NoSuchTile { level: 0, index: 0, size: 0 }));
}
