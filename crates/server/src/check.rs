//! Checking the whole ledger, for `portcullis log check`, and where a check that was stopped goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use portcullis_ledger::{
    Check, CheckBeside, CheckPosition, CheckProgress, Checked, Checkpoints, KeyFileError, LedgerError,
    MasterKey, SweepPosition, is_given_up,
};
use portcullis_policy::{Authority, BundleError};
use portcullis_protocol::BundleDigest;
use portcullis_verify::{CheckpointError, UnverifiedCheckpoint, VerifierKey};
use serde::{Deserialize, Serialize};

use crate::config::ArbiterConfig;
use crate::evidence::Unvouched;

/// The file in the data directory that says how far a check came that was stopped.
pub const POSITION: &str = "log-check.json";

/// A check could not be made, or found something.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read or written.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The older checkpoint is none, or not of this log.
    #[error("the older checkpoint is not one of this log: {0}")]
    Since(CheckpointError),
    /// The vault's master key cannot be read.
    #[error(transparent)]
    VaultKey(#[from] KeyFileError),
    /// By whose keys archived bundles were signed cannot be told, so that their signatures could not be looked at.
    #[error("the signatures of archived bundles cannot be looked at: {0}")]
    Signers(Box<BundleError>),
    /// The ledger cannot be read, or is not what was signed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A [`CheckPosition`] in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Noted {
    size: u64,
    root: String,
    log: u64,
    state: u64,
    attempts: u64,
    keys: u64,
    sweep: Option<SweepPosition>,
    payloads: u64,
    opened: Option<u64>,
}

/// What is asked of a check.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckAsked<'a> {
    /// An older checkpoint, from which the log must go on.
    pub since: Option<&'a Path>,
    /// Begin with the first record, whatever an earlier check had done.
    pub restart: bool,
    /// Open kept requests and results too, with the vault's master key; otherwise they are compared with their records only.
    pub with_key: bool,
    /// Keys whose signatures on bundles count beside those of the configuration: those of an earlier time.
    pub bundle_keys: &'a [VerifierKey],
}

/// What a check of a deployment's ledger came to.
#[derive(Clone, Debug)]
pub struct LogChecked {
    /// The ledger itself.
    pub ledger: Checked,
    /// Archived bundles that records name, and for which nobody vouches whose keys are known.
    pub unvouched: BTreeSet<BundleDigest>,
}

impl LogChecked {
    /// Whether this check read everything itself, and found for each bundle who vouches for it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ledger.is_whole() && self.unvouched.is_empty()
    }
}

/// Checks the whole ledger under its anchored head, and that it goes on from an older checkpoint. A check that is
/// stopped notes how far it came; the next one goes on from there unless it is to begin anew. The note is nobody's word:
/// see [`Checked::is_whole`].
///
/// # Errors
/// [`CheckError`].
pub fn check_log(
    config: &ArbiterConfig,
    asked: &CheckAsked<'_>,
    stop: &AtomicBool,
    progress: &CheckProgress<'_>,
) -> Result<LogChecked, CheckError> {
    let path = config.data.join(POSITION);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| CheckError::File { path, error }
    };
    let master = if asked.with_key { Some(Arc::new(MasterKey::read(&config.vault_key)?)) } else { None };
    let authorities = config.signers.authorities().map_err(|error| CheckError::Signers(Box::new(error)))?;
    let given = asked.bundle_keys.iter().map(|key| Authority::any_of(vec![key.clone()]));
    let unvouched = Unvouched::default();
    let beside = CheckBeside {
        bundle_digest: unvouched.watch(authorities.into_iter().chain(given).collect()),
        master,
    };
    // Before the anchor is read: an arbiter at work may have the next one cosigned meanwhile.
    let cosigned = Checkpoints::of(&config.data, config.log_keys.clone()).newest(|_| true);
    let check = Check::open(&config.data, &config.anchor, &config.log_keys, beside)?;
    if let Some(cosigned) = cosigned.filter(|_| !is_given_up(&config.data)) {
        check.since(&cosigned)?;
    }
    if let Some(since) = asked.since {
        let note = fs::read(since).map_err(failed(since))?;
        let old = UnverifiedCheckpoint::parse(&note).and_then(|old| old.verify_with(&config.log_keys));
        check.since(&old.map_err(CheckError::Since)?)?;
    }
    let earlier = if asked.restart { None } else { noted(&path).map_err(failed(&path))? };
    let checked = check.run(earlier, stop, progress)?;
    match &checked.stopped {
        Some(position) => note(&path, position).map_err(failed(&path))?,
        None => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(error)),
            Ok(()) | Err(_) => {}
        },
    }
    Ok(LogChecked { ledger: checked, unvouched: unvouched.found() })
}

/// How far an earlier check came. A note that says nothing of use is as good as none: the check begins anew.
fn noted(path: &Path) -> io::Result<Option<CheckPosition>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let Ok(Noted { size, root, log, state, attempts, keys, sweep, payloads, opened }) =
        serde_json::from_slice(&text)
    else {
        return Ok(None);
    };
    let (rows, payloads) = ((attempts, keys), (payloads, opened));
    let position = |root| CheckPosition { size, root, log, state, rows, sweep, payloads };
    Ok(root.parse().map_or(None, |root| Some(position(root))))
}

fn note(path: &Path, position: &CheckPosition) -> io::Result<()> {
    let CheckPosition { size, root, log, state, rows, sweep, payloads } = *position;
    let (root, (attempts, keys), (payloads, opened)) = (root.to_string(), rows, payloads);
    let text =
        serde_json::to_vec(&Noted { size, root, log, state, attempts, keys, sweep, payloads, opened })?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(temporary, path)
}
