//! `portcullis bundle history`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::{InForce, ProofDemand, ProofRef, RootRef, Vetted};
use portcullis_server::{CameIntoForce, Config, bundle_history, is_kept, open_ledger, proof_file};

use crate::say;

pub(super) fn run(config: &Config, all: bool, json: bool) -> ExitCode {
    let arbiter = match config.arbiter() {
        Ok(arbiter) => arbiter,
        Err(error) => return say::error(&error),
    };
    let found = match open_ledger(&arbiter).and_then(|ledger| Ok(bundle_history(&ledger)?)) {
        Ok(found) => found,
        Err(error) => return say::error(&error),
    };
    let mut before = None;
    for came in &found {
        if all || came.ordered.is_some() || !before.is_some_and(|before| is_same(before, came)) {
            tell(came, &arbiter.data, json);
        }
        before = Some(came);
    }
    if found.is_empty() && !json {
        say::line("no bundle was in force yet");
    }
    ExitCode::SUCCESS
}

/// Whether what came into force is what was before it, by the same root. An order names none: that is said where its bundle comes.
fn is_same(before: &CameIntoForce, came: &CameIntoForce) -> bool {
    match (&before.bundle, &came.bundle) {
        (Some(was), Some(is)) => {
            was.bundle.digest == is.bundle.digest && (before.ordered.is_some() || was.root == is.root)
        }
        (None, _) | (_, None) => false,
    }
}

fn tell(came: &CameIntoForce, data: &Path, json: bool) {
    let CameIntoForce { seq, time, bundle, ordered, vetted } = came;
    if json {
        let root = bundle.as_ref().map(|it| {
            it.root.map(|RootRef { chain, version, digest }| {
                serde_json::json!({ "chain": chain, "version": version, "digest": digest })
            })
        });
        let named = bundle.as_ref().map(|it| &it.bundle);
        say::line(
            &serde_json::json!({ "record": seq, "time": time, "bundle": named, "root": root.flatten(), "ordered": ordered,
                "proof": vetted.as_ref().and_then(|vetted| proof_json(vetted, data)) })
            .to_string(),
        );
        return;
    }
    let at = say::time(*time);
    let Some(InForce { bundle, root }) = bundle else {
        return say::line(&format!("{at}  record {seq}  a bundle that the record does not name"));
    };
    if let Some(ordered) = ordered {
        let (by, why) = (&ordered.by, ordered.reason.as_str().escape_debug());
        let (name, version) = (&bundle.name, bundle.version);
        say::line(&format!("{at}  record {seq}  {by} activates {name} version {version}: {why}"));
        return vetted.iter().for_each(|vetted| tell_proof(vetted, data));
    }
    let root = root.map_or_else(String::new, |root| format!("  root {} {}", root.version, root.digest));
    say::line(&format!(
        "{at}  record {seq}  {} version {}  {}{root}",
        bundle.name, bundle.version, bundle.digest
    ));
}

fn proof_json(vetted: &Vetted, data: &Path) -> Option<serde_json::Value> {
    let ProofRef { report, engine, compiler, solver, statements } = vetted.proof.as_ref()?;
    Some(serde_json::json!({
        "report": report, "engine": engine, "compiler": compiler, "solver": solver, "statements": statements,
        "kept": is_kept(data, report),
    }))
}

fn tell_proof(vetted: &Vetted, data: &Path) {
    if let Some(word) = vetted.demand.as_str() {
        say::line(&format!("      it says of proofs: {word}"));
    }
    if vetted.pinned == ProofDemand::Required {
        say::line("      the pinned bundle before it demanded a proof of it");
    }
    let Some(ProofRef { report, compiler, solver, statements, .. }) = &vetted.proof else { return };
    let solver = solver.escape_debug();
    say::line(&format!("      {statements} statements proved by {compiler} and {solver}"));
    let file = proof_file(data, report);
    let kept = if is_kept(data, report) { "kept in" } else { "MISSING, or changed:" };
    say::line(&format!("      report {report}, {kept} {}", file.display()));
}
