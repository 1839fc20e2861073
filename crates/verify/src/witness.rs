//! What a log asks of a witness (c2sp.org/tlog-witness, `add-checkpoint`), and how a witness judges it. Over bytes:
//! whoever serves this keeps, for each log, the newest checkpoint that it cosigned, and compares and keeps at once.

use crate::checkpoint::{Checkpoint, CheckpointError, UnverifiedCheckpoint, VerifiedCheckpoint};
use crate::encoding::from_decimal;
use crate::key::KeyName;
use crate::merkle::{Hash, MerkleError, empty_root, verify_consistency};
use crate::note::MAX_NOTE_BYTES;
use crate::trust::LogKeys;

#[cfg(test)]
mod tests;

/// The most hashes in the consistency proof of a request.
pub const MAX_PROOF_LINES: usize = 63;
/// The largest request that is read, in bytes.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + 45 * (MAX_PROOF_LINES + 1) + 64;
/// The content type of an answer that says which size the witness has seen.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWitnessed {
    /// The body is not of the form that the specification gives.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The checkpoint is not well-formed.
    #[error("the checkpoint is malformed")]
    Checkpoint(#[source] CheckpointError),
    /// The witness serves no log of this name.
    #[error("this witness knows no log `{0}`")]
    UnknownOrigin(KeyName),
    /// No trusted key of the log signed, or a signature of one is wrong.
    #[error("the checkpoint is not signed by its log")]
    Unsigned(#[source] CheckpointError),
    /// The old size is above the checkpoint's.
    #[error("the old size {old} is above the checkpoint's {size}")]
    OldAboveNew {
        /// The old size.
        old: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// The witness has seen another size.
    #[error("the newest checkpoint seen has size {seen}")]
    Conflict {
        /// The size of the newest checkpoint that it cosigned.
        seen: u64,
    },
    /// The witness has seen another root at this very size.
    #[error("another root was seen at size {seen}")]
    OtherRoot {
        /// The size of the newest checkpoint that it cosigned, and of this one.
        seen: u64,
    },
    /// The log did not merely grow, or that is not proved.
    #[error("the checkpoint is not proved to extend the one seen before")]
    Inconsistent(#[source] MerkleError),
}

impl NotWitnessed {
    /// The HTTP status of the answer.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self {
            // An empty tree has one root: c2sp.org/tlog-witness asks for 422 where a checkpoint has another.
            Self::Inconsistent(_) | Self::Checkpoint(CheckpointError::EmptyRoot) => 422,
            Self::Malformed(_) | Self::Checkpoint(_) | Self::OldAboveNew { .. } => 400,
            Self::UnknownOrigin(_) => 404,
            Self::Unsigned(_) => 403,
            Self::Conflict { .. } | Self::OtherRoot { .. } => 409,
        }
    }
}

/// The body of `POST …/add-checkpoint`: nothing in it is verified.
#[derive(Clone, Debug)]
pub struct AddCheckpoint {
    old: u64,
    proof: Vec<Hash>,
    checkpoint: UnverifiedCheckpoint,
}

impl AddCheckpoint {
    /// For logs: the body that submits a checkpoint with the proof that it extends the tree of `old` records.
    #[must_use]
    pub fn body(old: u64, proof: &[Hash], checkpoint: &VerifiedCheckpoint) -> Vec<u8> {
        let mut head = format!("old {old}\n");
        for hash in proof {
            head += &format!("{hash}\n");
        }
        head.push('\n');
        [head.as_bytes(), checkpoint.note_bytes()].concat()
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`NotWitnessed`]: `Malformed` or `Checkpoint`.
    pub fn parse(body: &[u8]) -> Result<Self, NotWitnessed> {
        if body.len() > MAX_REQUEST_BYTES {
            return Err(NotWitnessed::Malformed("it is too large"));
        }
        let end = body.windows(2).position(|pair| pair == b"\n\n");
        let parts = end.and_then(|end| body.split_at_checked(end));
        let (head, rest) = parts.ok_or(NotWitnessed::Malformed("it has no empty line"))?;
        let checkpoint = rest.strip_prefix(b"\n\n").ok_or(NotWitnessed::Malformed("it has no empty line"))?;
        let head = str::from_utf8(head).map_err(|_| NotWitnessed::Malformed("it is not UTF-8"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old = old.and_then(|text| from_decimal(text).ok()); // tidy: allow None is Malformed
        let old = old.ok_or(NotWitnessed::Malformed("its first line is not `old <decimal>`"))?;
        let proof: Vec<Hash> = lines
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| NotWitnessed::Malformed("a line of the proof is no hash"))?;
        if proof.len() > MAX_PROOF_LINES {
            return Err(NotWitnessed::Malformed("the proof has more than 63 lines"));
        }
        let checkpoint = UnverifiedCheckpoint::parse(checkpoint).map_err(NotWitnessed::Checkpoint)?;
        Ok(Self { old, proof, checkpoint })
    }

    /// Checks who signed. `logs` are the keys of the logs that are served, each counting for what it counts: a log's
    /// key may have been replaced, and one that was stolen extends nothing.
    ///
    /// # Errors
    /// [`NotWitnessed`]: `UnknownOrigin`, `Unsigned` or `OldAboveNew`.
    pub fn verify(self, logs: &LogKeys) -> Result<Submitted, NotWitnessed> {
        let Self { old, proof, checkpoint } = self;
        let checkpoint = checkpoint.verify_with(logs).map_err(|error| match error {
            CheckpointError::UnknownOrigin { origin } => NotWitnessed::UnknownOrigin(origin),
            CheckpointError::NotSignedByOrigin { .. }
            | CheckpointError::Note(_)
            | CheckpointError::RetiredKey { .. }
            | CheckpointError::RevokedKey { .. } => NotWitnessed::Unsigned(error),
            CheckpointError::Form
            | CheckpointError::Origin(_)
            | CheckpointError::Size
            | CheckpointError::Root(_)
            | CheckpointError::EmptyRoot => NotWitnessed::Checkpoint(error),
        })?;
        let size = checkpoint.size();
        if old > size {
            return Err(NotWitnessed::OldAboveNew { old, size });
        }
        Ok(Submitted { old, proof, checkpoint })
    }
}

/// A checkpoint that its log submitted, signed. Whether it extends what was seen is still to be judged.
#[derive(Clone, Debug)]
pub struct Submitted {
    old: u64,
    proof: Vec<Hash>,
    checkpoint: VerifiedCheckpoint,
}

impl Submitted {
    /// The checkpoint.
    #[must_use]
    pub const fn checkpoint(&self) -> &VerifiedCheckpoint {
        &self.checkpoint
    }

    /// Checks that the log only grew since `seen`, the newest checkpoint of it that was cosigned, if there is one.
    /// Between this check and keeping the new one nothing else of this log may be judged.
    ///
    /// # Errors
    /// [`NotWitnessed`]: `Conflict`, `OtherRoot` or `Inconsistent`.
    pub fn extends(&self, seen: Option<&Checkpoint>) -> Result<(), NotWitnessed> {
        let (size, root) = seen.map_or_else(|| (0, empty_root()), |seen| (seen.size, seen.root));
        if self.old != size {
            return Err(NotWitnessed::Conflict { seen: size });
        }
        let new = self.checkpoint.checkpoint();
        if new.size == size && new.root != root {
            return Err(NotWitnessed::OtherRoot { seen: size });
        }
        verify_consistency(size, &root, new.size, &new.root, &self.proof).map_err(NotWitnessed::Inconsistent)
    }
}

/// The size in an answer of status 409: `<decimal>\n`.
#[must_use]
pub fn seen_size(body: &[u8]) -> Option<u64> {
    let text = str::from_utf8(body).map_or(None, |text| text.strip_suffix('\n'))?;
    from_decimal(text).ok() // tidy: allow None is an answer that says no size
}
