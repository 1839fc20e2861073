//! `portcullis keys`

use std::process::ExitCode;

use portcullis_protocol::{AgentId, AuditorId, OperatorId};
use portcullis_server::{Config, add_agent, add_auditor, add_operator, new_key, verifier_of};
use portcullis_verify::VerifierKey;

use crate::args::{KeysArgs, KeysCommand};
use crate::say;

pub(crate) fn run(args: &KeysArgs) -> ExitCode {
    match &args.command {
        KeysCommand::Generate { file, name } => shown(new_key(file, name)),
        KeysCommand::Show { public: Some(public), name, .. } => {
            match public_key(public, name.as_deref().unwrap_or_default()) {
                Ok(key) => shown::<std::convert::Infallible>(Ok(key)),
                Err(error) => say::misuse(&error),
            }
        }
        KeysCommand::Show { file: Some(file), .. } => shown(verifier_of(file)),
        KeysCommand::Show { file: None, .. } => {
            match Config::read(&args.config.config).and_then(|config| config.arbiter()) {
                Ok(arbiter) => {
                    say::line(&arbiter.log_key.to_string());
                    ExitCode::SUCCESS
                }
                Err(error) => say::error(&error),
            }
        }
        KeysCommand::Agent { name } => agent(args, name),
        KeysCommand::Auditor { name } => auditor(args, name),
        KeysCommand::Operator { name } => operator(args, name),
    }
}

/// The verifier key of a public key that another program made.
fn public_key(hex: &str, name: &str) -> Result<VerifierKey, String> {
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+')))
        .map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let bytes = bytes.ok_or("a public key has 32 bytes, written as 64 hexadecimal digits")?;
    VerifierKey::ed25519(name, bytes).map_err(|error| error.to_string())
}

fn shown<E: std::error::Error>(key: Result<VerifierKey, E>) -> ExitCode {
    match key {
        Ok(key) => {
            say::line(&key.to_string());
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

fn agent(args: &KeysArgs, name: &str) -> ExitCode {
    let agent: AgentId = match name.parse() {
        Ok(agent) => agent,
        Err(error) => return say::error(&error),
    };
    let config = match Config::read(&args.config.config) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match add_agent(&config, &agent) {
        Ok(file) => {
            say::line(&format!("token of `{agent}` in {}", file.display()));
            say::line("Add the agent to the bundle's entities, and start the arbiter again.");
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

fn auditor(args: &KeysArgs, name: &str) -> ExitCode {
    let auditor: AuditorId = match name.parse() {
        Ok(auditor) => auditor,
        Err(error) => return say::error(&error),
    };
    let config = match Config::read(&args.config.config) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match add_auditor(&config, &auditor) {
        Ok(file) => {
            say::line(&format!("token of auditor `{auditor}` in {}", file.display()));
            say::line("It opens the whole log at `/log/`, and nothing else. Start the arbiter again.");
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}

fn operator(args: &KeysArgs, name: &str) -> ExitCode {
    let operator: OperatorId = match name.parse() {
        Ok(operator) => operator,
        Err(error) => return say::error(&error),
    };
    let config = match Config::read(&args.config.config) {
        Ok(config) => config,
        Err(error) => return say::error(&error),
    };
    match add_operator(&config, &operator) {
        Ok(file) => {
            say::line(&format!("token of operator `{operator}` in {}", file.display()));
            say::line("Give it to that person and nobody else, and start the arbiter again.");
            ExitCode::SUCCESS
        }
        Err(error) => say::error(&error),
    }
}
