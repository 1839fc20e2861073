//! Why the ledger cannot be written or believed. Every error has the reason code under which nothing is
//! permitted.

use portcullis_protocol::{ReasonCode, record::RecordError};
use portcullis_verify::{CheckpointError, TileTreeError};
use rusqlite::{ErrorCode, ffi};

use crate::signer::SignError;
use crate::vault::VaultError;

/// An error of the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database failed.
    #[error("the ledger's database failed: {0}")]
    Database(rusqlite::Error),
    /// A file of the ledger failed.
    #[error("{what}: {error}")]
    File {
        /// What was done to which file.
        what: String,
        /// The system's error.
        error: std::io::Error,
    },
    /// The anchor could not be written.
    #[error("the anchor cannot be written: {0}")]
    Anchor(std::io::Error),
    /// The anchor names a head that the ledger does not contain.
    #[error("the ledger is behind its anchor, or forked from it: {0}")]
    BehindAnchor(String),
    /// Parts of the ledger contradict each other.
    #[error("the ledger does not verify: {0}")]
    Corrupt(String),
    /// A checkpoint does not verify.
    #[error("a checkpoint does not verify: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] SignError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl LedgerError {
    /// The reason code under which nothing is permitted.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::Database(_) | Self::File { .. } => ReasonCode::EvidenceUnwritable,
            Self::Anchor(_) => ReasonCode::EvidenceAnchorUnwritable,
            Self::BehindAnchor(_) => ReasonCode::EvidenceBehindAnchor,
            Self::Corrupt(_) | Self::Checkpoint(_) => ReasonCode::EvidenceCorrupt,
            Self::Signer(error) => error.code(),
            Self::Vault(error) => error.code(),
        }
    }

    pub(crate) fn file(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::File { what, error }
    }
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Corrupt(error.to_string()) } else { Self::Database(error) }
    }
}

/// Whether the database answered, and its answer cannot be what was written.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error() {
        // `Unknown` is SQLITE_ERROR: a table or a column that is not there.
        Some(error) => {
            matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
                || is_occupied(error.extended_code)
        }
        // Not SQLite's own: a value of another type, or a row that must be there and is not.
        None => true,
    }
}

/// Whether a row lies already where a new one belongs. New ones have indexes that no record had yet.
const fn is_occupied(extended_code: i32) -> bool {
    matches!(
        extended_code,
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID | ffi::SQLITE_CONSTRAINT_UNIQUE
    )
}

impl From<RecordError> for LedgerError {
    fn from(error: RecordError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<TileTreeError> for LedgerError {
    fn from(error: TileTreeError) -> Self {
        Self::Corrupt(error.to_string())
    }
}
