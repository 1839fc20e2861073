//! Cosigned checkpoints, beside the database: `checkpoints/<size>` in the data directory, each a signed note
//! (c2sp.org/tlog-checkpoint) with the lines of whoever cosigned it. They are no part of the state: what is lost of
//! them can be asked for again. What is read is verified, never believed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use portcullis_verify::{CosignerKey, LogKeys, UnverifiedCheckpoint, VerifiedCheckpoint};
use rustix::fs::{FlockOperation, flock};

use crate::durable::replace_durably;
use crate::error::LedgerError;
use crate::lasting::make_directory;

/// Cosigned checkpoints that are kept: one of each of the newest sizes, and beyond these the newest of each cosigner.
const KEPT: usize = 256;

/// The cosigned checkpoints of a data directory.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    directory: PathBuf,
    log: LogKeys,
}

impl Checkpoints {
    /// Those of a data directory whose log has these keys.
    #[must_use]
    pub fn of(data: &Path, log: LogKeys) -> Self {
        Self { directory: data.join("checkpoints"), log }
    }

    /// Adds cosignatures to what is kept of a head, durably, and returns it with all that are on it now. `keys` are
    /// those whose lines are kept.
    ///
    /// # Errors
    /// [`LedgerError`]: a file that cannot be written, lines that do not verify, or another root at the same size.
    pub fn keep(
        &self,
        head: &VerifiedCheckpoint,
        lines: &str,
        keys: &[CosignerKey],
    ) -> Result<VerifiedCheckpoint, LedgerError> {
        let file = || LedgerError::file("keeping a cosigned checkpoint");
        make_directory(&self.directory).map_err(file())?;
        let lock = File::create(self.directory.join("lock")).map_err(file())?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| file()(error.into()))?;
        let kept = self.at(head.size());
        if kept.as_ref().is_some_and(|kept| kept.root() != head.root()) {
            return Err(LedgerError::Corrupt(format!("two roots were signed for size {}", head.size())));
        }
        let cosigned = kept.as_ref().map_or(head, |kept| kept).with_lines(lines, keys);
        let cosigned = cosigned.map_err(|error| LedgerError::Corrupt(error.to_string()))?;
        replace_durably(&self.path(head.size()), cosigned.note_bytes()).map_err(file())?;
        self.prune();
        Ok(cosigned)
    }

    /// The newest checkpoint that fits, if one is kept.
    #[must_use]
    pub fn newest(&self, fits: impl Fn(&VerifiedCheckpoint) -> bool) -> Option<VerifiedCheckpoint> {
        self.sizes().into_iter().rev().filter_map(|size| self.at(size)).find(fits)
    }

    /// What is kept at a size, if it is a checkpoint of that size that the log signed.
    #[must_use]
    pub fn at(&self, size: u64) -> Option<VerifiedCheckpoint> {
        let note = fs::read(self.path(size)).ok()?; // tidy: allow what cannot be read is not kept, and nothing is decided by it
        let checkpoint = UnverifiedCheckpoint::parse(&note).ok()?; // tidy: allow what is not well-formed is not kept
        let checkpoint = checkpoint.verify_with(&self.log).ok()?; // tidy: allow what no key of the log vouches for is not kept
        (checkpoint.size() == size).then_some(checkpoint)
    }

    fn path(&self, size: u64) -> PathBuf {
        self.directory.join(format!("{size:020}"))
    }

    /// The sizes of which something is kept, in order.
    fn sizes(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let names =
            entries.filter_map(|entry| entry.map_or(None, |entry| entry.file_name().into_string().ok())); // tidy: allow a name that is no text is none of these
        let mut sizes: Vec<u64> =
            names.filter(|name| name.len() == 20).filter_map(|name| name.parse().ok()).collect(); // tidy: allow another name is none of these
        sizes.sort_unstable();
        sizes
    }

    /// Drops the oldest beyond those that are kept, but for the newest with a line of each cosigner: one that cosigns
    /// seldom must find what it cosigned last, whoever else cosigned since. What cannot be removed now goes another
    /// time.
    fn prune(&self) {
        let sizes = self.sizes();
        let beyond = sizes.len().saturating_sub(KEPT);
        if beyond == 0 {
            return;
        }
        let mut cosigners = BTreeSet::new();
        for (rank, size) in sizes.iter().rev().enumerate() {
            let lines = self.at(*size).map_or_else(BTreeSet::new, |kept| signers(&kept));
            let is_newest = lines.iter().any(|cosigner| !cosigners.contains(cosigner));
            cosigners.extend(lines);
            if rank >= KEPT && !is_newest {
                drop(fs::remove_file(self.path(*size)));
            }
        }
    }
}

/// Who signed a note, by what each line says: the key's name, and the characters that hold the key's id.
fn signers(checkpoint: &VerifiedCheckpoint) -> BTreeSet<String> {
    let note = String::from_utf8_lossy(checkpoint.note_bytes());
    let lines = note.lines().filter_map(|line| line.strip_prefix("\u{2014} ")?.split_once(' '));
    lines.map(|(name, signature)| format!("{name} {}", signature.get(..6).map_or("", |id| id))).collect()
}

#[cfg(test)]
mod tests {
    use portcullis_verify::note::{signature_line, signed_text};
    use portcullis_verify::{Checkpoint, CosignerKind, Hash};

    use super::*;
    use crate::cosigner::{Cosigner, generate_cosigner};
    use crate::signer::{KeyFile, Signer, generate};
    use crate::testing::file;

    fn cosigner(name: &str) -> Cosigner {
        let (text, _) = generate_cosigner(name, CosignerKind::Ed25519).unwrap();
        let (_directory, path) = file(&text, 0o600);
        Cosigner::read(&path).unwrap()
    }

    /// Witnesses that cosign all the time pushed out what the log's second key had cosigned, which then cosigned whatever
    /// came next, whether or not it contained that.
    #[test]
    fn what_is_cosigned_often_pushed_out_what_is_cosigned_seldom() {
        let (text, verifier) = generate("gate.test/log").unwrap();
        let (directory, path) = file(&text, 0o600);
        let mut signer = KeyFile::new(path, verifier.clone());
        let kept = Checkpoints::of(directory.path(), LogKeys::from(vec![verifier.clone()]));
        let (seldom, often) = (cosigner("log.test/second"), cosigner("witness.test/w"));
        for size in 1..=300 {
            let head = Checkpoint { origin: verifier.name().clone(), size, root: Hash([7; 32]) }.to_string();
            let signature = signer.sign(signed_text(&head).unwrap()).unwrap();
            let note = format!("{head}\n{}", signature_line(&verifier, &signature));
            let head = UnverifiedCheckpoint::parse(note.as_bytes()).unwrap();
            let head = head.verify(std::slice::from_ref(&verifier)).unwrap();
            let who = if size == 1 { &seldom } else { &often };
            let line = who.line(&head, 1_800_000_000).unwrap();
            kept.keep(&head, &line, std::slice::from_ref(who.key())).unwrap();
        }
        let newest = |who: &Cosigner| {
            let keys = [who.key().clone()];
            kept.newest(|kept| kept.cosignatures(&keys).is_ok_and(|lines| !lines.is_empty())).unwrap().size()
        };
        assert_eq!((newest(&seldom), newest(&often)), (1, 300));
        assert_eq!(kept.sizes().len(), KEPT + 1);
    }
}
