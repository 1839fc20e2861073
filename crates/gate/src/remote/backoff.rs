//! When a server that could not be reached is tried again: not at once, and not by all gates in one moment.

use std::time::{Duration, Instant};

/// About how long no attempt is made after the first one that failed. Each further one doubles it.
const FIRST: Duration = Duration::from_millis(100);
/// Longer than this none is put off.
const LONGEST: Duration = Duration::from_secs(10);

/// Whether attempts are made. After one that failed there is none for a while, and whoever wants one learns so at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: u64,
    failed: u32,
    until: Option<Instant>,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// The same seed makes the same pauses.
    pub(crate) const fn new(seed: u64) -> Self {
        Self::between(seed, (FIRST, LONGEST))
    }

    /// The same with pauses from the one to the other.
    pub(crate) const fn between(seed: u64, (first, longest): (Duration, Duration)) -> Self {
        Self { seed, failed: 0, until: None, first, longest }
    }

    /// For how long no attempt is to be made yet.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero())
    }

    pub(crate) fn succeeded(&mut self) {
        (self.failed, self.until) = (0, None);
    }

    pub(crate) fn failed(&mut self, now: Instant) {
        let pause = self.pause();
        self.failed = self.failed.saturating_add(1);
        self.until = now.checked_add(pause);
    }

    /// As if its time had passed.
    #[cfg(test)]
    pub(super) fn until_now(&mut self) {
        self.until = None;
    }

    /// From half of its time to all of it.
    fn pause(&mut self) -> Duration {
        let full = self.first.saturating_mul(2_u32.saturating_pow(self.failed)).min(self.longest);
        let half = full.checked_div(2).unwrap_or(full);
        let width = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
        half.saturating_add(Duration::from_micros(self.random().checked_rem(width).unwrap_or(0)))
    }

    /// Splitmix64 (Steele, Lea and Flood 2014).
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(seed: u64) -> Vec<Duration> {
        let mut backoff = Backoff::new(seed);
        let now = Instant::now();
        (0..12)
            .map(|_| {
                backoff.failed(now);
                backoff.left(now).unwrap()
            })
            .collect()
    }

    #[test]
    fn pauses_double_up_to_a_bound_differ_between_gates_and_end_with_a_success() {
        for seed in 0..64 {
            for (failed, pause) in (0..).zip(pauses(seed)) {
                let full = FIRST.saturating_mul(2_u32.saturating_pow(failed)).min(LONGEST);
                assert!(pause >= full / 2 && pause < full, "seed {seed}: {pause:?} of {full:?}");
            }
        }
        assert_eq!(pauses(7), pauses(7));
        assert_ne!(pauses(7), pauses(8));
        let (mut backoff, now) = (Backoff::new(7), Instant::now());
        assert_eq!(backoff.left(now), None);
        backoff.failed(now);
        assert!(backoff.left(now).is_some() && backoff.left(now + LONGEST).is_none());
        backoff.failed(now);
        backoff.succeeded();
        assert_eq!(backoff.left(now), None);
        backoff.failed(now);
        assert!(backoff.left(now).unwrap() < FIRST, "it begins anew");
    }
}
