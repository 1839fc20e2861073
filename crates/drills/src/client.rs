//! A scripted agent: an MCP client over the standard streams of a process.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::DrillError;

/// How long the agent waits for an answer: longer than any gate's deadline.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent, connected to a server.
pub(crate) struct Agent {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    next_id: u64,
}

impl Agent {
    /// Starts a server and shakes hands with it.
    pub(crate) async fn start(program: &Path, arguments: &[&str], errors: Stdio) -> Result<Self, DrillError> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(DrillError::system(format!(
                "starting {}",
                arguments.first().copied().unwrap_or_default()
            )))?;
        let piped = || DrillError::Answer("a process started without its pipes".into());
        let input = child.stdin.take().ok_or_else(piped)?;
        let output = BufReader::new(child.stdout.take().ok_or_else(piped)?).lines();
        let mut agent = Self { child, input, output, next_id: 1 };
        let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "scripted-agent", "version": "1" } });
        agent.request("initialize", hello).await?;
        agent.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
        Ok(agent)
    }

    /// The server's process.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    async fn send(&mut self, message: &Value) -> Result<(), DrillError> {
        let line = format!("{message}\n");
        self.input.write_all(line.as_bytes()).await.map_err(DrillError::system("writing to the server"))
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Result<Value, DrillError> {
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await?;
        let answered = tokio::time::timeout(PATIENCE, self.answer(id)).await;
        answered.map_err(|_| DrillError::Answer(format!("no answer to {method} within {PATIENCE:?}")))?
    }

    async fn answer(&mut self, id: u64) -> Result<Value, DrillError> {
        loop {
            let line =
                self.output.next_line().await.map_err(DrillError::system("reading from the server"))?;
            let line = line.ok_or_else(|| DrillError::Answer("the server has gone".into()))?;
            let message: Value = serde_json::from_str(&line).map_err(|_| {
                DrillError::Answer(format!("the server said something that is not JSON: {line}"))
            })?;
            if message.get("id").and_then(Value::as_u64) == Some(id) {
                return Ok(message);
            }
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(
        &mut self,
        tool: &str,
        arguments: &Value,
        key: Option<&str>,
    ) -> Result<Value, DrillError> {
        let mut params = json!({ "name": tool, "arguments": arguments });
        if let (Some(key), Some(params)) = (key, params.as_object_mut()) {
            params.insert("_meta".into(), json!({ "portcullis/idempotency-key": key }));
        }
        self.request("tools/call", params).await
    }

    /// Closes the server's input and waits for its end.
    pub(crate) async fn end(self) -> Result<(), DrillError> {
        let Self { mut child, input, .. } = self;
        drop(input);
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(ended) => ended.map(drop).map_err(DrillError::system("waiting for the server's end")),
            Err(_) => Err(DrillError::Answer("the server did not end when its input did".into())),
        }
    }
}
