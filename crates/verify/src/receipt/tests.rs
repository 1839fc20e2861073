use proptest::prelude::*;

use super::{ReceiptError, UnverifiedReceipt, VerifiedReceipt};
use crate::checkpoint::CheckpointError;
use crate::key::VerifierKey;
use crate::merkle::{MerkleError, empty_root, leaf_hash, verify_inclusion};
use crate::note::NoteError;
use crate::proof::{ProofError, TlogProof};
use crate::testing::{TestKey, TestLog};

const INDEX: u64 = 300;
const SIZE: u64 = 613;

fn verify(bytes: &[u8], keys: &[VerifierKey]) -> Result<VerifiedReceipt, ReceiptError> {
    UnverifiedReceipt::parse(bytes)?.verify(keys)
}

/// The error of a receipt under the log's own key.
fn refusal(log: &TestLog, bytes: &[u8]) -> ReceiptError {
    verify(bytes, log.key.alone()).unwrap_err()
}

fn is_other_root(error: &ReceiptError) -> bool {
    matches!(error, ReceiptError::Inclusion(MerkleError::RootMismatch { .. }))
}

#[test]
fn a_receipt_gives_the_record_and_who_signed() {
    let log = TestLog::new(SIZE);
    let keys = [TestKey::new("other.example", 7).public, log.key.public.clone()];
    let receipt = verify(&log.receipt(INDEX).to_bytes(), &keys).unwrap();
    assert_eq!(receipt.record_bytes(), b"{\"record\":300}");
    assert_eq!(receipt.index(), INDEX);
    assert_eq!(receipt.checkpoint().checkpoint(), &log.checkpoint_at(SIZE));
    assert_eq!(receipt.signed_by(), [log.key.public]);
}

#[test]
fn every_record_of_a_log_has_a_receipt() {
    for size in [1, 2, 3, 255, 256, 257] {
        let log = TestLog::new(size);
        for index in 0..size {
            let receipt = verify(&log.receipt(index).to_bytes(), log.key.alone()).unwrap();
            assert_eq!(receipt.record_bytes(), format!("{{\"record\":{index}}}").as_bytes());
        }
    }
}

#[test]
fn another_record_leads_to_another_root() {
    let log = TestLog::new(SIZE);
    let receipt = TlogProof { extra: Some(b"{\"record\":301}".to_vec()), ..log.receipt(INDEX) };
    assert!(is_other_root(&refusal(&log, &receipt.to_bytes())));
}

#[test]
fn another_index_leads_to_another_root_or_out_of_the_log() {
    let log = TestLog::new(SIZE);
    let at = |index| refusal(&log, &TlogProof { index, ..log.receipt(INDEX) }.to_bytes());
    assert!(is_other_root(&at(INDEX + 1)));
    assert!(is_other_root(&at(0)));
    let out_of_range = MerkleError::IndexOutOfRange { index: SIZE, size: SIZE };
    assert_eq!(at(SIZE), ReceiptError::Inclusion(out_of_range));
    // The last record is higher in the tree.
    assert_eq!(at(SIZE - 1), ReceiptError::Inclusion(MerkleError::ProofTooLong));
}

#[test]
fn a_hash_removed_or_added_is_noticed() {
    let log = TestLog::new(SIZE);
    let mut receipt = log.receipt(INDEX);
    let last = receipt.hashes.pop().unwrap();
    assert_eq!(refusal(&log, &receipt.to_bytes()), ReceiptError::Inclusion(MerkleError::ProofTooShort));
    receipt.hashes.extend([last, last]);
    assert_eq!(refusal(&log, &receipt.to_bytes()), ReceiptError::Inclusion(MerkleError::ProofTooLong));
}

#[test]
fn another_checkpoint_of_the_same_log_has_another_root() {
    let log = TestLog::new(SIZE);
    let newer = TestLog::new(SIZE + 1);
    let receipt = TlogProof { checkpoint: newer.receipt(0).checkpoint, ..log.receipt(INDEX) };
    assert!(is_other_root(&refusal(&log, &receipt.to_bytes())));
}

#[test]
fn a_checkpoint_of_another_log_is_of_unknown_origin() {
    let log = TestLog::new(SIZE);
    let other = TestKey::new("other.example/log", 2);
    let text = log.checkpoint_at(SIZE).to_string().replace("gate.example/log", "other.example/log");
    let receipt = TlogProof { checkpoint: other.note(&text).into_bytes(), ..log.receipt(INDEX) };
    let origin = other.public.name().clone();
    let expected = ReceiptError::Checkpoint(CheckpointError::UnknownOrigin { origin });
    assert_eq!(refusal(&log, &receipt.to_bytes()), expected);
}

#[test]
fn a_checkpoint_that_another_key_signed_is_refused() {
    let log = TestLog::new(SIZE);
    let impostor = TestKey::new("gate.example/log", 9);
    let note = impostor.note(&log.checkpoint_at(SIZE).to_string());
    let receipt = TlogProof { checkpoint: note.into_bytes(), ..log.receipt(INDEX) };
    let expected = ReceiptError::Checkpoint(CheckpointError::Note(NoteError::NoKnownSignature));
    assert_eq!(refusal(&log, &receipt.to_bytes()), expected);

    // A key that is known, but not for this log.
    let other = TestKey::new("other.example/log", 2);
    let note = other.note(&log.checkpoint_at(SIZE).to_string());
    let receipt = TlogProof { checkpoint: note.into_bytes(), ..log.receipt(INDEX) };
    let origin = log.key.public.name().clone();
    let expected = ReceiptError::Checkpoint(CheckpointError::NotSignedByOrigin { origin });
    assert_eq!(verify(&receipt.to_bytes(), &[log.key.public, other.public]).unwrap_err(), expected);
}

#[test]
fn an_altered_size_root_or_signature_is_a_bad_signature() {
    let log = TestLog::new(SIZE);
    let text = String::from_utf8(log.receipt(INDEX).to_bytes()).unwrap();
    let bad = NoteError::BadSignature { name: log.key.public.name().clone() };
    let expected = ReceiptError::Checkpoint(CheckpointError::Note(bad));
    let root = log.tree.root().to_string();
    // Within the 64 bytes of the signature, after the key's id.
    let signature_at = text.rfind(' ').unwrap() + 20;
    let other_letter = if text[signature_at..].starts_with('A') { "B" } else { "A" };
    let mut resigned = text.clone();
    resigned.replace_range(signature_at..=signature_at, other_letter);
    let cases =
        [text.replace("\n613\n", "\n614\n"), text.replace(&root, &empty_root().to_string()), resigned];
    for altered in cases {
        assert_ne!(altered, text);
        assert_eq!(refusal(&log, altered.as_bytes()), expected);
    }
}

#[test]
fn the_size_is_authenticated_where_the_hashes_alone_would_pass() {
    let log = TestLog::new(3);
    let receipt = log.receipt(0);
    let leaf = leaf_hash(&log.records[0]);
    assert_eq!(verify_inclusion(&leaf, 0, 4, &receipt.hashes, &log.tree.root()), Ok(()));
    let text = String::from_utf8(receipt.to_bytes()).unwrap().replace("\n3\n", "\n4\n");
    let bad = NoteError::BadSignature { name: log.key.public.name().clone() };
    let expected = ReceiptError::Checkpoint(CheckpointError::Note(bad));
    assert_eq!(refusal(&log, text.as_bytes()), expected);
}

#[test]
fn every_malformed_receipt_has_its_error() {
    let log = TestLog::new(SIZE);
    let text = String::from_utf8(log.receipt(INDEX).to_bytes()).unwrap();
    let note = |error| ReceiptError::Checkpoint(CheckpointError::Note(error));
    let (head, _) = text.split_once("\n\n").unwrap();
    let cases = [
        (text.replace('\n', "\r\n"), ReceiptError::Proof(ProofError::CarriageReturn { offset: 22 })),
        (head.to_owned(), ReceiptError::Proof(ProofError::NoCheckpoint)),
        (text.trim_end().to_owned(), note(NoteError::UnterminatedLine)),
        (format!("{text}x"), note(NoteError::UnterminatedLine)),
        (format!("{text}x\n"), note(NoteError::SignatureForm { line: 2 })),
        (format!("{text}\n"), note(NoteError::NoSignatures)),
        // `MH1=` decodes to the same bytes as the canonical `MH0=`.
        (text.replace("MH0=\n", "MH1=\n"), ReceiptError::Proof(ProofError::ExtraEncoding)),
        (text.replace("index 300", "index 0300"), ReceiptError::Proof(ProofError::Index)),
        (text.replace("\n613\n", "\n0613\n"), ReceiptError::Checkpoint(CheckpointError::Size)),
        (text.replace("\n\n— ", "\nextension\n\n— "), ReceiptError::Checkpoint(CheckpointError::Form)),
    ];
    for (altered, expected) in cases {
        assert_ne!(altered, text);
        assert_eq!(refusal(&log, altered.as_bytes()), expected, "{altered}");
    }
}

#[test]
fn a_proof_without_a_record_is_no_receipt() {
    let log = TestLog::new(SIZE);
    for extra in [None, Some(Vec::new())] {
        let proof = TlogProof { extra, ..log.receipt(INDEX) };
        assert_eq!(refusal(&log, &proof.to_bytes()), ReceiptError::NoRecord);
    }
}

#[test]
fn no_part_of_a_receipt_passes() {
    let log = TestLog::new(SIZE);
    let bytes = log.receipt(INDEX).to_bytes();
    for end in 0..bytes.len() {
        assert!(verify(&bytes[..end], log.key.alone()).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn no_altered_bit_passes(at: prop::sample::Index, bit in 0_u8..8) {
        let log = TestLog::new(20);
        let mut bytes = log.receipt(7).to_bytes();
        prop_assert!(verify(&bytes, log.key.alone()).is_ok());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(verify(&bytes, log.key.alone()).is_err());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        prop_assert!(UnverifiedReceipt::parse(&bytes).is_err());
    }
}

#[test]
fn a_record_is_given_only_in_its_own_place() {
    let event =
        |seq: u64| format!(r#"{{"detail":{{}},"event":"opened","kind":"event","seq":{seq},"time":1}}"#);
    let mut log = TestLog::new(0);
    log.append(event(0).as_bytes());
    log.append(event(7).as_bytes());
    log.append(b"{}");
    let record = |index| verify(&log.receipt(index).to_bytes(), log.key.alone()).unwrap().record();
    assert_eq!(record(0).unwrap().seq(), 0);
    assert_eq!(record(1).unwrap_err(), ReceiptError::OtherPlace { says: 7, index: 1 });
    assert!(matches!(record(2), Err(ReceiptError::Record(_))));
}
