//! What witnesses are sent, and what they send back.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use portcullis_verify::witness::{AddCheckpoint, seen_size};
use portcullis_verify::{CosignerKey, UnverifiedCheckpoint, VerifiedCheckpoint, VerifierKey};

use crate::known::cases::Log;
use crate::known::{KNOWN, head};

/// A checkpoint that two keys cosigned, made by other programs, and the keys: the log's, then theirs.
pub(crate) const NOTE: &str = include_str!("../../../crates/verify/tests/data/cosigned.note");
pub(crate) const KEYS: &str = include_str!("../../../crates/verify/tests/data/cosigned.vkeys");

static HEAD: LazyLock<VerifiedCheckpoint> = LazyLock::new(|| {
    let key: VerifierKey = KEYS.lines().next().expect("the log's key").parse().expect("a key");
    let note = UnverifiedCheckpoint::parse(NOTE.as_bytes()).expect("a checkpoint");
    note.verify(&[key]).expect("the log signed it").signed_only()
});

static COSIGNERS: LazyLock<Vec<CosignerKey>> =
    LazyLock::new(|| KEYS.lines().skip(1).map(|line| line.parse().expect("a cosigner's key")).collect());

/// A head that is in no vector.
pub(crate) static SHORT: LazyLock<VerifiedCheckpoint> = LazyLock::new(|| {
    let note = Log::new(3, &[]).note();
    let note = UnverifiedCheckpoint::parse(note.as_bytes()).expect("a checkpoint");
    note.verify(&KNOWN.keys).expect("it is signed")
});

/// A size has one spelling.
pub(crate) fn seen(data: &[u8]) {
    let size = seen_size(data);
    assert_eq!(size.map(|size| format!("{size}\n").into_bytes()), size.map(|_| data.to_vec()));
}

/// Nothing counts as a cosignature but the lines that were made, and keys have one spelling.
pub(crate) fn cosigned(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<CosignerKey>() {
        assert_eq!(key.to_string(), text);
    }
    let Ok(cosigned) = HEAD.with_lines(text, &COSIGNERS) else { return };
    let made: BTreeSet<&str> = NOTE.lines().collect();
    let note = str::from_utf8(cosigned.note_bytes()).expect("a note is text");
    assert!(note.lines().all(|line| made.contains(line)), "forged: {note}");
    let lines = note.lines().count().saturating_sub(NOTE.lines().count().saturating_sub(COSIGNERS.len()));
    let found = cosigned.cosignatures(&COSIGNERS).expect("what was kept verifies");
    assert_eq!(found.len(), lines);
}

/// Only what a log signed is judged, and the log that it extends is shorter, or the same.
pub(crate) fn submission(data: &[u8]) {
    let Ok(submitted) = AddCheckpoint::parse(data) else { return };
    let Ok(submitted) = submitted.verify(&KNOWN.log_keys) else { return };
    let new = submitted.checkpoint();
    assert!(KNOWN.heads.contains(&head(new)) || head(new) == head(&SHORT), "forged");
    for before in [None, Some(new.checkpoint()), Some(HEAD.checkpoint())] {
        if submitted.extends(before).is_ok() {
            let (size, root) = before.map_or((0, None), |before| (before.size, Some(before.root)));
            assert!(size <= new.size() && (size < new.size() || root.is_none_or(|root| root == new.root())));
        }
    }
}
