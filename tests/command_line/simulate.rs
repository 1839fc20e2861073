//! `portcullis simulate`: another bundle over what is on record, and over a trace.

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, text};
use crate::{fed, run, with};

/// A deployment with some decisions on record.
fn place() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    for (amount, key) in [("12.50", "k1"), ("13.50", "k2"), ("14.50", "k3")] {
        gate.call_with("charge", &json!({ "account": "acme", "amount": amount }), Some(key)).ran();
    }
    let refused = gate.call_with("charge", &json!({ "account": "acme", "amount": "999.00" }), Some("k4"));
    assert_eq!(refused.code(), "policy.no_grant");
    assert!(gate.end().success());
    place
}

/// A copy of the deployment's bundle, unsigned, in which `from` is `to` in one file.
fn other(place: &Place, file: &str, from: &str, to: &str) -> String {
    let copy = place.path("other");
    for folder in ["policies", "tests"] {
        std::fs::create_dir_all(copy.join(folder)).unwrap();
        for entry in std::fs::read_dir(place.config.bundle.join(folder)).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
        }
    }
    for name in ["bundle.toml", "schema.cedarschema", "entities.json"] {
        std::fs::copy(place.config.bundle.join(name), copy.join(name)).unwrap();
    }
    let before = std::fs::read_to_string(copy.join(file)).unwrap();
    assert!(before.contains(from), "{from}");
    std::fs::write(copy.join(file), before.replace(from, to)).unwrap();
    text(&copy)
}

fn simulated(place: &Place, more: &[&str]) -> Value {
    let said = with(&place.config_path, &[&["simulate", "--json"], more].concat());
    serde_json::from_str(said.ok()).unwrap()
}

#[test]
fn what_is_on_record_is_asked_again_and_nothing_is_written() {
    let place = place();
    let lower = other(&place, "policies/demo.cedar", "\"100.00\"", "\"13.00\"");
    let rows = with(&place.config_path, &["receipts", "list"]).out;
    let said = simulated(&place, &["--bundle", &lower, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(5), &json!(3)), "{said}");
    let changes = said["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{said}");
    let group = &changes[0]["group"];
    assert_eq!(changes[0]["count"], 2);
    assert_eq!((&group["surface"], &group["agent"]), (&json!("demo.charge"), &json!("demo-agent")));
    assert_eq!(group["from"], json!({ "decision": "PERMIT" }));
    assert_eq!(group["to"], json!({ "decision": "DENY", "reason": "policy.no_grant" }));
    assert_eq!((&said["not_simulated"], &said["contradictions"]), (&json!({}), &json!(0)));
    let told =
        with(&place.config_path, &["simulate", "--bundle", &lower, "--ledger", &text(&place.config.data)]);
    assert!(told.ok().contains("2  demo.charge by demo-agent: PERMIT -> DENY policy.no_grant"), "{told:?}");
    assert_eq!(with(&place.config_path, &["receipts", "list"]).out, rows, "nothing new is on record");
    let journal = std::fs::read_to_string(place.path("journal")).unwrap();
    assert_eq!(journal.lines().count(), 4, "nothing ran: {journal}");
}

#[test]
fn what_cannot_be_asked_again_is_never_unchanged() {
    let place = place();
    let same = other(&place, "policies/demo.cedar", "", "");
    let said = simulated(&place, &["--bundle", &same, "--ledger", "--without-key"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(0), &json!(0)), "{said}");
    assert_eq!(said["not_simulated"], json!({ "key_withheld": 5 }));
    // Calls that would be read otherwise are other requests.
    let manifest = std::fs::read_to_string(place.config.bundle.join("bundle.toml")).unwrap();
    let rule = manifest.lines().find(|line| line.starts_with("context.amount")).unwrap();
    let mapped = other(&place, "bundle.toml", rule, &rule.replace("/amount", "/sum"));
    let said = simulated(&place, &["--bundle", &mapped, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(1), &json!(1)), "{said}");
    assert_eq!(said["not_simulated"], json!({ "mapped_otherwise": 4 }));
    std::fs::rename(&place.config.vault_key, place.path("away")).unwrap();
    with(&place.config_path, &["simulate", "--bundle", &same, "--ledger"]).failed("--without-key");
}

/// A limit of one where there were a thousand came out as "unchanged".
#[test]
fn what_is_bound_otherwise_beside_policy_was_counted_as_unchanged() {
    let place = place();
    let begin = "[surfaces.\"demo.read_balance\"]";
    let limit = "[limits.few]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = 1\nwindow = { fixed = \"1h\" }\n\n";
    let limited = other(&place, "bundle.toml", begin, &format!("{limit}{begin}"));
    let said = simulated(&place, &["--bundle", &limited, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(1), &json!(1)), "{said}");
    assert_eq!(said["not_simulated"], json!({ "terms_differ": 4 }));
    let told = with(&place.config_path, &["simulate", "--bundle", &limited, "--ledger"]);
    assert!(told.ok().contains("4 requests not simulated: policy says the same, and limits"), "{told:?}");
    // What policy says otherwise is told all the same.
    let policies = std::path::Path::new(&limited).join("policies/demo.cedar");
    let lower = std::fs::read_to_string(&policies).unwrap().replace("\"100.00\"", "\"13.00\"");
    std::fs::write(&policies, lower).unwrap();
    let said = simulated(&place, &["--bundle", &limited, "--ledger"]);
    assert_eq!((&said["asked"], &said["changes"][0]["count"]), (&json!(3), &json!(2)), "{said}");
    assert_eq!((&said["unchanged"], &said["not_simulated"]), (&json!(1), &json!({ "terms_differ": 2 })));
    let witnessed = other(&place, "bundle.toml", "permit_ttl", "witnessed = true\npermit_ttl");
    let said = simulated(&place, &["--bundle", &witnessed, "--ledger"]);
    assert_eq!(
        (&said["asked"], &said["not_simulated"]),
        (&json!(0), &json!({ "terms_differ": 5 })),
        "{said}"
    );
    // So it is over a trace.
    let line = json!({ "agent": "demo-agent", "request": {
        "surface": "demo.read_balance", "action": "demo.read_balance",
        "resource": { "type": "Surface", "id": "demo.read_balance" }, "context": { "account": "acme" },
    }});
    let (from, trace) = (text(&place.config.bundle), line.to_string());
    let asked = fed(&["simulate", "--json", "--bundle", &witnessed, "--from", &from, "--trace", "-"], &trace);
    let said: Value = serde_json::from_str(asked.ok()).unwrap();
    assert_eq!(
        (&said["asked"], &said["not_simulated"]),
        (&json!(0), &json!({ "terms_differ": 1 })),
        "{said}"
    );
}

/// Of all that was on record, a bundle for an activation to come said that it is not valid yet.
#[test]
fn a_bundle_that_is_valid_from_tomorrow_on_said_nothing_about_what_is_on_record() {
    let place = place();
    let later = other(&place, "bundle.toml", "\"2025-01-01T00:00:00Z\"", "\"2098-01-01T00:00:00Z\"");
    let said = simulated(&place, &["--bundle", &later, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(5), &json!(5)), "{said}");
}

#[test]
fn a_trace_is_asked_of_two_bundles() {
    let place = Place::demo();
    let higher = other(&place, "policies/demo.cedar", "\"100.00\"", "\"200.00\"");
    let line = |agent: &str, amount: &str| {
        json!({ "agent": agent, "request": {
            "surface": "demo.charge", "action": "demo.charge",
            "resource": { "type": "Surface", "id": "demo.charge" },
            "context": { "account": "acme", "amount": amount },
        }})
        .to_string()
    };
    let lines =
        [line("demo-agent", "50.00"), String::new(), line("demo-agent", "150.00"), line("nobody", "1.00")];
    let trace = place.path("trace.jsonl");
    std::fs::write(&trace, lines.join("\n")).unwrap();
    let said = simulated(&place, &["--bundle", &higher, "--trace", &text(&trace)]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(3), &json!(2)), "{said}");
    assert_eq!((&said["changes"][0]["count"], &said["changes"][0]["first"]), (&json!(1), &json!(3)));
    let from = text(&place.config.bundle);
    let told = fed(&["simulate", "--bundle", &higher, "--from", &from, "--trace", "-"], &lines.join("\n"));
    assert!(told.ok().contains("DENY policy.no_grant -> PERMIT (first: line 3)"), "{told:?}");
    let extra = lines[0].replacen('{', r#"{"executed":true,"#, 1);
    for broken in ["{", r#"{"agent":"a"}"#, r#"{"agent":"a","agent":"b"}"#, extra.as_str()] {
        let broken = format!("{}\n{broken}\n", lines[0]);
        fed(&["simulate", "--bundle", &higher, "--from", &from, "--trace", "-"], &broken).failed("line 2");
    }
    run(&["simulate", "--bundle", &higher]).failed("--trace");
}

/// A list of labels is no strict JSON of a call, so that lines with one were refused, and no trace could have labels.
#[test]
fn a_trace_says_which_labels_its_agents_have() {
    let folder = tempfile::tempdir().unwrap();
    let support = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/support");
    let looser = folder.path().join("looser");
    let copied = std::process::Command::new("cp").arg("-r").arg(&support).arg(&looser).status().unwrap();
    assert!(copied.success());
    let never = looser.join("policies/never.cedar");
    let policies = std::fs::read_to_string(&never).unwrap();
    let both = r#"["untrusted-input", "confidential"]"#;
    assert!(policies.contains(both));
    std::fs::write(&never, policies.replace(both, r#"["untrusted-input", "confidential", "never-added"]"#))
        .unwrap();
    let line = |labels: &str| {
        json!({ "agent": "desk-agent", "labels": labels, "request": {
            "surface": "support.fetch", "action": "support.fetch",
            "resource": { "type": "Surface", "id": "support.fetch" },
            "context": { "url": "https://docs.example.com/returns" },
        }})
        .to_string()
    };
    let ask = |trace: &str| {
        let (from, to) = (text(&support), text(&looser));
        fed(&["simulate", "--json", "--bundle", &to, "--from", &from, "--trace", "-"], trace)
    };
    let trace = [line("confidential"), line("confidential, untrusted-input")].join("\n");
    let said: Value = serde_json::from_str(ask(&trace).ok()).unwrap();
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(2), &json!(1)), "{said}");
    let change = &said["changes"][0];
    assert_eq!(change["first"], json!(2));
    assert_eq!(change["group"]["from"], json!({ "decision": "DENY", "reason": "policy.forbidden" }));
    assert_eq!(change["group"]["to"], json!({ "decision": "PERMIT" }));
    ask(&line("Not A Label")).failed("line 1");
}
