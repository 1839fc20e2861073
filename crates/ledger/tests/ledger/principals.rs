//! For whom agents act: labels and limits of a person or a delegating agent, in log order and over restarts.

use std::collections::BTreeSet;

use portcullis_ledger::DecideReply;
use portcullis_protocol::{LabelName, ReasonCode};

use crate::harness::{Call, World, answer};
use crate::replay::replay;

fn charge(attempt: u64) -> Call {
    Call::charge(attempt, "1.00", Some(&format!("key {attempt}")))
}

fn labels(names: &[&str]) -> BTreeSet<LabelName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn what_a_delegate_reads_blocks_the_agent_that_it_acts_for_and_a_delegate_sees_what_that_one_read() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &charge(1));
    let delegate = |call: Call| call.by("stranger-agent").acting_for("demo-agent");
    let read = world.permitted(&ledger, &delegate(Call::reads(2, "web")));
    assert_eq!(read.acts_for.as_ref().map(|name| name.as_str()), Some("demo-agent"));
    assert_eq!(world.permitted(&ledger, &charge(3)).labels.held, labels(&["untrusted-input"]));
    world.permitted(&ledger, &delegate(Call::reads(4, "customer")));
    assert_eq!(world.refused(&ledger, &charge(5)), ReasonCode::PolicyForbidden);
    // Nor is it rid of them where it acts for somebody else, or in another process.
    assert_eq!(world.refused(&ledger, &charge(6).acting_for("kim")), ReasonCode::PolicyForbidden);
    let crashed = world.crashed();
    let again = crashed.start();
    assert_eq!(crashed.refused(&again, &charge(7)), ReasonCode::PolicyForbidden);
    drop((ledger, again));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn two_agents_of_one_person_send_nothing_out_after_each_read_one_half() {
    let world = World::labelled();
    let ledger = world.start();
    let for_maya = |call: Call| call.acting_for("maya");
    world.permitted(&ledger, &for_maya(Call::reads(1, "web").by("stranger-agent")));
    world.permitted(&ledger, &for_maya(charge(2)));
    world.permitted(&ledger, &for_maya(Call::reads(3, "customer")));
    let refused = world.decide(&ledger, &for_maya(charge(4)));
    assert_eq!(refused.verdict.reason(), Some(ReasonCode::PolicyForbidden));
    assert_eq!(world.recorded(&refused).labels.held, labels(&["untrusted-input", "confidential"]));
    // What the other agent read for maya is not kim's, and what the own one read stays its own.
    let other = world.permitted(&ledger, &charge(5).acting_for("kim"));
    assert_eq!(other.labels.held, labels(&["confidential"]));
    // Until there is a mark, whose rows the next start builds on.
    let reads: Vec<_> = (10_000..11_100).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    drop(ledger);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &for_maya(charge(6))), ReasonCode::PolicyForbidden);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
    world.sql("DELETE FROM standing WHERE name = 'labels maya'");
    assert!(replay(&world).1.iter().any(|found| found.what.contains("labels maya")));
}

#[test]
fn a_send_that_waits_beside_the_delegates_read_is_not_permitted_after_it() {
    let world = World::labelled();
    let ledger = world.start();
    world.permitted(&ledger, &Call::reads(1, "web"));
    let held = crate::harness::Held::hold(&world, &ledger, 2);
    let before = world.ask(&ledger, &charge(3));
    let read = world.ask(&ledger, &Call::reads(4, "customer").by("stranger-agent").acting_for("demo-agent"));
    let after = world.ask(&ledger, &charge(5));
    held.release();
    assert_eq!(answer(&before).verdict.reason(), None);
    assert_eq!(answer(&read).verdict.reason(), None);
    assert!(matches!(after.recv().unwrap(), DecideReply::EvaluateAgain(None)));
    assert_eq!(world.refused(&ledger, &charge(5)), ReasonCode::PolicyForbidden);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}

/// The send's own grant adds a label, which is no reason against its retry; the same label from another agent of the same
/// person is, even in the same millisecond.
#[test]
fn a_permit_for_somebody_whose_answer_was_lost_is_not_released_after_another_agent_of_theirs_read() {
    let world = World::labelled();
    let ledger = world.start();
    let for_maya = |call: Call| call.acting_for("maya");
    world.permitted(&ledger, &for_maya(Call::reads(1, "web").by("stranger-agent")));
    let send = for_maya(Call::charge(2, "7.00", Some("k")));
    let first = world.permitted(&ledger, &send);
    assert_eq!(first.labels.added.keys().cloned().collect::<BTreeSet<_>>(), labels(&["confidential"]));
    assert_eq!(world.permitted(&ledger, &send).seq, first.seq);
    // Of nobody's concern to maya.
    world.permitted(&ledger, &Call::reads(3, "customer").by("stranger-agent").acting_for("kim"));
    assert_eq!(world.permitted(&ledger, &send).seq, first.seq);
    world.permitted(&ledger, &for_maya(Call::reads(4, "customer").by("stranger-agent")));
    assert_eq!(world.refused(&ledger, &send), ReasonCode::PolicyForbidden);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_forged_principal_is_recorded_as_refused_and_takes_and_adds_nothing() {
    let world = World::labelled();
    let ledger = world.start();
    for forged in
        [Call::reads(1, "web").claiming("maya"), Call::reads(2, "web").trusted_for("kim").claiming("maya")]
    {
        let refused = world.decide(&ledger, &forged);
        assert_eq!(refused.verdict.reason(), Some(ReasonCode::IdentityPrincipal));
        let entry = world.recorded(&refused);
        assert_eq!((entry.behind(), entry.labels.is_empty()), (None, true));
    }
    assert!(world.permitted(&ledger, &charge(3).acting_for("maya")).labels.held.is_empty());
    // An agent that is to say for whom it acts does not act for itself.
    assert_eq!(world.refused(&ledger, &charge(4).trusted_for("maya")), ReasonCode::IdentityPrincipal);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn the_same_key_for_somebody_else_is_another_operation() {
    let world = World::labelled();
    let ledger = world.start();
    let call = |attempt| Call::charge(attempt, "1.00", Some("k"));
    world.permitted(&ledger, &call(1).acting_for("maya"));
    assert_eq!(world.refused(&ledger, &call(2).acting_for("kim")), ReasonCode::IdempotencyConflict);
    assert_eq!(world.refused(&ledger, &call(3)), ReasonCode::IdempotencyConflict);
    assert_eq!(world.refused(&ledger, &call(4).acting_for("maya")), ReasonCode::IdempotencyInFlight);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_limit_per_principal_counts_all_agents_of_one_and_an_agent_of_nobody_as_itself() {
    let limits = "[limits.each]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nper = [\"principal\"]\nmax = 2\n\
                  window = { sliding = \"1d\" }\n";
    let world = World::limited(limits);
    let ledger = world.start();
    // No people in this bundle: the agent for whom it acts is the other one.
    world.permitted(&ledger, &charge(1).acting_for("stranger-agent"));
    world.permitted(&ledger, &charge(2));
    world.permitted(&ledger, &charge(3).acting_for("stranger-agent"));
    assert_eq!(world.refused(&ledger, &charge(4).acting_for("stranger-agent")), ReasonCode::LimitsExceeded);
    let last = world.permitted(&ledger, &charge(5));
    assert_eq!(last.limits.first().map(|read| (read.used, read.max)), Some((1, 2)));
    assert_eq!(world.refused(&ledger, &charge(6)), ReasonCode::LimitsExceeded);
    drop(ledger);
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &charge(7).acting_for("stranger-agent")), ReasonCode::LimitsExceeded);
    drop(ledger);
    assert_eq!(replay(&world), (vec![], vec![]));
}
