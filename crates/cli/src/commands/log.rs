//! `portcullis log`

mod abandon;
mod check;
mod cosign;
mod export;
mod replay;
mod verify;

use std::collections::BTreeSet;
use std::process::ExitCode;

use portcullis_protocol::BundleDigest;

use crate::args::{LogArgs, LogCommand};
use crate::say;

/// The exit code of what found nothing wrong, and cannot speak for all that it is about.
pub(super) const NOT_WHOLE: u8 = 2;

/// Names the bundles for which nobody vouches.
pub(super) fn unvouched_bundles(unvouched: &BTreeSet<BundleDigest>) {
    for digest in unvouched {
        say::line(&format!(
            "but nobody vouches for {digest}, by which records were decided: give the keys of its time with --bundle-key; if \
             they are among those that are known, its signatures were taken away or exchanged since"
        ));
    }
}

pub(crate) fn run(args: &LogArgs) -> ExitCode {
    match &args.command {
        LogCommand::Check(checked) => check::run(&args.config.config, checked),
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
