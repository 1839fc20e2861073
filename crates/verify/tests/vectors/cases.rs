//! The cases of `vectors/`: one log, made from fixed keys, and every way in which a copy of its evidence can be wrong.

use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::canonical;
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::tree::inclusion_proof;
use portcullis_verify::{Checkpoint, TileReader, TileTree, TlogProof, VerifierKey};
use serde_json::{Value, json};

#[path = "packs.rs"]
pub(crate) mod packs;

/// What a file claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A receipt: a tlog-proof with its record.
    Receipt,
    /// A checkpoint: a signed note.
    Checkpoint,
    /// An evidence pack.
    Pack,
}

impl Kind {
    /// Its word in the manifest, and its folder.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Checkpoint => "checkpoint",
            Self::Pack => "pack",
        }
    }
}

/// What a verifier says of the signatures on a pack's bundles where the vectors' root says whose they must be. The digest by
/// which records name a bundle does not cover them, so that a pack verifies by itself whatever became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// The vectors say nothing of them.
    Unasked,
    /// The root vouches for each bundle.
    Vouched,
    /// It does not, and the pack must be refused, with this error.
    Refused(&'static str),
}

/// A file, and what a verifier must say of it.
#[derive(Debug)]
pub(crate) struct Case {
    /// What it claims to be.
    pub(crate) kind: Kind,
    /// Its name, without folder and ending.
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// The error, with its causes; `None` if it must verify.
    pub(crate) error: Option<&'static str>,
    /// What is said of it besides, by whoever looks at the signatures of bundles.
    pub(crate) signatures: Signatures,
}

/// A case as the manifest lists it.
pub(crate) fn listed(case: &Case) -> Value {
    let mut listed = json!({ "error": case.error, "file": path(case), "kind": case.kind.as_str() });
    let refused = match case.signatures {
        Signatures::Unasked => return listed,
        Signatures::Vouched => None,
        Signatures::Refused(error) => Some(error),
    };
    listed["signatures"] = json!({ "error": refused });
    listed
}

/// All of the manifest.
pub(crate) fn manifest() -> Value {
    let keys: Vec<String> = keys().iter().map(ToString::to_string).collect();
    let cases: Vec<Value> = cases().iter().map(listed).collect();
    let (file, (_, pin)) = (ROOT, packs::root());
    json!({ "bundle_root": { "file": file, "pin": pin }, "cases": cases, "keys": keys })
}

/// Where the root lies in `vectors/` that says by whom bundles must be signed.
pub(crate) const ROOT: &str = "root/team.root";

/// Where a case's file lies in `vectors/`.
pub(crate) fn path(case: &Case) -> String {
    let is_good = case.error.is_none() && !matches!(case.signatures, Signatures::Refused(_));
    let verdict = if is_good { "valid" } else { "tampered" };
    let ending = match case.kind {
        Kind::Receipt => "tlog-proof",
        Kind::Checkpoint => "note",
        Kind::Pack => "tar",
    };
    format!("{}/{verdict}/{}.{ending}", case.kind.as_str(), case.name)
}

/// A key pair.
pub(crate) struct Key {
    signing: SigningKey,
    /// Its public half.
    pub(crate) public: VerifierKey,
}

impl Key {
    /// The pair of this name that follows from a seed.
    pub(crate) fn new(name: &str, seed: u8) -> Self {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifierKey::ed25519(name, signing.verifying_key().to_bytes()).unwrap();
        Self { signing, public }
    }

    fn line(&self, text: &str) -> String {
        signature_line(&self.public, &self.signing.sign(signed_text(text).unwrap()).to_bytes())
    }

    /// A text with its signature.
    pub(crate) fn note(&self, text: &str) -> String {
        format!("{text}\n{}", self.line(text))
    }
}

/// The key of the vectors' log.
pub(crate) fn log_key() -> Key {
    Key::new("vectors.example/log", 1)
}

/// The keys that every case is verified with: the log's, and a witness's that could speak for a log of its own name.
pub(crate) fn keys() -> Vec<VerifierKey> {
    vec![log_key().public, Key::new("vectors.example/witness", 2).public]
}

/// A record of the vectors' log, as JSON.
fn record(seq: u64) -> Value {
    if seq == 0 || seq % 7 == 3 {
        return json!({ "kind": "event", "seq": seq, "time": 1_800_000_000_000_u64 + seq, "event": "opened",
            "detail": { "records_never_released": "0" } });
    }
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let facts = json!({ "clock": "steady", "deadline": "ahead", "evidence": "sound", "gate": "open",
        "policy": "valid", "state": "held" });
    let mut entry = json!({
        "kind": "decision", "seq": seq, "time": 1_800_000_000_000_u64 + seq, "decision": "PERMIT",
        "agent": "assistant", "gate": "gate", "attempt": format!("{seq:064x}"), "surface": "payments.charge",
        "action": "payments.charge", "resource": { "type": "Surface", "id": "payments.charge" },
        "tier": "critical", "request": digest("a"), "key": digest("b"),
        "bundle": { "name": "starter", "version": 1, "digest": digest("c") }, "policies": ["charge-small"],
        "permit_ttl_ms": 5_000, "outcome_due": 1_800_000_065_000_u64 + seq, "engine": "cedar-policy 4.14.1",
        "facts": facts,
    });
    if seq % 7 == 5 {
        let fields = entry.as_object_mut().unwrap();
        for gone in ["permit_ttl_ms", "outcome_due", "key"] {
            fields.remove(gone);
        }
        fields.insert("decision".into(), json!("DENY"));
        fields.insert("reason".into(), json!("policy.no_grant"));
        fields.insert("policies".into(), json!([]));
    }
    entry
}

fn bytes(record: &Value) -> Vec<u8> {
    canonical::to_bytes(record).unwrap()
}

/// A log of records, complete in memory.
pub(crate) struct Log {
    /// Its tree, with all tiles.
    pub(crate) tree: TileTree,
    /// The records' bytes.
    pub(crate) records: Vec<Vec<u8>>,
}

impl Log {
    /// The vectors' log, with other bytes in some places.
    pub(crate) fn new(size: u64, replaced: &[(u64, Vec<u8>)]) -> Self {
        let mut records: Vec<_> = (0..size).map(|seq| bytes(&record(seq))).collect();
        for (seq, bytes) in replaced {
            records[usize::try_from(*seq).unwrap()] = bytes.clone();
        }
        Self::of(records)
    }

    /// A log of these records.
    fn of(records: Vec<Vec<u8>>) -> Self {
        let mut tree = TileTree::new();
        records.iter().for_each(|record| tree.append(leaf_hash(record)));
        Self { tree, records }
    }

    fn checkpoint(&self) -> Checkpoint {
        let origin = log_key().public.name().clone();
        Checkpoint { origin, size: self.tree.size(), root: self.tree.root() }
    }

    /// The signed head.
    pub(crate) fn note(&self) -> String {
        log_key().note(&self.checkpoint().to_string())
    }

    fn proof(&self, index: u64) -> TlogProof {
        let reader = TileReader::new(&self.tree, |_, _| Err::<Vec<_>, _>("all tiles are in the tree"));
        TlogProof {
            extra: Some(self.records[usize::try_from(index).unwrap()].clone()),
            index,
            hashes: inclusion_proof(index, self.tree.size(), &reader).unwrap(),
            checkpoint: self.note().into_bytes(),
        }
    }

    fn receipt(&self, index: u64) -> String {
        String::from_utf8(self.proof(index).to_bytes()).unwrap()
    }
}

const SIZE: u64 = 300;
/// A PERMIT.
const INDEX: u64 = 162;

/// Lines of a text, to be worked on one by one.
fn edited(text: &str, edit: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    edit(&mut lines);
    lines.join("\n").into_bytes()
}

fn replaced(text: &str, from: &str, to: &str) -> Vec<u8> {
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "`{from}` is not there");
    changed.into_bytes()
}

/// A receipt whose record has other bytes, in a log that was signed over them.
fn signed_over(record: Vec<u8>) -> Vec<u8> {
    Log::new(SIZE, &[(INDEX, record)]).receipt(INDEX).into_bytes()
}

/// A receipt of the record with other fields, in a log that was signed over them.
fn with_fields(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> Vec<u8> {
    let mut record = record(INDEX);
    change(record.as_object_mut().unwrap());
    signed_over(bytes(&record))
}

/// The late record of an attempt, in the place of the PERMIT, with other fields.
fn late(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut record = json!({
        "kind": "late", "seq": INDEX, "time": 1_800_000_000_000_u64 + INDEX, "keeper": "arbiter",
        "entry": { "spool": "5".repeat(64), "number": 3, "attempted": {
            "at": 1_700_000_000_000_u64, "reason": "evidence.unwritable", "agent": "assistant", "gate": "gate",
            "attempt": format!("{INDEX:064x}"), "surface": "payments.charge", "action": "payments.charge",
            "resource": { "type": "Surface", "id": "payments.charge" }, "request": format!("sha256:{}", "a".repeat(64)),
        } },
    });
    change(&mut record);
    signed_over(bytes(&record))
}

/// The record of a list of tools, in the place of the PERMIT, with other fields.
fn list(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let digest = format!("sha256:{}", "b".repeat(64));
    let mut record = json!({
        "kind": "listing", "seq": INDEX, "time": 1_800_000_000_000_u64 + INDEX, "agent": "assistant", "gate": "gate",
        "listing": format!("sha256:{}", "c".repeat(64)), "server": "files", "shown": ["files/read", "files/stat"],
        "hidden": ["files/write"], "bundle": { "name": "vectors", "version": 1, "digest": digest }, "engine": "vectors",
    });
    change(&mut record);
    signed_over(bytes(&record))
}

/// The record of a simulation, in the place of the PERMIT: all that it says, of another kind.
fn simulation(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut record = record(INDEX);
    record["kind"] = json!("simulation");
    change(&mut record);
    signed_over(bytes(&record))
}

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = valid();
    cases.extend(packs::valid());
    for (kind, tampered) in [
        (Kind::Receipt, receipt_forms()),
        (Kind::Receipt, receipt_proofs()),
        (Kind::Receipt, receipt_records()),
        (Kind::Receipt, list_records()),
        (Kind::Receipt, receipt_heads()),
        (Kind::Checkpoint, checkpoints()),
        (Kind::Pack, packs::tampered()),
    ] {
        let made = |(name, bytes, error)| Case {
            kind,
            name,
            bytes,
            error: Some(error),
            signatures: Signatures::Unasked,
        };
        cases.extend(tampered.into_iter().map(made));
    }
    cases.extend(packs::signed());
    cases
}

fn valid() -> Vec<Case> {
    let log = Log::new(SIZE, &[]);
    let case = |kind, name, bytes: String| Case {
        kind,
        name,
        bytes: bytes.into_bytes(),
        error: None,
        signatures: Signatures::Unasked,
    };
    let witness = Key::new("vectors.example/unknown", 3);
    let witnessed = format!("{}{}", log.note(), witness.line(&log.checkpoint().to_string()));
    let mut cosigned = log.proof(INDEX);
    cosigned.checkpoint = witnessed.clone().into_bytes();
    let cosigned = String::from_utf8(cosigned.to_bytes()).unwrap();
    vec![
        case(Kind::Receipt, "permit", log.receipt(INDEX)),
        case(Kind::Receipt, "deny", log.receipt(180)),
        case(Kind::Receipt, "event", log.receipt(0)),
        case(Kind::Receipt, "late", String::from_utf8(late(|_| ())).unwrap()),
        case(Kind::Receipt, "list", String::from_utf8(list(|_| ())).unwrap()),
        case(Kind::Receipt, "newest", log.receipt(SIZE - 1)),
        case(Kind::Receipt, "simulation", String::from_utf8(simulation(|_| ())).unwrap()),
        case(Kind::Receipt, "only-record", Log::new(1, &[]).receipt(0)),
        case(Kind::Receipt, "signed-by-an-unknown-key-too", cosigned),
        case(Kind::Checkpoint, "signed", log.note()),
        case(Kind::Checkpoint, "signed-by-an-unknown-key-too", witnessed),
        case(Kind::Checkpoint, "empty-log", Log::new(0, &[]).note()),
    ]
}

type Tampered = Vec<(&'static str, Vec<u8>, &'static str)>;

/// Records of lists, and of what was only simulated, that are none.
fn list_records() -> Tampered {
    vec![
        (
            "list-that-shows-what-it-hides",
            list(|record| record["hidden"] = record["shown"].clone()),
            "what the log has there is not a record: not a record: a tool that is shown and hidden",
        ),
        (
            "list-of-another-servers-tools",
            list(|record| record["server"] = json!("git")),
            "what the log has there is not a record: not a record: a list of one server's tools has another one's",
        ),
        (
            "list-out-of-order",
            list(|record| record["shown"] = json!(["files/stat", "files/read"])),
            "what the log has there is not a record: not a record: its bytes are not canonical (RFC 8785)",
        ),
        (
            "simulation-that-contradicts-itself",
            simulation(|record| record["reason"] = json!("policy.no_grant")),
            "what the log has there is not a record: not a record: decision and reason disagree",
        ),
        (
            "list-by-stale-facts",
            list(|record| {
                let digest = record["bundle"]["digest"].clone();
                record["sources"] =
                    json!({ "directory": { "as_of": 1, "digest": digest, "max_age_ms": 1_000 } });
            }),
            "what the log has there is not a record: not a record: a list by stale facts",
        ),
    ]
}

fn receipt_forms() -> Tampered {
    let text = Log::new(SIZE, &[]).receipt(INDEX);
    let cut = |at: usize| text.as_bytes()[..at].to_vec();
    let line = |number: usize, to: &str| edited(&text, |lines| lines[number] = to.to_owned());
    let end = text.find("\n\n").unwrap();
    vec![
        (
            "empty-file",
            Vec::new(),
            "the receipt is not a valid proof file: the proof has no checkpoint: it may have been cut",
        ),
        (
            "without-header",
            edited(&text, |lines| drop(lines.remove(0))),
            "the receipt is not a valid proof file: the first line is not `c2sp.org/tlog-proof@v1`",
        ),
        (
            "another-version",
            line(0, "c2sp.org/tlog-proof@v2"),
            "the receipt is not a valid proof file: the first line is not `c2sp.org/tlog-proof@v1`",
        ),
        (
            "header-in-capitals",
            line(0, "C2SP.ORG/TLOG-PROOF@V1"),
            "the receipt is not a valid proof file: the first line is not `c2sp.org/tlog-proof@v1`",
        ),
        (
            "byte-order-mark",
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            "the receipt is not a valid proof file: the first line is not `c2sp.org/tlog-proof@v1`",
        ),
        (
            "blank-line-first",
            format!("\n{text}").into_bytes(),
            "the receipt is not a valid proof file: the first line is not `c2sp.org/tlog-proof@v1`",
        ),
        (
            "carriage-returns",
            text.replace('\n', "\r\n").into_bytes(),
            "the receipt is not a valid proof file: byte 22 of the proof is a carriage return; get the file again, as binary",
        ),
        (
            "not-utf-8",
            [b"\xff", text.as_bytes()].concat(),
            "the receipt is not a valid proof file: byte 0 of the proof is not UTF-8",
        ),
        (
            "without-checkpoint",
            cut(end + 2),
            "the receipt is not a valid proof file: the proof has no checkpoint: it may have been cut",
        ),
        (
            "cut-in-the-proof",
            cut(end - 10),
            "the receipt is not a valid proof file: the proof has no checkpoint: it may have been cut",
        ),
        (
            "extra-without-padding",
            line(1, "extra AAE"),
            "the receipt is not a valid proof file: the extra data is not standard base64 with padding",
        ),
        (
            "extra-in-the-url-alphabet",
            line(1, "extra __8="),
            "the receipt is not a valid proof file: the extra data is not standard base64 with padding",
        ),
        (
            "extra-with-trailing-bits",
            line(1, "extra AAF="),
            "the receipt is not a valid proof file: the extra data is not standard base64 with padding",
        ),
        (
            "extra-beyond-the-limit",
            line(1, &format!("extra {}", "AAAA".repeat(21_846))),
            "the receipt is not a valid proof file: 65538 bytes of extra data are too many: at most 65535 are read",
        ),
        (
            "without-record",
            edited(&text, |lines| drop(lines.remove(1))),
            "the proof file carries no record, so it is not a receipt",
        ),
        ("empty-record", line(1, "extra "), "the proof file carries no record, so it is not a receipt"),
        (
            "record-after-index",
            edited(&text, |lines| lines.swap(1, 2)),
            "the receipt is not a valid proof file: line 1 of the inclusion proof is not the base64 encoding of 32 bytes",
        ),
        (
            "without-index",
            edited(&text, |lines| drop(lines.remove(2))),
            "the receipt is not a valid proof file: the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64",
        ),
        (
            "index-with-leading-zero",
            line(2, "index 0162"),
            "the receipt is not a valid proof file: the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64",
        ),
        (
            "index-with-sign",
            line(2, "index +162"),
            "the receipt is not a valid proof file: the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64",
        ),
        (
            "index-negative",
            line(2, "index -162"),
            "the receipt is not a valid proof file: the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64",
        ),
        (
            "index-beyond-64-bits",
            line(2, "index 18446744073709551616"),
            "the receipt is not a valid proof file: the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64",
        ),
        (
            "index-hexadecimal",
            line(2, "index 0xa2"),
            "the receipt is not a valid proof file: the line after header and extra data is not `index <decimal>` without leading zeros, below 2^64",
        ),
        (
            "hash-not-base64",
            line(3, "no hash"),
            "the receipt is not a valid proof file: line 1 of the inclusion proof is not the base64 encoding of 32 bytes",
        ),
        (
            "hash-of-31-bytes",
            line(4, &"A".repeat(42)),
            "the receipt is not a valid proof file: line 2 of the inclusion proof is not the base64 encoding of 32 bytes",
        ),
        (
            "hash-with-space",
            line(3, &format!("{} ", text.lines().nth(3).unwrap())),
            "the receipt is not a valid proof file: line 1 of the inclusion proof is not the base64 encoding of 32 bytes",
        ),
        (
            "sixty-five-hashes",
            edited(&text, |lines| {
                let hash = lines[3].clone();
                lines.splice(3..3, std::iter::repeat_n(hash, 65));
            }),
            "the receipt is not a valid proof file: 74 hashes are too many: at most 64 are read",
        ),
        (
            "beyond-the-largest-proof",
            [text.as_bytes(), &[b'a'; 160_000]].concat(),
            "the receipt is not a valid proof file: a proof of 161717 bytes is too large: at most 155896 are read",
        ),
    ]
}

fn receipt_proofs() -> Tampered {
    let log = Log::new(SIZE, &[]);
    let (proof, other) = (log.proof(INDEX), log.proof(INDEX + 1));
    let with = |change: &dyn Fn(&mut TlogProof)| {
        let mut changed = proof.clone();
        change(&mut changed);
        changed.to_bytes()
    };
    vec![
        (
            "another-index",
            with(&|proof| proof.index += 1),
            "the receipt does not prove that its record is in the log: the proof leads to root `OMD9gJnxE5JZvDCEy1G5DJ9ohbR2lZJeSg5KTm2qakg=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "index-beyond-the-log",
            with(&|proof| proof.index = SIZE),
            "the receipt does not prove that its record is in the log: index 300 is not in a tree of size 300",
        ),
        (
            "hash-flipped",
            with(&|proof| proof.hashes[0].0[0] ^= 1),
            "the receipt does not prove that its record is in the log: the proof leads to root `i+tCWtABZOJxEARcbS3cbzxaee22M+xyECdLpt3fReI=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "last-hash-flipped",
            with(&|proof| proof.hashes.last_mut().unwrap().0[31] ^= 0x80),
            "the receipt does not prove that its record is in the log: the proof leads to root `oMLrME664KL4Ax+4RvR2OpYQ/449nGMtdh/Rwfnqj6E=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "hash-missing",
            with(&|proof| {
                proof.hashes.pop();
            }),
            "the receipt does not prove that its record is in the log: the proof has too few hashes",
        ),
        (
            "first-hash-missing",
            with(&|proof| {
                proof.hashes.remove(0);
            }),
            "the receipt does not prove that its record is in the log: the proof has too few hashes",
        ),
        (
            "hash-too-many",
            with(&|proof| proof.hashes.push(proof.hashes[0])),
            "the receipt does not prove that its record is in the log: the proof has too many hashes",
        ),
        (
            "no-hashes",
            with(&|proof| proof.hashes.clear()),
            "the receipt does not prove that its record is in the log: the proof has too few hashes",
        ),
        (
            "hashes-swapped",
            with(&|proof| proof.hashes.swap(0, 1)),
            "the receipt does not prove that its record is in the log: the proof leads to root `EKr+d/i+CbZrd2FAMyVTzui20FSHZgy4+LrvQd38lls=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "proof-of-another-record",
            with(&|proof| proof.hashes.clone_from(&other.hashes)),
            "the receipt does not prove that its record is in the log: the proof leads to root `BI+E6Hc5A6HX/vq3pSRQMmZoVhTRBw/eVIQ7PkqjlgE=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "record-of-another-place",
            with(&|proof| proof.extra.clone_from(&other.extra)),
            "the receipt does not prove that its record is in the log: the proof leads to root `Nwt3X5SE2tIqyME2s21VM8gdVXYF4Lj3v6LuSd2tENU=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
    ]
}

fn receipt_records() -> Tampered {
    let log = Log::new(SIZE, &[]);
    let own = String::from_utf8(log.records[usize::try_from(INDEX).unwrap()].clone()).unwrap();
    let unsigned = |from: &str, to: &str| {
        let mut proof = log.proof(INDEX);
        proof.extra = Some(replaced(&own, from, to));
        proof.to_bytes()
    };
    let signed = |from: &str, to: &str| signed_over(replaced(&own, from, to));
    vec![
        // Altered after it was signed.
        (
            "verdict-flipped",
            unsigned("PERMIT", "SILENCE"),
            "the receipt does not prove that its record is in the log: the proof leads to root `b5pklR+ISEm7J8fsWgRF4nCTroQfcHhszCxsgBIpCEU=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "agent-replaced",
            unsigned("\"assistant\"", "\"root\""),
            "the receipt does not prove that its record is in the log: the proof leads to root `YISIHVQ9qackSfSendAMl1xjySKD6Bn+29za7c4zKGg=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        (
            "record-with-a-space",
            unsigned("{", "{ "),
            "the receipt does not prove that its record is in the log: the proof leads to root `mGIWp2gHBwcAzbe7Tt0krOk+N4YS+w3VFTe8BCrPbL8=`, not to `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`",
        ),
        // In the log as it is, and no record.
        (
            "record-not-canonical",
            signed("{", "{ "),
            "what the log has there is not a record: not a record: its bytes are not canonical (RFC 8785)",
        ),
        (
            "record-with-keys-out-of-order",
            signed(
                "\"action\":\"payments.charge\",\"agent\":\"assistant\"",
                "\"agent\":\"assistant\",\"action\":\"payments.charge\"",
            ),
            "what the log has there is not a record: not a record: its bytes are not canonical (RFC 8785)",
        ),
        (
            "record-with-a-key-twice",
            signed("{", "{\"action\":\"payments.charge\","),
            "what the log has there is not a record: not a record: key `action` occurs twice in one object",
        ),
        (
            "record-with-an-unknown-field",
            signed("{", "{\"aaa\":1,"),
            "what the log has there is not a record: not a record: unknown field `aaa`, expected one of `seq`, `time`, `decision`, `reason`, `agent`, `acts_for`, `gate`, `attempt`, `surface`, `action`, `resource`, `tier`, `request`, `key`, `bundle`, `policies`, `permit_ttl_ms`, `outcome_due`, `kept_until`, `witnessed`, `limit`, `limits`, `labels`, `obligations`, `exception`, `engine`, `facts`",
        ),
        (
            "record-with-a-fraction",
            signed("\"permit_ttl_ms\":5000", "\"permit_ttl_ms\":5000.5"),
            "what the log has there is not a record: not a record: a number with a fraction or an exponent; write it as a string with its declared scale",
        ),
        (
            "record-not-json",
            signed_over(b"PERMIT".to_vec()),
            "what the log has there is not a record: not a record: not JSON at line 1, column 1",
        ),
        (
            "record-of-an-unknown-kind",
            signed("\"kind\":\"decision\"", "\"kind\":\"permission\""),
            "what the log has there is not a record: not a record: unknown variant `permission`, expected one of `decision`, `outcome`, `aggregate`, `event`, `late`, `listing`, `simulation` at line 1 column 523",
        ),
        (
            "record-of-an-unknown-verdict",
            signed("\"PERMIT\"", "\"ALLOW\""),
            "what the log has there is not a record: not a record: unknown variant `ALLOW`, expected one of `PERMIT`, `DENY`, `SILENCE`",
        ),
        (
            "record-of-another-seq",
            with_fields(|fields| drop(fields.insert("seq".into(), json!(161)))),
            "the record says that it is number 161, the log has it as number 162",
        ),
        (
            "permit-with-a-reason",
            with_fields(|fields| {
                fields.insert("reason".into(), json!("policy.no_grant"));
            }),
            "what the log has there is not a record: not a record: decision and reason disagree",
        ),
        (
            "permit-without-its-terms",
            with_fields(|fields| drop(fields.remove("permit_ttl_ms"))),
            "what the log has there is not a record: not a record: a PERMIT without its terms",
        ),
        (
            "permit-without-bundle",
            with_fields(|fields| drop(fields.remove("bundle"))),
            "what the log has there is not a record: not a record: a PERMIT without its terms",
        ),
        (
            "refusal-with-terms-of-a-permit",
            with_fields(|fields| {
                fields.insert("decision".into(), json!("DENY"));
                fields.insert("reason".into(), json!("policy.no_grant"));
            }),
            "what the log has there is not a record: not a record: the terms of a permit on a refusal",
        ),
        (
            "deny-for-a-reason-of-silence",
            with_fields(|fields| {
                fields.insert("decision".into(), json!("DENY"));
                fields.insert("reason".into(), json!("policy.expired"));
            }),
            "what the log has there is not a record: not a record: decision and reason disagree",
        ),
        (
            "reason-of-no-list",
            with_fields(|fields| {
                fields.insert("reason".into(), json!("because"));
            }),
            "what the log has there is not a record: not a record: `because` is not a valid reason code: expected a code of the closed list in api/reason-codes.md",
        ),
        (
            "policies-out-of-order",
            with_fields(|fields| {
                fields.insert("policies".into(), json!(["b", "a"]));
            }),
            "what the log has there is not a record: not a record: policies out of order",
        ),
        (
            "fact-of-no-list",
            with_fields(|fields| {
                fields["facts"]["clock"] = json!("probably");
            }),
            "what the log has there is not a record: not a record: unknown variant `probably`, expected one of `steady`, `jumped`, `behind_log`, `unknown`",
        ),
        (
            "late-record-of-a-decision",
            late(|record| record["entry"]["attempted"]["reason"] = json!("policy.no_grant")),
            "what the log has there is not a record: not a record: a late record of what its keeper does not keep",
        ),
        (
            "late-record-of-a-gate-with-a-reason-of-the-arbiters",
            late(|record| record["keeper"] = json!("gate")),
            "what the log has there is not a record: not a record: a late record of what its keeper does not keep",
        ),
        (
            "late-record-with-a-decision",
            late(|record| record["decision"] = json!("PERMIT")),
            "what the log has there is not a record: not a record: unknown field `decision`, expected one of `seq`, `time`, `keeper`, `entry`",
        ),
        (
            "record-without-facts",
            with_fields(|fields| drop(fields.remove("facts"))),
            "what the log has there is not a record: not a record: missing field `facts`",
        ),
    ]
}

fn receipt_heads() -> Tampered {
    let log = Log::new(SIZE, &[]);
    let with = |checkpoint: Vec<u8>| {
        let mut proof = log.proof(INDEX);
        proof.checkpoint = checkpoint;
        proof.to_bytes()
    };
    let another = Key::new("vectors.example/log", 9);
    vec![
        (
            "head-of-another-size",
            with(Log::new(SIZE - 1, &[]).note().into_bytes()),
            "the receipt does not prove that its record is in the log: the proof leads to root `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`, not to `kr8PGVhAn76OAx+ACmsBqUPvAZXrn4T89PSbMo1riSI=`",
        ),
        (
            "head-of-another-history",
            with(Log::new(SIZE, &[(5, bytes(&record(6)))]).note().into_bytes()),
            "the receipt does not prove that its record is in the log: the proof leads to root `zclFk9KHGInsiPQSvgemEyZQjD/6D5l53w5546R0uY0=`, not to `4ndkjTu4OzVRTT64WZpUoT4id6+S7GXaaBRA+8+NS4c=`",
        ),
        (
            "head-of-an-empty-log",
            with(Log::new(0, &[]).note().into_bytes()),
            "the receipt does not prove that its record is in the log: index 162 is not in a tree of size 0",
        ),
        (
            "head-signed-by-another-key",
            with(another.note(&log.checkpoint().to_string()).into_bytes()),
            "the receipt's checkpoint is not valid: the checkpoint's note is not valid: none of the known keys signed the note",
        ),
        (
            "head-that-is-no-note",
            with(b"no note".to_vec()),
            "the receipt's checkpoint is not valid: the checkpoint's note is not valid: the note has no signatures",
        ),
    ]
}

fn checkpoints() -> Tampered {
    let log = Log::new(SIZE, &[]);
    let (key, text, note) = (log_key(), log.checkpoint().to_string(), log.note());
    let line = |number: usize, to: &str| edited(&note, |lines| lines[number] = to.to_owned());
    // Altered, and signed so by the log's own key.
    let signed = |from: &str, to: &str| {
        let text = String::from_utf8(replaced(&text, from, to)).unwrap();
        key.note(&text).into_bytes()
    };
    let root = log.checkpoint().root.to_string();
    let signature = note.lines().last().unwrap().to_owned();
    let witness = Key::new("vectors.example/witness", 2);
    let stranger = Key::new("stranger.example/log", 4);
    let impostor = Key::new("vectors.example/log", 9);
    vec![
        ("empty-file", Vec::new(), "the checkpoint's note is not valid: the note has no signatures"),
        (
            "size-altered",
            line(1, "299"),
            "the checkpoint's note is not valid: the signature of `vectors.example/log` is wrong: the note was altered, or another key signed it",
        ),
        (
            "root-altered",
            line(2, &Log::new(1, &[]).checkpoint().root.to_string()),
            "the checkpoint's note is not valid: the signature of `vectors.example/log` is wrong: the note was altered, or another key signed it",
        ),
        (
            "origin-altered",
            line(0, "vectors.example/logs"),
            "no known key belongs to log `vectors.example/logs`; give the verifier key of that log if you trust it",
        ),
        (
            "signature-flipped",
            replaced(&note, &signature, &flipped(&signature)),
            "the checkpoint's note is not valid: the signature of `vectors.example/log` is wrong: the note was altered, or another key signed it",
        ),
        (
            "signature-stripped",
            edited(&note, |lines| drop(lines.remove(4))),
            "the checkpoint's note is not valid: the note has no signatures",
        ),
        (
            "signature-cut",
            line(4, signature.get(..signature.len() - 8).unwrap()),
            "the checkpoint's note is not valid: the signature of `vectors.example/log` is wrong: the note was altered, or another key signed it",
        ),
        (
            "signature-of-no-bytes",
            line(4, "\u{2014} vectors.example/log "),
            "the checkpoint's note is not valid: the signature in line 1 is too short",
        ),
        (
            "signature-too-short",
            line(4, "\u{2014} vectors.example/log AAAA"),
            "the checkpoint's note is not valid: the signature in line 1 is too short",
        ),
        (
            "signature-with-a-hyphen",
            line(4, &signature.replacen('\u{2014}', "-", 1)),
            "the checkpoint's note is not valid: signature line 1 is not of the form `— <name> <base64>`",
        ),
        (
            "signature-name-with-plus",
            line(4, &signature.replacen("/log", "/l+g", 1)),
            "the checkpoint's note is not valid: the name in signature line 1 is not valid: a key name must not contain `+`",
        ),
        (
            "signature-not-base64",
            line(4, "\u{2014} vectors.example/log !!!!"),
            "the checkpoint's note is not valid: the signature in line 1 is not standard base64 with padding",
        ),
        (
            "signed-by-another-key-of-this-name",
            impostor.note(&text).into_bytes(),
            "the checkpoint's note is not valid: none of the known keys signed the note",
        ),
        (
            "signed-by-a-witness-alone",
            witness.note(&text).into_bytes(),
            "log `vectors.example/log` did not sign its checkpoint",
        ),
        (
            "of-another-log",
            stranger.note(&text.replacen("vectors.example/log", "stranger.example/log", 1)).into_bytes(),
            "no known key belongs to log `stranger.example/log`; give the verifier key of that log if you trust it",
        ),
        (
            "good-and-bad-signature-of-one-key",
            format!("{note}{}\n", flipped(&signature)).into_bytes(),
            "the checkpoint's note is not valid: the signature of `vectors.example/log` is wrong: the note was altered, or another key signed it",
        ),
        (
            "sixty-five-signatures",
            format!("{text}\n{}", format!("{signature}\n").repeat(65)).into_bytes(),
            "the checkpoint's note is not valid: 65 signatures are too many: at most 64 are read",
        ),
        (
            "without-last-newline",
            note.trim_end().as_bytes().to_vec(),
            "the checkpoint's note is not valid: the note ends within a line: it was cut, or something was added to it",
        ),
        (
            "something-after-the-end",
            format!("{note}PERMIT").into_bytes(),
            "the checkpoint's note is not valid: the note ends within a line: it was cut, or something was added to it",
        ),
        (
            "without-blank-line",
            edited(&note, |lines| drop(lines.remove(3))),
            "the checkpoint's note is not valid: the note has no signatures",
        ),
        (
            "carriage-returns",
            note.replace('\n', "\r\n").into_bytes(),
            "the checkpoint's note is not valid: byte 19 of the note is a control character (a carriage return is one too)",
        ),
        (
            "tabulator",
            line(0, "vectors.example/log\t"),
            "the checkpoint's note is not valid: byte 19 of the note is a control character (a carriage return is one too)",
        ),
        (
            "not-utf-8",
            [note.as_bytes(), b"\xff\n"].concat(),
            "the checkpoint's note is not valid: byte 187 of the note is not UTF-8",
        ),
        (
            "beyond-the-largest-note",
            [note.as_bytes(), &[b'a'; 65_536]].concat(),
            "the checkpoint's note is not valid: a note of 65723 bytes is too large: at most 65536 are read",
        ),
        (
            "an-extension-line",
            signed("\n300\n", "\n300\nmore\n"),
            "a checkpoint states origin, size and root on exactly three lines",
        ),
        (
            "two-lines",
            signed(&format!("{root}\n"), ""),
            "a checkpoint states origin, size and root on exactly three lines",
        ),
        (
            "origin-with-a-space",
            signed("vectors.example/log", "vectors.example log"),
            "the checkpoint's origin is not valid: a key name must not contain spaces",
        ),
        (
            "origin-empty",
            signed("vectors.example/log", ""),
            "the checkpoint's origin is not valid: a key name must not be empty",
        ),
        (
            "size-with-leading-zero",
            signed("\n300\n", "\n0300\n"),
            "the checkpoint's size is not a decimal without leading zeros, below 2^64",
        ),
        (
            "size-beyond-64-bits",
            signed("\n300\n", "\n18446744073709551616\n"),
            "the checkpoint's size is not a decimal without leading zeros, below 2^64",
        ),
        (
            "root-of-31-bytes",
            signed(&root, &"A".repeat(42)),
            "the checkpoint's root is not valid: not the base64 encoding of 32 bytes",
        ),
        (
            "root-not-base64",
            signed(&root, "the root"),
            "the checkpoint's root is not valid: not the base64 encoding of 32 bytes",
        ),
        (
            "size-zero-with-a-root",
            signed("\n300\n", "\n0\n"),
            "the checkpoint has size 0, but not the root of an empty log",
        ),
    ]
}

/// A signature line with one bit of its signature changed.
fn flipped(line: &str) -> String {
    let (front, last) = line.split_at(line.len() - 10);
    let other = if last.starts_with('A') { "B" } else { "A" };
    format!("{front}{other}{}", &last[1..])
}
