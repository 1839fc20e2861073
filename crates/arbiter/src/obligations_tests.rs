use portcullis_policy::Bundle;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{Millis, Record, Salt};

use super::*;
use crate::Replay;
use crate::testing::{asking, demo, sound};

const NOW: Millis = Millis(1_700_000_000_000);
const APPROVED: &str = "@approval_roles(\"finance\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")";

fn ask() -> Ask {
    let text = r#"{"surface":"demo.charge","action":"demo.charge","resource":{"type":"Surface","id":"demo.charge"},
        "context":{"account":"a","amount":"1.00"},"idempotency_key":"k"}"#;
    Ask::parse(text.as_bytes()).unwrap()
}

fn intake(bundle: &Bundle, authenticated: Option<Millis>) -> Intake {
    let call = DecisionCall {
        request: ask(),
        attempt: AttemptId::from_bytes([1; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
        payload: None,
    };
    let credential = Credential {
        agent: "demo-agent".parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated,
    };
    prepare(call, credential, Ok(bundle), 10_000, &BTreeSet::new()).unwrap()
}

fn health(bundle: &Bundle) -> Health {
    sound(bundle, NOW)
}

/// Settles a call, and sees that its record is one, and is decided again byte for byte.
fn decided(bundle: &Bundle, intake: &Intake, health: &Health) -> (DecisionRecord, Option<String>) {
    let Settled::Decided(verdict) = settle(intake, health, Fact::Known(None), Room::Of(&Standing::new()))
    else {
        panic!("not decided")
    };
    let entry = record(intake, &verdict, 4, health, &Standing::new());
    let bytes = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
    assert_eq!(Record::parse(&bytes).unwrap(), Record::Decision(Box::new(entry.clone())));
    let replay =
        Replay::prepare(&entry, ask(), Salt::from_bytes([2; 32]), Some(bundle), &Standing::new()).unwrap();
    assert_eq!(replay.decide(None, &Standing::new()).unwrap(), entry);
    (entry, verdict.reason().and_then(|code| intake.detail_of(code)))
}

fn said(
    bundle: &Bundle,
    authenticated: Option<Millis>,
) -> (Option<ReasonCode>, DecisionRecord, Option<String>) {
    let (entry, detail) = decided(bundle, &intake(bundle, authenticated), &health(bundle));
    (entry.reason, entry, detail)
}

#[test]
fn a_grant_that_asks_for_an_approval_runs_nothing_until_there_is_one() {
    let bundle = asking(APPROVED);
    let (reason, entry, detail) = said(&bundle, Some(NOW));
    assert_eq!((reason, entry.decision), (Some(ReasonCode::ApprovalRequired), Decision::Silence));
    assert_eq!((entry.permit_ttl_ms, entry.outcome_due), (None, None));
    let policies: Vec<_> = entry.policies.iter().map(|policy| policy.as_str()).collect();
    assert!(
        policies.contains(&"asks") && policies.len() == 2,
        "the demo's own grant holds too: {policies:?}"
    );
    let told = "approval by 2 different people with role `finance`, valid for 15m";
    assert_eq!(entry.obligations.to_string(), told);
    assert_eq!(detail, Some(format!("the grants ask for {told}")));
}

#[test]
fn an_identity_of_unknown_age_is_never_fresh() {
    let bundle = asking("@identity_within(\"5m\")");
    let reason = |authenticated| said(&bundle, authenticated).0;
    let stale = Some(ReasonCode::IdentityStale);
    assert_eq!(reason(None), stale);
    assert_eq!(reason(Some(NOW)), None);
    assert_eq!(reason(Some(Millis(NOW.0 - 300_000))), None);
    assert_eq!(reason(Some(Millis(NOW.0 - 300_001))), stale);
    assert_eq!(reason(Some(Millis(NOW.0 + 1))), stale, "a proof from the future has no age");
    assert_eq!(reason(Some(Millis(0))), stale);
    let (_, entry, detail) = said(&bundle, None);
    assert_eq!(entry.obligations.identity_within_ms, Some(300_000));
    assert_eq!(detail, Some("the grants ask for identity proved within 5m".to_owned()));
}

#[test]
fn a_grant_that_asks_for_witnesses_makes_its_permit_a_witnessed_one() {
    let bundle = asking("@witnessed");
    let (reason, entry, _) = said(&bundle, None);
    assert_eq!((reason, entry.witnessed, entry.obligations.witnessed), (None, true, true));
    assert!(intake(&bundle, None).is_witnessed());
    for witnesses in [Fact::Known(false), Fact::Unknown] {
        let health = Health { witnesses, ..health(&bundle) };
        let (entry, _) = decided(&bundle, &intake(&bundle, None), &health);
        assert_eq!((entry.reason, entry.witnessed), (Some(ReasonCode::EvidenceUnwitnessed), false));
        assert!(entry.obligations.witnessed);
    }
}

#[test]
fn obligations_come_in_their_order_after_everything_before_them() {
    let bundle = asking(&format!("@identity_within(\"5m\") {APPROVED} @witnessed"));
    let none = Health { witnesses: Fact::Known(false), ..health(&bundle) };
    let reason = |authenticated, health| decided(&bundle, &intake(&bundle, authenticated), health).0.reason;
    assert_eq!(reason(None, &none), Some(ReasonCode::IdentityStale));
    assert_eq!(reason(Some(NOW), &none), Some(ReasonCode::ApprovalRequired));
    let shut = Health { gate: Fact::Known(GateState::Shut), ..none };
    let (entry, detail) = decided(&bundle, &intake(&bundle, None), &shut);
    assert_eq!(entry.reason, Some(ReasonCode::GateShut));
    assert!(entry.obligations.is_empty() && detail.is_none(), "they had no part in it");
}

#[test]
fn a_record_of_a_bundle_without_obligations_says_nothing_of_them() {
    let bundle = demo();
    let (reason, entry, _) = said(&bundle, None);
    assert_eq!((reason, &entry.obligations), (None, &Obligations::none()));
    let bytes = Record::Decision(Box::new(entry)).to_bytes().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("obligations") && !text.contains("authenticated"), "{text}");
}

/// Whoever holds the log's key can sign what it likes; a PERMIT that contradicts itself is none to any reader.
#[test]
fn a_permit_that_skips_its_obligations_is_no_record() {
    let refused = |bundle: &Bundle, change: fn(&mut DecisionRecord)| {
        let mut entry = said(bundle, Some(NOW)).1;
        change(&mut entry);
        let bytes = Record::Decision(Box::new(entry)).to_bytes().unwrap();
        Record::parse(&bytes).map_err(|error| error.to_string()).unwrap_err()
    };
    let permit = |entry: &mut DecisionRecord| {
        entry.decision = Decision::Permit;
        entry.reason = None;
        entry.permit_ttl_ms = Some(1_000);
        entry.outcome_due = Some(NOW);
    };
    let told = refused(&asking(APPROVED), permit);
    assert!(told.contains("a PERMIT without the approvals that its grants ask for"), "{told}");
    let told = refused(&asking("@witnessed"), |entry| entry.witnessed = false);
    assert!(told.contains("a PERMIT that is not witnessed as its grants ask for"), "{told}");
    let fresh = asking("@identity_within(\"5m\")");
    let stale: [fn(&mut DecisionRecord); 3] = [
        |entry| entry.facts.authenticated = None,
        |entry| entry.facts.authenticated = Some(Millis(NOW.0 - 300_001)),
        |entry| entry.facts.authenticated = Some(Millis(NOW.0 + 1)),
    ];
    for change in stale {
        let told = refused(&fresh, change);
        assert!(told.contains("not as fresh as its grants ask for"), "{told}");
    }
    let told = refused(&asking(APPROVED), |entry| entry.obligations = Obligations::none());
    assert!(told.contains("an approval is missing that nothing asks for"), "{told}");
    let told = refused(&asking(APPROVED), |entry| entry.reason = Some(ReasonCode::IdentityStale));
    assert!(told.contains("an identity is stale that is fresh enough"), "{told}");
    let told = refused(&asking(APPROVED), |entry| entry.reason = Some(ReasonCode::GateShut));
    assert!(told.contains("obligations on a refusal that has another reason"), "{told}");
    let told = refused(&asking(APPROVED), |entry| entry.obligations.approvals[0].quorum = 0);
    assert!(told.contains("obligations that ask for nothing, or are out of order"), "{told}");
}
