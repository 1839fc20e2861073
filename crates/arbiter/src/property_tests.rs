//! The whole road from a call to its record, for random bundles and requests: `PORTCULLIS_BUNDLES=2500` tries more than
//! 100,000, `PORTCULLIS_SEED` repeats a run.

use std::collections::BTreeSet;

use portcullis_policy::Bundle;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{
    AttemptId, Decision, DecisionRecord, LabelName, Millis, ReasonCode, Record, Salt, Verdict,
};

use crate::fact::Fact;
use crate::random_bundles::{Random, Shape, bundles};
use crate::testing::{sound, verified};
use crate::{Credential, Health, Intake, Mandate, Replay, Room, Settled, Standing, prepare, record, settle};

const NOW: Millis = Millis(1_800_000_000_000);
const FEW: usize = 25;
const REQUESTS: usize = 50;

fn health(bundle: &Bundle) -> Health {
    sound(bundle, NOW)
}

/// A call whose credential lets its agent act for whom it names, and for nobody if it names nobody.
fn intake(bundle: &Bundle, agent: &str, ask: &str, authenticated: Option<Millis>) -> Intake {
    labelled(bundle, agent, ask, authenticated, &BTreeSet::new())
}

/// The same of an agent with these labels.
fn labelled(
    bundle: &Bundle,
    agent: &str,
    ask: &str,
    authenticated: Option<Millis>,
    labels: &BTreeSet<LabelName>,
) -> Intake {
    let named = Ask::parse(ask.as_bytes()).unwrap().acts_for;
    prepared(bundle, agent, ask, (Mandate::of(named.into_iter().collect()), authenticated), labels)
}

fn by(bundle: &Bundle, agent: &str, ask: &str, acts_for: Mandate, authenticated: Option<Millis>) -> Intake {
    prepared(bundle, agent, ask, (acts_for, authenticated), &BTreeSet::new())
}

fn prepared(
    bundle: &Bundle,
    agent: &str,
    ask: &str,
    (acts_for, authenticated): (Mandate, Option<Millis>),
    labels: &BTreeSet<LabelName>,
) -> Intake {
    let call = DecisionCall {
        request: Ask::parse(ask.as_bytes()).unwrap(),
        attempt: AttemptId::from_bytes([1; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
        payload: None,
    };
    let credential = Credential { agent: agent.parse().unwrap(), acts_for, expires: None, authenticated };
    prepare(call, credential, Ok(bundle), 10_000, labels).unwrap()
}

/// The record of a call, which is one to every reader and is decided again byte for byte.
fn decided(bundle: &Bundle, intake: &Intake, health: &Health) -> DecisionRecord {
    decided_after(bundle, intake, health, &Standing::new())
}

/// The same after what the log so far left.
fn decided_after(bundle: &Bundle, intake: &Intake, health: &Health, standing: &Standing) -> DecisionRecord {
    let Settled::Decided(verdict) = settle(intake, health, Fact::Known(None), Room::Of(standing)) else {
        panic!("not decided")
    };
    let entry = record(intake, &verdict, 4, health, standing);
    let bytes = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
    assert_eq!(Record::parse(&bytes).unwrap(), Record::Decision(Box::new(entry.clone())));
    let replay =
        Replay::prepare(&entry, intake.request.ask.clone(), intake.salt, Some(bundle), standing).unwrap();
    assert_eq!(replay.decide(None, standing).unwrap(), entry);
    entry
}

/// What a log left by which an agent has these labels.
fn having(agent: &str, labels: &BTreeSet<LabelName>) -> Standing {
    let mut standing = Standing::new();
    let stay = labels.iter().map(|label| (label.clone(), NOW.plus(60_000))).collect();
    standing.label(&agent.parse().unwrap(), None, NOW, &stay);
    standing
}

type Spoil = fn(&mut Health);

/// Each fact of the surroundings, not known any more.
const FORGET: [Spoil; 6] = [
    |health| health.gate = Fact::Unknown,
    |health| health.clock = Fact::Unknown,
    |health| health.evidence = Fact::Unknown,
    |health| health.state = Fact::Unknown,
    |health| health.policy = Fact::Unknown,
    |health| health.boot = u64::MAX,
];

/// A PERMIT is settled exactly where policy permits (and so Cedar allows without error: the property of the policy crate)
/// and everything that the grants ask for is met; with any fact less there is none.
#[test]
fn a_permit_is_settled_only_where_policy_permits_and_obligations_are_met() {
    let (mut random, mut permits, mut owing) = (Random::seeded(), 0, 0);
    let bundles = bundles(FEW);
    for _ in 0..bundles {
        let shape = Shape::random(&mut random);
        let bundle = verified(shape.files());
        let sound = health(&bundle);
        for _ in 0..REQUESTS {
            let (agent, ask) = shape.request(&mut random);
            let authenticated = [None, Some(NOW), Some(Millis(NOW.0 - 600_000))][random.below(3)];
            let labels: BTreeSet<LabelName> =
                Shape::labels(&mut random).into_iter().map(|label| label.parse().unwrap()).collect();
            let standing = having(&agent, &labels);
            let intake = labelled(&bundle, &agent, &ask, authenticated, &labels);
            let evaluation = bundle.evaluate_labelled(&intake.request, &labels);
            let owed = &evaluation.obligations;
            let fresh = owed.identity_within_ms.is_none_or(|_| authenticated == Some(NOW));
            let expected =
                matches!(evaluation.verdict, Verdict::Permit(_)) && owed.approvals.is_empty() && fresh;
            let entry = decided_after(&bundle, &intake, &sound, &standing);
            assert_eq!(entry.decision == Decision::Permit, expected, "{ask}: {entry:?}");
            if !owed.approvals.is_empty() && fresh {
                assert_eq!(entry.reason, Some(ReasonCode::ApprovalRequired));
            }
            owing += usize::from(!owed.is_empty());
            if !expected {
                continue;
            }
            permits += 1;
            assert_eq!((entry.witnessed, &entry.obligations), (owed.witnessed, owed));
            for forget in FORGET {
                let mut less = sound.clone();
                forget(&mut less);
                assert_ne!(decided_after(&bundle, &intake, &less, &standing).decision, Decision::Permit);
            }
            let alone = Health { witnesses: Fact::Unknown, ..sound.clone() };
            assert_eq!(
                decided_after(&bundle, &intake, &alone, &standing).decision == Decision::Permit,
                !owed.witnessed
            );
        }
    }
    assert!(permits > bundles && owing > bundles, "{permits} permits, {owing} with obligations");
}

/// For whom an agent acts is one fact of the request and one of its credential; without either, or with another, there is
/// no PERMIT.
#[test]
fn a_principal_less_or_another_never_turns_a_refusal_into_a_permit() {
    let (mut random, mut permits, mut refusals) = (Random::seeded(), 0, 0);
    for _ in 0..bundles(FEW) {
        let shape = Shape::random(&mut random);
        let bundle = verified(shape.files());
        let sound = health(&bundle);
        for _ in 0..REQUESTS {
            let (agent, ask) = shape.request(&mut random);
            let Some(named) = Ask::parse(ask.as_bytes()).unwrap().acts_for else { continue };
            let whole = decided(&bundle, &intake(&bundle, &agent, &ask, Some(NOW)), &sound);
            permits += usize::from(whole.decision == Decision::Permit);
            refusals += usize::from(whole.decision != Decision::Permit);
            let listed = || Mandate::of([named.clone()].into());
            let member = format!("\"acts_for\":\"{named}\",");
            let (unnamed, renamed) =
                (ask.replace(&member, ""), ask.replace(&member, "\"acts_for\":\"other\","));
            for (ask, mandate) in [
                (&unnamed, listed()),
                (&renamed, listed()),
                (&renamed, Mandate::nobody()),
                (&ask, Mandate::nobody()),
                (&ask, Mandate::of(["other".parse().unwrap()].into())),
            ] {
                let less = decided(&bundle, &by(&bundle, &agent, ask, mandate, Some(NOW)), &sound);
                let expected = match whole.reason {
                    Some(ReasonCode::IdentityUnknown) => ReasonCode::IdentityUnknown,
                    Some(_) | None => ReasonCode::IdentityPrincipal,
                };
                assert_eq!(less.reason, Some(expected), "{ask}");
            }
        }
    }
    assert!(permits > 20 && refusals > 20, "{permits} {refusals}");
}

/// Exception: a claim that is left out. Whoever may act for nobody and says that it acts for somebody is refused for the
/// claim; without it, it asks for itself, as it might have from the beginning.
#[test]
fn an_agent_that_may_act_for_nobody_asks_for_itself_without_its_claim() {
    let bundle = crate::testing::delegated();
    let ask = |named: &str| {
        format!(
            r#"{{{named}"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
            "context":{{"account":"a","amount":"1.00"}},"idempotency_key":"k"}}"#
        )
    };
    let reason = |named: &str| {
        let intake = by(&bundle, "demo-agent", &ask(named), Mandate::nobody(), None);
        decided(&bundle, &intake, &health(&bundle)).reason
    };
    assert_eq!(reason(r#""acts_for":"maya","#), Some(ReasonCode::IdentityPrincipal));
    assert_eq!(reason(""), None);
}
