//! `portcullis bundle activate`: another bundle decides from one decision to the next, or nothing changes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis_policy::Snapshot;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bundles::decided;
use crate::support::http::post;
use crate::support::random::Random;
use crate::support::{Daemon, Place, program, text};
use crate::{Ended, run, with};

const FORBID: &str = "@id(\"nothing\")\nforbid (principal, action, resource);\n";

/// A copy of the deployment's bundle with another version, and with a policy that forbids everything if `shut`, unsigned.
fn copy(place: &Place, version: u64, shut: bool) -> PathBuf {
    let at = place.path(&format!("bundle-{version}-{shut}"));
    let snapshot = Snapshot::read(&place.config.bundle).unwrap();
    for (path, bytes) in snapshot.files().filter(|(path, _)| *path != "bundle.sig") {
        let file = at.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let manifest =
            String::from_utf8_lossy(bytes).replace("\nversion = 1\n", &format!("\nversion = {version}\n"));
        std::fs::write(file, if path == "bundle.toml" { manifest.as_bytes() } else { bytes }).unwrap();
    }
    if shut {
        std::fs::write(at.join("policies/nothing.cedar"), FORBID).unwrap();
        std::fs::remove_dir_all(at.join("tests")).unwrap();
    }
    at
}

/// The same, signed and in one file.
fn release(place: &Place, version: u64, shut: bool) -> String {
    let file = text(&place.path(&format!("{version}-{shut}.bundle")));
    run(&["bundle", "build", &text(&copy(place, version, shut)), "-o", &file]).ok();
    run(&["bundle", "sign", &file, "--key", &text(&place.path("keys/bundle.key"))]).ok();
    file
}

fn activate(place: &Place, bundle: &str) -> Ended {
    with(&place.config_path, &["bundle", "activate", bundle, "--reason", "a test"])
}

/// What a charge is answered now: `PERMIT`, or the code.
fn answered(place: &Place, key: &str) -> String {
    let said = decided(place, key);
    said["reason"]["code"].as_str().or(said["decision"].as_str()).unwrap().to_owned()
}

/// The version that `bundle show` says decides.
fn shown(place: &Place) -> u64 {
    let said = with(&place.config_path, &["bundle", "show"]);
    let word = said.ok().lines().next().unwrap().rsplit(' ').next().unwrap();
    word.parse().unwrap()
}

#[test]
fn an_activated_bundle_decides_from_the_next_decision_on_and_over_restarts() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "a"), "PERMIT");
    let said = activate(&place, &release(&place, 2, true));
    assert!(said.ok().starts_with("demo version 2 decides\nsha256:"), "{said:?}");
    assert_eq!(answered(&place, "b"), "policy.forbidden");
    assert_eq!(shown(&place), 2);
    // What the configuration names says nothing any more, whether it is there or not.
    with(&place.config_path, &["bundle", "pin"]).failed("bundle activate");
    std::fs::rename(&place.config.bundle, place.path("away")).unwrap();
    assert_eq!(answered(&place, "c"), "policy.forbidden");
    daemon.kill();
    let daemon = Daemon::start(&place);
    assert_eq!(answered(&place, "d"), "policy.forbidden");
    std::fs::rename(place.path("away"), &place.config.bundle).unwrap();
    // Back is forward: the old content under a higher version.
    activate(&place, &release(&place, 3, false)).ok();
    assert_eq!(answered(&place, "e"), "PERMIT");
    assert!(daemon.end(Signal::TERM).success());
    // With nobody there, the command hosts the arbiter itself.
    activate(&place, &release(&place, 4, true)).ok();
    assert_eq!((answered(&place, "f").as_str(), shown(&place)), ("policy.forbidden", 4));
    let history = with(&place.config_path, &["bundle", "history"]);
    for words in
        ["operator activates demo version 2: a test", "activates demo version 3", "demo version 1  sha256:"]
    {
        assert!(history.ok().contains(words), "{words}: {history:?}");
    }
}

#[test]
fn what_cannot_decide_is_not_activated_and_the_bundle_in_force_stays() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    activate(&place, &release(&place, 5, false)).ok();
    let edited = |version, path: &str, from: &str, to: &str| {
        let at = copy(&place, version, false);
        let file = at.join(path);
        let before = std::fs::read_to_string(&file).unwrap();
        let after = before.replace(from, to);
        assert_ne!(before, after, "{from}");
        std::fs::write(file, after).unwrap();
        text(&at)
    };
    let sign = |at: String| {
        run(&["bundle", "sign", &at, "--key", &text(&place.path("keys/bundle.key"))]).ok();
        at
    };
    let token = std::fs::read_to_string(place.path("keys/operator.token")).unwrap();
    let unsigned = text(&copy(&place, 6, false));
    let other = text(&place.path("other.key"));
    run(&["keys", "generate", &other, "--name", "other.example"]).ok();
    let strangers = text(&copy(&place, 7, false));
    run(&["bundle", "sign", &strangers, "--key", &other]).ok();
    let expired = sign(edited(8, "bundle.toml", "valid_until = \"2099-01", "valid_until = \"2025-06"));
    let failing = sign(edited(9, "tests/demo.toml", "amount = \"100.00\"", "amount = \"100.01\""));
    // Signed by the same people, and for another place.
    let elsewhere = sign(edited(12, "bundle.toml", "name = \"demo\"", "name = \"demo-staging\""));
    for (bundle, code, by_arbiter) in [
        (&elsewhere, "policy.pin_mismatch", "policy.pin_mismatch"),
        (&unsigned, "policy.unsigned", "policy.unsigned"),
        (&strangers, "policy.untrusted_key", "policy.untrusted_key"),
        (&expired, "policy.expired", "policy.expired"),
        (&failing, "fails", "policy.corrupt"),
        (&release(&place, 5, false), "higher", "policy.rolled_back"),
        (&release(&place, 4, true), "higher", "policy.rolled_back"),
    ] {
        activate(&place, bundle).failed(code);
        // Whoever leaves the command's own checks out gets no further with the arbiter.
        let snapshot = Snapshot::read(bundle.as_ref()).unwrap();
        let laid = portcullis_server::lay_ready(&place.config, &snapshot);
        let laid = laid.unwrap_or_else(|error| panic!("{bundle}: {error}"));
        let order = json!({ "what": { "activate_bundle": { "bundle": laid } }, "reason": "a test" });
        let body = order.to_string();
        let said = post(&daemon.server(), "/v1/operator/orders", token.trim(), body.as_bytes()).unwrap();
        assert_eq!(said.json()["reason"]["code"], by_arbiter, "{said:?}");
        assert_eq!((shown(&place), answered(&place, bundle).as_str()), (5, "PERMIT"), "{bundle}");
    }
    // One that lies nowhere, and one that lies there under the name of another.
    let absent = json!({ "name": "demo", "version": 99, "digest": format!("sha256:{}", "0".repeat(64)) });
    let lie = |bundle: &Value| {
        let order = json!({ "what": { "activate_bundle": { "bundle": bundle } }, "reason": "a test" });
        post(&daemon.server(), "/v1/operator/orders", token.trim(), order.to_string().as_bytes())
            .unwrap()
            .json()
    };
    assert_eq!(lie(&absent)["reason"]["code"], "policy.missing");
    let snapshot = Snapshot::read(release(&place, 10, false).as_ref()).unwrap();
    let mut laid = json!(portcullis_server::lay_ready(&place.config, &snapshot).unwrap());
    laid["version"] = 11.into();
    assert_eq!(lie(&laid)["reason"]["code"], "policy.pin_mismatch");
    let agents = place.token("demo-agent");
    let by_agent = post(&daemon.server(), "/v1/operator/orders", &agents, b"{}").unwrap();
    assert_eq!(by_agent.status, 403, "no agent reaches the lever");
    assert_eq!((shown(&place), answered(&place, "last").as_str()), (5, "PERMIT"));
}

#[test]
fn an_activated_bundle_that_is_pulled_or_changed_is_silence_and_never_the_one_before_it() {
    let place = Place::demo();
    let _daemon = Daemon::start(&place);
    let bundle = release(&place, 2, false);
    activate(&place, &bundle).ok();
    assert_eq!(answered(&place, "a"), "PERMIT");
    let folder = place.config.data.join("bundles");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(answered(&place, "b"), "policy.missing");
    std::fs::write(&file, b"PK\x03\x04").unwrap();
    assert_eq!(answered(&place, "c"), "policy.corrupt");
    std::fs::copy(release(&place, 3, true), &file).unwrap();
    assert_eq!(answered(&place, "d"), "policy.pin_mismatch");
    std::fs::write(&file, &good).unwrap();
    assert_eq!(answered(&place, "e"), "PERMIT");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(answered(&place, "f"), "policy.missing");
    // Laid there once more, the activation of it is refused, and it decides again.
    activate(&place, &bundle).failed("higher");
    assert_eq!(answered(&place, "g"), "PERMIT");
}

/// Whenever the arbiter is killed, the old bundle decides or the new one does: what was reported done is, and a restart
/// finds one of the two whole.
#[test]
fn an_arbiter_killed_during_an_activation_leaves_the_old_bundle_or_the_new_one() {
    let place = Place::demo();
    let (mut random, seed) = Random::seeded();
    eprintln!("PORTCULLIS_SEED={seed}");
    let mut daemon = Daemon::start(&place);
    let begun = Instant::now();
    activate(&place, &release(&place, 2, true)).ok();
    let whole = begun.elapsed();
    let (mut old, mut new) = (0, 0);
    for round in 0..16_u64 {
        let (before, version) = (shown(&place), round + 3);
        let bundle = release(&place, version, version.is_multiple_of(2));
        let mut command = Command::new(program());
        command
            .args(["bundle", "activate", &bundle, "--reason", "a test", "--config"])
            .arg(&place.config_path);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut command = command.unwrap();
        // No condition to wait for: when it falls is what is tried.
        let within = usize::try_from(whole.as_micros() * 5 / 4).unwrap();
        let delay = Duration::from_micros(u64::try_from(random.below(within)).unwrap());
        std::thread::park_timeout(delay);
        daemon.kill();
        let done = command.wait().unwrap().success();
        daemon = Daemon::start(&place);
        let after = shown(&place);
        assert!(after == version || (after == before && !done), "{before} to {version}: {after}, {done}");
        let expected = if after.is_multiple_of(2) { "policy.forbidden" } else { "PERMIT" };
        assert_eq!(answered(&place, &format!("round-{round}")), expected, "{after}");
        if after == version { new += 1 } else { old += 1 }
    }
    eprintln!(
        "killed 16 times during an activation of {whole:?}: the old bundle {old} times, the new one {new}"
    );
}
