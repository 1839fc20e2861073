//! How much of everything there is, and how it is shared among agents.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::kept::History;

/// Longest header of a request, in bytes, and how many fields it may have.
pub(super) const HEADER: usize = 16 * 1024;
pub(super) const HEADER_FIELDS: usize = 64;

/// Bounds on what clients can use up. [`Bounds::USUAL`], unless there is a reason.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; more are dropped.
    pub connections: usize,
    /// Requests and streams of one agent at once.
    pub calls: usize,
    /// Conversations at once, each with a tool server of its own.
    pub sessions: usize,
    /// The same of one agent.
    pub sessions_each: usize,
    /// Bytes of bodies that are being read, at once.
    pub bodies: usize,
    /// The same of one agent.
    pub bodies_each: usize,
    /// Bytes of requests without an answer, and of what waits for clients to read it, or to ask for it again, at once.
    pub held: usize,
    /// The same of one agent.
    pub held_each: usize,
    /// Bytes of what a conversation's client says that wait for the tool server to read them; and as many of what it is not answered, and
    /// that is being decided. A message that is longer than that waits alone.
    pub unsent: usize,
    /// Messages that wait on one stream.
    pub waiting: usize,
    /// How long a request's header may take to arrive, and TLS to be spoken.
    pub header: Duration,
    /// How long its body may take.
    pub body: Duration,
    /// How long a client may take to read something, and how long a question of the server's waits for one.
    pub reading: Duration,
    /// After how long without a word a stream says that it is still there, and an answer that is waited for becomes one.
    pub quiet: Duration,
    /// How long a conversation outlives the last that was heard of its client.
    pub idle: Duration,
    /// How long it is gone by what the arbiter said of a token.
    pub known: Duration,
    /// How often the arbiter is asked again while a stream is open.
    pub checked: Duration,
}

impl Bounds {
    /// What suits a few dozen agents.
    pub const USUAL: Self = Self {
        connections: 512,
        calls: 64,
        sessions: 64,
        sessions_each: 16,
        bodies: 64 * 1024 * 1024,
        bodies_each: 16 * 1024 * 1024,
        held: 256 * 1024 * 1024,
        held_each: 64 * 1024 * 1024,
        unsent: 4 * 1024 * 1024,
        waiting: 256,
        header: Duration::from_secs(5),
        body: Duration::from_secs(10),
        reading: Duration::from_secs(30),
        quiet: Duration::from_secs(10),
        idle: Duration::from_secs(30 * 60),
        known: Duration::from_secs(5),
        checked: Duration::from_secs(30),
    };
}

/// Bytes of which only so many are to be had.
#[derive(Debug)]
pub(super) struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.most);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// A part of a budget; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Part {
    bytes: usize,
    of: Arc<Budget>,
}

impl Part {
    /// So many bytes, if they are to be had.
    pub(super) fn take(of: &Arc<Budget>, bytes: usize) -> Option<Self> {
        of.take(bytes).then(|| Self { bytes, of: Arc::clone(of) })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.give_back(self.bytes);
    }
}

/// Bytes that agents hold: of what they asked, of what waits for them, and of what is kept to be said again.
///
/// Each agent has a little for itself alone. What it takes beyond that is of what all share, and it never has more of that
/// than it leaves to others: however many hold what they can get, there is something left for one more.
#[derive(Debug)]
pub(super) struct Pool {
    each: usize,
    least: usize,
    common: usize,
    taken: Mutex<usize>,
    shares: Mutex<Vec<Weak<Share>>>,
}

/// Whose room is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    Own,
    Common,
}

impl Pool {
    pub(super) fn new(bounds: &Bounds) -> Arc<Self> {
        let alone = bounds.held.checked_div(4).unwrap_or(0);
        Arc::new(Self {
            each: bounds.held_each,
            least: alone.checked_div(bounds.sessions).unwrap_or(0),
            common: bounds.held.saturating_sub(alone),
            taken: Mutex::default(),
            shares: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What of so much is of what all share.
    const fn shared(&self, used: usize) -> usize {
        used.saturating_sub(self.least)
    }

    fn take(&self, used: &AtomicUsize, bytes: usize) -> Result<(), Short> {
        let mut taken = self.taken();
        let before = used.load(Ordering::Acquire);
        let after = before.checked_add(bytes).filter(|after| *after <= self.each).ok_or(Short::Own)?;
        let more = self.shared(after).saturating_sub(self.shared(before));
        let all = taken.saturating_add(more);
        let left = self.common.checked_sub(all).ok_or(Short::Common)?;
        if more > 0 && self.shared(after) > left {
            return Err(Short::Common);
        }
        *taken = all;
        used.store(after, Ordering::Release);
        Ok(())
    }

    fn give_back(&self, used: &AtomicUsize, bytes: usize) {
        let mut taken = self.taken();
        let before = used.load(Ordering::Acquire);
        let after = before.saturating_sub(bytes);
        *taken = taken.saturating_sub(self.shared(before).saturating_sub(self.shared(after)));
        used.store(after, Ordering::Release);
    }

    /// Forgets something that was read, of the agent that holds most and has such. Whether there was any.
    fn forget(&self) -> bool {
        let mut shares: Vec<Arc<Share>> = {
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.retain(|share| share.strong_count() > 0);
            shares.iter().filter_map(Weak::upgrade).collect()
        };
        shares.sort_by_key(|share| std::cmp::Reverse(share.used.load(Ordering::Acquire)));
        shares.iter().any(|share| share.history.forget_read())
    }
}

/// Room that something takes; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    used: Arc<AtomicUsize>,
    pool: Arc<Pool>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.pool.give_back(&self.used, self.bytes);
    }
}

/// What one agent may use.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) calls: Arc<Semaphore>,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) bodies: Arc<Budget>,
    /// What may be forgotten when there is no room.
    pub(super) history: History,
    used: Arc<AtomicUsize>,
    pool: Arc<Pool>,
}

impl Share {
    pub(super) fn new(bounds: &Bounds, pool: &Arc<Pool>) -> Arc<Self> {
        let share = Arc::new(Self {
            calls: Arc::new(Semaphore::new(bounds.calls)),
            sessions: Arc::new(Semaphore::new(bounds.sessions_each)),
            bodies: Budget::new(bounds.bodies_each),
            history: History::default(),
            used: Arc::default(),
            pool: Arc::clone(pool),
        });
        pool.shares.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&share));
        share
    }

    /// Room for so much. What was read, and what may be lost, makes it where there is none: the agent's own, and where others
    /// have taken it, what was read of the one that holds most.
    pub(super) fn hold(&self, bytes: usize) -> Option<Room> {
        if !self.could_hold(bytes) {
            return None;
        }
        loop {
            match self.pool.take(&self.used, bytes) {
                Ok(()) => {
                    return Some(Room { bytes, used: Arc::clone(&self.used), pool: Arc::clone(&self.pool) });
                }
                Err(Short::Own) if self.history.forget_any() => {}
                Err(Short::Common) if self.history.forget_any() || self.pool.forget() => {}
                Err(Short::Own | Short::Common) => return None,
            }
        }
    }

    /// Whether there is room for so much if nothing else is held.
    pub(super) fn could_hold(&self, bytes: usize) -> bool {
        bytes <= self.pool.each
    }

    /// Whether nobody uses any of it.
    pub(super) fn is_unused(&self, bounds: &Bounds) -> bool {
        self.calls.available_permits() == bounds.calls
            && self.sessions.available_permits() == bounds.sessions_each
            && self.used.load(Ordering::Acquire) == 0
            && self.bodies.used.load(Ordering::Acquire) == 0
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
