//! `portcullis mcp --listen ADDRESS`: the gate as an endpoint.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use portcullis_gate::McpGate;
use portcullis_gate::endpoint::{Arbiters, Bounds, Endpoint, Tls, serve_endpoint};
use portcullis_sdk::HttpAuthorizer;
use portcullis_server::Config;
use portcullis_server::config::{ConfigError, EndpointConfig, GateConfig, read_tls};
use tokio::net::TcpListener;

use super::gated::{Arbiter, PATIENCE, connect, end};
use crate::commands::{runtime, wait_for_signal};
use crate::say;

/// Where to listen, and under which names.
pub(super) struct Door {
    pub(super) listen: SocketAddr,
    /// Certificate chain and key.
    pub(super) tls: (Option<PathBuf>, Option<PathBuf>),
    pub(super) hosts: Vec<String>,
}

impl Door {
    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        match &self.tls {
            (Some(certificate), Some(key)) => {
                read_tls(("--tls-cert", certificate), ("--tls-key", key)).map(Some)
            }
            (None, None) | (Some(_), None) | (None, Some(_)) => Ok(None),
        }
    }
}

pub(super) fn run(mcp: McpGate, gate: GateConfig, config: &Config, door: Door) -> ExitCode {
    let read = config.endpoint().and_then(|known| Ok((known, door.tls()?)));
    let (EndpointConfig { mut hosts, origins, resource }, tls) = match read {
        Ok(read) => read,
        Err(error) => return say::error(&error),
    };
    hosts.extend(door.hosts);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return say::error(&error),
    };
    runtime.block_on(async {
        let arbiter = match connect(&gate, config) {
            Ok(arbiter) => arbiter,
            Err(code) => return code,
        };
        let (log, arbiters, bounds) = (gate.log.clone(), arbiters(&arbiter), Bounds::USUAL);
        let sources = mcp.credential_sources();
        let endpoint = Endpoint { gate: mcp, log, arbiters, tls, hosts, origins, resource, bounds };
        let code = serve(endpoint, door.listen).await;
        end(&sources).await;
        if let Arbiter::Node(node) = arbiter {
            node.leave().await;
        }
        code
    })
}

async fn serve(endpoint: Endpoint, listen: SocketAddr) -> ExitCode {
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => return say::misuse(&format!("the endpoint cannot listen on {listen}: {error}")),
    };
    let scheme = if endpoint.tls.is_some() { "https" } else { "http" };
    if let Ok(address) = listener.local_addr() {
        say::note(&format!("listening on {scheme}://{address}/mcp"));
    }
    match serve_endpoint(endpoint, listener, wait_for_signal(), |line| say::note(&line)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say::error(&error),
    }
}

/// The arbiter, asked with the tokens that agents' clients bring. The gate's own token is not used for them.
fn arbiters(arbiter: &Arbiter) -> Arbiters {
    match arbiter {
        Arbiter::Remote(_, endpoint) => {
            let endpoint = endpoint.clone();
            Arc::new(move |token| Arc::new(HttpAuthorizer::new(endpoint.clone(), token, PATIENCE)))
        }
        Arbiter::Node(node) => {
            let node = Arc::clone(node);
            Arc::new(move |token| node.visitor(token))
        }
    }
}
