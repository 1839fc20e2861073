//! `portcullis serve`

use std::process::ExitCode;

use portcullis_server::{Config, serve};

use crate::args::ServeArgs;
use crate::commands::{runtime, stop_signal};
use crate::say;

pub(crate) fn run(args: &ServeArgs) -> ExitCode {
    let read = Config::read(&args.config.config).and_then(|config| Ok((config.arbiter()?, config.listen()?)));
    let (arbiter, listen) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let served =
        runtime.block_on(async { serve(&arbiter, listen, stop_signal(), |line| say::note(&line)).await });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::error(&error),
    }
}
