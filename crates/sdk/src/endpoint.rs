//! Where an arbiter or a signer listens, and whose certificates are believed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

/// Where an arbiter or a signer listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://127.0.0.1:PORT`, loopback only: a bearer token must not cross a network in clear.
    Tcp {
        /// Address and port.
        authority: String,
    },
    /// `https://HOST:PORT`, with TLS 1.3 and a certificate of a pinned authority.
    Tls {
        /// Host and port.
        authority: String,
        /// The name that the certificate must be for.
        name: ServerName<'static>,
        /// Whose certificates are believed.
        authorities: Authorities,
    },
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
    },
}

/// A text that names no usable endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a usable endpoint: {expected}")]
pub struct InvalidEndpoint {
    text: String,
    expected: &'static str,
}

/// Certificate authorities, pinned by the operator. There is no system store here: whoever can get a certificate
/// for a name from any authority of the world must not be an arbiter.
#[derive(Clone)]
pub struct Authorities {
    certificates: Arc<Vec<CertificateDer<'static>>>,
    client: Arc<ClientConfig>,
}

/// A file that holds no usable certificate authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` holds no usable certificate authority: {error}")]
pub struct InvalidAuthorities {
    path: PathBuf,
    error: String,
}

impl Authorities {
    /// Reads authorities from a PEM file.
    ///
    /// # Errors
    /// If it cannot be read, or holds no certificate or one that cannot be an authority.
    pub fn read(path: &Path) -> Result<Self, InvalidAuthorities> {
        let invalid = |error: String| InvalidAuthorities { path: path.to_owned(), error };
        let pem = std::fs::read(path).map_err(|error| invalid(error.to_string()))?;
        Self::of(&pem).map_err(invalid)
    }

    /// The same of a PEM text.
    ///
    /// # Errors
    /// As [`read`](Self::read), of no file.
    pub fn parse(pem: &str) -> Result<Self, InvalidAuthorities> {
        Self::of(pem.as_bytes()).map_err(|error| InvalidAuthorities { path: PathBuf::new(), error })
    }

    fn of(pem: &[u8]) -> Result<Self, String> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        if certificates.is_empty() {
            return Err("no certificate in it".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
        }
        let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { certificates: Arc::new(certificates), client: Arc::new(client) })
    }

    /// What a TLS client is configured with to believe these authorities alone.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authorities")
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl Eq for Authorities {}

impl Endpoint {
    /// Reads an endpoint. `authorities` are those of an `https` one.
    ///
    /// # Errors
    /// [`InvalidEndpoint`]; also if an `https` endpoint comes without authorities.
    pub fn parse(text: &str, authorities: Option<&Authorities>) -> Result<Self, InvalidEndpoint> {
        let invalid = |expected| InvalidEndpoint { text: text.to_owned(), expected };
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(invalid("a Unix socket is written `unix:/absolute/path`"));
            }
            return Ok(Self::Unix { path: path.into() });
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let authorities = authorities.ok_or_else(|| {
                invalid("https needs the certificate authority to believe: `gate.arbiter_ca`, or `signer.ca` for a signer")
            })?;
            return Self::tls(rest, authorities)
                .ok_or_else(|| invalid("expected `https://HOST:PORT` and nothing else"));
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| {
            invalid("expected `https://HOST:PORT`, `http://127.0.0.1:PORT` or `unix:/absolute/path`")
        })?;
        let authority = rest.trim_end_matches('/');
        let address = authority.parse::<std::net::SocketAddr>();
        match address {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp { authority: authority.to_owned() }),
            Ok(_) | Err(_) => Err(invalid(
                "plain http goes to a numeric loopback address with a port only, because the bearer token \
                 would cross the network in clear; use https for another machine",
            )),
        }
    }

    fn tls(rest: &str, authorities: &Authorities) -> Option<Self> {
        let authority = rest.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port_fits = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let name = ServerName::try_from(host.to_owned()).ok()?;
        port_fits.then(|| Self::Tls {
            authority: authority.to_owned(),
            name,
            authorities: authorities.clone(),
        })
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        Self::parse(text, None)
    }
}
