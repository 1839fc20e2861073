use std::collections::BTreeMap;

use portcullis_protocol::{BundleDigest, Digest, Millis};

use super::tar::{self, ContainerError};
use super::{PackError, PackParts, Selection, UnverifiedPack, VerifiedPack, is_pack};
use crate::checkpoint::{CheckpointError, UnverifiedCheckpoint};
use crate::merkle::{Hash, MerkleError, leaf_hash};
use crate::note::NoteError;
use crate::range::around;
use crate::receipt::ReceiptError;
use crate::testing::{TestKey, TestLog, decision, event, outcome};
use crate::tree::NodeReader;

/// The members of a container, by name.
type Members = Vec<(String, Vec<u8>)>;

/// What stands for a bundle here, and its digest.
const ARCHIVE: &[u8] = b"{\"bundle\":1}";

fn digest_of(archive: &[u8]) -> Option<BundleDigest> {
    archive.starts_with(b"{").then(|| BundleDigest(Digest::sha256(archive)))
}

/// Events at 0, 1 and 9; decisions of `one` at 2 and 4 and of `two` at 5; outcomes of the PERMITs 2, 4 and 5 at 3, 7
/// and 8; a decision of `one` about another surface at 6. One a second, from 1000 s on.
fn log() -> TestLog {
    let bundle = BundleDigest(Digest::sha256(ARCHIVE));
    let mut log = TestLog::new(0);
    let decided = |seq, agent, surface| decision(seq, agent, surface, &bundle.to_string());
    for record in [
        event(0),
        event(1),
        decided(2, "one", "pay.charge"),
        outcome(3, 2),
        decided(4, "one", "pay.charge"),
        decided(5, "two", "pay.charge"),
        decided(6, "one", "pay.refund"),
        outcome(7, 4),
        outcome(8, 5),
        event(9),
    ] {
        log.append(&record);
    }
    log
}

/// When record `seq` was made.
fn at(seq: u64) -> Millis {
    Millis(1_000 + seq)
}

/// The parts of a pack of these records of a range.
fn parts(
    log: &TestLog,
    range: (u64, u64),
    selection: Selection,
    records: &[u64],
    context: &[u64],
) -> PackParts {
    let size = log.tree.size();
    let (before, after) = around(range.0, range.1, size).unwrap();
    let hashes = |places: Vec<(u32, u64)>| -> Vec<Hash> {
        places.into_iter().map(|(level, index)| log.reader().node(level, index).unwrap()).collect()
    };
    let receipts = |indexes: &[u64]| -> BTreeMap<u64, Vec<u8>> {
        indexes.iter().map(|index| (*index, log.receipt(*index).to_bytes())).collect()
    };
    let leaves = &log.records[usize::try_from(range.0).unwrap()..usize::try_from(range.1).unwrap()];
    let decides = records.iter().any(|index| [2, 4, 5, 6].contains(index));
    PackParts {
        checkpoint: log.key.note(&log.checkpoint_at(size).to_string()).into_bytes(),
        key: log.key.public.clone(),
        selection,
        first: range.0,
        leaves: leaves.iter().map(|record| leaf_hash(record)).collect(),
        before: hashes(before),
        after: hashes(after),
        receipts: receipts(records),
        context: receipts(context),
        bundles: if decides {
            BTreeMap::from([(BundleDigest(Digest::sha256(ARCHIVE)), ARCHIVE.to_vec())])
        } else {
            BTreeMap::new()
        },
    }
}

fn everything() -> Selection {
    Selection::default()
}

fn timed(since: u64, until: u64) -> Selection {
    Selection { since: Some(at(since)), until: Some(at(until)), ..Selection::default() }
}

fn of(agent: &str, selection: Selection) -> Selection {
    Selection { agent: Some(agent.parse().unwrap()), ..selection }
}

fn make(log: &TestLog, parts: PackParts) -> Result<Vec<u8>, PackError> {
    parts.to_bytes(&(&log.key.public).into(), &digest_of)
}

fn verify(log: &TestLog, pack: &[u8]) -> Result<VerifiedPack, PackError> {
    UnverifiedPack::parse(pack)?.verify(&(&log.key.public).into(), &digest_of)
}

/// A pack of the whole log, and of `one`'s records from 4 to before 8.
fn packs(log: &TestLog) -> [Vec<u8>; 2] {
    let all: Vec<u64> = (0..10).collect();
    let whole = make(log, parts(log, (0, 10), everything(), &all, &[])).unwrap();
    let part = parts(log, (3, 8), of("one", timed(3, 8)), &[3, 4, 6, 7], &[2, 8]);
    [whole, make(log, part).unwrap()]
}

#[test]
fn whole_and_partial_packs_verify_and_say_what_they_are() {
    let log = log();
    let [whole, part] = packs(&log);
    let verified = verify(&log, &whole).unwrap();
    assert_eq!((verified.range(), verified.records().len(), verified.withheld()), ((0, 10), 10, 0));
    assert!(verified.text().contains("Every record of the range is here in full"));
    let verified = verify(&log, &part).unwrap();
    assert_eq!((verified.range(), verified.records().len(), verified.withheld()), ((3, 8), 4, 1));
    assert!(verified.text().contains("That the 1 withheld records do not match the selection"));
    assert!(is_pack(&whole) && is_pack(&part) && !is_pack(b"c2sp.org/tlog-proof@v1\n"));
    // One claim has one pack.
    assert_eq!(packs(&log), [whole, part]);
}

#[test]
fn the_text_for_people_is_as_checked_in() {
    let log = log();
    let text = verify(&log, &packs(&log)[1]).unwrap().text();
    for line in [
        "log       gate.example/log",
        "range     records 3 to 7: 5 of them",
        "since     1970-01-01T00:00:01.003Z",
        "until     1970-01-01T00:00:01.008Z, not included",
        "agent     one",
        "in full   4 records, 1 withheld",
        "         4  1970-01-01T00:00:01.004Z  PERMIT   ok                           one on pay.charge",
        "         3  1970-01-01T00:00:01.003Z  outcome  ok of the PERMIT 2",
        "- By the log's key alone, who signed the bundles: no digest covers their signatures. Who has the keys or the root",
    ] {
        assert!(text.lines().any(|found| found == line), "`{line}` in\n{text}");
    }
}

#[test]
fn no_byte_of_a_pack_can_be_changed() {
    let log = log();
    for pack in packs(&log) {
        for at in 0..pack.len() {
            let mut changed = pack.clone();
            changed[at] ^= 1;
            assert!(verify(&log, &changed).is_err(), "byte {at}");
        }
        for end in (0..pack.len()).step_by(97) {
            let error = UnverifiedPack::parse(&pack[..end]).unwrap_err();
            assert!(
                matches!(error, PackError::Container(ContainerError::Cut { .. })),
                "cut at {end}: {error}"
            );
        }
    }
}

/// The members of a pack, changed and joined again, with a manifest that lists them as they are now.
fn remade(pack: &[u8], change: impl FnOnce(&mut Members)) -> Vec<u8> {
    let mut members: Vec<_> = tar::split(pack)
        .unwrap()
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
        .collect();
    change(&mut members);
    let mut manifest: serde_json::Value = serde_json::from_slice(&members[0].1).unwrap();
    let listed = members[1..].iter().map(|(name, bytes)| {
        serde_json::json!({ "name": name, "sha256": Digest::sha256(bytes).to_string(), "size": bytes.len() })
    });
    manifest["members"] = listed.collect();
    members[0].1 = portcullis_protocol::canonical::to_bytes(&manifest).unwrap();
    tar::join(&members).unwrap()
}

/// The first member whose name has these words.
fn member<'a>(members: &'a mut [(String, Vec<u8>)], name: &str) -> &'a mut (String, Vec<u8>) {
    members.iter_mut().find(|(found, _)| found.contains(name)).unwrap()
}

fn without(members: &mut Members, name: &str) {
    let at = members.iter().position(|(found, _)| found.contains(name)).unwrap();
    drop(members.remove(at));
}

/// The same, with the manifest as it was.
fn smuggled(pack: &[u8], change: impl FnOnce(&mut Members)) -> PackError {
    let mut members: Vec<_> = tar::split(pack)
        .unwrap()
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
        .collect();
    change(&mut members);
    UnverifiedPack::parse(&tar::join(&members).unwrap()).unwrap_err()
}

#[test]
fn members_that_the_manifest_does_not_list_so_are_named() {
    let log = log();
    let [whole, _] = packs(&log);
    let receipt = |index: u64| format!("evidence/receipts/{index:020}.tlog-proof");
    let place = |members: &[(String, Vec<u8>)], index| {
        members.iter().position(|(name, _)| *name == receipt(index)).unwrap()
    };
    let error = smuggled(&whole, |members| drop(members.remove(place(members, 4))));
    assert_eq!(error, PackError::Missing { name: receipt(4) });
    let error = smuggled(&whole, |members| members.insert(3, ("evidence/extra".into(), vec![])));
    assert_eq!(error, PackError::Unlisted { name: "evidence/extra".into() });
    let error = smuggled(&whole, |members| members.push(members[place(members, 4)].clone()));
    assert_eq!(error, PackError::Duplicate { name: receipt(4) });
    let error = smuggled(&whole, |members| {
        let at = place(members, 4);
        members.swap(at, at + 1);
    });
    assert_eq!(error, PackError::OutOfOrder { name: receipt(5) });
    let error = smuggled(&whole, |members| {
        let at = place(members, 4);
        members[at].1.push(b'\n');
    });
    assert_eq!(error, PackError::Altered { name: receipt(4) });
    let error = smuggled(&whole, |members| drop(members.remove(0)));
    assert_eq!(error, PackError::NoManifest);
}

#[test]
fn a_manifest_that_lists_what_it_should_not_is_refused() {
    let log = log();
    let [whole, part] = packs(&log);
    let refused = |pack: &[u8], change: &dyn Fn(&mut Members)| {
        verify(&log, &remade(pack, |members| change(members))).unwrap_err()
    };
    let at = |members: &[(String, Vec<u8>)], name: &str| {
        members.iter().position(|(found, _)| found.contains(name)).unwrap()
    };
    // A record of the range left out.
    let error = refused(&whole, &|members| without(members, "receipts/00000000000000000004"));
    assert_eq!(error, PackError::Omitted { index: 4 });
    // A leaf left out, doubled, moved.
    let leaves = |change: &dyn Fn(&mut Vec<u8>)| {
        refused(&whole, &|members| change(&mut member(members, "range/leaves").1))
    };
    assert!(matches!(leaves(&|bytes| drop(bytes.drain(..32))), PackError::Range(_)));
    assert!(matches!(leaves(&|bytes| bytes.extend_from_within(..32)), PackError::Range(_)));
    assert!(matches!(leaves(&|bytes| bytes.rotate_left(32)), PackError::Range(_)));
    let name = "evidence/range/leaves".to_owned();
    assert_eq!(leaves(&|bytes| bytes.truncate(bytes.len() - 1)), PackError::Hashes { name });
    let error = refused(&part, &|members| drop(member(members, "range/before").1.drain(..32)));
    assert_eq!(error, PackError::Range(MerkleError::ProofTooShort));
    // Names that none has, in a place that none is in.
    let error = refused(&whole, &|members| members.insert(2, ("evidence/notes.txt".into(), vec![])));
    assert_eq!(error, PackError::UnknownMember { name: "evidence/notes.txt".into() });
    let short = "evidence/receipts/4.tlog-proof".to_owned();
    let error =
        refused(&whole, &|members| member(members, "receipts/00000000000000000004").0.clone_from(&short));
    assert_eq!(error, PackError::UnknownMember { name: short.clone() });
    let error = refused(&whole, &|members| members.swap(1, 2));
    assert_eq!(error, PackError::OutOfOrder { name: "evidence/index.txt".into() });
    let error = refused(&whole, &|members| members.push(members[1].clone()));
    assert_eq!(error, PackError::Duplicate { name: "evidence/index.txt".into() });
    for member in ["index.txt", "checkpoint", "keys/log.vkey", "range/before", "range/leaves", "range/after"]
    {
        let error = refused(&whole, &|members| without(members, member));
        assert_eq!(error, PackError::Missing { name: format!("evidence/{member}") });
    }
    // A text that says something else.
    let error = refused(&part, &|members| members[1].1.extend_from_slice(b"All is well.\n"));
    assert_eq!(error, PackError::Text);
    // A receipt in another's place.
    let error = refused(&whole, &|members| {
        let (four, five) =
            (at(members, "receipts/00000000000000000004"), at(members, "receipts/00000000000000000005"));
        members[five].1 = members[four].1.clone();
    });
    assert_eq!(error, PackError::OtherRecord { index: 5 });
    // Bundles: left out, another, one that decided nothing.
    let error = refused(&whole, &|members| without(members, "bundles/"));
    assert_eq!(error, PackError::NoBundle { digest: Digest::sha256(ARCHIVE) });
    let error = refused(&whole, &|members| member(members, "bundles/").1 = b"{}".to_vec());
    assert_eq!(error, PackError::OtherBundle { digest: Digest::sha256(ARCHIVE) });
    let other = Digest::sha256(b"{}");
    let digits = other.to_string().replace("sha256:", "");
    let both = |members: &mut Members| {
        members.push((format!("evidence/bundles/{digits}.json"), b"{}".to_vec()));
        members[1..].sort_by_key(|(name, _)| name.contains("/bundles/").then(|| name.clone()));
    };
    assert_eq!(refused(&whole, &both), PackError::UnexplainedBundle { digest: other });
}

/// A manifest with another member of these.
fn claiming(pack: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    remade(pack, |members| {
        let mut manifest: serde_json::Value = serde_json::from_slice(&members[0].1).unwrap();
        change(&mut manifest);
        members[0].1 = serde_json::to_vec(&manifest).unwrap();
    })
}

#[test]
fn claims_that_the_proof_does_not_bear_out_are_refused() {
    let log = log();
    let [whole, part] = packs(&log);
    let refused = |pack: &[u8], key: &str, value: serde_json::Value| {
        let claimed = claiming(pack, |manifest| *manifest.pointer_mut(key).unwrap() = value);
        verify(&log, &claimed).unwrap_err()
    };
    assert_eq!(refused(&whole, "/log", "other".into()), PackError::Claim { what: "log" });
    assert_eq!(refused(&whole, "/size", 11.into()), PackError::Claim { what: "size" });
    assert_eq!(refused(&whole, "/end", 9.into()), PackError::Claim { what: "end" });
    assert!(matches!(refused(&whole, "/first", 1.into()), PackError::Range(_)));
    assert!(matches!(refused(&part, "/first", 2.into()), PackError::Range(_)));
    assert!(matches!(refused(&whole, "/format", "x/1".into()), PackError::Manifest(_)));
    // A wider time than the neighbours allow, and a narrower one than the records.
    assert_eq!(refused(&part, "/selection/since", 1_002.into()), PackError::CutWrong { index: 2 });
    assert_eq!(refused(&part, "/selection/until", 1_009.into()), PackError::CutWrong { index: 8 });
    assert_eq!(refused(&part, "/selection/since", 1_004.into()), PackError::NotSelected { index: 3 });
    assert_eq!(refused(&part, "/selection/until", 1_007.into()), PackError::NotSelected { index: 7 });
    // Another selection than what is there.
    assert_eq!(refused(&part, "/selection/agent", "two".into()), PackError::NotSelected { index: 3 });
    let all =
        claiming(&part, |manifest| drop(manifest["selection"].as_object_mut().unwrap().remove("agent")));
    assert_eq!(verify(&log, &all).unwrap_err(), PackError::Omitted { index: 5 });
    for bound in ["since", "until"] {
        let unbounded =
            claiming(&part, |manifest| drop(manifest["selection"].as_object_mut().unwrap().remove(bound)));
        let what = if bound == "since" { "first" } else { "end" };
        assert_eq!(verify(&log, &unbounded).unwrap_err(), PackError::Claim { what });
    }
    let unknown = claiming(&whole, |manifest| manifest["complete"] = true.into());
    assert!(matches!(verify(&log, &unknown).unwrap_err(), PackError::Manifest(_)));
}

#[test]
fn what_is_withheld_or_added_against_the_rules_makes_no_pack() {
    let log = log();
    let error = |range, selection, records: &[u64], context: &[u64]| {
        make(&log, parts(&log, range, selection, records, context)).unwrap_err()
    };
    let one = || of("one", timed(3, 8));
    assert_eq!(error((3, 8), one(), &[3, 4, 6, 7], &[2]), PackError::NoNeighbour { index: 8 });
    assert_eq!(error((3, 8), one(), &[3, 4, 6, 7], &[8]), PackError::NoNeighbour { index: 2 });
    assert_eq!(error((3, 8), one(), &[3, 4, 5, 6, 7], &[2, 8]), PackError::NotSelected { index: 5 });
    assert_eq!(error((3, 8), one(), &[3, 4, 6, 7], &[1, 2, 8]), PackError::Unexplained { index: 1 });
    assert_eq!(error((3, 8), one(), &[3, 4, 6, 7], &[2, 5, 8]), PackError::Unexplained { index: 5 });
    assert_eq!(error((3, 8), one(), &[2, 3, 4, 6, 7], &[8]), PackError::OutsideRange { index: 2 });
    let missing = PackError::NoPermit { outcome: 7, permit: 4 };
    assert_eq!(error((3, 8), one(), &[3, 6, 7], &[2, 8]), missing);
    assert_eq!(
        error((0, 9), everything(), &[0, 1, 2, 3, 4, 5, 6, 7, 8], &[9]),
        PackError::Claim { what: "end" }
    );
    // An outcome whose PERMIT lies before the range brings it along.
    let permit = parts(
        &log,
        (7, 10),
        of("one", Selection { since: Some(at(7)), ..Selection::default() }),
        &[7, 9],
        &[4, 6],
    );
    assert!(make(&log, permit).is_ok());
}

#[test]
fn another_key_checkpoint_or_record_is_refused() {
    let log = log();
    let [whole, _] = packs(&log);
    let stranger = TestKey::new("gate.example/log", 9);
    let error =
        UnverifiedPack::parse(&whole).unwrap().verify(&(&stranger.public).into(), &digest_of).unwrap_err();
    assert_eq!(error, PackError::Checkpoint(CheckpointError::Note(NoteError::NoKnownSignature)));
    let all: Vec<u64> = (0..10).collect();
    let mut with_key = parts(&log, (0, 10), everything(), &all, &[]);
    with_key.key = stranger.public;
    assert_eq!(make(&log, with_key).unwrap_err(), PackError::Key);
    // A receipt under an older head of the same log.
    let mut older = parts(&log, (0, 10), everything(), &all, &[]);
    let mut short = TestLog::new(0);
    log.records[..9].iter().for_each(|record| short.append(record));
    older.receipts.insert(4, short.receipt(4).to_bytes());
    assert_eq!(make(&log, older).unwrap_err(), PackError::OtherCheckpoint { index: 4 });
    // What the log has and is no record.
    let mut strange = TestLog::new(0);
    strange.append(b"{}");
    let error = make(&strange, parts(&strange, (0, 1), everything(), &[0], &[])).unwrap_err();
    assert!(matches!(error, PackError::Receipt { index: 0, source: ReceiptError::Record(_) }), "{error}");
    // A clock that went back.
    let mut back = TestLog::new(0);
    back.append(&String::from_utf8(event(0)).unwrap().replace("1000", "5000").into_bytes());
    back.append(&event(1));
    let error = make(&back, parts(&back, (0, 2), everything(), &[0, 1], &[])).unwrap_err();
    assert_eq!(error, PackError::TimeGoesBack { index: 1 });
    assert!(UnverifiedCheckpoint::parse(&[]).is_err());
}

#[test]
fn an_empty_range_and_an_empty_log_have_packs() {
    let log = log();
    let none = make(&log, parts(&log, (4, 4), timed(4, 4), &[], &[3, 4])).unwrap();
    let text = verify(&log, &none).unwrap().text();
    assert!(text.contains("range     no record") && !text.contains("signed the bundles"), "{text}");
    let empty = TestLog::new(0);
    let pack = make(&empty, parts(&empty, (0, 0), everything(), &[], &[])).unwrap();
    assert_eq!(verify(&empty, &pack).unwrap().range(), (0, 0));
}
