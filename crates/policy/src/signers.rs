//! Whose signatures on bundles count, by what an operator has pinned, and how that is kept up to date.

use std::path::{Path, PathBuf};

use portcullis_protocol::Digest;
use portcullis_verify::VerifierKey;

use crate::disk::{self, Survey};
use crate::{Authority, BundleError, RootChain, RootError};

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
    RootChain::parse(&disk::read_chain(file, 0)?.0)
}

impl BundleSigners {
    /// Looks at the chain's file without reading it; `None` if there is no chain.
    pub(crate) fn survey(&self, now: i128) -> Result<Option<Survey>, BundleError> {
        match self {
            Self::Keys(_) => Ok(None),
            Self::Root { file, .. } => disk::survey_chain(file, now).map(Some).map_err(refused),
        }
    }

    /// Reads and verifies anew, unless the content is that of an `earlier` time. Says whether it is.
    fn read(&self, earlier: Option<Vouching>, now: i128) -> Result<(Vouching, bool), BundleError> {
        let Self::Root { file, pin } = self else {
            return Ok((Vouching { read: None, result: self.authority() }, false));
        };
        let (bytes, survey) = disk::read_chain(file, now).map_err(refused)?;
        let contents = Digest::sha256(&bytes);
        let read = Some((survey, contents));
        match earlier {
            Some(Vouching { read: Some((_, before)), result }) if before == contents => {
                Ok((Vouching { read, result }, true))
            }
            Some(_) | None => {
                let result = RootChain::parse(&bytes).and_then(|chain| chain.verify(*pin)).map_err(refused);
                Ok((Vouching { read, result }, false))
            }
        }
    }
}

/// Who may sign, as it was last found: as long as the chain's file holds what was verified. From the moment it does not,
/// nobody may.
#[derive(Debug)]
pub(crate) struct Vouching {
    /// The chain's file and the digest of its content; `None` if there is no chain.
    read: Option<(Survey, Digest)>,
    result: Result<Authority, BundleError>,
}

impl Vouching {
    /// Who may sign by what lies there now. Says whether it is what lay there at the `earlier` look: what was verified by
    /// it need not be verified anew then.
    pub(crate) fn look(
        signers: &BundleSigners,
        survey: Option<&Survey>,
        earlier: Option<Self>,
        now: i128,
    ) -> Result<(Self, bool), BundleError> {
        match earlier {
            Some(earlier) if !earlier.may_have_changed(survey) => Ok((earlier, true)),
            Some(_) | None => signers.read(earlier, now),
        }
    }

    fn may_have_changed(&self, survey: Option<&Survey>) -> bool {
        match (&self.read, survey) {
            (None, None) => false,
            (Some((read, _)), Some(now)) => !read.settled || read.fingerprint != now.fingerprint,
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    /// Who may sign.
    pub(crate) fn authority(&self) -> Result<&Authority, BundleError> {
        self.result.as_ref().map_err(Clone::clone)
    }
}
