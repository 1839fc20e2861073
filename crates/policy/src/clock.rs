//! The one look at the machine's clocks: to tell whether file times are old enough to be told apart, and whether a
//! solver takes too long. No decision depends on it; in doubt a bundle is read again, and nothing is proved.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Seconds since 1970.
pub(crate) fn now() -> i128 {
    i128::from(clock_gettime(ClockId::Realtime).tv_sec)
}

/// A moment that passes.
pub(crate) struct Deadline {
    since: Instant,
    within: Duration,
}

impl Deadline {
    /// So long from now.
    pub(crate) fn within(within: Duration) -> Self {
        Self { since: Instant::now(), within }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.since.elapsed() >= self.within
    }
}
