//! Many inclusion proofs under one root.

use super::{Climb, Hash, MerkleError, Side, expect_root, node_hash};

/// Checks of inclusion under one root, which share their work: neighbours have most of their way to the root in common.
///
/// [`verify`](Self::verify) accepts exactly what [`verify_inclusion`](super::verify_inclusion) accepts. Where a proof
/// comes to a place with the hash that an accepted one had there, and goes on with the same siblings, it comes to the
/// same root: the rest of it was computed already.
#[derive(Clone, Debug)]
pub struct Inclusions {
    size: u64,
    root: Hash,
    accepted: Option<Way>,
}

/// A proof that reached the root.
#[derive(Clone, Debug)]
struct Way {
    proof: Vec<Hash>,
    /// Where it was before each of its steps, and with which hash.
    stops: Vec<(Climb, Hash)>,
}

impl Inclusions {
    /// Of the tree with `size` leaves and root `root`.
    #[must_use]
    pub const fn new(size: u64, root: Hash) -> Self {
        Self { size, root, accepted: None }
    }

    /// Checks that the leaf with hash `leaf` is the one at `index` (zero-based), as
    /// [`verify_inclusion`](super::verify_inclusion) does.
    ///
    /// # Errors
    /// As there.
    pub fn verify(&mut self, leaf: &Hash, index: u64, proof: &[Hash]) -> Result<(), MerkleError> {
        let size = self.size;
        let last = size.checked_sub(1).filter(|last| index <= *last);
        let last = last.ok_or(MerkleError::IndexOutOfRange { index, size })?;
        let (mut climb, mut computed) = (Climb { node: index, last }, *leaf);
        let mut stops = Vec::with_capacity(proof.len());
        let mut rest = proof;
        while let Some((sibling, above)) = rest.split_first() {
            if let Some(known) = self.stops_above(climb, &computed, rest) {
                stops.extend_from_slice(known);
                self.accepted = Some(Way { proof: proof.to_vec(), stops });
                return Ok(());
            }
            stops.push((climb, computed));
            computed = match climb.step()? {
                Side::Left => node_hash(sibling, &computed),
                Side::Right => node_hash(&computed, sibling),
            };
            rest = above;
        }
        climb.finish()?;
        expect_root(&self.root, computed)?;
        self.accepted = Some(Way { proof: proof.to_vec(), stops });
        Ok(())
    }

    /// The stops of the accepted way from this one on, if it made this one with the same hash and went on with the same
    /// siblings.
    fn stops_above(&self, climb: Climb, computed: &Hash, rest: &[Hash]) -> Option<&[(Climb, Hash)]> {
        let way = self.accepted.as_ref()?;
        let at = way.proof.len().checked_sub(rest.len())?;
        let stops = way.stops.get(at..)?;
        let same = stops.first() == Some(&(climb, *computed)) && way.proof.get(at..) == Some(rest);
        same.then_some(stops)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{leaf_hash, tree_root, verify_inclusion};
    use super::*;
    use crate::testing::{leaves, reference_path};

    fn proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
        reference_path(index, leaves).into_iter().map(|(_, hash)| hash).collect()
    }

    /// What was done to a leaf's proof.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        None,
        Leaf,
        Index(usize),
        Sibling(usize),
        Shorter,
        Longer,
        Swapped(usize),
    }

    fn any_change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => Just(Change::None),
            1 => Just(Change::Leaf),
            1 => (0_usize..80).prop_map(Change::Index),
            2 => (0_usize..8).prop_map(Change::Sibling),
            1 => Just(Change::Shorter),
            1 => Just(Change::Longer),
            1 => (0_usize..8).prop_map(Change::Swapped),
        ]
    }

    proptest! {
        /// Whatever was asked before, the answer is that of the plain check.
        #[test]
        fn many_proofs_are_accepted_exactly_where_each_alone_is(
            count in 1_usize..70, asked in proptest::collection::vec((any::<prop::sample::Index>(), any_change()), 1..60),
        ) {
            let size = u64::try_from(count).unwrap();
            let leaves = leaves(size);
            let root = tree_root(&leaves);
            let mut many = Inclusions::new(size, root);
            for (at, change) in asked {
                let mut at = at.index(count);
                let (mut leaf, mut proof) = (leaves[at], proof(&leaves, at));
                let length = proof.len().max(1);
                match change {
                    Change::None => {}
                    Change::Leaf => leaf = leaf_hash(b"another"),
                    Change::Index(other) => at = other,
                    Change::Sibling(place) => proof.iter_mut().skip(place % length).take(1).for_each(|hash| hash.0[7] ^= 1),
                    Change::Shorter => drop(proof.pop()),
                    Change::Longer => proof.push(leaf),
                    Change::Swapped(place) if proof.len() > 1 => {
                        let place = place % (proof.len() - 1);
                        proof.swap(place, place + 1);
                    }
                    Change::Swapped(_) => {}
                }
                let index = u64::try_from(at).unwrap();
                let alone = verify_inclusion(&leaf, index, size, &proof, &root);
                prop_assert_eq!(many.verify(&leaf, index, &proof), alone);
            }
        }
    }

    #[test]
    fn a_tree_without_leaves_includes_nothing() {
        let mut none = Inclusions::new(0, tree_root(&[]));
        assert_eq!(
            none.verify(&leaf_hash(b""), 0, &[]),
            Err(MerkleError::IndexOutOfRange { index: 0, size: 0 })
        );
    }
}
