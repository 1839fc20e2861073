use proptest::prelude::*;

use super::{MAX_EXTRA_BYTES, MAX_HASHES, MAX_PROOF_BYTES, ProofError, TlogProof};
use crate::merkle::{Hash, leaf_hash};
use crate::note::MAX_NOTE_BYTES;

fn proof() -> TlogProof {
    TlogProof {
        extra: Some(b"{}".to_vec()),
        index: 73_894,
        hashes: vec![leaf_hash(b"a"), leaf_hash(b"b")],
        checkpoint: b"origin\n1\nroot\n\n\xe2\x80\x94 signature\n".to_vec(),
    }
}

fn text() -> String {
    String::from_utf8(proof().to_bytes()).unwrap()
}

#[test]
fn a_proof_has_the_form_of_the_spec() {
    let expected = format!(
        "c2sp.org/tlog-proof@v1\nextra e30=\nindex 73894\n{}\n{}\n\norigin\n1\nroot\n\n— signature\n",
        leaf_hash(b"a"),
        leaf_hash(b"b")
    );
    assert_eq!(text(), expected);
    assert_eq!(TlogProof::parse(expected.as_bytes()), Ok(proof()));
}

#[test]
fn extra_and_hashes_may_be_missing() {
    let bare = b"c2sp.org/tlog-proof@v1\nindex 0\n\nx";
    let expected = TlogProof { extra: None, index: 0, hashes: Vec::new(), checkpoint: b"x".to_vec() };
    assert_eq!(TlogProof::parse(bare), Ok(expected));
    let empty_extra = b"c2sp.org/tlog-proof@v1\nextra \nindex 0\n\nx";
    let parsed = TlogProof::parse(empty_extra).unwrap();
    assert_eq!(parsed.extra, Some(Vec::new()));
    assert_eq!(parsed.to_bytes(), empty_extra);
}

#[test]
fn every_malformed_proof_has_its_error() {
    let text = text();
    let (head, checkpoint) = text.split_once("\n\n").unwrap();
    let hash = leaf_hash(b"a").to_string();
    let cases = [
        (String::new(), ProofError::NoCheckpoint),
        (head.to_owned(), ProofError::NoCheckpoint),
        (format!("{head}\n"), ProofError::NoCheckpoint),
        (format!("{head}\n\n"), ProofError::NoCheckpoint),
        (text.replace('\n', "\r\n"), ProofError::CarriageReturn { offset: 22 }),
        (format!("{text}\r"), ProofError::CarriageReturn { offset: text.len() }),
        (text.replace("@v1", "@v2"), ProofError::Header),
        (format!("\u{feff}{text}"), ProofError::Header),
        (format!("\n{text}"), ProofError::Header),
        // Not `Header`: the blank line comes first of all.
        (format!("\n\n{text}"), ProofError::Header),
        (checkpoint.to_owned(), ProofError::Header),
        (text.replace("e30=", "e31="), ProofError::ExtraEncoding),
        (text.replace("e30=", "e30"), ProofError::ExtraEncoding),
        (text.replace("extra e30=", "extra  e30="), ProofError::ExtraEncoding),
        (text.replace("extra e30=", "extra e30= "), ProofError::ExtraEncoding),
        (text.replace("extra", "Extra"), ProofError::Index),
        (text.replace("extra e30=", "extra"), ProofError::Index),
        (text.replace("extra e30=", "extra e30=\nextra e30="), ProofError::Index),
        (text.replace("index 73894\n", ""), ProofError::Index),
        (text.replace("73894", "073894"), ProofError::Index),
        (text.replace("73894", "+73894"), ProofError::Index),
        (text.replace("73894", "-1"), ProofError::Index),
        (text.replace("73894", "18446744073709551616"), ProofError::Index),
        (text.replace("73894", ""), ProofError::Index),
        (text.replace(&hash, &hash[1..]), ProofError::Hash { line: 1 }),
        (text.replace(&hash, &format!("{hash}\n{hash} ")), ProofError::Hash { line: 2 }),
        (text.replace("73894", "73894\nindex 73894"), ProofError::Hash { line: 1 }),
        (
            text.replace(&hash, &[hash.as_str(); MAX_HASHES].join("\n")),
            ProofError::TooManyHashes { found: MAX_HASHES + 1 },
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(TlogProof::parse(text.as_bytes()), Err(expected), "{text:?}");
    }
    let not_utf8 = [b"c2sp\xff", text.as_bytes()].concat();
    assert_eq!(TlogProof::parse(&not_utf8), Err(ProofError::NotUtf8 { offset: 4 }));
}

#[test]
fn the_largest_parts_fit_and_one_byte_more_does_not() {
    let largest = TlogProof {
        extra: Some(vec![b'x'; MAX_EXTRA_BYTES]),
        index: u64::MAX,
        hashes: vec![leaf_hash(b"a"); MAX_HASHES],
        checkpoint: vec![b'x'; MAX_NOTE_BYTES],
    };
    assert_eq!(TlogProof::parse(&largest.to_bytes()), Ok(largest.clone()));
    // 65,535 is a multiple of three, so one byte more is a new group of four letters.
    let extra = TlogProof { extra: Some(vec![b'x'; MAX_EXTRA_BYTES + 1]), ..largest.clone() };
    let found = MAX_EXTRA_BYTES + 1;
    assert_eq!(TlogProof::parse(&extra.to_bytes()), Err(ProofError::ExtraTooLarge { found }));
    let padded = TlogProof { checkpoint: vec![b'x'; MAX_PROOF_BYTES], ..largest };
    let found = padded.to_bytes().len();
    assert_eq!(TlogProof::parse(&padded.to_bytes()), Err(ProofError::TooLarge { found }));
}

proptest! {
    #[test]
    fn proofs_round_trip(
        extra: Option<Vec<u8>>, index: u64,
        hashes in prop::collection::vec(any::<[u8; 32]>(), 0..=MAX_HASHES),
        checkpoint in "[a-z\n—]{1,50}",
    ) {
        let hashes = hashes.into_iter().map(Hash).collect();
        let proof = TlogProof { extra, index, hashes, checkpoint: checkpoint.into_bytes() };
        prop_assert_eq!(TlogProof::parse(&proof.to_bytes()), Ok(proof));
    }

    #[test]
    fn what_parses_is_canonical(at: prop::sample::Index, byte: u8, remove: bool) {
        let mut bytes = proof().to_bytes();
        let at = at.index(bytes.len());
        if remove {
            bytes.remove(at);
        } else {
            bytes[at] = byte;
        }
        if let Ok(parsed) = TlogProof::parse(&bytes) {
            prop_assert_eq!(parsed.to_bytes(), bytes);
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(tail: Vec<u8>) {
        prop_assert!(TlogProof::parse(&tail).is_err());
        let headed = [b"c2sp.org/tlog-proof@v1\nextra ", tail.as_slice()].concat();
        prop_assert!(TlogProof::parse(&headed).is_err());
    }
}
