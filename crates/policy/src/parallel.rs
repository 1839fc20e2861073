//! The same work on many things, on all processors, or on all but one.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{Builder, available_parallelism, scope};

use crate::letting_go::gives_way;
use crate::nesting::STACK;

/// The most threads that a bundle is loaded by.
const MOST: usize = 4;

/// Does `work` on each of the items. The results are in the order of the items. A thread that the system does not give
/// leaves its share to the caller.
pub(crate) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = threads(available_parallelism().map_or(1, NonZero::get), gives_way());
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

/// By how many threads. Who gives way leaves a processor to those for whom that is, where there is more than one.
fn threads(processors: usize, gives_way: bool) -> usize {
    let left = usize::from(gives_way);
    processors.saturating_sub(left).clamp(1, MOST)
}

fn map<T, R>(items: &[T], work: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(work).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    /// A bundle that was loaded beside decisions had each of them wait for a processor until the system looked again, 4 ms.
    #[test]
    fn what_gives_way_worked_on_all_processors() {
        let told = [(1, 1, 1), (2, 2, 1), (3, 3, 2), (4, 4, 3), (5, 4, 4), (64, 4, 4)];
        for (processors, alone, beside) in told {
            let by = [false, true].map(|gives_way| super::threads(processors, gives_way));
            assert_eq!(by, [alone, beside], "{processors}");
        }
        let processors = thread::available_parallelism().unwrap().get();
        let used = || {
            let by = super::each(&[(); 1_000], |()| format!("{:?}", thread::current().id()));
            by.into_iter().collect::<BTreeSet<_>>().len()
        };
        assert_eq!(used(), super::threads(processors, false));
        let beside = thread::spawn(move || {
            crate::give_way();
            used()
        });
        assert_eq!(beside.join().unwrap(), super::threads(processors, true));
    }

    #[test]
    fn every_item_is_worked_on_and_results_keep_their_order() {
        for count in [0_u32, 1, 2, 3, 7, 1_000] {
            let items: Vec<_> = (0..count).collect();
            let doubled: Vec<_> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::each(&items, |item| item * 2), doubled);
        }
    }
}
