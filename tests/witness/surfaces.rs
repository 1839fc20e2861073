//! Surfaces whose PERMITs witnesses must see before they are released.

use std::time::Duration;

use portcullis_protocol::request::Ask;
use portcullis_protocol::{Outcome, ReasonCode};
use portcullis_sdk::Attempt;
use portcullis_verify::{CosignerKind, Quorum};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::http::post;
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
        Self::of(Place::witnessed())
    }

    fn of(place: Place) -> Self {
        place.file("journal", "");
        Self { place }
    }

    pub(crate) fn gate(&self) -> Gate {
        Gate::start(&self.place.config_path, &demo_server(&self.place.path("journal")))
    }

    /// Records under the newest anchored head.
    pub(crate) fn head_size(&self) -> u64 {
        self.place.head().size()
    }

    /// Charges until a charge runs.
    pub(crate) fn charges(&self, gate: &mut Gate, key: &str) {
        until("a charge that runs", || {
            gate.call_with("charge", &charge("2.00"), Some(key)).told().is_none().then_some(())
        });
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

/// The surface does not ask for witnesses; one of two grants does.
#[test]
fn a_grant_that_asks_for_witnesses_gets_them_and_the_gate_itself_demands_them() {
    let mut scene = Scene::of(Place::asking("@witnessed"));
    let witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("12.50"), Some("k1")).ran();
    assert_eq!(scene.ran(), 1);
    // What no grant that asks for them is satisfied by goes without.
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    gate.end();
    let log = scene.place.log();
    let permits: Vec<_> = log.permits().iter().map(|(entry, _)| entry.witnessed).collect();
    assert_eq!(permits, [true, false]);
}

#[test]
fn without_its_witnesses_nothing_runs_and_the_permit_is_withheld_and_its_key_given_back() {
    let mut scene = Scene::new();
    let mut witness = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[witness.section("w1")]);
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    // It hangs: until that is noticed, the PERMIT is recorded and waits.
    witness.signal(Signal::STOP);
    let silent = gate.call_with("charge", &charge("2.00"), Some("k2"));
    assert_eq!(silent.code(), "evidence.unwitnessed");
    // What does not ask for witnesses goes on.
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(scene.ran(), 2);
    until("the PERMIT withheld", || (scene.place.log().outcomes(Some(Outcome::Withheld)) == 1).then_some(()));
    witness.signal(Signal::CONT);
    scene.charges(&mut gate, "k2");
    assert_eq!(scene.ran(), 3);
    // It is away, and that is known: nothing is recorded that would only wait.
    witness.kill();
    until("a witness that is known to be away", || {
        let permits = scene.place.log().permits().len();
        assert_eq!(gate.call_with("charge", &charge("3.00"), Some("k3")).code(), "evidence.unwitnessed");
        (scene.place.log().permits().len() == permits).then_some(())
    });
    let withheld = scene.place.log().permits().len() - 3;
    witness.again();
    scene.charges(&mut gate, "k3");
    gate.end();
    let log = scene.place.log();
    assert_eq!(
        (log.outcomes(Some(Outcome::Ok)), log.outcomes(Some(Outcome::Withheld)), log.outcomes(None)),
        (4, withheld, 0)
    );
}

#[test]
fn fewer_witnesses_than_the_quorum_release_nothing() {
    let mut scene = Scene::new();
    let first = WitnessProcess::start(&scene.place, "w1", CosignerKind::Ed25519);
    let mut second = WitnessProcess::start(&scene.place, "w2", CosignerKind::Ed25519);
    scene.place.watched_by(2, &[first.section("w1"), second.section("w2")]);
    let mut gate = scene.gate();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    second.kill();
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("k1")).code(), "evidence.unwitnessed");
    assert_eq!(scene.ran(), 1);
    second.again();
    scene.charges(&mut gate, "k1");
    assert_eq!(scene.ran(), 2);
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
fn permits_that_waited_for_witnesses_held_the_places_of_all_calls() {
    let mut place = Place::witnessed();
    let witness = WitnessProcess::start(&place, "w1", CosignerKind::Ed25519);
    place.watched_by(1, &[witness.section("w1")]);
    let daemon = Daemon::start(&place);
    let server = daemon.server();
    let decide = |agent: &str, ask: Value, deadline: Duration| {
        let ask = Ask::parse(ask.to_string().as_bytes()).unwrap();
        let attempt = Attempt::new("gate".parse().unwrap(), ask.by(agent.parse().unwrap())).unwrap();
        let call = serde_json::to_vec(&attempt.call(deadline)).unwrap();
        post(&server, "/v1/decisions", &place.token(agent), &call).unwrap().json()
    };
    let ask = |surface: &str, context: Value| {
        json!({
            "surface": surface, "action": surface,
            "resource": { "type": "Surface", "id": surface }, "context": context,
        })
    };
    let read = || {
        let ask = ask("demo.read_balance", json!({ "account": "acme" }));
        decide("demo-agent", ask, Duration::from_secs(10))
    };
    let charge = |key: usize| {
        let mut ask = ask("demo.charge", charge("1.00"));
        ask["idempotency_key"] = json!(format!("k{key}"));
        decide("demo-agent", ask, Duration::from_secs(10))
    };
    until("an open ledger", || (read()["decision"] == "PERMIT").then_some(()));
    let records = place.log().records.len();
    witness.signal(Signal::STOP);
    let codes: Vec<String> = std::thread::scope(|scope| {
        let held: Vec<_> = (0..300)
            .map(|key| {
                scope.spawn(move || charge(key)["reason"]["code"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        until("calls that wait", || (place.log().records.len() >= records + 60).then_some(()));
        let permitted = read();
        assert_eq!(permitted["decision"], "PERMIT", "{permitted}");
        held.into_iter().map(|held| held.join().unwrap()).collect()
    });
    witness.signal(Signal::CONT);
    let of = |code: &str| codes.iter().filter(|other| *other == code).count();
    let (waited, shed) = (of("evidence.unwitnessed"), of("overload.shed"));
    assert_eq!((waited + shed, place.log().permits().len() <= 64 + 3), (300, true), "{codes:?}");
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
