//! Surfaces whose PERMITs witnesses must see before they are released.

use portcullis_protocol::{Outcome, ReasonCode};
use portcullis_verify::{CosignerKind, Quorum};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, Gate, Place, WitnessProcess, demo_server, until};

pub(crate) fn charge(amount: &str) -> Value {
    json!({ "account": "acme", "amount": amount })
}

/// A place whose gate hosts the arbiter, with a journal of what ran.
pub(crate) struct Scene {
    pub(crate) place: Place,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let place = Place::witnessed();
        place.file("journal", "");
        Self { place }
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::start(&self.place.config_path, &demo_server(&self.place.path("journal")))
    }

    pub(crate) fn ran(&self) -> usize {
        std::fs::read_to_string(self.place.path("journal")).unwrap().lines().count()
    }
}

#[test]
fn a_permit_is_released_with_the_cosignatures_of_the_quorum_and_runs() {
    for kind in [CosignerKind::Ed25519, CosignerKind::MlDsa44] {
        let mut scene = Scene::new();
        let witnesses = ["w1", "w2", "w3"].map(|name| WitnessProcess::start(&scene.place, name, kind));
        let sections: Vec<_> =
            witnesses.iter().map(|witness| witness.section(&witness.key.name().as_str()[13..])).collect();
        scene.place.watched_by(2, &sections);
        let mut gate = scene.gate();
        gate.call_with("charge", &charge("12.50"), Some("k1")).ran();
        assert_eq!(scene.ran(), 1);
        let quorum = Quorum::new(2, witnesses.iter().map(|witness| witness.key.clone()).collect()).unwrap();
        let kept =
            portcullis_ledger::Checkpoints::of(&scene.place.config.data, scene.place.config.log_keys.clone());
        let cosigned =
            until("a checkpoint with the quorum", || kept.newest(|head| quorum.check(head).is_ok()));
        assert!(quorum.check(&cosigned).unwrap().len() >= 2);
        gate.end();
        assert_eq!(scene.place.log().permits()[0].1, Some(Outcome::Ok));
    }
}

#[test]
fn without_its_witnesses_nothing_runs_and_the_permit_is_withheld_and_its_key_given_back() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    witness.kill();
    let silent = gate.call_with("charge", &charge("2.00"), Some("k2"));
    assert_eq!(silent.code(), "evidence.unwitnessed");
    // What does not ask for witnesses goes on.
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(scene.ran(), 2);
    until("the PERMIT withheld", || (scene.place.log().outcomes(Some(Outcome::Withheld)) == 1).then_some(()));
    witness.again();
    gate.call_with("charge", &charge("2.00"), Some("k2")).ran();
    assert_eq!(scene.ran(), 3);
    gate.end();
    let log = scene.place.log();
    assert_eq!(
        (log.outcomes(Some(Outcome::Ok)), log.outcomes(Some(Outcome::Withheld)), log.outcomes(None)),
        (3, 1, 0)
    );
}

#[test]
fn fewer_witnesses_than_the_quorum_release_nothing() {
    let mut scene = Scene::new();
    let first = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    let mut second = WitnessProcess::start(&scene.place, "w2", CosignerKind::Ed25519);
    scene.place.watched_by(2, &[first.section("w1"), second.section("w2")]);
    second.kill();
    let mut gate = scene.gate();
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("k1")).code(), "evidence.unwitnessed");
    assert_eq!(scene.ran(), 0);
    second.again();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    assert_eq!(scene.ran(), 1);
}

#[test]
fn a_witness_that_hangs_holds_up_its_own_surfaces_only() {
    let mut scene = Scene::new();
    let witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    witness.signal(Signal::STOP);
    let waits = gate.send_call("charge", &charge("2.00"), Some("k2"));
    for _ in 0..5 {
        gate.call("read_balance", json!({ "account": "acme" })).ran();
    }
    assert_eq!(gate.called(waits).unwrap().code(), "evidence.unwitnessed");
    assert_eq!(scene.ran(), 6);
    witness.signal(Signal::CONT);
}

#[test]
fn a_deployment_without_witnesses_permits_nothing_that_asks_for_them() {
    let scene = Scene::new();
    let mut gate = scene.gate();
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("k1")).code(), "evidence.unwitnessed");
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(scene.ran(), 1);
    assert_eq!(scene.place.log().refusals(), [ReasonCode::EvidenceUnwitnessed]);
}

#[test]
fn a_gate_asks_for_witnesses_itself_whatever_the_arbiter_says() {
    let mut place = Place::demo();
    place.file("journal", "");
    let witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    // The arbiter's bundle asks for no witnesses, and the arbiter has none.
    let _daemon = Daemon::start(&place);
    let sections = format!("[witnessing]\nquorum = 1\n{}", witness.section("w1"));
    place.add_sections(&sections);
    let socket = place.socket_url();
    let gate = |name: &str, witnessed: &str| {
        let config = place.configure(name, |text| {
            text.replace(
                "deadline_ms = 2000",
                &format!("deadline_ms = 2000\narbiter = \"{socket}\"\n{witnessed}"),
            )
        });
        Gate::start(&config, &demo_server(&place.path("journal")))
    };
    for witnessed in ["witnessed = [\"demo.charge\"]", "witnessed = [\"*\"]"] {
        let name = if witnessed.contains('*') { "all.toml" } else { "one.toml" };
        let mut gate = gate(name, witnessed);
        assert_eq!(gate.call_with("charge", &charge("1.00"), Some(name)).code(), "receipt.unverifiable");
    }
    assert_eq!(std::fs::read_to_string(place.path("journal")).unwrap(), "");
    gate("none.toml", "").call_with("charge", &charge("1.00"), Some("k")).ran();
}
