//! A deployment with one entry of each kind, and everything that could run behind them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use portcullis_policy::bundles;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{Outcome, Salt};
use portcullis_sdk::{Endpoint, HttpAuthorizer, Outcomes, Refusal, Running, Token, TrustedLog};
use portcullis_server::Config;
use serde_json::{Value, json};

use crate::support::http::{Response, post};
use crate::support::{
    Act, Asked, Between, Daemon, Gate, PATIENCE, Place, Recording, demo_server, program, text,
};

/// A way to an executor, or to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// `portcullis mcp`, with the demo's tool server behind it.
    Mcp,
    /// `POST /v1/decisions`, asked of the arbiter itself.
    Api,
    /// A program that links the SDK, with an effect of its own.
    Sdk,
    /// `portcullis decide`
    Cli,
}

pub(crate) const ALL: [Entry; 4] = [Entry::Mcp, Entry::Api, Entry::Sdk, Entry::Cli];
/// Those that do not believe what an arbiter says, but verify it.
pub(crate) const VERIFYING: [Entry; 3] = [Entry::Mcp, Entry::Sdk, Entry::Cli];

/// Something to be done.
#[derive(Clone, Debug)]
pub(crate) struct Deed {
    pub(crate) tool: &'static str,
    pub(crate) arguments: Value,
    pub(crate) key: Option<String>,
}

impl Deed {
    pub(crate) fn read() -> Self {
        Self { tool: "read_balance", arguments: json!({ "account": "acme" }), key: None }
    }

    pub(crate) fn charge(amount: &str, key: &str) -> Self {
        Self::on("charge", json!({ "account": "acme", "amount": amount }), Some(key))
    }

    pub(crate) fn on(tool: &'static str, arguments: Value, key: Option<&str>) -> Self {
        Self { tool, arguments, key: key.map(str::to_owned) }
    }

    /// The same as a request.
    pub(crate) fn ask(&self) -> Value {
        let surface = format!("demo.{}", self.tool);
        let mut ask = json!({
            "surface": surface, "action": surface, "resource": { "type": "Surface", "id": surface },
            "context": self.arguments,
        });
        if let Some(key) = &self.key {
            ask["idempotency_key"] = key.as_str().into();
        }
        ask
    }

    /// The same for one entry: keys are the agent's, so each entry has one of its own.
    fn at(&self, entry: Entry) -> Self {
        let key = self.key.as_ref().map(|key| format!("{key} at {entry:?}"));
        Self { key, ..self.clone() }
    }
}

/// The demo's deployment with every entry. Gate, SDK and command ask through [`Between`].
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) daemon: Daemon,
    pub(crate) between: Between,
    pub(crate) gate: Gate,
    pub(crate) recording: Recording,
    pub(crate) journal: PathBuf,
    pub(crate) config: PathBuf,
    effects: PathBuf,
    deadline_ms: u64,
    numbered: u64,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::of(bundles::demo(), 10_000)
    }

    /// With a gate that waits no longer than this.
    pub(crate) fn hurried(deadline_ms: u64) -> Self {
        Self::of(bundles::demo(), deadline_ms)
    }

    pub(crate) fn with(bundle: BTreeMap<String, Vec<u8>>) -> Self {
        Self::of(bundle, 10_000)
    }

    fn of(bundle: BTreeMap<String, Vec<u8>>, deadline_ms: u64) -> Self {
        let place = Place::deploy(bundle, &["demo-agent", "stranger-agent", "ghost-agent"], "demo");
        let daemon = Daemon::start(&place);
        let between = Between::before(daemon.server());
        let config = place.gate("gate.toml", &between.url, deadline_ms);
        let recording = Recording::new(&place.path("recording"));
        let (journal, effects) = (place.file("journal", ""), place.file("effects", ""));
        let gate = Gate::start(&config, &recording.of(&demo_server(&journal)));
        Self { place, daemon, between, gate, recording, journal, config, effects, deadline_ms, numbered: 0 }
    }

    /// Everything that ran, by the tool server's journal and the effects of the SDK's program.
    pub(crate) fn ran(&self) -> usize {
        let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
        lines(&self.journal) + lines(&self.effects)
    }

    /// Tries something at an entry: whether it was permitted, or the reason code.
    pub(crate) fn tries(&mut self, entry: Entry, act: &Deed) -> Result<(), String> {
        let act = act.at(entry);
        match entry {
            Entry::Mcp => {
                let answer = self.gate.call_with(act.tool, &act.arguments, act.key.as_deref());
                match answer.told() {
                    Some(_) => Err(answer.code().to_owned()),
                    None => {
                        answer.ran();
                        Ok(())
                    }
                }
            }
            Entry::Api => self.api(&act, "demo-agent"),
            Entry::Sdk => self.sdk(&act, "demo-agent").map_err(|refusal| refusal.code().to_string()),
            Entry::Cli => self.cli(&act),
        }
    }

    /// At each of these entries it runs, or is permitted.
    pub(crate) fn runs(&mut self, entries: &[Entry], act: &Deed) {
        for entry in entries {
            let before = self.ran();
            assert_eq!(self.tries(*entry, act), Ok(()), "{entry:?}: {act:?}");
            let effect = usize::from(matches!(entry, Entry::Mcp | Entry::Sdk));
            assert_eq!(self.ran() - before, effect, "{entry:?}: {act:?}");
        }
    }

    /// At each of these entries it is refused with this code, and nothing reaches anything that could run it.
    pub(crate) fn blocked(&mut self, entries: &[Entry], act: &Deed, code: &str) {
        for entry in entries {
            let (before, reached) = (self.ran(), self.gate.settled(&self.recording).len());
            let came = self.tries(*entry, act);
            assert_eq!(came.as_ref().err().map(String::as_str), Some(code), "{entry:?}: {act:?}");
            assert_eq!(
                self.gate.settled(&self.recording).len(),
                reached,
                "{entry:?} reached the tool server"
            );
            assert_eq!(self.ran(), before, "{entry:?}: {act:?} ran");
        }
    }

    /// At the entries that verify, an arbiter that does this to a permitted read has it refused with this code.
    pub(crate) fn refuses(&mut self, code: &str, script: impl Fn(&Asked) -> Act + Clone + Send + 'static) {
        self.between.decisions(move |asked, _| script(asked));
        self.blocked(&VERIFYING, &Deed::read(), code);
        self.between.honest();
        self.runs(&VERIFYING, &Deed::read());
    }

    fn api(&mut self, act: &Deed, agent: &str) -> Result<(), String> {
        let response = self.asks(&act.ask(), agent);
        let reply = response.json();
        match (response.status, reply["receipt"].as_str()) {
            (200, Some(receipt)) => {
                assert_eq!(reply["decision"], "PERMIT");
                self.place.verify(receipt);
                Ok(())
            }
            (200, None) => panic!("a PERMIT without a receipt: {response:?}"),
            (_, _) => {
                assert_ne!(reply["decision"], "PERMIT", "{response:?}");
                Err(reply["reason"]["code"].as_str().unwrap().to_owned())
            }
        }
    }

    /// Asks the arbiter itself about a request, as an agent.
    pub(crate) fn asks(&mut self, ask: &Value, agent: &str) -> Response {
        self.numbered += 1;
        let attempt = format!("{:064x}", u64::from(std::process::id()) << 32 | self.numbered);
        let call = json!({
            "request": ask, "attempt": attempt, "salt": Salt::from_bytes([1; 32]), "gate": "api",
            "deadline_ms": self.deadline_ms,
        });
        let token = self.place.token(agent);
        post(&self.daemon.server(), "/v1/decisions", &token, call.to_string().as_bytes()).unwrap()
    }

    /// Does something with the SDK, as an agent: its effect is a line in a file.
    pub(crate) fn sdk(&self, act: &Deed, agent: &str) -> Result<(), Refusal> {
        let endpoint: Endpoint = self.between.url.parse().unwrap();
        self.sdk_at(endpoint, &self.place.token(agent), act)
    }

    pub(crate) fn sdk_at(&self, endpoint: Endpoint, token: &str, act: &Deed) -> Result<(), Refusal> {
        let deadline = std::time::Duration::from_millis(self.deadline_ms);
        let arbiter = Arc::new(HttpAuthorizer::new(endpoint, Token::new(token), deadline));
        let log = TrustedLog::new(vec![self.place.config.log_key.clone()]).unwrap();
        let ask = Ask::parse(act.ask().to_string().as_bytes())
            .map_err(|refused| Refusal::own(refused.code, Some(refused.detail)))?;
        let names = ("demo-agent".parse().unwrap(), "sdk".parse().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ran = runtime.block_on(async {
            let outcomes = Outcomes::start(arbiter, deadline, |remark| panic!("{remark}"));
            let effect = async |_: &Running| {
                use std::io::Write;
                let mut file = std::fs::File::options().append(true).open(&self.effects).unwrap();
                writeln!(file, "{}", act.ask()).unwrap();
                ((), Outcome::Ok, Some("done".to_owned()))
            };
            portcullis_sdk::run(&outcomes, &log, names, ask, deadline, effect).await
        });
        ran.map(|ran| assert!(ran.recorded))
    }

    fn cli(&self, act: &Deed) -> Result<(), String> {
        let request = self.place.file("request.json", &act.ask().to_string());
        decided(&self.config, &request)
    }

    /// Ends everything, and gives the log, verified.
    pub(crate) fn log(self) -> crate::support::Log {
        let Self { place, daemon, gate, .. } = self;
        assert!(gate.end().success());
        daemon.end(rustix::process::Signal::TERM);
        place.log()
    }
}

/// What `portcullis decide` says of a request.
pub(crate) fn decided(config: &std::path::Path, request: &std::path::Path) -> Result<(), String> {
    let output = Command::new(program())
        .args(["decide", "--config"])
        .args([config, request])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let reply: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("no decision: {told}{}", String::from_utf8_lossy(&output.stderr)));
    let expected = match reply["decision"].as_str().unwrap() {
        "PERMIT" => 0,
        "DENY" => 3,
        _ => 4,
    };
    assert_eq!(output.status.code(), Some(expected), "{told}");
    match reply["reason"]["code"].as_str() {
        None => Ok(()),
        Some(code) => Err(code.to_owned()),
    }
}

/// What a command comes to that is to fail before anything can run: its exit code and what it says. The tool server that
/// it is given leaves a mark if it is started.
pub(crate) fn starts(
    place: &Place,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> (Option<i32>, String, bool) {
    // In a directory of its own: beside what governs it the tool server can make nothing.
    let marks = place.path("marks");
    std::fs::create_dir_all(&marks).unwrap();
    let mark = marks.join("started");
    let touch = format!("touch {}; cat > /dev/null", text(&mark));
    let mut command = Command::new(program());
    command.args(arguments).envs(environment.iter().copied());
    if arguments.first() == Some(&"mcp") {
        command.args(["--", "sh", "-c", &touch]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said, mark.exists())
}

/// A PERMIT's call as the SDK makes it, for those who only want to ask.
pub(crate) fn asked_for(asked: &Asked) -> DecisionCall {
    serde_json::from_slice(&asked.body).unwrap()
}

/// A bundle's file, changed.
pub(crate) fn changed(
    mut bundle: BTreeMap<String, Vec<u8>>,
    file: &str,
    change: impl FnOnce(String) -> String,
) -> BTreeMap<String, Vec<u8>> {
    let before = String::from_utf8(bundle.remove(file).unwrap_or_else(|| panic!("{file}"))).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after, "{file} is as it was");
    bundle.insert(file.to_owned(), after.into_bytes());
    bundle
}

/// Signs the bundle of a deployment again with its own key, and pins it in a configuration.
pub(crate) fn sign_and_pin(place: &Place, config: &std::path::Path) {
    portcullis_server::sign_bundle(&place.config.bundle, &place.path("keys/bundle.key")).unwrap();
    portcullis_server::pin_bundle(&Config::read(config).unwrap()).unwrap();
}

/// A deadline within which everything must have been answered.
pub(crate) const LATE: std::time::Duration = PATIENCE;
