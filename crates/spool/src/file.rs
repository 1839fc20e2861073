//! The spool's file, and its entries in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_protocol::{Attempted, SpoolId, Spooled};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::frame::{encode, parse};
use crate::set_aside;

/// Largest file that is read, in bytes. A spool that was made under this bound never gets there.
const LARGEST: u64 = 256 * 1024 * 1024;

/// How much a spool keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries, at most.
    pub entries: usize,
    /// Bytes of its file, at most.
    pub bytes: u64,
}

/// Why a spool keeps nothing now.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The system says no.
    #[error("{what}: {error}")]
    Io {
        /// What was done.
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
    /// Another process uses it.
    #[error("another process holds it")]
    Held,
    /// It is larger than any spool.
    #[error("its file has {0} bytes, more than is read")]
    TooLarge(u64),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> SpoolError {
    move |error| SpoolError::Io { what, error }
}

/// The entries of a spool that are not known to be elsewhere yet, oldest first. Shared with who enters them.
pub(crate) type Entries = Arc<Mutex<VecDeque<Spooled>>>;

/// The entries. Whoever panicked with them left them whole: each change is one step.
pub(crate) fn locked(entries: &Entries) -> MutexGuard<'_, VecDeque<Spooled>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An open spool.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    path: PathBuf,
    bounds: Bounds,
    /// Held as long as the spool is open.
    _lock: File,
    file: File,
    identity: (u64, u64),
    /// Bytes of the file that hold entries.
    length: u64,
    /// Entries in the file, those that are elsewhere by now among them.
    lines: usize,
    /// Whether the file is what it is thought to be. One that is not is written anew before anything is added.
    sound: bool,
    spool: SpoolId,
    next: u64,
    entries: Entries,
}

impl SpoolFile {
    /// Opens a spool, or makes one; its directory must be there. `entries` gets what it holds. A torn tail is cut; what
    /// is damaged is set aside.
    pub(crate) fn open(path: &Path, bounds: Bounds, entries: &Entries) -> Result<Self, SpoolError> {
        let lock = lock(path)?;
        let mut file = open(path).map_err(io("opening it"))?;
        let bytes = read(&mut file)?;
        let content = parse(&bytes);
        let identity = identity(&file).map_err(io("looking at it"))?;
        let mut spool = [0; 32];
        getrandom::fill(&mut spool).map_err(|_| SpoolError::Random)?;
        let lines = content.entries.len();
        let written: Vec<u8> = content.entries.iter().filter_map(encode).flatten().collect();
        let length = size(&written);
        *locked(entries) = content.entries.into();
        let mut opened = Self {
            path: path.to_owned(),
            bounds,
            _lock: lock,
            file,
            identity,
            length,
            lines,
            sound: true,
            // A new name for what is added: no number can have been given before.
            spool: SpoolId::from_bytes(spool),
            next: 0,
            entries: Arc::clone(entries),
        };
        if content.unreadable > 0 {
            set_aside::keep(path).map_err(io("setting it aside"))?;
        }
        if content.unreadable > 0 || !bytes.starts_with(&written) {
            // Into a new file: the old one is what was set aside.
            opened.rewrite()?;
        } else {
            opened.file.set_len(length).map_err(io("cutting its torn tail"))?;
            // What was read may never have been synced.
            opened.file.sync_all().and_then(|()| sync_parent(path)).map_err(io("syncing it"))?;
        }
        Ok(opened)
    }

    /// Adds attempts, as many of the first as there is room for, and makes them durable. How many those are.
    pub(crate) fn add(&mut self, attempts: Vec<Attempted>) -> Result<usize, SpoolError> {
        if !self.is_in_place() {
            self.sound = false;
        }
        if !self.sound || self.is_worth_rewriting() {
            self.rewrite()?;
        }
        let (added, bytes) = self.fitting(attempts);
        if added.is_empty() {
            return Ok(0);
        }
        // Numbers are not given twice, even if what had them came to nothing.
        self.next = self.next.saturating_add(u64::try_from(added.len()).map_or(u64::MAX, |count| count));
        self.sound = false;
        self.file.write_all_at(&bytes, self.length).map_err(io("writing to it"))?;
        self.file.sync_data().map_err(io("syncing it"))?;
        if !self.is_in_place() {
            return Err(io("looking for it")(ErrorKind::NotFound.into()));
        }
        self.sound = true;
        self.length = self.length.saturating_add(size(&bytes));
        self.lines = self.lines.saturating_add(added.len());
        let count = added.len();
        locked(&self.entries).extend(added);
        Ok(count)
    }

    fn fitting(&self, attempts: Vec<Attempted>) -> (Vec<Spooled>, Vec<u8>) {
        let room = self.bounds.entries.saturating_sub(self.lines);
        let (mut added, mut bytes) = (Vec::new(), Vec::new());
        for (attempted, number) in attempts.into_iter().take(room).zip(self.next..) {
            let entry = Spooled { spool: self.spool, number, attempted };
            let Some(line) = encode(&entry) else { break };
            if self.length.saturating_add(size(&bytes)).saturating_add(size(&line)) > self.bounds.bytes {
                break;
            }
            bytes.extend_from_slice(&line);
            added.push(entry);
        }
        (added, bytes)
    }

    /// Whether room is scarce, and there is some to be had by leaving out what is elsewhere by now.
    fn is_worth_rewriting(&self) -> bool {
        let scarce = self.length.saturating_mul(2) > self.bounds.bytes
            || self.lines.saturating_mul(2) > self.bounds.entries;
        scarce && self.lines.saturating_mul(2) > locked(&self.entries).len().saturating_mul(3)
    }

    /// Empties the file if nothing in it is still to be entered.
    pub(crate) fn trim(&mut self) -> Result<(), SpoolError> {
        if self.length == 0 || !self.sound || !locked(&self.entries).is_empty() {
            return Ok(());
        }
        self.sound = false;
        self.file.set_len(0).and_then(|()| self.file.sync_all()).map_err(io("emptying it"))?;
        (self.sound, self.length, self.lines) = (true, 0, 0);
        Ok(())
    }

    /// Writes the entries into a new file, and puts that in the place of the old.
    fn rewrite(&mut self) -> Result<(), SpoolError> {
        let (lines, bytes) = {
            let entries = locked(&self.entries);
            let bytes: Vec<u8> = entries.iter().filter_map(encode).flatten().collect();
            (entries.len(), bytes)
        };
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        match std::fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(io("removing what was left half done")(error)),
        }
        let file = open(&new).map_err(io("making it anew"))?;
        file.write_all_at(&bytes, 0).and_then(|()| file.sync_all()).map_err(io("writing it anew"))?;
        std::fs::rename(&new, &self.path).map_err(io("putting it in its place"))?;
        sync_parent(&self.path).map_err(io("syncing its directory"))?;
        self.identity = identity(&file).map_err(io("looking at it"))?;
        (self.file, self.length, self.lines, self.sound) = (file, size(&bytes), lines, true);
        Ok(())
    }

    /// Whether the file still lies where it was opened: what is written to another is found by nobody.
    fn is_in_place(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.length
    }
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).map_or(u64::MAX, |size| size)
}

fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read(file: &mut File) -> Result<Vec<u8>, SpoolError> {
    let length = file.metadata().map_err(io("looking at it"))?.len();
    if length > LARGEST {
        return Err(SpoolError::TooLarge(length));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(io("reading it"))?;
    Ok(bytes)
}

/// The lock is on a file of its own: the spool's is replaced when it is written anew.
fn lock(path: &Path) -> Result<File, SpoolError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = open(Path::new(&name)).map_err(io("opening its lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(SpoolError::Held),
        Err(error) => Err(io("locking it")(error.into())),
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
