//! `portcullis payloads`

use std::process::ExitCode;

use portcullis_protocol::wire::OrderCall;
use portcullis_protocol::{InvalidId, Order, OrderReason};
use portcullis_server::{Config, give_order};

use crate::args::{PayloadsArgs, PayloadsCommand};
use crate::commands::runtime;
use crate::say;

pub(crate) fn run(args: &PayloadsArgs) -> ExitCode {
    let PayloadsCommand::Erase { subject, facts, reason, operator, json } = &args.command;
    let read = Config::read(&args.config.config)
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
