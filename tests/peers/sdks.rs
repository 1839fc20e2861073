//! SDK clients that nobody here wrote, and MCP Inspector, through the gate: before [five servers](crate::workshop), and the TypeScript
//! SDK's client also where the Python one is tried.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::remote::{Bank, may_read_alone, steps};
use crate::support::{Place, peer, text};
use crate::workshop::{ADDED, DROPPED, Workshop, was_told};
use crate::{Desk, SAID, blocked, granted, inspector, lines, names, python};

/// What the TypeScript client hands to its user, step by step.
pub(crate) fn typescript(mode: &str, steps: &Value, gate: &Value) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/client.mjs");
    let output = Command::new(peer("bin/node"))
        .arg(script)
        .arg(peer("node"))
        .args([mode, &steps.to_string(), &gate.to_string()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{mode}: {}", String::from_utf8_lossy(&output.stderr));
    lines(&output)
}

/// A list, once all servers are in it, and then the turns.
fn with_list(turns: &Value) -> Value {
    let mut steps = turns.clone();
    let all = json!({ "until": ["echo", "read_text_file", "create_entities", "git_commit", "write_query"] });
    steps.as_array_mut().unwrap().insert(0, all);
    steps
}

fn texts(results: &Value) -> Vec<&str> {
    results.as_array().unwrap().iter().map(|result| result["content"][0]["text"].as_str().unwrap()).collect()
}

/// Whether a client was shown and told what it is to be, and in the form that programs read.
fn went_on(seen: &[Value]) {
    let answers: Vec<Vec<&str>> = seen[1..].iter().map(texts).collect();
    was_told(&names(&seen[0]), &answers);
    assert_eq!(seen[2][1]["_meta"]["portcullis/replayed"], true, "{}", seen[2]);
    for refused in seen[3].as_array().unwrap() {
        assert_eq!(blocked(refused), "policy.no_grant");
    }
}

#[test]
fn the_typescript_client_runs_once_what_is_permitted_on_five_servers() {
    for mode in ["legacy", "auto"] {
        let workshop = Workshop::new();
        went_on(&typescript(mode, &with_list(&workshop.turns()), &json!({ "command": workshop.gate() })));
        workshop.ran_once_what_was_permitted();
    }
}

#[test]
fn over_http_the_typescript_client_runs_once_what_is_permitted_on_five_servers() {
    for mode in ["legacy", "auto"] {
        let workshop = Workshop::new();
        let endpoint = workshop.endpoint();
        went_on(&typescript(mode, &with_list(&workshop.turns()), &workshop.way_to(&endpoint)));
        endpoint.end();
        workshop.ran_once_what_was_permitted();
    }
}

#[test]
fn the_python_client_runs_once_what_is_permitted_on_five_servers() {
    let workshop = Workshop::new();
    let gate = workshop.gate();
    went_on(&python("legacy", &with_list(&workshop.turns()), &gate));
    workshop.ran_once_what_was_permitted();
}

fn the_typescript_client_meets_a_server_by_url(mode: &str) {
    let place = Place::demo();
    let bank = Bank::start(&place);
    let endpoint = Endpoint::start(&place.config_path, &["--url".into(), bank.url.clone()]);
    let gate = |agent: &str| json!({ "url": endpoint.url, "token": place.token(agent) });
    may_read_alone(&typescript(mode, &steps(), &gate("demo-agent")));
    let read = json!([["read_balance", { "account": "acme" }]]);
    assert_eq!(blocked(&typescript(mode, &read, &gate("stranger-agent"))[0]), "policy.no_grant");
    let journal = std::fs::read_to_string(place.path("journal")).unwrap();
    assert_eq!(journal, "read_balance acme\nread_balance globex\n");
    endpoint.end();
    assert_eq!(place.log().permits().len(), 2);
}

#[test]
fn over_http_the_typescript_client_with_a_session_runs_what_its_agent_is_permitted_and_nothing_else() {
    the_typescript_client_meets_a_server_by_url("legacy");
}

#[test]
fn over_http_the_typescript_client_without_a_session_runs_what_its_agent_is_permitted_and_nothing_else() {
    the_typescript_client_meets_a_server_by_url("2026-07-28");
}

#[test]
fn the_typescript_client_reads_and_is_blocked_from_writing() {
    for mode in ["legacy", "auto"] {
        let desk = Desk::new();
        let path = text(&desk.file);
        let around = format!("{}/../shared/note.txt", text(desk.shared()));
        let steps = json!([
            "list",
            "ping",
            ["read_text_file", { "path": path }],
            ["write_file", { "path": path, "content": "something else" }],
            ["wipe_everything", {}],
            ["read_text_file", { "path": around }],
        ]);
        let seen = typescript(mode, &steps, &json!({ "command": desk.gate() }));
        let direct =
            typescript(mode, &json!(["list"]), &json!({ "command": crate::files_server(desk.shared()) }));
        assert_eq!(seen[0], granted(&direct[0]), "the gate changes the list of tools");
        assert_eq!(seen[2]["content"][0]["text"], SAID, "{}", seen[2]);
        let codes: Vec<&str> = seen[3..].iter().map(blocked).collect();
        assert_eq!(codes, ["policy.no_grant", "surface.unknown", "request.not_canonical"], "{mode}");
        desk.untouched();
        assert_eq!(desk.recording.calls(), [("read_text_file".to_owned(), json!({ "path": path }))]);
    }
}

#[test]
fn inspector_runs_what_is_permitted_on_the_servers_of_a_memory_a_repository_and_a_database() {
    let workshop = Workshop::new();
    let call = |server: &str, tool: &str, given: &[String]| {
        let mut method = vec!["tools/call", "--tool-name", tool];
        given.iter().for_each(|word| method.extend(["--tool-arg", word]));
        let (ok, printed, errors) = inspector(&workshop.at(""), &workshop.gate_of(server), &method);
        let text = printed["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{printed} {errors}"));
        (ok, text.to_owned())
    };
    let entity = r#"entities=[{"name":"gate","entityType":"thing","observations":[]}]"#;
    assert!(call("memory", "create_entities", &[entity.to_owned()]).0);
    let repository = format!("repo_path={}", text(&workshop.at("repo")));
    let added = call("git", "git_add", &[repository, r#"files=["plan.txt"]"#.to_owned()]);
    assert!(added.1.contains("staged"), "{added:?}");
    assert!(call("sqlite", "write_query", &[format!("query={ADDED}")]).0);
    let (ok, told) = call("sqlite", "write_query", &[format!("query={DROPPED}")]);
    assert!(!ok && told.contains("policy.no_grant"), "{told}");
    assert_eq!(workshop.sql("SELECT * FROM orders"), "[('lamp',)]");
    let kept = std::fs::read_to_string(workshop.at("shared/memory.jsonl")).unwrap();
    assert!(kept.contains("\"gate\""), "{kept}");
}
