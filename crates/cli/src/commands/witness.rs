//! `portcullis witness`

use std::process::ExitCode;

use portcullis_server::{Config, Witness, serve_witness};

use crate::args::WitnessArgs;
use crate::commands::{runtime, stop_signal};
use crate::say;

pub(crate) fn run(args: &WitnessArgs) -> ExitCode {
    let config = match Config::read(&args.config.config).and_then(|config| config.own_witness()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    if let Some(origin) = &args.begin {
        return match Witness::begin(&config.state, origin, &config.logs) {
            Ok(()) => {
                say::note(&format!("nothing was seen of log {origin}: it is served from the next start on"));
                ExitCode::SUCCESS
            }
            Err(error) => say::error(&error),
        };
    }
    let witness = match Witness::open(&config.state, &config.signing_keys, config.logs.clone()) {
        Ok(witness) => witness,
        Err(error) => return say::error(&error),
    };
    for key in witness.keys() {
        say::note(&format!("cosigns as {key}"));
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let served = runtime.block_on(async {
        let say = |line: String| say::note(&line);
        serve_witness(witness, config.listen, config.requests_per_second, stop_signal(), say).await
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::error(&error),
    }
}
