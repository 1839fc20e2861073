//! The clocks of the writer.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use portcullis_protocol::Millis;
use rustix::time::{ClockId, clock_gettime};

/// Wall clock and boot clock. The wall clock dates records; the boot clock, which nobody sets, watches it.
pub trait Clocks: Send + Sync {
    /// The wall clock; `None` if it cannot be read or lies before 1970.
    fn wall(&self) -> Option<Millis>;

    /// Milliseconds since boot, suspended time included.
    fn boot(&self) -> u64;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClocks;

impl Clocks for SystemClocks {
    fn wall(&self) -> Option<Millis> {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => milliseconds(since).map(Millis),
            Err(_) => None,
        }
    }

    fn boot(&self) -> u64 {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let time = clock_gettime(clock);
        // Neither part of a boot clock is ever negative.
        let seconds = u64::try_from(time.tv_sec).map_or(0, |seconds| seconds);
        let thousands = u64::try_from(time.tv_nsec).map_or(0, |nanoseconds| nanoseconds / 1_000_000);
        seconds.saturating_mul(1_000).saturating_add(thousands)
    }
}

fn milliseconds(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok() // tidy: allow None is Unknown, which refuses
}

/// Rest after an attempt, in multiples of the time that it took.
const REST: u32 = 2;
/// The longest rest.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Spaces out attempts that may be dear and be needed again and again: each is followed by a rest of a multiple of
/// the time that it took, so that no flood of calls can make the machine do nothing else. One that succeeds rests
/// too, for what it opened may fail with the next call.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    next: Option<Instant>,
}

/// An attempt that has begun.
pub(crate) struct Attempt(Instant);

impl Attempt {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// How long it has taken by now.
    pub(crate) fn took(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Pacing {
    /// Notes that an attempt ended.
    pub(crate) fn ended(&mut self, attempt: &Attempt) {
        let rest = attempt.0.elapsed().saturating_mul(REST).min(LONGEST_REST);
        self.next = Instant::now().checked_add(rest);
    }

    /// How long the next attempt must wait; zero if it may begin.
    pub(crate) fn rest(&self) -> Duration {
        self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_followed_by_a_rest_of_twice_the_time_it_took_within_bounds() {
        let mut pacing = Pacing::default();
        assert!(pacing.rest().is_zero());
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let before = Instant::now();
        pacing.ended(&Attempt(ago(5)));
        assert!(pacing.next.unwrap() >= before + Duration::from_secs(10) && !pacing.rest().is_zero());
        pacing.ended(&Attempt(ago(100)));
        assert!(pacing.rest() <= LONGEST_REST && !pacing.rest().is_zero());
    }
}
