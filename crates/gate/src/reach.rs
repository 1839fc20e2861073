//! How the gate and a tool server reach each other: what the server reaches of what governs it, and what it is shown.

use std::sync::Arc;

use portcullis_protocol::ReasonCode;

use crate::credential::Shown;
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
}
