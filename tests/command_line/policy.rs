//! `portcullis init`, `bundle` and `keys`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::{Gate, Place, demo_server, text};
use crate::{run, with};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file below a directory, with its content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((text(&entry.path()), std::fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn init_makes_private_keys_and_a_bundle_that_decides() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("new/gate");
    let said = run(&["init", &text(&at)]);
    assert!(said.ok().contains("portcullis mcp --config"), "{said:?}");
    for name in ["portcullis.toml", "keys/log.key", "keys/bundle.key", "keys/assistant.token"] {
        assert_eq!(mode(&at.join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&at.join("keys")), 0o700);
    let config = at.join("portcullis.toml");
    let shown = with(&config, &["bundle", "show"]);
    assert!(shown.ok().starts_with("starter version 1"), "{shown:?}");
    let key = with(&config, &["keys", "show"]);
    assert!(said.out.contains(key.ok().trim()), "{key:?}");
    let secret = std::fs::read_to_string(at.join("keys/assistant.token")).unwrap();
    assert!(!said.out.contains(secret.trim()));
    assert!(!std::fs::read_to_string(&config).unwrap().contains(secret.trim()));
}

#[test]
fn init_refuses_what_is_there_already_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    run(&["init", &text(folder.path())]).ok();
    let before = files(folder.path());
    run(&["init", &text(folder.path())]).failed("exists already");
    assert_eq!(files(folder.path()), before);
    // Any of its parts is enough.
    std::fs::remove_file(folder.path().join("portcullis.toml")).unwrap();
    run(&["init", &text(folder.path())]).failed("exists already");
}

/// Adds a policy that forbids everything to the deployment's bundle.
fn changed(place: &Place) {
    let policy = place.config.bundle.join("policies/more.cedar");
    std::fs::write(policy, "@id(\"nothing\")\nforbid (principal, action, resource);\n").unwrap();
}

#[test]
fn a_changed_bundle_decides_only_signed_and_pinned() {
    let place = Place::demo();
    let config = &place.config_path;
    assert!(with(config, &["bundle", "show"]).ok().starts_with("demo version 1"));
    changed(&place);
    with(config, &["bundle", "show"]).failed("nothing is permitted");
    assert!(with(config, &["bundle", "sign"]).ok().starts_with("signed sha256:"));
    with(config, &["bundle", "show"]).failed("policy.pin_mismatch");
    let pinned = with(config, &["bundle", "pin"]);
    assert!(pinned.ok().contains("\npinned sha256:"), "{pinned:?}");
    with(config, &["bundle", "show"]).ok();
    assert!(with(config, &["bundle", "pin"]).ok().starts_with("pinned already"));
    assert_eq!(mode(config), 0o600);
    let mut gate = Gate::start(config, &demo_server(&place.path("journal")));
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "policy.forbidden");
}

#[test]
fn a_bundle_signed_with_a_key_that_is_not_trusted_does_not_decide() {
    let place = Place::demo();
    let config = &place.config_path;
    let key = text(&place.path("other.key"));
    run(&["keys", "generate", &key, "--name", "example.org/other"]).ok();
    let signature = place.config.bundle.join("bundle.sig");
    std::fs::remove_file(&signature).unwrap();
    with(config, &["bundle", "show"]).failed("policy.unsigned");
    with(config, &["bundle", "sign", "--key", &key]).ok();
    with(config, &["bundle", "show"]).failed("policy.untrusted_key");
    with(config, &["bundle", "sign"]).ok();
    with(config, &["bundle", "show"]).ok();
    let note = std::fs::read_to_string(signature).unwrap();
    assert!(note.contains("\u{2014} example.org/other "), "signatures of others stay: {note}");
}

#[test]
fn a_bundle_is_checked_before_it_is_signed() {
    let place = Place::demo();
    let bundle = text(&place.config.bundle);
    let report = run(&["bundle", "check", &bundle]);
    for words in ["demo version 1", "surface demo.charge", "policy  demo-read", "agent   demo-agent"] {
        assert!(report.ok().contains(words), "{words}: {report:?}");
    }
    assert_eq!(with(&place.config_path, &["bundle", "check"]).ok(), report.out);
    let policy = place.config.bundle.join("policies/demo.cedar");
    let before = std::fs::read_to_string(&policy).unwrap();
    for (broken, words) in [
        ("permit (principal, action, resource", "demo.cedar"),
        ("permit (principal, action, resource);", "@id"),
        ("@id(\"a\")\npermit (principal, action == Action::\"demo.nothing\", resource);", "demo.nothing"),
    ] {
        std::fs::write(&policy, format!("{before}\n{broken}\n")).unwrap();
        run(&["bundle", "check", &bundle]).failed(words);
    }
}

#[test]
fn a_made_key_is_private_and_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.key");
    let name = text(&file);
    let made = run(&["keys", "generate", &name, "--name", "example.org/log"]);
    assert!(made.ok().starts_with("example.org/log+"), "{made:?}");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(run(&["keys", "show", &name]).ok(), made.out);
    let before = std::fs::read(&file).unwrap();
    assert!(!made.out.contains(std::str::from_utf8(&before).unwrap().trim()));
    run(&["keys", "generate", &name, "--name", "example.org/log"]).failed(&name);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    run(&["keys", "show", &name]).failed("chmod 600");
}

#[test]
fn an_agents_token_is_shown_to_nobody_and_works_once_the_bundle_knows_the_agent() {
    let place = Place::demo();
    let said = with(&place.config_path, &["keys", "agent", "newcomer"]);
    let token = place.path("keys/newcomer.token");
    assert!(said.ok().contains(&text(&token)));
    assert_eq!(mode(&token), 0o600);
    let secret = std::fs::read_to_string(&token).unwrap();
    assert!(!said.out.contains(secret.trim()));
    assert!(!std::fs::read_to_string(&place.config_path).unwrap().contains(secret.trim()));
    assert_eq!(mode(&place.config_path), 0o600);
    with(&place.config_path, &["keys", "agent", "newcomer"]).failed("newcomer.token");
    with(&place.config_path, &["keys", "agent", "no such name!"]).failed("no such name!");
    let config = place.configure("newcomer.toml", |text| {
        text.replace("\"demo-agent\"\n", "\"newcomer\"\n").replace("demo-agent.token", "newcomer.token")
    });
    let mut gate = Gate::start(&config, &demo_server(&place.path("journal")));
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "identity.unknown");
}

#[test]
fn a_bundle_is_tried_with_its_cases() {
    let place = Place::demo();
    let config = &place.config_path;
    let tried = with(config, &["bundle", "test", "--strict"]);
    assert!(tried.ok().contains("8 cases, 0 failed"), "{tried:?}");
    // A policy that grants more: the case that was there for it fails, and says what came of it.
    let policies = place.config.bundle.join("policies/demo.cedar");
    let changed = std::fs::read_to_string(&policies).unwrap().replace("\"100.00\"", "\"1000.00\"");
    std::fs::write(&policies, changed).unwrap();
    let tried = with(config, &["bundle", "test"]);
    assert_eq!(tried.code, 1, "{tried:?}");
    let told = [
        "FAILED  tests/demo.toml: a cent more is not",
        "expected DENY policy.no_grant",
        "found    PERMIT by demo-small-charge",
    ];
    assert!(told.iter().all(|line| tried.out.contains(line)), "{tried:?}");
    // A case left out: nothing fails, and what nothing notices is told.
    let cases = place.config.bundle.join("tests/demo.toml");
    let all = std::fs::read_to_string(&cases).unwrap();
    let (kept, _) = all.split_once("[[case]]\nname = \"a cent more is not\"").unwrap();
    std::fs::write(&cases, kept).unwrap();
    let directory = text(&place.config.bundle);
    let tried = run(&["bundle", "test", &directory, "--json"]);
    let said: serde_json::Value = serde_json::from_str(tried.ok()).unwrap();
    assert_eq!((&said["passed"], said["report"]["cases"].as_array().unwrap().len()), (&json!(true), 3));
    let gaps = said["gaps"].as_array().unwrap();
    assert!(
        gaps.contains(&json!("no case notices policy `demo-small-charge` without its conditions")),
        "{gaps:?}"
    );
    assert_eq!(run(&["bundle", "test", &directory, "--strict"]).code, 1);
    std::fs::remove_file(&cases).unwrap();
    run(&["bundle", "test", &directory]).failed("the bundle has no cases");
}
