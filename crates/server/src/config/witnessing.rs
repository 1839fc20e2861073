//! The sections about witnesses: of this log, and being one.

use std::path::PathBuf;
use std::time::Duration;

use portcullis_sdk::{Authorities, Endpoint, TrustedLog, Witnessed};
use portcullis_verify::{CosignerKey, LogKey, LogKeys, Quorum};

use super::listen::DoorKeys;
use super::{ArbiterSection, Config, ConfigError, GateSection, ListenConfig, WitnessSection, parse, value};

/// How long a witness may be given to answer, in milliseconds: with none every answer would be late, and with too many
/// the start would wait for ever.
const PATIENCES: std::ops::RangeInclusive<u64> = 10..=10_000;

/// The witnesses of a log.
#[derive(Clone, Debug)]
pub struct WitnessesConfig {
    /// How many of which must have cosigned.
    pub quorum: Quorum,
    /// Where each is asked.
    pub members: Vec<WitnessConfig>,
    /// How often they are asked when no PERMIT waits.
    pub interval: Duration,
    /// How long one may take to answer.
    pub patience: Duration,
}

/// Where a witness is asked, and what it signs with.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// Its name in the configuration.
    pub name: String,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The path in front of `/add-checkpoint`.
    pub prefix: String,
    /// Its keys.
    pub keys: Vec<CosignerKey>,
}

/// What a witness needs to be one.
#[derive(Clone, Debug)]
pub struct OwnWitnessConfig {
    /// Where and how it listens.
    pub listen: ListenConfig,
    /// Its state directory.
    pub state: PathBuf,
    /// The files with its keys.
    pub signing_keys: Vec<PathBuf>,
    /// Keys of the logs that it serves.
    pub logs: LogKeys,
    /// Requests that are answered in a second.
    pub requests_per_second: u32,
}

fn wrong(key: &'static str, error: &str) -> ConfigError {
    ConfigError::Value { key, error: error.to_owned() }
}

impl Config {
    /// The log's witnesses; `None` if it has none.
    pub(super) fn witnesses(&self, arbiter: &ArbiterSection) -> Result<Option<WitnessesConfig>, ConfigError> {
        let Some(section) = &self.file.witnessing else {
            if self.file.witnesses.is_empty() {
                return Ok(None);
            }
            return Err(ConfigError::Missing { section: "witnessing" });
        };
        let members = self.file.witnesses.iter().map(|(name, witness)| self.member(name, witness));
        let members: Vec<WitnessConfig> = members.collect::<Result<_, _>>()?;
        let keys: Vec<CosignerKey> = members.iter().flat_map(|member| member.keys.clone()).collect();
        let log = self.log_keys(arbiter)?;
        let is_own = |key: &CosignerKey| log.all().iter().any(|own| key.is_of(&own.key));
        if keys.iter().any(is_own) {
            let error = "has the log's own name or key: whoever has it would be a witness of itself";
            return Err(wrong("witnesses.keys", error));
        }
        if section.patience_ms.is_some_and(|patience| !PATIENCES.contains(&patience)) {
            return Err(wrong("witnessing.patience_ms", "must be from 10 to 10000"));
        }
        let quorum = Quorum::new(section.quorum, keys).map_err(|error| value("witnessing.quorum", &error))?;
        let milliseconds =
            |given: Option<u64>, default| Duration::from_millis(given.map_or(default, |ms| ms));
        Ok(Some(WitnessesConfig {
            quorum,
            members,
            interval: milliseconds(section.interval_ms, 5_000).max(Duration::from_millis(10)),
            patience: milliseconds(section.patience_ms, 2_000),
        }))
    }

    fn member(&self, name: &str, witness: &WitnessSection) -> Result<WitnessConfig, ConfigError> {
        let authorities = witness.ca.as_ref().map(|path| Authorities::read(&self.at(path))).transpose();
        let authorities = authorities.map_err(|error| value("witnesses.ca", &error))?;
        let (origin, prefix) = split_url(&witness.url).ok_or_else(|| {
            wrong("witnesses.url", "is not `https://HOST:PORT` with a prefix, or without one")
        })?;
        let endpoint = Endpoint::parse(origin, authorities.as_ref());
        let keys: Vec<CosignerKey> =
            witness.keys.iter().map(|key| parse("witnesses.keys", key)).collect::<Result<_, _>>()?;
        let Some(first) = keys.first() else {
            return Err(wrong("witnesses.keys", "names no key, so no cosignature could ever be believed"));
        };
        if keys.iter().any(|key| key.name() != first.name()) {
            return Err(wrong("witnesses.keys", "have different names: one witness has one name"));
        }
        Ok(WitnessConfig {
            name: name.to_owned(),
            endpoint: endpoint.map_err(|error| value("witnesses.url", &error))?,
            prefix: prefix.to_owned(),
            keys,
        })
    }

    /// The log whose receipts a gate believes, with the witnesses that must have seen them.
    pub(super) fn trusted(
        &self,
        gate: &GateSection,
        arbiter: &ArbiterSection,
    ) -> Result<TrustedLog, ConfigError> {
        let log = TrustedLog::with(self.log_keys(arbiter)?);
        let log = log.map_err(|error| value("arbiter.log_key", &error))?;
        let asked = gate.witnessed.clone().unwrap_or_default();
        let Some(witnesses) = self.witnesses(arbiter)? else {
            if asked.is_empty() {
                return Ok(log);
            }
            return Err(wrong("gate.witnessed", "asks for witnesses, and there is no `[witnessing]`"));
        };
        if asked.iter().any(|surface| surface == "*") {
            return Ok(log.witnessed(witnesses.quorum, Witnessed::Everywhere));
        }
        let surfaces = asked.iter().map(|surface| parse("gate.witnessed", surface));
        Ok(log.witnessed(witnesses.quorum, Witnessed::On(surfaces.collect::<Result<_, _>>()?)))
    }

    /// What `portcullis witness` needs.
    ///
    /// # Errors
    /// [`ConfigError`] if the section is missing or a value cannot be used.
    pub fn own_witness(&self) -> Result<OwnWitnessConfig, ConfigError> {
        let witness = Self::section(self.file.witness.as_ref(), "witness")?;
        let logs: Vec<LogKey> =
            witness.logs.iter().map(|key| parse("witness.logs", key)).collect::<Result<_, _>>()?;
        if logs.is_empty() {
            return Err(wrong("witness.logs", "names no log, so there is nothing to witness"));
        }
        if witness.signing_keys.is_empty() {
            return Err(wrong("witness.signing_keys", "names no key, so nothing could be cosigned"));
        }
        Ok(OwnWitnessConfig {
            listen: self.door(
                &DoorKeys {
                    listen: "witness.listen",
                    certificate: "witness.tls_certificate",
                    key: "witness.tls_key",
                },
                &witness.listen,
                witness.tls_certificate.as_ref(),
                witness.tls_key.as_ref(),
            )?,
            state: self.at(&witness.state),
            signing_keys: witness.signing_keys.iter().map(|path| self.at(path)).collect(),
            logs: LogKeys::new(logs),
            requests_per_second: witness.requests_per_second.map_or(100, |requests| requests.max(1)),
        })
    }
}

/// Scheme, host and port of a URL, and its path without a trailing slash.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let begin = url.find("://")?.checked_add(3)?;
    let path = url.get(begin..)?.find('/').and_then(|at| at.checked_add(begin));
    let (origin, path) = url.split_at_checked(path.map_or(url.len(), |at| at))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    path.chars().all(plain).then(|| (origin, path.trim_end_matches('/')))
}
