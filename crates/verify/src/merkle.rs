//! Merkle tree hashing (RFC 6962 §2.1) and the checks of inclusion and consistency (RFC 9162 §2.1.3.2, §2.1.4.2).
//!
//! These functions see hashes only. They say nothing about who vouches for a root or a size: an inclusion proof
//! for index 0 of 3 leaves also passes for index 0 of 4, under the same root. Size and root must come from one
//! signed checkpoint ([`crate::checkpoint`]).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::encoding::{from_base64, to_base64};

mod many;
#[cfg(test)]
mod tests;

pub use many::Inclusions;

/// Domain separation (RFC 6962 §2.1): without it an inner node could pass for a leaf.
const LEAF_PREFIX: [u8; 1] = [0];
const NODE_PREFIX: [u8; 1] = [1];

/// A SHA-256 tree hash: of a leaf, an inner node or a root. Its text form is standard base64, 44 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// The text is not a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 encoding of 32 bytes")]
pub struct HashError;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_base64(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        let bytes = from_base64(text).map_err(|_| HashError)?;
        bytes.try_into().map(Hash).map_err(|_| HashError)
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Why a proof does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
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
    /// The proof ends before the root.
    #[error("the proof has too few hashes")]
    ProofTooShort,
    /// The proof goes on beyond the root.
    #[error("the proof has too many hashes")]
    ProofTooLong,
    /// The proof leads to another root.
    #[error("the proof leads to root `{computed}`, not to `{expected}`")]
    RootMismatch {
        /// The root that was to be reached.
        expected: Hash,
        /// The root that the proof leads to.
        computed: Hash,
    },
    /// The consistency proof leads to another root for the older tree.
    #[error("the proof leads to root `{computed}` for the older tree, not to `{expected}`")]
    OldRootMismatch {
        /// The older root that was to be reached.
        expected: Hash,
        /// The root that the proof leads to.
        computed: Hash,
    },
    /// Two roots for one size: the log showed different histories.
    #[error("two roots for size {size}: `{old}` and `{new}`")]
    SplitView {
        /// Number of leaves in both trees.
        size: u64,
        /// Root presented as the older.
        old: Hash,
        /// Root presented as the newer.
        new: Hash,
    },
}

/// Hash of a leaf: SHA-256(0x00 ‖ data).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(LEAF_PREFIX).chain_update(data).finalize().into())
}

/// Hash of an inner node: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update(NODE_PREFIX).chain_update(left).chain_update(right).finalize().into())
}

/// Root of the tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

/// Root over consecutive subtrees of equal height, of which the last may be smaller. `None` if there are none.
///
/// Pairing row by row, with an odd last hash moving up as it is, gives the same tree as the split at the largest
/// power of two in RFC 6962 §2.1.
pub(crate) fn root_over(hashes: impl IntoIterator<Item = Hash>) -> Option<Hash> {
    let mut row: Vec<Hash> = hashes.into_iter().collect();
    while row.len() > 1 {
        let mut children = row.into_iter();
        row = std::iter::from_fn(|| {
            let left = children.next()?;
            Some(children.next().map_or(left, |right| node_hash(&left, &right)))
        })
        .collect();
    }
    row.pop()
}

/// Root of the tree over these leaf hashes, or of a full tile: MTH of RFC 6962 §2.1.
pub(crate) fn tree_root(hashes: &[Hash]) -> Hash {
    match root_over(hashes.iter().copied()) {
        Some(root) => root,
        None => empty_root(),
    }
}

/// Checks that the leaf with hash `leaf` is the one at `index` (zero-based) of the tree with `size` leaves and
/// root `root`. `proof` goes from the leaf's sibling up to the root's child (RFC 9162 §2.1.3.2).
///
/// # Errors
/// [`MerkleError`]: `IndexOutOfRange`, `ProofTooShort`, `ProofTooLong` or `RootMismatch`.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange { index, size });
    }
    let mut climb = Climb { node: index, last: size - 1 };
    let mut computed = *leaf;
    for sibling in proof {
        computed = match climb.step()? {
            Side::Left => node_hash(sibling, &computed),
            Side::Right => node_hash(&computed, sibling),
        };
    }
    climb.finish()?;
    expect_root(root, computed)
}

/// Checks that the tree with `old_size` leaves is a prefix of the tree with `new_size` leaves (RFC 9162 §2.1.4.2).
/// Every tree extends the empty one, and itself, by an empty proof.
///
/// # Errors
/// [`MerkleError`], any variant but `IndexOutOfRange`.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    if old_size > new_size {
        return Err(MerkleError::SizesReversed { old: old_size, new: new_size });
    }
    if old_size == 0 {
        expect_old_root(old_root, empty_root())?;
    }
    if old_size == new_size && old_root != new_root {
        return Err(MerkleError::SplitView { size: old_size, old: *old_root, new: *new_root });
    }
    if old_size == 0 || old_size == new_size {
        return if proof.is_empty() { Ok(()) } else { Err(MerkleError::ProofTooLong) };
    }
    verify_growth(old_size, old_root, new_size, new_root, proof)
}

/// The case 0 < old < new of [`verify_consistency`]: the steps that the RFC numbers 2 to 7.
fn verify_growth(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), MerkleError> {
    // A complete older tree is itself a node of the newer one, and is left out of the proof.
    let implied = old_size.is_power_of_two().then_some(old_root);
    let mut hashes = implied.into_iter().chain(proof);
    let start = *hashes.next().ok_or(MerkleError::ProofTooShort)?;

    let mut climb = Climb { node: old_size - 1, last: new_size - 1 };
    while climb.node & 1 == 1 {
        climb.up();
    }
    let (mut old, mut new) = (start, start);
    for sibling in hashes {
        match climb.step()? {
            Side::Left => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    climb.finish()?;
    expect_old_root(old_root, old)?;
    expect_root(new_root, new)
}

fn expect_root(expected: &Hash, computed: Hash) -> Result<(), MerkleError> {
    if *expected == computed {
        return Ok(());
    }
    Err(MerkleError::RootMismatch { expected: *expected, computed })
}

fn expect_old_root(expected: &Hash, computed: Hash) -> Result<(), MerkleError> {
    if *expected == computed {
        return Ok(());
    }
    Err(MerkleError::OldRootMismatch { expected: *expected, computed })
}

/// On which side of the current node the next sibling lies.
enum Side {
    Left,
    Right,
}

/// The way from a node to the root: `fn` and `sn` of RFC 9162.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Climb {
    /// Index of the node in its level.
    node: u64,
    /// Index of the last node in that level.
    last: u64,
}

impl Climb {
    /// Goes up past one sibling.
    fn step(&mut self) -> Result<Side, MerkleError> {
        if self.last == 0 {
            return Err(MerkleError::ProofTooLong);
        }
        if self.node & 1 == 0 && self.node != self.last {
            self.up();
            return Ok(Side::Right);
        }
        // The last node of a level without a sibling there moves up as it is until it has one on its left.
        while self.node & 1 == 0 && self.node != 0 {
            self.up();
        }
        self.up();
        Ok(Side::Left)
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn finish(&self) -> Result<(), MerkleError> {
        if self.last == 0 { Ok(()) } else { Err(MerkleError::ProofTooShort) }
    }
}
