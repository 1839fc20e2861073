//! `portcullis bundle roster`

use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Roster, Snapshot};

use crate::say;

pub(crate) fn run(directory: &Path, json: bool) -> ExitCode {
    let report = match Snapshot::read(directory).and_then(|snapshot| snapshot.check()) {
        Ok(report) => report,
        Err(error) => {
            let code = say::error(&error);
            say::note(error.remedy());
            return code;
        }
    };
    let Some(roster) = &report.roster else {
        return say::misuse("the bundle has no `[roster]`: nobody can be asked for an approval");
    };
    if json {
        let digest = roster.digest();
        let told = serde_json::json!({ "bundle": report.digest, "digest": digest, "roster": roster });
        say::line(&told.to_string());
    } else {
        tell(roster);
    }
    ExitCode::SUCCESS
}

/// Prints the people and the digest, a line each.
pub(crate) fn tell(roster: &Roster) {
    for (id, person) in roster.people() {
        let roles: Vec<_> = person.roles.iter().map(|role| role.as_str()).collect();
        let keys: Vec<_> = person.keys.iter().map(|key| key.kind()).collect();
        let (roles, keys) = (roles.join(", "), keys.join(", "));
        say::line(&format!("  person  {id} ({}): {roles}; keys: {keys}", person.name));
    }
    if let Some(digest) = roster.digest() {
        say::line(&format!("  roster  {digest}"));
    }
}
