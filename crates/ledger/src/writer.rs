//! The writer's thread: takes what waits as one batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use portcullis_arbiter::{Clock, Evidence, Fact, Health, Ports, State};
use portcullis_protocol::{BundleDigest, Event, Millis, ReasonCode};

use crate::aggregate::Aggregates;
use crate::batch::{Batch, refuse};
use crate::command::{Command, Status};
use crate::error::LedgerError;
use crate::health::{ClockWatch, Surroundings};
use crate::ledger::LedgerConfig;
use crate::lock::DirectoryLock;
use crate::opened::Opened;
use crate::quota::Quota;
use crate::signer::Signer;
use crate::store;

/// Questions in one batch, at most.
const LARGEST_BATCH: usize = 1_024;
/// How often overdue outcomes and counts are looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// Everything that the writer's thread owns.
pub(crate) struct Writer {
    config: LedgerConfig,
    lock: DirectoryLock,
    signer: Box<dyn Signer>,
    ports: Box<dyn Ports>,
    watch: ClockWatch,
    /// The open ledger, or the reason why nothing is permitted.
    phase: Result<Box<Opened>, ReasonCode>,
    /// Whether the ledger was open before: then it must be rebuilt, not just opened.
    poisoned: bool,
    pub(crate) quota: Quota,
    pub(crate) aggregates: Aggregates,
    bundle: Option<BundleDigest>,
    syncs: u64,
    batches: u64,
    closing: bool,
}

impl Writer {
    pub(crate) fn new(
        config: LedgerConfig,
        lock: DirectoryLock,
        signer: Box<dyn Signer>,
        ports: Box<dyn Ports>,
    ) -> Self {
        let watch = ClockWatch::start(config.clocks.as_ref());
        Self {
            config,
            lock,
            signer,
            ports,
            watch,
            phase: Err(ReasonCode::EvidenceRecovering),
            poisoned: false,
            quota: Quota::default(),
            aggregates: Aggregates::default(),
            bundle: None,
            syncs: 0,
            batches: 0,
            closing: false,
        }
    }

    pub(crate) fn run(mut self, queue: &Receiver<Command>) {
        self.step(VecDeque::new());
        while !self.closing {
            match queue.recv_timeout(TICK) {
                Ok(first) => {
                    let more = queue.try_iter().take(LARGEST_BATCH - 1);
                    let commands = std::iter::once(first).chain(more).collect();
                    self.step(commands);
                }
                Err(RecvTimeoutError::Timeout) => self.step(VecDeque::new()),
                Err(RecvTimeoutError::Disconnected) => self.closing = true,
            }
        }
        self.close();
    }

    fn step(&mut self, commands: VecDeque<Command>) {
        if self.phase.is_err() {
            self.reopen();
        }
        let health = self.health();
        let commands = self.answer_at_once(commands, &health);
        if records(&health) {
            self.commit(commands, &health);
        } else {
            self.refuse_all(commands, &health);
        }
    }

    fn health(&mut self) -> Health {
        let surroundings = Surroundings {
            config: &self.config,
            lock: &self.lock,
            watch: &self.watch,
            ports: self.ports.as_ref(),
        };
        surroundings.health(&mut self.phase, self.signer.as_mut())
    }

    /// Opens the ledger, or rebuilds it after a failure, and makes its first batch durable.
    fn reopen(&mut self) {
        let (directory, anchor, key) = (&self.config.directory, &self.config.anchor, self.signer.verifier());
        let opened = if self.poisoned {
            Opened::rebuild(directory, anchor, key)
        } else {
            Opened::open(directory, anchor, key)
        };
        match opened {
            Ok(opened) => {
                self.phase = Ok(Box::new(opened));
                self.begin();
            }
            Err(error) => self.phase = Err(error.code()),
        }
    }

    /// The first batch: says that the ledger was opened, and ends what was committed but never released.
    fn begin(&mut self) {
        let health = self.health();
        if !records(&health) {
            let code = match health.evidence {
                Fact::Known(Evidence::Tripped(code)) => code,
                Fact::Known(Evidence::Sound) | Fact::Unknown => ReasonCode::EvidenceRecovering,
            };
            // Nothing was written: opening is simply tried again.
            self.phase = Err(code);
            return;
        }
        let event = if self.poisoned { Event::Recovered } else { Event::Opened };
        self.transact(&health, |batch| batch.open(event));
        if self.phase.is_ok() {
            self.poisoned = false;
        }
    }

    /// Questions that write nothing. The others are returned.
    fn answer_at_once(&mut self, commands: VecDeque<Command>, health: &Health) -> VecDeque<Command> {
        let mut rest = VecDeque::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Count(reason, agent) => self.aggregates.count(reason, agent, health.now),
                Command::Status(reply) => reply(self.status(health)),
                Command::Close(reply) => {
                    self.closing = true;
                    reply(());
                }
                Command::Find(attempt, reply) => {
                    reply(self.phase.as_ref().map_or(None, |opened| opened.find(&attempt)))
                }
                Command::Decide(..) | Command::Outcome(..) | Command::Event(..) => rest.push_back(command),
            }
        }
        rest
    }

    fn refuse_all(&mut self, commands: VecDeque<Command>, health: &Health) {
        // Outcomes are why disk is held in reserve.
        let reserve =
            matches!(health.evidence, Fact::Known(Evidence::Tripped(ReasonCode::EvidenceDiskReserve)));
        let (kept, refused): (VecDeque<_>, VecDeque<_>) =
            commands.into_iter().partition(|command| reserve && !matches!(command, Command::Decide(..)));
        for command in refused {
            if let Some((code, agent)) = refuse(command, health) {
                self.aggregates.count(Some(code), Some(agent), health.now);
            }
        }
        if !kept.is_empty() {
            self.commit(kept, health);
        }
    }

    fn commit(&mut self, mut commands: VecDeque<Command>, health: &Health) {
        let overdue = self.overdue(health.now);
        let counts = self.aggregates.are_due(health.boot) || self.closing;
        let counted = if counts { self.aggregates.records(health.now) } else { Vec::new() };
        let bundle = self.changed_bundle(health);
        if commands.is_empty() && overdue.is_empty() && counted.is_empty() && bundle.is_none() {
            return;
        }
        let mut quota = std::mem::take(&mut self.quota);
        let mut aggregates = std::mem::take(&mut self.aggregates);
        self.transact(health, |batch| {
            if let Some(digest) = bundle {
                let detail = BTreeMap::from([("digest".to_owned(), digest.to_string())]);
                batch.event(Event::BundleInForce, detail)?;
            }
            for permit in &overdue {
                batch.overdue(permit)?;
            }
            for record in &counted {
                batch.aggregate(record.clone())?;
            }
            while let Some(command) = commands.pop_front() {
                batch.take(command, health, &mut quota, &mut aggregates)?;
            }
            Ok(())
        });
        if self.phase.is_ok() {
            self.bundle = bundle.or(self.bundle);
            if counts {
                aggregates.clear(health.boot);
            }
        }
        self.quota = quota;
        self.aggregates = aggregates;
        let poisoned = self.health();
        for command in commands {
            drop(refuse(command, &poisoned));
        }
    }

    /// Runs one batch: commit, sign, anchor, release. Whatever fails poisons the writer, and what waits for a
    /// receipt gets the reason instead.
    fn transact(&mut self, health: &Health, fill: impl FnOnce(&mut Batch<'_>) -> Result<(), LedgerError>) {
        let Ok(opened) = &mut self.phase else { return };
        let mut waiting = Vec::new();
        let written = Batch::write(opened, health.now, &mut waiting, fill)
            .and_then(|()| opened.seal(self.signer.as_mut()));
        match written {
            Ok(()) => {
                self.syncs = self.syncs.saturating_add(2);
                self.batches = self.batches.saturating_add(1);
                for waiting in waiting {
                    waiting.release(opened);
                }
            }
            Err(error) => {
                let code = error.code();
                self.phase = Err(code);
                self.poisoned = true;
                for waiting in waiting {
                    waiting.refuse(code);
                }
            }
        }
    }

    fn overdue(&self, now: Millis) -> Vec<store::PermitRow> {
        let Ok(opened) = &self.phase else { return Vec::new() };
        // If it cannot be read now it is read at the next tick; the permits stay open, and their keys consumed.
        store::overdue(&opened.store.connection, now, 256).unwrap_or_else(|_| Vec::new()) // tidy: allow nothing is decided by it
    }

    fn changed_bundle(&self, health: &Health) -> Option<BundleDigest> {
        match &health.policy {
            Fact::Known(policy) => policy.digest.filter(|digest| self.bundle != Some(*digest)),
            Fact::Unknown => None,
        }
    }

    fn status(&self, health: &Health) -> Status {
        let opened = self.phase.as_ref().ok();
        let permits = opened.map(|opened| store::open_permits(&opened.store.connection));
        let unreadable = matches!(permits, Some(Err(_)));
        Status {
            tripped: tripped(health).or(unreadable.then_some(ReasonCode::StateUnreachable)),
            size: opened.map_or(0, |opened| opened.tree.size()),
            open_permits: permits.map_or(0, |permits| permits.map_or(0, |permits| permits)),
            syncs: self.syncs,
            batches: self.batches,
            last: opened.map_or(Millis(0), |opened| opened.last),
        }
    }

    fn close(&mut self) {
        let health = self.health();
        if records(&health) {
            self.transact(&health, |batch| batch.event(Event::Closed, BTreeMap::new()).map(drop));
        }
        // The newest signed head goes into the database too, so that a copy of it verifies without the anchor.
        if let Ok(opened) = &self.phase
            && let Some(head) = &opened.head
        {
            let note = Some(head.note_bytes());
            drop(store::set_head(&opened.store.connection, head.size(), &head.root(), note));
        }
    }
}

/// Whether anything may be recorded now: not when it could not be written, and not with a time that is wrong.
fn records(health: &Health) -> bool {
    tripped(health).is_none()
}

fn tripped(health: &Health) -> Option<ReasonCode> {
    let clock = match health.clock {
        Fact::Known(Clock::Steady) => None,
        Fact::Known(Clock::Jumped) => Some(ReasonCode::ClockJumped),
        Fact::Known(Clock::BehindLog) => Some(ReasonCode::ClockBehindLog),
        Fact::Unknown => Some(ReasonCode::ClockUnreadable),
    };
    let evidence = match health.evidence {
        Fact::Known(Evidence::Sound) => None,
        Fact::Known(Evidence::Tripped(code)) => Some(code),
        Fact::Unknown => Some(ReasonCode::EvidenceUnwritable),
    };
    let state = match health.state {
        Fact::Known(State::Held) => None,
        Fact::Known(State::Fenced) => Some(ReasonCode::StateFenced),
        Fact::Unknown => Some(ReasonCode::StateUnreachable),
    };
    clock.or(evidence).or(state)
}
