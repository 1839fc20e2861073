//! What a gate is to be: its configuration, and why one is refused.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{AgentId, GateId, PrincipalId, SurfaceName};

use crate::confine::Confinement;
use crate::credential::CredentialSource;
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

    /// Where the credentials come from that its servers are shown. Whoever runs the gate ends them when it has ended.
    #[must_use]
    pub fn credential_sources(&self) -> Vec<Arc<CredentialSource>> {
        let of = |server: NamedServer| match server.server {
            ToolServer::Local(_) => None,
            ToolServer::Remote(remote) => remote.credential.map(|credential| Arc::clone(credential.source())),
        };
        self.servers().into_iter().filter_map(of).collect()
    }

    pub(crate) fn check(&self) -> Result<(), GateError> {
        let all = self.servers();
        all.iter().try_for_each(NamedServer::check)?;
        if all.len() > 1 { names::check(all.iter().map(|server| server.name.as_str())) } else { Ok(()) }
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
        match self.pass_environment.iter().find(|name| name.starts_with(OWN_PREFIX)) {
            Some(name) => Err(GateError::PassEnvironment(name.clone())),
            None => Ok(()),
        }
    }
}
