//! A whole check beside the writer.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use portcullis_ledger::{Anchor, CheckPosition, Checked, LedgerError};
use portcullis_protocol::{Order, Ordered, Outcome, ReasonCode};
use portcullis_verify::UnverifiedCheckpoint;

use crate::harness::{Call, World};
use crate::scrub::long;
use crate::tampered::named;

/// What rots beside the records, and how it is named.
pub(crate) const ROTTEN: [(&str, &str); 21] = [
    ("UPDATE payloads SET seq = seq + 1000000", "is gone before its time"),
    ("DELETE FROM payloads", "is gone before its time"),
    (
        "INSERT INTO payloads SELECT seq - 1, subject, expires, sealed FROM payloads LIMIT 1",
        "none of them speaks of",
    ),
    ("UPDATE payloads SET expires = expires - 1", "does not open"),
    ("UPDATE payloads SET subject = subject + 1", "does not open"),
    ("UPDATE subjects SET id = id + 1000", "does not open"),
    ("UPDATE subjects SET agent = 'another'", "does not open"),
    ("UPDATE subjects SET wrapped = NULL, erased = 1000", "is no order to destroy it"),
    (
        "UPDATE bundles SET bytes = CAST(substr(bytes, 1, 99) || x'00' || substr(bytes, 101) AS BLOB)",
        "the archive of bundle ",
    ),
    ("UPDATE bundles SET parts = parts + 1", "is missing, and records name it"),
    ("DELETE FROM bundles", "is missing, and records name it"),
    ("UPDATE snapshots SET entities = CAST(x'00' || substr(entities, 2) AS BLOB)", "the kept facts "),
    ("DELETE FROM snapshots", "the kept facts are not those"),
    ("UPDATE snapshot_uses SET erased = 1", "a row of `snapshot_uses` was altered"),
    ("UPDATE snapshot_uses SET expires = expires + 1", "a row of `snapshot_uses` was altered"),
    ("DELETE FROM snapshot_uses; DELETE FROM snapshots", "are gone before its time"),
    (
        "DROP INDEX payloads_expires;
         CREATE INDEX payloads_expires ON payloads (expires) WHERE seq < 0;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX payloads_expires ON payloads (expires)'
           WHERE name = 'payloads_expires'",
        "would stay beyond its time",
    ),
    (
        "UPDATE subjects SET erased = NULL, wrapped = (SELECT wrapped FROM aside WHERE aside.id = subjects.id)
           WHERE id = 2",
        "was erased, and a key of `stranger-agent` is there for it again",
    ),
    (
        "UPDATE payloads SET subject = 3 WHERE subject = 2; DELETE FROM subjects WHERE id = 2",
        "had a key of `stranger-agent` destroyed, and no row of the vault says so any more",
    ),
    (
        "UPDATE payloads SET sealed = CAST(substr(sealed, 1, 40) || x'00' || substr(sealed, 42) AS BLOB)",
        "does not open",
    ),
    (
        "UPDATE subjects SET wrapped = CAST(substr(wrapped, 1, 40) || x'00' || substr(wrapped, 42) AS BLOB)",
        "does not open",
    ),
];

/// A closed ledger that keeps something of two agents, one of which had it erased twice; table `aside` has the vault's rows as a
/// backup has them that was made before.
pub(crate) fn kept() -> World {
    let world = World::sourced("");
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.directory(0, &["stranger-agent"]);
    for attempt in 2..4 {
        world.refused(&ledger, &Call::read(attempt).by("stranger-agent"));
        world.sql("CREATE TABLE IF NOT EXISTS aside AS SELECT * FROM subjects");
        let (sender, receiver) = channel();
        let what = Order::ErasePayloads { subject: "stranger-agent".parse().unwrap() };
        let (by, reason) = ("alice".parse().unwrap(), "asked for".parse().unwrap());
        let done = ledger.order(Ordered { by, what, reason }, move |reply| sender.send(reply).unwrap());
        done.unwrap();
        receiver.recv().unwrap().unwrap();
    }
    drop(ledger);
    world
}

pub(crate) fn check(world: &World, earlier: Option<CheckPosition>) -> Result<Checked, LedgerError> {
    world.check()?.run(earlier, &AtomicBool::new(false), &|_, _, _| ())
}

#[test]
fn a_sound_ledger_is_checked_beside_its_writer() {
    let world = long();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(5_000));
    let checked = check(&world, None).unwrap();
    let size = world.size();
    assert_eq!((checked.head.size(), checked.log.1, checked.state.1), (size, size, size));
    assert!(checked.stopped.is_none() && checked.resumed.is_none() && checked.is_whole());
    assert!(checked.payloads.is_some_and(|opened| opened > 1_000), "{:?}", checked.payloads);
}

/// Whoever does a part of a stage waits there for somebody else who does another.
#[test]
fn a_check_was_made_on_one_processor_of_several() {
    let world = long();
    let (seen, met) = (Mutex::new(BTreeMap::new()), Condvar::new());
    let meet = |stage: &'static str, _: u64, _: u64| {
        let mut there = seen.lock().unwrap();
        let threads: &mut HashSet<_> = there.entry(stage).or_default();
        threads.insert(std::thread::current().id());
        met.notify_all();
        let alone = |there: &mut BTreeMap<&str, HashSet<_>>| there[stage].len() < 2;
        drop(met.wait_timeout_while(there, Duration::from_secs(100), alone).unwrap());
    };
    let processors = std::thread::available_parallelism().unwrap().get();
    assert!(processors > 1, "one processor shows nothing: run this where there are two");
    world.check().unwrap().run(None, &AtomicBool::new(false), &meet).unwrap();
    let threads: Vec<_> =
        seen.into_inner().unwrap().into_iter().map(|(stage, of)| (stage, of.len() > 1)).collect();
    assert_eq!(threads, [("comparing payloads", true), ("comparing state", true), ("hashing records", true)]);
}

#[test]
fn what_is_wrong_is_named_with_its_record() {
    let world = long();
    let cases = [
        (
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '\"gate\":\"gate\"', '\"gate\":\"gatf\"') AS BLOB) WHERE seq = 700",
            "record 700 ",
        ),
        ("DELETE FROM records WHERE seq = 300", "record 300 "),
        ("UPDATE permits SET outcome = NULL, outcome_seq = NULL WHERE key = @ran", "record 3 "),
        ("DELETE FROM attempts WHERE seq = 301", "record 301 "),
        ("UPDATE keys SET time = time - 1 WHERE name = @ran", "record 3 "),
        (
            "UPDATE keys SET operation = CAST(x'00' || substr(operation, 2) AS BLOB) WHERE name = @ran",
            "the operation of the key of record 3 ",
        ),
        (
            "UPDATE tiles SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB) WHERE level = 0 AND position = 1",
            "tile 1 of level 0 ",
        ),
        // What is wrong in the tile that still grows was called a log that is behind its anchor, and no record was named.
        (
            "UPDATE records SET body = CAST(body || x'20' AS BLOB) WHERE seq = (SELECT max(seq) FROM records)",
            " is not one",
        ),
        (
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), 'PERMIT', 'QERMIT') AS BLOB) WHERE seq > 1290",
            "record 1291 is not one",
        ),
        ("DELETE FROM records WHERE seq = 1300", "record 1300 is missing"),
        (
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '\"gate\":\"gate\"', '\"gate\":\"gatf\"') AS BLOB) WHERE seq > 1290",
            "of the records 1280 to ",
        ),
        ("INSERT INTO attempts VALUES (zeroblob(32), 3)", "no record speaks of"),
        (
            "UPDATE attempts SET seq = CASE seq WHEN 301 THEN 302 ELSE 301 END WHERE seq IN (301, 302)",
            "record 301 ",
        ),
        ("UPDATE permits SET outcome = 'failed' WHERE key = @ran", "record 3 "),
        ("UPDATE permits SET outcome_seq = outcome_seq + 1 WHERE key = @ran", "record 3 "),
        ("UPDATE permits SET outcome = 'ok', outcome_seq = 302 WHERE seq = 301", "record 301 "),
        // An outcome that no record speaks of was passed over by the fast comparison.
        ("UPDATE permits SET outcome = 'ok', outcome_seq = 1000000 WHERE seq = 301", "record 301 "),
        ("UPDATE permits SET due = due + 1 WHERE seq = 301", "record 301 "),
        (
            "UPDATE permits SET keep_result = CAST(x'ff' || substr(keep_result, 2) AS BLOB) WHERE key = @open",
            "how long the result of record ",
        ),
        ("UPDATE permits SET agent = 'other' WHERE seq = 301", "record 301 "),
        ("UPDATE permits SET key = zeroblob(32) WHERE seq = 301", "record 301 "),
        ("UPDATE permits SET attempt = zeroblob(32) WHERE seq = 301", "record 301 "),
        ("DELETE FROM permits WHERE seq = 301", "record 301 "),
        ("UPDATE keys SET bucket = (bucket + 1) % 262144 WHERE name = @ran", "record 3 "),
        ("UPDATE keys SET permit = permit + 1 WHERE name = @unspent", "record "),
        (
            "INSERT INTO keys SELECT bucket, 301, name, 300, time, NULL FROM keys WHERE name = @ran",
            "no record speaks of",
        ),
        ("UPDATE chains SET heads = CAST(x'01' || substr(heads, 2) AS BLOB)", "the mark in record "),
    ];
    for (statements, expected) in cases {
        let damaged = world.crashed();
        damaged.sql(&named(statements));
        let error = check(&damaged, None).unwrap_err();
        assert_eq!(error.code(), ReasonCode::EvidenceCorrupt, "{statements}: {error}");
        assert!(error.to_string().contains(expected), "{statements}: {error}");
    }
}

#[test]
fn what_is_kept_beside_the_records_is_checked_with_them() {
    let world = kept();
    let sound = check(&world, None).unwrap();
    assert_eq!(sound.payloads, Some(1));
    for (statement, expected) in ROTTEN {
        let damaged = world.crashed();
        damaged.sql(statement);
        let error = check(&damaged, None).unwrap_err();
        assert_eq!(error.code(), ReasonCode::EvidenceCorrupt, "{statement}: {error}");
        assert!(error.to_string().contains(expected), "{statement}: {error}");
    }
    let other = World::new();
    std::fs::copy(other.vault_key(), world.vault_key()).unwrap();
    assert_eq!(check(&world, None).unwrap_err().code(), ReasonCode::EvidenceVaultWrongKey);
}

/// Without the key nothing of what is kept was looked at: a row that was gone was not missed.
#[test]
fn without_the_vault_s_key_a_check_missed_nothing_of_what_was_gone() {
    let world = kept();
    let check = |world: &World| world.check_with(None)?.run(None, &AtomicBool::new(false), &|_, _, _| ());
    assert_eq!(check(&world).unwrap().payloads, None);
    for (statement, expected) in ROTTEN {
        let damaged = world.crashed();
        damaged.sql(statement);
        let found = check(&damaged).map_err(|error| error.to_string());
        // What is sealed, and the keys to it: that takes the key.
        match statement.contains("SET sealed") || statement.contains("SET wrapped = CAST") {
            true => assert!(found.is_ok(), "{statement}"),
            false => assert!(found.unwrap_err().contains(expected), "{statement}"),
        }
    }
    world.sql("DELETE FROM vault");
    assert_eq!(world.check().unwrap_err().code(), ReasonCode::EvidenceVaultWrongKey);
    assert_eq!(world.refused(&world.start(), &Call::read(2)), ReasonCode::EvidenceCorrupt);
}

/// The note of a check says how far it came, and what it had counted until then. Of one that says that nothing was done the counts
/// were believed, and the check was one of all of the log.
#[test]
fn a_note_of_a_check_that_had_done_nothing_was_believed_what_it_had_counted() {
    let world = long();
    let stopped = world.check().unwrap().run(None, &AtomicBool::new(true), &|_, _, _| ());
    let nothing = stopped.unwrap().stopped.unwrap();
    let mut swept = serde_json::to_value(nothing.sweep.unwrap()).unwrap();
    swept["parts"] = 256.into();
    let swept = CheckPosition { sweep: Some(serde_json::from_value(swept).unwrap()), ..nothing };
    let counted = CheckPosition { sweep: None, rows: (1, 0), ..nothing };
    for note in [nothing, swept, counted] {
        let whole = check(&world, Some(note)).unwrap();
        assert!(whole.is_whole() && whole.resumed.is_none(), "{note:?}");
    }
    let damaged = world.crashed();
    damaged.sql("INSERT INTO attempts VALUES (zeroblob(32), 3)");
    let found = check(&damaged, Some(counted)).map(|checked| checked.is_whole());
    assert_eq!(found.unwrap_err().code(), ReasonCode::EvidenceCorrupt);
}

/// Rows of records that are not there were found by nobody: each count ended at the newest record.
#[test]
fn a_check_counted_no_rows_of_records_that_were_not_there() {
    let world = long();
    for statement in [
        "INSERT INTO attempts VALUES (zeroblob(32), 1000000)",
        "INSERT INTO keys VALUES (7, 1000000, zeroblob(32), 1000000, 0, zeroblob(32))",
        "INSERT INTO permits (seq, attempt, agent, key, due, keep_result)
          SELECT 1000000, attempt, agent, NULL, due, keep_result FROM permits LIMIT 1",
        "INSERT INTO spools VALUES (zeroblob(32), 7, 3)",
    ] {
        let damaged = world.crashed();
        damaged.sql(statement);
        let error = check(&damaged, None).unwrap_err();
        assert_eq!(error.code(), ReasonCode::EvidenceCorrupt, "{statement}: {error}");
    }
}

/// A second look, record by record, is for what differs: a sound state, with every outcome, late ones and keys that were
/// given back, is read once.
#[test]
fn a_sound_state_is_read_once() {
    let world = long();
    let ledger = world.start();
    for (attempt, outcomes) in [
        (6_000, &[Outcome::Unknown, Outcome::Ok][..]),
        (6_001, &[Outcome::Unknown, Outcome::Failed]),
        (6_002, &[Outcome::Failed]),
        (6_003, &[Outcome::Expired]),
    ] {
        let call = Call::charge(attempt, "1.00", Some(&attempt.to_string()));
        world.permitted(&ledger, &call);
        for outcome in outcomes {
            world.report(&ledger, &call, *outcome, None).unwrap();
        }
    }
    assert_ne!(world.refused(&ledger, &Call::ungoverned(6_004)).as_str(), "");
    drop(ledger);
    let read = AtomicU64::new(0);
    let check = world.check().unwrap();
    let checked = check.run(None, &AtomicBool::new(false), &|what, done, of| {
        read.fetch_add(u64::from(what == "comparing state" && done == of), Ordering::Relaxed);
    });
    assert!(checked.unwrap().stopped.is_none());
    assert_eq!(read.into_inner(), 1);
}

#[test]
fn a_check_that_is_stopped_goes_on_where_it_was_and_nowhere_else() {
    let world = long();
    let opened = world.check().unwrap();
    let stop = AtomicBool::new(true);
    let stopped = opened.run(None, &stop, &|_, _, _| ()).unwrap().stopped.unwrap();
    assert_eq!((stopped.log, stopped.state), (0, 0));
    // As if it had come half of the way.
    let half = CheckPosition { log: 512, state: 512, rows: (0, 0), ..stopped };
    let wrong = opened.run(Some(half), &AtomicBool::new(false), &|_, _, _| ()).unwrap_err();
    assert!(
        wrong.to_string().contains("no record speaks of"),
        "what was counted is part of where it was: {wrong}"
    );
    let seen = AtomicU64::new(u64::MAX);
    let other = CheckPosition { size: stopped.size - 1, ..half };
    let checked = opened.run(Some(other), &AtomicBool::new(false), &|_, done, _| {
        seen.fetch_min(done, Ordering::Relaxed);
    });
    assert!(checked.unwrap().resumed.is_none(), "a position of another root is none");
    assert!(seen.load(Ordering::Relaxed) > 0);
    let hashed = CheckPosition { log: stopped.size, state: 0, ..stopped };
    let checked = check(&world, Some(hashed)).unwrap();
    assert_eq!((checked.resumed, checked.log.1, checked.state.1), (Some(hashed), 0, stopped.size));
    assert!(checked.stopped.is_none() && !checked.is_whole(), "what an earlier one had read it did not");
    let grown = world.start();
    world.permitted(&grown, &Call::read(5_000));
    let checked = check(&world, Some(hashed)).unwrap();
    assert_eq!(checked.resumed, Some(hashed));
    assert!(
        checked.log.1 >= 2 && checked.log.1 < 600,
        "what came since, and the tile that had not been whole"
    );
}

/// Only hashing went on where it was; the state was compared anew each time, and one that had come to what is kept counted the
/// rows of the last records twice: a sound log was damaged.
#[test]
fn a_check_that_was_stopped_again_and_again_read_all_of_it_once() {
    let world = long();
    let (size, whole) = (world.size(), check(&world, None).unwrap());
    let (seen, check) = (Mutex::new(BTreeMap::<_, u64>::new()), world.check().unwrap());
    let (mut earlier, mut hashed, mut compared, mut kept) = (None, 0, 0, None);
    // Each time it is stopped at the first word of how far it is.
    let last = loop {
        assert!(seen.lock().unwrap().values().sum::<u64>() < 20, "it does not come to an end");
        let stop = AtomicBool::new(false);
        let checked = check.run(earlier, &stop, &|what, done, _| {
            *seen.lock().unwrap().entry((what, done)).or_default() += 1;
            stop.store(true, Ordering::Relaxed);
        });
        let checked = checked.unwrap();
        (hashed, compared) = (hashed + checked.log.1, compared + checked.state.1);
        let Some(stopped) = checked.stopped else { break checked };
        if stopped.state == size && stopped.payloads.0 == 0 {
            kept = Some(stopped);
        }
        earlier = Some(stopped);
    };
    assert_eq!((hashed, compared, last.payloads), (size, size, whole.payloads));
    assert!(!last.is_whole());
    let seen = seen.into_inner().unwrap();
    let times = |what| seen.iter().filter(|((of, _), _)| *of == what).map(|(_, times)| times).sum::<u64>();
    assert_eq!(times("comparing state"), size.div_ceil(1_024), "{seen:?}");
    assert_eq!(times("comparing payloads"), size.div_ceil(1_024), "{seen:?}");
    // What had not been read when it was stopped is read by whoever goes on.
    let kept = kept.or(earlier).map(|position| CheckPosition { payloads: (0, Some(0)), ..position });
    let damaged = world.crashed();
    damaged.sql("DELETE FROM payloads WHERE seq = (SELECT max(seq) FROM payloads)");
    let found = damaged.check().unwrap().run(kept, &AtomicBool::new(false), &|_, _, _| ());
    assert!(found.unwrap_err().to_string().contains("is gone before its time"));
    // What was compared without the vault's key was not opened.
    let without = kept.map(|position| CheckPosition { payloads: (size, None), ..position });
    let checked = check.run(without, &AtomicBool::new(false), &|_, _, _| ()).unwrap();
    assert_eq!(checked.payloads, whole.payloads);
}

/// How far threads come before they see that they are to stop is by chance: here the note says it.
#[test]
fn a_check_that_goes_on_reads_nothing_that_its_note_says_was_read() {
    let world = long();
    let (size, check) = (world.size(), world.check().unwrap());
    let begun = check.run(None, &AtomicBool::new(true), &|_, _, _| ()).unwrap().stopped.unwrap();
    let mut sweep = serde_json::to_value(begun.sweep).unwrap();
    (sweep["tiles"], sweep["parts"]) = (size.div_ceil(256).into(), 256.into());
    let swept = CheckPosition { log: size, sweep: serde_json::from_value(sweep).unwrap(), ..begun };
    let kept = CheckPosition { state: size, sweep: None, payloads: (1_024, Some(7)), ..swept };
    for (position, payloads) in [(swept, size.div_ceil(1_024)), (kept, (size - 1_024).div_ceil(1_024))] {
        let (state, opened) = (AtomicU64::new(0), AtomicU64::new(0));
        let checked = check.run(Some(position), &AtomicBool::new(false), &|what, _, _| {
            state.fetch_add(u64::from(what == "comparing state"), Ordering::Relaxed);
            opened.fetch_add(u64::from(what == "comparing payloads"), Ordering::Relaxed);
        });
        let checked = checked.unwrap();
        assert!(checked.stopped.is_none() && !checked.is_whole(), "{position:?}");
        assert_eq!((checked.log.1, checked.state.1, state.into_inner()), (0, 0, 0), "{position:?}");
        assert_eq!(opened.into_inner(), payloads, "{position:?}");
    }
}

/// The head grows while a check rests: what came since is compared record by record, and counted once.
#[test]
fn a_check_that_goes_on_under_a_later_head_compares_what_came_since() {
    let world = long();
    let (check, stop) = (world.check().unwrap(), AtomicBool::new(false));
    let comparing = |what: &str, _, _| stop.store(what == "comparing state", Ordering::Relaxed);
    let stopped = check.run(None, &stop, &comparing).unwrap().stopped.unwrap();
    let (size, ledger) = (world.size(), world.start());
    let call = Call::charge(5_000, "1.00", Some("since"));
    world.permitted(&ledger, &call);
    world.report(&ledger, &call, Outcome::Ok, None).unwrap();
    drop(ledger);
    let go_on =
        |world: &World| world.check().unwrap().run(Some(stopped), &AtomicBool::new(false), &|_, _, _| ());
    let checked = go_on(&world).unwrap();
    assert!(checked.stopped.is_none() && checked.head.size() == world.size());
    assert!(checked.state.1 < 64, "{} records were read for the state", checked.state.1);
    let damaged = world.crashed();
    damaged.sql(&format!("UPDATE permits SET due = due + 1 WHERE seq >= {size}"));
    assert!(go_on(&damaged).unwrap_err().to_string().contains("the state of record "));
    let damaged = world.crashed();
    damaged.sql(&format!("INSERT INTO attempts VALUES (zeroblob(32), {size})"));
    assert!(go_on(&damaged).unwrap_err().to_string().contains("no record speaks of"));
}

#[test]
fn a_log_that_does_not_go_on_from_an_older_checkpoint_is_named() {
    let world = long();
    let older = Anchor::read(&world.anchor()).unwrap().unwrap();
    let head = |note: &[u8], world: &World| {
        UnverifiedCheckpoint::parse(note).unwrap().verify(std::slice::from_ref(&world.verifier)).unwrap()
    };
    let older = head(&older, &world);
    world.permitted(&world.start(), &Call::read(5_000));
    let opened = world.check().unwrap();
    opened.since(&older).unwrap();
    let other = long();
    other.permitted(&other.start(), &Call::read(6_000));
    let newer = head(&Anchor::read(&other.anchor()).unwrap().unwrap(), &other);
    let behind = world.check().unwrap().since(&newer);
    assert_eq!(behind.unwrap_err().code(), ReasonCode::EvidenceBehindAnchor);
}
