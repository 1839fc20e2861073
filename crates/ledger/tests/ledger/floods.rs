use std::sync::mpsc::channel;

use portcullis_arbiter::{Credential, Mandate, prepare_listing};
use portcullis_ledger::{Clocks, ListReply, Overloaded, SignError};
use portcullis_protocol::wire::ListingCall;
use portcullis_protocol::{Captured, Digest, Outcome, ReasonCode, Record};

use crate::harness::{Call, Held, POISON, World, answer};

#[test]
fn refusals_over_the_quota_are_counted_and_others_are_not_affected() {
    let world = World::new();
    let ledger = world.start();
    let decided: Vec<_> = (0..250).map(|attempt| world.decide(&ledger, &Call::ungoverned(attempt))).collect();
    let logged = decided.iter().filter(|decided| decided.captured == Captured::Logged).count();
    assert_eq!(logged, 200);
    assert!(decided.iter().all(|decided| decided.verdict.reason() == Some(ReasonCode::SurfaceUnknown)));
    let other = world.decide(&ledger, &Call::ungoverned(300).by("stranger-agent"));
    assert_eq!(other.captured, Captured::Logged);
    world.permitted(&ledger, &Call::read(301));
    drop(ledger);
    assert_eq!(world.counted().get(&Some(ReasonCode::SurfaceUnknown)), Some(&50));
}

#[test]
fn what_was_counted_in_the_batch_that_recorded_the_counts_was_lost() {
    let world = World::new();
    let ledger = world.start();
    for attempt in 0..210 {
        world.refused(&ledger, &Call::ungoverned(attempt));
    }
    world.clocks.advance(5_000);
    let held = Held::hold(&world, &ledger, 1_000);
    let replies: Vec<_> = (300..500).map(|attempt| world.ask(&ledger, &Call::ungoverned(attempt))).collect();
    world.clocks.advance(5_000);
    held.release();
    replies.iter().for_each(|reply| drop(answer(reply)));
    drop(ledger);
    let refused = world.records().into_iter().filter(|record| {
        matches!(record, Record::Decision(record) if record.reason == Some(ReasonCode::SurfaceUnknown))
    });
    let recorded = u64::try_from(refused.count()).unwrap();
    assert_eq!(recorded + world.counted()[&Some(ReasonCode::SurfaceUnknown)], 410);
}

#[test]
fn calls_beyond_the_bound_are_shed_and_counted_while_outcomes_get_through() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    let held = Held::hold(&world, &ledger, 0);
    let replies: Vec<_> = (10..4_105).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    let shed = ledger.decide(world.intake(&Call::read(9_000)), |_| panic!("shed"));
    assert_eq!(shed, Err(Overloaded));
    for _ in 0..20_000 {
        ledger.count(Some(ReasonCode::OverloadShed), Some("demo-agent".parse().unwrap()));
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let report = portcullis_ledger::ReportedOutcome {
        attempt: call.attempt(),
        agent: "demo-agent".parse().unwrap(),
        outcome: Outcome::Ok,
        result: None,
    };
    ledger.outcome(report, move |reply| sender.send(reply).unwrap()).unwrap();
    held.release();
    receiver.recv().unwrap().unwrap();
    assert!(replies.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    world.permitted(&ledger, &Call::read(9_001));
    drop(ledger);
    assert_eq!(world.counted().get(&Some(ReasonCode::OverloadShed)), Some(&20_000));
}

#[test]
fn what_is_refused_while_nothing_can_be_recorded_is_counted() {
    let world = World::new();
    let ledger = world.start();
    *world.behaviour.ready.lock().unwrap() = Some(SignError::Unavailable("pulled".into()));
    for attempt in 0..7 {
        world.refused(&ledger, &Call::read(attempt));
    }
    *world.behaviour.ready.lock().unwrap() = None;
    ledger.count(None, None);
    drop(ledger);
    let counted = world.counted();
    assert_eq!(counted.get(&Some(ReasonCode::SignerUnavailable)), Some(&7));
    assert_eq!(counted.get(&None), Some(&1), "a caller that was nobody");
}

#[test]
fn counts_of_a_batch_that_failed_are_recorded_later() {
    let world = World::new();
    let ledger = world.start();
    world.sql(POISON);
    let held = Held::hold(&world, &ledger, 0);
    let poisoned = world.ask(&ledger, &Call::poison(1));
    for _ in 0..9 {
        ledger.count(None, None);
    }
    held.release();
    assert!(answer(&poisoned).verdict.reason().is_some());
    drop(ledger);
    assert_eq!(world.counted().get(&None), Some(&9));
}

#[test]
fn a_flood_that_writes_nothing_costs_no_sync() {
    let world = World::new();
    let ledger = world.start();
    for attempt in 0..210 {
        world.refused(&ledger, &Call::ungoverned(attempt));
    }
    let before = world.status(&ledger);
    for attempt in 300..400 {
        world.refused(&ledger, &Call::ungoverned(attempt));
        world.permitted(&ledger, &Call::read(999));
    }
    let after = world.status(&ledger);
    // The first repetition of the read made its record.
    assert_eq!((after.syncs - before.syncs, after.size - before.size), (2, 1));
}

/// What the gate says of a list is believed only as it is on record, and an agent could fill the log with them.
#[test]
fn lists_over_the_quota_are_refused_and_lists_of_other_servers_and_agents_are_not() {
    let world = World::new();
    let ledger = world.start();
    let list = |number: u64, agent: &str, server: &str| {
        let call = ListingCall {
            listing: Digest::sha256(&number.to_be_bytes()),
            gate: "gate".parse().unwrap(),
            acts_for: None,
            server: server.parse().unwrap(),
            tools: [format!("{server}/read").parse().unwrap()].into(),
            unnamed: 0,
            deadline_ms: 1_000_000,
        };
        let agent = agent.parse().unwrap();
        let credential =
            Credential { agent, acts_for: Mandate::nobody(), expires: None, authenticated: None };
        let boot = world.clocks.boot();
        let intake = prepare_listing(call, &credential, Some(&world.bundle), boot, None);
        let (sender, receiver) = channel();
        ledger.list(intake, move |reply| sender.send(reply).unwrap()).unwrap();
        receiver.recv().unwrap()
    };
    let listed: Vec<_> = (0..150).map(|number| list(number, "demo-agent", "loud")).collect();
    let refused = listed.iter().skip(100).all(|reply| *reply == ListReply::Refused(ReasonCode::OverloadShed));
    assert!(refused && listed.iter().take(100).all(|reply| matches!(reply, ListReply::Listed(_))));
    assert!(matches!(list(200, "demo-agent", "quiet"), ListReply::Listed(_)));
    drop(ledger);
    let lists = world.records().into_iter().filter(|record| matches!(record, Record::Listing(_)));
    assert_eq!(lists.count(), 101);
}
