//! Asks the arbiter, by the rules of the surfaces in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::canonical::NotCanonical;
use portcullis_protocol::{
    AgentId, Attempted, BundleDigest, Digest, GateId, Keeper, ReasonCode, SurfaceTable,
};
use portcullis_sdk::{Attempt, Authorizer, Permit, Refusal, TrustedLog, authorize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::clock::wall;
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
    /// Whether attempts without an arbiter's answer are kept by the gate.
    pub(crate) keeps: bool,
}

/// Why there is no permit, and what of the attempt is the gate's to keep.
pub(crate) struct Denied {
    pub(crate) refusal: Refusal,
    pub(crate) attempted: Option<Attempted>,
}

impl Desk {
    /// A permit for the operation, or why there is none. Takes no longer than the deadline.
    pub(crate) async fn permit(&self, operation: &Operation) -> Result<(Permit, Terms), Denied> {
        let end = Instant::now() + self.deadline;
        let mut tried = None;
        let decided = tokio::time::timeout_at(end, self.decide(operation, end, &mut tried)).await;
        let refusal = match decided {
            Ok(Ok(permitted)) => return Ok(permitted),
            Ok(Err(refusal)) => refusal,
            Err(_) => Refusal::own(ReasonCode::ArbiterTimeout, None),
        };
        let attempted = self.attempted(operation, tried, refusal.code());
        Err(Denied { refusal, attempted })
    }

    /// What is to be kept of an attempt that was refused for this reason, if it is the gate's to keep.
    fn attempted(
        &self,
        operation: &Operation,
        tried: Option<Attempted>,
        reason: ReasonCode,
    ) -> Option<Attempted> {
        if !self.keeps || !Keeper::Gate.keeps(reason) {
            return None;
        }
        let tried = tried.or_else(|| self.unasked(operation))?;
        Some(Attempted { at: wall()?, reason, ..tried })
    }

    /// An attempt that came to no question, because nobody said by which surfaces it is to be read.
    fn unasked(&self, operation: &Operation) -> Option<Attempted> {
        let none = SurfaceTable { bundle: BundleDigest(Digest::sha256(b"")), surfaces: BTreeMap::new() };
        let Ok((ask, _)) = operation.ask(&none, &self.run) else { return None };
        let attempt = Attempt::new(self.gate.clone(), ask.by(self.agent.clone())).ok()?;
        Some(attempt.attempted(wall()?, ReasonCode::ArbiterUnreachable))
    }

    async fn decide(
        &self,
        operation: &Operation,
        end: Instant,
        tried: &mut Option<Attempted>,
    ) -> Result<(Permit, Terms), Refusal> {
        let (rules, fresh) = self.surfaces(None).await?;
        let first = self.by(&rules, operation, end, tried).await;
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
        self.by(&rules, operation, end, tried).await.map_err(Refusal::from)
    }

    async fn by(
        &self,
        rules: &Rules,
        operation: &Operation,
        end: Instant,
        tried: &mut Option<Attempted>,
    ) -> Result<(Permit, Terms), NoPermit> {
        let (mut ask, terms) = operation.ask(&rules.surfaces, &self.run).map_err(Unasked)?;
        ask.mapped_with = Some(rules.digest);
        let attempt = Attempt::new(self.gate.clone(), ask.by(self.agent.clone())).map_err(Answered)?;
        *tried = wall().map(|now| attempt.attempted(now, ReasonCode::ArbiterTimeout));
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
        self.log.check_surfaces(&surfaces)?;
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
