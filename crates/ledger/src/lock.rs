//! One data directory, one writer.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The exclusive lock on a data directory. Its holder is the one writer; the kernel gives it up when the holder
/// dies, however it dies.
#[derive(Debug)]
pub struct DirectoryLock {
    path: PathBuf,
    identity: (u64, u64),
    _file: File,
}

/// The lock could not be asked for.
#[derive(Debug, thiserror::Error)]
#[error("the data directory `{path}` cannot be locked: {error}")]
pub struct LockError {
    path: PathBuf,
    error: std::io::Error,
}

impl DirectoryLock {
    /// Takes the lock, or says `None` if another process has it.
    ///
    /// # Errors
    /// If the lock file cannot be opened or locked.
    pub fn acquire(directory: &Path) -> Result<Option<Self>, LockError> {
        let path = directory.join("lock");
        let failed = |error| LockError { path: path.clone(), error };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(failed(error.into())),
        }
        let metadata = file.metadata().map_err(failed)?;
        let lock = Self { identity: (metadata.dev(), metadata.ino()), _file: file, path };
        // Between opening and locking, the file may have been replaced: then this lock guards nothing.
        Ok(lock.is_held().then_some(lock))
    }

    /// Whether the directory's lock file is still the one that this lock is on. If somebody replaced it, another
    /// process could hold "the lock" too.
    #[must_use]
    pub fn is_held(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_writer_does_not_get_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::acquire(directory.path()).unwrap().unwrap();
        assert!(DirectoryLock::acquire(directory.path()).unwrap().is_none());
        drop(first);
        assert!(DirectoryLock::acquire(directory.path()).unwrap().is_some());
    }

    #[test]
    fn a_replaced_lock_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::acquire(directory.path()).unwrap().unwrap();
        assert!(lock.is_held());
        std::fs::rename(directory.path().join("lock"), directory.path().join("old")).unwrap();
        assert!(!lock.is_held());
        std::fs::write(directory.path().join("lock"), "").unwrap();
        assert!(!lock.is_held());
    }
}
