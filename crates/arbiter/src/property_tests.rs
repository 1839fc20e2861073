//! The whole road from a call to its record, for random bundles and requests: `PORTCULLIS_BUNDLES=2500` tries more than
//! 100,000, `PORTCULLIS_SEED` repeats a run.

use std::collections::BTreeSet;

use portcullis_policy::Bundle;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AttemptId, Decision, DecisionRecord, Millis, ReasonCode, Record, Salt, Verdict};

use crate::fact::{Clock, Evidence, Fact, GateState, Policy, State, Validity};
use crate::random_bundles::{Random, Shape, bundles};
use crate::testing::verified;
use crate::{
    Credential, Health, Intake, PolicyNow, Replay, Room, Settled, Standing, prepare, record, settle,
};

const NOW: Millis = Millis(1_800_000_000_000);
const FEW: usize = 25;
const REQUESTS: usize = 50;

fn health(bundle: &Bundle) -> Health {
    let digest = Some(bundle.reference().digest);
    Health {
        gate: Fact::Known(GateState::Open),
        clock: Fact::Known(Clock::Steady),
        evidence: Fact::Known(Evidence::Sound),
        state: Fact::Known(State::Held),
        policy: Fact::Known(PolicyNow { digest, policy: Policy::InForce(Validity::Valid) }),
        witnesses: Fact::Known(true),
        now: NOW,
        boot: 10_500,
    }
}

fn intake(bundle: &Bundle, agent: &str, ask: &str, authenticated: Option<Millis>) -> Intake {
    let call = DecisionCall {
        request: Ask::parse(ask.as_bytes()).unwrap(),
        attempt: AttemptId::from_bytes([1; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
    };
    let credential = Credential { agent: agent.parse().unwrap(), expires: None, authenticated };
    prepare(call, credential, Ok(bundle), 10_000, &BTreeSet::new()).unwrap()
}

/// The record of a call, which is one to every reader and is decided again byte for byte.
fn decided(bundle: &Bundle, intake: &Intake, health: &Health) -> DecisionRecord {
    let Settled::Decided(verdict) = settle(intake, health, Fact::Known(None), Room::Of(&Standing::new()))
    else {
        panic!("not decided")
    };
    let entry = record(intake, &verdict, 4, health, &Standing::new());
    let bytes = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
    assert_eq!(Record::parse(&bytes).unwrap(), Record::Decision(Box::new(entry.clone())));
    let replay =
        Replay::prepare(&entry, intake.request.ask.clone(), intake.salt, Some(bundle), &Standing::new())
            .unwrap();
    assert_eq!(replay.decide(None, &Standing::new()).unwrap(), entry);
    entry
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
            let intake = intake(&bundle, &agent, &ask, authenticated);
            let evaluation = bundle.evaluate(&intake.request);
            let owed = &evaluation.obligations;
            let fresh = owed.identity_within_ms.is_none_or(|_| authenticated == Some(NOW));
            let expected =
                matches!(evaluation.verdict, Verdict::Permit(_)) && owed.approvals.is_empty() && fresh;
            let entry = decided(&bundle, &intake, &sound);
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
                assert_ne!(decided(&bundle, &intake, &less).decision, Decision::Permit);
            }
            let alone = Health { witnesses: Fact::Unknown, ..sound.clone() };
            assert_eq!(decided(&bundle, &intake, &alone).decision == Decision::Permit, !owed.witnessed);
        }
    }
    assert!(permits > bundles && owing > bundles, "{permits} permits, {owing} with obligations");
}
