//! `portcullis bench`

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use portcullis_drills::bench::{Options, run as measure};
use portcullis_drills::bench_activation;
use portcullis_drills::bench_ledger as ledger;
use portcullis_drills::bench_mcp;

use crate::args::{BenchArgs, BenchCommand, BenchMcpArgs, OverArg};
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
        Some(BenchCommand::Mcp(args)) => mcp(args),
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

fn mcp(args: &BenchMcpArgs) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return say::error(&error),
    };
    let token = args.beside_token.as_deref().map(std::fs::read_to_string).transpose();
    let token = match token {
        Ok(token) => token.map(|text| text.trim().to_owned()),
        Err(error) => return say::error(&error),
    };
    let name = args.beside_name.clone();
    let options = bench_mcp::Options {
        program,
        each: Duration::from_secs(u64::from(args.seconds)),
        callers: args.callers.clone(),
        over: args.over.iter().map(|over| transport(*over)).collect(),
        long: Some(args.long).filter(|bytes| *bytes > 0),
        calls: args.calls,
        beside: args.beside.clone().map(|url| bench_mcp::Beside {
            name,
            url,
            token,
            may_be_none: args.beside_may_be_none,
        }),
        upstream: args.upstream.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
        json: args.json,
    };
    let progress = std::io::stderr().is_terminal();
    let mut note = |text: &str| {
        if progress {
            say::note(text);
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    match runtime.block_on(until_signal(bench_mcp::run(&options, &mut say::line, &mut note))) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => say::error(&error),
        None => say::misuse("interrupted; its processes and files are gone"),
    }
}

const fn transport(over: OverArg) -> bench_mcp::Over {
    match over {
        OverArg::Stdio => bench_mcp::Over::Stdio,
        OverArg::Http => bench_mcp::Over::Http,
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
