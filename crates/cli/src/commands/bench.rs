//! `portcullis bench`

use std::process::ExitCode;

use portcullis_drills::bench::{Options, run as measure};

use crate::args::BenchArgs;
use crate::commands::{runtime, until_signal};
use crate::say;

pub(crate) fn run(args: &BenchArgs) -> ExitCode {
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
