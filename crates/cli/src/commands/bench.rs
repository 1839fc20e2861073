//! `portcullis bench`

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use portcullis_drills::bench::{Options, run as measure};
use portcullis_drills::bench_activation;
use portcullis_drills::bench_ledger as ledger;

use crate::args::{BenchArgs, BenchCommand};
use crate::commands::{runtime, until_signal};
use crate::say;

pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    match &args.command {
        None => gate(args),
        Some(BenchCommand::Activation { policies, seconds, json }) => activation(*policies, *seconds, *json),
        Some(BenchCommand::Ledger { seconds, callers, records, directory, json }) => {
            let options = ledger::Options {
                each: Duration::from_secs(u64::from(*seconds)),
                callers: callers.clone(),
                records: *records,
                directory: directory.clone(),
                json: *json,
            };
            measure_ledger(&options)
        }
    }
}

/// The measurement runs on threads of its own, so a signal ends it between two of them.
fn measure_ledger(options: &ledger::Options) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&stop)) {
            return say::error(&error);
        }
    }
    let progress = std::io::stderr().is_terminal();
    let mut note = |text: &str| {
        if progress {
            say::note(text);
        }
    };
    match ledger::run(options, &stop, &mut say::line, &mut note) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => say::misuse("interrupted; its files are gone"),
        Err(error) => say::error(&error),
    }
}

fn activation(policies: u32, seconds: u32, json: bool) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let each = Duration::from_secs(u64::from(seconds));
    let options = bench_activation::Options { program, policies, each, json };
    match runtime.block_on(until_signal(bench_activation::run(&options, &mut say::line))) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => say::error(&error),
        None => say::misuse("interrupted; its processes and files are gone"),
    }
}

fn gate(args: &BenchArgs) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let options = Options { program, calls: args.calls, json: args.json };
    match runtime.block_on(until_signal(measure(&options, &mut say::line))) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => say::error(&error),
        None => say::misuse("interrupted; its processes and files are gone"),
    }
}
