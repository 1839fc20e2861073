//! `portcullis bundle new` and `build`

use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, Months, SecondsFormat};
use portcullis_policy::{Snapshot, bundles};
use portcullis_server::{replace_file, write_bundle};

use crate::say;

pub(super) fn new(directory: &Path) -> ExitCode {
    let absolute = std::path::absolute(directory);
    let name = absolute.as_deref().map_or(None, |path| path.file_name().and_then(|name| name.to_str()));
    // What a directory may be called and a bundle may not is written as it may.
    let spelled =
        |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.map_or("bundle", |name| name).chars().map(spelled).take(64).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    let name = if name.is_empty() { "bundle" } else { name };
    let now = match super::now() {
        Ok(now) => i64::try_from(now.0),
        Err(code) => return code,
    };
    let from = now.map_or(None, DateTime::from_timestamp_millis);
    let Some(times) = from.and_then(|from| Some([from, from.checked_add_months(Months::new(12))?])) else {
        return say::misuse("the clock cannot be read");
    };
    let [from, until] = times.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true));
    let files = bundles::empty(name, &from, &until);
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
