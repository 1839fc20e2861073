//! `portcullis bundle`

mod activate;
mod check;
mod compare;
mod fetch;
mod finding;
mod history;
mod make;
mod root;
mod trial;
mod vouch;

pub(crate) use make::{a_year_from_now, name_of};

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_policy::{CheckReport, Snapshot};
use portcullis_protocol::{BundleDigest, Millis, ProofDemand, Succession};
use portcullis_server::config::{ArbiterConfig, SourceConfig};
use portcullis_server::{
    Config, RecordsError, deciding_source, open_ledger, pin_bundle, pin_fetched, sign_bundle,
};

use crate::args::{BundleArgs, BundleCommand, DiffArgs};
use crate::commands::{in_force_or, prove, roster, semantic};
use crate::say;

pub(crate) fn run(args: &BundleArgs) -> ExitCode {
    let done = match &args.command {
        BundleCommand::New { directory } => Ok(make::new(directory)),
        BundleCommand::Check { bundle, json } => {
            place(args, bundle.as_deref()).map(|place| check::run(&place, *json))
        }
        BundleCommand::Test { bundle, strict, json } => {
            place(args, bundle.as_deref()).map(|place| trial::test(&place, *strict, *json))
        }
        BundleCommand::Build { directory, output } => {
            written(args, directory.as_deref()).map(|place| make::build(&place, output))
        }
        BundleCommand::Sign { bundle: Some(bundle), key } => Ok(sign(bundle, key)),
        BundleCommand::Sign { bundle: None, key } => config(args).and_then(|config| {
            let bundle = written(args, None)?;
            Ok(sign(&bundle, &beside(&config, key)))
        }),
        BundleCommand::Verify { bundle, vouch, json } => place(args, bundle.as_deref())
            .and_then(|place| Ok((place, vouch::authority(args, vouch)?)))
            .and_then(|(place, authority)| Ok(vouch::verify(fetch::read(args, &place)?, authority, *json))),
        BundleCommand::Roster { bundle, json } => {
            place(args, bundle.as_deref()).map(|place| roster::run(&place, *json))
        }
        BundleCommand::Prove(prove) => Ok(prove::run(prove, &args.config.config)),
        BundleCommand::Diff(diff) if diff.semantic => {
            both(args, diff).map(|(old, new)| semantic::run(&old, &new, &diff.solver, diff.json))
        }
        BundleCommand::Diff(diff) => both(args, diff).map(|(old, new)| compare::diff(&old, &new, diff.json)),
        BundleCommand::Activate { bundle, reason, operator, json } => config(args).and_then(|config| {
            Ok(activate::run(&config, &fetch::have(args, bundle)?, reason, operator, *json))
        }),
        BundleCommand::Pin => config(args).map(|config| pin(&config)),
        BundleCommand::Show => config(args).map(|config| show(&config)),
        BundleCommand::History { all, json } => config(args).map(|config| history::run(&config, *all, *json)),
        BundleCommand::Root { command } => Ok(root::run(command)),
    };
    match done {
        Ok(code) | Err(code) => code,
    }
}

/// The two bundles of a comparison.
fn both(args: &BundleArgs, diff: &DiffArgs) -> Result<(Snapshot, Snapshot), ExitCode> {
    Ok((fetch::have(args, &diff.old)?, fetch::have(args, &diff.new)?))
}

fn config(args: &BundleArgs) -> Result<Config, ExitCode> {
    Config::read(&args.config.config).map_err(|error| say::error(&error))
}

/// A bundle's place: the one given, else that of the bundle in force.
fn place(args: &BundleArgs, given: Option<&Path>) -> Result<PathBuf, ExitCode> {
    in_force_or(given, &args.config.config)
}

/// The place of a bundle that is worked on: the one given, else the configuration's.
fn written(args: &BundleArgs, given: Option<&Path>) -> Result<PathBuf, ExitCode> {
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
pub(super) fn now() -> Result<Millis, ExitCode> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map(|since| u64::try_from(since.as_millis()));
    match since {
        Ok(Ok(now)) => Ok(Millis(now)),
        Ok(Err(_)) | Err(_) => Err(say::misuse("the clock cannot be read")),
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
    match pinned(config) {
        Ok((old, new)) if old == new => {
            say::line(&format!("pinned already: {new}"));
            ExitCode::SUCCESS
        }
        Ok((old, new)) => {
            say::line(&format!("was    {old}\npinned {new}\n{}", then(config)));
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// Pins what lies there. What is fetched is pinned only if enough of those signed it whom the configuration believes, and
/// is kept.
fn pinned(config: &Config) -> Result<(BundleDigest, BundleDigest), ExitCode> {
    let arbiter = config.arbiter().map_err(|error| say::error(&error))?;
    let Some(SourceConfig { remote, access, .. }) = arbiter.source else {
        return pin_bundle(config).map_err(|error| say::error(&error));
    };
    let snapshot = fetch::fetched(remote, &access).map_err(|error| fetch::refused(&error))?;
    let vouched = arbiter.signers.authority().and_then(|authority| snapshot.signed_by(&authority));
    vouched.map_err(|error| vouch::refused(&error))?;
    pin_fetched(config, &snapshot).map_err(|error| say::error(&error))
}

/// What there is to do after a pin. A pin is no proof.
fn then(config: &Config) -> &'static str {
    let (mut demands, mut is_untested) = (false, false);
    if let Ok(arbiter) = config.arbiter() {
        let report = Snapshot::read(&arbiter.bundle).and_then(|snapshot| snapshot.check());
        let said = |said: fn(&CheckReport) -> bool| report.as_ref().is_ok_and(said);
        demands = arbiter.proofs.required || said(|report| report.proofs == ProofDemand::Required);
        is_untested = said(|report| report.cases == 0 && !report.untested);
    }
    if is_untested {
        "It has no test cases and does not say `untested = true`: nothing is permitted by it (policy.untested)."
    } else if demands {
        "A proof is demanded, and a pin is none: nothing is permitted until `portcullis bundle activate` makes it decide."
    } else {
        "Start the arbiter again to make it decide."
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
            deciding_source(&arbiter, &Succession::default())
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
