use std::fs;
use std::process::Command;

use portcullis_protocol::{Captured, Event, Outcome, ReasonCode, Record};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{Call, Held, POISON, World, answer};

#[test]
fn a_failed_write_permits_nothing_of_its_batch_and_the_ledger_is_rebuilt() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.sql(POISON);
    let failed = world.database();
    let held = Held::hold(&world, &ledger, 0);
    let calls = [Call::charge(2, "12.50", Some("k")), Call::poison(3), Call::read(4)];
    let replies: Vec<_> = calls.iter().map(|call| world.ask(&ledger, call)).collect();
    held.release();
    for reply in &replies {
        let decided = answer(reply);
        assert_eq!(decided.verdict.reason(), Some(ReasonCode::EvidenceUnwritable));
        assert_eq!((decided.captured, decided.receipt), (Captured::None, None));
    }
    // Nothing of the batch was committed: its key is free, and its attempts were never used.
    world.permitted(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_ne!(world.database(), failed);
    assert!(failed.exists(), "the failed database is kept for examination");
    drop(ledger);
    assert!(world.events().contains(&Event::Recovered));
    assert_eq!(world.outcomes(), []);
    assert_eq!(world.counted().get(&Some(ReasonCode::EvidenceUnwritable)), Some(&3));
    world.behaviour.assert_one_root_for_each_size();
}

#[test]
fn a_call_under_which_its_batch_failed_was_never_answered() {
    let world = World::new();
    let ledger = world.start();
    world.sql("DROP TABLE attempts");
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::EvidenceCorrupt);
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.sql("DROP TABLE permits");
    let outcome = world.report(&ledger, &Call::read(1), Outcome::Ok, None);
    assert!(outcome.is_err(), "{outcome:?}");
}

#[test]
fn a_ledger_that_cannot_be_written_permits_nothing_until_it_can() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.sql("CREATE TRIGGER broken BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'broken'); END");
    for attempt in 2..6 {
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), ReasonCode::EvidenceUnwritable);
    }
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::EvidenceUnwritable));
    assert!(fs::read_dir(world.data().join("ledger")).unwrap().count() <= 3, "CURRENT and two generations");
}

const CHILD: &str = "PORTCULLIS_TEST_FILE_SIZE_LIMIT";

/// The limit makes real writes of the database fail, whoever runs the test. It is a process's own: so the test
/// runs itself again, with the signal that comes with it ignored.
#[test]
fn a_full_disk_permits_nothing_and_the_next_call_after_it_has_room_is_permitted() {
    if std::env::var_os(CHILD).is_some() {
        return with_a_file_size_limit();
    }
    let name = "poison::a_full_disk_permits_nothing_and_the_next_call_after_it_has_room_is_permitted";
    let status = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert!(status.success());
}

fn with_a_file_size_limit() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let log = fs::metadata(world.database().with_file_name("ledger.db-wal")).unwrap().len();
    let room = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(log + 20_000), ..room }).unwrap();
    let mut permitted = 1;
    let full = loop {
        match world.decide(&ledger, &Call::read(permitted)).verdict.reason() {
            None => permitted += 1,
            Some(code) => break code,
        }
    };
    assert_eq!(full, ReasonCode::EvidenceUnwritable);
    // A rebuilt ledger has an empty write-ahead log, so it has room again; until there is none at all.
    setrlimit(Resource::Fsize, Rlimit { current: Some(4_096), ..room }).unwrap();
    for attempt in 0..5 {
        assert_eq!(world.refused(&ledger, &Call::read(10_000 + attempt)), ReasonCode::EvidenceUnwritable);
    }
    setrlimit(Resource::Fsize, room).unwrap();
    world.permitted(&ledger, &Call::read(20_000));
    drop(ledger);
    let permits = world
        .records()
        .into_iter()
        .filter(|record| matches!(record, Record::Decision(record) if record.reason.is_none()));
    let withheld = world.outcomes().len();
    assert_eq!(permits.count(), usize::try_from(permitted).unwrap() + withheld + 1);
    assert!(world.outcomes().iter().all(|(_, outcome)| *outcome == Outcome::Withheld));
    assert!(world.events().contains(&Event::Recovered));
    world.behaviour.assert_one_root_for_each_size();
}
