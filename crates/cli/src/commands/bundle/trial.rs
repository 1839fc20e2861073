//! `portcullis bundle test`

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Expected, Snapshot, TrialReport};

use crate::say;

pub(super) fn test(directory: &Path, strict: bool, json: bool) -> ExitCode {
    let report = match Snapshot::read(directory).and_then(|snapshot| snapshot.test()) {
        Ok(report) => report,
        Err(error) => return say::error(&error),
    };
    let gaps = report.gaps();
    let passed = report.passed() && (gaps.is_empty() || !strict);
    if json {
        say::line(&serde_json::json!({ "passed": passed, "gaps": gaps, "report": report }).to_string());
    } else {
        tell(&report, &gaps);
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) }
}

fn tell(report: &TrialReport, gaps: &[String]) {
    for case in &report.cases {
        let word = if case.passed { "ok    " } else { "FAILED" };
        say::line(&format!("{word}  {}: {}", case.file, case.name.escape_debug()));
        if !case.passed {
            say::line(&format!("        expected {}", expectation(&case.expected)));
            say::line(&format!("        found    {}", expectation(&case.found)));
            if let Some(detail) = &case.detail {
                say::line(&format!("        because  {detail}"));
            }
        }
    }
    for gap in gaps {
        say::line(&format!("gap     {gap}"));
    }
    let failed = report.cases.iter().filter(|case| !case.passed).count();
    let noticed = report.mutants.iter().filter(|mutant| mutant.noticed_by.is_some()).count();
    say::line(&format!(
        "{} cases, {failed} failed; {noticed} of {} changed policies noticed",
        report.cases.len(),
        report.mutants.len()
    ));
    if report.cases.is_empty() {
        say::note("portcullis: the bundle has no cases; write some into tests/*.toml (docs/bundle-tests.md)");
    }
}

fn expectation(expected: &Expected) -> String {
    let mut text = expected.decision.as_str().to_owned();
    if let Some(reason) = expected.reason {
        text.push_str(&format!(" {reason}"));
    }
    if !expected.obligations.is_empty() {
        text.push_str(&format!(" with {}", expected.obligations));
    }
    if !expected.adds.is_empty() {
        let labels: Vec<_> = expected.adds.iter().map(ToString::to_string).collect();
        text.push_str(&format!(" adding {}", labels.join(", ")));
    }
    if let Some(policies) = &expected.policies {
        let policies: Vec<_> = policies.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            " by {}",
            if policies.is_empty() { "no policy".to_owned() } else { policies.join(", ") }
        ));
    }
    text
}
