//! Whose signatures on bundles count.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use portcullis_policy::{Authority, BundleError, MAX_CHAIN_BYTES, RootChain, RootError};
use portcullis_protocol::Digest;
use portcullis_verify::VerifierKey;
use rustix::fs::{Mode, OFlags};

use super::sections::PolicySection;
use super::{Config, ConfigError, parse};

/// Who may sign bundles.
#[derive(Clone, Debug)]
pub enum BundleSigners {
    /// Any one of these keys.
    Keys(Vec<VerifierKey>),
    /// Whom the newest root of a chain names.
    Root {
        /// The chain's file.
        file: PathBuf,
        /// The digest of its first root.
        pin: Digest,
    },
}

impl BundleSigners {
    /// Who may sign now. A chain is read anew each time.
    ///
    /// # Errors
    /// [`BundleError::Root`].
    pub fn authority(&self) -> Result<Authority, BundleError> {
        match self {
            Self::Keys(keys) => Ok(Authority::any_of(keys.clone())),
            Self::Root { file, pin } => {
                read_chain(file).and_then(|chain| chain.verify(*pin)).map_err(refused)
            }
        }
    }

    /// Who may sign now or might at some time before, oldest first: for bundles of that time.
    ///
    /// # Errors
    /// As [`Self::authority`].
    pub fn authorities(&self) -> Result<Vec<Authority>, BundleError> {
        match self {
            Self::Keys(_) => self.authority().map(|authority| vec![authority]),
            Self::Root { file, pin } => {
                read_chain(file).and_then(|chain| chain.verify_all(*pin)).map_err(refused)
            }
        }
    }
}

fn refused(error: RootError) -> BundleError {
    BundleError::Root(Box::new(error))
}

/// Reads a chain of roots. None of it is verified.
///
/// # Errors
/// [`RootError`]: `Unreadable`, `Form` or `Text`.
pub fn read_chain(file: &Path) -> Result<RootChain, RootError> {
    let unreadable = |error: std::io::Error| RootError::Unreadable {
        path: file.display().to_string(),
        cause: error.to_string(),
    };
    let limit = u64::try_from(MAX_CHAIN_BYTES).map_or(u64::MAX, |limit| limit.saturating_add(1));
    let mut bytes = Vec::new();
    open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    RootChain::parse(&bytes)
}

/// Opens a file. A pipe in its place would hold whoever opens it until somebody writes.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is not a regular file")) }
}

impl Config {
    pub(super) fn signers(&self, policy: &PolicySection) -> Result<BundleSigners, ConfigError> {
        match (&policy.trusted_keys, &policy.root, &policy.root_pin) {
            (Some(keys), None, None) => {
                let keys: Vec<VerifierKey> =
                    keys.iter().map(|key| parse("policy.trusted_keys", key)).collect::<Result<_, _>>()?;
                if keys.is_empty() {
                    let error = "names no key, so no bundle could ever be believed";
                    return Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() });
                }
                Ok(BundleSigners::Keys(keys))
            }
            (None, Some(root), Some(pin)) => {
                Ok(BundleSigners::Root { file: self.at(root), pin: parse("policy.root_pin", pin)? })
            }
            (None, None, None) => {
                let error = "names no key, so no bundle could ever be believed";
                Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() })
            }
            (Some(_), _, _) => {
                let error = "cannot stand beside `root`: whoever could sign alone would need no others";
                Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() })
            }
            (None, Some(_), None) | (None, None, Some(_)) => {
                let error = "`root` and `root_pin` go together: a chain that is not pinned proves nothing";
                Err(ConfigError::Value { key: "policy.root_pin", error: error.into() })
            }
        }
    }
}
