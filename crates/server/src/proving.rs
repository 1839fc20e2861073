//! Proofs for an activation: made by the arbiter itself, beside the decisions, while an operator waits for them.
//!
//! A proof is a job that is begun, looked at and stopped. It ends by itself when its time is over or nobody looks any
//! more, and its solver is killed with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use portcullis_policy::{Bundle, KeptProof, Prover, SolverLimits};
use portcullis_protocol::wire::ProofReply;
use portcullis_protocol::{BundleDigest, Digest, ProofDemand, ProofRef, ReasonCode};

use crate::config::ProofConfig;
use crate::making::replace;
use crate::setup::{SetupError, at, make_directory};

/// Where reports lie, in the data directory.
const PROOFS: &str = "proofs";
/// How often a job is looked after.
const TICK: Duration = Duration::from_millis(100);
/// How long nobody may look at a job before it is stopped.
const FORSAKEN: Duration = Duration::from_secs(20);
/// The most address space of the solver, in bytes.
const MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// The most that is told of what is not proved.
const MOST_CAUSES: usize = 20;
const LONGEST_CAUSE: usize = 1_000;

/// Who demands that a bundle be proved which is to follow one that says `before`, if anybody does.
pub(crate) fn demanded(config: &ProofConfig, before: ProofDemand, next: ProofDemand) -> Option<&'static str> {
    if config.required {
        Some("the configuration")
    } else if next == ProofDemand::Required {
        Some("the bundle itself")
    } else {
        (before == ProofDemand::Required).then_some("the bundle before it")
    }
}

/// The proofs that an arbiter makes: one at a time.
#[derive(Debug)]
pub(crate) struct Proving {
    config: ProofConfig,
    data: PathBuf,
    job: Mutex<Option<Arc<Job>>>,
}

/// One proof.
#[derive(Debug)]
struct Job {
    bundle: BundleDigest,
    begun: Instant,
    looked: Mutex<Instant>,
    stop: AtomicBool,
    /// Why it was stopped.
    stopped: OnceLock<String>,
    done: AtomicU64,
    total: AtomicU64,
    result: OnceLock<Result<ProofRef, Vec<String>>>,
}

impl Proving {
    pub(crate) fn new(config: &ProofConfig, data: &Path) -> Self {
        Self { config: config.clone(), data: data.to_owned(), job: Mutex::new(None) }
    }

    fn job(&self) -> MutexGuard<'_, Option<Arc<Job>>> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a proof, unless the bundle is proved already or is being proved.
    ///
    /// # Errors
    /// [`ReasonCode::OverloadShed`] while another bundle is being proved.
    pub(crate) fn begin(&self, bundle: Arc<Bundle>) -> Result<ProofReply, ReasonCode> {
        let digest = bundle.reference().digest;
        let mut job = self.job();
        match job.as_deref() {
            Some(other) if other.result.get().is_none() && other.bundle != digest => {
                return Err(ReasonCode::OverloadShed);
            }
            Some(same) if same.bundle == digest && !same.has_failed() => return Ok(same.look()),
            Some(_) | None => {}
        }
        let fresh = Arc::new(Job::new(digest));
        *job = Some(Arc::clone(&fresh));
        drop(job);
        let reply = fresh.look();
        tokio::spawn(follow(fresh, bundle, self.config.clone(), self.data.clone()));
        Ok(reply)
    }

    /// How far the proof of a bundle is; `None` if none was begun.
    pub(crate) fn look(&self, bundle: &BundleDigest) -> Option<ProofReply> {
        self.job().as_deref().filter(|job| job.bundle == *bundle).map(Job::look)
    }

    /// Stops the proof of a bundle, if it is under way.
    pub(crate) fn stop(&self, bundle: &BundleDigest) -> Option<ProofReply> {
        let job = self.job().clone().filter(|job| job.bundle == *bundle)?;
        job.end("it was stopped");
        Some(job.look())
    }

    /// The proof of a bundle, if this process made one and its report is still what is kept.
    pub(crate) fn proof(&self, bundle: &BundleDigest) -> Option<ProofRef> {
        let job = self.job().clone().filter(|job| job.bundle == *bundle)?;
        let proof = job.result.get()?.as_ref().ok()?.clone();
        is_kept(&self.data, &proof.report).then_some(proof)
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        if let Some(job) = self.job().take() {
            job.end("the arbiter ends");
        }
    }
}

impl Job {
    fn new(bundle: BundleDigest) -> Self {
        let now = Instant::now();
        Self {
            bundle,
            begun: now,
            looked: Mutex::new(now),
            stop: AtomicBool::new(false),
            stopped: OnceLock::new(),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            result: OnceLock::new(),
        }
    }

    fn has_failed(&self) -> bool {
        self.result.get().is_some_and(Result::is_err)
    }

    /// How it is. Whoever asks is somebody who waits.
    fn look(&self) -> ProofReply {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match self.result.get() {
            Some(Ok(ProofRef { report, engine, compiler, solver, statements })) => ProofReply::Proved {
                report: *report,
                engine: engine.clone(),
                compiler: compiler.clone(),
                solver: solver.clone(),
                statements: *statements,
            },
            Some(Err(causes)) => ProofReply::NotProved { causes: causes.clone() },
            None => ProofReply::Running {
                done: self.done.load(Ordering::Relaxed),
                total: self.total.load(Ordering::Relaxed),
            },
        }
    }

    fn end(&self, why: &str) {
        // The first reason stays.
        drop(self.stopped.set(why.to_owned()).err());
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Stops what takes too long, or is waited for by nobody.
    fn look_after(&self, within: Duration) {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.begun.elapsed() >= within {
            self.end(&format!("it took longer than {} s (`policy.prove_within_s`)", within.as_secs()));
        } else if looked.elapsed() >= FORSAKEN {
            self.end("nobody waited for it any more");
        }
    }

    /// Proves, and keeps the report. Blocks.
    fn work(&self, bundle: &Bundle, config: &ProofConfig, data: &Path) -> Result<ProofRef, Vec<String>> {
        let progress = |done, total| {
            self.done.store(done, Ordering::Relaxed);
            self.total.store(total, Ordering::Relaxed);
        };
        let limits = SolverLimits { time: config.within, memory: MEMORY };
        let prover = Prover { solver: &config.solver, limits, stop: &self.stop, progress: &progress };
        let report = bundle.prove(&prover);
        let Some(kept) = report.kept() else {
            let stopped = self.stopped.get().cloned();
            return Err(stopped.into_iter().chain(report.unproved()).take(MOST_CAUSES).map(told).collect());
        };
        keep(data, &kept).map_err(|error| vec![format!("the report cannot be kept: {error}")])?;
        Ok(kept.named().clone())
    }
}

/// What people read on their terminals, without what would steer those.
fn told(cause: String) -> String {
    cause.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(LONGEST_CAUSE).collect()
}

/// Looks after a job until it is done.
async fn follow(job: Arc<Job>, bundle: Arc<Bundle>, config: ProofConfig, data: PathBuf) {
    let (working, within) = (Arc::clone(&job), config.within);
    let mut work = tokio::task::spawn_blocking(move || working.work(&bundle, &config, &data));
    let result = loop {
        match tokio::time::timeout(TICK, &mut work).await {
            Ok(Ok(result)) => break result,
            Ok(Err(_)) => break Err(vec!["the prover failed".to_owned()]),
            Err(_) => job.look_after(within),
        }
    };
    drop(job.result.set(result).err());
}

/// The file of a report. Its name is its digest.
#[must_use]
pub fn proof_file(data: &Path, report: &Digest) -> PathBuf {
    data.join(PROOFS).join(format!("{}.json", hex::encode(report.as_bytes())))
}

/// Whether a report lies where it is kept, and is the one of this digest.
#[must_use]
pub fn is_kept(data: &Path, report: &Digest) -> bool {
    fs::read(proof_file(data, report)).is_ok_and(|bytes| Digest::sha256(&bytes) == *report)
}

fn keep(data: &Path, kept: &KeptProof) -> Result<(), SetupError> {
    let directory = data.join(PROOFS);
    make_directory(&directory)?;
    replace(&proof_file(data, &kept.named().report), kept.bytes(), 0o600)?;
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(at(&directory))
}

#[cfg(test)]
#[path = "proving_tests.rs"]
mod tests;
