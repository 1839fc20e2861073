//! The log's key is replaced while gates elsewhere know the old one, the new one, or both.

use std::process::Command;

use portcullis_protocol::Event;
use portcullis_server::Config;
use portcullis_verify::{LogKeys, UnverifiedReceipt, VerifierKey};
use rustix::process::Signal;

use crate::interlocks::Scene;
use crate::support::{Daemon, Place, program};

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
