//! The keys of one log, as long as it lives: the one that signs, those that signed before it, those that were stolen.
//!
//! All keys of a log sign under its name. Which of them count is configuration, never something that comes with a
//! receipt:
//!
//! - a key **without a mark** counts for every checkpoint;
//! - a key that was retired, `VKEY until SIZE`, counts for checkpoints of at most SIZE records: what it signed while
//!   it was the log's stays good, and nothing that is made with it later is;
//! - a **revoked** key, `VKEY revoked`, counts for nothing. What is proved only by it must be proved anew, by a
//!   checkpoint of a key that counts. Which it can be: the tree is the same, so is every record's place in it.
//!
//! A line of a key that does not count is like one of an unknown key: it neither helps nor harms.

use std::fmt;
use std::str::FromStr;

use crate::encoding::from_decimal;
use crate::key::{VerifierKey, VerifierKeyError};

#[cfg(test)]
mod tests;

/// For which checkpoints a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// For all.
    Valid,
    /// For those of at most so many records.
    Until(u64),
    /// For none.
    Revoked,
}

/// A key of a log. Its text form is `VKEY`, `VKEY until SIZE` or `VKEY revoked`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKey {
    /// The key.
    pub key: VerifierKey,
    /// For which checkpoints it counts.
    pub standing: Standing,
}

/// Why a text is no key of a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogKeyError {
    /// The first word is no verifier key.
    #[error(transparent)]
    Key(#[from] VerifierKeyError),
    /// What follows it is not understood.
    #[error("a verifier key may be followed by `until SIZE` or `revoked`, and by nothing else")]
    Standing,
}

impl LogKey {
    /// Whether a checkpoint of so many records counts that only this key signed.
    #[must_use]
    pub const fn counts_at(&self, size: u64) -> bool {
        match self.standing {
            Standing::Valid => true,
            Standing::Until(last) => size <= last,
            Standing::Revoked => false,
        }
    }
}

impl From<VerifierKey> for LogKey {
    fn from(key: VerifierKey) -> Self {
        Self { key, standing: Standing::Valid }
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.standing {
            Standing::Valid => self.key.fmt(f),
            Standing::Until(size) => write!(f, "{} until {size}", self.key),
            Standing::Revoked => write!(f, "{} revoked", self.key),
        }
    }
}

impl FromStr for LogKey {
    type Err = LogKeyError;

    fn from_str(text: &str) -> Result<Self, LogKeyError> {
        let (key, words) = text.split_once(' ').map_or((text, None), |(key, words)| (key, Some(words)));
        let key = key.parse()?;
        let standing = match words {
            None => Standing::Valid,
            Some("revoked") => Standing::Revoked,
            Some(words) => {
                let size = words.strip_prefix("until ").ok_or(LogKeyError::Standing)?;
                Standing::Until(from_decimal(size).map_err(|_| LogKeyError::Standing)?)
            }
        };
        Ok(Self { key, standing })
    }
}

/// The keys of the logs that are trusted, with their standings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogKeys(Vec<LogKey>);

impl LogKeys {
    /// These keys. A key that is given twice counts only where both say so.
    #[must_use]
    pub const fn new(keys: Vec<LogKey>) -> Self {
        Self(keys)
    }

    /// Every key.
    #[must_use]
    pub fn all(&self) -> &[LogKey] {
        &self.0
    }

    /// The keys that count for a checkpoint of so many records.
    pub(crate) fn counted_at(&self, size: u64) -> Vec<VerifierKey> {
        let counts = |key: &&LogKey| self.0.iter().all(|other| other.key != key.key || other.counts_at(size));
        self.0.iter().filter(counts).map(|key| key.key.clone()).collect()
    }
}

impl From<&VerifierKey> for LogKeys {
    fn from(key: &VerifierKey) -> Self {
        Self(vec![key.clone().into()])
    }
}

impl From<&Self> for LogKeys {
    fn from(keys: &Self) -> Self {
        keys.clone()
    }
}

impl From<Vec<VerifierKey>> for LogKeys {
    fn from(keys: Vec<VerifierKey>) -> Self {
        Self(keys.into_iter().map(LogKey::from).collect())
    }
}
