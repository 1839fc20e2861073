//! Tree nodes, computed once. The receipts of a batch share most of their proofs: without this each would hash
//! half a tile again.

use std::cell::RefCell;
use std::collections::BTreeMap;

use portcullis_verify::{Hash, NodeReader};

/// A reader that remembers what it read. Of one tree at one size only.
pub(crate) struct Remembering<R> {
    reader: R,
    nodes: RefCell<BTreeMap<(u32, u64), Hash>>,
}

impl<R> Remembering<R> {
    pub(crate) const fn new(reader: R) -> Self {
        Self { reader, nodes: RefCell::new(BTreeMap::new()) }
    }
}

impl<R: NodeReader> NodeReader for Remembering<R> {
    type Error = R::Error;

    fn node(&self, level: u32, index: u64) -> Result<Hash, R::Error> {
        if let Some(hash) = self.nodes.borrow().get(&(level, index)) {
            return Ok(*hash);
        }
        let hash = self.reader.node(level, index)?;
        self.nodes.borrow_mut().insert((level, index), hash);
        Ok(hash)
    }
}
