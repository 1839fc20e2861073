//! `portcullis bundle`

mod activate;
mod compare;
mod history;
mod make;
mod root;
mod trial;
mod vouch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_policy::Snapshot;
use portcullis_protocol::{Millis, Succession};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{
    Config, RecordsError, bundle_source, deciding_source, open_ledger, pin_bundle, sign_bundle,
};

use crate::args::{BundleArgs, BundleCommand};
use crate::commands::{prove, roster, semantic};
use crate::say;

pub(crate) fn run(args: &BundleArgs) -> ExitCode {
    let done = match &args.command {
        BundleCommand::New { directory } => Ok(make::new(directory)),
        BundleCommand::Check { bundle } => place(args, bundle.as_deref()).map(|place| check(&place)),
        BundleCommand::Test { bundle, strict, json } => {
            place(args, bundle.as_deref()).map(|place| trial::test(&place, *strict, *json))
        }
        BundleCommand::Build { directory, output } => {
            place(args, directory.as_deref()).map(|place| make::build(&place, output))
        }
        BundleCommand::Sign { bundle: Some(bundle), key } => Ok(sign(bundle, key)),
        BundleCommand::Sign { bundle: None, key } => config(args).and_then(|config| {
            let bundle = place(args, None)?;
            Ok(sign(&bundle, &beside(&config, key)))
        }),
        BundleCommand::Verify { bundle, vouch, json } => place(args, bundle.as_deref())
            .and_then(|place| Ok((place, vouch::authority(args, vouch)?)))
            .map(|(place, authority)| vouch::verify(&place, authority, *json)),
        BundleCommand::Roster { bundle, json } => {
            place(args, bundle.as_deref()).map(|place| roster::run(&place, *json))
        }
        BundleCommand::Prove(prove) => Ok(prove::run(prove, &args.config.config)),
        BundleCommand::Diff(diff) if diff.semantic => {
            Ok(semantic::run(&diff.old, &diff.new, &diff.solver, diff.json))
        }
        BundleCommand::Diff(diff) => Ok(compare::diff(&diff.old, &diff.new, diff.json)),
        BundleCommand::Activate { bundle, reason, operator, json } => {
            config(args).map(|config| activate::run(&config, bundle, reason, operator, *json))
        }
        BundleCommand::Pin => config(args).map(|config| pin(&config)),
        BundleCommand::Show => config(args).map(|config| show(&config)),
        BundleCommand::History { all, json } => config(args).map(|config| history::run(&config, *all, *json)),
        BundleCommand::Root { command } => Ok(root::run(command)),
    };
    match done {
        Ok(code) | Err(code) => code,
    }
}

fn config(args: &BundleArgs) -> Result<Config, ExitCode> {
    Config::read(&args.config.config).map_err(|error| say::error(&error))
}

/// A bundle's place: the one given, else the configuration's.
fn place(args: &BundleArgs, given: Option<&Path>) -> Result<PathBuf, ExitCode> {
    match given {
        Some(given) => Ok(given.to_owned()),
        None => config(args)?.arbiter().map(|arbiter| arbiter.bundle).map_err(|error| say::error(&error)),
    }
}

/// A path as the configuration would mean it.
fn beside(config: &Config, path: &Path) -> PathBuf {
    config.path().parent().map_or_else(|| path.to_owned(), |base| base.join(path))
}

/// The time, for what is said of validity.
fn now() -> Result<Millis, ExitCode> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| u64::try_from(since.as_millis()));
    match since {
        Ok(Ok(now)) => Ok(Millis(now)),
        Ok(Err(_)) | Err(_) => Err(say::misuse("the clock cannot be read")),
    }
}

fn check(bundle: &Path) -> ExitCode {
    match Snapshot::read(bundle).and_then(|snapshot| snapshot.check()) {
        Ok(report) => {
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
                say::line(&format!(
                    "  invariant {invariant} (portcullis bundle prove says whether it holds)"
                ));
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

fn sign(bundle: &Path, key: &Path) -> ExitCode {
    match sign_bundle(bundle, key) {
        Ok(digest) => {
            say::line(&format!("signed {digest}; `portcullis bundle pin` makes it the one that decides"));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

/// What the log says of bundles. Before there is a ledger nothing was in force.
fn succession(arbiter: &ArbiterConfig) -> Result<Succession, RecordsError> {
    if !arbiter.data.exists() {
        return Ok(Succession::default());
    }
    Ok(open_ledger(arbiter)?.succession()?)
}

fn pin(config: &Config) -> ExitCode {
    let activated =
        config.arbiter().map(|arbiter| succession(&arbiter).map(|succession| succession.activated));
    if let Ok(Ok(Some(bundle))) = activated {
        return say::misuse(&format!(
            "an operator activated {} version {}, and the log says which bundle decides from then on: a pin would do \
             nothing; use `portcullis bundle activate`",
            bundle.name, bundle.version
        ));
    }
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
    let source = match succession(&arbiter) {
        Ok(succession) => deciding_source(&arbiter, &succession),
        Err(error) => {
            say::note(&format!("portcullis: {error}; which bundle was in force cannot be told from the log"));
            bundle_source(&arbiter)
        }
    };
    let bundle = match source.current() {
        Ok(bundle) => bundle,
        Err(error) => {
            say::note(&format!("{}: nothing is permitted", error.code()));
            return say::error(&error);
        }
    };
    let reference = bundle.reference();
    say::line(&format!("{} version {}\n{}", reference.name, reference.version, reference.digest));
    match now().map(|now| bundle.validity_at(now)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(code)) => say::misuse(&format!("{code}: {}", code.message())),
        Err(code) => code,
    }
}
