//! Drafts from servers that nobody here wrote, as docs/getting-started.md has it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Gate, peer, text};
use crate::{Desk, SAID, lines, portcullis};

pub(crate) fn command(words: &[String]) -> String {
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

/// Runs `portcullis` in the gate's directory, where its configuration is.
pub(crate) fn in_gate(desk: &Desk, arguments: &[&str]) -> String {
    let gate = desk.config.parent().unwrap();
    let run =
        std::process::Command::new(crate::program()).args(arguments).current_dir(gate).output().unwrap();
    assert!(run.status.success(), "{arguments:?}: {run:?}");
    String::from_utf8(run.stdout).unwrap()
}

pub(crate) fn change(path: &Path, from: &str, to: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    assert!(before.contains(from), "`{from}` is not in {before}");
    std::fs::write(path, before.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_bundle_drafted_from_the_file_server_permits_what_was_uncommented() {
    let desk = Desk::new();
    let gate = desk.config.parent().unwrap().to_owned();
    let server = desk.recording.of(&crate::files_server(desk.shared()));
    in_gate(&desk, &["policy", "draft", "--from-mcp", &command(&server), "-o", "draft"]);
    assert_eq!(desk.recording.calls(), [], "drafting called a tool");
    in_gate(&desk, &["bundle", "check", "draft"]);
    in_gate(&desk, &["bundle", "test", "--strict", "draft"]);

    // One grant, for one file; its case with it.
    let file = text(&desk.file);
    let grants = gate.join("draft/policies/grants.cedar");
    let all = std::fs::read_to_string(&grants).unwrap();
    let grant = all.lines().skip_while(|line| *line != "//@id(\"files.write_file\")").nth(1).unwrap();
    let narrowed = grant.trim_start_matches("//").trim_end_matches(';');
    let narrowed = format!("{narrowed}\nwhen {{ context.path == \"{file}\" }};");
    change(
        &grants,
        &format!("//@id(\"files.write_file\")\n{grant}"),
        &format!("@id(\"files.write_file\")\n{narrowed}"),
    );
    let cases = gate.join("draft/tests/refused.toml");
    let case = format!(
        "\n[[case]]\nname = \"the note is written\"\nagent = \"assistant\"\nsurface = \"files.write_file\"\n\
         context = {{ path = \"{file}\", content = \"x\" }}\nexpect = \"permit\"\npolicies = [\"files.write_file\"]\n"
    );
    std::fs::write(&cases, std::fs::read_to_string(&cases).unwrap() + &case).unwrap();
    in_gate(&desk, &["bundle", "check", "draft"]);
    in_gate(&desk, &["bundle", "test", "--strict", "draft"]);
    in_gate(&desk, &["bundle", "diff", "bundle", "draft"]);
    std::fs::rename(gate.join("bundle"), gate.join("starter")).unwrap();
    std::fs::rename(gate.join("draft"), gate.join("bundle")).unwrap();
    in_gate(&desk, &["bundle", "sign"]);
    in_gate(&desk, &["bundle", "pin"]);

    let mut client = Gate::start(&desk.config, &server);
    let other = text(&desk.shared().join("other.txt"));
    let write = |path: &str| json!({ "path": path, "content": "written through the gate" });
    assert_eq!(client.call("write_file", write(&other)).code(), "policy.no_grant");
    assert_eq!(client.call("read_text_file", json!({ "path": file })).code(), "policy.no_grant");
    assert_eq!(client.call("list_allowed_directories", json!({})).code(), "policy.no_grant");
    desk.untouched();
    client.call("write_file", write(&file)).ran();
    assert!(client.end().success());
    assert_eq!(std::fs::read_to_string(&desk.file).unwrap(), "written through the gate");
    assert_ne!(SAID, "written through the gate");
    assert_eq!(std::fs::read_dir(desk.shared()).unwrap().count(), 1);
    assert_eq!(desk.recording.calls(), [("write_file".to_owned(), write(&file))]);
}

#[test]
fn the_reference_server_of_everything_drafts_to_a_bundle_that_refuses_everything() {
    let folder = tempfile::TempDir::new().unwrap();
    let out = text(&folder.path().join("everything"));
    let server = command(&[text(&peer("bin/server-everything")), "stdio".into()]);
    let drafted =
        portcullis(&["policy", "draft", "--from-mcp", &server, "--server", "every", "-o", &out, "--json"]);
    assert!(drafted.status.success(), "{drafted:?}");
    let said: Value = lines(&drafted).remove(0);
    let surfaces = said["surfaces"].as_array().unwrap();
    assert!(surfaces.len() > 5 && surfaces.contains(&json!("every.echo")), "{said}");
    let tested = portcullis(&["bundle", "test", "--strict", &out]);
    assert!(tested.status.success(), "{tested:?}");
    let checked = portcullis(&["bundle", "check", "--json", &out]);
    let checked: Value = lines(&checked).remove(0);
    assert_eq!((&checked["sound"], &checked["policies"]), (&json!(true), &json!(["suspended"])), "{checked}");
}
