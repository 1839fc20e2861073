//! The handle to a ledger: what other threads hold while the writer works.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use portcullis_arbiter::{Intake, ListingIntake, Ports};
use portcullis_protocol::{
    AgentId, AttemptId, BundleDigest, Digest, LabelName, Millis, PrincipalId, ReasonCode, Spooled,
};

use crate::aggregate::Counts;
use crate::archive_audit::{BundleDigestOf, Means};
use crate::clock::Clocks;
use crate::command::{
    Command, DecideReply, Decided, Found, Given, ListReply, OrderRefused, OutcomeRefused, Reply,
    ReportedOutcome, SimulateReply, Status,
};
use crate::elsewhere::{Elsewhere, Nobody};
use crate::heads::Heads;
use crate::held::Proved;
use crate::lock::DirectoryLock;
use crate::published::Published;
use crate::signer::Signer;
use crate::spooling::{SpoolConfig, Spooling};
use crate::writer::Writer;

/// Calls that may wait for the writer; more are shed.
const WAITING_CALLS: usize = 4_096;
/// Questions that may wait in all: outcomes and operators get through when calls are shed.
const WAITING: usize = 8_192;

/// Where a ledger lies and with what it works.
#[derive(Clone)]
pub struct LedgerConfig {
    /// The data directory. Its lock must be held.
    pub directory: PathBuf,
    /// The anchor's file, outside the data directory.
    pub anchor: PathBuf,
    /// The file with the vault's master key, never beside the database.
    pub vault_key: PathBuf,
    /// Tells the digest of an archived bundle.
    pub bundle_digest: Arc<BundleDigestOf>,
    /// Bytes of disk that are kept for outcomes and operators: below them nothing is permitted.
    pub disk_reserve: u64,
    /// Where refused attempts are kept while the ledger cannot be written, if anywhere.
    pub spool: Option<SpoolConfig>,
    /// The clocks.
    pub clocks: Arc<dyn Clocks>,
}

impl LedgerConfig {
    /// By what is checked what lies beside the records of a ledger whose vault names its key so.
    pub(crate) fn means(&self, named: Option<Digest>) -> Means {
        let (bundle_digest, vault_key) = (Arc::clone(&self.bundle_digest), self.vault_key.clone());
        Means { bundle_digest, vault_key, named }
    }
}

/// More waits than is admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more calls wait for the ledger than it admits")]
pub struct Overloaded;

/// A ledger with its writer's thread. Dropping it closes it in good order.
pub struct Ledger {
    commands: SyncSender<Command>,
    waiting: Arc<AtomicUsize>,
    counts: Counts,
    heads: Heads,
    clocks: Arc<dyn Clocks>,
    labels: Published,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ledger").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Starts the writer of a log that nobody outside watches: see [`start_watched`](Self::start_watched).
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        config: LedgerConfig,
        lock: DirectoryLock,
        signer: Box<dyn Signer>,
        ports: Box<dyn Ports>,
    ) -> std::io::Result<Self> {
        Self::start_watched(config, lock, signer, ports, Box::new(Nobody))
    }

    /// Starts the writer. It opens and verifies the ledger first; until that succeeds, and whenever it fails,
    /// calls are answered with the reason. `elsewhere` is asked before anything is recorded.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start_watched(
        config: LedgerConfig,
        lock: DirectoryLock,
        signer: Box<dyn Signer>,
        ports: Box<dyn Ports>,
        elsewhere: Box<dyn Elsewhere>,
    ) -> std::io::Result<Self> {
        let (commands, queue) = sync_channel(WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (counts, clocks) = (Counts::default(), Arc::clone(&config.clocks));
        let heads = Heads::default();
        let spooling = Spooling::start(config.spool.as_ref())?;
        let labels = Published::default();
        let shared = (counts.clone(), heads.clone(), spooling, labels.clone());
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || Writer::new(config, lock, signer, ports, elsewhere, shared).run(&queue))?;
        Ok(Self { commands, waiting, counts, heads, labels, clocks, thread: Some(thread) })
    }

    /// Asks for a decision. `reply` is called once; if the writer is gone it is dropped instead, and whoever
    /// waits for it must take that for SILENCE.
    ///
    /// # Errors
    /// [`Overloaded`]: the call is shed.
    pub fn decide(
        &self,
        intake: Intake,
        reply: impl FnOnce(DecideReply) + Send + 'static,
    ) -> Result<(), Overloaded> {
        let place = self.place()?;
        let reply: Reply<DecideReply> = Box::new(move |answer| {
            drop(place);
            reply(answer);
        });
        self.send(Command::Decide(Box::new(intake), reply))
    }

    /// Records an outcome.
    ///
    /// # Errors
    /// [`Overloaded`]: report again.
    pub fn outcome(
        &self,
        outcome: ReportedOutcome,
        reply: impl FnOnce(Result<u64, OutcomeRefused>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.send(Command::Outcome(Box::new(outcome), Box::new(reply)))
    }

    /// Counts an attempt that gets no record of its own. Needs no place in the queue, so that a flood of what is
    /// shed neither goes uncounted nor crowds out outcomes.
    pub fn count(&self, reason: Option<ReasonCode>, agent: Option<AgentId>) {
        // Without a clock: whenever it is recorded.
        let now = self.clocks.wall().map_or(Millis(u64::MAX), |now| now);
        self.counts.with(|counts| counts.count(reason, agent, now));
    }

    /// Carries out an operator's order and puts both on record, in one transaction. That the operator is who the
    /// order says was checked.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn order(
        &self,
        given: impl Into<Given>,
        reply: impl FnOnce(Result<u64, OrderRefused>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.send(Command::Order(Box::new(given.into()), Box::new(reply)))
    }

    /// Archives a bundle that is about to decide, a part with each batch, so that no decision waits for the whole of it. If
    /// that comes to nothing, the first record that names the bundle archives it.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn archive(
        &self,
        bundle: BundleDigest,
        archive: Arc<[u8]>,
        reply: impl FnOnce(Result<(), ReasonCode>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.send(Command::Archive(bundle, archive, Box::new(reply)))
    }

    /// Releases a PERMIT that was held for witnesses, if it would still be released now.
    ///
    /// # Errors
    /// [`Overloaded`]: it is withheld.
    pub fn release(
        &self,
        proved: Proved,
        reply: impl FnOnce(Result<Box<Decided>, ReasonCode>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.send(Command::Release(Box::new(proved), Box::new(reply)))
    }

    /// The labels that an agent has, with those of whom it acts for, for asking policy. They are looked at again when the
    /// call is settled.
    #[must_use]
    pub fn labels(&self, agent: &AgentId, behind: Option<&PrincipalId>, now: Millis) -> BTreeSet<LabelName> {
        self.labels.of(agent, behind, now)
    }

    /// The anchored heads, for those who watch the log from outside.
    #[must_use]
    pub fn heads(&self) -> Heads {
        self.heads.clone()
    }

    /// Enters attempts that a gate kept while it had no answer, late. That they are of the agent whose credential came
    /// with them was checked. Answers how many of the first are in the log.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn late(
        &self,
        entries: Vec<Spooled>,
        reply: impl FnOnce(Result<u64, ReasonCode>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.send(Command::Late(entries, Box::new(reply)))
    }

    /// Puts a list of tools on record that an agent may be shown. `reply` is called once; if the writer is gone it is dropped
    /// instead, and nothing is shown.
    ///
    /// # Errors
    /// [`Overloaded`]: it is shed.
    pub fn list(
        &self,
        intake: ListingIntake,
        reply: impl FnOnce(ListReply) + Send + 'static,
    ) -> Result<(), Overloaded> {
        let place = self.place()?;
        let reply: Reply<ListReply> = Box::new(move |answer| {
            drop(place);
            reply(answer);
        });
        self.send(Command::List(Box::new(intake), reply))
    }

    /// Puts on record what would be decided of a call, as a simulation. `reply` is called once; if the writer is gone it is dropped
    /// instead.
    ///
    /// # Errors
    /// [`Overloaded`]: it is shed.
    pub fn simulate(
        &self,
        intake: Intake,
        reply: impl FnOnce(SimulateReply) + Send + 'static,
    ) -> Result<(), Overloaded> {
        let place = self.place()?;
        let reply: Reply<SimulateReply> = Box::new(move |answer| {
            drop(place);
            reply(answer);
        });
        self.send(Command::Simulate(Box::new(intake), reply))
    }

    /// A place among the calls that wait for the writer.
    fn place(&self) -> Result<Place, Overloaded> {
        let place = Place(Arc::clone(&self.waiting));
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING_CALLS {
            // Given up as it is dropped.
            return Err(Overloaded);
        }
        Ok(place)
    }

    /// Finds the record of an attempt.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn find(
        &self,
        attempt: AttemptId,
        reply: impl FnOnce(Option<Found>) + Send + 'static,
    ) -> Result<(), Overloaded> {
        self.send(Command::Find(attempt, Box::new(reply)))
    }

    /// Looks at the ledger, and at whether a PERMIT could be recorded now.
    ///
    /// # Errors
    /// [`Overloaded`].
    pub fn status(&self, reply: impl FnOnce(Status) + Send + 'static) -> Result<(), Overloaded> {
        self.send(Command::Status(Box::new(reply)))
    }

    fn send(&self, command: Command) -> Result<(), Overloaded> {
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Overloaded,
        })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // The writer ends what waits, then closes. A writer that is gone already leaves nothing to do.
        drop(self.commands.send(Command::Close(Box::new(|()| ()))));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A waiting call's place; given up when it is answered or dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
