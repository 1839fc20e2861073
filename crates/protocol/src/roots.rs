//! Roots of the keys that sign bundles, as the log names them.

use crate::digest::Digest;

/// A root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootRef {
    /// The digest of the first root of its chain: the one that is pinned.
    pub chain: Digest,
    /// Its version.
    pub version: u64,
    /// Its own digest.
    pub digest: Digest,
}

/// A verified chain of roots: its newest, whose keys count, and each root by which that one came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    newest: RootRef,
    /// The digests of those before it, oldest first, of versions without a gap.
    before: Vec<Digest>,
}

impl Lineage {
    /// The chain of one root, which is its first.
    #[must_use]
    pub const fn of_first(version: u64, digest: Digest) -> Self {
        Self { newest: RootRef { chain: digest, version, digest }, before: Vec::new() }
    }

    /// The chain with one root more: the next version.
    #[must_use]
    pub fn followed_by(&self, digest: Digest) -> Self {
        let RootRef { chain, version, digest: last } = self.newest;
        let before = self.before.iter().copied().chain([last]).collect();
        Self { newest: RootRef { chain, version: version.saturating_add(1), digest }, before }
    }

    /// The root whose keys count.
    #[must_use]
    pub const fn newest(&self) -> RootRef {
        self.newest
    }

    /// The digest of the root that has this version in the chain; `None` if none has.
    #[must_use]
    pub fn at(&self, version: u64) -> Option<Digest> {
        let behind = self.newest.version.checked_sub(version)?;
        match usize::try_from(behind) {
            Ok(0) => Some(self.newest.digest),
            Ok(behind) => self.before.get(self.before.len().checked_sub(behind)?).copied(),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_of_a_chain_names_its_root_and_no_other_version_names_one() {
        let root = |version: u64| Digest::sha256(&version.to_be_bytes());
        let chain =
            (5..8).fold(Lineage::of_first(4, root(4)), |chain, version| chain.followed_by(root(version)));
        assert_eq!(chain.newest(), RootRef { chain: root(4), version: 7, digest: root(7) });
        for version in 4..8 {
            assert_eq!(chain.at(version), Some(root(version)));
        }
        for version in [0, 3, 8, u64::MAX] {
            assert_eq!(chain.at(version), None);
        }
    }
}
