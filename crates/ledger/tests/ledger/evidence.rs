use std::collections::BTreeSet;

use portcullis_arbiter::{Fact, GateState};
use portcullis_ledger::DecideReply;
use portcullis_protocol::{Captured, Decision, Event, Outcome, ReasonCode};

use crate::harness::{Call, Held, World, answer};

#[test]
fn a_permit_is_on_record_as_asked_and_its_receipt_verifies_with_the_public_key_alone() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    let decided = world.decide(&ledger, &call);
    assert_eq!(decided.captured, Captured::Logged);
    let record = world.recorded(&decided);
    assert_eq!((record.decision, record.reason), (Decision::Permit, None));
    assert_eq!((record.agent.as_str(), record.gate.as_str()), ("demo-agent", "gate"));
    assert_eq!(record.request, world.intake(&call).commitment);
    assert_eq!(record.attempt, call.attempt());
    assert_eq!(record.bundle.as_ref(), Some(world.bundle.reference()));
    assert!(record.key.is_some() && record.permit_ttl_ms == Some(5_000));
    assert_eq!(record.policies.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["demo-small-charge"]);
}

#[test]
fn a_deny_and_a_silence_are_on_record_like_a_permit() {
    let world = World::new();
    let ledger = world.start();
    let deny = world.recorded(&world.decide(&ledger, &Call::charge(1, "100.01", Some("k"))));
    assert_eq!((deny.decision, deny.reason), (Decision::Deny, Some(ReasonCode::PolicyNoGrant)));
    let silence = world.recorded(&world.decide(&ledger, &Call::ungoverned(2)));
    assert_eq!((silence.decision, silence.reason), (Decision::Silence, Some(ReasonCode::SurfaceUnknown)));
    assert_eq!(silence.permit_ttl_ms, None);
}

#[test]
fn many_callers_share_batches_and_each_gets_the_receipt_of_its_own_record() {
    let world = World::new();
    let ledger = world.start();
    let before = world.status(&ledger);
    let held = Held::hold(&world, &ledger, 0);
    let calls: Vec<_> = (1..=600).map(Call::read).collect();
    let replies: Vec<_> = calls.iter().map(|call| world.ask(&ledger, call)).collect();
    held.release();
    let records: Vec<_> = replies.iter().map(|reply| world.recorded(&answer(reply))).collect();
    assert!(records.iter().zip(&calls).all(|(record, call)| record.attempt == call.attempt()));
    assert!(records.windows(2).all(|pair| pair[0].seq < pair[1].seq), "log order is the order of asking");
    assert_eq!(records.iter().map(|record| record.seq).collect::<BTreeSet<_>>().len(), 600);
    let after = world.status(&ledger);
    assert_eq!((after.size - before.size, after.batches - before.batches), (601, 2));
}

#[test]
fn a_log_begins_is_opened_and_names_the_bundle_in_force() {
    let world = World::new();
    drop(world.start());
    assert_eq!(world.events(), [Event::Genesis, Event::Opened, Event::BundleInForce, Event::Closed]);
}

#[test]
fn a_found_record_comes_with_a_receipt_that_verifies() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    let record = world.permitted(&ledger, &call);
    world.permitted(&ledger, &Call::read(2));
    let find = |attempt| {
        let (sender, receiver) = std::sync::mpsc::channel();
        ledger.find(attempt, move |found| drop(sender.send(found))).unwrap();
        receiver.recv().unwrap()
    };
    world.report(&ledger, &call, Outcome::Ok, None).unwrap();
    let found = find(call.attempt()).unwrap();
    assert_eq!(world.verified(&found.receipt.unwrap()).index(), record.seq);
    assert_eq!(found.record.seq(), record.seq);
    assert!(find(Call::read(3).attempt()).is_none());
}

/// Nothing says that a PERMIT was ever released, and looking for it asked for nothing: a gate could run by it though the
/// operator had shut the gate meanwhile.
#[test]
fn the_receipt_of_an_open_permit_was_handed_out_to_whoever_looked_for_it() {
    let world = World::new();
    let ledger = world.start();
    let (open, refused) = (Call::read(1), Call::ungoverned(2));
    let ttl = world.permitted(&ledger, &open).permit_ttl_ms.unwrap();
    world.refused(&ledger, &refused);
    *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Shut);
    let shown = |call: &Call| {
        let (sender, receiver) = std::sync::mpsc::channel();
        ledger.find(call.attempt(), move |found| drop(sender.send(found))).unwrap();
        receiver.recv().unwrap().unwrap().receipt.is_some()
    };
    assert!(!shown(&open), "it could be spent");
    assert!(shown(&refused), "it proves a refusal");
    world.clocks.advance(ttl - 1);
    assert!(!shown(&open));
    world.clocks.advance(1);
    assert!(shown(&open), "it can make no permit any more");
    // What the clock says counts only while it can be trusted.
    world.clocks.jump(-3_600_000);
    assert!(!shown(&open));
}

#[test]
fn a_verdict_of_a_bundle_that_was_replaced_is_computed_again() {
    let world = World::new();
    let ledger = world.start();
    let mut policy = world.ports.policy.lock().unwrap();
    let portcullis_arbiter::Fact::Known(now) = &mut *policy else { panic!() };
    let other = portcullis_protocol::BundleDigest(portcullis_protocol::Digest::sha256(b"other"));
    now.digest = Some(other);
    drop(policy);
    let mut in_force = world.ports.in_force.lock().unwrap();
    let bundle = &mut in_force.as_mut().unwrap().bundle;
    (bundle.version, bundle.digest) = (2, other);
    drop(in_force);
    let reply = world.ask(&ledger, &Call::read(1)).recv().unwrap();
    assert!(matches!(reply, DecideReply::EvaluateAgain(_)));
}

#[test]
fn an_operators_lever_is_on_record_each_time_it_is_turned() {
    let world = World::new();
    let ledger = world.start();
    let turns = [GateState::Shut, GateState::Shut, GateState::Open, GateState::Open];
    for (attempt, gate) in (1..).zip(turns) {
        *world.ports.gate.lock().unwrap() = Fact::Known(gate);
        world.decide(&ledger, &Call::read(attempt));
    }
    drop(ledger);
    let turns: Vec<_> =
        world.events().into_iter().filter(|e| matches!(e, Event::Shut | Event::Reopened)).collect();
    assert_eq!(turns, [Event::Shut, Event::Reopened]);
}
