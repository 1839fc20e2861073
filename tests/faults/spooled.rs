//! Attempts for which a gate has no answer: kept by the gate, and in the log once the arbiter is there again.

use portcullis_protocol::{Keeper, LateRecord, Outcome, ReasonCode, Record};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::support::http::Server;
use crate::support::process::{stop, tool_server};
use crate::support::{
    Act, Asked, Between, Daemon, Gate, Place, Recording, demo_server, limit_files, pull, signal, until,
};

struct Scene {
    place: Place,
    config: std::path::PathBuf,
    daemon: Option<Daemon>,
    gate: Gate,
    recording: Recording,
    calls: usize,
}

impl Scene {
    /// A gate with a spool, whose arbiter is reached so. It runs nothing yet.
    fn new(arbiter: impl FnOnce(&Place, &Daemon) -> String) -> Self {
        let place = Place::demo();
        place.directory("gates");
        let daemon = Daemon::start(&place);
        let url = arbiter(&place, &daemon);
        let config = place.configure("gate.toml", |text| {
            let gate = format!("deadline_ms = 1000\nspool = \"gates\"\narbiter = \"{url}\"");
            text.replace("deadline_ms = 2000", &gate)
        });
        let recording = Recording::new(&place.path("recording"));
        let gate = Gate::start(&config, &recording.of(&demo_server(&place.file("journal", ""))));
        Self { place, config, daemon: Some(daemon), gate, recording, calls: 0 }
    }

    fn over_socket() -> Self {
        Self::new(|place, _| place.socket_url())
    }

    fn journal(&self) -> usize {
        std::fs::read_to_string(self.place.path("journal")).unwrap().lines().count()
    }

    fn read(&mut self) -> crate::support::Answer {
        self.calls += 1;
        self.gate.call("read_balance", json!({ "account": format!("account-{}", self.calls) }))
    }

    fn runs(&mut self) {
        let ran = self.journal();
        until("a read that runs", || self.read().told().is_none().then_some(()));
        assert_eq!(self.journal(), ran + 1);
    }

    /// A read is refused for this reason, and its attempt can be written nowhere.
    #[track_caller]
    fn nowhere(&mut self, first: &str) {
        let answer = self.refused("evidence.unwritable", "none");
        let detail = answer.told().unwrap()["reason"]["detail"].as_str().unwrap();
        assert!(detail.contains(first) && detail.contains("spool"), "{detail}");
    }

    #[track_caller]
    fn refused(&mut self, code: &str, captured: &str) -> crate::support::Answer {
        let ran = self.recording.calls().len();
        let answer = self.read();
        assert_eq!(answer.code(), code, "{}", answer.0);
        assert_eq!(answer.told().unwrap()["captured"], captured, "{}", answer.0);
        assert_eq!(self.gate.settled(&self.recording).len(), ran, "it reached the tool server");
        answer
    }

    /// What the gates' spools still hold, in bytes.
    fn left(&self) -> u64 {
        let files = std::fs::read_dir(self.place.path("gates")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    }

    fn entered(&self) {
        until("empty spools", || (self.left() == 0).then_some(()));
    }

    /// Ends all in good order; the log verifies and replays. What is in it late.
    fn ends(mut self) -> (Place, Vec<LateRecord>) {
        self.entered();
        self.gate.end();
        assert!(self.daemon.take().unwrap().end(Signal::TERM).success());
        let config = self.place.config_path.to_str().unwrap();
        let replayed = std::process::Command::new(crate::support::program())
            .args(["log", "replay", "--config", config])
            .output()
            .unwrap();
        assert!(replayed.status.success(), "{replayed:?}");
        let log = self.place.log();
        let late = |record| if let Record::Late(late) = record { Some(late) } else { None };
        (self.place, log.records.into_iter().filter_map(late).collect())
    }
}

/// So many attempts, each once, by the gate and about this surface.
fn are_in_once(late: &[LateRecord], count: usize) {
    let mut attempts: Vec<_> = late.iter().map(|late| late.entry.attempted.attempt).collect();
    attempts.sort();
    attempts.dedup();
    assert_eq!((attempts.len(), late.len()), (count, count));
    for late in late {
        assert_eq!(late.keeper, Keeper::Gate);
        assert_eq!(late.entry.attempted.surface.as_str(), "demo.read_balance");
        assert_eq!(late.entry.attempted.agent.as_str(), "demo-agent");
    }
}

#[test]
fn what_a_dead_or_frozen_arbiter_did_not_answer_is_in_the_log_once_it_is_back() {
    // Nothing has run: an outcome whose report is under way when the arbiter goes is another matter.
    let mut scene = Scene::over_socket();
    signal(&scene.daemon.as_ref().unwrap().child, Signal::STOP);
    scene.refused("arbiter.timeout", "spooled");
    signal(&scene.daemon.as_ref().unwrap().child, Signal::CONT);
    scene.entered();
    scene.daemon.take().unwrap().kill();
    for _ in 0..3 {
        scene.refused("arbiter.unreachable", "spooled");
    }
    scene.daemon = Some(Daemon::start(&scene.place));
    scene.runs();
    are_in_once(&scene.ends().1, 4);
}

/// The ordinary outage. The gate refused the calls behind the one whose outcome it could not report, and none was kept.
#[test]
fn an_outage_that_began_while_a_call_ran_left_nothing_of_what_was_attempted_during_it() {
    let mut scene = Scene::over_socket();
    scene.runs();
    let calls = scene.recording.calls().len();
    let server = tool_server(&scene.gate.child);
    stop(server);
    let charge = json!({ "account": "acme", "amount": "1.00" });
    let id = scene.gate.send_call("charge", &charge, Some("invoice-1"));
    until("the call on its way", || (scene.recording.calls().len() > calls).then_some(()));
    scene.daemon.take().unwrap().kill();
    kill_process(server, Signal::CONT).unwrap();
    scene.gate.called(id).unwrap().ran();
    let ran = scene.journal();
    for _ in 0..3 {
        scene.refused("evidence.outcome_unrecorded", "spooled");
    }
    assert_eq!(scene.journal(), ran, "it ran");
    scene.daemon = Some(Daemon::start(&scene.place));
    scene.runs();
    let (place, late) = scene.ends();
    are_in_once(&late, 3);
    for late in &late {
        assert_eq!(late.entry.attempted.reason, ReasonCode::EvidenceOutcomeUnrecorded);
    }
    // They are no decisions: on record is what ran, each with its outcome.
    let log = place.log();
    assert_eq!((log.rows.len(), log.outcomes(Some(Outcome::Ok))), (3, 3));
}

/// Nothing is known of the surfaces, for no arbiter ever said them.
#[test]
fn what_a_gate_refused_that_never_saw_its_arbiter_is_in_the_log_once_it_is_there() {
    let mut scene = Scene::over_socket();
    scene.daemon.take().unwrap().kill();
    for _ in 0..2 {
        scene.refused("arbiter.unreachable", "spooled");
    }
    scene.daemon = Some(Daemon::start(&scene.place));
    scene.runs();
    are_in_once(&scene.ends().1, 2);
}

#[test]
fn what_a_killed_gate_kept_is_sent_by_the_next() {
    let mut scene = Scene::over_socket();
    scene.daemon.take().unwrap().kill();
    for _ in 0..3 {
        scene.refused("arbiter.unreachable", "spooled");
    }
    let server = scene.recording.of(&demo_server(&scene.place.path("journal")));
    let second = Gate::start(&scene.config, &server);
    std::mem::replace(&mut scene.gate, second).kill();
    assert!(scene.left() > 0);
    scene.refused("arbiter.unreachable", "spooled");
    scene.daemon = Some(Daemon::start(&scene.place));
    scene.runs();
    are_in_once(&scene.ends().1, 4);
}

/// The arbiter has entered them, and its answer is lost.
#[test]
fn attempts_whose_confirmation_is_lost_are_sent_again_and_entered_once() {
    let mut between = None;
    let mut scene = Scene::new(|_, daemon| between.insert(Between::before(daemon.server())).url.clone());
    let between = between.unwrap();
    scene.runs();
    between.lose_confirmations(3);
    between.decisions(|_: &Asked, _: &Server| Act::Bytes(Vec::new()));
    for _ in 0..3 {
        scene.refused("arbiter.unreachable", "spooled");
    }
    between.honest();
    scene.runs();
    are_in_once(&scene.ends().1, 3);
}

/// It said that the arbiter is away, as of attempts that will be in the log.
#[test]
fn a_gate_without_room_for_it_or_without_its_disk_says_none() {
    let mut scene = Scene::over_socket();
    scene.daemon.take().unwrap().kill();
    limit_files(&scene.gate.child, Some(0));
    scene.nowhere("arbiter.unreachable");
    limit_files(&scene.gate.child, None);
    let disk = pull(&scene.place.path("gates"));
    scene.nowhere("arbiter.unreachable");
    disk.back();
    scene.refused("arbiter.unreachable", "spooled");
    scene.daemon = Some(Daemon::start(&scene.place));
    scene.runs();
    are_in_once(&scene.ends().1, 1);
}
