//! `portcullis bundle activate`: another bundle decides from one decision to the next, or nothing changes.

use portcullis_policy::Snapshot;
use portcullis_server::Offer;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bundles::decided;
use crate::support::http::post;
use crate::support::release::{copy, release, signed_release};
use crate::support::{Daemon, Place, text};
use crate::{Ended, run, with};

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
    assert!(said.ok().contains("more permissive, "), "{said:?}");
    // Before it has decided anything, so that its first decision need not wait for that.
    let digest = Snapshot::read(release(&place, 2, true).as_ref()).unwrap().digest();
    assert!(portcullis_server::archived_bundle(&place.config, &digest).is_some(), "not archived");
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

/// They spoke of the configuration's bundle, which decides nothing any more after an activation.
#[test]
fn commands_without_a_bundle_speak_of_the_one_in_force_by_the_log() {
    let place = Place::demo();
    let _daemon = Daemon::start(&place);
    activate(&place, &release(&place, 2, true)).ok();
    let with = |args: &[&str]| with(&place.config_path, args);
    for command in ["check", "prove", "verify"] {
        let said = with(&["bundle", command]);
        assert!(said.ok().starts_with("demo version 2\n"), "{command}: {said:?}");
    }
    assert!(with(&["bundle", "test"]).err.contains("the bundle has no cases"), "those of version 1 pass");
    let trace = place.path("trace");
    let request = json!({ "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" }, "context": { "account": "a", "amount": "1.00" } });
    std::fs::write(&trace, json!({ "agent": "demo-agent", "request": request }).to_string()).unwrap();
    let first = text(&place.config.bundle);
    let said = with(&["simulate", "--bundle", &first, "--trace", &text(&trace)]);
    assert!(said.ok().contains("DENY policy.forbidden -> PERMIT"), "{said:?}");
    // What is worked on, and signed, is still the configuration's.
    let built = place.path("built");
    let said = with(&["bundle", "build", "-o", &text(&built)]);
    assert!(said.ok().contains("demo version 1"), "{said:?}");
    let folder = place.config.data.join("bundles");
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    std::fs::copy(release(&place, 3, false), &file).unwrap();
    with(&["bundle", "prove"]).failed("the bundle that was activated last is sha256:");
    std::fs::remove_file(&file).unwrap();
    with(&["bundle", "check"]).failed("cannot be read");
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
    let untested = copy(&place, 13, false);
    std::fs::remove_dir_all(untested.join("tests")).unwrap();
    let untested = sign(text(&untested));
    // Signed by the same people, and for another place.
    let elsewhere = sign(edited(12, "bundle.toml", "name = \"demo\"", "name = \"demo-staging\""));
    for (bundle, code, by_arbiter) in [
        (&elsewhere, "policy.pin_mismatch", "policy.pin_mismatch"),
        (&unsigned, "policy.unsigned", "policy.unsigned"),
        (&strangers, "policy.untrusted_key", "policy.untrusted_key"),
        (&expired, "policy.expired", "policy.expired"),
        (&failing, "fails", "policy.corrupt"),
        (&untested, "policy.untested", "policy.untested"),
        (&release(&place, 5, false), "higher", "policy.rolled_back"),
        (&release(&place, 4, true), "higher", "policy.rolled_back"),
    ] {
        activate(&place, bundle).failed(code);
        // Whoever leaves the command's own checks out gets no further with the arbiter.
        let snapshot = Snapshot::read(bundle.as_ref()).unwrap();
        let offer = Offer::new(&place.config, &snapshot);
        let offer = offer.unwrap_or_else(|error| panic!("{bundle}: {error}"));
        let order =
            json!({ "what": { "activate_bundle": { "bundle": offer.bundle() } }, "reason": "a test" });
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
    let offer = Offer::new(&place.config, &snapshot).unwrap();
    let mut offered = json!(offer.bundle());
    offered["version"] = 11.into();
    assert_eq!(lie(&offered)["reason"]["code"], "policy.pin_mismatch");
    let agents = place.token("demo-agent");
    let by_agent = post(&daemon.server(), "/v1/operator/orders", &agents, b"{}").unwrap();
    assert_eq!(by_agent.status, 403, "no agent reaches the lever");
    assert_eq!((shown(&place), answered(&place, "last").as_str()), (5, "PERMIT"));
}

/// The command does not load what it offers: what is wrong within it is the arbiter's to find.
#[test]
fn a_bundle_that_does_not_load_is_refused_by_the_arbiter_with_nothing_recorded() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    activate(&place, &release(&place, 2, false)).ok();
    assert_eq!(answered(&place, "a"), "PERMIT");
    let broken = copy(&place, 3, false);
    let policy = "@id(\"broken\")\npermit (principal, action, resource) when { context.nobody == 1 };\n";
    std::fs::write(broken.join("policies/broken.cedar"), policy).unwrap();
    run(&["bundle", "sign", &text(&broken), "--key", &text(&place.path("keys/bundle.key"))]).ok();
    let recorded = || portcullis_server::open_ledger(&place.config).unwrap().head().size();
    let before = recorded();
    let said = activate(&place, &text(&broken));
    said.failed("policies/broken.cedar");
    assert!(said.err.contains("policy.corrupt: ") && said.err.contains("nobody"), "{said:?}");
    assert!(said.out.is_empty(), "{said:?}");
    let snapshot = Snapshot::read(&broken).unwrap();
    let (named, _) = snapshot.signed_by(&place.config.signers.authority().unwrap()).unwrap();
    let offer = Offer::signed(&place.config, named, &snapshot).unwrap();
    let token = std::fs::read_to_string(place.path("keys/operator.token")).unwrap();
    let order = json!({ "what": { "activate_bundle": { "bundle": offer.bundle() } }, "reason": "a test" });
    let said = post(&daemon.server(), "/v1/operator/orders", token.trim(), order.to_string().as_bytes());
    assert_eq!(said.unwrap().json()["reason"]["code"], "policy.corrupt");
    assert_eq!(recorded(), before, "a refused order is on record");
    assert_eq!((shown(&place), answered(&place, "b").as_str()), (2, "PERMIT"));
}

#[test]
fn an_activated_bundle_that_is_pulled_or_changed_is_silence_and_never_the_one_before_it() {
    let place = Place::demo();
    let _daemon = Daemon::start(&place);
    let bundle = release(&place, 2, false);
    activate(&place, &bundle).ok();
    assert_eq!(answered(&place, "a"), "PERMIT");
    let folder = place.config.data.join("bundles");
    let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let file = files.into_iter().find(|file| file.extension().is_some_and(|end| end == "bundle")).unwrap();
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

/// An activation that is refused wrote the file of the bundle in force anew: with the signatures of somebody whom the
/// arbiter does not trust, nothing was permitted any more.
#[test]
fn a_refused_activation_of_the_same_content_replaced_the_signatures_of_the_bundle_in_force() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    activate(&place, &release(&place, 2, false)).ok();
    let folder = place.config.data.join("bundles");
    let laid = || {
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.extension().is_some_and(|end| end == "bundle")).collect::<Vec<_>>()
    };
    let [file] = laid().try_into().unwrap();
    let before = std::fs::read(&file).unwrap();
    let other = text(&place.path("other.key"));
    run(&["keys", "generate", &other, "--name", "other.example"]).ok();
    let token = std::fs::read_to_string(place.path("keys/operator.token")).unwrap();
    for (key, version, code) in [(&other, 2, "policy.rolled_back"), (&other, 3, "policy.untrusted_key")] {
        let bundle = signed_release(&place, version, false, key, "again.bundle");
        let offer = Offer::new(&place.config, &Snapshot::read(bundle.as_ref()).unwrap()).unwrap();
        let order =
            json!({ "what": { "activate_bundle": { "bundle": offer.bundle() } }, "reason": "a test" });
        let said = post(&daemon.server(), "/v1/operator/orders", token.trim(), order.to_string().as_bytes());
        assert_eq!(said.unwrap().json()["reason"]["code"], code);
        assert_eq!(answered(&place, &format!("after-{version}")), "PERMIT");
        assert_eq!(std::fs::read(&file).unwrap(), before);
        assert_eq!(laid(), std::slice::from_ref(&file), "what is not activated does not stay");
    }
    let left = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("offered")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A release whose agents come from `directory`, and which is otherwise the deployment's.
fn sourced(place: &Place, version: u64) -> String {
    let at = copy(place, version, false);
    let manifest = std::fs::read_to_string(at.join("bundle.toml")).unwrap();
    let source = "\n[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"10m\"\n";
    std::fs::write(at.join("bundle.toml"), format!("{manifest}{source}")).unwrap();
    std::fs::rename(at.join("entities.json"), at.join("tests/directory.json")).unwrap();
    std::fs::write(at.join("entities.json"), "[]").unwrap();
    let file = text(&place.path(&format!("sourced-{version}.bundle")));
    run(&["bundle", "build", &text(&at), "-o", &file]).ok();
    run(&["bundle", "sign", &file, "--key", &text(&place.path("keys/bundle.key"))]).ok();
    file
}

/// It decided, and there was nothing but SILENCE from then on.
#[test]
fn a_bundle_whose_sources_gave_nothing_came_into_force() {
    let place = Place::demo();
    let agents = std::fs::read_to_string(place.config.bundle.join("entities.json")).unwrap();
    let next = sourced(&place, 2);
    // Nothing says where the source is.
    let unsaid = activate(&place, &next);
    unsaid.failed("fact.unavailable: the bundle was not activated, and the one in force stays");
    unsaid.failed("the configuration has no `[facts.directory]`");
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    std::fs::write(&place.config_path, format!("{config}\n[facts.directory]\nfile = \"directory.json\"\n"))
        .unwrap();
    let daemon = Daemon::start(&place);
    let gives = |seconds: i64, agents: &str| {
        let document = format!(r#"{{"v":1,"as_of":"{}","entities":{agents}}}"#, crate::facts::ago(seconds));
        std::fs::rename(place.file("directory.new", &document), place.path("directory.json")).unwrap();
    };
    activate(&place, &next).failed("source of facts `directory` is unavailable");
    gives(601, &agents);
    activate(&place, &next).failed("fact.stale: the bundle was not activated");
    // A policy names an agent that nobody gives.
    gives(0, &agents.replace("demo-agent", "other-agent"));
    activate(&place, &next).failed("which nobody gives");
    assert_eq!((answered(&place, "a").as_str(), shown(&place)), ("PERMIT", 1), "nothing was changed");
    gives(0, &agents);
    activate(&place, &next).ok();
    assert_eq!((answered(&place, "b").as_str(), shown(&place)), ("PERMIT", 2));
    // Where nothing is permitted for want of facts as it is, another bundle takes nothing away, and may be what mends that.
    std::fs::remove_file(place.path("directory.json")).unwrap();
    assert_eq!(answered(&place, "c"), "fact.unavailable");
    activate(&place, &sourced(&place, 3)).ok();
    assert_eq!(answered(&place, "d"), "fact.unavailable");
    activate(&place, &release(&place, 4, false)).ok();
    assert_eq!(answered(&place, "e"), "PERMIT");
    drop(daemon);
}
