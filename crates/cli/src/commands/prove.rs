//! `portcullis bundle prove`

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use portcullis_policy::{
    BundleError, Counterexample, Finding, Kind, Oddity, Proof, ProofReport, Prover, Snapshot, SolverLimits,
    Statement,
};

use super::in_force_or;
use crate::args::{ProveArgs, SolverArgs};
use crate::progress::Progress;
use crate::say;

pub(crate) fn run(args: &ProveArgs, config: &Path) -> ExitCode {
    let directory = match in_force_or(args.directory.as_deref(), config) {
        Ok(directory) => directory,
        Err(code) => return code,
    };
    let snapshot = match Snapshot::read(&directory) {
        Ok(snapshot) => snapshot,
        Err(error) => return say::error(&error),
    };
    let report = match with_prover(&args.solver, "statement", |prover| snapshot.prove(prover)) {
        Ok(report) => report,
        Err(code) => return code,
    };
    let passed = report.proved() && (report.findings.is_empty() || !args.strict);
    if args.json {
        say::line(&serde_json::json!({ "proved": report.proved(), "report": report }).to_string());
    } else {
        tell(&report);
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) }
}

/// Does work that asks the solver: with a line that says how far it is, until it is done or somebody asks to stop.
pub(super) fn with_prover<T>(
    args: &SolverArgs,
    what: &'static str,
    work: impl FnOnce(&Prover<'_>) -> Result<T, BundleError>,
) -> Result<T, ExitCode> {
    let progress = Progress::new(what).map_err(|error| say::error(&error))?;
    let stop = progress.stop();
    let progress = RefCell::new(progress);
    let solver = program(args.solver.as_deref());
    let limits = SolverLimits {
        time: Duration::from_secs(args.timeout),
        memory: args.memory.saturating_mul(1024 * 1024),
    };
    let step = |done, total| {
        if let Ok(mut progress) = progress.try_borrow_mut() {
            progress.step(done, total);
        }
    };
    work(&Prover { solver: &solver, limits, stop: &stop, progress: &step })
        .map_err(|error| say::error(&error))
}

/// The solver's program. It starts without environment, so a name is looked up here.
fn program(named: Option<&Path>) -> PathBuf {
    let given = named.map(Path::to_owned).or_else(|| std::env::var_os("CVC5").map(PathBuf::from));
    let given = given.filter(|given| !given.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from("cvc5"));
    if given.components().count() > 1 {
        return given;
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(&given)).find(|path| path.is_file());
    found.unwrap_or(given)
}

fn tell(report: &ProofReport) {
    say::line(&format!("{} version {}\n{}", report.name, report.version, report.bundle));
    for statement in &report.statements {
        tell_statement(statement);
    }
    for finding in &report.findings {
        say::line(&format!("note      {}", oddity(finding)));
    }
    let proved = report.statements.iter().filter(|statement| statement.proof == Proof::Proved).count();
    say::line(&format!(
        "{proved} of {} statements proved, in {} request environments, by {} and {}",
        report.statements.len(),
        report.environments.len(),
        report.compiler,
        report.solver.as_deref().unwrap_or("no solver")
    ));
    if report.solver.is_none() {
        say::note("portcullis: nothing is proved without a solver; install cvc5 (docs/proofs.md)");
    }
}

fn tell_statement(statement: &Statement) {
    let what = match statement.kind {
        Kind::NeverErrors => format!("policy {}: {}", statement.id, statement.sentence),
        Kind::Invariant => format!("invariant {}: {}", statement.id, statement.sentence),
    };
    match &statement.proof {
        Proof::Proved => say::line(&format!("proved    {what}")),
        Proof::Refuted { environment, counterexample } => {
            say::line(&format!("REFUTED   {what}"));
            say::line(&format!("          for {environment}:"));
            tell_counterexample(counterexample);
        }
        Proof::NotProved { cause } => {
            say::line(&format!("NOT KNOWN {what}"));
            say::line(&format!("          because {}", cause.escape_debug()));
        }
    }
}

/// A request and its entities, each on a line.
pub(super) fn tell_counterexample(example: &Counterexample) {
    let indent = "          ";
    say::line(&format!("{indent}principal {}", example.principal));
    say::line(&format!("{indent}action    {}", example.action));
    say::line(&format!("{indent}resource  {}", example.resource));
    say::line(&format!("{indent}context   {}", example.context));
    let entities = example.entities.as_array().map_or(&[][..], Vec::as_slice);
    for entity in entities {
        say::line(&format!("{indent}entity    {entity}"));
    }
}

fn oddity(finding: &Finding) -> String {
    let (policy, kind) = (&finding.policy, if finding.grants { "permit" } else { "forbid" });
    match &finding.oddity {
        Oddity::NeverApplies => format!("{kind} {policy} never applies: no request fulfils it"),
        Oddity::NeverGrants => {
            format!("{kind} {policy} never grants: a forbid takes back all that it grants")
        }
        Oddity::Redundant => {
            format!("{kind} {policy} is redundant: without it nothing would be decided otherwise")
        }
        Oddity::Undetermined { cause } => {
            format!("{kind} {policy}: not known whether it is needed: {}", cause.escape_debug())
        }
    }
}
