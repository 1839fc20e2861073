//! Receipts: a record, and the proof that a signed log contains it.
//!
//! A receipt is a proof file (c2sp.org/tlog-proof) whose extra data is the record's bytes. The record is not
//! trusted for being there: it is hashed into the leaf (RFC 6962 §2.1), so another record leads to another root.
//!
//! Verified is the record and its place in the log. The bytes of the receipt are not: anyone can add a signature
//! line of an unknown key. Identify a receipt by its log and index, never by a digest of the file.

use portcullis_protocol::{Record, record::RecordError};

use crate::checkpoint::{CheckpointError, UnverifiedCheckpoint, VerifiedCheckpoint};
use crate::key::VerifierKey;
use crate::merkle::{Hash, MerkleError, leaf_hash, verify_inclusion};
use crate::proof::{ProofError, TlogProof};
use crate::trust::LogKeys;

#[cfg(test)]
mod tests;

/// Why a receipt is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not a proof file.
    #[error("the receipt is not a valid proof file")]
    Proof(#[from] ProofError),
    /// A proof file without extra data, or with none in it.
    #[error("the proof file carries no record, so it is not a receipt")]
    NoRecord,
    /// The checkpoint is malformed, or not signed by its log.
    #[error("the receipt's checkpoint is not valid")]
    Checkpoint(#[from] CheckpointError),
    /// What is in the log at this index is not a record of Portcullis.
    #[error("what the log has there is not a record")]
    Record(#[from] RecordError),
    /// The record says that it belongs elsewhere in the log.
    #[error("the record says that it is number {says}, the log has it as number {index}")]
    OtherPlace {
        /// What the record says.
        says: u64,
        /// Where the log has it.
        index: u64,
    },
    /// The signed log does not have this record at this index.
    #[error("the receipt does not prove that its record is in the log")]
    Inclusion(#[from] MerkleError),
}

/// A receipt nothing has been checked of. Its record cannot be had before [`verify`](Self::verify).
#[derive(Clone, Debug)]
pub struct UnverifiedReceipt {
    record: Vec<u8>,
    index: u64,
    hashes: Vec<Hash>,
    checkpoint: UnverifiedCheckpoint,
}

impl UnverifiedReceipt {
    /// Reads the form of a receipt.
    ///
    /// # Errors
    /// [`ReceiptError`]: `Proof`, `NoRecord` or `Checkpoint`.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let TlogProof { extra, index, hashes, checkpoint } = TlogProof::parse(bytes)?;
        let record = extra.filter(|record| !record.is_empty()).ok_or(ReceiptError::NoRecord)?;
        let checkpoint = UnverifiedCheckpoint::parse(&checkpoint)?;
        Ok(Self { record, index, hashes, checkpoint })
    }

    /// Checks that a log with one of these keys signed a tree which has this record at this index.
    ///
    /// Each of `keys` can speak for the log of its own name: see [`UnverifiedCheckpoint::verify`].
    ///
    /// # Errors
    /// [`ReceiptError`]: `Checkpoint` or `Inclusion`.
    pub fn verify(self, keys: &[VerifierKey]) -> Result<VerifiedReceipt, ReceiptError> {
        self.verify_with(&LogKeys::from(keys.to_vec()))
    }

    /// The same, where keys of the log were retired or revoked: see [`crate::trust`].
    ///
    /// # Errors
    /// [`ReceiptError`]: `Checkpoint` or `Inclusion`.
    pub fn verify_with(self, keys: &LogKeys) -> Result<VerifiedReceipt, ReceiptError> {
        let Self { record, index, hashes, checkpoint } = self;
        let checkpoint = checkpoint.verify_with(keys)?;
        verify_inclusion(&leaf_hash(&record), index, checkpoint.size(), &hashes, &checkpoint.root())?;
        Ok(VerifiedReceipt { record, index, checkpoint })
    }
}

/// A record that is in a signed log. Only [`UnverifiedReceipt::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedReceipt {
    record: Vec<u8>,
    index: u64,
    checkpoint: VerifiedCheckpoint,
}

impl VerifiedReceipt {
    /// The record's bytes, exactly as the log has them.
    #[must_use]
    pub fn record_bytes(&self) -> &[u8] {
        &self.record
    }

    /// The record.
    ///
    /// # Errors
    /// [`ReceiptError`]: `Record` or `OtherPlace`.
    pub fn record(&self) -> Result<Record, ReceiptError> {
        let record = Record::parse(&self.record)?;
        if record.seq() == self.index {
            Ok(record)
        } else {
            Err(ReceiptError::OtherPlace { says: record.seq(), index: self.index })
        }
    }

    /// The record's zero-based index in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The checkpoint it was proved against.
    #[must_use]
    pub fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// The known keys that signed that checkpoint, the log's among them.
    #[must_use]
    pub fn signed_by(&self) -> &[VerifierKey] {
        self.checkpoint.signed_by()
    }
}
