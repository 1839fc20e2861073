//! Random choices that a seed repeats.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Choices by `PORTCULLIS_SEED`, or by a seed of this run's own; the seed, so that it can be printed.
    pub(crate) fn seeded() -> (Self, u64) {
        let given = std::env::var("PORTCULLIS_SEED").ok();
        let seed = given.map_or_else(fresh, |text| text.parse().expect("PORTCULLIS_SEED is a number"));
        (Self(seed), seed)
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Choices for a part that runs beside others.
    pub(crate) fn part(&mut self) -> Self {
        Self(self.bits())
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap();
        usize::try_from(self.bits() % end).unwrap()
    }

    /// One in so many.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

fn fresh() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_secs() ^ u64::from(now.subsec_nanos()) << 32
}
