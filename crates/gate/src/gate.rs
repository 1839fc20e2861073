//! A gate's configuration and life.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_protocol::{AgentId, GateId, PrincipalId, SurfaceName};
use portcullis_sdk::{Authorizer, Outcomes, TrustedLog};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::attempts::Attempts;
use crate::confine::{self, Confinement};
use crate::desk::Desk;
use crate::form::TypedTools;
use crate::incoming::{Sink, Source};
use crate::line::Lines;
use crate::notes::{Notes, stderr};
use crate::peer::{Outgoing, Peer, Writer};
use crate::pins::Tools;
use crate::remote::{Remote, RemoteServer};
use crate::session::{
    CALLS, Reach, Shared, UPSTREAM_CALLS, UPSTREAM_LINE, from_client, from_upstream, upstream_gone,
};
use crate::supervise::arguments;
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
    /// For whom that acts, if for anybody but itself. Each call says so, and the arbiter holds it against the agent's
    /// credential.
    pub acts_for: Option<PrincipalId>,
    /// This gate's own name.
    pub gate: GateId,
    /// How long a decision may take, and the report of an outcome for which a client waits.
    pub deadline: Duration,
    /// The server itself.
    pub upstream: ToolServer,
    /// The directory where attempts without an answer of the arbiter's are kept, if they are. It must be there.
    pub spool: Option<PathBuf>,
    /// How old the gate's own list of the server's tools may be when a call is judged by it, where the bundle pins tools of the
    /// server. [`McpGate::LISTED_WITHIN`], unless there is a reason.
    pub listed_within: Duration,
}

/// The real server behind a gate.
#[derive(Clone, Debug)]
pub enum ToolServer {
    /// One that the gate starts, and talks to over its standard input and output.
    Local(LocalServer),
    /// One that is reached by URL.
    Remote(RemoteServer),
}

/// A tool server that the gate starts.
#[derive(Clone, Debug)]
pub struct LocalServer {
    /// Its program and arguments.
    pub command: Vec<OsString>,
    /// Environment variables that it gets besides the usual ones. Never those that begin with `PORTCULLIS_`.
    pub pass_environment: Vec<String>,
    /// What is started in its place, so that it ends when the gate does: a program that calls
    /// [`supervise::run`](crate::supervise::run) with the arguments that follow, such as `[current_exe, "__upstream"]`.
    pub supervisor: Vec<OsString>,
    /// What governs it, from which it is kept. If that is nothing, or where the kernel cannot see to it, nothing runs on
    /// `critical` surfaces.
    pub confinement: Confinement,
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
    /// For so long a server's list of tools is gone by, unless the server says that it changed.
    pub const LISTED_WITHIN: Duration = Duration::from_secs(5);

    pub(crate) fn check(&self) -> Result<(), GateError> {
        if self.server.contains('.') || format!("{}.mcp.unknown", self.server).parse::<SurfaceName>().is_err()
        {
            return Err(GateError::ServerName(self.server.chars().take(80).collect()));
        }
        match &self.upstream {
            ToolServer::Local(local) => local.check(),
            ToolServer::Remote(_) => Ok(()),
        }
    }
}

impl LocalServer {
    fn check(&self) -> Result<(), GateError> {
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
    let held = Held { lost: watch::Sender::new(false), run: None };
    serve_held(config, arbiter, log, (client_in, client_out), report, held).await
}

/// How a session is held by whoever serves its client.
pub(crate) struct Held {
    /// Turns true when the tool server is gone while the session goes on.
    pub(crate) lost: watch::Sender<bool>,
    /// The run that the session is a part of; one of its own if there is none.
    pub(crate) run: Option<[u8; 32]>,
}

/// The same, held so.
pub(crate) async fn serve_held<R, W>(
    config: McpGate,
    arbiter: Arc<dyn Authorizer>,
    log: TrustedLog,
    (client_in, client_out): (R, W),
    report: impl Fn(String) + Send + 'static,
    held: Held,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    config.check()?;
    let notes = Notes::start(report).map_err(GateError::Start)?;
    let (client, client_writer) = Peer::new(client_out);
    let client = Client { peer: client, input: client_in, writer: client_writer, held };
    match config.upstream.clone() {
        ToolServer::Local(local) => local_session(config, &local, (arbiter, log, notes), client).await,
        ToolServer::Remote(remote) => remote_session(config, remote, (arbiter, log, notes), client).await,
    }
}

/// The client's end of a session.
struct Client<R, W> {
    peer: Peer,
    input: R,
    writer: Writer<W>,
    held: Held,
}

type Governed = (Arc<dyn Authorizer>, TrustedLog, Notes);

async fn local_session<R, W>(
    config: McpGate,
    local: &LocalServer,
    (arbiter, log, notes): Governed,
    client: Client<R, W>,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let confinement = confinement(local, &notes);
    let reach = if confinement.hidden.is_empty() { Reach::Anything } else { Reach::Confined };
    let mut program = local.supervisor.clone();
    program.extend(arguments(&confinement, &local.command));
    let mut process = Process::start(&program, &local.pass_environment).await.map_err(GateError::Start)?;
    let piped = || GateError::Start(io::Error::other("a pipe of the tool server is missing"));
    let stdin = process.child.stdin.take().ok_or_else(piped)?;
    let stdout = process.child.stdout.take().ok_or_else(piped)?;
    let errors = process.child.stderr.take().ok_or_else(piped)?;
    let (upstream, writer) = Peer::new(stdin);
    let shared = shared(config, arbiter, log, notes, (client.peer, upstream), (reach, client.held))?;
    shared.spawn(stderr(errors, shared.notes.clone()));
    let source = Lines::new(stdout, UPSTREAM_LINE);
    session(shared, Life::Process(Box::new(process)), (writer, source), (client.input, client.writer)).await
}

async fn remote_session<R, W>(
    config: McpGate,
    server: RemoteServer,
    (arbiter, log, notes): Governed,
    client: Client<R, W>,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (remote, sink, source) = Remote::start(server, notes.clone()).map_err(GateError::Start)?;
    let (upstream, writer) = Peer::new(sink);
    let reach = Reach::Remote(Arc::clone(&remote));
    let shared = shared(config, arbiter, log, notes, (client.peer, upstream), (reach, client.held))?;
    session(shared, Life::Remote(remote), (writer, source), (client.input, client.writer)).await
}

async fn session<R, W, S>(
    shared: Arc<Shared>,
    life: Life,
    (upstream_writer, source): (Writer<S>, impl Source + 'static),
    (client_in, client_writer): (R, Writer<W>),
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
    S: Sink + 'static,
{
    let _tasks = EndTasks(Arc::clone(&shared));
    shared.spawn(Arc::clone(&shared.attempts).send());
    let (closing, closed) = watch::channel(false);
    let reader = tokio::spawn(from_upstream(Arc::clone(&shared), source));
    let (client_broken, upstream_broken) = (client_writer.broken(), upstream_writer.broken());
    let writers = [tokio::spawn(client_writer.run()), tokio::spawn(upstream_writer.run())].map(Handle);
    let life = upstream_life(Arc::clone(&shared), life, Handle(reader), upstream_broken, closed);
    let upstream = Handle(tokio::spawn(life));
    let session = Session { shared, closing, upstream, client_broken, _writers: writers };
    from_client(&session.shared, client_in, session.client_broken.clone()).await;
    Ok(session.end().await)
}

/// What the tool server is kept from: nothing where the kernel cannot.
fn confinement(local: &LocalServer, notes: &Notes) -> Confinement {
    if !local.confinement.is_empty() && confine::is_possible() {
        return local.confinement.clone();
    }
    notes.say(
        "the tool server is not confined (that takes Linux 6.2 with Landlock): it could reach what governs it, and \
         critical surfaces are blocked with upstream.unconfined",
    );
    Confinement::default()
}

/// Bytes that nobody can tell.
pub(crate) fn random() -> Result<[u8; 32], GateError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| GateError::Random)?;
    Ok(bytes)
}

fn shared(
    config: McpGate,
    arbiter: Arc<dyn Authorizer>,
    log: TrustedLog,
    notes: Notes,
    (client, upstream): (Peer, Peer),
    (reach, held): (Reach, Held),
) -> Result<Arc<Shared>, GateError> {
    let McpGate { server, agent, acts_for, gate, deadline, spool, listed_within, .. } = config;
    let Held { lost, run } = held;
    let run = run.map_or_else(random, Ok)?;
    let remarks = notes.clone();
    let outcomes = Outcomes::start(Arc::clone(&arbiter), deadline, move |remark| remarks.say(remark));
    let attempts =
        Attempts::start(spool.as_deref(), (&agent, &gate), Arc::clone(&arbiter), deadline, notes.clone());
    let attempts = Arc::new(attempts.map_err(GateError::Start)?);
    let (table, keeps) = (tokio::sync::Mutex::new(None), attempts.are_kept());
    let tools = Arc::new(Tools::new(server.clone(), upstream.clone(), listed_within, notes.clone()));
    let desk =
        Desk { arbiter, log, agent, acts_for, gate, deadline, run, table, keeps, tools: Arc::clone(&tools) };
    let slots = |count| Arc::new(Semaphore::new(usize::try_from(count).map_or(1, |count: usize| count)));
    let (slots, upstream_slots) = (slots(CALLS), slots(UPSTREAM_CALLS));
    let tasks = Mutex::new(JoinSet::new());
    let typed = TypedTools::default();
    Ok(Arc::new(Shared {
        server,
        reach,
        lost,
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
        tools,
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

/// What the tool server lives as.
enum Life {
    Process(Box<Process>),
    Remote(Arc<Remote>),
}

impl Life {
    /// Waits until the server has ended, or can no longer be written to.
    async fn ended_or(&mut self, mut broken: watch::Receiver<bool>) {
        match self {
            Self::Process(process) => process.ended_or(broken).await,
            Self::Remote(remote) => tokio::select! {
                () = remote.ended() => {}
                told = broken.wait_for(|broken| *broken) => drop(told),
            },
        }
    }

    /// Gives it time to end by itself.
    async fn ends_within(&mut self, patience: Duration) {
        match self {
            Self::Process(process) => drop(process.ends_within(patience).await),
            Self::Remote(remote) => remote.leave(patience).await,
        }
    }

    /// Ends it; whether its supervisor had to be killed for that.
    async fn end(&mut self) -> bool {
        match self {
            Self::Process(process) => process.end().await,
            Self::Remote(remote) => {
                remote.abort();
                false
            }
        }
    }
}

/// The tool server's life: until it ends, its output ends, its input fails, or the session does.
async fn upstream_life(
    shared: Arc<Shared>,
    mut life: Life,
    mut reader: Handle,
    broken: watch::Receiver<bool>,
    mut closing: watch::Receiver<bool>,
) {
    tokio::select! {
        () = life.ended_or(broken) => {}
        ended = &mut reader.0 => drop(ended),
        told = closing.wait_for(|closing| *closing) => drop(told),
    }
    shared.upstream.table.shut();
    // Whatever of it lives on reads nothing more.
    shared.upstream.offer(Outgoing::Close);
    if *closing.borrow() {
        life.ends_within(FAREWELL).await;
    } else {
        shared.notes.say("the tool server is gone; calls are blocked with upstream.unavailable");
    }
    if life.end().await {
        shared.notes.say("the tool server's supervisor did not end and was killed");
    }
    drop(life);
    if !reader.0.is_finished() {
        drop(timeout(REST, &mut reader.0).await);
    }
    upstream_gone(&shared).await;
    shared.lost.send_replace(true);
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
