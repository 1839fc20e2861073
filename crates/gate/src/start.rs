//! How a tool server that the gate starts begins. One without credentials in its environment is started as it is; the start of one
//! with them is an action of its own, on the surface `upstream.start`: it is decided, and takes the permit for it.
//!
//! In this order: the question, the PERMIT, what must hold in this gate, the credentials, the end of the permit, the process. Whatever
//! fails before the last gives the PERMIT up, and nothing is started.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use portcullis_protocol::{Digest, Outcome, ReasonCode};
use portcullis_sdk::{BootInstant, OutcomeReport, Permit};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::confine::{self, Confinement};
use crate::credential::{EnvironmentCredentials, Given};
use crate::desk::Denied;
use crate::gate::{Basis, Client, Ending, GateError, Life, LocalServer, McpGate, session, shared};
use crate::incoming::Spoken;
use crate::line::Lines;
use crate::message::quote;
use crate::notes::{Notes, stderr};
use crate::operation::{Operation, Terms};
use crate::peer::Peer;
use crate::reach::Reach;
use crate::room::Rooms;
use crate::session::{Shared, UPSTREAM_LINE};
use crate::supervise::arguments;
use crate::upstream::Process;

/// A session with a server that is started for it.
pub(crate) async fn local_session<R, W>(
    config: (&McpGate, String),
    local: &LocalServer,
    basis: &Basis,
    client: Client<R, W>,
) -> Result<Ending, GateError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let confinement = confinement(local, &basis.notes);
    let reach = if confinement.hidden.is_empty() { Reach::Anything } else { Reach::Confined };
    let (upstream, unwritten) = Peer::to_come(Rooms::new(basis.unsent));
    let shared = shared(config, basis, (client.peer, upstream), (reach, local.slots.clone(), client.lost));
    let start = Start { shared: &shared, local, confinement };
    let Started { mut process, given, until } = match &local.credentials {
        None => start.at_once().await?,
        Some(credentials) => start.permitted(credentials).await.map_err(GateError::NotStarted)?,
    };
    let piped = || GateError::Start(io::Error::other("a pipe of the tool server is missing"));
    let stdin = process.child.stdin.take().ok_or_else(piped)?;
    let stdout = process.child.stdout.take().ok_or_else(piped)?;
    let errors = process.child.stderr.take().ok_or_else(piped)?;
    let given = Given::and(given, local.slots.as_ref());
    shared.spawn(stderr(errors, shared.notes.clone(), given.clone()));
    let source = Spoken { lines: Lines::new(stdout, UPSTREAM_LINE), given };
    let life = Life::Process(Box::new(process), until);
    session(shared, life, (unwritten.to(stdin), source), (client.input, client.writer)).await
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

/// A server that was started.
struct Started {
    process: Process,
    /// What it was given, to be taken out of what it says.
    given: Option<Given>,
    /// Until when it may run, if it may not for as long as its session.
    until: Option<BootInstant>,
}

/// A server that is to be started.
struct Start<'a> {
    shared: &'a Arc<Shared>,
    local: &'a LocalServer,
    /// What it will be kept from.
    confinement: Confinement,
}

impl Start<'_> {
    fn program(&self, given: bool) -> Vec<OsString> {
        let mut program = self.local.supervisor.clone();
        program.extend(arguments(&self.confinement, given, &self.local.command));
        program
    }

    /// Without credentials there is nothing to decide.
    async fn at_once(&self) -> Result<Started, GateError> {
        let process = Process::start(&self.program(false), &self.local.pass_environment).await;
        Ok(Started { process: process.map_err(GateError::Start)?, given: None, until: None })
    }

    /// Under a PERMIT for this very start; why it is not started.
    async fn permitted(&self, credentials: &EnvironmentCredentials) -> Result<Started, ReasonCode> {
        let how = how(&self.shared.server, &self.local.command, credentials);
        let operation = Operation::start(&self.shared.server, &how).map_err(|refused| refused.code)?;
        let (permit, terms) = self.permit(&operation).await?;
        if let Some(code) = self.forbids(&terms) {
            return Err(self.unspent(permit.decline(), code).await);
        }
        // The time is counted from before there is a process.
        let (handover, given, until) = match credentials.fetch().await {
            Ok(fetched) => fetched,
            Err(why) => {
                self.shared.notes.say(format!("there is no credential to give the tool server: {why}"));
                return Err(self.unspent(permit.decline(), ReasonCode::CredentialUnavailable).await);
            }
        };
        let running = match permit.begin_sending(&operation.bytes, &self.shared.outcomes) {
            Ok(running) => running,
            Err(lapsed) => return Err(self.unspent(lapsed.report, lapsed.refusal.code()).await),
        };
        let (program, passed) = (self.program(true), self.local.pass_environment.as_slice());
        let at_most = self.shared.desk.deadline;
        match Process::start_given(&running, (&program, passed), &handover, at_most).await {
            Ok(process) => {
                // Whether it is on record or not: while it is not, nothing is sent to it.
                self.shared.outcomes.settle(running.finish(Outcome::Ok, None)).await;
                Ok(Started { process, given: Some(given), until: Some(until) })
            }
            Err(error) => {
                self.shared.notes.say(format!("the tool server cannot be started: {error}"));
                let report = running.finish(Outcome::Failed, None);
                Err(self.unspent(report, ReasonCode::UpstreamUnavailable).await)
            }
        }
    }

    async fn permit(&self, operation: &Operation) -> Result<(Permit, Terms), ReasonCode> {
        let desk = &self.shared.desk;
        let denied = match self.shared.outcomes.are_recorded().await {
            true => match desk.permit(operation).await {
                Ok(permitted) => return Ok(permitted),
                Err(denied) => denied,
            },
            false => desk.unrecorded(operation),
        };
        let Denied { refusal, attempted, .. } = denied;
        let (_, refusal) = self.shared.attempts.kept(refusal, attempted).await;
        Err(refusal.code())
    }

    /// Why a start that the arbiter permits is none in this gate, if it is none. The environment of a process that no domain holds
    /// can be read by every other one of the same user, the tool servers beside it among them.
    fn forbids(&self, terms: &Terms) -> Option<ReasonCode> {
        let unconfined = self.confinement.is_empty().then_some(ReasonCode::UpstreamUnconfined);
        self.shared.forbids(terms).or(unconfined)
    }

    /// Reports what ended without a server, and says why there is none.
    async fn unspent(&self, report: OutcomeReport, code: ReasonCode) -> ReasonCode {
        self.shared.outcomes.settle(report).await;
        code
    }
}

/// Which start it is, as JSON in its canonical form: of which server, by which command, with which variables, for how long. What is in
/// the variables is not known yet, and no part of it.
fn how(server: &str, command: &[OsString], credentials: &EnvironmentCredentials) -> String {
    let ended = command.iter().flat_map(|word| [word.as_bytes(), b"\0"]);
    let command = Digest::sha256(&ended.collect::<Vec<_>>().concat()).to_string();
    let names: Vec<String> = credentials.names().map(quote).collect();
    format!(
        r#"{{"command":{},"lease_seconds":{},"server":{},"variables":[{}]}}"#,
        quote(&command),
        credentials.lease().as_secs(),
        quote(server),
        names.join(","),
    )
}
