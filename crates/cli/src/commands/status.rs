//! `portcullis status`, `shut` and `open`

use std::process::ExitCode;
use std::time::Duration;

use portcullis_protocol::obligations::Length;
use portcullis_sdk::Endpoint;
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{
    Config, FactsHealth, Health, IssuerHealth, SourceHealth, Spool, ask_health, is_shut,
};

use crate::args::{ConfigArg, ShutArgs, StatusArgs};
use crate::commands::runtime;
use crate::say;
use crate::wrap::one_line;

const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &StatusArgs) -> ExitCode {
    match ask(&args.config) {
        Ok((health, arbiter)) => show(&health, args.json, is_shut(&arbiter.data).unwrap_or(None)),
        Err(code) => code,
    }
}

/// `portcullis keys issuers`
pub(crate) fn issuers(config: &ConfigArg) -> ExitCode {
    match ask(config) {
        Ok((health, _)) => {
            if health.issuers.is_empty() {
                say::line("no identity provider is configured");
            }
            health.issuers.iter().for_each(show_issuer);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// How the arbiter of a configuration is.
fn ask(config: &ConfigArg) -> Result<(Health, ArbiterConfig), ExitCode> {
    let read = Config::read(&config.config).and_then(|config| {
        // A gate with an arbiter elsewhere asks there; any other asks the data directory's host.
        let remote = config.gate().map_or(None, |gate| gate.arbiter);
        Ok((config.arbiter()?, remote))
    });
    let (arbiter, remote) = match read {
        Ok(read) => read,
        Err(error) => return Err(say::error(&error)),
    };
    let endpoint = remote.unwrap_or_else(|| Endpoint::Unix { path: arbiter.data.join("arbiter.sock") });
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return Err(say::error(&error)),
    };
    match runtime.block_on(ask_health(&endpoint, PATIENCE)) {
        Ok(health) => Ok((health, arbiter)),
        Err(refusal) => {
            let detail = refusal.reason().detail.unwrap_or_default();
            Err(say::misuse(&format!(
                "{}: no arbiter answers ({detail}); start `portcullis serve` or a gate of this data directory",
                refusal.code()
            )))
        }
    }
}

fn show(health: &Health, json: bool, shut: Option<String>) -> ExitCode {
    if json {
        match serde_json::to_string_pretty(health) {
            Ok(text) => say::line(&text),
            Err(error) => return say::error(&error),
        }
    } else {
        tell(if health.ready { "ready: a PERMIT could be issued now" } else { "shut: nothing is permitted" });
        for interlock in &health.interlocks {
            let reason =
                interlock.reason.map_or_else(String::new, |code| format!("  {code}: {}", code.message()));
            tell(&format!("  {:<8} {:<8}{reason}", interlock.name, interlock.state));
            if let Some(remedy) = &interlock.remedy {
                tell(&format!("           {remedy}"));
            }
        }
        if let Some(reason) = shut {
            tell(&format!("  shut by an operator: {reason}"));
        }
        for witness in &health.witnesses {
            let size = witness.size.map_or_else(String::new, |size| format!(" up to size {size}"));
            let error = why(witness.error.as_ref());
            tell(&format!("  witness {} {}{size}{error}", witness.name, witness.state));
        }
        if !health.witnesses.is_empty() {
            tell(&health.witnessed.map_or_else(
                || "  no checkpoint has the quorum of witnesses yet".to_owned(),
                |size| format!("  witnessed by the quorum up to size {size}"),
            ));
        }
        if let Some(cosigning) = &health.cosigning {
            let size =
                cosigning.size.map_or_else(|| "nothing yet".to_owned(), |size| format!("up to size {size}"));
            let error = why(cosigning.error.as_ref());
            tell(&format!("  cosigned {size}{error}"));
        }
        if let Some(source) = &health.source {
            show_source(source);
        }
        health.facts.iter().for_each(show_facts);
        health.issuers.iter().for_each(show_issuer);
        for (code, count) in &health.refused_tokens {
            tell(&format!("  {count} access tokens were refused: {code}"));
        }
        if let (Some(records), Some(open)) = (health.records, health.open_permits) {
            tell(&format!("  {records} records, {open} permits without outcome"));
        }
        if health.erasing == Some(true) {
            tell(
                "  what was erased may still lie in the database's write-ahead log, or in a database that failed",
            );
        }
        if let Some(scrub) = &health.scrub {
            let passes = match scrub.passes {
                0 => "not yet once through".to_owned(),
                passes => format!("{passes} times through"),
            };
            tell(&format!("  read again: {} of {} records, {passes}", scrub.checked, scrub.of));
        }
        if let Some(spool) = &health.spool {
            show_spool(spool);
        }
    }
    if health.ready { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) }
}

/// A line of what an arbiter told, which may be elsewhere and have gone elsewhere for it: a terminal does what it is told.
fn tell(line: &str) {
    say::line(&shown(line));
}

fn shown(line: &str) -> String {
    say::harmless(&one_line(line))
}

fn why(error: Option<&String>) -> String {
    error.map_or_else(String::new, |error| format!(": {error}"))
}

fn show_source(source: &SourceHealth) {
    let SourceHealth { location, state, bundle, code, error, failures } = source;
    let bundle = bundle
        .as_ref()
        .map_or_else(String::new, |bundle| format!(" {} version {}", bundle.name, bundle.version));
    let code = code.as_ref().map_or_else(String::new, |code| format!(" {code}"));
    let error = why(error.as_ref());
    let failures = if *failures > 1 { format!(", {failures} times in a row") } else { String::new() };
    tell(&format!("  source {location} {state}{bundle}{code}{failures}{error}"));
}

fn show_facts(facts: &FactsHealth) {
    let age = facts.age_ms.map_or_else(String::new, |age| format!(", {} old", say::age(age)));
    let most = facts.max_age_ms.map_or_else(String::new, |most| format!(" (at most {})", Length(most)));
    let error = why(facts.error.as_ref());
    tell(&format!("  facts of {} {}{age}{most}{error}", facts.name, facts.state));
}

fn show_issuer(issuer: &IssuerHealth) {
    let IssuerHealth { issuer, state, keys, passed_over, age_ms, expire_ms, failures, error } = issuer;
    let age = age_ms.map_or_else(String::new, |age| format!(", {} old", say::age(age)));
    let most = Length(*expire_ms);
    let others = if *passed_over > 0 { format!(", {passed_over} others not taken") } else { String::new() };
    let failures = if *failures > 1 { format!(", {failures} times in a row") } else { String::new() };
    let error = why(error.as_ref());
    tell(&format!("  issuer {issuer} {state}: {keys} keys{others}{age} (at most {most}){failures}{error}"));
}

fn show_spool(spool: &Spool) {
    let (waiting, entered) = (spool.waiting, spool.entered);
    tell(&format!("  spool: {waiting} attempts wait to be entered into the log, {entered} were entered"));
    if spool.unreadable > 0 {
        tell(&format!("  spool: {} bytes of it could not be read and are set aside", spool.unreadable));
    }
    if let Some(why) = &spool.failing {
        tell(&format!("  spool: it keeps nothing now: {why}"));
    }
}

pub(crate) fn shut(args: &ShutArgs) -> ExitCode {
    let config = match Config::read(&args.config.config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match portcullis_server::shut(&config.data, &args.reason) {
        Ok(()) => {
            say::line("shut: nothing is permitted until `portcullis open`");
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

pub(crate) fn open(args: &ConfigArg) -> ExitCode {
    let config = match Config::read(&args.config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match portcullis_server::open(&config.data) {
        Ok(Some(reason)) => {
            say::line(&format!("open; it was shut because: {reason}"));
            ExitCode::SUCCESS
        }
        Ok(None) => {
            say::line("it was not shut");
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn what_an_arbiter_elsewhere_told_steered_the_terminal() {
        let told = "  facts of a failed: \u{1b}[2Jx\nready: a PERMIT could be issued now\u{202e}";
        let line = "  facts of a failed: \\u{1b}[2Jx\\nready: a PERMIT could be issued now\u{fffd}";
        assert_eq!(shown(told), line);
    }
}
