//! A gate in front of the recording server, and a client to talk to it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use portcullis_gate::confine::Confinement;
use portcullis_gate::{Ending, GateError, LocalServer, McpGate, NamedServer, ToolServer, serve};
use portcullis_protocol::{
    ContextKind, ContextRule, Idempotency, OnSilence, SurfaceName, SurfaceSpec, SurfaceTable, Tier, ToolPins,
};
use portcullis_sdk::TrustedLog;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines};
use tokio::task::JoinHandle;

use super::PATIENCE;
use super::arbiter::TestArbiter;
use super::receipts::{agent, bundle, trusted};

/// One of this crate's example programs.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let built = own.parent().and_then(std::path::Path::parent).unwrap();
    let path = built.join("examples").join(name);
    assert!(path.exists(), "{} is missing: build the examples", path.display());
    path
}

pub(crate) fn surface(idempotency: Idempotency, context: &[(&str, ContextKind)]) -> SurfaceSpec {
    let rule = |kind, key: &str| ContextRule { kind, from: Some(format!("/{key}")), optional: false };
    SurfaceSpec {
        keep: portcullis_protocol::Keep::by_default(idempotency),
        tier: Tier::Standard,
        on_silence: OnSilence::Terminate,
        idempotency,
        witnessed: false,
        permit_ttl_ms: 60_000,
        outcome_within_ms: 60_000,
        derived_window_ms: 60_000,
        actions: vec!["act".parse().unwrap()],
        tools: Vec::new(),
        resource: None,
        context: context.iter().map(|(key, kind)| ((*key).to_owned(), rule(*kind, key))).collect(),
    }
}

/// `rec.read`, `rec.write` (reads `path`), `rec.pay` (takes a key), `rec.move` (derives one), and reading resources
/// (reads `uri`).
pub(crate) fn table(version: u8) -> SurfaceTable {
    let surfaces = [
        ("rec.read", surface(Idempotency::None, &[])),
        ("rec.write", surface(Idempotency::None, &[("path", ContextKind::Path)])),
        ("rec.pay", surface(Idempotency::Key, &[])),
        ("rec.move", surface(Idempotency::Derived, &[])),
        ("rec.mcp.resources.read", surface(Idempotency::None, &[("uri", ContextKind::String)])),
    ];
    let named = |(name, spec): (&str, SurfaceSpec)| (name.parse::<SurfaceName>().unwrap(), spec);
    let (bundle, surfaces) = (bundle(version), surfaces.into_iter().map(named).collect());
    SurfaceTable { bundle, surfaces, pins: ToolPins::none() }
}

/// A table without surfaces.
pub(crate) fn bundle_table() -> SurfaceTable {
    SurfaceTable { surfaces: std::collections::BTreeMap::new(), ..table(1) }
}

pub(crate) struct Gate {
    pub(crate) arbiter: Arc<TestArbiter>,
    pub(crate) session: JoinHandle<Result<Ending, GateError>>,
    notes: Arc<Mutex<Vec<String>>>,
    to: Option<DuplexStream>,
    from: Lines<BufReader<DuplexStream>>,
    pub(crate) folder: TempDir,
    pings: u64,
}

/// A server beside the others: `name` in front of this command.
pub(crate) fn beside(name: &str, command: Vec<std::ffi::OsString>) -> NamedServer {
    NamedServer { name: name.into(), server: config(command).upstream }
}

pub(crate) fn config(command: Vec<std::ffi::OsString>) -> McpGate {
    McpGate {
        server: "rec".into(),
        agent: agent(),
        acts_for: None,
        gate: "gate".parse().unwrap(),
        deadline: PATIENCE,
        upstream: ToolServer::Local(LocalServer {
            command,
            pass_environment: Vec::new(),
            credentials: None,
            slots: None,
            supervisor: vec![example("gate_host").into(), "__upstream".into()],
            confinement: Confinement { hidden: Vec::new(), kept: vec![example("gate_host")] },
        }),
        beside: Vec::new(),
        spool: None,
        listed_within: McpGate::LISTED_WITHIN,
        simulation: None,
    }
}

/// The tool server of a gate that starts it.
pub(crate) fn local(config: &mut McpGate) -> &mut LocalServer {
    match &mut config.upstream {
        ToolServer::Local(local) => local,
        ToolServer::Remote(remote) => panic!("{remote:?} is not started"),
    }
}

impl Gate {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut McpGate)) -> Self {
        Self::believing(trusted(), change)
    }

    pub(crate) fn believing(log: TrustedLog, change: impl FnOnce(&mut McpGate)) -> Self {
        let folder = TempDir::new().unwrap();
        let journal = folder.path().join("journal");
        let mut config = config(vec![example("recording_server").into(), journal.into()]);
        change(&mut config);
        let arbiter = TestArbiter::new(table(1));
        let (to, gate_in) = tokio::io::duplex(1 << 20);
        let (gate_out, from) = tokio::io::duplex(1 << 20);
        let notes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notes);
        let report = move |line| sink.lock().unwrap().push(line);
        let asked = Arc::clone(&arbiter);
        let session = tokio::spawn(async move { serve(config, asked, log, gate_in, gate_out, report).await });
        let from = BufReader::new(from).lines();
        Self { arbiter, session, notes, to: Some(to), from, folder, pings: 0 }
    }

    /// Sends one line as it is.
    pub(crate) async fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.to.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    /// Sends a tool call.
    pub(crate) async fn call(&mut self, id: u64, tool: &str, arguments: &str) {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        self.send(&call).await;
    }

    /// The next message for the client.
    pub(crate) async fn next(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.from.next_line()).await.expect("a message").unwrap();
        serde_json::from_str(&line.expect("the gate has closed its end")).unwrap()
    }

    /// Sends a line, and returns the next message.
    pub(crate) async fn ask(&mut self, line: &str) -> Value {
        self.send(line).await;
        self.next().await
    }

    /// Calls a tool, and returns the next message.
    pub(crate) async fn tool(&mut self, id: u64, tool: &str, arguments: &str) -> Value {
        self.call(id, tool, arguments).await;
        self.next().await
    }

    /// What reached the tool server, once everything before it has: a ping is behind it.
    pub(crate) async fn journal(&mut self) -> Vec<String> {
        self.pings += 1;
        let id = format!("ping-{}", self.pings);
        let pong = self.ask(&format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"ping"}}"#)).await;
        assert_eq!(pong, json!({"jsonrpc": "2.0", "id": id, "result": {"pong": "ping"}}));
        self.journal_now().into_iter().filter(|line| !line.contains(r#""method":"ping""#)).collect()
    }

    /// What has reached the tool server by now.
    pub(crate) fn journal_now(&self) -> Vec<String> {
        match std::fs::read_to_string(self.folder.path().join("journal")) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// What the tool server says its tools are, from now on: see the recording server.
    pub(crate) fn offers(&self, said: &Value) {
        // At once: the server may be reading it.
        let (new, file) = (self.folder.path().join("new"), self.folder.path().join("journal.tools"));
        std::fs::write(&new, said.to_string()).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    pub(crate) fn notes(&self) -> String {
        self.notes.lock().unwrap().join("\n")
    }

    /// Waits until people were told this.
    pub(crate) async fn told(&self, words: &str) {
        self.told_times(words, 1).await;
    }

    /// The same, so often.
    pub(crate) async fn told_times(&self, words: &str, times: usize) {
        let seen = async {
            while self.notes().matches(words).count() < times {
                tokio::task::yield_now().await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, seen).await;
        assert!(told.is_ok(), "nobody said `{words}`:\n{}", self.notes());
    }

    /// The client closes its end; how the session ends, and what the client still got.
    pub(crate) async fn close(mut self) -> (Ending, Vec<Value>) {
        drop(self.to.take());
        let mut rest = Vec::new();
        let mut to_end = async || {
            while let Some(line) = self.from.next_line().await.unwrap() {
                rest.push(serde_json::from_str(&line).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, to_end()).await.expect("the gate closes its end");
        (self.session.await.unwrap().unwrap(), rest)
    }
}

/// The blocked answer's structured part, of a tool call or another method.
pub(crate) fn told(answer: &Value) -> &Value {
    let tool = answer.pointer("/result/structuredContent/portcullis");
    // A tool with an output schema has it elsewhere.
    let tool = tool.or_else(|| answer.pointer("/result/_meta/portcullis~1decision"));
    tool.or_else(|| answer.pointer("/error/data/portcullis"))
        .unwrap_or_else(|| panic!("not blocked: {answer}"))
}

/// The reason code of a blocked answer.
pub(crate) fn code(answer: &Value) -> &str {
    assert_eq!(told(answer)["enforcement"], "BLOCKED", "{answer}");
    told(answer)["reason"]["code"].as_str().unwrap()
}
