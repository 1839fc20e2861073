use portcullis_protocol::{Decision, Outcome, ReasonCode};

use crate::harness::{Call, Held, World, answer};

#[test]
fn a_key_in_flight_completes_and_then_gives_the_stored_result() {
    let world = World::new();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", Some("k"));
    world.permitted(&ledger, &first);
    assert_eq!(world.refused(&ledger, &Call::charge(2, "12.50", Some("k"))), ReasonCode::IdempotencyInFlight);
    world.report(&ledger, &first, Outcome::Ok, Some("charge 17")).unwrap();
    let again = world.decide(&ledger, &Call::charge(3, "12.50", Some("k")));
    assert_eq!(again.verdict.reason(), Some(ReasonCode::IdempotencyCompleted));
    let stored = again.stored.unwrap();
    assert_eq!((stored.outcome, stored.result.as_deref()), (Outcome::Ok, Some("charge 17")));
}

#[test]
fn a_failed_execution_counts_as_run() {
    let world = World::new();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", Some("k"));
    world.permitted(&ledger, &first);
    world.report(&ledger, &first, Outcome::Failed, None).unwrap();
    let again = world.decide(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again.verdict.reason(), Some(ReasonCode::IdempotencyCompleted));
    assert_eq!(again.stored.unwrap().outcome, Outcome::Failed);
}

#[test]
fn another_operation_under_a_consumed_key_is_a_conflict() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    let other = world.decide(&ledger, &Call::charge(2, "12.51", Some("k")));
    assert_eq!(other.verdict.reason(), Some(ReasonCode::IdempotencyConflict));
    assert_eq!(other.verdict.decision(), Decision::Deny);
}

#[test]
fn a_permit_that_was_never_spent_gives_its_key_back() {
    let world = World::new();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", Some("k"));
    world.permitted(&ledger, &first);
    world.report(&ledger, &first, Outcome::Expired, None).unwrap();
    world.permitted(&ledger, &Call::charge(2, "12.50", Some("k")));
}

#[test]
fn an_unknown_outcome_is_not_retried() {
    let world = World::new();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", Some("k"));
    world.permitted(&ledger, &first);
    world.report(&ledger, &first, Outcome::Unknown, None).unwrap();
    let again = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyOutcomeUnknown);
}

#[test]
fn of_two_calls_with_one_key_in_one_batch_one_is_permitted() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 0);
    let calls: Vec<_> = (1..=20).map(|attempt| Call::charge(attempt, "12.50", Some("k"))).collect();
    let replies: Vec<_> = calls.iter().map(|call| world.ask(&ledger, call)).collect();
    held.release();
    let reasons: Vec<_> = replies.iter().map(|reply| answer(reply).verdict.reason()).collect();
    assert_eq!(reasons[0], None);
    assert!(
        reasons[1..].iter().all(|reason| *reason == Some(ReasonCode::IdempotencyInFlight)),
        "{reasons:?}"
    );
}

#[test]
fn keys_are_each_agents_own() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    let other = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")).by("stranger-agent"));
    assert_eq!(other, ReasonCode::PolicyNoGrant, "policy refuses it, not the other agent's key");
}

#[test]
fn a_refusal_consumes_no_key() {
    let world = World::new();
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::charge(1, "100.01", Some("k"))), ReasonCode::PolicyNoGrant);
    *world.ports.gate.lock().unwrap() = portcullis_arbiter::Fact::Unknown;
    assert_eq!(world.refused(&ledger, &Call::charge(2, "12.50", Some("k"))), ReasonCode::GateUnknown);
    *world.ports.gate.lock().unwrap() = portcullis_arbiter::Fact::Known(portcullis_arbiter::GateState::Open);
    world.permitted(&ledger, &Call::charge(3, "12.50", Some("k")));
}

#[test]
fn a_key_outlives_the_ledgers_process() {
    let world = World::new();
    let first = Call::charge(1, "12.50", Some("k"));
    let ledger = world.start();
    world.permitted(&ledger, &first);
    world.report(&ledger, &first, Outcome::Ok, Some("charge 17")).unwrap();
    drop(ledger);
    let ledger = world.start();
    let again = world.decide(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again.verdict.reason(), Some(ReasonCode::IdempotencyCompleted));
    assert_eq!(again.stored.unwrap().result.as_deref(), Some("charge 17"));
}

#[test]
fn a_derived_key_stands_for_one_intent_within_its_window_only() {
    let world = World::derived();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", None);
    world.permitted(&ledger, &first);
    world.report(&ledger, &first, Outcome::Ok, None).unwrap();
    world.clocks.advance(59_999);
    let again = world.refused(&ledger, &Call::charge(2, "12.50", None));
    assert_eq!(again, ReasonCode::IdempotencyCompleted);
    world.clocks.advance(1);
    world.permitted(&ledger, &Call::charge(3, "12.50", None));
    assert_eq!(world.refused(&ledger, &Call::charge(4, "12.50", None)), ReasonCode::IdempotencyInFlight);
}

#[test]
fn a_late_outcome_of_an_older_permit_does_not_free_the_key_of_a_newer_one() {
    let world = World::derived();
    let ledger = world.start();
    let (old, new) = (Call::charge(1, "12.50", None), Call::charge(2, "12.50", None));
    world.permitted(&ledger, &old);
    world.report(&ledger, &old, Outcome::Ok, None).unwrap();
    world.clocks.advance(60_000);
    world.permitted(&ledger, &new);
    for late in [Outcome::Expired, Outcome::Failed, Outcome::Unknown] {
        assert!(world.report(&ledger, &old, late, None).is_err());
    }
    assert_eq!(world.refused(&ledger, &Call::charge(3, "12.50", None)), ReasonCode::IdempotencyInFlight);
    // The newer one was never spent: then its key is free, and the older one's window is over.
    world.report(&ledger, &new, Outcome::Expired, None).unwrap();
    drop(ledger);
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(4, "12.50", None));
}

#[test]
fn a_derived_key_in_doubt_does_not_become_a_new_intent_by_waiting() {
    let world = World::derived();
    let ledger = world.start();
    let first = Call::charge(1, "12.50", None);
    world.permitted(&ledger, &first);
    world.report(&ledger, &first, Outcome::Unknown, None).unwrap();
    world.clocks.advance(10_000_000);
    let again = world.refused(&ledger, &Call::charge(2, "12.50", None));
    assert_eq!(again, ReasonCode::IdempotencyOutcomeUnknown);
}
