//! Bundles that decide only if the arbiter proved them: with the real cvc5, with none, and with programs in its place.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_policy::Snapshot;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bundles::decided;
use crate::support::http::post;
use crate::support::{Daemon, Place, program, text};
use crate::{Ended, run, with};

const CAP: &str = "@id(\"a-cap\")
@sentence(\"Nobody charges more than 100.00.\")
forbid (principal, action == Action::\"demo.charge\", resource)
when { context.amount.greaterThan(decimal(\"100.00\")) };
";
const REQUIRED: &str = "\n[proofs]\nrequired = true\n";
const WAIVED: &str = "\n[proofs]\nrequired = false\n";

/// A bundle of this version, signed: the deployment's with this at the end of its manifest, an invariant that caps
/// charges, and this most that policy grants.
fn release(place: &Place, version: u64, proofs: &str, most: &str) -> String {
    let at = place.path(&format!("release-{version}-{most}"));
    let snapshot = Snapshot::read(&place.config.bundle).unwrap();
    for (path, bytes) in
        snapshot.files().filter(|(path, _)| *path != "bundle.sig" && !path.starts_with("tests/"))
    {
        let file = at.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let mut content = String::from_utf8(bytes.to_vec()).unwrap();
        if path == "bundle.toml" {
            let said = format!("\nversion = {version}\nuntested = true\n");
            content = content.replace("\nversion = 1\n", &said) + proofs;
        }
        std::fs::write(file, content.replace("decimal(\"100.00\")", &format!("decimal(\"{most}\")")))
            .unwrap();
    }
    std::fs::create_dir_all(at.join("invariants")).unwrap();
    std::fs::write(at.join("invariants/main.cedar"), CAP).unwrap();
    let at = text(&at);
    run(&["bundle", "sign", &at, "--key", &text(&place.path("keys/bundle.key"))]).ok();
    at
}

/// Puts lines into the configuration's `[policy]`.
fn configure(place: &Place, lines: &str) {
    let before = std::fs::read_to_string(&place.config_path).unwrap();
    let after = before.replacen("[policy]\n", &format!("[policy]\n{lines}\n"), 1);
    assert_ne!(before, after);
    std::fs::write(&place.config_path, after).unwrap();
}

/// A program in the solver's place.
fn script(place: &Place, name: &str, body: &str) -> PathBuf {
    let path = place.path(name);
    let version = "[ \"$1\" = --version ] && { echo 'This is cvc5 version 0'; exit; }";
    std::fs::write(&path, format!("#!/bin/sh\n{version}\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn activate(place: &Place, bundle: &str) -> Ended {
    with(&place.config_path, &["bundle", "activate", bundle, "--reason", "a test"])
}

/// What a charge is answered now: `PERMIT`, or the code.
fn answered(place: &Place, key: &str) -> String {
    let said = decided(place, key);
    said["reason"]["code"].as_str().or(said["decision"].as_str()).unwrap().to_owned()
}

fn shown(place: &Place) -> String {
    with(&place.config_path, &["bundle", "show"]).ok().lines().next().unwrap().to_owned()
}

#[test]
fn a_bundle_that_demands_a_proof_decides_only_after_the_arbiter_proved_it() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    let refuted = release(&place, 2, REQUIRED, "1000.00");
    let said = activate(&place, &refuted);
    said.failed("policy.unproved: the bundle was not activated, and the one in force stays");
    for words in [
        "a-cap (Nobody charges more than 100.00.): refuted for Agent, Action::\"demo.charge\"",
        "bundle prove",
    ] {
        assert!(said.err.contains(words), "{words}: {said:?}");
    }
    assert_eq!((shown(&place).as_str(), answered(&place, "a").as_str()), ("demo version 1", "PERMIT"));
    let said = activate(&place, &release(&place, 3, REQUIRED, "100.00"));
    // That it decides is said first: what changed is found out beside the arbiter's proof, and stops nothing.
    assert!(said.out.starts_with("demo version 3 decides\n"), "{said:?}");
    assert!(said.out.contains("\nNOT KNOWN case tests/demo.toml"), "what is lost is said: {said:?}");
    assert!(
        said.ok().contains("4 statements proved by cedar-policy-symcc") && said.out.contains("cvc5 version")
    );
    assert_eq!((shown(&place).as_str(), answered(&place, "b").as_str()), ("demo version 3", "PERMIT"));
    // What was proved, by what, and where the report is, stand beside the activation.
    let history = with(&place.config_path, &["bundle", "history"]);
    for words in [
        "it says of proofs: required",
        "4 statements proved by cedar-policy-symcc",
        "cvc5 version",
        "kept in",
    ] {
        assert!(history.ok().contains(words), "{words}: {history:?}");
    }
    let lines = with(&place.config_path, &["bundle", "history", "--json"]);
    let told: Vec<Value> = lines.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let proof = told.iter().map(|line| &line["proof"]).find(|proof| !proof.is_null()).unwrap();
    let report = proof["report"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let file = place.config.data.join("proofs").join(format!("{report}.json"));
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let statements = kept["report"]["statements"].as_array().unwrap();
    assert!(statements.len() == 4 && statements.iter().all(|it| it["proof"]["status"] == "proved"), "{kept}");
    assert_eq!((&proof["solver"], &proof["kept"]), (&kept["report"]["solver"], &json!(true)));
    // Over a restart by the log alone; a report that is spoiled is said.
    assert!(daemon.end(Signal::TERM).success());
    std::fs::write(&file, "{}").unwrap();
    let _daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "c"), "PERMIT");
    let history = with(&place.config_path, &["bundle", "history"]);
    assert!(history.ok().contains("MISSING, or changed"), "{history:?}");
}

#[test]
fn a_demand_for_proofs_does_not_end_in_silence_nor_unproved() {
    let place = Place::demo();
    let _daemon = Daemon::start(&place);
    activate(&place, &release(&place, 2, REQUIRED, "100.00")).ok();
    activate(&place, &release(&place, 3, "", "100.00")).failed("policy.proofs_dropped");
    activate(&place, &release(&place, 4, WAIVED, "1000.00")).failed("a-cap (Nobody charges");
    assert_eq!(shown(&place), "demo version 2");
    let said = activate(&place, &release(&place, 5, WAIVED, "100.00"));
    assert!(said.ok().contains("4 statements proved"), "{said:?}");
    // From here on nobody demands one.
    let said = activate(&place, &release(&place, 6, "", "1000.00"));
    assert!(!said.ok().contains("proved"), "{said:?}");
    assert_eq!(shown(&place), "demo version 6");
}

/// Each of them is an arbiter whose solver was pulled, hangs, or says what it is not asked.
#[test]
fn without_a_solver_to_believe_a_bundle_that_demands_a_proof_is_refused() {
    let place = Place::demo();
    let bundle = release(&place, 2, REQUIRED, "100.00");
    let original = std::fs::read_to_string(&place.config_path).unwrap();
    let liar = script(&place, "liar", "cat > /dev/null; echo unsat");
    let slow = script(&place, "slow", "sleep 600");
    for (number, (solver, words)) in [
        (PathBuf::from("/nowhere/cvc5"), "cannot be looked at"),
        (liar, "the solver is wrong about what is known"),
        (slow, "took longer"),
    ]
    .into_iter()
    .enumerate()
    {
        std::fs::write(&place.config_path, &original).unwrap();
        configure(&place, &format!("solver = \"{}\"\nprove_within_s = 2", solver.display()));
        let daemon = Daemon::start(&place);
        let said = activate(&place, &bundle);
        said.failed("policy.unproved");
        assert!(said.err.contains(words), "{words}: {said:?}");
        assert_eq!(shown(&place), "demo version 1");
        assert_eq!(answered(&place, &format!("key-{number}")), "PERMIT");
        daemon.kill();
    }
    // The environment names no solver to an arbiter.
    std::fs::write(&place.config_path, &original).unwrap();
    configure(&place, "solver = \"/nowhere/cvc5\"");
    let mut command = Command::new(program());
    command.args(["bundle", "activate", &bundle, "--reason", "a test", "--config"]).arg(&place.config_path);
    let said = Ended::of(&command.env("CVC5", "/usr/bin/cvc5").stdin(Stdio::null()).output().unwrap());
    said.failed("cannot be looked at");
}

#[test]
fn an_order_without_a_proof_that_the_arbiter_made_itself_is_refused() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    let token = std::fs::read_to_string(place.path("keys/operator.token")).unwrap();
    let snapshot = Snapshot::read(release(&place, 2, REQUIRED, "100.00").as_ref()).unwrap();
    let offer = portcullis_server::Offer::new(&place.config, &snapshot).unwrap();
    let laid = offer.bundle();
    let order = json!({ "what": { "activate_bundle": { "bundle": laid } }, "reason": "a test" });
    let post =
        |path, body: &Value| post(&daemon.server(), path, token.trim(), body.to_string().as_bytes()).unwrap();
    let said = post("/v1/operator/orders", &order);
    assert_eq!(said.json()["reason"]["code"], "policy.unproved", "{said:?}");
    let looked = post("/v1/operator/proofs", &json!({ "bundle": laid, "step": "look" }));
    assert_eq!(looked.json(), json!({ "state": "not_begun" }));
    assert_eq!(shown(&place), "demo version 1");
}

#[test]
fn a_pin_is_no_proof() {
    let place = Place::demo();
    configure(&place, "require_proofs = true");
    // No daemon becomes ready: nothing is permitted.
    assert_eq!(answered(&place, "a"), "policy.unproved");
    with(&place.config_path, &["bundle", "show"]).failed("policy.unproved");
    let said = with(&place.config_path, &["bundle", "pin"]);
    assert!(said.ok().starts_with("pinned already"), "{said:?}");
    // Nobody is there: the command hosts the arbiter, and proves, itself. The pinned version was never in force.
    let said = activate(&place, &text(&place.config.bundle));
    assert!(said.ok().contains("3 statements proved"), "{said:?}");
    let _daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "b"), "PERMIT");
}

/// A bundle that was activated when nobody demanded a proof is no exception.
#[test]
fn a_configuration_that_begins_to_demand_proofs_silences_what_was_not_proved() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    activate(&place, &release(&place, 2, "", "100.00")).ok();
    assert_eq!(answered(&place, "a"), "PERMIT");
    daemon.kill();
    configure(&place, "require_proofs = true");
    assert_eq!(answered(&place, "b"), "policy.unproved");
    activate(&place, &release(&place, 3, "", "100.00")).ok();
    let _daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "c"), "PERMIT");
}

#[test]
fn ctrl_c_ends_the_arbiters_solver_and_decisions_go_on_meanwhile() {
    let place = Place::demo();
    let pids = place.path("pids");
    let hanging =
        script(&place, "hanging", &format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 600", pids.display()));
    configure(&place, &format!("solver = \"{}\"", hanging.display()));
    let _daemon = Daemon::start(&place);
    let mut command = Command::new(program());
    command.args([
        "bundle",
        "activate",
        &release(&place, 2, REQUIRED, "100.00"),
        "--reason",
        "a test",
        "--config",
    ]);
    let command =
        command.arg(&place.config_path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let began = Instant::now();
    while !pids.exists() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::yield_now();
    }
    assert_eq!(answered(&place, "a"), "PERMIT", "the bundle in force decides while another is proved");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let ended = Ended::of(&child.wait_with_output().unwrap());
    ended.failed("stopped before the bundle was proved; nothing was activated");
    let path = format!("/proc/{}/stat", std::fs::read_to_string(&pids).unwrap().trim());
    let began = Instant::now();
    while std::fs::read_to_string(&path).is_ok_and(|state| !state.contains(") Z ")) {
        assert!(began.elapsed() < Duration::from_secs(20), "the solver is still there");
        std::thread::yield_now();
    }
    assert_eq!(shown(&place), "demo version 1");
}
