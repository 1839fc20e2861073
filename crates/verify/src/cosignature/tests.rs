use ed25519_dalek::{Signer, SigningKey};
use ml_dsa::{MlDsa44, SignatureEncoding, SigningKey as PqSigningKey, signature::Keypair};

use super::*;
use crate::checkpoint::UnverifiedCheckpoint;
use crate::key::VerifierKey;
use crate::testing::{TestLog, hex};

/// Checkpoint, cosignatures and keys made by Python's `cryptography` (Ed25519) and `dilithium-py` (ML-DSA-44, checked
/// by `cryptography` too), with none of this crate's code.
const FOREIGN_NOTE: &str = include_str!("../../tests/data/cosigned.note");
const FOREIGN_KEYS: &str = include_str!("../../tests/data/cosigned.vkeys");
const FOREIGN_TIME: u64 = 1_800_000_000;

/// A cosigner with its private key.
pub(crate) struct TestCosigner {
    ed25519: SigningKey,
    ml_dsa: PqSigningKey<MlDsa44>,
    pub(crate) public: CosignerKey,
}

impl TestCosigner {
    pub(crate) fn new(name: &str, kind: CosignerKind, seed: u8) -> Self {
        let ed25519 = SigningKey::from_bytes(&[seed; 32]);
        let ml_dsa = PqSigningKey::<MlDsa44>::from_seed(&[seed; 32].into());
        let public = match kind {
            CosignerKind::Ed25519 => ed25519.verifying_key().to_bytes().to_vec(),
            CosignerKind::MlDsa44 => ml_dsa.verifying_key().encode().to_vec(),
        };
        let public = CosignerKey::new(name, kind, &public).unwrap();
        Self { ed25519, ml_dsa, public }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self.public.kind() {
            CosignerKind::Ed25519 => self.ed25519.sign(message).to_bytes().to_vec(),
            CosignerKind::MlDsa44 => self.ml_dsa.sign(message).to_bytes().to_vec(),
        }
    }

    pub(crate) fn line(&self, checkpoint: &Checkpoint, time: u64) -> String {
        self.public.line(time, &self.sign(&self.public.message(checkpoint, time).unwrap()))
    }
}

fn witness(name: &str, seed: u8) -> TestCosigner {
    TestCosigner::new(name, CosignerKind::Ed25519, seed)
}

fn foreign_keys() -> (VerifierKey, Vec<CosignerKey>) {
    let mut lines = FOREIGN_KEYS.lines();
    let log = lines.next().unwrap().parse().unwrap();
    (log, lines.map(|line| line.parse().unwrap()).collect())
}

fn foreign(note: &str) -> VerifiedCheckpoint {
    let (log, _) = foreign_keys();
    UnverifiedCheckpoint::parse(note.as_bytes()).unwrap().verify(&[log]).unwrap()
}

#[test]
fn cosignatures_of_another_implementation_verify_and_round_trip() {
    let (_, keys) = foreign_keys();
    let found = foreign(FOREIGN_NOTE).cosignatures(&keys).unwrap();
    assert_eq!(found.iter().map(Cosignature::key).cloned().collect::<Vec<_>>(), keys);
    assert!(found.iter().all(|cosignature| cosignature.time() == FOREIGN_TIME));
    let texts: Vec<String> = keys.iter().map(CosignerKey::to_string).collect();
    assert_eq!(texts, FOREIGN_KEYS.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn the_deterministic_signature_of_another_implementation_is_made_byte_for_byte() {
    // Both ML-DSA-44 keys of the foreign note have this seed.
    let ours = TestCosigner::new("witness.example/w1", CosignerKind::MlDsa44, 11);
    let (_, keys) = foreign_keys();
    assert_eq!(ours.public, keys[1]);
    let line = ours.line(foreign(FOREIGN_NOTE).checkpoint(), FOREIGN_TIME);
    assert!(FOREIGN_NOTE.contains(&line));
}

#[test]
fn ml_dsa_44_is_that_of_fips_204_by_the_vectors_of_wycheproof() {
    let mut seen = [0; 2];
    for case in include_str!("../../tests/data/wycheproof-mldsa-44.txt").lines().skip(1) {
        let parts: Vec<&str> = case.split('|').collect();
        let [result, what, key, message, signature] = parts.as_slice() else { panic!("`{case}`") };
        let (message, signature) = (hex(message), hex(signature));
        let verifies = CosignerKey::new("a", CosignerKind::MlDsa44, &hex(key)).is_ok_and(|key| {
            let PublicKey::MlDsa44(key) = &key.key else { panic!("another kind") };
            PqSignature::<MlDsa44>::try_from(signature.as_slice())
                .is_ok_and(|signature| key.verify(&message, &signature).is_ok())
        });
        assert_eq!(verifies, *result == "valid", "{what}");
        seen[usize::from(verifies)] += 1;
    }
    assert_eq!(seen, [16, 8]);
    for case in include_str!("../../tests/data/wycheproof-mldsa-44-sign.txt").lines().skip(1) {
        let parts: Vec<Vec<u8>> = case.split('|').map(hex).collect();
        let [seed, key, message, signature] = parts.as_slice() else { panic!("`{case}`") };
        let signing = PqSigningKey::<MlDsa44>::from_seed(&seed.as_slice().try_into().unwrap());
        assert_eq!(signing.verifying_key().encode().as_slice(), key.as_slice());
        assert_eq!(signing.sign(message).to_bytes().as_slice(), signature.as_slice());
    }
}

#[test]
fn every_altered_key_has_its_error() {
    let ed25519 = witness("w", 3).public;
    let text = ed25519.to_string();
    let of_type = |bytes: &[u8]| format!("a+00000000+{}", to_base64(bytes));
    let weak = [&[ED25519], [0; 32].as_slice()].concat();
    let cases = [
        (String::new(), CosignerKeyError::Form),
        ("w+00000000".to_owned(), CosignerKeyError::Form),
        (text.replacen("w+", "+", 1), CosignerKeyError::Name(KeyNameError::Empty)),
        (text.replacen('w', &"w".repeat(256), 1), CosignerKeyError::LongName { found: 256 }),
        (format!("{text}\n"), CosignerKeyError::Encoding),
        (of_type(&[]), CosignerKeyError::UnknownType),
        // A log's key.
        (of_type(&[&[1], ed25519.public_key()].concat()), CosignerKeyError::UnknownType),
        (of_type(&[&[5], ed25519.public_key()].concat()), CosignerKeyError::UnknownType),
        (of_type(&[ED25519; 34]), CosignerKeyError::Length { kind: CosignerKind::Ed25519, found: 33 }),
        (of_type(&[ML_DSA_44; 33]), CosignerKeyError::Length { kind: CosignerKind::MlDsa44, found: 32 }),
        (of_type(&weak), CosignerKeyError::Weak),
        (text.replacen('w', "v", 1), CosignerKeyError::KeyId { expected: witness("v", 3).public.key_id() }),
        (text.to_uppercase(), CosignerKeyError::Encoding),
    ];
    for (text, expected) in cases {
        let found = text.parse::<CosignerKey>().unwrap_err();
        if expected == CosignerKeyError::Encoding && found != expected {
            // Upper case may be base64 of something else; then that is refused.
            assert!(
                matches!(found, CosignerKeyError::UnknownType | CosignerKeyError::KeyId { .. }),
                "{found}"
            );
        } else {
            assert_eq!(found, expected, "`{text}`");
        }
    }
}

#[test]
fn nothing_that_is_signed_can_be_altered() {
    let (_, keys) = foreign_keys();
    for (number, key) in (1..).zip(&keys) {
        let lines: Vec<&str> = FOREIGN_NOTE.lines().collect();
        let (name, encoded) = lines[4 + number].rsplit_once(' ').unwrap();
        let original = from_base64(encoded).unwrap();
        // The time, the signature's first, middle and last byte, and its length.
        for at in [4, 11, 12, original.len() / 2, original.len() - 1] {
            let mut bytes = original.clone();
            bytes[at] ^= 1;
            let note = FOREIGN_NOTE.replace(lines[4 + number], &format!("{name} {}", to_base64(&bytes)));
            let refused = foreign(&note).cosignatures(std::slice::from_ref(key)).unwrap_err();
            assert!(
                matches!(refused, CosignatureError::Bad { .. } | CosignatureError::Time { .. }),
                "{refused}"
            );
        }
        for length in [4 + 1, 4 + 8, original.len() - 1] {
            let cut = to_base64(&original[..length]);
            let note = FOREIGN_NOTE.replace(lines[4 + number], &format!("{name} {cut}"));
            let refused = foreign(&note).cosignatures(std::slice::from_ref(key)).unwrap_err();
            assert!(
                matches!(refused, CosignatureError::Bad { .. } | CosignatureError::Time { .. }),
                "{refused}"
            );
        }
    }
}

#[test]
fn a_cosignature_counts_for_its_own_checkpoint_only() {
    let log = TestLog::new(9);
    for kind in [CosignerKind::Ed25519, CosignerKind::MlDsa44] {
        let cosigner = TestCosigner::new("witness.example/w1", kind, 5);
        let line = cosigner.line(&log.checkpoint_at(8), 1_700_000_000);
        let keys = [cosigner.public.clone()];
        assert_eq!(
            log.verified_at(8).with_lines(&line, &keys).unwrap().cosignatures(&keys).unwrap().len(),
            1
        );
        let other = log.verified_at(9).with_lines(&line, &keys).unwrap_err();
        assert_eq!(other, CosignatureError::Bad { name: cosigner.public.name().clone() });
    }
}

#[test]
fn a_time_that_says_nothing_is_refused() {
    let log = TestLog::new(1);
    let checkpoint = log.checkpoint_at(1);
    for kind in [CosignerKind::Ed25519, CosignerKind::MlDsa44] {
        let cosigner = TestCosigner::new("w", kind, 5);
        for time in [0, LATEST_TIME + 1, u64::MAX] {
            assert!(matches!(cosigner.public.message(&checkpoint, time), Err(CosignatureError::Time { .. })));
            let line = cosigner.public.line(time, &vec![0; kind.signature_length()]);
            let refused =
                log.verified_at(1).with_lines(&line, std::slice::from_ref(&cosigner.public)).unwrap_err();
            assert!(matches!(refused, CosignatureError::Time { .. }), "{refused}");
        }
        assert!(cosigner.public.message(&checkpoint, LATEST_TIME).is_ok());
    }
}

#[test]
fn a_quorum_counts_witnesses_not_lines() {
    let log = TestLog::new(3);
    let checkpoint = log.checkpoint_at(3);
    let (first, second, third) = (witness("w1", 1), witness("w2", 2), witness("w3", 3));
    let first_pq = TestCosigner::new("w1", CosignerKind::MlDsa44, 9);
    let keys: Vec<CosignerKey> =
        [&first, &first_pq, &second, &third].iter().map(|witness| witness.public.clone()).collect();
    let quorum = Quorum::new(2, keys.clone()).unwrap();
    let lines = |witnesses: &[&TestCosigner]| -> String {
        witnesses.iter().map(|witness| witness.line(&checkpoint, 7)).collect()
    };
    let check = |lines: &str| {
        let cosigned = log.verified_at(3).with_lines(lines, &keys)?;
        quorum.check(&cosigned).map(|found| found.len())
    };
    let too_few = |found| Err(CosignatureError::TooFew { found, needed: 2 });
    assert_eq!(quorum.check(&log.verified_at(3)).map(|found| found.len()), too_few(0));
    assert_eq!(check(&lines(&[&first])), too_few(1));
    assert_eq!(check(&lines(&[&first, &first])), too_few(1));
    assert_eq!(check(&lines(&[&first, &first_pq])), too_few(1));
    assert_eq!(check(&lines(&[&first, &witness("w4", 4)])), too_few(1));
    assert_eq!(check(&lines(&[&first, &second])), Ok(2));
    assert_eq!(check(&lines(&[&first, &first_pq, &second, &third])), Ok(4));
}

#[test]
fn a_quorum_that_nobody_or_anybody_could_meet_is_none() {
    let (first, second) = (witness("w1", 1).public, witness("w2", 2).public);
    let same = witness("w3", 1).public;
    assert_eq!(Quorum::new(0, vec![first.clone()]), Err(QuorumError::Nobody));
    let too_many = Err(QuorumError::TooMany { needed: 2, known: 1 });
    assert_eq!(Quorum::new(2, vec![first.clone()]), too_many);
    assert_eq!(Quorum::new(2, vec![first.clone(), first.clone()]), too_many);
    assert!(Quorum::new(2, vec![first.clone(), second]).is_ok());
    let shared = QuorumError::SharedKey { first: first.name().clone(), second: same.name().clone() };
    assert_eq!(Quorum::new(1, vec![first, same]), Err(shared));
}

#[test]
fn an_answer_that_is_no_signature_lines_adds_nothing() {
    let log = TestLog::new(2);
    let cosigner = witness("w", 1);
    let line = cosigner.line(&log.checkpoint_at(2), 9);
    let keys = [cosigner.public.clone()];
    for answer in
        ["", "\n", "no\n", line.trim_end(), &format!("{line}\n"), &format!("\n{line}"), &line.repeat(65)]
    {
        let refused = log.verified_at(2).with_lines(answer, &keys).unwrap_err();
        assert!(matches!(refused, CosignatureError::Note(_)), "`{answer}`: {refused}");
    }
    // What an unknown key says is left out.
    let stranger = witness("x", 2).line(&log.checkpoint_at(2), 9);
    let cosigned = log.verified_at(2).with_lines(&format!("{stranger}{line}"), &keys).unwrap();
    let expected = [log.verified_at(2).note_bytes(), line.as_bytes()].concat();
    assert_eq!(cosigned.note_bytes(), expected);
    // And a second line of the same key.
    let again = cosigned.with_lines(&cosigner.line(&log.checkpoint_at(2), 10), &keys).unwrap();
    assert_eq!(again.note_bytes(), expected);
}

#[test]
fn a_cosigner_that_is_demanded_and_did_not_sign_is_named() {
    let log = TestLog::new(5);
    let first = TestCosigner::new("gate.example/log", CosignerKind::MlDsa44, 4);
    let second = witness("witness.example/w1", 5);
    let (head, claim) = (log.verified_at(5), log.checkpoint_at(5));
    let both = [first.public.clone(), second.public.clone()];
    let with = |lines: &str| head.with_lines(lines, &both).unwrap().cosigned_by(&both);
    let lines = [first.line(&claim, 1_800_000_000), second.line(&claim, 1_800_000_001)];
    assert_eq!(with(&lines.concat()).unwrap().len(), 2);
    let missing =
        |key: &CosignerKey| CosignatureError::Missing { name: key.name().clone(), kind: key.kind() };
    assert_eq!(with(&lines[0]), Err(missing(&second.public)));
    assert_eq!(with(&lines[1]), Err(missing(&first.public)));
    assert_eq!(head.cosigned_by(&both), Err(missing(&first.public)));
    assert_eq!(head.cosigned_by(&[]), Ok(Vec::new()));
}
