//! What a view shows of the log is what its head proves, or an error.

use std::collections::BTreeMap;

use portcullis_ledger::{LedgerError, LedgerReader, LogTip, LogView, Refutations};
use portcullis_protocol::ReasonCode;
use portcullis_verify::layout::{full_tiles, partial_tiles};
use portcullis_verify::{LogKeys, LogPath, StaticLog};

use crate::harness::{Call, World, answer};

fn open(world: &World, known: Option<&LogTip>) -> Result<LogView, LedgerError> {
    LogView::open(&world.data(), &world.anchor(), &world.verifier, known)
}

/// A ledger of more than one tile's records.
fn long(world: &World, first: u64) {
    let ledger = world.start();
    let asked: Vec<_> =
        (first..first + 290).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(asked.iter().all(|reply| answer(reply).verdict.reason().is_none()));
}

fn files(view: &LogView) -> BTreeMap<LogPath, Vec<u8>> {
    let size = view.head().size();
    let mut paths = partial_tiles(size);
    for (level, count) in full_tiles(size) {
        paths.extend((0..count).map(|index| LogPath::Tile { level, index, width: 256 }));
    }
    for path in paths.clone() {
        if let LogPath::Tile { level: 0, index, width } = path {
            paths.push(LogPath::Entries { index, width });
        }
    }
    paths.push(LogPath::Checkpoint);
    paths.into_iter().map(|path| (path, view.resource(path).unwrap().unwrap())).collect()
}

#[test]
fn what_is_shown_is_a_log_that_verifies_with_the_public_key_alone() {
    let world = World::new();
    long(&world, 0);
    let view = open(&world, None).unwrap();
    let files = files(&view);
    let keys = LogKeys::from(&world.verifier);
    let log = StaticLog { keys: &keys, pruned_below: 0, since: &[] };
    let verified = log.verify(|path| Ok::<_, ()>(files.get(path).cloned()), |_, _| true).unwrap();
    assert_eq!(verified.records(), world.size());
    for seq in [0, 1, 255, 256, 257, world.size() - 1] {
        let receipt = world.verified(&view.receipt(seq).unwrap());
        assert_eq!((receipt.index(), receipt.record().unwrap()), (seq, view.record(seq).unwrap().0));
    }
    for beyond in [world.size(), u64::MAX] {
        assert!(view.receipt(beyond).is_err() && view.record(beyond).is_err());
    }
}

#[test]
fn a_view_that_knows_an_earlier_head_sees_the_same_as_one_that_knows_none() {
    let world = World::new();
    let ledger = world.start();
    let mut known = None;
    for attempt in 0..300 {
        world.permitted(&ledger, &Call::read(attempt));
        if attempt % 37 == 0 {
            let (with, without) = (open(&world, known.as_ref()).unwrap(), open(&world, None).unwrap());
            assert_eq!(files(&with), files(&without));
            assert_eq!(with.root_at(3).unwrap(), without.root_at(3).unwrap());
            known = Some(with.into_tip());
        }
    }
    assert!(known.unwrap().size() > 256);
}

/// What reading each resource comes to after the database was changed under a view's feet.
fn tampered(statements: &str) -> BTreeMap<String, Option<ReasonCode>> {
    let world = World::new();
    long(&world, 0);
    let paths: Vec<_> = files(&open(&world, None).unwrap()).into_keys().collect();
    let tip = open(&world, None).unwrap().into_tip();
    world.sql(statements);
    let view = open(&world, Some(&tip)).unwrap();
    assert!([8, 20].iter().any(|seq| view.record(*seq).is_err()), "{statements}");
    let read = |path: &LogPath| match view.resource(*path) {
        Ok(bytes) => {
            assert!(bytes.is_some());
            None
        }
        Err(error) => Some(error.code()),
    };
    paths.iter().map(|path| (path.to_string(), read(path))).collect()
}

#[test]
fn what_the_head_does_not_prove_is_an_error_and_never_shown() {
    let corrupt = Some(ReasonCode::EvidenceCorrupt);
    let bad = |outcome: &BTreeMap<String, Option<ReasonCode>>| -> Vec<String> {
        assert!(outcome.values().all(|code| code.is_none() || *code == corrupt), "{outcome:?}");
        outcome.iter().filter(|(_, code)| code.is_some()).map(|(path, _)| path.clone()).collect()
    };
    let altered =
        "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), 'demo-agent', 'demo-agenx') AS BLOB)
        WHERE seq = 20";
    assert_eq!(bad(&tampered(altered)), ["tile/entries/000"]);
    assert_eq!(bad(&tampered("DELETE FROM records WHERE seq = 20")), ["tile/entries/000"]);
    let swapped = "UPDATE records SET seq = -1 WHERE seq = 8; UPDATE records SET seq = 8 WHERE seq = 9;
        UPDATE records SET seq = 9 WHERE seq = -1";
    assert_eq!(bad(&tampered(swapped)), ["tile/entries/000"]);
    let tile = "UPDATE tiles SET hashes = CAST(substr(hashes, 33) || substr(hashes, 1, 32) AS BLOB)";
    assert_eq!(bad(&tampered(tile)), ["tile/0/000", "tile/entries/000"]);
    assert_eq!(bad(&tampered("DELETE FROM tiles")), ["tile/0/000", "tile/entries/000"]);
    assert_eq!(bad(&tampered("UPDATE tiles SET hashes = x''")), ["tile/0/000", "tile/entries/000"]);
}

#[test]
fn a_view_of_a_changed_edge_is_not_opened() {
    for statements in [
        "UPDATE records SET body = CAST(body || x'20' AS BLOB) WHERE seq = (SELECT max(seq) FROM records)",
        "DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)",
        "UPDATE tiles SET hashes = CAST(substr(hashes, 33) || substr(hashes, 1, 32) AS BLOB)",
        "DELETE FROM tiles",
        "DROP TABLE tiles",
    ] {
        let world = World::new();
        long(&world, 0);
        world.sql(statements);
        let code = open(&world, None).unwrap_err().code();
        let expected = [ReasonCode::EvidenceBehindAnchor, ReasonCode::EvidenceCorrupt];
        assert!(expected.contains(&code), "{statements}: {code}");
    }
}

#[test]
fn a_view_never_goes_back_nor_over_to_another_log() {
    let world = World::new();
    long(&world, 0);
    let older = std::fs::read(world.anchor()).unwrap();
    long(&world, 1_000);
    let tip = open(&world, None).unwrap().into_tip();
    let newer = std::fs::read(world.anchor()).unwrap();
    std::fs::write(world.anchor(), older).unwrap();
    let refused = open(&world, Some(&tip)).unwrap_err();
    assert_eq!(refused.code(), ReasonCode::EvidenceBehindAnchor);
    // Where nothing that lies with the ledger tells, the view's own knowledge does.
    std::fs::remove_file(world.data().join("released")).unwrap();
    world.sql("UPDATE head SET note = NULL");
    assert!(open(&world, None).is_ok_and(|view| view.head().size() < tip.size()));
    let refused = open(&world, Some(&tip)).unwrap_err();
    assert!(refused.to_string().contains("put back to an older head"), "{refused}");
    std::fs::write(world.anchor(), newer).unwrap();

    // The same key, the same size and more, another history.
    let other = World::new();
    long(&other, 5_000);
    long(&other, 6_000);
    long(&other, 7_000);
    let forked = LogView::open(&other.data(), &other.anchor(), &world.verifier, Some(&tip));
    assert!(forked.is_err());
}

fn behind(world: &World, words: &str) {
    let refused = open(world, None).unwrap_err();
    assert_eq!(refused.code(), ReasonCode::EvidenceBehindAnchor);
    assert!(refused.to_string().contains(words), "{refused}");
}

/// Other readers refused it. What was exported, packed or shown over HTTP ended with the older head, without a word.
#[test]
fn an_older_head_than_the_ledger_knows_of_was_served_to_whoever_asked_first() {
    let world = World::new();
    let released = world.data().join("released");
    world.permitted(&world.start(), &Call::read(1));
    let older = [world.anchor(), released.clone()].map(|path| std::fs::read(path).unwrap());
    world.permitted(&world.start(), &Call::read(2));
    let newer = std::fs::read(&released).unwrap();
    open(&world, None).unwrap();
    std::fs::write(world.anchor(), &older[0]).unwrap();
    behind(&world, "older than a head that was signed");
    // Either of those that lie with the ledger tells.
    std::fs::write(&released, &older[1]).unwrap();
    behind(&world, "older than a head that was signed");
    std::fs::write(&released, newer).unwrap();
    world.sql("UPDATE head SET note = NULL");
    behind(&world, "older than a head that was signed");
}

/// Of the same size as the anchor's, and signed by the same key.
#[test]
fn a_view_of_one_of_two_logs_of_one_size_was_served_beside_the_head_of_the_other() {
    let world = World::new();
    world.permitted(&world.start(), &Call::read(1));
    let fork = world.crashed();
    world.permitted(&world.start(), &Call::read(2));
    fork.permitted(&fork.start(), &Call::read(3));
    assert_eq!(world.size(), fork.size());
    open(&world, None).unwrap();
    std::fs::copy(fork.data().join("released"), world.data().join("released")).unwrap();
    behind(&world, "of one size and of two logs");
}

/// The writer records nothing while a witness refutes the log, and whoever read it was told nothing.
#[test]
fn a_log_that_a_witness_refutes_was_read_as_if_nobody_had_said_anything() {
    let world = World::new();
    world.permitted(&world.start(), &Call::read(1));
    let tip = open(&world, None).unwrap().into_tip();
    let refutations = Refutations::of(&world.data());
    refutations.raise("w1", "it has seen 999 records").unwrap();
    let readers = |world: &World| {
        let (data, anchor, key) = (world.data(), world.anchor(), &world.verifier);
        [
            open(world, None).map(drop),
            open(world, Some(&tip)).map(drop),
            LedgerReader::open(&data, &anchor, key).map(drop),
            world.check().map(drop),
        ]
    };
    for refused in readers(&world) {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), ReasonCode::EvidenceBehindAnchor);
        assert!(refused.to_string().contains("`w1`: it has seen 999 records"), "{refused}");
    }
    // Its operator gave it up: that there is more of it somewhere is known.
    std::fs::write(world.data().join("GIVEN-UP"), "").unwrap();
    assert!(readers(&world).iter().all(Result::is_ok));
    std::fs::remove_file(world.data().join("GIVEN-UP")).unwrap();
    refutations.withdraw("w1").unwrap();
    assert!(readers(&world).iter().all(Result::is_ok));
}
