//! `portcullis policy draft`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Gate, Place, demo_server, program, signal, text, until};
use crate::{run, with};

/// A folder to draft into, and a server that says what a test wants.
struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that answers the handshake and then, one after the other, the given results of `tools/list`; then it
    /// stays until its input ends.
    fn server(&self, pages: &[Value]) -> String {
        let mut script = String::from("read hello\n");
        let mut say = |text: &str| script.push_str(&format!("cat <<'END'\n{text}\nEND\n"));
        say(r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#);
        script.push_str("read ready\n");
        for (id, page) in (2..).zip(pages) {
            script.push_str("read asked\n");
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": page });
            script.push_str(&format!("cat <<'END'\n{answer}\nEND\n"));
        }
        script.push_str("while read more; do :; done\n");
        self.script("server.sh", &script)
    }

    fn script(&self, name: &str, script: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, script).unwrap();
        format!("sh '{}'", text(&path))
    }

    fn draft(&self, server: &str, more: &[&str]) -> crate::Ended {
        let output = text(&self.path("out"));
        let arguments = ["policy", "draft", "--from-mcp", server, "--server", "s", "-o", &output];
        run(&[&arguments, more].concat())
    }

    /// That nothing was left: no bundle, and no part of one.
    fn nothing_left(&self) {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.iter().all(|name| name.ends_with(".sh") || name.ends_with(".pid")), "{names:?}");
    }
}

fn change(path: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    assert!(before.contains(from), "`{from}` is not in {before}");
    std::fs::write(path, before.replace(from, to)).unwrap();
}

#[test]
fn from_a_servers_tools_to_a_signed_bundle_that_permits_the_one_call_that_was_uncommented() {
    let place = Place::demo();
    let journal = place.path("journal");
    let server = demo_server(&journal);
    let command = server.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let bundle = place.config.bundle.clone();
    std::fs::remove_dir_all(&bundle).unwrap();
    let at = text(&bundle);
    let drafted = with(
        &place.config_path,
        &["policy", "draft", "--from-mcp", &command, "--agent", "demo-agent", "-o", &at, "--json"],
    );
    let said: Value = serde_json::from_str(drafted.ok()).unwrap();
    assert_eq!(said["surfaces"], json!(["demo.charge", "demo.delete_account", "demo.read_balance"]));
    assert_eq!(said["grants_in_comments"], 3);
    assert_eq!(std::fs::read_to_string(&journal).unwrap_or_default(), "", "drafting called a tool");
    run(&["bundle", "check", &at]).ok();
    run(&["bundle", "test", &at, "--strict"]).ok();

    let signed = || {
        with(&place.config_path, &["bundle", "sign"]).ok();
        with(&place.config_path, &["bundle", "pin"]).ok();
    };
    signed();
    let mut gate = Gate::start(&place.config_path, &server);
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "policy.no_grant");
    assert_eq!(gate.call("delete_account", json!({ "account": "acme" })).code(), "policy.no_grant");
    assert!(gate.end().success());

    let grants = bundle.join("policies/grants.cedar");
    change(&grants, "//@id(\"demo.read_balance\")\n//permit", "@id(\"demo.read_balance\")\npermit");
    change(&bundle.join("bundle.toml"), "version = 1", "version = 2");
    // The cases still say that everything is refused.
    let tested = run(&["bundle", "test", &at]);
    assert!(tested.code == 1 && tested.out.contains("FAILED"), "{tested:?}");
    signed();
    let mut gate = Gate::start(&place.config_path, &server);
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(gate.call("charge", json!({ "account": "acme", "amount": "1.00" })).code(), "policy.no_grant");
    assert_eq!(gate.call("delete_account", json!({ "account": "acme" })).code(), "policy.no_grant");
    assert!(gate.end().success());
    let ran = std::fs::read_to_string(&journal).unwrap();
    assert!(ran.lines().count() == 1 && ran.contains("read_balance"), "{ran}");
}

#[test]
fn pages_are_followed_and_tools_that_could_be_mistaken_are_named() {
    let scene = Scene::new();
    let server = scene.server(&[
        json!({ "tools": [{ "name": "one" }], "nextCursor": "\"b" }),
        json!({ "tools": [{ "name": "two" }, { "name": "tw\u{200b}o" }] }),
    ]);
    let drafted = scene.draft(&server, &["--json"]);
    let said: Value = serde_json::from_str(drafted.ok()).unwrap();
    assert_eq!(said["surfaces"], json!(["s.one", "s.two"]));
    assert_eq!(said["left_out"][0]["what"], "\"tw\\u{200b}o\"");
    let shown = run(&["bundle", "test", "--strict", &text(&scene.path("out"))]);
    assert_eq!(shown.code, 0, "{shown:?}");
}

#[test]
fn nothing_is_written_over_and_an_empty_directory_will_do() {
    let scene = Scene::new();
    let server = scene.server(&[json!({ "tools": [{ "name": "one" }] })]);
    let out = scene.path("out");
    std::fs::create_dir(&out).unwrap();
    assert_eq!(scene.draft(&server, &[]).code, 0);
    let manifest = std::fs::read(out.join("bundle.toml")).unwrap();
    scene.draft(&server, &[]).failed("is not empty");
    assert_eq!(std::fs::read(out.join("bundle.toml")).unwrap(), manifest);
    std::fs::remove_dir_all(&out).unwrap();
    std::fs::write(&out, "a file").unwrap();
    assert_eq!(scene.draft(&server, &[]).code, 1);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "a file");
    std::fs::remove_file(&out).unwrap();
    std::os::unix::fs::symlink(scene.path("elsewhere"), &out).unwrap();
    assert_eq!(scene.draft(&server, &[]).code, 1);
    std::fs::remove_file(&out).unwrap();
    scene.nothing_left();
}

#[test]
fn a_server_that_does_not_say_what_it_has_drafts_nothing() {
    let scene = Scene::new();
    let circle = json!({ "tools": [{ "name": "one" }], "nextCursor": "a" });
    for (pages, words) in [
        (vec![json!({ "tools": "none" })], "has no array `tools`"),
        (vec![json!({ "tools": [] })], "nothing in it can have a surface"),
        (vec![json!({ "tools": [{ "name": "\u{202e}" }] })], "nothing in it can have a surface: 1 left out"),
        (vec![circle.clone(), circle.clone(), circle], "lead back"),
    ] {
        scene.draft(&scene.server(&pages), &[]).failed(words);
        scene.nothing_left();
    }
    let answers = |answer: &str| {
        scene.script(
            "odd.sh",
            &format!("read hello\ncat <<'END'\n{answer}\nEND\nwhile read more; do :; done\n"),
        )
    };
    let twice = answers(r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#);
    scene.draft(&twice, &[]).failed("`initialize` is not understood: key `a` occurs twice");
    let refuses =
        answers("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-1,\"message\":\"\u{202e}no\"}}");
    let refused = scene.draft(&refuses, &[]);
    refused.failed("refuses `initialize`");
    assert!(!refused.err.contains('\u{202e}'), "{refused:?}");
    scene.draft("true", &[]).failed("ended before it had listed");
    scene.draft("/nowhere/at-all", &[]).failed("ended before it had listed");
    scene.draft("'unclosed", &[]).failed("quotation marks");
    scene.draft("", &[]).failed("needs a command");
    run(&["policy", "draft", "-o", "out"]).failed("--from-mcp");
    scene.nothing_left();
}

#[test]
fn a_server_that_is_drafted_from_sees_nothing_of_the_gates_and_is_ended() {
    let scene = Scene::new();
    let (seen, pid) = (scene.path("seen.pid"), scene.path("own.pid"));
    let script = format!("env > '{}'\necho $$ > '{}'\nexec sleep 1000\n", text(&seen), text(&pid));
    let server = scene.script("hangs.sh", &script);
    let mut command = Command::new(program());
    let output = text(&scene.path("out"));
    command.args(["policy", "draft", "--from-mcp", &server, "--server", "s", "-o", &output]);
    command.env("PORTCULLIS_SECRET", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    let mut drafting =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let started = || std::fs::read_to_string(&pid).ok()?.trim().parse::<i32>().ok();
    let server = until("the server's start", started);
    signal(&drafting, Signal::INT);
    assert_eq!(until("the end of drafting", || drafting.try_wait().unwrap()).code(), Some(1));
    let alive =
        || rustix::process::test_kill_process(rustix::process::Pid::from_raw(server).unwrap()).is_ok();
    until("the end of the server", || (!alive()).then_some(()));
    let environment = std::fs::read_to_string(&seen).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("SECRET"), "{environment}");
    scene.nothing_left();
}

/// Each source is read as what it is: a description of an API is no trace, and the other way round.
#[test]
fn descriptions_and_traces_are_drafted_from_and_not_taken_for_one_another() {
    let scene = Scene::new();
    let api = json!({ "openapi": "3.1.0", "paths": { "/pay": { "post": { "operationId": "pay", "parameters": [
        { "name": "to", "in": "query", "required": true, "schema": { "type": "string" } } ] } } } });
    let seen = |to: &str| {
        let context = json!({ "to": to });
        let resource = json!({ "type": "Surface", "id": "s.pay" });
        let request =
            json!({ "surface": "s.pay", "action": "s.pay", "resource": resource, "context": context });
        json!({ "agent": "bot", "request": request })
    };
    let (api_file, trace_file) = (scene.path("api.json"), scene.path("seen.jsonl"));
    std::fs::write(&api_file, api.to_string()).unwrap();
    std::fs::write(&trace_file, format!("{}\n{}\n", seen("a"), seen("b"))).unwrap();
    let draft = |flag: &str, file: &Path, output: &str| {
        let (file, output) = (text(file), text(&scene.path(output)));
        // Surfaces that were seen have their names.
        let server: &[&str] = if flag == "--from-openapi" { &["--server", "s"] } else { &[] };
        run(&[&["policy", "draft", flag, &file, "-o", &output, "--json"], server].concat())
    };
    for (flag, file, output) in
        [("--from-openapi", &api_file, "from-api"), ("--from-trace", &trace_file, "from-trace")]
    {
        let said: Value = serde_json::from_str(draft(flag, file, output).ok()).unwrap();
        assert_eq!(said["surfaces"], json!(["s.pay"]), "{flag}: {said}");
        let output = text(&scene.path(output));
        run(&["bundle", "check", &output]).ok();
        run(&["bundle", "test", &output, "--strict"]).ok();
    }
    for (flag, file) in [("--from-openapi", &trace_file), ("--from-trace", &api_file)] {
        let ended = draft(flag, file, "none");
        assert!(ended.code == 1 && !scene.path("none").exists(), "{flag}: {ended:?}");
    }
}
