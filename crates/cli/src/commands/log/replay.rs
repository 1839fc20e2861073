//! `portcullis log replay`

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::Authority;
use portcullis_server::{
    COMPARED, Config, Lists, NOT_COMPARED, NotReplayable, ReplaySummary, ReplayWith, Replayed, Simulations,
    config::ArbiterConfig, open_ledger, replay, vault_key,
};

use crate::args::ReplayArgs;
use crate::commands::verify::read_key;
use crate::progress::Progress;
use crate::say;

use super::{NOT_WHOLE, unvouched_bundles};

pub(super) fn run(config: &Path, args: &ReplayArgs) -> ExitCode {
    let config = match Config::read(config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match summary(&config, args) {
        Ok(Some(summary)) => say(&summary, args.json),
        Ok(None) => say::misuse("stopped before the last record; nothing is said about the log"),
        Err(error) => say::misuse(&error),
    }
}

fn summary(config: &ArbiterConfig, args: &ReplayArgs) -> Result<Option<ReplaySummary>, String> {
    let master = match args.without_key {
        true => None,
        false => Some(
            vault_key(config)
                .map_err(|error| format!("{error}; --without-key replays what can be replayed without it"))?,
        ),
    };
    let mut authorities = config.signers.authorities().map_err(|error| error.to_string())?;
    for key in &args.bundle_key {
        authorities.insert(0, Authority::any_of(vec![read_key(key)?]));
    }
    let reader = open_ledger(config).map_err(|error| error.to_string())?;
    let total = reader.head().size();
    let mut progress = Progress::new("replaying record").map_err(|error| error.to_string())?;
    let with = ReplayWith { master: master.as_ref(), authorities: &authorities };
    let each = |entry: &portcullis_protocol::DecisionRecord, replayed: &Replayed| {
        if args.each {
            let said = serde_json::json!({ "record": entry.seq, "outcome": replayed });
            say::line(&if args.json { said.to_string() } else { line(entry.seq, replayed) });
        }
        progress.step(entry.seq, total)
    };
    replay(&reader, &with, each).map_err(|error| error.to_string())
}

fn line(seq: u64, replayed: &Replayed) -> String {
    match replayed {
        Replayed::Identical => format!("{seq:>8}  identical"),
        Replayed::Different { what } => format!("{seq:>8}  DIFFERENT: {what}"),
        Replayed::NotReplayable { why } => format!("{seq:>8}  not replayable: {}", why.as_str()),
    }
}

/// What came of records that are no decisions.
fn say_again(what: &str, (identical, different): (u64, u64), not_replayable: &BTreeMap<NotReplayable, u64>) {
    say::line(&format!("{identical} {what} identical, {different} different"));
    for (why, count) in not_replayable {
        say::line(&format!("{count} {what} not replayable: {}", why.as_str()));
    }
}

fn say(summary: &ReplaySummary, json: bool) -> ExitCode {
    if json {
        match serde_json::to_value(summary) {
            Ok(mut said) => {
                if let Some(said) = said.as_object_mut() {
                    said.insert("compared".to_owned(), COMPARED.into());
                    said.insert("not_compared".to_owned(), NOT_COMPARED.into());
                }
                say::line(&said.to_string());
            }
            Err(error) => return say::misuse(&error.to_string()),
        }
    } else {
        let ReplaySummary { records, identical, different, not_replayable, unvouched, findings, .. } =
            summary;
        say::line(&format!("{records} records: {identical} decisions identical, {different} different"));
        for (why, count) in not_replayable {
            say::line(&format!("{count} decisions not replayable: {}", why.as_str()));
        }
        if summary.lists != Lists::default() {
            let Lists { identical, different, not_replayable } = &summary.lists;
            say_again("lists of tools", (*identical, *different), not_replayable);
        }
        if summary.simulations != Simulations::default() {
            let Simulations { identical, different, not_replayable } = &summary.simulations;
            say_again("simulations", (*identical, *different), not_replayable);
        }
        for finding in findings {
            match finding.record {
                Some(record) => say::line(&format!("record {record}: {}", finding.what)),
                None => say::line(&finding.what),
            }
        }
        if summary.is_sound() {
            say::line("the state is what the records lead to, as far as it was compared");
            unvouched_bundles(unvouched);
        } else {
            say::line("this log or its state was not made by its own rules");
        }
        say::line(&format!("compared: {}", COMPARED.join("; ")));
        say::line(&format!("not compared, and read by `log check --with-key`: {}", NOT_COMPARED.join("; ")));
    }
    match (summary.is_sound(), summary.unvouched.is_empty()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(NOT_WHOLE),
        (false, _) => ExitCode::from(say::FAILED),
    }
}
