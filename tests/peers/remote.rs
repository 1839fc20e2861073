//! A tool server that is reached by URL: the Python SDK's, over Streamable HTTP, with its client before the gate.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::process::kill;
use crate::support::{Gate, Place, peer, program, text};
use crate::{blocked, names, python};

/// The server, which tells in a file what it has done. Killed when dropped.
pub(crate) struct Bank {
    child: Child,
    pub(crate) url: String,
}

impl Bank {
    pub(crate) fn start(place: &Place) -> Self {
        Self::guarded(place, &[])
    }

    /// With a token it lets nobody in who does not show it.
    pub(crate) fn guarded(place: &Place, token: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/http_server.py");
        let mut child = Command::new(peer("py/bin/python"))
            .arg(script)
            .arg(place.file("journal", ""))
            .args(token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, url: format!("http://127.0.0.1:{}/mcp", port.trim()) }
    }
}

impl Drop for Bank {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A list, two reads, and between them what an agent that may read may not do.
pub(crate) fn steps() -> Value {
    json!([
        "list",
        ["read_balance", { "account": "acme" }],
        ["delete_account", { "account": "acme" }],
        ["wipe", {}],
        ["read_balance", { "account": "globex" }],
    ])
}

/// What an agent that may read is told of a list, two reads, and between them what it may not do.
pub(crate) fn may_read_alone(seen: &[Value]) {
    assert_eq!(names(&seen[0]), ["read_balance", "charge"]);
    for (read, account) in [(&seen[1], "acme"), (&seen[4], "globex")] {
        assert_ne!(read["isError"], true, "{read}");
        assert_eq!(read["content"][0]["text"], format!("the balance of {account} is 1000.00"));
    }
    assert_eq!(blocked(&seen[2]), "idempotency.key_missing");
    assert_eq!(blocked(&seen[3]), "surface.unknown");
}

fn the_python_client_meets(mode: &str) {
    let place = Place::demo();
    let bank = Bank::start(&place);
    let gate = ["mcp", "--config", &text(&place.config_path), "--url", &bank.url].map(str::to_owned);
    let gate: Vec<String> = std::iter::once(text(&program())).chain(gate).collect();
    let seen: Vec<Value> = python(mode, &steps(), &gate);
    may_read_alone(&seen);
    let journal = std::fs::read_to_string(place.path("journal")).unwrap();
    assert_eq!(journal, "read_balance acme\nread_balance globex\n");
}

#[test]
fn a_server_by_url_runs_what_is_permitted_and_nothing_else() {
    the_python_client_meets("legacy");
}

#[test]
fn a_server_by_url_of_the_stateless_era_runs_what_is_permitted_and_nothing_else() {
    the_python_client_meets("2026-07-28");
}

/// Entries of servers by URL as each client has them: the file, what is in it, and where.
const ENTRIES: [(&str, &str, &[&str]); 4] = [
    (
        ".mcp.json",
        r#"{"mcpServers": {"demo": {"type": "http", "url": "URL", "headers": {"Authorization": "Bearer sesame"}}}}"#,
        &["mcpServers", "demo"],
    ),
    (
        ".cursor/mcp.json",
        r#"{"mcpServers": {"demo": {"headers": {"Authorization": "Bearer sesame"}, "url": "URL"}}}"#,
        &["mcpServers", "demo"],
    ),
    (
        ".vscode/mcp.json",
        "{\n  \"servers\": {\n    // ours\n    \"demo\": {\n      \"type\": \"http\",\n      \"url\": \"URL\",\n      \
         \"headers\": { \"authorization\": \"bearer sesame\", },\n    },\n  },\n}\n",
        &["servers", "demo"],
    ),
    (
        "mcp_config.json",
        r#"{"mcpServers": {"demo": {"serverUrl": "URL", "disabled": false, "headers": {"Authorization": "Bearer sesame"}}}}"#,
        &["mcpServers", "demo"],
    ),
];

#[test]
fn an_entry_by_url_was_left_past_the_gate_and_runs_what_is_permitted_and_nothing_else_once_it_is_wrapped() {
    for (name, content, path) in ENTRIES {
        let place = Place::demo();
        let bank = Bank::guarded(&place, &["sesame"]);
        let file = place.path("home").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let content = content.replace("URL", &bank.url);
        std::fs::write(&file, &content).unwrap();
        let wrap = |more: &[&str]| {
            let (file, config) = (text(&file), text(&place.config_path));
            let ended = crate::portcullis(&[&["wrap", &file, "--config", &config], more].concat());
            assert!(ended.status.success(), "{name}: {ended:?}");
        };
        wrap(&[]);
        assert!(!std::fs::read_to_string(&file).unwrap().contains("sesame"), "{name}");
        let steps = json!([
            "list",
            ["read_balance", { "account": "acme" }],
            ["delete_account", { "account": "acme" }],
            ["wipe", {}],
        ]);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/wrapped.py");
        let form = if name.contains("vscode") { "jsonc" } else { "json" };
        let mut command = Command::new(peer("py/bin/python"));
        command.args([script, form, &text(&file), &json!(path).to_string(), &steps.to_string()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let seen = crate::lines(&output);
        assert_eq!(names(&seen[0]), ["read_balance", "charge"], "{name}");
        assert_eq!(seen[1]["content"][0]["text"], "the balance of acme is 1000.00", "{name}");
        assert_eq!(blocked(&seen[2]), "idempotency.key_missing", "{name}");
        assert_eq!(blocked(&seen[3]), "surface.unknown", "{name}");
        let journal = std::fs::read_to_string(place.path("journal")).unwrap();
        assert_eq!(journal, "read_balance acme\n", "{name}");
        wrap(&["--undo"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content, "{name}");
    }
}

#[test]
fn a_draft_of_a_server_by_url_names_its_tools_and_calls_none() {
    let place = Place::demo();
    let bank = Bank::guarded(&place, &["sesame"]);
    let token = place.file("bank.token", "sesame");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let draft = text(&place.path("draft"));
    let asked = ["policy", "draft", "--server", "bank", "-o", &draft, "--from-url", &bank.url];
    let refused = crate::portcullis(&asked);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("status 401"), "{said}");
    let drafted = crate::portcullis(&[&asked[..], &["--token-file", &text(&token)]].concat());
    assert!(drafted.status.success(), "{drafted:?}");
    let surfaces = std::fs::read_to_string(place.path("draft/bundle.toml")).unwrap();
    for tool in ["bank.read_balance", "bank.delete_account", "bank.wipe"] {
        assert!(surfaces.contains(tool), "{surfaces}");
    }
    assert_eq!(std::fs::read_to_string(place.path("journal")).unwrap(), "");
}

#[test]
fn a_token_that_a_server_says_back_is_in_no_answer_note_record_or_kept_result() {
    const TOKEN: &str = "sesame-xyz7/9";
    let place = Place::demo();
    let bank = Bank::guarded(&place, &[TOKEN]);
    let token = place.file("keys/bank.token", TOKEN);
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = Command::new(program());
    command.args([
        "mcp",
        "--config",
        &text(&place.config_path),
        "--url",
        &bank.url,
        "--token-file",
        &text(&token),
    ]);
    let mut gate = Gate::connect(command);
    gate.handshake();
    let arguments = json!({ "account": "acme", "amount": "12.50" });
    let ran = gate.call_with("charge", &arguments, Some("k"));
    assert_eq!(ran.ran(), "charged 12.50 to acme with ***");
    // What is kept lies encrypted in the vault: this is how it comes out of it.
    let again = gate.call_with("charge", &arguments, Some("k"));
    assert!(again.is_replay() && again.0.to_string().contains("acme with ***"), "{}", again.0);
    let notes = gate.notes.text();
    assert!(gate.end().success());
    std::fs::remove_file(&token).unwrap();
    let told = [notes, ran.0.to_string(), again.0.to_string()].concat();
    assert!(!told.contains("xyz7"), "{told}");
    assert_eq!(std::fs::read_to_string(place.path("journal")).unwrap(), "charge acme 12.50\n");
    let (mut folders, mut files) = (vec![place.path("")], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                files += 1;
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
                assert!(!found, "{}", entry.path().display());
            }
        }
    }
    assert!(files > 10, "records were looked through");
}
