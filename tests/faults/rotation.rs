//! The log's key is replaced while gates elsewhere know the old one, the new one, or both.

use std::process::Command;

use portcullis_protocol::Event;
use portcullis_server::Config;
use portcullis_verify::{LogKeys, UnverifiedReceipt, VerifierKey};
use rustix::process::Signal;

use crate::interlocks::Scene;
use crate::signers::{self, MODES, under};
use crate::support::{Daemon, Place, openssl_signer, program, pull, text};
use crate::tokens::{GATE_DEADLINE, Hsm};

fn keys(place: &Place, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program());
    command.arg("keys").args(arguments).arg("--config").arg(&place.config_path);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Takes up what a command did to the configuration.
fn configured(place: &mut Place) {
    place.config = Config::read(&place.config_path).unwrap().arbiter().unwrap();
}

fn restarted(scene: &mut Scene) {
    stopped(scene);
    scene.daemon = Daemon::start(&scene.place);
}

fn stopped(scene: &mut Scene) {
    crate::support::signal(&scene.daemon.child, Signal::TERM);
    assert!(scene.daemon.child.wait().unwrap().success());
}

fn proves(receipt: &str, keys: &LogKeys) -> Result<(), String> {
    let receipt = UnverifiedReceipt::parse(receipt.as_bytes()).unwrap();
    receipt.verify_with(keys).map(drop).map_err(|error| format!("{error:?}"))
}

#[test]
fn a_key_is_replaced_under_gates_that_know_the_old_one_until_they_must_know_the_new() {
    let mut scene = Scene::on(Place::files(), 2_000, |place, _| place.socket_url());
    let old = scene.place.config.log_key.clone();
    let permit = scene.place.rows().first().unwrap().record.seq;
    let first = scene.place.receipt(permit);
    assert!(keys(&scene.place, &["rotate", "--finish"]).unwrap_err().contains("no rotation is under way"));

    let said = keys(&scene.place, &["rotate"]).unwrap();
    let new: VerifierKey = said.lines().next().unwrap().split(' ').next_back().unwrap().parse().unwrap();
    assert!(keys(&scene.place, &["rotate"]).unwrap_err().contains("is under way"));
    configured(&mut scene.place);
    // Nothing has changed before the arbiter is started again, and nothing can be ended.
    scene.runs();
    assert!(keys(&scene.place, &["rotate", "--finish"]).unwrap_err().contains("stop it"));
    stopped(&mut scene);
    assert!(keys(&scene.place, &["rotate", "--finish"]).unwrap_err().contains("has not signed"));

    // Both sign: the gate, which knows the old key alone, runs calls, and so does one that knows the new one.
    scene.daemon = Daemon::start(&scene.place);
    scene.recovers();
    let during = scene.place.receipt(permit);
    for key in [&old, &new] {
        proves(&during, &LogKeys::from(key)).unwrap();
    }
    stopped(&mut scene);
    let said = keys(&scene.place, &["rotate", "--finish"]).unwrap();
    assert!(said.contains(&format!("{old} until ")), "{said}");
    configured(&mut scene.place);
    assert_eq!(scene.place.config.log_key, new);

    // The new one signs alone: a gate that does not know it runs nothing, and says why.
    scene.daemon = Daemon::start(&scene.place);
    scene.is_silent("receipt.unverifiable");
    scene.knows_the_log_anew();
    scene.runs();
    let trusted = scene.place.config.log_keys.clone();
    proves(&first, &trusted).unwrap();
    assert!(
        proves(&scene.place.receipt(permit), &LogKeys::from(&old)).unwrap_err().contains("NoKnownSignature")
    );

    // Revoked: what only the old key signed is refused by name, and proved anew under the new one.
    keys(&scene.place, &["revoke", &old.to_string()]).unwrap();
    configured(&mut scene.place);
    restarted(&mut scene);
    scene.recovers();
    let trusted = scene.place.config.log_keys.clone();
    assert!(proves(&first, &trusted).unwrap_err().contains("RevokedKey"));
    proves(&scene.place.receipt(permit), &trusted).unwrap();
    assert!(keys(&scene.place, &["revoke", &new.to_string()]).unwrap_err().contains("keys rotate"));
    let events = scene.place.log().events();
    for event in [Event::KeyAdded, Event::KeyRetired] {
        assert_eq!(events.iter().filter(|found| **found == event).count(), 1, "{event:?}");
    }
}

/// Writes the section of the signer that is to follow, as operators do where it is no key file, and starts the arbiter again.
fn follows(scene: &mut Scene, key: &VerifierKey, section: &str) {
    let path = &scene.place.config_path;
    let before = std::fs::read_to_string(path).unwrap();
    let policy = "\n[policy]\n";
    assert!(before.contains(policy), "{before}");
    let next = format!("\n[next_signer]\nlog_key = \"{key}\"\n{section}{policy}");
    std::fs::write(path, before.replace(policy, &next)).unwrap();
    configured(&mut scene.place);
    restarted(scene);
    scene.recovers();
}

/// The newest decision's receipt is proved by each of these keys alone.
fn signed_by_each(scene: &Scene, keys: [&VerifierKey; 2]) {
    let receipt = scene.place.receipt(scene.place.rows().last().unwrap().record.seq);
    for key in keys {
        proves(&receipt, &LogKeys::from(key)).unwrap();
    }
}

#[test]
fn a_key_file_is_replaced_by_a_token_and_without_either_nothing_is_permitted_while_both_sign() {
    let mut scene = Scene::on(Place::files(), GATE_DEADLINE, |place, _| place.socket_url());
    let old = scene.place.config.log_key.clone();
    let hsm = Hsm::new(&scene.place);
    let new = hsm.generate("log", old.name().as_str());
    let section = hsm.section(&mut scene.place);
    follows(&mut scene, &new, &section);
    signed_by_each(&scene, [&old, &new]);
    for away in [hsm.folder.clone(), scene.place.signing_key()] {
        let away = pull(&away);
        scene.is_silent("signer.unavailable");
        scene.is_silent("signer.unavailable");
        away.back();
        scene.recovers();
    }
    signed_by_each(&scene, [&old, &new]);

    stopped(&mut scene);
    let said = keys(&scene.place, &["rotate", "--finish"]).unwrap();
    assert!(said.contains(&format!("{old} until ")), "{said}");
    configured(&mut scene.place);
    assert_eq!(scene.place.config.log_key, new);
    // The token signs alone, and the old key's file is not asked for any more.
    std::fs::remove_file(scene.place.path("keys/log.key")).unwrap();
    scene.daemon = Daemon::start(&scene.place);
    scene.is_silent("receipt.unverifiable");
    scene.knows_the_log_anew();
    scene.runs();
    let receipt = scene.place.receipt(scene.place.rows().last().unwrap().record.seq);
    proves(&receipt, &LogKeys::from(&new)).unwrap();
    assert!(proves(&receipt, &LogKeys::from(&old)).unwrap_err().contains("NoKnownSignature"));
    let events = scene.place.log().events();
    for event in [Event::KeyAdded, Event::KeyRetired] {
        assert_eq!(events.iter().filter(|found| **found == event).count(), 1, "{event:?}");
    }
}

/// The two are asked one after the other, each with a deadline of its own.
#[test]
fn while_a_second_signer_hangs_or_signs_something_else_nothing_is_permitted_though_the_first_signs() {
    let mut scene = Scene::on(Place::files(), GATE_DEADLINE, |place, _| place.socket_url());
    let old = scene.place.config.log_key.clone();
    let (folder, new) = openssl_signer(&scene.place, MODES);
    signers::set(&folder, "sign");
    let program = text(&folder.join("sign"));
    let deadline = signers::DEADLINE;
    let section = format!("kind = \"command\"\ncommand = [\"{program}\"]\ndeadline_ms = {deadline}\n");
    follows(&mut scene, &new, &section);
    signed_by_each(&scene, [&old, &new]);
    let modes = [
        ("hang", "signer.timeout"),
        ("late", "signer.timeout"),
        ("dead", "signer.failed"),
        ("another-text", "signer.failed"),
        ("wrong-key", "signer.wrong_key"),
    ];
    for (mode, code) in modes {
        under(&mut scene, &folder, mode, code);
        signed_by_each(&scene, [&old, &new]);
    }
    // One that is slow within its deadline only takes its time.
    signers::set(&folder, "slow");
    scene.runs();
    scene.runs();
    signed_by_each(&scene, [&old, &new]);
    // The call that met a fault first may have been recorded before its head could not be signed.
    assert!(scene.ends() <= modes.len());
}
