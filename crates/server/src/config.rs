//! Configuration: what may be written in `portcullis.toml`, each key declared once, with its documentation.
//!
//! No key opens the gate. What is missing is an error or has the default that permits less, and a key that is
//! not known is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_protocol::{AgentId, BundleDigest, GateId};
use portcullis_sdk::{Authorities, Endpoint, Token, TrustedLog};
use portcullis_verify::{LogKeys, VerifierKey};
use serde::Deserialize;

mod credentials;
mod error;
mod listen;
mod log;
mod signer;

pub use credentials::{AgentConfig, OperatorConfig};
pub use error::ConfigError;
pub use listen::ListenConfig;
pub use log::{AuditorConfig, LogConfig};
pub use signer::{ServiceConfig, SignerConfig, SignerKind, TokenConfig};

use credentials::{distinct, read_token};

/// A key of the configuration, for its reference.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section that it belongs to.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its default, or `required`.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

macro_rules! sections {
    ($( $(#[doc = $about:literal])* $section:literal $name:ident { $( $(#[doc = $doc:literal])* $key:ident: $type:ty = $default:literal, )* } )*) => {
        $(
            $(#[doc = $about])*
            #[derive(Clone, Debug, Deserialize)]
            #[serde(deny_unknown_fields)]
            struct $name { $( $(#[doc = $doc])* $key: $type, )* }
        )*

        /// Every key, in the order of the reference.
        pub const KEYS: &[Key] = &[$( $( Key {
            section: $section, name: stringify!($key), default: $default, doc: concat!($($doc),*),
        }, )* )*];
    };
}

sections! {
    /// The arbiter.
    "arbiter" ArbiterSection {
        /// The data directory: ledger, lock and socket. Only the arbiter's user may read it.
        data: PathBuf = "required",
        /// The anchor: a file outside the data directory that keeps the newest signed head. Keep it where a restored
        /// backup of the data directory does not reach.
        anchor: PathBuf = "required",
        /// The log's verifier key, pinned: receipts count only if this key signed them.
        log_key: String = "required",
        /// Other keys of this log: `VKEY until SIZE` for one that was retired and counts for heads of at most SIZE
        /// records, `VKEY revoked` for one that counts for nothing, `VKEY` for one that will sign from some day on.
        other_log_keys: Option<Vec<String>> = "none",
        /// The file with the log's signing key, mode 0600. Instead of it there may be a section `[signer]`.
        signing_key: Option<PathBuf> = "required without `[signer]`",
        /// The file with the vault's master key, mode 0600, outside the data directory: requests and results are kept
        /// under keys that it wraps. Keep it where a backup of the data directory does not go.
        vault_key: PathBuf = "required",
        /// Bytes of disk that are kept for outcomes and operators; below them nothing is permitted.
        disk_reserve: Option<u64> = "67108864",
    }
    /// The log's signer, where it is not the key file of `arbiter.signing_key`.
    "signer" SignerSection {
        /// `file`: a key file. `pkcs11`: a key in a token. `command`: a program that is run for each signature.
        /// `http`: a service.
        kind: String = "required",
        /// Only of `[next_signer]`, which has the same keys as this section and signs every head too while it is
        /// there: the verifier key of the key that is to follow. `portcullis keys rotate` writes it.
        log_key: Option<String> = "none",
        /// How long a signature may take, in milliseconds, from 10 to 10000. After it nothing is permitted, and an
        /// answer that comes later is not used. Gates should wait longer than twice as long.
        deadline_ms: Option<u64> = "500",
        /// Of a `file`: the signing key's file, mode 0600.
        key_file: Option<PathBuf> = "none",
        /// Of `pkcs11`: absolute path of the module, a shared library that is loaded into the arbiter.
        module: Option<PathBuf> = "none",
        /// Of `pkcs11`: the token's label.
        token: Option<String> = "none",
        /// Of `pkcs11`: the label of the Ed25519 private key in the token.
        key: Option<String> = "none",
        /// Of `pkcs11`: the file with the user's PIN, mode 0600. A PIN that was refused is not tried again before the
        /// file has changed, for a token locks itself after a few.
        pin_file: Option<PathBuf> = "none",
        /// Of a `command`: absolute path of the program, which others must not be able to write, and its arguments.
        /// It reads the text to be signed from standard input and writes one signature line of a C2SP signed note.
        /// It sees no environment but PATH, and is killed at the deadline with its process group.
        command: Option<Vec<String>> = "none",
        /// Of `http`: `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:/path`. The text to be signed is posted;
        /// the answer is 200 with one signature line of a C2SP signed note.
        endpoint: Option<String> = "none",
        /// Of `http`: the path that is posted to.
        path: Option<String> = "/sign",
        /// Of `http`: PEM file with the certificate authority of an `https` endpoint.
        ca: Option<PathBuf> = "none",
        /// Of `http`: the file with the bearer token that the service is shown, mode 0600.
        token_file: Option<PathBuf> = "none",
    }
    /// The policy.
    "policy" PolicySection {
        /// The bundle's directory.
        bundle: PathBuf = "required",
        /// The digest of the only bundle that may decide; `portcullis bundle pin` writes it.
        pin: String = "required",
        /// Verifier keys whose signatures on a bundle count.
        trusted_keys: Vec<String> = "required",
    }
    /// An agent, by its name.
    "agents.NAME" AgentSection {
        /// Digest of the agent's bearer token; `portcullis keys agent` makes both.
        token: String = "required",
        /// When the token expires, in milliseconds since 1970; never, if left out.
        expires_ms: Option<u64> = "never",
    }
    /// The log, as others may read it.
    "log" LogSection {
        /// Whether anybody may read the whole log at `/log/`, without a token. Records say in clear who did what.
        public: Option<bool> = "false",
        /// Tiles and entry bundles that lie wholly below this record are not served. Nothing is removed.
        minimum_index: Option<u64> = "0",
    }
    /// An auditor, by name: may read the whole log at `/log/`, and nothing else.
    "auditors.NAME" AuditorSection {
        /// Digest of the auditor's bearer token; `portcullis keys auditor` makes both.
        token: String = "required",
        /// When the token expires, in milliseconds since 1970; never, if left out.
        expires_ms: Option<u64> = "never",
    }
    /// An operator, by name: a person who gives orders to the arbiter.
    "operators.NAME" OperatorsSection {
        /// Digest of the operator's bearer token; `portcullis keys operator` makes both.
        token: String = "required",
        /// When the token expires, in milliseconds since 1970; never, if left out.
        expires_ms: Option<u64> = "never",
    }
    /// Commands of an operator on this machine.
    "operator" OperatorSection {
        /// The file with the operator's token, mode 0600. Keep it where no agent can read it.
        token_file: PathBuf = "required",
    }
    /// The gate.
    "gate" GateSection {
        /// The gate's name in records.
        name: String = "required",
        /// The agent for which this gate asks.
        agent: String = "required",
        /// The file with that agent's token, mode 0600.
        token_file: PathBuf = "required",
        /// How long a decision may take, in milliseconds. After it the call does not run.
        deadline_ms: Option<u64> = "2000",
        /// An arbiter elsewhere, `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:/path`. Without it, the gate
        /// uses the data directory of this configuration: it hosts the arbiter if no other process does.
        arbiter: Option<String> = "the data directory",
        /// PEM file with the certificate authority of an `https` arbiter. The system's authorities are not believed.
        arbiter_ca: Option<PathBuf> = "none",
    }
    /// The MCP gate.
    "mcp" McpSection {
        /// The tool server's name: the first word of its surfaces.
        server: String = "required",
        /// Environment variables that the tool server gets beside PATH, HOME, LANG and the like.
        pass_environment: Option<Vec<String>> = "none",
    }
    /// `portcullis serve`.
    "serve" ServeSection {
        /// Numeric address and port of the HTTP API. Other than loopback addresses need TLS.
        listen: String = "required",
        /// PEM file with the certificate chain of the HTTP API, which then speaks TLS 1.3 only.
        tls_certificate: Option<PathBuf> = "none",
        /// PEM file with the certificate's private key, mode 0600.
        tls_key: Option<PathBuf> = "none",
    }
}

/// The file as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    arbiter: Option<ArbiterSection>,
    signer: Option<SignerSection>,
    next_signer: Option<SignerSection>,
    policy: Option<PolicySection>,
    #[serde(default)]
    agents: BTreeMap<String, AgentSection>,
    log: Option<LogSection>,
    #[serde(default)]
    auditors: BTreeMap<String, AuditorSection>,
    #[serde(default)]
    operators: BTreeMap<String, OperatorsSection>,
    operator: Option<OperatorSection>,
    gate: Option<GateSection>,
    mcp: Option<McpSection>,
    serve: Option<ServeSection>,
}

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
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// The bundle's pin.
    pub pin: BundleDigest,
    /// Keys that may sign bundles.
    pub trusted_keys: Vec<VerifierKey>,
    /// Agents, by name.
    pub agents: Vec<AgentConfig>,
    /// Operators, by name.
    pub operators: Vec<OperatorConfig>,
    /// Who may read the log over HTTP, and what of it.
    pub log: LogConfig,
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
    /// How long a decision may take.
    pub deadline: Duration,
    /// An arbiter elsewhere.
    pub arbiter: Option<Endpoint>,
    /// The log whose receipts count.
    pub log: TrustedLog,
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
        if anchor.starts_with(&data) {
            let error = "must lie outside the data directory, or a restored backup brings its own anchor";
            return Err(ConfigError::Value { key: "arbiter.anchor", error: error.into() });
        }
        let vault_key = self.at(&arbiter.vault_key);
        if vault_key.starts_with(&data) {
            let error = "must lie outside the data directory, or whoever has the database has what opens it";
            return Err(ConfigError::Value { key: "arbiter.vault_key", error: error.into() });
        }
        let trusted_keys: Vec<VerifierKey> = policy
            .trusted_keys
            .iter()
            .map(|key| parse("policy.trusted_keys", key))
            .collect::<Result<_, _>>()?;
        if trusted_keys.is_empty() {
            let error = "names no key, so no bundle could ever be believed";
            return Err(ConfigError::Value { key: "policy.trusted_keys", error: error.into() });
        }
        let (agents, operators, log) = (self.agents()?, self.operators()?, self.log()?);
        distinct(&agents, &operators, &log.auditors)?;
        Ok(ArbiterConfig {
            data,
            anchor,
            log_key: parse("arbiter.log_key", &arbiter.log_key)?,
            log_keys: self.log_keys(arbiter)?,
            signer: self.signer(arbiter)?,
            next: self.next_signer()?,
            vault_key,
            disk_reserve: arbiter.disk_reserve.map_or(64 * 1024 * 1024, |bytes| bytes),
            bundle: self.at(&policy.bundle),
            pin: parse("policy.pin", &policy.pin)?,
            trusted_keys,
            agents,
            operators,
            log,
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
            deadline: Duration::from_millis(gate.deadline_ms.map_or(2_000, |milliseconds| milliseconds)),
            arbiter: endpoint,
            log: TrustedLog::with(self.log_keys(arbiter)?)
                .map_err(|error| value("arbiter.log_key", &error))?,
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
