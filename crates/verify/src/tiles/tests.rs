use proptest::prelude::*;

use super::{EdgeTile, Tile, TileError, TileReader, TileTree, TileTreeError};
use crate::merkle::{Hash, empty_root, leaf_hash};
use crate::testing::{leaves, reference_root};
use crate::tree::{NodeReader, root};

fn grown(leaves: &[Hash]) -> TileTree {
    let mut tree = TileTree::new();
    leaves.iter().for_each(|leaf| tree.append(*leaf));
    tree
}

fn nothing_stored(_: u8, _: u64) -> Result<Vec<Hash>, &'static str> {
    Err("nothing is stored")
}

#[test]
fn the_shape_of_70000_is_that_of_the_spec() {
    let shape = TileTree::right_edge_shape(70_000);
    assert_eq!(
        shape,
        [
            EdgeTile { level: 0, index: 273, width: 112 },
            EdgeTile { level: 1, index: 1, width: 17 },
            EdgeTile { level: 2, index: 0, width: 1 },
        ]
    );
    let of_256 = [EdgeTile { level: 0, index: 1, width: 0 }, EdgeTile { level: 1, index: 0, width: 1 }];
    assert_eq!(TileTree::right_edge_shape(256), of_256);
    assert_eq!(TileTree::right_edge_shape(0), []);
    assert_eq!(TileTree::right_edge_shape(u64::MAX).len(), 8);
}

#[test]
fn a_tree_grows_the_tiles_of_its_shape() {
    let mut tree = TileTree::new();
    let mut full = Vec::new();
    for leaf in leaves(70_000) {
        tree.append(leaf);
        full.append(&mut tree.take_full_tiles());
    }
    let widths: Vec<usize> = tree.right_edge().iter().map(Vec::len).collect();
    assert_eq!(widths, [112, 17, 1]);
    let places: Vec<(u8, u64)> = full.iter().map(|tile| (tile.level, tile.index)).collect();
    let mut expected: Vec<(u8, u64)> = (0..273).map(|index| (0, index)).collect();
    expected.insert(256, (1, 0));
    assert_eq!(places, expected);
    assert_eq!(tree.root(), reference_root(&leaves(70_000)));
    assert_eq!(tree.take_full_tiles(), Vec::<Tile>::new());
}

#[test]
fn roots_agree_with_the_rfc_at_every_size_around_a_tile() {
    let hashes = leaves(600);
    let mut tree = TileTree::new();
    assert_eq!(tree.root(), empty_root());
    for (count, leaf) in (1..).zip(&hashes) {
        tree.append(*leaf);
        if !(30..=230).contains(&(count % 256)) {
            assert_eq!(tree.root(), reference_root(&hashes[..count]));
        }
    }
}

#[test]
fn a_failed_batch_leaves_no_trace() {
    let hashes = leaves(300);
    let before = grown(&hashes[..250]);
    let mut batch = before.clone();
    hashes[250..].iter().for_each(|leaf| batch.append(*leaf));
    assert_eq!(before, grown(&hashes[..250]));
    assert_eq!(batch, grown(&hashes));
}

#[test]
fn an_edge_of_another_shape_is_refused() {
    let row = |width| vec![leaf_hash(b"leaf"); width];
    let width = |level, expected, found| TileTreeError::Width { level, expected, found };
    let cases = [
        (0, vec![row(1)], TileTreeError::Levels { expected: 0, found: 1 }),
        (1, vec![], TileTreeError::Levels { expected: 1, found: 0 }),
        (256, vec![row(256)], TileTreeError::Levels { expected: 2, found: 1 }),
        (256, vec![row(256), row(1)], width(0, 0, 256)),
        (300, vec![row(44), row(2)], width(1, 1, 2)),
        (300, vec![row(43), row(1)], width(0, 44, 43)),
        (u64::MAX, vec![row(255); 8], TileTreeError::TooLarge { size: u64::MAX }),
    ];
    for (size, edge, expected) in cases {
        assert_eq!(TileTree::restore(size, edge), Err(expected));
    }
}

#[test]
fn the_largest_restored_tree_still_grows() {
    let edge = |size| {
        let shape = TileTree::right_edge_shape(size);
        shape.iter().map(|tile| vec![leaf_hash(b"leaf"); usize::from(tile.width)]).collect()
    };
    for size in [TileTree::MAX_SIZE - 1, TileTree::MAX_SIZE] {
        let mut tree = TileTree::restore(size, edge(size)).unwrap();
        tree.append(leaf_hash(b"leaf"));
        assert_eq!(tree.size(), size + 1);
    }
}

#[test]
fn tiles_not_yet_taken_are_read_from_the_tree() {
    let hashes = leaves(700);
    let mut tree = grown(&hashes);
    let reader = TileReader::new(&tree, nothing_stored);
    assert_eq!(reader.node(0, 511), Ok(hashes[511]));
    assert_eq!(reader.node(7, 1), Ok(reference_root(&hashes[128..256])));
    assert_eq!(root(500, &reader), Ok(reference_root(&hashes[..500])));
    drop(tree.take_full_tiles());
    let lost = TileReader::new(&tree, nothing_stored).node(7, 0);
    assert_eq!(lost, Err(TileError::Storage("nothing is stored")));
}

#[test]
fn the_reader_refuses_what_is_not_there() {
    let mut tree = grown(&leaves(700));
    drop(tree.take_full_tiles());
    let short = |_: u8, _: u64| Ok::<_, &str>(leaves(255));
    let reader = TileReader::new(&tree, short);
    let width = TileError::Width { level: 0, index: 1, found: 255 };
    assert_eq!(reader.node(0, 256), Err(width));
    for (level, index) in
        [(0, 700), (1, 350), (8, 2), (9, 1), (10, 0), (63, 0), (64, 0), (255, 0), (0, u64::MAX)]
    {
        assert_eq!(reader.node(level, index), Err(TileError::Incomplete { level, index, size: 700 }));
    }
    for (level, index) in [(u32::MAX, u64::MAX), (7, u64::MAX), (64, u64::MAX)] {
        assert_eq!(reader.node(level, index), Err(TileError::Incomplete { level, index, size: 700 }));
    }
    assert!(reader.node(9, 0).is_ok());
    assert!(reader.node(1, 349).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_restored_tree_equals_the_grown_one(size in 0_u64..=1_500, more in 0_u64..=300) {
        let hashes = leaves(size + more);
        let (first, rest) = hashes.split_at(usize::try_from(size).unwrap());
        let mut tree = grown(first);
        drop(tree.take_full_tiles());
        let mut restored = TileTree::restore(size, tree.right_edge().to_vec()).unwrap();
        prop_assert_eq!(&restored, &tree);
        for leaf in rest {
            tree.append(*leaf);
            restored.append(*leaf);
        }
        prop_assert_eq!(&restored, &tree);
        prop_assert_eq!(restored.root(), reference_root(&hashes));
        prop_assert_eq!(restored.take_full_tiles(), tree.take_full_tiles());
    }

    #[test]
    fn no_input_makes_the_reader_panic(size in 0_u64..=600, level in 0_u32..80, index: u64) {
        let tree = grown(&leaves(size));
        let reader = TileReader::new(&tree, nothing_stored);
        let complete = level < 64 && index.checked_add(1).is_some_and(|end| end <= size >> level);
        prop_assert_eq!(reader.node(level, index).is_ok(), complete);
        prop_assert!(level > 9 || reader.node(level, size >> level).is_err());
    }
}
