//! A database and its anchor, both put back from a backup: they agree with each other, and only a witness can tell.

use std::path::Path;

use portcullis_ledger::Checkpoints;
use portcullis_server::Config;
use portcullis_verify::{CosignerKind, UnverifiedCheckpoint};
use serde_json::{Value, json};

use crate::support::witnesses::private;
use crate::support::{Daemon, Gate, Place, Scripted, WitnessProcess, until};
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
    back_up_to(place, "backup");
}

fn back_up_to(place: &Place, name: &str) {
    copy(&place.config.data, &place.path(name).join("data"));
    copy(place.config.anchor.parent().unwrap(), &place.path(name).join("anchor"));
}

pub(crate) fn restore(place: &Place) {
    restore_from(place, "backup");
}

fn restore_from(place: &Place, backup: &str) {
    for (name, target) in [("data", &*place.config.data), ("anchor", place.config.anchor.parent().unwrap())] {
        std::fs::remove_dir_all(target).unwrap();
        copy(&place.path(backup).join(name), target);
    }
}

/// How many records a ledger has that is refuted: nobody who reads it as the log is told.
fn recorded(place: &Place) -> usize {
    let told = portcullis_server::open_ledger(&place.config).map(drop).unwrap_err().to_string();
    assert!(told.contains("it is refuted") && told.contains("`w1`: "), "{told}");
    let copy = place.copied();
    std::fs::remove_file(copy.config.data.join("REFUTED")).unwrap();
    copy.log().records.len()
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
    assert_eq!(recorded(&scene.place), restored, "nothing was recorded");
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
    let given_up = [
        "log",
        "abandon",
        "--size",
        &size.to_string(),
        "--root",
        &root,
        "--bundle-version",
        "1",
        "--reason",
        "restored",
    ];
    let done = portcullis(&given_up);
    assert!(done.status.success(), "{done:?}");
    assert!(portcullis(&["open"]).status.success());
    scene.place.config = Config::read(&scene.place.config_path).unwrap().arbiter().unwrap();
    // The witness knows no log of that name, before its operator lets it in.
    assert_eq!(charged(&scene, "k3").as_deref(), Some("evidence.unwitnessed"));
    witness.serves_new(&scene.place.config.log_key.to_string());
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

/// A place whose database and anchor were put back from before a charge that its witness saw.
fn rolled_back() -> (Scene, WitnessProcess) {
    let mut scene = Scene::new();
    let witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    gate.end();
    back_up(&scene.place);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("2.00"), Some("k2")).ran();
    gate.end();
    back_up_to(&scene.place, "newest");
    restore(&scene.place);
    (scene, witness)
}

/// Both a surface that asks for witnesses and one that does not are refused with a code, and nothing is recorded.
fn refused(scene: &Scene, gate: &mut Gate, code: &str) {
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), code);
    assert_eq!(gate.call_with("charge", &charge("2.00"), Some("k2")).code(), code);
    assert_eq!(scene.ran(), 2);
}

#[test]
fn with_its_witness_away_at_the_start_a_restored_ledger_signed_another_history() {
    let (scene, mut witness) = rolled_back();
    let before = seen(&scene.place, &mut witness);
    let (records, head) = (scene.place.log().records.len(), scene.head_size());
    witness.kill();
    let mut gate = scene.gate();
    refused(&scene, &mut gate, "evidence.unwitnessed");
    refused(&scene, &mut gate, "evidence.unwitnessed");
    witness.again();
    until("the ledger refuted", || {
        let answer = gate.call("read_balance", json!({ "account": "acme" }));
        (answer.code() == "evidence.behind_anchor").then_some(())
    });
    refused(&scene, &mut gate, "evidence.behind_anchor");
    gate.end();
    assert_eq!((recorded(&scene.place), scene.head_size()), (records, head));
    assert_eq!(seen(&scene.place, &mut witness), before);
}

/// Of a quorum of two, the one that had been away vouches in good faith, and nobody else can be asked.
#[test]
fn a_witness_that_was_away_vouched_alone_for_a_restored_backup() {
    let mut scene = Scene::new();
    let [mut first, mut second, mut away] =
        ["w1", "w2", "w3"].map(|name| WitnessProcess::start(&scene.place, name, CosignerKind::Ed25519));
    scene.place.watched_by(2, &[first.section("w1"), second.section("w2"), away.section("w3")]);
    let charged = |scene: &Scene, key: &str| {
        let mut gate = scene.gate();
        gate.call_with("charge", &charge("2.00"), Some(key)).ran();
        gate.end();
    };
    charged(&scene, "k1");
    away.kill();
    charged(&scene, "k2");
    back_up(&scene.place);
    charged(&scene, "k3");
    restore(&scene.place);
    let (records, head) = (scene.place.log().records.len(), scene.head_size());
    first.kill();
    second.kill();
    away.again();
    let mut gate = scene.gate();
    for _ in 0..2 {
        assert_eq!(gate.call_with("charge", &charge("2.00"), Some("k3")).code(), "evidence.unwitnessed");
        assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "evidence.unwitnessed");
    }
    first.again();
    until("the ledger refuted", || {
        let answer = gate.call("read_balance", json!({ "account": "acme" }));
        (answer.code() == "evidence.behind_anchor").then_some(())
    });
    gate.end();
    assert_eq!((recorded(&scene.place), scene.head_size(), scene.ran()), (records, head, 3));
}

#[test]
fn a_restart_forgot_that_a_witness_had_refuted_the_ledger() {
    let (mut scene, mut witness) = rolled_back();
    // Another witness agrees with whatever it is shown: of its word alone the ledger would go on.
    let blind = Scripted::start(&scene.place, "w2");
    blind.cosigns(&scene.place, |_| None);
    scene.place.add_sections(&blind.section("w2"));
    let (records, head) = (scene.place.log().records.len(), scene.head_size());
    let mut gate = scene.gate();
    refused(&scene, &mut gate, "evidence.behind_anchor");
    gate.end();
    witness.kill();
    for _ in 0..2 {
        let mut gate = scene.gate();
        refused(&scene, &mut gate, "evidence.behind_anchor");
        gate.end();
    }
    // Nor does it help to name that witness no more.
    let text = std::fs::read_to_string(&scene.place.config_path).unwrap();
    let without = text.replace(witness.section("w1").trim(), "");
    assert_ne!(without, text);
    private(&scene.place.config_path, &without);
    let mut gate = scene.gate();
    refused(&scene, &mut gate, "evidence.behind_anchor");
    gate.end();
    assert_eq!((recorded(&scene.place), scene.head_size()), (records, head));
    let noted = std::fs::read_to_string(scene.place.config.data.join("REFUTED")).unwrap();
    assert!(noted.contains("w1") && !noted.contains("w2"), "{noted}");
    // The records that it has seen are put back: it cosigns, and with that takes its word back.
    private(&scene.place.config_path, &text);
    restore_from(&scene.place, "newest");
    std::fs::write(scene.place.config.data.join("REFUTED"), noted).unwrap();
    let mut gate = scene.gate();
    refused(&scene, &mut gate, "evidence.behind_anchor");
    witness.again();
    until("the ledger believed again", || {
        gate.call("read_balance", json!({ "account": "acme" })).told().is_none().then_some(())
    });
    assert!(!scene.place.config.data.join("REFUTED").exists());
    gate.end();
}

#[test]
fn a_head_with_two_ml_dsa_lines_was_longer_than_the_anchors_slot_and_could_not_be_given_up() {
    let mut scene = Scene::new();
    let witnesses = ["w1", "w2"].map(|name| WitnessProcess::start(&scene.place, name, CosignerKind::MlDsa44));
    scene.place.watched_by(2, &[witnesses[0].section("w1"), witnesses[1].section("w2")]);
    let daemon = Daemon::start(&scene.place);
    let keys: Vec<_> = witnesses.iter().map(|witness| witness.key.clone()).collect();
    let kept = Checkpoints::of(&scene.place.config.data, scene.place.config.log_keys.clone());
    until("the newest head with both lines", || {
        let head = scene.place.head();
        kept.at(head.size()).filter(|kept| kept.cosignatures(&keys).is_ok_and(|lines| lines.len() == 2))
    });
    // Killed, the database carries the head before; and the anchor is lost.
    daemon.kill();
    std::fs::remove_file(&scene.place.config.anchor).unwrap();
    let portcullis = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::program());
        command.args(arguments).arg("--config").arg(&scene.place.config_path).output().unwrap()
    };
    let looked: Value = serde_json::from_slice(&portcullis(&["log", "abandon", "--json"]).stdout).unwrap();
    assert_eq!(looked["lost"]["open_ended"], true, "{looked}");
    let (size, root) = (looked["given_up"]["size"].to_string(), looked["given_up"]["root"].as_str().unwrap());
    let done = portcullis(&[
        "log",
        "abandon",
        "--size",
        &size,
        "--root",
        root,
        "--bundle-version",
        "1",
        "--reason",
        "the anchor is gone",
    ]);
    assert!(done.status.success(), "{done:?}");
}
