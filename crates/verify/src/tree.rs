//! Building proofs from stored hashes (RFC 6962 §2.1.1, §2.1.2). The log's writer uses this; a verifier does not.
//!
//! Nothing here checks what a [`NodeReader`] returns: a wrong hash makes a wrong proof, which
//! [`merkle`](crate::merkle) refuses. Verify what you hand out.

use crate::merkle::{Hash, empty_root, node_hash, tree_root};

#[cfg(test)]
mod tests;

/// Access to the hashes of complete subtrees.
pub trait NodeReader {
    /// Why a hash could not be had.
    type Error;

    /// Root of the `index`-th (zero-based) complete subtree of 2^`level` leaves. Level 0 holds the leaf hashes.
    ///
    /// # Errors
    /// Whatever the storage says. A subtree that is not complete is an error too.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Why a proof could not be built. `E` is the reader's error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError<E> {
    /// No tree of this size has such a leaf.
    #[error("index {index} is not in a tree of size {size}")]
    IndexOutOfRange {
        /// Zero-based index of the leaf.
        index: u64,
        /// Number of leaves.
        size: u64,
    },
    /// A consistency proof goes from an older tree to a newer one.
    #[error("size {old} of the older tree is above size {new} of the newer")]
    SizesReversed {
        /// Number of leaves of the older tree.
        old: u64,
        /// Number of leaves of the newer tree.
        new: u64,
    },
    /// A hash could not be read.
    #[error("a tree hash could not be read")]
    Reader(#[source] E),
}

/// Root of the first `size` leaves.
///
/// # Errors
/// The reader's.
pub fn root<R: NodeReader>(size: u64, reader: &R) -> Result<Hash, R::Error> {
    range_root(0, size, reader)
}

/// Root of a full tile, or of any other complete row of hashes: what the level above says of it.
#[must_use]
pub fn tile_root(hashes: &[Hash]) -> Hash {
    tree_root(hashes)
}

/// Inclusion proof for the leaf at `index` in the tree of the first `size` leaves, from the leaf's sibling up to
/// the root's child: PATH of RFC 6962 §2.1.1. At most 64 hashes.
///
/// # Errors
/// [`TreeError`]: `IndexOutOfRange` or `Reader`.
pub fn inclusion_proof<R: NodeReader>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    if index >= size {
        return Err(TreeError::IndexOutOfRange { index, size });
    }
    let mut descent = Descent::new(size, reader);
    while descent.end - descent.start > 1 {
        descent.towards(index).map_err(TreeError::Reader)?;
    }
    Ok(descent.into_proof())
}

/// Consistency proof from the first `old` leaves to the first `new` leaves: PROOF of RFC 6962 §2.1.2. Empty if
/// `old` is 0 or equals `new`; otherwise at most 65 hashes.
///
/// # Errors
/// [`TreeError`]: `SizesReversed` or `Reader`.
pub fn consistency_proof<R: NodeReader>(
    old: u64,
    new: u64,
    reader: &R,
) -> Result<Vec<Hash>, TreeError<R::Error>> {
    if old > new {
        return Err(TreeError::SizesReversed { old, new });
    }
    let Some(last) = old.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let mut descent = Descent::new(new, reader);
    while descent.end != old {
        descent.towards(last).map_err(TreeError::Reader)?;
    }
    // A verifier knows the older root itself, which is this node if the descent never went right.
    if descent.start != 0 {
        descent.add(descent.start, old).map_err(TreeError::Reader)?;
    }
    Ok(descent.into_proof())
}

/// A walk from the root towards a leaf that notes the sibling of each subtree it enters.
struct Descent<'a, R> {
    reader: &'a R,
    /// First leaf of the current subtree.
    start: u64,
    /// First leaf after it.
    end: u64,
    /// Root's child first.
    siblings: Vec<Hash>,
}

impl<'a, R: NodeReader> Descent<'a, R> {
    fn new(size: u64, reader: &'a R) -> Self {
        Self { reader, start: 0, end: size, siblings: Vec::new() }
    }

    /// Enters the half that holds `leaf`. The current subtree must have two leaves at least.
    fn towards(&mut self, leaf: u64) -> Result<(), R::Error> {
        let middle = self.start + left_size(self.end - self.start);
        if leaf < middle {
            self.add(middle, self.end)?;
            self.end = middle;
        } else {
            self.add(self.start, middle)?;
            self.start = middle;
        }
        Ok(())
    }

    fn add(&mut self, start: u64, end: u64) -> Result<(), R::Error> {
        self.siblings.push(range_root(start, end, self.reader)?);
        Ok(())
    }

    fn into_proof(mut self) -> Vec<Hash> {
        self.siblings.reverse();
        self.siblings
    }
}

/// Leaves in the left half of a tree with `size` ≥ 2 leaves: the largest power of two below `size`.
fn left_size(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// MTH(D\[start..end\]) of RFC 6962 §2.1, for the ranges that occur in its trees: `start` is a multiple of every
/// power of two up to the length. Such a range is a row of complete subtrees, each smaller than the one before.
fn range_root<R: NodeReader>(start: u64, end: u64, reader: &R) -> Result<Hash, R::Error> {
    let mut right = None;
    let mut rest = end - start;
    while rest != 0 {
        let level = rest.trailing_zeros();
        rest &= rest - 1;
        let node = reader.node(level, (start + rest) >> level)?;
        right = Some(right.map_or(node, |right| node_hash(&node, &right)));
    }
    match right {
        Some(root) => Ok(root),
        None => Ok(empty_root()),
    }
}
