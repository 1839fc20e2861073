//! Tiles, entry bundles and exported logs.

use portcullis_verify::layout::{join_entries, join_hashes, split_entries, split_hashes};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::range::{around, verify_range};
use portcullis_verify::{Hash, LogPath, StaticLog, UnverifiedCheckpoint};

use crate::known::{FILES, KNOWN, head};

/// A path on the first line, and the bytes of its file behind it.
fn file(data: &[u8]) -> Option<(LogPath, &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    let path = str::from_utf8(&data[..end]).ok()?.parse().ok()?;
    Some((path, &data[end + 1..]))
}

/// Tiles and bundles have one spelling, and paths name parts of logs that have them.
pub(crate) fn tile(data: &[u8]) {
    let Some((path, bytes)) = file(data) else { return };
    for size in [0, 1, 255, 256, 257, 65_536, 70_000, u64::MAX] {
        let grown = path.grown(size);
        assert!(!path.is_current(size) || (path.is_within(size) && grown == Some(path)));
        assert!(!path.is_within(size) || grown.is_some_and(|grown| grown.is_current(size)));
    }
    match path {
        LogPath::Checkpoint => {}
        LogPath::Tile { width, .. } => {
            if let Ok(hashes) = split_hashes(bytes, width) {
                assert_eq!((join_hashes(&hashes).as_slice(), hashes.len()), (bytes, usize::from(width)));
            }
        }
        LogPath::Entries { width, .. } => {
            if let Ok(entries) = split_entries(bytes, width) {
                let count = entries.len();
                assert_eq!(join_entries(entries).as_deref(), Ok(bytes));
                assert_eq!(count, usize::from(width));
            }
        }
    }
}

/// An exported log in which one file is another verifies only if nothing reads that file.
pub(crate) fn log(data: &[u8]) {
    let Some((path, bytes)) = file(data) else { return };
    let read = |asked: &LogPath| -> Result<Option<Vec<u8>>, std::convert::Infallible> {
        Ok(if *asked == path { Some(bytes.to_vec()) } else { FILES.get(asked).cloned() })
    };
    let log = StaticLog { keys: &KNOWN.log_keys, pruned_below: 0, since: &[] };
    let Ok(verified) = log.verify(read, |_, _| true) else { return };
    assert_eq!(verified.records(), 258);
    match FILES.get(&path) {
        Some(original) if path == LogPath::Checkpoint => {
            let original = UnverifiedCheckpoint::parse(original).and_then(|note| note.verify(&KNOWN.keys));
            // A signature of a key that nobody knows may be added.
            assert_eq!(head(verified.head()), head(&original.expect("it is signed")));
        }
        Some(original) => assert_eq!(bytes, original),
        None => {
            let other = verified.check_other(&path.to_string(), read);
            let grown = path.grown(258).and_then(|grown| FILES.get(&grown));
            assert!(other.is_err() || grown.is_some_and(|grown| grown.starts_with(bytes)));
        }
    }
}

/// A proof of a range with anything in it leads to another root, or to none.
pub(crate) fn range(data: &[u8]) {
    let Some(([first, count, size, before], rest)) = data.split_first_chunk() else { return };
    let (first, size) = (u64::from(*first % 20), u64::from(*size % 20));
    let hashes: Vec<Hash> = rest.as_chunks().0.iter().map(|hash| Hash(*hash)).collect();
    let (leaves, proof) = hashes.split_at(usize::from(*count).min(hashes.len()));
    let (before, after) = proof.split_at(usize::from(*before).min(proof.len()));
    let verify = |root: &Hash| verify_range(first, leaves, size, (before, after), root);
    let Err(error) = verify(&leaf_hash(data)) else { panic!("the root of everything") };
    let end = first + u64::try_from(leaves.len()).expect("fits");
    let fits = around(first, end, size)
        .is_ok_and(|(there, behind)| (there.len(), behind.len()) == (before.len(), after.len()));
    match error {
        portcullis_verify::MerkleError::RootMismatch { computed, .. } => {
            assert!(fits);
            assert_eq!(verify(&computed), Ok(()));
            if let Some((last, front)) = leaves.split_last() {
                let mut changed = *last;
                changed.0[0] ^= 1;
                let changed = [front, &[changed]].concat();
                assert!(verify_range(first, &changed, size, (before, after), &computed).is_err());
            }
        }
        _ => assert!(!fits, "{error}"),
    }
}
