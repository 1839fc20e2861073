//! Several tool servers behind the endpoint, in both eras, and one that is reached by URL.

use portcullis_gate::{NamedServer, RemoteServer, ToolServer, Trust};
use portcullis_protocol::{Outcome, ToolPins};
use serde_json::{Value, json};

use super::door::{Door, NEW, ONE, OTHER, TWO, call, headers, ran};
use super::several::{Several, offer, table, tools};
use super::support::{beside, code, example, local, told};

/// An endpoint in front of `rec`, which has the door's journal, and `two`.
async fn door() -> Door {
    let door = Door::with(|endpoint| {
        let journal = std::path::PathBuf::from(local(&mut endpoint.gate).command[1].clone());
        let folder = journal.parent().unwrap();
        offer(folder, "journal", &tools(&["read", "write"]));
        offer(folder, "two", &tools(&["read", "die"]));
        let two = vec![example("recording_server").into(), folder.join("two").into()];
        endpoint.gate.beside = vec![beside("two", two)];
    })
    .await;
    *door.arbiter.table.lock().unwrap() = Ok(table(&["rec", "two"], ToolPins::none()));
    door
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

fn of_two(door: &Door) -> Vec<String> {
    let text = std::fs::read_to_string(door.journal_path().path().join("two")).unwrap_or_default();
    text.lines().filter(|line| line.contains("tools/call")).map(str::to_owned).collect()
}

#[tokio::test]
async fn in_a_session_a_server_dies_and_comes_again_while_the_others_go_on() {
    let door = door().await;
    let session = door.session(ONE).await;
    let listed = session.post(r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#).await.json().await;
    assert_eq!(names(&listed), ["rec__read", "write", "two__read", "die"]);
    assert_eq!(session.tool("1", "rec__read").await, ran(&json!(1), "read"));
    assert_eq!(session.tool("2", "two__read").await, ran(&json!(2), "read"));
    assert_eq!((door.calls().len(), of_two(&door).len()), (1, 1));
    let mut own = session.listen(None).await;
    assert_eq!(told(&session.tool("3", "die").await)["outcome"], "unknown");
    assert_eq!(session.tool("4", "write").await, ran(&json!(4), "write"));
    let mut said = own.event().await.unwrap().data;
    while said.is_null() {
        said = own.event().await.unwrap().data;
    }
    assert_eq!(said["method"], "notifications/tools/list_changed");
    door.told_times("two: it is ready", 2).await;
    assert_eq!(session.tool("5", "two__read").await, ran(&json!(5), "read"));
    assert_eq!(of_two(&door).len(), 3);
    let outcomes = door.arbiter.settled(5).await;
    assert_eq!(outcomes.iter().filter(|(outcome, _)| *outcome == Outcome::Unknown).count(), 1);
}

#[tokio::test]
async fn without_a_session_names_are_those_that_the_tokens_own_conversation_was_shown() {
    let door = door().await;
    let body = |tool: &str| call("7", tool, &format!(",{NEW}"));
    let refused = door.post(ONE, &headers("write"), &body("write")).await.answer().await;
    assert_eq!(code(&refused), "tool.ambiguous");
    assert_eq!(refused["result"]["resultType"], "complete");
    let list = format!(r#"{{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{{{NEW}}}}}"#);
    let listing = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    let listed = door.post(ONE, &listing, &list).await.json().await;
    assert_eq!(names(&listed), ["rec__read", "write", "two__read", "die"]);
    let rest = (&listed["result"]["ttlMs"], &listed["result"]["cacheScope"], &listed["result"]["resultType"]);
    assert_eq!(rest, (&json!(0), &json!("private"), &json!("complete")));
    let answer = door.post(ONE, &headers("write"), &body("write")).await.answer().await;
    assert_eq!(answer["result"]["content"][0]["text"], "write");
    // Another token's conversation was shown nothing.
    for token in [TWO, OTHER] {
        let refused = door.post(token, &headers("write"), &body("write")).await.answer().await;
        assert_eq!(code(&refused), "tool.ambiguous");
    }
    let answer = door.post(TWO, &headers("two__read"), &body("two__read")).await.answer().await;
    assert_eq!(answer["result"]["content"][0]["text"], "read");
    assert_eq!((door.calls().len(), of_two(&door).len()), (1, 1));
}

#[tokio::test]
async fn a_server_by_url_that_cannot_be_reached_leaves_the_others() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", unused.local_addr().unwrap());
    drop(unused);
    let mut several = Several::with(&[("one", &["read"])], |config| {
        let remote =
            RemoteServer { url: url.parse().unwrap(), trust: Trust::System, credential: None, slots: None };
        config.beside = vec![NamedServer { name: "two".into(), server: ToolServer::Remote(remote) }];
    });
    *several.gate.arbiter.table.lock().unwrap() = Ok(table(&["one", "two"], ToolPins::none()));
    for _ in 0..5 {
        assert_eq!(code(&several.call("two__read", json!({})).await), "upstream.unavailable");
    }
    several.gate.told("two: it cannot be reached").await;
    several.gate.told("two: failing: it is started again in").await;
    let outcomes = several.gate.arbiter.settled(several.gate.arbiter.questions().len()).await;
    assert!(outcomes.iter().all(|(outcome, _)| *outcome == Outcome::Expired), "{outcomes:?}");
    assert_eq!(several.begin().await["protocolVersion"], "2025-11-25");
    assert_eq!(several.listed().await, ["read"]);
    several.runs("read", "one", "read").await;
    several.gate.told("two: it does not begin").await;
}
