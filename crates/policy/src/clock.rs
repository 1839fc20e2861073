//! The one look at the machine's clock: to tell whether file times are old enough to be told apart. No decision
//! depends on it; in doubt a bundle is read again.

use rustix::time::{ClockId, clock_gettime};

/// Seconds since 1970.
pub(crate) fn now() -> i128 {
    i128::from(clock_gettime(ClockId::Realtime).tv_sec)
}
