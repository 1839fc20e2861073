//! What agents see of a server's tools: on record once, before they see it, and hidden where nothing grants it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_policy::bundles;
use portcullis_protocol::{ListingRecord, ReasonCode, Record};
use serde_json::{Value, json};

use crate::facts::Scene;
use crate::forged::{rewrite, sound, the};
use crate::replay::{found, replay, sql};
use crate::support::arbiter::Notes;
use crate::support::http::{Server, request};
use crate::support::process::{kill, pull};
use crate::support::{Daemon, Gate, Place, demo_server, program, text};
use crate::with;

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// The names that a gate shows its client.
fn shown(gate: &mut Gate) -> Vec<String> {
    names(&gate.request("tools/list", json!({}))).into_iter().map(str::to_owned).collect()
}

/// The lists on record.
fn lists(place: &Place) -> Vec<ListingRecord> {
    let listing = |record| if let Record::Listing(listing) = record { Some(*listing) } else { None };
    place.log().records.into_iter().filter_map(listing).collect()
}

fn own(tools: &std::collections::BTreeSet<portcullis_protocol::ToolName>) -> Vec<&str> {
    tools.iter().map(|tool| tool.parts().1).collect()
}

fn demo_gate(place: &Place) -> Gate {
    Gate::start(&place.config_path, &demo_server(&place.path("journal")))
}

/// The tools that ran, by the server's own journal.
fn journal(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("journal")).unwrap();
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["tool"].as_str().unwrap().to_owned();
    text.lines().map(line).collect()
}

/// The demo's deployment with other policies, and `demo-agent` in group `tellers`.
fn grouped(policies: &str) -> Place {
    let mut bundle = bundles::demo();
    bundle.retain(|path, _| !path.starts_with("tests/"));
    let mut edit = |path: &str, from: &str, to: &str| {
        let text = String::from_utf8(bundle[path].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        bundle.insert(path.into(), text.replacen(from, to, 1).into_bytes());
    };
    edit("bundle.toml", "\nversion = 1\n", "\nversion = 1\nuntested = true\n");
    edit("schema.cedarschema", "entity Agent;", "entity Group;\nentity Agent in [Group];");
    let member = r#""id": "demo-agent" }, "attrs": {}, "parents": [{ "type": "Group", "id": "tellers" }] }"#;
    edit("entities.json", r#""id": "demo-agent" }, "attrs": {}, "parents": [] }"#, member);
    edit(
        "entities.json",
        "[",
        r#"[ { "uid": { "type": "Group", "id": "tellers" }, "attrs": {}, "parents": [] },"#,
    );
    bundle.insert("policies/demo.cedar".into(), policies.into());
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

#[test]
fn a_hidden_tool_is_not_listed_and_its_call_is_refused_on_record_and_did_not_run() {
    let place = Place::demo();
    let mut gate = demo_gate(&place);
    assert_eq!(shown(&mut gate), ["read_balance", "charge"]);
    let refused = gate.call_with("delete_account", &json!({ "account": "acme" }), Some("k"));
    assert_eq!(refused.code(), "policy.forbidden");
    assert_eq!(refused.told().unwrap()["captured"], "logged");
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    assert_eq!(journal(&place), ["read_balance"]);
    let lists = lists(&place);
    assert_eq!(lists.len(), 1, "one record for the whole list");
    let list = &lists[0];
    assert_eq!((list.agent.as_str(), list.server.as_str()), ("demo-agent", "demo"));
    assert_eq!(
        (own(&list.shown), own(&list.hidden)),
        (vec!["charge", "read_balance"], vec!["delete_account"])
    );
    assert_eq!(place.log().refusals(), [ReasonCode::PolicyForbidden]);
    // What was shown is answered again from bundle and record alone, and any reader can tell it.
    let (ended, said) = replay(&place, &[]);
    assert_eq!(
        (ended.code, &said["findings"], &said["lists"]["identical"]),
        (0, &json!([]), &json!(1)),
        "{said}"
    );
    with(&place.config_path, &["log", "check"]).ok();
    let receipt = place.file("list.tlog-proof", &place.receipt(list.seq));
    let key = place.config.log_key.to_string();
    let said = crate::run(&["verify", &text(&receipt), "--key", &key]);
    assert!(said.ok().contains("hidden  1: [delete_account]"), "{said:?}");
}

#[test]
fn a_grant_to_a_group_shows_and_a_forbid_without_conditions_hides() {
    let place = grouped(
        r#"@id("tellers") permit (principal in Group::"tellers", action, resource);
        @id("no-charge") forbid (principal, action == Action::"demo.charge", resource);
        @id("not-at-night") forbid (principal, action == Action::"demo.delete_account", resource) when { context.account == "night" };"#,
    );
    let mut gate = demo_gate(&place);
    assert_eq!(shown(&mut gate), ["read_balance", "delete_account"]);
    let charge = json!({ "account": "acme", "amount": "1.00" });
    assert_eq!(gate.call_with("charge", &charge, Some("k")).code(), "policy.forbidden");
    assert!(gate.end().success());
    sound(&place);
}

/// `portcullis mcp --listen` before the demo's server. Killed when dropped.
struct Door {
    child: Child,
    server: Server,
}

impl Door {
    fn open(place: &Place, config: &Path) -> Self {
        let mut child = Command::new(program())
            .args(["mcp", "--config", &text(config), "--listen", "127.0.0.1:0", "--host", "arbiter", "--"])
            .args(demo_server(&place.path("journal")))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = Notes::of(&mut child).told("listening on http://");
        let address = told.split("http://").nth(1).unwrap().trim_end_matches("/mcp").to_owned();
        Self { child, server: Server::Tcp(address) }
    }

    /// What a client of the revision without sessions is answered.
    fn ask(&self, token: &str, method: &str, params: &Value) -> Value {
        let mut params = params.clone();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let bearer = format!("Bearer {token}");
        let name = params["name"].as_str().unwrap_or_default().to_owned();
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        headers.extend(Some(("mcp-name", name.as_str())).filter(|_| !name.is_empty()));
        let response = request(&self.server, "POST", "/mcp", &headers, body.as_bytes()).unwrap();
        let data = response
            .body
            .lines()
            .find_map(|line| line.strip_prefix("data:").filter(|it| it.contains("jsonrpc")));
        let json = data.or_else(|| response.body.lines().find(|line| line.starts_with('{')));
        serde_json::from_str(json.unwrap_or_else(|| panic!("{response:?}"))).unwrap()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

#[test]
fn two_agents_of_one_endpoint_see_different_lists_and_never_each_others() {
    let place = grouped(
        r#"@id("tellers") permit (principal in Group::"tellers", action == Action::"demo.charge", resource);
        @id("strangers") permit (principal == Agent::"stranger-agent", action == Action::"demo.read_balance", resource);"#,
    );
    let daemon = Daemon::start(&place);
    let door = Door::open(&place, &place.elsewhere(&place.socket_url()));
    let tokens = [place.token("demo-agent"), place.token("stranger-agent")];
    for _ in 0..2 {
        for (token, tool) in tokens.iter().zip(["charge", "read_balance"]) {
            let listed = door.ask(token, "tools/list", &json!({}));
            assert_eq!(names(&listed), [tool]);
            assert_eq!(listed["result"]["cacheScope"], "private");
            assert!(listed["result"]["ttlMs"].as_u64().unwrap() <= 5_000, "{listed}");
        }
    }
    let call = json!({ "name": "read_balance", "arguments": { "account": "acme" } });
    let refused = door.ask(&tokens[0], "tools/call", &call);
    assert_eq!(
        refused["result"]["structuredContent"]["portcullis"]["reason"]["code"], "policy.no_grant",
        "{refused}"
    );
    assert!(journal(&place).is_empty());
    let ran = door.ask(&tokens[1], "tools/call", &call);
    assert_eq!(ran["result"]["content"][0]["text"], "the balance of acme is 1000.00", "{ran}");
    assert_eq!(journal(&place), ["read_balance"]);
    drop(door);
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    for (agent, tool) in [("demo-agent", "charge"), ("stranger-agent", "read_balance")] {
        let lists = lists(&place);
        let of: Vec<_> = lists.iter().filter(|list| list.agent.as_str() == agent).collect();
        assert!(!of.is_empty() && of.iter().all(|list| own(&list.shown) == [tool]), "{of:?}");
    }
    sound(&place);
}

#[test]
fn no_list_is_shown_that_cannot_be_put_on_record() {
    let place = Place::demo();
    let mut gate = demo_gate(&place);
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    place.settle();
    for (path, code) in [
        (place.signing_key(), "signer.unavailable"),
        (place.config.anchor.clone(), "evidence.anchor_unwritable"),
        (place.config.bundle.clone(), "policy.missing"),
    ] {
        let away = pull(&path);
        let refused = gate.request("tools/list", json!({}));
        assert_eq!(refused["error"]["data"]["portcullis"]["reason"]["code"], code, "{refused}");
        assert!(!refused.to_string().contains("charge"), "{refused}");
        away.back();
        place.ready();
    }
    with(&place.config_path, &["shut", "--reason", "a drill"]).ok();
    let refused = gate.request("tools/list", json!({}));
    assert_eq!(refused["error"]["data"]["portcullis"]["reason"]["code"], "gate.shut", "{refused}");
    with(&place.config_path, &["open"]).ok();
    assert_eq!(shown(&mut gate), ["read_balance", "charge"]);
    assert!(gate.end().success());
    assert_eq!(lists(&place).len(), 1);
    sound(&place);
}

#[test]
fn a_list_said_to_have_hidden_or_shown_otherwise_is_named_by_replay() {
    let place = Place::demo();
    let mut gate = demo_gate(&place);
    shown(&mut gate);
    for _ in 0..4 {
        gate.call("read_balance", json!({ "account": "acme" })).ran();
    }
    assert!(gate.end().success());
    sound(&place);
    let seq = the(&place, |record| matches!(record, Record::Listing(_)));
    let hides = "it does not hide what its bundle hides: ";
    let [none, all, some] = [
        "json('[]')",
        r#"json('["demo/charge","demo/delete_account","demo/read_balance"]')"#,
        r#"json('["demo/charge"]')"#,
    ];
    for (body, words) in [
        (
            format!("json_set(BODY, '$.shown', {all}, '$.hidden', {none})"),
            format!("{hides}`demo/delete_account`"),
        ),
        (
            format!("json_set(BODY, '$.shown', {none}, '$.hidden', {all})"),
            format!("{hides}`demo/charge`, `demo/read_balance`"),
        ),
        // One of them is not spoken of any more, and nobody asked for that.
        (format!("json_set(BODY, '$.hidden', {some}, '$.shown', {none})"), format!("{hides}`demo/charge`")),
        ("json_set(BODY, '$.agent', 'stranger-agent')".to_owned(), hides.to_owned()),
        ("json_set(BODY, '$.agent', 'nobody-here')".to_owned(), "does not know its agent".to_owned()),
    ] {
        let forged = place.copied();
        rewrite(&forged, &body, &format!("seq = {seq}"));
        let (ended, said) = replay(&forged, &["--without-key"]);
        let found = found(&said);
        assert!(
            found.iter().any(|(record, what)| *record == Some(seq) && what.contains(&words)),
            "{body}: {found:?}"
        );
        assert_eq!((ended.code, &said["lists"]["different"]), (1, &json!(1)), "{said}");
    }
}

#[test]
fn a_list_by_a_bundle_that_was_not_in_force_or_while_the_gate_was_shut_is_no_list() {
    let place = Place::demo();
    let mut gate = demo_gate(&place);
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    with(&place.config_path, &["shut", "--reason", "a drill"]).ok();
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "gate.shut");
    with(&place.config_path, &["open"]).ok();
    shown(&mut gate);
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    sound(&place);
    let list = lists(&place).remove(0);
    let reopened = the(
        &place,
        |record| matches!(record, Record::Event(event) if event.event == portcullis_protocol::Event::Reopened),
    );
    for (body, which, words) in [
        (
            format!("replace(BODY, '{}', 'sha256:{}')", list.bundle.digest, "0".repeat(64)),
            list.seq,
            "the bundle that decided it was not in force there",
        ),
        (
            "json_set(BODY, '$.event', 'key_added')".to_owned(),
            reopened,
            "it says that the gate was open, and an operator had shut it",
        ),
    ] {
        let forged = place.copied();
        rewrite(&forged, &body, &format!("seq = {which}"));
        crate::forged::named(&forged, list.seq, words);
    }
}

/// Whoever writes the log could show and hide at will: a list by facts that never were passed for one whose facts were kept for
/// their time.
#[test]
fn a_list_whose_facts_are_not_there_was_taken_for_one_whose_time_was_over() {
    let scene = Scene::new(5, "");
    let place = &scene.place;
    let daemon = Daemon::start(place);
    let mut gate = scene.gate();
    shown(&mut gate);
    for _ in 0..4 {
        gate.call("read_balance", json!({ "account": "acme" })).ran();
    }
    gate.end();
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    sound(place);
    let seq = the(place, |record| matches!(record, Record::Listing(_)));
    let named = |forged: &Place, words: &str| {
        let (ended, said) = replay(forged, &["--without-key"]);
        let found = found(&said);
        let named = found.iter().any(|(record, what)| *record == Some(seq) && what.contains(words));
        assert!(ended.code == 1 && named, "{words}: {said}");
    };
    let early = "the facts that it names are not there, and were to be kept for longer";
    let forged = place.copied();
    let never = portcullis_protocol::Digest::sha256(b"what no directory ever said");
    rewrite(
        &forged,
        &format!("json_set(BODY, '$.sources.directory.digest', '{never}')"),
        &format!("seq = {seq}"),
    );
    named(&forged, early);

    let gone = place.copied();
    sql(&gone, "DELETE FROM snapshots");
    sql(&gone, "DELETE FROM snapshot_uses");
    named(&gone, early);

    let erase = ["payloads", "erase", "--facts", "directory", "--reason", "asked to"];
    with(&place.config_path, &erase).ok();
    sound(place);
    let order = the(place, |record| matches!(record, Record::Event(event) if event.order.is_some()));
    let other = "json_remove(json_set(BODY, '$.event', 'key_added'), '$.order')";
    let unordered = place.copied();
    rewrite(&unordered, other, &format!("seq = {order}"));
    named(&unordered, "its facts of source `directory` were destroyed, and no erasure of them is on record");
}
