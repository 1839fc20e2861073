//! Tool servers that are reached by URL.

use std::time::{Duration, Instant};

use portcullis_gate::{
    ArgumentSlot, ArgumentSlots, Credential, CredentialSource, RemoteServer, ToolServer, Trust,
};
use portcullis_protocol::{Idempotency, Outcome, Tier};
use portcullis_sdk::Token;
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::Act;
use super::support::{Gate, code, surface, table};
use super::web::{Reached, Web};

pub(super) const INITIALIZE: &str =
    r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
pub(super) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The surfaces of the tools that [`Web`] knows.
const TOOLS: [&str; 20] = [
    "read",
    "write",
    "other",
    "cut",
    "broken_off",
    "lost",
    "refused",
    "own_words",
    "broken",
    "moved",
    "page",
    "accepted",
    "batch",
    "result",
    "ended",
    "flood",
    "silent",
    "asks",
    "late_echo",
    "says_all",
];
/// Ways in which it says back what it was shown.
const ECHOES: [&str; 6] =
    ["echo_result", "echo_words", "echo_body", "echo_json_body", "echo_type", "echo_events"];

fn remote(url: &str) -> ToolServer {
    let given = CredentialSource::given(Token::new("secret-of-the-server"));
    let credential = Some(Credential::bearer(given));
    ToolServer::Remote(RemoteServer {
        url: url.parse().unwrap(),
        trust: Trust::System,
        credential,
        slots: None,
    })
}

/// A gate before this server, after the handshake.
async fn gate(web: &Web) -> Gate {
    gate_with(&web.url, |_| {}).await
}

async fn gate_with(url: &str, change: impl FnOnce(&mut portcullis_gate::McpGate)) -> Gate {
    let mut gate = started_with(url, change);
    let began = gate.ask(INITIALIZE).await;
    assert_eq!(began["result"]["protocolVersion"], "2025-11-25", "{began}");
    gate.send(INITIALIZED).await;
    gate
}

fn started(url: &str) -> Gate {
    started_with(url, |_| {})
}

fn started_with(url: &str, change: impl FnOnce(&mut portcullis_gate::McpGate)) -> Gate {
    let gate = Gate::with(|config| {
        config.upstream = remote(url);
        change(config);
    });
    let mut known = table(1);
    for tool in TOOLS {
        known.surfaces.insert(format!("rec.{tool}").parse().unwrap(), surface(Idempotency::None, &[]));
    }
    let mut critical = surface(Idempotency::None, &[]);
    critical.tier = Tier::Critical;
    known.surfaces.insert("rec.critical".parse().unwrap(), critical);
    *gate.arbiter.table.lock().unwrap() = Ok(known);
    gate
}

/// The same, which shows it this credential.
pub(super) async fn gate_shown(web: &Web, credential: Credential) -> Gate {
    gate_with(&web.url, |config| shows(config, credential)).await
}

/// The same before the handshake.
pub(super) fn started_shown(web: &Web, credential: Credential) -> Gate {
    started_with(&web.url, |config| shows(config, credential))
}

fn shows(config: &mut portcullis_gate::McpGate, credential: Credential) {
    let ToolServer::Remote(remote) = &mut config.upstream else { panic!() };
    remote.credential = Some(credential);
}

/// The answer to a call, past what the server says unasked.
pub(super) async fn call(gate: &mut Gate, id: u64, tool: &str) -> Value {
    gate.call(id, tool, "{}").await;
    loop {
        let next = gate.next().await;
        if next["id"] == id {
            return next;
        }
        assert!(next["method"].is_string(), "{next}");
    }
}

pub(super) async fn until(web: &Web, what: impl Fn(&Reached) -> bool) -> Reached {
    let seen = async {
        loop {
            if let Some(reached) = web.reached().into_iter().find(|reached| what(reached)) {
                return reached;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("it reaches the server")
}

#[tokio::test]
async fn a_permitted_call_reaches_a_server_by_url_as_decided_and_with_credentials_that_are_the_gates() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    for tool in ["read", "write"] {
        assert_eq!(call(&mut gate, 1, tool).await["result"]["content"][0]["text"], tool);
    }
    gate.arbiter.settled(2).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Ok, Outcome::Ok]);
    let calls = web.calls();
    assert_eq!(calls.len(), 2);
    let decided: Vec<_> = gate.arbiter.questions().into_iter().map(|asked| asked.request.envelope).collect();
    for (reached, decided) in calls.iter().zip(decided) {
        assert_eq!(reached.target, "/mcp?tenant=1");
        assert_eq!(reached.header("authorization"), Some("Bearer secret-of-the-server"));
        assert_eq!(reached.header("mcp-session-id"), Some("session-1"));
        assert_eq!(reached.header("mcp-protocol-version"), Some("2025-11-25"));
        assert_eq!(reached.header("accept"), Some("application/json, text/event-stream"));
        let id = reached.message()["id"].as_u64().unwrap();
        let bytes = reached.body.replacen(&format!("\"id\":{id},"), "", 1);
        let digest =
            portcullis_protocol::Digest::of(portcullis_protocol::Domain::Payload, &[bytes.as_bytes()]);
        assert_eq!(Some(digest), decided, "{}", reached.body);
    }
}

#[tokio::test]
async fn a_refused_call_does_not_reach_a_server_by_url() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    gate.arbiter.will(Act::Refuse(portcullis_protocol::ReasonCode::PolicyNoGrant));
    gate.call(1, "read", "{}").await;
    let answer = loop {
        let next = gate.next().await;
        if next["id"] == 1 {
            break next;
        }
    };
    assert_eq!(code(&answer), "policy.no_grant");
    let (_, rest) = gate.close().await;
    assert!(rest.iter().all(|message| message["id"].is_null()), "{rest:?}");
    assert!(web.calls().is_empty());
}

#[tokio::test]
async fn a_message_with_line_ends_was_several_lines_to_the_client() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    // Each line that the client reads is parsed as one message.
    assert_eq!(call(&mut gate, 1, "read").await["result"]["content"][0]["text"], "read");
}

#[tokio::test]
async fn an_answer_counts_on_the_stream_of_its_own_request_only() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    until(&web, |reached| reached.method == "GET").await;
    gate.call(1, "silent", "{}").await;
    until(&web, |reached| reached.message()["params"]["name"] == "silent").await;
    assert_eq!(call(&mut gate, 2, "other").await["result"]["content"][0]["text"], "other");
    gate.call(3, "silent", "{}").await;
    gate.told("an answer to no request in flight").await;
    gate.arbiter.settled(1).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Ok], "the silent calls have no answer");
}

#[tokio::test]
async fn a_stream_that_breaks_is_taken_up_again_behind_its_last_event() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    assert_eq!(call(&mut gate, 1, "cut").await["result"]["content"][0]["text"], "cut");
    gate.arbiter.settled(1).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Ok]);
    assert_eq!(web.calls().len(), 1, "taking it up again is not calling again");
    let resumed = until(&web, |reached| reached.header("last-event-id").is_some()).await;
    assert_eq!((resumed.method.as_str(), resumed.header("mcp-session-id")), ("GET", Some("session-1")));
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_unknown_and_never_sent_again() {
    for tool in [
        "lost",
        "broken_off",
        "broken",
        "moved",
        "page",
        "accepted",
        "batch",
        "flood",
        "refused",
        "result",
        "ended",
    ] {
        let web = Web::start().await;
        let mut gate = gate(&web).await;
        let answer = call(&mut gate, 1, tool).await;
        let told = answer.pointer("/result/structuredContent/portcullis").expect(tool);
        assert_eq!(
            (&told["enforcement"], &told["outcome"]),
            (&json!("EXECUTED"), &json!("unknown")),
            "{tool}"
        );
        gate.arbiter.settled(1).await;
        assert_eq!(gate.arbiter.reported(), [Outcome::Unknown], "{tool}");
        assert_eq!(web.calls().len(), 1, "{tool}");
        assert!(
            web.reached().iter().all(|reached| reached.target == "/mcp?tenant=1"),
            "a redirection was followed"
        );
    }
}

#[tokio::test]
async fn what_the_server_itself_refuses_has_failed() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    let own = call(&mut gate, 1, "own_words").await;
    assert_eq!(own["error"], json!({ "code": -32602, "message": "no such tool" }));
    gate.arbiter.settled(1).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Failed]);
}

#[tokio::test]
async fn a_call_was_spent_and_sent_long_after_while_initialize_was_not_answered() {
    let web = Web::start().await;
    let mut gate = started(&web.url);
    // Whatever revision it names: an `initialize` that the server does not answer holds up what comes behind it.
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"silent"}"#;
    gate.send(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{{meta}}}}}"#)).await;
    gate.call(2, "read", "{}").await;
    assert_eq!(code(&gate.next().await), "upstream.unavailable");
    gate.arbiter.settled(1).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Expired], "the PERMIT was given up unspent");
    assert!(web.calls().is_empty());
}

/// How long after the first of some calls the last is refused.
async fn refused_within(gate: &mut Gate, count: u64) -> Duration {
    for id in 2..2 + count {
        gate.call(id, "read", "{}").await;
    }
    let mut first = None;
    for _ in 0..count {
        assert_eq!(code(&gate.next().await), "upstream.unavailable");
        first.get_or_insert_with(Instant::now);
    }
    first.unwrap().elapsed()
}

#[tokio::test]
async fn each_of_many_calls_behind_an_initialize_without_an_answer_waited_as_long_again() {
    let web = Web::start().await;
    let mut gate = started(&web.url);
    gate.send(&INITIALIZE.replace("\"params\":{", "\"params\":{\"x\":\"silent\",")).await;
    let all = refused_within(&mut gate, 3).await;
    assert!(all < Duration::from_secs(8), "{all:?}");
    gate.arbiter.settled(3).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Expired; 3], "the PERMITs were given up unspent");
    assert!(web.calls().is_empty());
}

#[tokio::test]
async fn each_of_many_calls_waited_as_long_again_for_a_session_that_is_not_begun_anew() {
    let web = Web::start().await;
    let mut gate = started(&web.url);
    gate.ask(&INITIALIZE.replace("\"params\":{", "\"params\":{\"x\":\"once\",")).await;
    gate.send(INITIALIZED).await;
    call(&mut gate, 1, "ended").await;
    let all = refused_within(&mut gate, 3).await;
    assert!(all < Duration::from_secs(8), "{all:?}");
    gate.arbiter.settled(4).await;
    assert_eq!(gate.arbiter.reported()[1..], [Outcome::Expired; 3]);
    assert_eq!(web.calls().len(), 1);
}

#[tokio::test]
async fn what_becomes_of_a_permitted_notification_is_what_the_server_says_of_it() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    let mut known = table(1);
    for notice in ["taken", "broken"] {
        let name = format!("rec.mcp.notifications.{notice}");
        known.surfaces.insert(name.parse().unwrap(), surface(Idempotency::None, &[]));
    }
    *gate.arbiter.table.lock().unwrap() = Ok(known);
    for (count, notice) in [(1, "taken"), (2, "broken")] {
        gate.send(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/{notice}"}}"#)).await;
        gate.arbiter.settled(count).await;
    }
    assert_eq!(gate.arbiter.reported(), [Outcome::Ok, Outcome::Unknown]);
}

#[tokio::test]
async fn a_session_that_the_server_ended_took_the_gate_with_it() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    gate.call(1, "silent", "{}").await;
    until(&web, |reached| reached.message()["params"]["name"] == "silent").await;
    // What the server found no session for, and what was in flight in it, are unknown and never sent again.
    gate.call(2, "ended", "{}").await;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let next = gate.next().await;
        if let Some(id) = next["id"].as_u64() {
            assert_eq!(next["result"]["structuredContent"]["portcullis"]["outcome"], "unknown", "{next}");
            ended.push(id);
        }
    }
    assert_eq!(call(&mut gate, 3, "read").await["result"]["content"][0]["text"], "read");
    gate.arbiter.settled(3).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Unknown, Outcome::Unknown, Outcome::Ok]);
    let posts: Vec<_> = web.reached().into_iter().filter(|reached| reached.method == "POST").collect();
    let said = |reached: &Reached| {
        let (message, session) = (reached.message(), reached.header("mcp-session-id").map(str::to_owned));
        (message["method"].as_str().unwrap().to_owned(), message["params"]["name"].clone(), session)
    };
    let first = Some("session-1".to_owned());
    let second = Some("session-2".to_owned());
    let expected = [
        ("initialize", Value::Null, None),
        ("notifications/initialized", Value::Null, first.clone()),
        ("tools/call", json!("silent"), first.clone()),
        ("tools/call", json!("ended"), first),
        ("initialize", Value::Null, None),
        ("notifications/initialized", Value::Null, second.clone()),
        ("tools/call", json!("read"), second),
    ];
    let expected = expected.map(|(method, name, session)| (method.to_owned(), name, session));
    assert_eq!(posts.iter().map(said).collect::<Vec<_>>(), expected);
    assert_eq!(posts[0].message()["params"], posts[4].message()["params"], "the client's own parameters");
    // The server's own stream is read in the new session.
    until(&web, |it| it.method == "GET" && it.header("mcp-session-id") == Some("session-2")).await;
}

#[tokio::test]
async fn tools_are_listed_again_in_a_new_session_before_a_call_is_judged_by_them() {
    let web = Web::start().await;
    let quiet = |config: &mut portcullis_gate::McpGate| {
        config.listed_within = std::time::Duration::from_secs(600);
        let ToolServer::Remote(remote) = &mut config.upstream else { panic!() };
        // To one with such a token the server does not say that its tools are others.
        let given = CredentialSource::given(Token::new("canary"));
        remote.credential = Some(Credential::bearer(given));
    };
    let mut gate = gate_with(&web.url, quiet).await;
    let pinned = json!({ "name": "read", "inputSchema": { "type": "object" } }).to_string();
    let digest = portcullis_protocol::ToolDefinition::parse(pinned.as_bytes()).unwrap().digest();
    {
        let mut table = gate.arbiter.table.lock().unwrap();
        let table = table.as_mut().unwrap();
        table.pins.tools = [("rec/read".parse().unwrap(), digest)].into();
    }
    gate.arbiter.will(Act::PermitAsPinned);
    for id in [1, 2] {
        assert_eq!(call(&mut gate, id, "read").await["result"]["content"][0]["text"], "read");
    }
    let lists = |session: &str| {
        let of_it = |it: &Reached| {
            it.message()["method"] == "tools/list" && it.header("mcp-session-id") == Some(session)
        };
        web.reached().iter().filter(|it| of_it(it)).count()
    };
    assert_eq!(lists("session-1"), 1);
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#).await;
    gate.told("the next message begins another").await;
    assert_eq!(call(&mut gate, 4, "read").await["result"]["content"][0]["text"], "read");
    assert_eq!(lists("session-2"), 1, "the list of the old session counted");
}

#[tokio::test]
async fn a_new_session_is_not_begun_where_an_answer_could_be_taken_for_one_to_another_question() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    let mut known = gate.arbiter.table.lock().unwrap().clone().unwrap();
    known.surfaces.insert("rec.mcp.elicitation.create".parse().unwrap(), surface(Idempotency::None, &[]));
    *gate.arbiter.table.lock().unwrap() = Ok(known);
    gate.call(1, "asks", "{}").await;
    // The server's question is before the client, and stays open.
    let (mut asked, mut answered) = (false, false);
    while !(asked && answered) {
        let next = gate.next().await;
        asked |= next["method"] == "elicitation/create";
        answered |= next["id"] == 1 && next["method"].is_null();
    }
    call(&mut gate, 2, "ended").await;
    gate.told("the tool server is gone").await;
    assert_eq!(code(&call(&mut gate, 3, "read").await), "upstream.unavailable");
    assert_eq!(web.reached().iter().filter(|it| it.message()["method"] == "initialize").count(), 1);
}

#[tokio::test]
async fn a_server_that_speaks_another_revision_in_a_new_session_is_gone() {
    let web = Web::start().await;
    let mut gate = started(&web.url);
    gate.ask(&INITIALIZE.replace("\"params\":{", "\"params\":{\"x\":\"fickle\",")).await;
    gate.send(INITIALIZED).await;
    call(&mut gate, 1, "ended").await;
    assert_eq!(code(&call(&mut gate, 2, "read").await), "upstream.unavailable");
    gate.told("the tool server is gone").await;
    gate.arbiter.settled(2).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Unknown, Outcome::Expired]);
    assert_eq!(web.calls().len(), 1);
}

#[tokio::test]
async fn a_call_waited_for_a_notification_that_the_server_was_slow_to_accept() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    gate.send(
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
    )
    .await;
    until(&web, |reached| reached.message()["method"] == "notifications/progress").await;
    // The server accepts it only once the call has come.
    assert_eq!(call(&mut gate, 1, "read").await["result"]["content"][0]["text"], "read");
    gate.arbiter.settled(1).await;
    assert!(!gate.notes().contains("too long to accept"), "{}", gate.notes());
}

#[tokio::test]
async fn a_call_waited_for_cancellations_that_the_server_was_slow_to_accept() {
    const MORE_THAN_ARE_ON_THEIR_WAY: u64 = 40;
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    for id in 1..=MORE_THAN_ARE_ON_THEIR_WAY {
        gate.call(id, "silent", "{}").await;
    }
    while u64::try_from(web.calls().len()).unwrap() < MORE_THAN_ARE_ON_THEIR_WAY {
        tokio::task::yield_now().await;
    }
    for id in 1..=MORE_THAN_ARE_ON_THEIR_WAY {
        let cancelled = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#
        );
        gate.send(&cancelled).await;
    }
    // The server accepts none of them before this call has come.
    assert_eq!(call(&mut gate, 99, "read").await["result"]["content"][0]["text"], "read");
    gate.told("not told of a cancellation").await;
    assert!(!gate.notes().contains("too long to accept"), "{}", gate.notes());
}

#[tokio::test]
async fn a_token_that_a_server_echoes_comes_back_to_nobody() {
    const CANARY: &str = "canary-xyz7/9+x==";
    comes_back_to_nobody(Credential::bearer(CredentialSource::given(Token::new(CANARY))), CANARY).await;
}

/// Has a server say a credential back in every way: it is in nothing that comes of that. It begins with `canary`.
pub(super) async fn comes_back_to_nobody(credential: Credential, canary: &str) {
    let web = Web::start().await;
    let mut gate = gate_shown(&web, credential).await;
    {
        let mut table = gate.arbiter.table.lock().unwrap();
        for tool in ECHOES {
            // Their results are kept.
            let kept = surface(Idempotency::Derived, &[]);
            table.as_mut().unwrap().surfaces.insert(format!("rec.{tool}").parse().unwrap(), kept);
        }
    }
    // What it says unasked.
    let mut seen = vec![gate.next().await];
    assert_eq!(seen[0]["params"]["data"], "***");
    for (id, tool) in (1..).zip(ECHOES) {
        gate.call(id, tool, "{}").await;
        loop {
            let next = gate.next().await;
            seen.push(next.clone());
            if next["id"] == id {
                break;
            }
        }
    }
    let reported = gate.arbiter.settled(ECHOES.len()).await;
    let asked = format!("{:?}", gate.arbiter.questions());
    let shown = web
        .reached()
        .iter()
        .all(|reached| reached.header("authorization").unwrap().starts_with(&format!("Bearer {canary}")));
    assert!(shown, "the server has not seen it");
    let notes = gate.notes();
    let (_, rest) = gate.close().await;
    seen.extend(rest);
    // As whoever reads a message decodes it.
    let seen: Vec<String> = seen.iter().map(Value::to_string).collect();
    for said in seen.iter().chain([&notes, &asked, &format!("{reported:?}")]) {
        assert!(!said.contains("canary") && !said.contains("xyz7"), "{said}");
    }
    for (id, words) in [(1, r#""***":1"#), (1, r"\n*** ***"), (2, "no ***"), (6, r"\n*** ***")] {
        assert!(
            seen.iter().any(|said| said.contains(&format!("\"id\":{id}")) && said.contains(words)),
            "{words}: {seen:?}"
        );
    }
    for words in [
        r#"status 500 no "***", "***""#,
        r#"status 403 {"no":"***"}"#,
        r#"it is `"***"`"#,
        "dropped from what the tool server says",
    ] {
        assert!(notes.contains(words), "{words}: {notes}");
    }
    let kept: Vec<_> = reported.iter().filter_map(|(_, result)| result.as_ref()).collect();
    assert!(kept.len() >= 2 && kept.iter().any(|result| result.contains("***")), "{kept:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_spends_no_permit() {
    let url = {
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/mcp", gone.local_addr().unwrap())
    };
    let mut gate = started(&url);
    let listed = gate.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
    assert_eq!(listed["error"]["data"]["portcullis"]["reason"]["code"], "upstream.unavailable");
    gate.call(2, "read", "{}").await;
    assert_eq!(code(&gate.next().await), "upstream.unavailable");
    gate.arbiter.settled(1).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Expired], "the PERMIT was given up unspent");
}

#[tokio::test]
async fn a_server_on_this_machine_runs_nothing_critical() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    assert_eq!(code(&call(&mut gate, 1, "critical").await), "upstream.unconfined");
    assert!(web.calls().is_empty());
}

#[tokio::test]
async fn what_the_server_says_unasked_reaches_the_client_and_the_session_is_ended_at_the_end() {
    let web = Web::start().await;
    let mut gate = gate(&web).await;
    assert_eq!(gate.next().await["method"], "notifications/tools/list_changed");
    let (ending, _) = gate.close().await;
    assert_eq!(ending.unreported, 0);
    let deleted = until(&web, |reached| reached.method == "DELETE").await;
    assert_eq!(deleted.header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn a_request_of_the_stateless_era_is_said_in_its_headers_and_cancelled_by_closing_its_stream() {
    let web = Web::start().await;
    let mut gate = started(&web.url);
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let request = |id: u64, tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}",{meta}}}}}"#)
    };
    assert_eq!(gate.ask(&request(1, "read")).await["result"]["content"][0]["text"], "read");
    let reached = &web.calls()[0];
    let said =
        ["mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id"].map(|name| reached.header(name));
    assert_eq!(said, [Some("2026-07-28"), Some("tools/call"), Some("read"), None]);
    gate.send(&request(2, "silent")).await;
    until(&web, |reached| reached.message()["params"]["name"] == "silent").await;
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#).await;
    gate.arbiter.settled(2).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Ok, Outcome::Unknown]);
    assert!(web.reached().iter().all(|reached| reached.message()["method"] != "notifications/cancelled"));
    until(&web, |reached| reached.method == "closed").await;
}

/// A server that goes by them refuses a call without (MCP 2026-07-28, "Custom Headers from Tool Parameters").
#[tokio::test]
async fn an_argument_that_its_tool_wants_as_a_header_too_was_in_the_body_alone() {
    let web = Web::start().await;
    let slot = ArgumentSlot {
        name: "key".into(),
        tools: ["other".to_owned()].into(),
        argument: "/api_key".into(),
        source: CredentialSource::given(Token::new("open-sesame")),
    };
    let mut gate = gate_with(&web.url, |config| {
        let ToolServer::Remote(remote) = &mut config.upstream else { panic!() };
        remote.slots = Some(ArgumentSlots::new(vec![slot]).unwrap());
    })
    .await;
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
    let call = |id: u64, meta: &str, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"other","arguments":{arguments}{meta}}}}}"#
        )
    };
    let arguments = r#"{"region":"\u00e9","deep":{"count":7},"plain":"x"}"#;
    // Of the era with sessions there are none.
    for (id, meta, arguments) in
        [(1, format!(",{meta}"), arguments), (2, format!(",{meta}"), "{}"), (3, String::new(), arguments)]
    {
        gate.send(&call(id, &meta, arguments)).await;
        while gate.next().await["id"] != id {}
    }
    let said: Vec<_> = web
        .calls()
        .iter()
        .map(|call| {
            ["region", "count", "key"]
                .map(|name| call.header(&format!("mcp-param-{name}")).map(str::to_owned))
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    // What is filled in is in the body alone.
    assert_eq!(said, [[some("=?base64?w6k=?="), some("7"), None], [None, None, None], [None, None, None]]);
    assert!(web.calls().iter().all(|call| call.message()["params"]["arguments"]["api_key"] == "open-sesame"));
}
