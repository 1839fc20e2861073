//! `portcullis log abandon`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::OrderReason;
use portcullis_server::{AbandonLogError, Abandoned, Abandonment, Config, Outlook, abandon, look};
use portcullis_verify::Hash;
use serde_json::json;

use crate::args::AbandonArgs;
use crate::commands::runtime;
use crate::say;

/// What is lost with the records, in words that fit every such loss.
const UNKNOWN: &str = "\
Nobody knows any more what the lost records permitted, nor which keys they consumed: a call that ran under one of
them can be permitted again. Payload keys that they erased are back, and must be erased again. Find out from the tool
servers what ran. PERMITs that are left without outcome end as `unknown`; keys of what is left stay consumed.";

pub(super) fn run(config: &Path, args: &AbandonArgs) -> ExitCode {
    let config = match Config::read(config) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match told(&config, args) {
        Ok(code) => code,
        Err(error) => say::error(&*error),
    }
}

fn told(config: &Config, args: &AbandonArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let outlook = runtime()?.block_on(look(&config.arbiter()?, &args.seen))?;
    let (Some(size), Some(root), Some(reason)) = (args.size, args.root, &args.reason) else {
        say::line(&if args.json { described(&outlook) } else { in_words(config, &outlook) });
        return Ok(ExitCode::from(say::FAILED));
    };
    let done = done(config, args, &outlook, (size, root), reason)?;
    say::line(&if args.json { gone_on(&done) } else { done_in_words(&done) });
    Ok(ExitCode::SUCCESS)
}

fn done(
    config: &Config,
    args: &AbandonArgs,
    outlook: &Outlook,
    (size, root): (u64, Hash),
    reason: &str,
) -> Result<Abandoned, Box<dyn std::error::Error>> {
    let token = config.operator_token(args.operator.token_file.as_deref())?;
    let reason = reason.parse::<OrderReason>()?;
    let asked = Abandonment { size, root, token, reason };
    Ok(abandon(config, outlook, &asked).map_err(Box::<AbandonLogError>::new)?)
}

fn described(outlook: &Outlook) -> String {
    let loss = &outlook.loss;
    json!({
        "abandoned": false,
        "log": loss.given_up.origin().as_str(),
        "given_up": { "size": loss.given_up.size(), "root": loss.given_up.root().to_string() },
        "left": { "size": loss.size, "root": loss.root.to_string(),
            "signed": loss.proved.as_ref().map(portcullis_verify::VerifiedCheckpoint::size) },
        "lost": { "least": loss.least(), "most": loss.most(), "open_ended": loss.open_ended },
        "open_permits": loss.open_permits,
        "silent_witnesses": outlook.silent,
    })
    .to_string()
}

fn in_words(config: &Config, outlook: &Outlook) -> String {
    let loss = &outlook.loss;
    let (size, root) = (loss.given_up.size(), loss.given_up.root());
    let signed = loss.proved.as_ref().map_or(0, portcullis_verify::VerifiedCheckpoint::size);
    let mut text = format!(
        "log         {}\ngiven up    {size} records, root {root}\nleft        {} records, root {}; signed up to {signed}\n\
         lost        {} records at least, {} at most\nin doubt    {} PERMITs that are left have no outcome\n",
        loss.given_up.origin(),
        loss.size,
        loss.root,
        loss.least(),
        loss.most(),
        loss.open_permits
    );
    if loss.open_ended {
        text.push_str("            the anchor is lost, or old as well: what was signed after that head, nobody can tell\n");
    }
    if config.arbiter().is_ok_and(|arbiter| arbiter.signer.key_file().is_none()) {
        text.push_str(
            "signer      the new log will be signed with a key in a file, whatever signs the old one now\n",
        );
    }
    for silent in &outlook.silent {
        text.push_str(&format!("no word of  witness {silent}\n"));
    }
    format!(
        "{text}\n{UNKNOWN}\n\nNothing is changed. If the lost records can be had back, put them back instead. To give that head up:\n  \
         portcullis log abandon --config {} --size {size} --root {root} --reason \"…\"",
        config.path().display()
    )
}

fn gone_on(done: &Abandoned) -> String {
    json!({
        "abandoned": true,
        "record": done.record,
        "log_key": done.log_key.to_string(),
        "size": done.head.size(),
        "root": done.head.root().to_string(),
        "data": done.data,
        "anchor": done.anchor,
        "archive": done.archive,
    })
    .to_string()
}

fn done_in_words(done: &Abandoned) -> String {
    let archive = done.archive.as_ref().map_or_else(String::new, |archive| {
        format!("old log     read and checked with --config {}\n", archive.display())
    });
    format!(
        "log key     {}\nrecord      {} says what was given up, by whom and why\ndata        {}\nanchor      {}\n{archive}\n\
         {UNKNOWN}\n\nThe gate is shut. Give the new log key to all who check receipts: gates elsewhere as `arbiter.log_key`, witnesses\n\
         as a line of `logs`, auditors. Start the arbiter, settle `portcullis outcomes unknown`, then `portcullis open`.",
        done.log_key,
        done.record,
        done.data.display(),
        done.anchor.display()
    )
}
