//! The log's signer as the configuration names it: a key file, a token behind PKCS #11, a command, or a service.
//!
//! Whatever it is, the ledger verifies each signature before anything is released under it, and the ledger's
//! thread waits for none longer than the deadline.

mod attended;
mod command;
mod service;
mod token;

use portcullis_ledger::{KeyFile, Keyring, SignError, Signer};
use portcullis_verify::VerifierKey;
use portcullis_verify::note::{SignatureLineError, signature_in_line};

use crate::config::{ArbiterConfig, SignerConfig, SignerKind};
use attended::Attended;

/// Longest answer of a signer, in bytes. A signature line has some 150.
const LONGEST_ANSWER: usize = 4_096;

/// The log's signer, with the one that is to follow it if there is one.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn keyring(config: &ArbiterConfig) -> std::io::Result<Keyring> {
    let next = config.next.as_ref().map(|(key, next)| signer(next, key)).transpose()?;
    Ok(Keyring::new(signer(&config.signer, &config.log_key)?, next, config.log_keys.clone()))
}

/// The signer that makes signatures of `key`.
///
/// # Errors
/// If the system gives no thread. A signer that cannot be reached is no error here: it may come back.
fn signer(config: &SignerConfig, key: &VerifierKey) -> std::io::Result<Box<dyn Signer>> {
    let (key, deadline) = (key.clone(), config.deadline);
    Ok(match &config.kind {
        SignerKind::File { path } => Box::new(KeyFile::new(path.clone(), key)),
        SignerKind::Token(token) => {
            let (token, own) = (token.clone(), key.clone());
            Box::new(Attended::new(key, deadline, move || token::Token::new(token, own))?)
        }
        SignerKind::Command { program, arguments } => {
            let device = command::Program::new(program.clone(), arguments.clone(), key.clone());
            Box::new(Attended::new(key, deadline, move || device)?)
        }
        SignerKind::Http(service) => {
            let (service, own) = (service.clone(), key.clone());
            Box::new(Attended::new(key, deadline, move || service::Service::new(service, own))?)
        }
    })
}

/// The signature that an external signer answered with: one signature line of a signed note
/// (c2sp.org/signed-note), by this key, and nothing else.
fn answered(answer: &[u8], key: &VerifierKey) -> Result<[u8; 64], SignError> {
    let line = str::from_utf8(answer).map_err(|_| SignError::Failed)?;
    let line = line.strip_suffix('\n').ok_or(SignError::Failed)?;
    signature_in_line(line, key).map_err(|error| match error {
        SignatureLineError::OtherKey => SignError::WrongKey { expected: key.to_string() },
        SignatureLineError::Form(_) | SignatureLineError::Length { .. } => SignError::Failed,
    })
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
