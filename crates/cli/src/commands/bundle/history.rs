//! `portcullis bundle history`

use std::process::ExitCode;

use portcullis_protocol::{BundleDigest, InForce};
use portcullis_server::{CameIntoForce, Config, bundle_history, open_ledger};

use crate::say;

pub(super) fn run(config: &Config, all: bool, json: bool) -> ExitCode {
    let arbiter = match config.arbiter() {
        Ok(arbiter) => arbiter,
        Err(error) => return say::error(&error),
    };
    let found = match open_ledger(&arbiter).and_then(|ledger| Ok(bundle_history(&ledger)?)) {
        Ok(found) => found,
        Err(error) => return say::error(&error),
    };
    let mut before: Option<BundleDigest> = None;
    for came in &found {
        let digest = came.bundle.as_ref().map(|it| it.bundle.digest);
        if all || digest.is_none() || digest != before || came.ordered.is_some() {
            tell(came, json);
        }
        before = digest;
    }
    if found.is_empty() && !json {
        say::line("no bundle was in force yet");
    }
    ExitCode::SUCCESS
}

fn tell(came: &CameIntoForce, json: bool) {
    let CameIntoForce { seq, time, bundle, ordered } = came;
    if json {
        let root = bundle.as_ref().map(|it| {
            it.root.map(|(chain, version)| serde_json::json!({ "chain": chain, "version": version }))
        });
        let named = bundle.as_ref().map(|it| &it.bundle);
        say::line(
            &serde_json::json!({ "record": seq, "time": time, "bundle": named, "root": root.flatten(), "ordered": ordered })
                .to_string(),
        );
        return;
    }
    let at = say::time(*time);
    let Some(InForce { bundle, root }) = bundle else {
        return say::line(&format!("{at}  record {seq}  a bundle that the record does not name"));
    };
    if let Some(ordered) = ordered {
        let (by, why) = (&ordered.by, ordered.reason.as_str().escape_debug());
        let (name, version) = (&bundle.name, bundle.version);
        return say::line(&format!("{at}  record {seq}  {by} activates {name} version {version}: {why}"));
    }
    let root = root.map_or_else(String::new, |(_, version)| format!("  root {version}"));
    say::line(&format!(
        "{at}  record {seq}  {} version {}  {}{root}",
        bundle.name, bundle.version, bundle.digest
    ));
}
