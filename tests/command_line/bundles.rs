//! `portcullis bundle new`, `build`, `verify`, `diff` and `root`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Daemon, Place, text};
use crate::{run, with};

/// A key of this name in a folder: its file, and its verifier key.
fn key(folder: &Path, name: &str) -> (String, String) {
    let file = text(&folder.join(format!("{name}.key")));
    let made = run(&["keys", "generate", &file, "--name", &format!("{name}.example")]);
    (file, made.ok().trim().to_owned())
}

/// A chain of one root of Alice, Bob and Carol, two of whom must sign: its file, the digest of its root, their key files.
pub(crate) fn team(folder: &Path) -> (String, String, [String; 3]) {
    team_until(folder, "2090-01-01T00:00:00Z")
}

fn team_until(folder: &Path, until: &str) -> (String, String, [String; 3]) {
    let keys = ["alice", "bob", "carol"].map(|name| key(folder, name));
    let root = text(&folder.join("team.root"));
    let [alice, bob, carol] = &keys;
    let terms = ["--threshold", "2", "--until", until];
    let named = ["--key", &alice.1, "--key", &bob.1, "--key", &carol.1];
    run(&[&["bundle", "root", "new", &root][..], &terms, &named].concat()).ok();
    for (file, _) in [alice, bob] {
        run(&["bundle", "root", "show", &root]).failed("");
        run(&["bundle", "root", "sign", &root, "--key", file]).ok();
    }
    let shown = run(&["bundle", "root", "show", &root, "--json"]);
    let shown: Value = serde_json::from_str(shown.ok()).unwrap();
    let pin = shown["roots"][0]["digest"].as_str().unwrap().to_owned();
    (root, pin, keys.map(|(file, _)| file))
}

fn verified(bundle: &str, root: &str, pin: &str) -> Value {
    let said = run(&["bundle", "verify", bundle, "--root", root, "--root-pin", pin, "--json"]);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

#[test]
fn a_new_bundle_checks_builds_to_the_same_bytes_and_grants_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = text(&folder.path().join("Pay Desk"));
    run(&["bundle", "new", &at]).ok();
    let checked = run(&["bundle", "check", &at]);
    assert!(checked.code == 0 && checked.out.starts_with("pay-desk version 1\nsha256:"), "{checked:?}");
    assert!(checked.err.contains("grants nothing"), "{checked:?}");
    run(&["bundle", "new", &at]).failed("exists already");
    let build = |name: &str, from: &str| {
        let file = folder.path().join(name);
        run(&["bundle", "build", from, "--output", &text(&file)]).ok();
        std::fs::read(file).unwrap()
    };
    let first = build("a.bundle", &at);
    assert_eq!(build("b.bundle", &at), first);
    // A file is a bundle like its directory, and is built to itself.
    assert_eq!(build("c.bundle", &text(&folder.path().join("a.bundle"))), first);
    std::fs::write(PathBuf::from(&at).join("policies/main.cedar"), "permit (principal, action, resource);")
        .unwrap();
    let out = text(&folder.path().join("d.bundle"));
    run(&["bundle", "build", &at, "-o", &out]).failed("@id");
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_bundle_of_a_root_decides_once_enough_have_signed_it() {
    let place = Place::demo();
    let (root, pin, [alice, bob, carol]) = team(place.path("").as_path());
    let file = text(&place.path("demo.bundle"));
    with(&place.config_path, &["bundle", "build", "-o", &file]).ok();
    // It brings the development key's signature, which the root does not know.
    assert_eq!(verified(&file, &root, &pin)["reason"], "policy.untrusted_key");
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let keys = config.lines().find(|line| line.starts_with("trusted_keys")).unwrap();
    let rooted = config
        .replace(keys, &format!("root = \"team.root\"\nroot_pin = \"{pin}\""))
        .replace("bundle = \"bundle\"", "bundle = \"demo.bundle\"");
    assert_ne!(rooted, config);
    std::fs::write(&place.config_path, &rooted).unwrap();
    with(&place.config_path, &["bundle", "show"]).failed("policy.untrusted_key");
    run(&["bundle", "sign", &file, "--key", &bob]).ok();
    run(&["bundle", "sign", &file, "--key", &bob]).ok();
    with(&place.config_path, &["bundle", "show"]).failed("policy.threshold");
    assert_eq!(verified(&file, &root, &pin)["reason"], "policy.threshold");
    run(&["bundle", "sign", &file, "--key", &carol]).ok();
    with(&place.config_path, &["bundle", "show"]).ok();
    let said = verified(&file, &root, &pin);
    assert_eq!((&said["verified"], &said["threshold"], &said["root"]), (&true.into(), &2.into(), &1.into()));
    assert_eq!(said["signers"].as_array().unwrap().len(), 2, "the stranger's is not counted: {said}");
    run(&["bundle", "sign", &file, "--key", &alice]).ok();
    assert_eq!(verified(&file, &root, &pin)["signers"].as_array().unwrap().len(), 3);
    // Another beginning of the chain is another root, whoever signed it.
    let other = rooted.replace(&pin, &format!("sha256:{}", "0".repeat(64)));
    std::fs::write(&place.config_path, other).unwrap();
    with(&place.config_path, &["bundle", "show"]).failed("policy.root_invalid");
    std::fs::write(&place.config_path, rooted.replace("root = ", "trusted_keys = []\nroot = ")).unwrap();
    with(&place.config_path, &["bundle", "show"]).failed("policy.trusted_keys");
    // A pipe in the chain's place held whoever opened it.
    std::fs::write(&place.config_path, &rooted).unwrap();
    std::fs::remove_file(&root).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&root).status().unwrap().success());
    with(&place.config_path, &["bundle", "show"]).failed("policy.root_invalid");
}

/// A deployment by this root, of a bundle that Alice and Bob have signed: its file.
pub(crate) fn rooted(place: &Place, (root, pin, [alice, bob, _]): &(String, String, [String; 3])) -> String {
    let file = text(&place.path("demo.bundle"));
    with(&place.config_path, &["bundle", "build", "-o", &file]).ok();
    for key in [alice, bob] {
        run(&["bundle", "sign", &file, "--key", key]).ok();
    }
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let keys = config.lines().find(|line| line.starts_with("trusted_keys")).unwrap();
    let name = Path::new(root).file_name().unwrap().to_str().unwrap();
    let rooted = config.replace(keys, &format!("root = \"{name}\"\nroot_pin = \"{pin}\""));
    let rooted = rooted.replace("bundle = \"bundle\"", "bundle = \"demo.bundle\"");
    std::fs::write(&place.config_path, &rooted).unwrap();
    file
}

#[test]
fn a_bundle_whose_time_has_not_come_permits_nothing_before_it() {
    let valid_from = |when: &str| {
        let mut bundle = portcullis_policy::bundles::demo();
        let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
        let from = "valid_from = \"2025-01-01T00:00:00Z\"";
        assert!(manifest.contains(from), "{manifest}");
        let manifest = manifest.replace(from, &format!("valid_from = \"{when}\""));
        bundle.insert("bundle.toml".into(), manifest.into_bytes());
        let place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
        let daemon = Daemon::with(&place.config_path);
        (place, daemon)
    };
    let (place, _daemon) = valid_from("2098-01-01T00:00:00Z");
    assert_eq!(decided(&place, "a")["reason"]["code"], "policy.not_yet_valid");
    assert!(!place.is_ready());
    let soon = (chrono::Utc::now() + std::time::Duration::from_secs(5))
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let (place, _daemon) = valid_from(&soon);
    place.ready();
    assert_eq!(decided(&place, "a")["decision"], "PERMIT");
}

#[test]
fn what_a_root_signed_permits_nothing_once_the_root_has_expired() {
    let place = Place::demo();
    let until = (chrono::Utc::now() + std::time::Duration::from_secs(25))
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    rooted(&place, &team_until(place.path("").as_path(), &until));
    let _daemon = Daemon::start(&place);
    let mut number = 0;
    let mut code = || {
        number += 1;
        decided(&place, &format!("k{number}"))["reason"]["code"].as_str().map(str::to_owned)
    };
    assert_eq!(code(), None);
    crate::support::until("the root's last moment", || code().filter(|code| code == "policy.root_expired"));
    assert_eq!(code().as_deref(), Some("policy.root_expired"));
}

/// A root that was replaced, and a chain that was spoiled, were noticed when the arbiter was started again, or when a
/// bundle was activated.
#[test]
fn a_running_arbiter_went_on_by_the_root_of_its_start() {
    let place = Place::demo();
    let team = team(place.path("").as_path());
    let file = rooted(&place, &team);
    let (root, _, [_, bob, carol]) = team;
    let _daemon = Daemon::start(&place);
    let code = |key: &str| decided(&place, key)["reason"]["code"].as_str().map(str::to_owned);
    assert_eq!(code("a"), None);
    let chain = std::fs::read(&root).unwrap();
    std::fs::write(&root, [&chain[..], b"\n"].concat()).unwrap();
    assert_eq!(code("b").as_deref(), Some("policy.root_invalid"));
    std::fs::write(&root, &chain).unwrap();
    assert_eq!(code("c"), None);
    // Alice has left.
    let next = text(&place.path("next.root"));
    std::fs::copy(&root, &next).unwrap();
    let keys = [&bob, &carol].map(|key| run(&["keys", "show", key]).ok().trim().to_owned());
    let terms = ["--threshold", "2", "--until", "2090-01-01T00:00:00Z", "--key", &keys[0], "--key", &keys[1]];
    run(&[&["bundle", "root", "next", &next][..], &terms].concat()).ok();
    for signer in [&bob, &carol] {
        run(&["bundle", "root", "sign", &next, "--key", signer]).ok();
    }
    std::fs::rename(&next, &root).unwrap();
    assert_eq!(code("d").as_deref(), Some("policy.threshold"));
    run(&["bundle", "sign", &file, "--key", &carol]).ok();
    assert_eq!(code("e"), None);
}

/// Root 2 left Alice and Bob out. They signed another root 2, of Mallory's keys, and put that in its place: it was accepted, and
/// Mallory signed bundles.
#[test]
fn keys_that_the_root_in_force_had_left_out_signed_another_root_in_its_place() {
    let place = Place::demo();
    let team = team(place.path("").as_path());
    let file = rooted(&place, &team);
    let (root, _, [alice, bob, carol]) = &team;
    let first = std::fs::read(root).unwrap();
    let next = |keys: &[&(String, String); 2], signers: &[&String]| {
        let terms = ["--threshold", "2", "--until", "2090-01-01T00:00:00Z"];
        let keys = ["--key", &keys[0].1, "--key", &keys[1].1];
        run(&[&["bundle", "root", "next", root][..], &terms, &keys].concat()).ok();
        for key in signers {
            run(&["bundle", "root", "sign", root, "--key", key]).ok();
        }
    };
    let sign = |keys: [&(String, String); 2]| {
        for (key, _) in keys {
            run(&["bundle", "sign", &file, "--key", key]).ok();
        }
    };
    let made = |name: &str| key(place.path("").as_path(), name);
    let [dora, erin, mallory, trudy] = ["dora", "erin", "mallory", "trudy"].map(made);
    let code = |key: &str| decided(&place, key)["reason"]["code"].as_str().map(str::to_owned);
    let daemon = Daemon::start(&place);
    assert_eq!(code("a"), None);
    next(&[&dora, &erin], &[bob, carol, &dora.0, &erin.0]);
    let second = std::fs::read(root).unwrap();
    sign([&dora, &erin]);
    assert_eq!(code("b"), None);
    let forge = || {
        std::fs::write(root, &first).unwrap();
        next(&[&mallory, &trudy], &[alice, bob, &mallory.0, &trudy.0]);
    };
    forge();
    sign([&mallory, &trudy]);
    assert_eq!(code("c").as_deref(), Some("policy.rolled_back"));
    std::fs::write(root, &first).unwrap();
    assert_eq!(code("d").as_deref(), Some("policy.rolled_back"), "of Alice and Bob");
    std::fs::write(root, &second).unwrap();
    assert_eq!(code("e"), None);
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    // It is on record, over restarts, and whatever follows the other root does not make it another.
    forge();
    next(&[&mallory, &erin], &[&mallory.0, &trudy.0, &erin.0]);
    with(&place.config_path, &["bundle", "show"]).failed("policy.rolled_back");
    let said = with(&place.config_path, &["bundle", "show"]);
    assert!(said.err.contains("root 2"), "{said:?}");
    let _daemon = Daemon::with(&place.config_path);
    assert_eq!(code("f").as_deref(), Some("policy.rolled_back"));
    // What follows the root that was in force is as good as ever.
    std::fs::write(root, &second).unwrap();
    next(&[&erin, &trudy], &[&dora.0, &erin.0, &trudy.0]);
    assert_eq!(code("g"), None, "by Erin and Trudy");
    let history = with(&place.config_path, &["bundle", "history", "--json"]);
    let roots: Vec<_> = history
        .ok()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["root"]["version"].as_u64().unwrap())
        .collect();
    assert_eq!(roots, [1, 2, 3], "{history:?}");
}

#[test]
fn a_key_that_the_next_root_leaves_out_signs_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let (root, pin, [alice, bob, carol]) = team(folder.path());
    let at = text(&folder.path().join("payments"));
    run(&["bundle", "new", &at]).ok();
    let sign = || {
        run(&["bundle", "sign", &at, "--key", &alice]).ok();
        run(&["bundle", "sign", &at, "--key", &bob]).ok();
    };
    sign();
    assert_eq!(verified(&at, &root, &pin)["reason"], "policy.untested", "it could not decide");
    let manifest = folder.path().join("payments/bundle.toml");
    let said = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, said.replace("\nversion = 1\n", "\nversion = 1\nuntested = true\n")).unwrap();
    sign();
    assert_eq!(verified(&at, &root, &pin)["verified"], true);
    let (dora, dora_key) = key(folder.path(), "dora");
    let terms = ["--threshold", "2", "--until", "2091-01-01T00:00:00Z"];
    let carols = run(&["keys", "show", &carol]).ok().trim().to_owned();
    run(&[&["bundle", "root", "next", &root, "--key", &dora_key, "--key", &carols][..], &terms].concat())
        .ok();
    for signer in [&dora, &carol] {
        run(&["bundle", "root", "sign", &root, "--key", signer]).ok();
        // Two of the new root, and only one of the old.
        let said = run(&["bundle", "verify", &at, "--root", &root, "--root-pin", &pin]);
        said.failed("policy.root_invalid");
    }
    run(&["bundle", "root", "sign", &root, "--key", &bob]).ok();
    assert_eq!(verified(&at, &root, &pin)["reason"], "policy.untrusted_key", "of Alice and Bob");
    run(&["bundle", "sign", &at, "--key", &carol]).ok();
    assert_eq!(verified(&at, &root, &pin)["reason"], "policy.threshold");
    run(&["bundle", "sign", &at, "--key", &dora]).ok();
    let said = verified(&at, &root, &pin);
    assert_eq!((&said["verified"], &said["root"]), (&true.into(), &2.into()), "{said}");
}

#[test]
fn differences_are_told_by_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let at = text(&folder.path().join("payments"));
    let file = text(&folder.path().join("before.bundle"));
    run(&["bundle", "new", &at]).ok();
    run(&["bundle", "build", &at, "-o", &file]).ok();
    assert!(run(&["bundle", "diff", &file, &at]).ok().contains("nothing differs"));
    let manifest = PathBuf::from(&at).join("bundle.toml");
    let changed = std::fs::read_to_string(&manifest).unwrap().replace("version = 1", "version = 2");
    std::fs::write(manifest, changed).unwrap();
    let policy = "@id(\"nothing\")\nforbid (principal, action, resource);";
    std::fs::write(PathBuf::from(&at).join("policies/main.cedar"), policy).unwrap();
    let said = run(&["bundle", "diff", &file, &at]);
    assert_eq!(
        said.ok(),
        format!(
            "bundle version changed\n  - 1\n  + 2\npolicy nothing added\n  + {}\n",
            policy.replace('\n', "\n  + ")
        )
    );
    let lines = run(&["bundle", "diff", &file, &at, "--json"]);
    let first: Value = serde_json::from_str(lines.ok().lines().next().unwrap()).unwrap();
    assert_eq!(first, serde_json::json!({ "part": "bundle", "name": "version", "old": "1", "new": "2" }));
}

/// The bundle's files with another version, signed with the deployment's own key and pinned.
fn release(place: &Place, version: u64) {
    let manifest = place.config.bundle.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let lines = text.lines().map(|line| {
        if line.starts_with("version = ") { format!("version = {version}\n") } else { format!("{line}\n") }
    });
    std::fs::write(&manifest, lines.collect::<String>()).unwrap();
    with(&place.config_path, &["bundle", "sign"]).ok();
    with(&place.config_path, &["bundle", "pin"]).ok();
}

pub(crate) fn decided(place: &Place, key: &str) -> Value {
    let request = serde_json::json!({
        "surface": "demo.charge",
        "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "1.00" },
        "idempotency_key": key,
    });
    let file = place.file("request.json", &request.to_string());
    let said = with(&place.config_path, &["decide", &text(&file)]);
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Signed in its day, pinned by whoever restored an old configuration with it.
#[test]
fn an_old_version_that_is_signed_and_pinned_does_not_decide_after_a_newer_one_did() {
    let place = Place::demo();
    assert_eq!(decided(&place, "a")["decision"], "PERMIT");
    release(&place, 3);
    assert_eq!(decided(&place, "b")["decision"], "PERMIT");
    release(&place, 2);
    let refused = decided(&place, "c");
    assert_eq!(refused["reason"]["code"], "policy.rolled_back", "{refused}");
    with(&place.config_path, &["bundle", "show"]).failed("policy.rolled_back");
    // Going back is the old content under a higher version.
    release(&place, 4);
    assert_eq!(decided(&place, "d")["decision"], "PERMIT");
    let history = with(&place.config_path, &["bundle", "history", "--json"]);
    let versions: Vec<u64> = history
        .ok()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["bundle"]["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, [1, 3, 4]);
    assert!(with(&place.config_path, &["bundle", "history"]).ok().contains("demo version 3"));
}

/// How much stack a thread gets that asks for none is the environment's to say: a bundle of the deepest policies that load ended a
/// daemon whose environment said less.
#[test]
fn a_small_stack_in_the_environment_ended_a_daemon_with_a_deep_bundle() {
    let mut bundle = portcullis_policy::bundles::demo();
    let deep = format!("{}context.amount == decimal(\"7.00\"){}", "!(".repeat(11), ")".repeat(11));
    let policy = format!(
        "@id(\"deep\") forbid (principal, action == Action::\"demo.charge\", resource) when {{ !({deep}) && {deep} }};"
    );
    bundle.insert("policies/deep.cedar".into(), policy.into_bytes());
    let mut place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
    place.environment.push(("RUST_MIN_STACK".to_owned(), (160 * 1024).to_string()));
    let daemon = Daemon::within(&place.config_path, &place.environment);
    let said = decided(&place, "a");
    assert_eq!(said["decision"], "PERMIT", "{said}");
    assert!(daemon.end(rustix::process::Signal::TERM).success());
}
