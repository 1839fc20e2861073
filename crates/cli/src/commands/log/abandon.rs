//! `portcullis log abandon`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::{LostProofs, OrderReason, ProofDemand, RootRef, Succession};
use portcullis_server::{AbandonLogError, Abandoned, Abandonment, Config, Outlook, abandon, look};
use portcullis_verify::Hash;
use serde_json::json;

use crate::args::AbandonArgs;
use crate::commands::runtime;
use crate::say;

/// What is lost with the records, in words that fit every such loss.
const UNKNOWN: &str = "\
Carried over, with every record that is left: keys with their results, attempts, what is reserved of limits, agents' labels,
and which bundles were in force, the one that was activated last with its file. PERMITs that are left without outcome end as
`unknown`.
Not carried over: nobody knows any more what the lost records permitted. A call that ran under one of them can be permitted
again, its key is free, the labels that it gave its agent are forgotten, and the room of limits that it took is there again:
find out from the tool servers what ran, and do not open the gate before the longest lifetime of a label and window of a limit
has passed, or what ran says otherwise. Payload keys that they erased are back, and must be erased again. A bundle that only
they say was in force counts by the version that --bundle-version names: nothing lower decides from here on. Where that is
higher than what is left says, it counts as one that demanded a proof of the next bundle, which no pin is, unless
--no-lost-proofs says that none did.";

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
    let (Some(size), Some(root), Some(reason), Some(version)) =
        (args.size, args.root, &args.reason, args.bundle_version)
    else {
        say::line(&if args.json { described(&outlook) } else { in_words(config, &outlook) });
        return Ok(ExitCode::from(say::FAILED));
    };
    let done = done(config, args, &outlook, (size, root, version), reason)?;
    say::line(&if args.json { gone_on(&done) } else { done_in_words(&done) });
    Ok(ExitCode::SUCCESS)
}

fn done(
    config: &Config,
    args: &AbandonArgs,
    outlook: &Outlook,
    (size, root, bundle_version): (u64, Hash, u64),
    reason: &str,
) -> Result<Abandoned, Box<dyn std::error::Error>> {
    let token = config.operator_token(args.operator.token_file.as_deref())?;
    let reason = reason.parse::<OrderReason>()?;
    let lost_proofs = if args.no_lost_proofs { LostProofs::NotDemanded } else { LostProofs::Unknown };
    let asked = Abandonment { size, root, token, reason, bundle_version, lost_proofs };
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
        "bundles": seen(&loss.succession),
        "agents_with_labels": loss.labelled,
        "counters_of_limits": loss.counters,
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
         lost        {} records at least, {} at most\nin doubt    {} PERMITs that are left have no outcome\n\
         bundles     {} was in force, by what is left\n\
         labels      {} agents have some, by what is left\nlimits      {} counters have something reserved, by what is left\n",
        loss.given_up.origin(),
        loss.size,
        loss.root,
        loss.least(),
        loss.most(),
        loss.open_permits,
        highest(&loss.succession),
        loss.labelled,
        loss.counters
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
         portcullis log abandon --config {} --size {size} --root {root} --bundle-version VERSION --reason \"…\"\n\
         VERSION is the highest of a bundle that was in force, as far as you know, and at least {}.",
        config.path().display(),
        loss.succession.version
    )
}

/// Which bundles count as having been in force, for machines.
fn seen(seen: &Succession) -> serde_json::Value {
    json!({
        "version": seen.version,
        "digest": seen.digest.map(|digest| digest.to_string()),
        "activated": seen.activated.as_ref().map(|bundle| bundle.digest.to_string()),
        "proofs": seen.demand.as_str(),
        "roots": seen.roots.values().map(root).collect::<Vec<_>>(),
    })
}

fn root(RootRef { chain, version, digest }: &RootRef) -> serde_json::Value {
    json!({ "chain": chain, "version": version, "digest": digest })
}

fn highest(seen: &Succession) -> String {
    match (seen.version, &seen.digest) {
        (0, None) => "none".to_owned(),
        (version, None) => format!("version {version}, nobody knows which,"),
        (version, Some(digest)) => format!("version {version}, {digest},"),
    }
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
        "bundles": seen(&done.seen),
        "activated_bundle_carried": done.carried,
    })
    .to_string()
}

fn done_in_words(done: &Abandoned) -> String {
    let archive = done.archive.as_ref().map_or_else(String::new, |archive| {
        format!("old log     read and checked with --config {}\n", archive.display())
    });
    let bundle = match (&done.seen.activated, done.carried) {
        (Some(bundle), Some(true)) => {
            format!("version {} of `{}` was activated last, and is carried over", bundle.version, bundle.name)
        }
        (Some(bundle), Some(false) | None) => {
            format!(
                "version {} of `{}` was activated last, and its file is not there: activate another",
                bundle.version, bundle.name
            )
        }
        (None, _) => "the one that the configuration pins".to_owned(),
    };
    let proofs = match done.seen.demand {
        ProofDemand::Required => {
            "proofs      a proof is demanded of the next bundle, and of one that is only pinned\n"
        }
        ProofDemand::Unsaid | ProofDemand::Waived => "",
    };
    format!(
        "log key     {}\nrecord      {} says what was given up, by whom and why\ndata        {}\nanchor      {}\n{archive}\
         bundle      {bundle}; none decides that is older than {}\n{proofs}\n\
         {UNKNOWN}\n\nThe gate is shut. Give the new log key to all who check receipts: gates elsewhere as `arbiter.log_key`, witnesses\n\
         as a line of `logs`, auditors. Start the arbiter, settle `portcullis outcomes unknown`, then `portcullis open`.",
        done.log_key,
        done.record,
        done.data.display(),
        done.anchor.display(),
        highest(&done.seen).trim_end_matches(',')
    )
}
