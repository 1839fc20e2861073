//! Bundles that are offered for activation.

use std::path::{Path, PathBuf};

use portcullis_policy::Snapshot;
use portcullis_protocol::{BundleDigest, BundleRef};

use crate::bundles::{ACTIVATED, activated_file};
use crate::config::ArbiterConfig;
use crate::making::put;
use crate::setup::{SetupError, make_directory};

/// The file in which a bundle is offered for activation. Nothing decides by it.
pub(crate) fn offered_file(data: &Path, digest: &BundleDigest) -> PathBuf {
    activated_file(data, digest).with_extension("offered")
}

/// A bundle that lies where the arbiter takes it from if it activates it, until this is dropped.
#[derive(Debug)]
pub struct Offer {
    bundle: BundleRef,
    pub(crate) file: PathBuf,
}

impl Offer {
    /// Offers a bundle to the arbiter of a data directory. It decides nothing there, and takes no other's place.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &ArbiterConfig, bundle: &Snapshot) -> Result<Self, SetupError> {
        let report = bundle.check()?;
        let reference = BundleRef { name: report.name, version: report.version, digest: report.digest };
        Self::of(config, reference, &bundle.to_bytes()?)
    }

    /// Offers a bundle as the one that its signatures name ([`Snapshot::signed_by`]). What is in it is the arbiter's to find
    /// out.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn signed(config: &ArbiterConfig, named: BundleRef, bundle: &Snapshot) -> Result<Self, SetupError> {
        Self::of(config, named, &bundle.to_bytes()?)
    }

    fn of(config: &ArbiterConfig, bundle: BundleRef, bytes: &[u8]) -> Result<Self, SetupError> {
        make_directory(&config.data.join(ACTIVATED))?;
        let file = offered_file(&config.data, &bundle.digest);
        // The arbiter lays what it takes durably, from what it has read here.
        put(&file, bytes, 0o600)?;
        Ok(Self { bundle, file })
    }

    /// What is offered.
    #[must_use]
    pub const fn bundle(&self) -> &BundleRef {
        &self.bundle
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // One that stays takes room, and the next offer of the same bundle replaces it.
        drop(std::fs::remove_file(&self.file));
    }
}
