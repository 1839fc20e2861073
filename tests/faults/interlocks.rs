//! Each precondition taken away while everything runs, and given back.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Answer, Daemon, Gate, Place, Recording, files_server, limit_files, pull, signal, text, until,
};

/// The gates' deadline, in milliseconds.
const DEADLINE: u64 = 2_000;
/// What an answer may take beyond the deadline, on a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// An arbiter's daemon, a gate that asks it, and a real file server behind the gate.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) daemon: Daemon,
    pub(crate) gate: Gate,
    recording: Recording,
    file: PathBuf,
    reads: usize,
    deadline: u64,
}

impl Scene {
    /// Everything works: a read was permitted, ran, and is the only call in the recording.
    fn new(endpoint: impl FnOnce(&Place, &Daemon) -> String) -> Self {
        Self::on(Place::files(), DEADLINE, endpoint)
    }

    /// The same with a deployment of the test's own, and another deadline.
    pub(crate) fn on(place: Place, deadline: u64, endpoint: impl FnOnce(&Place, &Daemon) -> String) -> Self {
        let folder = place.directory("shared");
        let file = folder.join("note.txt");
        std::fs::write(&file, "what the file says").unwrap();
        let daemon = Daemon::start(&place);
        let config = place.gate("gate.toml", &endpoint(&place, &daemon), deadline);
        let recording = Recording::new(&place.path("recording"));
        let gate = Gate::start(&config, &recording.of(&files_server(&folder)));
        let mut scene = Self { place, daemon, gate, recording, file, reads: 0, deadline };
        scene.runs();
        scene
    }

    fn over_socket() -> Self {
        Self::new(|place, _| place.socket_url())
    }

    fn arguments(&self) -> Value {
        json!({ "path": text(&self.file) })
    }

    /// The read runs: it comes back with what the file says, and the recording has one call more.
    pub(crate) fn runs(&mut self) {
        let answer = self.gate.call("read_text_file", self.arguments());
        assert_eq!(answer.ran(), "what the file says");
        self.ran_once_more();
    }

    fn ran_once_more(&mut self) {
        self.reads += 1;
        let call = ("read_text_file".to_owned(), self.arguments());
        assert_eq!(self.gate.settled(&self.recording), vec![call; self.reads]);
        self.place.settle_newest();
    }

    /// The same read is SILENCE with this code, within the deadline, and the recording has nothing new.
    pub(crate) fn is_silent(&mut self, code: &str) -> Answer {
        let (answer, took) = self.gate.timed("read_text_file", self.arguments());
        assert_eq!(answer.code(), code, "{}", answer.0);
        assert_eq!(answer.told().unwrap()["decision"], "SILENCE");
        assert!(took < Duration::from_millis(self.deadline) + SLACK, "{code} took {took:?}");
        assert_eq!(self.gate.settled(&self.recording).len(), self.reads, "something reached the tool server");
        answer
    }

    /// A new gate in the place of the old one, which knows the keys that the deployment has now.
    pub(crate) fn knows_the_log_anew(&mut self) {
        let config = self.place.gate("anew.toml", &self.place.socket_url(), self.deadline);
        let folder = self.file.parent().unwrap();
        self.gate = Gate::start(&config, &self.recording.of(&files_server(folder)));
    }

    /// The read runs again, at the latest when the interlock has cleared by itself.
    pub(crate) fn recovers(&mut self) {
        self.place.ready();
        self.runs();
    }

    /// Ends everything and verifies the log: as many PERMITs as reads that ran, and as many outcomes.
    pub(crate) fn verifies(self) {
        let withheld = self.ends();
        assert_eq!(withheld, 0);
    }

    /// The same, where PERMITs may have been recorded and never released. Returns how many were.
    pub(crate) fn ends(self) -> usize {
        let Self { place, daemon, gate, recording, reads, .. } = self;
        gate.end();
        daemon.end(Signal::TERM);
        let log = place.log();
        let withheld = log.outcomes(Some(portcullis_protocol::Outcome::Withheld));
        assert_eq!(log.permits().len(), reads + withheld);
        assert_eq!(log.outcomes(Some(portcullis_protocol::Outcome::Ok)), reads);
        assert_eq!(recording.calls().len(), reads);
        withheld
    }
}

#[test]
fn a_killed_arbiter_is_silence_until_it_is_started_again() {
    let mut scene = Scene::over_socket();
    signal(&scene.daemon.child, Signal::KILL);
    scene.daemon.child.wait().unwrap();
    scene.is_silent("arbiter.unreachable");
    scene.is_silent("arbiter.unreachable");
    scene.daemon = Daemon::start(&scene.place);
    scene.recovers();
    scene.verifies();
}

#[test]
fn an_arbiter_killed_over_http_is_silence_until_it_is_started_again() {
    let mut scene = Scene::new(|_, daemon| daemon.url.clone());
    signal(&scene.daemon.child, Signal::KILL);
    scene.daemon.child.wait().unwrap();
    scene.is_silent("arbiter.unreachable");
    let port = scene.daemon.url.clone();
    let config = scene.place.configure("same-port.toml", |text| {
        text.replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{}\"", &port["http://".len()..]))
    });
    scene.daemon = Daemon::with(&config);
    scene.recovers();
    scene.verifies();
}

#[test]
fn a_frozen_arbiter_is_silence_until_it_goes_on() {
    let mut scene = Scene::over_socket();
    signal(&scene.daemon.child, Signal::STOP);
    scene.is_silent("arbiter.timeout");
    scene.is_silent("arbiter.timeout");
    signal(&scene.daemon.child, Signal::CONT);
    scene.recovers();
    // What the frozen arbiter was asked is over its deadline when it goes on: none of it is a PERMIT that ran.
    let Scene { place, daemon, gate, recording, reads, .. } = scene;
    gate.end();
    daemon.end(Signal::TERM);
    assert_eq!(recording.calls().len(), reads);
    assert_eq!(place.log().outcomes(Some(portcullis_protocol::Outcome::Ok)), reads);
}

#[test]
fn an_arbiter_frozen_over_http_is_silence_until_it_goes_on() {
    let mut scene = Scene::new(|_, daemon| daemon.url.clone());
    signal(&scene.daemon.child, Signal::STOP);
    scene.is_silent("arbiter.timeout");
    signal(&scene.daemon.child, Signal::CONT);
    scene.recovers();
    assert_eq!(scene.gate.settled(&scene.recording).len(), scene.reads);
}

/// Pulls something away while everything runs, and puts it back: nobody is restarted.
fn pulled(which: impl FnOnce(&Place) -> PathBuf, code: &str) {
    let mut scene = Scene::over_socket();
    let away = pull(&which(&scene.place));
    scene.is_silent(code);
    scene.is_silent(code);
    away.back();
    scene.recovers();
    scene.verifies();
}

#[test]
fn without_the_bundle_nothing_is_permitted() {
    pulled(|place| place.config.bundle.clone(), "policy.missing");
}

#[test]
fn without_the_signing_key_nothing_is_permitted() {
    pulled(|place| place.signing_key(), "signer.unavailable");
}

#[test]
fn without_the_vault_s_master_key_nothing_is_permitted() {
    pulled(|place| place.config.vault_key.clone(), "evidence.vault_unavailable");
}

#[test]
fn without_the_anchor_nothing_is_permitted() {
    pulled(|place| place.config.anchor.clone(), "evidence.anchor_unwritable");
}

/// The newest database file of the data directory.
fn database(place: &Place) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![place.config.data.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if std::fs::read(entry.path()).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0")) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found.pop().expect("a database")
}

#[test]
fn without_the_database_file_nothing_is_permitted() {
    pulled(database, "evidence.unwritable");
}

#[test]
fn with_an_unwritable_ledger_nothing_is_permitted() {
    let mut scene = Scene::over_socket();
    limit_files(&scene.daemon.child, Some(0));
    scene.is_silent("evidence.unwritable");
    scene.is_silent("evidence.unwritable");
    limit_files(&scene.daemon.child, None);
    scene.recovers();
    scene.verifies();
}

#[test]
fn shut_by_an_operator_nothing_is_permitted() {
    let mut scene = Scene::over_socket();
    portcullis_server::shut(&scene.place.config.data, "a test").unwrap();
    scene.is_silent("gate.shut");
    scene.is_silent("gate.shut");
    assert_eq!(portcullis_server::open(&scene.place.config.data).unwrap().as_deref(), Some("a test"));
    scene.recovers();
    scene.verifies();
}

#[test]
fn a_bundle_changed_and_signed_again_permits_nothing_until_it_is_as_pinned() {
    let mut scene = Scene::over_socket();
    let policy = scene.place.config.bundle.join("policies/files.cedar");
    let before = std::fs::read_to_string(&policy).unwrap();
    std::fs::write(&policy, format!("{before}\n@id(\"all\")\npermit (principal, action, resource);\n"))
        .unwrap();
    let key = scene.place.path("keys/bundle.key");
    portcullis_server::sign_bundle(&scene.place.config.bundle, &key).unwrap();
    until("the change is noticed", || (!scene.place.is_ready()).then_some(()));
    scene.is_silent("policy.pin_mismatch");
    std::fs::write(&policy, before).unwrap();
    portcullis_server::sign_bundle(&scene.place.config.bundle, &key).unwrap();
    scene.recovers();
    scene.verifies();
}

#[test]
fn the_call_that_meets_the_fault_first_is_silent_too() {
    // No health check in between that could have noticed it before.
    for _ in 0..3 {
        let mut scene = Scene::over_socket();
        limit_files(&scene.daemon.child, Some(0));
        let (answer, _) = scene.gate.timed("read_text_file", scene.arguments());
        assert_eq!(answer.code(), "evidence.unwritable");
        assert_eq!(scene.gate.settled(&scene.recording).len(), scene.reads);
    }
}
