//! What a permitted tool can reach of the gate that permits it.

use std::path::Path;
use std::process::Command;

use portcullis_policy::bundles;
use serde_json::json;

use crate::support::{Gate, Place, Recording, demo_server, files_server, program, text};

const WRITES: &str = r#"
@id("writes")
permit (principal == Agent::"assistant", action == Action::"files.write_file", resource);
"#;

/// A deployment whose agent may write any file, by policy.
fn writable() -> Place {
    let mut bundle = bundles::starter();
    bundle.insert("policies/writes.cedar".into(), WRITES.into());
    Place::deploy(bundle, &["assistant"], "files")
}

/// Every file below a directory, with its content.
fn files(below: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push((text(&path), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_permitted_file_tool_rewrites_and_reads_nothing_of_what_governs_it() {
    let place = writable();
    let work = place.directory("work");
    // The server may serve all of it: the gate's directory lies in the middle of what the tool works on.
    let mut gate = Gate::start(&place.config_path, &files_server(place.folder()));
    let new = text(&work.join("new"));
    gate.call("write_file", json!({ "path": new, "content": "mine" })).ran();
    assert_eq!(std::fs::read_to_string(&new).unwrap(), "mine");
    assert_eq!(gate.call("read_text_file", json!({ "path": new })).ran(), "mine");

    let governing = ["portcullis.toml", "keys", "bundle"];
    let own = [&place.config.data, &place.config.anchor].map(|path| text(path));
    let changes = |path: &str| own.iter().any(|own| path.starts_with(own));
    let (arbiters, before): (Vec<_>, Vec<_>) =
        files(place.folder()).into_iter().partition(|(path, _)| changes(path));
    let governed = |path: &str| governing.iter().any(|name| path.starts_with(&text(&place.path(name))));
    let targets: Vec<_> = before.iter().map(|(path, _)| path).filter(|path| governed(path)).collect();
    assert!(targets.len() > 6, "{targets:?}");
    let arbiters: Vec<_> = arbiters.into_iter().map(|(path, _)| path).collect();
    assert!(arbiters.contains(&text(&place.config.anchor)) && arbiters.len() > 3, "{arbiters:?}");
    let added =
        ["keys/new", "bundle/policies/new.cedar", "data/new", "new"].map(|name| text(&place.path(name)));
    for path in targets.into_iter().cloned().chain(arbiters).chain(added) {
        for (tool, arguments) in [
            ("write_file", json!({ "path": path, "content": "rewritten" })),
            ("read_text_file", json!({ "path": path })),
        ] {
            // Permitted, and sent: it is the kernel that refuses the tool.
            let answer = gate.call(tool, arguments);
            assert!(answer.told().is_none(), "{tool} {path}: {answer:?}");
            assert_eq!(answer.0["result"]["isError"], true, "{tool} {path}: {answer:?}");
        }
    }
    for (path, content) in &before {
        assert!(std::fs::read(path).unwrap() == *content, "{path}");
    }
    for name in ["keys/new", "bundle/policies/new.cedar", "data/new", "new"] {
        assert!(!place.path(name).exists(), "{name}");
    }
}

#[test]
fn a_client_s_own_configuration_is_not_rewritten_by_a_tool() {
    let place = writable();
    let project = place.directory("project");
    let client = project.join(".mcp.json");
    std::fs::write(&client, "{}").unwrap();
    let mut command = Command::new(program());
    command.args(["mcp", "--config"]).arg(&place.config_path).arg("--").args(files_server(&project));
    command.current_dir(&project);
    let mut gate = Gate::connect(command);
    gate.handshake();
    let answer = gate.call("write_file", json!({ "path": text(&client), "content": "{\"mcpServers\":{}}" }));
    assert!(answer.told().is_none() && answer.0["result"]["isError"] == true, "{answer:?}");
    assert_eq!(std::fs::read_to_string(&client).unwrap(), "{}");
}

/// The kernel is one without Landlock, as far as the gate can see.
#[test]
fn where_the_kernel_confines_nobody_nothing_critical_runs() {
    let mut bundle = bundles::demo();
    for file in bundle.values_mut() {
        *file = String::from_utf8_lossy(file).replace("tier = \"high\"", "tier = \"critical\"").into_bytes();
    }
    let place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
    let recording = Recording::new(&place.path("recording"));
    let server = recording.of(&demo_server(&place.file("journal", "")));
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_create_ruleset:error=ENOSYS"]);
    command.arg(program()).args(["mcp", "--config"]).arg(&place.config_path).arg("--").args(&server);
    let mut gate = Gate::connect(command);
    gate.handshake();
    gate.notes.told("critical surfaces are blocked with upstream.unconfined");
    let charge = json!({ "account": "acme", "amount": "12.50" });
    assert_eq!(gate.call_with("charge", &charge, Some("a")).code(), "upstream.unconfined");
    assert_eq!(gate.settled(&recording), []);
    // What is not critical runs, and the key was given back: with a kernel that confines, the same call runs.
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    let mut gate = Gate::start(&place.config_path, &server);
    gate.call_with("charge", &charge, Some("a")).ran();
    assert_eq!(gate.settled(&recording).len(), 2);
}
