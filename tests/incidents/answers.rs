//! What arbiters answered, and gates took for an allowance: 1, 2, 19, 20, 29.

use serde_json::json;

use crate::scene::{Deed, Entry, Scene, VERIFYING, asked_for, starts};
use crate::support::{Act, Place, pull, text};

fn refusal(decision: &str, code: &str) -> String {
    json!({
        "decision": decision, "captured": "none",
        "reason": { "code": code, "message": "all is well", "remedy": "" },
    })
    .to_string()
}

#[test]
fn i01_an_error_code_nobody_listed_runs_nothing() {
    let mut scene = Scene::new();
    for status in [200, 403, 418, 499, 503, 599] {
        for (decision, code) in [
            ("SILENCE", "auth.token_expired_in_a_new_way"),
            ("DENY", ""),
            ("ERROR", "policy.no_grant"),
            ("PERMIT", "ok"),
        ] {
            let body = refusal(decision, code);
            scene.refuses("receipt.unverifiable", move |_| Act::reply(status, &body));
        }
    }
}

#[test]
fn i01_a_known_code_under_a_status_that_is_not_its_own_runs_nothing() {
    let mut scene = Scene::new();
    for status in [200, 204, 299, 400, 500] {
        let body = refusal("DENY", "policy.no_grant");
        scene.refuses("receipt.unverifiable", move |_| Act::reply(status, &body));
    }
}

#[test]
fn i02_null_on_an_error_is_no_allowance() {
    let mut scene = Scene::new();
    for status in [200, 400, 404, 500, 503] {
        for body in ["null", "", "[]", "{}", r#"{"decision":null}"#, r#"{"error":null}"#, "undefined"] {
            scene.refuses("receipt.unverifiable", move |_| Act::reply(status, body));
        }
    }
}

#[test]
fn i19_an_arbiter_that_answers_500_with_an_empty_body_is_no_pass() {
    let mut scene = Scene::new();
    for status in [500, 501, 502, 503, 504, 507] {
        scene.refuses("receipt.unverifiable", move |_| Act::reply(status, ""));
    }
    scene.refuses("arbiter.unreachable", |_| Act::Bytes(Vec::new()));
}

#[test]
fn i19_an_answer_for_nobody_in_particular_is_no_pass() {
    let mut scene = Scene::new();
    for body in
        [r#"{"allowed":true}"#, r#"{"decision":true}"#, r#"{"decision":"PERMIT","captured":"logged"}"#]
    {
        scene.refuses("receipt.unverifiable", move |_| Act::reply(200, body));
    }
    // The question echoed, with a decision in it.
    scene.refuses("receipt.unverifiable", |asked| {
        let mut body = serde_json::to_value(asked_for(asked)).unwrap();
        body["decision"] = "PERMIT".into();
        Act::reply(200, body.to_string())
    });
}

#[test]
fn i20_an_arbiter_that_is_not_there_is_no_absence_of_a_gate() {
    let mut scene = Scene::hurried(2_000);
    scene.runs(&VERIFYING, &Deed::read());
    let away = pull(&scene.config);
    // A gate that runs already goes on asking, and asks in vain.
    let nowhere = "http://127.0.0.1:1".parse().unwrap();
    let refused = scene.sdk_at(nowhere, &scene.place.token("demo-agent"), &Deed::read()).unwrap_err();
    assert_eq!(refused.code().as_str(), "arbiter.unreachable");
    away.back();
    scene.daemon.notes.text();
    crate::support::process::kill(&mut scene.daemon.child);
    // What stands between answers nothing, as nobody answers it.
    scene.blocked(&VERIFYING, &Deed::read(), "arbiter.unreachable");
}

#[test]
fn i20_no_configuration_and_no_switch_is_a_gate_that_always_allows() {
    let place = Place::demo();
    let missing = text(&place.path("nowhere.toml"));
    for command in ["mcp", "serve", "decide"] {
        let mut arguments = vec![command, "--config", &missing];
        let request = text(&place.file("request.json", &Deed::read().ask().to_string()));
        if command == "decide" {
            arguments.push(&request);
        }
        let (code, said, started) = starts(&place, &arguments, &[]);
        assert_eq!((code, started), (Some(1), false), "{command}: {said}");
        assert!(said.contains("cannot be read"), "{command}: {said}");
    }
    // A word that promises to open the gate is not understood, wherever it stands.
    let good = std::fs::read_to_string(&place.config_path).unwrap();
    for section in ["arbiter", "policy", "gate", "mcp", "serve"] {
        for switch in [
            "enabled = false",
            "mode = \"permissive\"",
            "dry_run = true",
            "fail_open = true",
            "on_error = \"allow\"",
        ] {
            let heading = format!("[{section}]\n");
            assert!(good.contains(&heading));
            let config =
                text(&place.file("switched.toml", &good.replace(&heading, &format!("{heading}{switch}\n"))));
            let (code, said, started) = starts(&place, &["mcp", "--config", &config], &[]);
            assert_eq!((code, started), (Some(1), false), "{section}: {switch}: {said}");
        }
    }
}

#[test]
fn i20_no_environment_variable_opens_a_gate_whose_arbiter_is_gone() {
    let place = Place::demo();
    let config = place.gate("gate.toml", "http://127.0.0.1:1", 2_000);
    let request = place.file("request.json", &Deed::read().ask().to_string());
    let switches = [
        ("PORTCULLIS_DISABLE", "1"),
        ("PORTCULLIS_ENABLED", "false"),
        ("PORTCULLIS_MODE", "permissive"),
        ("PORTCULLIS_DRY_RUN", "1"),
        ("PORTCULLIS_FAIL_OPEN", "true"),
        ("PORTCULLIS_SKIP", "1"),
        ("DEBUG", "1"),
        ("CI", "true"),
    ];
    let (config, request) = (text(&config), text(&request));
    let (code, said, _) = starts(&place, &["decide", "--config", &config, &request], &switches);
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn i29_without_its_policy_nothing_is_ungoverned() {
    let mut scene = Scene::new();
    let bundle = scene.place.config.bundle.clone();
    let all = [Entry::Mcp, Entry::Api, Entry::Sdk, Entry::Cli];
    scene.runs(&all, &Deed::read());
    let pulled = pull(&bundle);
    scene.blocked(&all, &Deed::read(), "policy.missing");
    scene.blocked(&all, &Deed::charge("1.00", "k"), "policy.missing");
    std::fs::create_dir(&bundle).unwrap();
    scene.blocked(&all, &Deed::read(), "policy.missing");
    std::fs::write(bundle.join("bundle.toml"), "").unwrap();
    scene.blocked(&all, &Deed::read(), "policy.unsigned");
    std::fs::remove_dir_all(&bundle).unwrap();
    pulled.back();
    scene.runs(&all, &Deed::read());
}
