//! `portcullis verify`

mod bundles;

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::{DecisionRecord, LateRecord, ListingRecord, ReasonCode, Record, ToolName};
use portcullis_server::bundle_digest;
use portcullis_verify::pack::is_pack;
use portcullis_verify::{
    CosignerKey, LogKey, LogKeyError, LogKeys, UnverifiedPack, UnverifiedReceipt, VerifiedPack,
    VerifiedReceipt, VerifierKey,
};

use self::bundles::{Signed, Signers};
use crate::args::VerifyArgs;
use crate::commands::log::NOT_WHOLE;
use crate::say;

pub(crate) fn run(args: &VerifyArgs) -> ExitCode {
    let keys = match args.key.iter().map(|key| read_log_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => LogKeys::new(keys),
        Err(error) => return say::misuse(&error),
    };
    let cosigners = match read_cosigners(&args.require_cosigner) {
        Ok(cosigners) => cosigners,
        Err(error) => return say::misuse(&error),
    };
    let signers = match Signers::asked(args) {
        Ok(signers) => signers,
        Err(error) => return say::misuse(&error),
    };
    let (mut refused, mut whole) = (0_usize, true);
    for file in &args.files {
        match verify(file, &keys, &cosigners, &signers) {
            Ok(Verified::Receipt(receipt, record)) => {
                say::line(&describe(file, &receipt, &record, args.json))
            }
            Ok(Verified::Pack(pack, signed)) => {
                whole &= signed.is_whole();
                say::line(&describe_pack(file, &pack, &signed, args.json));
            }
            Err(error) => {
                refused = refused.saturating_add(1);
                let file = file.display();
                if args.json {
                    say::line(
                        &serde_json::json!({ "file": file.to_string(), "verified": false, "error": error })
                            .to_string(),
                    );
                } else {
                    say::line(&format!("{file}: NOT VERIFIED: {error}"));
                }
            }
        }
    }
    match (refused, whole) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::from(NOT_WHOLE),
        (_, _) => ExitCode::from(say::FAILED),
    }
}

/// A key of a log with its standing, given as such or as a file that holds it in a line.
pub(super) fn read_log_key(key: &str) -> Result<LogKey, String> {
    match key.parse::<LogKey>() {
        Ok(key) => Ok(key),
        Err(LogKeyError::Standing) => Err(LogKeyError::Standing.to_string()),
        Err(LogKeyError::Key(error)) => match std::fs::read_to_string(key) {
            Ok(text) => {
                text.trim().parse().map_err(|error| format!("`{key}` holds no verifier key: {error}"))
            }
            Err(_) => Err(format!("`{key}` is neither a verifier key ({error}) nor a file")),
        },
    }
}

/// Cosigners' verifier keys, each given as such or as a file that holds it in a line.
pub(super) fn read_cosigners(keys: &[String]) -> Result<Vec<CosignerKey>, String> {
    let read = |key: &String| match key.parse::<CosignerKey>() {
        Ok(key) => Ok(key),
        Err(error) => match std::fs::read_to_string(key) {
            Ok(text) => {
                text.trim().parse().map_err(|error| format!("`{key}` holds no cosigner's key: {error}"))
            }
            Err(_) => Err(format!("`{key}` is neither a cosigner's key ({error}) nor a file")),
        },
    };
    keys.iter().map(read).collect()
}

/// A verifier key, given as such or as a file that holds it in a line.
pub(super) fn read_key(key: &str) -> Result<VerifierKey, String> {
    let direct = key.parse::<VerifierKey>();
    let Err(error) = direct else { return direct.map_err(|error| error.to_string()) };
    match std::fs::read_to_string(key) {
        Ok(text) => text.trim().parse().map_err(|error| format!("`{key}` holds no verifier key: {error}")),
        Err(_) => Err(format!("`{key}` is neither a verifier key ({error}) nor a file")),
    }
}

/// What a file was found to be.
enum Verified {
    Receipt(Box<VerifiedReceipt>, Box<Record>),
    Pack(Box<VerifiedPack>, Signed),
}

fn verify(
    file: &Path,
    keys: &LogKeys,
    cosigners: &[CosignerKey],
    signers: &Signers,
) -> Result<Verified, String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    if is_pack(&bytes) {
        let pack = UnverifiedPack::parse(&bytes).and_then(|pack| pack.verify(keys, &bundle_digest));
        let pack = pack.map_err(|error| chain(&error))?;
        pack.head().cosigned_by(cosigners).map_err(|error| chain(&error))?;
        let signed = signers.of(&pack)?;
        return Ok(Verified::Pack(Box::new(pack), signed));
    }
    let receipt = UnverifiedReceipt::parse(&bytes).map_err(|error| chain(&error))?;
    let receipt = receipt.verify_with(keys).map_err(|error| chain(&error))?;
    receipt.checkpoint().cosigned_by(cosigners).map_err(|error| chain(&error))?;
    let record = receipt.record().map_err(|error| chain(&error))?;
    Ok(Verified::Receipt(Box::new(receipt), Box::new(record)))
}

fn describe_pack(file: &Path, pack: &VerifiedPack, signed: &Signed, json: bool) -> String {
    let (head, (first, end)) = (pack.head(), pack.range());
    if json {
        return serde_json::json!({
            "file": file.display().to_string(),
            "verified": true,
            "whole": signed.is_whole(),
            "log": head.origin().as_str(),
            "size": head.size(),
            "first": first,
            "end": end,
            "selection": pack.selection(),
            "records": pack.records().values().collect::<Vec<_>>(),
            "withheld": pack.withheld(),
            "bundle_signatures": signed.to_json(),
        })
        .to_string();
    }
    // What it proves, in the words that the pack itself has, which were found to be the right ones.
    let text: String =
        pack.text().lines().skip(2).fold(String::new(), |text, line| format!("{text}\n  {line}"));
    format!("{}: verified{}{text}{}", file.display(), signed.exempted(), signed.to_text())
}

/// An error with what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

fn describe(file: &Path, receipt: &VerifiedReceipt, record: &Record, json: bool) -> String {
    let head = receipt.checkpoint();
    if json {
        return serde_json::json!({
            "file": file.display().to_string(),
            "verified": true,
            "log": head.origin().as_str(),
            "size": head.size(),
            "record": record,
        })
        .to_string();
    }
    let what = match record {
        Record::Decision(decision) => describe_decision(decision),
        Record::Outcome(outcome) => {
            format!("outcome {} of the PERMIT at {}", outcome.outcome.as_str(), outcome.permit)
        }
        Record::Aggregate(aggregate) => format!("{} attempts without records of their own", aggregate.count),
        Record::Event(event) => format!("event {:?}", event.event),
        Record::Late(late) => describe_late(late),
        Record::Listing(listing) => describe_listing(listing),
        Record::Simulation(would) => {
            format!("simulated, no decision: would be {}", describe_decision(would))
        }
    };
    format!(
        "{}: verified\n  record  {} of {} in {}\n  {what}",
        file.display(),
        receipt.index(),
        head.size(),
        head.origin()
    )
}

fn describe_late(late: &LateRecord) -> String {
    let attempted = &late.entry.attempted;
    format!(
        "late: no decision, but an attempt that was refused ({}) while nothing could be recorded, kept by the {}\n  \
         agent   {}{}\n  surface {}\n  attempt {}",
        attempted.reason,
        late.keeper.as_str(),
        attempted.agent,
        say::acts_for(attempted.acts_for.as_ref(), false),
        attempted.surface,
        attempted.attempt
    )
}

fn describe_listing(listing: &ListingRecord) -> String {
    let names = |tools: &std::collections::BTreeSet<ToolName>| {
        let names: Vec<_> = tools.iter().map(|tool| tool.parts().1).collect();
        names.join(", ")
    };
    format!(
        "a list of tools: no decision, and no permission\n  agent   {}{}\n  server  {}\n  shown   {}: [{}]\n  \
         hidden  {}: [{}]\n  policy  {}",
        listing.agent,
        say::acts_for(listing.acts_for.as_ref(), true),
        listing.server,
        listing.shown.len(),
        names(&listing.shown),
        listing.all_hidden(),
        names(&listing.hidden),
        listing.bundle.digest
    )
}

fn describe_decision(decision: &DecisionRecord) -> String {
    let reason = decision.reason.map_or("", ReasonCode::as_str);
    let policies: Vec<_> = decision.policies.iter().map(|policy| policy.as_str()).collect();
    let exception = decision.exception.as_ref().map_or_else(String::new, |excepted| {
        let sources: Vec<_> = excepted.sources.iter().map(|name| name.as_str()).collect();
        format!("\n  by an exception for {}, of {}", excepted.covers.code(), sources.join(", "))
    });
    format!(
        "{} {reason}\n  agent   {}{}\n  surface {}\n  action  {} on {}::{}\n  policy  {} by [{}]\n  attempt {}{exception}",
        decision.decision.as_str(),
        decision.agent,
        say::acts_for(decision.acts_for.as_ref(), decision.behind().is_some()),
        decision.surface,
        decision.action,
        decision.resource.kind,
        decision.resource.id,
        decision
            .bundle
            .as_ref()
            .map_or_else(|| "none in force".to_owned(), |bundle| bundle.digest.to_string()),
        policies.join(", "),
        decision.attempt
    )
}
