//! Configuration: what may be written in `portcullis.toml`, each key declared once, with its documentation.
//!
//! No key opens the gate. What is missing is an error or has the default that permits less, and a key that is
//! not known is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_ledger::SpoolConfig;
use portcullis_protocol::{AgentId, BundleDigest, GateId, PrincipalId, SourceName};
use portcullis_sdk::{Authorities, Endpoint, Token, TrustedLog};
use portcullis_verify::{LogKeys, VerifierKey};

mod cosigning;
mod credential;
mod credentials;
mod endpoint;
mod error;
mod facts;
mod issuers;
mod listen;
mod log;
mod paths;
mod place;
mod policy;
mod proofs;
mod sections;
mod servers;
mod signer;
mod spool;
mod witnessing;

pub use cosigning::CosigningConfig;
pub use credential::{CredentialConfig, EnvironmentConfig, SlotsConfig};
pub use credentials::{AgentConfig, OperatorConfig};
pub use endpoint::{EndpointConfig, read_tls};
pub use error::ConfigError;
pub use facts::{FactsConfig, FactsService};
pub use issuers::{IssuerConfig, KeysAt, SubjectConfig};
pub use listen::ListenConfig;
pub use log::{AuditorConfig, LogConfig};
pub use paths::Governing;
pub use policy::{SourceConfig, read_access};
pub use portcullis_policy::{BundleSigners, read_chain};
pub use proofs::ProofConfig;
use sections::{
    AgentSection, ArbiterSection, File, GateSection, OperatorsSection, SignerSection, WitnessSection,
};
pub use sections::{KEYS, Key};
pub use servers::{Reached, ServerConfig, ServersConfig};
pub use signer::{ServiceConfig, SignerConfig, SignerKind, TokenConfig};
pub use witnessing::{OwnWitnessConfig, WitnessConfig, WitnessesConfig};

use credentials::{distinct, read_token};
use error::unclear;
use place::lies_within;

/// A configuration, read and resolved: paths are absolute, keys and names are parsed.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    base: PathBuf,
    file: File,
}

/// What the arbiter needs.
#[derive(Clone, Debug)]
pub struct ArbiterConfig {
    /// The data directory.
    pub data: PathBuf,
    /// The anchor's file.
    pub anchor: PathBuf,
    /// The log's verifier key.
    pub log_key: VerifierKey,
    /// Every key of the log, and for which heads it counts.
    pub log_keys: LogKeys,
    /// What signs with that key.
    pub signer: SignerConfig,
    /// The key that is to follow it, and what signs with that: both sign every head.
    pub next: Option<(VerifierKey, SignerConfig)>,
    /// The file with the vault's master key.
    pub vault_key: PathBuf,
    /// Bytes of disk kept in reserve.
    pub disk_reserve: u64,
    /// Where refused attempts are kept while evidence cannot be written.
    pub spool: Option<SpoolConfig>,
    /// The bundle's directory or file. Of one that is fetched, the file that the pinned one is kept in.
    pub bundle: PathBuf,
    /// Where it is fetched from, if it is.
    pub source: Option<SourceConfig>,
    /// The bundle's pin.
    pub pin: BundleDigest,
    /// Who may sign bundles.
    pub signers: BundleSigners,
    /// Whether bundles must be proved, and by what.
    pub proofs: ProofConfig,
    /// Where the bundle's sources of facts are.
    pub facts: BTreeMap<SourceName, FactsConfig>,
    /// Agents, by name.
    pub agents: Vec<AgentConfig>,
    /// Identity providers whose access tokens name agents.
    pub issuers: Vec<IssuerConfig>,
    /// Operators, by name.
    pub operators: Vec<OperatorConfig>,
    /// Who may read the log over HTTP, and what of it.
    pub log: LogConfig,
    /// How the log's operator cosigns its checkpoints, if at all.
    pub cosigning: Option<CosigningConfig>,
    /// The log's witnesses, if it has any.
    pub witnesses: Option<WitnessesConfig>,
}

/// What a gate needs.
#[derive(Clone, Debug)]
pub struct GateConfig {
    /// Its name in records.
    pub name: GateId,
    /// The agent for which it asks.
    pub agent: AgentId,
    /// The agent's token.
    pub token: Token,
    /// For whom the agent acts.
    pub acts_for: Option<PrincipalId>,
    /// How long a decision may take.
    pub deadline: Duration,
    /// An arbiter elsewhere.
    pub arbiter: Option<Endpoint>,
    /// The log whose receipts count.
    pub log: TrustedLog,
    /// Where attempts without an answer are kept.
    pub spool: Option<PathBuf>,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError::Unreadable {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let path = std::path::absolute(path).map_err(unreadable)?;
        let file = toml::from_str(&text)
            .map_err(|error| ConfigError::Invalid { path: path.clone(), error: error.to_string() })?;
        let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Ok(Self { path, base, file })
    }

    /// The file that it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    fn section<'a, T>(section: Option<&'a T>, name: &'static str) -> Result<&'a T, ConfigError> {
        section.ok_or(ConfigError::Missing { section: name })
    }

    /// What the arbiter needs.
    ///
    /// # Errors
    /// [`ConfigError`] if a section is missing or a value cannot be used.
    pub fn arbiter(&self) -> Result<ArbiterConfig, ConfigError> {
        let arbiter = Self::section(self.file.arbiter.as_ref(), "arbiter")?;
        let policy = Self::section(self.file.policy.as_ref(), "policy")?;
        let data = self.at(&arbiter.data);
        let anchor = self.at(&arbiter.anchor);
        if lies_within(&anchor, &data) {
            let error = "must lie outside the data directory, or a restored backup brings its own anchor";
            return Err(ConfigError::Value { key: "arbiter.anchor", error: error.into() });
        }
        let vault_key = self.at(&arbiter.vault_key);
        if lies_within(&vault_key, &data) {
            let error = "must lie outside the data directory, or whoever has the database has what opens it";
            return Err(ConfigError::Value { key: "arbiter.vault_key", error: error.into() });
        }
        let (agents, operators, log) = (self.agents()?, self.operators()?, self.log()?);
        distinct(&agents, &operators, &log.auditors)?;
        let issuers = self.issuers(&agents)?;
        let pin = parse("policy.pin", &policy.pin)?;
        let (bundle, source) = self.source(policy, &data, &pin)?;
        Ok(ArbiterConfig {
            data,
            anchor,
            log_key: parse("arbiter.log_key", &arbiter.log_key)?,
            log_keys: self.log_keys(arbiter)?,
            signer: self.signer(arbiter)?,
            next: self.next_signer()?,
            vault_key,
            disk_reserve: arbiter.disk_reserve.map_or(64 * 1024 * 1024, |bytes| bytes),
            spool: self.spool(arbiter)?,
            bundle,
            source,
            pin,
            signers: self.signers(policy)?,
            proofs: self.proofs(policy)?,
            facts: self.facts()?,
            agents,
            issuers,
            operators,
            log,
            cosigning: self.cosigning()?,
            witnesses: self.witnesses(arbiter)?,
        })
    }

    /// What a gate needs.
    ///
    /// # Errors
    /// [`ConfigError`] if a section is missing, a value cannot be used, or the token cannot be read.
    pub fn gate(&self) -> Result<GateConfig, ConfigError> {
        let gate = Self::section(self.file.gate.as_ref(), "gate")?;
        let arbiter = Self::section(self.file.arbiter.as_ref(), "arbiter")?;
        let authorities = gate.arbiter_ca.as_ref().map(|path| Authorities::read(&self.at(path))).transpose();
        let authorities = authorities.map_err(|error| value("gate.arbiter_ca", &error))?;
        let endpoint =
            gate.arbiter.as_deref().map(|text| Endpoint::parse(text, authorities.as_ref())).transpose();
        let endpoint = endpoint.map_err(|error| value("gate.arbiter", &error))?;
        Ok(GateConfig {
            name: parse("gate.name", &gate.name)?,
            agent: parse("gate.agent", &gate.agent)?,
            token: read_token("gate.token_file", &self.at(&gate.token_file))?,
            acts_for: gate.acts_for.as_deref().map(|name| parse("gate.acts_for", name)).transpose()?,
            deadline: Duration::from_millis(gate.deadline_ms.map_or(2_000, |milliseconds| milliseconds)),
            arbiter: endpoint,
            log: self.trusted(gate, arbiter)?,
            spool: gate.spool.as_ref().map(|path| self.at(path)),
        })
    }

    /// The tool server's name and the environment variables that it gets.
    ///
    /// # Errors
    /// [`ConfigError::Missing`].
    pub fn mcp(&self) -> Result<(String, Vec<String>), ConfigError> {
        let mcp = Self::section(self.file.mcp.as_ref(), "mcp")?;
        Ok((mcp.server.clone(), mcp.pass_environment.clone().unwrap_or_default()))
    }
}

fn value(key: &'static str, error: &impl std::fmt::Display) -> ConfigError {
    ConfigError::Value { key, error: error.to_string() }
}

fn parse<T: std::str::FromStr>(key: &'static str, text: &str) -> Result<T, ConfigError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| value(key, &error))
}

/// The reference of configuration keys, as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         `portcullis.toml`, written by `portcullis init`. Relative paths are taken from the file's own directory. A key\n\
         that is not listed here is refused, and no key or environment variable turns a refusal into an execution.\n\
         Generated from `crates/server/src/config.rs` by `cargo xtask tidy --bless`.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            text.push_str(&format!(
                "\n## `[{section}]`\n\n| key | default | what it does |\n|---|---|---|\n"
            ));
        }
        let (name, default, doc) = (key.name, key.default, key.doc.trim());
        text.push_str(&format!("| `{name}` | {default} | {doc} |\n"));
    }
    text
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
