//! A gate that only simulates: what arrives at the tool server is harmless, whatever is asked and decided.

use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::{Examples, McpGate};
use portcullis_protocol::ReasonCode;
use serde_json::{Value, json};

use super::arbiter::Act;
use super::door::{Door, NEW, ONE, call, headers};
use super::several::Several;
use super::support::{Gate, local};

/// Makes it one that only simulates, with these examples.
fn simulating(config: &mut McpGate, examples: &str) {
    let servers: Vec<String> =
        config.beside.iter().map(|server| server.name.clone()).chain([config.server.clone()]).collect();
    config.simulation = Some(Arc::new(Examples::read(examples.as_bytes(), &servers).unwrap()));
}

fn gate(examples: &str) -> Gate {
    Gate::with(|config| simulating(config, examples))
}

/// The methods of what has reached the tool server, without pings.
async fn arrived(gate: &mut Gate) -> Vec<String> {
    methods(&gate.journal().await)
}

fn methods(journal: &[String]) -> Vec<String> {
    let method = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["method"].as_str().map_or_else(|| "an answer".to_owned(), str::to_owned)
    };
    journal.iter().map(method).collect()
}

/// What an answer says of the simulation, wherever it says it.
#[track_caller]
fn said(answer: &Value) -> &Value {
    let meta = answer.pointer("/result/_meta");
    if let Some(meta) = meta {
        assert_eq!(meta["portcullis/simulated"], true, "{answer}");
    }
    let said = meta.map(|meta| &meta["portcullis/decision"]);
    let said =
        said.or_else(|| answer.pointer("/error/data/portcullis")).unwrap_or_else(|| panic!("{answer}"));
    assert_eq!((&said["simulated"], &said["enforcement"]), (&json!(true), &json!("BLOCKED")), "{answer}");
    said
}

/// The text that a person or a model reads first.
fn text(answer: &Value) -> &str {
    let text = answer.pointer("/result/content/0/text").or_else(|| answer.pointer("/error/message"));
    text.unwrap_or_else(|| panic!("{answer}")).as_str().unwrap()
}

fn typed(name: &str, output: Value) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" }, "outputSchema": output })
}

fn offer(gate: &Gate, tools: &[Value]) {
    gate.offers(&json!({ "pages": [tools] }));
}

#[tokio::test]
async fn what_would_be_permitted_reached_the_tool_server() {
    let mut gate = gate("");
    for (id, line) in [
        r#""method":"tools/call","params":{"name":"read","arguments":{}}"#,
        r#""method":"tools/call","params":{"name":"write","arguments":{"path":"/a"}}"#,
        r#""method":"tools/call","params":{"name":"pay","arguments":{},"_meta":{"portcullis/idempotency-key":"k"}}"#,
        r#""method":"tools/call","params":{"name":"move","arguments":{}}"#,
        r#""method":"resources/read","params":{"uri":"a://b"}"#,
    ]
    .iter()
    .enumerate()
    {
        let answer = gate.ask(&format!(r#"{{"jsonrpc":"2.0","id":{id},{line}}}"#)).await;
        let said = said(&answer);
        assert_eq!((&said["decision"], &said["captured"], &said["record"]), (&json!("PERMIT"), &json!("logged"), &json!(0)));
        assert!(said["proof"].as_str().unwrap().starts_with("c2sp.org/tlog-proof@v1"), "{answer}");
    }
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{}}"#).await;
    gate.told("only simulates").await;
    // What has no answer is decided like the rest, and people are told.
    gate.told("blocked rec.mcp.notifications.tasks.status").await;
    assert_eq!(gate.arbiter.simulated.borrow().len(), 6);
    assert!(gate.arbiter.questions().is_empty(), "nothing was to be decided");
    assert!(gate.arbiter.reported().is_empty(), "and nothing ended");
    let arrived = arrived(&mut gate).await;
    assert!(arrived.iter().all(|method| method == "tools/list"), "{arrived:?}");
    let (ending, _) = gate.close().await;
    assert_eq!(ending.unreported, 0);
}

#[tokio::test]
async fn what_asks_only_what_there_is_is_asked_of_the_server_as_ever() {
    let mut gate = gate("");
    for method in ["initialize", "prompts/list", "resources/list", "logging/setLevel"] {
        let answer = gate.ask(&format!(r#"{{"jsonrpc":"2.0","id":"{method}","method":"{method}"}}"#)).await;
        assert_eq!(answer["result"]["pong"], method, "{answer}");
    }
    assert_eq!(
        arrived(&mut gate).await,
        ["initialize", "prompts/list", "resources/list", "logging/setLevel"]
    );
}

#[tokio::test]
async fn what_would_be_refused_is_answered_as_it_would_be_and_marked() {
    let mut gate = gate("");
    for code in [ReasonCode::PolicyNoGrant, ReasonCode::EvidenceUnwritable, ReasonCode::IdempotencyCompleted]
    {
        gate.arbiter.will(Act::Refuse(code));
        let answer = gate.tool(1, "read", "{}").await;
        let said = said(&answer);
        assert_eq!(
            (said["reason"]["code"].as_str(), &said["captured"]),
            (Some(code.as_str()), &json!("logged"))
        );
        assert!(text(&answer).starts_with("simulated: Blocked by Portcullis:"), "{answer}");
        assert_eq!(answer["result"]["isError"], true);
        assert_eq!(answer["result"]["structuredContent"]["portcullis"]["simulated"], true);
    }
    // What the gate itself would not send is not said to run either.
    gate.arbiter.will(Act::Permit);
    let answer = gate.tool(2, "no body", "{}").await;
    assert_eq!(said(&answer)["reason"]["code"], "surface.unknown", "{answer}");
    // Nobody says anything that verifies.
    gate.arbiter.will(Act::Lost);
    let answer = gate.tool(3, "read", "{}").await;
    let lost = said(&answer);
    assert_eq!((&lost["reason"]["code"], &lost["captured"]), (&json!("arbiter.unreachable"), &json!("none")));
    assert!(arrived(&mut gate).await.iter().all(|method| method == "tools/list"));
}

#[tokio::test]
async fn an_example_is_the_result_of_its_very_call_and_another_one_of_any() {
    let mut gate = gate(
        r#"{"tool":"rec/read","result":{"content":[{"type":"text","text":"any"}],"_meta":{"own":1}}}
{"tool":"rec/read","arguments":{"n":1},"result":{"content":[{"type":"text","text":"one"}],"isError":false}}"#,
    );
    for (arguments, content) in [(r#"{"n":1}"#, "one"), (r#"{"n":2}"#, "any")] {
        let answer = gate.tool(1, "read", arguments).await;
        said(&answer);
        assert!(text(&answer).starts_with("simulated: "), "{answer}");
        assert_eq!(answer["result"]["content"][1]["text"], content);
    }
    assert_eq!(gate.tool(2, "read", "{}").await["result"]["_meta"]["own"], 1);
    let answer = gate.tool(3, "write", r#"{"path":"/a"}"#).await;
    assert_eq!(answer["result"]["content"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!((answer["result"].get("isError"), said(&answer)["decision"].as_str()), (None, Some("PERMIT")));
}

#[tokio::test]
async fn a_result_of_the_form_that_the_tool_declares_is_given_or_none() {
    let mut gate = gate(r#"{"tool":"rec/pay","result":{"structuredContent":{"n":"one"}}}"#);
    let of = |n: Value| json!({ "type": "object", "properties": { "n": n }, "required": ["n"] });
    let tools = [
        typed("read", of(json!({ "type": "integer", "minimum": 3 }))),
        typed("write", of(json!({ "type": "string", "pattern": "^[0-9]{3}-[0-9]{4}$" }))),
        typed("pay", of(json!({ "type": "integer" }))),
        typed("move", of(json!({ "unevaluatedItems": false }))),
    ];
    offer(&gate, &tools);
    let answer = gate.tool(1, "read", "{}").await;
    assert_eq!(
        (said(&answer)["decision"].as_str(), &answer["result"]["structuredContent"]),
        (Some("PERMIT"), &json!({ "n": 3 }))
    );
    assert_eq!(answer["result"]["content"][1]["text"], r#"{"n":3}"#);
    let pay = r#"{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"pay","arguments":{},"_meta":{"portcullis/idempotency-key":"k"}}}"#;
    for (answer, why) in [
        (gate.tool(2, "write", r#"{"path":"/a"}"#).await, "no value was found"),
        (gate.ask(pay).await, "the example of line 1 does not fit"),
        (gate.tool(4, "move", "{}").await, "is not understood"),
    ] {
        said(&answer);
        assert!(text(&answer).contains(why) && text(&answer).contains("--examples"), "{answer}");
        assert_eq!(
            (&answer["result"]["isError"], answer["result"].get("structuredContent")),
            (&json!(true), None)
        );
    }
    assert!(arrived(&mut gate).await.iter().all(|method| method == "tools/list"));
}

#[tokio::test]
async fn another_request_that_would_be_permitted_has_an_empty_result_of_its_form_or_none() {
    let mut gate = gate("");
    for method in ["prompts.get", "completion.complete", "resources.subscribe", "other.thing", "tasks.get"] {
        let spec = super::support::surface(portcullis_protocol::Idempotency::None, &[]);
        let name = format!("rec.mcp.{method}").parse().unwrap();
        gate.arbiter.table.lock().unwrap().as_mut().unwrap().surfaces.insert(name, spec);
    }
    for (method, member, empty) in [
        ("resources/read", "contents", json!([])),
        ("prompts/get", "messages", json!([])),
        ("completion/complete", "completion", json!({ "values": [] })),
    ] {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "uri": "a://b" } });
        let answer = gate.ask(&line.to_string()).await;
        assert_eq!(
            (said(&answer)["decision"].as_str(), &answer["result"][member]),
            (Some("PERMIT"), &empty),
            "{answer}"
        );
    }
    said(
        &gate
            .ask(r#"{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{"uri":"a://b"}}"#)
            .await,
    );
    for method in ["other/thing", "tasks/get"] {
        let answer = gate.ask(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#)).await;
        said(&answer);
        assert!(answer.get("result").is_none() && text(&answer).starts_with("simulated: "), "{answer}");
    }
    let task =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{},"task":{}}}"#;
    let answer = gate.ask(task).await;
    assert!(answer.get("result").is_none() && text(&answer).contains("tasks are not simulated"), "{answer}");
    assert!(arrived(&mut gate).await.iter().all(|method| method == "tools/list"));
}

#[tokio::test]
async fn what_the_server_asked_of_the_client_reached_it() {
    let mut gate = Gate::with(|config| {
        simulating(config, "");
        config.listed_within = Duration::from_secs(600);
    });
    let spec = super::support::surface(portcullis_protocol::Idempotency::None, &[]);
    for method in ["sampling.createmessage", "elicitation.create", "roots.list"] {
        let name = format!("rec.mcp.{method}").parse().unwrap();
        gate.arbiter.table.lock().unwrap().as_mut().unwrap().surfaces.insert(name, spec.clone());
    }
    let methods = ["sampling/createMessage", "elicitation/create", "roots/list"];
    for (answered, method) in (1..).zip(methods) {
        gate.offers(&json!({ "asks": method }));
        // The server asks, and then answers; nothing else reaches the client.
        let pong = gate.ask(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
        assert_eq!(pong["result"]["pong"], "ping", "{pong}");
        let told = async {
            while gate
                .journal_now()
                .iter()
                .filter(|line| line.contains("was decided, and not passed on"))
                .count()
                < answered
            {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(super::PATIENCE, told).await.is_ok(), "{:?}", gate.journal_now());
        let surface = format!("rec.mcp.{}", method.replace('/', ".").to_ascii_lowercase());
        assert_eq!(gate.arbiter.simulated.borrow().last().unwrap().request.surface.as_str(), surface);
    }
    assert!(gate.arbiter.questions().is_empty());
}

#[tokio::test]
async fn a_call_that_its_client_has_cancelled_is_not_answered() {
    let mut gate = gate("");
    gate.arbiter.will(Act::PermitWhenReleased);
    gate.call(1, "read", "{}").await;
    let mut simulated = gate.arbiter.simulated.subscribe();
    let asked = simulated.wait_for(|asked| asked.len() == 1);
    drop(tokio::time::timeout(super::PATIENCE, asked).await.expect("it is asked").unwrap());
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).await;
    // The cancellation is read before what comes behind it is answered.
    assert!(arrived(&mut gate).await.is_empty());
    gate.arbiter.release.add_permits(1);
    gate.arbiter.will(Act::Permit);
    assert_eq!(gate.tool(2, "read", "{}").await["id"], 2);
    let (_, rest) = gate.close().await;
    assert_eq!(rest, Vec::<Value>::new());
}

#[tokio::test]
async fn of_several_servers_none_is_sent_anything_and_each_has_its_own_examples() {
    let examples = r#"{"tool":"two/read","result":{"content":[{"type":"text","text":"of two"}]}}"#;
    let mut several =
        Several::with(&[("one", &["write"]), ("two", &["read"])], |config| simulating(config, examples));
    several.begin().await;
    several.listed().await;
    let read = several.call("read", json!({})).await;
    said(&read);
    assert_eq!(read["result"]["content"][1]["text"], "of two", "{read}");
    let write = several.call("write", json!({})).await;
    assert_eq!(said(&write)["decision"], "PERMIT", "{write}");
    for name in ["one", "two"] {
        let journal = std::fs::read_to_string(several.gate.folder.path().join(name)).unwrap();
        assert!(!journal.contains("tools/call"), "{name}: {journal}");
    }
    assert!(several.gate.arbiter.questions().is_empty());
}

#[tokio::test]
async fn over_http_nothing_is_sent_either() {
    let door = Door::with(|endpoint| simulating(&mut endpoint.gate, "")).await;
    let answer =
        door.post(ONE, &headers("read"), &call("1", "read", &format!(",{NEW}"))).await.answer().await;
    said(&answer);
    assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
    let session = door.session(ONE).await;
    said(&session.tool("2", "read").await);
    assert_eq!(door.calls(), Vec::<String>::new());
    assert_eq!(door.arbiter.simulated.borrow().len(), 2);
    assert!(door.arbiter.questions().is_empty());
}

/// What an earlier gate has kept is not taken up, and nothing is added to it.
#[tokio::test]
async fn what_could_not_be_simulated_was_kept_as_an_attempt() {
    let spool = tempfile::TempDir::new().unwrap();
    let mut gate = Gate::with(|config| {
        simulating(config, "");
        config.spool = Some(spool.path().to_owned());
        assert!(!local(config).command.is_empty());
    });
    gate.arbiter.will(Act::Lost);
    let answer = gate.tool(1, "read", "{}").await;
    assert_eq!(said(&answer)["captured"], "none");
    assert_eq!(std::fs::read_dir(spool.path()).unwrap().count(), 0);
}
