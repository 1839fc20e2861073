use super::*;
use crate::checkpoint::{Checkpoint, CheckpointError, UnverifiedCheckpoint};
use crate::merkle::leaf_hash;
use crate::note::NoteError;
use crate::testing::TestKey;

fn old() -> TestKey {
    TestKey::new("gate.test/log", 1)
}

fn new() -> TestKey {
    TestKey::new("gate.test/log", 2)
}

/// What becomes of a checkpoint of this size that these keys signed, where those are trusted.
fn check(size: u64, signers: &[TestKey], trusted: &[String]) -> Result<usize, CheckpointError> {
    let root = leaf_hash(b"record");
    let text = Checkpoint { origin: old().public.name().clone(), size, root }.to_string();
    let lines: String = signers.iter().map(|signer| signer.line(&text)).collect();
    let keys = LogKeys::new(trusted.iter().map(|key| key.parse().unwrap()).collect());
    let note = format!("{text}\n{lines}");
    UnverifiedCheckpoint::parse(note.as_bytes())?.verify_with(&keys).map(|head| head.signed_by().len())
}

fn valid(key: &TestKey) -> String {
    key.public.to_string()
}

fn until(key: &TestKey, size: u64) -> String {
    format!("{} until {size}", key.public)
}

fn revoked(key: &TestKey) -> String {
    format!("{} revoked", key.public)
}

#[test]
fn a_retired_key_counts_up_to_its_last_size_and_no_further() {
    let trusted = [valid(&new()), until(&old(), 9)];
    assert_eq!(check(8, &[old()], &trusted), Ok(1));
    assert_eq!(check(9, &[old()], &trusted), Ok(1));
    let retired = CheckpointError::RetiredKey { key: old().public.to_string(), last: 9, size: 10 };
    assert_eq!(check(10, &[old()], &trusted), Err(retired));
    assert_eq!(check(10, &[new()], &trusted), Ok(1));
    assert_eq!(check(9, &[old(), new()], &trusted), Ok(2));
    assert_eq!(check(10, &[old(), new()], &trusted), Ok(1));
}

#[test]
fn a_revoked_key_counts_for_nothing_and_harms_nothing() {
    let trusted = [valid(&new()), revoked(&old())];
    let stolen = CheckpointError::RevokedKey { key: old().public.to_string() };
    assert_eq!(check(1, &[old()], &trusted), Err(stolen.clone()));
    assert_eq!(check(1, &[old(), new()], &trusted), Ok(1));
    assert_eq!(check(1, &[old()], &[revoked(&old())]), Err(stolen.clone()));
    // Revoked once is revoked, however often it is given.
    assert_eq!(check(1, &[old()], &[valid(&old()), revoked(&old())]), Err(stolen));
}

#[test]
fn a_key_of_nobody_is_not_called_revoked() {
    let trusted = [valid(&new()), revoked(&old())];
    let other = TestKey::new("gate.test/log", 3);
    assert_eq!(check(1, &[other], &trusted), Err(CheckpointError::Note(NoteError::NoKnownSignature)));
    assert!(matches!(check(1, &[old()], &[]), Err(CheckpointError::UnknownOrigin { .. })));
}

#[test]
fn a_key_is_read_with_its_standing_and_nothing_more() {
    for text in [valid(&old()), until(&old(), 0), until(&old(), u64::MAX), revoked(&old())] {
        assert_eq!(text.parse::<LogKey>().unwrap().to_string(), text);
    }
    let key = valid(&old());
    for wrong in
        ["until", "until x", "until 01", "until -1", "until 1 2", "revoked now", "Revoked", " revoked"]
    {
        assert_eq!(format!("{key} {wrong}").parse::<LogKey>(), Err(LogKeyError::Standing), "{wrong}");
    }
    assert!(matches!("gate.test/log".parse::<LogKey>(), Err(LogKeyError::Key(_))));
}
