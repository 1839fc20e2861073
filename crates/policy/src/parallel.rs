//! The same work on many things, on all processors.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{Builder, available_parallelism, scope};

use crate::nesting::STACK;

/// The most threads that a bundle is loaded by.
const MOST: usize = 4;

/// Does `work` on each of the items. The results are in the order of the items. A thread that the system does not give
/// leaves its share to the caller.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // Beside decisions too, at a lower priority: to leave them a processor made no decision faster.
    let threads = available_parallelism().map_or(1, NonZero::get).min(MOST);
    let share = items.len().div_ceil(threads).max(1);
    let work = &work;
    scope(|scope| {
        let begin = |items| {
            let work = move || map(items, work);
            (items, Builder::new().stack_size(STACK).spawn_scoped(scope, work))
        };
        let begun: Vec<_> = items.chunks(share).map(begin).collect();
        let results = begun.into_iter().map(|(items, thread)| match thread {
            Ok(thread) => match thread.join() {
                Ok(results) => results,
                Err(panic) => resume_unwind(panic),
            },
            Err(_) => map(items, work),
        });
        results.flatten().collect()
    })
}

fn map<T, R>(items: &[T], work: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(work).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_item_is_worked_on_and_results_keep_their_order() {
        for count in [0_u32, 1, 2, 3, 7, 1_000] {
            let items: Vec<_> = (0..count).collect();
            let doubled: Vec<_> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::each(&items, |item| item * 2), doubled);
        }
    }
}
