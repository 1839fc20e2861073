//! `portcullis serve`: the arbiter as a daemon.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::router;
use crate::config::{ArbiterConfig, ListenConfig};
use crate::host::{HostError, Hosted};
use crate::listen::{Door, stopped};

/// How often a daemon that waits for its data directory looks again.
const LOOK: Duration = Duration::from_millis(200);

/// The daemon cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: std::io::Error,
    },
}

/// Serves the arbiter of a data directory over HTTP, with TLS if there is a certificate, and its Unix socket until `stop` turns true. What was
/// recorded by then is durable; requests under way are ended first.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    config: &ArbiterConfig,
    listen: ListenConfig,
    mut stop: watch::Receiver<bool>,
    say: impl Fn(String),
) -> Result<(), ServeError> {
    let ListenConfig { address, tls } = listen;
    let listener = TcpListener::bind(address).await.map_err(|error| ServeError::Listen { address, error })?;
    let bound = listener.local_addr().map_err(|error| ServeError::Listen { address, error })?;
    let Some(hosted) = wait_for_directory(config, &mut stop, &say).await? else { return Ok(()) };
    let (scheme, door) = match tls {
        Some(tls) => ("https", Door::Tls(listener, tls.into())),
        None => ("http", Door::Tcp(listener)),
    };
    say(format!("listening on {scheme}://{bound}"));
    let arbiter = Arc::clone(&hosted.arbiter);
    let serving = door.serve(router(Arc::clone(&arbiter)), stop);
    tokio::select! {
        () = serving => {}
        never = arbiter.tell(&say) => match never {},
    }
    drop(arbiter);
    say("stopping: ending what is under way".to_owned());
    hosted.stop().await;
    Ok(())
}

async fn wait_for_directory(
    config: &ArbiterConfig,
    stop: &mut watch::Receiver<bool>,
    say: &impl Fn(String),
) -> Result<Option<Hosted>, ServeError> {
    let mut told = false;
    loop {
        if let Some(hosted) = Hosted::try_start(config)? {
            return Ok(Some(hosted));
        }
        if !told {
            say(format!("another process holds `{}`; waiting to take over", config.data.display()));
            told = true;
        }
        tokio::select! {
            () = stopped(stop) => return Ok(None),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
