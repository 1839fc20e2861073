//! `portcullis keys`

use std::process::ExitCode;

use portcullis_protocol::{AgentId, AuditorId, OperatorId};
use portcullis_server::{
    Config, Rotated, RotationError, add_agent, add_auditor, add_operator, begin_rotation, finish_rotation,
    new_cosigner, new_key, revoke_key, verifier_of,
};
use portcullis_verify::{CosignerKind, VerifierKey};

use crate::args::{CosignerArg, KeysArgs, KeysCommand};
use crate::commands::status;
use crate::say;

pub(crate) fn run(args: &KeysArgs) -> ExitCode {
    match &args.command {
        KeysCommand::Generate { file, name, cosigner: None } => {
            shown(new_key(file, name).map(|key| key.to_string()))
        }
        KeysCommand::Generate { file, name, cosigner: Some(kind) } => {
            let kind = match kind {
                CosignerArg::Ed25519 => CosignerKind::Ed25519,
                CosignerArg::MlDsa44 => CosignerKind::MlDsa44,
            };
            shown(new_cosigner(file, name, kind).map(|key| key.to_string()))
        }
        KeysCommand::Show { public: Some(public), name, .. } => {
            let name = name.as_ref().ok_or_else(|| "--public takes the key's --name".to_owned());
            match name.and_then(|name| public_key(public, name)) {
                Ok(key) => shown::<std::convert::Infallible>(Ok(key.to_string())),
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
        KeysCommand::Rotate { finish } => done(rotate(args, *finish)),
        KeysCommand::Revoke { key } => done(revoke(args, key)),
        KeysCommand::Agent { name } => agent(args, name),
        KeysCommand::Auditor { name } => auditor(args, name),
        KeysCommand::Operator { name } => operator(args, name),
        KeysCommand::Issuers => status::issuers(&args.config),
    }
}

fn done(result: Result<(), RotationError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::error(&error),
    }
}

fn rotate(args: &KeysArgs, finish: bool) -> Result<(), RotationError> {
    let config = Config::read(&args.config.config)?;
    if finish {
        let Rotated { key, retired } = finish_rotation(&config)?;
        say::line(&format!("log key      {key}"));
        say::line(&format!("retired key  {retired}"));
        say::line(
            "Start the arbiter again. Whoever checks receipts keeps the retired key, with its size, for old ones.",
        );
        return Ok(());
    }
    let key = begin_rotation(&config)?;
    say::line(&format!("new log key  {key}"));
    say::line(
        "Start the arbiter again: from then on both keys sign. Then give the new key to all who check receipts:",
    );
    say::line(
        "gates elsewhere need it in `arbiter.other_log_keys`, before `portcullis keys rotate --finish`.",
    );
    Ok(())
}

fn revoke(args: &KeysArgs, key: &str) -> Result<(), RotationError> {
    let config = Config::read(&args.config.config)?;
    let key: VerifierKey = key.parse().map_err(|_| RotationError::NoSuchKey { key: key.to_owned() })?;
    revoke_key(&config, &key)?;
    say::line("Start the arbiter again, and put the same line into `arbiter.other_log_keys` of every gate:");
    say::line(&format!("  \"{key} revoked\""));
    Ok(())
}

/// The verifier key of a public key that another program made.
fn public_key(digits: &str, name: &str) -> Result<VerifierKey, String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes)
        .map_err(|_| "a public key has 32 bytes, written as 64 hexadecimal digits")?;
    VerifierKey::ed25519(name, bytes).map_err(|error| error.to_string())
}

fn shown<E: std::error::Error>(key: Result<String, E>) -> ExitCode {
    match key {
        Ok(key) => {
            say::line(&key);
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
