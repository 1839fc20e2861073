use super::*;
use crate::fact::{Clock, Evidence, GateState, Policy, State, Validity};
use crate::idempotency::KeyStatus;
use crate::settle::{Health, PolicyNow, prepare};
use crate::testing::{changed, demo};
use portcullis_protocol::{AttemptId, BundleDigest, Decision, Digest, Millis, Payload, Record, Verdict};
use std::collections::BTreeSet;

const NOW: Millis = Millis(1_800_000_000_000);

/// Whose charges must be witnessed.
fn witnessed() -> Bundle {
    let begin = "[surfaces.\"demo.charge\"]\n";
    changed(|manifest| manifest.replace(begin, &format!("{begin}witnessed = true\n")))
}

fn ask(amount: &str, key: &str) -> Ask {
    let text = format!(
        r#"{{"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
        "context":{{"account":"a","amount":"{amount}"}},"idempotency_key":"{key}"}}"#
    );
    Ask::parse(text.as_bytes()).unwrap()
}

fn salt() -> Salt {
    Salt::from_bytes([2; 32])
}

/// Every health that a call can be settled in, one fact at a time.
fn healths(bundle: &Bundle) -> Vec<Health> {
    let digest = Some(bundle.reference().digest);
    let policy = |digest, policy| Fact::Known(PolicyNow { digest, root: None, policy });
    let sound = Health {
        gate: Fact::Known(GateState::Open),
        clock: Fact::Known(Clock::Steady),
        evidence: Fact::Known(Evidence::Sound),
        state: Fact::Known(State::Held),
        policy: policy(digest, Policy::InForce(Validity::Valid)),
        sources: Fact::Known(portcullis_protocol::Snapshots::new()),
        witnesses: Fact::Known(true),
        now: NOW,
        boot: 500,
    };
    let mut all = vec![sound.clone(), Health { boot: 99_999, ..sound.clone() }];
    for gate in [Fact::Known(GateState::Shut), Fact::Unknown] {
        all.push(Health { gate, ..sound.clone() });
    }
    for clock in [Fact::Known(Clock::Jumped), Fact::Known(Clock::BehindLog), Fact::Unknown] {
        all.push(Health { clock, ..sound.clone() });
    }
    for evidence in [Fact::Known(Evidence::Tripped(ReasonCode::EvidenceDiskReserve)), Fact::Unknown] {
        all.push(Health { evidence, ..sound.clone() });
    }
    for state in [Fact::Known(State::Fenced), Fact::Unknown] {
        all.push(Health { state, ..sound.clone() });
    }
    let other = Some(BundleDigest(Digest::sha256(b"another bundle")));
    let refused = Policy::Refused(ReasonCode::PolicyMissing);
    for (digest, now) in [
        (digest, Policy::InForce(Validity::NotYet)),
        (digest, Policy::InForce(Validity::Expired)),
        (None, Policy::InForce(Validity::Valid)),
        (other, Policy::InForce(Validity::Valid)),
        (other, Policy::InForce(Validity::Expired)),
        (None, refused),
        (digest, refused),
        (other, refused),
    ] {
        all.push(Health { policy: policy(digest, now), ..sound.clone() });
    }
    for witnesses in [Fact::Known(false), Fact::Unknown] {
        all.push(Health { witnesses, ..sound.clone() });
    }
    all.push(Health { policy: Fact::Unknown, ..sound });
    all
}

/// Settles a call and gives its record, as the log would have it.
fn decided(
    bundle: Option<&Bundle>,
    request: &Ask,
    credential: &Credential,
    health: &Health,
    stored: Option<StoredKey>,
) -> DecisionRecord {
    decided_bringing(None, bundle, request, credential, health, stored)
}

/// The same of a call that brings this along.
fn decided_bringing(
    payload: Option<Payload>,
    bundle: Option<&Bundle>,
    request: &Ask,
    credential: &Credential,
    health: &Health,
    stored: Option<StoredKey>,
) -> DecisionRecord {
    let call = DecisionCall {
        request: request.clone(),
        attempt: AttemptId::from_bytes([1; 32]),
        salt: salt(),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
        payload,
    };
    let bundle = bundle.ok_or(ReasonCode::PolicyMissing);
    let mut intake = prepare(call, credential.clone(), bundle, 0, &BTreeSet::new()).unwrap();
    intake.last_try = matches!(
        settle(&intake, health, Fact::Known(stored), Room::Of(&Standing::new())),
        Settled::EvaluateAgain
    );
    let Settled::Decided(verdict) = settle(&intake, health, Fact::Known(stored), Room::Of(&Standing::new()))
    else {
        panic!()
    };
    let entry = record(&intake, &verdict, 9, health, &Standing::new());
    // What the log holds is what is read back from its bytes.
    let bytes = Record::Decision(Box::new(entry)).to_bytes().unwrap();
    let Record::Decision(entry) = Record::parse(&bytes).unwrap() else { panic!() };
    *entry
}

#[test]
fn whatever_was_decided_is_decided_again_byte_for_byte() {
    let bundle = demo();
    let operation = ask("1.00", "k").by("demo-agent".parse().unwrap()).operation().unwrap();
    let key = |status, operation| Some(StoredKey { operation, status, consumed: Millis(NOW.0 - 5) });
    let stored = [
        None,
        key(KeyStatus::InFlight, operation),
        key(KeyStatus::Completed, operation),
        key(KeyStatus::Unknown, operation),
        key(KeyStatus::Completed, Digest::sha256(b"another operation")),
    ];
    let mut seen = std::collections::BTreeSet::new();
    for health in healths(&bundle) {
        for stored in stored {
            for (agent, expires, amount) in [
                ("demo-agent", None, "1.00"),
                ("demo-agent", Some(Millis(NOW.0 + 1)), "1.00"),
                ("demo-agent", Some(NOW), "1.00"),
                ("stranger", None, "1.00"),
                ("demo-agent", None, "1000000.00"),
                ("demo-agent", None, "1.0"),
            ] {
                for bundle in [Some(&bundle), None] {
                    let credential = Credential {
                        agent: agent.parse().unwrap(),
                        acts_for: Mandate::nobody(),
                        expires,
                        authenticated: None,
                    };
                    let request = ask(amount, "k");
                    let entry = decided(bundle, &request, &credential, &health, stored);
                    seen.insert(entry.reason);
                    let replay = Replay::prepare(&entry, request, salt(), bundle, &Standing::new()).unwrap();
                    assert_eq!(
                        replay.decide(stored, &Standing::new()).unwrap(),
                        entry,
                        "{health:?} {stored:?}"
                    );
                }
            }
        }
    }
    assert!(seen.len() >= 20 && seen.contains(&None), "too little was decided: {seen:?}");
}

fn permit(bundle: &Bundle) -> DecisionRecord {
    let credential = Credential {
        agent: "demo-agent".parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated: None,
    };
    let health = healths(bundle).remove(0);
    let entry = decided(Some(bundle), &ask("1.00", "k"), &credential, &health, None);
    assert_eq!(entry.decision, Decision::Permit);
    entry
}

#[test]
fn a_flipped_verdict_is_not_what_its_facts_lead_to() {
    let bundle = demo();
    let mut entry = permit(&bundle);
    let verdict = Verdict::Refuse(ReasonCode::PolicyNoGrant, Vec::new());
    entry.decision = verdict.decision();
    entry.reason = verdict.reason();
    let replayed =
        Replay::prepare(&entry, ask("1.00", "k"), salt(), Some(&bundle), &Standing::new()).unwrap();
    assert_ne!(replayed.decide(None, &Standing::new()).unwrap(), entry);
}

#[test]
fn another_request_salt_agent_or_bundle_is_not_the_record_s() {
    let bundle = demo();
    let entry = permit(&bundle);
    let fault = |entry: &DecisionRecord, ask, salt, bundle| {
        Replay::prepare(entry, ask, salt, bundle, &Standing::new()).err()
    };
    assert_eq!(fault(&entry, ask("1.00", "k"), salt(), Some(&bundle)), None);
    let other = Some(ReplayFault::OtherRequest);
    assert_eq!(fault(&entry, ask("2.00", "k"), salt(), Some(&bundle)), other);
    assert_eq!(fault(&entry, ask("1.00", "k"), Salt::from_bytes([3; 32]), Some(&bundle)), other);
    let mut another = entry.clone();
    another.agent = "stranger".parse().unwrap();
    assert_eq!(fault(&another, ask("1.00", "k"), salt(), Some(&bundle)), other);
    assert_eq!(fault(&entry, ask("1.00", "k"), salt(), None), Some(ReplayFault::OtherBundle));
    another = entry.clone();
    another.bundle = None;
    assert_eq!(fault(&another, ask("1.00", "k"), salt(), Some(&bundle)), Some(ReplayFault::OtherBundle));
}

#[test]
fn facts_that_lead_to_no_decision_are_a_fault_not_a_permit() {
    let bundle = demo();
    let mut entry = permit(&bundle);
    entry.facts.in_force = Some(BundleDigest(Digest::sha256(b"another bundle")));
    let replay = Replay::prepare(&entry, ask("1.00", "k"), salt(), Some(&bundle), &Standing::new()).unwrap();
    assert_eq!(replay.decide(None, &Standing::new()), Err(ReplayFault::Undecided));
}

#[test]
fn whether_there_were_witnesses_is_decided_again_from_the_record() {
    let bundle = witnessed();
    let request = ask("1.00", "k");
    let credential = Credential {
        agent: "demo-agent".parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated: None,
    };
    let mut reasons = Vec::new();
    for health in healths(&bundle) {
        let entry = decided(Some(&bundle), &request, &credential, &health, None);
        let replay =
            Replay::prepare(&entry, request.clone(), salt(), Some(&bundle), &Standing::new()).unwrap();
        assert_eq!(replay.decide(None, &Standing::new()).unwrap(), entry);
        if health.witnesses != Fact::Known(true) || entry.reason.is_none() {
            reasons.push((entry.reason, entry.witnessed));
        }
    }
    let unwitnessed = (Some(ReasonCode::EvidenceUnwitnessed), false);
    assert_eq!(reasons, [(None, true), unwitnessed, unwitnessed]);
}

#[test]
fn a_permit_whose_arguments_are_gone_or_others_is_not_what_its_bundle_leads_to() {
    let bundle = crate::testing::changed(|manifest| {
        let key = "idempotency = \"key\"";
        manifest.replacen(key, &format!("{key}\nkeep = [\"arguments\"]"), 1)
    });
    let [server, method, name] = ["demo", "tools/call", "charge"].map(str::to_owned);
    let own = Payload { server, method, name, arguments: "{}".into(), rest: String::new() };
    let mut request = ask("1.00", "k");
    request.payload = Some(own.digest());
    let credential = Credential {
        agent: "demo-agent".parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated: None,
    };
    let health = healths(&bundle).remove(0);
    let entry = decided_bringing(Some(own.clone()), Some(&bundle), &request, &credential, &health, None);
    assert_eq!(entry.decision, Decision::Permit);
    let again = |payload: Option<Payload>| {
        let kept = KeptRequest { request: request.clone(), salt: salt(), payload };
        let replay = Replay::prepare_informed(&entry, kept, (Some(&bundle), None), &Standing::new()).unwrap();
        replay.decide(None, &Standing::new()).unwrap()
    };
    assert_eq!(again(Some(own.clone())), entry);
    let other = Payload { arguments: "{ }".into(), ..own };
    for kept in [None, Some(other)] {
        assert_eq!(again(kept).reason, Some(ReasonCode::SurfaceArgumentsUnkept));
    }
    let refused = decided(Some(&bundle), &request, &credential, &health, None);
    let kept = KeptRequest { request: request.clone(), salt: salt(), payload: None };
    let replay = Replay::prepare_informed(&refused, kept, (Some(&bundle), None), &Standing::new()).unwrap();
    assert_eq!(replay.decide(None, &Standing::new()).unwrap(), refused);
    assert_eq!(refused.reason, Some(ReasonCode::SurfaceArgumentsUnkept));
}
