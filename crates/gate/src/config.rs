//! What a gate is to be: its configuration, and why one is refused.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{AgentId, GateId, PrincipalId, ReasonCode, SurfaceName};

use crate::confine::Confinement;
use crate::credential::{ArgumentSlots, CredentialSource, EnvironmentCredentials};
use crate::junction::names;
use crate::remote::RemoteServer;
use crate::room::Rooms;
use crate::simulated::Examples;
use crate::upstream::OWN_PREFIX;

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
    /// Other servers behind the same gate, each under a name of its own. Every one of them lives by itself, and tools of one name
    /// are told apart by their servers'. With none, all is as the one server has it.
    pub beside: Vec<NamedServer>,
    /// The directory where attempts without an answer of the arbiter's are kept, if they are. It must be there.
    pub spool: Option<PathBuf>,
    /// How old the gate's own list of the server's tools may be when a call is judged by it, where the bundle pins tools of the
    /// server. [`McpGate::LISTED_WITHIN`], unless there is a reason.
    pub listed_within: Duration,
    /// If it is there, this gate only simulates: what takes a decision is asked as a simulation, nothing of it is ever sent, to the server
    /// or to the client, and what would be permitted is answered from these examples or from the tool's output schema.
    pub simulation: Option<Arc<Examples>>,
}

/// One of several servers behind a gate.
#[derive(Clone, Debug)]
pub struct NamedServer {
    /// As [`McpGate::server`].
    pub name: String,
    /// The server itself.
    pub server: ToolServer,
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
    /// Credentials that it gets in its environment, if it does. It is then started under a PERMIT of its own.
    pub credentials: Option<EnvironmentCredentials>,
    /// What the gate fills in of the arguments of its tools, if it does.
    pub slots: Option<ArgumentSlots>,
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
    /// Names of several servers that could be taken for one another, or for a part of a tool's name.
    #[error("the servers' names are not clear: {0}")]
    ServerNames(String),
    /// There is no command.
    #[error("no command for the tool server; put it after `--`")]
    NoCommand,
    /// There is no supervisor.
    #[error("no supervisor: without one the tool server would outlive its gate")]
    NoSupervisor,
    /// A variable that is the gate's own.
    #[error("`{0}` cannot be passed to a tool server: `PORTCULLIS_` variables are the gate's own")]
    PassEnvironment(String),
    /// A variable with a credential in it that is to have another value too.
    #[error("`{0}` cannot both be passed to a tool server and have a credential in it")]
    PassCredential(String),
    /// A server beside one that has credentials in its environment.
    #[error(
        "`{0}` is kept from nothing, and could read the credentials in another tool server's environment"
    )]
    Unconfined(String),
    /// The server was not started: not permitted, or without what it is to be given. It is not running.
    #[error("the tool server is not started: {} ({})", .0.as_str(), .0.message())]
    NotStarted(ReasonCode),
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// A thread or process could not be started.
    #[error("the gate cannot start its tool server")]
    Start(#[source] io::Error),
}

impl GateError {
    /// Why a server's start was refused, if that is it.
    pub(crate) const fn refused(&self) -> Option<ReasonCode> {
        match self {
            Self::NotStarted(code) => Some(*code),
            Self::ServerName(_)
            | Self::ServerNames(_)
            | Self::NoCommand
            | Self::NoSupervisor
            | Self::PassEnvironment(_)
            | Self::PassCredential(_)
            | Self::Unconfined(_)
            | Self::Random
            | Self::Start(_) => None,
        }
    }
}

impl McpGate {
    /// For so long a server's list of tools is gone by, unless the server says that it changed.
    pub const LISTED_WITHIN: Duration = Duration::from_secs(5);

    /// Where the credentials come from that its servers are shown. Whoever runs the gate ends them when it has ended.
    #[must_use]
    pub fn credential_sources(&self) -> Vec<Arc<CredentialSource>> {
        let of = |server: NamedServer| -> Vec<Arc<CredentialSource>> {
            let mut sources: Vec<_> =
                server.slots().into_iter().flat_map(ArgumentSlots::sources).cloned().collect();
            match server.server {
                ToolServer::Local(local) => {
                    sources
                        .extend(local.credentials.iter().flat_map(EnvironmentCredentials::sources).cloned());
                }
                ToolServer::Remote(remote) => {
                    sources.extend(remote.credential.map(|credential| Arc::clone(credential.source())));
                }
            }
            sources
        };
        self.servers().into_iter().flat_map(of).collect()
    }

    pub(crate) fn check(&self) -> Result<(), GateError> {
        let all = self.servers();
        all.iter().try_for_each(NamedServer::check)?;
        let started = || all.iter().filter_map(|server| Some((&server.name, server.local()?)));
        if started().any(|(_, local)| local.credentials.is_some())
            && let Some((name, _)) = started().find(|(_, local)| local.confinement.is_empty())
        {
            return Err(GateError::Unconfined(name.clone()));
        }
        if self.is_joined() { names::check(all.iter().map(|server| server.name.as_str())) } else { Ok(()) }
    }

    /// Whether its servers come and go while a session lasts: several do, and one whose start is decided.
    pub(crate) fn is_joined(&self) -> bool {
        let all = self.servers();
        all.len() > 1 || all.iter().filter_map(NamedServer::local).any(|local| local.credentials.is_some())
    }

    /// Room for what one of its servers says.
    pub(crate) fn rooms(&self) -> Rooms {
        Rooms::of_one(self.beside.len().saturating_add(1))
    }

    /// All servers, the first one first.
    pub(crate) fn servers(&self) -> Vec<NamedServer> {
        let first = NamedServer { name: self.server.clone(), server: self.upstream.clone() };
        std::iter::once(first).chain(self.beside.iter().cloned()).collect()
    }
}

impl NamedServer {
    /// What the gate fills in of the arguments of its tools, if it does.
    pub(crate) const fn slots(&self) -> Option<&ArgumentSlots> {
        match &self.server {
            ToolServer::Local(local) => local.slots.as_ref(),
            ToolServer::Remote(remote) => remote.slots.as_ref(),
        }
    }

    const fn local(&self) -> Option<&LocalServer> {
        match &self.server {
            ToolServer::Local(local) => Some(local),
            ToolServer::Remote(_) => None,
        }
    }

    fn check(&self) -> Result<(), GateError> {
        if self.name.contains('.') || format!("{}.mcp.unknown", self.name).parse::<SurfaceName>().is_err() {
            return Err(GateError::ServerName(self.name.chars().take(80).collect()));
        }
        match &self.server {
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
        if let Some(name) = self.pass_environment.iter().find(|name| name.starts_with(OWN_PREFIX)) {
            return Err(GateError::PassEnvironment(name.clone()));
        }
        let mut given = self.credentials.iter().flat_map(EnvironmentCredentials::names);
        match given.find(|given| self.pass_environment.iter().any(|name| name == given)) {
            Some(name) => Err(GateError::PassCredential(name.to_owned())),
            None => Ok(()),
        }
    }
}
