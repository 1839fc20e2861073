//! The scrub: reads all of an open ledger again and again, and what is kept beside its records, beside the writer, and trips the evidence interlock when
//! something is not what was signed.
//!
//! It has its own connection and thread, works in short slices and rests as long as it worked. Each slice reads one
//! snapshot; what was recorded under the head that a pass began with does not change afterwards, so the ledger may
//! move on meanwhile.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis_protocol::{BundleDigest, ReasonCode};
use portcullis_verify::VerifiedCheckpoint;
use rusqlite::{Connection, InterruptHandle};

use crate::archive_audit::{self, Means, PAYLOADS};
use crate::audit::{self, Audit, COUNTING_PARTS, What};
use crate::clock::Attempt;
use crate::command::ScrubStatus;
use crate::edge::{self, TILE};
use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::projection::Counted;
use crate::standing;
use crate::store::Store;

/// Tiles in a slice.
const SLICE: u64 = 4;
/// From the end of a pass to the beginning of the next.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// How often a slice that could not be read is tried again before that counts as a fault, and the rest before it.
const TRIES: u32 = 5;
const AGAIN: Duration = Duration::from_secs(1);

/// A scrub in progress. Dropping it ends it.
pub(crate) struct Scrub {
    shared: Arc<Shared>,
    interrupt: InterruptHandle,
    thread: Option<JoinHandle<()>>,
}

/// What was found wrong.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) code: ReasonCode,
    pub(crate) what: String,
}

struct Shared {
    stop: AtomicBool,
    /// The head that the next pass reads up to.
    target: Mutex<VerifiedCheckpoint>,
    checked: AtomicU64,
    of: AtomicU64,
    passes: AtomicU64,
    found: OnceLock<Found>,
    means: Means,
}

/// A pass ended before its end, because the ledger is closed.
struct Stopped;

impl Scrub {
    /// Begins, under the newest signed head.
    pub(crate) fn start(
        database: &Path,
        head: &VerifiedCheckpoint,
        means: Means,
    ) -> Result<Self, LedgerError> {
        let connection = Store::read_only(database)?;
        let interrupt = connection.get_interrupt_handle();
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            target: Mutex::new(head.clone()),
            checked: AtomicU64::new(0),
            of: AtomicU64::new(head.size()),
            passes: AtomicU64::new(0),
            found: OnceLock::new(),
            means,
        });
        let seen = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("scrub".into())
            .spawn(move || seen.run(&connection))
            .map_err(LedgerError::file("starting the scrub"))?;
        Ok(Self { shared, interrupt, thread: Some(thread) })
    }

    /// Tells it how far the log is signed.
    pub(crate) fn advance(&self, head: &VerifiedCheckpoint) {
        self.shared.target().clone_from(head);
    }

    /// What it found wrong, if anything.
    pub(crate) fn found(&self) -> Option<&Found> {
        self.shared.found.get()
    }

    pub(crate) fn status(&self) -> ScrubStatus {
        ScrubStatus {
            checked: self.shared.checked.load(Ordering::Relaxed),
            of: self.shared.of.load(Ordering::Relaxed),
            passes: self.shared.passes.load(Ordering::Relaxed),
            found: self.found().map(|found| found.what.clone()),
        }
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.interrupt.interrupt();
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl Shared {
    fn target(&self) -> std::sync::MutexGuard<'_, VerifiedCheckpoint> {
        // One assignment cannot leave it half done.
        self.target.lock().unwrap_or_else(PoisonError::into_inner) // tidy: allow whoever panicked left a signed head
    }

    fn run(&self, connection: &Connection) {
        loop {
            match self.pass(connection) {
                Ok(Ok(())) => {
                    self.passes.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Err(Stopped)) => return,
                Err(error) => {
                    let found = Found { code: error.code(), what: error.to_string() };
                    drop(self.found.set(found));
                    return;
                }
            }
            if self.rest(EVERY).is_err() {
                return;
            }
        }
    }

    /// Reads everything under the newest signed head.
    fn pass(&self, connection: &Connection) -> Result<Result<(), Stopped>, LedgerError> {
        let head = self.target().clone();
        self.checked.store(0, Ordering::Relaxed);
        self.of.store(head.size(), Ordering::Relaxed);
        let Ok(tree) = self.slice(connection, || edge::under(connection, &head))? else {
            return Ok(Err(Stopped));
        };
        let mut audit = Audit::new(connection, &tree, What::Everything);
        for first in (0..head.size().div_ceil(TILE)).step_by(4) {
            match self.slice(connection, || audit.tiles(first, SLICE))? {
                Ok(records) => drop(self.checked.fetch_add(records, Ordering::Relaxed)),
                Err(Stopped) => return Ok(Err(Stopped)),
            }
        }
        let mut held = Counted::default();
        for part in 0..COUNTING_PARTS {
            match self.slice(connection, || audit::count(connection, part, head.size()))? {
                Ok(counted) => held.add(&counted),
                Err(Stopped) => return Ok(Err(Stopped)),
            }
        }
        if self.slice(connection, || standing::audit(connection, &tree))?.is_err() {
            return Ok(Err(Stopped));
        }
        let (counted, turns) = (audit.counted, audit.turns);
        turns.follow()?;
        if self.beside(connection, (&turns.named, &turns.erasures), head.size())?.is_err() {
            return Ok(Err(Stopped));
        }
        self.slice(connection, || audit::compare_counts(connection, head.size(), &counted, &held))
    }

    /// Reads what is kept beside the records.
    fn beside(
        &self,
        connection: &Connection,
        (named, erasures): (&BTreeSet<BundleDigest>, &Erasures),
        size: u64,
    ) -> Result<Result<(), Stopped>, LedgerError> {
        for digest in named {
            let digest_of = &*self.means.bundle_digest;
            if self.slice(connection, || archive_audit::bundle(connection, digest, digest_of))?.is_err() {
                return Ok(Err(Stopped));
            }
        }
        let mut last = None;
        loop {
            match self.slice(connection, || archive_audit::facts_after(connection, last.as_ref()))? {
                Ok(Some(next)) => last = Some(next),
                Ok(None) => break,
                Err(Stopped) => return Ok(Err(Stopped)),
            }
        }
        let mut first = 0;
        while first < size {
            let range = first..first.saturating_add(PAYLOADS).min(size);
            first = range.end;
            if self.slice(connection, || self.means.payloads(connection, erasures, range.clone()))?.is_err() {
                return Ok(Err(Stopped));
            }
        }
        if self.slice(connection, || self.means.payloads_behind(connection, erasures, size))?.is_err() {
            return Ok(Err(Stopped));
        }
        if self.slice(connection, || erasures.audit(connection))?.is_err() {
            return Ok(Err(Stopped));
        }
        self.slice(connection, || archive_audit::fact_uses(connection))
    }

    /// Does a piece of work on one snapshot, then rests as long as it took. What could not be read is tried again:
    /// that a disk is slow or a file is busy is no finding.
    fn slice<T>(
        &self,
        connection: &Connection,
        mut work: impl FnMut() -> Result<T, LedgerError>,
    ) -> Result<Result<T, Stopped>, LedgerError> {
        let mut tries = 0;
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Ok(Err(Stopped));
            }
            let attempt = Attempt::begin();
            let done = snapshot(connection, &mut work);
            let (rest, done) = match done {
                Ok(done) => (attempt.took(), Some(done)),
                // Whoever closes the ledger interrupts what is being read.
                Err(_) if self.stop.load(Ordering::Acquire) => return Ok(Err(Stopped)),
                Err(LedgerError::Database(_)) if tries < TRIES => (AGAIN, None),
                Err(error) => return Err(error),
            };
            tries = tries.saturating_add(1);
            match (self.rest(rest), done) {
                (Ok(()), Some(done)) => return Ok(Ok(done)),
                (Ok(()), None) => {}
                (Err(stopped), _) => return Ok(Err(stopped)),
            }
        }
    }

    /// Rests, unless the scrub ends.
    fn rest(&self, rest: Duration) -> Result<(), Stopped> {
        let begun = Attempt::begin();
        loop {
            if self.stop.load(Ordering::Acquire) {
                return Err(Stopped);
            }
            let left = rest.saturating_sub(begun.took());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::park_timeout(left);
        }
    }
}

fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let transaction = connection.unchecked_transaction()?;
    let done = work()?;
    transaction.finish()?;
    Ok(done)
}
