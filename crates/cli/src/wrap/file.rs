//! A client's configuration on the disk: read, kept aside, and replaced at once, or left as it is.
//!
//! The new content is written beside the file, synced, and exchanged with it in one step; what came out of that step must
//! be what was read, or it is put back. So whoever reads the file meets the old or the new one, whenever this program
//! ends, and what somebody else wrote in between is not lost.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, OFlags, RenameFlags, flock, renameat_with};
use rustix::io::Errno;

use super::error::WrapError;
use crate::clients;

/// Longer than any configuration.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A configuration as it was read, and the lock by which this program alone works in its directory.
#[derive(Debug)]
pub(crate) struct Found {
    /// The file itself, behind symbolic links.
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    metadata: Metadata,
}

/// Why a file was not replaced, or not to the end.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: WrapError,
    /// Whether the new content is in place all the same: what it names must be there then.
    pub(crate) in_place: bool,
}

impl Failed {
    const fn in_place(error: WrapError) -> Self {
        Self { error, in_place: true }
    }
}

impl From<WrapError> for Failed {
    fn from(error: WrapError) -> Self {
        Self { error, in_place: false }
    }
}

impl From<Failed> for WrapError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Found {
    /// Reads a file, following symbolic links to it.
    pub(crate) fn read(path: &Path) -> Result<Self, WrapError> {
        let at = |error| WrapError::File { path: path.to_owned(), what: "read", error };
        let real = path.canonicalize().map_err(at)?;
        let (bytes, metadata) = content(&real).map_err(at)?;
        let unfit = |what| Err(WrapError::Unfit { path: real.clone(), what });
        if !metadata.is_file() {
            return unfit("is no file");
        }
        if metadata.nlink() != 1 {
            return unfit(
                "has other names (hard links), which would go on with the old content: make it a file of its own",
            );
        }
        if metadata.len() > LONGEST {
            return unfit("is longer than 64 MiB");
        }
        Ok(Self { path: real, bytes, metadata })
    }

    /// Where its backup is, if there is one.
    pub(crate) fn backup(&self) -> PathBuf {
        clients::backup_of(&self.path)
    }

    /// What the backup holds; `None` if there is none.
    pub(crate) fn kept(&self) -> Result<Option<Vec<u8>>, WrapError> {
        let path = self.backup();
        match content(&path) {
            Ok((bytes, metadata)) if metadata.is_file() => Ok(Some(bytes)),
            Ok(_) => Err(WrapError::Unfit { path, what: "is no file" }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WrapError::File { path, what: "read", error }),
        }
    }

    /// Keeps what was read as the backup. One that is there is never written over.
    fn keep(&self) -> Result<(), WrapError> {
        let (backup, beside) = (self.backup(), self.beside());
        let at = |error| WrapError::File { path: backup.clone(), what: "written", error };
        self.write_beside(&self.bytes).map_err(at)?;
        let kept = renameat_with(CWD, &beside, CWD, &backup, RenameFlags::NOREPLACE);
        let kept = match kept {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => fs::hard_link(&beside, &backup),
            kept => kept.map_err(io::Error::from),
        };
        // A link leaves the first name behind.
        drop(fs::remove_file(&beside));
        kept.map_err(at)?;
        self.sync_directory()
    }

    /// Puts other content in the place of what was read, with the same mode and owner.
    ///
    /// # Errors
    /// [`Failed`]. The file is then as it was, or as somebody else left it meanwhile, unless it says that the new content is
    /// in place.
    pub(crate) fn replace(&self, bytes: &[u8], keep: bool) -> Result<(), Failed> {
        let lock = self.lock()?;
        self.clear_beside(bytes)?;
        if keep {
            self.keep()?;
        }
        let at = |error| WrapError::File { path: self.path.clone(), what: "replaced", error };
        self.write_beside(bytes).map_err(at)?;
        self.exchange(bytes)?;
        self.sync_directory().map_err(Failed::in_place)?;
        drop(lock);
        Ok(())
    }

    /// Removes what a run that was killed left in the way, if it is nowhere alone there: a run that was killed just after the
    /// exchange left what came out of the file, and that may be somebody else's change.
    fn clear_beside(&self, bytes: &[u8]) -> Result<(), WrapError> {
        let path = self.beside();
        let (left, metadata) = match content(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(WrapError::File { path, what: "read", error }),
            Ok(left) => left,
        };
        let is_whole = metadata.is_file() && u64::try_from(left.len()) == Ok(metadata.len());
        let kept = self.kept()?.unwrap_or_default();
        // A run may have been killed while it wrote.
        if !is_whole || ![&self.bytes, bytes, &kept].iter().any(|known| known.starts_with(&left)) {
            return Err(WrapError::LeftBeside { path });
        }
        fs::remove_file(&path).map_err(|error| WrapError::File { path, what: "removed", error })
    }

    /// Removes the backup, after it was put back.
    pub(crate) fn forget(&self) -> Result<(), WrapError> {
        let path = self.backup();
        fs::remove_file(&path).map_err(|error| WrapError::File { path, what: "removed", error })
    }

    /// Puts what was written beside the file in its place, if the file is what was read.
    fn exchange(&self, bytes: &[u8]) -> Result<(), Failed> {
        let beside = self.beside();
        let at =
            |what| move |error: Errno| WrapError::File { path: self.path.clone(), what, error: error.into() };
        let done = match self.swap() {
            Ok(()) if self.is_what_was_read(&beside) => Ok(()),
            Ok(()) => return Err(self.put_back(bytes)),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => return Ok(self.rename_over()?),
            Err(error) => Err(at("replaced")(error)),
        };
        // What was read, of which the backup is a copy, or what was not put in its place.
        let removed = fs::remove_file(&beside);
        done?;
        removed.map_err(|error| Failed::in_place(WrapError::File { path: beside, what: "removed", error }))
    }

    fn swap(&self) -> rustix::io::Result<()> {
        renameat_with(CWD, self.beside(), CWD, &self.path, RenameFlags::EXCHANGE)
    }

    /// Puts back what came out of the file and was not what had been read: somebody else's work. What lies beside then is removed if
    /// it is ours (`bytes`), and nothing that somebody put into the file meanwhile.
    fn put_back(&self, bytes: &[u8]) -> Failed {
        let (path, beside) = (self.path.clone(), self.beside());
        if let Err(error) = self.swap() {
            let what = "put back; what was changed meanwhile lies beside the backup, as `.new`";
            return Failed::in_place(WrapError::File { path, what, error: error.into() });
        }
        let is_ours = content(&beside).is_ok_and(|(left, metadata)| metadata.is_file() && left == bytes);
        if !is_ours {
            return WrapError::LeftBeside { path: beside }.into();
        }
        match fs::remove_file(&beside) {
            Ok(()) => WrapError::Changed { path }.into(),
            Err(error) => WrapError::File { path: beside, what: "removed", error }.into(),
        }
    }

    /// Where the file system cannot exchange: the file is looked at just before it is renamed over.
    fn rename_over(&self) -> Result<(), WrapError> {
        let beside = self.beside();
        let done = if self.is_what_was_read(&self.path) {
            let at = |error| WrapError::File { path: self.path.clone(), what: "replaced", error };
            fs::rename(&beside, &self.path).map_err(at)
        } else {
            Err(WrapError::Changed { path: self.path.clone() })
        };
        if done.is_err() {
            drop(fs::remove_file(&beside));
        }
        done
    }

    fn is_what_was_read(&self, path: &Path) -> bool {
        content(path).is_ok_and(|(bytes, metadata)| {
            metadata.is_file() && bytes == self.bytes && metadata.ino() == self.metadata.ino()
        })
    }

    /// Writes the file that is to take a place, whole and synced, readable by nobody who could not read the old one.
    fn write_beside(&self, bytes: &[u8]) -> io::Result<()> {
        let path = self.beside();
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = self.fill(&mut file, bytes);
        if written.is_err() {
            drop(fs::remove_file(&path));
        }
        written
    }

    fn fill(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        let made = file.metadata()?;
        let (uid, gid) = (self.metadata.uid(), self.metadata.gid());
        if (made.uid(), made.gid()) != (uid, gid) {
            std::os::unix::fs::fchown(&*file, Some(uid), Some(gid))?;
        }
        file.set_permissions(PermissionsExt::from_mode(self.metadata.mode() & 0o7777))?;
        file.sync_all()
    }

    fn directory(&self) -> &Path {
        // The real path of a file is absolute, and not the root.
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// The name under which what is to take a place is written. Tool servers are kept from it as from the backup.
    fn beside(&self) -> PathBuf {
        let mut name: OsString = self.backup().into();
        name.push(".new");
        name.into()
    }

    /// Held until it is dropped.
    fn lock(&self) -> Result<File, WrapError> {
        let at =
            |what| move |error: io::Error| WrapError::File { path: self.directory().to_owned(), what, error };
        let directory = File::open(self.directory()).map_err(at("opened"))?;
        flock(&directory, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| at("locked: another `portcullis wrap` may be at work there")(error.into()))?;
        Ok(directory)
    }

    fn sync_directory(&self) -> Result<(), WrapError> {
        let synced = File::open(self.directory()).and_then(|directory| directory.sync_all());
        let what = "synced: what was written is in place, and may be lost if the power fails";
        synced.map_err(|error| WrapError::File { path: self.directory().to_owned(), what, error })
    }
}

/// A file's content, without waiting for what is no file, and without following a link.
pub(super) fn content(path: &Path) -> io::Result<(Vec<u8>, Metadata)> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    let mut bytes = Vec::new();
    if metadata.is_file() && metadata.len() <= LONGEST {
        file.read_to_end(&mut bytes)?;
    }
    Ok((bytes, metadata))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
