//! What rules did not say, and gates took for an allowance: 3, 4, 5, 16, 23, 24, 30.

use std::process::Command;

use portcullis_policy::bundles;
use serde_json::{Value, json};

use crate::scene::{ALL, Deed, Entry, Scene, changed, sign_and_pin};
use crate::support::until;

#[test]
fn i03_a_tool_that_no_rule_names_does_not_run() {
    let mut scene = Scene::new();
    for tool in ["wipe", "read_balance2", "read_balance.all", "mcp.read_balance"] {
        scene.blocked(&ALL, &Deed::on(tool, json!({ "account": "acme" }), None), "surface.unknown");
    }
    // Over MCP, a name that can be no surface's is on record as unknown, and does not run either.
    for tool in ["", "READ_BALANCE", " read_balance", "read_balance ", "../read_balance", "read balance"] {
        let deed = Deed::on(tool, json!({ "account": "acme" }), None);
        scene.blocked(&[Entry::Mcp], &deed, "surface.unknown");
    }
    scene.runs(&ALL, &Deed::read());
}

#[test]
fn i03_a_declared_tool_that_no_policy_grants_does_not_run() {
    let policies = "policies/demo.cedar";
    let bundle =
        changed(bundles::demo(), policies, |text| text.replace("demo.read_balance", "demo.delete_account"));
    let mut scene = Scene::with(bundle);
    scene.blocked(&ALL, &Deed::read(), "policy.no_grant");
    scene.runs(&ALL, &Deed::charge("1.00", "k"));
}

/// The demo's policies without those of these ids.
fn without(ids: &[&str]) -> std::collections::BTreeMap<String, Vec<u8>> {
    changed(bundles::demo(), "policies/demo.cedar", |text| {
        let kept = text.split("@id(").skip(1).filter(|policy| !ids.iter().any(|id| policy.contains(id)));
        kept.map(|policy| format!("@id({}\n", policy.split("\n\n").next().unwrap())).collect()
    })
}

#[test]
fn i04_no_rules_at_all_grant_nothing() {
    let mut scene = Scene::with(without(&["demo-read", "demo-small-charge", "demo-no-deletion"]));
    scene.blocked(&ALL, &Deed::read(), "policy.no_grant");
    scene.blocked(&ALL, &Deed::charge("1.00", "k"), "policy.no_grant");
}

#[test]
fn i04_only_deny_rules_grant_nothing() {
    let mut scene = Scene::with(without(&["demo-read", "demo-small-charge"]));
    scene.blocked(&ALL, &Deed::read(), "policy.no_grant");
    scene.blocked(
        &ALL,
        &Deed::on("delete_account", json!({ "account": "acme" }), Some("k")),
        "policy.forbidden",
    );
}

/// The demo's bundle with a number in a read, and a `forbid` whose condition overflows from 1 on.
fn overflowing() -> std::collections::BTreeMap<String, Vec<u8>> {
    let bundle = changed(bundles::demo(), "bundle.toml", |text| {
        let account = "context.account = { type = \"string\", from = \"/account\" }\n";
        let count = "context.count = { type = \"integer\", from = \"/count\" }\n";
        text.replacen(account, &format!("{account}{count}"), 1)
    });
    let bundle = changed(bundle, "schema.cedarschema", |text| {
        let own = "action \"demo.read_balance\"\n  appliesTo { principal: Agent, resource: Surface, context: { account: String, count: Long } };\n\naction ";
        text.replacen("action \"demo.read_balance\", ", own, 1)
    });
    changed(bundle, "policies/demo.cedar", |text| {
        text + "\n@id(\"overflows\")\nforbid (principal, action == Action::\"demo.read_balance\", resource)\n\
                when { context.count + 9223372036854775807 < 0 };\n"
    })
}

#[test]
fn i05_a_deny_rule_that_cannot_be_evaluated_does_not_let_through() {
    let mut scene = Scene::with(overflowing());
    let read = |count: i64| Deed::on("read_balance", json!({ "account": "acme", "count": count }), None);
    scene.runs(&ALL, &read(0));
    // The engine would skip the rule, and answer Allow.
    scene.blocked(&ALL, &read(1), "policy.evaluation_error");
    scene.runs(&ALL, &read(-1));
}

#[test]
fn i16_one_policy_decides_at_every_entry_alike() {
    let mut scene = Scene::new();
    let deletion = json!({ "account": "acme" });
    let deeds: [(Deed, Option<&str>); 8] = [
        (Deed::read(), None),
        (Deed::charge("100.00", "a"), None),
        (Deed::charge("100.01", "b"), Some("policy.no_grant")),
        (Deed::charge("0.00", "c"), Some("policy.no_grant")),
        (Deed::charge("-1.00", "d"), Some("policy.no_grant")),
        (Deed::on("delete_account", deletion.clone(), Some("e")), Some("policy.forbidden")),
        (Deed::on("delete_account", deletion, None), Some("idempotency.key_missing")),
        (Deed::on("other", json!({}), None), Some("surface.unknown")),
    ];
    for (deed, code) in deeds {
        match code {
            None => scene.runs(&ALL, &deed),
            Some(code) => scene.blocked(&ALL, &deed, code),
        }
    }
    let log = scene.log();
    assert_eq!(log.rows.len(), 8 * ALL.len(), "and every decision of every entry is on record");
}

/// A date and time in so many seconds, as bundles write it.
fn in_seconds(seconds: u32) -> String {
    let when = format!("+{seconds} seconds");
    let output = Command::new("date").args(["-u", "-d", &when, "+%Y-%m-%dT%H:%M:%SZ"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn i23_an_expired_bundle_is_not_served_until_it_is_replaced() {
    let bundle =
        changed(bundles::demo(), "bundle.toml", |text| text.replace("2099-01-01T00:00:00Z", &in_seconds(20)));
    let mut scene = Scene::with(bundle);
    scene.runs(&ALL, &Deed::read());
    until("the bundle's last moment", || {
        scene.tries(Entry::Api, &Deed::read()).err().filter(|code| code == "policy.expired")
    });
    scene.blocked(&ALL, &Deed::read(), "policy.expired");
    scene.blocked(&ALL, &Deed::charge("1.00", "k"), "policy.expired");
}

#[test]
fn i23_an_update_that_fails_does_not_leave_the_old_bundle_deciding() {
    let mut scene = Scene::new();
    let bundle = scene.place.config.bundle.clone();
    scene.runs(&ALL, &Deed::read());
    let policies = bundle.join("policies/demo.cedar");
    let before = std::fs::read_to_string(&policies).unwrap();
    // Half an update: the policies are there, the signature is not yet.
    std::fs::write(&policies, format!("{before}\n// a new version\n")).unwrap();
    scene.blocked(&ALL, &Deed::read(), "policy.signature_invalid");
    // Signed, but not the pinned one.
    portcullis_server::sign_bundle(&bundle, &scene.place.path("keys/bundle.key")).unwrap();
    scene.blocked(&ALL, &Deed::read(), "policy.pin_mismatch");
    std::fs::write(&policies, "permit (principal, action, resource)").unwrap();
    scene.blocked(&ALL, &Deed::read(), "policy.signature_invalid");
    std::fs::write(&policies, &before).unwrap();
    portcullis_server::sign_bundle(&bundle, &scene.place.path("keys/bundle.key")).unwrap();
    scene.runs(&ALL, &Deed::read());
}

#[test]
fn i24_a_bundle_whose_signature_was_stripped_decides_nothing() {
    let mut scene = Scene::new();
    let signature = scene.place.config.bundle.join("bundle.sig");
    let genuine = std::fs::read_to_string(&signature).unwrap();
    let stripped = pull_aside(&scene, &signature);
    scene.blocked(&ALL, &Deed::read(), "policy.unsigned");
    std::fs::rename(&stripped, &signature).unwrap();
    let (text, lines) = genuine.split_once("\n\n").unwrap();
    for (content, code) in [
        (String::new(), "policy.signature_empty"),
        ("\n".to_owned(), "policy.signature_empty"),
        (format!("{text}\n"), "policy.signature_empty"),
        (format!("{text}\n\n"), "policy.signature_empty"),
        (format!("{text}\n\n{}", lines.replace("bundle ", "nobody ")), "policy.untrusted_key"),
        (format!("{}\n\n{lines}", text.replace("demo", "omed")), "policy.signature_invalid"),
        ("none".to_owned(), "policy.signature_empty"),
        ("{\"alg\":\"none\"}\n\n".to_owned(), "policy.signature_empty"),
    ] {
        std::fs::write(&signature, &content).unwrap();
        scene.blocked(&ALL, &Deed::read(), code);
    }
    // By another key, over the very same files.
    let other = scene.place.path("keys/other.key");
    portcullis_server::new_key(&other, "portcullis.local/bundle").unwrap();
    portcullis_server::sign_bundle(&scene.place.config.bundle, &other).unwrap();
    scene.blocked(&ALL, &Deed::read(), "policy.untrusted_key");
    std::fs::write(&signature, &genuine).unwrap();
    scene.runs(&ALL, &Deed::read());
}

/// Moves a file out of the bundle, which must hold no others.
fn pull_aside(scene: &Scene, file: &std::path::Path) -> std::path::PathBuf {
    let aside = scene.place.path("aside");
    std::fs::rename(file, &aside).unwrap();
    aside
}

#[test]
fn i24_a_bundle_that_was_pinned_without_being_signed_decides_nothing() {
    let scene = Scene::new();
    let place = &scene.place;
    sign_and_pin(place, &place.config_path);
    std::fs::write(place.config.bundle.join("bundle.sig"), "").unwrap();
    let before = portcullis_server::Config::read(&place.config_path).unwrap();
    portcullis_server::pin_bundle(&before).unwrap();
    let mut scene = scene;
    scene.blocked(&ALL, &Deed::read(), "policy.signature_empty");
}

#[test]
fn i30_a_guard_on_arguments_never_degrades_to_one_without() {
    let mut scene = Scene::new();
    let charge = |arguments: Value| Deed::on("charge", arguments, Some("k"));
    scene.blocked(&ALL, &charge(json!({ "account": "acme", "amount": "100.01" })), "policy.no_grant");
    // What the guard reads is missing, of another type, or inexact.
    let unread: [(Value, &str, &str); 6] = [
        (json!({ "account": "acme" }), "request.argument", "surface.context"),
        (json!({ "account": "acme", "amount": null }), "request.argument", "surface.context"),
        (json!({ "account": "acme", "amount": 1 }), "request.argument", "surface.context"),
        (json!({ "account": "acme", "amount": ["1.00"] }), "request.argument", "surface.context"),
        (json!({ "account": "acme", "amount": "1" }), "request.argument", "surface.context"),
        (json!({ "account": "acme", "amount": 1.5 }), "request.fraction", "request.fraction"),
    ];
    for (arguments, over_mcp, elsewhere) in unread {
        scene.blocked(&[Entry::Mcp], &charge(arguments.clone()), over_mcp);
        scene.blocked(&[Entry::Api, Entry::Sdk, Entry::Cli], &charge(arguments), elsewhere);
    }
    // What is not declared is not context; over MCP the tool gets it, and the guard does not read it.
    let undeclared = json!({ "account": "acme", "amount": "1.00", "currency": "XXX" });
    scene.blocked(&[Entry::Api, Entry::Sdk, Entry::Cli], &charge(undeclared), "surface.context");
    scene.runs(&ALL, &charge(json!({ "account": "acme", "amount": "1.00" })));
}

#[test]
fn i30_a_second_spelling_of_an_argument_is_refused_not_ignored() {
    let mut scene = Scene::new();
    let reached = scene.gate.settled(&scene.recording).len();
    for (arguments, code) in [
        (r#"{"account":"acme","amount":"1.00","amount":"999.00"}"#, "request.duplicate_key"),
        (r#"{"account":"acme","amount":"1.00","Amount":"999.00"}"#, "request.ambiguous_key"),
        (r#"{"account":"acme","amount":"1.00","AMOUNT":"999.00"}"#, "request.ambiguous_key"),
    ] {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":9000,"method":"tools/call","params":{{"name":"charge","arguments":{arguments},"_meta":{{"portcullis/idempotency-key":"k"}}}}}}"#
        );
        scene.gate.line(&line);
        let answer = scene.gate.called(9000).unwrap();
        assert_eq!(answer.code(), code, "{arguments}");
    }
    assert_eq!(scene.gate.settled(&scene.recording).len(), reached);
    assert_eq!(scene.ran(), 0);
}
