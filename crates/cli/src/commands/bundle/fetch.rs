//! Bundles from wherever they are.

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::Snapshot;
use portcullis_server::config::read_access;
use portcullis_server::{Access, Config, Fetched, Location, Remote, Source, SourceError};

use crate::args::BundleArgs;
use crate::commands::runtime;
use crate::say;

/// Reads a bundle's directory or file, or fetches it. Nothing of it is verified.
pub(super) fn read(args: &BundleArgs, place: &Path) -> Result<Result<Snapshot, SourceError>, ExitCode> {
    match Location::parse(place) {
        Ok(Location::Here(place)) => Ok(Snapshot::read(&place).map_err(SourceError::Bundle)),
        Ok(Location::Elsewhere(remote)) => fetch(remote.clone(), &access(args, &remote)?),
        Err(error) => Err(say::error(&error)),
    }
}

/// The same, if it is there: or the exit code, and why not is said.
pub(super) fn have(args: &BundleArgs, place: &Path) -> Result<Snapshot, ExitCode> {
    read(args, place)?.map_err(|error| refused(&error))
}

/// Fetches a bundle.
fn fetch(remote: Remote, access: &Access) -> Result<Result<Snapshot, SourceError>, ExitCode> {
    if remote.needs_authorities() && access.authorities.is_none() {
        return Err(say::misuse(
            "it is fetched over TLS, and no authority is believed: name a PEM file by --source-ca or `policy.ca`",
        ));
    }
    Ok(fetched(remote, access))
}

/// The same, where the configuration was read with what it takes.
pub(super) fn fetched(remote: Remote, access: &Access) -> Result<Snapshot, SourceError> {
    let failed = |error: &dyn std::fmt::Display| SourceError::Unreachable(error.to_string());
    let source = Source::new(remote, access).map_err(|error| failed(&error))?;
    match runtime().map_err(|error| failed(&error))?.block_on(source.fetch(None))? {
        Fetched::Bundle { snapshot, .. } => Ok(*snapshot),
        // It was not asked about what is known already.
        Fetched::Unchanged => Err(SourceError::Status(304)),
    }
}

pub(super) fn refused(error: &SourceError) -> ExitCode {
    say::note(&format!("{}: {}", error.code(), error.remedy()));
    say::error(error)
}

/// What the arguments say, and what they leave open as the configuration says, if there is one.
fn access(args: &BundleArgs, remote: &Remote) -> Result<Access, ExitCode> {
    let given = read_access(
        ("--source-ca", args.source_ca.as_deref()),
        ("--source-token-file", args.source_token_file.as_deref()),
    );
    let given = given.map_err(|error| say::error(&error))?;
    if !args.config.config.exists() {
        return Ok(given);
    }
    let configured = Config::read(&args.config.config).and_then(|config| config.access(remote));
    let configured = configured.map_err(|error| say::error(&error))?;
    Ok(Access {
        authorities: given.authorities.or(configured.authorities),
        token: given.token.or(configured.token),
    })
}
