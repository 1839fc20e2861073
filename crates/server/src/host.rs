//! One data directory, one arbiter: the first process hosts it, the others are its clients, and when it dies one
//! of them takes over.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use portcullis_ledger::{DirectoryLock, LockError};
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, ListingCall, ListingReply, OutcomeReply,
    SimulationReply, WhoAmI,
};
use portcullis_protocol::{ReasonCode, SurfaceTable};
use portcullis_sdk::{Authorizer, Call, Endpoint, HttpAuthorizer, OutcomeReport, Refusal, Token};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::router;
use crate::config::ArbiterConfig;
use crate::listen::Door;
use crate::local::LocalAuthorizer;
use crate::service::{Arbiter, StartError};

/// How often a client looks whether the host has died.
const LOOK: Duration = Duration::from_millis(200);
/// How long calls that were ended may take to let go of the arbiter, and how often that is looked at.
const LAST_WORDS: Duration = Duration::from_secs(2);
const LAST_LOOK: Duration = Duration::from_millis(2);
/// Longest path of a Unix socket, with room for the terminating zero (`sun_path` of unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// A data directory could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The directory cannot be made or entered.
    #[error("the data directory `{path}` cannot be used: {error}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The lock cannot be asked for.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The arbiter cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The socket's path is too long for the system.
    #[error("the path `{path}` is too long for a Unix socket; choose a data directory with a shorter path")]
    SocketPath {
        /// The path.
        path: PathBuf,
    },
    /// The gate's token names no agent.
    #[error(
        "the gate's token names no agent of the configuration; make one with `portcullis keys agent NAME`"
    )]
    Stranger,
}

/// The arbiter that this process hosts, with the socket that others reach it by.
#[derive(Debug)]
pub(crate) struct Hosted {
    pub(crate) arbiter: Arc<Arbiter>,
    stop: watch::Sender<bool>,
    socket: JoinHandle<()>,
}

impl Hosted {
    /// Starts the arbiter if no other process holds the directory.
    pub(crate) fn try_start(config: &ArbiterConfig) -> Result<Option<Self>, HostError> {
        let path = socket_path(&config.data)?;
        make_private(&config.data)?;
        if let Some(parent) = config.anchor.parent() {
            make_private(parent)?;
        }
        let Some(lock) = DirectoryLock::acquire(&config.data)? else { return Ok(None) };
        let arbiter = Arc::new(Arbiter::start(config, lock)?);
        let door = Door::unix(&path).map_err(|error| HostError::Directory { path, error })?;
        let (stop, stopped) = watch::channel(false);
        let socket = tokio::spawn(door.serve(router(Arc::clone(&arbiter)), stopped));
        Ok(Some(Self { arbiter, stop, socket }))
    }

    /// Ends what is under way, closes the ledger and gives the directory up.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        drop(self.socket.await);
        // Only the last handle closes the ledger, and calls that were ended hold theirs for another moment.
        let alone = async {
            while Arc::strong_count(&self.arbiter) > 1 {
                tokio::time::sleep(LAST_LOOK).await;
            }
        };
        drop(tokio::time::timeout(LAST_WORDS, alone).await);
        // Dropping the last handle joins the writer's thread, which must not hold up the runtime.
        drop(tokio::task::spawn_blocking(move || drop(self.arbiter)).await);
    }
}

fn make_private(directory: &Path) -> Result<(), HostError> {
    let failed = |error| HostError::Directory { path: directory.to_owned(), error };
    portcullis_ledger::make_directory(directory).map_err(failed)
}

pub(crate) fn socket_path(data: &Path) -> Result<PathBuf, HostError> {
    let path = data.join("arbiter.sock");
    if path.as_os_str().len() > LONGEST_SOCKET_PATH { Err(HostError::SocketPath { path }) } else { Ok(path) }
}

enum Role {
    Host(LocalAuthorizer, Hosted),
    Client,
    Left,
}

struct Shared {
    config: ArbiterConfig,
    token: Token,
    socket: Endpoint,
    patience: Duration,
    client: HttpAuthorizer,
    role: RwLock<Role>,
}

/// This process's place in a data directory: host or client. Between a host's death and the next one's first
/// answer, calls get SILENCE.
pub struct Node {
    shared: Arc<Shared>,
    follower: JoinHandle<()>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Node").field("data", &self.shared.config.data).finish_non_exhaustive()
    }
}

impl Node {
    /// Joins a data directory, as the agent whose token this is.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn join(config: ArbiterConfig, token: Token, patience: Duration) -> Result<Self, HostError> {
        let path = socket_path(&config.data)?;
        let socket = Endpoint::Unix { path };
        let client = HttpAuthorizer::new(socket.clone(), token.clone(), patience);
        let shared =
            Arc::new(Shared { config, token, socket, patience, client, role: RwLock::new(Role::Client) });
        shared.try_host()?;
        let following = Arc::clone(&shared);
        let follower = tokio::spawn(async move { following.follow().await });
        Ok(Self { shared, follower })
    }

    /// The same arbiter, asked as the agent that another token names. Whether it names one is told by each answer.
    #[must_use]
    pub fn visitor(&self, token: Token) -> Arc<dyn Authorizer> {
        let Shared { socket, patience, .. } = self.shared.as_ref();
        let client = HttpAuthorizer::new(socket.clone(), token.clone(), *patience);
        Arc::new(Visitor { shared: Arc::clone(&self.shared), token, client })
    }

    /// Leaves the directory: a host closes its ledger, and another process takes over. Calls after that are refused.
    pub async fn leave(&self) {
        self.follower.abort();
        let role = std::mem::replace(&mut *self.shared.write(), Role::Left);
        if let Role::Host(local, hosted) = role {
            drop(local);
            hosted.stop().await;
        }
    }
}

impl Shared {
    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Role> {
        self.role.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn local(&self) -> Option<LocalAuthorizer> {
        match &*self.role.read().unwrap_or_else(PoisonError::into_inner) {
            Role::Host(local, _) => Some(local.clone()),
            Role::Client | Role::Left => None,
        }
    }

    fn has_left(&self) -> bool {
        matches!(*self.role.read().unwrap_or_else(PoisonError::into_inner), Role::Left)
    }

    /// Takes the directory over if nobody holds it.
    fn try_host(&self) -> Result<bool, HostError> {
        let mut role = self.write();
        if !matches!(*role, Role::Client) {
            return Ok(true);
        }
        let Some(hosted) = Hosted::try_start(&self.config)? else { return Ok(false) };
        let local = LocalAuthorizer::new(Arc::clone(&hosted.arbiter), self.token.reveal());
        *role = Role::Host(local.ok_or(HostError::Stranger)?, hosted);
        Ok(true)
    }

    async fn follow(&self) {
        while !matches!(self.try_host(), Ok(true)) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The same data directory, asked as the agent that another token names.
struct Visitor {
    shared: Arc<Shared>,
    token: Token,
    client: HttpAuthorizer,
}

impl Visitor {
    /// Asks the host that this process is. Each time anew: whom a token names is the arbiter's word, and holds no longer than
    /// the arbiter does.
    fn local(&self) -> Option<Result<LocalAuthorizer, Refusal>> {
        let hosted = match &*self.shared.role.read().unwrap_or_else(PoisonError::into_inner) {
            Role::Host(_, hosted) => Some(Arc::clone(&hosted.arbiter)),
            Role::Client => None,
            Role::Left => return Some(Err(Refusal::own(ReasonCode::ArbiterUnreachable, None))),
        };
        let stranger = || Refusal::own(ReasonCode::IdentityUnverified, None);
        hosted.map(|arbiter| LocalAuthorizer::new(arbiter, self.token.reveal()).ok_or_else(stranger))
    }
}

impl Authorizer for Visitor {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.decide(call).await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.decide(call),
        }
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.report(report).await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.report(report),
        }
    }

    fn late(&self, call: LateCall) -> Call<'_, LateReply> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.late(call).await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.late(call),
        }
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.list(call).await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.list(call),
        }
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.simulate(call).await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.simulate(call),
        }
    }

    fn ready(&self) -> Call<'_, bool> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.ready().await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.ready(),
        }
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.surfaces().await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.surfaces(),
        }
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        match self.local() {
            Some(Ok(local)) => Box::pin(async move { local.whoami().await }),
            Some(Err(refusal)) => Box::pin(async move { Err(refusal) }),
            None => self.client.whoami(),
        }
    }
}

impl Authorizer for Node {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        if self.shared.has_left() {
            return Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) });
        }
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.decide(call).await }),
            None => self.shared.client.decide(call),
        }
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.report(report).await }),
            None => self.shared.client.report(report),
        }
    }

    fn late(&self, call: LateCall) -> Call<'_, LateReply> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.late(call).await }),
            None => self.shared.client.late(call),
        }
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.list(call).await }),
            None => self.shared.client.list(call),
        }
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.simulate(call).await }),
            None => self.shared.client.simulate(call),
        }
    }

    fn ready(&self) -> Call<'_, bool> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.ready().await }),
            None => self.shared.client.ready(),
        }
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.surfaces().await }),
            None => self.shared.client.surfaces(),
        }
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        match self.shared.local() {
            Some(local) => Box::pin(async move { local.whoami().await }),
            None => self.shared.client.whoami(),
        }
    }
}
