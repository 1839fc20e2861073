//! Labels: what an agent has come into touch with holds from the PERMIT on, in log order.

use std::collections::BTreeSet;
use std::sync::mpsc::channel;

use portcullis_ledger::{DecideReply, Ledger};
use portcullis_protocol::{LabelName, Outcome, ReasonCode};

use crate::harness::{Call, World, answer};
use crate::replay::replay;

const HOUR: u64 = 60 * 60 * 1_000;

fn charge(attempt: u64) -> Call {
    Call::charge(attempt, "1.00", Some(&format!("key {attempt}")))
}

fn labels(names: &[&str]) -> BTreeSet<LabelName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// Settles a call that policy was asked about with these labels; `None` if it is to be asked again.
fn settled(
    world: &World,
    ledger: &Ledger,
    call: &Call,
    seen: &[&str],
    last_try: bool,
) -> Option<Option<ReasonCode>> {
    let mut intake = world.intake_with(call, &labels(seen));
    intake.last_try = last_try;
    let (sender, receiver) = channel();
    ledger.decide(intake, move |reply| sender.send(reply).unwrap()).unwrap();
    match receiver.recv().unwrap() {
        DecideReply::Decided(decided) => Some(decided.verdict.reason()),
        DecideReply::EvaluateAgain(_) => None,
        DecideReply::Held(_) => panic!("held"),
    }
}

#[test]
fn who_has_read_untrusted_input_and_confidential_data_sends_nothing_out() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &charge(1));
    let read = world.permitted(&ledger, &Call::reads(2, "web"));
    assert_eq!(read.labels.added.keys().cloned().collect::<BTreeSet<_>>(), labels(&["untrusted-input"]));
    // One of the two is not both.
    assert_eq!(world.permitted(&ledger, &charge(3)).labels.held, labels(&["untrusted-input"]));
    // A label holds from the PERMIT on, whatever becomes of it.
    let second = Call::reads(4, "customer");
    world.permitted(&ledger, &second);
    assert_eq!(world.refused(&ledger, &charge(5)), ReasonCode::PolicyForbidden);
    world.report(&ledger, &second, Outcome::Expired, None).unwrap();
    let refused = world.decide(&ledger, &charge(6));
    assert_eq!(refused.verdict.reason(), Some(ReasonCode::PolicyForbidden));
    assert_eq!(world.recorded(&refused).labels.held, labels(&["untrusted-input", "confidential"]));
    // What others read is theirs, and what is refused adds nothing.
    let other = World::labelled();
    let ledger = other.start();
    other.permitted(&ledger, &charge(1));
    other.permitted(&ledger, &Call::reads(2, "web"));
    other.permitted(&ledger, &Call::reads(3, "customer").by("stranger-agent"));
    let refused = other.decide(&ledger, &Call::reads(4, "a").by("stranger-agent"));
    assert_eq!(refused.verdict.reason(), Some(ReasonCode::PolicyNoGrant));
    assert!(other.recorded(&refused).labels.is_empty());
    assert_eq!(other.permitted(&ledger, &charge(5)).labels.held, labels(&["untrusted-input"]));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn labels_end_with_their_lifetime_and_reading_again_prolongs_them() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &Call::reads(1, "web"));
    world.clocks.advance(5 * HOUR);
    world.permitted(&ledger, &Call::reads(2, "web"));
    world.permitted(&ledger, &Call::reads(3, "customer"));
    world.clocks.advance(4 * HOUR);
    assert_eq!(world.refused(&ledger, &charge(4)), ReasonCode::PolicyForbidden);
    world.clocks.advance(4 * HOUR);
    assert_eq!(world.permitted(&ledger, &charge(5)).labels.held, labels(&["confidential"]));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_verdict_on_labels_that_moved_is_asked_for_again_and_never_stands() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &Call::reads(1, "web"));
    world.permitted(&ledger, &Call::reads(2, "customer"));
    for seen in [&[][..], &["untrusted-input"], &["confidential"]] {
        assert_eq!(settled(&world, &ledger, &charge(3), seen, false), None, "{seen:?}");
    }
    let contended = settled(&world, &ledger, &charge(4), &["confidential"], true);
    assert_eq!(contended, Some(Some(ReasonCode::OverloadContended)));
    let both = ["untrusted-input", "confidential"];
    assert_eq!(settled(&world, &ledger, &charge(5), &both, true), Some(Some(ReasonCode::PolicyForbidden)));
    // What sees no labels is not held up by them.
    assert_eq!(settled(&world, &ledger, &Call::read(6), &[], true), Some(None));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_send_that_waits_beside_the_read_is_not_permitted_after_it() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &Call::reads(1, "web"));
    let held = crate::harness::Held::hold(&world, &ledger, 2);
    // One batch: a send, the read, a send. Policy was asked about all three before.
    let before = world.ask(&ledger, &charge(3));
    let read = world.ask(&ledger, &Call::reads(4, "customer"));
    let after = world.ask(&ledger, &charge(5));
    held.release();
    assert_eq!(answer(&before).verdict.reason(), None);
    assert_eq!(answer(&read).verdict.reason(), None);
    assert!(matches!(after.recv().unwrap(), DecideReply::EvaluateAgain(_)));
    assert_eq!(world.refused(&ledger, &charge(5)), ReasonCode::PolicyForbidden);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_permit_whose_answer_was_lost_is_not_released_after_the_read() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &Call::reads(1, "web"));
    let send = charge(2);
    world.permitted(&ledger, &send);
    world.permitted(&ledger, &send);
    world.permitted(&ledger, &Call::reads(3, "customer"));
    assert_eq!(world.refused(&ledger, &send), ReasonCode::PolicyForbidden);
}

/// The grant that holds now adds a label and the one on record did not: the old receipt was handed out, and nothing added.
#[test]
fn a_permit_whose_answer_was_lost_was_released_on_other_terms_than_those_on_record() {
    let world = World::labelled();
    let ledger = world.start();
    let send = Call::charge(1, "7.00", Some("k"));
    let before = world.permitted(&ledger, &send);
    assert!(before.labels.added.is_empty());
    // On the same terms it is the same PERMIT.
    assert_eq!(world.permitted(&ledger, &send).seq, before.seq);
    world.permitted(&ledger, &Call::reads(2, "web"));
    assert_eq!(world.refused(&ledger, &send), ReasonCode::OverloadContended);
    // A new attempt is decided on the terms that hold now; its key is taken by the one before.
    let other = world.permitted(&ledger, &Call::charge(3, "7.00", Some("other")));
    assert_eq!(other.labels.added.keys().cloned().collect::<BTreeSet<_>>(), labels(&["confidential"]));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_permit_whose_own_label_forbids_the_call_was_refused_to_its_retry_and_ended_as_unknown() {
    let send = Call::charge(2, "7.00", Some("k"));
    for later in [0, 1] {
        let world = World::labelled();
        let ledger = world.start();
        world.permitted(&ledger, &Call::reads(1, "web"));
        let before = world.permitted(&ledger, &send);
        assert_eq!(before.labels.added.keys().cloned().collect::<BTreeSet<_>>(), labels(&["confidential"]));
        // Its answer was lost. The label that it gives itself is no reason against it, though it is against another.
        assert_eq!(world.permitted(&ledger, &send).seq, before.seq);
        assert_eq!(world.refused(&ledger, &charge(3)), ReasonCode::PolicyForbidden);
        // The same label, given by another PERMIT since, is one: in the same millisecond, or later.
        world.clocks.advance(later);
        world.permitted(&ledger, &Call::reads(4, "customer").by("stranger-agent"));
        assert_eq!(world.permitted(&ledger, &send).seq, before.seq, "the other agent's is not its own");
        world.permitted(&ledger, &Call::reads(5, "customer"));
        assert_eq!(world.refused(&ledger, &send), ReasonCode::PolicyForbidden, "{later}");
        assert_eq!(replay(&world), (vec![], vec![]));
    }
}

#[test]
fn labels_stick_to_the_agent_whatever_is_restarted_and_a_lost_one_is_noticed() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &Call::reads(1, "web"));
    world.permitted(&ledger, &Call::reads(2, "customer"));
    let killed = world.crashed();
    let again = killed.start();
    assert_eq!(killed.refused(&again, &charge(3)), ReasonCode::PolicyForbidden);
    drop(again);
    let reads: Vec<_> = (10_000..11_100).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    drop(ledger);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &charge(4)), ReasonCode::PolicyForbidden);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
    world.sql("DELETE FROM standing WHERE name LIKE 'labels %'");
    assert!(replay(&world).1.iter().any(|found| found.what.contains("labels demo-agent")));
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &charge(5)), ReasonCode::EvidenceCorrupt);
}
