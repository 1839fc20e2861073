//! What a person found out about PERMITs in doubt.

use std::sync::mpsc::channel;

use portcullis_ledger::{Ledger, LedgerReader, OrderRefused, OutcomeRefused};
use portcullis_protocol::{
    AttemptId, Digest, Event, EventRecord, Order, Ordered, Outcome, ReasonCode, Record, Resolution,
};

use crate::harness::{Call, Held, POISON, World};

fn ordered(call: &Call, outcome: Resolution) -> Ordered {
    let what = Order::ResolveOutcome { attempt: call.attempt(), outcome };
    Ordered { by: "alice".parse().unwrap(), what, reason: "asked the bank".parse().unwrap() }
}

fn resolve(ledger: &Ledger, call: &Call, outcome: Resolution) -> Result<u64, OrderRefused> {
    let (sender, receiver) = channel();
    ledger.order(ordered(call, outcome), move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv().unwrap()
}

/// A charge under key `k` that is in doubt.
fn in_doubt(world: &World, ledger: &Ledger) -> Call {
    let call = Call::charge(1, "12.50", Some("k"));
    world.permitted(ledger, &call);
    world.report(ledger, &call, Outcome::Unknown, None).unwrap();
    call
}

fn reopens(world: &World, ledger: Ledger) {
    drop(ledger);
    assert_eq!(world.tripped(&world.start()), None, "the state agrees with the log");
}

#[test]
fn what_a_person_found_out_supersedes_unknown_with_who_and_why_on_record() {
    for (resolution, outcome) in [(Resolution::Ok, Outcome::Ok), (Resolution::Failed, Outcome::Failed)] {
        let world = World::new();
        let ledger = world.start();
        let call = in_doubt(&world, &ledger);
        let seq = resolve(&ledger, &call, resolution).unwrap();
        let records = world.records();
        let at = |seq: u64| records.iter().find(|record| record.seq() == seq).unwrap();
        let Record::Event(EventRecord { event: Event::Ordered, order: Some(order), .. }) = at(seq) else {
            panic!("{:?}", at(seq))
        };
        assert_eq!(*order, ordered(&call, resolution));
        let Record::Outcome(record) = at(seq + 1) else { panic!() };
        let (by, reason) = (record.by.as_ref().unwrap(), record.reason.as_ref().unwrap());
        assert_eq!((record.outcome, by.as_str(), reason.as_str()), (outcome, "alice", "asked the bank"));
        assert!(record.supersedes.is_some());
        let again = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
        assert_eq!(again, ReasonCode::IdempotencyCompleted, "it counts as run");
        reopens(&world, ledger);
    }
}

#[test]
fn what_never_ran_gives_its_key_back_and_the_state_agrees_with_the_log() {
    let world = World::new();
    let ledger = world.start();
    let call = in_doubt(&world, &ledger);
    let next = Call::charge(2, "12.50", Some("k"));
    assert_eq!(world.refused(&ledger, &next), ReasonCode::IdempotencyOutcomeUnknown);
    resolve(&ledger, &call, Resolution::NotRun).unwrap();
    assert_eq!(world.outcomes().last().unwrap().1, Outcome::Expired);
    let crashed = world.crashed();
    assert_eq!(crashed.tripped(&crashed.start()), None, "with the key given back");
    world.permitted(&ledger, &Call::charge(3, "12.50", Some("k")));
    reopens(&world, ledger);
}

#[test]
fn what_is_in_no_doubt_or_may_still_run_is_not_resolved() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    assert_eq!(resolve(&ledger, &call, Resolution::NotRun), Err(OrderRefused::NoSuchPermit));
    world.permitted(&ledger, &call);
    assert_eq!(resolve(&ledger, &call, Resolution::NotRun), Err(OrderRefused::NotInDoubt(None)));
    world.report(&ledger, &call, Outcome::Ok, None).unwrap();
    let ended = Err(OrderRefused::NotInDoubt(Some(Outcome::Ok)));
    assert_eq!(resolve(&ledger, &call, Resolution::NotRun), ended);
    assert!(!world.events().contains(&Event::Ordered), "what was refused is no order");
    let again = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyCompleted);
}

#[test]
fn a_late_report_of_the_gate_supersedes_unknown_but_not_what_a_person_found_out() {
    let world = World::new();
    let ledger = world.start();
    let call = in_doubt(&world, &ledger);
    resolve(&ledger, &call, Resolution::Failed).unwrap();
    let late = world.report(&ledger, &call, Outcome::Ok, None);
    assert_eq!(late, Err(OutcomeRefused::Ended(Outcome::Failed)));
    let again = resolve(&ledger, &call, Resolution::Ok);
    assert_eq!(again, Err(OrderRefused::NotInDoubt(Some(Outcome::Failed))), "once is for good");

    let other = Call::charge(5, "1.00", Some("other"));
    world.permitted(&ledger, &other);
    world.report(&ledger, &other, Outcome::Unknown, None).unwrap();
    world.report(&ledger, &other, Outcome::Ok, None).unwrap();
    let late = resolve(&ledger, &other, Resolution::NotRun);
    assert_eq!(late, Err(OrderRefused::NotInDoubt(Some(Outcome::Ok))), "the gate came first");
}

#[test]
fn an_order_in_a_batch_that_fails_is_not_confirmed() {
    let world = World::new();
    let ledger = world.start();
    let call = in_doubt(&world, &ledger);
    world.sql(POISON);
    let held = Held::hold(&world, &ledger, 0);
    let (sender, receiver) = channel();
    ledger.order(ordered(&call, Resolution::Ok), move |reply| sender.send(reply).unwrap()).unwrap();
    drop(world.ask(&ledger, &Call::poison(9)));
    held.release();
    let unavailable = OrderRefused::Unavailable(ReasonCode::EvidenceUnwritable);
    assert_eq!(receiver.recv().unwrap(), Err(unavailable));
}

#[test]
fn the_disk_reserve_is_there_for_orders_and_a_jumped_clock_stops_them() {
    let mut world = World::new();
    let ledger = world.start();
    let call = in_doubt(&world, &ledger);
    drop(ledger);
    world.disk_reserve = u64::MAX;
    let ledger = world.start();
    resolve(&ledger, &call, Resolution::Ok).unwrap();
    world.clocks.jump(-3_600_000);
    let other = resolve(&ledger, &call, Resolution::Ok);
    assert_eq!(other, Err(OrderRefused::Unavailable(ReasonCode::ClockJumped)));
}

#[test]
fn what_is_in_doubt_is_listed_with_the_key_that_it_blocks_until_it_is_resolved() {
    let world = World::new();
    let ledger = world.start();
    let charge = in_doubt(&world, &ledger);
    let key = world.records().into_iter().find_map(|record| match record {
        Record::Decision(decision) if decision.attempt == charge.attempt() => decision.key,
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    assert!(key.is_some());
    let read = Call::read(7);
    world.permitted(&ledger, &read);
    world.report(&ledger, &read, Outcome::Unknown, None).unwrap();
    let fine = Call::read(8);
    world.permitted(&ledger, &fine);
    world.report(&ledger, &fine, Outcome::Ok, None).unwrap();
    let listed = || -> Vec<(AttemptId, Option<Digest>)> {
        let reader = LedgerReader::open(&world.data(), &world.anchor(), &world.verifier).unwrap();
        let found = reader.in_doubt().unwrap();
        found.into_iter().map(|doubt| (doubt.permit.attempt, doubt.key)).collect()
    };
    assert_eq!(listed(), [(charge.attempt(), key), (read.attempt(), None)]);
    resolve(&ledger, &charge, Resolution::NotRun).unwrap();
    assert_eq!(listed(), [(read.attempt(), None)]);
}
