//! Where sources of facts are: `[facts.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use portcullis_protocol::SourceName;
use portcullis_sdk::{Authorities, Endpoint, Token};

use super::credentials::read_token;
use super::sections::FactsSection;
use super::{Config, ConfigError, parse, value};

/// Where a source of facts is.
#[derive(Clone, Debug)]
pub enum FactsConfig {
    /// In a file.
    File(PathBuf),
    /// At a service.
    Service(FactsService),
}

/// A service that gives facts.
#[derive(Clone, Debug)]
pub struct FactsService {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The path that is asked for.
    pub path: String,
    /// The token that it is shown.
    pub token: Option<Token>,
    /// How often it is asked.
    pub interval: Duration,
}

impl Config {
    pub(super) fn facts(&self) -> Result<BTreeMap<SourceName, FactsConfig>, ConfigError> {
        let named = self
            .file
            .facts
            .iter()
            .map(|(name, section)| Ok((parse("facts.NAME", name)?, self.source_of_facts(section)?)));
        named.collect()
    }

    fn source_of_facts(&self, section: &FactsSection) -> Result<FactsConfig, ConfigError> {
        let FactsSection { file, endpoint, path, ca, token_file, interval_ms } = section;
        let of_service = path.is_some() || ca.is_some() || token_file.is_some() || interval_ms.is_some();
        match (file, endpoint) {
            (Some(file), None) if !of_service => Ok(FactsConfig::File(self.at(file))),
            (Some(_), None) => Err(value("facts.file", &"goes without the keys of a service")),
            (None, Some(endpoint)) => self.service_of_facts(section, endpoint).map(FactsConfig::Service),
            (Some(_), Some(_)) => {
                Err(value("facts.file", &"cannot stand beside `endpoint`: a source is one"))
            }
            (None, None) => Err(value(
                "facts.file",
                &"or `endpoint` must be given: a source that is nowhere gives nothing",
            )),
        }
    }

    fn service_of_facts(&self, section: &FactsSection, endpoint: &str) -> Result<FactsService, ConfigError> {
        let authorities = section.ca.as_ref().map(|path| Authorities::read(&self.at(path))).transpose();
        let authorities = authorities.map_err(|error| value("facts.ca", &error))?;
        let endpoint = Endpoint::parse(endpoint, authorities.as_ref());
        let endpoint = endpoint.map_err(|error| value("facts.endpoint", &error))?;
        let path = section.path.clone().unwrap_or_else(|| "/".to_owned());
        if !path.starts_with('/') || path.chars().any(|c| c.is_control() || c == ' ') {
            return Err(value("facts.path", &"is no path that begins with `/`"));
        }
        let token = section.token_file.as_ref().map(|file| read_token("facts.token_file", &self.at(file)));
        let interval = section.interval_ms.map_or(30_000, |interval| interval);
        if !(100..=3_600_000).contains(&interval) {
            return Err(value("facts.interval_ms", &"is not within 100 and 3600000"));
        }
        let interval = Duration::from_millis(interval);
        Ok(FactsService { endpoint, path, token: token.transpose()?, interval })
    }
}
