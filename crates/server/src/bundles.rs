//! Which bundle decides.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use portcullis_ledger::{LedgerError, LedgerReader, OrderRefused};
use portcullis_policy::{Bundle, BundleError, BundleSource, RootRef, Seen, Snapshot, Trust};
use portcullis_protocol::{
    BundleDigest, BundleRef, Event, InForce, Millis, Order, Ordered, ReasonCode, Record, Succession,
};

use crate::config::ArbiterConfig;
use crate::making::replace;
use crate::setup::{SetupError, at, make_directory};

/// Where activated bundles lie, in the data directory.
const ACTIVATED: &str = "bundles";

/// The bundle that decides: the one that an operator activated last, else the one that the configuration names. Another
/// takes its place only when the log says so, and then at once.
#[derive(Debug)]
pub(crate) struct Bundles {
    config: ArbiterConfig,
    deciding: RwLock<Arc<BundleSource>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    succession: Succession,
    /// A bundle that was found able to decide, and is about to be activated.
    ready: Option<(BundleDigest, Arc<BundleSource>)>,
}

impl Bundles {
    /// Before the log was read, the configuration's: nothing is permitted by then.
    pub(crate) fn new(config: &ArbiterConfig) -> Self {
        let deciding = RwLock::new(Arc::new(bundle_source(config)));
        Self { config: config.clone(), deciding, state: Mutex::default() }
    }

    /// The bundle in force.
    ///
    /// # Errors
    /// Why there is none. No other is served in its place.
    pub(crate) fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        let source = Arc::clone(&self.deciding.read().unwrap_or_else(PoisonError::into_inner));
        source.current()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
    ) -> Result<(), OrderRefused> {
        let Order::ActivateBundle { bundle } = &ordered.what else { return Ok(()) };
        let (bundles, wanted) = (Arc::clone(self), bundle.clone());
        let found = tokio::task::spawn_blocking(move || bundles.make_ready(&wanted, now)).await;
        found.map_err(|_| OrderRefused::Bundle(ReasonCode::PolicyEngineFailed))?
    }

    /// Finds out whether a bundle that lies ready could decide at `now`: signed, by enough keys of the root as it is now,
    /// newer than every other, sound, valid, and right about its own cases. Whatever it finds, nothing changes.
    ///
    /// # Errors
    /// Why it is not to be activated.
    fn make_ready(&self, wanted: &BundleRef, now: Option<Millis>) -> Result<(), OrderRefused> {
        let succession = self.state().succession.clone();
        if wanted.version <= succession.version {
            return Err(OrderRefused::NotNewer);
        }
        // A name is what a bundle is for: one for elsewhere, signed by the same people, must not come to decide here.
        let name = match (&succession.activated, self.current()) {
            (Some(activated), _) => Some(activated.name.clone()),
            (None, Ok(bundle)) => Some(bundle.reference().name.clone()),
            (None, Err(_)) => None,
        };
        if name.is_some_and(|name| name != wanted.name) {
            return Err(OrderRefused::Bundle(ReasonCode::PolicyPinMismatch));
        }
        let source = activated_source(&self.config, &wanted.digest, &succession);
        let refused = |error: BundleError| OrderRefused::Bundle(error.code());
        let bundle = source.current().map_err(refused)?;
        if bundle.reference() != wanted {
            return Err(OrderRefused::Bundle(ReasonCode::PolicyPinMismatch));
        }
        let now = now.ok_or(OrderRefused::Bundle(ReasonCode::ClockUnreadable))?;
        bundle.validity_at(now).map_err(OrderRefused::Bundle)?;
        if bundle.failed_case().is_some() {
            return Err(OrderRefused::CaseFailed);
        }
        self.state().ready = Some((wanted.digest, Arc::new(source)));
        Ok(())
    }

    /// Follows what the log says. Called by the ledger's writer, between decisions.
    pub(crate) fn stands(&self, succession: &Succession) {
        let mut state = self.state();
        if state.succession == *succession {
            return;
        }
        let another = state.succession.activated != succession.activated;
        state.succession.clone_from(succession);
        if let (true, Some(activated)) = (another, &succession.activated) {
            let ready = state.ready.take().filter(|(digest, _)| *digest == activated.digest);
            let source = match ready {
                Some((_, source)) => source,
                None => Arc::new(activated_source(&self.config, &activated.digest, succession)),
            };
            *self.deciding.write().unwrap_or_else(PoisonError::into_inner) = source;
        }
        self.deciding.read().unwrap_or_else(PoisonError::into_inner).raise(seen(succession));
    }
}

/// The file of an activated bundle. Its name is its digest, so that no other ever takes its place.
fn activated_file(data: &Path, digest: &BundleDigest) -> PathBuf {
    data.join(ACTIVATED).join(format!("{}.bundle", hex::encode(digest.0.as_bytes())))
}

fn activated_source(config: &ArbiterConfig, digest: &BundleDigest, succession: &Succession) -> BundleSource {
    let trust = config.signers.authority();
    let trust = trust.map(|authority| Trust { authority, pin: *digest, seen: seen(succession) });
    BundleSource::open_with(activated_file(&config.data, digest), trust)
}

/// The bundle that decides by the configuration and what the log says.
#[must_use]
pub fn deciding_source(config: &ArbiterConfig, succession: &Succession) -> BundleSource {
    let source = match &succession.activated {
        Some(activated) => activated_source(config, &activated.digest, succession),
        None => bundle_source(config),
    };
    source.raise(seen(succession));
    source
}

/// Puts a bundle where the arbiter takes it from when it is activated, durably. It decides nothing there.
///
/// # Errors
/// [`SetupError`].
pub fn lay_ready(config: &ArbiterConfig, bundle: &Snapshot) -> Result<BundleRef, SetupError> {
    let report = bundle.check()?;
    let file = activated_file(&config.data, &report.digest);
    let directory = config.data.join(ACTIVATED);
    make_directory(&directory)?;
    replace(&file, &bundle.to_bytes()?, 0o600)?;
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(at(&directory))?;
    Ok(BundleRef { name: report.name, version: report.version, digest: report.digest })
}

/// The bundle that a configuration names, as its signers and its pin would have it. What the log says was in force before
/// is told to it by whoever reads the log.
#[must_use]
pub fn bundle_source(config: &ArbiterConfig) -> BundleSource {
    let trust = config.signers.authority();
    let trust = trust.map(|authority| Trust { authority, pin: config.pin, seen: Seen::default() });
    BundleSource::open_with(&config.bundle, trust)
}

/// What the log says was in force, as bundles are held against it.
#[must_use]
pub fn seen(succession: &Succession) -> Seen {
    let root = succession.root.map(|(chain, version)| RootRef { chain, version });
    Seen { version: succession.version, root }
}

/// A bundle as the log names it when it comes into force.
pub(crate) fn described(bundle: &Bundle) -> InForce {
    let root = bundle.authority().root().map(|root| (root.chain, root.version));
    InForce { bundle: bundle.reference().clone(), root }
}

/// A bundle that came into force.
#[derive(Clone, Debug)]
pub struct CameIntoForce {
    /// Index of the record that says so.
    pub seq: u64,
    /// When.
    pub time: Millis,
    /// Which; `None` if the record is of a time in which they said less.
    pub bundle: Option<InForce>,
    /// The order by which it was activated, if this is that order's record.
    pub ordered: Option<Ordered>,
}

/// Every activation and every coming into force of a bundle that the log tells of, in order. The same bundle comes into
/// force again each time that the arbiter is started. An activation that no head was signed over is told too, and did not
/// hold: no coming into force follows it.
///
/// # Errors
/// [`LedgerError`].
pub fn bundle_history(ledger: &LedgerReader) -> Result<Vec<CameIntoForce>, LedgerError> {
    let mut found = Vec::new();
    ledger.for_each(|listed| {
        let Record::Event(record) = listed.record else { return };
        let activated = match record.order.as_ref().map(|order| &order.what) {
            Some(Order::ActivateBundle { bundle }) => Some(InForce { bundle: bundle.clone(), root: None }),
            Some(Order::ResolveOutcome { .. } | Order::ErasePayloads { .. }) | None => None,
        };
        if activated.is_some() || record.event == Event::BundleInForce {
            let bundle = activated.or_else(|| InForce::of_detail(&record.detail));
            found.push(CameIntoForce { seq: record.seq, time: record.time, bundle, ordered: record.order });
        }
    })?;
    Ok(found)
}
