//! A head that the ledger is behind is given up, and the log goes on elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_ledger::{AbandonError, KeyFile, Loss, Succession, survey};
use portcullis_protocol::{Event, Outcome, ReasonCode};
use portcullis_verify::{LogKeys, VerifiedCheckpoint};

use crate::crash::crash_before_signing;
use crate::harness::{Call, World, copy_tree, write_private};

fn look(world: &World, outside: &[VerifiedCheckpoint]) -> Result<Loss, AbandonError> {
    survey(&world.data(), &world.anchor(), &LogKeys::from(&world.verifier), outside)
}

/// The log that goes on, at a place and under a key of its own.
fn gone_on(world: &World, loss: &Loss) -> Result<(World, KeyFile), AbandonError> {
    let directory = tempfile::tempdir().unwrap();
    for name in ["anchor", "keys"] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
    }
    std::fs::copy(world.vault_key(), directory.path().join("keys/vault")).unwrap();
    let (text, verifier) = portcullis_ledger::generate("gate.test/another").unwrap();
    let file = directory.path().join("keys/log");
    write_private(&file, text.as_bytes());
    let mut next = world.at(directory);
    next.verifier = verifier.clone();
    let mut signer = KeyFile::new(file, verifier);
    let (data, anchor, vault_key) = (next.data(), next.anchor(), next.vault_key());
    let succession =
        Succession { from: &world.data(), directory: &data, anchor: &anchor, vault_key: &vault_key };
    let detail = BTreeMap::from([("given_up_root".to_owned(), loss.given_up.root().to_string())]);
    let head = succession.make(loss, &mut signer, &*world.clocks, detail)?;
    assert_eq!((head.origin().as_str(), head.size() > loss.size), ("gate.test/another", true));
    Ok((next, signer))
}

fn put_back(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    std::fs::create_dir(to).unwrap();
    copy_tree(from, to);
}

#[test]
fn permits_that_are_left_open_end_as_unknown_and_their_keys_stay_consumed() {
    let world = World::new();
    let ledger = world.start();
    let (done, open) = (Call::charge(1, "1.00", Some("done")), Call::charge(2, "2.00", Some("open")));
    world.permitted(&ledger, &done);
    world.report(&ledger, &done, Outcome::Ok, Some("paid")).unwrap();
    world.permitted(&ledger, &open);
    drop(ledger);
    let yesterday = world.crashed();
    let ledger = world.start();
    world.report(&ledger, &open, Outcome::Ok, None).unwrap();
    world.permitted(&ledger, &Call::charge(3, "3.00", Some("lost")));
    drop(ledger);
    put_back(&yesterday.data(), &world.data());

    let loss = look(&world, &[]).unwrap();
    assert_eq!((loss.open_permits, loss.contained, loss.open_ended), (1, false, false));
    assert!(loss.least() > 0 && loss.least() <= loss.most(), "{loss:?}");
    let (next, signer) = gone_on(&world, &loss).unwrap();
    assert_eq!(next.outcomes().last().unwrap().1, Outcome::Unknown);
    let given_up = next.events().iter().filter(|event| **event == Event::HeadGivenUp).count();
    assert_eq!(given_up, 1);
    let ledger = next.start_with(Box::new(signer));
    let again = |attempt, amount, key| next.refused(&ledger, &Call::charge(attempt, amount, Some(key)));
    assert_eq!(again(4, "2.00", "open"), ReasonCode::IdempotencyOutcomeUnknown);
    assert_eq!(again(5, "1.00", "done"), ReasonCode::IdempotencyCompleted);
    assert_eq!(next.refused(&ledger, &open), ReasonCode::RequestAttemptReused);
    // The gate that still has it may report what became of it.
    next.report(&ledger, &open, Outcome::Ok, None).unwrap();
    next.permitted(&ledger, &Call::charge(6, "3.00", Some("lost")));
}

#[test]
fn a_permit_beyond_the_newest_head_that_is_left_is_not_taken_for_never_released() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let call = Call::charge(1, "12.50", Some("k"));
    let crashed = crash_before_signing(&world, &ledger, &call);
    world.permitted(&ledger, &Call::read(2));
    drop(ledger);
    put_back(&crashed.data(), &world.data());
    // It was released, after the copy was made: the anchor says so. Opened as it lies it would be withheld.
    let loss = look(&world, &[]).unwrap();
    assert!(loss.proved.as_ref().unwrap().size() < loss.size && loss.most() > loss.least(), "{loss:?}");
    let (next, signer) = gone_on(&world, &loss).unwrap();
    let ledger = next.start_with(Box::new(signer));
    let again = next.refused(&ledger, &Call::charge(3, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyOutcomeUnknown);
    drop(ledger);
    assert!(next.outcomes().iter().all(|(_, outcome)| *outcome != Outcome::Withheld));
}

#[test]
fn of_a_fork_the_head_is_given_up_that_is_not_contained_however_short_it_is() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    drop(ledger);
    let yesterday = world.crashed();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "1.00", Some("k")));
    drop(ledger);
    let seen = look_at_anchor(&world);
    // Data and anchor were put back, and the log went on: only somebody outside knows the other history.
    let ledger = yesterday.start();
    (2..20).for_each(|attempt| drop(yesterday.permitted(&ledger, &Call::read(attempt))));
    drop(ledger);
    assert!(matches!(look(&yesterday, &[]), Err(AbandonError::NotBehind)));
    let loss = look(&yesterday, std::slice::from_ref(&seen)).unwrap();
    assert!(loss.size > seen.size());
    assert_eq!((loss.given_up.root(), loss.contained, loss.least()), (seen.root(), false, 0));
    assert_eq!(loss.most(), seen.size());
}

#[test]
fn what_was_signed_after_a_head_that_an_old_anchor_did_not_hold_was_said_to_be_bounded() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    drop(ledger);
    let yesterday = world.crashed();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let seen = look_at_anchor(&world);
    world.permitted(&ledger, &Call::read(2));
    drop(ledger);
    // Data and anchor were put back: a witness saw some of what is lost, and nobody knows of the rest.
    let loss = look(&yesterday, std::slice::from_ref(&seen)).unwrap();
    assert!(loss.given_up.root() == seen.root() && loss.open_ended, "{loss:?}");
    // The anchor is as new as what is lost: then it is all that is lost.
    put_back(&yesterday.data(), &world.data());
    let loss = look(&world, &[seen]).unwrap();
    assert!(loss.least() > 0 && !loss.open_ended, "{loss:?}");
    // The anchor alone is old.
    let loss = look_with_anchor_of(&yesterday);
    assert!(loss.contained && loss.open_ended, "{loss:?}");
}

/// What is lost where the data directory went on and its anchor was put back.
fn look_with_anchor_of(world: &World) -> portcullis_ledger::Loss {
    let newer = world.crashed();
    let ledger = newer.start();
    newer.permitted(&ledger, &Call::read(3));
    drop(ledger);
    std::fs::copy(world.anchor(), newer.anchor()).unwrap();
    look(&newer, &[]).unwrap()
}

fn look_at_anchor(world: &World) -> VerifiedCheckpoint {
    let note = portcullis_ledger::Anchor::read(&world.anchor()).unwrap().unwrap();
    let note = portcullis_verify::UnverifiedCheckpoint::parse(&note).unwrap();
    note.verify(std::slice::from_ref(&world.verifier)).unwrap()
}

#[test]
fn a_clock_before_the_newest_record_begins_no_log() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    drop(ledger);
    std::fs::remove_file(world.anchor()).unwrap();
    let loss = look(&world, &[]).unwrap();
    assert!(loss.open_ended && loss.contained, "{loss:?}");
    world.clocks.jump(-60_000);
    assert!(matches!(gone_on(&world, &loss), Err(AbandonError::Clock)));
    world.clocks.set_readable(false);
    assert!(matches!(gone_on(&world, &loss), Err(AbandonError::Clock)));
}
