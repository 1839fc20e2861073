//! The gate over Streamable HTTP: what clients of both eras get, and that none gets another's.

use portcullis_gate::endpoint::{Bounds, Resource};
use portcullis_gate::{RemoteServer, ToolServer, Trust};
use portcullis_protocol::{Outcome, ReasonCode};
use serde_json::{Value, json};
use std::time::Duration;

use super::arbiter::Act;
use super::door::{Door, NEW, ONE, TWO, WAITS, call, headers, ran};
use super::support::code;
use super::web::Web;

#[tokio::test]
async fn a_session_calls_what_is_permitted_and_nothing_else() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    assert_eq!(session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await.status(), 202);
    let listed = session.post(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#).await;
    assert!(!listed.is_stream());
    assert_eq!(listed.json().await, json!({"jsonrpc": "2.0", "id": "l", "result": {"pong": "tools/list"}}));
    assert_eq!(session.tool("7", "read").await, ran(&json!(7), "read"));
    door.arbiter.will(Act::Refuse(ReasonCode::PolicyForbidden));
    let blocked = session.tool("\"8\"", "read").await;
    assert_eq!((code(&blocked), &blocked["id"]), ("policy.forbidden", &json!("8")));
    assert_eq!(door.calls().len(), 1);
    assert_eq!(door.arbiter.settled(1).await, [(Outcome::Ok, None)]);
}

#[tokio::test]
async fn the_token_that_an_agent_shows_the_gate_was_passed_on_to_the_tool_server() {
    let web = Web::start().await;
    let url = web.url.parse().unwrap();
    let door = Door::with(|endpoint| {
        let server = RemoteServer { url, trust: Trust::System, credential: None, slots: None };
        endpoint.gate.upstream = ToolServer::Remote(server);
    })
    .await;
    let session = door.session(ONE).await;
    assert_eq!(session.tool("7", "read").await["result"]["content"][0]["text"], "read");
    let reached = web.reached();
    assert!(reached.iter().any(|reached| reached.message()["method"] == "tools/call"));
    for one in reached {
        assert!(!format!("{one:?}").contains(ONE), "{one:?}");
        assert!(one.header("authorization").is_none() && one.header("proxy-authorization").is_none());
    }
}

#[tokio::test]
async fn a_call_before_list_and_before_initialized_is_decided_like_any_other() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    door.arbiter.will(Act::Lost);
    assert_eq!(code(&session.tool("1", "read").await), "arbiter.unreachable");
    door.arbiter.will(Act::Permit);
    assert_eq!(session.tool("2", "read").await, ran(&json!(2), "read"));
    assert_eq!(door.calls().len(), 1);
}

#[tokio::test]
async fn who_asks_is_told_by_the_token_of_each_request_and_never_by_a_sessions_id() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let named = [("mcp-session-id", session.id.as_str())];
    for authorization in ["Bearer nobody", "Bearer ", "Basic token-one", "token-one"] {
        let mut headers = named.to_vec();
        headers.push(("authorization", authorization));
        let reply = door.post(ONE, &headers, &call("1", "read", "")).await;
        assert_eq!(reply.status(), 401, "{authorization}");
        assert!(reply.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
        assert_eq!(reply.code().await, "identity.unverified");
    }
    for method in ["GET", "DELETE"] {
        assert_eq!(door.ask(method, "/mcp", &named, "").await.status(), 401);
    }
    // Another token of the very same agent's has no part in the session either.
    for token in [TWO, super::door::OTHER] {
        let reply = door.post(token, &named, &call("1", "read", "")).await;
        assert_eq!(reply.status(), 404);
        assert_eq!(
            reply.json().await,
            door.post(ONE, &[("mcp-session-id", "nosuch")], &call("1", "read", "")).await.json().await
        );
    }
    assert!(door.calls().is_empty() && door.arbiter.questions().is_empty());
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
}

#[tokio::test]
async fn an_arbiter_that_does_not_answer_is_no_word_about_a_token() {
    let door = Door::open().await;
    for (code, status) in [
        (ReasonCode::ArbiterUnreachable, 503),
        (ReasonCode::ClockUnreadable, 503),
        (ReasonCode::ReceiptUnverifiable, 503),
        (ReasonCode::IdentityUnavailable, 503),
        (ReasonCode::IdentityExpired, 401),
        (ReasonCode::IdentityUnverified, 401),
    ] {
        door.known.lock().unwrap().instead = Some(code);
        let reply = door.post(ONE, &[], r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
        assert_eq!(reply.status(), status, "{code}");
        assert_eq!(reply.code().await, code.as_str());
    }
    assert_eq!(door.known.lock().unwrap().asked, 6, "a refusal is not remembered");
    door.known.lock().unwrap().instead = None;
    let session = door.session(ONE).await;
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    assert_eq!(door.known.lock().unwrap().asked, 7, "what names an agent is, for a moment");
}

/// Tokens of an unknown key wait for their provider, whoever sends them: they had the places of agents' tokens.
#[tokio::test]
async fn strangers_who_waited_for_a_provider_kept_agents_out() {
    let door = Door::bounded(Bounds { known: Duration::ZERO, ..Bounds::USUAL }).await;
    let session = door.session(ONE).await;
    let mut strangers = Vec::new();
    for _ in 0..24 {
        strangers.push(door.begin(&format!("authorization: Bearer {WAITS}\r\n")).await);
    }
    while door.known.lock().unwrap().waiting < 16 {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    assert_eq!(door.known.lock().unwrap().waiting, 16, "strangers have no more than their places");
    // Whom a token named once, and names no more, is a stranger again.
    door.known.lock().unwrap().instead = Some(ReasonCode::IdentityExpired);
    assert_eq!(session.call("2", "read").await.status(), 401);
}

#[tokio::test]
async fn a_token_that_names_nobody_any_more_is_refused_once_the_moment_is_over() {
    let door = Door::bounded(Bounds { known: Duration::ZERO, ..Bounds::USUAL }).await;
    let session = door.session(ONE).await;
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    door.known.lock().unwrap().instead = Some(ReasonCode::IdentityExpired);
    assert_eq!(session.call("2", "read").await.status(), 401);
    assert_eq!(door.calls().len(), 1);
}

#[tokio::test]
async fn two_sessions_have_two_servers_and_two_runs() {
    let door = Door::open().await;
    let (one, two) = (door.session(ONE).await, door.session(ONE).await);
    assert_ne!(one.id, two.id);
    assert!(one.id.len() == 32 && one.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    for session in [&one, &two] {
        assert_eq!(session.tool("1", "move").await, ran(&json!(1), "move"));
    }
    let keys: Vec<_> =
        door.arbiter.questions().iter().map(|call| call.request.idempotency_key.clone()).collect();
    assert!(keys[0].is_some() && keys[0] != keys[1], "derived keys of one run mean nothing in another");
    assert_eq!(one.leave().await, 204);
    assert_eq!(one.call("2", "read").await.status(), 404);
    assert_eq!(two.tool("2", "read").await, ran(&json!(2), "read"));
}

#[tokio::test]
async fn progress_comes_on_the_stream_of_the_call_that_asked_for_it() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let mut first = session.post(&call("1", "hold", r#","_meta":{"progressToken":"t-1"}"#)).await;
    assert_eq!(first.event().await.unwrap().data, Value::Null, "where it can be taken up");
    door.reached(r#""name":"hold""#).await;
    // The server tells of progress under a token that nobody gave it: it is for nobody.
    let answer =
        session.post(&call("2", "notify", r#","_meta":{"progressToken":"t-1"}"#)).await.answer().await;
    assert_eq!(answer, ran(&json!(2), "notify"));
    drop(first);
}

#[tokio::test]
async fn a_request_of_the_server_reaches_the_client_and_its_answer_the_server() {
    let door = Door::with(|endpoint| endpoint.gate.server = "rec".into()).await;
    let mut table = super::support::table(1);
    let sampling = super::support::surface(portcullis_protocol::Idempotency::None, &[]);
    table.surfaces.insert("rec.mcp.sampling.createmessage".parse().unwrap(), sampling);
    *door.arbiter.table.lock().unwrap() = Ok(table);
    let session = door.session(ONE).await;
    let mut asking = session.call("1", "ask").await;
    asking.event().await.unwrap();
    let asked = asking.event().await.unwrap().data;
    assert_eq!(asked["method"], "sampling/createMessage");
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "role": "assistant" } });
    // Somebody else's answer is none.
    let other = door.session(TWO).await;
    assert_eq!(other.post(&answer.to_string()).await.status(), 202);
    assert_eq!(session.post(&answer.to_string()).await.status(), 202);
    let answered = asking.answer().await;
    assert_eq!(answered["result"]["heard"]["result"]["role"], "assistant");
}

#[tokio::test]
async fn a_cancelled_call_reaches_the_server_as_cancelled_and_its_stream_ends() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let mut call = session.call("1", "hold").await;
    call.event().await.unwrap();
    door.reached(r#""name":"hold""#).await;
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}"#;
    let other = door.session(TWO).await;
    assert_eq!(other.post(cancel).await.status(), 202, "of a request that it did not make");
    assert_eq!(session.post(cancel).await.status(), 202);
    assert_eq!(call.event().await, None);
    door.reached("enough").await;
    let cancelled =
        door.journal().into_iter().filter(|line| line.contains("notifications/cancelled")).count();
    assert_eq!(cancelled, 1);
}

#[tokio::test]
async fn a_stream_that_broke_is_taken_up_behind_its_last_event_and_nothing_runs_twice() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    door.arbiter.will(Act::PermitWhenReleased);
    let mut broken = session.call("1", "read").await;
    let start = broken.event().await.unwrap().id.unwrap();
    drop(broken);
    door.arbiter.asked(1).await;
    door.arbiter.release.add_permits(1);
    let mut again = session.listen(Some(&start)).await;
    again.event().await.unwrap();
    let answer = again.event().await.unwrap();
    assert_eq!(answer.data, ran(&json!(1), "read"));
    assert_eq!(again.event().await, None);
    // The same once more: it is given out again, and nothing is behind it.
    let mut once_more = session.listen(Some(&start)).await;
    once_more.event().await.unwrap();
    assert_eq!(once_more.event().await.unwrap(), answer);
    let mut behind = session.listen(answer.id.as_deref()).await;
    behind.event().await.unwrap();
    assert_eq!(behind.event().await, None);
    assert_eq!(door.calls().len(), 1);
    // Nobody else's events are to be had by a number.
    let other = door.session(TWO).await;
    assert_eq!(other.listen(Some(&start)).await.status(), 400);
    for odd in ["", "1", "1-", "-1", "x-1", "1-x", "99-0", "1-18446744073709551615", "18446744073709551616-0"]
    {
        assert_eq!(session.listen(Some(odd)).await.status(), 400, "{odd}");
    }
}

#[tokio::test]
async fn the_servers_own_stream_goes_to_who_opened_it_last() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let (mut first, mut second) = (session.listen(None).await, session.listen(None).await);
    assert_eq!((first.status(), second.status()), (200, 200));
    first.event().await.unwrap();
    assert_eq!(first.event().await, None);
    second.event().await.unwrap();
    let mut call = session.call("1", "notify").await;
    let mut seen = Vec::new();
    while let Some(event) = call.event().await {
        seen.push(event.data);
    }
    let words: Vec<&str> = seen.iter().filter_map(|message| message["method"].as_str()).collect();
    assert_eq!(words, ["notifications/message"], "the one call under way is whom it is about");
    assert_eq!(seen.last().unwrap(), &ran(&json!(1), "notify"));
}

#[tokio::test]
async fn a_request_without_a_session_is_answered_by_itself() {
    let door = Door::open().await;
    let body = call("7", "read", &format!(",{NEW}"));
    let reply = door.post(ONE, &headers("read"), &body).await;
    assert!(reply.status() == 200 && !reply.is_stream() && !reply.headers().contains_key("mcp-session-id"));
    assert_eq!(reply.json().await, ran(&json!(7), "read"));
    door.arbiter.will(Act::Refuse(ReasonCode::PolicyForbidden));
    let blocked = door.post(ONE, &headers("read"), &body).await.json().await;
    assert_eq!((code(&blocked), &blocked["result"]["resultType"]), ("policy.forbidden", &json!("complete")));
    assert_eq!(door.calls().len(), 1);
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(
        door.post(ONE, &headers("read")[..1], answer).await.status(),
        400,
        "clients answer nothing there"
    );
}

#[tokio::test]
async fn requests_of_one_id_at_once_are_each_answered_with_their_own() {
    let door = Door::open().await;
    door.arbiter.will(Act::PermitWhenReleased);
    let door = &door;
    let names = ["read", "pay", "move", "rest"];
    let post = |tool: &'static str| async move {
        let more = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":1}"#;
        door.post(ONE, &headers(tool), &call("1", tool, more)).await.answer().await
    };
    let release = async {
        door.arbiter.asked(names.len()).await;
        door.arbiter.release.add_permits(names.len());
    };
    let (first, second, third, fourth, ()) =
        tokio::join!(post(names[0]), post(names[1]), post(names[2]), post(names[3]), release);
    for (answer, name) in [first, second, third, fourth].iter().zip(names) {
        assert_eq!(*answer, ran(&json!(1), name));
    }
    let lines = door.calls();
    let tokens: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["params"]["_meta"]["progressToken"].clone())
        .collect();
    let distinct: std::collections::BTreeSet<String> = tokens.iter().map(Value::to_string).collect();
    assert_eq!(distinct.len(), names.len(), "each has a progress token of its own towards the server");
}

#[tokio::test]
async fn who_closes_the_stream_of_a_request_without_a_session_cancels_it() {
    let door = Door::bounded(Bounds { quiet: Duration::from_millis(50), ..Bounds::USUAL }).await;
    let held = door.post(ONE, &headers("hold"), &call("1", "hold", &format!(",{NEW}"))).await;
    assert!(held.is_stream(), "an answer that is waited for becomes a stream");
    door.reached(r#""name":"hold""#).await;
    drop(held);
    door.reached("notifications/cancelled").await;
    assert_eq!(
        door.post(ONE, &headers("read"), &call("1", "read", &format!(",{NEW}"))).await.answer().await,
        ran(&json!(1), "read")
    );
}

#[tokio::test]
async fn a_server_that_asks_within_a_revision_without_requests_is_told_so() {
    let door = Door::open().await;
    let mut table = super::support::table(1);
    let sampling = super::support::surface(portcullis_protocol::Idempotency::None, &[]);
    table.surfaces.insert("rec.mcp.sampling.createmessage".parse().unwrap(), sampling);
    *door.arbiter.table.lock().unwrap() = Ok(table);
    let answer = door.post(ONE, &headers("ask"), &call("1", "ask", &format!(",{NEW}"))).await.answer().await;
    assert_eq!(answer["result"]["heard"]["error"]["code"], -32601, "{answer}");
}

#[tokio::test]
async fn a_session_whose_server_died_is_gone_and_another_begins() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let died = session.tool("1", "die").await;
    assert_eq!(died["result"]["structuredContent"]["portcullis"]["outcome"], "unknown", "{died}");
    door.told("bot: the tool server is gone").await;
    let gone = async {
        while session.post(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await.status() != 404 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::PATIENCE, gone).await.expect("the session ends with its server");
    assert_eq!(door.session(ONE).await.tool("1", "read").await, ran(&json!(1), "read"));

    let died = door.post(ONE, &headers("die"), &call("1", "die", &format!(",{NEW}"))).await.answer().await;
    assert_eq!(died["result"]["structuredContent"]["portcullis"]["outcome"], "unknown", "{died}");
    let again = async {
        let read = call("1", "read", &format!(",{NEW}"));
        while door.post(ONE, &headers("read"), &read).await.answer().await != ran(&json!(1), "read") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::PATIENCE, again).await.expect("a token's requests get another server");
}

/// A client without sessions knows nothing of servers that died: what it asks again is the same, also under another token.
#[tokio::test]
async fn a_call_whose_server_died_was_another_call_when_it_was_asked_again() {
    let door = Door::open().await;
    let moved = |token| {
        let (door, body) = (&door, call("1", "move", &format!(",{NEW}")));
        async move { door.post(token, &headers("move"), &body).await.answer().await }
    };
    assert_eq!(moved(ONE).await, ran(&json!(1), "move"));
    let die = call("1", "die", &format!(",{NEW}"));
    let died = door.post(ONE, &headers("die"), &die).await.answer().await;
    assert_eq!(died["result"]["structuredContent"]["portcullis"]["outcome"], "unknown", "{died}");
    let again = async { while moved(ONE).await != ran(&json!(1), "move") {} };
    tokio::time::timeout(super::PATIENCE, again).await.expect("another server");
    assert_eq!(moved(TWO).await, ran(&json!(1), "move"));
    let keys: std::collections::BTreeSet<_> = door
        .arbiter
        .questions()
        .into_iter()
        .filter(|call| call.request.surface.as_str() == "rec.move")
        .map(|call| call.request.idempotency_key.map(|key| key.to_string()))
        .collect();
    assert!(keys.len() == 1 && keys.iter().all(Option::is_some), "{keys:?}");
}

#[tokio::test]
async fn stopping_ends_streams_and_servers_and_reports_what_became_of_calls() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let mut call = session.call("1", "silent").await;
    call.event().await.unwrap();
    door.reached(r#""name":"silent""#).await;
    let arbiter = std::sync::Arc::clone(&door.arbiter);
    door.stop().await;
    assert_eq!(arbiter.settled(1).await, [(Outcome::Unknown, None)]);
    while call.event().await.is_some() {}
}

#[tokio::test]
async fn clients_learn_where_tokens_come_from() {
    let door = Door::with(|endpoint| {
        let servers = vec!["https://idp.example".to_owned()];
        endpoint.resource =
            Some(Resource::new("https://gate.example/mcp", servers, vec!["mcp".into()]).unwrap());
    })
    .await;
    let reply = door.post("nobody", &[], "{}").await;
    let place = "https://gate.example/.well-known/oauth-protected-resource/mcp";
    let challenge = format!(r#"Bearer resource_metadata="{place}", scope="mcp", error="invalid_token""#);
    assert_eq!(reply.headers()["www-authenticate"].to_str().unwrap(), challenge);
    for path in ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"] {
        let told = door.ask("GET", path, &[], "").await.json().await;
        assert_eq!(
            (&told["resource"], &told["authorization_servers"]),
            (&json!("https://gate.example/mcp"), &json!(["https://idp.example"]))
        );
        assert_eq!(
            (&told["scopes_supported"], &told["bearer_methods_supported"]),
            (&json!(["mcp"]), &json!(["header"]))
        );
    }
    assert_eq!(door.ask("GET", "/healthz", &[], "").await.status(), 200);
}

#[tokio::test]
async fn the_stream_of_a_token_that_names_nobody_any_more_ends() {
    let door = Door::bounded(Bounds { checked: Duration::from_millis(20), ..Bounds::USUAL }).await;
    let session = door.session(ONE).await;
    let mut stream = session.listen(None).await;
    stream.event().await.unwrap();
    // That the arbiter is not there, or a provider, says nothing of a token.
    for unknown in [ReasonCode::ArbiterUnreachable, ReasonCode::IdentityUnavailable] {
        door.known.lock().unwrap().instead = Some(unknown);
        let asked = door.known.lock().unwrap().asked;
        while door.known.lock().unwrap().asked < asked + 3 {
            tokio::task::yield_now().await;
        }
    }
    door.known.lock().unwrap().instead = None;
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    door.known.lock().unwrap().instead = Some(ReasonCode::IdentityExpired);
    assert_eq!(stream.event().await, None);
}

/// With a renewed token a client lost its session, and the results of calls that it had made.
#[tokio::test]
async fn a_renewed_token_goes_on_with_the_session_and_the_old_one_does_not() {
    let door = Door::open().await;
    let session = door.session("token-of.a.1000").await;
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    let mut broken = session.call("2", "read").await;
    let start = broken.event().await.unwrap().id.unwrap();
    drop(broken);
    // Of another bearer, or no longer than the first.
    for other in ["token-of.b.3000", "token-of.a.999", "token-of.a.1000.again", ONE] {
        assert_eq!(session.with(other).call("3", "read").await.status(), 404, "{other}");
    }
    let renewed = session.with("token-of.a.2000");
    let mut again = renewed.listen(Some(&start)).await;
    again.event().await.unwrap();
    assert_eq!(again.event().await.unwrap().data, ran(&json!(2), "read"));
    assert_eq!(renewed.tool("3", "read").await, ran(&json!(3), "read"));
    assert_eq!(session.call("4", "read").await.status(), 404);
    let decided = door.known.lock().unwrap().decided.clone();
    assert_eq!(decided, ["token-of.a.1000", "token-of.a.1000", "token-of.a.2000"]);
    assert_eq!(door.calls().len(), 3);
}

#[tokio::test]
async fn what_is_sent_to_a_subscriber_reaches_it_under_its_own_id_and_nobody_else() {
    let door = Door::open().await;
    let mut table = super::support::table(1);
    let listening = super::support::surface(portcullis_protocol::Idempotency::None, &[]);
    table.surfaces.insert("rec.mcp.subscriptions.listen".parse().unwrap(), listening);
    *door.arbiter.table.lock().unwrap() = Ok(table);
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "subscriptions/listen")];
    let listen = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true}},{NEW}}}}}"#
        )
    };
    // The same id in another conversation, and another in the same.
    let mut streams = Vec::new();
    for (token, id) in [(ONE, "\"s\""), (ONE, "7"), (TWO, "\"s\"")] {
        let mut stream = door.post(token, &headers, &listen(id)).await;
        assert!(stream.is_stream());
        let told = stream.event().await.unwrap().data;
        assert_eq!(told["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].to_string(), id);
        streams.push(stream);
    }
    // A call that the server answers by word to its subscribers, and to some that it makes up.
    let reply =
        door.post(ONE, &super::door::headers("announce"), &call("7", "announce", &format!(",{NEW}"))).await;
    assert_eq!(reply.answer().await, ran(&json!(7), "announce"));
    for (stream, id) in streams.iter_mut().zip(["\"s\"", "7"]) {
        let told = stream.event().await.unwrap().data;
        assert_eq!(told["method"], "notifications/tools/list_changed");
        assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].to_string(), id);
        let ended = stream.event().await.unwrap().data;
        assert_eq!(ended["id"].to_string(), id);
        assert_eq!(ended["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"].to_string(), id);
        assert_eq!(stream.event().await, None);
    }
}

/// MCP 2026-07-28, "Server Behavior for Custom Headers".
#[tokio::test]
async fn a_call_without_the_header_that_its_tool_has_for_an_argument_went_through() {
    let door = Door::open().await;
    let schema = json!({ "type": "object", "properties": { "region": { "type": "string", "x-mcp-header": "Region" } } });
    door.offers(&json!({ "pages": [[{ "name": "read", "inputSchema": schema }]] }));
    let body = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"read","arguments":{arguments},{NEW}}}}}"#
        )
    };
    let said =
        |value: &'static str| [&super::door::headers("read")[..], &[("mcp-param-region", value)]].concat();
    let west = body(r#"{"region":"us west"}"#);
    // Nobody has listed the tool to this agent.
    assert_eq!(door.post(ONE, &super::door::headers("read"), &west).await.status(), 200);
    let list = format!(r#"{{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{{{NEW}}}}}"#);
    let listing = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    assert_eq!(door.post(ONE, &listing, &list).await.status(), 200);
    for headers in [&super::door::headers("read")[..], &said("us east"), &said("=?base64?dXMgZWFzdA==?=")] {
        let refused = door.post(ONE, headers, &west).await;
        assert_eq!(refused.status(), 400, "{headers:?}");
        assert_eq!(refused.json().await["error"]["code"], -32020);
    }
    let before = door.calls().len();
    for (headers, body) in [
        (said("us west"), &west),
        (said("=?base64?dXMgd2VzdA==?="), &west),
        (super::door::headers("read").to_vec(), &body(r#"{"region":null}"#)),
        (super::door::headers("read").to_vec(), &body("{}")),
    ] {
        assert_eq!(door.post(ONE, &headers, body).await.status(), 200, "{headers:?}");
    }
    assert_eq!((before, door.calls().len()), (1, 5));
    assert_eq!(door.post(TWO, &super::door::headers("read"), &west).await.status(), 200, "another's list");
}
