//! Percentiles.

use std::time::Duration;

/// The value at a percentile of a sample, by the nearest rank; zero for an empty sample.
pub(crate) fn percentile(sample: &mut [Duration], percent: usize) -> Duration {
    sample.sort_unstable();
    let rank = sample.len().saturating_mul(percent).div_ceil(100).saturating_sub(1);
    sample.get(rank).copied().unwrap_or_default()
}

/// A duration in microseconds, rounded down.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut sample: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        assert_eq!(microseconds(percentile(&mut sample, 50)), 50);
        assert_eq!(microseconds(percentile(&mut sample, 99)), 99);
        assert_eq!(microseconds(percentile(&mut sample, 100)), 100);
        assert_eq!(percentile(&mut [], 50), Duration::ZERO);
    }
}
