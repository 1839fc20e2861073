//! The log's own second key: cosignatures (c2sp.org/tlog-cosignature) on some of its checkpoints, beside its work.
//!
//! The log's key signs every batch. The second one, ML-DSA-44 as a rule, is slower and larger, and signs the newest head
//! once in a while: a checkpoint covers everything before it, so that each record is covered sooner or later, and its
//! receipt can be made anew under that checkpoint. Nothing waits for it, and no PERMIT depends on it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_ledger::{
    Checkpoints, Clocks, Cosigner, Heads, KeyFileError, LedgerError, LogView, SignError, SystemClocks,
};
use portcullis_verify::VerifiedCheckpoint;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{ArbiterConfig, CosigningConfig};
use crate::remote::CosigningHealth;

/// A checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// There is no second key.
    #[error("the configuration has no section `[cosigning]`, which names the log's second key")]
    NotConfigured,
    /// No file holds it.
    #[error("no file is named that holds the key: give --key, or `cosigning.key_file`")]
    NoKey,
    /// The file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The file holds another key.
    #[error("the key file holds another key than `cosigning.key`")]
    OtherKey,
    /// The log cannot be read, or is not what its anchored head covers.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The log has no records.
    #[error("the log has no records yet")]
    Empty,
    /// There is no time to be stated.
    #[error("the clock cannot be read")]
    Clock,
    /// The signature was not made.
    #[error("the checkpoint was not cosigned: {0}")]
    Sign(#[from] SignError),
}

/// Cosigns the newest anchored head, if it contains everything that was cosigned before, and keeps it with those. Works
/// beside a running arbiter.
///
/// # Errors
/// [`CosignError`]; nothing was signed then, or nothing that is kept.
pub fn cosign(arbiter: &ArbiterConfig, key_file: Option<&Path>) -> Result<VerifiedCheckpoint, CosignError> {
    let config = arbiter.cosigning.as_ref().ok_or(CosignError::NotConfigured)?;
    let file = key_file.or(config.key_file.as_deref()).ok_or(CosignError::NoKey)?;
    let cosigner = Cosigner::read(file)?;
    if *cosigner.key() != config.key {
        return Err(CosignError::OtherKey);
    }
    let view = LogView::open(&arbiter.data, &arbiter.anchor, &arbiter.log_keys, None)?;
    let (head, kept) = (view.head(), Checkpoints::of(&arbiter.data, arbiter.log_keys.clone()));
    if head.size() == 0 {
        return Err(CosignError::Empty);
    }
    if let Some(before) = by_own_key(config, &kept) {
        contains(&view, &before)?;
        if before.size() == head.size() {
            return Ok(before);
        }
    }
    let now = SystemClocks.wall().ok_or(CosignError::Clock)?;
    let line = cosigner.line(head, now.0 / 1_000)?;
    Ok(kept.keep(head, &line, std::slice::from_ref(&config.key))?)
}

/// Whoever cosigns says that the log only grew.
pub(crate) fn contains(view: &LogView, before: &VerifiedCheckpoint) -> Result<(), LedgerError> {
    if before.size() > view.head().size() || view.root_at(before.size())? != before.root() {
        let what = format!("a head of {} records was cosigned that it does not contain", before.size());
        return Err(LedgerError::BehindAnchor(what));
    }
    Ok(())
}

/// The log under a cosigned checkpoint, which its newest head must contain.
///
/// # Errors
/// [`LedgerError`], also if it does not: then an old copy was put in place, or another history.
pub(crate) fn under(
    directory: &Path,
    newest: &LogView,
    cosigned: VerifiedCheckpoint,
) -> Result<LogView, LedgerError> {
    contains(newest, &cosigned)?;
    LogView::under(directory, cosigned)
}

fn by_own_key(config: &CosigningConfig, kept: &Checkpoints) -> Option<VerifiedCheckpoint> {
    kept.newest(|head| head.cosigned_by(std::slice::from_ref(&config.key)).is_ok())
}

/// The newest checkpoint of a log that was cosigned as its configuration asks: by its own second key and by the quorum
/// of its witnesses, where there are both; else by one of both.
#[must_use]
pub fn newest_cosigned(arbiter: &ArbiterConfig) -> Option<VerifiedCheckpoint> {
    let kept = Checkpoints::of(&arbiter.data, arbiter.log_keys.clone());
    let own = |head: &VerifiedCheckpoint| {
        let cosigning = arbiter.cosigning.as_ref();
        cosigning.map(|config| head.cosigned_by(std::slice::from_ref(&config.key)).is_ok())
    };
    let quorum = |head: &VerifiedCheckpoint| {
        arbiter.witnesses.as_ref().map(|witnesses| witnesses.quorum.check(head).is_ok())
    };
    let both = kept.newest(|head| {
        let asked = [own(head), quorum(head)];
        asked.iter().any(Option::is_some) && asked.iter().all(|cosigned| *cosigned != Some(false))
    });
    both.or_else(|| kept.newest(|head| own(head) == Some(true)))
        .or_else(|| kept.newest(|head| quorum(head) == Some(true)))
}

/// What is told of cosigning.
#[derive(Default)]
struct Told {
    size: Option<u64>,
    error: Option<String>,
}

/// A daemon's cosigning. Dropping it ends it.
pub(crate) struct Cosigning {
    told: Arc<Mutex<Told>>,
    rounds: JoinHandle<()>,
}

impl std::fmt::Debug for Cosigning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cosigning").finish_non_exhaustive()
    }
}

impl Drop for Cosigning {
    fn drop(&mut self) {
        self.rounds.abort();
    }
}

impl Cosigning {
    /// Cosigns the heads of a ledger from now on, if the configuration names a key file.
    pub(crate) fn follow(arbiter: &ArbiterConfig, heads: &Heads) -> Option<Self> {
        let config = arbiter.cosigning.clone().filter(|config| config.key_file.is_some())?;
        let (newest, sizes) = watch::channel(0);
        heads.listen(Box::new(move |head| {
            newest.send_replace(head.size());
        }));
        let told = Arc::new(Mutex::new(Told::default()));
        let rounds = tokio::spawn(rounds(arbiter.clone(), config, sizes, Arc::clone(&told)));
        Some(Self { told, rounds })
    }

    pub(crate) fn health(&self) -> CosigningHealth {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        CosigningHealth { size: told.size, error: told.error.clone() }
    }
}

async fn rounds(
    arbiter: ArbiterConfig,
    config: CosigningConfig,
    mut sizes: watch::Receiver<u64>,
    told: Arc<Mutex<Told>>,
) {
    let (mut cosigned, mut last, mut failed) = (0_u64, None::<Instant>, false);
    loop {
        if sizes.wait_for(|size| *size > cosigned).await.is_err() {
            return;
        }
        // The first head of a process is cosigned at once: it covers what the one before it left.
        if let Some(due) = last.and_then(|last| last.checked_add(config.interval)) {
            // What failed is not tried again sooner, however many records come.
            let enough = if failed { u64::MAX } else { cosigned.saturating_add(config.records) };
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                reached = sizes.wait_for(|size| *size >= enough) => if reached.is_err() { return },
            }
        }
        last = Some(Instant::now());
        let of = arbiter.clone();
        let made = tokio::task::spawn_blocking(move || cosign(&of, None)).await;
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        failed = false;
        match made {
            Ok(Ok(head)) => {
                cosigned = head.size();
                *told = Told { size: Some(cosigned), error: None };
            }
            Ok(Err(error)) => {
                failed = true;
                told.error = Some(error.to_string());
            }
            Err(error) => {
                failed = true;
                told.error = Some(error.to_string());
            }
        }
    }
}
