//! Whether a file still lies where it was opened. One that was moved away would be written on for nobody.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device and inode of a file.
pub(crate) type Identity = (u64, u64);

/// What lies where a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// That file.
    Here,
    /// Nothing. The file may be put back.
    Gone,
    /// Another file.
    Replaced,
}

impl Place {
    pub(crate) fn of(opened: Option<Identity>, found: Option<Identity>) -> Self {
        match found {
            None => Self::Gone,
            Some(_) if found == opened => Self::Here,
            Some(_) => Self::Replaced,
        }
    }
}

/// What lies at a path; `None` if nothing, or if that cannot be told.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    match std::fs::metadata(path) {
        Ok(metadata) => Some((metadata.dev(), metadata.ino())),
        Err(_) => None,
    }
}
