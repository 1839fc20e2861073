//! How the gate and a tool server reach each other: what the server reaches of what governs it, and what it is shown.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use portcullis_protocol::{Loose, ReasonCode};
use tokio::time::Instant;

use crate::credential::{Filled, Shown, unnamed};
use crate::message::{Body, Refused};
use crate::mirrored::Mirrored;
use crate::operation::Operation;
use crate::remote::Remote;
use crate::session::Shared;

/// What a tool server reaches of what governs it.
pub(crate) enum Reach {
    /// Nothing: the kernel sees to it.
    Confined,
    /// Whatever its user does.
    Anything,
    /// Nothing, if it is on another machine.
    Remote(Arc<Remote>),
}

impl Reach {
    /// Whether it is known that the tool server cannot reach what governs it.
    pub(crate) fn is_bounded(&self) -> bool {
        match self {
            Self::Confined => true,
            Self::Anything => false,
            Self::Remote(remote) => remote.is_elsewhere(),
        }
    }
}

impl Shared {
    /// What the tool server is to be shown with a call that is permitted; why that cannot be had.
    pub(crate) async fn shown(&self) -> Result<Option<Shown>, ReasonCode> {
        let Reach::Remote(remote) = &self.reach else { return Ok(None) };
        remote.shown().await.map(Some).map_err(|why| {
            self.notes.say(format!("there is no credential to show the tool server: {why}"));
            ReasonCode::CredentialUnavailable
        })
    }

    /// The headers that say arguments of a call once more, where the server's definition of the tool has some.
    pub(crate) async fn mirrored(&self, operation: &Operation) -> Vec<(HeaderName, HeaderValue)> {
        let Some(tool) = operation.called().filter(|_| operation.stateless) else { return Vec::new() };
        let mirrored = self.tools.mirrored(tool, Instant::now() + self.desk.deadline).await;
        Mirrored::values(&mirrored, &operation.bytes)
    }

    /// A call of a tool as it is decided, with the names of what the gate fills in. `None` if that is nothing.
    pub(crate) fn named(&self, body: &Body) -> Result<Option<Body>, Refused> {
        unnamed(body)?;
        let Some(params) = body.params.as_ref().filter(|_| body.method == "tools/call") else {
            return Ok(None);
        };
        let tool = params.read.get("name").and_then(Loose::as_str);
        let (Some(slots), Some(tool)) = (&self.filling, tool) else { return Ok(None) };
        let named = slots.named(tool, params)?;
        Ok(named.map(|params| Body { params: Some(params), ..body.clone() }))
    }

    /// A permitted call with its credentials where it names them; why they cannot be had. `None` if it names none.
    pub(crate) async fn filled(&self, operation: &Operation) -> Result<Option<Filled>, ReasonCode> {
        let (Some(slots), Some(tool)) = (&self.filling, operation.called()) else { return Ok(None) };
        let filling = slots.fetch(tool).await.map_err(|(slot, why)| {
            self.notes.say(format!("there is no credential for an argument (slot `{slot}`): {why}"));
            ReasonCode::CredentialUnavailable
        })?;
        let filled = filling.map(|filling| filling.fill(operation.bytes.clone()));
        filled.map(|filled| filled.ok_or(ReasonCode::RequestInvalidValue)).transpose()
    }
}
