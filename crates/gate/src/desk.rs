//! Asks the arbiter, by the rules of the surfaces in force.

use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::canonical::NotCanonical;
use portcullis_protocol::{AgentId, Digest, GateId, ReasonCode, SurfaceTable};
use portcullis_sdk::{Attempt, Authorizer, Permit, Refusal, TrustedLog, authorize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::message::Refused;
use crate::operation::{Operation, Terms};

/// The surfaces that calls are read by, as the arbiter gave them. They are not evidence: their digest is part of
/// every request, and the arbiter refuses one that was read by others than its own.
pub(crate) struct Rules {
    surfaces: SurfaceTable,
    digest: Digest,
}

/// Where permits come from.
pub(crate) struct Desk {
    pub(crate) arbiter: Arc<dyn Authorizer>,
    pub(crate) log: TrustedLog,
    pub(crate) agent: AgentId,
    pub(crate) gate: GateId,
    pub(crate) deadline: Duration,
    /// Random, per session: keys derived in one run mean nothing in another.
    pub(crate) run: [u8; 32],
    pub(crate) table: Mutex<Option<Arc<Rules>>>,
}

impl Desk {
    /// A permit for the operation, or why there is none. Takes no longer than the deadline.
    pub(crate) async fn permit(&self, operation: &Operation) -> Result<(Permit, Terms), Refusal> {
        let end = Instant::now() + self.deadline;
        let decided = tokio::time::timeout_at(end, self.decide(operation, end)).await;
        decided.map_err(|_| Refusal::own(ReasonCode::ArbiterTimeout, None))?
    }

    async fn decide(&self, operation: &Operation, end: Instant) -> Result<(Permit, Terms), Refusal> {
        let (rules, fresh) = self.surfaces(None).await?;
        let first = self.by(&rules, operation, end).await;
        let stale = match &first {
            Ok(_) => false,
            // The call may be in order by the rules of a newer bundle; in the end the arbiter compares the two.
            Err(Unasked(_)) => !fresh,
            Err(Answered(refusal)) => refusal.code() == ReasonCode::SurfaceMappingChanged,
        };
        if !stale {
            return first.map_err(Refusal::from);
        }
        let (rules, _) = self.surfaces(Some(rules.digest)).await?;
        self.by(&rules, operation, end).await.map_err(Refusal::from)
    }

    async fn by(
        &self,
        rules: &Rules,
        operation: &Operation,
        end: Instant,
    ) -> Result<(Permit, Terms), NoPermit> {
        let (mut ask, terms) = operation.ask(&rules.surfaces, &self.run).map_err(Unasked)?;
        ask.mapped_with = Some(rules.digest);
        let attempt = Attempt::new(self.gate.clone(), ask.by(self.agent.clone())).map_err(Answered)?;
        let left = end.saturating_duration_since(Instant::now());
        let permit = authorize(self.arbiter.as_ref(), attempt, &self.log, left).await.map_err(Answered)?;
        Ok((permit, terms))
    }

    /// The surfaces in force, and whether they were fetched just now. Those of the digest `but` are too old; if the
    /// arbiter gives the same again, the calls that they do not fit are refused by them.
    async fn surfaces(&self, but: Option<Digest>) -> Result<(Arc<Rules>, bool), Refusal> {
        let mut kept = self.table.lock().await;
        if let Some(rules) = kept.as_ref().filter(|rules| Some(rules.digest) != but) {
            return Ok((Arc::clone(rules), false));
        }
        *kept = None;
        let surfaces = self.arbiter.surfaces().await?;
        let unreadable = |error: NotCanonical| {
            Refusal::own(ReasonCode::ReceiptUnverifiable, Some(format!("the arbiter's surfaces: {error}")))
        };
        let rules = Arc::new(Rules { digest: surfaces.digest().map_err(unreadable)?, surfaces });
        *kept = Some(Arc::clone(&rules));
        Ok((rules, true))
    }
}

use NoPermit::{Answered, Unasked};

enum NoPermit {
    /// The call does not fit its surface, so nothing was asked.
    Unasked(Refused),
    /// The arbiter was asked.
    Answered(Refusal),
}

impl From<NoPermit> for Refusal {
    fn from(none: NoPermit) -> Self {
        match none {
            Unasked(refused) => Self::own(refused.code, Some(refused.detail)),
            Answered(refusal) => refusal,
        }
    }
}
