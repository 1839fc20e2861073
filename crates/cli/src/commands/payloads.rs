//! `portcullis payloads`

use std::path::Path;
use std::process::ExitCode;

use portcullis_protocol::wire::OrderCall;
use portcullis_protocol::{InvalidId, Order, OrderReason, Payload};
use portcullis_server::{Config, KeptContent, KeptPayload, give_order, kept_payload};

use crate::args::{EraseArgs, PayloadsArgs, PayloadsCommand};
use crate::commands::runtime;
use crate::say::{self, harmless};

pub(crate) fn run(args: &PayloadsArgs) -> ExitCode {
    match &args.command {
        PayloadsCommand::Show { seq, json } => show(&args.config.config, *seq, *json),
        PayloadsCommand::Erase(order) => erase(&args.config.config, order),
    }
}

fn show(config: &Path, seq: u64, json: bool) -> ExitCode {
    let config = match Config::read(config).and_then(|config| config.arbiter()) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    let kept = match kept_payload(&config, seq) {
        Ok(kept) => kept,
        Err(error) => return say::error(&error),
    };
    let text = if json { serde_json::to_string(&kept) } else { shown(&kept) };
    match text {
        Ok(text) => say::line(&text),
        Err(error) => return say::error(&error),
    }
    ExitCode::SUCCESS
}

/// For people: what came from elsewhere steers no terminal.
fn shown(kept: &KeptPayload) -> serde_json::Result<String> {
    let KeptPayload { record, agent, kept_until, content } = kept;
    let until = say::time(*kept_until);
    let text = match content {
        KeptContent::Request { request, payload } => {
            let request = serde_json::to_string_pretty(request)?;
            let arguments = payload.as_ref().map_or_else(
                || "its arguments are not kept".to_owned(),
                |Payload { server, method, name, arguments, rest }| {
                    let rest =
                        if rest.is_empty() { String::new() } else { format!("\nand beside them:\n{rest}") };
                    format!("arguments of {method} {server}/{name}:\n{arguments}{rest}")
                },
            );
            format!("record {record}: a request of {agent}, kept until {until}\n{request}\n{arguments}")
        }
        KeptContent::Result { result } => {
            format!("record {record}: a result of {agent}'s, kept until {until}\n{result}")
        }
    };
    Ok(harmless(&text))
}

fn erase(config: &Path, args: &EraseArgs) -> ExitCode {
    let EraseArgs { subject, facts, reason, operator, json } = args;
    let read = Config::read(config)
        .and_then(|config| Ok((config.arbiter()?, config.operator_token(operator.token_file.as_deref())?)));
    let (arbiter, token) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let (what, reason) = match (order(subject.as_deref(), facts.as_deref()), reason.parse::<OrderReason>()) {
        (Ok(what), Ok(reason)) => (what, reason),
        (Err(error), _) => return say::error(&error),
        (_, Err(error)) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    match runtime.block_on(give_order(&arbiter, &token, OrderCall { what: what.clone(), reason })) {
        Ok(reply) => {
            told(&what, reply.seq, *json);
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

/// Exactly one of both is given.
fn order(subject: Option<&str>, facts: Option<&str>) -> Result<Order, InvalidId> {
    match (subject, facts) {
        (_, Some(source)) => Ok(Order::EraseFacts { source: source.parse()? }),
        (subject, None) => Ok(Order::ErasePayloads { subject: subject.unwrap_or_default().parse()? }),
    }
}

fn told(what: &Order, seq: u64, json: bool) {
    let (key, name, text) = match what {
        Order::EraseFacts { source } => {
            ("erased_facts", source.to_string(), format!("what source `{source}` gave is destroyed"))
        }
        Order::ErasePayloads { subject } => {
            ("erased", subject.to_string(), format!("the key of `{subject}` is destroyed"))
        }
        Order::ResolveOutcome { .. } | Order::ActivateBundle { .. } => return,
    };
    say::line(&if json {
        serde_json::json!({ key: name, "record": seq }).to_string()
    } else {
        format!("{text}, by the order at index {seq}")
    });
}
