//! Witnesses that lie, and witnesses that are broken.

use portcullis_verify::{CosignerKind, UnverifiedCheckpoint};
use serde_json::json;

use crate::support::{Scripted, WitnessProcess, until};
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
    let mut gate = scene.gate();
    for (number, answer) in answers.into_iter().enumerate() {
        let shown = format!("{answer:.60?}");
        scripted.says(move |_| answer.clone());
        let answered = gate.call_with("charge", &charge("1.00"), Some(&format!("k{number}")));
        assert_eq!(answered.code(), "evidence.unwitnessed", "{shown}");
    }
    // The signature of another witness; that of the right one, of another checkpoint.
    let log_key = scene.place.config.log_key.clone();
    let parse = move |body: &str| {
        let note = body.split_once("\n\n").unwrap().1;
        UnverifiedCheckpoint::parse(note.as_bytes()).unwrap().verify(std::slice::from_ref(&log_key)).unwrap()
    };
    let stranger_lines = parse.clone();
    scripted.says(move |body| (200, stranger.cosigner.line(&stranger_lines(body), 1_800_000_000).unwrap()));
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("s")).code(), "evidence.unwitnessed");
    let mut first = None;
    let cosigner = portcullis_ledger::Cosigner::read(&scene.place.path("w1/key")).unwrap();
    scripted.says(move |body| {
        let line = cosigner.line(&parse(body), 1_800_000_000).unwrap();
        (200, first.get_or_insert(line).clone())
    });
    let answered = gate.call_with("charge", &charge("1.00"), Some("t"));
    // The first head of the new script may be the one that covers this PERMIT; a later one cannot be.
    if answered.told().is_some() {
        assert_eq!(answered.code(), "evidence.unwitnessed");
    }
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("u")).code(), "evidence.unwitnessed");
    assert!(scene.ran() <= 1);
}

#[test]
fn a_witness_that_has_seen_more_trips_everything_until_it_agrees() {
    let mut scene = Scene::new();
    let scripted = Scripted::start(&scene.place, "w1");
    let honest = WitnessProcess::start(&scene.place, "w2", CosignerKind::Ed25519);
    scene.place.watched_by(1, &[scripted.section("w1"), honest.section("w2")]);
    scripted.says(|_| (500, String::new()));
    let mut gate = scene.gate();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    for answer in [(409, "999999\n".to_owned()), (422, String::new())] {
        scripted.says(move |_| answer.clone());
        until("the ledger refuted", || {
            let answered = gate.call("read_balance", json!({ "account": "acme" }));
            (answered.told().is_some() && answered.code() == "evidence.behind_anchor").then_some(())
        });
        // Failing is not taking it back.
        scripted.says(|_| (500, String::new()));
        assert_eq!(gate.call("read_balance", json!({ "account": "acme" })).code(), "evidence.behind_anchor");
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
    honest.kill();
    let mut gate = scene.gate();
    assert_eq!(gate.call_with("charge", &charge("1.00"), Some("k1")).code(), "evidence.unwitnessed");
    honest.again();
    gate.call_with("charge", &charge("1.00"), Some("k1")).ran();
    assert_eq!(scene.ran(), 1);
}
