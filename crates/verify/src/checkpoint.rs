//! Checkpoints (c2sp.org/tlog-checkpoint): a signed note that states the size and root of a log.

use std::fmt;
use std::str::FromStr;

use crate::encoding::from_decimal;
use crate::key::{KeyName, KeyNameError, VerifierKey};
use crate::merkle::{Hash, HashError, empty_root};
use crate::note::{NoteError, UnverifiedNote};
use crate::trust::{LogKey, LogKeys, Standing};

#[cfg(test)]
mod tests;

/// What a checkpoint states. By itself it is a claim: only a [`VerifiedCheckpoint`] has a signature behind it.
///
/// Its text form is the note's text: three lines with origin, size and root. Extension lines, which the spec
/// allows and discourages, are refused: nothing would check what they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log. It signs under this same name.
    pub origin: KeyName,
    /// Number of records.
    pub size: u64,
    /// Root of the Merkle tree over them (RFC 6962 §2.1).
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not three lines, each ended by a newline.
    #[error("a checkpoint states origin, size and root on exactly three lines")]
    Form,
    /// The first line cannot be the name of a log.
    #[error("the checkpoint's origin is not valid")]
    Origin(#[source] KeyNameError),
    /// The second line is no size.
    #[error("the checkpoint's size is not a decimal without leading zeros, below 2^64")]
    Size,
    /// The third line is no hash.
    #[error("the checkpoint's root is not valid")]
    Root(#[source] HashError),
    /// Size 0 with a root other than that of the empty tree.
    #[error("the checkpoint has size 0, but not the root of an empty log")]
    EmptyRoot,
    /// Not a well-formed note, or a signature on it is wrong.
    #[error("the checkpoint's note is not valid")]
    Note(#[from] NoteError),
    /// There is no key for this log.
    #[error("no known key belongs to log `{origin}`; give the verifier key of that log if you trust it")]
    UnknownOrigin {
        /// The origin that the checkpoint claims.
        origin: KeyName,
    },
    /// Only a key of the log signed that was retired before.
    #[error("the log's key `{key}` was retired at size {last}, and nothing else vouches for size {size}")]
    RetiredKey {
        /// The key.
        key: String,
        /// The largest size that it counts for.
        last: u64,
        /// The checkpoint's size.
        size: u64,
    },
    /// Only a key of the log signed that was revoked.
    #[error("only the revoked key `{key}` signed; export it again, under a checkpoint of a key that counts")]
    RevokedKey {
        /// The key.
        key: String,
    },
    /// A known key signed, but not the log's.
    #[error("log `{origin}` did not sign its checkpoint")]
    NotSignedByOrigin {
        /// The origin that the checkpoint claims.
        origin: KeyName,
    },
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines: Vec<&str> = text.split('\n').collect();
        let [origin, size, root, ""] = lines.as_slice() else {
            return Err(CheckpointError::Form);
        };
        let origin = KeyName::new(origin).map_err(CheckpointError::Origin)?;
        let size = from_decimal(size).map_err(|_| CheckpointError::Size)?;
        let root = root.parse().map_err(CheckpointError::Root)?;
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::EmptyRoot);
        }
        Ok(Self { origin, size, root })
    }
}

/// A checkpoint whose signatures have not been checked.
#[derive(Clone, Debug)]
pub struct UnverifiedCheckpoint {
    claim: Checkpoint,
    note: UnverifiedNote,
    note_bytes: Vec<u8>,
}

impl UnverifiedCheckpoint {
    /// Reads the note and the three lines of its text.
    ///
    /// # Errors
    /// [`CheckpointError`], any variant but `UnknownOrigin` and `NotSignedByOrigin`.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = UnverifiedNote::parse(bytes)?;
        let claim = note.unverified_text().parse()?;
        Ok(Self { claim, note, note_bytes: bytes.to_vec() })
    }

    /// Checks the signatures, and that the log itself made one.
    ///
    /// Each of `keys` can speak for the log of its own name. Give the keys of the logs you accept, and no others: a
    /// key that merely witnesses, given here, could pass off a log named after itself.
    ///
    /// # Errors
    /// [`CheckpointError`]: `UnknownOrigin`, `Note` or `NotSignedByOrigin`.
    pub fn verify(self, keys: &[VerifierKey]) -> Result<VerifiedCheckpoint, CheckpointError> {
        let Self { claim, note, note_bytes } = self;
        let is_log = |key: &VerifierKey| *key.name() == claim.origin;
        if !keys.iter().any(is_log) {
            return Err(CheckpointError::UnknownOrigin { origin: claim.origin });
        }
        let note = note.verify(keys)?;
        if !note.signed_by().iter().any(is_log) {
            return Err(CheckpointError::NotSignedByOrigin { origin: claim.origin });
        }
        Ok(VerifiedCheckpoint { checkpoint: claim, signed_by: note.signed_by().to_vec(), note_bytes })
    }
}

impl UnverifiedCheckpoint {
    /// The same, where keys were retired or revoked: see [`crate::trust`].
    ///
    /// # Errors
    /// [`CheckpointError`]: `UnknownOrigin`, `Note`, `NotSignedByOrigin`, `RetiredKey` or `RevokedKey`.
    pub fn verify_with(self, keys: &LogKeys) -> Result<VerifiedCheckpoint, CheckpointError> {
        let unproved = self.clone();
        self.verify(&keys.counted_at(unproved.claim.size)).map_err(|error| {
            let nobody = matches!(
                error,
                CheckpointError::UnknownOrigin { .. }
                    | CheckpointError::NotSignedByOrigin { .. }
                    | CheckpointError::Note(NoteError::NoKnownSignature)
            );
            if nobody { unproved.discounted(keys, error) } else { error }
        })
    }

    /// Names the key that signed and does not count, if that is all that is wrong.
    fn discounted(self, keys: &LogKeys, error: CheckpointError) -> CheckpointError {
        let size = self.claim.size;
        for LogKey { key, standing } in keys.all() {
            if self.clone().verify(std::slice::from_ref(key)).is_err() {
                continue;
            }
            let key = key.to_string();
            match standing {
                Standing::Revoked => return CheckpointError::RevokedKey { key },
                Standing::Until(last) if size > *last => {
                    return CheckpointError::RetiredKey { key, last: *last, size };
                }
                Standing::Until(_) | Standing::Valid => {}
            }
        }
        error
    }
}

/// A checkpoint that its log signed. Only [`UnverifiedCheckpoint::verify`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedCheckpoint {
    checkpoint: Checkpoint,
    signed_by: Vec<VerifierKey>,
    note_bytes: Vec<u8>,
}

impl VerifiedCheckpoint {
    /// What the log signed.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &KeyName {
        &self.checkpoint.origin
    }

    /// Number of records.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// Root over all records.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.checkpoint.root
    }

    /// The known keys whose signatures are on it, the log's among them.
    #[must_use]
    pub fn signed_by(&self) -> &[VerifierKey] {
        &self.signed_by
    }

    /// The same checkpoint with the lines of the keys alone that verified it: what others wrote below it is left out.
    #[must_use]
    pub fn signed_only(&self) -> Self {
        let note = UnverifiedNote::parse(&self.note_bytes)
            .map_or_else(|_| self.note_bytes.clone(), |note| note.only(&self.signed_by));
        self.with_note(note)
    }

    /// The same checkpoint with other lines below it, which only cosigners made.
    pub(crate) fn with_note(&self, note_bytes: Vec<u8>) -> Self {
        Self { note_bytes, ..self.clone() }
    }

    /// The whole note, as it was parsed, with the signature lines of unknown keys.
    #[must_use]
    pub fn note_bytes(&self) -> &[u8] {
        &self.note_bytes
    }
}
