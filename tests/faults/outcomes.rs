//! An outcome that is not on record: the gate that ran the call lets nothing more run until it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use portcullis_policy::bundles;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{AgentId, GateId, Outcome, ReasonCode};
use portcullis_sdk::{HttpAuthorizer, Outcomes, Refusal, Running, Token, TrustedLog};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::support::process::{stop, tool_server};
use crate::support::{
    Act, Between, Daemon, Gate, PATIENCE, Place, Recording, demo_server, limit_files, until,
};

/// A gate, its arbiter's daemon, and the demo's tool server, which can be held between taking a call and answering it.
struct Scene {
    place: Place,
    daemon: Option<Daemon>,
    gate: Gate,
    recording: Recording,
    charges: usize,
}

impl Scene {
    fn new(endpoint: impl FnOnce(&Place, &Daemon) -> String) -> Self {
        Self::on(Place::demo(), endpoint)
    }

    fn on(place: Place, endpoint: impl FnOnce(&Place, &Daemon) -> String) -> Self {
        let daemon = Daemon::start(&place);
        let config = place.elsewhere(&endpoint(&place, &daemon));
        let recording = Recording::new(&place.path("recording"));
        let journal = place.file("journal", "");
        let gate = Gate::start(&config, &recording.of(&demo_server(&journal)));
        Self { place, daemon: Some(daemon), gate, recording, charges: 0 }
    }

    fn journal(&self) -> usize {
        std::fs::read_to_string(self.place.path("journal")).unwrap().lines().count()
    }

    fn send(&mut self) -> u64 {
        self.charges += 1;
        let key = format!("invoice-{}", self.charges);
        self.gate.send_call("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(&key))
    }

    /// A charge runs, and the tool server's journal says so.
    fn runs(&mut self) {
        let ran = self.journal();
        let id = self.send();
        self.gate.called(id).unwrap().ran();
        assert_eq!(self.journal(), ran + 1);
    }

    /// A charge is SILENCE for want of the outcome before it, and reaches nobody.
    fn is_silent(&mut self) {
        let (ran, calls) = (self.journal(), self.recording.calls().len());
        let id = self.send();
        let answer = self.gate.called(id).unwrap();
        assert_eq!(answer.code(), "evidence.outcome_unrecorded", "{}", answer.0);
        assert_eq!(answer.told().unwrap()["decision"], "SILENCE");
        assert_eq!(self.gate.settled(&self.recording).len(), calls, "it reached the tool server");
        assert_eq!(self.journal(), ran, "it ran");
    }

    /// A charge is held while `fault` lasts: it reaches nobody, and runs once it is over.
    fn is_held(&mut self, over: impl FnOnce(&mut Self)) {
        let (ran, calls) = (self.journal(), self.recording.calls().len());
        self.charges += 1;
        let key = format!("invoice-{}", self.charges);
        let meta = json!({ "portcullis/idempotency-key": key, "progressToken": key });
        let arguments = json!({ "account": "acme", "amount": "1.00" });
        let params = json!({ "name": "charge", "arguments": arguments, "_meta": meta });
        let id = self.gate.send("tools/call", &params);
        loop {
            let told = self.gate.next().unwrap();
            assert_ne!(told["id"], id, "it was not held: {told}");
            let held = told["params"]["message"].as_str().is_some_and(|told| told.starts_with("held: "));
            if held && told["params"]["progressToken"] == key {
                break;
            }
        }
        assert_eq!(
            (self.recording.calls().len(), self.journal()),
            (calls, ran),
            "it reached the tool server"
        );
        over(self);
        self.gate.called(id).unwrap().ran();
        assert_eq!(self.journal(), ran + 1);
    }

    /// A charge is permitted and reaches the tool server; `fault` strikes before that answers.
    fn struck(&mut self, fault: impl FnOnce(&mut Self)) {
        let (ran, calls) = (self.journal(), self.recording.calls().len());
        let server = tool_server(&self.gate.child);
        stop(server);
        let id = self.send();
        until("the call on its way", || (self.recording.calls().len() > calls).then_some(()));
        fault(self);
        kill_process(server, Signal::CONT).unwrap();
        self.gate.called(id).unwrap().ran();
        assert_eq!(self.journal(), ran + 1);
    }

    /// Everything that ran has its PERMIT and its outcome on record, and nothing else has one.
    fn ends(mut self) {
        self.runs();
        let ran = self.journal();
        self.gate.end();
        assert!(self.daemon.take().unwrap().end(Signal::TERM).success());
        let log = self.place.log();
        assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (ran, ran));
    }
}

fn socket(place: &Place, _: &Daemon) -> String {
    place.socket_url()
}

#[test]
fn after_an_arbiter_that_died_before_an_outcome_nothing_runs_until_the_outcome_is_on_record() {
    let mut scene = Scene::new(socket);
    scene.runs();
    scene.struck(|scene| scene.daemon.take().unwrap().kill());
    scene.is_silent();
    scene.is_silent();
    scene.daemon = Some(Daemon::start(&scene.place));
    // The call itself hurries the report that it waits for.
    scene.runs();
    scene.ends();
}

#[test]
fn while_the_arbiters_disk_takes_no_outcome_nothing_runs_and_afterwards_the_first_call_does() {
    let mut scene = Scene::new(socket);
    scene.runs();
    scene.struck(|scene| limit_files(&scene.daemon.as_ref().unwrap().child, Some(0)));
    scene.is_silent();
    scene.is_silent();
    limit_files(&scene.daemon.as_ref().unwrap().child, None);
    until("a ledger that is repaired", || scene.place.is_ready().then_some(()));
    scene.runs();
    scene.ends();
}

/// The demo, whose charges wait for what is away.
fn patient() -> Place {
    let mut bundle = bundles::demo();
    let manifest = bundle.get_mut("bundle.toml").unwrap();
    let text = String::from_utf8(std::mem::take(manifest)).unwrap();
    let waits = "on_silence = \"pause\"\npause_at_most = \"10m\"";
    *manifest = text.replace("on_silence = \"terminate\"", waits).into_bytes();
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

#[test]
fn a_call_that_waits_for_the_arbiters_disk_runs_once_when_there_is_room() {
    let mut scene = Scene::on(patient(), socket);
    scene.runs();
    limit_files(&scene.daemon.as_ref().unwrap().child, Some(0));
    scene.is_held(|scene| limit_files(&scene.daemon.as_ref().unwrap().child, None));
    scene.ends();
}

#[test]
fn a_call_that_waits_for_an_arbiter_that_died_runs_once_when_it_is_back() {
    let mut scene = Scene::on(patient(), socket);
    scene.runs();
    scene.daemon.take().unwrap().kill();
    scene.is_held(|scene| scene.daemon = Some(Daemon::start(&scene.place)));
    scene.ends();
}

/// Its own PERMIT had its key in flight, until the arbiter ended that as `unknown`.
#[test]
fn a_held_call_whose_permit_was_lost_on_its_way_was_in_its_own_way() {
    let mut between = None;
    let mut scene =
        Scene::on(patient(), |_, daemon| between.insert(Between::before(daemon.server())).url.clone());
    let between = between.unwrap();
    scene.runs();
    let mut lost = false;
    between.decisions(move |asked, arbiter| {
        let answer = asked.put_to(arbiter).unwrap();
        if std::mem::replace(&mut lost, true) { Act::pass(&answer) } else { Act::Bytes(Vec::new()) }
    });
    scene.runs();
    scene.gate.end();
    assert!(scene.daemon.take().unwrap().end(Signal::TERM).success());
    let log = scene.place.log();
    let outcomes = [Outcome::Ok, Outcome::Expired].map(|outcome| log.outcomes(Some(outcome)));
    assert_eq!((log.permits().len(), outcomes), (3, [2, 1]));
}

/// The arbiter itself is well and would permit: only the gate knows that its report did not arrive.
#[test]
fn a_gate_whose_reports_are_lost_lets_nothing_run_though_the_arbiter_would_permit() {
    let mut between = None;
    let mut scene = Scene::new(|_, daemon| between.insert(Between::before(daemon.server())).url.clone());
    let between = between.unwrap();
    scene.runs();
    between.lose_outcomes(true);
    scene.runs();
    scene.is_silent();
    scene.is_silent();
    between.lose_outcomes(false);
    scene.runs();
    scene.ends();
}

#[test]
fn a_permit_that_was_asked_for_before_an_outcome_was_lost_ran_after_it() {
    let mut between = None;
    let mut scene = Scene::new(|_, daemon| between.insert(Between::before(daemon.server())).url.clone());
    let between = between.unwrap();
    scene.runs();
    let (arrived, decided) = channel();
    let (go, goes) = channel();
    let mut second = None;
    scene.struck(|scene| {
        // The decision about the second call is under way while the outcome of the first is lost.
        between.decisions(move |asked, arbiter| {
            let answer = asked.put_to(arbiter).unwrap();
            arrived.send(()).unwrap();
            goes.recv().unwrap();
            Act::pass(&answer)
        });
        second = Some(scene.send());
        decided.recv_timeout(PATIENCE).unwrap();
        between.lose_outcomes(true);
    });
    let (ran, calls) = (scene.journal(), scene.recording.calls().len());
    go.send(()).unwrap();
    let answer = scene.gate.called(second.unwrap()).unwrap();
    assert_eq!(answer.code(), "evidence.outcome_unrecorded", "{}", answer.0);
    assert_eq!(scene.recording.calls().len(), calls, "it reached the tool server");
    assert_eq!(scene.journal(), ran, "it ran");
    between.honest();
    between.lose_outcomes(false);
    // Two reports are to arrive before anything runs.
    until("a gate that lets calls run again", || {
        let id = scene.send();
        scene.gate.called(id).unwrap().told().is_none().then_some(())
    });
    scene.gate.end();
    assert!(scene.daemon.take().unwrap().end(Signal::TERM).success());
    let log = scene.place.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok)), log.outcomes(None)), (4, 3, 0));
}

/// A program that links the SDK. Its effect is a line in a file, and what strikes it strikes right after that.
struct Linked {
    effects: PathBuf,
    outcomes: Outcomes,
    log: TrustedLog,
    charges: usize,
}

impl Linked {
    fn new(place: &Place) -> Self {
        let endpoint = place.socket_url().parse().unwrap();
        let arbiter = HttpAuthorizer::new(endpoint, Token::new(&place.token("demo-agent")), PATIENCE);
        let outcomes = Outcomes::start(Arc::new(arbiter), PATIENCE, |_| {});
        let log = TrustedLog::new(vec![place.config.log_key.clone()]).unwrap();
        Self { effects: place.file("effects", ""), outcomes, log, charges: 0 }
    }

    fn effects(&self) -> usize {
        std::fs::read_to_string(&self.effects).unwrap().lines().count()
    }

    async fn charge(&mut self, fault: impl FnOnce()) -> Result<bool, Refusal> {
        self.charges += 1;
        let ask = json!({
            "surface": "demo.charge", "action": "demo.charge",
            "resource": { "type": "Surface", "id": "demo.charge" },
            "context": { "account": "acme", "amount": "1.00" },
            "idempotency_key": format!("invoice-{}", self.charges),
        });
        let ask = Ask::parse(ask.to_string().as_bytes()).unwrap();
        let me: (AgentId, GateId) = ("demo-agent".parse().unwrap(), "program".parse().unwrap());
        let effect = async |running: &Running| {
            use std::io::Write;
            let mut file = std::fs::File::options().append(true).open(&self.effects).unwrap();
            writeln!(file, "{}", running.request().ask.surface).unwrap();
            fault();
            ((), Outcome::Ok, None)
        };
        let ran = portcullis_sdk::run(&self.outcomes, &self.log, me, ask, PATIENCE, effect).await;
        ran.map(|ran| ran.recorded)
    }
}

#[tokio::test]
async fn a_program_that_links_the_sdk_ran_on_while_an_outcome_of_its_own_was_not_on_record() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    let mut linked = Linked::new(&place);
    assert!(linked.charge(|| {}).await.unwrap());
    assert!(!linked.charge(|| daemon.kill()).await.unwrap(), "there was no arbiter to record it");
    for _ in 0..2 {
        let refused = linked.charge(|| panic!("it ran")).await.unwrap_err();
        assert_eq!(refused.code(), ReasonCode::EvidenceOutcomeUnrecorded);
    }
    assert_eq!(linked.effects(), 2);
    let daemon = Daemon::start(&place);
    assert!(linked.charge(|| {}).await.unwrap(), "its own call hurries the report that it waits for");
    assert_eq!(linked.effects(), 3);
    assert!(daemon.end(Signal::TERM).success());
    let log = place.log();
    assert_eq!((log.permits().len(), log.outcomes(Some(Outcome::Ok))), (3, 3));
}
