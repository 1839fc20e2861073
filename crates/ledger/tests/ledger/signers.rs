use std::sync::atomic::Ordering;

use portcullis_arbiter::{Fact, GateState};
use portcullis_ledger::SignError;
use portcullis_protocol::{Event, Outcome, ReasonCode};

use crate::harness::{Call, World, write_private};

#[test]
fn a_pulled_key_permits_nothing_and_the_next_call_after_it_is_back_is_permitted() {
    let mut world = World::new();
    let (path, signer) = world.key_file();
    let ledger = world.start_with(Box::new(signer));
    world.permitted(&ledger, &Call::read(1));
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::SignerUnavailable);
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::SignerUnavailable));
    std::fs::rename(&away, &path).unwrap();
    world.permitted(&ledger, &Call::read(3));
}

#[test]
fn another_key_in_the_place_of_the_logs_permits_nothing() {
    let mut world = World::new();
    let (path, signer) = world.key_file();
    let ledger = world.start_with(Box::new(signer));
    let own = std::fs::read(&path).unwrap();
    let other = portcullis_ledger::generate("gate.test/log").unwrap().0;
    write_private(&path, other.as_bytes());
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::SignerWrongKey);
    write_private(&path, &own);
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn a_signer_that_says_it_is_not_ready_permits_nothing() {
    let world = World::new();
    let ledger = world.start();
    *world.behaviour.ready.lock().unwrap() = Some(SignError::Unavailable("pulled".into()));
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::SignerUnavailable);
    *world.behaviour.ready.lock().unwrap() = None;
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn a_permit_whose_head_was_signed_with_garbage_is_withheld() {
    let world = World::new();
    let ledger = world.start();
    world.behaviour.garbage.store(true, Ordering::SeqCst);
    let call = Call::charge(1, "12.50", Some("k"));
    let decided = world.decide(&ledger, &call);
    assert_eq!((decided.verdict.reason(), decided.receipt), (Some(ReasonCode::SignerFailed), None));
    assert_eq!(world.refused(&ledger, &Call::charge(2, "12.50", Some("k"))), ReasonCode::SignerFailed);
    world.behaviour.garbage.store(false, Ordering::SeqCst);
    let permit = world.permitted(&ledger, &Call::charge(3, "12.50", Some("k")));
    assert_eq!(world.refused(&ledger, &call), ReasonCode::RequestAttemptReused);
    let outcomes = world.outcomes();
    assert_eq!(outcomes.len(), 1);
    assert!(outcomes[0].0 < permit.seq && outcomes[0].1 == Outcome::Withheld);
    world.behaviour.assert_one_root_for_each_size();
}

/// The records of the batch are durable, whatever the signer says: a copy of the ledger for each failed signature
/// filled the disk and kept everyone waiting.
#[test]
fn a_failed_signature_had_the_whole_ledger_copied() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let database = world.database();
    world.behaviour.garbage.store(true, Ordering::SeqCst);
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::SignerFailed);
    world.behaviour.garbage.store(false, Ordering::SeqCst);
    world.permitted(&ledger, &Call::read(3));
    assert_eq!(world.database(), database);
    drop(ledger);
    assert!(world.events().contains(&Event::Recovered));
    assert!(matches!(world.outcomes()[..], [(_, Outcome::Withheld)]));
    world.behaviour.assert_one_root_for_each_size();
}

#[test]
fn a_signature_that_fails_poisons_and_the_next_call_after_the_repair_is_permitted() {
    let world = World::new();
    let ledger = world.start();
    *world.behaviour.fails.lock().unwrap() = Some(SignError::Unavailable("token removed".into()));
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::SignerUnavailable);
    *world.behaviour.fails.lock().unwrap() = None;
    world.permitted(&ledger, &Call::read(2));
    assert_eq!(world.events().iter().filter(|event| **event == Event::Recovered).count(), 1);
    world.behaviour.assert_one_root_for_each_size();
}

#[test]
fn a_signer_that_failed_at_the_first_start_locked_the_ledger_for_ever() {
    let world = World::new();
    world.behaviour.garbage.store(true, Ordering::SeqCst);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::SignerFailed);
    world.behaviour.garbage.store(false, Ordering::SeqCst);
    world.permitted(&ledger, &Call::read(2));
}

#[test]
fn the_log_grew_and_was_copied_with_every_call_while_the_signer_failed() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    world.behaviour.garbage.store(true, Ordering::SeqCst);
    let size = world.status(&ledger).size;
    for attempt in 1..=20 {
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), ReasonCode::SignerFailed);
    }
    world.behaviour.garbage.store(false, Ordering::SeqCst);
    world.permitted(&ledger, &Call::read(21));
    // The first refused call's record, the event of the recovery, its PERMIT withheld, the bundle in force, the count of
    // the others, the last PERMIT.
    assert_eq!(world.status(&ledger).size, size + 6);
    assert!(generations(&world) <= 2, "one failed generation is kept");
}

fn generations(world: &World) -> usize {
    let names = std::fs::read_dir(world.data().join("ledger")).unwrap();
    names.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir()).count()
}

/// Who opens the ledger says no more of the lever than the log does: a reader takes it for open from there on.
#[test]
fn a_gate_that_was_shut_before_a_failure_is_said_to_be_shut_after_it() {
    let world = World::new();
    let ledger = world.start();
    *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Shut);
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::GateShut);
    *world.behaviour.fails.lock().unwrap() = Some(SignError::Unavailable("token removed".into()));
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::SignerUnavailable);
    *world.behaviour.fails.lock().unwrap() = None;
    assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::GateShut);
    drop(ledger);
    let events = world.events();
    let recovered = events.iter().position(|event| *event == Event::Recovered).unwrap();
    let turns = |events: &[Event]| events.iter().filter(|event| **event == Event::Shut).count();
    assert_eq!((turns(&events[..recovered]), turns(&events[recovered..])), (1, 1), "{events:?}");
    assert!(!events.contains(&Event::Reopened));
}
