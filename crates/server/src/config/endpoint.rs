//! The MCP gate as an endpoint, as configured.

use std::path::Path;
use std::sync::Arc;

use portcullis_gate::endpoint::Resource;

use super::listen::{DoorKeys, tls};
use super::{Config, ConfigError, value};

/// What an endpoint is known by, and to whom.
#[derive(Clone, Debug, Default)]
pub struct EndpointConfig {
    /// Hosts that it is known by beside its address.
    pub hosts: Vec<String>,
    /// Origins of the web pages that may ask.
    pub origins: Vec<String>,
    /// What it is to those who give out tokens for it.
    pub resource: Option<Resource>,
}

impl Config {
    /// What an endpoint is known by. Without its section, by its address alone.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn endpoint(&self) -> Result<EndpointConfig, ConfigError> {
        let Some(endpoint) = &self.file.endpoint else { return Ok(EndpointConfig::default()) };
        let servers = endpoint.authorization_servers.clone();
        let scopes = endpoint.scopes.clone();
        let resource = match &endpoint.resource {
            Some(url) => {
                let resource = Resource::new(url, servers.unwrap_or_default(), scopes.unwrap_or_default());
                Some(resource.map_err(|error| value("endpoint.resource", &error))?)
            }
            None if servers.is_some() || scopes.is_some() => {
                let error = "is needed with `authorization_servers` and `scopes`, which say where tokens for it come from";
                return Err(ConfigError::Value { key: "endpoint.resource", error: error.into() });
            }
            None => None,
        };
        let [hosts, origins] =
            [&endpoint.hosts, &endpoint.origins].map(|names| names.clone().unwrap_or_default());
        Ok(EndpointConfig { hosts, origins, resource })
    }
}

/// TLS 1.3 with a certificate chain and its private key, PEM files that options name.
///
/// # Errors
/// [`ConfigError`] if one cannot be used, or the key is readable by others.
pub fn read_tls(
    (certificate_option, certificate): (&'static str, &Path),
    (key_option, key): (&'static str, &Path),
) -> Result<Arc<rustls::ServerConfig>, ConfigError> {
    let keys = DoorKeys { listen: "--listen", certificate: certificate_option, key: key_option };
    tls(&keys, certificate, key)
}
