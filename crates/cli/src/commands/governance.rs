//! `portcullis governance`

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Governance, OwnedException, Snapshot, SurfaceGovernance};
use portcullis_protocol::obligations::Length;
use portcullis_protocol::{Idempotency, OnSilence, SurfaceName, Tier};

use super::bundle::now;
use super::in_force_or;
use crate::args::{GovernanceArgs, GovernanceCommand};
use crate::say;

/// Exit code if an exception was to be looked at again by now.
const OVERDUE: u8 = 2;

pub(crate) fn run(args: &GovernanceArgs) -> ExitCode {
    let GovernanceCommand::Report { bundle, json } = &args.command;
    let place = in_force_or(bundle.as_deref(), &args.config.config);
    match place.and_then(|place| report(&place, *json)) {
        Ok(code) | Err(code) => code,
    }
}

fn report(place: &Path, json: bool) -> Result<ExitCode, ExitCode> {
    let rehearsal = Snapshot::read(place).and_then(|snapshot| snapshot.rehearse()).map_err(|error| {
        let code = say::error(&error);
        say::note(error.remedy());
        code
    })?;
    let report = rehearsal.governance(now()?);
    if json {
        say::line(&serde_json::to_string(&report).map_err(|error| say::error(&error))?);
    } else {
        tell(&report);
    }
    let overdue = report.exceptions.iter().any(|it| it.review_overdue);
    Ok(if overdue { ExitCode::from(OVERDUE) } else { ExitCode::SUCCESS })
}

fn tell(report: &Governance) {
    say::line(&format!("{} version {}\n{}", report.name, report.version, report.digest));
    say::line(&format!(
        "valid from {} until {}",
        say::time(report.valid_from),
        say::time(report.valid_until)
    ));
    if report.exceptions.is_empty() {
        say::line("no exceptions");
    }
    report.exceptions.iter().for_each(tell_exception);
    for (name, source) in &report.sources {
        let types = source.types.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        say::line(&format!(
            "facts of {name}: {types}, at most {} old, for every decision",
            Length(source.max_age_ms)
        ));
    }
    for (name, surface) in &report.surfaces {
        tell_surface(name, surface);
    }
}

fn tell_exception(owned: &OwnedException) {
    let OwnedException { exception, owner_name, review_overdue, over } = owned;
    let word = match (over, review_overdue) {
        (true, _) => "over exception",
        (false, true) => "OVERDUE exception",
        (false, false) => "exception",
    };
    let sources = exception.sources.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let (surface, code) = (&exception.surface, exception.covers.code());
    say::line(&format!(
        "{word} for {surface}: {code}, facts of {sources} up to {} old",
        Length(exception.max_age_ms)
    ));
    say::line(&format!("    owner   {} ({})", exception.owner, say::harmless(owner_name)));
    say::line(&format!("    reason  {}", say::harmless(&exception.reason)));
    say::line(&format!("    review  {}", say::time(exception.review)));
    say::line(&format!("    until   {}", say::time(exception.until)));
}

fn tell_surface(name: &SurfaceName, surface: &SurfaceGovernance) {
    let tier = match surface.tier {
        Tier::Read => "read",
        Tier::Standard => "standard",
        Tier::High => "high",
        Tier::Critical => "critical",
    };
    let on_silence = match surface.on_silence {
        OnSilence::Terminate => "terminate".to_owned(),
        OnSilence::Pause { at_most_ms } => format!("pause for at most {at_most_ms} ms"),
    };
    let idempotency = match surface.idempotency {
        Idempotency::None => "none",
        Idempotency::Key => "key",
        Idempotency::Derived => "derived",
    };
    let witnessed = if surface.witnessed { ", witnessed" } else { "" };
    say::line(&format!(
        "surface {name}: {tier}, on silence {on_silence}, idempotency {idempotency}{witnessed}"
    ));
    if surface.grants.is_empty() {
        say::line("    nothing grants it");
    }
    for (policy, obligations) in &surface.grants {
        let asks = if obligations.is_empty() { "nothing more".to_owned() } else { obligations.to_string() };
        say::line(&format!("    grant   {policy}, asks for {asks}"));
    }
    for limit in &surface.limits {
        say::line(&format!("    limit   {limit}"));
    }
}
