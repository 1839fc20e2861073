//! A log whose key is replaced, under a witness that follows when its operator says so.

use std::process::Command;

use portcullis_server::Config;
use portcullis_verify::CosignerKind;

use crate::support::{WitnessProcess, program};
use crate::surfaces::{Scene, charge};

fn keys(scene: &mut Scene, arguments: &[&str]) {
    let mut command = Command::new(program());
    command.arg("keys").args(arguments).arg("--config").arg(&scene.place.config_path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    scene.place.config = Config::read(&scene.place.config_path).unwrap().arbiter().unwrap();
}

/// The code of a charge, or none if it ran.
fn charged(scene: &Scene, key: &str) -> Option<String> {
    let before = scene.ran();
    let mut gate = scene.gate();
    let answer = gate.call_with("charge", &charge("1.00"), Some(key));
    let code = answer.told().is_some().then(|| answer.code().to_owned());
    gate.end();
    assert_eq!(scene.ran() - before, usize::from(code.is_none()), "{code:?}");
    code
}

#[test]
fn a_witness_whose_operator_knows_the_new_key_goes_on_from_what_it_has_seen() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let old = scene.place.config.log_key.clone();
    assert_eq!(charged(&scene, "k1"), None);
    // Both keys sign, and the witness knows one of them.
    keys(&mut scene, &["rotate"]);
    assert_eq!(charged(&scene, "k2"), None);
    keys(&mut scene, &["rotate", "--finish"]);
    let new = scene.place.config.log_key.clone();
    assert_eq!(charged(&scene, "k3").as_deref(), Some("evidence.unwitnessed"));
    // What it has seen was signed by a key that counts for nothing now: it is no less seen.
    witness.serves(&[format!("{old} revoked"), new.to_string()]);
    assert_eq!(charged(&scene, "k3"), None);
    assert!(witness.kept().contains(new.name().as_str()));
    // Nothing extends a log all of whose keys were stolen.
    witness.serves(&[format!("{old} revoked"), format!("{new} revoked")]);
    assert_eq!(charged(&scene, "k4").as_deref(), Some("evidence.unwitnessed"));
}
