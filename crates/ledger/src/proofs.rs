//! Tree nodes, computed once. The receipts of a batch share most of their proofs: without this each would hash
//! half a tile again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use portcullis_verify::merkle::node_hash;
use portcullis_verify::{Hash, NodeReader};

/// The leaves that the newest batch appended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fresh {
    /// Index of the first.
    pub(crate) first: u64,
    pub(crate) leaves: Vec<Hash>,
}

impl Fresh {
    /// By tree level, the hashes of the subtrees that lie within these leaves, from the one with this index on.
    fn rows(&self) -> Vec<(u64, Vec<Hash>)> {
        let mut rows = Vec::new();
        let (mut first, mut row) = (self.first, self.leaves.clone());
        while !row.is_empty() {
            // A subtree whose left half lies before these leaves is not within them.
            let skipped = usize::from(!first.is_multiple_of(2));
            let pairs = row.get(skipped..).map_or([].as_slice(), |row| row.as_chunks::<2>().0);
            let above = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
            rows.push((first, std::mem::replace(&mut row, above)));
            first = first.div_ceil(2);
        }
        rows
    }
}

/// A reader that remembers what it read, and knows the newest leaves. Of one tree at one size only.
pub(crate) struct Remembering<R> {
    reader: R,
    fresh: Vec<(u64, Vec<Hash>)>,
    nodes: RefCell<BTreeMap<(u32, u64), Hash>>,
}

impl<R> Remembering<R> {
    /// `fresh` must be the tree's own leaves. What comes of others is no proof.
    pub(crate) fn new(reader: R, fresh: &Fresh) -> Self {
        Self { reader, fresh: fresh.rows(), nodes: RefCell::new(BTreeMap::new()) }
    }

    fn fresh(&self, level: u32, index: u64) -> Option<Hash> {
        let (first, row) = self.fresh.get(usize::try_from(level).ok()?)?; // tidy: allow what is not here is read
        let place = usize::try_from(index.checked_sub(*first)?).ok()?; // tidy: allow what is not here is read
        row.get(place).copied()
    }
}

impl<R: NodeReader> NodeReader for Remembering<R> {
    type Error = R::Error;

    fn node(&self, level: u32, index: u64) -> Result<Hash, R::Error> {
        if let Some(hash) = self.fresh(level, index) {
            return Ok(hash);
        }
        if let Some(hash) = self.nodes.borrow().get(&(level, index)) {
            return Ok(*hash);
        }
        let hash = self.reader.node(level, index)?;
        self.nodes.borrow_mut().insert((level, index), hash);
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_verify::merkle::leaf_hash;
    use portcullis_verify::{TileReader, TileTree, tree};

    /// A batch of any length at any place, across the bounds of tiles, gives the proofs that the stored tree gives.
    #[test]
    fn the_proofs_of_fresh_leaves_are_those_of_the_stored_tree() {
        for (before, count) in
            [(0, 1), (0, 7), (1, 1), (3, 6), (250, 300), (255, 2), (256, 256), (700, 77), (511, 1_026)]
        {
            let size = before + count;
            let leaves: Vec<_> = (0..size).map(|seq: u64| leaf_hash(&seq.to_be_bytes())).collect();
            let mut tree = TileTree::new();
            leaves.iter().for_each(|leaf| tree.append(*leaf));
            let reader = TileReader::new(&tree, |level, index| Err::<Vec<Hash>, _>((level, index)));
            let first = usize::try_from(before).unwrap();
            let fresh = Fresh { first: before, leaves: leaves[first..].to_vec() };
            let remembering = Remembering::new(reader.clone(), &fresh);
            for index in before..size {
                let proof = tree::inclusion_proof(index, size, &remembering).unwrap();
                assert_eq!(proof, tree::inclusion_proof(index, size, &reader).unwrap(), "{index} of {size}");
            }
        }
    }
}
