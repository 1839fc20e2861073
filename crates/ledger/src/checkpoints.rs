//! Cosigned checkpoints, beside the database: `checkpoints/<size>` in the data directory, each a signed note
//! (c2sp.org/tlog-checkpoint) with the lines of whoever cosigned it. They are no part of the state: what is lost of
//! them can be asked for again. What is read is verified, never believed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use portcullis_verify::{CosignerKey, LogKeys, UnverifiedCheckpoint, VerifiedCheckpoint};
use rustix::fs::{FlockOperation, flock};

use crate::durable::replace_durably;
use crate::error::LedgerError;

/// Cosigned checkpoints that are kept: one of each of the newest sizes.
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
        make_private(&self.directory).map_err(file())?;
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

    /// Drops the oldest beyond those that are kept. What cannot be removed now goes another time.
    fn prune(&self) {
        let sizes = self.sizes();
        for size in sizes.iter().take(sizes.len().saturating_sub(KEPT)) {
            drop(fs::remove_file(self.path(*size)));
        }
    }
}

fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
