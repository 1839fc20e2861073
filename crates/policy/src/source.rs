//! A bundle that is looked after: as long as its directory or file holds what was verified, it decides; from the moment
//! it does not, nothing does.
//!
//! What lies there is looked at, read and held against signatures and pin under a lock, for a short while. What is signed and
//! pinned is compiled without it, once, and only those wait for it who ask for the bundle itself.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use portcullis_protocol::{BundleDigest, Digest, Succession};

use crate::disk::{self, Survey};
use crate::error::{BundleError, Fault};
use crate::signers::{BundleSigners, Vouching};
use crate::snapshot::Trusted;
use crate::{Bundle, Snapshot, Trust, clock};

/// The bundle of a directory or file. It is never older than what lies there, and there is no last-known-good.
#[derive(Debug)]
pub struct BundleSource {
    place: PathBuf,
    signers: BundleSigners,
    pin: BundleDigest,
    probe: Option<PathBuf>,
    now: fn() -> i128,
    state: Mutex<State>,
    /// Held by the one who compiles.
    compiling: Mutex<()>,
}

/// How often a bundle is compiled whose signers or predecessors change meanwhile.
const ATTEMPTS: u32 = 3;

#[derive(Debug, Default)]
struct State {
    /// Counts what changes who may sign, or what was in force before: what was judged earlier is judged anew.
    judged_by: u64,
    seen: Succession,
    vouching: Option<Vouching>,
    held: Option<Held>,
}

/// What was read last, and what came of it.
#[derive(Debug)]
struct Held {
    read: Read,
    came: Came,
}

/// What lay there when it was read.
#[derive(Clone, Debug)]
struct Read {
    survey: Survey,
    contents: Digest,
}

/// What came of what was read.
#[derive(Debug)]
enum Came {
    Out(Result<Arc<Bundle>, BundleError>),
    /// It is signed and pinned, and not compiled yet.
    Uncompiled(Arc<Uncompiled>),
}

/// A bundle that is signed and pinned, and is to be compiled.
#[derive(Debug)]
struct Uncompiled {
    read: Read,
    trusted: Trusted,
    /// By which signers and after which bundles it is trusted.
    judged_by: u64,
}

impl Held {
    fn out(read: Read, result: Result<Arc<Bundle>, BundleError>) -> Self {
        Self { read, came: Came::Out(result) }
    }

    /// Whether a survey shows that there is still what was read, as far as it matters. As long as a bundle is not compiled
    /// nothing is served, so that a change which its times do not tell is found when it is.
    fn still_is(&self, survey: &Survey) -> bool {
        let tells = match &self.came {
            Came::Out(_) => self.read.survey.settled,
            Came::Uncompiled(_) => true,
        };
        tells && self.read.survey.fingerprint == survey.fingerprint
    }

    /// Whether it was judged by those signers, and after those bundles, that count now. What was compiled and is too old is
    /// not held any more ([`BundleSource::raise`]).
    fn is_judged_by(&self, judged_by: u64) -> bool {
        match &self.came {
            Came::Out(_) => true,
            Came::Uncompiled(uncompiled) => uncompiled.judged_by == judged_by,
        }
    }

    fn bundle(&self) -> Option<&Arc<Bundle>> {
        match &self.came {
            Came::Out(result) => result.as_ref().ok(), // tidy: allow why there is none is in `came`
            Came::Uncompiled(_) => None,
        }
    }

    fn found(&self) -> Found {
        match &self.came {
            Came::Out(result) => Found::Out(result.clone()),
            Came::Uncompiled(uncompiled) => Found::Uncompiled(Arc::clone(uncompiled)),
        }
    }
}

/// What was found.
enum Found {
    Out(Result<Arc<Bundle>, BundleError>),
    Uncompiled(Arc<Uncompiled>),
}

impl BundleSource {
    /// A source that has read nothing yet: a bundle that is missing now may be there at the first
    /// [`Self::current`], and so may the chain of roots that says who signs it. `pin` is the only bundle that may decide.
    #[must_use]
    pub fn open(place: impl Into<PathBuf>, signers: BundleSigners, pin: BundleDigest) -> Self {
        Self {
            place: place.into(),
            signers,
            pin,
            probe: None,
            now: clock::now,
            state: Mutex::default(),
            compiling: Mutex::default(),
        }
    }

    /// The same, with a file beside the bundle that may be touched to see what time it is there: then a bundle that was
    /// just written need not be read again until its times are old.
    #[must_use]
    pub fn with_probe(self, probe: impl Into<PathBuf>) -> Self {
        Self { probe: Some(probe.into()), ..self }
    }

    /// The digest of the only bundle that may decide.
    #[must_use]
    pub const fn pin(&self) -> BundleDigest {
        self.pin
    }

    /// Raises what was in force before: an older bundle, or another of the same version, is not served any more, from
    /// the next [`Self::current`] on.
    pub fn raise(&self, seen: &Succession) {
        let mut state = self.lock();
        if state.seen == *seen {
            return;
        }
        state.seen.clone_from(seen);
        state.judged_by = state.judged_by.wrapping_add(1);
        let older = |bundle: &Bundle| {
            let (own, roots) = (bundle.reference(), bundle.authority().roots());
            seen.admit(own.version, own.digest, roots).is_err()
        };
        if state.held.as_ref().and_then(Held::bundle).is_some_and(|bundle| older(bundle)) {
            state.held = None;
        }
    }

    /// The bundle in force. Every call looks at the directory and at each file in it, and at the chain of roots, without
    /// reading them if nothing changed; else everything is read and verified anew. Whether the bundle is within its
    /// validity is not asked here: [`Bundle::validity_at`] is, for each decision.
    ///
    /// What is to be compiled is waited for.
    ///
    /// # Errors
    /// Why there is none. An earlier bundle is never served in its place, and the next call looks again.
    pub fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        self.current_while(&|| {})
    }

    /// As [`Self::current`], while `meanwhile` happens whenever a bundle is compiled.
    pub(crate) fn current_while(&self, meanwhile: &dyn Fn()) -> Result<Arc<Bundle>, BundleError> {
        if let Found::Out(found) = self.find()? {
            return found;
        }
        let _turn = match self.compiling.lock() {
            Ok(turn) => turn,
            // Whoever panicked left nothing behind: what is compiled is kept only when it is done.
            Err(poisoned) => poisoned.into_inner(),
        };
        for _ in 0..ATTEMPTS {
            match self.find()? {
                // Whoever had the turn before has compiled it.
                Found::Out(found) => return found,
                Found::Uncompiled(uncompiled) => self.compile(&uncompiled, meanwhile),
            }
        }
        Err(BundleError::corrupt("", Fault::Changed))
    }

    /// As [`Self::current`], for who cannot wait until a bundle is compiled: `None` if it would have to be. It is not compiled
    /// by this, and read once however often it is looked at until it is.
    #[must_use]
    pub fn look(&self) -> Option<Result<Arc<Bundle>, BundleError>> {
        match self.find() {
            Ok(Found::Out(found)) => Some(found),
            Ok(Found::Uncompiled(_)) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Looks at what lies there, and reads it if it may have changed. What is not signed and pinned is refused here.
    fn find(&self) -> Result<Found, BundleError> {
        let now = (self.now)();
        let (chain, survey) = (self.signers.survey(now), disk::survey(&self.place, now));
        let mut state = self.lock();
        let State { judged_by, seen, vouching, held } = &mut *state;
        // Whatever happens below, what was held is no longer what is known to lie there.
        let (vouched, earlier) = (vouching.take(), held.take());
        let looked = Vouching::look(&self.signers, chain?.as_ref(), vouched, now);
        let same_signers = matches!(looked, Ok((_, true)));
        if !same_signers {
            *judged_by = judged_by.wrapping_add(1);
        }
        let authority = vouching.insert(looked?.0).authority()?;
        let survey = survey?;
        let same_judges = same_signers && earlier.as_ref().is_some_and(|held| held.is_judged_by(*judged_by));
        let found = match earlier {
            Some(earlier) if same_judges && earlier.still_is(&survey) => earlier,
            earlier => {
                let trust = Trust { authority: authority.clone(), pin: self.pin, seen: seen.clone() };
                self.read(earlier, same_judges, trust, *judged_by)?
            }
        };
        Ok(held.insert(found).found())
    }

    /// Reads what lies there: what came of it, or, where that is not known yet, what is to be compiled for it.
    fn read(
        &self,
        earlier: Option<Held>,
        same_judges: bool,
        trust: Trust,
        judged_by: u64,
    ) -> Result<Held, BundleError> {
        let (files, survey) = disk::read(&self.place, (self.now)(), self.probe.as_deref())?;
        let snapshot = Snapshot::from_files(files)?;
        let read = Read { survey, contents: snapshot.contents() };
        let earlier = match earlier {
            // The very bytes that were verified, signature included.
            Some(earlier) if same_judges && earlier.read.contents == read.contents => {
                return Ok(Held { read, ..earlier });
            }
            earlier => earlier,
        };
        let trusted = match snapshot.trusted(trust) {
            Ok(trusted) => trusted,
            Err(error) => return Ok(Held::out(read, Err(error))),
        };
        if let Some(known) = earlier.as_ref().and_then(Held::bundle)
            && trusted.is_content_of(known)
        {
            let result = trusted.compiled_as(known).map(Arc::new);
            return Ok(Held::out(read, result));
        }
        let uncompiled = Uncompiled { read: read.clone(), trusted, judged_by };
        Ok(Held { read, came: Came::Uncompiled(Arc::new(uncompiled)) })
    }

    /// Compiles what was read, and holds what came of it, unless who may sign or what was in force changed meanwhile.
    fn compile(&self, uncompiled: &Uncompiled, meanwhile: &dyn Fn()) {
        meanwhile();
        let result = uncompiled.trusted.compile().map(Arc::new);
        let compiled = Held::out(uncompiled.read.clone(), result);
        let mut state = self.lock();
        let left = if state.judged_by == uncompiled.judged_by {
            state.held.replace(compiled)
        } else {
            Some(compiled)
        };
        drop(state);
        // To free a bundle takes longer than anybody should wait for the lock.
        drop(left);
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
