//! `portcullis bundle activate`

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use portcullis_policy::{Bundle, BundleError, Meaning, Snapshot, Tendency, Trust};
use portcullis_protocol::wire::ProofReply;
use portcullis_protocol::{BundleRef, OrderReason, ReasonCode, Succession};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{Config, Offer, OrderError, activate, give_way, place_in_force};

use super::vouch::refused;
use crate::args::OperatorArg;
use crate::commands::runtime;
use crate::commands::semantic::tell_change;
use crate::progress::Progress;
use crate::say;

pub(super) fn run(
    config: &Config,
    snapshot: &Snapshot,
    reason: &str,
    operator: &OperatorArg,
    json: bool,
) -> ExitCode {
    let read = config
        .arbiter()
        .and_then(|arbiter| Ok((arbiter, config.operator_token(operator.token_file.as_deref())?)));
    let (arbiter, token) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let reason: OrderReason = match reason.parse() {
        Ok(reason) => reason,
        Err(error) => return say::error(&error),
    };
    let mut took = Took::default();
    // What the arbiter would refuse before it reads a policy, with its particulars. The rest it finds out by itself.
    let signed = arbiter.signers.authority().and_then(|authority| snapshot.signed_by(&authority));
    let signed = match signed {
        Ok((bundle, _)) => bundle,
        Err(error) => return refused(&error),
    };
    // Read while it is in force.
    let before = before(&arbiter);
    took.note("look");
    let offer = match Offer::signed(&arbiter, signed, snapshot) {
        Ok(offer) => offer,
        Err(error) => return say::error(&error),
    };
    took.note("offer");
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let mut progress = match Progress::new("proving statement") {
        Ok(progress) => progress,
        Err(error) => return say::error(&error),
    };
    let watch = |done, total| progress.step(done, total);
    let done = runtime.block_on(activate(&arbiter, &token, (offer.bundle(), reason), watch));
    drop(progress);
    took.note("arbiter");
    let (reply, proof) = match done {
        Ok(done) => done,
        Err(error) => return tell_refused(&arbiter, snapshot, &error),
    };
    if !json {
        tell(offer.bundle(), reply.seq, &proof);
    }
    // The bundle decides by now: nobody waits for what is only told.
    let changes = changes(&arbiter, snapshot, before);
    took.note("compare");
    if json {
        tell_json((offer.bundle(), reply.seq), &proof, &changes, &took);
    } else {
        tell_changes(&changes);
    }
    ExitCode::SUCCESS
}

/// Says why nothing was activated. What is wrong within a bundle the arbiter says by its code; here it is found once more, and
/// said with its place.
fn tell_refused(config: &ArbiterConfig, snapshot: &Snapshot, error: &OrderError) -> ExitCode {
    if !matches!(error, OrderError::Refused { code: ReasonCode::PolicyCorrupt, .. }) {
        return say::error(error);
    }
    match verified(config, snapshot) {
        Err(found) => refused(&found),
        Ok(bundle) => bundle.failed_case().map_or_else(
            || say::error(error),
            |case| {
                let (file, name) = (case.file, case.name.escape_debug().to_string());
                say::misuse(&format!(
                    "{file}: `{name}` fails; `portcullis bundle test` says how. Nothing was changed."
                ))
            },
        ),
    }
}

fn verified(config: &ArbiterConfig, snapshot: &Snapshot) -> Result<Bundle, BundleError> {
    let (authority, pin) = (config.signers.authority()?, snapshot.digest());
    snapshot.clone().verify(&Trust { authority, pin, seen: Succession::default() })
}

/// The bundle in force, to be compared with, or why it cannot be.
fn before(config: &ArbiterConfig) -> Result<Snapshot, String> {
    let place = place_in_force(config).map_err(|error| error.to_string())?;
    Snapshot::read(&place).map_err(|error| error.to_string())
}

/// What changed with it, or why that is not known. Found out behind those whom the arbiter answers meanwhile, one bundle after
/// the other: nobody waits for it.
fn changes(
    config: &ArbiterConfig,
    snapshot: &Snapshot,
    before: Result<Snapshot, String>,
) -> Result<Vec<Meaning>, String> {
    let before = before?;
    let compared = std::thread::scope(|scope| {
        let compared = scope.spawn(|| {
            give_way();
            let (bundle, content) = (verified(config, snapshot)?, before.rehearse()?);
            bundle.meaning(snapshot, (&before, &content))
        });
        compared.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    compared.map_err(|error| error.to_string())
}

/// How long the parts of it took, in microseconds.
struct Took(BTreeMap<&'static str, u64>, Instant);

impl Default for Took {
    fn default() -> Self {
        Self(BTreeMap::new(), Instant::now())
    }
}

impl Took {
    /// What was done since the last note.
    fn note(&mut self, part: &'static str) {
        let micros = u64::try_from(self.1.elapsed().as_micros());
        self.0.insert(part, micros.map_or(u64::MAX, |micros| micros));
        self.1 = Instant::now();
    }
}

/// What may be permitted that was not, and what is not known; the rest is counted.
fn tell_changes(changes: &Result<Vec<Meaning>, String>) {
    let changes = match changes {
        Ok(changes) => changes,
        Err(error) => {
            return say::line(&format!("not compared with the bundle in force: {}", say::harmless(error)));
        }
    };
    let count = |tendency| changes.iter().filter(|change| change.tendency == tendency).count();
    let (more, unknown) = (count(Tendency::MorePermissive), count(Tendency::Unknown));
    let loud = |change: &&Meaning| {
        matches!(change.tendency, Tendency::MorePermissive | Tendency::Unknown) && change.part != "policy"
    };
    changes.iter().filter(loud).for_each(tell_change);
    let policies = changes.iter().filter(|change| change.part == "policy").count();
    if policies > 0 {
        say::line(&format!(
            "NOT KNOWN what {policies} policies that differ grant: `portcullis bundle diff --semantic` says it"
        ));
    }
    let other = changes.len().saturating_sub(more).saturating_sub(unknown);
    say::line(&format!("{more} changes are more permissive, {unknown} not known, {other} neither"));
}

fn tell_json(
    (bundle, record): (&BundleRef, u64),
    proof: &ProofReply,
    changes: &Result<Vec<Meaning>, String>,
    took: &Took,
) {
    let proof = matches!(proof, ProofReply::Proved { .. }).then_some(proof);
    let told = serde_json::json!({
        "activated": bundle, "record": record, "proof": proof,
        "changes": changes.as_ref().ok(), "not_compared": changes.as_ref().err(),
        "took_us": took.0,
    });
    say::line(&told.to_string());
}

fn tell(bundle: &BundleRef, record: u64, proof: &ProofReply) {
    let (name, version, digest) = (&bundle.name, bundle.version, bundle.digest);
    say::line(&format!("{name} version {version} decides\n{digest}\nby the order at index {record}"));
    if let ProofReply::Proved { report, compiler, solver, statements, .. } = proof {
        say::line(&format!("{statements} statements proved by {compiler} and {solver}\nreport {report}"));
    }
}
