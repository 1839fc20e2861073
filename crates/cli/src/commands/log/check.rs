//! `portcullis log check`

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis_server::{CheckAsked, Config, LogChecked, POSITION, check_log};
use serde_json::json;

use super::{NOT_WHOLE, unvouched_bundles};
use crate::args::CheckArgs;
use crate::commands::verify::read_key;
use crate::say;

/// How often the line of progress is written anew.
const EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(config: &Path, args: &CheckArgs) -> ExitCode {
    let bundle_keys = match args.bundle_key.iter().map(|key| read_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => keys,
        Err(error) => return say::misuse(&error),
    };
    let CheckArgs { restart, with_key, .. } = *args;
    let asked = CheckAsked { since: args.since.as_deref(), restart, with_key, bundle_keys: &bundle_keys };
    let config = match Config::read(config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            return say::error(&error);
        }
    }
    let line = Line::new(args.progress);
    let checked = check_log(&config, &asked, &stop, &|what, done, of| {
        line.show(what, done, of);
    });
    line.clear();
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => return say::error(&error),
    };
    report(&checked, args.json);
    if checked.ledger.stopped.is_none() {
        return if checked.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(NOT_WHOLE) };
    }
    let place = config.data.join(POSITION);
    say::misuse(&format!("stopped; the next `log check` goes on from there, as `{}` says", place.display()))
}

fn report(LogChecked { ledger: checked, unvouched }: &LogChecked, json: bool) {
    let head = &checked.head;
    if json {
        let part = |(took, records): (Duration, u64)| json!({ "records": records, "seconds": took.as_secs_f64(), "per_second": rate(took, records) });
        let resumed = checked.resumed.map(|position| json!({ "log": position.log, "state": position.compared(), "payloads": position.payloads.0 }));
        let said = json!({
            "log": head.origin().as_str(), "size": head.size(), "root": head.root().to_string(),
            "done": checked.stopped.is_none(), "whole": checked.is_whole(), "resumed": resumed,
            "payloads": checked.payloads, "unvouched": unvouched,
            "hashing": part(checked.log), "state": part(checked.state),
        });
        return say::line(&said.to_string());
    }
    if let Some(position) = checked.resumed {
        say::line(&format!(
            "went on from an earlier check: hashing from record {}, state from record {}, what is kept from record {}",
            position.log,
            position.compared(),
            position.payloads.0
        ));
    }
    for (what, (took, records)) in [("hashed", checked.log), ("compared with the state", checked.state)] {
        let (seconds, rate) = (took.as_secs_f64(), rate(took, records));
        say::line(&format!("{records} records {what} in {seconds:.1} s: {rate} a second"));
    }
    if let Some(payloads) = checked.payloads {
        say::line(&format!("{payloads} kept requests and results opened"));
    }
    let (origin, size, root) = (head.origin(), head.size(), head.root());
    match checked.resumed {
        _ if checked.stopped.is_some() => {}
        Some(from) => say::line(&format!(
            "of the log `{origin}`, {size} records, root {root}, nothing wrong was found; what lies before record {} was \
             not hashed by this check, before record {} not compared with the state, and before record {} not with what \
             is kept: `--restart` reads everything",
            from.log,
            from.compared(),
            from.payloads.0
        )),
        None => {
            say::line(&format!("the log `{origin}` is what was signed: {size} records, root {root}"));
        }
    }
    unvouched_bundles(unvouched);
}

/// Records a second, rounded down.
fn rate(took: Duration, records: u64) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    records.saturating_mul(1_000_000).checked_div(micros).unwrap_or_default()
}

/// A line on standard error, written over in place.
struct Line {
    shown: bool,
    last: Mutex<Option<Instant>>,
    written: AtomicBool,
}

impl Line {
    fn new(asked: bool) -> Self {
        let shown = asked || std::io::stderr().is_terminal();
        Self { shown, last: Mutex::new(None), written: AtomicBool::new(false) }
    }

    fn show(&self, what: &str, done: u64, of: u64) {
        // Whoever finds it taken leaves the line to the thread that has it.
        let Ok(mut last) = self.last.try_lock() else { return };
        if self.shown && last.is_none_or(|last| last.elapsed() >= EVERY) {
            *last = Some(Instant::now());
            self.written.store(true, Ordering::Relaxed);
            drop(write!(std::io::stderr().lock(), "\r{what}: {done} of {of}\u{1b}[K").err());
        }
    }

    fn clear(&self) {
        if self.written.load(Ordering::Relaxed) {
            drop(write!(std::io::stderr().lock(), "\r\u{1b}[K").err());
        }
    }
}
