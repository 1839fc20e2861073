//! Setting a deployment up: keys, tokens, a signed and pinned bundle, and the configuration that names them.
//!
//! A development deployment goes through the same code as any other: its bundle is signed, its pin is checked,
//! its keys are files of mode 0600.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_ledger::{
    Cosigner, KeyFile, KeyFileError, generate, generate_cosigner, generate_vault_key, sync_parent,
};
use portcullis_policy::{BundleError, RootError, SignError, Snapshot, bundles};
use portcullis_protocol::{AgentId, AuditorId, BundleDigest, Digest, InvalidId, OperatorId};
use portcullis_verify::{CosignerKey, CosignerKind, VerifierKey};
use zeroize::Zeroizing;

use crate::agents::Agents;
use crate::bundles::{activated_file, lay};
use crate::config::{Config, ConfigError};
use crate::making::{replace, sign_bundle, write_bundle};

/// Where attempts are kept that cannot be put on record.
const SPOOL: &str = r#"
[spool]
# Attempts that are refused while evidence cannot be written: entered into the log late. Best on another disk than `data`.
path = "spool/arbiter"
"#;
/// The same of a gate, for those that no arbiter answered.
const GATE_SPOOL: &str = r#"# Attempts that the arbiter does not answer are kept in this directory, and entered into the log late.
spool = "spool"
"#;
/// The operator of a new deployment.
const OPERATOR: &str = "operator";

/// A deployment could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is one already.
    #[error("`{path}` exists already; choose another directory, or remove it if nothing needs it any more")]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// A file cannot be written or read.
    #[error("`{path}`: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A key cannot be made.
    #[error("a key cannot be made: {0}")]
    Key(String),
    /// A key file cannot be used.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The bundle is not one.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The bundle cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The chain of roots is none.
    #[error(transparent)]
    Root(#[from] RootError),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration has no line to be changed.
    #[error("`{path}` has no line `pin = …` in `[policy]` to be changed; add one")]
    NoPin {
        /// The configuration.
        path: PathBuf,
    },
}

/// What [`init`] made.
#[derive(Clone, Debug)]
pub struct Initialized {
    /// The configuration.
    pub config: PathBuf,
    /// The log's verifier key: what auditors need.
    pub log_key: VerifierKey,
    /// The pinned bundle.
    pub pin: BundleDigest,
}

/// A deployment to be set up.
#[derive(Clone, Debug)]
pub struct Deployment<'a> {
    /// The bundle's files, unsigned.
    pub bundle: BTreeMap<String, Vec<u8>>,
    /// The agents that get a token; the gate asks for the first.
    pub agents: &'a [&'a str],
    /// The tool server's name.
    pub server: &'a str,
    /// Address and port of the HTTP API.
    pub listen: &'a str,
    /// An arbiter elsewhere for the gate, if it is not to use the data directory.
    pub arbiter: Option<&'a str>,
    /// Whether attempts that cannot be put on record are kept, by the arbiter and by the gate.
    pub spool: bool,
}

/// Sets up a deployment with the starter bundle, for the agent `assistant` and the tool server `files`.
///
/// # Errors
/// [`SetupError`].
pub fn init(directory: &Path) -> Result<Initialized, SetupError> {
    let bundle = bundles::starter();
    deploy(
        directory,
        &Deployment {
            bundle,
            agents: &["assistant"],
            server: "files",
            listen: "127.0.0.1:8447",
            arbiter: None,
            spool: true,
        },
    )
}

/// Sets up the demo's deployment: agent `demo-agent`, tool server `demo`. With `elsewhere` the gate asks the
/// arbiter that `portcullis serve` hosts and never takes its place; otherwise it hosts one itself.
///
/// # Errors
/// [`SetupError`].
pub fn demo(directory: &Path, elsewhere: bool) -> Result<Initialized, SetupError> {
    let socket = format!("unix:{}", directory.join("data/arbiter.sock").display());
    let deployment = Deployment {
        bundle: bundles::demo(),
        agents: &["demo-agent", "stranger-agent"],
        server: "demo",
        listen: "127.0.0.1:0",
        arbiter: elsewhere.then_some(socket.as_str()),
        spool: false,
    };
    deploy(directory, &deployment)
}

/// Sets up a deployment in a directory that has none.
///
/// # Errors
/// [`SetupError`].
pub fn deploy(directory: &Path, deployment: &Deployment<'_>) -> Result<Initialized, SetupError> {
    let config = directory.join("portcullis.toml");
    for made in ["portcullis.toml", "keys", "bundle", "data", "anchor", "spool"] {
        let path = directory.join(made);
        if path.exists() {
            return Err(SetupError::Exists { path });
        }
    }
    let keys = directory.join("keys");
    make_directory(&keys)?;
    let log_key = new_key(&keys.join("log.key"), &format!("portcullis.local/log-{}", random_hex(4)?))?;
    let bundle_key = new_key(&keys.join("bundle.key"), "portcullis.local/bundle")?;
    write_private(&keys.join("vault.key"), &generate_vault_key().map_err(SetupError::Key)?)?;
    let bundle = directory.join("bundle");
    write_bundle(&bundle, &deployment.bundle)?;
    let pin = sign_bundle(&bundle, &keys.join("bundle.key"))?;
    if deployment.spool {
        make_directory(&directory.join("spool"))?;
    }
    let mut tokens = String::new();
    for agent in deployment.agents {
        tokens.push_str(&new_token(&keys, "agents", agent.parse::<AgentId>()?.as_str())?);
    }
    tokens.push_str("\n# Operators: people who give orders to the arbiter. `portcullis keys operator NAME` makes another.\n");
    tokens.push_str(&new_token(&keys, "operators", OPERATOR)?);
    write_private(&config, &config_text(deployment, &log_key, &bundle_key, pin, &tokens))?;
    Ok(Initialized { config, log_key, pin })
}

fn config_text(
    deployment: &Deployment<'_>,
    log_key: &VerifierKey,
    bundle_key: &VerifierKey,
    pin: BundleDigest,
    tokens: &str,
) -> String {
    let agent = deployment.agents.first().copied().unwrap_or_default();
    let (server, listen) = (deployment.server, deployment.listen);
    let arbiter = match deployment.arbiter {
        Some(arbiter) => format!("arbiter = \"{arbiter}\""),
        None => "# An arbiter elsewhere. Without it the gate uses the data directory above.\n# arbiter = \"http://127.0.0.1:8447\"".to_owned(),
    };
    let (spool, gate_spool) = if deployment.spool { (SPOOL, GATE_SPOOL) } else { ("", "") };
    format!(
        r#"# Configuration of Portcullis. Every key: docs/configuration.md. A key that is not known is refused.
# Paths are relative to this file.

[arbiter]
# Ledger, lock and socket. One process hosts the arbiter of a data directory, others are its clients.
data = "data"
# The newest signed head, in a second place: keep it where a restored backup of `data` does not reach.
anchor = "anchor/head"
# The log's verifier key. Receipts count only if this key signed them; give it to auditors.
log_key = "{log_key}"
# The log's signing key. Take it away, and nothing is permitted until it is back.
signing_key = "keys/log.key"
# What is kept of requests and results is encrypted under keys that this one wraps. Never keep it beside the data.
vault_key = "keys/vault.key"
{spool}
[policy]
# The bundle: surfaces, policies, schema, entities. After a change: `portcullis bundle sign`, then `pin`.
bundle = "bundle"
# The only bundle that may decide.
pin = "{pin}"
# Whose signatures on a bundle count. `keys/bundle.key` is a development key: keep the real one elsewhere.
trusted_keys = ["{bundle_key}"]

[gate]
name = "gate"
# The agent for which the gate asks, and its token.
agent = "{agent}"
token_file = "keys/{agent}.token"
# How long a decision may take, in milliseconds. After it the call does not run.
deadline_ms = 2000
{arbiter}
{gate_spool}
[mcp]
# The tool server's name: the first word of its surfaces, as in `{server}.…`.
server = "{server}"
# Environment variables that the tool server gets beside PATH, HOME, LANG and the like.
pass_environment = []

[operator]
# The token by which commands such as `portcullis outcomes resolve` give orders on this machine. Keep it where no
# agent can read it.
token_file = "keys/{OPERATOR}.token"

[serve]
# `portcullis serve` speaks plain HTTP on loopback.
listen = "{listen}"

# Agents. Tokens are kept as digests; `portcullis keys agent NAME` makes another.
{tokens}"#
    )
}

/// Pins the bundle that the configuration names, as it lies there now. Returns the old pin's text and the new.
///
/// # Errors
/// [`SetupError`]; the configuration is then as it was.
pub fn pin_bundle(config: &Config) -> Result<(BundleDigest, BundleDigest), SetupError> {
    let digest = Snapshot::read(&config.arbiter()?.bundle)?.digest();
    pin(config, digest)
}

/// Pins a bundle that was fetched, and keeps it where the arbiter looks for it.
///
/// # Errors
/// [`SetupError`]; the configuration is then as it was.
pub fn pin_fetched(config: &Config, bundle: &Snapshot) -> Result<(BundleDigest, BundleDigest), SetupError> {
    let file = activated_file(&config.arbiter()?.data, &bundle.digest());
    file.parent().map_or(Ok(()), make_directory)?;
    lay(&file, &bundle.to_bytes()?)?;
    pin(config, bundle.digest())
}

fn pin(config: &Config, digest: BundleDigest) -> Result<(BundleDigest, BundleDigest), SetupError> {
    let arbiter = config.arbiter()?;
    let path = config.path();
    let text = fs::read_to_string(path).map_err(at(path))?;
    let mut section = "";
    let mut pinned = false;
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            section = line.trim();
        }
        let is_pin = section == "[policy]" && line.trim_start().starts_with("pin") && line.contains('=');
        pinned |= is_pin;
        lines.push(if is_pin { format!("pin = \"{digest}\"") } else { line.to_owned() });
    }
    if !pinned {
        return Err(SetupError::NoPin { path: path.to_owned() });
    }
    lines.push(String::new());
    replace(path, lines.join("\n").as_bytes(), 0o600)?;
    Ok((arbiter.pin, digest))
}

/// Makes a token for an agent: the token's file beside the other keys, its digest in the configuration.
/// Returns the token's file.
///
/// # Errors
/// [`SetupError`].
pub fn add_agent(config: &Config, agent: &AgentId) -> Result<PathBuf, SetupError> {
    add_token(config, "agents", agent.as_str())
}

/// Makes a token for an operator, as [`add_agent`] does for an agent.
///
/// # Errors
/// [`SetupError`].
pub fn add_operator(config: &Config, operator: &OperatorId) -> Result<PathBuf, SetupError> {
    add_token(config, "operators", operator.as_str())
}

fn add_token(config: &Config, section: &str, name: &str) -> Result<PathBuf, SetupError> {
    let path = config.path();
    let keys = path.parent().map_or_else(PathBuf::new, |base| base.join("keys"));
    make_directory(&keys)?;
    let text = fs::read_to_string(path).map_err(at(path))?;
    let section = new_token(&keys, section, name)?;
    replace(path, format!("{text}\n{section}").as_bytes(), 0o600)?;
    Ok(keys.join(format!("{name}.token")))
}

/// Makes a token for an auditor, as [`add_agent`] does for an agent. Returns the token's file.
///
/// # Errors
/// [`SetupError`].
pub fn add_auditor(config: &Config, auditor: &AuditorId) -> Result<PathBuf, SetupError> {
    let path = config.path();
    let keys = path.parent().map_or_else(PathBuf::new, |base| base.join("keys"));
    make_directory(&keys)?;
    let text = fs::read_to_string(path).map_err(at(path))?;
    // Another ending than agents' tokens have, so that an agent of the same name keeps its own.
    let file = keys.join(format!("{auditor}.auditor-token"));
    let digest = write_token(&file)?;
    let section = format!("[auditors.\"{auditor}\"]\ntoken = \"{digest}\"\n");
    replace(path, format!("{text}\n{section}").as_bytes(), 0o600)?;
    Ok(file)
}

/// Makes a signing key in a new file, mode 0600.
///
/// # Errors
/// [`SetupError`].
pub fn new_key(path: &Path, name: &str) -> Result<VerifierKey, SetupError> {
    let (text, verifier) = generate(name).map_err(SetupError::Key)?;
    write_private(path, &text)?;
    Ok(verifier)
}

/// Makes a cosigner's key in a new file, mode 0600.
///
/// # Errors
/// [`SetupError`].
pub fn new_cosigner(path: &Path, name: &str, kind: CosignerKind) -> Result<CosignerKey, SetupError> {
    let (text, key) = generate_cosigner(name, kind).map_err(SetupError::Key)?;
    write_private(path, &text)?;
    Ok(key)
}

/// The verifier key of a signing key in a file, of whatever kind.
///
/// # Errors
/// [`SetupError`].
pub fn verifier_of(path: &Path) -> Result<String, SetupError> {
    match KeyFile::read(path) {
        Ok((_, key)) => Ok(key.to_string()),
        Err(KeyFileError::Malformed { .. }) => Ok(Cosigner::read(path)?.key().to_string()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a new token and returns its section of the configuration.
fn new_token(keys: &Path, section: &str, name: &str) -> Result<String, SetupError> {
    let digest = write_token(&keys.join(format!("{name}.token")))?;
    Ok(format!("[{section}.\"{name}\"]\ntoken = \"{digest}\"\n"))
}

/// Writes a new token into a new file, mode 0600. Returns the digest that is kept of it.
fn write_token(file: &Path) -> Result<Digest, SetupError> {
    let token = Zeroizing::new(format!("pcl_{}", random_hex(32)?));
    write_private(file, &Zeroizing::new(format!("{}\n", token.as_str())))?;
    Ok(Agents::digest(&token))
}

pub(crate) fn random_hex(bytes: usize) -> Result<String, SetupError> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    getrandom::fill(&mut random).map_err(|error| SetupError::Key(error.to_string()))?;
    Ok(hex::encode(&*random))
}

pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> SetupError {
    let path = path.to_owned();
    move |error| SetupError::File { path, error }
}

pub(crate) fn make_directory(path: &Path) -> Result<(), SetupError> {
    portcullis_ledger::make_directory(path).map_err(at(path))
}

/// Writes a new file that only its owner can read. An existing one is never overwritten.
fn write_private(path: &Path, text: &str) -> Result<(), SetupError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_parent(path)
    };
    write().map_err(at(path))
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
