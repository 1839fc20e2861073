//! `portcullis explain`

use std::process::ExitCode;

use portcullis_policy::{Held, Near, Rehearsal, Snapshot};
use portcullis_protocol::obligations::Length;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{Decision, DecisionRecord, ReasonCode, Record, Request};
use portcullis_server::{
    Config, ConfigError, archived_bundle, config::ArbiterConfig, facts_on_record, request_on_record,
};
use portcullis_verify::{LogKeys, UnverifiedReceipt};
use serde::Serialize;

use super::verify::{chain, read_log_key};
use crate::args::ExplainArgs;
use crate::say;

/// Everything that can be said of a decision.
#[derive(Serialize)]
struct Explanation {
    record: Box<DecisionRecord>,
    /// At which precondition it was decided.
    precondition: Option<&'static str>,
    message: Option<&'static str>,
    remedy: Option<&'static str>,
    /// The policies that determined it, with their text where the bundle is at hand.
    policies: Vec<Shown>,
    /// The grants that came nearest.
    nearest: Vec<Near>,
    /// What could not be said, and why.
    unsaid: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    text: Option<String>,
}

pub(crate) fn run(args: &ExplainArgs) -> ExitCode {
    // What a configuration is needed for is said where it is needed.
    let config = Config::read(&args.config.config).and_then(|config| config.arbiter());
    let record = match verified(args, &config) {
        Ok(record) => record,
        Err(error) => return say::misuse(&format!("{}: NOT VERIFIED: {error}", args.receipt.display())),
    };
    let Record::Decision(record) = record else {
        return say::misuse("verified, and the record is no decision: there is nothing to explain");
    };
    let explanation = explain(args, &config, record);
    if args.json {
        match serde_json::to_string(&explanation) {
            Ok(text) => say::line(&text),
            Err(error) => return say::error(&error),
        }
    } else {
        tell(&explanation);
    }
    ExitCode::SUCCESS
}

fn verified(args: &ExplainArgs, config: &Result<ArbiterConfig, ConfigError>) -> Result<Record, String> {
    let keys = match (args.key.as_slice(), config) {
        ([], Ok(config)) => config.log_keys.clone(),
        ([], Err(error)) => {
            return Err(format!("no --key is given, and the configuration has none: {error}"));
        }
        (keys, _) => LogKeys::new(keys.iter().map(|key| read_log_key(key)).collect::<Result<Vec<_>, _>>()?),
    };
    let bytes = std::fs::read(&args.receipt).map_err(|error| error.to_string())?;
    let receipt = UnverifiedReceipt::parse(&bytes).map_err(|error| chain(&error))?;
    let receipt = receipt.verify_with(&keys).map_err(|error| chain(&error))?;
    receipt.record().map_err(|error| chain(&error))
}

fn explain(
    args: &ExplainArgs,
    config: &Result<ArbiterConfig, ConfigError>,
    record: Box<DecisionRecord>,
) -> Explanation {
    let mut unsaid = Vec::new();
    let mut had = |what: &str, cause: String| unsaid.push(format!("{what}: {cause}"));
    let bundle = match bundle(args, config, &record) {
        Ok(bundle) => bundle,
        Err(cause) => {
            had("the policies' text", cause);
            None
        }
    };
    let shown = |id: &portcullis_protocol::PolicyId| Shown {
        id: id.to_string(),
        text: bundle.as_ref().and_then(|bundle| bundle.policy_text(id)),
    };
    let policies = record.policies.iter().map(shown).collect();
    let nearest = match (&bundle, record.reason) {
        (Some(bundle), Some(ReasonCode::PolicyNoGrant)) => match request(args, config, &record) {
            Ok(request) => {
                if let Some(file) = &args.request {
                    // The receipt commits to the request with a salt that only the vault has.
                    let file = file.display();
                    had("whether that was the request", format!("`{file}` is taken as given"));
                }
                let facts = match config {
                    Ok(config) => facts_on_record(config, &record, bundle),
                    Err(error) => Err(format!("no ledger: {error}")),
                };
                let facts = facts.unwrap_or_else(|cause| {
                    had("what sources of facts gave", cause);
                    None
                });
                bundle.nearest(&request, &record.labels.held, facts.as_ref())
            }
            Err(cause) => {
                had("the grants that come nearest", cause);
                Vec::new()
            }
        },
        (_, _) => Vec::new(),
    };
    let reason = record.reason;
    Explanation {
        precondition: reason.map(|code| code.precondition().as_str()),
        message: reason.map(ReasonCode::message),
        remedy: reason.map(ReasonCode::remedy),
        record,
        policies,
        nearest,
        unsaid,
    }
}

/// The bundle at hand, if it is the one that decided.
fn bundle(
    args: &ExplainArgs,
    config: &Result<ArbiterConfig, ConfigError>,
    record: &DecisionRecord,
) -> Result<Option<Rehearsal>, String> {
    let Some(decided) = &record.bundle else { return Ok(None) };
    let snapshot = match (&args.bundle, config) {
        (Some(directory), _) => Snapshot::read(directory).map_err(|error| error.to_string())?,
        // Another may be in force by now, or the bundle may be gone: the ledger keeps what decided.
        (None, Ok(config)) => match archived_bundle(config, &decided.digest) {
            Some(archived) => archived,
            None => Snapshot::read(&config.bundle).map_err(|error| error.to_string())?,
        },
        (None, Err(error)) => return Err(format!("no --bundle is given, and no configuration: {error}")),
    };
    if snapshot.digest() != decided.digest {
        return Err(format!("{} decided, and the bundle at hand is {}", decided.digest, snapshot.digest()));
    }
    snapshot.rehearse().map(Some).map_err(|error| error.to_string())
}

fn request(
    args: &ExplainArgs,
    config: &Result<ArbiterConfig, ConfigError>,
    record: &DecisionRecord,
) -> Result<Request, String> {
    let Some(file) = &args.request else {
        let config =
            config.as_ref().map_err(|error| format!("no --request is given, and no vault: {error}"))?;
        return request_on_record(config, record).map_err(|cause| format!("{cause}; give it with --request"));
    };
    let text = std::fs::read(file).map_err(|error| format!("`{}`: {error}", file.display()))?;
    let ask = Ask::parse(&text).map_err(|refused| format!("`{}`: {refused}", file.display()))?;
    let same =
        (&ask.surface, &ask.action, &ask.resource) == (&record.surface, &record.action, &record.resource);
    if !same {
        return Err(format!(
            "`{}` is about another surface, action or resource than the receipt",
            file.display()
        ));
    }
    Ok(ask.by(record.agent.clone()))
}

fn tell(explanation: &Explanation) {
    let Explanation { record, precondition, message, remedy, policies, nearest, unsaid } = explanation;
    let (word, agent, surface) = (record.decision.as_str(), &record.agent, &record.surface);
    say::line(&format!(
        "{word}: {agent}{} asked for {} on {surface}, at {}",
        say::acts_for(record.acts_for.as_ref(), record.behind().is_some()),
        record.action,
        say::time(record.time)
    ));
    if let (Some(code), Some(precondition), Some(message)) = (record.reason, precondition, message) {
        say::line(&format!("decided by the precondition `{precondition}`, with {code}: {message}"));
    } else {
        say::line("every precondition held, and policy granted it");
    }
    for policy in policies {
        say::line(&format!("policy {}", policy.id));
        policy
            .text
            .iter()
            .flat_map(|text| text.lines())
            .for_each(|line| say::line(&format!("    {}", say::harmless(line))));
    }
    tell_facts(record);
    if let Some(limit) = &record.limit {
        say::line(&format!("limit {limit} has no room for it"));
        for used in record.limits.iter().filter(|used| used.limit == *limit) {
            let (before, most, takes) = (used.used, used.max, used.amount);
            say::line(&format!("    {before} of {most} were used, and the request takes {takes}"));
        }
    }
    for need in &record.obligations.approvals {
        let roles: Vec<_> = need.roles.iter().map(ToString::to_string).collect();
        say::line(&format!("it asks for an approval by {} of {}", need.quorum, roles.join(", ")));
    }
    if record.decision != Decision::Permit {
        for near in nearest {
            tell_near(near);
        }
        if nearest.is_empty() && record.reason == Some(ReasonCode::PolicyNoGrant) && unsaid.is_empty() {
            say::line("no grant is about this action");
        }
        if let Some(remedy) = remedy {
            say::line(&format!("to make it a PERMIT: {remedy}"));
        }
    }
    for unsaid in unsaid {
        say::line(&format!("not to be had: {unsaid}"));
    }
}

/// The facts that policy was asked with, how old they were, and the exception by which they counted all the same.
fn tell_facts(record: &DecisionRecord) {
    for (name, used) in &record.facts.sources {
        let (as_of, most) = (say::time(used.as_of), Length(used.max_age_ms));
        let age = used
            .age_at(record.time)
            .map_or_else(|| "from the future".to_owned(), |age| format!("{} old", say::age(age)));
        let word = if used.is_stale_at(record.time) { "stale" } else { "fresh" };
        say::line(&format!("facts of {name} as of {as_of}, {age} (at most {most}): {word}"));
    }
    if let Some(excepted) = &record.exception {
        let (code, most, until) =
            (excepted.covers.code(), Length(excepted.max_age_ms), say::time(excepted.until));
        say::line(&format!(
            "permitted by an exception of the bundle for {code}: facts may be {most} old on this surface until {until}"
        ));
    }
}

fn tell_near(near: &Near) {
    say::line(&format!("near: policy {} would grant it, but", near.policy));
    for part in &near.parts {
        let word = match part.held {
            Held::Yes => continue,
            Held::No => "does not hold",
            Held::Errs => "cannot be evaluated by itself",
        };
        say::line(&format!("    {word}: {}", say::harmless(&part.text)));
    }
}
