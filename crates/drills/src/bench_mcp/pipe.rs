//! An MCP client over the standard streams of a process, which has many calls under way at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use super::PATIENCE;
use super::tool::{Answered, Asked, Numbered};
use crate::DrillError;

type Waiting = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Vec<u8>>>>>;

/// A server's process, to which any number of callers speak.
pub(super) struct Pipe {
    child: Mutex<Child>,
    input: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
}

impl Pipe {
    /// Starts a server and shakes hands with it.
    pub(super) async fn start(mut command: Command) -> Result<Arc<Self>, DrillError> {
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().map_err(DrillError::system("starting a server"))?;
        let piped = || DrillError::Answer("a process started without its pipes".into());
        let input = tokio::sync::Mutex::new(child.stdin.take().ok_or_else(piped)?);
        let output = BufReader::new(child.stdout.take().ok_or_else(piped)?);
        let waiting = Waiting::default();
        tokio::spawn(read(output, Arc::clone(&waiting)));
        let pipe = Arc::new(Self { child: Mutex::new(child), input, waiting });
        pipe.request(0, super::hello(0)).await?;
        let notice = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        pipe.send(&notice.to_string()).await?;
        Ok(pipe)
    }

    /// Its process.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    async fn send(&self, message: &str) -> Result<(), DrillError> {
        let line = format!("{message}\n");
        let mut input = self.input.lock().await;
        input.write_all(line.as_bytes()).await.map_err(DrillError::system("writing to a server"))
    }

    async fn request(&self, id: u64, message: String) -> Result<Vec<u8>, DrillError> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        self.send(&message).await?;
        let answered = tokio::time::timeout(PATIENCE, receiver).await;
        let late = |_| DrillError::Answer(format!("no answer within {PATIENCE:?}"));
        answered.map_err(late)?.map_err(|_| DrillError::Answer("the server has gone".into()))
    }

    /// Calls the tool about an account.
    pub(super) async fn call(&self, asked: &Asked, id: u64, account: &str) -> Result<Answered, DrillError> {
        let answer = self.request(id, asked.message(id, account)).await?;
        asked.judge(&answer, id, account)
    }
}

/// Hands each answer to who waits for it. When the server has gone, nobody waits any more.
async fn read(mut output: BufReader<ChildStdout>, waiting: Waiting) {
    let mut line = Vec::new();
    while let Ok(1..) = output.read_until(b'\n', &mut line).await {
        let message = std::mem::take(&mut line);
        let Ok(Numbered { id: Some(id) }) = serde_json::from_slice(&message) else { continue };
        let waits = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(waits) = waits {
            drop(waits.send(message));
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
