//! `portcullis bundle diff --semantic`

use std::process::ExitCode;

use portcullis_policy::{Comparison, Direction, Meaning, Shift, Shown, Snapshot, Tendency};

use super::prove::{tell_counterexample, with_prover};
use crate::args::SolverArgs;
use crate::say;

pub(crate) fn run(old: &Snapshot, new: &Snapshot, solver: &SolverArgs, json: bool) -> ExitCode {
    let changes = match new.meaning(old) {
        Ok(changes) => changes,
        Err(error) => return say::error(&error),
    };
    let comparison = match with_prover(solver, "request environment", |prover| new.compare(old, prover)) {
        Ok(comparison) => comparison,
        Err(code) => return code,
    };
    // What policies and types do is the solver's to say, once for all of them.
    let by_solver = |change: &&Meaning| change.part == "policy" || change.name == "schema.cedarschema";
    let open = |change: &Meaning| change.tendency == Tendency::Unknown && !by_solver(&change);
    let known = comparison.is_known() && !changes.iter().any(open);
    if json {
        let told = serde_json::json!({ "known": known, "comparison": comparison, "changes": changes });
        say::line(&told.to_string());
    } else {
        tell(&comparison);
        changes.iter().filter(|change| !by_solver(change)).for_each(tell_change);
    }
    if known { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) }
}

/// A change in words, and as it is written where it is not judged.
pub(super) fn tell_change(change: &Meaning) {
    let Meaning { tendency, part, name, sentence, old, new } = change;
    let word = match tendency {
        Tendency::MorePermissive => "MORE PERMISSIVE",
        Tendency::Unknown => "NOT KNOWN",
        Tendency::Stricter => "stricter",
        Tendency::Neither => "otherwise",
    };
    say::line(&say::harmless(&format!("{word} {part} {name}: {sentence}")));
    for (sign, text) in [('-', old), ('+', new)] {
        for line in text.iter().flat_map(|text| text.lines()) {
            say::line(&say::harmless(&format!("  {sign} {line}")));
        }
    }
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
