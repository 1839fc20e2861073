//! A bundle that has to be compiled while the ledger's writer is at work: by a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_policy::{BundleSource, STACK};

/// Whether a bundle is being compiled, at most one at a time.
#[derive(Debug, Default)]
pub(super) struct Loading(Arc<AtomicBool>);

impl Loading {
    /// Has a bundle compiled. What comes of it shows at the next look; if another one is being compiled, it is begun then.
    pub(super) fn begin(&self, source: Arc<BundleSource>) {
        if self.0.swap(true, Ordering::AcqRel) {
            return;
        }
        let ended = Ended(Arc::clone(&self.0));
        let load = move || {
            // Whoever asks for it is told why there is none.
            drop(source.current());
            drop(ended);
        };
        // Decisions wait for it: it does not give way to them. Without a thread it is tried again with the next look.
        drop(std::thread::Builder::new().name("bundle".to_owned()).stack_size(STACK).spawn(load));
    }
}

/// However the work ends, also if it never begins.
struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
