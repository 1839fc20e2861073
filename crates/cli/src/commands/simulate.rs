//! `portcullis simulate`

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use portcullis_policy::{Rehearsal, Snapshot};
use portcullis_server::{
    Assumed, Config, Simulation, open_ledger, simulate_ledger, simulate_trace, vault_key,
};

use super::evidence::time;
use super::in_force_or;
use crate::args::SimulateArgs;
use crate::progress::Progress;
use crate::say;

pub(crate) fn run(args: &SimulateArgs) -> ExitCode {
    match simulation(args) {
        Ok(Some(simulation)) => tell(&simulation, args),
        Ok(None) => say::misuse("stopped before the last record; nothing is said about the bundle"),
        Err(code) => code,
    }
}

fn simulation(args: &SimulateArgs) -> Result<Option<Simulation>, ExitCode> {
    let other = rehearse(&args.bundle)?;
    match &args.trace {
        Some(trace) => {
            let before = rehearse(&in_force_or(args.from.as_deref(), &args.config.config)?)?;
            let text = read(trace)
                .map_err(|error| say::misuse(&format!("`{}` cannot be read: {error}", trace.display())))?;
            let said = simulate_trace(&text, &before, &other);
            said.map(Some).map_err(|error| say::misuse(&format!("`{}`, {error}", trace.display())))
        }
        None => over_ledger(args, &other),
    }
}

fn over_ledger(args: &SimulateArgs, other: &Rehearsal) -> Result<Option<Simulation>, ExitCode> {
    let config = Config::read(&args.config.config).and_then(|config| config.arbiter());
    let mut config = config.map_err(|error| say::error(&error))?;
    if let Some(Some(data)) = &args.ledger {
        config.data.clone_from(data);
    }
    let master = match args.without_key {
        true => None,
        false => Some(vault_key(&config).map_err(|error| {
            say::misuse(&format!("{error}; --without-key counts what cannot be simulated without it"))
        })?),
    };
    let since = args.since.as_deref().map(time).transpose().map_err(|error| say::misuse(&error))?;
    let reader = open_ledger(&config).map_err(|error| say::error(&error))?;
    let total = reader.head().size();
    let mut progress = Progress::new("simulating record").map_err(|error| say::error(&error))?;
    simulate_ledger(&reader, master.as_ref(), other, since, |seq| progress.step(seq, total))
        .map_err(|error| say::error(&error))
}

fn rehearse(directory: &Path) -> Result<Rehearsal, ExitCode> {
    Snapshot::read(directory).and_then(|snapshot| snapshot.rehearse()).map_err(|error| say::error(&error))
}

/// A file's content; `-` is standard input.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}

fn taken_as_given(assumed: &Assumed) {
    let Assumed { ended_ok, as_recorded } = *assumed;
    if ended_ok > 0 {
        say::line(&format!(
            "{ended_ok} PERMITs of the other bundle have no outcome: taken as ended `ok` at once"
        ));
    }
    if as_recorded > 0 {
        say::line(&format!(
            "{as_recorded} PERMITs were not simulated: what they took of limits, and the labels they gave, are as on record"
        ));
    }
}

fn tell(simulation: &Simulation, args: &SimulateArgs) -> ExitCode {
    let Simulation {
        bundle,
        asked,
        unchanged,
        changes,
        not_simulated,
        simulated_calls,
        assumed,
        contradictions,
    } = simulation;
    let place = if args.trace.is_some() { "line" } else { "record" };
    if args.json {
        let changes: Vec<_> = changes
            .iter()
            .map(|(group, (count, first))| serde_json::json!({ "group": group, "count": count, "first": first }))
            .collect();
        let said = serde_json::json!({
            "bundle": bundle, "asked": asked, "unchanged": unchanged, "changes": changes,
            "not_simulated": not_simulated, "simulated_calls": simulated_calls, "assumed": assumed,
            "contradictions": contradictions,
        });
        say::line(&said.to_string());
    } else {
        say::line(&format!("under {bundle}"));
        for (group, (count, first)) in changes {
            say::line(&format!(
                "{count:>8}  {} by {}: {} -> {} (first: {place} {first})",
                group.surface, group.agent, group.from, group.to
            ));
        }
        let changed: u64 = changes.values().map(|(count, _)| count).sum();
        say::line(&format!("{asked} requests asked: {changed} changed, {unchanged} unchanged"));
        for (why, count) in not_simulated {
            say::line(&format!("{count} requests not simulated: {}", why.as_str()));
        }
        if *simulated_calls > 0 {
            say::line(&format!(
                "{simulated_calls} calls on record were only simulated: they are no requests, and were not asked"
            ));
        }
        taken_as_given(assumed);
    }
    if *contradictions == 0 {
        return ExitCode::SUCCESS;
    }
    say::misuse(&format!(
        "{contradictions} things in this ledger cannot be by its own records, so nothing said of it can be relied on; \
         `portcullis log replay` names them"
    ))
}
