//! Attempts that are refused while evidence is down: kept in the spool, on a disk of its own, and in the log once it is
//! up again, each once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use portcullis_protocol::{AttemptId, Event, Keeper, LateRecord, Outcome, Record};
use serde_json::{Value, json};

use crate::judge::run;
use crate::mounts::Mount;
use crate::strace::{Traced, Tracer, thread};
use crate::support::http::{Server, get};
use crate::support::{Answer, Daemon, Gate, Place, Recording, demo_server, limit_files, pull, text, until};

/// Longest that an answer may take: the gate's deadline, and what a busy machine adds.
const PROMPT: Duration = Duration::from_secs(4);

/// A deployment with a spool, its daemon, and one gate that outlives it.
struct Scene {
    place: Place,
    daemon: Option<Daemon>,
    gate: Gate,
    recording: Recording,
    calls: usize,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    /// With more in the section `[spool]`. Nothing is started yet but the gate.
    fn with(more: &str) -> Self {
        let mut place = Place::demo();
        place.directory("spool");
        place.config_path = place.configure("spooling.toml", |text| {
            let reserve = text.replace("\n[policy]", "\ndisk_reserve = 0\n\n[policy]");
            format!("{reserve}\n[spool]\npath = \"spool/attempts\"\n{more}\n")
        });
        let config = place.elsewhere(&place.socket_url());
        let recording = Recording::new(&place.path("recording"));
        let journal = place.file("journal", "");
        let gate = Gate::start(&config, &recording.of(&demo_server(&journal)));
        Self { place, daemon: None, gate, recording, calls: 0 }
    }

    fn start(&mut self) {
        assert!(self.daemon.is_none());
        self.daemon = Some(Daemon::start(&self.place));
    }

    fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
    }

    fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().child.id()
    }

    fn spool(&self) -> PathBuf {
        self.place.path("spool/attempts")
    }

    fn journal(&self) -> usize {
        std::fs::read_to_string(self.place.path("journal")).unwrap().lines().count()
    }

    fn charge(&mut self) -> Answer {
        self.calls += 1;
        let key = format!("invoice-{}", self.calls);
        self.gate.call_with("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(&key))
    }

    /// A charge runs.
    fn runs(&mut self) {
        let ran = self.journal();
        self.charge().ran();
        assert_eq!(self.journal(), ran + 1);
    }

    /// Charges run again, by themselves.
    fn runs_again(&mut self) {
        until("a charge that runs", || self.charge().told().is_none().then_some(()));
    }

    /// A charge is refused under this code, promptly, and said to be kept so.
    #[track_caller]
    fn refused(&mut self, code: &str, captured: &str) {
        assert_eq!(self.refused_somehow(captured), code);
    }

    /// A charge is refused while the signer's key is away and its attempt can be written nowhere.
    #[track_caller]
    fn nowhere(&mut self) {
        let answer = self.refusal("none");
        assert_eq!(answer.code(), "evidence.unwritable", "{}", answer.0);
        let detail = answer.told().unwrap()["reason"]["detail"].as_str().unwrap();
        assert!(detail.contains("signer.unavailable") && detail.contains("spool"), "{detail}");
    }

    /// A charge is refused under a code that is returned.
    #[track_caller]
    fn refused_somehow(&mut self, captured: &str) -> String {
        self.refusal(captured).code().to_owned()
    }

    /// A charge is refused under a code of evidence or of the signer.
    #[track_caller]
    fn refusal(&mut self, captured: &str) -> Answer {
        let ran = self.journal();
        let start = Instant::now();
        let answer = self.charge();
        assert!(start.elapsed() < PROMPT, "it took {:?}", start.elapsed());
        let code = answer.code();
        assert!(code.starts_with("evidence.") || code.starts_with("signer."), "{}", answer.0);
        assert_eq!(answer.told().unwrap()["captured"], captured, "{}", answer.0);
        assert_eq!(self.gate.settled(&self.recording).len(), ran, "it reached the tool server");
        assert_eq!(self.journal(), ran, "it ran");
        answer
    }

    /// What the daemon says of its spool.
    fn status(&self) -> Value {
        let said = get(&Server::socket(&self.place.socket()), "/readyz").unwrap();
        serde_json::from_str::<Value>(&said.body).unwrap()["spool"].clone()
    }

    fn emptied(&self) {
        until("an empty spool", || (self.status()["waiting"] == 0).then_some(()));
    }

    /// Ends the daemon. Everything of the log verifies, replays, and what is in it late is returned.
    fn ends(mut self) -> (Vec<LateRecord>, Vec<Event>) {
        self.emptied();
        assert!(self.daemon.take().unwrap().end(rustix::process::Signal::TERM).success());
        let ran = self.journal();
        let log = self.place.log();
        assert_eq!(log.outcomes(Some(Outcome::Ok)), ran, "what ran has its PERMIT and its outcome");
        let config = text(&self.place.config_path);
        run(&["log", "replay", "--config", &config]).unwrap();
        run(&["log", "check", "--config", &config]).unwrap();
        let late = |record: &Record| if let Record::Late(late) = record { Some(late.clone()) } else { None };
        let late: Vec<_> = log.records.iter().filter_map(late).collect();
        // The receipt of a late record says what it is.
        if let Some(first) = late.first() {
            let receipt = self.place.file("late.receipt", &self.place.receipt(first.seq));
            let key = self.place.config.log_key.to_string();
            let said = run(&["verify", "--key", &key, &text(&receipt)]).unwrap();
            assert!(said.contains("no decision"), "{said}");
        }
        (late, log.events())
    }
}

fn attempts(late: &[LateRecord]) -> Vec<AttemptId> {
    let mut attempts: Vec<_> = late.iter().map(|late| late.entry.attempted.attempt).collect();
    attempts.sort();
    attempts
}

/// Each of so many attempts is in the log late, once.
fn are_in_once(late: &[LateRecord], count: usize) {
    let mut all = attempts(late);
    assert_eq!(all.len(), count);
    all.dedup();
    assert_eq!(all.len(), count, "entered twice");
    assert!(late.iter().all(|late| late.keeper == Keeper::Arbiter));
}

#[test]
fn what_a_full_disk_refuses_is_spooled_and_in_the_log_once_there_is_room() {
    let mut scene = Scene::new();
    let mount = Mount::tmpfs(&scene.place.config.data, 12 << 20);
    scene.start();
    scene.runs();
    let filler = mount.fill(0);
    for _ in 0..5 {
        scene.refused("evidence.unwritable", "spooled");
    }
    drop(filler);
    scene.runs_again();
    let (late, _) = scene.ends();
    assert!(late.len() >= 5);
    are_in_once(&late, late.len());
    drop(mount);
}

#[test]
fn what_a_read_only_disk_refuses_outlives_the_daemon_and_is_in_the_log_after_the_repair() {
    let mut scene = Scene::new();
    let mount = Mount::ext4(&scene.place.config.data, 24 << 20, 4096);
    scene.start();
    scene.runs();
    mount.break_down();
    for _ in 0..4 {
        assert!(scene.refused_somehow("spooled").starts_with("evidence."));
    }
    scene.kill();
    mount.repair();
    scene.start();
    scene.runs_again();
    let (late, _) = scene.ends();
    are_in_once(&late, 4);
    drop(mount);
}

#[test]
fn killed_between_the_commit_and_the_emptying_of_the_spool_nothing_is_entered_twice() {
    let mut scene = Scene::new();
    scene.start();
    scene.runs();
    let key = pull(&scene.place.signing_key());
    for _ in 0..3 {
        scene.refused("signer.unavailable", "spooled");
    }
    let kept = std::fs::read(scene.spool()).unwrap();
    let kill = ["trace=ftruncate".to_owned(), "inject=ftruncate:signal=KILL".to_owned()];
    let tracer =
        Tracer::attach(Traced::Thread(thread(scene.pid(), "spool")), &kill, &scene.place.path("strace.log"));
    key.back();
    until("the daemon's death", || scene.daemon.as_mut().unwrap().child.try_wait().unwrap());
    let calls = tracer.detach();
    assert_eq!(calls.iter().filter(|call| call.starts_with("ftruncate")).count(), 1, "{calls:?}");
    scene.kill();
    assert_eq!(std::fs::read(scene.spool()).unwrap(), kept, "killed before the spool was emptied");
    let in_log = scene.place.log().records.iter().filter(|record| matches!(record, Record::Late(_))).count();
    assert_eq!(in_log, 3, "killed after the commit");
    scene.start();
    scene.runs_again();
    let (late, _) = scene.ends();
    are_in_once(&late, 3);
}

#[test]
fn a_full_spool_and_one_that_cannot_be_written_are_unwritable_evidence_and_kept_nowhere() {
    let mut scene = Scene::with("max_entries = 3");
    scene.start();
    scene.runs();
    let key = pull(&scene.place.signing_key());
    for _ in 0..3 {
        scene.refused("signer.unavailable", "spooled");
    }
    scene.nowhere();
    key.back();
    scene.runs_again();
    scene.emptied();
    // Every write of the process fails, the spool's too.
    limit_files(&scene.daemon.as_ref().unwrap().child, Some(0));
    for _ in 0..3 {
        scene.refused("evidence.unwritable", "none");
    }
    assert!(scene.status()["failing"].is_string());
    limit_files(&scene.daemon.as_ref().unwrap().child, None);
    scene.runs_again();
    // And one whose disk is away.
    let (key, disk) = (pull(&scene.place.signing_key()), pull(&scene.place.path("spool")));
    scene.nowhere();
    disk.back();
    scene.refused("signer.unavailable", "spooled");
    key.back();
    scene.runs_again();
    let (late, _) = scene.ends();
    are_in_once(&late, 4);
}

#[test]
fn what_the_spools_disk_did_not_sync_is_answered_with_none() {
    let mut scene = Scene::new();
    scene.start();
    scene.runs();
    let key = pull(&scene.place.signing_key());
    scene.refused("signer.unavailable", "spooled");
    let fail = ["trace=fdatasync".to_owned(), "inject=fdatasync:error=EIO:when=1..2".to_owned()];
    let tracer =
        Tracer::attach(Traced::Thread(thread(scene.pid(), "spool")), &fail, &scene.place.path("strace.log"));
    scene.nowhere();
    scene.nowhere();
    scene.refused("signer.unavailable", "spooled");
    assert_eq!(tracer.detach().iter().filter(|call| call.contains("EIO")).count(), 2);
    key.back();
    scene.runs_again();
    let (late, _) = scene.ends();
    are_in_once(&late, 2);
}

#[test]
fn a_spool_whose_disk_stands_still_holds_nobody_up() {
    let mut scene = Scene::new();
    let mount = Mount::ext4(&scene.place.path("spool"), 12 << 20, 4096);
    scene.start();
    scene.runs();
    let key = pull(&scene.place.signing_key());
    scene.refused("signer.unavailable", "spooled");
    let frozen = mount.freeze();
    for _ in 0..4 {
        scene.nowhere();
    }
    drop(frozen);
    until("a spool that keeps again", || {
        (scene.charge().told().unwrap()["captured"] == "spooled").then_some(())
    });
    key.back();
    scene.runs_again();
    let (late, _) = scene.ends();
    assert!(late.len() >= 2);
    are_in_once(&late, late.len());
    drop(mount);
}

#[test]
fn what_of_the_spool_was_flipped_is_set_aside_and_on_record_and_the_rest_is_entered() {
    let mut scene = Scene::new();
    scene.start();
    let key = pull(&scene.place.signing_key());
    for _ in 0..3 {
        scene.refused("signer.unavailable", "spooled");
    }
    scene.kill();
    let mut kept = std::fs::read(scene.spool()).unwrap();
    let middle = kept.len() / 2;
    kept[middle] ^= 4;
    std::fs::write(scene.spool(), &kept).unwrap();
    key.back();
    scene.start();
    scene.runs_again();
    let aside = scene.place.path("spool/attempts.set-aside.1");
    until("what is set aside, on record", || aside.exists().then_some(()));
    assert_eq!(std::fs::read(&aside).unwrap(), kept);
    let (late, events) = scene.ends();
    are_in_once(&late, 2);
    assert_eq!(events.iter().filter(|event| **event == Event::SpoolDamaged).count(), 1);
}
