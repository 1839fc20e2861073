//! Proofs for a whole range of leaves: that these hashes, all of them and in this order, are the leaves from one index
//! to another of a signed tree. A leaf left out, added, swapped or repeated leads to another root.
//!
//! The proof is the roots of the complete subtrees before the range and after it. Where they lie follows from the
//! numbers alone, so nothing in the proof can say otherwise.

use crate::merkle::{Hash, MerkleError, empty_root, node_hash};

#[cfg(test)]
mod tests;

/// Complete subtrees by tree level and index, from left to right.
pub type Places = Vec<(u32, u64)>;

/// Where the subtrees lie whose roots prove the leaves from `first` up to, not including, `end` in a tree of `size`
/// leaves: those before the range, and those after it. At most 63 and 126.
///
/// # Errors
/// [`MerkleError`]: `SizesReversed` or `IndexOutOfRange`.
pub fn around(first: u64, end: u64, size: u64) -> Result<(Places, Places), MerkleError> {
    if first > end {
        return Err(MerkleError::SizesReversed { old: first, new: end });
    }
    if end > size {
        return Err(MerkleError::IndexOutOfRange { index: end, size });
    }
    Ok((subtrees(0, first), subtrees(end, size)))
}

/// The largest complete subtrees that make up the leaves from `start` up to `end`.
fn subtrees(start: u64, end: u64) -> Places {
    let mut places = Places::new();
    let mut position = start;
    while let Some(largest) = end.checked_sub(position).and_then(u64::checked_ilog2) {
        let level = largest.min(position.trailing_zeros());
        places.push((level, position >> level));
        position = position.saturating_add(1 << level);
    }
    places
}

/// Checks that `leaves` are those from `first` on of the tree with `size` leaves and root `root`. `before` and `after`
/// are the roots of the subtrees that [`around`] names. As everywhere, `size` and `root` must come from one signed
/// checkpoint: hashes alone do not tell a size.
///
/// # Errors
/// [`MerkleError`]: `IndexOutOfRange`, `ProofTooShort`, `ProofTooLong` or `RootMismatch`.
pub fn verify_range(
    first: u64,
    leaves: &[Hash],
    size: u64,
    (before, after): (&[Hash], &[Hash]),
    root: &Hash,
) -> Result<(), MerkleError> {
    let beyond = MerkleError::IndexOutOfRange { index: u64::MAX, size };
    let count = u64::try_from(leaves.len()).map_err(|_| beyond.clone())?;
    let end = first.checked_add(count).ok_or(beyond)?;
    let (places_before, places_after) = around(first, end, size)?;
    for (places, hashes) in [(&places_before, before), (&places_after, after)] {
        if hashes.len() < places.len() {
            return Err(MerkleError::ProofTooShort);
        }
        if hashes.len() > places.len() {
            return Err(MerkleError::ProofTooLong);
        }
    }
    let mut row = Row::default();
    let levels = |places: Places| places.into_iter().map(|(level, _)| level);
    levels(places_before).zip(before).for_each(|(level, hash)| row.push(level, *hash));
    leaves.iter().for_each(|leaf| row.push(0, *leaf));
    levels(places_after).zip(after).for_each(|(level, hash)| row.push(level, *hash));
    let computed = row.root();
    if computed == *root { Ok(()) } else { Err(MerkleError::RootMismatch { expected: *root, computed }) }
}

/// Complete subtrees, each smaller than the one before: what the binary digits of a size spell.
#[derive(Default)]
struct Row(Vec<(u32, Hash)>);

impl Row {
    fn push(&mut self, level: u32, hash: Hash) {
        let (mut level, mut hash) = (level, hash);
        while let Some((_, left)) = self.0.pop_if(|(top, _)| *top == level) {
            hash = node_hash(&left, &hash);
            level += 1;
        }
        self.0.push((level, hash));
    }

    fn root(self) -> Hash {
        let folded =
            self.0.into_iter().rev().map(|(_, hash)| hash).reduce(|right, left| node_hash(&left, &right));
        match folded {
            Some(root) => root,
            None => empty_root(),
        }
    }
}
