//! Who asks: what the credential says, held against what the bundle knows.

use portcullis_protocol::Millis;
use portcullis_protocol::facts::PrincipalFact;

use crate::fact::{Fact, Identity};

/// What is known of who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// When the credential expires, if ever.
    pub(crate) expires: Option<Millis>,
    /// What it says of whom the agent acts for.
    pub(crate) principal: PrincipalFact,
    /// Whether the bundle knows the agent.
    pub(crate) agent: &'a Fact<bool>,
    /// Whether it knows whom that acts for; it does if it acts for nobody.
    pub(crate) behind: &'a Fact<bool>,
}

impl Caller<'_> {
    pub(crate) fn identity(self, now: Millis) -> Fact<Identity> {
        match self.agent {
            Fact::Unknown => Fact::Unknown,
            Fact::Known(_) if self.expires.is_some_and(|expires| now >= expires) => {
                Fact::Known(Identity::Expired)
            }
            Fact::Known(false) => Fact::Known(Identity::Stranger),
            Fact::Known(true) if self.principal == PrincipalFact::NotAdmitted => {
                Fact::Known(Identity::NotAdmitted)
            }
            Fact::Known(true) => match self.behind {
                Fact::Unknown => Fact::Unknown,
                Fact::Known(false) => Fact::Known(Identity::PrincipalStranger),
                Fact::Known(true) => Fact::Known(Identity::Active),
            },
        }
    }
}
