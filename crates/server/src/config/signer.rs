//! The log's signer, as configured.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_sdk::{Authorities, Endpoint, Token};
use portcullis_verify::{LogKey, LogKeys, VerifierKey};

use super::{ArbiterSection, Config, ConfigError, SignerSection, parse, read_token, value};

/// How long a signature may take where nothing is said, in milliseconds.
const DEADLINE: u64 = 500;
/// What may be said.
const DEADLINES: std::ops::RangeInclusive<u64> = 10..=10_000;

/// The log's signer.
#[derive(Clone, Debug)]
pub struct SignerConfig {
    /// What signs.
    pub kind: SignerKind,
    /// How long a signature may take. A key file needs no such bound.
    pub deadline: Duration,
}

/// What signs.
#[derive(Clone, Debug)]
pub enum SignerKind {
    /// A key file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// A key in a token behind PKCS #11.
    Token(TokenConfig),
    /// A program, run for each signature.
    Command {
        /// Its absolute path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
    /// A service.
    Http(ServiceConfig),
}

/// A key in a token.
#[derive(Clone, Debug)]
pub struct TokenConfig {
    /// The module's absolute path.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The private key's label.
    pub key: String,
    /// The file with the user's PIN.
    pub pin_file: PathBuf,
}

/// A signing service.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The path that is posted to.
    pub path: String,
    /// The bearer token that it is shown.
    pub token: Option<Token>,
}

impl SignerConfig {
    /// The key file, if the signer is one.
    #[must_use]
    pub const fn key_file(&self) -> Option<&PathBuf> {
        match &self.kind {
            SignerKind::File { path } => Some(path),
            SignerKind::Token(_) | SignerKind::Command { .. } | SignerKind::Http(_) => None,
        }
    }
}

impl Config {
    /// Every key of the log: the one that signs, the one that is to follow it, and the others.
    pub(super) fn log_keys(&self, arbiter: &ArbiterSection) -> Result<LogKeys, ConfigError> {
        let own: VerifierKey = parse("arbiter.log_key", &arbiter.log_key)?;
        let next = self.file.next_signer.as_ref().and_then(|next| next.log_key.as_ref());
        let next: Option<LogKey> = next.map(|key| parse("next_signer.log_key", key)).transpose()?;
        let others = arbiter.other_log_keys.iter().flatten();
        let others: Vec<LogKey> =
            others.map(|key| parse("arbiter.other_log_keys", key)).collect::<Result<_, _>>()?;
        let keys: Vec<LogKey> = std::iter::once(own.into()).chain(next).chain(others).collect();
        for (place, key) in keys.iter().enumerate() {
            if keys.iter().any(|other| other.key.name() != key.key.name()) {
                let error = "a log signs under one name, and `arbiter.log_key` has another";
                return Err(value("arbiter.other_log_keys", &error));
            }
            if keys.iter().skip(place + 1).any(|other| other.key == key.key) {
                return Err(value("arbiter.other_log_keys", &"one key is named twice"));
            }
        }
        Ok(LogKeys::new(keys))
    }

    pub(super) fn next_signer(&self) -> Result<Option<(VerifierKey, SignerConfig)>, ConfigError> {
        let Some(section) = &self.file.next_signer else { return Ok(None) };
        let key = needed("next_signer.log_key", section.log_key.clone())?;
        Ok(Some((parse("next_signer.log_key", &key)?, self.signer_of(section)?)))
    }

    pub(super) fn signer(&self, arbiter: &ArbiterSection) -> Result<SignerConfig, ConfigError> {
        let refuse =
            |error: &str| Err(ConfigError::Value { key: "arbiter.signing_key", error: error.into() });
        match (&arbiter.signing_key, &self.file.signer) {
            (Some(path), None) => {
                let kind = SignerKind::File { path: self.at(path) };
                Ok(SignerConfig { kind, deadline: Duration::from_millis(DEADLINE) })
            }
            (None, Some(SignerSection { log_key: Some(_), .. })) => Err(value(
                "signer.log_key",
                &"belongs into `[next_signer]`; the log's key is `arbiter.log_key`",
            )),
            (None, Some(section)) => self.signer_of(section),
            (None, None) => refuse("is missing, and there is no section `[signer]` instead"),
            (Some(_), Some(_)) => refuse("and a section `[signer]` are two signers; leave one of them out"),
        }
    }

    fn signer_of(&self, section: &SignerSection) -> Result<SignerConfig, ConfigError> {
        let deadline = section.deadline_ms.map_or(DEADLINE, |deadline| deadline);
        if !DEADLINES.contains(&deadline) {
            return Err(value("signer.deadline_ms", &"must be from 10 to 10000"));
        }
        only_keys_of(section)?;
        let kind = match section.kind.as_str() {
            "file" => {
                SignerKind::File { path: self.at(&needed("signer.key_file", section.key_file.clone())?) }
            }
            "pkcs11" => SignerKind::Token(self.token(section)?),
            "command" => program(needed("signer.command", section.command.clone())?)?,
            "http" => SignerKind::Http(self.service(section)?),
            _ => return Err(value("signer.kind", &"must be `file`, `pkcs11`, `command` or `http`")),
        };
        Ok(SignerConfig { kind, deadline: Duration::from_millis(deadline) })
    }

    fn token(&self, section: &SignerSection) -> Result<TokenConfig, ConfigError> {
        let module = needed("signer.module", section.module.clone())?;
        if !module.is_absolute() {
            return Err(value("signer.module", &"must be the absolute path of a PKCS #11 module"));
        }
        let token = needed("signer.token", section.token.clone())?;
        let key = needed("signer.key", section.key.clone())?;
        let pin_file = self.at(&needed("signer.pin_file", section.pin_file.clone())?);
        Ok(TokenConfig { module, token, key, pin_file })
    }

    fn service(&self, section: &SignerSection) -> Result<ServiceConfig, ConfigError> {
        let authorities = section.ca.as_ref().map(|path| Authorities::read(&self.at(path))).transpose();
        let authorities = authorities.map_err(|error| value("signer.ca", &error))?;
        let endpoint = needed("signer.endpoint", section.endpoint.clone())?;
        let endpoint = Endpoint::parse(&endpoint, authorities.as_ref());
        let endpoint = endpoint.map_err(|error| value("signer.endpoint", &error))?;
        let path = section.path.clone().unwrap_or_else(|| "/sign".to_owned());
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(value("signer.path", &"must begin with `/` and be printable ASCII without spaces"));
        }
        let token = section.token_file.as_ref().map(|path| read_token("signer.token_file", &self.at(path)));
        Ok(ServiceConfig { endpoint, path, token: token.transpose()? })
    }
}

fn needed<T>(key: &'static str, given: Option<T>) -> Result<T, ConfigError> {
    given.ok_or_else(|| value(key, &"is missing, and `signer.kind` needs it"))
}

/// A key that the kind of signer does not have was written for something that would not happen.
fn only_keys_of(section: &SignerSection) -> Result<(), ConfigError> {
    let given = [
        ("signer.key_file", "file", section.key_file.is_some()),
        ("signer.module", "pkcs11", section.module.is_some()),
        ("signer.token", "pkcs11", section.token.is_some()),
        ("signer.key", "pkcs11", section.key.is_some()),
        ("signer.pin_file", "pkcs11", section.pin_file.is_some()),
        ("signer.command", "command", section.command.is_some()),
        ("signer.endpoint", "http", section.endpoint.is_some()),
        ("signer.path", "http", section.path.is_some()),
        ("signer.ca", "http", section.ca.is_some()),
        ("signer.token_file", "http", section.token_file.is_some()),
    ];
    match given.iter().find(|(_, kind, given)| *given && *kind != section.kind) {
        Some((key, kind, _)) => Err(value(key, &format!("belongs to `signer.kind = \"{kind}\"` only"))),
        None => Ok(()),
    }
}

fn program(command: Vec<String>) -> Result<SignerKind, ConfigError> {
    let mut words = command.into_iter();
    match words.next().map(PathBuf::from) {
        Some(program) if program.is_absolute() => {
            Ok(SignerKind::Command { program, arguments: words.collect() })
        }
        Some(_) | None => Err(value("signer.command", &"must begin with the absolute path of a program")),
    }
}
