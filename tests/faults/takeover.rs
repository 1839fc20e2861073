//! One data directory and several gates: the first hosts the arbiter, and when it dies another takes over. And what
//! becomes of a dead gate's tool server.

use std::time::{Duration, Instant};

use portcullis_protocol::{Event, Outcome};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::process::{children_of, command_line, descendants_of, hosts, lives};
use crate::support::{
    Daemon, Gate, PATIENCE, Place, Recording, demo_server, files_server, peer, signal, text, until,
};

/// Gates of one data directory, each with a tool server of its own; all write one recording.
struct Scene {
    place: Place,
    recording: Recording,
    server: Vec<String>,
}

fn balance() -> Value {
    json!({ "account": "acme" })
}

impl Scene {
    fn new() -> Self {
        let place = Place::demo();
        let journal = place.file("journal", "");
        let recording = Recording::new(&place.path("recording"));
        let server = recording.of(&demo_server(&journal));
        Self { place, recording, server }
    }

    fn gate(&self) -> Gate {
        Gate::start(&self.place.config_path, &self.server)
    }

    fn ran(&self) -> usize {
        std::fs::read_to_string(self.place.path("journal")).unwrap().lines().count()
    }
}

/// Calls until a call runs; every call before it is SILENCE for want of an arbiter. How many those were.
fn silent_until_it_runs(gate: &mut Gate) -> usize {
    let end = Instant::now() + PATIENCE;
    let mut silent = 0;
    loop {
        let answer = gate.call("read_balance", balance());
        if answer.told().is_none() {
            answer.ran();
            return silent;
        }
        let code = answer.code();
        let away = [
            "arbiter.unreachable",
            "arbiter.timeout",
            "receipt.unverifiable",
            "evidence.recovering",
            // The host died with the report of an outcome.
            "evidence.outcome_unrecorded",
        ];
        assert!(away.contains(&code), "{}", answer.0);
        silent += 1;
        assert!(Instant::now() < end, "no takeover after {silent} calls: {code}");
    }
}

#[test]
fn a_second_gate_takes_over_when_the_first_is_killed() {
    let scene = Scene::new();
    let mut first = scene.gate();
    first.call("read_balance", balance()).ran();
    let mut second = scene.gate();
    second.call("read_balance", balance()).ran();
    let data = &scene.place.config.data;
    assert!(hosts(&first.child, data) && !hosts(&second.child, data));

    // A call that waits for the host when it dies. The ping behind it says that the gate has taken it up.
    signal(&first.child, Signal::STOP);
    let waiting = second.send_call("read_balance", &balance(), None);
    second.request("ping", json!({}));
    signal(&first.child, Signal::KILL);
    first.child.wait().unwrap();
    assert_eq!(second.called(waiting).unwrap().code(), "arbiter.unreachable");
    let silent = 1 + silent_until_it_runs(&mut second);
    assert!(hosts(&second.child, data));
    assert_eq!(scene.ran(), 3, "after {silent} silent calls");
    assert_eq!(second.settled(&scene.recording).len(), 3);

    // A third one is the second one's client.
    let mut third = scene.gate();
    third.call("read_balance", balance()).ran();
    assert!(!hosts(&third.child, data));
    third.end();
    second.end();
    let log = scene.place.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (4, 4));
    assert_eq!(log.events().last(), Some(&Event::Closed));
}

#[test]
fn takeover_after_takeover_loses_nothing_and_the_whole_log_verifies() {
    let scene = Scene::new();
    let mut gates: Vec<Gate> = (0..4).map(|_| scene.gate()).collect();
    let data = &scene.place.config.data;
    while let Some(host) = until("a host", || {
        let host = gates.iter().position(|gate| hosts(&gate.child, data));
        if gates.is_empty() { Some(None) } else { host.map(Some) }
    }) {
        assert_eq!(gates.iter().filter(|gate| hosts(&gate.child, data)).count(), 1);
        for gate in &mut gates {
            silent_until_it_runs(gate);
        }
        let key = format!("invoice-{}", gates.len());
        let charge = json!({ "account": "acme", "amount": "1.00" });
        gates[0].call_with("charge", &charge, Some(&key)).ran();
        gates.swap_remove(host).kill();
    }
    // Four, three, two and one reads, and a charge each time.
    assert_eq!(scene.ran(), 10 + 4);
    let log = scene.place.log();
    assert_eq!(log.permits().len(), 14);
}

#[test]
fn a_host_that_leaves_in_good_order_closes_the_log_and_another_takes_over() {
    let scene = Scene::new();
    let mut first = scene.gate();
    first.call("read_balance", balance()).ran();
    let mut second = scene.gate();
    second.call("read_balance", balance()).ran();
    assert!(first.end().success());
    silent_until_it_runs(&mut second);
    assert!(scene.place.log().events().contains(&Event::Closed));
    assert!(second.end().success());
    let log = scene.place.log();
    assert_eq!(log.events().iter().filter(|event| **event == Event::Closed).count(), 2);
    assert_eq!(log.outcomes(Some(Outcome::Ok)), 3);
}

#[test]
fn a_daemon_waits_for_the_directory_and_takes_over_from_a_killed_gate() {
    let scene = Scene::new();
    let mut gate = scene.gate();
    gate.call("read_balance", balance()).ran();
    let waiting = std::process::Command::new(crate::support::program())
        .args(["serve", "--config"])
        .arg(&scene.place.config_path)
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut waiting = waiting.unwrap();
    let notes = crate::support::arbiter::Notes::of(&mut waiting);
    notes.told("waiting to take over");
    gate.kill();
    let url = notes.told("listening on http://").split("listening on ").nth(1).unwrap().to_owned();
    let daemon = Daemon { child: waiting, notes, url };
    scene.place.ready();
    let mut client = scene.gate();
    client.call("read_balance", balance()).ran();
    assert!(!hosts(&client.child, &scene.place.config.data));
    client.end();
    assert!(daemon.end(Signal::TERM).success());
    assert_eq!(scene.place.log().permits().len(), 2);
    assert_eq!(scene.ran(), 2);
}

#[test]
fn a_frozen_host_is_silence_and_is_not_overtaken() {
    let scene = Scene::new();
    let mut first = scene.gate();
    first.call("read_balance", balance()).ran();
    let mut second = scene.gate();
    second.call("read_balance", balance()).ran();
    signal(&first.child, Signal::STOP);
    let (answer, took) = second.timed("read_balance", balance());
    assert_eq!(answer.code(), "arbiter.timeout");
    assert!(took < Duration::from_secs(12), "{took:?}");
    let data = &scene.place.config.data;
    assert!(hosts(&first.child, data) && !hosts(&second.child, data), "two writers");
    signal(&first.child, Signal::CONT);
    silent_until_it_runs(&mut second);
    assert!(hosts(&first.child, data) && !hosts(&second.child, data));
    assert_eq!(scene.ran(), 3);
    assert_eq!(second.settled(&scene.recording).len(), 3);
}

/// A file server as people start it, with a process of its own for each step: `sh`, `tee`, a launcher, `node`.
#[test]
fn a_killed_gate_takes_its_tool_server_with_it_to_the_last_process() {
    let place = Place::files();
    let folder = place.directory("shared");
    let recording = Recording::new(&place.path("recording"));
    let mut gate = Gate::start(&place.config_path, &recording.of(&files_server(&folder)));
    assert!(gate.request("tools/list", json!({})).get("result").is_some());
    let family = descendants_of(gate.child.id());
    assert_eq!(children_of(gate.child.id()).len(), 1, "the supervisor");
    let lines: Vec<_> = family.iter().map(|pid| command_line(*pid)).collect();
    for part in ["__upstream", "tee -a", "server-filesystem"] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:?}");
    }
    gate.kill();
    until("the end of all that the gate started", || family.iter().all(|pid| !lives(*pid)).then_some(()));
}

/// `npx` starts `node` as a grandchild; here `sh` does, and the grandchildren leave their group and session.
#[test]
fn a_killed_gate_takes_grandchildren_with_it_that_left_their_session() {
    let place = Place::files();
    let folder = place.directory("shared");
    let node = text(&peer("bin/node"));
    let stays = "setInterval(() => {}, 1000)";
    let script =
        r#"setsid "$0" -e "$1" left-behind & setsid setsid "$0" -e "$1" left-behind & shift; exec "$@""#;
    let mut server = vec!["sh".into(), "-c".into(), script.into(), node, stays.into()];
    server.extend(files_server(&folder));
    let mut gate = Gate::start(&place.config_path, &server);
    assert!(gate.request("tools/list", json!({})).get("result").is_some());
    let family = until("the grandchildren", || {
        let family = descendants_of(gate.child.id());
        let stray = |pid: &&u32| command_line(**pid).contains("left-behind") && is_node(**pid);
        (family.iter().filter(stray).count() == 2).then_some(family)
    });
    gate.kill();
    until("the end of all that the gate started", || family.iter().all(|pid| !lives(*pid)).then_some(()));
}

fn is_node(pid: u32) -> bool {
    command_line(pid).split(' ').next().is_some_and(|program| program.ends_with("node"))
}

#[test]
fn a_gate_whose_client_goes_away_ends_with_its_tool_server() {
    let scene = Scene::new();
    let mut gate = scene.gate();
    gate.call("read_balance", balance()).ran();
    let family = descendants_of(gate.child.id());
    assert!(!family.is_empty());
    assert!(gate.end().success());
    until("the end of all that the gate started", || family.iter().all(|pid| !lives(*pid)).then_some(()));
    assert_eq!(scene.place.log().outcomes(Some(Outcome::Ok)), 1);
}

#[test]
fn a_gate_told_to_end_ends_with_its_tool_server() {
    for by in [Signal::TERM, Signal::INT] {
        let scene = Scene::new();
        let mut gate = scene.gate();
        gate.call("read_balance", balance()).ran();
        let family = descendants_of(gate.child.id());
        signal(&gate.child, by);
        assert!(until("the gate's end", || gate.child.try_wait().unwrap()).success());
        until("the end of all that the gate started", || family.iter().all(|pid| !lives(*pid)).then_some(()));
        assert_eq!(scene.place.log().events().last(), Some(&Event::Closed), "{by:?}");
    }
}
