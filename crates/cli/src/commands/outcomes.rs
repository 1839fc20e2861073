//! `portcullis outcomes`

use std::process::ExitCode;

use portcullis_protocol::wire::OrderCall;
use portcullis_protocol::{AttemptId, Order, OrderReason, Resolution, Tier};
use portcullis_sdk::Token;
use portcullis_server::config::ArbiterConfig;
use portcullis_server::{Config, InDoubt, give_order, open_ledger};

use crate::args::{OutcomesArgs, OutcomesCommand, ResolvedAs};
use crate::commands::runtime;
use crate::say;

pub(crate) fn run(args: &OutcomesArgs) -> ExitCode {
    let read = Config::read(&args.config.config).and_then(|config| Ok((config.arbiter()?, config)));
    let (arbiter, config) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    match &args.command {
        OutcomesCommand::Unknown { all, json } => match in_doubt(&arbiter) {
            Ok(found) => list(&found, *all, *json),
            Err(code) => code,
        },
        OutcomesCommand::Resolve { attempt, outcome, reason, operator, json } => {
            let reason = match reason.parse::<OrderReason>() {
                Ok(reason) => reason,
                Err(error) => return say::error(&error),
            };
            let token = match config.operator_token(operator.token_file.as_deref()) {
                Ok(token) => token,
                Err(error) => return say::error(&error),
            };
            let attempt = match find(&arbiter, attempt) {
                Ok(attempt) => attempt,
                Err(code) => return code,
            };
            resolve(&arbiter, &token, attempt, *outcome, reason, *json)
        }
    }
}

fn in_doubt(arbiter: &ArbiterConfig) -> Result<Vec<InDoubt>, ExitCode> {
    let found = open_ledger(arbiter).and_then(|ledger| Ok(ledger.in_doubt()?));
    found.map_err(|error| say::error(&error))
}

/// Whether a person must find out what became of it. A read that blocks nothing closes by itself: whether it took
/// place changes nothing. One that a limit on open PERMITs counts does block: it is open until somebody has looked.
fn needs_a_person(doubt: &InDoubt) -> bool {
    let counts_as_open = doubt.permit.limits.iter().any(|used| used.lapses.is_none());
    doubt.permit.tier != Some(Tier::Read) || doubt.key.is_some() || counts_as_open
}

fn list(found: &[InDoubt], all: bool, json: bool) -> ExitCode {
    let shown: Vec<_> = found.iter().filter(|doubt| all || needs_a_person(doubt)).collect();
    for doubt in &shown {
        let InDoubt { permit, unknown, key } = doubt;
        if json {
            let line = serde_json::json!({
                "attempt": permit.attempt,
                "permit": permit,
                "unknown_since": unknown.time,
                "key": key,
                "needs_a_person": needs_a_person(doubt),
            });
            say::line(&line.to_string());
            continue;
        }
        let key = key.as_ref().map_or_else(String::new, |key| format!("  blocks key {key}"));
        say::line(&format!(
            "{}  {}  {} over {}  {} on {}::{}{key}",
            permit.attempt.to_string().get(..16).unwrap_or_default(),
            say::time(permit.time),
            permit.agent,
            permit.gate,
            permit.surface,
            permit.resource.kind.escape_debug(),
            permit.resource.id.escape_debug(),
        ));
    }
    if !json {
        say::line(&if shown.is_empty() {
            "no PERMIT needs a person to find out what became of it".to_owned()
        } else {
            format!("{} in doubt; settle each with `portcullis outcomes resolve`", shown.len())
        });
    }
    ExitCode::SUCCESS
}

/// The attempt that a text names: whole, or the beginning of one that is in doubt.
fn find(arbiter: &ArbiterConfig, text: &str) -> Result<AttemptId, ExitCode> {
    if let Ok(attempt) = text.parse() {
        return Ok(attempt);
    }
    let found = in_doubt(arbiter)?;
    let mut fitting =
        found.iter().map(|doubt| doubt.permit.attempt).filter(|it| it.to_string().starts_with(text));
    match (fitting.next(), fitting.next()) {
        (Some(attempt), None) if !text.is_empty() => Ok(attempt),
        (None, _) => Err(say::misuse(&format!(
            "no PERMIT in doubt has an attempt that begins with `{text}`; `portcullis outcomes unknown` lists them"
        ))),
        (Some(_), _) => {
            Err(say::misuse(&format!("more than one attempt in doubt begins with `{text}`; give more of it")))
        }
    }
}

fn resolve(
    arbiter: &ArbiterConfig,
    token: &Token,
    attempt: AttemptId,
    outcome: ResolvedAs,
    reason: OrderReason,
    json: bool,
) -> ExitCode {
    let outcome = match outcome {
        ResolvedAs::Ok => Resolution::Ok,
        ResolvedAs::Failed => Resolution::Failed,
        ResolvedAs::NotRun => Resolution::NotRun,
    };
    let call = OrderCall { what: Order::ResolveOutcome { attempt, outcome }, reason };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    match runtime.block_on(give_order(arbiter, token, call)) {
        Ok(reply) => {
            let word = outcome.outcome().as_str();
            say::line(&if json {
                serde_json::json!({ "attempt": attempt, "outcome": word, "record": reply.seq }).to_string()
            } else {
                format!("on record as `{word}`, by the order at index {}", reply.seq)
            });
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
