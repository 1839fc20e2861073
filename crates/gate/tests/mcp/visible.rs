//! What an agent is shown of a server's tools: what its arbiter says, on record, and nothing if that says nothing.

use portcullis_protocol::{Digest, ListingRecord, ReasonCode};
use serde_json::{Value, json};

use super::arbiter::Act;
use super::door::{Door, NEW, ONE, TWO};
use super::several::Several;
use super::support::{Gate, code, table, told};

fn tool(name: &str) -> Value {
    json!({ "name": name, "description": format!("It is {name}."), "inputSchema": { "type": "object" } })
}

/// A gate in front of a server with pages of these tools.
fn gate(pages: &[&[&str]]) -> Gate {
    let gate = Gate::start();
    let pages: Vec<Vec<Value>> =
        pages.iter().map(|page| page.iter().map(|name| tool(name)).collect()).collect();
    gate.offers(&json!({ "pages": pages }));
    gate
}

async fn list(gate: &mut Gate, params: Value) -> Value {
    let line = json!({ "jsonrpc": "2.0", "id": "l", "method": "tools/list", "params": params });
    gate.ask(&line.to_string()).await
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// The tools that each question for a list was about.
fn asked(gate: &Gate) -> Vec<Vec<String>> {
    let lists = gate.arbiter.lists.lock().unwrap();
    lists.iter().map(|call| call.tools.iter().map(ToString::to_string).collect()).collect()
}

async fn calls(gate: &mut Gate) -> usize {
    gate.journal().await.iter().filter(|line| line.contains("tools/call")).count()
}

#[tokio::test]
async fn a_hidden_tool_is_not_shown_and_its_call_is_decided_on_record_and_does_not_run() {
    let mut gate = gate(&[&["read", "write"]]);
    gate.arbiter.hide(&["rec/write"]);
    gate.arbiter.will(Act::PermitBut("rec.write", ReasonCode::PolicyNoGrant));
    let listed = list(&mut gate, json!({})).await;
    assert_eq!(listed["result"]["tools"], json!([tool("read")]));
    assert_eq!(asked(&gate), [["rec/read", "rec/write"]], "one question for the whole list");
    gate.told("hidden from this agent, to whom nothing grants them: 1 tools: `write`").await;
    let refused = gate.tool(2, "write", r#"{"path":"/a"}"#).await;
    assert_eq!((code(&refused), &told(&refused)["captured"]), ("policy.no_grant", &json!("logged")));
    assert_eq!(gate.arbiter.questions().len(), 1);
    assert_eq!(calls(&mut gate).await, 0);
    // Shown is not permitted, and hidden is not forbidden: the arbiter decides.
    gate.arbiter.will(Act::Permit);
    assert_eq!(gate.tool(3, "write", r#"{"path":"/a"}"#).await["result"]["isError"], false);
}

#[tokio::test]
async fn a_list_that_is_not_on_record_is_not_shown() {
    let mut gate = gate(&[&["read", "write"]]);
    for code_ in [ReasonCode::EvidenceUnwritable, ReasonCode::PolicyExpired, ReasonCode::IdentityUnknown] {
        *gate.arbiter.hides.lock().unwrap() = Err(code_);
        let refused = list(&mut gate, json!({})).await;
        assert_eq!(code(&refused), code_.as_str());
        assert!(refused.get("result").is_none() && !refused.to_string().contains("It is read"), "{refused}");
    }
    gate.arbiter.hide(&[]);
    type Forge = fn(&mut ListingRecord);
    let forges: [Forge; 4] = [
        |record| record.listing = Digest::sha256(b"another"),
        |record| record.agent = "other".parse().unwrap(),
        |record| record.shown.extend(["rec/more".parse().unwrap()]),
        |record| record.gate = "other".parse().unwrap(),
    ];
    for forge in forges {
        *gate.arbiter.forges.lock().unwrap() = Some(forge);
        assert_eq!(code(&list(&mut gate, json!({})).await), ReasonCode::ReceiptUnverifiable.as_str());
    }
    *gate.arbiter.forges.lock().unwrap() = None;
    assert_eq!(names(&list(&mut gate, json!({})).await), ["read", "write"]);
}

#[tokio::test]
async fn each_page_is_asked_about_once_and_by_itself() {
    let mut gate = gate(&[&["read", "a"], &["write", "b"]]);
    gate.arbiter.hide(&["rec/read", "rec/write"]);
    let first = list(&mut gate, json!({})).await;
    assert_eq!((names(&first), &first["result"]["nextCursor"]), (vec!["a"], &json!("1")));
    assert_eq!(names(&list(&mut gate, json!({ "cursor": "1" })).await), ["b"]);
    assert_eq!(asked(&gate), [["rec/a", "rec/read"], ["rec/b", "rec/write"]]);
}

#[tokio::test]
async fn names_that_no_bundle_can_have_are_hidden_and_counted() {
    let long = "x".repeat(129);
    let mut gate = gate(&[&["read", "a/b", &long]]);
    assert_eq!(names(&list(&mut gate, json!({})).await), ["read"]);
    assert_eq!(asked(&gate), [["rec/read"]]);
    assert_eq!(gate.arbiter.lists.lock().unwrap()[0].unnamed, 2);
}

#[tokio::test]
async fn more_tools_than_a_record_is_about_are_asked_about_in_parts() {
    let many: Vec<String> = (0..1_200).map(|number| format!("tool-{number:04}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut gate = gate(&[&many]);
    gate.arbiter.hide(&["rec/tool-0000", "rec/tool-1199"]);
    assert_eq!(names(&list(&mut gate, json!({})).await), many[1..1_199]);
    let asked: Vec<usize> = asked(&gate).iter().map(Vec::len).collect();
    assert_eq!(asked, [500, 500, 200]);
}

#[tokio::test]
async fn a_list_is_kept_by_its_client_alone_and_no_longer_than_it_holds() {
    let mut gate = gate(&[&[]]);
    let raw = r#"{ "tools" : [ {"name":"read","inputSchema":{"type":"object"}} ],"ttlMs":3600000,"cacheScope":"public","resultType":"complete"}"#;
    gate.offers(&json!({ "raw": raw }));
    // The revision with sessions knows no such thing: whatever the server says is passed on as it is.
    assert_eq!(list(&mut gate, json!({})).await["result"], serde_json::from_str::<Value>(raw).unwrap());
    let meta = format!("{{{NEW}}}");
    let listed = list(&mut gate, serde_json::from_str(&meta).unwrap()).await;
    assert_eq!(listed["result"]["cacheScope"], "private");
    assert!(listed["result"]["ttlMs"].as_u64().unwrap() <= 5_000, "{listed}");
    assert_eq!((names(&listed), &listed["result"]["resultType"]), (vec!["read"], &json!("complete")));
    // Nothing is made longer than the server says, and without its word it is nothing.
    for (said, ttl) in [(r#""ttlMs":0,"cacheScope":"public""#, 0), (r#""x":1"#, 0), (r#""ttlMs":1.5"#, 0)] {
        gate.offers(&json!({ "raw": format!(r#"{{"tools":[],{said}}}"#) }));
        let listed = list(&mut gate, serde_json::from_str(&meta).unwrap()).await;
        assert_eq!(
            (&listed["result"]["ttlMs"], &listed["result"]["cacheScope"]),
            (&json!(ttl), &json!("private"))
        );
    }
}

#[tokio::test]
async fn a_bundle_that_came_into_force_since_is_asked_at_once() {
    let mut gate = gate(&[&["read", "write"]]);
    assert_eq!(names(&list(&mut gate, json!({})).await), ["read", "write"]);
    gate.arbiter.hide(&["rec/write"]);
    *gate.arbiter.table.lock().unwrap() = Ok(table(2));
    assert_eq!(names(&list(&mut gate, json!({})).await), ["read"]);
    assert_eq!(asked(&gate).len(), 2);
}

#[tokio::test]
async fn two_who_share_an_endpoint_never_see_each_others_list() {
    let door = Door::open().await;
    let path = door.journal_path().path().join("journal.tools");
    std::fs::write(path, json!({ "pages": [[tool("read"), tool("write")]] }).to_string()).unwrap();
    for (token, hidden) in [(ONE, "rec/write"), (TWO, "rec/read")] {
        door.known.lock().unwrap().hides.insert(token.to_owned(), [hidden.to_owned()].into());
    }
    let line = r#"{"jsonrpc":"2.0","id":"l","method":"tools/list"}"#;
    let (one, two) = (door.session(ONE).await, door.session(TWO).await);
    for _ in 0..3 {
        assert_eq!(names(&one.post(line).await.json().await), ["read"]);
        assert_eq!(names(&two.post(line).await.json().await), ["write"]);
    }
    let line = format!(r#"{{"jsonrpc":"2.0","id":"l","method":"tools/list","params":{{{NEW}}}}}"#);
    let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")];
    for (token, shown) in [(ONE, "read"), (TWO, "write"), (ONE, "read")] {
        assert_eq!(names(&door.post(token, &headers, &line).await.json().await), [shown]);
    }
}

#[tokio::test]
async fn of_several_servers_a_hidden_tool_is_not_shown_and_its_own_gate_decides_its_call() {
    let mut several = Several::start(&[("one", &["read", "pay"]), ("two", &["read", "write"])]);
    several.gate.arbiter.hide(&["two/read", "two/write", "one/pay"]);
    several.gate.arbiter.will(Act::PermitBut("two.all", ReasonCode::PolicyNoGrant));
    assert_eq!(code(&several.call("write", json!({})).await), "tool.ambiguous", "nothing was listed");
    // Nobody sees two of that name.
    assert_eq!(several.listed().await, ["read"]);
    for name in ["write", "two__write", "two__read"] {
        let refused = several.call(name, json!({})).await;
        assert_eq!(
            (code(&refused), &told(&refused)["captured"]),
            ("policy.no_grant", &json!("logged")),
            "{name}"
        );
    }
    several.runs("read", "one", "read").await;
    let surfaces: Vec<String> =
        several.gate.arbiter.questions().iter().map(|call| call.request.surface.to_string()).collect();
    assert_eq!(surfaces, ["two.all", "two.all", "two.all", "one.all"]);
}
