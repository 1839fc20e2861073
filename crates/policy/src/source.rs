//! A bundle that is looked after: as long as its directory or file holds what was verified, it decides; from the moment
//! it does not, nothing does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use portcullis_protocol::Digest;

use crate::disk::{self, Survey};
use crate::error::BundleError;
use crate::{Bundle, Seen, Snapshot, Trust, clock};

/// The bundle of a directory or file. It is never older than what lies there, and there is no last-known-good.
#[derive(Debug)]
pub struct BundleSource {
    place: PathBuf,
    trust: Result<Trust, BundleError>,
    now: fn() -> i128,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    held: Option<Held>,
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
    pub fn open(place: impl Into<PathBuf>, trust: Trust) -> Self {
        Self::open_with(place, Ok(trust))
    }

    /// As [`Self::open`], or, where it is not known whom to trust, one that has no bundle for that reason.
    #[must_use]
    pub fn open_with(place: impl Into<PathBuf>, trust: Result<Trust, BundleError>) -> Self {
        Self { place: place.into(), trust, now: clock::now, state: Mutex::default() }
    }

    /// Raises what was in force before: an older bundle is not served any more, from the next [`Self::current`] on.
    pub fn raise(&self, seen: Seen) {
        let mut state = self.lock();
        if state.seen == seen {
            return;
        }
        state.seen = seen;
        let older =
            |bundle: &Bundle| seen.admit(bundle.reference().version, bundle.authority().root()).is_err();
        if state.held.as_ref().is_some_and(|held| held.result.as_ref().is_ok_and(|bundle| older(bundle))) {
            state.held = None;
        }
    }

    /// The bundle in force. Every call looks at the directory and at each file in it, without reading them if
    /// nothing changed; else everything is read and verified anew. Whether the bundle is within its validity is
    /// not asked here: [`Bundle::validity_at`] is, for each decision.
    ///
    /// # Errors
    /// Why there is none. An earlier bundle is never served in its place, and the next call looks again.
    pub fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        let trust = self.trust.as_ref().map_err(Clone::clone)?;
        let survey = disk::survey(&self.place, (self.now)());
        let mut state = self.lock();
        let State { seen, held } = &mut *state;
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
        let fresh = self.read(earlier, &Trust { seen: *seen, ..trust.clone() })?;
        let result = fresh.result.clone();
        *held = Some(fresh);
        result
    }

    fn read(&self, earlier: Option<Held>, trust: &Trust) -> Result<Held, BundleError> {
        let (files, survey) = disk::read(&self.place, (self.now)())?;
        let snapshot = Snapshot::from_files(files)?;
        let contents = snapshot.contents();
        let result = match earlier {
            // The very bytes that were verified, signature included.
            Some(earlier) if earlier.contents == contents => earlier.result,
            Some(_) | None => snapshot.verify(trust).map(Arc::new),
        };
        Ok(Held { survey, contents, result })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => {
                // Somebody panicked half-way: forget what was held.
                let mut state = poisoned.into_inner();
                state.held = None;
                self.state.clear_poison();
                state
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
