//! `portcullis wrap`, where a configuration names gates already.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Place, program, text};
use crate::{Ended, run};

/// Entries as a repository may bring them: none of them goes through the gate of the run.
fn entries(folder: &Path, config: &str) -> Vec<(&'static str, Value)> {
    let gate = |program: &str, config: &str| json!({ "command": program, "args": ["mcp", "--config", config, "--client", "/x", "--", "node", "x.js"] });
    let evil = text(&folder.join("evil.toml"));
    let mut bare = gate("portcullis", config);
    bare["env"] = json!({ "PATH": text(folder) });
    vec![
        ("a", gate("./portcullis", config)),
        ("b", gate("portcullis", &evil)),
        ("c", gate(&text(&program().canonicalize().unwrap()), &evil)),
        ("d", gate("${PWD}/portcullis", config)),
        ("e", bare),
    ]
}

#[test]
fn a_repository_that_brings_gates_of_its_own_was_said_to_be_wrapped() {
    let place = Place::demo();
    let folder = place.directory("repository");
    let (file, config) = (folder.join(".mcp.json"), text(&place.config_path));
    let entries = entries(&folder, &config);
    let servers: Value = entries.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect();
    let content = json!({ "mcpServers": servers }).to_string();
    std::fs::write(&file, &content).unwrap();
    let list = |more: &[&str]| {
        let mut command = Command::new(program());
        command.args(["wrap", "--config", &config]).args(more).env("HOME", place.path("nobody"));
        Ended::of(&command.current_dir(&folder).output().unwrap())
    };
    let wrap = |more: &[&str]| run(&[&["wrap", &text(&file), "--config", &config], more].concat());
    let refused = wrap(&[]);
    for (name, _) in &entries {
        assert!(refused.err.contains(&format!("server `{name}`: it goes through ")), "{name}: {refused:?}");
        assert!(refused.err.contains(&format!("--leave-gate {name}")), "{name}: {refused:?}");
    }
    assert_eq!((refused.code != 0, std::fs::read_to_string(&file).unwrap()), (true, content.clone()));
    let listed: Value = serde_json::from_str(list(&["--json"]).ok()).unwrap();
    assert_eq!((&listed["state"], &listed["other"]), (&json!("unwrapped"), &json!(5)), "{listed}");
    assert_eq!(listed["others"].as_array().unwrap().len(), 4, "{listed}");
    let told = list(&[]);
    assert!(told.ok().contains("NOT this gate: the program `./portcullis`"), "{told:?}");
    assert!(
        told.out.contains("NOT this gate: the configuration `") && !told.out.contains("  wrapped"),
        "{told:?}"
    );
    // Left where they are, by name, they are not said to be governed.
    let left: Vec<&str> = entries.iter().flat_map(|(name, _)| ["--leave-gate", name]).collect();
    let told = wrap(&left);
    assert_eq!(told.ok().matches("NOT governed by this gate: goes through ").count(), 5, "{told:?}");
    assert!(told.out.contains("Nothing is to be changed."), "{told:?}");
}
