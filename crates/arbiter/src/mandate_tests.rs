//! For whom a call is decided, from what its credential says to its record and back.

use std::collections::BTreeSet;

use portcullis_policy::Bundle;
use portcullis_protocol::facts::PrincipalFact;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AttemptId, DecisionRecord, Millis, ReasonCode, Record, Salt};

use crate::fact::{Fact, GateState};
use crate::testing::{delegated, demo, sound};
use crate::{Credential, Health, Intake, Mandate, Replay, Room, Settled, Standing, prepare, record, settle};

const NOW: Millis = Millis(1_800_000_000_000);

fn ask(acts_for: Option<&str>) -> Ask {
    let named = acts_for.map_or_else(String::new, |name| format!(r#""acts_for":"{name}","#));
    let text = format!(
        r#"{{{named}"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
        "context":{{"account":"a","amount":"1.00"}},"idempotency_key":"k"}}"#
    );
    Ask::parse(text.as_bytes()).unwrap()
}

fn mandate(listed: &[&str]) -> Mandate {
    Mandate::of(listed.iter().map(|name| name.parse().unwrap()).collect())
}

fn intake(bundle: &Bundle, ask: Ask, listed: &[&str], standing: &Standing) -> Intake {
    let acts_for = mandate(listed);
    let agent = "demo-agent".parse().unwrap();
    let labels = standing.labels(&agent, acts_for.behind(ask.acts_for.as_ref()), NOW);
    let call = DecisionCall {
        request: ask,
        attempt: AttemptId::from_bytes([1; 32]),
        salt: Salt::from_bytes([2; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 1_000,
        payload: None,
    };
    let credential = Credential { agent, acts_for, expires: None, authenticated: None };
    prepare(call, credential, Ok(bundle), 10_000, &labels).unwrap()
}

/// The record of a call, as it is read back from its bytes, and as it is decided again without the credential.
fn decided(bundle: &Bundle, intake: &Intake, health: &Health, standing: &Standing) -> DecisionRecord {
    let settled = settle(intake, health, Fact::Known(None), Room::Of(standing));
    let Settled::Decided(verdict) = settled else { panic!("not decided") };
    let entry = record(intake, &verdict, 9, health, standing);
    let bytes = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
    assert_eq!(Record::parse(&bytes).unwrap(), Record::Decision(Box::new(entry.clone())));
    let replay =
        Replay::prepare(&entry, intake.request.ask.clone(), intake.salt, Some(bundle), standing).unwrap();
    let again = Record::Decision(Box::new(replay.decide(None, standing).unwrap()));
    assert_eq!(again.to_bytes().unwrap(), bytes);
    entry
}

#[test]
fn whom_an_agent_acts_for_counts_only_as_its_credential_says_and_is_decided_again_without_it() {
    let bundle = delegated();
    let (health, standing) = (sound(&bundle, NOW), Standing::new());
    let (no, unknown) = (ReasonCode::IdentityPrincipal, ReasonCode::IdentityPrincipalUnknown);
    use PrincipalFact::{Admitted, Nobody, NotAdmitted};
    for (listed, named, expected, fact) in [
        (&[][..], None, None, Nobody),
        (&[], Some("maya"), Some(no), NotAdmitted),
        (&[], Some("demo-agent"), Some(no), NotAdmitted),
        (&["maya"], None, Some(no), NotAdmitted),
        (&["maya"], Some("kim"), Some(no), NotAdmitted),
        (&["maya"], Some("nobody"), Some(no), NotAdmitted),
        (&["maya"], Some("maya"), None, Admitted),
        (&["maya", "kim"], Some("kim"), Some(ReasonCode::PolicyForbidden), Admitted),
        (&["maya", "nobody"], Some("nobody"), Some(unknown), Admitted),
        // An agent where the action's policies expect people.
        (&["stranger-agent"], Some("stranger-agent"), Some(ReasonCode::PolicyRequestInvalid), Admitted),
    ] {
        let entry = decided(&bundle, &intake(&bundle, ask(named), listed, &standing), &health, &standing);
        assert_eq!((entry.reason, entry.facts.principal), (expected, fact), "{listed:?} {named:?}");
        assert_eq!(entry.acts_for.as_ref().map(|name| name.as_str()), named);
        assert_eq!(entry.behind().is_some(), fact == Admitted);
    }
}

#[test]
fn what_is_refused_before_identity_says_for_whom_too() {
    let bundle = delegated();
    let shut = Health { gate: Fact::Known(GateState::Shut), ..sound(&bundle, NOW) };
    let standing = Standing::new();
    for (listed, fact) in [(&["maya"][..], PrincipalFact::Admitted), (&["kim"], PrincipalFact::NotAdmitted)] {
        let entry =
            decided(&bundle, &intake(&bundle, ask(Some("maya")), listed, &standing), &shut, &standing);
        assert_eq!((entry.reason, entry.facts.principal), (Some(ReasonCode::GateShut), fact));
    }
}

/// The record of a forged principal would tell its agent what that one has read.
#[test]
fn whoever_names_one_for_whom_it_may_not_act_learns_nothing_of_their_labels() {
    let bundle = delegated();
    let mut standing = Standing::new();
    let added = [("untrusted-input".parse().unwrap(), Millis(NOW.0 + 1))].into();
    let maya = "maya".parse().unwrap();
    standing.label(&"stranger-agent".parse().unwrap(), Some(&maya), NOW, &added);
    let said = |listed: &[&str]| {
        decided(
            &bundle,
            &intake(&bundle, ask(Some("maya")), listed, &standing),
            &sound(&bundle, NOW),
            &standing,
        )
    };
    let (forged, admitted) = (said(&["kim"]), said(&["maya"]));
    assert_eq!((forged.reason, forged.labels.is_empty()), (Some(ReasonCode::IdentityPrincipal), true));
    assert_eq!((admitted.reason, admitted.labels.held.len()), (Some(ReasonCode::PolicyForbidden), 1));
}

#[test]
fn a_verdict_on_labels_that_a_delegate_moved_meanwhile_is_asked_for_again() {
    let bundle = delegated();
    let (mut standing, maya) = (Standing::new(), "maya".parse().unwrap());
    let mut own = intake(&bundle, ask(Some("maya")), &["maya"], &standing);
    let added = [("untrusted-input".parse().unwrap(), Millis(NOW.0 + 1))].into();
    standing.label(&"stranger-agent".parse().unwrap(), Some(&maya), NOW, &added);
    let settled =
        |intake: &Intake| settle(intake, &sound(&bundle, NOW), Fact::Known(None), Room::Of(&standing));
    assert_eq!(settled(&own), Settled::EvaluateAgain);
    own.last_try = true;
    let entry = decided(&bundle, &own, &sound(&bundle, NOW), &standing);
    assert_eq!((entry.reason, entry.facts.labels_moved), (Some(ReasonCode::OverloadContended), true));
}

#[test]
fn a_record_that_was_given_another_principal_or_another_fact_is_not_what_was_decided() {
    let bundle = delegated();
    let (health, standing) = (sound(&bundle, NOW), Standing::new());
    let asked = ask(Some("maya"));
    let entry = decided(&bundle, &intake(&bundle, asked.clone(), &["maya"], &standing), &health, &standing);
    let again = |entry: &DecisionRecord| {
        let replay =
            Replay::prepare(entry, asked.clone(), Salt::from_bytes([2; 32]), Some(&bundle), &standing)
                .unwrap();
        replay.decide(None, &standing).unwrap()
    };
    let other = DecisionRecord { acts_for: Some("kim".parse().unwrap()), ..entry.clone() };
    assert_ne!(again(&other), other);
    let mut refused = entry.clone();
    refused.facts.principal = PrincipalFact::NotAdmitted;
    assert_eq!(again(&refused).reason, Some(ReasonCode::IdentityPrincipal));
    assert!(Record::parse(&Record::Decision(Box::new(refused)).to_bytes().unwrap()).is_err());
}

/// Where nobody is named and the credential lists nobody, a record has the bytes that it had before there were principals.
#[test]
fn a_record_about_nobody_says_nothing_of_principals() {
    let bundle = demo();
    let intake = intake(&bundle, ask(None), &[], &Standing::new());
    let entry = decided(&bundle, &intake, &sound(&bundle, NOW), &Standing::new());
    let bytes = Record::Decision(Box::new(entry)).to_bytes().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("acts_for") && !text.contains("\"principal\""), "{text}");
    assert_eq!(BTreeSet::new(), intake.behind().into_iter().collect::<BTreeSet<_>>());
}
