//! Credentials in the arguments of calls: what is decided names them, what is sent has them, and no agent says or sees them.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::{
    ArgumentSlot, ArgumentSlots, CredentialSource, EnvironmentCredentials, McpGate, Origin, RemoteServer,
    ToolServer, Trust,
};
use portcullis_programs::Program;
use portcullis_protocol::{
    ContextKind, Digest, Domain, Idempotency, Outcome, ReasonCode, SurfaceSpec, ToolDefinition, ToolPins,
    Value as Scalar,
};
use portcullis_sdk::Token;
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::Act;
use super::remote::{INITIALIZE, INITIALIZED};
use super::several::Several;
use super::support::{Gate, code, local, surface, table};
use super::web::Web;

const CANARY: &str = "canary-xyz7/9+x==";
const NAMED: &str = "portcullis:slot:crm-key";

/// A program that counts how often it ran, and then does this in its folder.
fn program(folder: &Path, body: &str) -> CredentialSource {
    let path = folder.join("program");
    let text = format!("#!/bin/sh\ncd {}\necho x >> runs\n{body}\n", folder.display());
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    CredentialSource::new(Origin::Command(Program { path, arguments: Vec::new() }), PATIENCE, Duration::ZERO)
}

fn runs(gate: &Gate) -> usize {
    std::fs::read_to_string(gate.folder.path().join("runs")).unwrap_or_default().lines().count()
}

/// `/api_key` of these tools, from this source.
fn slots(tools: &[&str], source: CredentialSource) -> Option<ArgumentSlots> {
    let tools: BTreeSet<String> = tools.iter().map(|tool| (*tool).to_owned()).collect();
    let slot = ArgumentSlot { name: "crm-key".into(), tools, argument: "/api_key".into(), source };
    Some(ArgumentSlots::new(vec![slot]).unwrap())
}

/// A gate that fills in what a program says.
fn gate(body: &str, act: Act, change: impl FnOnce(&mut McpGate)) -> Gate {
    let gate = Gate::with(|config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        local(config).slots = slots(&["read", "write", "move", "reveal"], program(&folder, body));
        change(config);
    });
    let mut table = table(1);
    // Its results are kept.
    table.surfaces.insert("rec.reveal".parse().unwrap(), surface(Idempotency::Derived, &[]));
    table.surfaces.insert("rec.read".parse().unwrap(), read_surface());
    *gate.arbiter.table.lock().unwrap() = Ok(table);
    gate.arbiter.will(act);
    gate
}

/// One whose policy reads what is filled in.
fn read_surface() -> SurfaceSpec {
    surface(Idempotency::None, &[("api_key", ContextKind::String)])
}

/// The calls that reached the server.
async fn ran(gate: &mut Gate) -> Vec<Value> {
    let journal = gate.journal().await;
    let all = journal.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|message| message["method"] == "tools/call").collect()
}

#[tokio::test]
async fn a_call_is_decided_with_the_slots_name_and_sent_with_the_credential() {
    let mut gate = gate(&format!("echo '{CANARY}'"), Act::Permit, |_| {});
    let answer = gate.tool(1, "read", r#"{"q":"x"}"#).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    let sent = &ran(&mut gate).await[0];
    assert_eq!(sent["params"]["arguments"], json!({ "q": "x", "api_key": CANARY }));
    assert_eq!(runs(&gate), 1);
    let asked = gate.arbiter.questions();
    let request = &asked[0].request;
    assert_eq!(request.context["api_key"], Scalar::Str(NAMED.into()), "policy reads which one it is");
    let decided = format!(
        r#"{{"jsonrpc":"2.0","method":"tools/call","params":{{"name":"read","arguments":{{"q":"x","api_key":"{NAMED}"}}}}}}"#
    );
    assert_eq!(request.envelope, Some(Digest::of(Domain::Payload, &[decided.as_bytes()])));
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Ok);
    // A tool without a slot is sent what its agent says.
    gate.tool(2, "pay", r#"{"api_key":"own"}"#).await;
    assert_eq!(runs(&gate), 1);
}

#[tokio::test]
async fn a_credential_is_fetched_for_no_call_that_is_not_permitted() {
    let mut gate = gate("echo open-sesame", Act::Refuse(ReasonCode::PolicyNoGrant), |_| {});
    assert_eq!(code(&gate.tool(1, "read", "{}").await), "policy.no_grant");
    gate.arbiter.will(Act::Garbage("none".into()));
    assert_eq!(code(&gate.tool(2, "read", "{}").await), "receipt.unverifiable");
    assert!(ran(&mut gate).await.is_empty() && runs(&gate) == 0);
}

#[tokio::test]
async fn an_agents_value_in_a_slot_is_refused_and_nobody_is_asked() {
    let mut gate = gate("echo open-sesame", Act::Permit, |_| {});
    for (id, (tool, arguments)) in (1..).zip([
        ("read", r#"{"api_key":"own"}"#),
        ("read", r#"{"API_KEY":"own"}"#),
        ("read", r#"{"q":"portcullis:slot:crm-key"}"#),
        ("pay", r#"{"q":"portcullis:slot:crm-key"}"#),
    ]) {
        let answer = gate.tool(id, tool, arguments).await;
        assert_eq!(code(&answer), "request.invalid_value", "{arguments}: {answer}");
        assert!(!answer.to_string().contains("own"), "{answer}");
    }
    assert!(gate.arbiter.questions().is_empty() && ran(&mut gate).await.is_empty() && runs(&gate) == 0);
}

#[tokio::test]
async fn a_slots_name_beside_the_parameters_sends_nothing() {
    let mut gate = gate("echo open-sesame", Act::Permit, |_| {});
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"read","arguments":{{}}}},"more":"{NAMED}"}}"#
    );
    assert_eq!(code(&gate.ask(&call).await), "request.invalid_value");
    assert!(gate.arbiter.questions().is_empty() && ran(&mut gate).await.is_empty() && runs(&gate) == 0);
}

#[tokio::test]
async fn a_call_whose_argument_does_not_come_is_not_sent_and_its_permit_is_given_up() {
    let body = "[ -e secret ] || { echo canary; exit 1; }; cat secret";
    let mut gate = gate(body, Act::Permit, |_| {});
    let answer = gate.tool(1, "read", "{}").await;
    assert_eq!(code(&answer), "credential.unavailable", "{answer}");
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Expired);
    gate.told("there is no credential for an argument").await;
    assert!(!gate.notes().contains("canary") && !answer.to_string().contains("canary"));
    assert!(ran(&mut gate).await.is_empty());
    std::fs::write(gate.folder.path().join("secret"), "open-sesame").unwrap();
    gate.tool(2, "read", "{}").await;
    assert_eq!(ran(&mut gate).await[0]["params"]["arguments"]["api_key"], "open-sesame");
}

#[tokio::test]
async fn a_permit_that_expires_while_an_argument_is_fetched_sends_nothing() {
    let body = "while [ ! -e go ]; do sleep 0.05; done; echo open-sesame";
    let mut gate = gate(body, Act::PermitFor(100), |_| {});
    gate.call(1, "read", "{}").await;
    while runs(&gate) == 0 {
        tokio::task::yield_now().await;
    }
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_millis(150) {
        tokio::task::yield_now().await;
    }
    std::fs::write(gate.folder.path().join("go"), "").unwrap();
    assert_eq!(code(&gate.next().await), "permit.expired");
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Expired);
    assert!(ran(&mut gate).await.is_empty());
}

#[tokio::test]
async fn a_call_with_another_credential_is_the_same_call() {
    let mut gate = gate("echo number-$(wc -l < runs).", Act::Permit, |_| {});
    for id in 1..3 {
        gate.tool(id, "move", r#"{"to":"x"}"#).await;
    }
    let sent = ran(&mut gate).await;
    let sent: Vec<_> =
        sent.iter().map(|call| call["params"]["arguments"]["api_key"].as_str().unwrap()).collect();
    assert_eq!(sent, ["number-1.", "number-2."], "each had its own");
    let asked = gate.arbiter.questions();
    let (one, other) = (&asked[0].request, &asked[1].request);
    assert!(one.idempotency_key.is_some());
    assert_eq!((&one.idempotency_key, one.payload), (&other.idempotency_key, other.payload));
}

#[tokio::test]
async fn an_agent_is_shown_a_tool_without_its_slots_and_the_tool_stays_as_it_is_pinned() {
    let tool = json!({
        "name": "read", "description": "d",
        "inputSchema": {
            "type": "object", "properties": { "q": { "type": "string" }, "api_key": { "type": "string" } },
            "required": ["q", "api_key"],
        },
    });
    let digest = ToolDefinition::parse(tool.to_string().as_bytes()).unwrap().digest();
    let mut gate = gate("echo open-sesame", Act::PermitAsPinned, |_| {});
    let tools = [("rec/read".parse().unwrap(), digest)].into();
    gate.arbiter.table.lock().unwrap().as_mut().unwrap().pins = ToolPins { required: false, tools };
    gate.offers(&json!({ "pages": [[tool]] }));
    let listed = gate.ask(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#).await;
    let shown = json!({ "type": "object", "properties": { "q": { "type": "string" } }, "required": ["q"] });
    assert_eq!(listed["result"]["tools"][0]["inputSchema"], shown, "{listed}");
    assert!(!listed.to_string().contains("api_key"), "{listed}");
    // The schema demands both.
    let answer = gate.tool(1, "read", r#"{"q":"x"}"#).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert_eq!(code(&gate.tool(2, "read", "{}").await), "tool.arguments_invalid");
    assert_eq!(ran(&mut gate).await.len(), 1);
}

#[tokio::test]
async fn a_gate_that_only_simulates_fills_nothing_in() {
    let mut gate = gate("echo open-sesame", Act::Permit, |config| {
        config.simulation = Some(Arc::default());
    });
    let answer = gate.tool(1, "read", "{}").await;
    assert_eq!(answer["result"]["_meta"]["portcullis/simulated"], true, "{answer}");
    assert_eq!(gate.arbiter.simulated.borrow()[0].request.context["api_key"], Scalar::Str(NAMED.into()));
    assert!(ran(&mut gate).await.is_empty() && runs(&gate) == 0);
}

/// What a slow call was sent is known until it is answered, however many others are sent other credentials.
#[tokio::test]
async fn what_a_slow_call_was_sent_came_back_once_many_others_had_been_sent() {
    let mut gate = gate("echo rotating-$(wc -l < runs).", Act::Permit, |config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        local(config).slots = slots(&["read", "hold"], program(&folder, "echo rotating-$(wc -l < runs)."));
    });
    let hold = surface(Idempotency::None, &[]);
    gate.arbiter.table.lock().unwrap().as_mut().unwrap().surfaces.insert("rec.hold".parse().unwrap(), hold);
    gate.call(1, "hold", "{}").await;
    while gate.journal_now().iter().all(|line| !line.contains("hold")) {
        tokio::task::yield_now().await;
    }
    for id in 2..42 {
        let answer = gate.tool(id, "read", "{}").await;
        assert_eq!(answer["id"], id, "{answer}");
    }
    let said = gate.tool(50, "move", r#"{"answer":{"said":"rotating-1. rotating-41. rotating-2."}}"#).await;
    assert_eq!(said["result"]["said"], "*** *** rotating-2.", "{said}");
}

/// Both kinds at once, of which one begins the other.
#[tokio::test]
async fn what_is_in_the_environment_took_a_part_of_what_was_sent_and_left_the_rest() {
    let mut gate = gate("echo 'canary-in-both-9f8e7d'", Act::Permit, |config| {
        let given = CredentialSource::given(Token::new("canary-in-both"));
        let lease = Duration::from_secs(3_600);
        local(config).credentials =
            Some(EnvironmentCredentials::new(vec![("TOKEN".to_owned(), given)], lease).unwrap());
    });
    let start = surface(Idempotency::None, &[]);
    gate.arbiter
        .table
        .lock()
        .unwrap()
        .as_mut()
        .unwrap()
        .surfaces
        .insert("upstream.start".parse().unwrap(), start);
    let mut seen = Vec::new();
    gate.call(1, "reveal", "{}").await;
    answer(&mut gate, 1, &mut seen).await;
    assert!(seen.iter().any(|said| said.to_string().contains("has 21 letters")), "{seen:?}");
    assert!(seen.iter().all(|said| !said.to_string().contains("9f8e7d")), "{seen:?}");
    gate.told(r#"the token is "***""#).await;
    assert!(!gate.notes().contains("9f8e7d"), "{}", gate.notes());
    // And what is in the environment alone.
    gate.call(2, "move", r#"{"answer":{"said":"it has canary-in-both. too"}}"#).await;
    answer(&mut gate, 2, &mut seen).await;
    assert_eq!(seen.last().unwrap()["result"]["said"], "it has ***. too", "{seen:?}");
}

/// All that comes of a gate in which a server said the canary back: what the client saw, what people and the arbiter were told.
async fn in_nothing(gate: Gate, mut seen: Vec<Value>) -> Vec<String> {
    let arbiter = Arc::clone(&gate.arbiter);
    let notes = gate.notes();
    let (_, rest) = gate.close().await;
    seen.extend(rest);
    let questions = arbiter.questions();
    let mut said: Vec<String> = seen.iter().map(Value::to_string).collect();
    said.extend(questions.iter().map(|call| serde_json::to_string(call).unwrap()));
    said.push(format!("{:?}", arbiter.outcomes.borrow()));
    said.push(notes);
    for said in &said {
        assert!(!said.contains("canary") && !said.contains("xyz7"), "{said}");
    }
    said
}

/// The answer to a request of this id, whatever comes before it.
async fn answer(gate: &mut Gate, id: u64, seen: &mut Vec<Value>) {
    loop {
        let next = gate.next().await;
        seen.push(next.clone());
        if next["id"] == id && next.get("method").is_none() {
            return;
        }
    }
}

#[tokio::test]
async fn an_argument_that_a_server_says_back_comes_back_to_nobody() {
    let mut gate = gate(&format!("echo '{CANARY}'; echo canary >&2"), Act::Permit, |_| {});
    let mut seen = Vec::new();
    for (id, more) in [(1, ""), (2, r#""fails":1"#)] {
        gate.call(id, "reveal", &format!("{{{more}}}")).await;
        answer(&mut gate, id, &mut seen).await;
    }
    let had = format!("has {} letters", CANARY.len());
    assert!(seen.iter().any(|said| said.to_string().contains(&had)), "the server has not got it: {seen:?}");
    gate.told_times(r#"the token is "***""#, 2).await;
    gate.told_times("stderr: x x x", 2).await;
    gate.told_times(r#"no message: "***""#, 2).await;
    gate.arbiter.settled(2).await;
    let said = in_nothing(gate, seen).await;
    for words in [r#""***":1"#, r#""escaped":"***""#, r#""message":"***""#] {
        assert!(said.iter().any(|said| said.contains(words)), "{words}: {said:?}");
    }
}

#[tokio::test]
async fn an_argument_that_a_server_by_url_says_back_comes_back_to_nobody() {
    let ways = ["echo_result", "echo_words", "echo_body", "echo_json_body", "echo_type", "echo_events"];
    let web = Web::start().await;
    let mut gate = Gate::with(|config| {
        config.upstream = ToolServer::Remote(RemoteServer {
            url: web.url.parse().unwrap(),
            trust: Trust::System,
            credential: None,
            slots: slots(&ways, CredentialSource::given(Token::new(CANARY))),
        });
    });
    let mut known = table(1);
    for tool in ways {
        known.surfaces.insert(format!("rec.{tool}").parse().unwrap(), surface(Idempotency::Derived, &[]));
    }
    *gate.arbiter.table.lock().unwrap() = Ok(known);
    gate.ask(INITIALIZE).await;
    gate.send(INITIALIZED).await;
    let mut seen = Vec::new();
    for (id, tool) in (1..).zip(ways) {
        gate.call(id, tool, "{}").await;
        answer(&mut gate, id, &mut seen).await;
    }
    let had = |call: &super::web::Reached| call.message()["params"]["arguments"]["api_key"] == CANARY;
    assert!(web.calls().len() == ways.len() && web.calls().iter().all(had), "the server has not got it");
    gate.arbiter.settled(ways.len()).await;
    let said = in_nothing(gate, seen).await;
    for words in
        [r#""***":1"#, r#"status 500 no "***", "***""#, r#"status 403 {"no":"***"}"#, r#"it is `"***"`"#]
    {
        assert!(said.iter().any(|said| said.contains(words)), "{words}: {said:?}");
    }
}

/// Of several servers each has its own.
#[tokio::test]
async fn a_slot_of_one_server_is_filled_in_for_no_other() {
    let mut several = Several::with(&[("one", &["read"]), ("two", &["read"])], |config| {
        let ToolServer::Local(two) = &mut config.beside[0].server else { panic!() };
        two.slots = slots(&["read"], CredentialSource::given(Token::new(CANARY)));
    });
    several.begin().await;
    assert_eq!(several.listed().await, ["one__read", "two__read"]);
    let answer = several.call("two__read", json!({ "api_key": "own" })).await;
    assert_eq!(code(&answer), "request.invalid_value", "{answer}");
    several.call("two__read", json!({ "n": 1 })).await;
    several.call("one__read", json!({ "n": 2, "api_key": "own" })).await;
    let sent = |server: &str| {
        several.ran(server).iter().map(|call| call["params"]["arguments"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(sent("two"), [json!({ "n": 1, "api_key": CANARY })]);
    assert_eq!(sent("one"), [json!({ "n": 2, "api_key": "own" })]);
    several.gate.told("slot `crm-key`, tool `read`: its input schema says nothing of the argument").await;
    let asked = several.gate.arbiter.questions();
    assert!(asked.iter().all(|call| !serde_json::to_string(call).unwrap().contains("canary")));
}
