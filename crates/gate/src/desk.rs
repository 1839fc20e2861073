//! Asks the arbiter, by the rules of the surfaces in force.

use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{AgentId, BundleDigest, GateId, ReasonCode, SurfaceTable};
use portcullis_sdk::{Attempt, Authorizer, Permit, Refusal, TrustedLog, authorize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::message::Refused;
use crate::operation::{Operation, Terms};

/// Where permits come from.
pub(crate) struct Desk {
    pub(crate) arbiter: Arc<dyn Authorizer>,
    pub(crate) log: TrustedLog,
    pub(crate) agent: AgentId,
    pub(crate) gate: GateId,
    pub(crate) deadline: Duration,
    /// Random, per session: keys derived in one run mean nothing in another.
    pub(crate) run: [u8; 32],
    pub(crate) table: Mutex<Option<Arc<SurfaceTable>>>,
}

impl Desk {
    /// A permit for the operation, or why there is none. Takes no longer than the deadline.
    pub(crate) async fn permit(&self, operation: &Operation) -> Result<(Permit, Terms), Refusal> {
        let end = Instant::now() + self.deadline;
        let decided = tokio::time::timeout_at(end, self.decide(operation, end)).await;
        decided.map_err(|_| Refusal::own(ReasonCode::ArbiterTimeout, None))?
    }

    async fn decide(&self, operation: &Operation, end: Instant) -> Result<(Permit, Terms), Refusal> {
        let (table, fresh) = self.surfaces(None).await?;
        let first = self.by(&table, operation, end).await;
        let stale = match &first {
            Ok(_) => false,
            // The call may be in order by the rules of a newer bundle; in the end the arbiter compares the two.
            Err(Unasked(_)) => !fresh,
            Err(Answered(refusal)) => refusal.code() == ReasonCode::SurfaceMappingChanged,
        };
        if !stale {
            return first.map_err(Refusal::from);
        }
        let (table, _) = self.surfaces(Some(table.bundle)).await?;
        self.by(&table, operation, end).await.map_err(Refusal::from)
    }

    async fn by(
        &self,
        table: &SurfaceTable,
        operation: &Operation,
        end: Instant,
    ) -> Result<(Permit, Terms), NoPermit> {
        let (ask, terms) = operation.ask(table, &self.run).map_err(Unasked)?;
        let attempt = Attempt::new(self.gate.clone(), ask.by(self.agent.clone())).map_err(Answered)?;
        let left = end.saturating_duration_since(Instant::now());
        let permit = authorize(self.arbiter.as_ref(), attempt, &self.log, left).await.map_err(Answered)?;
        Ok((permit, terms))
    }

    /// The surfaces in force, and whether they were fetched just now. Those of the bundle `but` are too old.
    async fn surfaces(&self, but: Option<BundleDigest>) -> Result<(Arc<SurfaceTable>, bool), Refusal> {
        let mut kept = self.table.lock().await;
        if let Some(table) = kept.as_ref().filter(|table| Some(table.bundle) != but) {
            return Ok((Arc::clone(table), false));
        }
        *kept = None;
        let table = Arc::new(self.arbiter.surfaces().await?);
        *kept = Some(Arc::clone(&table));
        Ok((table, true))
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
