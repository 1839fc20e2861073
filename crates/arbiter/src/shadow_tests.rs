use std::collections::BTreeMap;

use portcullis_policy::{Rehearsal, Snapshot, bundles};
use portcullis_protocol::facts::GateFact;
use portcullis_protocol::request::Ask;

use super::*;

const NOW: Millis = Millis(1_800_000_000_000);
const LIMIT: &str =
    "[limits.few]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = 2\nwindow = { fixed = \"1h\" }\n";

fn rehearsed(more: &str) -> Rehearsal {
    let mut files: BTreeMap<String, Vec<u8>> = bundles::demo();
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    files.insert("bundle.toml".into(), format!("{manifest}\n{more}").into_bytes());
    Snapshot::from_files(files).unwrap().rehearse().unwrap()
}

fn charge(key: &str) -> Request {
    let ask = format!(
        r#"{{"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
        "context":{{"account":"a","amount":"1.00"}},"idempotency_key":"{key}"}}"#
    );
    Ask::parse(ask.as_bytes()).unwrap().by("demo-agent".parse().unwrap())
}

fn occasion(seq: u64) -> Occasion {
    let facts = RecordedFacts::sound();
    Occasion { seq, time: NOW, gate: "gate".parse().unwrap(), facts, labels: BTreeSet::new(), brings: true }
}

fn reason(shadow: &mut Shadow, occasion: &Occasion, key: &str, bundle: &Rehearsal) -> Option<ReasonCode> {
    shadow.decide(occasion, charge(key), bundle, None).unwrap().reason
}

/// A PERMIT that NEW alone gives takes of its limits, one that it does not give takes nothing, and what never ran gives back.
#[test]
fn what_is_permitted_takes_and_what_never_ran_gives_back() {
    let (bundle, mut shadow) = (rehearsed(LIMIT), Shadow::new());
    assert_eq!(reason(&mut shadow, &occasion(1), "1", &bundle), None);
    assert_eq!(reason(&mut shadow, &occasion(2), "2", &bundle), None);
    for seq in 3..6 {
        let key = seq.to_string();
        assert_eq!(reason(&mut shadow, &occasion(seq), &key, &bundle), Some(ReasonCode::LimitsExceeded));
    }
    // No PERMIT of this bundle's: what became of it elsewhere is nothing here.
    shadow.end(3, Outcome::Expired);
    assert_eq!(reason(&mut shadow, &occasion(6), "6", &bundle), Some(ReasonCode::LimitsExceeded));
    shadow.end(1, Outcome::Unknown);
    assert_eq!(reason(&mut shadow, &occasion(7), "7", &bundle), Some(ReasonCode::LimitsExceeded));
    shadow.end(1, Outcome::Expired);
    assert_eq!(reason(&mut shadow, &occasion(8), "1", &bundle), None, "its key is given back too");
    // A window later there is room again.
    let later = Occasion { time: NOW.plus(3_600_000), ..occasion(9) };
    assert_eq!(reason(&mut shadow, &later, "9", &bundle), None);
}

/// What refused before the bundle was asked would have under any other one.
#[test]
fn what_stood_against_a_request_beside_the_bundle_stands_against_it_still() {
    let (bundle, mut shadow) = (rehearsed(LIMIT), Shadow::new());
    let with = |change: fn(&mut RecordedFacts)| {
        let mut occasion = occasion(1);
        change(&mut occasion.facts);
        occasion
    };
    let shut = with(|facts| facts.gate = GateFact::Shut);
    let other = with(|facts| facts.in_force = Some(rehearsed("").digest()));
    let expired = with(|facts| facts.credential_expires = Some(NOW));
    for (occasion, expected) in [
        (shut, ReasonCode::GateShut),
        (other, ReasonCode::OverloadContended),
        (with(|facts| facts.labels_moved = true), ReasonCode::OverloadContended),
        (with(|facts| facts.sources_moved = true), ReasonCode::OverloadContended),
        (
            with(|facts| facts.deadline = portcullis_protocol::facts::DeadlineFact::Passed),
            ReasonCode::OverloadDeadline,
        ),
        (expired, ReasonCode::IdentityExpired),
    ] {
        assert_eq!(reason(&mut shadow, &occasion, "1", &bundle), Some(expected));
    }
    // None of them took anything.
    assert_eq!(reason(&mut shadow, &occasion(2), "1", &bundle), None);
    assert_eq!(reason(&mut shadow, &occasion(3), "2", &bundle), None);
}

/// Witnesses are on record only where they were asked for.
#[test]
fn witnesses_count_as_there_unless_the_record_says_that_there_were_none() {
    let manifest = |text: &str| {
        text.replace("[surfaces.\"demo.charge\"]\n", "[surfaces.\"demo.charge\"]\nwitnessed = true\n")
    };
    let mut files: BTreeMap<String, Vec<u8>> = bundles::demo();
    let text = manifest(std::str::from_utf8(&files["bundle.toml"]).unwrap());
    files.insert("bundle.toml".into(), text.into_bytes());
    let bundle = Snapshot::from_files(files).unwrap().rehearse().unwrap();
    let mut entry = Shadow::new().decide(&occasion(1), charge("1"), &rehearsed(""), None).unwrap();
    let again = |entry: &DecisionRecord| {
        Shadow::new().decide(&Occasion::of(entry), charge("1"), &bundle, None).unwrap().reason
    };
    assert_eq!((entry.witnessed, again(&entry)), (false, None));
    entry.reason = Some(ReasonCode::EvidenceUnwitnessed);
    assert_eq!(again(&entry), Some(ReasonCode::EvidenceUnwitnessed));
}

#[test]
fn a_record_that_is_followed_takes_what_it_says_and_its_key_stands_for_nobody_knows_what() {
    let (bundle, mut shadow) = (rehearsed(LIMIT), Shadow::new());
    let entry = Shadow::new().decide(&occasion(1), charge("1"), &bundle, None).unwrap();
    shadow.follow(&entry, None);
    let unknown = shadow.decide(&occasion(2), charge("1"), &bundle, None);
    assert_eq!(unknown.unwrap_err(), Unforeseen::PriorUnknown(1));
    assert_eq!(reason(&mut shadow, &occasion(3), "3", &bundle), None);
    assert_eq!(reason(&mut shadow, &occasion(4), "4", &bundle), Some(ReasonCode::LimitsExceeded));
    // One whose operation is known is the same request again.
    let mut shadow = Shadow::new();
    shadow.follow(&entry, Some(charge("1").operation().unwrap()));
    assert_eq!(reason(&mut shadow, &occasion(2), "1", &bundle), Some(ReasonCode::IdempotencyInFlight));
}

/// Labels that are said of one request were those of the next one too.
#[test]
fn labels_that_are_said_of_one_request_are_of_no_other() {
    let files = |text: &str, from: &str, to: &str| text.replace(from, to).into_bytes();
    let mut all: BTreeMap<String, Vec<u8>> = bundles::demo();
    all.retain(|path, _| !path.starts_with("tests/"));
    let text = |all: &BTreeMap<String, Vec<u8>>, path: &str| String::from_utf8(all[path].clone()).unwrap();
    let schema =
        files(&text(&all, "schema.cedarschema"), "amount: decimal", "amount: decimal, labels: Set<String>");
    all.insert("schema.cedarschema".into(), schema);
    let begin = "[surfaces.\"demo.read_balance\"]";
    let manifest =
        files(&text(&all, "bundle.toml"), begin, &format!("[labels.web]\nlifetime = \"8h\"\n{begin}"));
    all.insert("bundle.toml".into(), manifest);
    let forbid = "@id(\"no\") forbid (principal, action == Action::\"demo.charge\", resource) when { context.labels.contains(\"web\") };";
    all.insert("policies/no.cedar".into(), forbid.into());
    let (bundle, mut shadow) = (Snapshot::from_files(all).unwrap().rehearse().unwrap(), Shadow::new());
    let labelled = Occasion { labels: ["web".parse().unwrap()].into(), ..occasion(1) };
    assert_eq!(reason(&mut shadow, &labelled, "1", &bundle), Some(ReasonCode::PolicyForbidden));
    assert_eq!(reason(&mut shadow, &occasion(2), "1", &bundle), None);
}

/// A gate under the other bundle would have brought what that has kept; of a call that did not, under one that asked for it, nobody knows.
#[test]
fn a_bundle_that_has_arguments_kept_would_have_had_them_brought() {
    let mut files: BTreeMap<String, Vec<u8>> = bundles::demo();
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    let key = "idempotency = \"key\"";
    let keeping = manifest.replacen(key, &format!("{key}\nkeep = [\"arguments\"]"), 1);
    assert_ne!(keeping, manifest);
    files.insert("bundle.toml".into(), keeping.into_bytes());
    let (bundle, mut shadow) = (Snapshot::from_files(files).unwrap().rehearse().unwrap(), Shadow::new());
    assert_eq!(reason(&mut shadow, &occasion(1), "1", &bundle), None);
    let without = Occasion { brings: false, ..occasion(2) };
    assert_eq!(reason(&mut shadow, &without, "2", &bundle), Some(ReasonCode::SurfaceArgumentsUnkept));
}
