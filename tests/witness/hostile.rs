//! Witnesses that lie, and witnesses that are broken.

use portcullis_ledger::Checkpoints;
use portcullis_verify::{CosignerKind, UnverifiedCheckpoint, VerifiedCheckpoint};
use serde_json::json;

use crate::support::client::Answer;
use crate::support::{Gate, Scripted, WitnessProcess, until};
use crate::surfaces::{Scene, charge};

#[test]
fn an_answer_that_proves_nothing_releases_nothing() {
    let mut scene = Scene::new();
    let scripted = Scripted::start(&scene.place, "w1");
    let stranger = Scripted::start(&scene.place, "w2");
    scene.place.watched_by(1, &[scripted.section("w1")]);
    let answers: Vec<(u16, String)> = vec![
        (200, String::new()),
        (200, "\n".into()),
        (200, "ok\n".into()),
        (200, "\u{2014} witness.test/w1 AAAAAAAA\n".into()),
        (200, "x".repeat(1 << 20)),
        (204, String::new()),
        (302, String::new()),
        (409, "no\n".into()),
        (409, "0\n".into()),
        (403, String::new()),
        (404, String::new()),
        (429, String::new()),
        (500, String::new()),
    ];
    let mut gate = agreed(&scene, &scripted);
    let mut number = 0;
    // The heads that do not cover the next PERMIT are cosigned, so that the log goes on until it is asked for.
    let mut refuses = |scene: &Scene, gate: &mut Gate, answer: Answering| {
        number += 1;
        scripted.cosigns(&scene.place, |_| None);
        until("a witness that agrees", || {
            number += 1;
            let answered = gate.call_with("charge", &charge("1.00"), Some(&format!("k{number}")));
            answered.told().is_none().then_some(())
        });
        let (ran, size) = (scene.ran(), scene.head_size());
        let log = scene.place.config.log_key.clone();
        let cosigner = portcullis_ledger::Cosigner::read(&scene.place.path("w1/key")).unwrap();
        scripted.says(move |body| {
            let note = body.split_once("\n\n").unwrap().1;
            let head = UnverifiedCheckpoint::parse(note.as_bytes()).unwrap();
            let head = head.verify(std::slice::from_ref(&log)).unwrap();
            if head.size() > size {
                return answer(&head);
            }
            (200, cosigner.line(&head, 1_800_000_000).unwrap())
        });
        number += 1;
        let answered = gate.call_with("charge", &charge("1.00"), Some(&format!("k{number}")));
        assert_eq!(answered.code(), "evidence.unwitnessed");
        assert_eq!(scene.ran(), ran);
    };
    for answer in answers {
        println!("{answer:.60?}");
        refuses(&scene, &mut gate, Box::new(move |_| answer.clone()));
    }
    // The signature of another witness; that of the right one, of another checkpoint.
    refuses(
        &scene,
        &mut gate,
        Box::new(move |head| (200, stranger.cosigner.line(head, 1_800_000_000).unwrap())),
    );
    let old = scene.place.head();
    let cosigner = portcullis_ledger::Cosigner::read(&scene.place.path("w1/key")).unwrap();
    let line = cosigner.line(&old, 1_800_000_000).unwrap();
    refuses(&scene, &mut gate, Box::new(move |_| (200, line.clone())));
}

/// Whether a call is refused because a witness has seen more. The outcome of the call before may not have been recorded
/// any more, which the gate then knows by itself.
fn is_refuted(answered: &Answer) -> bool {
    let codes = ["evidence.behind_anchor", "evidence.outcome_unrecorded"];
    answered.told().is_some() && codes.contains(&answered.code())
}

type Answering = Box<dyn Fn(&VerifiedCheckpoint) -> (u16, String) + Send>;

/// A gate whose witness agrees.
fn agreed(scene: &Scene, scripted: &Scripted) -> Gate {
    scripted.cosigns(&scene.place, |_| None);
    let mut gate = scene.gate();
    until("a ledger that is open", || {
        gate.call("read_balance", json!({ "account": "acme" })).told().is_none().then_some(())
    });
    gate
}

#[test]
fn a_fork_at_the_very_size_that_a_witness_has_seen_was_taken_for_a_failure() {
    let mut scene = Scene::new();
    let scripted = Scripted::start(&scene.place, "w1");
    let honest = WitnessProcess::start(&scene.place, "w2", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[scripted.section("w1"), honest.section("w2")]);
    let mut gate = agreed(&scene, &scripted);
    // As the specification says it: 409, and the size that it was asked about.
    scripted.cosigns(&scene.place, |size| Some((409, format!("{size}\n"))));
    until("the ledger refuted", || {
        let answered = gate.call("read_balance", json!({ "account": "acme" }));
        is_refuted(&answered).then_some(())
    });
    let head = scene.head_size();
    assert!(gate.call_with("charge", &charge("1.00"), Some("k")).told().is_some());
    assert_eq!(scene.head_size(), head);
    let noted = std::fs::read_to_string(scene.place.config.data.join("REFUTED")).unwrap();
    assert!(noted.contains("another root"), "{noted}");
}

#[test]
fn a_witness_that_fell_back_behind_what_it_cosigned_still_counted() {
    let mut scene = Scene::new();
    let scripted = Scripted::start(&scene.place, "w1");
    scene.place.watched_by(1, &[scripted.section("w1")]);
    let mut gate = agreed(&scene, &scripted);
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    until("a cosigned checkpoint", || {
        let kept = Checkpoints::of(&scene.place.config.data, scene.place.config.log_keys.clone());
        kept.newest(|head| head.size() > 1)
    });
    // It has lost its state, and begins anew: it would cosign whatever it is shown from nothing on.
    let (log, key) = (scene.place.config.log_key.clone(), scene.place.path("w1/key"));
    scripted.says(move |body| {
        let note = body.split_once("\n\n").unwrap().1;
        let head = UnverifiedCheckpoint::parse(note.as_bytes()).unwrap();
        let head = head.verify(std::slice::from_ref(&log)).unwrap();
        if !body.starts_with("old 0\n") {
            return (409, "0\n".into());
        }
        (200, portcullis_ledger::Cosigner::read(&key).unwrap().line(&head, 1_800_000_000).unwrap())
    });
    let ran = scene.ran();
    assert_eq!(gate.call_with("charge", &charge("2.00"), Some("k2")).code(), "evidence.unwitnessed");
    gate.end();
    // Nor after a restart: what it once cosigned is kept.
    let mut gate = scene.gate();
    assert_eq!(gate.call_with("charge", &charge("2.00"), Some("k2")).code(), "evidence.unwitnessed");
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "evidence.unwitnessed");
    assert_eq!(scene.ran(), ran);
}

#[test]
fn a_witness_that_has_seen_more_trips_everything_until_it_agrees() {
    let mut scene = Scene::new();
    let scripted = Scripted::start(&scene.place, "w1");
    let honest = WitnessProcess::start(&scene.place, "w2", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[scripted.section("w1"), honest.section("w2")]);
    let mut gate = agreed(&scene, &scripted);
    scripted.says(|_| (500, String::new()));
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    for answer in [(409, "999999\n".to_owned()), (422, String::new())] {
        scripted.says(move |_| answer.clone());
        until("the ledger refuted", || {
            let answered = gate.call("read_balance", json!({ "account": "acme" }));
            is_refuted(&answered).then_some(())
        });
        // Failing is not taking it back.
        scripted.says(|_| (500, String::new()));
        let answered = gate.call("read_balance", json!({ "account": "acme" }));
        assert!(is_refuted(&answered));
        let ran = scene.ran();
        let (place, cosigner) = (scene.place.config.log_key.clone(), scene.place.path("w1/key"));
        scripted.says(move |body| {
            let note = body.split_once("\n\n").unwrap().1;
            let head = UnverifiedCheckpoint::parse(note.as_bytes()).unwrap();
            let head = head.verify(std::slice::from_ref(&place)).unwrap();
            let cosigner = portcullis_ledger::Cosigner::read(&cosigner).unwrap();
            (200, cosigner.line(&head, 1_800_000_000).unwrap())
        });
        until("the ledger believed again", || {
            gate.call("read_balance", json!({ "account": "acme" })).told().is_none().then_some(())
        });
        assert!(scene.ran() > ran);
    }
}

#[test]
fn a_blind_witness_cosigns_but_counts_as_one() {
    let mut scene = Scene::new();
    let scripted = Scripted::start(&scene.place, "w1");
    let mut honest = WitnessProcess::start(&scene.place, "w2", CosignerKind::Ed25519);
    scene.place.watched_by(2, &[scripted.section("w1"), honest.section("w2")]);
    let place = scene.place.config.clone();
    let cosigner = scene.place.path("w1/key");
    scripted.says(move |body| {
        let note = body.split_once("\n\n").unwrap().1;
        let head = UnverifiedCheckpoint::parse(note.as_bytes()).unwrap();
        let head = head.verify(std::slice::from_ref(&place.log_key)).unwrap();
        let line = portcullis_ledger::Cosigner::read(&cosigner).unwrap().line(&head, 1_800_000_000).unwrap();
        (200, line.repeat(3))
    });
    let mut gate = scene.gate();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    honest.kill();
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("k1")).code(), "evidence.unwitnessed");
    // Nor does it count as two when a ledger is opened: not even what asks for no witnesses runs.
    gate.end();
    let mut gate = scene.gate();
    assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "evidence.unwitnessed");
    assert_eq!(scene.ran(), 1);
    honest.again();
    scene.charges(&mut gate, "k1");
    assert_eq!(scene.ran(), 2);
}
