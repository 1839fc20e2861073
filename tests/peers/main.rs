//! Clients and servers that nobody here wrote, with the gate between them: MCP Inspector's CLI and the Python `mcp`
//! client, before `@modelcontextprotocol/server-filesystem`, under the bundle that `portcullis init` begins with.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod arguments;
mod conformance;
mod draft;
mod endpoint;
mod identity;
mod oauth;
mod remote;
mod sdks;
mod servers;
mod workshop;
mod wrap;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use support::{Recording, demo_server, files_server, peer, program, text};

const SAID: &str = "what the file says";

/// What a user has after `portcullis init`, with a directory to share.
struct Desk {
    folder: TempDir,
    config: PathBuf,
    file: PathBuf,
    recording: Recording,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let made = portcullis(&["init", &text(&folder.path().join("gate"))]);
        assert!(made.status.success(), "{made:?}");
        let shared = folder.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        let file = shared.join("note.txt");
        std::fs::write(&file, SAID).unwrap();
        let recording = Recording::new(&folder.path().join("recording"));
        Self { config: folder.path().join("gate/portcullis.toml"), file, recording, folder }
    }

    fn shared(&self) -> &Path {
        self.file.parent().unwrap()
    }

    /// What the client starts: the gate, with `tee` and the file server behind it.
    fn gate(&self) -> Vec<String> {
        let mut command =
            vec![text(&program()), "mcp".into(), "--config".into(), text(&self.config), "--".into()];
        command.extend(self.recording.of(&files_server(self.shared())));
        command
    }

    fn untouched(&self) {
        assert_eq!(std::fs::read_to_string(&self.file).unwrap(), SAID);
        assert_eq!(std::fs::read_dir(self.shared()).unwrap().count(), 1);
    }

    /// Exports every receipt and verifies them with nothing but the public key, as an auditor would. Each decision's
    /// word and reason, in order.
    fn audited(&self) -> Vec<(String, Option<String>)> {
        let config = text(&self.config);
        let receipts = self.folder.path().join("receipts");
        let exported = portcullis(&["receipts", "--config", &config, "export", &text(&receipts)]);
        assert!(exported.status.success(), "{exported:?}");
        let key = portcullis(&["keys", "--config", &config, "show"]);
        let key = String::from_utf8(key.stdout).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(receipts).unwrap().map(|entry| text(&entry.unwrap().path())).collect();
        files.sort();
        let mut verify = vec!["verify", "--json", "--key", key.trim()];
        verify.extend(files.iter().map(String::as_str));
        let verified = portcullis(&verify);
        assert!(verified.status.success(), "{verified:?}");
        let lines: Vec<Value> = lines(&verified);
        assert_eq!(lines.len(), files.len());
        let word = |line: &Value| {
            assert_eq!(line["verified"], true);
            let record = &line["record"];
            (record["decision"].as_str().unwrap().to_owned(), record["reason"].as_str().map(str::to_owned))
        };
        lines.iter().map(word).collect()
    }
}

fn portcullis(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What the Python client hands to its user, step by step.
fn python(mode: &str, steps: &Value, server: &[String]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/client.py");
    let output = Command::new(peer("py/bin/python"))
        .arg(script)
        .args([mode, &steps.to_string()])
        .args(server)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&output)
}

/// What MCP Inspector prints of one method, and whether it took it for a success.
fn inspector(folder: &Path, server: &[String], method: &[&str]) -> (bool, Value, String) {
    let config = folder.join("inspector.json");
    let entry = json!({ "mcpServers": { "it": { "command": server[0], "args": server[1..] } } });
    std::fs::write(&config, entry.to_string()).unwrap();
    let output = Command::new(peer("bin/inspector"))
        .args(["--cli", "--config", &text(&config), "--server", "it", "--method"])
        .args(method)
        .env("HOME", folder)
        .env("MCP_INSPECTOR_SECRET_STORE", "memory")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.success(), printed, errors)
}

/// A list of the file server's tools with those alone that the starter bundle's agent may be granted.
fn granted(listed: &Value) -> Value {
    let hidden = ["read_multiple_files", "write_file", "edit_file", "create_directory", "move_file"];
    let mut listed = listed.clone();
    let tools = listed["tools"].as_array_mut().unwrap();
    let before = tools.len();
    tools.retain(|tool| !hidden.contains(&tool["name"].as_str().unwrap()));
    assert!(before > tools.len() && tools.len() > 5, "{tools:?}");
    listed
}

fn names(listed: &Value) -> Vec<&str> {
    listed["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// The code of a blocked call, as the Python client shows it.
fn blocked(result: &Value) -> &str {
    assert_eq!(result["isError"], true, "{result}");
    let told = &result["_meta"]["portcullis/decision"];
    assert_eq!(told["enforcement"], "BLOCKED", "{result}");
    let code = told["reason"]["code"].as_str().unwrap();
    let sentence = result["content"][0]["text"].as_str().unwrap();
    assert!(
        sentence.contains(code) && sentence.contains(told["reason"]["remedy"].as_str().unwrap()),
        "{result}"
    );
    code
}

fn the_python_client_meets(mode: &str) {
    let desk = Desk::new();
    let path = text(&desk.file);
    let around = format!("{}/../shared/note.txt", text(desk.shared()));
    let steps = json!([
        "list",
        "ping",
        ["read_text_file", { "path": path }],
        ["write_file", { "path": path, "content": "something else" }],
        ["write_file", { "path": format!("{path}.new"), "content": "something else" }],
        ["wipe_everything", {}],
        ["read_text_file", { "path": around }],
        ["read_text_file", { "path": path }],
    ]);
    let seen = python(mode, &steps, &desk.gate());
    let direct = python(mode, &json!(["list"]), &files_server(desk.shared()));
    assert_eq!(seen[0], granted(&direct[0]), "the gate changes the list of tools");
    for read in [&seen[2], &seen[7]] {
        assert_eq!(read["content"][0]["text"], SAID, "{read}");
        assert_ne!(read["isError"], true, "{read}");
    }
    assert_eq!(blocked(&seen[3]), "policy.no_grant");
    assert_eq!(seen[3]["_meta"]["portcullis/decision"]["decision"], "DENY");
    assert_eq!(seen[3]["_meta"]["portcullis/decision"]["captured"], "logged");
    assert_eq!(blocked(&seen[4]), "policy.no_grant");
    assert_eq!(blocked(&seen[5]), "surface.unknown");
    assert_eq!(blocked(&seen[6]), "request.not_canonical");
    assert_eq!(seen[6]["_meta"]["portcullis/decision"]["captured"], "none");
    desk.untouched();
    let read = ("read_text_file".to_owned(), json!({ "path": path }));
    assert_eq!(desk.recording.calls(), vec![read; 2]);
    let said = |decision: &str, code: Option<&str>| (decision.to_owned(), code.map(str::to_owned));
    let expected = vec![
        said("PERMIT", None),
        said("DENY", Some("policy.no_grant")),
        said("DENY", Some("policy.no_grant")),
        said("SILENCE", Some("surface.unknown")),
        said("PERMIT", None),
    ];
    assert_eq!(desk.audited(), expected);
}

#[test]
fn the_python_client_reads_and_is_blocked_from_writing() {
    the_python_client_meets("legacy");
}

#[test]
fn the_python_client_that_negotiates_reads_and_is_blocked_from_writing() {
    the_python_client_meets("auto");
}

#[test]
fn inspector_lists_the_tools_as_the_server_has_them() {
    let desk = Desk::new();
    let (ok, gated, errors) = inspector(desk.folder.path(), &desk.gate(), &["tools/list"]);
    assert!(ok, "{errors}");
    let (ok, direct, errors) = inspector(desk.folder.path(), &files_server(desk.shared()), &["tools/list"]);
    assert!(ok, "{errors}");
    assert_eq!(gated, granted(&direct), "the gate changes the list of tools");
    assert_eq!(desk.recording.calls(), []);
}

#[test]
fn inspector_reads() {
    let desk = Desk::new();
    let path = format!("path={}", text(&desk.file));
    let method = ["tools/call", "--tool-name", "read_text_file", "--tool-arg", &path];
    let (ok, printed, errors) = inspector(desk.folder.path(), &desk.gate(), &method);
    assert!(ok, "{errors}");
    assert_eq!(printed["content"][0]["text"], SAID);
    assert_eq!(desk.recording.calls(), [("read_text_file".to_owned(), json!({ "path": text(&desk.file) }))]);
    // Inspector offers its own roots; the server's question for them is decided too, and not granted.
    assert_eq!(desk.audited().iter().filter(|(decision, _)| decision == "PERMIT").count(), 1);
    desk.untouched();
}

#[test]
fn inspector_does_not_write() {
    let desk = Desk::new();
    let path = format!("path={}", text(&desk.file));
    let content = "content=something else";
    let method = ["tools/call", "--tool-name", "write_file", "--tool-arg", &path, "--tool-arg", content];
    let (ok, printed, errors) = inspector(desk.folder.path(), &desk.gate(), &method);
    assert!(!ok, "{printed} {errors}");
    // It asks for what it is shown, and this tool is none of that.
    assert!(printed.is_null() && errors.contains("write_file"), "{printed} {errors}");
    assert_eq!(desk.recording.calls(), []);
    assert!(!desk.audited().iter().any(|(decision, _)| decision == "PERMIT"));
    desk.untouched();
    // Without the gate the same call writes.
    let (ok, printed, errors) = inspector(desk.folder.path(), &files_server(desk.shared()), &method);
    assert!(ok, "{printed} {errors}");
    assert_eq!(std::fs::read_to_string(&desk.file).unwrap(), "something else");
}

#[test]
fn inspector_does_not_read_around_a_corner() {
    let desk = Desk::new();
    let path = format!("path={}/../shared/note.txt", text(desk.shared()));
    let method = ["tools/call", "--tool-name", "read_text_file", "--tool-arg", &path];
    let (ok, printed, errors) = inspector(desk.folder.path(), &desk.gate(), &method);
    assert!(!ok, "{printed} {errors}");
    assert_eq!(desk.recording.calls(), []);
    // Without the gate the same call reads.
    let (ok, printed, errors) = inspector(desk.folder.path(), &files_server(desk.shared()), &method);
    assert!(ok, "{errors}");
    assert_eq!(printed["content"][0]["text"], SAID);
}

#[test]
fn the_demos_tool_server_speaks_mcp_to_the_python_client() {
    let folder = TempDir::new().unwrap();
    let journal = folder.path().join("journal");
    for mode in ["legacy", "auto"] {
        std::fs::write(&journal, "").unwrap();
        let steps = json!([
            "list",
            "ping",
            ["read_balance", { "account": "acme" }],
            ["charge", { "account": "acme", "amount": "12.50" }],
            ["wipe_everything", {}],
        ]);
        let seen = python(mode, &steps, &demo_server(&journal));
        assert_eq!(names(&seen[0]), ["read_balance", "charge", "delete_account"]);
        assert_eq!(seen[2]["content"][0]["text"], "the balance of acme is 1000.00");
        assert_eq!(seen[3]["content"][0]["text"], "charged 12.50 to acme");
        assert_eq!(seen[4]["isError"], true);
        assert_eq!(std::fs::read_to_string(&journal).unwrap().lines().count(), 2);
    }
}
