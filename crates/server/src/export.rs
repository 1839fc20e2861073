//! Writing the log as static files (c2sp.org/tlog-tiles), and extending what was written before.
//!
//! The checkpoint is written last, over files that are durable: whoever finds one finds all that it covers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use portcullis_ledger::{Checkpoints, LedgerError, LogView, is_given_up};
use portcullis_verify::layout::{full_tiles, partial_tiles};
use portcullis_verify::tiles::TILE_WIDTH;
use portcullis_verify::{CheckpointError, LogKeys, LogPath, UnverifiedCheckpoint, VerifierKey};
use rustix::fs::{FlockOperation, flock, syncfs};

use crate::config::ArbiterConfig;
use crate::cosigning::{contains, newest_cosigned, under};
use crate::records::RecordsError;

/// Says, while an export is under way, of which log it is.
pub const UNFINISHED: &str = ".exporting";
/// What is being written. Beside the tiles and not among them: what is cut short leaves nothing with a tile's name.
const PART: &str = ".exporting.part";
const CHECKPOINT: &str = "checkpoint";
const TILES: &str = "tile";

/// An export failed. What was written so far is extended by the next one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file cannot be written or read.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The log cannot be read or does not verify.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The directory holds something else.
    #[error(
        "`{path}` is no part of an exported log; choose an empty directory, or one that `log export` made"
    )]
    NotAnExport {
        /// What was found.
        path: PathBuf,
    },
    /// Another export is writing there.
    #[error("another export is writing into `{path}`")]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The directory's checkpoint is not this log's.
    #[error("the directory holds the export of another log: {0}")]
    OtherLog(CheckpointError),
    /// An unfinished export of another log.
    #[error("the directory holds an unfinished export of another log, `{0}`")]
    OtherUnfinished(String),
    /// The directory has records that this ledger does not have.
    #[error(
        "the directory holds {exported} records of this log, and the ledger's anchored head covers {size}"
    )]
    Ahead {
        /// Records exported before.
        exported: u64,
        /// Records in the log.
        size: u64,
    },
    /// The directory's records are not those of the log.
    #[error("the directory's first {size} records are not the log's: one of them was forked or replaced")]
    Forked {
        /// Records exported before.
        size: u64,
    },
    /// Somebody asked to stop.
    #[error("interrupted after {written} files; run the same command again to go on")]
    Interrupted {
        /// Files written by this run.
        written: u64,
    },
}

/// What was exported.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Records that the exported checkpoint covers.
    pub size: u64,
    /// Records that were covered before.
    pub before: u64,
    /// Files that were written, without the checkpoint.
    pub written: u64,
}

/// Opens a view of the log at its anchored head.
///
/// # Errors
/// [`RecordsError`], also if it does not contain the newest of the cosigned checkpoints that are kept: what is handed out is
/// handed out as the log, and whoever cosigned has seen more of it.
pub fn open_log(config: &ArbiterConfig) -> Result<LogView, RecordsError> {
    let checkpoints = Checkpoints::of(&config.data, config.log_keys.clone());
    // Before the anchor is read: an arbiter at work may have the next one cosigned meanwhile.
    let cosigned = checkpoints.newest(|_| true).filter(|_| !is_given_up(&config.data));
    let view = LogView::open(&config.data, &config.anchor, &config.log_keys, None)?;
    if let Some(cosigned) = cosigned {
        contains(&view, &cosigned)?;
    }
    let kept = checkpoints.at(view.head().size());
    Ok(view.with_cosignatures(kept))
}

/// Opens a view of the log at the newest checkpoint that was cosigned; `None` if none was.
///
/// # Errors
/// [`RecordsError`], also if the ledger does not contain that checkpoint.
pub fn open_cosigned_log(config: &ArbiterConfig) -> Result<Option<LogView>, RecordsError> {
    let Some(head) = newest_cosigned(config) else { return Ok(None) };
    Ok(Some(under(&config.data, &open_log(config)?, head)?))
}

/// Writes a log into a directory, without what may be missing of a log that is pruned below `minimum`. `step` is told
/// before each file how many of how many are done, and says whether to go on.
///
/// # Errors
/// [`ExportError`].
pub fn export_log(
    view: &LogView,
    (key, keys): (&VerifierKey, &LogKeys),
    directory: &Path,
    minimum: u64,
    mut step: impl FnMut(u64, u64) -> bool,
) -> Result<Exported, ExportError> {
    let target = Target::open(directory, key)?;
    let size = view.head().size();
    let before = target.exported(view, keys)?;
    target.begin(key)?;
    let total = resources(size).count();
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    let mut written = 0_u64;
    for (done, path) in (0..).zip(resources(size)) {
        if !step(done, total) {
            return Err(ExportError::Interrupted { written });
        }
        if !path.is_prunable(minimum) && target.write(view, path, before)? {
            written = written.saturating_add(1);
        }
    }
    target.finish(view)?;
    Ok(Exported { size, before, written })
}

/// Everything but the checkpoint, in the order of the records, with what proves a bundle before it.
fn resources(size: u64) -> impl Iterator<Item = LogPath> {
    let full = full_tiles(size).into_iter().rev();
    let full = full.flat_map(|(level, count)| {
        (0..count).map(move |index| LogPath::Tile { level, index, width: TILE_WIDTH })
    });
    full.chain(partial_tiles(size)).flat_map(|tile| {
        let entries = match tile {
            LogPath::Tile { level: 0, index, width } => Some(LogPath::Entries { index, width }),
            LogPath::Tile { .. } | LogPath::Checkpoint | LogPath::Entries { .. } => None,
        };
        std::iter::once(tile).chain(entries)
    })
}

/// The directory, held against other exports.
struct Target {
    directory: PathBuf,
    held: File,
}

impl Target {
    /// Makes or opens the directory, unless it holds something else.
    fn open(directory: &Path, key: &VerifierKey) -> Result<Self, ExportError> {
        fs::create_dir_all(directory).map_err(at(directory))?;
        let held = File::open(directory).map_err(at(directory))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| ExportError::Busy { path: directory.to_owned() })?;
        let target = Self { directory: directory.to_owned(), held };
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(at(directory))? {
            names.push(entry.map_err(at(directory))?.file_name());
        }
        let known = |name: &&std::ffi::OsString| {
            [CHECKPOINT, TILES, UNFINISHED, PART].iter().all(|known| *name != known)
        };
        if let Some(name) = names.iter().find(known) {
            return Err(ExportError::NotAnExport { path: directory.join(name) });
        }
        match fs::read_to_string(target.path(UNFINISHED)) {
            Ok(of) if of.is_empty() || of == key.to_string() => {}
            Ok(of) => return Err(ExportError::OtherUnfinished(of)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let begun = names.iter().any(|name| name == TILES);
                if begun && !names.iter().any(|name| name == CHECKPOINT) {
                    return Err(ExportError::NotAnExport { path: directory.join(TILES) });
                }
            }
            Err(error) => return Err(at(&target.path(UNFINISHED))(error)),
        }
        Ok(target)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// How many records an earlier export has; they must be this log's.
    fn exported(&self, view: &LogView, keys: &LogKeys) -> Result<u64, ExportError> {
        let path = self.path(CHECKPOINT);
        let note = match fs::read(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(at(&path)(error)),
        };
        let earlier = UnverifiedCheckpoint::parse(&note).and_then(|note| note.verify_with(keys));
        let earlier = earlier.map_err(ExportError::OtherLog)?;
        let (exported, size) = (earlier.size(), view.head().size());
        if exported > size {
            return Err(ExportError::Ahead { exported, size });
        }
        if view.root_at(exported)? != earlier.root() {
            return Err(ExportError::Forked { size: exported });
        }
        Ok(exported)
    }

    fn begin(&self, key: &VerifierKey) -> Result<(), ExportError> {
        let path = self.path(UNFINISHED);
        fs::write(&path, key.to_string()).map_err(at(&path))
    }

    /// Writes a resource unless it is there. What an earlier checkpoint covers is not written again: it was durable
    /// before that checkpoint was. Returns whether something was written.
    fn write(&self, view: &LogView, path: LogPath, before: u64) -> Result<bool, ExportError> {
        let file = self.path(&path.to_string());
        if path.is_within(before) && fs::symlink_metadata(&file).is_ok() {
            return Ok(false);
        }
        let bytes =
            view.resource(path)?.ok_or_else(|| LedgerError::Corrupt(format!("the log has no `{path}`")))?;
        if fs::read(&file).is_ok_and(|found| found == bytes) {
            return Ok(false);
        }
        fs::create_dir_all(file.parent().unwrap_or(&self.directory)).map_err(at(&file))?;
        let temporary = self.path(PART);
        fs::write(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &file)).map_err(at(&file))?;
        Ok(true)
    }

    /// Makes all durable, then writes the checkpoint at once.
    fn finish(&self, view: &LogView) -> Result<(), ExportError> {
        syncfs(&self.held).map_err(|error| at(&self.directory)(error.into()))?;
        let (path, temporary) = (self.path(CHECKPOINT), self.path(PART));
        let write = || -> io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(view.head().note_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            self.held.sync_all()?;
            fs::remove_file(self.path(UNFINISHED))
        };
        write().map_err(at(&path))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ExportError {
    let path = path.to_owned();
    move |error| ExportError::File { path, error }
}
