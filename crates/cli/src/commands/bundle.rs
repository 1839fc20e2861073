//! `portcullis bundle`

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_policy::{BundleSource, Expected, Snapshot, TrialReport, Trust};
use portcullis_protocol::Millis;
use portcullis_server::{Config, pin_bundle, sign_bundle};

use crate::args::{BundleArgs, BundleCommand};
use crate::commands::roster;
use crate::say;

pub(crate) fn run(args: &BundleArgs) -> ExitCode {
    match &args.command {
        BundleCommand::Check { directory: Some(directory) } => check(directory),
        BundleCommand::Sign { directory: Some(directory), key } => sign(directory, key),
        BundleCommand::Check { directory: None } => with_config(args, |config| match config.arbiter() {
            Ok(arbiter) => check(&arbiter.bundle),
            Err(error) => say::error(&error),
        }),
        BundleCommand::Roster { directory: Some(directory), json } => roster::run(directory, *json),
        BundleCommand::Roster { directory: None, json } => {
            with_config(args, |config| match config.arbiter() {
                Ok(arbiter) => roster::run(&arbiter.bundle, *json),
                Err(error) => say::error(&error),
            })
        }
        BundleCommand::Sign { directory: None, key } => with_config(args, |config| match config.arbiter() {
            Ok(arbiter) => sign(&arbiter.bundle, &beside(config, key)),
            Err(error) => say::error(&error),
        }),
        BundleCommand::Test { directory: Some(directory), strict, json } => test(directory, *strict, *json),
        BundleCommand::Test { directory: None, strict, json } => {
            with_config(args, |config| match config.arbiter() {
                Ok(arbiter) => test(&arbiter.bundle, *strict, *json),
                Err(error) => say::error(&error),
            })
        }
        BundleCommand::Prove(prove) => super::prove::run(prove, &args.config.config),
        BundleCommand::Diff(diff) => super::semantic::run(&diff.old, &diff.new, &diff.solver, diff.json),
        BundleCommand::Pin => with_config(args, pin),
        BundleCommand::Show => with_config(args, show),
    }
}

fn with_config(args: &BundleArgs, run: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match Config::read(&args.config.config) {
        Ok(config) => run(&config),
        Err(error) => say::error(&error),
    }
}

/// A path as the configuration would mean it.
fn beside(config: &Config, path: &Path) -> std::path::PathBuf {
    config.path().parent().map_or_else(|| path.to_owned(), |base| base.join(path))
}

fn check(directory: &Path) -> ExitCode {
    match Snapshot::read(directory).and_then(|snapshot| snapshot.check()) {
        Ok(report) => {
            say::line(&format!("{} version {}\n{}", report.name, report.version, report.digest));
            for (surface, tier) in &report.surfaces {
                say::line(&format!("  surface {surface} ({tier:?})"));
            }
            for policy in &report.policies {
                say::line(&format!("  policy  {policy}"));
            }
            for agent in &report.agents {
                say::line(&format!("  agent   {agent}"));
            }
            if let Some(roster) = &report.roster {
                roster::tell(roster);
            }
            for warning in &report.warnings {
                say::note(&format!("warning: {warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            let code = say::error(&error);
            say::note(error.remedy());
            code
        }
    }
}

fn test(directory: &Path, strict: bool, json: bool) -> ExitCode {
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
    if let Some(policies) = &expected.policies {
        let policies: Vec<_> = policies.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            " by {}",
            if policies.is_empty() { "no policy".to_owned() } else { policies.join(", ") }
        ));
    }
    text
}

fn sign(directory: &Path, key: &Path) -> ExitCode {
    match sign_bundle(directory, key) {
        Ok(digest) => {
            say::line(&format!("signed {digest}; `portcullis bundle pin` makes it the one that decides"));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

fn pin(config: &Config) -> ExitCode {
    match pin_bundle(config) {
        Ok((old, new)) if old == new => {
            say::line(&format!("pinned already: {new}"));
            ExitCode::SUCCESS
        }
        Ok((old, new)) => {
            say::line(&format!("was    {old}\npinned {new}\nStart the arbiter again to make it decide."));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

fn show(config: &Config) -> ExitCode {
    let arbiter = match config.arbiter() {
        Ok(arbiter) => arbiter,
        Err(error) => return say::error(&error),
    };
    let source = BundleSource::open(&arbiter.bundle, Trust { keys: arbiter.trusted_keys, pin: arbiter.pin });
    let bundle = match source.current() {
        Ok(bundle) => bundle,
        Err(error) => {
            say::note(&format!("{}: nothing is permitted", error.code()));
            return say::error(&error);
        }
    };
    let reference = bundle.reference();
    say::line(&format!("{} version {}\n{}", reference.name, reference.version, reference.digest));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_millis());
    match now.map(|now| u64::try_from(now).map(Millis)) {
        Ok(Ok(now)) => match bundle.validity_at(now) {
            Ok(()) => ExitCode::SUCCESS,
            Err(code) => say::misuse(&format!("{code}: {}", code.message())),
        },
        Ok(Err(_)) | Err(_) => say::misuse("the clock cannot be read"),
    }
}
