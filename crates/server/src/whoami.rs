//! Whom a token names, for gates that hand on the tokens of others.

use portcullis_arbiter::Credential;
use portcullis_protocol::wire::WhoAmI;
use portcullis_protocol::{Digest, ReasonCode};

use crate::service::Arbiter;

impl Arbiter {
    /// Whom a credential names, as long as it does, and who bears it.
    ///
    /// # Errors
    /// `identity.expired`, or `clock.unreadable` where that cannot be told.
    pub fn whoami(&self, credential: &Credential, bearer: Option<Digest>) -> Result<WhoAmI, ReasonCode> {
        match (credential.expires, self.now()) {
            (None, _) => {}
            (Some(expires), Some(now)) if now < expires => {}
            (Some(_), Some(_)) => return Err(ReasonCode::IdentityExpired),
            (Some(_), None) => return Err(ReasonCode::ClockUnreadable),
        }
        Ok(WhoAmI { agent: credential.agent.clone(), bearer, expires: credential.expires })
    }
}
