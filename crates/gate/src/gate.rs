//! A gate's configuration and life.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_protocol::{AgentId, GateId, SurfaceName};
use portcullis_sdk::{Authorizer, TrustedLog};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::attempts::Attempts;
use crate::desk::Desk;
use crate::form::TypedTools;
use crate::notes::{Notes, stderr};
use crate::outcomes::Outcomes;
use crate::peer::{Outgoing, Peer};
use crate::session::{CALLS, Shared, UPSTREAM_CALLS, from_client, from_upstream, upstream_gone};
use crate::upstream::{OWN_PREFIX, Process};

/// How long the tool server may take to end by itself, and outcomes to be reported, when the client has gone.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long what is left of a dead tool server's output is waited for.
const REST: Duration = Duration::from_secs(1);

/// A gate in front of one MCP server.
#[derive(Clone, Debug)]
pub struct McpGate {
    /// The server's name: the first word of its surfaces, of `a-z`, `0-9`, `_` and `-`.
    pub server: String,
    /// On whose behalf the client asks.
    pub agent: AgentId,
    /// This gate's own name.
    pub gate: GateId,
    /// How long a decision may take, and the report of an outcome for which a client waits.
    pub deadline: Duration,
    /// The server's program and arguments.
    pub command: Vec<OsString>,
    /// Environment variables that the server gets besides the usual ones. Never those that begin with `PORTCULLIS_`.
    pub pass_environment: Vec<String>,
    /// What is put before `command`, so that the server ends when the gate does: a program that calls
    /// [`supervise::run`](crate::supervise::run) with the arguments that follow, such as
    /// `[current_exe, "__upstream", "--"]`.
    pub supervisor: Vec<OsString>,
    /// The directory where attempts without an answer of the arbiter's are kept, if they are. It must be there.
    pub spool: Option<PathBuf>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Outcomes that could not be reported in time. The arbiter closes them as `unknown` when they are due.
    pub unreported: usize,
}

/// Why a gate does not start. No call has been made by then, and none runs.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The name cannot be a word of a surface.
    #[error("server name `{0}` is not valid: use a-z, 0-9, `_` and `-`, beginning with a letter or digit")]
    ServerName(String),
    /// There is no command.
    #[error("no command for the tool server; put it after `--`")]
    NoCommand,
    /// There is no supervisor.
    #[error("no supervisor: without one the tool server would outlive its gate")]
    NoSupervisor,
    /// A variable that is the gate's own.
    #[error("`{0}` cannot be passed to a tool server: `PORTCULLIS_` variables are the gate's own")]
    PassEnvironment(String),
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A thread or process could not be started.
    #[error("the gate cannot start its tool server")]
    Start(#[source] io::Error),
}

impl McpGate {
    fn check(&self) -> Result<(), GateError> {
        if self.server.contains('.') || format!("{}.mcp.unknown", self.server).parse::<SurfaceName>().is_err()
        {
            return Err(GateError::ServerName(self.server.chars().take(80).collect()));
        }
        if self.command.is_empty() {
            return Err(GateError::NoCommand);
        }
        if self.supervisor.is_empty() {
            return Err(GateError::NoSupervisor);
        }
        match self.pass_environment.iter().find(|name| name.starts_with(OWN_PREFIX)) {
            Some(name) => Err(GateError::PassEnvironment(name.clone())),
            None => Ok(()),
        }
    }
}

/// Serves one client until it closes its end.
///
/// Must run on a Tokio runtime with I/O and time. Dropping the future ends the session at once: nothing is sent any
/// more and the tool server is ended, but outcomes that were not reported yet are not.
///
/// `report` gets one line for people at a time, on a thread of its own.
///
/// # Errors
/// [`GateError`], before the first message is read. After that, whatever fails blocks calls, and the session goes on.
pub async fn serve<R, W>(
    config: McpGate,
    arbiter: Arc<dyn Authorizer>,
    log: TrustedLog,
    client_in: R,
    client_out: W,
    report: impl Fn(String) + Send + 'static,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    config.check()?;
    let program: Vec<OsString> = config.supervisor.iter().chain(&config.command).cloned().collect();
    let notes = Notes::start(report).map_err(GateError::Start)?;
    let mut process = Process::start(&program, &config.pass_environment).await.map_err(GateError::Start)?;
    let piped = || GateError::Start(io::Error::other("a pipe of the tool server is missing"));
    let stdin = process.child.stdin.take().ok_or_else(piped)?;
    let stdout = process.child.stdout.take().ok_or_else(piped)?;
    let errors = process.child.stderr.take().ok_or_else(piped)?;

    let (client, client_writer) = Peer::new(client_out);
    let (upstream, upstream_writer) = Peer::new(stdin);
    let shared = shared(config, arbiter, log, notes, client, upstream)?;
    let _tasks = EndTasks(Arc::clone(&shared));
    shared.spawn(stderr(errors, shared.notes.clone()));
    shared.spawn(Arc::clone(&shared.outcomes).retry());
    shared.spawn(Arc::clone(&shared.attempts).send());
    let (closing, closed) = watch::channel(false);
    let reader = tokio::spawn(from_upstream(Arc::clone(&shared), stdout));
    let (client_broken, upstream_broken) = (client_writer.broken(), upstream_writer.broken());
    let writers = [tokio::spawn(client_writer.run()), tokio::spawn(upstream_writer.run())].map(Handle);
    let life = upstream_life(Arc::clone(&shared), process, Handle(reader), upstream_broken, closed);
    let upstream = Handle(tokio::spawn(life));
    let session = Session { shared, closing, upstream, client_broken, _writers: writers };
    from_client(&session.shared, client_in, session.client_broken.clone()).await;
    Ok(session.end().await)
}

fn shared(
    config: McpGate,
    arbiter: Arc<dyn Authorizer>,
    log: TrustedLog,
    notes: Notes,
    client: Peer,
    upstream: Peer,
) -> Result<Arc<Shared>, GateError> {
    let McpGate { server, agent, gate, deadline, spool, .. } = config;
    let mut run = [0; 32];
    getrandom::fill(&mut run).map_err(|_| GateError::Random)?;
    let outcomes = Arc::new(Outcomes::new(Arc::clone(&arbiter), deadline, notes.clone()));
    let attempts =
        Attempts::start(spool.as_deref(), (&agent, &gate), Arc::clone(&arbiter), deadline, notes.clone());
    let attempts = Arc::new(attempts.map_err(GateError::Start)?);
    let (table, keeps) = (tokio::sync::Mutex::new(None), attempts.are_kept());
    let desk = Desk { arbiter, log, agent, gate, deadline, run, table, keeps };
    let slots = |count| Arc::new(Semaphore::new(usize::try_from(count).map_or(1, |count: usize| count)));
    let (slots, upstream_slots) = (slots(CALLS), slots(UPSTREAM_CALLS));
    let tasks = Mutex::new(JoinSet::new());
    let typed = TypedTools::default();
    Ok(Arc::new(Shared {
        server,
        desk,
        outcomes,
        attempts,
        notes,
        slots,
        upstream_slots,
        client,
        upstream,
        tasks,
        typed,
    }))
}

/// Ends every task of a session with it, whichever way that ends.
struct EndTasks(Arc<Shared>);

impl Drop for EndTasks {
    fn drop(&mut self) {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// A task that is aborted when its handle is dropped.
struct Handle(JoinHandle<()>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tool server's life: until it ends, its output ends, its input fails, or the session does.
async fn upstream_life(
    shared: Arc<Shared>,
    mut process: Process,
    mut reader: Handle,
    broken: watch::Receiver<bool>,
    mut closing: watch::Receiver<bool>,
) {
    tokio::select! {
        () = process.ended_or(broken) => {}
        ended = &mut reader.0 => drop(ended),
        told = closing.wait_for(|closing| *closing) => drop(told),
    }
    shared.upstream.table.shut();
    // Whatever of it lives on reads nothing more.
    shared.upstream.offer(Outgoing::Close);
    if *closing.borrow() {
        process.ends_within(FAREWELL).await;
    } else {
        shared.notes.say("the tool server is gone; calls are blocked with upstream.unavailable");
    }
    if process.end().await {
        shared.notes.say("the tool server's supervisor did not end and was killed");
    }
    if !reader.0.is_finished() {
        drop(timeout(REST, &mut reader.0).await);
    }
    upstream_gone(&shared).await;
}

struct Session {
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    upstream: Handle,
    client_broken: watch::Receiver<bool>,
    _writers: [Handle; 2],
}

impl Session {
    /// Ends the tool server, reports what there is to report, and lets the client's last answers out.
    async fn end(mut self) -> Ending {
        let Shared { client, notes, .. } = self.shared.as_ref();
        client.table.fail_all();
        self.closing.send_replace(true);
        drop((&mut self.upstream.0).await);
        let unreported = self.shared.settled().await;
        client.offer(Outgoing::Close);
        drop(timeout(REST, self.client_broken.wait_for(|closed| *closed)).await);
        if unreported > 0 {
            notes.say(format!("{unreported} outcomes could not be reported"));
        }
        notes.flush(REST).await;
        Ending { unreported }
    }
}

impl Shared {
    /// Waits, for a bounded time, until every call has ended and every outcome is reported. How many are not.
    async fn settled(&self) -> usize {
        let end = Instant::now() + FAREWELL;
        let calls = timeout_at(end, async {
            drop(self.slots.acquire_many(CALLS).await);
            drop(self.upstream_slots.acquire_many(UPSTREAM_CALLS).await);
        });
        drop(calls.await);
        self.outcomes.flush(end.saturating_duration_since(Instant::now())).await
    }
}
