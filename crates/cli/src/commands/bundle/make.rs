//! `portcullis bundle new` and `build`

use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, Months, SecondsFormat};
use portcullis_policy::{Snapshot, bundles};
use portcullis_server::{replace_file, write_bundle};

use crate::say;

pub(super) fn new(directory: &Path) -> ExitCode {
    let (from, until) = match a_year_from_now() {
        Ok(times) => times,
        Err(code) => return code,
    };
    let files = bundles::empty(&name_of(directory), &from, &until);
    match write_bundle(directory, &files) {
        Ok(()) => {
            let at = directory.display();
            say::line(&format!(
                "{at}: grants nothing. `portcullis bundle check {at}` looks at it as you go."
            ));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

/// The name of the bundle in a directory: what the directory may be called and a bundle may not is written as it may.
pub(crate) fn name_of(directory: &Path) -> String {
    let absolute = std::path::absolute(directory);
    let name = absolute.as_deref().map_or(None, |path| path.file_name().and_then(|name| name.to_str()));
    let spelled =
        |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.map_or("bundle", |name| name).chars().map(spelled).take(64).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    if name.is_empty() { "bundle".to_owned() } else { name.to_owned() }
}

/// From when until when a new bundle may decide.
pub(crate) fn a_year_from_now() -> Result<(String, String), ExitCode> {
    let from = i64::try_from(super::now()?.0).map_or(None, DateTime::from_timestamp_millis);
    let until = from.and_then(|from| from.checked_add_months(Months::new(12)));
    let Some((from, until)) = from.zip(until) else { return Err(say::misuse("the clock cannot be read")) };
    let text = |time: DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    Ok((text(from), text(until)))
}

pub(super) fn build(directory: &Path, output: &Path) -> ExitCode {
    let built = Snapshot::read(directory).and_then(|snapshot| {
        let report = snapshot.check()?;
        Ok((report, snapshot.to_bytes()?))
    });
    let (report, bytes) = match built {
        Ok(built) => built,
        Err(error) => return say::error(&error),
    };
    match replace_file(output, &bytes) {
        Ok(()) => {
            let (name, version, digest) = (report.name, report.version, report.digest);
            say::line(&format!("{} is {name} version {version}\n{digest}", output.display()));
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
