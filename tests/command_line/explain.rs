//! `portcullis explain`: what decided, in plain words, of a receipt that verifies.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, text};
use crate::{run, with};

/// A deployment with a charge, one that is too large, and a surface that nobody declared in its log.
fn place() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call_with("charge", &json!({ "account": "acme", "amount": "12.50" }), Some("a")).ran();
    let refused = gate.call_with("charge", &json!({ "account": "acme", "amount": "100.01" }), Some("b"));
    assert_eq!(refused.code(), "policy.no_grant");
    assert_eq!(gate.call("delete_everything", json!({})).code(), "surface.unknown");
    assert!(gate.end().success());
    place
}

fn receipt(place: &Place, reason: Option<&str>) -> PathBuf {
    let rows = place.rows();
    let row = rows.iter().find(|row| row.record.reason.map(|code| code.as_str()) == reason).unwrap();
    let file = place.path(&format!("{}.receipt", row.record.seq));
    std::fs::write(&file, place.receipt(row.record.seq)).unwrap();
    file
}

fn explained(place: &Place, reason: Option<&str>, more: &[&str]) -> String {
    let receipt = text(&receipt(place, reason));
    with(&place.config_path, &[&["explain", &receipt], more].concat()).ok().to_owned()
}

#[test]
fn a_refusal_says_which_condition_of_the_nearest_grant_does_not_hold() {
    let place = place();
    let said = explained(&place, Some("policy.no_grant"), &[]);
    let expected = [
        "DENY: demo-agent asked for demo.charge on demo.charge, at ",
        "decided by the precondition `policy evaluation`, with policy.no_grant",
        "near: policy demo-small-charge would grant it, but",
        "    does not hold: when { context.amount.lessThanOrEqual(decimal(\"100.00\")) }",
        "to make it a PERMIT: ",
    ];
    for line in expected {
        assert!(said.contains(line), "`{line}`: {said}");
    }
    assert!(!said.contains("not to be had"), "{said}");
    let said: Value = serde_json::from_str(&explained(&place, Some("policy.no_grant"), &["--json"])).unwrap();
    assert_eq!(said["nearest"][0]["policy"], "demo-small-charge");
    let held: Vec<_> =
        said["nearest"][0]["parts"].as_array().unwrap().iter().map(|part| part["held"].clone()).collect();
    assert_eq!(held.last(), Some(&json!("no")));
}

#[test]
fn a_permit_shows_the_policy_that_granted_it() {
    let place = place();
    let said = explained(&place, None, &[]);
    assert!(said.starts_with("PERMIT: demo-agent asked for demo.charge"), "{said}");
    assert!(said.contains("policy demo-small-charge\n    @id(\"demo-small-charge\")"), "{said}");
    assert!(!said.contains("to make it a PERMIT"), "{said}");
    let said = explained(&place, Some("surface.unknown"), &[]);
    assert!(said.contains("SILENCE: ") && said.contains("precondition `surface`"), "{said}");
}

#[test]
fn what_is_not_at_hand_is_said_and_another_bundle_explains_nothing() {
    let place = place();
    let file = text(&receipt(&place, Some("policy.no_grant")));
    let key = place.config.log_key.to_string();
    // Elsewhere: a receipt, a key, and nothing else.
    let alone = run(&["explain", &file, "--key", &key, "--config", "/nowhere/portcullis.toml"]);
    assert!(alone.ok().contains("not to be had: the policies' text: no --bundle is given"), "{alone:?}");
    let bundle = text(&place.config.bundle);
    let told = ["explain", &file, "--key", &key, "--config", "/nowhere/portcullis.toml", "--bundle", &bundle];
    assert!(
        run(&told).ok().contains("not to be had: the grants that come nearest: no --request"),
        "{told:?}"
    );
    let request = json!({
        "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "100.01" },
    });
    let asked = place.path("request.json");
    std::fs::write(&asked, request.to_string()).unwrap();
    let asked = text(&asked);
    let told = run(&[&told[..], &["--request", &asked]].concat());
    assert!(told.ok().contains("does not hold: when { context.amount"), "{told:?}");
    let policies = place.config.bundle.join("policies/demo.cedar");
    let changed = std::fs::read_to_string(&policies).unwrap().replace("\"100.00\"", "\"1000.00\"");
    std::fs::write(&policies, changed).unwrap();
    let said = with(&place.config_path, &["explain", &file, "--bundle", &bundle]);
    assert!(said.ok().contains("decided, and the bundle at hand is sha256:"), "{said:?}");
    assert!(!said.out.contains("near: "), "{said:?}");
    // The ledger keeps what decided, whatever the configuration's bundle has become.
    assert!(with(&place.config_path, &["explain", &file]).ok().contains("near: policy demo-small-charge"));
}

#[test]
fn a_receipt_that_does_not_verify_is_not_explained() {
    let place = place();
    let file = receipt(&place, Some("policy.no_grant"));
    let forged = place.path("forged");
    let before = std::fs::read_to_string(&file).unwrap();
    // Base64 of the record: one character of it becomes another.
    let at = before.len() / 2;
    let other = if before.as_bytes()[at] == b'A' { "B" } else { "A" };
    let mut changed = before.clone();
    changed.replace_range(at..=at, other);
    assert_ne!(changed, before);
    std::fs::write(&forged, changed).unwrap();
    let said = with(&place.config_path, &["explain", &text(&forged)]);
    said.failed("NOT VERIFIED");
    assert!(said.out.is_empty(), "{said:?}");
}
