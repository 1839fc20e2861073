//! The anchor: the newest signed head, kept in a second place, so that a ledger that was rolled back or replaced
//! is found out.
//!
//! A file of two slots, written in turns: a torn write spoils one of them, and the other still has the head
//! before it. A slot is written in place, so that one `fdatasync` makes it durable.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::generation;
use crate::place::{Place, identity};
use crate::slot::{SLOT, decode, encode, slot_length};

/// The anchor file of a ledger.
#[derive(Debug)]
pub struct Anchor {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
    turn: u64,
}

impl Anchor {
    /// Opens the anchor, or makes an empty one. Returns it with the newest note that it holds.
    ///
    /// # Errors
    /// If the file cannot be opened, made durable or read.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        if file.metadata()?.len() < 2 * slot_length() {
            file.write_all_at(&vec![0; 2 * SLOT], 0)?;
        }
        Self::over(file, path)
    }

    /// Opens an anchor that must be there: where a log has begun, an empty anchor is not made, but missed.
    ///
    /// # Errors
    /// If the file is not there, or cannot be opened or read.
    pub fn existing(path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        Self::over(File::options().read(true).write(true).open(path)?, path)
    }

    /// The newest note in an anchor, for those who only read.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
        Ok(newest(&File::open(path)?).map(|(_, note)| note))
    }

    fn over(file: File, path: &Path) -> io::Result<(Self, Option<Vec<u8>>)> {
        // Who wrote it may have ended before it was durable. What is read here is handed out as anchored.
        file.sync_all()?;
        generation::sync_parent(path)?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        let newest = newest(&file);
        let turn = newest.as_ref().map_or(0, |(turn, _)| *turn);
        Ok((Self { path: path.to_owned(), file, identity, turn }, newest.map(|(_, note)| note)))
    }

    /// Notes a head without waiting for the disk: a killed process leaves it behind, a power failure may not.
    ///
    /// # Errors
    /// If it was not written.
    pub(crate) fn note(&mut self, note: &[u8]) -> io::Result<()> {
        self.turn = self.write(note)?;
        Ok(())
    }

    /// Keeps a head, durably.
    ///
    /// # Errors
    /// If it was not written or synced. The writer is then poisoned: whether it lies there is unknown.
    pub fn keep(&mut self, note: &[u8]) -> io::Result<()> {
        let turn = self.write(note)?;
        self.file.sync_data()?;
        // Not before: whoever tries again must overwrite this slot, not the one that is known to be durable.
        self.turn = turn;
        Ok(())
    }

    /// Writes the slot whose turn it is. Returns the turn.
    fn write(&self, note: &[u8]) -> io::Result<u64> {
        let turn = self.turn.saturating_add(1);
        let slot =
            encode(turn, note).ok_or_else(|| io::Error::other("the checkpoint is longer than a slot"))?;
        self.file.write_all_at(&slot, (turn % 2).saturating_mul(slot_length()))?;
        Ok(turn)
    }

    /// Whether the file is still where it was opened.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.place() == Place::Here
    }

    pub(crate) fn place(&self) -> Place {
        Place::of(Some(self.identity), identity(&self.path))
    }
}

fn newest(file: &File) -> Option<(u64, Vec<u8>)> {
    [0, 1].into_iter().filter_map(|turn| read_slot(file, turn)).max_by_key(|(turn, _)| *turn)
}

/// The turn and the note of a slot, or `None` if it was never written or is torn.
fn read_slot(file: &File, slot: u64) -> Option<(u64, Vec<u8>)> {
    let mut bytes = vec![0; SLOT];
    file.read_exact_at(&mut bytes, slot.saturating_mul(slot_length())).ok()?; // tidy: allow an unreadable slot holds no head, and a ledger without its head is refused
    decode(&bytes).filter(|(turn, _)| turn % 2 == slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_head_is_kept_and_a_torn_one_leaves_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        let (mut anchor, none) = Anchor::open(&path).unwrap();
        assert_eq!(none, None);
        for note in ["one", "two", "three"] {
            anchor.keep(note.as_bytes()).unwrap();
            assert_eq!(Anchor::open(&path).unwrap().1.unwrap(), note.as_bytes());
        }
        let file = File::options().write(true).open(&path).unwrap();
        // A bit of its note, and then its length.
        file.write_all_at(b"v", slot_length() + 44).unwrap();
        assert_eq!(Anchor::open(&path).unwrap().1.unwrap(), b"two");
        file.write_all_at(b"torn", slot_length() + 40).unwrap();
        assert_eq!(Anchor::open(&path).unwrap().1.unwrap(), b"two");
    }

    #[test]
    fn a_pulled_anchor_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("head");
        let (anchor, _) = Anchor::open(&path).unwrap();
        assert!(anchor.is_in_place());
        std::fs::rename(&path, directory.path().join("away")).unwrap();
        assert!(!anchor.is_in_place());
    }
}
