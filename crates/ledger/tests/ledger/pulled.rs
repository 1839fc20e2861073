use std::fs;

use portcullis_ledger::{DirectoryLock, OutcomeRefused};
use portcullis_protocol::{Outcome, ReasonCode};

use crate::harness::{Call, Held, World, answer, copy_tree};

#[test]
fn a_pulled_anchor_permits_nothing_until_it_is_back() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let away = world.directory.path().join("away");
    let size = world.status(&ledger).size;
    fs::rename(world.anchor(), &away).unwrap();
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceAnchorUnwritable);
    assert_eq!(world.status(&ledger).size, size, "nothing is recorded that cannot be anchored");
    assert!(!world.anchor().exists(), "no empty anchor takes its place");
    fs::rename(&away, world.anchor()).unwrap();
    world.permitted(&ledger, &Call::read(3));
}

#[test]
fn an_anchor_put_back_as_a_copy_kept_the_gate_shut_until_a_restart() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let away = world.directory.path().join("away");
    fs::copy(world.anchor(), &away).unwrap();
    fs::rename(&away, world.anchor()).unwrap();
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn an_older_anchor_put_in_place_made_released_permits_count_as_withheld() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let old = world.directory.path().join("old");
    fs::copy(world.anchor(), &old).unwrap();
    let call = Call::charge(1, "12.50", Some("k"));
    world.permitted(&ledger, &call);
    fs::rename(&old, world.anchor()).unwrap();
    // The PERMIT was released, so its key must not be given back.
    assert_eq!(
        world.refused(&ledger, &Call::charge(2, "12.50", Some("k"))),
        ReasonCode::EvidenceBehindAnchor
    );
}

#[test]
fn an_older_anchor_found_at_the_start_made_released_permits_count_as_withheld() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let old = world.directory.path().join("old");
    fs::copy(world.anchor(), &old).unwrap();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    drop(ledger);
    fs::rename(&old, world.anchor()).unwrap();
    let ledger = world.start();
    assert_eq!(
        world.refused(&ledger, &Call::charge(2, "12.50", Some("k"))),
        ReasonCode::EvidenceBehindAnchor
    );
}

#[test]
fn a_deleted_anchor_of_a_ledger_with_records_is_never_begun_anew() {
    let world = World::new();
    drop(world.start());
    fs::remove_file(world.anchor()).unwrap();
    let ledger = world.start();
    for attempt in 1..4 {
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), ReasonCode::EvidenceBehindAnchor);
    }
    assert!(!world.anchor().exists());
}

#[test]
fn an_anchor_that_cannot_be_written_poisons_and_permits_nothing() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    drop(ledger);
    let away = world.directory.path().join("away");
    fs::rename(world.anchor(), &away).unwrap();
    fs::create_dir(world.anchor()).unwrap();
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceAnchorUnwritable);
    fs::remove_dir(world.anchor()).unwrap();
    fs::rename(&away, world.anchor()).unwrap();
    world.permitted(&ledger, &Call::read(3));
}

#[test]
fn a_database_moved_away_permits_nothing_and_goes_on_when_it_is_back() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let (here, away) = (world.data().join("ledger"), world.data().join("away"));
    let size = world.status(&ledger).size;
    fs::rename(&here, &away).unwrap();
    let call = Call::read(1);
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceUnwritable);
    assert_eq!(world.status(&ledger).size, size, "nothing is recorded where nobody finds it");
    let outcome = world.report(&ledger, &call, Outcome::Ok, None);
    assert_eq!(outcome, Err(OutcomeRefused::Unavailable(ReasonCode::EvidenceUnwritable)));
    fs::rename(&away, &here).unwrap();
    world.permitted(&ledger, &Call::read(3));
    world.report(&ledger, &call, Outcome::Ok, None).unwrap();
    drop(ledger);
    assert_eq!(world.tripped(&world.start()), None);
}

#[test]
fn a_database_put_back_as_a_copy_kept_the_gate_shut_until_a_restart() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    let (here, copy) = (world.data().join("ledger"), world.data().join("copy"));
    fs::create_dir(&copy).unwrap();
    copy_tree(&here, &copy);
    fs::rename(&here, world.data().join("away")).unwrap();
    fs::rename(&copy, &here).unwrap();
    let again = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyInFlight);
    world.permitted(&ledger, &Call::read(3));
}

#[test]
fn a_write_ahead_log_that_was_deleted_loses_no_record() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    let log = world.database().with_file_name("ledger.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0, "the record is in the log alone");
    fs::remove_file(&log).unwrap();
    let again = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyInFlight);
    let crashed = world.crashed();
    assert_eq!(crashed.tripped(&crashed.start()), None, "what was written since is in a log that has a name");
}

#[test]
fn an_old_copy_of_the_database_is_never_permitted_on() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    drop(ledger);
    let old = world.directory.path().join("old");
    fs::copy(world.database(), &old).unwrap();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(2));
    drop(ledger);
    fs::rename(&old, world.database()).unwrap();
    let ledger = world.start();
    for attempt in 3..6 {
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), ReasonCode::EvidenceBehindAnchor);
    }
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::EvidenceBehindAnchor));
}

#[test]
fn an_empty_ledger_in_the_place_of_the_old_one_is_never_permitted_on() {
    let world = World::new();
    drop(world.start());
    fs::remove_dir_all(world.data().join("ledger")).unwrap();
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::EvidenceBehindAnchor);
}

#[test]
fn a_lost_pointer_to_the_database_is_no_beginning() {
    let world = World::new();
    drop(world.start());
    fs::remove_file(world.data().join("ledger/CURRENT")).unwrap();
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::EvidenceUnwritable);
    drop(ledger);
    fs::write(world.data().join("ledger/CURRENT"), "somewhere\n").unwrap();
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceCorrupt);
}

#[test]
fn the_second_writer_does_not_get_the_directory() {
    let world = World::new();
    let ledger = world.start();
    assert!(DirectoryLock::acquire(&world.data()).unwrap().is_none());
    drop(ledger);
    assert!(DirectoryLock::acquire(&world.data()).unwrap().is_some());
}

#[test]
fn a_replaced_lock_file_fences_the_writer() {
    let world = World::new();
    let ledger = world.start();
    let (lock, away) = (world.data().join("lock"), world.data().join("away"));
    fs::rename(&lock, &away).unwrap();
    fs::write(&lock, "").unwrap();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::StateFenced);
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::StateFenced));
    fs::rename(&away, &lock).unwrap();
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn a_writer_that_is_fenced_from_the_start_touches_no_file() {
    let world = World::new();
    let held = world.lock();
    let (lock, away) = (world.data().join("lock"), world.data().join("away"));
    fs::rename(&lock, &away).unwrap();
    let ledger = world.start_locked(held, world.signer());
    assert!(world.decide(&ledger, &Call::read(1)).verdict.reason().is_some());
    assert!(!world.data().join("ledger").exists(), "no ledger");
    assert!(!world.anchor().exists(), "no anchor");
    fs::rename(&away, &lock).unwrap();
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn a_permit_was_released_although_the_lock_was_lost_while_it_was_signed() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 0);
    let (lock, away) = (world.data().join("lock"), world.data().join("away"));
    fs::rename(&lock, &away).unwrap();
    let decided = answer(&held.release());
    assert_eq!((decided.verdict.reason(), decided.receipt), (Some(ReasonCode::StateFenced), None));
}

#[test]
fn outcomes_are_recorded_from_the_disk_reserve_and_decisions_are_not() {
    let mut world = World::new();
    let call = Call::charge(1, "12.50", Some("k"));
    let ledger = world.start();
    let permit = world.permitted(&ledger, &call);
    drop(ledger);
    world.disk_reserve = u64::MAX;
    let ledger = world.start();
    let size = world.status(&ledger).size;
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceDiskReserve);
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::EvidenceDiskReserve));
    assert_eq!(world.status(&ledger).size, size);
    world.report(&ledger, &call, Outcome::Ok, Some("the disk is full")).unwrap();
    assert_eq!(world.outcomes(), [(permit.seq, Outcome::Ok)]);
    drop(ledger);
    world.disk_reserve = 0;
    let again = world.decide(&world.start(), &Call::charge(3, "12.50", Some("k")));
    assert_eq!(again.stored.unwrap().result, None, "the reserve is not for results");
}

/// A world whose writer was killed just after it had released a PERMIT with a key, and the anchor before that.
fn killed_after_a_release() -> (World, Vec<u8>) {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let before = fs::read(world.anchor()).unwrap();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    (world.crashed(), before)
}

#[test]
fn a_damaged_anchor_gave_the_key_of_a_released_permit_back() {
    let (world, _) = killed_after_a_release();
    let mut anchor = fs::read(world.anchor()).unwrap();
    let turn =
        |slot: usize| u64::from_be_bytes(anchor[slot * 4096 + 32..slot * 4096 + 40].try_into().unwrap());
    let newest = usize::from(turn(1) > turn(0));
    anchor[newest * 4096 + 100] ^= 1;
    fs::write(world.anchor(), anchor).unwrap();
    let again = Call::charge(2, "12.50", Some("k"));
    assert_eq!(world.refused(&world.start(), &again), ReasonCode::EvidenceBehindAnchor);
}

#[test]
fn an_anchor_one_head_old_gave_the_key_of_a_released_permit_back() {
    let (world, before) = killed_after_a_release();
    let newest = fs::read(world.anchor()).unwrap();
    fs::write(world.anchor(), before).unwrap();
    let again = Call::charge(2, "12.50", Some("k"));
    assert_eq!(world.refused(&world.start(), &again), ReasonCode::EvidenceBehindAnchor);
    // With the anchor that it had, the same ledger opens, and the key is consumed.
    fs::write(world.anchor(), newest).unwrap();
    assert_eq!(world.refused(&world.start(), &again), ReasonCode::IdempotencyInFlight);
}
