//! At most once: receipts in several hands, replies that are lost, gates that are restarted, and keys that are asked
//! for twice. What ran is told by the tool server's journal, and by what `tee` recorded before it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};

use portcullis_protocol::Outcome;
use rustix::process::Signal;
use serde_json::{Value, json};

use support::process::{command_line, descendants_of, stop};
use support::{Act, Between, Daemon, Gate, Place, Recording, demo_server, signal, until};

/// An arbiter's daemon for the demo's bundle, and the journal of the tool servers.
struct Scene {
    place: Place,
    daemon: Daemon,
    journal: PathBuf,
    recording: Recording,
}

impl Scene {
    fn new() -> Self {
        let place = Place::demo();
        let daemon = Daemon::start(&place);
        let journal = place.file("journal", "");
        let recording = Recording::new(&place.path("recording"));
        Self { place, daemon, journal, recording }
    }

    fn between(&self) -> Between {
        Between::before(self.daemon.server())
    }

    /// A gate that asks at this URL, with a tool server of its own. All write one journal and one recording.
    fn gate(&self, url: &str) -> Gate {
        let config = self.place.gate("gate.toml", url, 2_000);
        Gate::start(&config, &self.recording.of(&demo_server(&self.journal)))
    }

    /// The charges that ran, by their keys.
    fn charged(&self) -> Vec<String> {
        let journal = std::fs::read_to_string(&self.journal).unwrap();
        let entries = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let charges = entries.filter(|entry| entry["tool"] == "charge");
        charges.map(|entry| entry["key"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends the arbiter, and verifies the log.
    fn log(self) -> support::Log {
        self.daemon.end(Signal::TERM);
        self.place.log()
    }
}

fn charge() -> Value {
    json!({ "account": "acme", "amount": "12.50" })
}

/// From now on, hands decisions through and keeps a copy of each answer.
fn copies(between: &Between) -> Receiver<support::http::Response> {
    let (copy, copies) = channel();
    between.decisions(move |asked, arbiter| {
        let reply = asked.put_to(arbiter).unwrap();
        // The test may have seen enough.
        drop(copy.send(reply.clone()));
        Act::pass(&reply)
    });
    copies
}

#[test]
fn one_receipt_given_to_two_gates_runs_once() {
    let scene = Scene::new();
    let (first_road, second_road) = (scene.between(), scene.between());
    let copies = copies(&first_road);
    let mut first = scene.gate(&first_road.url);
    let mut second = scene.gate(&second_road.url);
    first.call_with("charge", &charge(), Some("invoice-1")).ran();
    let permit = copies.recv().unwrap();
    assert_eq!(permit.json()["decision"], "PERMIT");
    second_road.decisions(move |_, _| Act::pass(&permit));
    for _ in 0..3 {
        let answer = second.call_with("charge", &charge(), Some("invoice-1"));
        assert_eq!(answer.code(), "receipt.unverifiable");
    }
    assert_eq!(scene.charged(), ["invoice-1"]);
    // Told the truth, the second gate hands over what the first one's run left.
    second_road.honest();
    assert!(second.call_with("charge", &charge(), Some("invoice-1")).is_replay());
    assert_eq!(second.settled(&scene.recording).len(), 1);
    assert_eq!(scene.charged(), ["invoice-1"]);
    assert_eq!(scene.log().permits().len(), 1);
}

#[test]
fn one_receipt_given_to_two_gates_while_both_wait_for_it_runs_once() {
    let scene = Scene::new();
    let (first_road, second_road) = (scene.between(), scene.between());
    let copies = copies(&first_road);
    let (asking, asked) = channel();
    second_road.decisions(move |_, _| {
        asking.send(()).unwrap();
        Act::pass(&copies.recv().unwrap())
    });
    let mut second = scene.gate(&second_road.url);
    let mut first = scene.gate(&first_road.url);
    let waiting = second.send_call("charge", &charge(), Some("invoice-1"));
    asked.recv().unwrap();
    first.call_with("charge", &charge(), Some("invoice-1")).ran();
    assert_eq!(second.called(waiting).unwrap().code(), "receipt.unverifiable");
    assert_eq!(second.settled(&scene.recording).len(), 1);
    assert_eq!(scene.charged(), ["invoice-1"]);
}

#[test]
fn one_receipt_answered_to_two_calls_of_one_gate_runs_once() {
    let scene = Scene::new();
    let road = scene.between();
    let mut kept = None;
    road.decisions(move |asked, arbiter| {
        let reply = kept.get_or_insert_with(|| asked.put_to(arbiter).unwrap());
        Act::pass(reply)
    });
    let mut gate = scene.gate(&road.url);
    let calls: Vec<_> = (0..8).map(|_| gate.send_call("charge", &charge(), Some("invoice-1"))).collect();
    let answers: Vec<_> = calls.into_iter().map(|id| gate.called(id).unwrap()).collect();
    let blocked = answers.iter().filter(|answer| answer.told().is_some()).map(support::Answer::code);
    assert_eq!(blocked.collect::<Vec<_>>(), ["receipt.unverifiable"; 7]);
    assert_eq!(gate.settled(&scene.recording).len(), 1);
    assert_eq!(scene.charged(), ["invoice-1"]);
}

#[test]
fn a_lost_reply_asked_again_does_not_run_twice() {
    let scene = Scene::new();
    let road = scene.between();
    road.decisions(|asked, arbiter| {
        assert_eq!(asked.put_to(arbiter).unwrap().json()["decision"], "PERMIT");
        Act::Bytes(Vec::new())
    });
    let mut gate = scene.gate(&road.url);
    let answer = gate.call_with("charge", &charge(), Some("invoice-1"));
    assert_eq!(answer.told().unwrap()["decision"], "SILENCE");
    assert_eq!(scene.charged(), [""; 0]);
    // The key is with a PERMIT whose gate never got it: whether it ran is not known to the arbiter.
    road.honest();
    for _ in 0..3 {
        let answer = gate.call_with("charge", &charge(), Some("invoice-1"));
        assert_eq!(answer.code(), "idempotency.in_flight");
    }
    assert_eq!(gate.settled(&scene.recording), []);
    // Another intent is not held up by it.
    gate.call_with("charge", &charge(), Some("invoice-2")).ran();
    assert_eq!(scene.charged(), ["invoice-2"]);
    gate.end();
    let log = scene.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (2, 1));
}

#[test]
fn a_decision_asked_twice_for_one_attempt_is_one_record_and_runs_once() {
    let scene = Scene::new();
    let road = scene.between();
    road.decisions(|asked, arbiter| {
        // The first reply is lost on the way; what asks again is the same attempt.
        let lost = asked.put_to(arbiter).unwrap();
        let again = asked.put_to(arbiter).unwrap();
        assert_eq!((lost.status, lost.json()["decision"].as_str()), (200, Some("PERMIT")));
        assert_eq!((again.status, again.json()["decision"].as_str()), (200, Some("PERMIT")));
        Act::pass(&again)
    });
    let mut gate = scene.gate(&road.url);
    gate.call_with("charge", &charge(), Some("invoice-1")).ran();
    assert_eq!(gate.settled(&scene.recording).len(), 1);
    assert_eq!(scene.charged(), ["invoice-1"]);
    gate.end();
    let log = scene.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (1, 1));
}

#[test]
fn an_attempt_that_has_run_gets_no_second_receipt_that_could_run() {
    let scene = Scene::new();
    let road = scene.between();
    let (calls, asked) = channel();
    road.decisions(move |asked, arbiter| {
        calls.send(asked.clone()).unwrap();
        Act::pass(&asked.put_to(arbiter).unwrap())
    });
    let mut gate = scene.gate(&road.url);
    gate.call_with("charge", &charge(), Some("invoice-1")).ran();
    // The very question again, after the outcome is known: whatever comes back, the gate's attempt is spent.
    let question = asked.recv().unwrap();
    let again = question.put_to(&scene.daemon.server()).unwrap();
    let reply = serde_json::to_vec(&again.json()).unwrap();
    road.decisions(move |_, _| Act::reply(200, &reply));
    let answer = gate.call_with("charge", &charge(), Some("invoice-1"));
    assert_ne!(answer.told(), None, "{}", answer.0);
    assert_eq!(gate.settled(&scene.recording).len(), 1);
    assert_eq!(scene.charged(), ["invoice-1"]);
    assert_eq!(scene.log().permits().len(), 1);
}

#[test]
fn a_receipt_replayed_from_the_log_runs_nothing() {
    let scene = Scene::new();
    let road = scene.between();
    let mut gate = scene.gate(&road.url);
    gate.call_with("charge", &charge(), Some("invoice-1")).ran();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    for row in scene.place.rows() {
        let receipt = scene.place.receipt(row.record.seq);
        let reply = json!({ "decision": "PERMIT", "captured": "logged", "receipt": receipt }).to_string();
        road.decisions(move |_, _| Act::reply(200, &reply));
        let (charged, read) = (Some("invoice-1"), json!({ "account": "acme" }));
        assert_eq!(gate.call_with("charge", &charge(), charged).code(), "receipt.unverifiable");
        assert_eq!(gate.call("read_balance", read).code(), "receipt.unverifiable");
    }
    assert_eq!(gate.settled(&scene.recording).len(), 2);
    assert_eq!(scene.charged(), ["invoice-1"]);
}

#[test]
fn a_gate_restarted_with_a_receipt_in_hand_does_not_run_it() {
    let scene = Scene::new();
    let road = scene.between();
    let (granted, receipt) = channel();
    road.decisions(move |asked, arbiter| {
        granted.send(asked.put_to(arbiter).unwrap()).unwrap();
        Act::Hang(Vec::new())
    });
    let mut gate = scene.gate(&road.url);
    gate.send_call("charge", &charge(), Some("invoice-1"));
    let receipt = receipt.recv().unwrap();
    assert_eq!(receipt.json()["decision"], "PERMIT");
    gate.kill();

    let mut gate = scene.gate(&road.url);
    road.decisions(move |_, _| Act::pass(&receipt));
    for _ in 0..3 {
        let answer = gate.call_with("charge", &charge(), Some("invoice-1"));
        assert_eq!(answer.code(), "receipt.unverifiable");
    }
    road.honest();
    let answer = gate.call_with("charge", &charge(), Some("invoice-1"));
    assert_eq!(answer.code(), "idempotency.in_flight");
    assert_eq!(gate.settled(&scene.recording), []);
    assert_eq!(scene.charged(), [""; 0]);
    assert_eq!(scene.log().permits().len(), 1);
}

#[test]
fn a_gate_killed_while_its_call_runs_does_not_run_it_again() {
    let scene = Scene::new();
    let url = scene.place.socket_url();
    let mut gate = scene.gate(&url);
    // The tool server is frozen: the call reaches it, and no answer comes.
    let server = until("the tool server", || {
        let pids = descendants_of(gate.child.id());
        pids.into_iter().find(|pid| command_line(*pid).contains("__toolserver --journal") && is_server(*pid))
    });
    freeze(server);
    gate.send_call("charge", &charge(), Some("invoice-1"));
    until("the call in the recording", || (scene.recording.count("tools/call") == 1).then_some(()));
    gate.kill();
    until("the tool server's end", || (!support::process::lives(server)).then_some(()));
    assert_eq!(scene.charged(), [""; 0]);

    let mut gate = scene.gate(&url);
    for _ in 0..3 {
        let answer = gate.call_with("charge", &charge(), Some("invoice-1"));
        assert_eq!(answer.code(), "idempotency.in_flight");
    }
    gate.settled(&scene.recording);
    assert_eq!(scene.recording.count("tools/call"), 1);
    assert_eq!(scene.charged(), [""; 0]);
    let log = scene.log();
    assert_eq!((log.permits().len(), log.outcomes(None)), (1, 1));
}

/// Whether this is the tool server itself, and none of the processes that lead to it.
fn is_server(pid: u32) -> bool {
    command_line(pid).split(' ').nth(1) == Some("__toolserver")
}

fn freeze(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    stop(pid);
}

/// The same key from two gates at once, many times: each runs once, and both agents learn so.
fn raced(scene: &Scene, mut gates: [Gate; 2]) {
    let keys: Vec<String> = (0..40).map(|number| format!("invoice-{number}")).collect();
    let mut calls = Vec::new();
    for key in &keys {
        for (number, gate) in gates.iter_mut().enumerate() {
            calls.push((number, gate.send_call("charge", &charge(), Some(key))));
        }
    }
    let mut ran = 0;
    for (number, id) in calls {
        let answer = gates[number].called(id).unwrap();
        if answer.told().is_none() && !answer.is_replay() {
            answer.ran();
            ran += 1;
        } else if !answer.is_replay() {
            assert_eq!(answer.code(), "idempotency.in_flight");
        }
    }
    assert_eq!(ran, keys.len());
    for gate in &mut gates {
        for key in &keys {
            assert!(gate.call_with("charge", &charge(), Some(key)).is_replay());
        }
    }
    let mut charged = scene.charged();
    charged.sort();
    let mut expected = keys;
    expected.sort();
    assert_eq!(charged, expected);
    gates.into_iter().for_each(|gate| {
        gate.end();
    });
}

#[test]
fn one_key_from_two_gates_of_a_daemon_at_once_runs_once() {
    let scene = Scene::new();
    let gates = [scene.gate(&scene.place.socket_url()), scene.gate(&scene.daemon.url)];
    raced(&scene, gates);
    let log = scene.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (40, 40));
}

#[test]
fn one_key_from_two_gates_of_a_data_directory_at_once_runs_once() {
    let mut scene = Scene::new();
    // Without the daemon, one of the gates hosts the arbiter.
    signal(&scene.daemon.child, Signal::KILL);
    scene.daemon.child.wait().unwrap();
    let server = scene.recording.of(&demo_server(&scene.journal));
    let gates = [0, 1].map(|_| Gate::start(&scene.place.config_path, &server));
    scene.place.ready();
    raced(&scene, gates);
    let log = scene.place.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (40, 40));
}

#[test]
fn another_amount_under_the_same_key_is_a_conflict() {
    let scene = Scene::new();
    let url = scene.place.socket_url();
    let (mut first, mut second) = (scene.gate(&url), scene.gate(&url));
    first.call_with("charge", &charge(), Some("invoice-1")).ran();
    let more = json!({ "account": "acme", "amount": "13.00" });
    assert_eq!(second.call_with("charge", &more, Some("invoice-1")).code(), "idempotency.conflict");
    assert_eq!(first.call_with("charge", &more, Some("invoice-1")).code(), "idempotency.conflict");
    assert_eq!(first.call_with("charge", &charge(), None).code(), "idempotency.key_missing");
    assert_eq!(second.settled(&scene.recording).len(), 1);
    assert_eq!(scene.charged(), ["invoice-1"]);
}

#[test]
fn after_a_refusal_the_same_key_is_decided_anew() {
    let scene = Scene::new();
    let mut gate = scene.gate(&scene.place.socket_url());
    portcullis_server::shut(&scene.place.config.data, "a test").unwrap();
    assert_eq!(gate.call_with("charge", &charge(), Some("invoice-1")).code(), "gate.shut");
    portcullis_server::open(&scene.place.config.data).unwrap();
    let more = json!({ "account": "acme", "amount": "5000.00" });
    assert_eq!(gate.call_with("charge", &more, Some("invoice-1")).code(), "policy.no_grant");
    gate.call_with("charge", &charge(), Some("invoice-1")).ran();
    assert_eq!(scene.charged(), ["invoice-1"]);
}
