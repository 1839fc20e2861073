//! Who asks.

use portcullis_arbiter::Credential;
use portcullis_ledger::Clocks;
use portcullis_protocol::Digest;

use super::Arbiter;
use crate::agents::bearer_token;
use crate::identity::{Nobody, Use};

impl Arbiter {
    /// Whether a token could name an agent, now or later.
    pub(crate) fn may_name(&self, token: &str) -> bool {
        self.identities.may_name(token)
    }

    /// The credential that a token stands for, looked at now, and who bears it, if others may come for it.
    pub(crate) async fn identify(
        &self,
        token: &str,
        shown_for: Use,
    ) -> Result<(Credential, Option<Digest>), Nobody> {
        self.identities.credential(token, || self.clocks.wall(), shown_for).await
    }

    /// The same of the token in an `authorization` header.
    pub(crate) async fn bearer(
        &self,
        header: Option<&str>,
        shown_for: Use,
    ) -> Result<(Credential, Option<Digest>), Nobody> {
        match bearer_token(header).filter(|token| !token.is_empty()) {
            Some(token) => self.identify(token, shown_for).await,
            None => Err(Nobody::Silent),
        }
    }

    /// Tells of refused access tokens for as long as it is asked to.
    pub(crate) async fn tell(&self, say: &impl Fn(String)) -> std::convert::Infallible {
        self.identities.notes().tell(say).await
    }
}
