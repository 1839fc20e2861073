//! The arbiter in this process, asked as a gate asks one elsewhere.

use std::sync::Arc;

use portcullis_arbiter::Credential;
use portcullis_protocol::SurfaceTable;
use portcullis_protocol::wire::{DecisionCall, DecisionReply, LateCall, LateReply, OutcomeReply};
use portcullis_sdk::{Authorizer, Call, OutcomeReport, Refusal};

use crate::service::{Arbiter, outcome_code};

/// The arbiter in this process, asked as one agent. Its answers are verified like any other's.
#[derive(Clone, Debug)]
pub struct LocalAuthorizer {
    arbiter: Arc<Arbiter>,
    credential: Credential,
}

impl LocalAuthorizer {
    /// Asks `arbiter` as the agent that a token names; `None` if it names nobody.
    #[must_use]
    pub fn new(arbiter: Arc<Arbiter>, token: &str) -> Option<Self> {
        let credential = arbiter.agents().credential(token)?.clone();
        Some(Self { arbiter, credential })
    }
}

impl Authorizer for LocalAuthorizer {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(async move { Ok(self.arbiter.decide(call, &self.credential).await) })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async move {
            let recorded = self.arbiter.outcome(report.attempt, report.call, &self.credential.agent).await;
            recorded.map_err(|refused| Refusal::own(outcome_code(&refused), Some(refused.to_string())))
        })
    }

    fn late(&self, call: LateCall) -> Call<'_, LateReply> {
        Box::pin(async move {
            let entered = self.arbiter.late(call, &self.credential.agent).await;
            entered.map_err(|code| Refusal::own(code, None))
        })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(async move { self.arbiter.surfaces().map_err(|code| Refusal::own(code, None)) })
    }
}
