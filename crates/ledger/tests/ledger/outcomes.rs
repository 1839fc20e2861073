use std::sync::mpsc::channel;
use std::time::Duration;

use portcullis_ledger::{OutcomeRefused, ReportedOutcome};
use portcullis_protocol::{Outcome, ReasonCode, Record};

use crate::harness::{Call, Held, POISON, World, answer};
use crate::scrub::scrubbed;

#[test]
fn a_permit_has_one_outcome_and_the_same_again_is_the_same_record() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    let permit = world.permitted(&ledger, &call);
    let seq = world.report(&ledger, &call, Outcome::Ok, None).unwrap();
    assert_eq!(world.report(&ledger, &call, Outcome::Ok, None), Ok(seq));
    let other = world.report(&ledger, &call, Outcome::Failed, None);
    assert_eq!(other, Err(OutcomeRefused::Ended(Outcome::Ok)));
    assert_eq!(world.outcomes(), [(permit.seq, Outcome::Ok)]);
}

#[test]
fn a_late_outcome_supersedes_unknown_by_another_record() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    let permit = world.permitted(&ledger, &call);
    let unknown = world.report(&ledger, &call, Outcome::Unknown, None).unwrap();
    let late = world.report(&ledger, &call, Outcome::Ok, None).unwrap();
    let record = world.records().into_iter().find(|record| record.seq() == late);
    let Some(Record::Outcome(record)) = record else { panic!() };
    assert_eq!((record.permit, record.supersedes), (permit.seq, Some(unknown)));
    let more = world.report(&ledger, &call, Outcome::Failed, None);
    assert_eq!(more, Err(OutcomeRefused::Ended(Outcome::Ok)));
    drop(ledger);
    assert_eq!(world.tripped(&world.start()), None, "the state agrees with the log");
}

#[test]
fn another_agents_permit_and_an_attempt_without_one_have_no_outcome() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    let by_other = call.clone().by("stranger-agent");
    assert_eq!(world.report(&ledger, &by_other, Outcome::Ok, None), Err(OutcomeRefused::NoSuchPermit));
    let refused = Call::ungoverned(2);
    world.refused(&ledger, &refused);
    assert_eq!(world.report(&ledger, &refused, Outcome::Ok, None), Err(OutcomeRefused::NoSuchPermit));
    world.report(&ledger, &call, Outcome::Ok, None).unwrap();
}

#[test]
fn no_gate_reports_withheld() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    let withheld = world.report(&ledger, &call, Outcome::Withheld, None);
    assert_eq!(withheld, Err(OutcomeRefused::NotReportable));
}

/// A column that no record speaks of said for how long a result is kept: with one bit of it flipped a result was kept for
/// decades, or gone at once, and all of that was sound.
#[test]
fn a_flipped_bit_had_a_result_kept_for_decades_or_not_at_all() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    let permit = world.permitted(&ledger, &call);
    drop(ledger);
    let flips = [
        "keep_result = CAST(x'01' || substr(keep_result, 2) AS BLOB)",
        "keep_result = CAST(substr(keep_result, 9) AS BLOB)",
        "keep_result = x''",
    ];
    let damaged = |flip: &str| {
        let damaged = world.crashed();
        let ledger = damaged.start();
        // The scrub has passed it by the time it is flipped: whoever ends the PERMIT is the next to read it.
        assert_eq!(scrubbed(&damaged, &ledger), None);
        damaged.sql(&format!("UPDATE permits SET {flip}"));
        (damaged, ledger)
    };
    for flip in flips {
        let (damaged, ledger) = damaged(flip);
        let refused = damaged.report(&ledger, &call, Outcome::Ok, Some("paid")).unwrap_err();
        assert_eq!(refused, OutcomeRefused::Unavailable(ReasonCode::EvidenceCorrupt), "{flip}");
        assert_eq!(damaged.tripped(&ledger), Some(ReasonCode::EvidenceCorrupt), "{flip}");
    }
    let (damaged, ledger) = damaged(flips[0]);
    damaged.clocks.advance(permit.outcome_due.unwrap().since(permit.time));
    // Asking is answered before the sweep of that same turn.
    damaged.status(&ledger);
    assert_eq!(damaged.tripped(&ledger), Some(ReasonCode::EvidenceCorrupt), "nobody reports it");
    world.report(&world.start(), &call, Outcome::Ok, Some("paid")).unwrap();
}

#[test]
fn an_overdue_permit_is_swept_to_unknown() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "12.50", Some("k"));
    let permit = world.permitted(&ledger, &call);
    let due = permit.outcome_due.unwrap();
    world.clocks.advance(due.since(permit.time) - 1);
    assert_eq!(world.status(&ledger).open_permits, 1);
    assert_eq!(world.status(&ledger).open_permits, 1, "not due yet");
    world.clocks.advance(1);
    // Asking is answered before the sweep of that same turn.
    world.status(&ledger);
    assert_eq!(world.status(&ledger).open_permits, 0);
    assert_eq!(world.outcomes(), [(permit.seq, Outcome::Unknown)]);
    let again = world.refused(&ledger, &Call::charge(2, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyOutcomeUnknown);
}

#[test]
fn an_outcome_reported_twice_in_one_batch_was_confirmed_before_it_was_durable() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::read(1);
    world.permitted(&ledger, &call);
    world.sql(POISON);
    let held = Held::hold(&world, &ledger, 0);
    let (sender, receiver) = std::sync::mpsc::channel();
    for _ in 0..2 {
        let sender = sender.clone();
        let report = portcullis_ledger::ReportedOutcome {
            attempt: call.attempt(),
            agent: "demo-agent".parse().unwrap(),
            outcome: Outcome::Ok,
            result: None,
        };
        ledger.outcome(report, move |reply| sender.send(reply).unwrap()).unwrap();
    }
    drop(world.ask(&ledger, &Call::poison(9)));
    held.release();
    for _ in 0..2 {
        assert_eq!(
            receiver.recv().unwrap(),
            Err(OutcomeRefused::Unavailable(ReasonCode::EvidenceUnwritable))
        );
    }
}

#[test]
fn of_a_huge_result_only_the_digest_is_kept() {
    let world = World::new();
    let ledger = world.start();
    let huge = "x".repeat(1024 * 1024 + 1);
    let kept = "y".repeat(1024 * 1024);
    for (attempt, key, result, stored) in [(1, "huge", &huge, None), (2, "kept", &kept, Some(&kept))] {
        let call = Call::charge(attempt, "1.00", Some(key));
        world.permitted(&ledger, &call);
        let seq = world.report(&ledger, &call, Outcome::Ok, Some(result)).unwrap();
        let record = world.records().into_iter().find(|record| record.seq() == seq);
        let Some(Record::Outcome(record)) = record else { panic!() };
        assert!(record.result.is_some());
        let again = world.decide(&ledger, &Call::charge(attempt + 10, "1.00", Some(key)));
        assert_eq!(again.stored.unwrap().result.as_ref(), stored);
    }
}

#[test]
fn an_outcome_was_taken_of_a_permit_that_had_reached_nobody() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 1);
    // Both in one batch: whoever asks chooses the attempt, and can tell of it before it was decided.
    let call = Call::read(2);
    let asked = world.ask(&ledger, &call);
    let (sender, told) = channel();
    let report = ReportedOutcome {
        attempt: call.attempt(),
        agent: call.agent.parse().unwrap(),
        outcome: Outcome::Ok,
        result: None,
    };
    ledger.outcome(report, move |reply| sender.send(reply).unwrap()).unwrap();
    held.release();
    assert_eq!(told.recv_timeout(Duration::from_secs(100)).unwrap(), Err(OutcomeRefused::NoSuchPermit));
    assert!(answer(&asked).receipt.is_some());
    assert!(world.report(&ledger, &call, Outcome::Ok, None).is_ok(), "it has been handed out by now");
}
