//! A bundle that is looked after: as long as the directory holds what was verified, it decides; from the moment
//! it does not, nothing does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use portcullis_protocol::Digest;

use crate::disk::{self, Survey};
use crate::error::BundleError;
use crate::{Bundle, Snapshot, Trust, clock};

/// The bundle of a directory. It is never older than the directory's content, and there is no last-known-good.
#[derive(Debug)]
pub struct BundleSource {
    dir: PathBuf,
    trust: Trust,
    now: fn() -> i128,
    held: Mutex<Option<Held>>,
}

/// What came of the content last read.
#[derive(Debug)]
struct Held {
    survey: Survey,
    contents: Digest,
    result: Result<Arc<Bundle>, BundleError>,
}

impl BundleSource {
    /// A source that has read nothing yet: a bundle that is missing now may be there at the first
    /// [`Self::current`].
    #[must_use]
    pub fn open(dir: impl Into<PathBuf>, trust: Trust) -> Self {
        Self { dir: dir.into(), trust, now: clock::now, held: Mutex::new(None) }
    }

    /// The bundle in force. Every call looks at the directory and at each file in it, without reading them if
    /// nothing changed; else everything is read and verified anew. Whether the bundle is within its validity is
    /// not asked here: [`Bundle::validity_at`] is, for each decision.
    ///
    /// # Errors
    /// Why there is none. An earlier bundle is never served in its place, and the next call looks again.
    pub fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        let survey = disk::survey(&self.dir, (self.now)());
        let mut held = self.lock();
        let survey = match survey {
            Ok(survey) => survey,
            Err(error) => {
                *held = None;
                return Err(error);
            }
        };
        if let Some(held) = held.as_ref()
            && held.survey.settled
            && held.survey.fingerprint == survey.fingerprint
        {
            return held.result.clone();
        }
        // Whatever happens below, what was held is no longer what the directory is known to hold.
        let earlier = held.take();
        let fresh = self.read(earlier)?;
        let result = fresh.result.clone();
        *held = Some(fresh);
        result
    }

    fn read(&self, earlier: Option<Held>) -> Result<Held, BundleError> {
        let (files, survey) = disk::read(&self.dir, (self.now)())?;
        let snapshot = Snapshot::from_files(files)?;
        let contents = snapshot.contents();
        let result = match earlier {
            // The very bytes that were verified, signature included.
            Some(earlier) if earlier.contents == contents => earlier.result,
            Some(_) | None => snapshot.verify(&self.trust).map(Arc::new),
        };
        Ok(Held { survey, contents, result })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        match self.held.lock() {
            Ok(held) => held,
            Err(poisoned) => {
                // Somebody panicked half-way: forget what was held.
                let mut held = poisoned.into_inner();
                *held = None;
                self.held.clear_poison();
                held
            }
        }
    }
}

#[cfg(test)]
impl BundleSource {
    /// As if ten seconds had passed since the files were written: their times tell every further change.
    pub(crate) fn when_settled(self) -> Self {
        Self { now: || clock::now().saturating_add(10), ..self }
    }
}
