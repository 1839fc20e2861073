use std::fs;
use std::sync::{Arc, Mutex};

use portcullis_ledger::Ledger;
use portcullis_protocol::{Event, Outcome, ReasonCode, Record};

use crate::harness::{Call, World, copy_tree};

/// Decides a call in a world, and returns what a crash at the moment between commit and signature would leave.
pub(crate) fn crash_before_signing(world: &World, ledger: &Ledger, call: &Call) -> World {
    crash_in(world, || drop(world.permitted(ledger, call)))
}

/// The same, of whatever is done to the ledger.
pub(crate) fn crash_in(world: &World, work: impl FnOnce()) -> World {
    let image = Arc::new(Mutex::new(None));
    let (taken, from) = (Arc::clone(&image), world.directory.path().to_owned());
    world.behaviour.before(move |size| {
        let mut taken = taken.lock().unwrap();
        if taken.is_none() {
            let copy = tempfile::tempdir().unwrap();
            copy_tree(&from, copy.path());
            *taken = Some((copy, size));
        }
    });
    work();
    crashed(world, &image)
}

type Image = Arc<Mutex<Option<(tempfile::TempDir, u64)>>>;

fn crashed(world: &World, image: &Image) -> World {
    let (copy, size) = image.lock().unwrap().take().unwrap();
    let crashed = world.at(copy);
    // The signature that was asked for may have been made; later ones were not, for the process is gone.
    crashed.behaviour.roots.lock().unwrap().retain(|signed, _| *signed <= size);
    crashed
}

#[test]
fn a_crash_between_commit_and_anchor_withholds_the_permit_and_gives_its_key_back() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let call = Call::charge(1, "12.50", Some("k"));
    let crashed = crash_before_signing(&world, &ledger, &call);
    let ledger = crashed.start();
    assert_eq!(crashed.tripped(&ledger), None);
    let permit = crashed.permitted(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(crashed.refused(&ledger, &call), ReasonCode::RequestAttemptReused);
    let late = crashed.report(&ledger, &call, Outcome::Ok, None);
    assert_eq!(late, Err(portcullis_ledger::OutcomeRefused::Ended(Outcome::Withheld)));
    drop(ledger);
    let outcomes = crashed.outcomes();
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].0 < permit.seq && outcomes[0].1 == Outcome::Withheld, "{outcomes:?}");
    let opened = crashed.records().into_iter().find_map(|record| match record {
        Record::Event(record) if record.event == Event::Opened && record.seq > 1 => Some(record.detail),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    assert_eq!(opened.unwrap()["permits_withheld"], "1");
    crashed.behaviour.assert_one_root_for_each_size();
}

#[test]
fn a_crash_before_the_commit_leaves_no_record_and_no_consumed_key() {
    let world = World::new();
    let ledger = world.start();
    let crashed = world.crashed();
    let call = Call::charge(1, "12.50", Some("k"));
    world.permitted(&ledger, &call);
    let ledger = crashed.start();
    crashed.permitted(&ledger, &call);
    assert_eq!(crashed.outcomes(), []);
}

#[test]
fn the_receipt_of_a_withheld_permit_could_still_be_fetched() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    let crashed = crash_before_signing(&world, &ledger, &call);
    let ledger = crashed.start();
    assert_eq!(crashed.tripped(&ledger), None);
    let (sender, found) = std::sync::mpsc::channel();
    ledger.find(call.attempt(), move |found| drop(sender.send(found))).unwrap();
    assert!(found.recv().unwrap().is_none(), "its key is free again, so nothing may run under it");
    assert_eq!(crashed.outcomes().len(), 1);
}

#[test]
fn a_crash_after_the_anchor_leaves_a_permit_that_its_gate_can_ask_for_again() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    let first = world.permitted(&ledger, &call);
    let crashed = world.crashed();
    let ledger = crashed.start();
    let other = crashed.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(other, ReasonCode::IdempotencyInFlight, "it may be running");
    assert_eq!(crashed.permitted(&ledger, &call), first);
    assert_eq!(crashed.outcomes(), []);
    crashed.behaviour.assert_one_root_for_each_size();
}

/// A life with everything in it, and the images that crashes at each of its signatures would leave.
fn life_and_crashes() -> (World, Vec<(World, u64)>) {
    let world = World::new();
    let images = Arc::new(Mutex::new(Vec::new()));
    let (taken, from) = (Arc::clone(&images), world.directory.path().to_owned());
    world.behaviour.before(move |size| {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&from, copy.path());
        taken.lock().unwrap().push((copy, size));
    });
    let ledger = world.start();
    for attempt in 1..=3 {
        let call = Call::charge(attempt, "1.00", Some(&format!("k{attempt}")));
        world.permitted(&ledger, &call);
        world.refused(&ledger, &Call::ungoverned(attempt + 10));
        if attempt < 3 {
            world.report(&ledger, &call, Outcome::Ok, None).unwrap();
        }
    }
    world.clocks.advance(10_000_000);
    world.status(&ledger);
    drop(ledger);
    let images = std::mem::take(&mut *images.lock().unwrap());
    let images = images.into_iter().map(|(copy, size)| {
        let crashed = world.at(copy);
        crashed.behaviour.roots.lock().unwrap().retain(|signed, _| *signed <= size);
        (crashed, size)
    });
    let images = images.collect();
    (world, images)
}

#[test]
fn a_crash_at_any_signature_of_a_life_opens_again_and_no_size_gets_a_second_root() {
    let (_world, images) = life_and_crashes();
    assert!(images.len() > 10);
    assert_eq!(images[0].1, 0, "the empty log has a signed head before it has a record");
    for (crashed, size) in &images {
        let ledger = crashed.start();
        assert_eq!(crashed.tripped(&ledger), None, "after a crash while signing size {size}");
        crashed.permitted(&ledger, &Call::read(1_000));
        drop(ledger);
        assert!(crashed.size() > *size);
        crashed.behaviour.assert_one_root_for_each_size();
    }
}

#[test]
fn a_crash_in_the_first_moments_locked_the_ledger_for_ever() {
    let (_world, mut images) = life_and_crashes();
    let (beginning, _) = images.remove(0);
    fs::remove_file(beginning.data().join("ledger/CURRENT")).unwrap();
    beginning.permitted(&beginning.start(), &Call::read(1));
    let (earlier, _) = images.remove(0);
    fs::remove_dir_all(earlier.data().join("ledger")).unwrap();
    fs::create_dir_all(earlier.data().join("ledger/000001")).unwrap();
    fs::remove_file(earlier.anchor()).unwrap();
    fs::remove_file(earlier.data().join("released")).unwrap();
    earlier.permitted(&earlier.start(), &Call::read(1));
}

#[test]
fn a_torn_commit_is_as_good_as_none() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let call = Call::charge(1, "12.50", Some("k"));
    let crashed = crash_before_signing(&world, &ledger, &call);
    let log = crashed.database().with_file_name("ledger.db-wal");
    let whole = fs::metadata(&log).unwrap().len();
    let (mut with, mut without) = (0, 0);
    for cut in [0, 1, 30, 4_000, 4_120] {
        let torn = crashed.crashed();
        let log = torn.database().with_file_name("ledger.db-wal");
        fs::File::options().write(true).open(log).unwrap().set_len(whole - cut).unwrap();
        let ledger = torn.start();
        torn.permitted(&ledger, &Call::charge(2, "12.50", Some("k")));
        match torn.outcomes().as_slice() {
            [] => without += 1,
            [(_, Outcome::Withheld)] => with += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((with, without), (1, 4));
}

#[test]
fn a_torn_anchor_leaves_the_head_before_it_and_a_spoilt_one_is_noticed() {
    use std::os::unix::fs::FileExt;
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let crashed = crash_before_signing(&world, &ledger, &Call::read(1));
    let codes = [0, 4096].map(|slot| {
        let torn = crashed.crashed();
        let anchor = fs::File::options().write(true).open(torn.anchor()).unwrap();
        anchor.write_all_at(b"torn", slot + 50).unwrap();
        torn.tripped(&torn.start())
    });
    // One slot is the one that the crash could have torn. The other was durable before anything was released.
    assert!(codes.contains(&None) && codes.contains(&Some(ReasonCode::EvidenceBehindAnchor)), "{codes:?}");
}

#[test]
fn a_crash_while_the_first_database_was_made_locked_the_directory_for_ever() {
    let world = World::new();
    // What lies there when the process is killed in the middle of a transaction that precedes the write-ahead log.
    let made = tempfile::tempdir().unwrap();
    let connection = rusqlite::Connection::open(made.path().join("ledger.db")).unwrap();
    connection.execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE half (made BLOB)").unwrap();
    for _ in 0..64 {
        connection.execute("INSERT INTO half VALUES (zeroblob(4000))", []).unwrap();
    }
    let first = world.data().join("ledger/000001");
    fs::create_dir_all(&first).unwrap();
    copy_tree(made.path(), &first);
    assert!(first.join("ledger.db-journal").metadata().unwrap().len() > 0, "no journal was left");
    world.permitted(&world.start(), &Call::read(0));
}
