use proptest::prelude::*;

use super::{
    LayoutError, LogPath, full_tiles, join_entries, join_hashes, partial_tiles, split_entries, split_hashes,
};
use crate::testing::leaves;

fn tile(level: u8, index: u64, width: u16) -> LogPath {
    LogPath::Tile { level, index, width }
}

fn entries(index: u64, width: u16) -> LogPath {
    LogPath::Entries { index, width }
}

#[test]
fn paths_are_those_of_the_spec() {
    for (path, text) in [
        (LogPath::Checkpoint, "checkpoint"),
        (tile(0, 0, 256), "tile/0/000"),
        (tile(0, 999, 256), "tile/0/999"),
        (tile(0, 1_000, 256), "tile/0/x001/000"),
        (tile(1, 1_234_067, 256), "tile/1/x001/x234/067"),
        (tile(63, 0, 1), "tile/63/000.p/1"),
        (tile(0, 273, 112), "tile/0/273.p/112"),
        (entries(1_234_067, 255), "tile/entries/x001/x234/067.p/255"),
        (entries(u64::MAX, 256), "tile/entries/x018/x446/x744/x073/x709/x551/615"),
    ] {
        assert_eq!(path.to_string(), text);
        assert_eq!(text.parse(), Ok(path));
    }
}

#[test]
fn a_path_has_one_spelling() {
    for text in [
        "",
        "/checkpoint",
        "checkpoint/",
        "Checkpoint",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/x1/002",
        "tile/0/X001/002",
        "tile/0/+01",
        "tile/0/00a",
        "tile/00/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/0/000/",
        "tile/0//000",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/1/2",
        "tile/0/000.p/1.p/1",
        "tile/entries/0",
        "tile/Entries/000",
        "tile/../tile/0/000",
        "tile/0/%30%30%30",
        "tile/entries/x018/x446/x744/x073/x709/x551/616",
        "tile/entries/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(text.parse::<LogPath>().is_err(), "accepted `{text}`");
    }
}

#[test]
fn the_resources_of_70000_are_those_of_the_spec() {
    assert_eq!(full_tiles(70_000), [(0, 273), (1, 1)]);
    assert_eq!(partial_tiles(70_000), [tile(0, 273, 112), tile(1, 1, 17), tile(2, 0, 1)]);
    assert_eq!((full_tiles(256), partial_tiles(256)), (vec![(0, 1)], vec![tile(1, 0, 1)]));
    assert_eq!((full_tiles(0), partial_tiles(0)), (vec![], vec![]));
}

#[test]
fn a_log_has_what_its_size_covers_and_nothing_beyond() {
    for (path, within, current) in [
        (tile(0, 272, 256), true, true),
        (tile(0, 272, 255), true, false),
        (tile(0, 273, 1), true, false),
        (tile(0, 273, 112), true, true),
        (tile(0, 273, 113), false, false),
        (tile(0, 273, 256), false, false),
        (tile(0, 274, 1), false, false),
        (tile(1, 1, 17), true, true),
        (tile(1, 1, 18), false, false),
        (tile(2, 0, 1), true, true),
        (tile(2, 0, 2), false, false),
        (tile(3, 0, 1), false, false),
        (tile(63, 0, 1), false, false),
        (tile(0, u64::MAX, 256), false, false),
        (entries(273, 112), true, true),
        (entries(273, 113), false, false),
    ] {
        assert_eq!((path.is_within(70_000), path.is_current(70_000)), (within, current), "{path}");
    }
    assert!(!tile(0, 0, 1).is_within(0) && LogPath::Checkpoint.is_within(0));
}

#[test]
fn pruning_takes_full_resources_that_end_at_the_minimum_or_before() {
    for (path, minimum, prunable) in [
        (tile(0, 0, 256), 255, false),
        (tile(0, 0, 256), 256, true),
        (tile(1, 0, 256), 65_535, false),
        (tile(1, 0, 256), 65_536, true),
        (entries(1, 256), 511, false),
        (entries(1, 256), 512, true),
        (entries(0, 255), u64::MAX, false),
        (tile(63, 0, 256), u64::MAX, false),
        (tile(0, u64::MAX, 256), u64::MAX, false),
        (LogPath::Checkpoint, u64::MAX, false),
    ] {
        assert_eq!(path.is_prunable(minimum), prunable, "{path} below {minimum}");
    }
}

#[test]
fn a_tile_has_the_width_of_its_path() {
    let hashes = leaves(3);
    let bytes = join_hashes(&hashes);
    assert_eq!(split_hashes(&bytes, 3), Ok(hashes));
    for (bytes, width) in [(&bytes[..], 2), (&bytes[..], 4), (&bytes[..95], 3), (&[][..], 1)] {
        let (expected, found) = (usize::from(width) * 32, bytes.len());
        assert_eq!(split_hashes(bytes, width), Err(LayoutError::TileLength { width, expected, found }));
    }
}

#[test]
fn an_entry_bundle_that_is_cut_or_miscounted_is_refused() {
    let bytes = join_entries([&b"one"[..], b"", b"three"]).unwrap();
    assert_eq!(bytes, b"\x00\x03one\x00\x00\x00\x05three");
    assert_eq!(split_entries(&bytes, 3).unwrap(), [&b"one"[..], b"", b"three"]);
    for end in 0..bytes.len() {
        assert!(split_entries(&bytes[..end], 3).is_err(), "cut at {end}");
    }
    assert_eq!(split_entries(&bytes[..4], 1), Err(LayoutError::EntryCut { entry: 0 }));
    assert_eq!(split_entries(&bytes[..6], 2), Err(LayoutError::EntryCut { entry: 1 }));
    assert_eq!(split_entries(&bytes, 2), Err(LayoutError::EntryCount { expected: 2, found: 3 }));
    assert_eq!(split_entries(&bytes, 4), Err(LayoutError::EntryCount { expected: 4, found: 3 }));
    let long = vec![0; 65_536];
    assert_eq!(join_entries([long.as_slice()]), Err(LayoutError::EntryTooLarge { found: 65_536 }));
    assert_eq!(join_entries([&long[1..]]).unwrap().len(), 65_537);
}

proptest! {
    #[test]
    fn any_text_is_refused_or_the_one_spelling(text in "(tile/)?(entries|[0-9]{1,2})/(x?[0-9]{3}/?){1,3}(\\.p/[0-9]{1,3})?") {
        if let Ok(path) = text.parse::<LogPath>() {
            prop_assert_eq!(path.to_string(), text);
        }
    }

    #[test]
    fn any_bytes_are_entries_that_join_to_the_same_or_refused(bytes in prop::collection::vec(0_u8..3, 0..40)) {
        for width in 0..8 {
            if let Ok(entries) = split_entries(&bytes, width) {
                prop_assert_eq!(join_entries(entries).unwrap(), bytes.clone());
            }
        }
    }
}
