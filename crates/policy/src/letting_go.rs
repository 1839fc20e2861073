//! Letting go of what is large: whoever happens to be the last to hold it, the ledger's writer or a decision, does not free it.

use std::ops::Deref;
use std::sync::Arc;
use std::thread::Builder;

use crate::nesting::STACK;

/// How much less of a processor that is asked for by all such a thread gets: about a tenth of what a decision gets.
const NICE: i32 = 10;

/// Gives the calling thread a lower priority, and those that it starts (Linux has one for each thread).
pub fn give_way() {
    // Without it the work is done all the same, and others wait longer.
    match rustix::process::nice(NICE) {
        Ok(_) | Err(_) => {}
    }
}

/// A value that several hold. If it is large, the last of them has it freed by a thread of its own.
#[derive(Debug)]
pub(crate) struct Shared<T: Send + Sync + 'static> {
    // Fields are dropped in this order: by then the one below is the last, or others hold it too.
    value: Arc<T>,
    last: Last<T>,
}

impl<T: Send + Sync + 'static> Shared<T> {
    pub(crate) fn new(value: T, is_large: bool) -> Self {
        let value = Arc::new(value);
        let last = Last(is_large.then(|| Arc::clone(&value)));
        Self { value, last }
    }
}

impl<T: Send + Sync + 'static> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), last: Last(self.last.0.clone()) }
    }
}

impl<T: Send + Sync + 'static> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The value, if it is large.
#[derive(Debug)]
struct Last<T: Send + Sync + 'static>(Option<Arc<T>>);

impl<T: Send + Sync + 'static> Drop for Last<T> {
    fn drop(&mut self) {
        let Some(value) = self.0.take().and_then(Arc::into_inner) else { return };
        let freed = move || {
            give_way();
            drop(value);
        };
        // Without a thread it is freed at once. To free what is nested takes stack too.
        drop(Builder::new().name("old bundle".to_owned()).stack_size(STACK).spawn(freed));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{ThreadId, current};

    use super::Shared;

    /// Tells by which thread it is freed.
    struct Freed(Sender<ThreadId>);

    impl Drop for Freed {
        fn drop(&mut self) {
            self.0.send(current().id()).unwrap();
        }
    }

    /// The ledger's writer, or a decision that had outlived an activation, freed ten thousand policies.
    #[test]
    fn whoever_was_the_last_to_hold_a_large_bundle_freed_it() {
        for (is_large, by_itself) in [(true, false), (false, true)] {
            let (told, freed) = channel();
            let shared = Shared::new(Freed(told), is_large);
            let other = shared.clone();
            drop(shared);
            assert!(freed.try_recv().is_err(), "while it is held");
            drop(other);
            assert_eq!(freed.recv().unwrap() == current().id(), by_itself, "large: {is_large}");
            freed.recv().unwrap_err();
        }
    }
}
