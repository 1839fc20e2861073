//! The gate as an MCP server over Streamable HTTP, both as revisions 2025-03-26 to 2025-11-25 have it (sessions, a stream of the
//! server's own, resumption) and as 2026-07-28 does (each request says all about itself).
//!
//! It is a codec: each conversation is a session of the very gate that clients over stdio get, with a tool server, an agent and
//! a run of its own. There is no other way from here to a tool server. Who asks is the arbiter's word about the bearer token
//! of each request; a session's id names a session, and nobody.

#[cfg(test)]
mod absent;
mod bounds;
mod calls;
mod conversation;
mod delivering;
mod door;
mod era;
mod guard;
mod holder;
mod kept;
mod metadata;
mod named;
mod reader;
mod refused;
mod respond;
pub(crate) mod rewrite;
mod sessions;
mod streams;
mod who;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use portcullis_protocol::{AgentId, ReasonCode};
use portcullis_sdk::TrustedLog;
use tokio::net::TcpListener;

use crate::gate::{GateError, McpGate, random};

use bounds::Budget;
use guard::Names;
use refused::Refused;
use respond::{Answer, empty};
use sessions::Sessions;
use who::Doorkeeper;

pub use bounds::Bounds;
pub use metadata::{InvalidResource, Resource};
pub use who::Arbiters;

/// The path of the endpoint.
const PATH: &str = "/mcp";

/// How TLS is spoken.
pub type Tls = Arc<rustls::ServerConfig>;

/// An endpoint in front of one MCP server.
pub struct Endpoint {
    /// The gate of each conversation. Its agent is the one that the token names, whatever is written here.
    pub gate: McpGate,
    /// The log whose receipts count.
    pub log: TrustedLog,
    /// The arbiter, asked as the agent that a token names.
    pub arbiters: Arbiters,
    /// TLS. Without it, only a loopback address is listened on.
    pub tls: Option<Tls>,
    /// Hosts that the endpoint is known by beside its address, as the `host` header has them.
    pub hosts: Vec<String>,
    /// Origins of web pages that may ask.
    pub origins: Vec<String>,
    /// What clients are told of where tokens come from.
    pub resource: Option<Resource>,
    /// Bounds on what clients can use up.
    pub bounds: Bounds,
}

/// Why an endpoint does not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Its gate would not.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The address is not this machine's alone.
    #[error(
        "`{0}` is reached from elsewhere, and without TLS bearer tokens would cross the network in clear: give \
             `--tls-cert` and `--tls-key`, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The listener is of no use.
    #[error("the endpoint cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// What each conversation stands on.
struct Ground {
    gate: McpGate,
    log: TrustedLog,
    report: Arc<dyn Fn(String) + Send + Sync>,
}

impl Ground {
    /// What is said of an agent's conversation.
    fn report_of(&self, agent: &AgentId) -> impl Fn(String) + Send + 'static {
        let (report, agent) = (Arc::clone(&self.report), agent.clone());
        move |line| report(format!("{agent}: {line}"))
    }
}

/// What serves.
struct Served {
    names: Names,
    doorkeeper: Doorkeeper,
    sessions: Sessions,
    metadata: Option<metadata::Metadata>,
    bodies: Arc<Budget>,
    bounds: Bounds,
}

/// Serves until `stop` is ready. Then nothing is accepted any more, streams end, tool servers do, and what is known of
/// outcomes is reported.
///
/// `report` gets one line for people at a time.
///
/// # Errors
/// [`EndpointError`], before anything is accepted.
pub async fn serve_endpoint(
    endpoint: Endpoint,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    report: impl Fn(String) + Send + Sync + 'static,
) -> Result<(), EndpointError> {
    endpoint.gate.check()?;
    let address = listener.local_addr()?;
    if endpoint.tls.is_none() && !address.ip().is_loopback() {
        return Err(EndpointError::Open(address));
    }
    let Endpoint { gate, log, arbiters, tls, hosts, origins, resource, bounds } = endpoint;
    let metadata = resource.map(metadata::Metadata::of);
    let challenge = metadata.as_ref().map_or_else(|| "Bearer".to_owned(), metadata::Metadata::challenge);
    let served = Arc::new(Served {
        names: Names::new(address, &hosts, &origins, tls.is_some()),
        doorkeeper: Doorkeeper::new(arbiters, bounds, challenge),
        sessions: Sessions::new(Ground { gate, log, report: Arc::new(report) }, bounds, random()?),
        metadata,
        bodies: Budget::new(bounds.bodies),
        bounds,
    });
    tokio::select! {
        () = door::accept(Arc::clone(&served), listener, tls.map(Into::into)) => {}
        () = served.sessions.tend() => {}
        () = stop => {}
    }
    served.sessions.stop().await;
    Ok(())
}

impl Served {
    /// Answers a request, whatever it is.
    async fn respond(&self, request: Request<Incoming>) -> Answer {
        self.answer(request).await.unwrap_or_else(Refused::into_response)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, Refused> {
        let (parts, body) = request.into_parts();
        self.names.admit(&parts).map_err(Refused::and_close)?;
        let path = parts.uri.path();
        if path == "/healthz" {
            return if parts.method == Method::GET {
                Ok(empty(StatusCode::OK))
            } else {
                Err(Refused::allow("GET"))
            };
        }
        if let Some(metadata) = self.metadata.as_ref().filter(|metadata| metadata.is_at(path)) {
            return if parts.method == Method::GET {
                Ok(metadata.answer())
            } else {
                Err(Refused::allow("GET"))
            };
        }
        if path != PATH {
            let detail = "there is nothing here; the endpoint is `/mcp`";
            return Err(
                Refused::new(StatusCode::NOT_FOUND, ReasonCode::RequestInvalidValue, detail).and_close()
            );
        }
        if ![Method::POST, Method::GET, Method::DELETE].contains(&parts.method) {
            return Err(Refused::allow("POST, GET, DELETE").and_close());
        }
        let caller = self.doorkeeper.who(&parts.headers).await?;
        let place = Arc::clone(&caller.share.calls).try_acquire_owned();
        let place =
            place.map_err(|_| Refused::too_many("this agent has too many requests under way").and_close())?;
        match parts.method {
            Method::POST => self.post(&parts, body, &caller, place).await,
            Method::GET => self.listen(&parts, &caller, place),
            _ => self.leave(&parts, &caller),
        }
    }
}
