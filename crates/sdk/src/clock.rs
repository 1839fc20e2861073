//! The gate's own clock: time since boot, which nobody sets and which goes on while the machine sleeps.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// An instant of the boot-time clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Now. `CLOCK_BOOTTIME`, not `CLOCK_MONOTONIC`: a permit must not outlive a suspended laptop.
    #[must_use]
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).map_or(0, |seconds| seconds);
        let nanoseconds = u32::try_from(time.tv_nsec).map_or(0, |nanoseconds| nanoseconds);
        Self(Duration::new(seconds, nanoseconds))
    }

    /// The instant `later` after this one.
    #[must_use]
    pub const fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }

    /// The time from `earlier` to this instant; zero if it lies later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
