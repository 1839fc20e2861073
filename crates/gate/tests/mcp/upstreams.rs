//! What a tool server may send, and what becomes of it.

use portcullis_protocol::{Idempotency, Outcome, ReasonCode};
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::Act;
use super::support::{Gate, code, local, surface, table, told};

#[tokio::test]
async fn an_answer_counts_once_and_only_for_its_own_call() {
    let mut gate = Gate::start();
    assert_eq!(gate.tool(1, "twice", "{}").await["id"], 1);
    gate.told("an answer to no request in flight: 1").await;
    assert_eq!(gate.tool(2, "other", "{}").await["id"], 2);
    gate.told("an answer to no request in flight: 4711").await;
    assert_eq!(gate.journal().await.len(), 2);
    let (_, rest) = gate.close().await;
    assert_eq!(rest, [json!(null); 0]);
}

#[tokio::test]
async fn garbage_is_reported_and_never_forwarded() {
    let mut gate = Gate::start();
    let answer = gate.tool(1, "garbage", "{}").await;
    assert_eq!(answer["result"]["content"][0]["text"], "garbage");
    gate.told("(the 3. time)").await;
    assert!(gate.notes().contains("Hello, I am a\\u{1b}[31m log line"), "{}", gate.notes());
}

#[tokio::test]
async fn an_answer_that_is_neither_result_nor_error_leaves_the_outcome_unknown() {
    let mut gate = Gate::start();
    let answer = gate.tool(1, "neither", "{}").await;
    assert_eq!(told(&answer)["outcome"], "unknown");
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Unknown, None)]);
}

#[tokio::test]
async fn a_tool_server_that_dies_leaves_the_outcome_unknown_and_the_gate_shut() {
    let mut gate = Gate::start();
    gate.call(1, "silent", "{}").await;
    gate.journal().await;
    gate.call(2, "die", "{}").await;
    let (first, second) = (gate.next().await, gate.next().await);
    for answer in [&first, &second] {
        assert_eq!(answer["result"]["isError"], true);
        assert_eq!(told(answer)["outcome"], "unknown");
        assert_eq!(told(answer)["enforcement"], "EXECUTED");
        assert_eq!(told(answer)["decision"], "PERMIT");
    }
    assert_eq!(gate.arbiter.settled(2).await, [(Outcome::Unknown, None), (Outcome::Unknown, None)]);
    let questions = gate.arbiter.questions().len();
    assert_eq!(code(&gate.tool(3, "read", "{}").await), "upstream.unavailable");
    assert_eq!(gate.arbiter.questions().len(), questions, "no permit is asked for");
    let pong = gate.ask(r#"{"jsonrpc":"2.0","id":4,"method":"ping"}"#).await;
    assert_eq!(pong["error"]["code"], -32001);
    assert_eq!(code(&pong), "upstream.unavailable");
}

#[tokio::test]
async fn a_call_decided_while_the_tool_server_dies_is_given_up() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::PermitWhenReleased);
    gate.call(1, "read", "{}").await;
    gate.arbiter.asked(1).await;
    gate.arbiter.will(Act::Permit);
    assert_eq!(told(&gate.tool(2, "die", "{}").await)["outcome"], "unknown");
    gate.arbiter.release.add_permits(1);
    assert_eq!(code(&gate.next().await), "upstream.unavailable");
    let outcomes = gate.arbiter.settled(2).await;
    assert!(outcomes.contains(&(Outcome::Expired, None)), "{outcomes:?}");
}

#[tokio::test]
async fn a_server_that_does_not_start_blocks_everything() {
    let mut gate = Gate::with(|config| local(config).command = vec!["/nonexistent/server".into()]);
    gate.told("the tool server is gone").await;
    assert_eq!(code(&gate.tool(1, "read", "{}").await), "upstream.unavailable");
    assert_eq!(gate.arbiter.questions().len(), 0);
}

#[tokio::test]
async fn a_flood_of_stderr_is_bounded() {
    let mut gate = Gate::start();
    assert_eq!(gate.tool(1, "flood", "{}").await["result"]["isError"], false);
    gate.told("more lines").await;
    let notes = gate.notes();
    let lines: Vec<&str> = notes.lines().collect();
    assert!(lines.len() < 1_500, "{}", lines.len());
    assert!(lines[0].starts_with("stderr: first \\u{7} xxx"), "{}", &lines[0][..40]);
    assert!(lines[0].len() < 4_200);
}

#[tokio::test]
async fn only_known_notifications_pass() {
    let mut gate = Gate::start();
    gate.call(1, "notify", "{}").await;
    let methods = [gate.next().await, gate.next().await];
    assert_eq!(methods[0]["method"], "notifications/message");
    assert_eq!(methods[1]["method"], "notifications/progress");
    assert_eq!(methods[1]["params"]["progressToken"], "t-1");
    assert_eq!(gate.next().await["id"], 1);
    gate.told("an unknown notification: notifications/evil").await;
    gate.told("an unknown notification: evil").await;
}

#[tokio::test]
async fn a_message_within_a_notification_stays_within_its_line() {
    let mut gate = Gate::start();
    gate.call(1, "smuggle", "{}").await;
    assert_eq!(gate.next().await["method"], "notifications/message");
    assert_eq!(gate.next().await["id"], 1);
    assert_eq!(gate.arbiter.questions().len(), 1);
}

#[tokio::test]
async fn the_gate_answers_a_ping_of_the_tool_server_by_itself() {
    let mut gate = Gate::start();
    let answer = gate.tool(1, "ping", "{}").await;
    assert_eq!(answer["result"]["heard"], json!({"jsonrpc": "2.0", "id": "s-1", "result": {}}));
    assert_eq!(gate.arbiter.questions().len(), 1);
}

#[tokio::test]
async fn a_request_of_the_tool_server_reaches_the_client_only_under_a_permit() {
    let mut gate = Gate::start();
    gate.call(1, "ask", "{}").await;
    let asked = gate.next().await;
    assert_eq!(asked["method"], "sampling/createMessage");
    assert_eq!(gate.arbiter.questions()[1].request.surface.as_str(), "rec.mcp.sampling.createmessage");
    let id = asked["id"].as_u64().unwrap();
    // An answer to something else is dropped; the next one counts.
    gate.send(r#"{"jsonrpc":"2.0","id":99,"result":{"role":"forged"}}"#).await;
    gate.told("a request that nobody made").await;
    gate.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"role":"user","x":1.0}}}}"#)).await;
    let answer = gate.next().await;
    let heard = json!({"jsonrpc": "2.0", "id": "s-1", "result": {"role": "user", "x": 1.0}});
    assert_eq!(answer["result"]["heard"], heard);
    assert_eq!(gate.arbiter.settled(2).await, [(Outcome::Ok, None), (Outcome::Ok, None)]);
}

/// What a server asks is kept until it is answered, and takes the room of nothing else that the server says.
#[tokio::test]
async fn a_large_question_had_everything_wait_that_its_server_said_until_the_client_answered_it() {
    let mut gate = Gate::start();
    // As many small objects as take more than all the room there is, of a server that is alone.
    let messages = format!("[{}{{}}]", "{},".repeat(200_000));
    let asks = |id: u64, own: &str, messages: &str| {
        let asked = format!(r#"{{"method":"sampling/createMessage","params":{{"messages":{messages}}}}}"#);
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"request","_meta":{{"as":"{own}"}},"arguments":{asked}}}}}"#
        )
    };
    let asked = gate.ask(&asks(1, "q-1", &messages)).await;
    assert_eq!(asked["method"], "sampling/createMessage");
    assert_eq!(gate.tool(2, "read", "{}").await["id"], 2);
    assert_eq!(gate.tool(3, "large", "{}").await["id"], 3);
    // There is no room for another question until then, and its server is told so.
    let refused = gate.ask(&asks(4, "q-2", "[]")).await;
    let heard = &refused["result"]["heard"];
    assert_eq!((&refused["id"], &heard["id"], code(heard)), (&json!(4), &json!("q-2"), "overload.shed"));
    gate.send(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, asked["id"])).await;
    gate.arbiter.settled(4).await;
    // It is on record before its room is given back.
    for id in 5.. {
        let heard = gate.ask(&asks(id, &format!("q-{id}"), "[]")).await;
        if heard["method"] == "sampling/createMessage" {
            break;
        }
        assert_eq!(code(&heard["result"]["heard"]), "overload.shed");
    }
}

/// Notices that are being decided took the room of what the client answers.
#[tokio::test]
async fn an_answer_of_the_client_was_dropped_while_its_notices_were_being_decided() {
    let mut gate = Gate::start();
    gate.call(1, "ask", "{}").await;
    let asked = gate.next().await;
    gate.arbiter.will(Act::Hang);
    let notice = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/x","params":{{"a":"{}"}}}}"#,
        "x".repeat(7 << 20)
    );
    for _ in 0..5 {
        gate.send(&notice).await;
    }
    gate.told("too much of what is not answered is under way").await;
    let answer =
        format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"a":"{}"}}}}"#, asked["id"], "x".repeat(7 << 20));
    let heard = gate.ask(&answer).await;
    assert_eq!(heard["result"]["heard"]["result"]["a"].as_str().map(str::len), Some(7 << 20));
}

#[tokio::test]
async fn a_refused_request_of_the_tool_server_does_not_reach_the_client() {
    for tool in ["ask", "roots"] {
        let mut gate = Gate::start();
        gate.arbiter.will(Act::PermitWhenReleased);
        gate.call(1, tool, "{}").await;
        gate.arbiter.asked(1).await;
        gate.arbiter.will(Act::Refuse(ReasonCode::PolicyNoGrant));
        gate.arbiter.release.add_permits(1);
        let answer: Value = gate.next().await;
        assert_eq!(answer["id"], 1);
        let heard = &answer["result"]["heard"];
        assert_eq!(heard["id"], "s-1");
        assert_eq!(heard["error"]["code"], -32001);
        assert_eq!(code(heard), "policy.no_grant");
    }
}

#[tokio::test]
async fn the_tool_server_sees_a_scrubbed_environment() {
    let mut gate = Gate::with(|config| local(config).pass_environment = vec!["CARGO_PKG_NAME".into()]);
    let answer = gate.tool(1, "environment", "{}").await;
    let names: Vec<&str> =
        answer["result"]["names"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"PATH") && names.contains(&"CARGO_PKG_NAME"), "{names:?}");
    // Set by the test runner for this very process.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("PORTCULLIS_")), "{names:?}");
}

#[tokio::test]
async fn word_to_no_subscriber_is_dropped() {
    let mut gate = Gate::start();
    let mut table = super::support::table(1);
    let listening = super::support::surface(portcullis_protocol::Idempotency::None, &[]);
    table.surfaces.insert("rec.mcp.subscriptions.listen".parse().unwrap(), listening);
    *gate.arbiter.table.lock().unwrap() = Ok(table);
    let listen = r#"{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{}}"#;
    let id = "/params/_meta/io.modelcontextprotocol~1subscriptionId";
    assert_eq!(gate.ask(listen).await.pointer(id), Some(&json!("s")));
    gate.call(7, "announce", "{}").await;
    // Of all that the server says, what names requests of this client's, under the ids that it has for them.
    for named in [json!(7), json!("s")] {
        let told = gate.next().await;
        assert_eq!(
            (&told["method"], told.pointer(id)),
            (&json!("notifications/tools/list_changed"), Some(&named))
        );
    }
    let ended = [gate.next().await, gate.next().await];
    let of = |wanted: serde_json::Value| ended.iter().find(|answer| answer["id"] == wanted).unwrap();
    assert_eq!(
        of(json!("s")).pointer("/result/_meta/io.modelcontextprotocol~1subscriptionId"),
        Some(&json!("s"))
    );
    assert_eq!(of(json!(7))["result"]["isError"], false);
    gate.told("word to no subscriber").await;
}

/// A client that reads nothing holds up its server, and not only once a thousand messages wait for it.
#[tokio::test]
async fn what_a_server_said_was_held_as_messages_and_not_as_bytes() {
    const CALLS: u64 = 100;
    let mut gate = Gate::start();
    let mut known = table(1);
    known.surfaces.insert("rec.large".parse().unwrap(), surface(Idempotency::None, &[]));
    *gate.arbiter.table.lock().unwrap() = Ok(known);
    for id in 1..=CALLS {
        gate.call(id, "large", "{}").await;
    }
    // Of two megabytes each. One is read by the server once it has answered the one before.
    let (mut begun, mut since) = (0, std::time::Instant::now());
    // However slow the machine is, it comes so far. Then it stands still.
    let still = |begun| if begun < 10 { PATIENCE } else { std::time::Duration::from_secs(2) };
    while begun < 100 && since.elapsed() < still(begun) {
        let now = gate.journal_now().len();
        if now > begun {
            (begun, since) = (now, std::time::Instant::now());
        }
        tokio::task::yield_now().await;
    }
    assert!((10..=60).contains(&begun), "{begun} of {CALLS}");
    for _ in 0..CALLS {
        assert_eq!(gate.next().await["result"]["isError"], false);
    }
    gate.arbiter.settled(100).await;
}
