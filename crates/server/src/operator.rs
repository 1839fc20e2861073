//! The operator's lever: a mark in the data directory that shuts the gate.
//!
//! It is a file because it must work when nothing else does. Whoever can write the data directory can already
//! stop the arbiter; nobody can open anything with it that is not open without it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The mark could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("the shut mark in `{directory}` cannot be {done}: {error}")]
pub struct OperatorError {
    directory: String,
    done: &'static str,
    error: std::io::Error,
}

fn failed(data: &Path, done: &'static str) -> impl FnOnce(std::io::Error) -> OperatorError {
    let directory = data.display().to_string();
    move |error| OperatorError { directory, done, error }
}

/// Why the gate is shut, or `None` if it is not.
///
/// # Errors
/// If that cannot be told; the gate then counts as shut.
pub fn is_shut(data: &Path) -> Result<Option<String>, OperatorError> {
    let mark = data.join("SHUT");
    match std::fs::symlink_metadata(&mark) {
        // A link that leads nowhere is there, and unreadable.
        Ok(_) => {
            let reason = std::fs::read_to_string(&mark).map_err(failed(data, "read"))?;
            Ok(Some(reason.trim_end().to_owned()))
        }
        // Without its directory the mark is not absent but unreadable.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && data.is_dir() => Ok(None),
        Err(error) => Err(failed(data, "read")(error)),
    }
}

/// Shuts the gate: from the next decision on, nothing is permitted.
///
/// # Errors
/// If the mark cannot be made durable.
pub fn shut(data: &Path, reason: &str) -> Result<(), OperatorError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(data.join("SHUT"))?;
        writeln!(file, "{reason}")?;
        file.sync_all()?;
        File::open(data)?.sync_all()
    };
    write().map_err(failed(data, "written"))
}

/// Opens the gate again. Returns why it was shut, or `None` if it was not.
///
/// # Errors
/// If the mark cannot be read or removed.
pub fn open(data: &Path) -> Result<Option<String>, OperatorError> {
    let reason = is_shut(data)?;
    if reason.is_some() {
        std::fs::remove_file(data.join("SHUT")).map_err(failed(data, "removed"))?;
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_shuts_until_it_is_removed_and_an_unreadable_one_is_no_absence() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(is_shut(directory.path()).unwrap(), None);
        shut(directory.path(), "incident 7").unwrap();
        assert_eq!(is_shut(directory.path()).unwrap().as_deref(), Some("incident 7"));
        assert_eq!(open(directory.path()).unwrap().as_deref(), Some("incident 7"));
        assert_eq!(open(directory.path()).unwrap(), None);
        std::fs::create_dir(directory.path().join("SHUT")).unwrap();
        assert!(is_shut(directory.path()).is_err());
        std::fs::remove_dir(directory.path().join("SHUT")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("SHUT")).unwrap();
        assert!(is_shut(directory.path()).is_err());
        assert!(is_shut(&directory.path().join("gone")).is_err());
    }
}
