//! The arbiter in this process, asked as a gate asks one elsewhere.

use std::sync::Arc;

use portcullis_arbiter::Credential;
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, ListingCall, ListingReply, OutcomeReply,
    SimulationReply, WhoAmI,
};
use portcullis_protocol::{Digest, ReasonCode, SurfaceTable};
use portcullis_sdk::{Authorizer, Call, OutcomeReport, Refusal, Token};

use crate::identity::{Nobody, Use};
use crate::refused::outcome_code;
use crate::service::Arbiter;

/// The arbiter in this process, asked with one token. Whom that names is looked at for each call, and its answers are
/// verified like any other's.
#[derive(Clone, Debug)]
pub struct LocalAuthorizer {
    arbiter: Arc<Arbiter>,
    token: Token,
}

impl LocalAuthorizer {
    /// Asks `arbiter` with a token; `None` if it can name nobody, now or later.
    #[must_use]
    pub fn new(arbiter: Arc<Arbiter>, token: &str) -> Option<Self> {
        let token = Token::new(token);
        arbiter.may_name(token.reveal()).then_some(Self { arbiter, token })
    }

    /// Who asks now. As over HTTP, a caller that is nobody is counted, and nothing is decided.
    async fn credential(&self, shown_for: Use) -> Result<Credential, Refusal> {
        self.bearer(shown_for).await.map(|(credential, _)| credential)
    }

    async fn bearer(&self, shown_for: Use) -> Result<(Credential, Option<Digest>), Refusal> {
        self.arbiter.identify(self.token.reveal(), shown_for).await.map_err(|nobody| {
            let (code, counted, told) = match nobody {
                Nobody::Untold(code) => (code, Some(code), None),
                Nobody::Refused(why) => (ReasonCode::IdentityUnverified, None, Some(why.told().to_owned())),
                Nobody::Silent | Nobody::Unknown => (ReasonCode::IdentityUnverified, None, None),
            };
            self.arbiter.count(counted, None);
            Refusal::own(code, told)
        })
    }
}

impl Authorizer for LocalAuthorizer {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(async move { Ok(self.arbiter.decide(call, &self.credential(Use::Acting).await?).await) })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async move {
            let agent = self.credential(Use::Reporting).await?.agent;
            let recorded = self.arbiter.outcome(report.attempt, report.call, &agent).await;
            recorded.map_err(|refused| Refusal::own(outcome_code(&refused), Some(refused.to_string())))
        })
    }

    fn late(&self, call: LateCall) -> Call<'_, LateReply> {
        Box::pin(async move {
            let agent = self.credential(Use::Acting).await?.agent;
            self.arbiter.late(call, &agent).await.map_err(|code| Refusal::own(code, None))
        })
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        Box::pin(async move {
            let credential = self.credential(Use::Acting).await?;
            self.arbiter.list(call, &credential).await.map_err(|code| Refusal::own(code, None))
        })
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        Box::pin(async move {
            let credential = self.credential(Use::Acting).await?;
            let simulated = self.arbiter.simulate(call, &credential).await;
            simulated.map_err(|(code, detail)| Refusal::own(code, detail))
        })
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        Box::pin(async move {
            let (credential, bearer) = self.bearer(Use::Acting).await?;
            self.arbiter.whoami(&credential, bearer).map_err(|code| Refusal::own(code, None))
        })
    }

    fn ready(&self) -> Call<'_, bool> {
        Box::pin(async move { Ok(self.arbiter.health().await.ready) })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(async move {
            self.credential(Use::Acting).await?;
            self.arbiter.surfaces().await.map_err(|code| Refusal::own(code, None))
        })
    }
}
