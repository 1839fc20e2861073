use std::collections::BTreeMap;

use super::{StaticLog, StaticLogError, VerifiedStaticLog};
use crate::checkpoint::{CheckpointError, VerifiedCheckpoint};
use crate::layout::{LayoutError, LogPath};
use crate::note::NoteError;
use crate::testing::{TestKey, TestLog, event};
use crate::trust::LogKeys;

type Files = BTreeMap<LogPath, Vec<u8>>;
type Error = StaticLogError<&'static str>;

fn tile(level: u8, index: u64, width: u16) -> LogPath {
    LogPath::Tile { level, index, width }
}

fn entries(index: u64, width: u16) -> LogPath {
    LogPath::Entries { index, width }
}

fn read(files: &Files) -> impl Fn(&LogPath) -> Result<Option<Vec<u8>>, &'static str> {
    |path| Ok(files.get(path).cloned())
}

fn verify_as(
    files: &Files,
    pruned_below: u64,
    since: &[VerifiedCheckpoint],
) -> Result<VerifiedStaticLog, Error> {
    let key = TestKey::new("gate.example/log", 1);
    StaticLog { keys: &LogKeys::from(&key.public), pruned_below, since }.verify(read(files), |_, _| true)
}

fn verify(files: &Files) -> Result<VerifiedStaticLog, Error> {
    verify_as(files, 0, &[])
}

#[test]
fn logs_of_all_shapes_verify_whole() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 600] {
        let log = TestLog::of_events(size);
        let verified = verify(&log.files()).unwrap();
        assert_eq!((verified.head().size(), verified.records(), verified.absent()), (size, size, 0));
    }
}

#[test]
fn the_file_that_was_altered_is_the_one_that_is_named() {
    let files = TestLog::of_events(600).files();
    assert_eq!(files.len(), 1 + 4 + 3);
    for (path, bytes) in &files {
        for at in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
            let mut altered = files.clone();
            altered.get_mut(path).unwrap()[at] ^= 1;
            match (path, verify(&altered).unwrap_err()) {
                (LogPath::Checkpoint, StaticLogError::Checkpoint(_)) => {}
                (LogPath::Tile { .. }, StaticLogError::AlteredTile { path: named })
                | (
                    LogPath::Entries { .. },
                    StaticLogError::AlteredRecord { path: named, .. }
                    | StaticLogError::Layout { path: named, .. },
                ) => assert_eq!(named, *path, "byte {at}"),
                (_, error) => panic!("{path}, byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn a_missing_a_cut_and_a_lengthened_file_are_named() {
    let files = TestLog::of_events(600).files();
    for (path, bytes) in &files {
        let mut without = files.clone();
        without.remove(path);
        assert_eq!(verify(&without).unwrap_err(), StaticLogError::Missing { path: *path });
        let end = bytes.len() - 1;
        for changed in [bytes[..end].to_vec(), [bytes.as_slice(), b"x"].concat(), Vec::new()] {
            let mut altered = files.clone();
            altered.insert(*path, changed);
            let error = verify(&altered).unwrap_err();
            let malformed = if let StaticLogError::Layout { path, .. } = &error { Some(*path) } else { None };
            let unsigned = matches!(error, StaticLogError::Checkpoint(_)).then_some(LogPath::Checkpoint);
            let named = malformed.or(unsigned);
            assert_eq!(named, Some(*path), "{error}");
        }
    }
}

#[test]
fn files_in_each_others_place_are_noticed() {
    let files = TestLog::of_events(600).files();
    let swapped = |one: LogPath, other: LogPath| {
        let mut files = files.clone();
        let (first, second) = (files[&one].clone(), files[&other].clone());
        files.insert(one, second);
        files.insert(other, first);
        verify(&files).unwrap_err()
    };
    let (a, b) = (tile(0, 0, 256), tile(0, 1, 256));
    assert_eq!(swapped(a, b), StaticLogError::AlteredTile { path: a });
    let (a, b) = (entries(0, 256), entries(1, 256));
    assert_eq!(swapped(a, b), StaticLogError::AlteredRecord { path: a, index: 0 });
}

#[test]
fn a_checkpoint_of_another_key_size_or_tree_is_refused() {
    let log = TestLog::of_events(600);
    let mut files = log.files();
    let stranger = TestKey::new("gate.example/log", 9);
    files.insert(LogPath::Checkpoint, stranger.note(&log.checkpoint_at(600).to_string()).into_bytes());
    let refused = StaticLogError::Checkpoint(CheckpointError::Note(NoteError::NoKnownSignature));
    assert_eq!(verify(&files).unwrap_err(), refused);

    let resigned = |size: u64, root_of: u64| {
        let mut head = log.checkpoint_at(root_of);
        head.size = size;
        let mut files = log.files();
        files.insert(LogPath::Checkpoint, log.key.note(&head.to_string()).into_bytes());
        verify(&files).unwrap_err()
    };
    // Signed by the right key, as a log that lies would.
    assert_eq!(resigned(599, 599), StaticLogError::Missing { path: tile(0, 2, 87) });
    assert_eq!(resigned(601, 600), StaticLogError::Missing { path: tile(0, 2, 89) });
    assert_eq!(resigned(600, 599), StaticLogError::OtherTree);
}

#[test]
fn an_older_whole_log_verifies_and_is_behind_a_checkpoint_that_was_kept() {
    let log = TestLog::of_events(600);
    let kept = [log.verified_at(0), log.verified_at(1), log.verified_at(256), log.verified_at(599)];
    assert!(verify_as(&log.files(), 0, &kept).is_ok());
    let older = TestLog::of_events(500);
    assert!(verify(&older.files()).is_ok());
    let error = verify_as(&older.files(), 0, &kept).unwrap_err();
    assert_eq!(error, StaticLogError::RolledBack { earlier: 599, size: 500 });

    let mut forked = TestLog::of_events(300);
    (300..700).for_each(|seq| forked.append(&event(seq + 1)));
    let fork = forked.verified_at(400);
    assert!(verify_as(&log.files(), 0, &[forked.verified_at(300)]).is_ok());
    let error = verify_as(&log.files(), 0, &[fork]).unwrap_err();
    assert_eq!(error, StaticLogError::Forked { size: 400 });
}

#[test]
fn what_the_tree_has_and_is_no_record_in_its_place_is_refused() {
    let mut log = TestLog::of_events(3);
    log.append(b"{}");
    let error = verify(&log.files()).unwrap_err();
    assert!(
        matches!(
            error,
            StaticLogError::Record { path: LogPath::Entries { index: 0, width: 4 }, index: 3, .. }
        ),
        "{error}"
    );
    let mut log = TestLog::of_events(3);
    log.append(&event(7));
    let error = StaticLogError::OtherPlace { path: entries(0, 4), index: 3, says: 7 };
    assert_eq!(verify(&log.files()).unwrap_err(), error);
}

#[test]
fn a_pruned_log_verifies_only_to_whom_agreed_and_only_so_far() {
    let log = TestLog::of_events(1_000);
    let mut files = log.files();
    for index in 0..2 {
        files.remove(&entries(index, 256));
    }
    assert_eq!(verify(&files).unwrap_err(), StaticLogError::Missing { path: entries(0, 256) });
    let error = verify_as(&files, 511, &[]).unwrap_err();
    assert_eq!(error, StaticLogError::Missing { path: entries(1, 256) });
    for minimum in [512, 600, 1_000, u64::MAX] {
        let verified = verify_as(&files, minimum, &[]).unwrap();
        assert_eq!((verified.records(), verified.absent()), (488, 512));
    }
    // What is left is still checked, above the minimum and below it.
    for kept in [entries(2, 256), entries(3, 232)] {
        let mut altered = files.clone();
        altered.get_mut(&kept).unwrap()[9] ^= 1;
        assert!(verify_as(&altered, 1_000, &[]).is_err(), "{kept}");
    }
    // The growing bundle ends nowhere, so it is never pruned.
    files.remove(&entries(3, 232));
    let error = verify_as(&files, u64::MAX, &[]).unwrap_err();
    assert_eq!(error, StaticLogError::Missing { path: entries(3, 232) });
}

#[test]
fn a_log_pruned_of_tiles_too_verifies_for_the_rest() {
    let log = TestLog::of_events(1_000);
    let mut files = log.files();
    for index in 0..2 {
        files.remove(&entries(index, 256));
        files.remove(&tile(0, index, 256));
    }
    assert_eq!(verify(&files).unwrap_err(), StaticLogError::Missing { path: tile(0, 0, 256) });
    let verified = verify_as(&files, 512, &[log.verified_at(512), log.verified_at(900)]).unwrap();
    assert_eq!((verified.records(), verified.absent()), (488, 512));
    // Records that nothing proves any more are not passed over in silence.
    let (path, bytes) = log.files().remove_entry(&entries(1, 256)).unwrap();
    files.insert(path, bytes);
    assert_eq!(verify_as(&files, 512, &[]).unwrap_err(), StaticLogError::Unprovable { path });
}

#[test]
fn tiles_whose_parent_was_pruned_are_unprovable() {
    let mut log = TestLog::new(65_536);
    (65_536..65_600).for_each(|seq| log.append(&event(seq)));
    let mut files = log.files();
    files.retain(|path, _| !path.is_prunable(65_536));
    assert_eq!(files.len(), 1 + 3 - 1 + 1, "{:?}", files.keys());
    let verified = verify_as(&files, 65_536, &[]).unwrap();
    assert_eq!((verified.records(), verified.absent()), (64, 65_536));
    let path = tile(0, 9, 256);
    files.insert(path, log.files()[&path].clone());
    assert_eq!(verify_as(&files, 65_536, &[]).unwrap_err(), StaticLogError::Unprovable { path });
}

#[test]
fn older_parts_are_beginnings_and_anything_else_is_stray() {
    let log = TestLog::of_events(600);
    let older = TestLog::of_events(300);
    let mut files = log.files();
    let verified = verify(&files).unwrap();
    for (path, bytes) in older.files() {
        files.entry(path).or_insert(bytes);
    }
    let check = |files: &Files, name: &str| verified.check_other(name, read(files));
    let parts = [tile(0, 1, 44), entries(1, 44), tile(1, 0, 1)];
    for path in parts {
        assert_eq!(check(&files, &path.to_string()), Ok(()), "{path}");
        let mut altered = files.clone();
        altered.get_mut(&path).unwrap()[5] ^= 1;
        assert_eq!(check(&altered, &path.to_string()), Err(StaticLogError::AlteredTile { path }));
        let mut short = files.clone();
        short.get_mut(&path).unwrap().pop();
        assert!(matches!(check(&short, &path.to_string()), Err(StaticLogError::Layout { .. })));
    }
    for stray in ["tile/0/003", "tile/0/002.p/89", "tile/5/000.p/1", "index.html", "tile/0/x000/001", ""] {
        assert_eq!(check(&files, stray), Err(StaticLogError::Stray { name: stray.into() }));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_missing() {
    let files = TestLog::of_events(300).files();
    let keys = LogKeys::from(&TestKey::new("gate.example/log", 1).public);
    for path in files.keys() {
        let read = |asked: &LogPath| {
            if asked == path { Err("broken disk") } else { Ok(files.get(asked).cloned()) }
        };
        let all = StaticLog { keys: &keys, pruned_below: u64::MAX, since: &[] };
        let error = all.verify(read, |_, _| true).unwrap_err();
        assert_eq!(error, StaticLogError::Read { path: *path, source: "broken disk" });
    }
    let malformed = LayoutError::TileLength { width: 44, expected: 44 * 32, found: 0 };
    let mut files = files.clone();
    files.insert(tile(0, 1, 44), Vec::new());
    assert_eq!(
        verify(&files).unwrap_err(),
        StaticLogError::Layout { path: tile(0, 1, 44), source: malformed }
    );
}

#[test]
fn a_log_whose_key_was_retired_below_its_head_or_revoked_is_refused_by_name() {
    let log = TestLog::of_events(300);
    let (files, key) = (log.files(), log.key.public.to_string());
    let verify = |key: &str| {
        let keys = LogKeys::new(vec![key.parse().unwrap()]);
        let log = StaticLog { keys: &keys, pruned_below: 0, since: &[] };
        log.verify(read(&files), |_, _| true).map(|log| log.records())
    };
    assert_eq!(verify(&format!("{key} until 300")), Ok(300));
    let retired = CheckpointError::RetiredKey { key: key.clone(), last: 299, size: 300 };
    assert_eq!(verify(&format!("{key} until 299")), Err(StaticLogError::Checkpoint(retired)));
    let revoked = CheckpointError::RevokedKey { key: key.clone() };
    assert_eq!(verify(&format!("{key} revoked")), Err(StaticLogError::Checkpoint(revoked)));
}
