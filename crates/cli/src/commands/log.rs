//! `portcullis log`

mod abandon;
mod check;
mod export;
mod replay;
mod verify;

use std::process::ExitCode;

use crate::args::{LogArgs, LogCommand};

pub(crate) fn run(args: &LogArgs) -> ExitCode {
    match &args.command {
        LogCommand::Check { since, restart, progress, json } => check::run(&check::Asked {
            config: &args.config.config,
            since: since.as_deref(),
            restart: *restart,
            progress: *progress,
            json: *json,
        }),
        LogCommand::Abandon(abandoned) => abandon::run(&args.config.config, abandoned),
        LogCommand::Export { directory, from, json } => {
            export::run(&args.config.config, directory, *from, *json)
        }
        LogCommand::Replay(replayed) => replay::run(&args.config.config, replayed),
        LogCommand::Verify { directory, key, pruned_below, since, json } => {
            verify::run(&verify::Asked { directory, key, pruned_below: *pruned_below, since, json: *json })
        }
    }
}
