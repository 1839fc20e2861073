//! Audit of a whole log: that its records, all of them and in order, are what its checkpoints say.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, VerifiedCheckpoint};
use crate::key::KeyName;
use crate::merkle::{Hash, leaf_hash};
use crate::proof::MAX_EXTRA_BYTES;
use crate::tiles::TileTree;

#[cfg(test)]
mod tests;

/// Why a log is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No record may be as large as this, nor could a receipt carry it.
    #[error("record {index} has {found} bytes: at most {MAX_EXTRA_BYTES} are allowed")]
    RecordTooLarge {
        /// Zero-based index of the record.
        index: u64,
        /// Its size in bytes.
        found: usize,
    },
    /// A checkpoint was given after records beyond it.
    #[error("the checkpoint of size {size} came after {pushed} records: give earlier checkpoints first")]
    ExpectedTooLate {
        /// Size of the checkpoint.
        size: u64,
        /// Records pushed before it was given.
        pushed: u64,
    },
    /// Two checkpoints are not of one log.
    #[error("the checkpoints are of two logs, `{expected}` and `{found}`")]
    Origin {
        /// Origin of the first checkpoint given.
        expected: KeyName,
        /// The other origin.
        found: KeyName,
    },
    /// A checkpoint disagrees with the records: one or more of the first `size` were altered.
    #[error("the first {size} records have root `{computed}`, but the log signed `{signed}`")]
    Root {
        /// Size of the checkpoint.
        size: u64,
        /// Root in the checkpoint.
        signed: Hash,
        /// Root of the records.
        computed: Hash,
    },
    /// The final checkpoint is not of this many records.
    #[error("there are {found} records, but the log signed {signed}")]
    Size {
        /// Size of the final checkpoint.
        signed: u64,
        /// Records pushed.
        found: u64,
    },
    /// An earlier checkpoint covers more records than the log has now: it was rolled back.
    #[error("there are {found} records, but the log had signed {signed} before: it was rolled back")]
    RolledBack {
        /// Size of the smallest such checkpoint.
        signed: u64,
        /// Records pushed.
        found: u64,
    },
}

/// An audit in progress. Takes memory for the checkpoints still ahead, and next to none for records.
///
/// A fault does not stop it; the first one found is what [`finish`](Self::finish) returns.
#[derive(Clone, Debug, Default)]
pub struct LogAudit {
    tree: TileTree,
    origin: Option<KeyName>,
    /// Checkpoints ahead, by size.
    ahead: BTreeMap<u64, Vec<Checkpoint>>,
    agreed: u64,
    fault: Option<LogError>,
}

impl LogAudit {
    /// Starts before the first record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also checks against an earlier checkpoint (kept by an auditor, an anchor or a witness), to be given before
    /// the records beyond it.
    pub fn expect(&mut self, checkpoint: &VerifiedCheckpoint) {
        let checkpoint = checkpoint.checkpoint().clone();
        let outcome = self.same_origin(&checkpoint);
        self.note(outcome);
        let (size, pushed) = (checkpoint.size, self.tree.size());
        if size < pushed {
            self.note(Err(LogError::ExpectedTooLate { size, pushed }));
        } else {
            self.ahead.entry(size).or_default().push(checkpoint);
            self.settle();
        }
    }

    /// Takes the next record's bytes, exactly as logged.
    pub fn push(&mut self, record: &[u8]) {
        if record.len() > MAX_EXTRA_BYTES {
            let (index, found) = (self.tree.size(), record.len());
            self.note(Err(LogError::RecordTooLarge { index, found }));
        }
        self.tree.append(leaf_hash(record));
        // Only the root is wanted here: full tiles have no further use.
        drop(self.tree.take_full_tiles());
        self.settle();
    }

    /// Checks that the records are those of the log's latest checkpoint: all of them, and nothing after them.
    ///
    /// # Errors
    /// [`LogError`], the first that was met.
    pub fn finish(mut self, latest: &VerifiedCheckpoint) -> Result<LogSummary, LogError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let latest = latest.checkpoint();
        self.same_origin(latest)?;
        let found = self.tree.size();
        if latest.size != found {
            return Err(LogError::Size { signed: latest.size, found });
        }
        if let Some(signed) = self.ahead.keys().next() {
            return Err(LogError::RolledBack { signed: *signed, found });
        }
        agrees(latest, self.tree.root())?;
        let Checkpoint { origin, size, root } = latest.clone();
        Ok(LogSummary { origin, size, root, checkpoints: self.agreed + 1 })
    }

    /// Compares the checkpoints of the size just reached.
    fn settle(&mut self) {
        let Some(checkpoints) = self.ahead.remove(&self.tree.size()) else {
            return;
        };
        let root = self.tree.root();
        for checkpoint in checkpoints {
            self.note(agrees(&checkpoint, root));
            self.agreed += 1;
        }
    }

    fn same_origin(&mut self, checkpoint: &Checkpoint) -> Result<(), LogError> {
        let expected = self.origin.get_or_insert_with(|| checkpoint.origin.clone());
        if *expected == checkpoint.origin {
            return Ok(());
        }
        Err(LogError::Origin { expected: expected.clone(), found: checkpoint.origin.clone() })
    }

    /// Keeps the first fault.
    fn note(&mut self, outcome: Result<(), LogError>) {
        if let Err(fault) = outcome {
            self.fault.get_or_insert(fault);
        }
    }
}

fn agrees(checkpoint: &Checkpoint, computed: Hash) -> Result<(), LogError> {
    let Checkpoint { size, root: signed, .. } = *checkpoint;
    if signed == computed { Ok(()) } else { Err(LogError::Root { size, signed, computed }) }
}

/// What an audit found right. Only [`LogAudit::finish`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSummary {
    origin: KeyName,
    size: u64,
    root: Hash,
    checkpoints: u64,
}

impl LogSummary {
    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.origin
    }

    /// Number of records.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root over all records.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Number of checkpoints that agreed with the records, the latest included.
    #[must_use]
    pub fn checkpoints(&self) -> u64 {
        self.checkpoints
    }
}
