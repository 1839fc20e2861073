//! `portcullis bundle check`

use std::path::Path;
use std::process::ExitCode;

use annotate_snippets::Renderer;
use portcullis_policy::{BundleError, CheckReport, Diagnosis, Snapshot};
use portcullis_protocol::obligations::Length;
use serde_json::{Value, json};

use super::finding::{rendered, text};
use crate::commands::roster;
use crate::say;

pub(super) fn run(bundle: &Path, json: bool) -> ExitCode {
    let snapshot = match Snapshot::read(bundle) {
        Ok(snapshot) => snapshot,
        Err(error) => return unread(&error, json),
    };
    match snapshot.diagnose() {
        Ok(report) if json => {
            say::line(&report_json(&report).to_string());
            ExitCode::SUCCESS
        }
        Ok(report) => {
            tell(&report);
            ExitCode::SUCCESS
        }
        Err(found) => {
            if json {
                let errors: Vec<_> = found.iter().map(|found| found_json(&snapshot, found)).collect();
                say::line(&json!({ "sound": false, "errors": errors }).to_string());
            } else {
                show(&snapshot, &found);
            }
            ExitCode::from(say::FAILED)
        }
    }
}

fn unread(error: &BundleError, json: bool) -> ExitCode {
    if json {
        let told =
            json!({ "file": "", "message": say::harmless(&error.to_string()), "remedy": error.remedy() });
        say::line(&json!({ "sound": false, "errors": [told] }).to_string());
        return ExitCode::from(say::FAILED);
    }
    let code = say::error(error);
    say::note(error.remedy());
    code
}

fn tell(report: &CheckReport) {
    say::line(&format!("{} version {}\n{}", report.name, report.version, report.digest));
    for (surface, tier) in &report.surfaces {
        say::line(&format!("  surface {surface} ({tier:?})"));
    }
    for limit in &report.limits {
        say::line(&format!("  limit   {limit}"));
    }
    for policy in &report.policies {
        say::line(&format!("  policy  {policy}"));
    }
    for invariant in &report.invariants {
        say::line(&format!("  invariant {invariant} (portcullis bundle prove says whether it holds)"));
    }
    for agent in &report.agents {
        say::line(&format!("  agent   {}", say::harmless(agent)));
    }
    tell_facts(report);
    if let Some(word) = report.proofs.as_str() {
        say::line(&format!("  proofs  {word}"));
    }
    if let Some(roster) = &report.roster {
        roster::tell(roster);
    }
    tell_pins(report);
    tell_cases(report);
    for warning in &report.warnings {
        say::note(&format!("warning: {}", say::harmless(warning)));
    }
}

/// How many cases try it, and what it means that none does.
fn tell_cases(report: &CheckReport) {
    match (report.cases, report.untested) {
        (0, true) => say::line("  cases   none, as the bundle says (`untested = true`): nothing tries it"),
        (0, false) => say::note(
            "warning: nothing tries the bundle, so that it does not come into force (policy.untested): write cases \
             (docs/bundle-tests.md), or say `untested = true` in bundle.toml",
        ),
        (cases, _) => {
            say::line(&format!("  cases   {cases} (portcullis bundle test says how they come out)"))
        }
    }
}

/// The tools that are pinned, and the servers whose tools are not.
fn tell_pins(report: &CheckReport) {
    for (server, tools) in &report.pins {
        let tools: Vec<_> = tools.iter().map(|tool| say::harmless(tool)).collect();
        say::line(&format!("  pins    {server}: {}", tools.join(", ")));
    }
    if report.require_pins {
        say::line("  pins    required: tools of servers without any are refused");
    }
    for server in &report.unpinned {
        say::note(&format!(
            "warning: surfaces list tools of `{server}`, and none is pinned: what they are said to do may change after it \
             was reviewed (portcullis mcp pin)"
        ));
    }
}

/// The sources of facts, and what is excepted of them.
fn tell_facts(report: &CheckReport) {
    for (name, source) in &report.sources {
        let types = source.types.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        say::line(&format!("  facts   {name}: {types}, at most {} old", Length(source.max_age_ms)));
    }
    for exception in &report.exceptions {
        let (surface, code, until) =
            (&exception.surface, exception.covers.code(), say::time(exception.until));
        say::line(&format!("  exception {surface}: {code} until {until}, owned by {}", exception.owner));
    }
}

fn report_json(report: &CheckReport) -> Value {
    let CheckReport {
        name,
        version,
        digest,
        surfaces,
        limits,
        policies,
        invariants,
        agents,
        sources,
        exceptions,
        cases,
        untested,
        pins,
        require_pins,
        unpinned,
        warnings,
        ..
    } = report;
    json!({
        "sound": true, "name": name, "version": version, "digest": digest, "surfaces": surfaces, "limits": limits,
        "policies": policies, "invariants": invariants, "agents": agents, "facts": sources,
        "exceptions": exceptions, "cases": cases, "untested": untested, "pins": pins, "require_pins": require_pins,
        "unpinned": unpinned, "warnings": warnings,
    })
}

/// Lines and columns from 1, columns and lengths in characters; null where the place cannot be told.
fn found_json(snapshot: &Snapshot, found: &Diagnosis) -> Value {
    let text = text(snapshot, &found.file);
    let places = found.labels.iter().filter_map(|label| Some((label, label.position(text?))));
    let places: Vec<_> = places
        .map(|(label, at)| {
            json!({ "line": at.line, "column": at.column, "length": at.length, "label": label.text })
        })
        .collect();
    let at = |key: &str| places.first().map_or(&Value::Null, |place| &place[key]).clone();
    json!({
        "file": found.file, "line": at("line"), "column": at("column"), "length": at("length"), "message": found.message,
        "help": found.help, "remedy": found.remedy, "places": places,
    })
}

fn show(snapshot: &Snapshot, found: &[Diagnosis]) {
    let renderer = if say::is_colourful_for_errors() { Renderer::styled() } else { Renderer::plain() };
    for found in found {
        say::note(&rendered(&renderer, text(snapshot, &found.file), found));
        say::note("");
    }
    let count = found.len();
    say::note(&format!(
        "portcullis: the bundle does not load: {count} finding{}",
        if count == 1 { "" } else { "s" }
    ));
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
