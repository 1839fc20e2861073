//! `portcullis keys`

use std::process::ExitCode;

use portcullis_protocol::{AgentId, AuditorId};
use portcullis_server::{Config, add_agent, add_auditor, new_key, verifier_of};

use crate::args::{KeysArgs, KeysCommand};
use crate::say;

pub(crate) fn run(args: &KeysArgs) -> ExitCode {
    match &args.command {
        KeysCommand::Generate { file, name } => shown(new_key(file, name)),
        KeysCommand::Show { file: Some(file) } => shown(verifier_of(file)),
        KeysCommand::Show { file: None } => {
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
    }
}

fn shown<E: std::error::Error>(key: Result<portcullis_verify::VerifierKey, E>) -> ExitCode {
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
