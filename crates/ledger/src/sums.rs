//! Whether two lists have the same entries, whatever their order, in one pass over each and no memory for either.
//!
//! Each entry is hashed under a key that is drawn anew for each comparison, and the hashes are added up. Lists that
//! differ have one sum only if the difference of their hashes happens to be zero: with two sums of 64 bits, once in
//! 2^128, for whatever was on the disk before the key was drawn.

use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};

use serde::{Deserialize, Serialize};

/// The key of a comparison: kept with what was summed up so far by whoever goes on with it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SumKey([[u64; 2]; 2]);

/// The sum of a list's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum([u64; 2]);

impl SumKey {
    /// Draws one.
    pub(crate) fn draw() -> Self {
        Self([0_u64, 1].map(|sum| [0_u64, 1].map(|half| RandomState::new().hash_one((sum, half)))))
    }

    fn of(&self, entry: &impl Hash) -> [u64; 2] {
        self.0.map(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            entry.hash(&mut hasher);
            hasher.finish()
        })
    }
}

impl Sum {
    pub(crate) fn add(&mut self, key: &SumKey, entry: &impl Hash) {
        self.join(&Self(key.of(entry)));
    }

    pub(crate) fn remove(&mut self, key: &SumKey, entry: &impl Hash) {
        let ([first, second], [a, b]) = (&mut self.0, key.of(entry));
        (*first, *second) = (first.wrapping_sub(a), second.wrapping_sub(b));
    }

    /// Adds the entries of another list.
    pub(crate) fn join(&mut self, other: &Self) {
        let ([first, second], [a, b]) = (&mut self.0, other.0);
        (*first, *second) = (first.wrapping_add(a), second.wrapping_add(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_one_sum_if_they_have_the_same_entries_and_only_then() {
        let key = SumKey::draw();
        let sum = |entries: &[(u64, &str)]| {
            let mut sum = Sum::default();
            entries.iter().for_each(|entry| sum.add(&key, entry));
            sum
        };
        let base = sum(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(base, sum(&[(3, "c"), (1, "a"), (2, "b")]));
        for other in [
            &[(1, "a"), (2, "b")][..],
            &[(1, "a"), (2, "b"), (3, "c"), (3, "c")],
            &[(1, "b"), (2, "a"), (3, "c")],
            &[(1, "a"), (2, "b"), (4, "c")],
        ] {
            assert_ne!(base, sum(other), "{other:?}");
        }
        let mut more = sum(&[(9, "z"), (1, "a")]);
        more.join(&sum(&[(2, "b"), (3, "c")]));
        more.remove(&key, &(9_u64, "z"));
        assert_eq!(base, more);
    }
}
