//! The writer's thread: takes what waits as one batch.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use portcullis_arbiter::{Clock, Fact, GateState, Health, Ports};
use portcullis_protocol::{Event, Millis, ReasonCode};
use portcullis_verify::VerifiedCheckpoint;

use crate::aggregate::Counts;
use crate::batch::{Batch, Written};
use crate::bundle_archive::Archives;
use crate::clock::{Attempt, Pacing};
use crate::command::{Command, OrderRefused};
use crate::elsewhere::Elsewhere;
use crate::error::LedgerError;
use crate::generation::Generations;
use crate::heads::Heads;
use crate::health::{ClockWatch, displaced, only_reserve, tripped};
use crate::held::Holds;
use crate::keyring;
use crate::ledger::LedgerConfig;
use crate::lock::DirectoryLock;
use crate::opened::Opened;
use crate::published::Published;
use crate::queue::{erases, waiting, writes};
use crate::quota::Quota;
use crate::signer::Signer;
use crate::spooling::Spooling;
use crate::store;
use crate::suspect;
use crate::unasked::{changes, unasked};
use crate::vault::Vault;
use crate::waiting::{Waiting, refuse};

mod expiring;
mod looking;
mod outside;
mod reopening;
mod unrecorded;

/// How often overdue outcomes and counts are looked at when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// Whether a question adds what the disk's reserve is not for.
const fn for_what_is_new(command: &Command) -> bool {
    matches!(command, Command::Decide(..) | Command::Late(..) | Command::List(..) | Command::Simulate(..))
}

/// How an open ledger failed, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failed {
    /// Its last records are durable, and no head over them was signed: it is opened as after a crash.
    Unsigned,
    /// What lies on the disk is not known: it must be rebuilt.
    Unknown,
}

impl Failed {
    fn by(error: &LedgerError, committed: bool) -> Self {
        // The signer is the one part that can fail after the commit without any file being in doubt.
        if committed && matches!(error, LedgerError::Signer(_)) { Self::Unsigned } else { Self::Unknown }
    }
}

/// Everything that the writer's thread owns.
pub(crate) struct Writer {
    config: LedgerConfig,
    lock: DirectoryLock,
    signer: Box<dyn Signer>,
    vault: Vault,
    ports: Box<dyn Ports>,
    elsewhere: Box<dyn Elsewhere>,
    heads: Heads,
    holds: Holds,
    watch: ClockWatch,
    /// The open ledger, or the reason why nothing is permitted.
    phase: Result<Box<Opened>, ReasonCode>,
    /// How the ledger failed while it was open, if it did.
    failed: Option<Failed>,
    /// What was found damaged while the ledger was open, if anything was: then all of it, and of what lies beside, must be read
    /// to open it.
    doubted: Option<String>,
    /// The newest head that was signed and anchored, kept beyond a failure.
    known: Option<VerifiedCheckpoint>,
    reopening: Pacing,
    quota: Quota,
    counts: Counts,
    spooling: Spooling,
    archives: Archives,
    labels: Published,
    /// Whether more of the spool is to be entered at once.
    entering: bool,
    /// What is on record as in force.
    bundle: Option<looking::Deciding>,
    gate: GateState,
    /// Boot-clock time, in milliseconds, at which payloads were last found not to have expired.
    unexpired: Option<u64>,
    /// Spaces out their removal as long as calls come.
    removing: Pacing,
    /// Whether more of them are to be removed at once.
    expiring: bool,
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
        elsewhere: Box<dyn Elsewhere>,
        (counts, heads, spooling, labels): (Counts, Heads, Spooling, Published),
    ) -> Self {
        Self {
            vault: Vault::new(config.vault_key.clone()),
            config,
            lock,
            signer,
            ports,
            elsewhere,
            heads,
            holds: Holds::default(),
            watch: ClockWatch::default(),
            phase: Err(ReasonCode::EvidenceRecovering),
            failed: None,
            doubted: None,
            known: None,
            reopening: Pacing::default(),
            quota: Quota::default(),
            counts,
            spooling,
            archives: Archives::default(),
            labels,
            entering: false,
            bundle: None,
            gate: GateState::Open,
            unexpired: None,
            removing: Pacing::default(),
            expiring: false,
            syncs: 0,
            batches: 0,
            closing: false,
        }
    }

    pub(crate) fn run(mut self, queue: &Receiver<Command>) {
        self.step(VecDeque::new());
        while !self.closing {
            match queue.recv_timeout(if self.has_more() { Duration::ZERO } else { TICK }) {
                Ok(first) => self.step(waiting(first, queue)),
                Err(RecvTimeoutError::Timeout) => self.step(VecDeque::new()),
                Err(RecvTimeoutError::Disconnected) => self.closing = true,
            }
        }
        self.close();
    }

    fn step(&mut self, commands: VecDeque<Command>) {
        self.make_ready(commands.iter().any(writes));
        let health = self.health();
        let commands = self.answer_at_once(commands, &health);
        match tripped(&health) {
            None => {
                let idle = commands.is_empty();
                self.commit(commands, &health);
                self.expire(&health, idle);
            }
            Some(code) => {
                self.expiring = false;
                self.archives.refuse(code);
                self.refuse_all(commands, &health, code);
            }
        }
        self.write_back(health.now);
    }

    /// Removes what may hold what was erased, and writes the write-ahead log back when nobody waits for it.
    fn write_back(&mut self, now: Millis) {
        let Ok(opened) = &mut self.phase else { return };
        let wiped = opened.wipe(&Generations::of(&self.config.directory));
        match wiped.and_then(|()| Ok(opened.store.write_back()?)) {
            Ok(syncs) => self.syncs = self.syncs.saturating_add(syncs),
            Err(error) => self.poison(&error, Vec::new(), true, now),
        }
    }

    /// Opens the ledger and makes its first batch durable, as far as that can be done now.
    fn make_ready(&mut self, asked: bool) {
        self.leave_replaced();
        self.leave_damaged();
        if self.phase.is_err() && !self.rested(asked) {
            return;
        }
        // A writer that is fenced leaves the files to the one that is not.
        if matches!(&self.phase, Ok(opened) if opened.pending.is_none()) || !self.lock.is_held() {
            return;
        }
        let attempt = Attempt::begin();
        if self.phase.is_err() {
            self.reopen();
        }
        let health = self.surroundings();
        match tripped(&health) {
            // What stands in the way now is why, whether or not it still does when the callers are told.
            Some(code) if !only_reserve(&health) => {
                self.phase.iter_mut().for_each(|it| it.pending = Some(code))
            }
            Some(_) | None => self.begin(&health),
        }
        self.reopening.ended(&attempt);
    }

    /// The first batch: says that the ledger was opened, and ends what was committed but never released. From then
    /// on the scrub reads what opening it did not.
    fn begin(&mut self, health: &Health) {
        if !self.stands_outside() {
            return;
        }
        let Ok(opened) = &mut self.phase else { return };
        if !opened.begun {
            if let Err(error) = opened.prepare(self.signer.as_mut()) {
                // Nothing was recorded: it is tried again without opening anew.
                opened.pending = Some(error.code());
                return;
            }
            let event = if self.failed.is_some() { Event::Recovered } else { Event::Opened };
            let Ok(opened) = &self.phase else { return };
            let changes = keyring::changes(opened.head.as_ref(), self.signer.as_mut());
            // What lies here now need not say which bundle this process found in force, nor where the lever stood: who reads
            // the log takes it for open from here on, until a record says that it is shut.
            (self.bundle, self.gate) = (None, GateState::Open);
            self.transact(health, |batch| keyring::open(batch, event, changes));
        }
        if let Ok(opened) = &mut self.phase {
            opened.begun = true;
            let means = self.config.means(opened.master);
            opened.pending = opened.scrub(means).err().map(|error| error.code());
            // What was in doubt was read whole. A note that stays costs the next start the same once more.
            drop(suspect::settle(&self.config.directory));
            (self.failed, self.doubted) = (None, None);
        }
    }

    /// Questions that write nothing. The others are returned.
    fn answer_at_once(&mut self, commands: VecDeque<Command>, health: &Health) -> VecDeque<Command> {
        let mut rest = VecDeque::with_capacity(commands.len());
        for command in commands {
            match command {
                Command::Status(reply) => reply(self.status(health)),
                Command::Close(reply) => {
                    self.closing = true;
                    reply(());
                }
                Command::Release(proved, reply) => self.release_held(*proved, health, reply),
                Command::Archive(digest, archive, reply) => self.archives.add(digest, archive, Some(reply)),
                Command::Find(attempt, reply) => {
                    let now = (health.clock == Fact::Known(Clock::Steady)).then_some(health.now);
                    reply(self.phase.as_ref().map_or(None, |opened| opened.find(&attempt, now)))
                }
                Command::Decide(..)
                | Command::Outcome(..)
                | Command::Order(..)
                | Command::Late(..)
                | Command::List(..)
                | Command::Simulate(..) => rest.push_back(command),
            }
        }
        rest
    }

    fn refuse_all(&mut self, commands: VecDeque<Command>, health: &Health, code: ReasonCode) {
        // Outcomes are why disk is held in reserve.
        let reserve = only_reserve(health) && matches!(&self.phase, Ok(opened) if opened.pending.is_none());
        let (kept, refused): (VecDeque<_>, VecDeque<_>) =
            commands.into_iter().partition(|command| reserve && !for_what_is_new(command));
        self.entering = false;
        let refused = refused.into_iter().filter_map(|command| refuse(command, health, code)).collect();
        self.answer(refused, code, health.now);
        if !kept.is_empty() {
            self.commit(kept, health);
        }
    }

    /// Before anything is erased, no database that failed may be left with it: orders to erase are refused while one is.
    fn remove_copies(&self, commands: &mut VecDeque<Command>) {
        if !commands.iter().any(erases) {
            return;
        }
        let Err(error) = Generations::of(&self.config.directory).keep_current() else { return };
        let (orders, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(commands).into_iter().partition(erases);
        *commands = others;
        for order in orders {
            if let Command::Order(_, reply) = order {
                reply(Err(OrderRefused::CopyKept(error.to_string())));
            }
        }
    }

    fn commit(&mut self, mut commands: VecDeque<Command>, health: &Health) {
        self.remove_copies(&mut commands);
        let overdue = self.overdue(health.now);
        let taken = self.counts.with(|counts| counts.take(health.boot, self.closing));
        let gate = self.changed_gate(health);
        let changed = self.changed_bundle(health);
        let nobody = Health { policy: Fact::Unknown, ..health.clone() };
        let health = if changed.is_ok() { health } else { &nobody };
        let (came, detail) = changed.map_or(None, |changed| changed).unzip();
        let bundle = came.map(|came| came.bundle);
        self.archive_in_force(bundle.as_ref());
        let abandoned = self.holds.abandoned();
        let late = self.late(health);
        let counted = !overdue.is_empty() || !taken.is_empty() || !abandoned.is_empty() || !late.is_empty();
        self.entering = false;
        if commands.is_empty()
            && !counted
            && bundle.is_none()
            && gate.is_none()
            && !self.archives.are_waiting()
        {
            return;
        }
        let mut quota = self.quota.clone();
        let mut archives = std::mem::take(&mut self.archives);
        let written = self.transact(health, |batch| {
            changes(batch, detail, gate)?;
            bundle.iter().try_for_each(|bundle| batch.name(bundle))?;
            batch.withhold(&abandoned)?;
            unasked(batch, &overdue, &taken)?;
            batch.enter_spool(&late.entries, late.unreadable)?;
            while let Some(command) = commands.pop_front() {
                batch.take(command, &mut quota)?;
            }
            archives.write(batch)
        });
        if written {
            // What a batch that failed had counted is counted again, by the spool.
            self.quota = quota;
            archives.written();
        } else {
            archives.restart();
        }
        self.archives = archives;
        if written && self.phase.as_mut().is_ok_and(|opened| displaced(opened, &self.lock).is_none()) {
            // Sealed and anchored, where others find it: the spool may forget it.
            self.spooling.entered(&late);
            self.entering = !late.entries.is_empty();
        }
        if written {
            self.bundle = came.or(self.bundle);
            self.gate = gate.map_or(self.gate, |gate| gate);
        } else {
            self.holds.retry(abandoned);
            self.counts.with(|counts| counts.restore(taken));
        }
        self.refuse_rest(commands);
    }

    /// Refuses what a failed batch did not come to.
    fn refuse_rest(&mut self, commands: VecDeque<Command>) {
        if commands.is_empty() {
            return;
        }
        let health = self.health();
        let code = tripped(&health).map_or(ReasonCode::EvidenceRecovering, |code| code);
        let refused = commands.into_iter().filter_map(|command| refuse(command, &health, code)).collect();
        self.answer(refused, code, health.now);
    }

    /// Runs one batch: commit, sign, anchor, release. Whatever fails poisons the writer, and what waits for a
    /// receipt gets the reason instead. Says whether its records are in the database.
    fn transact(
        &mut self,
        health: &Health,
        fill: impl FnOnce(&mut Batch<'_>) -> Result<(), LedgerError>,
    ) -> bool {
        let Ok(opened) = &mut self.phase else { return false };
        let mut waiting = Vec::new();
        let written = Batch::write(opened, &mut self.vault, health, &mut waiting, fill);
        let committed = written.is_ok();
        let sealed = written.and_then(|written| match written {
            Written::Committed => opened.seal(self.signer.as_mut()).map(|()| true),
            Written::Beside | Written::Nothing => Ok(false),
        });
        match sealed {
            Ok(advanced) => {
                if advanced {
                    self.advance();
                }
                // Before anybody is told to ask policy again.
                if let Ok(opened) = &mut self.phase {
                    opened.publish(&self.labels);
                }
                self.release(waiting, health.now);
            }
            Err(error) => self.poison(&error, waiting, committed, health.now),
        }
        committed
    }

    fn advance(&mut self) {
        self.syncs = self.syncs.saturating_add(2);
        self.batches = self.batches.saturating_add(1);
        if let Ok(opened) = &self.phase {
            self.ports.stands(&opened.succession);
            self.known.clone_from(&opened.head);
            if let (Some(scrub), Some(head)) = (&opened.scrub, &opened.head) {
                scrub.advance(head);
            }
            self.known.iter().for_each(|head| self.heads.advanced(head));
        }
    }

    fn poison(&mut self, error: &LedgerError, waiting: Vec<Waiting>, committed: bool, now: Millis) {
        self.phase = Err(error.code());
        self.failed = self.failed.max(Some(Failed::by(error, committed)));
        // A copy of what is damaged is as damaged: without having read it whole it would be opened, and fail, again and again.
        if error.code() == ReasonCode::EvidenceCorrupt {
            self.doubt(&error.to_string());
        }
        self.refuse_waiting(waiting, error.code(), committed, now);
    }

    /// Hands out what a sealed batch says, if the evidence for it still lies where others can find it.
    fn release(&mut self, waiting: Vec<Waiting>, now: Millis) {
        let Ok(opened) = &mut self.phase else { return };
        if let Some(code) = displaced(opened, &self.lock) {
            return self.refuse_waiting(waiting, code, true, now);
        }
        let mut waiting = waiting.into_iter();
        let failed = opened.receipts().and_then(|mut receipts| {
            for waiting in waiting.by_ref() {
                let uncounted = waiting.release(&mut receipts, &mut self.holds)?;
                if let Some((code, agent)) = uncounted {
                    self.counts.with(|counts| counts.count(Some(code), Some(agent), now));
                }
            }
            Ok(())
        });
        // A record that does not prove itself: the ledger is no longer what it was when it was verified.
        if let Err(error) = failed {
            self.poison(&error, waiting.collect(), true, now);
        }
    }

    fn close(&mut self) {
        let health = self.health();
        if tripped(&health).is_none() {
            self.transact(&health, |batch| batch.close());
        }
        // The newest signed head goes into the database too, so that a copy of it verifies without the anchor.
        if let Ok(opened) = &self.phase
            && let Some(head) = &opened.head
            && head.size() == opened.tree.size()
        {
            let note = Some(head.note_bytes());
            drop(store::set_head(&opened.store.connection, head.size(), &head.root(), note));
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
