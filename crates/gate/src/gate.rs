//! A gate's life.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_sdk::{Authorizer, BootInstant, Outcomes, TrustedLog};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::attempts::Attempts;
use crate::company::Company;
pub(crate) use crate::config::{Ending, GateError, LocalServer, McpGate, NamedServer, ToolServer};
use crate::credential::ArgumentSlots;
use crate::desk::Desk;
use crate::form::TypedTools;
use crate::handles::Handles;
use crate::hold::HELD;
use crate::incoming::{Sink, Source};
use crate::junction;
use crate::notes::Notes;
use crate::peer::{Outgoing, Peer, Writer};
use crate::pins::Tools;
use crate::questions::Given;
use crate::reach::Reach;
use crate::remote::{Remote, RemoteServer};
use crate::room::{Rooms, WAITING};
use crate::session::{CALLS, CLIENT_LINE, Shared, UPSTREAM_CALLS, from_client, from_upstream, upstream_gone};
use crate::simulated::OnlySimulates;
use crate::start::local_session;
use crate::upstream::Process;
use crate::visible::Visible;

/// How long the tool server may take to end by itself, and outcomes to be reported, when the client has gone.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long what is left of a dead tool server's output is waited for.
const REST: Duration = Duration::from_secs(1);

/// How long what is under way may take when a tool server may run no more.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// How often it is looked at the clock that goes on while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);

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
    let held = Held { lost: watch::Sender::new(false), run: None, unsent: WAITING };
    serve_held(config, arbiter, log, (client_in, client_out), report, held).await
}

/// How a session is held by whoever serves its client.
pub(crate) struct Held {
    /// Turns true when the tool server is gone while the session goes on.
    pub(crate) lost: watch::Sender<bool>,
    /// The run that the session is a part of; one of its own if there is none.
    pub(crate) run: Option<[u8; 32]>,
    /// Bytes of what the client says that may wait for each tool server to read them, and as many of what it is not answered and that is
    /// being decided.
    pub(crate) unsent: usize,
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
    let Held { lost, run, unsent } = held;
    let basis = Basis { unsent, ..Basis::of(&config, arbiter, log, notes, run)? };
    let _sending = Handle(tokio::spawn(Arc::clone(&basis.attempts).send()));
    if config.is_joined() {
        return junction::serve(config, basis, client_in, client_out).await;
    }
    let server = NamedServer { name: config.server.clone(), server: config.upstream.clone() };
    let ending = serve_one(&config, server, &basis, (client_in, client_out), lost).await?;
    basis.end(ending).await;
    Ok(ending)
}

/// What the sessions with all servers behind a gate have in common.
#[derive(Clone)]
pub(crate) struct Basis {
    pub(crate) arbiter: Arc<dyn Authorizer>,
    log: TrustedLog,
    pub(crate) notes: Notes,
    outcomes: Outcomes,
    attempts: Arc<Attempts>,
    run: [u8; 32],
    /// How much may wait for each server.
    pub(crate) unsent: usize,
    /// What the servers list, beside one another.
    pub(crate) company: Arc<Company>,
}

impl Basis {
    pub(crate) fn of(
        config: &McpGate,
        arbiter: Arc<dyn Authorizer>,
        log: TrustedLog,
        notes: Notes,
        run: Option<[u8; 32]>,
    ) -> Result<Self, GateError> {
        let McpGate { agent, gate, deadline, .. } = config;
        let run = run.map_or_else(random, Ok)?;
        let arbiter: Arc<dyn Authorizer> = match config.simulation {
            None => arbiter,
            Some(_) => {
                notes.say("this gate only simulates: nothing that takes a decision is sent to a tool server");
                Arc::new(OnlySimulates(arbiter))
            }
        };
        let remarks = notes.clone();
        let outcomes = Outcomes::start(Arc::clone(&arbiter), *deadline, move |remark| remarks.say(remark));
        // What is only simulated is no attempt, and what an earlier gate kept is not this one's to bring.
        let spool = config.spool.as_deref().filter(|_| config.simulation.is_none());
        let asked = Arc::clone(&arbiter);
        let attempts = Attempts::start(spool, (agent, gate), asked, *deadline, notes.clone());
        let attempts = Arc::new(attempts.map_err(GateError::Start)?);
        let company = Arc::new(Company::of(config.servers().into_iter().map(|server| server.name)));
        Ok(Self { arbiter, log, notes, outcomes, attempts, run, unsent: WAITING, company })
    }

    /// The same for one of several servers, of which something else is said to people.
    pub(crate) fn about(&self, notes: &Notes) -> Self {
        Self { notes: notes.clone(), ..self.clone() }
    }

    /// How the session ends once all that was under way has: what could be reported in time is.
    pub(crate) async fn ending(&self) -> Ending {
        Ending { unreported: self.outcomes.flush(FAREWELL).await }
    }

    /// Says what people are to know at the end.
    pub(crate) async fn end(&self, ending: Ending) {
        if ending.unreported > 0 {
            self.notes.say(format!("{} outcomes could not be reported", ending.unreported));
        }
        self.notes.flush(REST).await;
    }
}

/// One client's session with one server.
pub(crate) async fn serve_one<R, W>(
    config: &McpGate,
    server: NamedServer,
    basis: &Basis,
    (input, out): (R, W),
    lost: watch::Sender<bool>,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (peer, writer) = Peer::new(out);
    let client = Client { peer, input, writer, lost };
    let NamedServer { name, server } = server;
    match server {
        ToolServer::Local(local) => local_session((config, name), &local, basis, client).await,
        ToolServer::Remote(remote) => remote_session((config, name), remote, basis, client).await,
    }
}

/// The client's end of a session.
pub(crate) struct Client<R, W> {
    pub(crate) peer: Peer,
    pub(crate) input: R,
    pub(crate) writer: Writer<W>,
    pub(crate) lost: watch::Sender<bool>,
}

async fn remote_session<R, W>(
    config: (&McpGate, String),
    server: RemoteServer,
    basis: &Basis,
    client: Client<R, W>,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let slots = server.slots.clone();
    let started = Remote::start(server, basis.notes.clone(), config.0.rooms());
    let (remote, sink, source) = started.map_err(GateError::Start)?;
    let (upstream, writer) = Peer::holding(Rooms::new(basis.unsent), sink);
    let reach = Reach::Remote(Arc::clone(&remote));
    let shared = shared(config, basis, (client.peer, upstream), (reach, slots, client.lost));
    session(shared, Life::Remote(remote), (writer, source), (client.input, client.writer)).await
}

pub(crate) async fn session<R, W, S>(
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

/// Bytes that nobody can tell.
pub(crate) fn random() -> Result<[u8; 32], GateError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| GateError::Random)?;
    Ok(bytes)
}

pub(crate) fn shared(
    (config, server): (&McpGate, String),
    basis: &Basis,
    (client, upstream): (Peer, Peer),
    (reach, filling, lost): (Reach, Option<ArgumentSlots>, watch::Sender<bool>),
) -> Arc<Shared> {
    let McpGate { agent, acts_for, gate, deadline, listed_within, simulation, .. } = config.clone();
    let Basis { arbiter, log, notes, outcomes, attempts, run, unsent, company } = basis.clone();
    let (table, last) = (tokio::sync::Mutex::new(None), Mutex::new(None));
    let keeps = attempts.are_kept();
    let tools =
        Tools::new((server.clone(), Arc::clone(&company)), upstream.clone(), listed_within, notes.clone());
    if simulation.is_some() {
        tools.schemas.outputs.keep();
    }
    let tools = Arc::new(tools);
    let desk = Desk {
        server: server.clone(),
        arbiter,
        log,
        agent,
        acts_for,
        gate,
        deadline,
        run,
        table,
        last,
        keeps,
        tools: Arc::clone(&tools),
    };
    let slots = |count| Arc::new(Semaphore::new(usize::try_from(count).map_or(1, |count: usize| count)));
    let (slots, upstream_slots, held) = (slots(CALLS), slots(UPSTREAM_CALLS), slots(HELD));
    let tasks = Mutex::new(JoinSet::new());
    let typed = TypedTools::default();
    Arc::new(Shared {
        server,
        reach,
        filling,
        lost,
        desk,
        outcomes,
        attempts,
        notes,
        slots,
        upstream_slots,
        held,
        given: Given::default(),
        handles: Handles::default(),
        simulation,
        client,
        upstream,
        tasks,
        typed,
        tools,
        company,
        visible: Visible::default(),
        rooms: config.rooms().half(),
        questions: config.rooms().half(),
        unanswered: Rooms::new(unsent),
        // The longest finds room beside the others.
        answers: Rooms::new(unsent.saturating_add(CLIENT_LINE)),
    })
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
pub(crate) enum Life {
    /// A process, and until when it may run, if it may not for ever.
    Process(Box<Process>, Option<BootInstant>),
    Remote(Arc<Remote>),
}

impl Life {
    /// Waits until it may run no more. A clock that stands while the machine sleeps would give it longer.
    fn over(&self) -> impl Future<Output = ()> + use<> {
        let until = match self {
            Self::Process(_, until) => *until,
            Self::Remote(_) => None,
        };
        async move {
            let Some(until) = until else { return std::future::pending().await };
            loop {
                let left = until.since(BootInstant::now());
                if left.is_zero() {
                    return;
                }
                sleep(left.min(LOOK)).await;
            }
        }
    }

    /// Waits until the server has ended, or can no longer be written to.
    async fn ended_or(&mut self, mut broken: watch::Receiver<bool>) {
        match self {
            Self::Process(process, _) => process.ended_or(broken).await,
            Self::Remote(remote) => tokio::select! {
                () = remote.ended() => {}
                told = broken.wait_for(|broken| *broken) => drop(told),
            },
        }
    }

    /// Gives it time to end by itself.
    async fn ends_within(&mut self, patience: Duration) {
        match self {
            Self::Process(process, _) => drop(process.ends_within(patience).await),
            Self::Remote(remote) => remote.leave(patience).await,
        }
    }

    /// Ends it; whether its supervisor had to be killed for that.
    async fn end(&mut self) -> bool {
        match self {
            Self::Process(process, _) => process.end().await,
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
    let over = life.over();
    let over = tokio::select! {
        () = life.ended_or(broken) => false,
        ended = &mut reader.0 => { drop(ended); false }
        told = closing.wait_for(|closing| *closing) => { drop(told); false }
        () = over => true,
    };
    shared.upstream.table.shut();
    if over {
        shared.notes.say("it has run for as long as its start was permitted for, and is stopped");
        shared.calls_end(Instant::now() + LAST_CALLS).await;
    }
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
        let client = &self.shared.client;
        client.table.fail_all();
        self.closing.send_replace(true);
        drop((&mut self.upstream.0).await);
        let unreported = self.shared.settled().await;
        client.offer(Outgoing::Close);
        drop(timeout(REST, self.client_broken.wait_for(|closed| *closed)).await);
        Ending { unreported }
    }
}

impl Shared {
    /// Waits, until then at most, until every call has ended.
    async fn calls_end(&self, end: Instant) {
        let calls = timeout_at(end, async {
            drop(self.slots.acquire_many(CALLS).await);
            drop(self.upstream_slots.acquire_many(UPSTREAM_CALLS).await);
        });
        drop(calls.await);
    }

    /// Waits, for a bounded time, until every call has ended and every outcome is reported. How many are not.
    async fn settled(&self) -> usize {
        let end = Instant::now() + FAREWELL;
        self.calls_end(end).await;
        self.outcomes.flush(end.saturating_duration_since(Instant::now())).await
    }
}
