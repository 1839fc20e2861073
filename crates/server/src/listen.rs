//! Accepting connections, within bounds: how many, how long a header may take, and how they end.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Connections at once: more than calls, so that a call too many is told that it is shed.
const CONNECTIONS: usize = 512;
/// How long a request's header may take.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// How long requests under way may take when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Where connections come from.
pub(crate) enum Door {
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
    Unix(UnixListener),
}

impl Door {
    /// Listens on a socket in the data directory, for this user only. Whoever holds the directory's lock may
    /// replace a socket that a dead process left.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self::Unix(listener))
    }

    /// Serves until `stop` turns true, then lets requests under way end.
    pub(crate) async fn serve(self, router: Router, mut stop: watch::Receiver<bool>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                accepted = self.accept() => accepted,
            };
            match (accepted, Arc::clone(&connections).try_acquire_owned()) {
                (Ok(Some(arrival)), Ok(place)) => attend(arrival, router.clone(), graceful.watcher(), place),
                // Refused, or more than there is room for: the connection is dropped.
                (Ok(_), _) => {}
                // A failed accept, such as for want of descriptors, must not spin.
                (Err(_), _) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        drop(tokio::time::timeout(STOP_PATIENCE, graceful.shutdown()).await);
    }

    /// The next connection; `None` for one that is refused.
    async fn accept(&self) -> io::Result<Option<Arrival>> {
        match self {
            Self::Tcp(listener) => Ok(Some(Arrival::Open(Box::new(tcp(listener).await?)))),
            Self::Tls(listener, acceptor) => Ok(Some(Arrival::Tls(tcp(listener).await?, acceptor.clone()))),
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let own = stream.peer_cred()?.uid() == rustix::process::geteuid().as_raw();
                Ok(own.then(|| Arrival::Open(Box::new(stream))))
            }
        }
    }
}

async fn tcp(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that was accepted.
enum Arrival {
    Open(Box<dyn Stream>),
    /// Still to shake hands, which must not hold up the door.
    Tls(TcpStream, TlsAcceptor),
}

impl Arrival {
    async fn open(self) -> Option<Box<dyn Stream>> {
        match self {
            Self::Open(stream) => Some(stream),
            Self::Tls(stream, acceptor) => {
                match tokio::time::timeout(HEADER_PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Some(Box::new(stream)),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
        }
    }
}

/// Ends when `stop` turns true, or when nobody is left to turn it.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn attend(arrival: Arrival, router: Router, watcher: Watcher, place: OwnedSemaphorePermit) {
    tokio::spawn(async move {
        let Some(stream) = arrival.open().await else { return };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_PATIENCE)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        // A connection that breaks off has its error at the other end.
        drop(watcher.watch(connection).await);
        drop(place);
    });
}

/// A connection's stream, of any door.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
