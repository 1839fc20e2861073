//! The tool server's process: started once, behind its supervisor, with an environment that was picked for it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use portcullis_sdk::Running;
use rustix::process::{Pid, Signal, getpid, kill_process};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::credential::Handover;
use crate::supervise::GATE_PID;

/// Variables that a tool server needs to be a program like any other.
const PASSED: [&str; 8] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "TMPDIR", "SHELL"];
const PASSED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];
/// Variables that are never passed: they are the gate's own.
pub(crate) const OWN_PREFIX: &str = "PORTCULLIS_";
/// How long the supervisor may take to end the tool server and its descendants.
const ENDING: Duration = Duration::from_secs(5);

/// The supervisor's process, and with it the tool server's.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Keeps the thread that started it.
    _lifeline: Sender<()>,
}

impl Process {
    /// Starts `program`.
    ///
    /// The kernel tells the supervisor of its parent's death when the *thread* that started it ends, so that one is
    /// kept for as long as this value. Conversely, dropping this value ends the tool server.
    pub(crate) async fn start(program: &[OsString], passed: &[String]) -> io::Result<Self> {
        let command = command(program, passed)?;
        let (lifeline, end) = channel();
        let (started, child) = oneshot::channel();
        let runtime = Handle::current();
        std::thread::Builder::new()
            .name("gate-upstream".into())
            .spawn(move || start_and_stay(command, &runtime, started, &end))?;
        let child = child.await.map_err(io::Error::other)??;
        Ok(Self { child, _lifeline: lifeline })
    }

    /// Starts `program` with what its tool server is given: that is written before all else that the server reads, within the
    /// time, or the process is ended. It takes the action that the start is.
    pub(crate) async fn start_given(
        _started: &Running,
        (program, passed): (&[OsString], &[String]),
        handover: &Handover,
        at_most: Duration,
    ) -> io::Result<Self> {
        let mut process = Self::start(program, passed).await?;
        let given = timeout(at_most, process.give(handover)).await;
        if let Err(error) = given.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            process.end().await;
            return Err(error);
        }
        Ok(process)
    }

    async fn give(&mut self, handover: &Handover) -> io::Result<()> {
        let piped = || io::Error::other("a pipe of the tool server is missing");
        let stdin = self.child.stdin.as_mut().ok_or_else(piped)?;
        stdin.write_all(handover.bytes()).await?;
        stdin.flush().await
    }

    /// Waits until the process ends, or until something says that it must.
    pub(crate) async fn ended_or(&mut self, mut told: watch::Receiver<bool>) {
        tokio::select! {
            ended = self.child.wait() => drop(ended),
            told = told.wait_for(|told| *told) => drop(told),
        }
    }

    /// Waits so long for the process to end by itself.
    pub(crate) async fn ends_within(&mut self, patience: Duration) -> bool {
        timeout(patience, self.child.wait()).await.is_ok()
    }

    /// Ends the tool server and its descendants: the supervisor does it when it is told to terminate. Says whether
    /// the supervisor had to be killed instead.
    pub(crate) async fn end(&mut self) -> bool {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let told = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        // Whom no signal reaches has ended, and is only to be reaped.
        let patience = if told { ENDING } else { Duration::from_millis(100) };
        if self.ends_within(patience).await {
            return false;
        }
        drop(self.child.kill().await);
        true
    }
}

fn start_and_stay(
    mut command: Command,
    runtime: &Handle,
    started: oneshot::Sender<io::Result<Child>>,
    end: &Receiver<()>,
) {
    let child = {
        let _context = runtime.enter();
        command.spawn()
    };
    drop(started.send(child));
    // Ends when the sender is dropped; nothing is ever sent.
    end.iter().for_each(drop);
}

fn command(program: &[OsString], passed: &[String]) -> io::Result<Command> {
    let (name, arguments) = program.split_first().ok_or_else(|| io::Error::other("no supervisor"))?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_passed(name, passed)))
        .env(GATE_PID, getpid().as_raw_nonzero().to_string())
        // What kills the gate's group must leave somebody to end the tool server.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// Whether the tool server may see a variable.
pub(crate) fn is_passed(name: &OsStr, passed: &[String]) -> bool {
    let Some(name) = name.to_str() else { return false };
    !name.starts_with(OWN_PREFIX) && (is_usual(name) || passed.iter().any(|passed| passed == name))
}

/// Whether it is a variable that every tool server gets, if the gate has it, or one of the gate's own.
pub(crate) fn is_usual(name: &str) -> bool {
    let passed = PASSED.contains(&name) || PASSED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    passed || name.starts_with(OWN_PREFIX)
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
