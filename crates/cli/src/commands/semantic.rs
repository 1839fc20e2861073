//! `portcullis bundle diff --semantic`

use std::process::ExitCode;

use portcullis_policy::{AskedOf, Comparison, Direction, Meaning, Shift, Shown, Snapshot, Tendency, Weaker};

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
    let by_solver =
        |change: &&Meaning| change.part == "policy" || change.name == "schema.cedarschema" || change.solvable;
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
    let Meaning { tendency, part, name, sentence, old, new, solvable: _ } = change;
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
        let shown = |shift: &&Shift| {
            // A label that comes or goes makes nothing more permissive by itself.
            let judged = shift.weaker.as_ref().is_none_or(|weaker| !weaker.given);
            judged && shift.direction == direction && matches!(shift.shown, Shown::Example { .. })
        };
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
    if let Some(weaker) = &shift.weaker {
        return tell_weaker(shift, weaker);
    }
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

/// What one of the bundles asks of requests that both grant, and the other does not, with both values.
fn tell_weaker(shift: &Shift, weaker: &Weaker) {
    let Weaker { demand, given, old, new } = weaker;
    let environment = &shift.environment;
    let word = match (given, shift.direction) {
        (false, Direction::MorePermissive) => "WEAKER",
        (false, Direction::LessPermissive) => "stricter",
        (true, _) => "otherwise",
    };
    let what = match (given, shift.direction) {
        (false, Direction::MorePermissive) => "no more asked for",
        (false, Direction::LessPermissive) => "asked for now",
        (true, Direction::MorePermissive) => "no more given",
        (true, Direction::LessPermissive) => "given now",
    };
    match &shift.shown {
        Shown::Example { counterexample } => {
            say::line(&format!("{word} {environment}: {demand} is {what} of what both grant, for instance:"));
            tell_counterexample(counterexample);
            say::line(&format!("  - {}", asked_in_words(old)));
            say::line(&format!("  + {}", asked_in_words(new)));
        }
        Shown::NotKnown { cause } => {
            say::line(&format!("NOT KNOWN whether {word}: {environment}, {demand} {what}"));
            say::line(&format!("          because {}", cause.escape_debug()));
        }
    }
}

/// `approval by 2 people …, and labels a (policy x, y)`
fn asked_in_words(asked: &AskedOf) -> String {
    let AskedOf { policies, obligations, labels } = asked;
    let list = |names: Vec<String>| names.join(", ");
    let labels = list(labels.iter().map(ToString::to_string).collect());
    let asks = if obligations.is_empty() { String::new() } else { obligations.to_string() };
    let gives = if labels.is_empty() { String::new() } else { format!("labels {labels}") };
    let said: Vec<_> = [asks, gives].into_iter().filter(|said| !said.is_empty()).collect();
    let said = if said.is_empty() { "nothing".to_owned() } else { said.join(", and ") };
    format!("{said} (policy {})", list(policies.iter().map(ToString::to_string).collect()))
}
