//! Which bundle decides.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use portcullis_ledger::OrderRefused;
use portcullis_policy::{Bundle, BundleError, BundleSource, Missing, PinMismatch, Snapshot};
use portcullis_protocol::wire::{ProofCall, ProofReply, ProofStep};
use portcullis_protocol::{
    BundleDigest, BundleRef, InForce, Millis, Order, Ordered, ProofDemand, ReasonCode, Succession, Vetted,
    may_follow,
};

use crate::aside::aside;
use crate::config::ArbiterConfig;
use crate::making::replace;
use crate::offer::offered_file;
use crate::proving::{Proving, demanded};
use crate::setup::{SetupError, at, make_directory};
use crate::stages::{Stage, Stages};

mod deciding;
pub use deciding::{Deciding, deciding_source};
mod loading;
use loading::Loading;
mod prepared;
use prepared::Prepared;

/// Where activated bundles lie, in the data directory.
pub(crate) const ACTIVATED: &str = "bundles";

/// A file in there that is touched to see what time it is there.
const CLOCK: &str = "clock";
/// How long a bundle that was found sound is held for the order to activate it. Without it, it is read once more.
const HELD: Duration = Duration::from_secs(60);
/// How many compilations are waited for, of bundles that change or take one another's place meanwhile.
const ATTEMPTS: u32 = 3;
/// Threads that look into bundles.
const NEW: &str = "new bundle";

/// The bundle that decides: the one that an operator activated last, else the one that the configuration names. Another
/// takes its place only when the log says so, and then at once.
#[derive(Debug)]
pub(crate) struct Bundles {
    config: ArbiterConfig,
    deciding: RwLock<Arc<Deciding>>,
    state: Mutex<State>,
    /// Held by the one activation that is under way.
    turn: tokio::sync::Mutex<()>,
    proving: Proving,
    stages: Stages,
    loading: Loading,
}

#[derive(Debug, Default)]
struct State {
    /// What the log says; `None` before it was read.
    succession: Option<Succession>,
    /// Bundles that were found sound, and may be about to be activated.
    prepared: Prepared,
}

impl Bundles {
    /// Before the log was read, the configuration's: nothing is permitted by then.
    pub(crate) fn new(config: &ArbiterConfig) -> Self {
        let source = bundle_source(config);
        // What is fetched is laid by this process, like what is activated.
        let probe = config.data.join(ACTIVATED).join(CLOCK);
        let source = if config.source.is_some() { source.with_probe(probe) } else { source };
        let deciding = Deciding::new(config, Arc::new(source), &Succession::default());
        Self {
            config: config.clone(),
            deciding: RwLock::new(Arc::new(deciding)),
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            proving: Proving::new(&config.proofs, &config.data),
            stages: Stages::default(),
            loading: Loading::default(),
        }
    }

    fn deciding(&self) -> Arc<Deciding> {
        Arc::clone(&self.deciding.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bundle in force. Compiles it if it is not, on the calling thread: tasks and the ledger's writer
    /// [look](Self::look) or [wait](Self::ready).
    ///
    /// # Errors
    /// Why there is none. No other is served in its place.
    fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        self.deciding().current()
    }

    /// The bundle in force, for who must not wait until one is compiled. That is done beside everything else.
    ///
    /// # Errors
    /// The digest of the bundle that is being compiled.
    pub(crate) fn look(&self) -> Result<Result<Arc<Bundle>, BundleError>, BundleDigest> {
        let deciding = self.deciding();
        deciding.look().ok_or_else(|| {
            drop(self.loading.begin(&deciding.source));
            deciding.source.pin()
        })
    }

    /// The bundle in force. Waits for one that is to be compiled, on no thread, and nobody else with it.
    ///
    /// # Errors
    /// As [`Self::current`], and if what is to be compiled is another one each time.
    pub(crate) async fn ready(&self) -> Result<Arc<Bundle>, BundleError> {
        for _ in 0..ATTEMPTS {
            let deciding = self.deciding();
            match deciding.look() {
                Some(found) => return found,
                None => self.loading.begin(&deciding.source).wait().await,
            }
        }
        self.deciding().look().unwrap_or_else(|| {
            let (path, cause) = (self.config.bundle.clone(), "it is still being compiled".to_owned());
            Err(BundleError::Missing(Missing { path, cause }))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the bundle that the configuration names decides, as far as is known.
    pub(crate) fn is_the_configurations(&self) -> bool {
        self.state().succession.as_ref().is_none_or(|succession| succession.activated.is_none())
    }

    /// Whether it is known what the log says.
    pub(crate) fn knows_the_log(&self) -> bool {
        self.state().succession.is_some()
    }

    /// The turn of one activation; the next one waits.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Looks into an order before it is given: one to activate a bundle, beside the decisions, which go on by the bundle
    /// in force meanwhile. Other orders are not about bundles.
    ///
    /// # Errors
    /// Why the bundle is not to be activated.
    pub(crate) async fn look_into(
        self: &Arc<Self>,
        ordered: &Ordered,
        now: Option<Millis>,
    ) -> Result<Option<Ready>, OrderRefused> {
        let Order::ActivateBundle { bundle } = &ordered.what else { return Ok(None) };
        let (bundles, wanted) = (Arc::clone(self), bundle.clone());
        let found = aside(NEW, move || bundles.make_ready(&wanted, now)).await;
        found.ok_or(OrderRefused::Bundle(ReasonCode::PolicyEngineFailed))?.map(Some)
    }

    /// Begins, looks at or stops the proof of a bundle that was offered.
    ///
    /// # Errors
    /// Why the bundle is not to be activated, whatever is proved of it.
    pub(crate) async fn prove(
        self: &Arc<Self>,
        call: ProofCall,
        now: Option<Millis>,
    ) -> Result<ProofReply, OrderRefused> {
        let ProofCall { bundle: wanted, step } = call;
        match step {
            ProofStep::Begin => {}
            ProofStep::Look => return Ok(told(self.proving.look(&wanted.digest))),
            ProofStep::Stop => return Ok(told(self.proving.stop(&wanted.digest))),
        }
        let bundles = Arc::clone(self);
        let found = aside(NEW, move || bundles.sound(&wanted, now)).await;
        let found = found.ok_or(OrderRefused::Bundle(ReasonCode::PolicyEngineFailed))??;
        tokio::spawn(forget_later(Arc::downgrade(self), Arc::downgrade(&found.source), HELD));
        let (before, next) = (found.before(), found.bundle.proof_demand());
        if demanded(&self.config.proofs, before, next).is_none() {
            return Ok(ProofReply::NotDemanded);
        }
        self.proving.begin(found.bundle).map_err(OrderRefused::Unavailable)
    }

    /// Finds out whether a bundle that was offered could decide at `now`: sound, and proved where that is demanded.
    /// Whatever it finds, the bundle in force and its file stay as they are.
    ///
    /// # Errors
    /// Why it is not to be activated.
    fn make_ready(&self, wanted: &BundleRef, now: Option<Millis>) -> Result<Ready, OrderRefused> {
        let Found { source, bundle, succession, pinned } = self.sound(wanted, now)?;
        let (digest, demand) = (wanted.digest, bundle.proof_demand());
        let vetted = Vetted { bundle: digest, demand, proof: self.proving.proof(&digest), pinned };
        may_follow(succession.demand, &vetted).map_err(OrderRefused::Bundle)?;
        if self.config.proofs.required && vetted.proof.is_none() {
            return Err(OrderRefused::Bundle(ReasonCode::PolicyUnproved));
        }
        let left = self.state().prepared.order(wanted.clone(), source);
        drop(left);
        Ok(Ready { vetted, bundle })
    }

    /// Finds out whether a bundle that was offered is sound at `now`: signed, by enough keys of the root as it is now,
    /// newer than every other, whole, valid, right about its own cases, which it has or says that it has not, and not silent
    /// about proofs that are demanded.
    ///
    /// # Errors
    /// Why it is not to be activated.
    fn sound(&self, wanted: &BundleRef, now: Option<Millis>) -> Result<Found, OrderRefused> {
        let succession = self.state().succession.clone();
        // What was in force is not known before the log was read: every version would be newer than none.
        let succession = succession.ok_or(OrderRefused::Unavailable(ReasonCode::EvidenceRecovering))?;
        if !succession.takes(wanted.version) {
            self.put_back(wanted, &succession);
            return Err(OrderRefused::NotNewer);
        }
        // A name is what a bundle is for: one for elsewhere, signed by the same people, must not come to decide here.
        let refused = |error: BundleError| OrderRefused::Bundle(error.code());
        let (name, pinned) = match &succession.activated {
            Some(activated) => (activated.name.clone(), ProofDemand::Unsaid),
            // Which name that is must be known, and what it demands: put the pinned bundle back, or pin another, before one
            // is activated.
            None => self.pinned().map_err(refused)?,
        };
        if name != wanted.name {
            return Err(OrderRefused::Bundle(ReasonCode::PolicyPinMismatch));
        }
        // Only now: what is newer than every bundle that was in force takes the file of none of them.
        let (source, bundle) = self.loaded(wanted, &succession).map_err(refused)?;
        let now = now.ok_or(OrderRefused::Bundle(ReasonCode::ClockUnreadable))?;
        bundle.validity_at(now).map_err(OrderRefused::Bundle)?;
        bundle.refuse_untested().map_err(refused)?;
        if self.stages.timed(Stage::Try, || bundle.failed_case()).is_some() {
            return Err(OrderRefused::CaseFailed);
        }
        let found = Found { source, bundle, succession, pinned };
        if found.before() == ProofDemand::Required && found.bundle.proof_demand() == ProofDemand::Unsaid {
            return Err(OrderRefused::Bundle(ReasonCode::PolicyProofsDropped));
        }
        let left = self.state().prepared.find(wanted.clone(), Arc::clone(&found.source));
        drop(left);
        Ok(found)
    }

    /// The name of the bundle that the configuration names, and what it says of proofs: whether or not it was proved, and
    /// whether or not it is as new as what was in force, after which another is to be activated in its place.
    fn pinned(&self) -> Result<(String, ProofDemand), BundleError> {
        let bundle = match self.deciding().source.current() {
            Err(BundleError::RolledBack(_)) => bundle_source(&self.config).current()?,
            found => found?,
        };
        Ok((bundle.reference().name.clone(), bundle.proof_demand()))
    }

    /// An offered bundle, laid where it would be activated from and read from there.
    fn loaded(
        &self,
        wanted: &BundleRef,
        succession: &Succession,
    ) -> Result<(Arc<BundleSource>, Arc<Bundle>), BundleError> {
        if let Some(found) = self.held(wanted, succession) {
            return Ok(found);
        }
        self.stages.timed(Stage::Lay, || self.lay_offered(wanted))?;
        let source = self.laid_source(&wanted.digest, succession);
        let bundle = self.stages.timed(Stage::Load, || source.current())?;
        Ok((Arc::new(source), bundle))
    }

    /// The same, if it was found sound before and is still offered. It is looked at as for a decision: what changed of file,
    /// signers or what was in force has it verified anew, and if it does not hold any more it is none.
    fn held(&self, wanted: &BundleRef, succession: &Succession) -> Option<(Arc<BundleSource>, Arc<Bundle>)> {
        let source = self.state().prepared.get(&wanted.digest)?;
        if !offered_file(&self.config.data, &wanted.digest).exists() {
            return None;
        }
        source.raise(succession);
        let bundle = source.current().ok()?;
        (bundle.reference() == wanted).then_some((source, bundle))
    }

    /// How long the parts of the newest activation took.
    pub(crate) const fn stages(&self) -> &Stages {
        &self.stages
    }

    /// Lets go of a bundle whose activation the log refused. One of which that is not known is held: it may still come into
    /// force.
    pub(crate) fn not_activated(&self, bundle: &BundleDigest) {
        let left = self.state().prepared.refuse(bundle);
        drop(left);
    }

    /// Lets go of a bundle that was found sound, if nobody activated it or another took its place.
    fn forget(&self, source: &Arc<BundleSource>) {
        let left = self.state().prepared.forget(source);
        drop(left);
    }

    /// Puts the file of the bundle in force back, if it is gone or spoiled and the bundle is offered once more.
    fn put_back(&self, offered: &BundleRef, succession: &Succession) {
        if succession.activated.as_ref() == Some(offered) && self.current().is_err() {
            // If that fails too, the bundle is as missing as before, which each decision says.
            drop(self.lay_offered(offered));
        }
    }

    /// Lays an offered bundle where it would be activated from, durably, if it is signed and the one that is meant.
    fn lay_offered(&self, wanted: &BundleRef) -> Result<(), BundleError> {
        let offered = Snapshot::read(&offered_file(&self.config.data, &wanted.digest))?;
        let (found, _) = offered.signed_by(&self.config.signers.authority()?)?;
        if found != *wanted {
            return Err(BundleError::PinMismatch(PinMismatch { pin: wanted.digest, found: found.digest }));
        }
        let file = activated_file(&self.config.data, &wanted.digest);
        lay(&file, &offered.to_bytes()?)
            .map_err(|error| BundleError::Missing(Missing { path: file, cause: error.to_string() }))
    }

    fn laid_source(&self, digest: &BundleDigest, succession: &Succession) -> BundleSource {
        activated_source(&self.config, digest, succession)
            .with_probe(self.config.data.join(ACTIVATED).join(CLOCK))
    }

    /// Follows what the log says. Called by the ledger's writer, between decisions.
    pub(crate) fn stands(&self, succession: &Succession) {
        let mut state = self.state();
        if state.succession.as_ref() == Some(succession) {
            return;
        }
        let before = state.succession.replace(succession.clone()).unwrap_or_default();
        let source = match &succession.activated {
            // None was ever activated: a log only grows, so that an activation is followed by another and never by none.
            None => Arc::clone(&self.deciding().source),
            Some(_) if before.activated == succession.activated => Arc::clone(&self.deciding().source),
            Some(activated) => {
                let (prepared, left) = state.prepared.activate(activated);
                drop(left);
                prepared.unwrap_or_else(|| Arc::new(self.laid_source(&activated.digest, succession)))
            }
        };
        let next = Arc::new(Deciding::new(&self.config, source, succession));
        {
            let mut deciding = self.deciding.write().unwrap_or_else(PoisonError::into_inner);
            let left = std::mem::replace(&mut *deciding, next);
            drop(deciding);
            drop(left);
        }
        self.deciding().source.raise(succession);
    }
}

/// Lets go of a bundle that nobody has activated in time.
async fn forget_later(bundles: Weak<Bundles>, source: Weak<BundleSource>, time: Duration) {
    tokio::time::sleep(time).await;
    if let (Some(bundles), Some(source)) = (bundles.upgrade(), source.upgrade()) {
        bundles.forget(&source);
    }
}

/// The file of an activated bundle. Its name is its digest, so that no other ever takes its place.
pub(crate) fn activated_file(data: &Path, digest: &BundleDigest) -> PathBuf {
    data.join(ACTIVATED).join(format!("{}.bundle", hex::encode(digest.0.as_bytes())))
}

/// Writes a bundle's file durably.
pub(crate) fn lay(file: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    replace(file, bytes, 0o600)?;
    let directory = file.parent().unwrap_or(file);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

fn activated_source(config: &ArbiterConfig, digest: &BundleDigest, succession: &Succession) -> BundleSource {
    let file = activated_file(&config.data, digest);
    let source = BundleSource::open(file, config.signers.clone(), *digest);
    source.raise(succession);
    source
}

/// What may be activated.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// What is known of its proofs.
    pub(crate) vetted: Vetted,
    /// The bundle.
    pub(crate) bundle: Arc<Bundle>,
}

/// A bundle that was found sound, and what the log said then.
struct Found {
    source: Arc<BundleSource>,
    bundle: Arc<Bundle>,
    succession: Succession,
    /// What the pinned bundle says of proofs, where none was activated yet.
    pinned: ProofDemand,
}

impl Found {
    /// What is demanded of it by what comes before it.
    fn before(&self) -> ProofDemand {
        self.succession.demand.max(self.pinned)
    }
}

fn told(reply: Option<ProofReply>) -> ProofReply {
    reply.map_or(ProofReply::NotBegun, |reply| reply)
}

/// Takes the file of an activated bundle over to another data directory, durably, and says whether it was there. Nothing is
/// believed of it before it decides.
///
/// # Errors
/// [`SetupError`].
pub(crate) fn carry(from: &Path, to: &Path, digest: &BundleDigest) -> Result<bool, SetupError> {
    let file = activated_file(from, digest);
    let content = match std::fs::read(&file) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at(&file)(error)),
    };
    let directory = to.join(ACTIVATED);
    make_directory(&directory)?;
    replace(&activated_file(to, digest), &content, 0o600)?;
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(at(&directory))?;
    Ok(true)
}

/// The bundle that a configuration names, as its signers and its pin would have it. What the log says was in force before
/// is told to it by whoever reads the log.
#[must_use]
pub fn bundle_source(config: &ArbiterConfig) -> BundleSource {
    BundleSource::open(&config.bundle, config.signers.clone(), config.pin)
}

/// A bundle as the log names it when it comes into force.
pub(crate) fn described(bundle: &Bundle) -> InForce {
    InForce { bundle: bundle.reference().clone(), root: bundle.authority().root() }
}

#[cfg(test)]
impl PartialEq for Ready {
    fn eq(&self, other: &Self) -> bool {
        self.vetted == other.vetted && self.bundle.archive() == other.bundle.archive()
    }
}

#[cfg(test)]
impl Bundles {
    /// Has the bundle in force be one that is to be compiled again.
    pub(crate) fn is_to_be_compiled(&self) {
        let source = Arc::new(bundle_source(&self.config));
        let deciding = Deciding::new(&self.config, source, &Succession::default());
        *self.deciding.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(deciding);
    }

    /// Has the bundle in force compiled by a thread that first waits until the other end is gone.
    pub(crate) fn compiled_after(&self) -> std::sync::mpsc::Sender<()> {
        let (go, wait) = std::sync::mpsc::channel();
        let load = move |source: &BundleSource| {
            assert!(wait.recv().is_err(), "nothing is sent");
            drop(source.current());
        };
        drop(self.loading.begin_by(&self.deciding().source, load));
        go
    }
}

#[cfg(test)]
#[path = "bundles_tests.rs"]
mod tests;
