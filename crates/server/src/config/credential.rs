//! Where a credential comes from that a tool server by URL is shown, that one which is started has in its environment, or that is
//! filled in in the arguments of calls: a table of the servers' file, or a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::oauth::OAuth;
use portcullis_gate::{
    Age, ArgumentSlot, ArgumentSlots, Credential, CredentialSource, Engine, EnvironmentCredentials, Here,
    Keyring, Origin, Vault,
};
use portcullis_programs::Program;
use portcullis_sdk::{Authorities, Endpoint};
use serde::Deserialize;

use super::{ConfigError, parse, unclear, value};

/// How long fetching a credential may take, in milliseconds.
const DEADLINES: std::ops::RangeInclusive<u64> = 1..=30_000;
const DEADLINE: u64 = 5_000;
/// How old one may be that is shown, in seconds.
const AGES: std::ops::RangeInclusive<u64> = 0..=86_400;
/// For how long a tool server runs with credentials in its environment, in seconds. One that is stopped for that has been there for long
/// enough not to count as one that fails.
const LEASES: std::ops::RangeInclusive<u64> = 120..=86_400;
const LEASE: u64 = 28_800;
/// A name of a variable: no tool server gets one that begins so.
const VARIABLE: &str = "PORTCULLIS_";

/// A credential, and what of the file system says where it comes from.
#[derive(Clone, Debug)]
pub struct CredentialConfig {
    /// What the server is shown.
    pub credential: Credential,
    /// What no tool server may read or change.
    pub hidden: Vec<PathBuf>,
    /// What tool servers may read, and not change.
    pub kept: Vec<PathBuf>,
}

/// The credentials in a tool server's environment, and what of the file system says where they come from.
#[derive(Clone, Debug)]
pub struct EnvironmentConfig {
    /// What the server is given.
    pub credentials: EnvironmentCredentials,
    /// What no tool server may read or change.
    pub hidden: Vec<PathBuf>,
    /// What tool servers may read, and not change.
    pub kept: Vec<PathBuf>,
}

/// The credentials that are filled in in the arguments of a tool server's calls, and what of the file system says where they come from.
#[derive(Clone, Debug)]
pub struct SlotsConfig {
    /// What is filled in.
    pub slots: ArgumentSlots,
    /// What no tool server may read or change.
    pub hidden: Vec<PathBuf>,
    /// What tool servers may read, and not change.
    pub kept: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialSection {
    header: Option<String>,
    prefix: Option<String>,
    tools: Option<BTreeSet<String>>,
    argument: Option<String>,
    deadline_ms: Option<u64>,
    max_age_seconds: Option<u64>,
    file: Option<PathBuf>,
    env: Option<String>,
    command: Option<Vec<String>>,
    age: Option<AgeSection>,
    keyring: Option<BTreeMap<String, String>>,
    vault: Option<VaultSection>,
    oauth: Option<OAuthSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OAuthSection {
    store: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AgeSection {
    file: PathBuf,
    identity: PathBuf,
    program: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VaultSection {
    address: String,
    ca: Option<PathBuf>,
    namespace: Option<String>,
    token_file: Option<PathBuf>,
    token_env: Option<String>,
    engine: String,
    path: String,
    field: String,
}

/// An origin, and the paths that it has: what is hidden, and what is kept.
type Known = (Origin, Vec<PathBuf>, Vec<PathBuf>);

impl CredentialConfig {
    /// Reads a file that says where a credential comes from. The paths in it are taken from its own directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let (section, base, path) = CredentialSection::read(path)?;
        let mut read = section.resolve(&base)?;
        read.hidden.push(path);
        Ok(read)
    }

    /// The bearer token that lies in a file.
    #[must_use]
    pub fn token_file(path: &Path) -> Self {
        let origin = Origin::Here(Here::File(path.to_owned()));
        let source = CredentialSource::new(origin, Duration::from_millis(DEADLINE), Duration::ZERO);
        Self { credential: Credential::bearer(source), hidden: vec![path.to_owned()], kept: Vec::new() }
    }
}

impl EnvironmentConfig {
    /// Reads the files that say where each variable's credential comes from. The paths in each are taken from its own directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(files: &[(String, PathBuf)], lease_seconds: Option<u64>) -> Result<Self, ConfigError> {
        let (mut sections, mut paths) = (Vec::new(), Vec::new());
        for (name, path) in files {
            let (section, base, path) = CredentialSection::read(path)?;
            sections.push((name.clone(), section, base));
            paths.push(path);
        }
        let mut read = Self::resolve(sections, lease_seconds)?;
        read.hidden.extend(paths);
        Ok(read)
    }

    /// Those of sections, each with the directory from which its paths are taken.
    pub(super) fn resolve(
        sections: Vec<(String, CredentialSection, PathBuf)>,
        lease_seconds: Option<u64>,
    ) -> Result<Self, ConfigError> {
        let lease = within("lease_seconds", lease_seconds, LEASE, LEASES)?;
        let (mut sources, mut hidden, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (name, section, base) in sections {
            section.is_of_no_header("credentials", "it is what the variable holds")?;
            section.is_of_no_login("credentials")?;
            section.is_of_no_call("credentials")?;
            let (source, hides, keeps) = section.source(&base)?;
            sources.push((name, source));
            hidden.extend(hides);
            kept.extend(keeps);
        }
        let credentials = EnvironmentCredentials::new(sources, Duration::from_secs(lease));
        let credentials = credentials.map_err(|error| value("credentials", &error))?;
        Ok(Self { credentials, hidden, kept })
    }
}

impl SlotsConfig {
    /// Reads the files that say what is filled in in each slot, and where. The paths in each are taken from its own directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(files: &[(String, PathBuf)]) -> Result<Self, ConfigError> {
        let (mut sections, mut paths) = (Vec::new(), Vec::new());
        for (name, path) in files {
            let (section, base, path) = CredentialSection::read(path)?;
            sections.push((name.clone(), section, base));
            paths.push(path);
        }
        let mut read = Self::resolve(sections)?;
        read.hidden.extend(paths);
        Ok(read)
    }

    /// Those of sections, each with the directory from which its paths are taken.
    pub(super) fn resolve(sections: Vec<(String, CredentialSection, PathBuf)>) -> Result<Self, ConfigError> {
        let (mut slots, mut hidden, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (name, mut section, base) in sections {
            section.is_of_no_header("slots", "it is what the argument is")?;
            section.is_of_no_login("slots")?;
            let (Some(tools), Some(argument)) = (section.tools.take(), section.argument.take()) else {
                let error = "must say whose argument it is: `tools` and `argument`";
                return Err(ConfigError::Value { key: "slots", error: error.into() });
            };
            let (source, hides, keeps) = section.source(&base)?;
            slots.push(ArgumentSlot { name, tools, argument, source });
            hidden.extend(hides);
            kept.extend(keeps);
        }
        let slots = ArgumentSlots::new(slots).map_err(|error| value("slots", &error))?;
        Ok(Self { slots, hidden, kept })
    }
}

impl CredentialSection {
    fn is_of_no_header(&self, key: &'static str, why: &str) -> Result<(), ConfigError> {
        if self.header.is_some() || self.prefix.is_some() {
            return Err(ConfigError::Value { key, error: format!("has no `header` and no `prefix`: {why}") });
        }
        Ok(())
    }

    fn is_of_no_login(&self, key: &'static str) -> Result<(), ConfigError> {
        if self.oauth.is_some() {
            let error = "has no `oauth`: such a token is shown to the server that it is for, in a header";
            return Err(ConfigError::Value { key, error: error.into() });
        }
        Ok(())
    }

    fn is_of_no_call(&self, key: &'static str) -> Result<(), ConfigError> {
        if self.tools.is_some() || self.argument.is_some() {
            let error = "has no `tools` and no `argument`: those are of slots";
            return Err(ConfigError::Value { key, error: error.into() });
        }
        Ok(())
    }

    /// A file with one, the directory that it is in, and its absolute path.
    fn read(path: &Path) -> Result<(Self, PathBuf, PathBuf), ConfigError> {
        let unreadable = |error: std::io::Error| ConfigError::Unreadable {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        let path = std::path::absolute(path).map_err(unreadable)?;
        let section = toml::from_str(&text)
            .map_err(|error| ConfigError::Invalid { path: path.clone(), error: unclear(&text, &error) })?;
        let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Ok((section, base, path))
    }

    pub(super) fn resolve(mut self, base: &Path) -> Result<CredentialConfig, ConfigError> {
        self.is_of_no_call("credential")?;
        if self.oauth.is_some() {
            self.is_of_no_header("credential", "with `oauth` it is shown as `Authorization: Bearer …`")?;
        }
        let header = self.header.take().unwrap_or_else(|| "authorization".to_owned());
        let is_usual = header.eq_ignore_ascii_case("authorization");
        let prefix = self.prefix.take();
        let prefix = prefix.unwrap_or_else(|| if is_usual { "Bearer ".to_owned() } else { String::new() });
        let (source, hidden, kept) = self.source(base)?;
        let credential = Credential::in_header(&header, &prefix, source)
            .map_err(|error| value("credential.header", &error))?;
        Ok(CredentialConfig { credential, hidden, kept })
    }

    /// Where it comes from, and the paths that has.
    fn source(self, base: &Path) -> Result<(CredentialSource, Vec<PathBuf>, Vec<PathBuf>), ConfigError> {
        let deadline = within("credential.deadline_ms", self.deadline_ms, DEADLINE, DEADLINES)?;
        let age = within("credential.max_age_seconds", self.max_age_seconds, 0, AGES)?;
        let mut sources: Vec<Result<Known, ConfigError>> = Vec::new();
        sources.extend(self.file.map(|file| here(Here::File(base.join(file)))));
        sources.extend(self.env.map(|name| here(Here::Variable(name))));
        sources.extend(self.command.map(|command| program(base, command)));
        sources.extend(self.age.map(|age| Ok(age.resolve(base))));
        sources.extend(self.keyring.map(keyring));
        sources.extend(self.vault.map(|vault| vault.resolve_for(age, base)));
        sources.extend(self.oauth.map(|oauth| oauth.resolve_for(age, base)));
        let (Some(source), None) = (sources.pop(), sources.pop()) else {
            let error = "exactly one of `file`, `env`, `command`, `age`, `keyring`, `vault` and `oauth` must be given";
            return Err(ConfigError::Value { key: "credential", error: error.into() });
        };
        let (origin, hidden, kept) = source?;
        let source = CredentialSource::new(origin, Duration::from_millis(deadline), Duration::from_secs(age));
        Ok((source, hidden, kept))
    }
}

fn within(
    key: &'static str,
    given: Option<u64>,
    usual: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let given = given.unwrap_or(usual);
    if range.contains(&given) {
        return Ok(given);
    }
    Err(ConfigError::Value { key, error: format!("must be from {} to {}", range.start(), range.end()) })
}

fn here(here: Here) -> Result<Known, ConfigError> {
    let hidden = match &here {
        Here::File(path) => vec![path.clone()],
        Here::Variable(name) if name.starts_with(VARIABLE) => Vec::new(),
        Here::Variable(_) => {
            let error = "must be a variable whose name begins with `PORTCULLIS_`, which no tool server gets";
            return Err(ConfigError::Value { key: "credential.env", error: error.into() });
        }
    };
    Ok((Origin::Here(here), hidden, Vec::new()))
}

fn program(base: &Path, command: Vec<String>) -> Result<Known, ConfigError> {
    let mut words = command.into_iter();
    let Some(first) = words.next().filter(|word| !word.is_empty()) else {
        return Err(ConfigError::Value { key: "credential.command", error: "is empty".into() });
    };
    let path = base.join(first);
    let kept = vec![path.clone()];
    Ok((Origin::Command(Program { path, arguments: words.collect() }), Vec::new(), kept))
}

/// How the engine is written whose credentials are leased.
const DYNAMIC: &str = "dynamic";

impl OAuthSection {
    /// It is kept while it is good, and by no age.
    fn resolve_for(self, max_age: u64, base: &Path) -> Result<Known, ConfigError> {
        if max_age > 0 {
            let error = "is not for `oauth`: such a token says itself for how long it is good";
            return Err(ConfigError::Value { key: "credential.max_age_seconds", error: error.into() });
        }
        let oauth = OAuth::new(base.join(self.store));
        let hidden = oauth.hidden().to_vec();
        Ok((Origin::OAuth(Arc::new(oauth)), hidden, Vec::new()))
    }
}

impl AgeSection {
    fn resolve(self, base: &Path) -> Known {
        let [file, identity] = [self.file, self.identity].map(|path| base.join(path));
        let program = self.program.map_or_else(|| Age::PROGRAM.into(), |program| base.join(program));
        let (hidden, kept) = (vec![file.clone(), identity.clone()], vec![program.clone()]);
        (Origin::Age(Age { program, identity, file }), hidden, kept)
    }
}

fn keyring(attributes: BTreeMap<String, String>) -> Result<Known, ConfigError> {
    let keyring = Keyring::new(Keyring::PROGRAM.into(), attributes);
    let keyring = keyring.map_err(|error| value("credential.keyring", &error))?;
    Ok((Origin::Keyring(keyring), Vec::new(), vec![Keyring::PROGRAM.into()]))
}

impl VaultSection {
    /// That of an engine that leases what it gives is kept by its lease, and by no age.
    fn resolve_for(self, max_age: u64, base: &Path) -> Result<Known, ConfigError> {
        if max_age > 0 && self.engine == DYNAMIC {
            let error = "is not for an engine that leases what it gives: that is kept by its lease";
            return Err(ConfigError::Value { key: "credential.max_age_seconds", error: error.into() });
        }
        self.resolve(base)
    }

    fn resolve(self, base: &Path) -> Result<Known, ConfigError> {
        let token = match (self.token_file, self.token_env) {
            (Some(file), None) => Here::File(base.join(file)),
            (None, Some(name)) => Here::Variable(name),
            (Some(_), Some(_)) | (None, None) => {
                let error = "exactly one of `token_file` and `token_env` must be given";
                return Err(ConfigError::Value { key: "credential.vault", error: error.into() });
            }
        };
        let (_, hidden, _) = here(token.clone())?;
        let engine = match self.engine.as_str() {
            "kv-v2" => Engine::KvV2,
            DYNAMIC => Engine::Dynamic,
            _ => {
                let error = "must be `kv-v2` or `dynamic`";
                return Err(ConfigError::Value { key: "credential.vault.engine", error: error.into() });
            }
        };
        let ca = self.ca.map(|file| base.join(file));
        let authorities = ca.as_deref().map(Authorities::read).transpose();
        let authorities = authorities.map_err(|error| value("credential.vault.ca", &error))?;
        if self.address.starts_with("https:") && authorities.is_none() {
            let error = "is needed with https: a PEM file of the authorities to believe";
            return Err(ConfigError::Value { key: "credential.vault.ca", error: error.into() });
        }
        let endpoint = Endpoint::parse(&self.address, authorities.as_ref())
            .map_err(|error| value("credential.vault.address", &error))?;
        let path = parse("credential.vault.path", &self.path)?;
        if self.namespace.as_deref().is_some_and(|space| space.chars().any(|c| !c.is_ascii_graphic())) {
            let error = "must be of visible ASCII characters";
            return Err(ConfigError::Value { key: "credential.vault.namespace", error: error.into() });
        }
        let vault = Vault::new(endpoint, token, (path, self.field), engine).within(self.namespace);
        Ok((Origin::Vault(Box::new(vault)), hidden, ca.into_iter().collect()))
    }
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
