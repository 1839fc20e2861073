//! `portcullis payloads`

use std::process::ExitCode;

use portcullis_protocol::wire::OrderCall;
use portcullis_protocol::{AgentId, Order, OrderReason};
use portcullis_server::{Config, give_order};

use crate::args::{PayloadsArgs, PayloadsCommand};
use crate::commands::runtime;
use crate::say;

pub(crate) fn run(args: &PayloadsArgs) -> ExitCode {
    let PayloadsCommand::Erase { subject, reason, operator, json } = &args.command;
    let read = Config::read(&args.config.config)
        .and_then(|config| Ok((config.arbiter()?, config.operator_token(operator.token_file.as_deref())?)));
    let (arbiter, token) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    let (subject, reason) = match (subject.parse::<AgentId>(), reason.parse::<OrderReason>()) {
        (Ok(subject), Ok(reason)) => (subject, reason),
        (Err(error), _) | (_, Err(error)) => return say::error(&error),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    let call = OrderCall { what: Order::ErasePayloads { subject: subject.clone() }, reason };
    match runtime.block_on(give_order(&arbiter, &token, call)) {
        Ok(reply) => {
            say::line(&if *json {
                serde_json::json!({ "erased": subject, "record": reply.seq }).to_string()
            } else {
                format!("the key of `{subject}` is destroyed, by the order at index {}", reply.seq)
            });
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
