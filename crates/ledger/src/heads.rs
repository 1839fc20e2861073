//! The newest anchored head, told to whoever listens outside the writer's thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_protocol::ReasonCode;
use portcullis_verify::VerifiedCheckpoint;

/// Told each head once it is signed and anchored. Called on the writer's thread: it notes the head and returns.
pub type Listener = Box<dyn Fn(&Arc<VerifiedCheckpoint>) + Send>;

#[derive(Default)]
struct Inner {
    newest: Option<Arc<VerifiedCheckpoint>>,
    listeners: Vec<Listener>,
    refuted: Option<ReasonCode>,
}

/// The anchored heads: what the writer and those who watch the log from outside tell each other.
#[derive(Clone, Default)]
pub struct Heads(Arc<Mutex<Inner>>);

impl std::fmt::Debug for Heads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Heads").field("newest", &self.newest()).finish_non_exhaustive()
    }
}

impl Heads {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // tidy: allow what a listener that panicked left is whole
    }

    /// The newest anchored head; `None` before the first of this process.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<VerifiedCheckpoint>> {
        self.lock().newest.clone()
    }

    /// Tells each head to a listener from here on, the newest at once.
    pub fn listen(&self, listener: Listener) {
        let mut inner = self.lock();
        if let Some(newest) = &inner.newest {
            listener(newest);
        }
        inner.listeners.push(listener);
    }

    pub(crate) fn advanced(&self, head: &VerifiedCheckpoint) {
        let head = Arc::new(head.clone());
        let mut inner = self.lock();
        inner.listeners.iter().for_each(|listener| listener(&head));
        inner.newest = Some(head);
    }

    /// Says that somebody outside has seen another history, or a longer one, or no longer says so: nothing is recorded,
    /// signed or permitted meanwhile.
    pub fn refute(&self, refuted: Option<ReasonCode>) {
        self.lock().refuted = refuted;
    }

    /// The code under which nothing is permitted because somebody outside has seen another log.
    pub(crate) fn refuted(&self) -> Option<ReasonCode> {
        self.lock().refuted
    }
}
