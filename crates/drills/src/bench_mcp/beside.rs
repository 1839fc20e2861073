//! Another gateway, in front of the same tool server, which somebody else has started.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::place::AGENTS;
use super::tool::{BALANCE, STATEMENT};
use super::web::{Server, Session};
use super::{Leg, sessions};
use crate::DrillError;

/// How long its operator has to put it in front of the tool server.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is asked for its tools until then.
const LOOK: Duration = Duration::from_secs(1);

/// Another gateway.
#[derive(Clone, Debug)]
pub struct Beside {
    /// What it is called in the report.
    pub name: String,
    /// Its MCP endpoint.
    pub url: String,
    /// The bearer token that it is shown, if any.
    pub token: Option<String>,
    /// Whether the tool server itself may stand in its place: for tests.
    pub may_be_none: bool,
}

impl Beside {
    /// Whether it is somewhere else than the tool server: what that takes by itself is measured anyway.
    ///
    /// # Errors
    /// If it is not, or it is not known where it is.
    pub(super) fn is_another_than(&self, upstream: SocketAddr) -> Result<(), DrillError> {
        let server = Server::new(&self.url, None)?;
        let resolving = DrillError::system(format!("finding {}", self.url));
        let mut addresses = server.authority().to_socket_addrs().map_err(resolving)?;
        if !self.may_be_none && addresses.any(|address| address == upstream) {
            return Err(DrillError::Answer(format!(
                "{} is the tool server itself, and no gateway in front of it: give another address as `--beside`",
                self.url
            )));
        }
        Ok(())
    }

    /// Waits until it lists the tool server's tools.
    pub(super) async fn leg(
        &self,
        upstream: &Server,
        long: bool,
        note: &mut dyn FnMut(&str),
    ) -> Result<Leg, DrillError> {
        let server = Server::new(&self.url, self.token.clone())?;
        note(&format!("waiting until {} lists the tools of {}", self.name, upstream.url()));
        let listed = async {
            loop {
                if let Some(tools) = listed(&server, long).await {
                    return tools;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let late = |_| {
            let (name, upstream) = (&self.name, upstream.url());
            DrillError::Answer(format!(
                "{name} does not list the tools of {upstream}; put it in front of that"
            ))
        };
        let tools = tokio::time::timeout(PATIENCE, listed).await.map_err(late)?;
        let token = self.token.clone().unwrap_or_default();
        let road = if self.token.is_some() {
            sessions(&server, &vec![token; AGENTS]).await?
        } else {
            open(&server).await?
        };
        Ok(Leg { name: "beside", road, tools, gate: None })
    }
}

/// Sessions of nobody.
async fn open(server: &Server) -> Result<super::Road, DrillError> {
    let mut sessions = Vec::new();
    for _ in 0..AGENTS {
        sessions.push(Session::begin(server).await?);
    }
    Ok(super::Road::Http(sessions))
}

/// What it calls the tools, if it lists those that are needed.
async fn listed(server: &Server, long: bool) -> Option<(String, String)> {
    let tools = match Session::begin(server).await {
        Ok(session) => session.tools().await.ok()?,
        Err(_) => return None,
    };
    // Gateways put a server's name before a tool's, and write it in characters of their own.
    let called = |tool: &str| tools.iter().find(|name| name.replace('-', "_").ends_with(tool)).cloned();
    let (balance, statement) = (called(BALANCE)?, called(STATEMENT));
    if long && statement.is_none() {
        return None;
    }
    Some((balance, statement.unwrap_or_default()))
}
