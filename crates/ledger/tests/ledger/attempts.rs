use portcullis_arbiter::{Fact, GateState};
use portcullis_protocol::{Captured, Outcome, ReasonCode, Record};

use crate::harness::{Call, Held, World, answer};

#[test]
fn an_attempt_asked_again_gets_its_receipt_again_and_no_second_record() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    let first = world.permitted(&ledger, &call);
    let size = world.status(&ledger).size;
    let second = world.permitted(&ledger, &call);
    assert_eq!(second, first);
    assert_eq!(world.status(&ledger).size, size);
}

#[test]
fn an_attempt_asked_twice_in_one_batch_has_one_record() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 0);
    let call = Call::charge(1, "12.50", Some("k"));
    let replies = [world.ask(&ledger, &call), world.ask(&ledger, &call)];
    held.release();
    let [first, second] = replies.map(|reply| world.recorded(&answer(&reply)));
    assert_eq!(first, second);
}

#[test]
fn a_refused_attempt_asked_again_is_refused_by_the_same_record() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "100.01", Some("k"));
    let first = world.recorded(&world.decide(&ledger, &call));
    let second = world.recorded(&world.decide(&ledger, &call));
    assert_eq!(first, second);
}

#[test]
fn an_attempt_with_another_request_or_of_another_agent_is_refused_and_counted() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    for other in
        [Call::charge(1, "12.51", Some("k")), Call::charge(1, "12.50", Some("k")).by("stranger-agent")]
    {
        let decided = world.decide(&ledger, &other);
        assert_eq!(decided.verdict.reason(), Some(ReasonCode::RequestAttemptReused));
        assert_eq!((decided.captured, decided.receipt), (Captured::None, None));
    }
    drop(ledger);
    assert_eq!(world.counted().get(&Some(ReasonCode::RequestAttemptReused)), Some(&2));
}

#[test]
fn a_permit_that_ended_is_not_released_again() {
    let world = World::new();
    let ledger = world.start();
    for (attempt, outcome) in [(1, Outcome::Ok), (2, Outcome::Expired), (3, Outcome::Unknown)] {
        let call = Call::read(attempt);
        world.permitted(&ledger, &call);
        world.report(&ledger, &call, outcome, None).unwrap();
        assert_eq!(world.refused(&ledger, &call), ReasonCode::RequestAttemptReused, "{outcome:?}");
    }
}

#[test]
fn a_permit_was_released_again_after_an_operator_had_shut_the_gate() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Shut);
    let again = world.decide(&ledger, &call);
    assert_eq!((again.verdict.reason(), again.receipt), (Some(ReasonCode::GateShut), None));
    *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Open);
    world.permitted(&ledger, &call);
}

#[test]
fn a_permit_was_released_again_after_its_bundle_was_pulled() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    *world.ports.policy.lock().unwrap() = Fact::Unknown;
    let again = world.decide(&ledger, &call);
    assert_eq!((again.verdict.reason(), again.receipt), (Some(ReasonCode::PolicyMissing), None));
}

#[test]
fn a_permit_was_released_again_after_its_lifetime() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    world.clocks.advance(4_999);
    world.permitted(&ledger, &call);
    world.clocks.advance(1);
    let again = world.decide(&ledger, &call);
    assert_eq!((again.verdict.reason(), again.receipt), (Some(ReasonCode::PermitExpired), None));
}

#[test]
fn a_request_whose_record_would_be_too_long_is_refused_and_poisons_nothing() {
    let world = World::new();
    let ledger = world.start();
    let mut intake = world.intake(&Call::read(1));
    intake.request.ask.resource.id = "x".repeat(70_000);
    let (sender, receiver) = std::sync::mpsc::channel();
    ledger.decide(intake, move |reply| drop(sender.send(reply))).unwrap();
    let decided = answer(&receiver);
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::RequestTooLarge));
    assert_eq!(world.tripped(&ledger), None);
    let events = world.events();
    assert!(!events.contains(&portcullis_protocol::Event::Recovered));
    assert!(world.records().iter().all(|record| !matches!(record, Record::Decision(_))));
}
