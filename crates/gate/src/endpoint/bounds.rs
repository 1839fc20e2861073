//! How much of everything there is, and how it is shared among agents.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

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
    /// Bytes that wait for clients to read them, or to ask for them again, at once.
    pub held: usize,
    /// The same of one agent.
    pub held_each: usize,
    /// Messages that wait on one stream.
    pub waiting: usize,
    /// How long a request's header may take to arrive, and TLS to be spoken.
    pub header: Duration,
    /// How long its body may take.
    pub body: Duration,
    /// How long a client may take to read something.
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

/// What one agent may use.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) calls: Arc<Semaphore>,
    pub(super) sessions: Arc<Semaphore>,
    pub(super) bodies: Arc<Budget>,
    held: Arc<Budget>,
    all_held: Arc<Budget>,
}

impl Share {
    pub(super) fn new(bounds: &Bounds, all_held: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::new(Semaphore::new(bounds.calls)),
            sessions: Arc::new(Semaphore::new(bounds.sessions_each)),
            bodies: Budget::new(bounds.bodies_each),
            held: Budget::new(bounds.held_each),
            all_held: Arc::clone(all_held),
        })
    }

    /// Room for something that waits to be read.
    pub(super) fn hold(&self, bytes: usize) -> Option<[Part; 2]> {
        Some([Part::take(&self.held, bytes)?, Part::take(&self.all_held, bytes)?])
    }

    /// Whether nobody uses any of it.
    pub(super) fn is_unused(&self, bounds: &Bounds) -> bool {
        self.calls.available_permits() == bounds.calls
            && self.sessions.available_permits() == bounds.sessions_each
            && self.held.used.load(Ordering::Acquire) == 0
            && self.bodies.used.load(Ordering::Acquire) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_agent_holds_is_bounded_and_what_all_hold_too() {
        let all = Budget::new(15);
        let bounds = Bounds { held_each: 10, ..Bounds::USUAL };
        let (one, other) = (Share::new(&bounds, &all), Share::new(&bounds, &all));
        let first = one.hold(8).unwrap();
        assert!(one.hold(3).is_none(), "more than its own");
        assert!(other.hold(8).is_none(), "more than there is");
        let second = other.hold(7).unwrap();
        drop(first);
        assert!(!other.is_unused(&bounds) && one.is_unused(&bounds));
        assert!(one.hold(8).is_some(), "what is refused takes nothing, and what is dropped is given back");
        drop(second);
        assert!(one.hold(usize::MAX).is_none() && other.hold(10).is_some());
    }
}
