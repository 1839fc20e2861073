//! A bundle that is looked after: as long as its directory or file holds what was verified, it decides; from the moment
//! it does not, nothing does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use portcullis_protocol::{BundleDigest, Digest, Succession};

use crate::disk::{self, Survey};
use crate::error::BundleError;
use crate::signers::{BundleSigners, Vouching};
use crate::{Bundle, RootRef, Snapshot, Trust, clock};

/// The bundle of a directory or file. It is never older than what lies there, and there is no last-known-good.
#[derive(Debug)]
pub struct BundleSource {
    place: PathBuf,
    signers: BundleSigners,
    pin: BundleDigest,
    probe: Option<PathBuf>,
    now: fn() -> i128,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Succession,
    vouching: Option<Vouching>,
    held: Option<Held>,
}

/// What came of the content last read.
#[derive(Debug)]
struct Held {
    survey: Survey,
    contents: Digest,
    result: Result<Arc<Bundle>, BundleError>,
}

impl Held {
    /// Whether a survey shows that there is still what was read.
    fn still_is(&self, survey: &Survey) -> bool {
        self.survey.settled && self.survey.fingerprint == survey.fingerprint
    }
}

impl BundleSource {
    /// A source that has read nothing yet: a bundle that is missing now may be there at the first
    /// [`Self::current`], and so may the chain of roots that says who signs it. `pin` is the only bundle that may decide.
    #[must_use]
    pub fn open(place: impl Into<PathBuf>, signers: BundleSigners, pin: BundleDigest) -> Self {
        Self { place: place.into(), signers, pin, probe: None, now: clock::now, state: Mutex::default() }
    }

    /// The same, with a file beside the bundle that may be touched to see what time it is there: then a bundle that was
    /// just written need not be read again until its times are old.
    #[must_use]
    pub fn with_probe(self, probe: impl Into<PathBuf>) -> Self {
        Self { probe: Some(probe.into()), ..self }
    }

    /// Raises what was in force before: an older bundle, or another of the same version, is not served any more, from
    /// the next [`Self::current`] on.
    pub fn raise(&self, seen: &Succession) {
        let mut state = self.lock();
        if state.seen == *seen {
            return;
        }
        state.seen.clone_from(seen);
        let older = |bundle: &Bundle| {
            let (own, root) = (bundle.reference(), bundle.authority().root().map(RootRef::named));
            seen.admit(own.version, own.digest, root).is_err()
        };
        if state.held.as_ref().is_some_and(|held| held.result.as_ref().is_ok_and(|bundle| older(bundle))) {
            state.held = None;
        }
    }

    /// The bundle in force. Every call looks at the directory and at each file in it, and at the chain of roots, without
    /// reading them if nothing changed; else everything is read and verified anew. Whether the bundle is within its
    /// validity is not asked here: [`Bundle::validity_at`] is, for each decision.
    ///
    /// # Errors
    /// Why there is none. An earlier bundle is never served in its place, and the next call looks again.
    pub fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        let now = (self.now)();
        let (chain, survey) = (self.signers.survey(now), disk::survey(&self.place, now));
        let mut state = self.lock();
        let State { seen, vouching, held } = &mut *state;
        // Whatever happens below, what was held is no longer what is known to lie there.
        let (vouched, earlier) = (vouching.take(), held.take());
        let (vouched, same_signers) = Vouching::look(&self.signers, chain?.as_ref(), vouched, now)?;
        let authority = vouching.insert(vouched).authority()?;
        let survey = survey?;
        let found = match earlier {
            Some(earlier) if same_signers && earlier.still_is(&survey) => earlier,
            Some(_) | None => {
                let trust = Trust { authority: authority.clone(), pin: self.pin, seen: seen.clone() };
                self.read(earlier, same_signers, &trust)?
            }
        };
        held.insert(found).result.clone()
    }

    fn read(&self, earlier: Option<Held>, same_signers: bool, trust: &Trust) -> Result<Held, BundleError> {
        let (files, survey) = disk::read(&self.place, (self.now)(), self.probe.as_deref())?;
        let snapshot = Snapshot::from_files(files)?;
        let contents = snapshot.contents();
        let result = match earlier {
            // The very bytes that were verified, signature included.
            Some(earlier) if same_signers && earlier.contents == contents => earlier.result,
            Some(Held { result: Ok(bundle), .. }) => snapshot.verify_after(&bundle, trust).map(Arc::new),
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
                (state.vouching, state.held) = (None, None);
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
