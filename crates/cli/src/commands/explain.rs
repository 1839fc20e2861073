//! `portcullis explain`

use std::process::ExitCode;

use portcullis_policy::{Gathered, Held, Near, Otherwise, Rehearsal, Snapshot};
use portcullis_protocol::obligations::Length;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{Decision, DecisionRecord, ReasonCode, Record, Request};
use portcullis_server::{
    Before, Config, ConfigError, archived_bundle, before, config::ArbiterConfig, facts_on_record,
    request_on_record,
};
use portcullis_verify::{LogKeys, UnverifiedReceipt};
use serde::Serialize;

use self::because::Because;
use self::found::{Found, asks_for_the_request, needed};
use super::verify::{chain, read_log_key};
use crate::args::ExplainArgs;
use crate::say;

mod because;
mod found;

/// Everything that can be said of a decision.
#[derive(Serialize)]
struct Explanation {
    record: Box<DecisionRecord>,
    /// Whether it was no decision, but what would have been one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    /// At which precondition it was decided.
    precondition: Option<&'static str>,
    message: Option<&'static str>,
    remedy: Option<&'static str>,
    /// The policies that determined it, with their text where the bundle is at hand.
    policies: Vec<Shown>,
    /// The grants that came nearest.
    nearest: Vec<Near>,
    /// What stood behind it.
    because: Vec<Because>,
    /// What would make it a PERMIT.
    needed: Vec<String>,
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
    let (record, simulated) = match record {
        Record::Decision(record) => (record, false),
        Record::Simulation(record) => (record, true),
        Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_) => {
            return say::misuse("verified, and the record is no decision: there is nothing to explain");
        }
    };
    let explanation = Explanation { simulated, ..explain(args, &config, record) };
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

fn verified(args: &ExplainArgs, config: &Deployed) -> Result<Record, String> {
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

type Deployed = Result<ArbiterConfig, ConfigError>;

/// What could not be said, and why.
#[derive(Default)]
struct Unsaid(Vec<String>);

impl Unsaid {
    fn had<T>(&mut self, what: &str, found: Result<T, String>) -> Option<T> {
        found.map_err(|cause| self.0.push(format!("{what}: {cause}"))).ok()
    }
}

fn explain(args: &ExplainArgs, config: &Deployed, record: Box<DecisionRecord>) -> Explanation {
    let mut unsaid = Unsaid::default();
    let bundle = unsaid.had("the policies' text", bundle(args, config, &record)).flatten();
    let shown = |id: &portcullis_protocol::PolicyId| Shown {
        id: id.to_string(),
        text: bundle.as_ref().and_then(|bundle| bundle.policy_text(id)),
    };
    let policies = record.policies.iter().map(shown).collect();
    let before = earlier(config, &record, &mut unsaid);
    let asked = bundle.as_ref().and_then(|bundle| asked(args, config, &record, bundle, &mut unsaid));
    let (request, nearest, otherwise) = match (&bundle, asked) {
        (Some(bundle), Some((request, facts))) => {
            let (nearest, otherwise) = weighed(bundle, &request, &record, facts.as_ref());
            (Some(request), nearest, otherwise)
        }
        (_, _) => (None, Vec::new(), None),
    };
    let found = Found {
        record: &record,
        bundle: bundle.as_ref(),
        request: request.as_ref(),
        before: &before,
        otherwise: otherwise.as_ref(),
    };
    let because = found.because();
    let reason = record.reason;
    Explanation {
        precondition: reason.map(|code| code.precondition().as_str()),
        message: reason.map(ReasonCode::message),
        remedy: reason.map(ReasonCode::remedy),
        needed: needed(&record, &because),
        record,
        simulated: false,
        policies,
        nearest,
        because,
        unsaid: unsaid.0,
    }
}

/// What the log says before it, if the log is at hand.
fn earlier(config: &Deployed, record: &DecisionRecord, unsaid: &mut Unsaid) -> Before {
    let found = match config {
        Ok(config) => before(config, record),
        Err(error) if Before::is_asked_for(record) => Err(format!("no ledger: {error}")),
        Err(_) => Ok(Before::default()),
    };
    unsaid.had("what the log says before it", found).unwrap_or_default()
}

/// The request and what sources gave for it, where they explain the decision.
fn asked(
    args: &ExplainArgs,
    config: &Deployed,
    record: &DecisionRecord,
    bundle: &Rehearsal,
    unsaid: &mut Unsaid,
) -> Option<(Request, Option<Gathered>)> {
    record.reason.filter(|code| asks_for_the_request(*code))?;
    let what = match record.reason {
        Some(ReasonCode::PolicyNoGrant) => "the grants that come nearest",
        _ => "what of the request decided it",
    };
    let request = unsaid.had(what, request(args, config, record))?;
    if let Some(file) = &args.request {
        // The receipt commits to the request with a salt that only the vault has.
        let taken = format!("`{}` is taken as given", file.display());
        unsaid.had::<()>("whether that was the request", Err(taken));
    }
    let facts = match config {
        Ok(config) => facts_on_record(config, record, bundle),
        Err(error) => Err(format!("no ledger: {error}")),
    };
    let facts = unsaid.had("what sources of facts gave", facts).flatten();
    Some((request, facts))
}

/// The grants that come nearest to a request that nothing grants, and what else policy says of one that it forbids.
fn weighed(
    bundle: &Rehearsal,
    request: &Request,
    record: &DecisionRecord,
    facts: Option<&Gathered>,
) -> (Vec<Near>, Option<Otherwise>) {
    let held = &record.labels.held;
    if record.reason == Some(ReasonCode::PolicyNoGrant) {
        return (bundle.nearest(request, held, facts), None);
    }
    (Vec::new(), bundle.otherwise(request, held, facts, &record.policies))
}

/// The bundle at hand, if it is the one that decided.
fn bundle(
    args: &ExplainArgs,
    config: &Deployed,
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

fn request(args: &ExplainArgs, config: &Deployed, record: &DecisionRecord) -> Result<Request, String> {
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
    let Explanation { record, simulated, precondition, message, policies, unsaid, .. } = explanation;
    let (word, agent, surface) = (record.decision.as_str(), &record.agent, &record.surface);
    let would = if *simulated { "simulated: would be " } else { "" };
    say::line(&format!(
        "{would}{word}: {agent}{} asked for {} on {surface}, at {}",
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
    }
    explanation.because.iter().flat_map(Because::lines).for_each(|line| say::line(&line));
    if record.decision != Decision::Permit {
        tell_way(explanation);
    }
    for unsaid in unsaid {
        say::line(&format!("not to be had: {unsaid}"));
    }
}

/// What would make it a PERMIT.
fn tell_way(explanation: &Explanation) {
    let Explanation { record, nearest, needed, remedy, unsaid, .. } = explanation;
    nearest.iter().for_each(tell_near);
    if nearest.is_empty() && record.reason == Some(ReasonCode::PolicyNoGrant) && unsaid.is_empty() {
        say::line("no grant is about this action");
    }
    for needed in needed {
        say::line(&format!("to make it a PERMIT: {needed}"));
    }
    if let (Some(remedy), true) = (remedy, needed.is_empty()) {
        say::line(&format!("to make it a PERMIT: {remedy}"));
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
