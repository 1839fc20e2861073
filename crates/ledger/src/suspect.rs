//! What the scrub found, kept beyond the process: a ledger in doubt is read whole before it is opened again.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::generation;

/// The note's name in the data directory. It says what was found.
const NOTE: &str = "doubted";

/// Notes that the ledger is in doubt, as durably as the disk still lets.
pub(crate) fn raise(directory: &Path, what: &str) -> std::io::Result<()> {
    let path = directory.join(NOTE);
    let mut file = File::create(&path)?;
    writeln!(file, "{what}")?;
    file.sync_all()?;
    generation::sync_parent(&path)
}

/// Whether the ledger is in doubt. It is, unless the directory says that there is no note.
pub(crate) fn is_raised(directory: &Path) -> bool {
    !matches!(directory.join(NOTE).try_exists(), Ok(false))
}

/// Takes the note away, after the whole ledger was read and found right.
pub(crate) fn settle(directory: &Path) -> std::io::Result<()> {
    match fs::remove_file(directory.join(NOTE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
