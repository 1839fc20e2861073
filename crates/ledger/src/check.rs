//! Checking a whole ledger beside its writer, on every processor.
//!
//! The tree under the anchored head is rebuilt from the stored tiles and compared with the head. From then on each range
//! of records is checked by itself: its records against the tiles, the tiles against that tree, the state against the
//! records. A check that is stopped says how far it came with each, and goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use portcullis_protocol::{BundleDigest, Event, Record};
use portcullis_verify::{Hash, LogKeys, TileTree, VerifiedCheckpoint, tree};
use rusqlite::Connection;

use crate::anchored;
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
use crate::store::{self, Store};
use crate::sweep::SweepPosition;
use crate::turns::Turns;
use crate::vault::VaultError;

mod beside;
mod sweeping;

pub use beside::CheckBeside;
use sweeping::Swept;

/// Tiles that a thread takes at once.
const RANGE: u64 = 4;

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
    /// How far comparing all of the state came; `None` once it is done.
    pub sweep: Option<SweepPosition>,
    /// Records of which what is kept was compared, and how much of that was opened; `None` without the vault's master key.
    pub payloads: (u64, Option<u64>),
}

impl CheckPosition {
    /// Whether nothing was done yet. Whatever else such a position says was counted by nobody.
    fn is_beginning(&self) -> bool {
        (self.log, self.compared(), self.payloads.0) == (0, 0, 0)
    }

    /// Records whose PERMITs were compared with the state.
    #[must_use]
    pub fn compared(&self) -> u64 {
        self.sweep.map_or(self.state, |sweep| sweep.records())
    }
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
        self.stopped.is_none() && self.resumed.is_none()
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

/// Holds the head that the database has against its records, and against the anchored one, which was read before it.
fn stored_head(connection: &Connection, head: &VerifiedCheckpoint) -> Result<(), LedgerError> {
    let differs = || LedgerError::Corrupt("the head in the database is not that of its records".into());
    let (size, root, records) = store::head_beside_records(connection)?.ok_or_else(differs)?;
    let is_another = size == head.size() && root != head.root();
    if size != records || size < head.size() || is_another { Err(differs()) } else { Ok(()) }
}

/// What is told of a check under way: what is being done, how many records are done, of how many.
pub type CheckProgress<'a> = dyn Fn(&'static str, u64, u64) + Sync + 'a;

impl Check {
    /// Opens the ledger of a data directory under its anchored head.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read, the anchor is older than a head that lies with the ledger, the tiles at its edge do
    /// not hash to the anchored head, or the master key is not its own.
    pub fn open(
        directory: &Path,
        anchor: &Path,
        keys: impl Into<LogKeys>,
        beside: CheckBeside,
    ) -> Result<Self, LedgerError> {
        let current = Generations::of(directory).current()?;
        let current = current.ok_or_else(|| LedgerError::Corrupt("there is no ledger here yet".into()))?;
        let connection = Store::read_only(&current.database)?;
        let head = anchored::head(directory, anchor, &keys.into(), &connection)?;
        let tree = edge::under(&connection, &head)?;
        stored_head(&connection, &head)?;
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
        let size = self.head.size();
        let resumed = earlier.filter(|position| !position.is_beginning() && self.is_of_this_log(position));
        let from = match resumed {
            Some(position) => position,
            None => self.beginning(),
        };
        let began = Attempt::begin();
        let hashed =
            self.ranges(What::Log, from.log, stop, &|done, of| progress("hashing records", done, of))?;
        let named = match hashed.until == size {
            true => self.turns(from.log, hashed.turns, stop)?,
            false => None,
        };
        let hashing = began.took();
        let began = Attempt::begin();
        let compared = self.compare(&from, stop, &|done, of| progress("comparing state", done, of))?;
        let state = (began.took(), compared.read);
        let begin = self.payloads_from(&from);
        let kept = match named.filter(|_| compared.until == size) {
            Some(named) => {
                self.totals(compared.counted.as_ref().filter(|_| !compared.agrees))?;
                self.kept(&named, begin, stop, progress)?
            }
            None => Kept { done: false, payloads: begin },
        };
        let counted = compared.counted.map_or(Counted::default(), |counted| counted);
        let stopped = CheckPosition {
            size,
            root: self.head.root(),
            log: hashed.until,
            state: compared.until,
            rows: (counted.attempts, counted.keys),
            sweep: compared.sweep,
            payloads: kept.payloads,
        };
        Ok(Checked {
            head: self.head.clone(),
            resumed,
            log: (hashing, hashed.until.saturating_sub(from.log)),
            state,
            payloads: kept.payloads.1.filter(|_| kept.done),
            stopped: (!kept.done).then_some(stopped),
        })
    }

    /// Where a check begins that goes on from none.
    fn beginning(&self) -> CheckPosition {
        let (size, root) = (self.head.size(), self.head.root());
        CheckPosition { size, root, log: 0, state: 0, rows: (0, 0), sweep: None, payloads: (0, None) }
    }

    /// Where comparing what is kept goes on. What was compared without the vault's master key was not opened, and the reverse.
    fn payloads_from(&self, from: &CheckPosition) -> (u64, Option<u64>) {
        let opens = self.beside.master.is_some();
        let (until, opened) = from.payloads;
        if opened.is_some() == opens { (until, opened) } else { (0, opens.then_some(0)) }
    }

    /// Compares the state with the records: all of it in one sweep, from where an earlier one stopped; and record by record what
    /// came behind that, or where something differs.
    fn compare(
        &self,
        from: &CheckPosition,
        stop: &AtomicBool,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Compared, LedgerError> {
        let size = self.head.size();
        let (attempts, keys) = from.rows;
        let mut counted = Counted { permits: 0, attempts, keys };
        let (mut until, mut read, mut agrees) = (from.state, 0, from.state == size);
        if from.state == 0 {
            let begin = match from.sweep {
                Some(stopped) => stopped,
                None => SweepPosition::begin(size),
            };
            let (swept, end) = self.sweep(begin, stop, progress)?;
            read = end.records().saturating_sub(begin.records());
            match swept {
                Swept::Stopped => {
                    return Ok(Compared { until, counted: None, agrees, sweep: Some(end), read });
                }
                Swept::Agrees => {
                    (until, counted, agrees) = (end.size, end.said.counted, end.size == size);
                }
                // Where it differs, record by record.
                Swept::Differs => {}
            }
        }
        if until < size {
            let ranges = self.ranges(What::State, until, stop, progress)?;
            read = ranges.until.saturating_sub(until).saturating_add(read);
            counted.add(&ranges.counted);
            until = ranges.until;
        }
        Ok(Compared { until, counted: Some(counted), agrees, sweep: None, read })
    }

    /// Whether the records that an earlier check was about are the first of these.
    fn is_of_this_log(&self, position: &CheckPosition) -> bool {
        position.size <= self.head.size()
            && position.log <= position.size
            && position.state <= position.size
            && position.sweep.is_none_or(|sweep| sweep.size <= position.size)
            && position.payloads.0 <= position.size
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
        let work = Work::new(from, self.head.size());
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
        // A range that begins within a tile may not have begun.
        let until = next.saturating_mul(TILE).min(self.head.size()).max(from);
        let mut done = Done { until, ..Done::default() };
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
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
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
    let mut audit = match what {
        What::State => Audit::of_state_from(&connection, tree, work.from),
        What::Log | What::Everything | What::Turns => Audit::new(&connection, tree, what),
    };
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

/// What comparing the state came to.
struct Compared {
    /// All before this index was compared.
    until: u64,
    /// How many rows the records before that speak of; `None` if that is not known yet.
    counted: Option<Counted>,
    /// Whether there are as many is known too.
    agrees: bool,
    /// Where sweeping it was stopped.
    sweep: Option<SweepPosition>,
    /// Records that were read for it.
    read: u64,
}

/// What comparing and opening what is kept came to.
struct Kept {
    done: bool,
    /// As in [`CheckPosition`].
    payloads: (u64, Option<u64>),
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
    /// The first record.
    from: u64,
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
    /// From the record at `from` to before that at `size`, in whole tiles.
    fn new(from: u64, size: u64) -> Self {
        let end = size.div_ceil(TILE);
        let next = if from < size { from / TILE } else { end };
        let begun = Begun { next, under_way: BTreeSet::new(), ended: BTreeMap::new(), failed: false };
        let done = AtomicU64::new(next.saturating_mul(TILE));
        Self { from, end, begun: Mutex::new(begun), done, failed: Mutex::new(None) }
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
