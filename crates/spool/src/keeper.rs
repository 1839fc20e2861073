//! A spool on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::{Attempted, Spooled};

use crate::file::{Bounds, Entries, SpoolError, SpoolFile, locked};
use crate::set_aside;

/// Jobs that may wait for the spool's thread.
const WAITING: usize = 4;
/// How often a spool that cannot be opened is tried again when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// How a spool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Entries that are still to be entered into the log.
    pub waiting: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Entries that were entered since it was opened.
    pub entered: u64,
    /// Bytes that could not be read and were set aside, and are not on record yet.
    pub unreadable: u64,
    /// Why it keeps nothing now, if it does not.
    pub failing: Option<String>,
}

/// What the thread and whoever uses the spool both see.
#[derive(Debug, Default)]
struct Shared {
    entries: Entries,
    bytes: AtomicU64,
    entered: AtomicU64,
    /// What of the open spool could not be read and is not on record yet.
    damage: Mutex<Option<Damage>>,
    /// Spools whose damage is on record, and whose damaged files are still called as if it were not.
    reported: Mutex<Vec<PathBuf>>,
    /// Whether the disk has been waited for in vain, and has not answered since.
    hangs: AtomicBool,
    failing: Mutex<Option<String>>,
}

/// What could not be read of a spool, and was set aside beside it.
#[derive(Debug)]
struct Damage {
    /// The spool's file.
    spool: PathBuf,
    bytes: u64,
}

impl Shared {
    fn damage(&self) -> MutexGuard<'_, Option<Damage>> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reported(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreadable(&self) -> Option<u64> {
        self.damage().as_ref().map(|damage| damage.bytes)
    }

    fn fails(&self, why: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

enum Job {
    /// To be kept; the answer is how many of the first are.
    Keep(Vec<Attempted>, SyncSender<usize>),
    /// Some were entered.
    Entered,
    /// What was set aside is on record.
    Reported,
}

/// A spool. Opened by its own thread, and again whenever that failed.
#[derive(Debug)]
pub struct Spool {
    jobs: Option<SyncSender<Job>>,
    shared: Arc<Shared>,
    deadline: Duration,
    ended: Mutex<Receiver<()>>,
}

impl Spool {
    /// A spool at `path`, whose directory must be there, outside of whatever may be the reason that it is needed.
    /// Nobody is held up by it for longer than `deadline`.
    ///
    /// # Errors
    /// If the system gives no thread. A spool that cannot be opened is no error here: it keeps nothing.
    pub fn start(path: &Path, bounds: Bounds, deadline: Duration) -> std::io::Result<Self> {
        Self::start_one_of(vec![path.to_owned()], bounds, deadline)
    }

    /// The same at the first of several paths that no other process holds, one with entries before others. Once its own
    /// entries are taken out, it takes over what those who are gone have left at the other paths.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start_one_of(paths: Vec<PathBuf>, bounds: Bounds, deadline: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (jobs, queue) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let attendant =
            Attendant { paths, path: PathBuf::new(), bounds, shared: Arc::clone(&shared), open: None };
        std::thread::Builder::new().name("spool".into()).spawn(move || {
            attendant.run(&queue);
            drop(end);
        })?;
        Ok(Self { jobs: Some(jobs), shared, deadline, ended: Mutex::new(ended) })
    }

    /// Keeps attempts. Returns how many of the first are durable now; of the others nothing is known to be kept. Waits
    /// no longer than the deadline.
    #[must_use]
    pub fn keep(&self, attempts: Vec<Attempted>) -> usize {
        if attempts.is_empty() || self.shared.hangs.load(Ordering::Acquire) {
            return 0;
        }
        let (reply, answer) = sync_channel(1);
        let given = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(Job::Keep(attempts, reply)).is_ok());
        if !given {
            return 0;
        }
        match answer.recv_timeout(self.deadline) {
            Ok(kept) => kept,
            Err(RecvTimeoutError::Timeout) => {
                // Until it answers nobody waits for it again.
                self.shared.hangs.store(true, Ordering::Release);
                self.shared.fails(Some("it does not answer in time".into()));
                0
            }
            Err(RecvTimeoutError::Disconnected) => 0,
        }
    }

    /// The oldest entries that are still to be entered, at most so many. Never waits.
    #[must_use]
    pub fn oldest(&self, most: usize) -> Vec<Spooled> {
        locked(&self.shared.entries).iter().take(most).cloned().collect()
    }

    /// Takes out the oldest entries, so many: they are where they belong, and stay there. Never waits: until the file
    /// follows, a restart brings them up once more.
    pub fn entered(&self, count: usize) {
        let taken = {
            let mut entries = locked(&self.shared.entries);
            let count = count.min(entries.len());
            entries.drain(..count).count()
        };
        let taken = u64::try_from(taken).map_or(u64::MAX, |taken| taken);
        self.shared.entered.fetch_add(taken, Ordering::Relaxed);
        self.tell(Job::Entered);
    }

    /// Bytes that could not be read and were set aside, and that are not on record yet; `None` if there are none.
    #[must_use]
    pub fn unreadable(&self) -> Option<u64> {
        self.shared.unreadable()
    }

    /// They are on record now: those of the spool that [`Self::unreadable`] spoke of, for it goes over to no other before.
    pub fn reported(&self) {
        let Some(damage) = self.shared.damage().take() else { return };
        self.shared.reported().push(damage.spool);
        self.tell(Job::Reported);
    }

    /// How it is. Never waits.
    #[must_use]
    pub fn status(&self) -> SpoolStatus {
        let waiting = locked(&self.shared.entries).len();
        SpoolStatus {
            waiting: u64::try_from(waiting).map_or(u64::MAX, |waiting| waiting),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            entered: self.shared.entered.load(Ordering::Relaxed),
            unreadable: self.shared.unreadable().map_or(0, |bytes| bytes),
            failing: self.shared.failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// What does not find a place in the queue is done at the next tick.
    fn tell(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            drop(jobs.try_send(job));
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // The next one may want the same file. A disk that hangs is not waited for.
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(self.deadline) == Err(RecvTimeoutError::Timeout) {
            self.shared.fails(Some("it did not end in time".into()));
        }
    }
}

/// What the spool's thread owns.
struct Attendant {
    /// Where it may be.
    paths: Vec<PathBuf>,
    /// Where it is, once it is open.
    path: PathBuf,
    bounds: Bounds,
    shared: Arc<Shared>,
    open: Option<SpoolFile>,
}

impl Attendant {
    fn run(mut self, queue: &Receiver<Job>) {
        self.open();
        loop {
            let ended = match queue.recv_timeout(TICK) {
                Ok(job) => {
                    self.attend(job);
                    false
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.open();
                    self.take_over();
                    false
                }
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.rename_reported();
            self.trim();
            self.shared.hangs.store(false, Ordering::Release);
            if ended {
                return;
            }
        }
    }

    fn attend(&mut self, job: Job) {
        match job {
            Job::Keep(attempts, reply) => {
                let kept = self.keep(attempts);
                if reply.send(kept).is_err() {
                    // Who asked did not wait, and was told that nothing is kept. What is kept all the same does no harm.
                    self.shared.fails(None);
                }
            }
            Job::Entered | Job::Reported => {}
        }
    }

    /// Has the damaged files of spools whose damage is on record called so.
    fn rename_reported(&self) {
        let spools = std::mem::take(&mut *self.shared.reported());
        spools.iter().for_each(|spool| set_aside::reported(spool));
    }

    /// Looks for what of the open spool is not on record yet.
    fn examine(&self) {
        let bytes = set_aside::unreported(&self.path);
        let damage = (bytes > 0).then(|| Damage { spool: self.path.clone(), bytes });
        *self.shared.damage() = damage;
    }

    fn open(&mut self) {
        if self.open.is_some() {
            return;
        }
        let opened = self.first(&self.paths);
        self.open = self.noted(opened).map(|(path, file)| {
            self.path = path;
            file
        });
        if self.open.is_some() {
            self.examine();
        }
        self.measure();
    }

    /// Opens the first of these that nobody holds, one with entries before others.
    fn first(&self, paths: &[PathBuf]) -> Result<(PathBuf, SpoolFile), SpoolError> {
        let (left, others): (Vec<&PathBuf>, Vec<_>) = paths.iter().partition(|path| has_entries(path));
        for path in left.into_iter().chain(others) {
            match SpoolFile::open(path, self.bounds, &self.shared.entries) {
                Err(SpoolError::Held) => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok((path.clone(), file)),
            }
        }
        Err(SpoolError::Held)
    }

    /// Goes over to what somebody who is gone has left, once nothing of its own is left to be entered or to be put on record.
    fn take_over(&mut self) {
        let done = self.open.as_ref().is_some_and(|open| open.bytes() == 0);
        if !done || !locked(&self.shared.entries).is_empty() || self.shared.unreadable().is_some() {
            return;
        }
        let left = |path: &&PathBuf| **path != self.path && has_entries(path);
        let left: Vec<_> = self.paths.iter().filter(left).cloned().collect();
        if let (false, Ok((path, file))) = (left.is_empty(), self.first(&left)) {
            (self.path, self.open) = (path, Some(file));
            self.examine();
            self.measure();
        }
    }

    fn keep(&mut self, attempts: Vec<Attempted>) -> usize {
        self.open();
        let Some(open) = &mut self.open else { return 0 };
        let added = open.add(attempts);
        let added = self.noted(added);
        self.measure();
        added.map_or(0, |added| added)
    }

    fn trim(&mut self) {
        let Some(open) = &mut self.open else { return };
        if let Err(error) = open.trim() {
            self.shared.fails(Some(error.to_string()));
        }
        self.measure();
    }

    fn noted<T>(&self, result: Result<T, SpoolError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.shared.fails(None);
                Some(value)
            }
            Err(error) => {
                self.shared.fails(Some(error.to_string()));
                None
            }
        }
    }

    fn measure(&self) {
        let bytes = self.open.as_ref().map_or(0, SpoolFile::bytes);
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }
}

fn has_entries(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.len() > 0)
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
