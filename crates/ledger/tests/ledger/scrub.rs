use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_ledger::Ledger;
use portcullis_protocol::{Event, Outcome, ReasonCode};

use crate::check::{ROTTEN, kept};
use crate::harness::{Call, World, answer, copy_tree};
use crate::tampered::named;

/// Records that make a mark at closing worth it, and then some.
const READS: u64 = 1_300;

/// Ends what a call was permitted.
fn run(world: &World, ledger: &Ledger, attempt: u64, key: &str, outcome: Option<Outcome>) {
    let call = Call::charge(attempt, "1.00", Some(key));
    world.permitted(ledger, &call);
    if let Some(outcome) = outcome {
        world.report(ledger, &call, outcome, None).unwrap();
    }
}

fn read(world: &World, ledger: &Ledger, attempts: std::ops::Range<u64>) {
    let reads: Vec<_> = attempts.map(|attempt| world.ask(ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
}

/// A closed ledger whose charges all lie before the records that opening it reads.
pub(crate) fn long() -> World {
    let world = World::new();
    let ledger = world.start();
    run(&world, &ledger, 1, "ran", Some(Outcome::Ok));
    run(&world, &ledger, 2, "unspent", Some(Outcome::Expired));
    run(&world, &ledger, 3, "open", None);
    run(&world, &ledger, 4, "other", Some(Outcome::Unknown));
    read(&world, &ledger, 10..READS);
    drop(ledger);
    assert!(world.events().contains(&Event::Marked));
    world
}

/// Waits until the scrub has read everything, or has found something.
pub(crate) fn scrubbed(world: &World, ledger: &Ledger) -> Option<ReasonCode> {
    loop {
        let status = world.status(ledger);
        let passed = status.scrub.is_some_and(|scrub| scrub.passes > 0);
        if passed || status.tripped.is_some() {
            return status.tripped;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn a_sound_ledger_is_read_through_and_goes_on() {
    let world = long();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(5_000));
    assert_eq!(scrubbed(&world, &ledger), None);
    let scrub = world.status(&ledger).scrub.unwrap();
    assert!(scrub.checked == scrub.of && scrub.of > READS && scrub.found.is_none(), "{scrub:?}");
    world.permitted(&ledger, &Call::read(5_001));
}

#[test]
fn damage_before_the_tail_is_found_and_stays_found_until_it_is_repaired() {
    let world = long();
    let cases = [
        (
            "a record's byte",
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '\"gate\":\"gate\"', '\"gate\":\"gatf\"') AS BLOB) WHERE seq = 3",
        ),
        ("a record missing", "DELETE FROM records WHERE seq = 300"),
        ("a PERMIT ended by nobody", "UPDATE permits SET outcome = 'ok', outcome_seq = 7 WHERE key = @open"),
        ("an outcome undone", "UPDATE permits SET outcome = NULL, outcome_seq = NULL WHERE key = @ran"),
        ("a PERMIT missing", "DELETE FROM permits WHERE key = @open"),
        ("a PERMIT's agent", "UPDATE permits SET agent = 'stranger-agent' WHERE key = @open"),
        (
            "a PERMIT of nobody",
            "INSERT INTO permits (seq, attempt, agent, key, due, keep_result) SELECT 9, attempt, agent, key, due, keep_result FROM permits WHERE key = @open",
        ),
        (
            "how long a result is kept",
            "UPDATE permits SET keep_result = CAST(x'ff' || substr(keep_result, 2) AS BLOB) WHERE key = @open",
        ),
        ("an attempt missing", "DELETE FROM attempts WHERE seq = 300"),
        ("an attempt of nobody", "INSERT INTO attempts VALUES (zeroblob(32), 3)"),
        ("the last attempt of nobody", "INSERT INTO attempts VALUES (unhex('ffffffffffffffff'), 3)"),
        ("a key", "DELETE FROM keys WHERE name = @ran"),
        ("a key of nobody", "INSERT INTO keys VALUES (7, 3, zeroblob(32), 3, 0, zeroblob(32))"),
        ("when a key was consumed", "UPDATE keys SET time = time - 1 WHERE name = @ran"),
    ];
    for (what, statements) in cases {
        let damaged = world.crashed();
        damaged.sql(&named(statements));
        let ledger = damaged.start();
        assert_eq!(scrubbed(&damaged, &ledger), Some(ReasonCode::EvidenceCorrupt), "{what}");
        assert_eq!(damaged.refused(&ledger, &Call::read(5_000)), ReasonCode::EvidenceCorrupt, "{what}");
        drop(ledger);
        // A new process has no scrub's word yet, and permits nothing either.
        let ledger = damaged.start();
        assert_eq!(damaged.refused(&ledger, &Call::read(5_001)), ReasonCode::EvidenceCorrupt, "{what}");
        drop(ledger);
        fs::copy(world.database(), damaged.database()).unwrap();
        fs::copy(world.anchor(), damaged.anchor()).unwrap();
        fs::copy(world.data().join("released"), damaged.data().join("released")).unwrap();
        damaged.permitted(&damaged.start(), &Call::read(5_002));
        assert!(!damaged.data().join("doubted").exists(), "it was read whole");
    }
}

/// What it is that is wrong was looked at by the scrub, and not by who reads all of the ledger before it is opened again: the next
/// call was permitted.
#[test]
fn what_the_scrub_found_was_forgotten_by_reading_all_of_the_ledger_again() {
    let sound = World::new();
    let ledger = sound.start();
    run(&sound, &ledger, 1, "ran", Some(Outcome::Ok));
    drop(ledger);
    for statement in [
        "UPDATE keys SET operation = CAST(x'ff' || substr(operation, 2) AS BLOB)",
        "INSERT INTO attempts VALUES (zeroblob(32), 1000000)",
        "INSERT INTO keys VALUES (7, 1000000, zeroblob(32), 1000000, 0, zeroblob(32))",
        "INSERT INTO permits (seq, attempt, agent, key, due, keep_result)
          SELECT 1000000, attempt, agent, NULL, due, keep_result FROM permits",
        "INSERT INTO spools VALUES (zeroblob(32), 7, 3)",
    ] {
        let world = sound.crashed();
        world.sql(statement);
        let ledger = world.start();
        assert_eq!(scrubbed(&world, &ledger), Some(ReasonCode::EvidenceCorrupt), "{statement}");
        let refused = |ledger: &Ledger, attempt| {
            let code = world.refused(ledger, &Call::read(attempt));
            assert_eq!(code, ReasonCode::EvidenceCorrupt, "{statement}");
        };
        (3..6).for_each(|attempt| refused(&ledger, attempt));
        drop(ledger);
        refused(&world.start(), 6);
    }
}

/// Where no note of it could be written at first, none was written later: the next process read the log's end, and permitted.
#[test]
fn what_was_found_on_a_full_disk_was_forgotten_by_the_next_process() {
    let world = World::new();
    let ledger = world.start();
    run(&world, &ledger, 1, "ran", Some(Outcome::Ok));
    let (note, nowhere) = (world.data().join("doubted"), world.data().join("nowhere"));
    std::os::unix::fs::symlink(nowhere.join("note"), &note).unwrap();
    world.sql("UPDATE keys SET operation = CAST(x'ff' || substr(operation, 2) AS BLOB)");
    let again = Call::charge(2, "1.00", Some("ran"));
    assert_eq!(world.refused(&ledger, &again), ReasonCode::EvidenceCorrupt);
    assert!(!note.exists());
    fs::create_dir(&nowhere).unwrap();
    assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::EvidenceCorrupt);
    assert!(note.exists());
    drop(ledger);
    assert_eq!(world.refused(&world.start(), &Call::read(4)), ReasonCode::EvidenceCorrupt);
}

/// Whoever repeated a key whose operation was altered had the ledger read again, and the next call was permitted.
#[test]
fn an_altered_operation_was_forgotten_once_its_key_was_asked_for() {
    let world = World::new();
    let ledger = world.start();
    run(&world, &ledger, 1, "ran", Some(Outcome::Ok));
    world.sql("UPDATE keys SET operation = CAST(x'ff' || substr(operation, 2) AS BLOB)");
    let again = Call::charge(2, "1.00", Some("ran"));
    assert_eq!(world.refused(&ledger, &again), ReasonCode::EvidenceCorrupt);
    for attempt in 3..6 {
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), ReasonCode::EvidenceCorrupt);
    }
}

/// It was taken for the newest mark as soon as there were so many records, and whatever came was damaged from then on.
#[test]
fn a_mark_of_a_record_that_was_yet_to_come_was_no_damage() {
    let world = long();
    let damaged = world.crashed();
    damaged.sql("UPDATE marks SET seq = seq + 100000 WHERE seq = (SELECT min(seq) FROM marks)");
    let ledger = damaged.start();
    assert_eq!(damaged.refused(&ledger, &Call::read(5_000)), ReasonCode::EvidenceCorrupt);
}

/// What decisions are replayed by rotted, and PERMITs went on until somebody needed it.
#[test]
fn what_rots_beside_the_records_is_found_and_stays_found_until_it_is_repaired() {
    let world = kept();
    for (statement, _) in ROTTEN {
        let damaged = world.crashed();
        damaged.sql(statement);
        let ledger = damaged.start();
        assert_eq!(scrubbed(&damaged, &ledger), Some(ReasonCode::EvidenceCorrupt), "{statement}");
        // It was opened anew, all of it read, and refused.
        for attempt in 10..13 {
            assert_eq!(
                damaged.refused(&ledger, &Call::read(attempt)),
                ReasonCode::EvidenceCorrupt,
                "{statement}"
            );
        }
        drop(ledger);
        let ledger = damaged.start();
        assert_eq!(damaged.refused(&ledger, &Call::read(20)), ReasonCode::EvidenceCorrupt, "{statement}");
        drop(ledger);
        fs::copy(world.database(), damaged.database()).unwrap();
        fs::copy(world.anchor(), damaged.anchor()).unwrap();
        fs::copy(world.data().join("released"), damaged.data().join("released")).unwrap();
        let ledger = damaged.start();
        damaged.permitted(&ledger, &Call::read(21));
        assert_eq!(scrubbed(&damaged, &ledger), None, "{statement}");
    }
}

/// Whoever read the whole log looked at no mark: what the scrub had found in one was forgotten, and the next start built on
/// it or was refused by it, as the note of the finding was there or not.
#[test]
fn a_mark_in_doubt_was_forgotten_because_all_of_the_log_was_read() {
    let limit = "[limits.charges]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = 9\nwindow = { sliding = \"1d\" }\n";
    let world = World::limited(limit);
    let ledger = world.start();
    run(&world, &ledger, 1, "ran", Some(Outcome::Ok));
    read(&world, &ledger, 10..READS);
    drop(ledger);
    assert!(world.events().contains(&Event::Marked));
    let doubted = |world: &World| fs::write(world.data().join("doubted"), "a test\n").unwrap();
    for statement in [
        "UPDATE standing SET body = x'00'",
        "DELETE FROM standing",
        "UPDATE chains SET heads = zeroblob(8192)",
        "UPDATE marks SET seq = seq - 1",
    ] {
        let damaged = world.crashed();
        damaged.sql(statement);
        doubted(&damaged);
        let ledger = damaged.start();
        assert_eq!(damaged.refused(&ledger, &Call::read(5_000)), ReasonCode::EvidenceCorrupt, "{statement}");
        assert!(damaged.data().join("doubted").exists(), "{statement}");
    }
    doubted(&world);
    world.permitted(&world.start(), &Call::read(5_000));
    assert!(!world.data().join("doubted").exists());
}

#[test]
fn tiles_heads_and_marks_that_opening_builds_on_are_refused_before_anything_is_permitted() {
    let world = long();
    let cases = [
        ("a tile", "UPDATE tiles SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB) WHERE position = 1"),
        ("a short tile", "UPDATE tiles SET hashes = substr(hashes, 1, 64) WHERE position = 0"),
        ("no tiles", "DELETE FROM tiles"),
        (
            "a tile of the future",
            "INSERT INTO tiles (level, position, hashes) SELECT 0, 99, hashes FROM tiles LIMIT 1",
        ),
        (
            "a tile of another level",
            "INSERT INTO tiles (level, position, hashes) SELECT 1, 0, hashes FROM tiles LIMIT 1",
        ),
        ("the keys' heads", "UPDATE chains SET heads = zeroblob(8192)"),
        (
            "one of the keys' heads",
            "UPDATE chains SET heads = CAST(x'01' || substr(heads, 2) AS BLOB) WHERE part = (SELECT part FROM chains LIMIT 1)",
        ),
        ("a part of the keys' heads that is none", "UPDATE chains SET heads = x'00'"),
        ("no heads of keys", "DELETE FROM chains"),
        ("another record as the mark", "UPDATE marks SET seq = seq - 1"),
        ("the last record missing", "DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)"),
        (
            "a PERMIT of nobody at the end",
            "INSERT INTO permits (seq, attempt, agent, key, due, keep_result) SELECT (SELECT max(seq) FROM records), attempt, agent, key, due, keep_result FROM permits WHERE key = @open",
        ),
    ];
    for (what, statements) in cases {
        let damaged = world.crashed();
        damaged.sql(&named(statements));
        let ledger = damaged.start();
        assert_eq!(damaged.refused(&ledger, &Call::read(5_000)), ReasonCode::EvidenceCorrupt, "{what}");
    }
}

#[test]
fn without_its_mark_the_log_is_read_from_its_beginning() {
    let world = long();
    world.sql("DELETE FROM marks");
    let ledger = world.start();
    assert_eq!(
        world.refused(&ledger, &Call::charge(5_000, "1.00", Some("ran"))),
        ReasonCode::IdempotencyCompleted
    );
    drop(ledger);
    let damaged = long();
    damaged.sql(&named("DELETE FROM marks; DELETE FROM keys WHERE name = @ran"));
    assert_eq!(damaged.tripped(&damaged.start()), Some(ReasonCode::EvidenceCorrupt));
}

#[test]
fn a_key_deleted_before_the_tail_ran_twice_until_the_scrub_came_to_it() {
    let world = long();
    for statements in [
        "DELETE FROM keys WHERE name = @ran",
        "UPDATE keys SET name = zeroblob(32) WHERE name = @ran",
        "UPDATE keys SET bucket = (bucket + 1) % 262144 WHERE name = @ran",
        "DELETE FROM permits WHERE key = @ran",
        "UPDATE keys SET permit = 5 WHERE name = @ran",
    ] {
        let damaged = world.crashed();
        damaged.sql(&named(statements));
        let ledger = damaged.start();
        let again = Call::charge(5_000, "1.00", Some("ran"));
        assert_eq!(damaged.refused(&ledger, &again), ReasonCode::EvidenceCorrupt, "{statements}");
    }
}

#[test]
fn a_derived_key_in_doubt_ran_again_because_the_state_said_that_it_had_ended() {
    let world = World::derived();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", None);
    let permit = world.permitted(&ledger, &first);
    let unknown = world.report(&ledger, &first, Outcome::Unknown, None).unwrap();
    read(&world, &ledger, 10..READS);
    drop(ledger);
    world.clocks.advance(10_000_000);
    for outcome_seq in [unknown, permit.seq, 700, 1_000_000] {
        let damaged = world.crashed();
        damaged.sql(&format!(
            "UPDATE permits SET outcome = 'ok', outcome_seq = {outcome_seq} WHERE key IS NOT NULL"
        ));
        let ledger = damaged.start();
        let again = damaged.refused(&ledger, &Call::charge(2, "12.50", None));
        assert_eq!(again, ReasonCode::EvidenceCorrupt);
    }
}

#[test]
fn keys_outlive_marks_and_restarts() {
    let world = long();
    for life in 1..=3 {
        let ledger = world.start();
        let base = life * 10_000;
        let again =
            |attempt, key: &str| world.refused(&ledger, &Call::charge(base + attempt, "1.00", Some(key)));
        assert_eq!(again(1, "ran"), ReasonCode::IdempotencyCompleted);
        assert_eq!(again(2, "open"), ReasonCode::IdempotencyInFlight);
        assert_eq!(again(3, "other"), ReasonCode::IdempotencyOutcomeUnknown);
        run(&world, &ledger, base + 4, "unspent", Some(Outcome::Expired));
        run(&world, &ledger, base + 5, &format!("life-{life}"), Some(Outcome::Ok));
        for earlier in 1..life {
            assert_eq!(again(5 + earlier, &format!("life-{earlier}")), ReasonCode::IdempotencyCompleted);
        }
        read(&world, &ledger, base + 10..base + READS);
        assert_eq!(scrubbed(&world, &ledger), None);
    }
    let marks = world.events().iter().filter(|event| **event == Event::Marked).count();
    assert_eq!(marks, 4);
}

#[test]
fn a_mark_that_was_never_anchored_is_nobodys_word() {
    let world = World::new();
    let ledger = world.start();
    run(&world, &ledger, 1, "ran", Some(Outcome::Ok));
    read(&world, &ledger, 10..READS);
    let images = Arc::new(Mutex::new(Vec::new()));
    let (taken, from) = (Arc::clone(&images), world.directory.path().to_owned());
    world.behaviour.before(move |size| {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&from, copy.path());
        taken.lock().unwrap().push((copy, size));
    });
    drop(ledger);
    let (copy, size) = images.lock().unwrap().pop().unwrap();
    let crashed = world.at(copy);
    let forged = crashed.crashed();
    let ledger = crashed.start();
    let again = Call::charge(5_000, "1.00", Some("ran"));
    assert_eq!(crashed.refused(&ledger, &again), ReasonCode::IdempotencyCompleted);
    drop(ledger);
    assert!(crashed.size() > size && crashed.events().contains(&Event::Marked));
    // Its heads say nothing: the records do.
    forged.sql("UPDATE chains SET heads = zeroblob(8192)");
    assert_eq!(forged.refused(&forged.start(), &again), ReasonCode::IdempotencyCompleted);
}
