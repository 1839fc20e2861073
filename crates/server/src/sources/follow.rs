//! Following a source: the pinned bundle is fetched while it is not on the disk, and what lies at the source now is told.
//! Nothing that is found there comes into force by that: the pin, and the operators' orders, say what does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_ledger::{Clocks, SystemClocks};
use portcullis_policy::{BundleError, PinMismatch, Snapshot};
use portcullis_protocol::{BundleDigest, BundleRef, Millis, ReasonCode, RolledBack};
use tokio::task::JoinHandle;

use super::error::SourceError;
use super::fetch::{Fetched, Source};
use crate::bundles::{Bundles, lay};
use crate::config::{ArbiterConfig, SourceConfig};
use crate::remote::SourceHealth;
use crate::setup::{SetupError, make_directory};

/// How long after a first failure the source is asked again; twice as long after each further one.
const FIRST_REST: Duration = Duration::from_secs(1);
/// How often it is looked whether the pinned bundle still lies on the disk.
const LOOK: Duration = Duration::from_millis(500);

/// What lies at the source, as far as is known.
#[derive(Clone, Debug, Default)]
enum Found {
    #[default]
    Unasked,
    /// A bundle that those signed whom the configuration believes, and until when it may decide.
    Signed(BundleRef, Millis),
    /// Something else.
    Refused(BundleError),
}

#[derive(Debug, Default)]
struct Told {
    found: Found,
    /// Failures in a row since something was found, and the last of them.
    failures: u32,
    failed: Option<(&'static str, String)>,
}

/// A source that is followed. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Following {
    location: String,
    pin: BundleDigest,
    bundles: Arc<Bundles>,
    told: Arc<Mutex<Told>>,
    rounds: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.rounds.abort();
    }
}

impl Following {
    /// Follows the source that a configuration names, if it names one.
    pub(crate) fn begin(config: &ArbiterConfig, bundles: &Arc<Bundles>) -> Option<Self> {
        let SourceConfig { remote, access, interval } = config.source.clone()?;
        let following = |told, rounds| Self {
            location: remote.named().to_owned(),
            pin: config.pin,
            bundles: Arc::clone(bundles),
            told,
            rounds,
        };
        let told = Arc::new(Mutex::new(Told::default()));
        let source = match Source::new(remote.clone(), &access) {
            Ok(source) => source,
            // The configuration was read by the same rule.
            Err(error) => {
                lock(&told).failed = Some(("source.unreachable", error.to_string()));
                return Some(following(told, tokio::spawn(async {})));
            }
        };
        let follower = Follower {
            source,
            interval,
            config: config.clone(),
            bundles: Arc::clone(bundles),
            told: Arc::clone(&told),
        };
        Some(following(told, tokio::spawn(follower.rounds())))
    }

    /// What is known of the source, beside what is in force now.
    pub(crate) async fn health(&self) -> SourceHealth {
        let in_force = self.bundles.ready().await.map(|bundle| bundle.reference().clone());
        let told = lock(&self.told);
        let (state, bundle, error) = match &told.found {
            Found::Unasked => ("unasked", None, None),
            Found::Refused(error) => ("refused", None, Some(refused(error))),
            Found::Signed(bundle, until) => {
                let own = (self.pin, SystemClocks.wall());
                match beside((bundle, *until), in_force.as_ref().ok(), own) {
                    Ok(state) => (state, Some(bundle.clone()), None),
                    Err(error) => ("refused", Some(bundle.clone()), Some(error)),
                }
            }
        };
        let state = if told.failed.is_some() { "failed" } else { state };
        let (code, error) = told.failed.clone().or(error).unzip();
        SourceHealth {
            location: self.location.clone(),
            state: state.to_owned(),
            bundle,
            code: code.map(str::to_owned),
            error,
            failures: told.failures,
        }
    }
}

/// A code, and what is told with it.
type Refused = (&'static str, String);

fn refused(error: &BundleError) -> Refused {
    (error.code().as_str(), error.to_string())
}

/// What a bundle at the source, which may decide until some time, is at `now` beside the one in force, or beside the pin where
/// none is.
fn beside(
    (found, until): (&BundleRef, Millis),
    in_force: Option<&BundleRef>,
    (pin, now): (BundleDigest, Option<Millis>),
) -> Result<&'static str, Refused> {
    let mismatch = |pin| refused(&BundleError::PinMismatch(PinMismatch { pin, found: found.digest }));
    match in_force {
        None if found.digest == pin => Ok("same"),
        None => Err(mismatch(pin)),
        Some(in_force) if in_force.digest == found.digest => Ok("same"),
        Some(in_force) if in_force.name != found.name => Err(mismatch(in_force.digest)),
        Some(in_force) if in_force.version >= found.version => {
            let (found, seen) = (found.version, in_force.version);
            Err(refused(&BundleError::RolledBack(RolledBack::Bundle { found, seen })))
        }
        // Nobody could activate it: to call it newer would send somebody to try.
        Some(_) if now.is_some_and(|now| now >= until) => {
            let code = ReasonCode::PolicyExpired;
            Err((code.as_str(), format!("version {}: {}", found.version, code.message())))
        }
        Some(_) => Ok("newer"),
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Follower {
    source: Source,
    interval: Duration,
    config: ArbiterConfig,
    bundles: Arc<Bundles>,
    told: Arc<Mutex<Told>>,
}

impl Follower {
    async fn rounds(self) {
        let mut mark = None;
        loop {
            let lacking = self.is_lacking();
            // Where the pinned bundle is gone or spoiled, that nothing is new at its source is no answer.
            let known = mark.as_deref().filter(|_| !lacking);
            match self.round(known).await {
                Ok(Some(new)) => mark = new,
                Ok(None) => {}
                Err(error) => self.failed(&error),
            }
            let failures = lock(&self.told).failures;
            self.rest(rest(failures, self.interval)).await;
        }
    }

    /// Asks once. Returns the mark of what was found; `None` if it is what was found before.
    async fn round(&self, known: Option<&str>) -> Result<Option<Option<String>>, SourceError> {
        match self.source.fetch(known).await {
            Ok(Fetched::Unchanged) => {
                let mut told = lock(&self.told);
                (told.failures, told.failed) = (0, None);
                Ok(None)
            }
            Ok(Fetched::Bundle { snapshot, mark }) => {
                let found = self.judge(*snapshot).await?;
                // What was refused is judged anew each time: the root may be another one by then.
                let mark = mark.filter(|_| matches!(found, Found::Signed(..)));
                *lock(&self.told) = Told { found, ..Told::default() };
                Ok(Some(mark))
            }
            // Bytes that are no bundle are what lies there.
            Err(SourceError::Bundle(error)) => {
                *lock(&self.told) = Told { found: Found::Refused(error), ..Told::default() };
                Ok(Some(None))
            }
            Err(error) => Err(error),
        }
    }

    fn failed(&self, error: &SourceError) {
        let mut told = lock(&self.told);
        told.failures = told.failures.saturating_add(1);
        told.failed = Some((error.code(), error.to_string()));
    }

    /// Says what a bundle is, and keeps it if it is the pinned one and is not on the disk.
    async fn judge(&self, snapshot: Snapshot) -> Result<Found, SourceError> {
        let config = self.config.clone();
        let judged = tokio::task::spawn_blocking(move || judge(&snapshot, &config));
        judged.await.map_err(|error| SourceError::Kept(error.to_string()))?
    }

    /// Whether the pinned bundle is to be fetched: no other was activated, and its file is gone or spoiled. One that is still
    /// compiled is there.
    fn is_lacking(&self) -> bool {
        is_lacking(&self.bundles)
    }

    /// Waits until the source is to be asked again: after so long, or when the pinned bundle has gone or was spoiled.
    async fn rest(&self, rest: Duration) {
        let lacked = self.is_lacking();
        let gone = async {
            while lacked || !self.is_lacking() {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Either ends it.
        drop(tokio::time::timeout(rest, gone).await);
    }
}

fn is_lacking(bundles: &Bundles) -> bool {
    bundles.is_the_configurations()
        && bundles.look().is_ok_and(|found| found.is_err_and(|error| is_of_the_file(&error)))
}

/// Whether another file in the place of the bundle's could mend what is wrong: it is not the pinned bundle, or not with the
/// signatures that it takes.
const fn is_of_the_file(error: &BundleError) -> bool {
    match error {
        BundleError::Missing(_)
        | BundleError::Unsigned(_)
        | BundleError::UntrustedKey(_)
        | BundleError::TooFewSignatures(_)
        | BundleError::SignatureInvalid(_)
        | BundleError::PinMismatch(_)
        | BundleError::Corrupt(_) => true,
        BundleError::Root(_)
        | BundleError::RolledBack(_)
        | BundleError::Unproved(_)
        | BundleError::Untested(_) => false,
    }
}

fn judge(snapshot: &Snapshot, config: &ArbiterConfig) -> Result<Found, SourceError> {
    let vouched = config.signers.authority().and_then(|authority| snapshot.signed_by(&authority));
    let (bundle, _) = match vouched {
        Ok(vouched) => vouched,
        Err(error) => return Ok(Found::Refused(error)),
    };
    if bundle.digest == config.pin && !is_kept(config) {
        keep(config, snapshot)?;
    }
    match snapshot.validity() {
        Ok((_, until)) => Ok(Found::Signed(bundle, until)),
        Err(error) => Ok(Found::Refused(error)),
    }
}

/// Keeps the pinned bundle, durably.
fn keep(config: &ArbiterConfig, snapshot: &Snapshot) -> Result<(), SourceError> {
    let kept = |error: SetupError| SourceError::Kept(error.to_string());
    make_directory(config.bundle.parent().unwrap_or(&config.data)).map_err(kept)?;
    lay(&config.bundle, &snapshot.to_bytes()?).map_err(kept)
}

/// Whether the pinned bundle lies on the disk, signed by those who may sign now: then its file stays as it is.
fn is_kept(config: &ArbiterConfig) -> bool {
    let kept = Snapshot::read(&config.bundle).and_then(|kept| kept.signed_by(&config.signers.authority()?));
    kept.is_ok_and(|(kept, _)| kept.digest == config.pin)
}

/// How long after so many failures in a row the source is asked again: twice as long after each, at most the interval;
/// a quarter more or less, so that those who failed together do not come back together.
fn rest(failures: u32, interval: Duration) -> Duration {
    let doubled = failures.checked_sub(1).map(|before| FIRST_REST.saturating_mul(1 << before.min(20)));
    let rest = doubled.map_or(interval, |doubled| doubled.min(interval));
    // Without randomness the pace is the same for all, and no less safe.
    let chance = getrandom::u32().map_or(128, |random| random % 256);
    rest.saturating_mul(chance.saturating_add(384)) / 512
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
