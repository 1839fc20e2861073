//! An MCP client over the standard streams of a process: of `portcullis mcp`, or of a tool server itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use serde_json::{Value, json};

use super::arbiter::Notes;
use super::process::{ended, kill};
use super::{PATIENCE, Recording, program, until};

/// A server, connected to this client. Killed when dropped.
pub(crate) struct Gate {
    pub(crate) child: Child,
    pub(crate) notes: Notes,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    early: BTreeMap<u64, Value>,
    next_id: u64,
}

impl Gate {
    /// Starts `portcullis mcp` with this configuration in front of a tool server, and shakes hands.
    pub(crate) fn start(config: &Path, server: &[String]) -> Self {
        let mut gate = Self::without_handshake(config, server);
        gate.handshake();
        gate
    }

    /// Starts `portcullis mcp` and says nothing yet.
    pub(crate) fn without_handshake(config: &Path, server: &[String]) -> Self {
        let mut command = Command::new(program());
        command.args(["mcp", "--config"]).arg(config).arg("--").args(server);
        Self::connect(command)
    }

    /// Starts any MCP server over stdio, and says nothing yet.
    pub(crate) fn connect(mut command: Command) -> Self {
        let piped = || (Stdio::piped(), Stdio::piped(), Stdio::piped());
        let (stdin, stdout, stderr) = piped();
        let mut child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        let notes = Notes::of(&mut child);
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (line, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        Self { child, notes, input, lines, early: BTreeMap::new(), next_id: 1 }
    }

    /// The MCP handshake.
    pub(crate) fn handshake(&mut self) -> Value {
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" },
        });
        let answer = self.request("initialize", hello);
        assert!(answer.get("result").is_some(), "{answer}\n{}", self.notes.text());
        self.line(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string());
        answer
    }

    /// Sends a line as it is. A server that has gone reads it no more.
    pub(crate) fn line(&mut self, text: &str) {
        if let Some(input) = &mut self.input {
            drop(input.write_all(format!("{text}\n").as_bytes()));
        }
    }

    /// Sends a request; returns its id.
    pub(crate) fn send(&mut self, method: &str, params: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string());
        id
    }

    /// The next message of the server; `None` if it has closed its end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let line = self.lines.recv_timeout(PATIENCE);
        assert!(
            !matches!(line, Err(std::sync::mpsc::RecvTimeoutError::Timeout)),
            "nothing from the server within {PATIENCE:?}\n{}",
            self.notes.text()
        );
        line.ok().map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// The answer to a request; `None` if the server has closed its end without one.
    pub(crate) fn answer(&mut self, id: u64) -> Option<Value> {
        loop {
            if let Some(answer) = self.early.remove(&id) {
                return Some(answer);
            }
            let message = self.next()?;
            if let Some(id) = message["id"].as_u64().filter(|_| message.get("method").is_none()) {
                self.early.insert(id, message);
            }
        }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, &params);
        self.answer(id).unwrap_or_else(|| panic!("the server has gone\n{}", self.notes.text()))
    }

    /// Sends a tool call; returns its id.
    pub(crate) fn send_call(&mut self, tool: &str, arguments: &Value, key: Option<&str>) -> u64 {
        let mut params = json!({ "name": tool, "arguments": arguments });
        if let Some(key) = key {
            params["_meta"] = json!({ "portcullis/idempotency-key": key });
        }
        self.send("tools/call", &params)
    }

    /// The answer to a tool call; `None` if the server has closed its end without one.
    pub(crate) fn called(&mut self, id: u64) -> Option<Answer> {
        self.answer(id).map(Answer)
    }

    /// Calls a tool.
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        self.call_with(tool, &arguments, None)
    }

    /// Calls a tool under an idempotency key.
    pub(crate) fn call_with(&mut self, tool: &str, arguments: &Value, key: Option<&str>) -> Answer {
        let id = self.send_call(tool, arguments, key);
        self.called(id).unwrap_or_else(|| panic!("the server has gone\n{}", self.notes.text()))
    }

    /// Calls a tool, and says how long the answer took.
    pub(crate) fn timed(&mut self, tool: &str, arguments: Value) -> (Answer, std::time::Duration) {
        let start = Instant::now();
        let answer = self.call(tool, arguments);
        (answer, start.elapsed())
    }

    /// The tool calls that reached the server, once all that was sent before now has: a ping is behind it.
    pub(crate) fn settled(&mut self, recording: &Recording) -> Vec<(String, Value)> {
        let pings = recording.count("ping");
        let pong = self.request("ping", json!({}));
        assert!(pong.get("result").is_some(), "{pong}");
        until("a ping in the recording", || (recording.count("ping") > pings).then_some(()));
        recording.calls()
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        kill(&mut self.child);
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        ended(&mut self.child, "the server")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// The answer to a tool call.
#[derive(Clone, Debug)]
pub(crate) struct Answer(pub(crate) Value);

impl Answer {
    /// What the gate says of a blocked call: in `_meta` of a tool's result, in the data of an error.
    pub(crate) fn told(&self) -> Option<&Value> {
        let told = self.0.pointer("/result/_meta/portcullis~1decision");
        told.or_else(|| self.0.pointer("/error/data/portcullis"))
    }

    /// The reason code of a blocked call. Checks all that such an answer must be.
    pub(crate) fn code(&self) -> &str {
        let told = self.told().unwrap_or_else(|| panic!("not blocked: {}", self.0));
        assert_eq!(told["enforcement"], "BLOCKED", "{}", self.0);
        assert!(self.0.get("error").is_some() || self.0["result"]["isError"] == true, "{}", self.0);
        let reason = &told["reason"];
        let code: portcullis_protocol::ReasonCode = reason["code"].as_str().unwrap().parse().unwrap();
        assert_eq!(told["decision"], code.decision().as_str(), "{}", self.0);
        assert!(!reason["remedy"].as_str().unwrap().is_empty(), "{}", self.0);
        reason["code"].as_str().unwrap()
    }

    /// The text of a call that ran.
    pub(crate) fn ran(&self) -> &str {
        assert!(self.told().is_none() && !self.is_replay(), "did not run: {}", self.0);
        assert_ne!(self.0["result"]["isError"], true, "{}", self.0);
        self.0["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {}", self.0))
    }

    /// Whether this is the kept result of an earlier run, for which nothing ran.
    pub(crate) fn is_replay(&self) -> bool {
        self.0.pointer("/result/_meta/portcullis~1replayed") == Some(&Value::Bool(true))
    }
}
