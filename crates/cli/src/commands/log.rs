//! `portcullis log`

mod abandon;
mod check;
mod cosign;
mod export;
mod replay;
mod verify;

use std::process::ExitCode;

use portcullis_server::CheckAsked;

use crate::args::{LogArgs, LogCommand};

pub(crate) fn run(args: &LogArgs) -> ExitCode {
    match &args.command {
        LogCommand::Check { since, restart, with_key, progress, json } => check::run(&check::Asked {
            config: &args.config.config,
            check: CheckAsked { since: since.as_deref(), restart: *restart, with_key: *with_key },
            progress: *progress,
            json: *json,
        }),
        LogCommand::Abandon(abandoned) => abandon::run(&args.config.config, abandoned),
        LogCommand::Cosign { key, json } => cosign::run(&args.config.config, key.as_deref(), *json),
        LogCommand::Export { directory, cosigned, from, json } => {
            export::run(&args.config.config, directory, (*cosigned, *from), *json)
        }
        LogCommand::Replay(replayed) => replay::run(&args.config.config, replayed),
        LogCommand::Verify { directory, key, require_cosigner, pruned_below, since, json } => {
            let asked = verify::Asked {
                directory,
                key,
                cosigners: require_cosigner,
                pruned_below: *pruned_below,
                since,
                json: *json,
            };
            verify::run(&asked)
        }
    }
}
