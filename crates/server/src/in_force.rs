//! The bundles that a deployment's log is about, for commands that look at them and decide nothing.

use std::path::PathBuf;

use portcullis_ledger::LedgerReader;
use portcullis_policy::{BundleError, Snapshot};
use portcullis_protocol::BundleDigest;

use crate::bundles::activated_file;
use crate::config::ArbiterConfig;
use crate::records::{RecordsError, open_ledger};

/// It cannot be told which bundle is in force, or it is not there.
#[derive(Debug, thiserror::Error)]
pub enum InForceError {
    /// The log cannot be read.
    #[error("which bundle is in force cannot be told from the log; name a bundle, or mend this: {0}")]
    Records(#[from] RecordsError),
    /// The bundle cannot be read.
    #[error("the bundle that was activated last: {0}")]
    Bundle(#[from] BundleError),
    /// Something else lies in its place.
    #[error("`{}` holds {found}, and the bundle that was activated last is {activated}", path.display())]
    Another {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: BundleDigest,
        /// What the log says.
        activated: BundleDigest,
    },
}

/// Where the bundle in force lies: the one that was activated last, by the log, else the one that the configuration names.
/// Before there is a ledger none was activated. What lies there is the activated one; whether the configuration's is the
/// pinned one is not asked.
///
/// # Errors
/// [`InForceError`]. Another bundle is never taken for it.
pub fn place_in_force(config: &ArbiterConfig) -> Result<PathBuf, InForceError> {
    if !config.data.exists() {
        return Ok(config.bundle.clone());
    }
    let succession = open_ledger(config)?.succession().map_err(RecordsError::from)?;
    let Some(activated) = succession.activated.map(|bundle| bundle.digest) else {
        return Ok(config.bundle.clone());
    };
    let path = activated_file(&config.data, &activated);
    let found = Snapshot::read(&path)?.digest();
    if found == activated { Ok(path) } else { Err(InForceError::Another { path, found, activated }) }
}

/// A bundle as the ledger keeps it, if it does and its digest is this one: unverified, for reading.
#[must_use]
pub fn archived_bundle(config: &ArbiterConfig, digest: &BundleDigest) -> Option<Snapshot> {
    let reader = open_ledger(config).ok()?;
    archived(&reader, digest)
}

/// The same, from a ledger that is open.
pub(crate) fn archived(reader: &LedgerReader, digest: &BundleDigest) -> Option<Snapshot> {
    let bytes = reader.bundle(digest).ok().flatten()?;
    Snapshot::from_archive(&bytes).ok().filter(|snapshot| snapshot.digest() == *digest)
}
