//! Arguments that nobody reviewed, sent by clients to servers that nobody here wrote, whose tools are pinned as they define them.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::draft::{change, command, in_gate};
use crate::sdks::typescript;
use crate::support::{files_server, peer, text};
use crate::workshop::Workshop;
use crate::{Desk, SAID, blocked, portcullis, python};

/// A desk whose bundle grants edits and pins what the file server says of its tools.
fn editing() -> Desk {
    let desk = Desk::new();
    let gate = desk.config.parent().unwrap();
    let server = files_server(desk.shared());
    in_gate(&desk, &["policy", "draft", "--from-mcp", &command(&server), "-o", "draft"]);
    let granted = "@id(\"files.edit_file\")\npermit";
    change(&gate.join("draft/policies/grants.cedar"), "//@id(\"files.edit_file\")\n//permit", granted);
    std::fs::remove_dir_all(gate.join("draft/tests")).unwrap();
    change(&gate.join("draft/bundle.toml"), "\nversion = 1\n", "\nversion = 1\nuntested = true\n");
    std::fs::rename(gate.join("bundle"), gate.join("starter")).unwrap();
    std::fs::rename(gate.join("draft"), gate.join("bundle")).unwrap();
    let server: Vec<&str> = server.iter().map(String::as_str).collect();
    in_gate(&desk, &[&["mcp", "pin", "--"], &server[..]].concat());
    in_gate(&desk, &["bundle", "sign"]);
    in_gate(&desk, &["bundle", "pin"]);
    desk
}

#[test]
fn the_file_server_edits_by_what_its_schema_declares_and_by_nothing_else() {
    for mode in ["legacy", "auto"] {
        let desk = editing();
        let path = text(&desk.file);
        let edit = json!({ "oldText": SAID, "newText": "edited" });
        let right = json!({ "path": path, "edits": [edit] });
        let with = |pointer: &str, key: &str, value: Value| {
            let mut arguments = right.clone();
            arguments.pointer_mut(pointer).unwrap()[key] = value;
            json!(["edit_file", arguments])
        };
        let steps = json!([
            with("", "backup", json!("elsewhere")),
            with("/edits/0", "everywhere", json!(true)),
            with("/edits/0", "newText", json!(7)),
            ["edit_file", { "path": path }],
        ]);
        let seen = python(mode, &steps, &desk.gate());
        let codes: Vec<&str> = seen.iter().map(blocked).collect();
        let (undeclared, invalid) = ("tool.arguments_undeclared", "tool.arguments_invalid");
        assert_eq!(codes, [undeclared, undeclared, invalid, invalid], "{mode}");
        let detail = |seen: &Value| seen["_meta"]["portcullis/decision"]["reason"]["detail"].clone();
        let details: Vec<Value> = seen.iter().map(detail).collect();
        assert!(details[1].as_str().unwrap().starts_with("argument `/edits/0/everywhere`"), "{details:?}");
        desk.untouched();
        assert_eq!(desk.recording.calls(), []);

        let seen = python(mode, &json!([["edit_file", right]]), &desk.gate());
        assert_ne!(seen[0]["isError"], true, "{seen:?}");
        assert_eq!(std::fs::read_to_string(&desk.file).unwrap(), "edited");
        assert_eq!(desk.recording.calls(), [("edit_file".to_owned(), right.clone())]);
        let silence = |code: &str| ("SILENCE".to_owned(), Some(code.to_owned()));
        let mut expected: Vec<_> = codes.into_iter().map(silence).collect();
        expected.push(("PERMIT".to_owned(), None));
        assert_eq!(desk.audited(), expected);
    }
}

/// One of several servers, over stdio and over HTTP: each call is held against its own server's schema.
#[test]
fn one_of_five_servers_is_called_by_what_its_schema_declares_and_by_nothing_else() {
    for over_http in [false, true] {
        let workshop = Workshop::new();
        let path = text(&workshop.at("shared/note.txt"));
        let steps = json!([
            { "until": ["read_text_file"] },
            ["read_text_file", { "path": path, "bcc": "elsewhere" }],
            ["read_text_file", { "path": path, "head": "1" }],
            ["read_text_file", { "path": path, "head": 1 }],
        ]);
        let seen = if over_http {
            let endpoint = workshop.endpoint();
            let seen = typescript("auto", &steps, &workshop.way_to(&endpoint));
            endpoint.end();
            seen
        } else {
            typescript("legacy", &steps, &json!({ "command": workshop.gate() }))
        };
        assert_eq!(blocked(&seen[1]), "tool.arguments_undeclared");
        assert_eq!(blocked(&seen[2]), "tool.arguments_invalid");
        assert_eq!(seen[3]["content"][0]["text"], SAID, "{}", seen[3]);
        let right = ("read_text_file".to_owned(), json!({ "path": path, "head": 1 }));
        assert_eq!(workshop.calls("files"), [right]);
    }
}

/// What is refused of them for a schema that is not understood would be listed here: it is nothing.
#[test]
fn the_schemas_of_all_tools_of_the_five_servers_are_understood() {
    let work = TempDir::new().unwrap();
    let servers = [
        ("everything", vec![text(&peer("bin/server-everything")), "stdio".into()], 12),
        ("files", files_server(work.path()), 14),
        ("memory", vec![text(&peer("bin/server-memory"))], 9),
        ("git", vec![text(&peer("agents/bin/mcp-server-git"))], 12),
        (
            "sqlite",
            vec![
                text(&peer("agents/bin/mcp-server-sqlite")),
                "--db-path".into(),
                text(&work.path().join("orders.db")),
            ],
            6,
        ),
    ];
    let bundle = text(&work.path().join("bundle"));
    assert!(portcullis(&["bundle", "new", &bundle]).status.success());
    for (name, command, least) in servers {
        let options =
            ["mcp", "pin", "--config", "/nonexistent", "--server", name, "--bundle", &bundle, "--json", "--"];
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let pinned = portcullis(&[&options[..], &command].concat());
        assert!(pinned.status.success(), "{name}: {pinned:?}");
        let told: Value = serde_json::from_slice(&pinned.stdout).unwrap();
        assert!(told["pinned"].as_array().unwrap().len() >= least, "{name}: {told}");
        assert_eq!(told["refused"], json!({}), "{name}");
        assert_eq!(told["left_out"], json!({}), "{name}");
    }
}
