//! `portcullis verify`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::{DecisionRecord, ReasonCode, Record};
use portcullis_verify::{LogKey, LogKeyError, LogKeys, UnverifiedReceipt, VerifiedReceipt, VerifierKey};

use crate::args::VerifyArgs;
use crate::say;

pub(crate) fn run(args: &VerifyArgs) -> ExitCode {
    let keys = match args.key.iter().map(|key| read_log_key(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => LogKeys::new(keys),
        Err(error) => return say::misuse(&error),
    };
    let mut refused = 0_usize;
    for file in &args.files {
        match verify(file, &keys) {
            Ok((receipt, record)) => say::line(&describe(file, &receipt, &record, args.json)),
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
    if refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(say::FAILED) }
}

/// A key of a log with its standing, given as such or as a file that holds it in a line.
fn read_log_key(key: &str) -> Result<LogKey, String> {
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

/// A verifier key, given as such or as a file that holds it in a line.
pub(super) fn read_key(key: &str) -> Result<VerifierKey, String> {
    let direct = key.parse::<VerifierKey>();
    let Err(error) = direct else { return direct.map_err(|error| error.to_string()) };
    match std::fs::read_to_string(key) {
        Ok(text) => text.trim().parse().map_err(|error| format!("`{key}` holds no verifier key: {error}")),
        Err(_) => Err(format!("`{key}` is neither a verifier key ({error}) nor a file")),
    }
}

fn verify(file: &Path, keys: &LogKeys) -> Result<(VerifiedReceipt, Record), String> {
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let receipt = UnverifiedReceipt::parse(&bytes).map_err(|error| chain(&error))?;
    let receipt = receipt.verify_with(keys).map_err(|error| chain(&error))?;
    let record = receipt.record().map_err(|error| chain(&error))?;
    Ok((receipt, record))
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
    };
    format!(
        "{}: verified\n  record  {} of {} in {}\n  {what}",
        file.display(),
        receipt.index(),
        head.size(),
        head.origin()
    )
}

fn describe_decision(decision: &DecisionRecord) -> String {
    let reason = decision.reason.map_or("", ReasonCode::as_str);
    let policies: Vec<_> = decision.policies.iter().map(|policy| policy.as_str()).collect();
    format!(
        "{} {reason}\n  agent   {}\n  surface {}\n  action  {} on {}::{}\n  policy  {} by [{}]\n  attempt {}",
        decision.decision.as_str(),
        decision.agent,
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
