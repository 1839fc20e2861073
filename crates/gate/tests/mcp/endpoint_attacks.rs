//! Attacks on the endpoint: what is sent to run something without its own permit, to get another's answer, or to use up what
//! others need. What ran is told by the recording server.

use std::time::Duration;

use portcullis_gate::endpoint::Bounds;
use portcullis_protocol::Outcome;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;
use super::arbiter::Act;
use super::door::{Door, NEW, ONE, OTHER, TWO, call, headers, ran};

/// Nothing was decided, and nothing ran.
fn untouched(door: &Door) {
    assert!(door.arbiter.questions().is_empty() && door.calls().is_empty(), "{:?}", door.journal());
}

#[tokio::test]
async fn a_header_that_names_another_tool_than_the_body_runs_neither() {
    let door = Door::open().await;
    let body = call("1", "read", &format!(",{NEW}"));
    let reply = door.post(ONE, &headers("write"), &body).await;
    assert_eq!(reply.status(), 400);
    let told = reply.json().await;
    assert_eq!((&told["id"], &told["error"]["code"]), (&json!(1), &json!(-32020)));
    let without = door.post(ONE, &headers("read")[1..], &body).await;
    assert_eq!(without.status(), 400);
    untouched(&door);
}

#[tokio::test]
async fn messages_that_are_hidden_in_others_are_none() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let one = call("1", "read", "");
    let bodies = [
        format!("[{one}]"),
        format!("[{one},{one}]"),
        format!("{one}\n{one}"),
        format!("{one}\r{one}"),
        format!("{one}{one}"),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\"\n{one}\n\"}}}}"),
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"x\":\r\n{one}\r\n,\"x\":1}}}}"
        ),
        one.replace("\"id\":1", "\"id\":1,\"id\":2"),
        one.replace("\"name\":\"read\"", "\"name\":\"read\",\"name\":\"write\""),
        one.replace("\"method\":\"tools/call\"", "\"method\":\"ping\",\"method\":\"tools/call\""),
        one.replace("\"method\":\"tools/call\"", "\"method\":\"ping\",\"Method\":\"tools/call\""),
        one.replace("\"id\":1,", "\"id\":1.0,"),
        one.replace("\"id\":1,", "\"id\":null,"),
        one.replace("\"id\":1,", ""),
        format!("{}{one}", '\u{feff}'),
    ];
    for body in &bodies {
        let reply = session.post(body).await;
        assert_eq!(reply.status(), 400, "{body}");
        reply.code().await;
    }
    untouched(&door);
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"), "and the session goes on");
}

/// With its number in the place of its id a message may be longer than it came.
#[tokio::test]
async fn a_message_that_its_number_makes_too_long_was_never_answered() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    for number in 1..12 {
        let ping = format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"ping"}}"#);
        assert_eq!(session.post(&ping).await.status(), 200);
    }
    let body = call("1", "read", r#","_meta":{"pad":"PAD"}"#);
    for (length, status) in [(8 * 1024 * 1024, 413), (8 * 1024 * 1024 + 1, 413)] {
        let long = body.replace("PAD", &"x".repeat(length - body.len() + 3));
        assert_eq!(long.len(), length);
        let reply = timeout(PATIENCE, session.post(&long)).await.unwrap();
        assert_eq!((reply.status(), reply.code().await.as_str()), (status, "request.too_large"), "{length}");
    }
    assert_eq!(session.tool("2", "read").await, ran(&json!(2), "read"));
}

/// A server that folds case would report progress to the number that the client wrote, which is another's.
#[tokio::test]
async fn meta_in_another_spelling_is_refused() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_Meta":{"progressToken":7}}}"#;
    let reply = session.post(list).await;
    assert_eq!((reply.status(), reply.code().await.as_str()), (400, "request.ambiguous_key"));
}

/// What an agent has asked takes of its room until it is answered, whether or not it waits for the answer.
#[tokio::test]
async fn requests_without_an_answer_take_an_agents_room_and_no_other_agents() {
    let bounds = Bounds { held_each: 96 * 1024, ..Bounds::USUAL };
    let door = Door::bounded(bounds).await;
    let session = door.session(ONE).await;
    let parts =
        format!(r#"{{"jsonrpc":"2.0","id":9,"method":"ping","params":{{"x":[{}0]}}}}"#, "0,".repeat(4_000));
    let many = session.post(&parts).await;
    assert_eq!(
        (many.status(), many.code().await.as_str()),
        (413, "request.too_large"),
        "by what it is made of"
    );
    door.arbiter.will(Act::PermitWhenReleased);
    let long = |id: &str| call(id, "read", r#","_meta":{"pad":"PAD"}"#).replace("PAD", &"x".repeat(9 * 1024));
    let waiting = [session.post(&long("1")).await, session.post(&long("2")).await];
    door.arbiter.asked(2).await;
    let third = session.post(&long("3")).await;
    assert_eq!((third.status(), third.code().await.as_str()), (429, "overload.shed"));
    door.arbiter.release.add_permits(3);
    for (reply, id) in waiting.into_iter().zip([1, 2]) {
        assert_eq!(reply.answer().await, ran(&json!(id), "read"));
    }
    assert_eq!(session.tool("4", "read").await, ran(&json!(4), "read"));
    assert_eq!(door.calls().len(), 3);
}

/// Slow bodies of one agent leave room for those of others.
#[tokio::test]
async fn bodies_that_one_agent_sends_slowly_leave_room_for_another() {
    let bounds = Bounds { bodies: 4096, bodies_each: 1024, ..Bounds::USUAL };
    let door = Door::bounded(bounds).await;
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: 1000\r\n\r\n",
        door.address
    );
    let (told, mut tells) = tokio::sync::mpsc::channel(4);
    for _ in 0..4 {
        let mut stream = TcpStream::connect(door.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&[b' '; 900]).await.unwrap();
        let told = told.clone();
        tokio::spawn(async move {
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.unwrap();
            told.send((line, stream)).await.unwrap();
        });
    }
    // All but one are told that there is no room for them.
    for _ in 0..3 {
        let (line, _) = timeout(PATIENCE, tells.recv()).await.expect("an answer").unwrap();
        assert_eq!(&line, b"HTTP/1.1 429");
    }
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{NEW}}"#.replace("NEW", NEW);
    let listed = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let reply = door.post(OTHER, &listed, &list).await;
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn an_id_that_is_in_flight_is_not_taken_a_second_time() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    door.arbiter.will(Act::PermitWhenReleased);
    let first = session.call("1", "read").await;
    door.arbiter.asked(1).await;
    let second = session.call("1", "pay").await;
    assert_eq!((second.status(), second.code().await.as_str()), (400, "request.invalid_value"));
    door.arbiter.release.add_permits(2);
    assert_eq!(first.answer().await, ran(&json!(1), "read"));
    assert_eq!(door.calls().len(), 1);
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"), "an id that was answered is free");
}

#[tokio::test]
async fn sessions_that_use_the_same_ids_at_once_get_their_own_results() {
    let door = Door::open().await;
    door.arbiter.will(Act::PermitWhenReleased);
    let (one, two) = (door.session(ONE).await, door.session(TWO).await);
    let (first, second) = (one.call("1", "read").await, two.call("1", "move").await);
    door.arbiter.asked(2).await;
    door.arbiter.release.add_permits(2);
    let (first, second) = tokio::join!(first.answer(), second.answer());
    assert_eq!((first, second), (ran(&json!(1), "read"), ran(&json!(1), "move")));
}

#[tokio::test]
async fn an_answer_of_a_server_to_a_number_that_it_made_up_reaches_nobody() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    assert_eq!(session.tool("4711", "other").await, ran(&json!(4711), "other"));
    assert_eq!(session.tool("1", "twice").await, ran(&json!(1), "twice"));
    assert_eq!(session.tool("2", "read").await, ran(&json!(2), "read"));
}

#[tokio::test]
async fn pages_of_the_web_and_other_names_are_refused_before_the_body_is_read() {
    let door = Door::with(|endpoint| endpoint.origins = vec!["https://app.example".into()]).await;
    let port = door.address.port();
    // No byte of the body ever comes: whoever would wait for it hangs here.
    let head = |host: &str, more: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n{more}\r\n"
        )
    };
    for (host, more) in [
        ("evil.example", ""),
        (&format!("evil.example:{port}"), ""),
        ("127.0.0.1", ""),
        (&format!("localhost:{port}"), "origin: https://evil.example\r\n"),
        (&format!("localhost:{port}"), "origin: null\r\n"),
    ] {
        let answer = door.raw(head(host, more).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{host} {more}: {answer}");
    }
    let page = [("origin", "https://app.example")];
    assert_eq!(
        door.post(ONE, &page, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.status(),
        400,
        "it is heard"
    );
    let stranger = head(&format!("localhost:{port}"), "").replace(ONE, "nobody");
    assert!(door.raw(stranger.as_bytes()).await.starts_with("HTTP/1.1 401"), "nobody's body is read");
    untouched(&door);
}

#[tokio::test]
async fn other_paths_methods_and_forms_are_refused() {
    let door = Door::open().await;
    let bearer = ("authorization", "Bearer token-one");
    for (method, path, status) in [
        ("POST", "/", 404),
        ("POST", "/mcp/", 404),
        ("POST", "/MCP", 404),
        ("POST", "/mcp/../mcp", 404),
        ("PUT", "/mcp", 405),
        ("PATCH", "/mcp", 405),
        ("OPTIONS", "/mcp", 405),
        ("HEAD", "/mcp", 405),
        ("GET", "/mcp", 405),
        ("DELETE", "/mcp", 405),
        ("POST", "/healthz", 405),
    ] {
        assert_eq!(door.ask(method, path, &[bearer], "").await.status(), status, "{method} {path}");
    }
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    for (header, status) in [
        (("content-type", "text/plain"), 415),
        (("content-type", "application/x-www-form-urlencoded"), 415),
        (("content-encoding", "gzip"), 415),
        (("accept", "application/json"), 406),
        (("accept", "text/html"), 406),
    ] {
        assert_eq!(door.post(ONE, &[header], ping).await.status(), status, "{header:?}");
    }
    assert!(door.journal().is_empty());
}

#[tokio::test]
async fn a_request_within_another_is_not_read_as_one() {
    let door = Door::open().await;
    let port = door.address.port();
    let hidden = call("1", "read", &format!(",{NEW}"));
    let inner = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost:{port}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\naccept: */*\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: read\r\ncontent-length: {}\r\n\r\n{hidden}",
        hidden.len()
    );
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost:{port}\r\nauthorization: Bearer nobody\r\ncontent-type: application/json\r\n"
    );
    for framing in [
        "content-length: 0\r\ncontent-length: 5\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: xchunked\r\n",
        "content-length: +0\r\n",
        "content-length: 0, 0\r\n",
        "content-length: 0\r\n",
    ] {
        let sent = format!("{head}{framing}\r\n0\r\n\r\n{inner}");
        let answer = door.raw(sent.as_bytes()).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{framing}: {answer}");
    }
    untouched(&door);
}

#[tokio::test]
async fn a_message_that_is_too_long_or_too_deep_is_refused() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let (port, eight) = (door.address.port(), 8 * 1024 * 1024);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost:{port}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\n"
    );
    let said = format!("{head}content-length: {}\r\n\r\n", eight + 1);
    assert!(door.raw(said.as_bytes()).await.starts_with("HTTP/1.1 413"), "by what it says of itself");
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    let unsaid = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(9));
    let answer = door.raw(unsaid.as_bytes()).await;
    // What is not read any more may take the answer with it.
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{}{}}}}}"#,
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let reply = session.post(&deep).await;
    assert_eq!(reply.status(), 400);
    let long = format!("GET /mcp HTTP/1.1\r\nhost: localhost:{port}\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    assert!(door.raw(long.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /mcp HTTP/1.1\r\nhost: localhost:{port}\r\n{}\r\n", "x: y\r\n".repeat(100));
    assert!(door.raw(many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    untouched(&door);
    assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
}

#[tokio::test]
async fn a_header_or_body_that_comes_too_slowly_is_not_waited_for() {
    let quick = Duration::from_millis(200);
    let door = Door::bounded(Bounds { header: quick, body: quick, ..Bounds::USUAL }).await;
    let port = door.address.port();
    assert_eq!(door.raw(b"").await, "", "who says nothing is let go of");
    let answer = door.raw(b"POST /mcp HTTP/1.1\r\nhost: local").await;
    assert!(!answer.contains(" 200 "), "{answer}");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost:{port}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"json"
    );
    let answer = door.raw(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("overload.deadline"), "{answer}");
    untouched(&door);
}

#[tokio::test]
async fn who_does_not_read_is_let_go_of_and_holds_up_nobody() {
    let bounds = Bounds { waiting: 16, reading: Duration::from_millis(300), ..Bounds::USUAL };
    let door = Door::bounded(bounds).await;
    let session = door.session(ONE).await;
    let body = call("1", "chatter", "");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {ONE}\r\nmcp-session-id: {}\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n\r\n{body}",
        door.address,
        session.id,
        body.len()
    );
    let mut deaf = TcpStream::connect(door.address).await.unwrap();
    deaf.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(door.arbiter.settled(1).await, [(Outcome::Ok, None)], "what became of the call is on record");
    assert_eq!(session.tool("2", "read").await, ran(&json!(2), "read"));
    assert_eq!(door.session(TWO).await.tool("1", "read").await, ran(&json!(1), "read"));
    // The connection ends, though not all was read: until then its place is taken. The answer is kept for who asks for it.
    let ended = async {
        while session.post(r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#).await.status() != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the connection ends");
    let mut rest = Vec::new();
    drop(timeout(PATIENCE, deaf.read_to_end(&mut rest)).await.expect("the connection has ended"));
    assert!(rest.len() < 32 * 1024 * 1024 && !String::from_utf8_lossy(&rest).contains("\"result\""));
    let mut again = session.listen(Some("2-start")).await;
    let mut last = None;
    while let Some(event) = again.event().await {
        last = Some(event.data);
    }
    assert_eq!(last, Some(ran(&json!(1), "chatter")));
}

#[tokio::test]
async fn what_waits_to_be_read_is_bounded_in_bytes_too() {
    let bounds = Bounds { held_each: 1024 * 1024, ..Bounds::USUAL };
    let door = Door::bounded(bounds).await;
    let session = door.session(ONE).await;
    let answer = session.tool("1", "large").await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    assert_eq!(door.arbiter.settled(1).await, [(Outcome::Ok, None)]);
    assert_eq!(session.tool("2", "read").await, ran(&json!(2), "read"));
    let door = Door::open().await;
    let answer = door.session(ONE).await.tool("1", "large").await;
    assert_eq!(answer["result"]["content"][0]["text"].as_str().map(str::len), Some(2 * 1024 * 1024));
}

#[tokio::test]
async fn one_agent_cannot_use_up_what_others_need() {
    let door = Door::bounded(Bounds { calls: 2, sessions_each: 2, sessions: 3, ..Bounds::USUAL }).await;
    door.arbiter.will(Act::PermitWhenReleased);
    let session = door.session(ONE).await;
    let (first, second) = (session.call("1", "read").await, session.call("2", "read").await);
    door.arbiter.asked(2).await;
    // Both tokens are the same agent's.
    for token in [ONE, TWO] {
        let reply = door.post(token, &[("mcp-session-id", &session.id)], &call("3", "read", "")).await;
        assert_eq!((reply.status(), reply.headers().contains_key("retry-after")), (429, true));
        assert_eq!(reply.code().await, "overload.shed");
    }
    let other = door.session(OTHER).await;
    assert_eq!(other.post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await.status(), 200);
    door.arbiter.release.add_permits(2);
    assert_eq!(
        (first.answer().await, second.answer().await),
        (ran(&json!(1), "read"), ran(&json!(2), "read"))
    );
}

#[tokio::test]
async fn an_agent_that_begins_session_after_session_loses_its_oldest_unused_one() {
    let door = Door::bounded(Bounds { sessions_each: 2, sessions: 3, ..Bounds::USUAL }).await;
    let (first, second) = (door.session(ONE).await, door.session(TWO).await);
    let other = door.session(OTHER).await;
    let third = door.session(ONE).await;
    assert_eq!(first.call("1", "read").await.status(), 404);
    for session in [&second, &third] {
        assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    }
    assert_eq!(other.post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await.status(), 200);
    // Those in use are not ended for one more.
    let initialize =
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let (_one, _two) = (second.listen(None).await, third.listen(None).await);
    assert_eq!(door.post(ONE, &[], initialize).await.status(), 429);
}

/// An ended session keeps its place until its tool server has ended: whoever began one after the other was refused.
#[tokio::test]
async fn sessions_that_had_ended_kept_new_ones_out() {
    for (sessions_each, sessions) in [(1, 2), (2, 1)] {
        let door = Door::bounded(Bounds { sessions_each, sessions, ..Bounds::USUAL }).await;
        for _ in 0..3 {
            let session = door.session(ONE).await;
            let named = [("authorization", "Bearer token-one"), ("mcp-session-id", session.id.as_str())];
            assert_eq!(door.ask("DELETE", "/mcp", &named, "").await.status(), 204);
        }
    }
}

/// Sessions that were forgotten left no place for another agent until they were idle for half an hour.
#[tokio::test]
async fn an_agent_with_few_sessions_gets_a_place_of_the_one_that_has_most() {
    let door = Door::bounded(Bounds { sessions_each: 3, sessions: 3, ..Bounds::USUAL }).await;
    let (first, second, third) = (door.session(ONE).await, door.session(ONE).await, door.session(ONE).await);
    assert_eq!(first.tool("1", "read").await, ran(&json!(1), "read"));
    let other = door.session(OTHER).await;
    assert_eq!(second.call("1", "read").await.status(), 404, "it was not used for longest");
    // With one more it would have as many as the one that it takes it from: it makes place itself.
    let again = door.session(OTHER).await;
    assert_eq!(other.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.status(), 404);
    for session in [&first, &third] {
        assert_eq!(session.tool("1", "read").await, ran(&json!(1), "read"));
    }
    // And what all use is nobody's to take.
    let _in_use = (first.listen(None).await, third.listen(None).await, again.listen(None).await);
    let initialize =
        r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
    let reply = door.post(OTHER, &[], initialize).await;
    assert_eq!((reply.status(), reply.code().await.as_str()), (503, "overload.shed"));
}

/// An answer counted for nothing from when it was handed to the connection: whoever read none had as many as connections.
#[tokio::test]
async fn an_answer_that_is_not_read_kept_no_place() {
    let door = Door::bounded(Bounds { calls: 1, ..Bounds::USUAL }).await;
    let body = call("1", "large", &format!(",{NEW}"));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\naccept: */*\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: large\r\ncontent-length: {}\r\n\r\n{body}",
        door.address,
        body.len()
    );
    let mut deaf = TcpStream::connect(door.address).await.unwrap();
    deaf.write_all(head.repeat(8).as_bytes()).await.unwrap();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{NEW}}"#.replace("NEW", NEW);
    let listed = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let taken = async {
        // Refusals while a call is under way show nothing: none must end meanwhile, and one have ended.
        let (mut in_a_row, mut ended) = (0, 0);
        while in_a_row < 500 {
            let refused = door.post(ONE, &listed, &list).await.status() == 429;
            let now = door.arbiter.reported().len();
            in_a_row = if refused && now > 0 && now == ended { in_a_row + 1 } else { 0 };
            ended = now;
        }
    };
    timeout(PATIENCE, taken).await.expect("its place is taken as long as it is not read");
    assert_eq!(door.post(OTHER, &listed, &list).await.status(), 200);
    drop(deaf);
    let free = async { while door.post(ONE, &listed, &list).await.status() == 429 {} };
    timeout(PATIENCE, free).await.expect("and free with the connection");
}

/// More than may wait, said at once, was taken for a client that does not read, and the call was cancelled.
#[tokio::test]
async fn a_client_that_reads_keeps_its_stream_whatever_is_said_at_once() {
    let bounds = Bounds { waiting: 16, quiet: Duration::from_millis(20), ..Bounds::USUAL };
    let door = Door::bounded(bounds).await;
    let session = door.session(ONE).await;
    let mut chatter = session.call("1", "chatter").await;
    let (mut said, mut last) = (0, None);
    while let Some(event) = chatter.event().await {
        said += usize::from(event.data["method"] == "notifications/message");
        last = Some(event.data);
    }
    assert_eq!(last, Some(ran(&json!(1), "chatter")));
    assert!(said > 16, "{said}");
    let body = call("1", "chatter", &format!(",{NEW}"));
    assert_eq!(door.post(ONE, &headers("chatter"), &body).await.answer().await, ran(&json!(1), "chatter"));
    assert!(!door.journal().iter().any(|line| line.contains("notifications/cancelled")));
}

#[tokio::test]
async fn a_session_of_which_nothing_is_heard_ends() {
    let door = Door::bounded(Bounds { idle: Duration::from_secs(2), ..Bounds::USUAL }).await;
    let (idle, listening) = (door.session(ONE).await, door.session(ONE).await);
    let mut stream = listening.listen(None).await;
    stream.event().await.unwrap();
    let expired = async {
        // A DELETE of a session that is there ends it, so it is asked for in a way that does not count as its use.
        while idle.listen(Some("x")).await.status() != 404 {}
    };
    timeout(PATIENCE, expired).await.expect("it ends");
    assert_eq!(listening.tool("1", "read").await, ran(&json!(1), "read"));
}

/// A tool server that answers `initialize` and then reads nothing.
const DEAF: &str = r#"read line; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}}'; exec sleep 600"#;

/// What an agent's server did not read was held by the thousand, up to 8 MiB each, and in nobody's room.
#[tokio::test]
async fn an_agent_filled_the_endpoint_with_what_its_server_did_not_read() {
    let door = Door::with(|endpoint| {
        super::support::local(&mut endpoint.gate).command = vec!["sh".into(), "-c".into(), DEAF.into()];
    })
    .await;
    let session = door.session(ONE).await;
    let said = |method: &str| {
        let padding = "x".repeat(1024 * 1024);
        format!(
            r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"progressToken":1,"message":"{padding}"}}}}"#
        )
    };
    for _ in 0..12 {
        assert_eq!(session.post(&said("notifications/progress")).await.status(), 202);
    }
    // No more than four megabytes of them wait.
    door.told_times("dropped a notification: too many messages wait to be written", 8).await;
    // Nor of what waits for a decision.
    door.arbiter.will(Act::Hang);
    for _ in 0..12 {
        assert_eq!(session.post(&said("notifications/other")).await.status(), 202);
    }
    door.told_times("too much of what is not answered is under way", 8).await;
}

#[tokio::test]
async fn connections_beyond_the_bound_are_dropped() {
    let door =
        Door::bounded(Bounds { connections: 2, header: Duration::from_secs(60), ..Bounds::USUAL }).await;
    let (_first, _second) =
        (TcpStream::connect(door.address).await.unwrap(), TcpStream::connect(door.address).await.unwrap());
    let mut third = TcpStream::connect(door.address).await.unwrap();
    let mut nothing = Vec::new();
    let ended = timeout(PATIENCE, third.read_to_end(&mut nothing)).await.expect("it is dropped");
    assert!(ended.is_err() || nothing.is_empty());
}

#[tokio::test]
async fn calls_during_shutdown_are_not_run() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    door.arbiter.will(Act::PermitWhenReleased);
    let waiting = session.call("1", "read").await;
    door.arbiter.asked(1).await;
    let (arbiter, address) = (std::sync::Arc::clone(&door.arbiter), door.address);
    let journal = door.journal_path();
    door.stop().await;
    arbiter.release.add_permits(1);
    drop(waiting);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    let reached = std::fs::read_to_string(journal.path().join("journal")).unwrap();
    assert!(reached.contains("initialize") && !reached.contains("tools/call"), "{reached}");
}

#[tokio::test]
async fn a_body_of_no_length_said_is_read_to_its_bound() {
    let door = Door::open().await;
    let mut stream = TcpStream::connect(door.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        door.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    for _ in 0..8 {
        stream.write_all(chunk.as_bytes()).await.unwrap();
    }
    // One byte more than may be; the end of the body never comes, and is not waited for.
    stream.write_all(b"1\r\nx\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_revision_that_was_not_agreed_upon_is_refused() {
    let door = Door::open().await;
    let session = door.session(ONE).await;
    let named = |revision| [("mcp-session-id", session.id.as_str()), ("mcp-protocol-version", revision)];
    for revision in ["2025-06-18", "1900-01-01", ""] {
        let reply = door.post(ONE, &named(revision), &call("1", "read", "")).await;
        assert_eq!(reply.status(), 400, "{revision}");
    }
    untouched(&door);
    let reply = door.post(ONE, &named("2025-11-25"), &call("1", "read", "")).await;
    assert_eq!(reply.answer().await, ran(&json!(1), "read"));
}

#[tokio::test]
async fn an_address_that_others_reach_is_not_listened_on_without_tls() {
    let door = Door::listening("0.0.0.0:0").await;
    let refused = timeout(PATIENCE, door.ended()).await.expect("it does not start");
    assert!(refused.unwrap_err().to_string().contains("--tls-cert"));
}

#[tokio::test]
async fn a_client_that_never_reads_gives_its_connection_up() {
    let bounds = Bounds {
        connections: 1,
        reading: Duration::from_millis(300),
        header: Duration::from_secs(3_600),
        ..Bounds::USUAL
    };
    let door = Door::bounded(bounds).await;
    let body = call("1", "large", &format!(",{NEW}"));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {ONE}\r\ncontent-type: application/json\r\naccept: */*\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: large\r\ncontent-length: {}\r\n\r\n{body}",
        door.address,
        body.len()
    );
    // More comes back than the system takes for it: it asks many times over one connection.
    let mut deaf = TcpStream::connect(door.address).await.unwrap();
    deaf.write_all(head.repeat(8).as_bytes()).await.unwrap();
    door.arbiter.settled(1).await;
    let free = async {
        loop {
            let mut next = TcpStream::connect(door.address).await.unwrap();
            let ask = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", door.address);
            drop(next.write_all(ask.as_bytes()).await);
            let mut answer = String::new();
            drop(next.read_to_string(&mut answer).await);
            if answer.starts_with("HTTP/1.1 200") {
                return;
            }
        }
    };
    timeout(PATIENCE, free).await.expect("its place is free again");
    drop(deaf);
}
