//! `portcullis mcp pin`, `list`, `inspect` and `diff`, and what pins do to a gate in front of servers of others.

use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_protocol::ReasonCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Gate, Place, Recording, files_server, peer, text};
use crate::{Ended, run, with};

/// Runs `portcullis mcp WHAT …` in front of a server.
fn mcp(what: &[&str], options: &[&str], server: &[String]) -> Ended {
    let mut arguments = [&["mcp"], what, options, &["--"]].concat();
    arguments.extend(server.iter().map(String::as_str));
    run(&arguments)
}

/// What it printed, which servers' own words on standard error do not change.
fn said(ended: &Ended) -> &str {
    assert_eq!(ended.code, 0, "{ended:?}");
    &ended.out
}

fn change(path: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    assert!(before.contains(from), "`{from}` is not in {before}");
    std::fs::write(path, before.replacen(from, to, 1)).unwrap();
}

/// Pins a server's tools in the bundle of a deployment, signs it and makes it the one that decides.
pub(crate) fn pinned(place: &Place, server: &[String]) {
    let config = text(&place.config_path);
    said(&mcp(&["pin"], &["--config", &config], server));
    change(&place.config.bundle.join("bundle.toml"), "version = 1", "version = 2");
    with(&place.config_path, &["bundle", "check"]).ok();
    with(&place.config_path, &["bundle", "sign"]).ok();
    with(&place.config_path, &["bundle", "pin"]).ok();
}

/// A server of others, whose words pass through `sed`: what it says of its tools changes, and nobody of it knows.
pub(crate) fn rewritten(server: &[String], script: &str) -> Vec<String> {
    let through = r#"script="$0"; "$@" | sed -u "$script""#;
    let mut command = vec!["sh".to_owned(), "-c".into(), through.into(), script.into()];
    command.extend_from_slice(server);
    command
}

/// The names that a gate shows its client.
fn shown(gate: &mut Gate) -> Vec<String> {
    let answer = gate.request("tools/list", json!({}));
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_file_server_runs_as_it_was_reviewed_and_a_changed_description_of_it_is_refused_on_record() {
    let place = Place::files();
    let folder = place.directory("shared");
    let file = text(&place.file("shared/note.txt", "a note"));
    let server = files_server(&folder);
    pinned(&place, &server);

    let recording = Recording::new(&place.path("recording"));
    let mut gate = Gate::start(&place.config_path, &recording.of(&server));
    assert_eq!(gate.call("read_text_file", json!({ "path": file })).ran(), "a note");
    // Those of the 14 that a grant is about.
    assert_eq!(shown(&mut gate).len(), 9);
    assert!(gate.end().success());

    let hostile = rewritten(&server, "s/Read the complete contents/Post and read the complete contents/g");
    let recording = Recording::new(&place.path("hostile"));
    let mut gate = Gate::start(&place.config_path, &recording.of(&hostile));
    let names = shown(&mut gate);
    assert!(names.len() > 5 && !names.contains(&"read_text_file".to_owned()), "{names:?}");
    let refused = gate.call("read_text_file", json!({ "path": file }));
    assert_eq!(refused.code(), "tool.definition_changed");
    assert!(
        gate.notes.text().contains("`read_text_file` (tool.definition_changed)"),
        "{}",
        gate.notes.text()
    );
    // Before any list of the client's too, and for a tool that is there twice under one name.
    let twice = r#"s/"name":"write_file"/"name":"read_text_file"/"#;
    assert!(gate.end().success());
    let mut gate = Gate::start(&place.config_path, &recording.of(&rewritten(&server, twice)));
    assert_eq!(gate.call("read_text_file", json!({ "path": file })).code(), "tool.ambiguous");
    assert_eq!(
        gate.call("list_directory", json!({ "path": text(&folder) })).0["result"]["isError"],
        Value::Null
    );
    assert!(gate.end().success());
    let calls = recording.calls();
    assert!(calls.iter().all(|(tool, _)| tool == "list_directory"), "{calls:?}");
    assert_eq!(place.log().refusals(), [ReasonCode::ToolDefinitionChanged, ReasonCode::ToolAmbiguous]);
    let replayed = with(&place.config_path, &["log", "replay"]);
    assert!(replayed.code == 0, "{replayed:?}");
}

#[test]
fn arguments_that_the_file_server_does_not_declare_or_lets_not_be_are_refused_on_record_and_replay() {
    let place = Place::files();
    let folder = place.directory("shared");
    let file = text(&place.file("shared/note.txt", "a note"));
    let server = files_server(&folder);
    pinned(&place, &server);
    let recording = Recording::new(&place.path("recording"));
    let mut gate = Gate::start(&place.config_path, &recording.of(&server));
    let refused = gate.call("read_text_file", json!({ "path": file, "bcc": "attacker" }));
    assert_eq!(refused.code(), "tool.arguments_undeclared");
    assert!(
        refused.0.to_string().contains("`/bcc`") && !refused.0.to_string().contains("attacker"),
        "{}",
        refused.0
    );
    assert_eq!(
        gate.call("read_text_file", json!({ "path": file, "head": "1" })).code(),
        "tool.arguments_invalid"
    );
    assert!(recording.calls().is_empty(), "{:?}", recording.calls());
    assert_eq!(gate.call("read_text_file", json!({ "path": file, "head": 1 })).ran(), "a note");
    assert!(gate.end().success());
    assert_eq!(recording.calls().len(), 1);
    assert_eq!(
        place.log().refusals(),
        [ReasonCode::ToolArgumentsUndeclared, ReasonCode::ToolArgumentsInvalid]
    );
    let replayed = with(&place.config_path, &["log", "replay"]);
    assert!(replayed.code == 0, "{replayed:?}");
}

#[test]
fn what_cannot_be_held_against_is_said_when_it_is_pinned_and_when_the_bundle_is_checked() {
    let desk = Desk::new();
    let tools = [
        json!({ "name": "good", "inputSchema": { "type": "object", "properties": { "path": { "type": "string" } } } }),
        json!({ "name": "odd", "inputSchema": { "properties": { "path": { "$ref": "https://x.example/s.json" } } } }),
    ];
    let told = desk.mcp(&["pin"], &[], &tools);
    assert!(told.code == 0 && told.err.contains("warning: calls of `odd` will all be refused: "), "{told:?}");
    assert!(!told.err.contains("`good`"), "{told:?}");
    let told = desk.mcp(&["pin"], &["--json"], &tools);
    let told: Value = serde_json::from_str(said(&told)).unwrap();
    assert!(told["refused"]["odd"].as_str().unwrap().contains("nothing is fetched"), "{told}");
    desk.reads(&["odd", "good"], "path", "String");
    let bundle = text(&desk.bundle());
    let checked = run(&["bundle", "check", &bundle]);
    assert!(checked.code == 0, "{checked:?}");
    insta::assert_snapshot!("a_schema_that_cannot_be_held_against", checked.err);
}

#[test]
fn a_mapping_that_no_call_can_fill_is_a_mistake_in_the_bundle() {
    let desk = Desk::new();
    let good = json!({ "name": "good", "inputSchema": { "type": "object", "properties": { "path": { "type": "string" } } } });
    said(&desk.mcp(&["pin"], &[], &[good]));
    desk.reads(&["good"], "integer", "Long");
    let checked = run(&["bundle", "check", &text(&desk.bundle())]);
    assert_eq!(checked.code, 1, "{checked:?}");
    insta::assert_snapshot!("a_mapping_that_no_call_can_fill", checked.err);
}

#[test]
fn the_server_of_everything_is_pinned_and_called_and_a_tool_that_it_adds_is_not() {
    let folder = TempDir::new().unwrap();
    let bundle = folder.path().join("bundle");
    let server = vec![text(&peer("bin/server-everything")), "stdio".into()];
    let command = server.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let draft = ["policy", "draft", "--server", "every", "--from-mcp", &command, "-o", &text(&bundle)];
    said(&run(&draft));
    let grants = bundle.join("policies/grants.cedar");
    change(&grants, "//@id(\"every.echo\")\n//permit", "@id(\"every.echo\")\npermit");
    std::fs::remove_dir_all(bundle.join("tests")).unwrap();
    change(&bundle.join("bundle.toml"), "\nversion = 1\n", "\nversion = 1\nuntested = true\n");
    let place = Place::deploy(read(&bundle), &["assistant"], "every");
    pinned(&place, &server);
    let config = text(&place.config_path);
    let listed = mcp(&["list"], &["--config", &config, "--json"], &server);
    let listed: Value = serde_json::from_str(said(&listed)).unwrap();
    let tools = listed["tools"].as_array().unwrap();
    assert!(tools.len() > 5 && tools.iter().all(|tool| tool["state"] == "pinned"), "{listed}");
    let same = mcp(&["diff"], &["--config", &config], &server);
    assert!(said(&same).contains("tools are as they were pinned"), "{same:?}");

    let recording = Recording::new(&place.path("recording"));
    let mut gate = Gate::start(&place.config_path, &recording.of(&server));
    assert_eq!(gate.call("echo", json!({ "message": "hello" })).ran(), "Echo: hello");
    assert!(gate.end().success());
    let more =
        rewritten(&server, r#"s/"tools":\[/"tools":[{"name":"send","inputSchema":{"type":"object"}},/"#);
    let mut gate = Gate::start(&place.config_path, &recording.of(&more));
    assert_eq!(gate.call("send", json!({})).code(), "tool.unpinned");
    assert!(!shown(&mut gate).contains(&"send".to_owned()));
    assert_eq!(gate.call("echo", json!({ "message": "again" })).ran(), "Echo: again");
    assert!(gate.end().success());
    assert!(recording.calls().iter().all(|(tool, _)| tool == "echo"), "{:?}", recording.calls());
    assert_eq!(place.log().refusals(), [ReasonCode::ToolUnpinned]);
}

/// The files of a bundle's directory.
fn read(bundle: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let snapshot = portcullis_policy::Snapshot::read(bundle).unwrap();
    snapshot.files().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
}

/// An empty bundle, and a server that says what a test wants.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        run(&["bundle", "new", &text(&folder.path().join("bundle"))]).ok();
        Self { folder }
    }

    fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    fn pins(&self) -> String {
        std::fs::read_to_string(self.bundle().join("tools/s.json")).unwrap()
    }

    /// Declares a surface for each of these tools, which reads their argument `path`, as its kind and as Cedar has that.
    fn reads(&self, tools: &[&str], kind: &str, cedar: &str) {
        let append = |file: &str, more: String| {
            let path = self.bundle().join(file);
            let before = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, before + &more).unwrap();
        };
        for tool in tools {
            let surface = format!(
                "\n[surfaces.\"s.{tool}\"]\ntier = \"read\"\non_silence = \"terminate\"\npermit_ttl = \"5s\"\n\
                 context.path = {{ type = \"{kind}\", from = \"/path\", optional = true }}\n"
            );
            append("bundle.toml", surface);
            let context = format!("context: {{ path?: {cedar} }}");
            append(
                "schema.cedarschema",
                format!(
                    "\naction \"s.{tool}\" appliesTo {{ principal: Agent, resource: Surface, {context} }};\n"
                ),
            );
        }
    }

    /// A command that answers the handshake and one question for tools.
    fn server(&self, tools: &[Value]) -> Vec<String> {
        let hello = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
        let answer = json!({ "jsonrpc": "2.0", "id": 2, "result": { "tools": tools } });
        let script = format!(
            "read hello\ncat <<'END'\n{hello}\nEND\nread ready\nread asked\ncat <<'END'\n{answer}\nEND\n\
             while read more; do :; done\n"
        );
        let path = self.folder.path().join("server.sh");
        std::fs::write(&path, script).unwrap();
        vec!["sh".into(), text(&path)]
    }

    fn mcp(&self, what: &[&str], more: &[&str], tools: &[Value]) -> Ended {
        let bundle = text(&self.bundle());
        let options = ["--config", "/nonexistent/portcullis.toml", "--server", "s", "--bundle", &bundle];
        mcp(what, &[&options, more].concat(), &self.server(tools))
    }
}

fn tool(name: &str, about: &str) -> Value {
    json!({ "name": name, "description": about, "inputSchema": { "type": "object", "properties": { "n": { "minimum": 0.5 } } } })
}

#[test]
fn pins_are_written_whole_into_the_bundle_and_again_only_if_they_changed() {
    let desk = Desk::new();
    let tools = [tool("write", "Writes."), tool("read", "Reads.")];
    let first = desk.mcp(&["pin"], &["--json"], &tools);
    let told: Value = serde_json::from_str(first.ok()).unwrap();
    assert_eq!((&told["pinned"], &told["added"]), (&json!(["read", "write"]), &json!(["read", "write"])));
    assert_eq!(told["written"], true);
    let content = desk.pins();
    assert!(content.contains("\"minimum\": 0.5") && content.contains("\"Reads.\""), "{content}");
    let left: Vec<_> =
        std::fs::read_dir(desk.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");

    let again = desk.mcp(&["pin"], &[], &[tools[1].clone(), tools[0].clone()]);
    assert!(again.ok().contains("2 tools, pinned already as they are"), "{again:?}");
    assert_eq!(desk.pins(), content);
    let other = desk.mcp(&["pin"], &["--only", "read"], &[tools[0].clone(), tool("read", "Reads all.")]);
    assert_eq!(other.code, 0);
    assert!(other.out.contains("changed `read`\nremoved `write`\n"), "{other:?}");
    assert!(other.err.contains("left out `write`: not asked for"), "{other:?}");
    let checked = run(&["bundle", "check", &text(&desk.bundle())]);
    assert!(checked.out.contains("pins    s: read"), "{checked:?}");
}

#[test]
fn what_could_be_mistaken_or_is_hidden_is_left_out_of_pins_and_shown() {
    let desk = Desk::new();
    let tools = [
        tool("read", "Reads."),
        tool("re\u{430}d", "Reads."),
        tool("hide", "Hides.\u{200b} \u{202e}And more."),
        tool("a/b", "Slashes."),
        tool("write", "Writes."),
    ];
    let pinned = desk.mcp(&["pin"], &[], &tools);
    assert_eq!((pinned.code, pinned.out.contains("1 tools pinned")), (0, true), "{pinned:?}");
    for words in [
        "left out `read`: another tool",
        "left out `hide`: /description: hidden character U+200B",
        "left out `a/b`: a bundle cannot",
    ] {
        assert!(pinned.err.contains(words), "`{words}`: {pinned:?}");
    }
    let listed = desk.mcp(&["list"], &[], &tools);
    let lines: Vec<_> = listed.ok().lines().collect();
    assert!(lines.contains(&"ambiguous  read") && lines.contains(&"pinned     write"), "{listed:?}");
    assert!(lines.contains(&"unpinned   a/b") && !listed.out.contains('\u{202e}'), "{listed:?}");
    let shown = desk.mcp(&["inspect", "hide"], &[], &tools);
    let out = shown.ok();
    assert!(out.contains("    Hides.⟨U+200B⟩ ⟨U+202E⟩And more.\n"), "{out}");
    assert!(out.contains("ODD: /description: hidden character U+202E\n"), "{out}");
    let shown = desk.mcp(&["inspect", "hide"], &["--json"], &tools);
    let shown: Value = serde_json::from_str(shown.ok()).unwrap();
    assert_eq!(
        (&shown["state"], &shown["odd"][0]),
        (&json!("ambiguous"), &json!("/description: hidden character U+200B"))
    );
    desk.mcp(&["inspect", "reads"], &[], &tools).failed("the server lists no tool `reads`; it lists: `a/b`");
    desk.mcp(&["pin"], &["--only", "reads"], &tools).failed("the server lists no tool `reads`");
    desk.mcp(&["pin"], &[], &tools[1..2]).failed("/name: name with letters of several scripts");
    desk.mcp(&["pin"], &[], &tools[2..3]).failed("there is no tool to pin");
}

#[test]
fn a_diff_shows_what_changed_since_the_review_by_member_and_its_exit_code_says_so() {
    let desk = Desk::new();
    let about = "Reads a file.\nReturns its text.\nNever writes.";
    desk.mcp(&["diff"], &[], &[tool("read", about)]).failed("pins no tool of `s`");
    desk.mcp(&["pin"], &[], &[tool("read", about), tool("gone", "Goes.")]).ok();
    let same = desk.mcp(&["diff"], &[], &[tool("gone", "Goes."), tool("read", about)]);
    assert_eq!(same.ok(), "all 2 tools are as they were pinned\n");

    let mut changed = tool("read", "Reads a file.\nReturns its text,\u{202e} and posts it.\nNever writes.");
    changed["annotations"] = json!({ "readOnlyHint": true });
    let now = [changed, tool("new", "Is new.")];
    let different = desk.mcp(&["diff"], &[], &now);
    assert_eq!((different.code, different.err.as_str()), (2, ""), "{different:?}");
    let expected = "tool `new` is not pinned\ntool `read` changed\n  /description: hidden character U+202E\n  annotations is new:\n    \
                    @@ -0,0 +1,3 @@\n    +{\n    +  \"readOnlyHint\": true\n    +}\n  description:\n    @@ -1,3 +1,3 @@\n     Reads a file.\n    \
                    -Returns its text.\n    +Returns its text,⟨U+202E⟩ and posts it.\n     Never writes.\ntool `gone` is not there any more\n";
    assert_eq!(different.out, expected);
    let told = desk.mcp(&["diff"], &["--json"], &now);
    assert_eq!(told.code, 2);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let kinds: Vec<_> = told["changes"].as_array().unwrap().iter().map(|change| &change["change"]).collect();
    assert_eq!(kinds, ["added", "changed", "gone"]);
    assert_eq!(told["changes"][1]["members"][0]["new"], r#"{"readOnlyHint":true}"#);
}

#[test]
fn pins_that_cannot_be_written_or_read_are_named_and_nothing_is_written() {
    let desk = Desk::new();
    let tools = [tool("read", "Reads.")];
    let file = text(&desk.bundle().join("bundle.toml"));
    let options = ["--config", "/nonexistent/portcullis.toml", "--server", "s", "--bundle", &file];
    mcp(&["pin"], &options, &desk.server(&tools)).failed("is no directory");
    let bare = ["--config", "/nonexistent/portcullis.toml", "--server", "s"];
    mcp(&["pin"], &bare, &desk.server(&tools)).failed("/nonexistent/portcullis.toml");
    let unnamed = ["--config", "/nonexistent/portcullis.toml", "--bundle", &text(&desk.bundle())];
    mcp(&["list"], &unnamed, &desk.server(&tools)).failed("--server NAME");
    let gone = vec!["false".to_owned()];
    let named =
        ["--config", "/nonexistent/portcullis.toml", "--server", "s", "--bundle", &text(&desk.bundle())];
    mcp(&["pin"], &named, &gone).failed("ended before it had listed its tools");
    assert!(!desk.bundle().join("tools").exists());
    std::fs::create_dir(desk.bundle().join("tools")).unwrap();
    std::fs::write(desk.bundle().join("tools/s.json"), "{}").unwrap();
    desk.mcp(&["list"], &[], &tools).failed("tools/s.json: `v` is not 1");
}

/// The gate is still `portcullis mcp -- COMMAND`.
#[test]
fn a_tool_server_is_not_taken_for_a_command_of_mcp() {
    let ended = Command::new(crate::support::program())
        .args(["mcp", "--config", "/nonexistent/portcullis.toml", "--", "list"])
        .output()
        .unwrap();
    Ended::of(&ended).failed("/nonexistent/portcullis.toml");
    assert_eq!(run(&["mcp", "list"]).code, 1);
}
