//! The packs of `vectors/`: a small log, packs of all of it and of one agent's part, and every way in which a copy of
//! one can be wrong.
//!
//! Containers are written here by another writer than the verifier's, and a bundle's digest is computed from what is
//! documented of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_protocol::{BundleDigest, Digest, Domain, Millis, canonical};
use portcullis_verify::merkle::{Hash, leaf_hash};
use portcullis_verify::range::around;
use portcullis_verify::tree::NodeReader;
use portcullis_verify::{LogKeys, PackParts, Selection, TileReader, UnverifiedPack};
use serde_json::{Value, json};

use super::{Case, Key, Kind, Log, Signatures, Tampered, bytes, keys, log_key, record};

/// The members of a container, by name.
pub(crate) type Members = Vec<(String, Vec<u8>)>;

const MANIFEST: &str = "evidence/manifest.json";

/// An archive of a bundle that has nothing but a manifest.
fn archive(version: u64) -> Vec<u8> {
    archived(version, None)
}

/// The same, with what is in its `bundle.sig`.
fn archived(version: u64, signature: Option<&str>) -> Vec<u8> {
    let manifest = format!(
        "name = \"vectors\"\nversion = {version}\nvalid_from = \"2026-01-01T00:00:00Z\"\nvalid_until = \"2099-01-01T00:00:00Z\"\n"
    );
    let mut files = json!({ "bundle.toml": STANDARD.encode(manifest) });
    if let Some(signature) = signature {
        files["bundle.sig"] = json!(STANDARD.encode(signature));
    }
    bytes(&json!({ "v": 1, "files": files }))
}

/// What is signed of a bundle.
pub(crate) fn statement(version: u64) -> String {
    format!("portcullis bundle v1\nvectors\n{version}\n{}\n", digest_of(&archive(version)).unwrap())
}

/// Those two of whom must sign bundles.
pub(crate) fn team() -> [Key; 3] {
    [("alice.example", 11), ("bob.example", 12), ("carol.example", 13)]
        .map(|(name, seed)| Key::new(name, seed))
}

/// The root that says so, as docs/bundle-format.md has it, and its digest.
pub(crate) fn root() -> (String, String) {
    let team = team();
    let mut keys: Vec<String> = team.iter().map(|key| format!("{}\n", key.public)).collect();
    keys.sort();
    let text = format!("portcullis bundle root v1\nvectors\n1\n2099-01-01T00:00:00Z\n2\n{}", keys.concat());
    let pin = Digest::of(Domain::BundleRoot, &[text.as_bytes()]).to_string();
    let [alice, bob, _] = &team;
    (format!("{}{}", alice.note(&text), bob.line(&text)), pin)
}

/// The digest of the bundle in an archive: of the canonical listing of its files, all but its signature.
pub(crate) fn digest_of(archive: &[u8]) -> Option<BundleDigest> {
    let archive: Value = serde_json::from_slice(archive).ok()?;
    let files = archive.get("files")?.as_object()?.iter().filter(|(path, _)| *path != "bundle.sig");
    let files = files.map(|(path, text)| {
        let bytes = STANDARD.decode(text.as_str()?).ok()?;
        let sha256 = Digest::sha256(&bytes).to_string().replace("sha256:", "");
        Some(json!({ "path": path, "sha256": sha256, "size": bytes.len() }))
    });
    let listing = json!({ "v": 1, "files": files.collect::<Option<Vec<_>>>()? });
    Some(BundleDigest(Digest::of(Domain::Bundle, &[&canonical::to_bytes(&listing).ok()?])))
}

fn decided(seq: u64, agent: &str) -> Value {
    let mut decision = record(162);
    let digest = digest_of(&archive(1)).unwrap().to_string();
    let changes = [
        ("seq", json!(seq)),
        ("time", json!(at(seq))),
        ("agent", json!(agent)),
        ("attempt", json!(format!("{seq:064x}"))),
        ("outcome_due", json!(at(seq) + 65_000)),
        ("bundle", json!({ "name": "vectors", "version": 1, "digest": digest })),
    ];
    for (field, value) in changes {
        decision.as_object_mut().unwrap().insert(field.to_owned(), value);
    }
    decision
}

fn outcome(seq: u64, permit: u64) -> Value {
    json!({ "kind": "outcome", "seq": seq, "time": at(seq), "permit": permit, "outcome": "ok",
        "attempt": format!("{permit:064x}") })
}

fn event(seq: u64) -> Value {
    json!({ "kind": "event", "seq": seq, "time": at(seq), "event": "opened", "detail": {} })
}

/// When record `seq` was made.
const fn at(seq: u64) -> u64 {
    1_800_000_000_000 + seq
}

/// Events at 0 and 7; PERMITs of `assistant` at 1 and 3 and of `clerk` at 4; their outcomes at 2, 5 and 6.
fn records() -> Vec<Value> {
    vec![
        event(0),
        decided(1, "assistant"),
        outcome(2, 1),
        decided(3, "assistant"),
        decided(4, "clerk"),
        outcome(5, 3),
        outcome(6, 4),
        event(7),
    ]
}

fn log() -> Log {
    Log::of(records().iter().map(bytes).collect())
}

/// What a pack is of: a range, who was selected, which records are in it, and which explain them.
struct Claim {
    range: (u64, u64),
    selection: Selection,
    records: Vec<u64>,
    context: Vec<u64>,
}

fn whole() -> Claim {
    Claim { range: (0, 8), selection: Selection::default(), records: (0..8).collect(), context: Vec::new() }
}

/// What concerned `assistant` from record 2 to before record 6, one withheld.
fn part() -> Claim {
    let selection = Selection {
        agent: Some("assistant".parse().unwrap()),
        since: Some(Millis(at(2))),
        until: Some(Millis(at(6))),
        ..Selection::default()
    };
    Claim { range: (2, 6), selection, records: vec![2, 3, 5], context: vec![1, 6] }
}

fn parts(log: &Log, claim: &Claim) -> PackParts {
    let (first, end) = claim.range;
    let reader = TileReader::new(&log.tree, |_, _| Err::<Vec<Hash>, _>("all tiles are in the tree"));
    let hashes = |places: Vec<(u32, u64)>| -> Vec<Hash> {
        places.into_iter().map(|(level, index)| reader.node(level, index).unwrap()).collect()
    };
    let (before, after) = around(first, end, log.tree.size()).unwrap();
    let receipts =
        |indexes: &[u64]| indexes.iter().map(|index| (*index, log.receipt(*index).into_bytes())).collect();
    let leaves = &log.records[usize::try_from(first).unwrap()..usize::try_from(end).unwrap()];
    let decides = claim.records.iter().any(|index| [1, 3, 4].contains(index));
    let bundle = decides.then(|| (digest_of(&archive(1)).unwrap(), archive(1)));
    PackParts {
        checkpoint: log.note().into_bytes(),
        key: log_key().public,
        selection: claim.selection.clone(),
        first,
        leaves: leaves.iter().map(|record| leaf_hash(record)).collect(),
        before: hashes(before),
        after: hashes(after),
        receipts: receipts(&claim.records),
        context: receipts(&claim.context),
        bundles: bundle.into_iter().collect::<BTreeMap<_, _>>(),
    }
}

fn pack(log: &Log, claim: &Claim) -> Vec<u8> {
    let bytes = parts(log, claim).to_bytes(&LogKeys::from(keys()), &digest_of).unwrap();
    assert!(UnverifiedPack::parse(&bytes).is_ok());
    bytes
}

/// The packs that must verify.
pub(crate) fn valid() -> Vec<Case> {
    let log = log();
    let nothing =
        Selection { since: Some(Millis(at(4))), until: Some(Millis(at(4))), ..Selection::default() };
    let nothing = Claim { range: (4, 4), selection: nothing, records: Vec::new(), context: vec![3, 4] };
    let empty =
        Claim { range: (0, 0), selection: Selection::default(), records: Vec::new(), context: Vec::new() };
    let case =
        |name, bytes| Case { kind: Kind::Pack, name, bytes, error: None, signatures: Signatures::Unasked };
    vec![
        case("whole-log", pack(&log, &whole())),
        case("one-agent-for-a-time", pack(&log, &part())),
        case("no-record-in-its-time", pack(&log, &nothing)),
        case("empty-log", pack(&Log::of(Vec::new()), &empty)),
    ]
}

/// The header of a regular file, from POSIX's description of ustar.
fn header(name: &str, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, field: &[u8]| block[at..at + field.len()].copy_from_slice(field);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\x000000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0        0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\0");
    summed(block)
}

/// A header with the checksum that its bytes have.
fn summed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// The container of these members.
pub(crate) fn joined(members: &Members) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        bytes.extend(header(name, content.len()));
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// The members of a good container.
pub(crate) fn split(mut bytes: &[u8]) -> Members {
    let mut members = Vec::new();
    while bytes[0] != 0 {
        let name = String::from_utf8(bytes[..100].to_vec()).unwrap().trim_end_matches('\0').to_owned();
        let size = usize::from_str_radix(str::from_utf8(&bytes[124..135]).unwrap(), 8).unwrap();
        members.push((name, bytes[512..512 + size].to_vec()));
        bytes = &bytes[512 + size.next_multiple_of(512)..];
    }
    members
}

/// A pack whose members were changed, with the manifest as it was.
fn smuggled(pack: &[u8], change: impl FnOnce(&mut Members)) -> Vec<u8> {
    let mut members = split(pack);
    assert_eq!(joined(&members), pack, "two writers of containers");
    change(&mut members);
    joined(&members)
}

/// The same, with a manifest that lists the members as they are now.
pub(crate) fn relisted(pack: &[u8], change: impl FnOnce(&mut Members)) -> Vec<u8> {
    smuggled(pack, |members| {
        change(members);
        let listed = members[1..].iter().map(|(name, bytes)| {
            json!({ "name": name, "sha256": Digest::sha256(bytes).to_string(), "size": bytes.len() })
        });
        let listed: Value = listed.collect();
        claim(members, |manifest| manifest["members"] = listed);
    })
}

/// Changes what the manifest says.
fn claim(members: &mut Members, change: impl FnOnce(&mut Value)) {
    let mut manifest = serde_json::from_slice(&members[0].1).unwrap();
    change(&mut manifest);
    members[0].1 = bytes(&manifest);
}

fn claiming(pack: &[u8], pointer: &str, value: Value) -> Vec<u8> {
    smuggled(pack, |members| claim(members, |manifest| *manifest.pointer_mut(pointer).unwrap() = value))
}

/// The place of the first member whose name has these words.
fn place(members: &Members, words: &str) -> usize {
    members.iter().position(|(name, _)| name.contains(words)).unwrap()
}

fn content<'a>(members: &'a mut Members, words: &str) -> &'a mut Vec<u8> {
    let at = place(members, words);
    &mut members[at].1
}

fn without(members: &mut Members, words: &str) {
    let at = place(members, words);
    drop(members.remove(at));
}

fn swap(members: &mut Members, one: &str, other: &str) {
    let (one, other) = (place(members, one), place(members, other));
    members.swap(one, other);
}

/// A pack whose bundle Alice and Bob signed, and every way in which their signatures can be gone or wrong. Each is a pack:
/// the log's signature does not cover those.
pub(crate) fn signed() -> Vec<Case> {
    let (part, text) = (pack(&log(), &part()), statement(1));
    let [alice, bob, _] = team();
    let stranger = Key::new("stranger.example", 14);
    let (both, later) = (format!("{}{}", alice.note(&text), bob.line(&text)), statement(2));
    let flipped = |line: String| {
        let (at, end) = (line.len() - 6, line.len() - 5);
        let other = if line[at..end] == *"A" { "B" } else { "A" };
        format!("{}{other}{}", &line[..at], &line[end..])
    };
    // The same key under another name, which would be one of two.
    let twice = Key::new("bob.example", 11);
    let case = |name, signature: Option<String>, signatures| {
        let archive = archived(1, signature.as_deref());
        let bytes = relisted(&part, |members| *content(members, "bundles/") = archive);
        Case { kind: Kind::Pack, name, bytes, error: None, signatures }
    };
    let refused = |name, signature, error| case(name, signature, Signatures::Refused(error));
    vec![
        case("bundle-that-two-of-three-signed", Some(both.clone()), Signatures::Vouched),
        refused(
            "bundle-signature-stripped",
            None,
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: the bundle is not signed: `bundle.sig` is not there",
        ),
        refused(
            "bundle-signature-emptied",
            Some(String::new()),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: the bundle is not signed: `bundle.sig` is empty",
        ),
        refused(
            "bundle-signature-without-signers",
            Some(format!("{text}\n")),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: the bundle is not signed: `bundle.sig` has no signature in it",
        ),
        refused(
            "bundle-signature-flipped",
            Some(format!("{}{}", alice.note(&text), flipped(bob.line(&text)))),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` does not verify: the signature of `bob.example` is wrong: the note was altered, or another key signed it",
        ),
        refused(
            "bundle-signature-over-another-text",
            Some(both.replace("\n1\n", "\n2\n")),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` does not verify: the signature of `alice.example` is wrong: the note was altered, or another key signed it",
        ),
        refused(
            "bundle-signature-of-another-bundle",
            Some(format!("{}{}", alice.note(&later), bob.line(&later))),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` signs digest sha256:074471ef00bb4475157842c486553692ff08a4defdae5c3b88646689d97933bd, and the files have sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04",
        ),
        refused(
            "bundle-signature-by-an-unknown-key",
            Some(stranger.note(&text)),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: no signature in `bundle.sig` is by a trusted key; trusted: alice.example, bob.example, carol.example",
        ),
        refused(
            "bundle-signature-by-one-of-two",
            Some(alice.note(&text)),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` takes signatures of 2 keys of the root, and has 1: alice.example",
        ),
        refused(
            "bundle-signature-by-one-of-two-and-a-stranger",
            Some(format!("{}{}", alice.note(&text), stranger.line(&text))),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` takes signatures of 2 keys of the root, and has 1: alice.example",
        ),
        refused(
            "bundle-signature-by-one-twice",
            Some(format!("{}{}", alice.note(&text), alice.line(&text))),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` takes signatures of 2 keys of the root, and has 1: alice.example",
        ),
        refused(
            "bundle-signature-by-one-under-two-names",
            Some(format!("{}{}", alice.note(&text), twice.line(&text))),
            "nobody vouches for bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04: `bundle.sig` takes signatures of 2 keys of the root, and has 1: alice.example",
        ),
    ]
}

/// Every way in which a pack can be wrong.
pub(crate) fn tampered() -> Tampered {
    let (whole, part) = (pack(&log(), &whole()), pack(&log(), &part()));
    [
        containers(&part),
        manifests(&part),
        members(&part),
        ranges(&whole, &part),
        evidence(&whole, &part),
        claims(&whole, &part),
    ]
    .concat()
}

fn containers(part: &[u8]) -> Tampered {
    let cut = |at: usize| part[..at].to_vec();
    let behind = |more: &[u8]| [part, more].concat();
    let headed = |change: &dyn Fn(&mut [u8; 512])| {
        let mut bytes = part.to_vec();
        let mut first: [u8; 512] = bytes[..512].try_into().unwrap();
        change(&mut first);
        bytes[..512].copy_from_slice(&first);
        bytes
    };
    let end = part.len() - 1024;
    let size = split(part)[0].1.len();
    let mut filled = part.to_vec();
    filled[512 + size] = b'x';
    vec![
        (
            "empty-file",
            Vec::new(),
            "the pack's container is damaged: the file is cut short, in or after member 0",
        ),
        (
            "cut-in-the-first-header",
            cut(100),
            "the pack's container is damaged: the file is cut short, in or after member 0",
        ),
        (
            "cut-in-a-member",
            cut(part.len() / 2),
            "the pack's container is damaged: the file is cut short, in or after member 7",
        ),
        (
            "cut-before-its-last-member",
            cut(end - 1024),
            "the pack's container is damaged: the file is cut short, in or after member 12",
        ),
        (
            "without-end-mark",
            cut(end),
            "the pack's container is damaged: the file is cut short, in or after member 13",
        ),
        (
            "with-half-an-end-mark",
            cut(end + 512),
            "the pack's container is damaged: the file is cut short, in or after member 13",
        ),
        (
            "without-its-last-byte",
            cut(part.len() - 1),
            "the pack's container is damaged: the file is cut short, in or after member 13",
        ),
        (
            "a-byte-behind-its-end",
            behind(b"x"),
            "the pack's container is damaged: the file goes on behind its end",
        ),
        (
            "zeros-behind-its-end",
            behind(&[0; 512]),
            "the pack's container is damaged: the file goes on behind its end",
        ),
        (
            "a-second-pack-behind-its-end",
            behind(part),
            "the pack's container is damaged: the file goes on behind its end",
        ),
        (
            "bytes-between-members",
            filled,
            "the pack's container is damaged: member 0 has bytes behind its end",
        ),
        (
            "header-with-an-owner",
            headed(&|block| {
                block[114] = b'1';
                *block = summed(*block);
            }),
            "the pack's container is damaged: the header of member 0 is not in its one form",
        ),
        (
            "header-of-a-link",
            headed(&|block| {
                block[156] = b'2';
                *block = summed(*block);
            }),
            "the pack's container is damaged: the header of member 0 is not in its one form",
        ),
        (
            "header-with-another-checksum",
            headed(&|block| block[153] ^= 1),
            "the pack's container is damaged: the header of member 0 is not in its one form",
        ),
        (
            "header-with-a-size-in-another-form",
            headed(&|block| {
                block[124] = b' ';
                *block = summed(*block);
            }),
            "the pack's container is damaged: the header of member 0 is not in its one form",
        ),
    ]
}

fn manifests(part: &[u8]) -> Tampered {
    let text = |from: &str, to: &str| {
        smuggled(part, |members| {
            let text = String::from_utf8(members[0].1.clone()).unwrap();
            members[0].1 = super::replaced(&text, from, to);
        })
    };
    vec![
        (
            "without-manifest",
            smuggled(part, |members| drop(members.remove(0))),
            "the file does not begin with a manifest: it is no evidence pack",
        ),
        (
            "manifest-not-first",
            smuggled(part, |members| members.swap(0, 1)),
            "the file does not begin with a manifest: it is no evidence pack",
        ),
        (
            "manifest-not-json",
            smuggled(part, |members| members[0].1 = b"all is well".to_vec()),
            "the manifest is not valid: expected value at line 1 column 1",
        ),
        (
            "manifest-not-canonical",
            text(",\"first\":", ", \"first\":"),
            "the manifest is not valid: its bytes are not canonical (RFC 8785)",
        ),
        (
            "manifest-with-a-claim-twice",
            text(",\"first\":2", ",\"first\":2,\"first\":2"),
            "the manifest is not valid: duplicate field `first` at line 1 column 26",
        ),
        (
            "manifest-with-an-unknown-claim",
            text(",\"first\":2", ",\"complete\":true,\"first\":2"),
            "the manifest is not valid: unknown field `complete`, expected one of `format`, `log`, `size`, `first`, `end`, `selection`, `members` at line 1 column 19",
        ),
        (
            "manifest-of-another-format",
            text("evidence-pack/2", "evidence-pack/1"),
            "the manifest is not valid: the format is not portcullis-evidence-pack/2",
        ),
        (
            "manifest-with-its-name-in-another-spelling",
            smuggled(part, |members| {
                members[0].0 = format!("./{MANIFEST}");
            }),
            "the file does not begin with a manifest: it is no evidence pack",
        ),
    ]
}

fn members(part: &[u8]) -> Tampered {
    let smuggled = |change: &dyn Fn(&mut Members)| smuggled(part, |members| change(members));
    let listed = |change: &dyn Fn(&mut Members)| relisted(part, |members| change(members));
    vec![
        (
            "receipt-left-out",
            smuggled(&|members| without(members, "receipts/00000000000000000003")),
            "`evidence/receipts/00000000000000000003.tlog-proof` is missing",
        ),
        (
            "member-added",
            smuggled(&|members| members.push(("evidence/notes.txt".into(), b"x".to_vec()))),
            "`evidence/notes.txt` is not in the manifest",
        ),
        (
            "member-there-twice",
            smuggled(&|members| {
                let at = place(members, "receipts/");
                members.push(members[at].clone());
            }),
            "`evidence/receipts/00000000000000000002.tlog-proof` is there twice",
        ),
        (
            "members-reordered",
            smuggled(&|members| swap(members, "receipts/", "context/")),
            "`evidence/context/00000000000000000001.tlog-proof` is out of order",
        ),
        (
            "receipt-altered",
            smuggled(&|members| content(members, "receipts/")[40] ^= 1),
            "`evidence/receipts/00000000000000000002.tlog-proof` was altered: it is not what the manifest lists",
        ),
        (
            "receipt-with-a-line-more",
            smuggled(&|members| content(members, "receipts/").push(b'\n')),
            "`evidence/receipts/00000000000000000002.tlog-proof` was altered: it is not what the manifest lists",
        ),
        (
            "text-altered",
            smuggled(&|members| content(members, "index.txt")[0] ^= 1),
            "`evidence/index.txt` was altered: it is not what the manifest lists",
        ),
        (
            "bundle-altered",
            smuggled(&|members| content(members, "bundles/")[20] ^= 1),
            "`evidence/bundles/10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04.json` was altered: it is not what the manifest lists",
        ),
        (
            "leaf-altered",
            smuggled(&|members| content(members, "leaves")[0] ^= 1),
            "`evidence/range/leaves` was altered: it is not what the manifest lists",
        ),
        (
            "member-of-no-kind-listed",
            listed(&|members| {
                members.insert(2, ("evidence/notes.txt".into(), b"x".to_vec()));
            }),
            "`evidence/notes.txt` is no member of a pack",
        ),
        (
            "receipt-under-a-short-name",
            listed(&|members| {
                let at = place(members, "receipts/00000000000000000003");
                members[at].0 = "evidence/receipts/3.tlog-proof".into();
            }),
            "`evidence/receipts/3.tlog-proof` is no member of a pack",
        ),
        (
            "member-listed-twice",
            listed(&|members| members.push(members[1].clone())),
            "`evidence/index.txt` is there twice",
        ),
        (
            "members-listed-out-of-order",
            listed(&|members| members.swap(1, 2)),
            "`evidence/index.txt` is out of order",
        ),
        ("without-text", listed(&|members| without(members, "index.txt")), "`evidence/index.txt` is missing"),
        (
            "without-checkpoint",
            listed(&|members| without(members, "checkpoint")),
            "`evidence/checkpoint` is missing",
        ),
        (
            "without-key",
            listed(&|members| without(members, "log.vkey")),
            "`evidence/keys/log.vkey` is missing",
        ),
        (
            "without-leaves",
            listed(&|members| without(members, "range/leaves")),
            "`evidence/range/leaves` is missing",
        ),
        (
            "text-that-says-more",
            listed(&|members| content(members, "index.txt").extend(b"All is well.\n")),
            "`evidence/index.txt` does not say what the evidence says",
        ),
    ]
}

fn ranges(whole: &[u8], part: &[u8]) -> Tampered {
    let leaves =
        |change: &dyn Fn(&mut Vec<u8>)| relisted(whole, |members| change(content(members, "range/leaves")));
    let of =
        |name: &str, change: &dyn Fn(&mut Vec<u8>)| relisted(part, |members| change(content(members, name)));
    vec![
        (
            "record-omitted",
            relisted(whole, |members| without(members, "receipts/00000000000000000004")),
            "record 4 was left out, although the pack says that it has every record of its range",
        ),
        (
            "record-omitted-with-its-leaf",
            relisted(whole, |members| {
                without(members, "receipts/00000000000000000007");
                let leaves = content(members, "range/leaves");
                leaves.truncate(leaves.len() - 32);
                claim(members, |manifest| manifest["end"] = json!(7));
            }),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof has too few hashes",
        ),
        (
            "leaf-omitted",
            leaves(&|bytes| drop(bytes.drain(64..96))),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof has too few hashes",
        ),
        (
            "leaf-doubled",
            leaves(&|bytes| bytes.extend_from_within(..32)),
            "the pack does not prove its range: a record was left out, added, moved or altered: index 9 is not in a tree of size 8",
        ),
        (
            "leaf-in-the-place-of-another",
            leaves(&|bytes| bytes.copy_within(..32, 32)),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof leads to root `c5Dtl0+hy7ox+k+GwHrREVBKniCnAd2IyRuyMOJCRI4=`, not to `tBo6dLHgh4T9Ewmm7vrStUFMFLUc7jWbAOM4wWK+6gk=`",
        ),
        (
            "leaves-reordered",
            leaves(&|bytes| bytes.rotate_left(32)),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof leads to root `90nwsbgmGoovXYRjQn4k4A/DXw19vCsZsYxQpAPAaGg=`, not to `tBo6dLHgh4T9Ewmm7vrStUFMFLUc7jWbAOM4wWK+6gk=`",
        ),
        (
            "leaf-flipped",
            leaves(&|bytes| bytes[100] ^= 1),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof leads to root `CSxrOT230WHNrX4wJZ5SnbA+u7s6SASXzq+Ki42+6Y8=`, not to `tBo6dLHgh4T9Ewmm7vrStUFMFLUc7jWbAOM4wWK+6gk=`",
        ),
        (
            "leaf-cut",
            leaves(&|bytes| bytes.truncate(bytes.len() - 1)),
            "`evidence/range/leaves` is not a sequence of hashes",
        ),
        (
            "subtree-before-it-left-out",
            of("range/before", &|bytes| drop(bytes.drain(..32))),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof has too few hashes",
        ),
        (
            "subtree-before-it-flipped",
            of("range/before", &|bytes| bytes[0] ^= 1),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof leads to root `k9rHNw190/2N64TFKew0q3F12QPQRNw7rs18q6ou8sw=`, not to `tBo6dLHgh4T9Ewmm7vrStUFMFLUc7jWbAOM4wWK+6gk=`",
        ),
        (
            "subtree-after-it-added",
            of("range/after", &|bytes| bytes.extend_from_within(..32)),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof has too many hashes",
        ),
        (
            "neighbour-before-it-left-out",
            relisted(part, |members| without(members, "context/00000000000000000001")),
            "record 1, next to the range, is missing: nothing shows that the range was cut at the right time",
        ),
        (
            "neighbour-after-it-left-out",
            relisted(part, |members| without(members, "context/00000000000000000006")),
            "record 6, next to the range, is missing: nothing shows that the range was cut at the right time",
        ),
        (
            "permit-of-an-outcome-left-out",
            relisted(part, |members| without(members, "receipts/00000000000000000003")),
            "the PERMIT 3 of outcome 5 is missing",
        ),
        (
            "permit-of-the-range-as-its-context",
            relisted(part, |members| {
                let permit = members.remove(place(members, "receipts/00000000000000000003"));
                let at = place(members, "context/00000000000000000006");
                members.insert(at, (name_of("context", 3), permit.1));
            }),
            "record 3 explains nothing in the range",
        ),
        (
            "record-that-explains-nothing",
            relisted(part, |members| {
                let at = place(members, "context/00000000000000000001");
                members.insert(at, (name_of("context", 0), log().receipt(0).into_bytes()));
            }),
            "record 0 explains nothing in the range",
        ),
        (
            "record-of-the-range-as-its-context",
            relisted(part, |members| {
                let at = place(members, "context/00000000000000000006");
                members.insert(at, (name_of("context", 4), log().receipt(4).into_bytes()));
            }),
            "record 4 explains nothing in the range",
        ),
        (
            "record-of-another-agent",
            relisted(part, |members| {
                let at = place(members, "receipts/00000000000000000005");
                members.insert(at, (name_of("receipts", 4), log().receipt(4).into_bytes()));
            }),
            "record 4 is not what the pack says that it selects",
        ),
        (
            "record-from-outside-the-range",
            relisted(part, |members| {
                let at = place(members, "receipts/00000000000000000002");
                members.insert(at, (name_of("receipts", 1), log().receipt(1).into_bytes()));
            }),
            "record 1 is not in the pack's range",
        ),
    ]
}

fn name_of(folder: &str, index: u64) -> String {
    format!("evidence/{folder}/{index:020}.tlog-proof")
}

/// A pack of a log with other records, made of what the verifier would not have made one of.
fn forced(records: Vec<Value>) -> Vec<u8> {
    let (good, strange) = (log(), Log::of(records.iter().map(bytes).collect()));
    let other = parts(&strange, &whole());
    relisted(&pack(&good, &whole()), |members| {
        *content(members, "checkpoint") = other.checkpoint;
        *content(members, "range/leaves") = other.leaves.iter().flat_map(|hash| hash.0).collect();
        for (index, receipt) in other.receipts {
            *content(members, &name_of("receipts", index)) = receipt;
        }
    })
}

fn evidence(whole: &[u8], part: &[u8]) -> Tampered {
    let three = "receipts/00000000000000000003";
    let receipt = |bytes: Vec<u8>| relisted(part, |members| *content(members, three) = bytes);
    let log = log();
    let mut shorter = records();
    shorter.truncate(7);
    let mut forked = records();
    forked[7] = outcome(7, 4);
    let of = |records: &[Value]| Log::of(records.iter().map(bytes).collect());
    let stranger = Key::new("vectors.example/other", 4);
    let signed = |key: &Key, text: String| key.note(&text).into_bytes();
    let claimed = log.checkpoint().to_string();
    let elsewhere = claimed.replace("vectors.example/log", "vectors.example/other");
    let under = |note: Vec<u8>| {
        let mut proof = log.proof(3);
        proof.checkpoint = note;
        proof.to_bytes()
    };
    let flipped = log.receipt(3).replacen("extra ey", "extra fy", 1).into_bytes();
    let (mut earlier, mut strange) = (records(), records());
    earlier[5]["time"] = json!(at(2));
    strange[5] = json!({ "seq": 5 });
    vec![
        (
            "receipts-in-each-others-places",
            relisted(part, |members| {
                let (two, other) = (
                    content(members, "receipts/00000000000000000002").clone(),
                    content(members, three).clone(),
                );
                *content(members, "receipts/00000000000000000002") = other;
                *content(members, three) = two;
            }),
            "the receipt in the place of record 2 is of another one",
        ),
        (
            "receipt-of-another-record",
            receipt(log.receipt(4).into_bytes()),
            "the receipt in the place of record 3 is of another one",
        ),
        (
            "neighbour-that-is-another-record",
            relisted(part, |members| {
                *content(members, "context/00000000000000000001") = log.receipt(0).into_bytes();
            }),
            "the receipt in the place of record 1 is of another one",
        ),
        (
            "receipt-of-a-shorter-log",
            receipt(of(&shorter).receipt(3).into_bytes()),
            "the receipt of record 3 is under another checkpoint than the pack",
        ),
        (
            "receipt-of-another-history",
            receipt(of(&forked).receipt(3).into_bytes()),
            "the receipt of record 3 is under another checkpoint than the pack",
        ),
        (
            "receipt-of-another-log",
            receipt(under(signed(&stranger, elsewhere.clone()))),
            "the receipt of record 3 does not verify: the receipt's checkpoint is not valid: no known key belongs to log `vectors.example/other`; give the verifier key of that log if you trust it",
        ),
        (
            "receipt-with-another-record",
            receipt(flipped),
            "the receipt of record 3 does not verify: the receipt does not prove that its record is in the log: the proof leads to root `qguvWhVOJ1mGdYPmtratrtPUHKLvo6qsTJCVRKxyVD0=`, not to `tBo6dLHgh4T9Ewmm7vrStUFMFLUc7jWbAOM4wWK+6gk=`",
        ),
        (
            "receipt-that-is-none",
            receipt(b"it happened\n".to_vec()),
            "the receipt of record 3 does not verify: the receipt is not a valid proof file: the proof has no checkpoint: it may have been cut",
        ),
        (
            "checkpoint-of-another-log",
            relisted(part, |members| {
                *content(members, "checkpoint") = signed(&stranger, elsewhere);
            }),
            "the pack's checkpoint is not valid: no known key belongs to log `vectors.example/other`; give the verifier key of that log if you trust it",
        ),
        (
            "checkpoint-by-another-key",
            relisted(part, |members| {
                *content(members, "checkpoint") =
                    signed(&Key::new("vectors.example/log", 4), claimed.clone());
            }),
            "the pack's checkpoint is not valid: the checkpoint's note is not valid: none of the known keys signed the note",
        ),
        (
            "checkpoint-of-another-history",
            relisted(part, |members| {
                *content(members, "checkpoint") = of(&forked).note().into_bytes();
            }),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof leads to root `tBo6dLHgh4T9Ewmm7vrStUFMFLUc7jWbAOM4wWK+6gk=`, not to `TRO7mKuj3ox7ds+qQTkPigz95H5oVfHh/hKB3iFoQrU=`",
        ),
        (
            "checkpoint-of-a-shorter-log",
            relisted(whole, |members| {
                *content(members, "checkpoint") = of(&shorter).note().into_bytes();
            }),
            "the pack does not prove its range: a record was left out, added, moved or altered: index 8 is not in a tree of size 7",
        ),
        (
            "checkpoint-with-another-size",
            relisted(part, |members| {
                let text = String::from_utf8(content(members, "checkpoint").clone()).unwrap();
                *content(members, "checkpoint") = super::replaced(&text, "\n8\n", "\n9\n");
            }),
            "the pack's checkpoint is not valid: the checkpoint's note is not valid: the signature of `vectors.example/log` is wrong: the note was altered, or another key signed it",
        ),
        (
            "key-of-another-signer",
            relisted(part, |members| {
                *content(members, "log.vkey") = format!("{}\n", stranger.public).into_bytes();
            }),
            "the key in the pack is not the one that signed its checkpoint",
        ),
        (
            "key-that-is-none",
            relisted(part, |members| *content(members, "log.vkey") = b"trust me\n".to_vec()),
            "the key in the pack is not the one that signed its checkpoint",
        ),
        (
            "bundle-left-out",
            relisted(part, |members| without(members, "bundles/")),
            "bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04, by which a record of the pack was decided, is missing",
        ),
        (
            "bundle-swapped",
            relisted(part, |members| *content(members, "bundles/") = archive(2)),
            "the archive in the place of bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04 is not of that bundle",
        ),
        (
            "bundle-that-is-none",
            relisted(part, |members| *content(members, "bundles/") = b"{}".to_vec()),
            "the archive in the place of bundle sha256:10d203ab875f203f156fb2be8c41a3c15050fd682612ab24eeebba2624b73c04 is not of that bundle",
        ),
        (
            "bundle-that-decided-nothing",
            relisted(part, |members| {
                let digits = digest_of(&archive(2)).unwrap().to_string().replace("sha256:", "");
                members.push((format!("evidence/bundles/{digits}.json"), archive(2)));
                let at = place(members, "bundles/");
                members[at..].sort();
            }),
            "no record of the pack was decided by bundle sha256:074471ef00bb4475157842c486553692ff08a4defdae5c3b88646689d97933bd",
        ),
        ("record-older-than-the-one-before-it", forced(earlier), "record 5 is older than the one before it"),
        (
            "record-that-is-none",
            forced(strange),
            "the receipt of record 5 does not verify: what the log has there is not a record: not a record: missing field `kind` at line 1 column 9",
        ),
    ]
}

fn claims(whole: &[u8], part: &[u8]) -> Tampered {
    let dropped = |field: &str| {
        smuggled(part, |members| {
            claim(members, |manifest| drop(manifest["selection"].as_object_mut().unwrap().remove(field)));
        })
    };
    vec![
        (
            "claims-another-log",
            claiming(whole, "/log", json!("vectors.example/other")),
            "the manifest's `log` is not what the pack proves",
        ),
        (
            "claims-a-larger-log",
            claiming(whole, "/size", json!(9)),
            "the manifest's `size` is not what the pack proves",
        ),
        (
            "claims-an-earlier-end",
            claiming(whole, "/end", json!(7)),
            "the manifest's `end` is not what the pack proves",
        ),
        (
            "claims-a-later-end",
            claiming(part, "/end", json!(7)),
            "the manifest's `end` is not what the pack proves",
        ),
        (
            "claims-another-first-index",
            claiming(part, "/first", json!(3)),
            "the pack does not prove its range: a record was left out, added, moved or altered: the proof has too few hashes",
        ),
        (
            "claims-an-earlier-time",
            claiming(part, "/selection/since", json!(at(1))),
            "record 1, next to the range, belongs into it by its time",
        ),
        (
            "claims-a-later-time",
            claiming(part, "/selection/until", json!(at(7))),
            "record 6, next to the range, belongs into it by its time",
        ),
        (
            "claims-a-narrower-time",
            claiming(part, "/selection/since", json!(at(3))),
            "record 2 is not what the pack says that it selects",
        ),
        ("claims-no-beginning", dropped("since"), "the manifest's `first` is not what the pack proves"),
        ("claims-no-end", dropped("until"), "the manifest's `end` is not what the pack proves"),
        (
            "claims-every-agent",
            dropped("agent"),
            "record 4 was left out, although the pack says that it has every record of its range",
        ),
        (
            "claims-another-agent",
            claiming(part, "/selection/agent", json!("clerk")),
            "record 2 is not what the pack says that it selects",
        ),
    ]
}
