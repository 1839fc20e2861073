//! Where and how the HTTP API is served, as configured.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::credentials::refuse_exposed;
use super::{Config, ConfigError, parse, value};

impl Config {
    /// Where and how the HTTP API is served.
    ///
    /// # Errors
    /// [`ConfigError`] if the section is missing, certificate and key cannot be used, or the address is not a
    /// loopback address and there is no TLS.
    pub fn listen(&self) -> Result<ListenConfig, ConfigError> {
        let serve = Self::section(self.file.serve.as_ref(), "serve")?;
        let keys =
            DoorKeys { listen: "serve.listen", certificate: "serve.tls_certificate", key: "serve.tls_key" };
        self.door(&keys, &serve.listen, serve.tls_certificate.as_ref(), serve.tls_key.as_ref())
    }

    /// Address, and TLS where it is needed or configured, of this API or of a witness's.
    pub(super) fn door(
        &self,
        keys: &DoorKeys,
        listen: &str,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<ListenConfig, ConfigError> {
        let address: std::net::SocketAddr = parse(keys.listen, listen)?;
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(tls(keys, &self.at(certificate), &self.at(key))?),
            (None, None) if address.ip().is_loopback() => None,
            (None, None) => {
                let error =
                    "without TLS only loopback is served: bearer tokens would cross the network in clear";
                return Err(ConfigError::Value { key: keys.listen, error: error.into() });
            }
            (Some(_), None) | (None, Some(_)) => {
                let error = "TLS needs both `tls_certificate` and `tls_key`";
                return Err(ConfigError::Value { key: keys.key, error: error.into() });
            }
        };
        Ok(ListenConfig { address, tls })
    }
}

/// Names of the keys of a section that says where to listen.
pub(super) struct DoorKeys {
    pub(super) listen: &'static str,
    pub(super) certificate: &'static str,
    pub(super) key: &'static str,
}

/// Where and how the HTTP API is served.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Address and port.
    pub address: std::net::SocketAddr,
    /// TLS, if it is spoken.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

pub(super) fn tls(
    keys: &DoorKeys,
    certificate: &Path,
    key: &Path,
) -> Result<Arc<rustls::ServerConfig>, ConfigError> {
    refuse_exposed(keys.key, key)?;
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| value(keys.certificate, &error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| value(keys.key, &error))?;
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    Ok(Arc::new(config.map_err(|error| value(keys.certificate, &error))?))
}
