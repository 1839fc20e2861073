use portcullis_protocol::{Record, SnapshotUse, SourceName};

use super::*;
use crate::fact::{Clock, Evidence, GateState, Policy, State, Validity};
use crate::testing::{changed, delegated, demo, given, sound, sourced_from};
use crate::{Mandate, PolicyNow, Standing};

const NOW: Millis = Millis(1_800_000_000_000);

fn call() -> ListingCall {
    let tools = ["demo/charge", "demo/read_balance", "demo/format_disk"];
    ListingCall {
        listing: Digest::sha256(b"this one"),
        gate: "gate".parse().unwrap(),
        acts_for: None,
        server: "demo".parse().unwrap(),
        tools: tools.iter().map(|tool| tool.parse().unwrap()).collect(),
        unnamed: 1,
        deadline_ms: 1_000,
    }
}

fn credential(agent: &str) -> Credential {
    let agent = agent.parse().unwrap();
    Credential { agent, acts_for: Mandate::nobody(), expires: None, authenticated: None }
}

fn settled(intake: &ListingIntake, health: &Health) -> Listed {
    settle_listing(intake, health, Room::Of(&Standing::new()), 4)
}

fn shown(listed: Listed) -> ListingRecord {
    match listed {
        Listed::Shown(record) => *record,
        Listed::Refused(code) => panic!("{code}"),
        Listed::Again => panic!("again"),
    }
}

fn names(tools: &BTreeSet<ToolName>) -> Vec<&str> {
    tools.iter().map(|tool| tool.parts().1).collect()
}

#[test]
fn a_list_says_what_is_shown_and_what_is_hidden_and_is_derived_again_byte_for_byte() {
    let bundle = demo();
    let intake = prepare_listing(call(), &credential("demo-agent"), Some(&bundle), 10_000, None);
    let record = shown(settled(&intake, &sound(&bundle, NOW)));
    assert_eq!(names(&record.shown), ["charge", "read_balance"]);
    assert_eq!((names(&record.hidden), record.unnamed), (vec!["format_disk"], 1));
    assert_eq!((record.seq, record.time, record.listing), (4, NOW, call().listing));
    let whole = Record::Listing(Box::new(record.clone()));
    assert_eq!(Record::parse(&whole.to_bytes().unwrap()), Ok(whole));
    assert_eq!(derive_listing(&record, &bundle, None), Ok(record.clone()));
    // Whatever of it is flipped comes out otherwise.
    let mut flipped = record.clone();
    flipped.hidden.insert(flipped.shown.pop_first().unwrap());
    assert_eq!(derive_listing(&flipped, &bundle, None), Ok(record.clone()));
    let mut flipped = record.clone();
    flipped.shown.insert(flipped.hidden.pop_first().unwrap());
    assert_eq!(derive_listing(&flipped, &bundle, None), Ok(record.clone()));
    let stranger = ListingRecord { agent: "stranger".parse().unwrap(), ..record.clone() };
    assert_eq!(derive_listing(&stranger, &bundle, None), Err(ListingFault::Stranger));
    let early = ListingRecord { time: Millis(1), ..record.clone() };
    assert_eq!(derive_listing(&early, &bundle, None), Err(ListingFault::Invalid));
    let mut other = record;
    other.bundle.version += 1;
    assert_eq!(derive_listing(&other, &bundle, None), Err(ListingFault::OtherBundle));
}

/// Whatever would keep every request from being permitted keeps every tool from being shown, with the same code.
#[test]
fn a_list_is_refused_by_whatever_refuses_all_decisions() {
    let bundle = demo();
    let asked = |agent: &str, health: &Health| {
        let intake = prepare_listing(call(), &credential(agent), Some(&bundle), 10_000, None);
        match settled(&intake, health) {
            Listed::Refused(code) => code,
            other @ (Listed::Shown(_) | Listed::Again) => panic!("{other:?}"),
        }
    };
    let sound = || sound(&bundle, NOW);
    let digest = Some(bundle.reference().digest);
    let policy = |policy| Fact::Known(PolicyNow { digest, root: None, policy });
    let tripped = Fact::Known(Evidence::Tripped(ReasonCode::SignerTimeout));
    let expired = Policy::InForce(Validity::Expired);
    for (health, code) in [
        (Health { gate: Fact::Known(GateState::Shut), ..sound() }, ReasonCode::GateShut),
        (Health { clock: Fact::Known(Clock::Jumped), ..sound() }, ReasonCode::ClockJumped),
        (Health { evidence: Fact::Unknown, ..sound() }, ReasonCode::EvidenceUnwritable),
        (Health { evidence: tripped, ..sound() }, ReasonCode::SignerTimeout),
        (Health { state: Fact::Known(State::Fenced), ..sound() }, ReasonCode::StateFenced),
        (Health { policy: policy(expired), ..sound() }, ReasonCode::PolicyExpired),
        (Health { policy: Fact::Unknown, ..sound() }, ReasonCode::PolicyMissing),
        (Health { boot: 11_000, ..sound() }, ReasonCode::OverloadDeadline),
    ] {
        assert_eq!(asked("demo-agent", &health), code);
    }
    assert_eq!(asked("stranger", &sound()), ReasonCode::IdentityUnknown);
    let nobody = prepare_listing(call(), &credential("demo-agent"), None, 10_000, None);
    assert_eq!(
        settled(&ListingIntake { last_try: true, ..nobody }, &sound()),
        Listed::Refused(ReasonCode::FactUnavailable)
    );
}

#[test]
fn a_list_that_was_computed_by_another_bundle_is_computed_again() {
    let (bundle, other) = (demo(), changed(|manifest| format!("{manifest}\n# other\n")));
    let mut intake = prepare_listing(call(), &credential("demo-agent"), Some(&other), 10_000, None);
    assert_eq!(settled(&intake, &sound(&bundle, NOW)), Listed::Again);
    intake.last_try = true;
    assert_eq!(settled(&intake, &sound(&bundle, NOW)), Listed::Refused(ReasonCode::OverloadContended));
}

#[test]
fn a_credential_that_expired_or_does_not_admit_whom_the_agent_acts_for_shows_nothing() {
    let bundle = delegated();
    let listed = |credential: &Credential, named: Option<&str>| {
        let acts_for = named.map(|name| name.parse().unwrap());
        let call = ListingCall { acts_for, ..call() };
        settled(&prepare_listing(call, credential, Some(&bundle), 10_000, None), &sound(&bundle, NOW))
    };
    let expired = Credential { expires: Some(NOW), ..credential("demo-agent") };
    assert_eq!(listed(&expired, None), Listed::Refused(ReasonCode::IdentityExpired));
    let own = credential("demo-agent");
    assert_eq!(listed(&own, Some("maya")), Listed::Refused(ReasonCode::IdentityPrincipal));
    let for_maya = Mandate::of(["maya".parse().unwrap()].into());
    let for_maya = Credential { acts_for: for_maya, ..own };
    assert_eq!(listed(&for_maya, None), Listed::Refused(ReasonCode::IdentityPrincipal));
    let record = shown(listed(&for_maya, Some("maya")));
    assert_eq!(record.acts_for, Some("maya".parse().unwrap()));
    assert_eq!(derive_listing(&record, &bundle, None), Ok(record.clone()));
    let stranger = ListingRecord { acts_for: Some("nobody-known".parse().unwrap()), ..record };
    assert_eq!(derive_listing(&stranger, &bundle, None), Err(ListingFault::Stranger));
}

/// A list is held to its sources' bounds as decisions are, and no exception covers it.
#[test]
fn a_list_by_facts_that_are_missing_or_stale_is_refused() {
    let bundle = sourced_from("2027-01-01T00:00:00Z", "");
    let directory: SourceName = "directory".parse().unwrap();
    let facts = bundle.gather(&given(NOW, &[]), None).unwrap();
    let used: SnapshotUse = facts.used()[&directory];
    let listed = |facts: Option<&Gathered>, now: u64| {
        let sources = facts.map_or(Fact::Unknown, |facts| Fact::Known(facts.used().clone()));
        let intake = prepare_listing(call(), &credential("demo-agent"), Some(&bundle), 10_000, facts);
        settled(&intake, &Health { sources, ..sound(&bundle, Millis(now)) })
    };
    assert_eq!(listed(None, used.as_of.0), Listed::Refused(ReasonCode::FactUnavailable));
    let bound = used.as_of.0 + used.max_age_ms;
    assert_eq!(listed(Some(&facts), bound + 1), Listed::Refused(ReasonCode::FactStale));
    let record = shown(listed(Some(&facts), bound));
    assert_eq!(record.sources[&directory], used);
    assert_eq!(derive_listing(&record, &bundle, Some(&facts)), Ok(record.clone()));
    assert_eq!(derive_listing(&record, &bundle, None), Err(ListingFault::OtherFacts));
}

#[test]
fn facts_are_kept_for_a_list_as_long_as_a_request_would_be() {
    let bundle = demo();
    let intake = prepare_listing(call(), &credential("demo-agent"), Some(&bundle), 10_000, None);
    let keeps = bundle.surfaces().surfaces.values().map(|spec| spec.keep.for_ms).max().unwrap();
    assert_eq!(intake.keeps_until(Millis(5)), Some(Millis(5 + keeps)));
    let nothing = prepare_listing(call(), &credential("demo-agent"), None, 10_000, None);
    assert_eq!(nothing.keeps_until(Millis(5)), None);
}
