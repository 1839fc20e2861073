//! `portcullis witness`: cosigns the checkpoints of logs that only grew (c2sp.org/tlog-witness), to be run where the
//! logs' own hosts have no say.
//!
//! For each log it keeps the newest checkpoint that it cosigned, in a file of the state directory. The new one is on
//! the disk before the cosignature leaves, and nothing else of that log is judged between the comparison and that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use portcullis_ledger::{
    Clocks, Cosigner, DirectoryLock, KeyFileError, LockError, SignError, SystemClocks, replace_durably,
};
use portcullis_protocol::Digest;
use portcullis_verify::witness::{AddCheckpoint, NotWitnessed, Submitted};
use portcullis_verify::{
    CheckpointError, KeyName, LogKeys, UnverifiedCheckpoint, VerifiedCheckpoint, VerifierKey,
};

mod api;

pub use api::serve_witness;

/// What is kept of a log of which nothing was seen. A checkpoint has more lines.
const NOTHING: &[u8] = b"nothing was seen\n";

/// A witness cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The state directory or a file in it cannot be used.
    #[error("the witness's state `{path}`: {error}")]
    State {
        /// The directory or file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The state directory cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another witness uses the state directory. Two could each cosign another history.
    #[error("another process uses the state directory `{path}`")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file of the state does not hold a checkpoint of its log. What was seen is then unknown, and a log whose
    /// witness forgot could show another history.
    #[error(
        "`{path}` holds no checkpoint that log `{origin}` signed ({error}): what this witness has seen of it cannot \
         be told. Restore the file, or make this a new witness with a new key and an empty state directory"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The log.
        origin: KeyName,
        /// What is wrong.
        error: CheckpointError,
    },
    /// There is no state of a log. What was seen of it is then unknown, as with a damaged one.
    #[error(
        "`{path}` is not there: what this witness has seen of log `{origin}` cannot be told. If the state was lost, restore \
         it, or make this a new witness with a new key; if it never saw that log, `portcullis witness --begin {origin}`"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The log.
        origin: KeyName,
    },
    /// A log's state is begun that has begun.
    #[error("`{path}` is there already: this witness has begun to witness log `{origin}`")]
    Begun {
        /// The file.
        path: PathBuf,
        /// The log.
        origin: KeyName,
    },
    /// A log's state is begun that is not served.
    #[error("`witness.logs` has no key of log `{origin}`")]
    Unserved {
        /// The log.
        origin: KeyName,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's error.
        error: std::io::Error,
    },
}

/// Why a request got no cosignature.
#[derive(Debug)]
pub(crate) enum Refused {
    /// By the rules.
    Judged(NotWitnessed),
    /// The checkpoint cannot be kept, or was not: nothing of this log is cosigned until the witness starts again.
    Broken(String),
}

/// What is known of one log.
enum Seen {
    Nothing,
    Checkpoint(Box<VerifiedCheckpoint>),
    /// Whether the newest one is on the disk is unknown.
    Unknown,
}

struct Log {
    path: PathBuf,
    seen: Mutex<Seen>,
}

/// A witness.
pub struct Witness {
    keys: Vec<Cosigner>,
    trusted: LogKeys,
    logs: BTreeMap<KeyName, Log>,
    clocks: SystemClocks,
    _lock: DirectoryLock,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Witness").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Witness {
    /// Begins the state of a log that this witness never saw: durably says that nothing of it was seen.
    ///
    /// # Errors
    /// [`WitnessError`]: among them `Begun` and `Unserved`.
    pub fn begin(state: &Path, origin: &KeyName, trusted: &LogKeys) -> Result<(), WitnessError> {
        use std::os::unix::fs::DirBuilderExt;
        if !trusted.all().iter().any(|log| log.key.name() == origin) {
            return Err(WitnessError::Unserved { origin: origin.clone() });
        }
        let failed = |error| WitnessError::State { path: state.to_owned(), error };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(failed)?;
        let lock = DirectoryLock::acquire(state)?;
        let _lock = lock.ok_or_else(|| WitnessError::InUse { path: state.to_owned() })?;
        let path = state.join(format!("{}.checkpoint", origin_hash(origin)));
        match path.symlink_metadata() {
            Ok(_) => Err(WitnessError::Begun { path, origin: origin.clone() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                replace_durably(&path, NOTHING).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens a witness's state, which has begun for each log: one that is not there is no empty one.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn open(state: &Path, keys: &[PathBuf], trusted: LogKeys) -> Result<Self, WitnessError> {
        let keys = keys.iter().map(|path| Cosigner::read(path)).collect::<Result<_, _>>()?;
        let first = trusted.all().first().map(|log| log.key.name().clone());
        if let (Some(origin), Err(_)) = (first, state.read_dir()) {
            return Err(WitnessError::Missing { path: state.to_owned(), origin });
        }
        let lock = DirectoryLock::acquire(state)?;
        let lock = lock.ok_or_else(|| WitnessError::InUse { path: state.to_owned() })?;
        let mut logs = BTreeMap::new();
        for origin in trusted.all().iter().map(|log| log.key.name()) {
            let path = state.join(format!("{}.checkpoint", origin_hash(origin)));
            let seen = Mutex::new(read(&path, origin, &trusted)?);
            logs.insert(origin.clone(), Log { path, seen });
        }
        Ok(Self { keys, trusted, logs, clocks: SystemClocks, _lock: lock })
    }

    /// What its cosignatures are verified with.
    pub fn keys(&self) -> impl Iterator<Item = &portcullis_verify::CosignerKey> {
        self.keys.iter().map(Cosigner::key)
    }

    /// Judges a request, keeps the checkpoint, and cosigns it. Returns the signature lines.
    pub(crate) fn add_checkpoint(&self, body: &[u8]) -> Result<String, Refused> {
        let submitted = AddCheckpoint::parse(body).and_then(|request| request.verify(&self.trusted));
        let submitted = submitted.map_err(Refused::Judged)?;
        let origin = submitted.checkpoint().origin();
        let unknown = || Refused::Judged(NotWitnessed::UnknownOrigin(origin.clone()));
        let log = self.logs.get(origin).ok_or_else(unknown)?;
        let mut seen = log.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = match &*seen {
            Seen::Nothing => None,
            Seen::Checkpoint(checkpoint) => Some(checkpoint.checkpoint()),
            Seen::Unknown => return Err(Refused::Broken("its state could not be kept before".into())),
        };
        submitted.extends(newest).map_err(Refused::Judged)?;
        let (cosigned, lines) = self.cosign(&submitted)?;
        // Unknown until it is known: whatever happens on the way leaves nothing else to be cosigned.
        *seen = Seen::Unknown;
        replace_durably(&log.path, cosigned.note_bytes())
            .map_err(|error| Refused::Broken(error.to_string()))?;
        *seen = Seen::Checkpoint(Box::new(cosigned));
        Ok(lines)
    }

    fn cosign(&self, submitted: &Submitted) -> Result<(VerifiedCheckpoint, String), Refused> {
        let now = self.clocks.wall().ok_or_else(|| Refused::Broken("the clock cannot be read".into()))?;
        let failed = |error: SignError| Refused::Broken(error.to_string());
        let checkpoint = submitted.checkpoint();
        let lines: Result<String, SignError> =
            self.keys.iter().map(|key| key.line(checkpoint, now.0 / 1_000)).collect();
        let lines = lines.map_err(failed)?;
        // Of the lines that came with it, only those that were verified are kept.
        let keys: Vec<_> = self.keys().cloned().collect();
        let cosigned = checkpoint.signed_only().with_lines(&lines, &keys);
        Ok((cosigned.map_err(|error| Refused::Broken(error.to_string()))?, lines))
    }

    /// The newest checkpoint that it cosigned of the log whose origin has this SHA-256, in hexadecimal.
    pub(crate) fn checkpoint(&self, hash: &str) -> Option<Vec<u8>> {
        let (_, log) = self.logs.iter().find(|(origin, _)| origin_hash(origin) == hash)?;
        match &*log.seen.lock().unwrap_or_else(PoisonError::into_inner) {
            Seen::Checkpoint(checkpoint) => Some(checkpoint.note_bytes().to_vec()),
            Seen::Nothing | Seen::Unknown => None,
        }
    }
}

fn origin_hash(origin: &KeyName) -> String {
    hex::encode(Digest::sha256(origin.as_str().as_bytes()).as_bytes())
}

/// What was seen of a log stays seen, whatever has become since of the key that signed it.
fn read(path: &Path, origin: &KeyName, trusted: &LogKeys) -> Result<Seen, WitnessError> {
    let note = match std::fs::read(path) {
        Ok(note) if note == NOTHING => return Ok(Seen::Nothing),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(WitnessError::Missing { path: path.to_owned(), origin: origin.clone() });
        }
        Err(error) => return Err(WitnessError::State { path: path.to_owned(), error }),
        Ok(note) => note,
    };
    let own = trusted.all().iter().map(|log| &log.key).filter(|key| key.name() == origin);
    let own: Vec<VerifierKey> = own.cloned().collect();
    let checkpoint = UnverifiedCheckpoint::parse(&note).and_then(|checkpoint| checkpoint.verify(&own));
    let damaged = |error| WitnessError::Damaged { path: path.to_owned(), origin: origin.clone(), error };
    Ok(Seen::Checkpoint(Box::new(checkpoint.map_err(damaged)?)))
}
