//! `portcullis bundle diff --semantic`

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Comparison, Direction, Shift, Shown, Snapshot};

use super::prove::{tell_counterexample, with_prover};
use crate::args::SolverArgs;
use crate::say;

pub(crate) fn run(old: &Path, new: &Path, solver: &SolverArgs, json: bool) -> ExitCode {
    let read = Snapshot::read(old).and_then(|old| Snapshot::read(new).map(|new| (old, new)));
    let (old, new) = match read {
        Ok(both) => both,
        Err(error) => return say::error(&error),
    };
    let comparison = match with_prover(solver, "request environment", |prover| new.compare(&old, prover)) {
        Ok(comparison) => comparison,
        Err(code) => return code,
    };
    if json {
        say::line(
            &serde_json::json!({ "known": comparison.is_known(), "comparison": comparison }).to_string(),
        );
    } else {
        tell(&comparison);
    }
    if comparison.is_known() { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) }
}

fn tell(comparison: &Comparison) {
    say::line(&format!("from {}\nto   {}", comparison.old, comparison.new));
    comparison.shifts.iter().for_each(tell_shift);
    for policy in &comparison.may_err {
        say::line(&format!("NOT KNOWN policy {policy} may raise an error, and what it errs on is refused"));
    }
    let moved = |direction| {
        let shown =
            |shift: &&Shift| shift.direction == direction && matches!(shift.shown, Shown::Example { .. });
        let mut moved: Vec<_> =
            comparison.shifts.iter().filter(shown).map(|shift| &shift.environment).collect();
        moved.dedup();
        moved.len()
    };
    say::line(&format!(
        "of {} request environments {} more permissive, {} less permissive, by {} and {}",
        comparison.environments.len(),
        moved(Direction::MorePermissive),
        moved(Direction::LessPermissive),
        comparison.compiler,
        comparison.solver.as_deref().unwrap_or("no solver")
    ));
    if comparison.solver.is_none() {
        say::note("portcullis: nothing is known without a solver; install cvc5 (docs/proofs.md)");
    }
}

fn tell_shift(shift: &Shift) {
    let direction = match shift.direction {
        Direction::MorePermissive => "MORE PERMISSIVE",
        Direction::LessPermissive => "less permissive",
    };
    let without =
        shift.without.map_or_else(String::new, |asked| format!(", in what is granted without @{asked}"));
    match &shift.shown {
        Shown::Example { counterexample } => {
            say::line(&format!("{direction} {}{without}, for instance:", shift.environment));
            tell_counterexample(counterexample);
        }
        Shown::NotKnown { cause } => {
            say::line(&format!("NOT KNOWN whether {direction}: {}{without}", shift.environment));
            say::line(&format!("          because {}", cause.escape_debug()));
        }
    }
}
