use super::*;
use std::collections::BTreeSet;

use portcullis_policy::Bundle;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AttemptId, Decision, DecisionRecord, KeptRequest, ReasonCode, Record, Salt};

use crate::testing::{given, sound, sourced, sourced_from};
use crate::{
    Credential, Intake, Mandate, Replay, ReplayFault, Room, Settled, Standing, prepare_informed, record,
    settle,
};

const NOW: Millis = Millis(1_800_000_000_000);
const MINUTE: u64 = 60_000;

const EXCEPTION: &str = r#"
[[exceptions]]
surface = "demo.read_balance"
covers = ["fact.stale"]
sources = ["directory"]
max_age = "1h"
owner = "zoe"
reason = "the directory is moved"
review = "2027-01-02T00:00:00Z"
until = "2027-01-31T00:00:00Z"
"#;

/// A bundle with the exception, which is in force at [`NOW`].
fn excepting() -> Bundle {
    sourced_from("2027-01-01T00:00:00Z", EXCEPTION)
}

fn ask(surface: &str, amount: Option<&str>) -> Ask {
    let amount = amount.map_or_else(String::new, |amount| format!(r#","amount":"{amount}""#));
    let key = if surface == "demo.charge" { r#","idempotency_key":"k""# } else { "" };
    let text = format!(
        r#"{{"surface":"{surface}","action":"{surface}","resource":{{"type":"Surface","id":"{surface}"}},
        "context":{{"account":"a"{amount}}}{key}}}"#
    );
    Ask::parse(text.as_bytes()).unwrap()
}

fn read() -> Ask {
    ask("demo.read_balance", None)
}

fn prepared(bundle: &Bundle, agent: &str, request: Ask, facts: Option<&Gathered>) -> Intake {
    let call = DecisionCall {
        request,
        attempt: AttemptId::from_bytes([1; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
        payload: None,
    };
    let credential = Credential {
        agent: agent.parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated: None,
    };
    prepare_informed(call, credential, Ok(bundle), 10_000, (&BTreeSet::new(), facts)).unwrap()
}

fn kept(request: Ask, salt: Salt) -> KeptRequest {
    KeptRequest { request, salt, payload: None }
}

/// Surroundings in which the directory says this.
fn health(bundle: &Bundle, facts: Option<&Gathered>) -> Health {
    let sources = facts.map_or(Fact::Unknown, |facts| Fact::Known(facts.used().clone()));
    Health { sources, ..sound(bundle, NOW) }
}

/// The record of a call, which is one to every reader and is decided again byte for byte.
fn decided(bundle: &Bundle, intake: &Intake, facts: Option<&Gathered>, health: &Health) -> DecisionRecord {
    let standing = Standing::new();
    let Settled::Decided(verdict) = settle(intake, health, Fact::Known(None), Room::Of(&standing)) else {
        panic!("evaluate again")
    };
    let entry = record(intake, &verdict, 4, health, &standing);
    let bytes = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
    assert_eq!(Record::parse(&bytes), Ok(Record::Decision(Box::new(entry.clone()))));
    let (request, salt) = (intake.request.ask.clone(), intake.salt);
    let replay =
        Replay::prepare_informed(&entry, kept(request, salt), (Some(bundle), facts), &standing).unwrap();
    assert_eq!(replay.decide(None, &standing).unwrap(), entry);
    entry
}

/// What becomes of a call by facts of this age; of none if there is none.
fn by_facts(bundle: &Bundle, agent: &str, request: Ask, age: Option<u64>) -> DecisionRecord {
    let given = age.map(|age| given(Millis(NOW.0 - age), &["other"]));
    let facts = given.map(|given| bundle.gather(&given, None).unwrap());
    let intake = prepared(bundle, agent, request, facts.as_ref());
    decided(bundle, &intake, facts.as_ref(), &health(bundle, facts.as_ref()))
}

#[test]
fn a_record_says_which_facts_were_asked_and_how_old_they_were() {
    let bundle = sourced("");
    let entry = by_facts(&bundle, "demo-agent", read(), Some(MINUTE));
    assert_eq!((entry.decision, entry.exception), (Decision::Permit, None));
    let used = entry.facts.sources[&"directory".parse::<SourceName>().unwrap()];
    assert_eq!((used.age_at(entry.time), used.max_age_ms), (Some(MINUTE), 10 * MINUTE));
}

#[test]
fn facts_that_are_missing_stale_or_from_the_future_permit_nothing() {
    let bundle = sourced("");
    let reason = |age| by_facts(&bundle, "demo-agent", read(), age).reason;
    assert_eq!(reason(Some(0)), None);
    assert_eq!(reason(Some(10 * MINUTE)), None);
    assert_eq!(reason(Some(10 * MINUTE + 1)), Some(ReasonCode::FactStale));
    assert_eq!(reason(None), Some(ReasonCode::FactUnavailable));
    let future = bundle.gather(&given(NOW.plus(1), &[]), None).unwrap();
    let intake = prepared(&bundle, "demo-agent", read(), Some(&future));
    let entry = decided(&bundle, &intake, Some(&future), &health(&bundle, Some(&future)));
    assert_eq!(entry.reason, Some(ReasonCode::FactUnavailable));
}

#[test]
fn an_agent_that_the_directory_does_not_give_is_a_stranger_and_without_it_nobody_is() {
    let bundle = sourced("");
    assert_eq!(by_facts(&bundle, "nobody", read(), Some(0)).reason, Some(ReasonCode::IdentityUnknown));
    assert_eq!(by_facts(&bundle, "nobody", read(), None).reason, Some(ReasonCode::FactUnavailable));
}

#[test]
fn an_exception_permits_on_stale_facts_up_to_its_bound_and_says_so() {
    let bundle = excepting();
    let entry = by_facts(&bundle, "demo-agent", read(), Some(60 * MINUTE));
    let excepted = entry.exception.unwrap();
    assert_eq!(excepted.covers, Coverable::FactStale);
    assert_eq!(excepted.sources, BTreeSet::from(["directory".parse().unwrap()]));
    let fresh = by_facts(&bundle, "demo-agent", read(), Some(10 * MINUTE));
    assert_eq!((fresh.decision, fresh.exception), (Decision::Permit, None), "nothing was to be excepted");
    for (age, code) in [(Some(60 * MINUTE + 1), ReasonCode::FactStale), (None, ReasonCode::FactUnavailable)] {
        assert_eq!(by_facts(&bundle, "demo-agent", read(), age).reason, Some(code));
    }
}

/// It could wait for minutes longer than the exception by which it was one.
#[test]
fn a_permit_was_spent_after_the_end_of_its_exception() {
    let bundle = excepting();
    let (end, hour) = (Millis(1_801_353_600_000), 60 * MINUTE);
    let own = bundle.surfaces().surfaces[&"demo.read_balance".parse().unwrap()].permit_ttl_ms;
    assert!(end < bundle.validity().1);
    let at = |left: u64| {
        let now = Millis(end.0 - left);
        let facts = bundle.gather(&given(Millis(now.0 - hour), &["other"]), None).unwrap();
        let intake = prepared(&bundle, "demo-agent", read(), Some(&facts));
        decided(&bundle, &intake, Some(&facts), &Health { now, ..health(&bundle, Some(&facts)) })
    };
    for (left, expected) in [(10 * own, own), (own, own), (own - 1, own - 1), (1, 1)] {
        let entry = at(left);
        assert!(entry.exception.is_some(), "{left}");
        assert_eq!((entry.decision, entry.permit_ttl_ms), (Decision::Permit, Some(expected)), "{left}");
    }
    assert_eq!(at(0).reason, Some(ReasonCode::FactStale));
}

#[test]
fn an_exception_is_for_its_own_surface_and_stands_in_for_nothing_else() {
    let bundle = excepting();
    let stale = |agent: &str, request| by_facts(&bundle, agent, request, Some(30 * MINUTE)).reason;
    assert_eq!(stale("demo-agent", read()), None);
    for (agent, request) in [
        ("demo-agent", ask("demo.charge", Some("1.00"))),
        ("other", read()),
        ("nobody", read()),
        ("demo-agent", ask("demo.delete_account", None)),
    ] {
        assert_eq!(stale(agent, request), Some(ReasonCode::FactStale), "the facts were stale first");
    }
}

#[test]
fn facts_that_moved_since_policy_was_asked_are_asked_again() {
    let bundle = sourced("");
    let gather = |as_of, agents: &[&str]| bundle.gather(&given(as_of, agents), None).unwrap();
    let seen = gather(Millis(NOW.0 - 5), &["other"]);
    let (other, later, earlier) = (
        gather(Millis(NOW.0 - 4), &[]),
        gather(Millis(NOW.0 - 4), &["other"]),
        gather(Millis(NOW.0 - 6), &["other"]),
    );
    let mut intake = prepared(&bundle, "demo-agent", read(), Some(&seen));
    let settled = |intake: &Intake, now: Option<&Gathered>| {
        settle(intake, &health(&bundle, now), Fact::Known(None), Room::Of(&Standing::new()))
    };
    for now in [Some(&other), Some(&earlier), None] {
        assert_eq!(settled(&intake, now), Settled::EvaluateAgain);
    }
    assert!(
        matches!(settled(&intake, Some(&later)), Settled::Decided(verdict) if verdict.reason().is_none())
    );
    let unseen = prepared(&bundle, "demo-agent", read(), None);
    assert_eq!(settled(&unseen, Some(&seen)), Settled::EvaluateAgain);
    intake.last_try = true;
    for now in [Some(&other), Some(&earlier), None] {
        let entry = decided(&bundle, &intake, Some(&seen), &health(&bundle, now));
        assert_eq!((entry.reason, entry.facts.sources_moved), (Some(ReasonCode::OverloadContended), true));
    }
}

#[test]
fn a_permit_is_told_again_by_the_same_facts_and_by_no_others() {
    let bundle = sourced("");
    let gather = |as_of, agents: &[&str]| bundle.gather(&given(as_of, agents), None).unwrap();
    let seen = gather(Millis(NOW.0 - 5), &["other"]);
    let intake = prepared(&bundle, "demo-agent", read(), Some(&seen));
    let entry = decided(&bundle, &intake, Some(&seen), &health(&bundle, Some(&seen)));
    let verdict = portcullis_protocol::Verdict::Permit(entry.policies.clone());
    let again = |facts: &Gathered| {
        prepared(&bundle, "demo-agent", read(), Some(facts)).is_permit_of(&verdict, &entry, NOW)
    };
    assert!(again(&seen) && again(&gather(NOW, &["other"])));
    assert!(!again(&gather(NOW, &[])) && !again(&gather(Millis(NOW.0 - 6), &["other"])));
}

/// Its record would say of no exception, and nobody would know that the facts were stale when it ran.
#[test]
fn a_permit_on_fresh_facts_was_told_again_on_stale_ones_by_an_exception_that_is_not_on_record() {
    let bundle = excepting();
    let seen = bundle.gather(&given(Millis(NOW.0 - 9 * MINUTE), &["other"]), None).unwrap();
    let intake = prepared(&bundle, "demo-agent", read(), Some(&seen));
    let entry = decided(&bundle, &intake, Some(&seen), &health(&bundle, Some(&seen)));
    assert_eq!((entry.decision, &entry.exception), (Decision::Permit, &None));
    let later = |minutes: u64| {
        let health = Health { now: NOW.plus(minutes * MINUTE), ..health(&bundle, Some(&seen)) };
        let standing = Standing::new();
        let Settled::Decided(verdict) = settle(&intake, &health, Fact::Known(None), Room::Of(&standing))
        else {
            panic!("evaluate again")
        };
        (verdict.reason(), intake.is_permit_of(&verdict, &entry, health.now))
    };
    assert_eq!(later(1), (None, true));
    // Permitted anew it would be, and on record as such.
    assert_eq!(later(2), (None, false));
}

#[test]
fn a_decision_is_replayed_by_the_facts_that_it_names_or_not_at_all() {
    let bundle = sourced("");
    let seen = bundle.gather(&given(NOW, &["other"]), None).unwrap();
    let other = bundle.gather(&given(NOW, &[]), None).unwrap();
    let entry = by_facts(&bundle, "demo-agent", read(), Some(0));
    let replayed = |facts| {
        let salt = Salt::from_bytes([2; 32]);
        Replay::prepare_informed(&entry, kept(read(), salt), (Some(&bundle), facts), &Standing::new()).err()
    };
    assert_eq!(replayed(Some(&seen)), None);
    assert_eq!(replayed(Some(&other)), Some(ReplayFault::OtherFacts));
    assert_eq!(replayed(None), Some(ReplayFault::OtherFacts));
}

/// Monotonic in knowledge: with a source missing or stale nothing is permitted that is not with it fresh, and nothing at all
/// but what an exception of the bundle covers, which the record then names.
#[test]
fn a_source_less_or_older_never_adds_a_permit_but_by_an_exception_that_the_record_names() {
    let (mut permits, mut excepted) = (0, 0);
    for bundle in [sourced(""), excepting()] {
        for agent in ["demo-agent", "other", "nobody"] {
            for request in [
                read(),
                ask("demo.charge", Some("1.00")),
                ask("demo.charge", Some("1000.00")),
                ask("demo.delete_account", None),
            ] {
                let fresh = by_facts(&bundle, agent, request.clone(), Some(0));
                permits += usize::from(fresh.decision == Decision::Permit);
                for less in
                    [None, Some(11 * MINUTE), Some(59 * MINUTE), Some(61 * MINUTE), Some(24 * 60 * MINUTE)]
                {
                    let entry = by_facts(&bundle, agent, request.clone(), less);
                    assert_ne!(entry.decision, Decision::Deny, "what is not known is no ground for a DENY");
                    if entry.decision == Decision::Permit {
                        excepted += 1;
                        assert_eq!(fresh.decision, Decision::Permit);
                        assert!(entry.exception.is_some_and(|it| it.covers == Coverable::FactStale));
                        assert!(bundle.exceptions().iter().any(|it| it.surface == entry.surface));
                    }
                }
            }
        }
    }
    assert_eq!((permits, excepted), (4, 2));
}

/// The standing after a log whose one record named these facts at this time.
fn after(facts: &Gathered, time: Millis) -> Standing {
    let mut standing = Standing::new();
    standing.hear(time, facts.used());
    standing
}

#[test]
fn facts_older_than_those_on_record_were_asked() {
    let gather = |bundle: &Bundle, ago, agents: &[&str]| {
        bundle.gather(&given(Millis(NOW.0 - ago), agents), None).unwrap()
    };
    for bundle in [sourced(""), excepting()] {
        let standing = after(&gather(&bundle, MINUTE, &["other"]), NOW);
        let again = Standing::from_rows(&standing.rows()).unwrap();
        assert_eq!(again.heard(), standing.heard(), "a start knows it again");
        for (ago, agents, reason) in [
            (2 * MINUTE, &["stranger"][..], Some(ReasonCode::FactRolledBack)),
            (11 * MINUTE, &["stranger"], Some(ReasonCode::FactRolledBack)),
            // The same entities are no older truth, and as old as they say to be.
            (2 * MINUTE, &["other"], None),
            (MINUTE, &["stranger"], None),
            (0, &["stranger"], None),
        ] {
            let facts = gather(&bundle, ago, agents);
            let intake = prepared(&bundle, "demo-agent", read(), Some(&facts));
            let health = health(&bundle, Some(&facts));
            let labels = BTreeSet::new();
            for room in [Room::Of(&again), Room::Taken(&again, &labels)] {
                let settled = settle(&intake, &health, Fact::Known(None), room);
                let Settled::Decided(verdict) = settled else { panic!("evaluate again") };
                assert_eq!(verdict.reason(), reason, "{ago} {agents:?}");
                let entry = record(&intake, &verdict, 4, &health, &again);
                assert_eq!(entry.exception, None);
                let bytes = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
                assert_eq!(Record::parse(&bytes), Ok(Record::Decision(Box::new(entry.clone()))));
                let (ask, salt) = (intake.request.ask.clone(), intake.salt);
                let replay =
                    Replay::prepare_informed(&entry, kept(ask, salt), (Some(&bundle), Some(&facts)), &again);
                assert_eq!(replay.unwrap().decide(None, &again).unwrap(), entry);
            }
        }
    }
}

#[test]
fn a_source_that_was_once_ahead_of_the_time_was_held_to_that_for_ever() {
    let bundle = sourced("");
    let gather = |as_of, agents: &[&str]| bundle.gather(&given(as_of, agents), None).unwrap();
    let (ahead, now) = (gather(Millis(NOW.0 + 1), &["other"]), gather(NOW, &["stranger"]));
    // Refused by the record that names them, they are no newest.
    assert!(after(&ahead, NOW).heard().is_empty());
    // Taken while the clock was wrong, they are none once that is right.
    let standing = after(&ahead, Millis(NOW.0 + MINUTE));
    assert!(!standing.is_past(now.used(), NOW) && standing.is_past(now.used(), Millis(NOW.0 + 1)));
    // What comes later in the log, and is older, changes nothing.
    let mut standing = after(&now, NOW);
    standing.hear(NOW, gather(Millis(NOW.0 - 1), &["other"]).used());
    assert_eq!(standing.heard(), after(&now, NOW).heard());
}
