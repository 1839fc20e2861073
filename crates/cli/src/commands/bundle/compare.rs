//! `portcullis bundle diff`

use std::process::ExitCode;

use portcullis_policy::{Difference, Snapshot};

use crate::say;

pub(super) fn diff(old: &Snapshot, new: &Snapshot, json: bool) -> ExitCode {
    let found = match new.differences(old) {
        Ok(found) => found,
        Err(error) => return say::error(&error),
    };
    for difference in &found {
        if json {
            match serde_json::to_string(difference) {
                Ok(line) => say::line(&line),
                Err(error) => return say::error(&error),
            }
        } else {
            tell(difference);
        }
    }
    if found.is_empty() && !json {
        say::line("nothing differs but perhaps the signatures");
    }
    ExitCode::SUCCESS
}

fn tell(difference: &Difference) {
    let Difference { part, name, old, new } = difference;
    let word = match (old, new) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(_), Some(_)) => "changed",
    };
    say::line(&format!("{part} {} {word}", name.escape_debug()));
    for (sign, text) in [('-', old), ('+', new)] {
        for line in text.iter().flat_map(|text| text.lines()) {
            say::line(&format!("  {sign} {}", say::harmless(line)));
        }
    }
}
