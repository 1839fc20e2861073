//! Ways round the check: 17, 18, 27.

use serde_json::{Value, json};

use crate::scene::{ALL, Deed, Entry, Scene};
use crate::support::{Gate, Recording, demo_server};

/// A charge that policy would not grant, as a client sends it.
const DEAR: &str = r#""method":"tools/call","params":{"name":"charge","arguments":{"account":"acme","amount":"999.00"},"_meta":{"portcullis/idempotency-key":"k"}}"#;

#[test]
fn i17_no_second_path_leads_round_the_check() {
    let mut scene = Scene::new();
    let lines = [
        // A notification, a batch, two messages in one line, another spelling, another version, none.
        format!(r#"{{"jsonrpc":"2.0",{DEAR}}}"#),
        format!(r#"[{{"jsonrpc":"2.0","id":1,{DEAR}}}]"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping"}} {{"jsonrpc":"2.0","id":2,{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping",{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,{DEAR},"method":"ping"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"Method":"ping",{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"1.0","id":1,{DEAR}}}"#),
        format!(r#"{{"id":1,{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":null,{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1.5,{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":[1],{DEAR}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{}},{DEAR}}}"#),
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\r{{\"jsonrpc\":\"2.0\",\"id\":2,{DEAR}}}\r}}}}"
        ),
        DEAR.replace("tools/call", "Tools/Call"),
        DEAR.replace("tools/call", "tools/call/"),
        DEAR.replace("tools/call", "tools/call\\u0000"),
    ];
    for line in &lines {
        let line = if line.starts_with(['{', '[']) {
            line.clone()
        } else {
            format!(r#"{{"jsonrpc":"2.0","id":77,{line}}}"#)
        };
        scene.gate.line(&line);
    }
    let calls = scene.gate.settled(&scene.recording);
    assert!(calls.is_empty(), "{calls:?}");
    let methods: Vec<_> =
        scene.recording.messages().iter().map(|message| message["method"].clone()).collect();
    let harmless = ["initialize", "notifications/initialized", "ping"];
    assert!(methods.iter().all(|method| harmless.contains(&method.as_str().unwrap())), "{methods:?}");
    assert_eq!(scene.ran(), 0);
    scene.runs(&ALL, &Deed::read());
}

#[test]
fn i17_a_server_id_that_nobody_declared_exposes_no_tool() {
    let scene = Scene::new();
    let recording = Recording::new(&scene.place.path("other-recording"));
    let config = scene.place.configure("other.toml", |text| {
        let arbiter = format!("deadline_ms = 10000\narbiter = \"{}\"", scene.between.url);
        text.replace("server = \"demo\"", "server = \"other\"").replace("deadline_ms = 2000", &arbiter)
    });
    let mut gate = Gate::start(&config, &recording.of(&demo_server(&scene.journal)));
    for tool in ["read_balance", "charge", "delete_account"] {
        let arguments = json!({ "account": "acme", "amount": "1.00" });
        assert_eq!(gate.call_with(tool, &arguments, Some("k")).code(), "surface.unknown", "{tool}");
    }
    assert!(gate.settled(&recording).is_empty());
    assert_eq!(scene.ran(), 0);
}

#[test]
fn i17_the_check_comes_before_the_tool_not_after_it() {
    let mut scene = Scene::new();
    // Refused calls never reach the server, so there is nothing for a later check to find.
    scene.blocked(&ALL, &Deed::charge("999.00", "k"), "policy.no_grant");
    scene.runs(&ALL, &Deed::charge("1.00", "k"));
}

#[test]
fn i18_prompts_resources_subscriptions_and_completion_are_policed() {
    let mut scene = Scene::new();
    let methods: [(&str, Value); 13] = [
        ("prompts/get", json!({ "name": "p" })),
        ("resources/read", json!({ "uri": "file:///etc/passwd" })),
        ("resources/subscribe", json!({ "uri": "file:///etc/passwd" })),
        ("resources/unsubscribe", json!({ "uri": "file:///etc/passwd" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "p" }, "argument": { "name": "a", "value": "b" } }),
        ),
        ("sampling/createMessage", json!({ "messages": [] })),
        ("elicitation/create", json!({ "message": "?" })),
        ("roots/list", json!({})),
        ("tasks/get", json!({ "taskId": "1" })),
        ("tasks/result", json!({ "taskId": "1" })),
        ("subscriptions/listen", json!({})),
        ("a/method/of/tomorrow", json!({ "name": "read_balance" })),
        ("rpc.discover", json!({})),
    ];
    for (method, params) in &methods {
        let answer = crate::support::Answer(scene.gate.request(method, params.clone()));
        assert_eq!(answer.code(), "surface.unknown", "{method}");
        assert_eq!(scene.recording.count(method), 0, "{method} reached the server");
    }
    for notice in ["notifications/evil", "notifications/tools/call", "tools/call"] {
        scene
            .gate
            .line(&json!({ "jsonrpc": "2.0", "method": notice, "params": { "name": "charge" } }).to_string());
    }
    assert!(scene.gate.settled(&scene.recording).is_empty());
    for notice in ["notifications/evil", "notifications/tools/call", "tools/call"] {
        assert_eq!(scene.recording.count(notice), 0, "{notice}");
    }
    // Those that only ask what there is pass, so the silence of the others is no deadness of the server.
    assert!(scene.gate.request("tools/list", json!({}))["result"]["tools"].is_array());
    let log = scene.log();
    assert!(log.refusals().len() >= methods.len(), "and each is on record");
}

#[test]
fn i27_a_retry_with_a_new_call_id_does_not_pay_twice() {
    let mut scene = Scene::new();
    let arguments = json!({ "account": "acme", "amount": "12.50" });
    let first = scene.gate.call_with("charge", &arguments, Some("order-1"));
    assert_eq!(first.ran(), "charged 12.50 to acme");
    for _ in 0..3 {
        let again = scene.gate.call_with("charge", &arguments, Some("order-1"));
        assert!(again.is_replay(), "{again:?}");
        assert_eq!(again.0["result"]["content"], first.0["result"]["content"]);
    }
    assert_eq!(scene.gate.settled(&scene.recording).len(), 1);
    // The key is the agent's, whichever entry is tried with it.
    let other =
        scene.gate.call_with("charge", &json!({ "account": "acme", "amount": "13.00" }), Some("order-1"));
    assert_eq!(other.code(), "idempotency.conflict");
    assert_eq!(scene.ran(), 1);
}

#[test]
fn i27_a_retry_does_not_pay_twice_at_any_entry() {
    let mut scene = Scene::new();
    let charge = Deed::charge("12.50", "order");
    scene.runs(&[Entry::Sdk], &charge);
    let refused = scene.tries(Entry::Sdk, &charge);
    assert_eq!(refused, Err("idempotency.completed".to_owned()));
    // These two only decide: nobody says what became of it, so the key stays taken.
    for entry in [Entry::Api, Entry::Cli] {
        assert_eq!(scene.tries(entry, &charge), Ok(()));
        let again = scene.tries(entry, &charge).unwrap_err();
        assert!(again.starts_with("idempotency."), "{entry:?}: {again}");
    }
    assert_eq!(scene.ran(), 1);
    // Without a key there is no telling a retry from a second payment.
    scene.blocked(
        &ALL,
        &Deed::on("charge", json!({ "account": "acme", "amount": "1.00" }), None),
        "idempotency.key_missing",
    );
    // A read is its own each time.
    scene.runs(&ALL, &Deed::read());
    scene.runs(&ALL, &Deed::read());
}
