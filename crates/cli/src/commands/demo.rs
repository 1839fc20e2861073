//! `portcullis demo`

use std::process::ExitCode;

use portcullis_drills::demo::{Options, run as drill};

use crate::args::DemoArgs;
use crate::commands::{runtime, until_signal};
use crate::say;

pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let options = Options { program, keep: args.keep.clone(), json: args.json, colour: say::is_colourful() };
    match runtime.block_on(until_signal(drill(&options, &mut say::line))) {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::from(say::FAILED),
        Some(Err(error)) => say::error(&error),
        None => say::misuse("interrupted; its processes and files are gone"),
    }
}
