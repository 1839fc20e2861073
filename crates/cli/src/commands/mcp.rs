//! `portcullis mcp`

mod diff;
mod gated;
mod login;
mod pin;
mod review;
mod served;
mod tools;

use std::process::ExitCode;

pub(super) use gated::server_at;
pub(super) use tools::{listed, listed_by};

use crate::args::{McpArgs, McpCommand};

pub(crate) fn run(args: McpArgs) -> ExitCode {
    let done = match &args.tools {
        None => return gated::run(args),
        Some(McpCommand::Pin(pin)) => pin::run(pin, &args),
        Some(McpCommand::List(list)) => review::list(list, &args),
        Some(McpCommand::Inspect(inspect)) => review::inspect(inspect, &args),
        Some(McpCommand::Diff(diff)) => diff::run(diff, &args),
        Some(McpCommand::Login(login)) => login::run(login),
    };
    match done {
        Ok(code) | Err(code) => code,
    }
}
