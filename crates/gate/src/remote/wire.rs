//! Connections to a tool server that is reached by URL.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming as Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Trust;
use super::backoff::Backoff;
use super::url::ServerUrl;

/// How long a connection may take to be made.
const CONNECTING: Duration = Duration::from_secs(5);
/// Idle connections that are kept, and for how long: servers close theirs after seconds, and what is sent then is lost.
const KEPT: usize = 16;
const KEPT_FOR: Duration = Duration::from_secs(2);

pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// Why a request has no response.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// It was not sent.
    Before(String),
    /// It was sent, or part of it.
    After(String),
}

/// Connections to one server.
pub(crate) struct Wire {
    pub(super) url: ServerUrl,
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<Vec<(Instant, Connection)>>,
    backoff: Mutex<Backoff>,
    /// Whether the server is on this very machine, as the first connection found it.
    near: OnceLock<bool>,
}

impl Wire {
    const fn new(url: ServerUrl, tls: Option<Arc<ClientConfig>>, seed: u64) -> Self {
        let backoff = Mutex::new(Backoff::new(seed));
        Self { url, tls, idle: Mutex::new(Vec::new()), backoff, near: OnceLock::new() }
    }

    /// Connections to the server of this URL, which may show certificates of these authorities.
    pub(crate) fn to(url: ServerUrl, trust: Trust) -> Result<Self, String> {
        let tls = match (url.name.is_some(), trust) {
            (false, _) => None,
            (true, Trust::Authorities(authorities)) => Some(authorities.client()),
            (true, Trust::System) => Some(system_authorities()?),
        };
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|_| "the system gives no random bytes")?;
        Ok(Self::new(url, tls, u64::from_le_bytes(seed)))
    }

    /// Whether it is known that the server is on another machine.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.near.get() == Some(&false)
    }

    /// A connection, kept or new.
    pub(crate) async fn get(&self) -> Result<Connection, String> {
        match self.kept() {
            Some(kept) => Ok(kept),
            None => self.connect().await,
        }
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| since.elapsed() < KEPT_FOR && connection.is_ready());
        idle.pop().map(|(_, connection)| connection)
    }

    /// Keeps a connection whose response was read to its end.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push((Instant::now(), connection));
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        if let Some(left) = self.backoff().left(Instant::now()) {
            return Err(format!("it could not be, and is tried again in {} ms", left.as_millis()));
        }
        let connected = match timeout(CONNECTING, self.connecting()).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no connection within {} s", CONNECTING.as_secs())),
        };
        match &connected {
            Ok(_) => self.backoff().succeeded(),
            Err(_) => self.backoff().failed(Instant::now()),
        }
        connected
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connecting(&self) -> std::io::Result<Connection> {
        let (host, port) = &self.url.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let (peer, own) = (stream.peer_addr()?.ip(), stream.local_addr()?.ip());
        let near = peer.to_canonical().is_loopback() || peer == own;
        // A name that led elsewhere leads here now: what was judged by the first connection does not hold for this one.
        let first = *self.near.get_or_init(|| near);
        if near && !first {
            return Err(std::io::Error::other(
                "its name led to another machine first, and leads to this one now",
            ));
        }
        match (&self.tls, &self.url.name) {
            (Some(tls), Some(name)) => {
                let stream = TlsConnector::from(Arc::clone(tls)).connect(name.clone(), stream).await?;
                open(TokioIo::new(stream)).await
            }
            (None, None) => open(TokioIo::new(stream)).await,
            (Some(_), None) | (None, Some(_)) => Err(std::io::Error::other("no certificate authorities")),
        }
    }

    /// Sends a request over `connection`, and over no other: what is sent later than it was permitted is not what was permitted.
    pub(crate) async fn send(
        &self,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Body>), Unsent> {
        match connection.try_send_request(request).await {
            Ok(response) => Ok((connection, response)),
            Err(mut error) => match error.take_message() {
                Some(_) => Err(Unsent::Before(error.into_error().to_string())),
                None => Err(Unsent::After(error.into_error().to_string())),
            },
        }
    }
}

async fn open<S>(stream: S) -> std::io::Result<Connection>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = handshake(stream).await.map_err(std::io::Error::other)?;
    // Ends with the connection; whoever holds the sender sees its error.
    tokio::spawn(async move { drop(connection.await) });
    // Only once that runs can it be told that it is ready.
    sender.ready().await.map_err(std::io::Error::other)?;
    Ok(sender)
}

/// Believes what the system believes: whoever may speak for a tool server's name may be it, and is trusted no further.
fn system_authorities() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("this system has no certificate authorities; name a file with `mcp.ca`".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_led_to_another_machine_first_led_to_this_one_later() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = |path: &str| format!("http://{}{path}", listener.local_addr().unwrap()).parse().unwrap();
        let wire = Wire::new(url("/"), None, 7);
        assert!(!wire.is_elsewhere(), "nothing is known before the first connection");
        wire.near.set(false).unwrap();
        assert!(wire.is_elsewhere());
        assert!(wire.get().await.unwrap_err().contains("leads to this one now"));
        let wire = Wire::new(url("/"), None, 7);
        assert!(wire.get().await.is_ok() && !wire.is_elsewhere());
        assert_eq!(wire.near.get(), Some(&true), "the first connection says where it led");
    }

    #[tokio::test]
    async fn a_server_that_could_not_be_reached_is_not_tried_again_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let wire = Wire::new(format!("http://{address}/").parse().unwrap(), None, 7);
        for _ in 0..6 {
            wire.backoff().until_now();
            assert!(!wire.get().await.unwrap_err().contains("tried again"));
        }
        // Six attempts have failed: none is made for more than a second.
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        assert!(wire.get().await.unwrap_err().contains("tried again in"));
        let reached = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
        assert!(reached.is_err(), "an attempt was made");
        wire.backoff().until_now();
        assert!(wire.get().await.is_ok());
        assert!(wire.connect().await.is_ok(), "it was reached, and nothing is put off");
    }
}
