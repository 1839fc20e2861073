//! What people read: the one place that prints.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat};
use portcullis_protocol::{Millis, PrincipalId};

pub(crate) use crate::harmless::harmless;

/// Exit code of misuse and failure.
pub(crate) const FAILED: u8 = 1;

/// Prints a line to standard output. A closed pipe ends the output, not the command.
pub(crate) fn line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}").err());
}

/// Prints a line for people to standard error.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}").err());
}

/// Prints an error with its chain of causes, once, and gives the exit code of failure.
pub(crate) fn error(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("portcullis: {error}");
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!("\n  because {source}"));
        cause = source.source();
    }
    note(&harmless(&text));
    ExitCode::from(FAILED)
}

/// Prints a sentence about misuse, and gives the exit code of failure.
pub(crate) fn misuse(text: &str) -> ExitCode {
    note(&format!("portcullis: {text}"));
    ExitCode::from(FAILED)
}

/// Prints what the parser of the command line has to say: help and version, or what is wrong with the arguments. The
/// parser's own exit code of misuse is another than ours.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    drop(error.print().err());
    if error.use_stderr() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// An instant as RFC 3339 has it, in UTC.
pub(crate) fn time(at: Millis) -> String {
    let milliseconds = i64::try_from(at.0).ok().and_then(DateTime::from_timestamp_millis);
    // No record holds a time beyond the year 9999.
    milliseconds
        .map_or_else(|| format!("{} ms", at.0), |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// For whom an agent acted, as it is put behind its name; of one whom its credential did not admit, that it said so.
pub(crate) fn acts_for(named: Option<&PrincipalId>, admitted: bool) -> String {
    match named {
        None => String::new(),
        Some(named) if admitted => format!(" for {named}"),
        Some(named) => format!(" claiming to act for {named}"),
    }
}

/// How long something lasted, to the second below, or to the millisecond if it is less than one.
pub(crate) fn age(milliseconds: u64) -> String {
    let seconds = milliseconds / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds == 0 => format!("{milliseconds}ms"),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Whether standard output is a terminal that shows colours.
pub(crate) fn is_colourful() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Whether standard error is.
pub(crate) fn is_colourful_for_errors() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
