//! `portcullis bundle`

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_policy::{BundleSource, Snapshot, Trust};
use portcullis_protocol::Millis;
use portcullis_server::{Config, pin_bundle, sign_bundle};

use crate::args::{BundleArgs, BundleCommand};
use crate::say;

pub(crate) fn run(args: &BundleArgs) -> ExitCode {
    match &args.command {
        BundleCommand::Check { directory: Some(directory) } => check(directory),
        BundleCommand::Sign { directory: Some(directory), key } => sign(directory, key),
        BundleCommand::Check { directory: None } => with_config(args, |config| match config.arbiter() {
            Ok(arbiter) => check(&arbiter.bundle),
            Err(error) => say::error(&error),
        }),
        BundleCommand::Sign { directory: None, key } => with_config(args, |config| match config.arbiter() {
            Ok(arbiter) => sign(&arbiter.bundle, &beside(config, key)),
            Err(error) => say::error(&error),
        }),
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
            for warning in &report.warnings {
                say::note(&format!("warning: {warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
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
