use portcullis_protocol::{Event, ReasonCode};

use crate::harness::{Call, Held, World, answer};

#[test]
fn a_ledger_closed_and_opened_again_goes_on() {
    let world = World::new();
    let ledger = world.start();
    let first = world.permitted(&ledger, &Call::read(1));
    drop(ledger);
    let ledger = world.start();
    assert_eq!(world.status(&ledger).open_permits, 1);
    let second = world.permitted(&ledger, &Call::read(2));
    assert!(second.seq > first.seq);
    drop(ledger);
    let begun = [Event::Genesis, Event::Opened, Event::BundleInForce, Event::Closed];
    let again = [Event::Opened, Event::BundleInForce, Event::Closed];
    assert_eq!(world.events(), [begun.as_slice(), &again].concat());
    world.behaviour.assert_one_root_for_each_size();
}

#[test]
fn closing_ends_what_waits() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 0);
    let replies: Vec<_> = (1..1_500).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    let closing = std::thread::spawn(move || drop(ledger));
    held.release();
    closing.join().unwrap();
    assert!(replies.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    assert_eq!(world.events().last(), Some(&Event::Closed));
}

#[test]
fn closing_while_nothing_can_be_recorded_answers_and_spoils_nothing() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 0);
    let replies: Vec<_> = (1..20).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    *world.behaviour.fails.lock().unwrap() = Some(portcullis_ledger::SignError::Failed);
    let closing = std::thread::spawn(move || drop(ledger));
    held.release();
    closing.join().unwrap();
    assert!(replies.iter().all(|reply| answer(reply).verdict.reason().is_some()));
    *world.behaviour.fails.lock().unwrap() = None;
    world.permitted(&world.start(), &Call::read(100));
}

#[test]
fn a_ledger_closed_before_its_first_batch_was_left_with_a_head_that_was_not_its_own() {
    let world = World::new();
    let ledger = world.start();
    world.behaviour.garbage.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::SignerFailed);
    drop(ledger);
    // Opened with a record that no head covers, and closed again while the signer still fails.
    drop(world.start());
    world.behaviour.garbage.store(false, std::sync::atomic::Ordering::SeqCst);
    let ledger = world.start();
    assert_eq!(world.tripped(&ledger), None);
    world.permitted(&ledger, &Call::read(2));
}
