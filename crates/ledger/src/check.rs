//! Checking a whole ledger beside its writer, on every processor.
//!
//! The tree under the anchored head is rebuilt from the stored tiles and compared with the head. From then on each range
//! of records is checked by itself: its records against the tiles, the tiles against that tree, the state against the
//! records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_protocol::{BundleDigest, Event, Record};
use portcullis_verify::{Hash, LogKeys, TileTree, UnverifiedCheckpoint, VerifiedCheckpoint, tree};
use rusqlite::Connection;

use crate::anchor::Anchor;
use crate::audit::{self, Audit, COUNTING_PARTS, What};
use crate::clock::Attempt;
use crate::edge::{self, TILE};
use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::generation::Generations;
use crate::keys::{self, Chains};
use crate::payloads;
use crate::projection::{Counted, KEYS};
use crate::standing;
use crate::store::Store;
use crate::sums::SumKey;
use crate::sweep::{self, Lists, Sweep};
use crate::turns::Turns;
use crate::vault::VaultError;

mod beside;

pub use beside::CheckBeside;

/// Tiles that a thread takes at once.
const RANGE: u64 = 64;

/// How far a check is: all before these indexes was checked under a head of this size and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPosition {
    /// Records that the head covered.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// Records whose hashes were checked.
    pub log: u64,
    /// Records whose state was compared.
    pub state: u64,
    /// Rows of attempts and of keys that those records speak of.
    pub rows: (u64, u64),
}

/// What a check came to.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The head that everything was checked under.
    pub head: VerifiedCheckpoint,
    /// Where it went on, if it did not begin with the first record.
    pub resumed: Option<CheckPosition>,
    /// How long hashing took, and of how many records.
    pub log: (Duration, u64),
    /// How long comparing the state took, and with how many records.
    pub state: (Duration, u64),
    /// How many kept requests and results were opened; `None` without the vault's master key.
    pub payloads: Option<u64>,
    /// `None` if it was done; else how far it came before it was stopped.
    pub stopped: Option<CheckPosition>,
}

impl Checked {
    /// Whether this check read everything itself. What an earlier one had read may have been changed since, and where that
    /// one stopped nobody signed.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.stopped.is_none() && self.resumed.is_none_or(|from| from.log == 0 && from.state == 0)
    }
}

/// A ledger to be checked.
#[derive(Debug)]
pub struct Check {
    database: PathBuf,
    connection: Connection,
    head: VerifiedCheckpoint,
    tree: TileTree,
    beside: CheckBeside,
}

/// What is told of a check under way: what is being done, how many records are done, of how many.
pub type CheckProgress<'a> = dyn Fn(&'static str, u64, u64) + Sync + 'a;

impl Check {
    /// Opens the ledger of a data directory under its anchored head.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read, the tiles at its edge do not hash to the anchored head, or the master key is
    /// not its own.
    pub fn open(
        directory: &Path,
        anchor: &Path,
        keys: impl Into<LogKeys>,
        beside: CheckBeside,
    ) -> Result<Self, LedgerError> {
        let note = Anchor::read(anchor).map_err(LedgerError::Anchor)?;
        let note =
            note.ok_or_else(|| LedgerError::BehindAnchor("the anchor is empty or was replaced".into()))?;
        let head = UnverifiedCheckpoint::parse(&note)?.verify_with(&keys.into())?;
        let current = Generations::of(directory).current()?;
        let current = current.ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        let connection = Store::read_only(&current.database)?;
        let tree = edge::under(&connection, &head)?;
        let named = payloads::master(&connection)?;
        let unused = named.is_none() && !payloads::any_subject(&connection)?;
        if let Some(master) = &beside.master
            && !unused
            && named != Some(master.id())
        {
            return Err(VaultError::WrongKey.into());
        }
        Ok(Self { database: current.database, connection, head, tree, beside })
    }

    /// Checks that an older checkpoint of this log covers the same records.
    ///
    /// # Errors
    /// [`LedgerError::BehindAnchor`] if it does not, or covers more.
    pub fn since(&self, old: &VerifiedCheckpoint) -> Result<(), LedgerError> {
        if old.size() > self.head.size() {
            let (old, new) = (old.size(), self.head.size());
            return Err(LedgerError::BehindAnchor(format!(
                "the older checkpoint covers {old} records, the anchored head {new}: the log was rolled back"
            )));
        }
        edge::extends(&self.connection, &self.tree, old)
    }

    /// Checks everything, from where an earlier check of the same records stopped if there is one, until `stop`.
    ///
    /// # Errors
    /// [`LedgerError`] names the first record, tile or row that is not what it must be.
    pub fn run(
        &self,
        earlier: Option<CheckPosition>,
        stop: &AtomicBool,
        progress: &CheckProgress<'_>,
    ) -> Result<Checked, LedgerError> {
        let resumed = earlier.filter(|position| self.is_of_this_log(position));
        let (log, state) = resumed.map_or((0, 0), |position| (position.log, position.state));
        let began = Attempt::begin();
        let hashed = self.ranges(What::Log, log, stop, &|done, of| progress("hashing records", done, of))?;
        let named = match hashed.until == self.head.size() {
            true => self.turns(log, hashed.turns, stop)?,
            false => None,
        };
        let hashing = began.took();
        let began = Attempt::begin();
        let comparing = |done, of| progress("comparing state", done, of);
        let swept = if state == 0 { self.sweep(stop, &comparing)? } else { Swept::Differs };
        let (compared, counted) = match swept {
            Swept::Agrees => (Done { until: self.head.size(), ..Done::default() }, None),
            Swept::Stopped => (Done::default(), None),
            // Where it differs, record by record.
            Swept::Differs => {
                let compared = self.ranges(What::State, state, stop, &comparing)?;
                let mut counted = compared.counted;
                if let Some(CheckPosition { rows: (attempts, keys), .. }) = resumed {
                    counted.add(&Counted { permits: 0, attempts, keys });
                }
                (compared, Some(counted))
            }
        };
        let compared_all = compared.until == self.head.size();
        let state = (began.took(), compared.until.saturating_sub(state));
        let kept = match named.filter(|_| compared_all) {
            Some(named) => {
                self.totals(counted.as_ref())?;
                self.kept(&named, stop, progress)?
            }
            None => None,
        };
        let counted = counted.map_or(Counted::default(), |counted| counted);
        let stopped = CheckPosition {
            size: self.head.size(),
            root: self.head.root(),
            log: hashed.until,
            state: compared.until,
            rows: (counted.attempts, counted.keys),
        };
        Ok(Checked {
            head: self.head.clone(),
            resumed,
            log: (hashing, hashed.until.saturating_sub(log)),
            state,
            payloads: kept.filter(|_| self.beside.master.is_some()),
            stopped: kept.is_none().then_some(stopped),
        })
    }

    /// Whether the records that an earlier check was about are the first of these.
    fn is_of_this_log(&self, position: &CheckPosition) -> bool {
        position.size <= self.head.size()
            && position.log <= position.size
            && position.state <= position.size
            && tree::root(position.size, &edge::reader(&self.connection, &self.tree))
                .is_ok_and(|root| root == position.root)
    }

    /// Checks ranges on all processors.
    fn ranges(
        &self,
        what: What,
        from: u64,
        stop: &AtomicBool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Done, LedgerError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let work = Work::new(from / TILE, self.head.size().div_ceil(TILE));
        let (database, tree) = (self.database.as_path(), &self.tree);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    if let Err(error) = take_ranges(database, tree, what, &work, stop, progress) {
                        work.fail(u64::MAX, error);
                    }
                });
            }
        });
        let begun = work.begun.into_inner().unwrap_or_else(PoisonError::into_inner); // tidy: allow each step leaves it whole
        let failed = work.failed.into_inner().unwrap_or_else(PoisonError::into_inner); // tidy: allow one assignment
        if let Some((_, error)) = failed {
            return Err(error);
        }
        let next = begun.under_way.first().map_or(begun.next, |first| *first);
        let mut done = Done { until: next.saturating_mul(TILE).min(self.head.size()), ..Done::default() };
        for (_, (counted, turns)) in begun.ended.into_iter().take_while(|(first, _)| *first < next) {
            done.counted.add(&counted);
            done.turns.join(turns);
        }
        Ok(done)
    }

    /// Follows from the first record on which bundles were in force. `behind` is what the records from index `log` on
    /// say, which were hashed just now. Returns the bundles that records name, and the orders to destroy agents' keys; `None` if
    /// it was stopped.
    fn turns(
        &self,
        log: u64,
        behind: Turns,
        stop: &AtomicBool,
    ) -> Result<Option<(BTreeSet<BundleDigest>, Erasures)>, LedgerError> {
        let turns = if log == 0 {
            behind
        } else {
            let read = self.ranges(What::Turns, 0, stop, &|_, _| ())?;
            if read.until < self.head.size() {
                return Ok(None);
            }
            read.turns
        };
        turns.follow()?;
        Ok(Some((turns.named, turns.erasures)))
    }

    /// Compares the state with the records on all processors, each table read once.
    fn sweep(&self, stop: &AtomicBool, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<Swept, LedgerError> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (database, size) = (self.database.as_path(), self.head.size());
        let (key, work) = (SumKey::default(), Sweeping::default());
        let results = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|_| scope.spawn(|| work.take(database, &key, size, stop, progress)))
                .collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let (mut said, mut held) = (Lists::default(), Lists::default());
        for result in results {
            match result {
                Ok(Ok((part_said, part_held))) => {
                    said.join(&part_said);
                    held.join(&part_held);
                }
                Ok(Err(LedgerError::Corrupt(_))) => return Ok(Swept::Differs),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(LedgerError::Corrupt("a thread of the check panicked".into())),
            }
        }
        Ok(match said == held {
            _ if stop.load(Ordering::Relaxed) => Swept::Stopped,
            true => Swept::Agrees,
            false => Swept::Differs,
        })
    }

    /// Compares how many rows there are, unless that is known to agree, the number of tiles, and the newest mark.
    fn totals(&self, spoken: Option<&Counted>) -> Result<(), LedgerError> {
        let size = self.head.size();
        let snapshot = self.connection.unchecked_transaction()?;
        let mut held = Counted::default();
        for part in (0..COUNTING_PARTS).filter(|_| spoken.is_some()) {
            held.add(&audit::count(&snapshot, part, size)?);
        }
        audit::compare_counts(&snapshot, size, spoken.map_or(&held, |spoken| spoken), &held)?;
        self.mark(&snapshot)?;
        snapshot.finish()?;
        Ok(())
    }

    /// Recomputes the heads of the keys' chains as of the newest mark, and compares them with what it says.
    fn mark(&self, connection: &Connection) -> Result<(), LedgerError> {
        let Some(mark) = keys::newest_mark(connection, self.head.size())? else { return Ok(()) };
        let said = match edge::proved(connection, &self.tree, mark.seq)? {
            Record::Event(record) if record.event == Event::Marked => record.detail.get(KEYS).cloned(),
            Record::Event(_)
            | Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Late(_) => None,
        };
        let computed = Chains::of_entries(connection, mark.seq)?.digest().to_string();
        let stored = Chains::load(connection, mark.slot)?.digest().to_string();
        standing::audit(connection, &self.tree)?;
        if said.as_ref() == Some(&computed) && stored == computed {
            return Ok(());
        }
        Err(LedgerError::Corrupt(format!("the keys are not those of the mark in record {}", mark.seq)))
    }
}

fn take_ranges(
    database: &Path,
    tree: &TileTree,
    what: What,
    work: &Work,
    stop: &AtomicBool,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<(), LedgerError> {
    let connection = Store::read_only(database)?;
    let mut audit = Audit::new(&connection, tree, what);
    while !stop.load(Ordering::Relaxed)
        && let Some(first) = work.begin()
    {
        let snapshot = connection.unchecked_transaction()?;
        let tiles = RANGE.min(work.end.saturating_sub(first));
        match audit.tiles(first, tiles) {
            Ok(records) => {
                snapshot.finish()?;
                let done = work.done.fetch_add(records, Ordering::Relaxed).saturating_add(records);
                progress(done.min(tree.size()), tree.size());
                work.end(first, (std::mem::take(&mut audit.counted), std::mem::take(&mut audit.turns)));
            }
            Err(error) => {
                work.fail(first, error);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// What sweeping the state came to.
enum Swept {
    /// It is what the records say.
    Agrees,
    /// It is not, or it was not told apart.
    Differs,
    /// It was stopped before that could be told.
    Stopped,
}

/// What there is to be swept, taken in order.
#[derive(Default)]
struct Sweeping {
    tiles: AtomicU64,
    parts: AtomicU16,
    done: AtomicU64,
    failed: AtomicBool,
}

impl Sweeping {
    fn take(
        &self,
        database: &Path,
        key: &SumKey,
        size: u64,
        stop: &AtomicBool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<(Lists, Lists), LedgerError> {
        let connection = Store::read_only(database)?;
        let mut sweep = Sweep::new(&connection, key, size);
        let mut swept = || -> Result<(), LedgerError> {
            let goes_on = || !stop.load(Ordering::Relaxed) && !self.failed.load(Ordering::Relaxed);
            while goes_on()
                && let first = self.tiles.fetch_add(RANGE, Ordering::Relaxed)
                && first < size.div_ceil(TILE)
            {
                let snapshot = connection.unchecked_transaction()?;
                let records = sweep.tiles(first, RANGE)?;
                snapshot.finish()?;
                progress(self.done.fetch_add(records, Ordering::Relaxed).saturating_add(records), size);
            }
            while goes_on()
                && let part = self.parts.fetch_add(1, Ordering::Relaxed)
                && part < sweep::PARTS
            {
                let snapshot = connection.unchecked_transaction()?;
                sweep.part(part)?;
                snapshot.finish()?;
            }
            Ok(())
        };
        match swept() {
            Ok(()) => Ok((sweep.said, sweep.held)),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }
}

/// What ranges came to.
#[derive(Default)]
struct Done {
    /// All before this index was checked.
    until: u64,
    counted: Counted,
    turns: Turns,
}

/// Ranges that threads take in order.
struct Work {
    end: u64,
    begun: Mutex<Begun>,
    done: AtomicU64,
    /// The failure of the first range that failed.
    failed: Mutex<Option<(u64, LedgerError)>>,
}

struct Begun {
    next: u64,
    under_way: BTreeSet<u64>,
    ended: BTreeMap<u64, (Counted, Turns)>,
    failed: bool,
}

impl Work {
    fn new(next: u64, end: u64) -> Self {
        let begun = Begun { next, under_way: BTreeSet::new(), ended: BTreeMap::new(), failed: false };
        let done = AtomicU64::new(next.saturating_mul(TILE));
        Self { end, begun: Mutex::new(begun), done, failed: Mutex::new(None) }
    }

    fn begun(&self) -> std::sync::MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner) // tidy: allow each step leaves it whole
    }

    /// The next range, unless there is none or one has failed: those before it are under way already.
    fn begin(&self) -> Option<u64> {
        let mut begun = self.begun();
        if begun.failed || begun.next >= self.end {
            return None;
        }
        let first = begun.next;
        begun.next = first.saturating_add(RANGE).min(self.end);
        begun.under_way.insert(first);
        Some(first)
    }

    fn end(&self, first: u64, found: (Counted, Turns)) {
        let mut begun = self.begun();
        begun.under_way.remove(&first);
        begun.ended.insert(first, found);
    }

    fn fail(&self, first: u64, error: LedgerError) {
        self.begun().failed = true;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner); // tidy: allow one assignment
        if failed.as_ref().is_none_or(|(earliest, _)| first < *earliest) {
            *failed = Some((first, error));
        }
    }
}
