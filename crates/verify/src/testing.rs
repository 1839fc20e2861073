//! What several tests share: a log that signs, and Merkle trees spelled as RFC 6962 spells them.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};

use portcullis_protocol::facts::RecordedFacts;
use portcullis_protocol::{AttemptId, BundleRef, Decision, DecisionRecord, Digest, Millis, Record, Resource};

use crate::checkpoint::{Checkpoint, UnverifiedCheckpoint, VerifiedCheckpoint};
use crate::key::VerifierKey;
use crate::layout::{LogPath, join_entries, join_hashes, partial_tiles};
use crate::merkle::{Hash, empty_root, leaf_hash, node_hash};
use crate::note::{signature_line, signed_text};
use crate::proof::TlogProof;
use crate::tiles::{TileReader, TileTree};
use crate::tree::{NodeReader, inclusion_proof};

/// A key pair with a name.
#[derive(Clone)]
pub(crate) struct TestKey {
    signing: SigningKey,
    pub(crate) public: VerifierKey,
}

impl TestKey {
    pub(crate) fn new(name: &str, seed: u8) -> Self {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifierKey::ed25519(name, signing.verifying_key().to_bytes()).unwrap();
        Self { signing, public }
    }

    /// This key as the only known one.
    pub(crate) fn alone(&self) -> &[VerifierKey] {
        std::slice::from_ref(&self.public)
    }

    /// Signature of any bytes.
    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.signing.sign(bytes).to_bytes()
    }

    /// Signature line for a text.
    pub(crate) fn line(&self, text: &str) -> String {
        signature_line(&self.public, &self.signing.sign(signed_text(text).unwrap()).to_bytes())
    }

    /// A note of this text with this key's signature.
    pub(crate) fn note(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text))
    }
}

/// A log in memory, stored and signed as the ledger does.
pub(crate) struct TestLog {
    pub(crate) key: TestKey,
    pub(crate) tree: TileTree,
    pub(crate) records: Vec<Vec<u8>>,
    full_tiles: BTreeMap<(u8, u64), Vec<Hash>>,
}

impl TestLog {
    pub(crate) fn new(records: u64) -> Self {
        let key = TestKey::new("gate.example/log", 1);
        let mut log = Self { key, tree: TileTree::new(), records: Vec::new(), full_tiles: BTreeMap::new() };
        for number in 0..records {
            log.append(format!("{{\"record\":{number}}}").as_bytes());
        }
        log
    }

    /// A log of real records: events, one a millisecond.
    pub(crate) fn of_events(records: u64) -> Self {
        let mut log = Self::new(0);
        (0..records).for_each(|seq| log.append(&event(seq)));
        log
    }

    /// The whole log as files, by path, at its present size.
    pub(crate) fn files(&self) -> BTreeMap<LogPath, Vec<u8>> {
        let size = self.tree.size();
        let note = self.key.note(&self.checkpoint_at(size).to_string());
        let mut files = BTreeMap::from([(LogPath::Checkpoint, note.into_bytes())]);
        for ((level, index), hashes) in &self.full_tiles {
            let path = LogPath::Tile { level: *level, index: *index, width: 256 };
            files.insert(path, join_hashes(hashes));
        }
        for path in partial_tiles(size) {
            let LogPath::Tile { level, .. } = path else { panic!("a tile") };
            files.insert(path, join_hashes(&self.tree.right_edge()[usize::from(level)]));
        }
        for (index, bundle) in (0..).zip(self.records.chunks(256)) {
            let path = LogPath::Entries { index, width: u16::try_from(bundle.len()).unwrap() };
            files.insert(path, join_entries(bundle.iter().map(Vec::as_slice)).unwrap());
        }
        files
    }

    pub(crate) fn append(&mut self, record: &[u8]) {
        self.records.push(record.to_vec());
        self.tree.append(leaf_hash(record));
        for tile in self.tree.take_full_tiles() {
            assert_eq!(tile.hashes.len(), 256);
            assert_eq!(self.full_tiles.insert((tile.level, tile.index), tile.hashes), None);
        }
    }

    pub(crate) fn reader(&self) -> impl NodeReader<Error: std::fmt::Debug> + '_ {
        TileReader::new(&self.tree, |level, index| {
            self.full_tiles.get(&(level, index)).cloned().ok_or("missing")
        })
    }

    /// The checkpoint of the first `size` records.
    pub(crate) fn checkpoint_at(&self, size: u64) -> Checkpoint {
        let root = crate::tree::root(size, &self.reader()).unwrap();
        Checkpoint { origin: self.key.public.name().clone(), size, root }
    }

    pub(crate) fn verified_at(&self, size: u64) -> VerifiedCheckpoint {
        let note = self.key.note(&self.checkpoint_at(size).to_string());
        UnverifiedCheckpoint::parse(note.as_bytes()).unwrap().verify(self.key.alone()).unwrap()
    }

    pub(crate) fn receipt(&self, index: u64) -> TlogProof {
        let size = self.tree.size();
        TlogProof {
            extra: Some(self.records[usize::try_from(index).unwrap()].clone()),
            index,
            hashes: inclusion_proof(index, size, &self.reader()).unwrap(),
            checkpoint: self.key.note(&self.checkpoint_at(size).to_string()).into_bytes(),
        }
    }
}

/// The bytes of a record: an event with this index. Spelled out, because nothing here depends on what else it may say.
pub(crate) fn event(seq: u64) -> Vec<u8> {
    let time = 1_000 + seq;
    format!(r#"{{"detail":{{}},"event":"opened","kind":"event","seq":{seq},"time":{time}}}"#).into_bytes()
}

/// The bytes of a PERMIT's record.
pub(crate) fn decision(seq: u64, agent: &str, surface: &str, bundle: &str) -> Vec<u8> {
    let (time, digest) = (Millis(1_000 + seq), Digest::sha256(b"request"));
    let record = DecisionRecord {
        seq,
        time,
        decision: Decision::Permit,
        reason: None,
        agent: agent.parse().unwrap(),
        acts_for: None,
        gate: "gate".parse().unwrap(),
        attempt: AttemptId::from_bytes([1; 32]),
        surface: surface.parse().unwrap(),
        action: surface.parse().unwrap(),
        resource: Resource { kind: "Surface".into(), id: surface.into() },
        tier: None,
        request: digest,
        key: None,
        bundle: Some(BundleRef { name: "b".into(), version: 1, digest: bundle.parse().unwrap() }),
        policies: vec!["p".parse().unwrap()],
        witnessed: false,
        limit: None,
        limits: Vec::new(),
        labels: portcullis_protocol::Labels::none(),
        obligations: portcullis_protocol::Obligations::none(),
        exception: None,
        permit_ttl_ms: Some(1),
        outcome_due: Some(time),
        kept_until: None,
        engine: "e".into(),
        facts: RecordedFacts::sound(),
    };
    Record::Decision(Box::new(record)).to_bytes().unwrap()
}

/// The bytes of a successful outcome's record.
pub(crate) fn outcome(seq: u64, permit: u64) -> Vec<u8> {
    let (attempt, time) = ("01".repeat(32), 1_000 + seq);
    format!(
        r#"{{"attempt":"{attempt}","kind":"outcome","outcome":"ok","permit":{permit},"seq":{seq},"time":{time}}}"#
    )
    .into_bytes()
}

/// Leaf hashes of distinct leaves.
pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|number| leaf_hash(&number.to_be_bytes())).collect()
}

/// MTH of RFC 6962 §2.1, over leaf hashes.
pub(crate) fn reference_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = halves(leaves);
            node_hash(&reference_root(left), &reference_root(right))
        }
    }
}

/// PATH of RFC 6962 §2.1.1, with for each sibling whether it is on the left.
pub(crate) fn reference_path(index: usize, leaves: &[Hash]) -> Vec<(bool, Hash)> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = halves(leaves);
    let (mut path, sibling) = if index < left.len() {
        (reference_path(index, left), (false, reference_root(right)))
    } else {
        (reference_path(index - left.len(), right), (true, reference_root(left)))
    };
    path.push(sibling);
    path
}

/// SUBPROOF of RFC 6962 §2.1.2; PROOF is the one with `whole`.
pub(crate) fn reference_consistency(old: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![reference_root(leaves)] };
    }
    let (left, right) = halves(leaves);
    if old <= left.len() {
        let mut proof = reference_consistency(old, left, whole);
        proof.push(reference_root(right));
        proof
    } else {
        let mut proof = reference_consistency(old - left.len(), right, false);
        proof.push(reference_root(left));
        proof
    }
}

fn halves(leaves: &[Hash]) -> (&[Hash], &[Hash]) {
    leaves.split_at(leaves.len().next_power_of_two() / 2)
}

/// Bytes from a string of hexadecimal digits.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The hash in a string of hexadecimal digits.
pub(crate) fn hex_hash(digits: &str) -> Hash {
    Hash(hex(digits).try_into().unwrap())
}
