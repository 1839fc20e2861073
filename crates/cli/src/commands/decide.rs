//! `portcullis decide`

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionReply;
use portcullis_protocol::{Captured, Decision, Payload};
use portcullis_sdk::{Attempt, Authorizer, HttpAuthorizer, Refusal, TrustedLog, authorize};
use portcullis_server::config::GateConfig;
use portcullis_server::{Config, Node};

use crate::args::DecideArgs;
use crate::commands::runtime;
use crate::say;

const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn run(args: &DecideArgs) -> ExitCode {
    let text = match read(&args.request) {
        Ok(text) => text,
        Err(error) => return say::misuse(&format!("`{}` cannot be read: {error}", args.request.display())),
    };
    let ask = match Ask::parse(&text) {
        Ok(ask) => ask,
        // Malformed requests are refused here as the arbiter would refuse them, and nothing is recorded.
        Err(refused) => return print(&Refusal::own(refused.code, Some(refused.detail))),
    };
    let brought = match &args.payload {
        Some(file) => match read(file).map(|text| Payload::parse(&text)) {
            Ok(Ok(payload)) => Some(payload),
            Ok(Err(refused)) => return say::misuse(&format!("`{}`: {}", file.display(), refused.detail)),
            Err(error) => return say::misuse(&format!("`{}` cannot be read: {error}", file.display())),
        },
        None => None,
    };
    let read = Config::read(&args.config.config).and_then(|config| Ok((config.gate()?, config)));
    let (gate, config) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    match runtime() {
        Ok(runtime) => runtime.block_on(decide((ask, brought), gate, &config)),
        Err(error) => say::error(&error),
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}

async fn decide(ask: (Ask, Option<Payload>), gate: GateConfig, config: &Config) -> ExitCode {
    if let Some(endpoint) = &gate.arbiter {
        let remote = HttpAuthorizer::new(endpoint.clone(), gate.token.clone(), PATIENCE);
        return asked(&remote, ask, &gate).await;
    }
    let arbiter = match config.arbiter() {
        Ok(arbiter) => arbiter,
        Err(error) => return say::error(&error),
    };
    match Node::join(arbiter, gate.token.clone(), PATIENCE) {
        Ok(node) => {
            let code = asked(&node, ask, &gate).await;
            node.leave().await;
            code
        }
        Err(error) => say::error(&error),
    }
}

async fn asked(arbiter: &dyn Authorizer, ask: (Ask, Option<Payload>), gate: &GateConfig) -> ExitCode {
    match permit(arbiter, ask, gate, &gate.log).await {
        Ok(receipt) => {
            print_reply(&DecisionReply {
                decision: Decision::Permit,
                reason: None,
                captured: Captured::Logged,
                receipt: Some(receipt),
                stored: None,
            });
            ExitCode::SUCCESS
        }
        Err(refusal) => print(&refusal),
    }
}

/// The receipt of a verified PERMIT.
async fn permit(
    arbiter: &dyn Authorizer,
    (ask, brought): (Ask, Option<Payload>),
    gate: &GateConfig,
    log: &TrustedLog,
) -> Result<String, Refusal> {
    let attempt = Attempt::new(gate.name.clone(), ask.by(gate.agent.clone()))?;
    let attempt = match brought {
        Some(payload) => attempt.bringing(payload),
        None => attempt,
    };
    let permit = authorize(arbiter, attempt, log, gate.deadline).await?;
    Ok(permit.receipt().to_owned())
}

fn print(refusal: &Refusal) -> ExitCode {
    print_reply(&DecisionReply {
        decision: refusal.decision(),
        reason: Some(refusal.reason()),
        captured: refusal.captured(),
        receipt: refusal.receipt().map(|receipt| receipt.text.clone()),
        stored: refusal.stored().cloned(),
    });
    ExitCode::from(match refusal.decision() {
        Decision::Deny => 3,
        // A refusal is never a PERMIT; whatever is not DENY is SILENCE.
        Decision::Silence | Decision::Permit => 4,
    })
}

fn print_reply(reply: &DecisionReply) {
    match serde_json::to_string_pretty(reply) {
        Ok(text) => say::line(&text),
        Err(error) => say::note(&format!("portcullis: {error}")),
    }
}
