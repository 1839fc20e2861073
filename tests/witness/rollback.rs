//! A database and its anchor, both put back from a backup: they agree with each other, and only a witness can tell.

use std::path::Path;

use portcullis_server::Config;
use portcullis_verify::{CosignerKind, UnverifiedCheckpoint};
use serde_json::json;

use crate::support::http::{Server, get};
use crate::support::{Place, WitnessProcess, until};
use crate::surfaces::{Scene, charge};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

pub(crate) fn back_up(place: &Place) {
    copy(&place.config.data, &place.path("backup/data"));
    copy(place.config.anchor.parent().unwrap(), &place.path("backup/anchor"));
}

pub(crate) fn restore(place: &Place) {
    for (name, target) in [("data", &*place.config.data), ("anchor", place.config.anchor.parent().unwrap())] {
        std::fs::remove_dir_all(target).unwrap();
        copy(&place.path("backup").join(name), target);
    }
}

/// The size and root that a witness keeps. It is started again before: what a gate sent it that has ended may still
/// have been under way.
fn seen(place: &Place, witness: &mut WitnessProcess) -> (u64, String) {
    witness.kill();
    witness.again();
    let kept = UnverifiedCheckpoint::parse(witness.kept().as_bytes()).unwrap();
    let kept = kept.verify(std::slice::from_ref(&place.config.log_key)).unwrap();
    (kept.size(), kept.root().to_string())
}

#[test]
fn a_backup_of_database_and_anchor_is_refused_before_anything_is_signed() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    gate.end();
    back_up(&scene.place);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("2.00"), Some("k2")).ran();
    gate.end();
    let before = seen(&scene.place, &mut witness);
    restore(&scene.place);
    let restored = scene.place.log().records.len();
    let mut gate = scene.gate();
    for (tool, arguments) in [("charge", charge("2.00")), ("read_balance", json!({ "account": "acme" }))] {
        let key = (tool == "charge").then_some("k2");
        assert_eq!(gate.call_with(tool, &arguments, key).code(), "evidence.behind_anchor");
    }
    gate.end();
    assert_eq!(scene.ran(), 2, "what ran before the backup was restored");
    assert_eq!(scene.place.log().records.len(), restored, "nothing was recorded");
    assert_eq!(seen(&scene.place, &mut witness), before, "the witness saw no other history");
}

#[test]
fn a_head_that_only_a_witness_saw_is_given_up_by_name() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let charged = |scene: &Scene, key: &str| {
        let mut gate = scene.gate();
        let answer = gate.call_with("charge", &charge("1.00"), Some(key));
        let code = answer.told().is_some().then(|| answer.code().to_owned());
        gate.end();
        code
    };
    assert_eq!(charged(&scene, "k1"), None);
    back_up(&scene.place);
    assert_eq!(charged(&scene, "k2"), None);
    let (size, root) = seen(&scene.place, &mut witness);
    restore(&scene.place);
    let portcullis = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::program());
        command.args(arguments).arg("--config").arg(&scene.place.config_path).output().unwrap()
    };
    // Without its witness the ledger looks whole.
    witness.kill();
    let looked = portcullis(&["log", "abandon"]);
    assert!(String::from_utf8_lossy(&looked.stderr).contains("not behind"), "{looked:?}");
    witness.again();
    let given_up = ["log", "abandon", "--size", &size.to_string(), "--root", &root, "--reason", "restored"];
    let done = portcullis(&given_up);
    assert!(done.status.success(), "{done:?}");
    assert!(portcullis(&["open"]).status.success());
    scene.place.config = Config::read(&scene.place.config_path).unwrap().arbiter().unwrap();
    // The witness knows no log of that name, before its operator lets it in.
    assert_eq!(charged(&scene, "k3").as_deref(), Some("evidence.unwitnessed"));
    witness.serves(&[scene.place.config.log_key.to_string()]);
    assert_eq!(charged(&scene, "k3"), None);
    assert_eq!(charged(&scene, "k1"), None);
    assert_eq!(scene.ran(), 3, "a key that is left stays consumed");
}

#[test]
fn a_log_begun_anew_under_the_same_key_is_refused() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::MlDsa44);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    gate.end();
    let before = seen(&scene.place, &mut witness);
    std::fs::remove_dir_all(&scene.place.config.data).unwrap();
    std::fs::remove_dir_all(scene.place.config.anchor.parent().unwrap()).unwrap();
    let mut gate = scene.gate();
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("k1")).code(), "evidence.behind_anchor");
    assert_eq!(scene.ran(), 1);
    assert_eq!(seen(&scene.place, &mut witness), before);
}

#[test]
fn a_witness_that_was_away_at_the_start_trips_the_ledger_when_it_is_back() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    gate.end();
    back_up(&scene.place);
    let mut gate = scene.gate();
    (0..20).for_each(|_| gate.call("read_balance", json!({ "account": "acme" })).ran().to_owned().clear());
    gate.call_with("charge", &charge("2.00"), Some("k2")).ran();
    gate.end();
    let before = seen(&scene.place, &mut witness);
    restore(&scene.place);
    witness.kill();
    // What asks for no witness goes on while nobody can tell.
    let mut gate = scene.gate();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(gate.call_with("charge", &charge("2.00"), Some("k2")).code(), "evidence.unwitnessed");
    let ran = scene.ran();
    witness.again();
    // Calls go on until then. An outcome that comes too late to be recorded shuts this gate itself, under its own code.
    let server = Server::socket(&scene.place.socket());
    until("the ledger refuted", || {
        drop(gate.call("read_balance", json!({ "account": "acme" })));
        get(&server, "/readyz").ok()?.body.contains("evidence.behind_anchor").then_some(())
    });
    let mut other = scene.gate();
    assert_eq!(other.call_with("charge", &charge("2.00"), Some("k2")).code(), "evidence.behind_anchor");
    assert!(gate.call("read_balance", json!({ "account": "acme" })).told().is_some());
    assert!(scene.ran() >= ran);
    assert_eq!(seen(&scene.place, &mut witness), before);
}
