//! Records: what the log keeps. Canonical JSON, at most 65,535 bytes, integers only.
//!
//! In clear a record says who acted (agent and gate) and for whom, on which surface and resource, what was decided and by
//! which policies. What exactly was asked is a salted commitment: it cannot be erased from a log, so it is not
//! put there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, NotCanonical};
use crate::digest::Digest;
use crate::facts::{PrincipalFact, RecordedFacts};
use crate::ids::{
    ActionName, AgentId, AttemptId, BundleDigest, GateId, LimitName, Millis, OperatorId, OrderReason,
    PolicyId, PrincipalId, SurfaceName,
};
use crate::json::{JsonError, Limits, Value};
use crate::labels::Labels;
use crate::late::LateRecord;
use crate::limits::{self, LimitUse};
use crate::listing::ListingRecord;
use crate::obligations::Obligations;
use crate::order::Ordered;
use crate::reason::ReasonCode;
use crate::request::Resource;
use crate::sources::{self, Excepted};
use crate::surface::Tier;
use crate::verdict::Decision;

/// Which bundle decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its digest.
    pub digest: BundleDigest,
}

/// A decision, as recorded; of a simulation, the one that it would have been.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRecord {
    /// Index in the log, from 0.
    pub seq: u64,
    /// When it was settled; assigned once.
    pub time: Millis,
    /// What was decided.
    pub decision: Decision,
    /// Why not; present unless the decision is PERMIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonCode>,
    /// Who acts.
    pub agent: AgentId,
    /// For whom, as the request says; whether the agent's credential lets it is a fact of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acts_for: Option<PrincipalId>,
    /// The gate that asked.
    pub gate: GateId,
    /// The attempt that this decision is for.
    pub attempt: AttemptId,
    /// The surface.
    pub surface: SurfaceName,
    /// The action.
    pub action: ActionName,
    /// The resource.
    pub resource: Resource,
    /// The surface's tier, if the surface is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Salted commitment to the request ([`crate::Request::commitment`]).
    pub request: Digest,
    /// Commitment to the agent's idempotency key, where the request has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// The bundle, if one was in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRef>,
    /// The policies that determined the decision, sorted.
    pub policies: Vec<PolicyId>,
    /// How long the permit lives from the question to the start of the action, in milliseconds; only of a PERMIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit_ttl_ms: Option<u64>,
    /// When the outcome counts as missing; only of a PERMIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome_due: Option<Millis>,
    /// Until when the request is kept, sealed, so that it can be decided again; absent if it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Millis>,
    /// Whether this PERMIT counts only with the cosignatures of the witnesses on its checkpoint; only of a PERMIT.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witnessed: bool,
    /// The limit that refused; only of a refusal by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitName>,
    /// What limits had counted, by the limit's name: all that apply of a PERMIT, which reserves in each, and the one
    /// that refused of a refusal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitUse>,
    /// The agent's labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What the satisfied grants ask for besides themselves; only of a PERMIT, and of a refusal because they are not met.
    #[serde(default, skip_serializing_if = "Obligations::is_empty")]
    pub obligations: Obligations,
    /// The exception of the bundle by which this is a PERMIT though a fact was not as it should be; only of a PERMIT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<Excepted>,
    /// The policy engine and its version.
    pub engine: String,
    /// What else it depended on, so that it can be decided again.
    pub facts: RecordedFacts,
}

/// What became of a PERMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The action ran and succeeded.
    Ok,
    /// The action ran and said that it failed.
    Failed,
    /// It cannot be told whether the action ran.
    Unknown,
    /// The permit was never spent.
    Expired,
    /// Recorded, but never released to a gate.
    Withheld,
}

impl Outcome {
    /// The outcome's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Withheld => "withheld",
        }
    }
}

/// An outcome, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRecord {
    /// Index in the log, from 0.
    pub seq: u64,
    /// When it was recorded.
    pub time: Millis,
    /// Index of the PERMIT.
    pub permit: u64,
    /// The PERMIT's attempt.
    pub attempt: AttemptId,
    /// What became of it.
    pub outcome: Outcome,
    /// Digest of the result, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Digest>,
    /// Until when the result is kept, sealed; absent if it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Millis>,
    /// Index of the `unknown` that this late outcome supersedes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<u64>,
    /// The operator who found out, if no gate reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<OperatorId>,
    /// How the operator knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<OrderReason>,
}

/// Attempts that have no record of their own, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AggregateRecord {
    /// Index in the log, from 0.
    pub seq: u64,
    /// When it was recorded.
    pub time: Millis,
    /// Under which code they were refused; `None` for callers that were nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonCode>,
    /// The agent, if it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// How many.
    pub count: u64,
    /// When the first came.
    pub first: Millis,
    /// When the last came.
    pub last: Millis,
}

/// What happened to the arbiter itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The log begins.
    Genesis,
    /// The ledger was opened, verified, and accepts requests.
    Opened,
    /// The ledger was rebuilt after a failed write, and verified.
    Recovered,
    /// A bundle came into force.
    BundleInForce,
    /// An operator shut the gate.
    Shut,
    /// An operator opened the gate.
    Reopened,
    /// Kept requests and results were removed, their time being over.
    PayloadsExpired,
    /// The state of all idempotency keys up to here, as a digest: the next start reads on from here.
    Marked,
    /// A key began to sign this log's heads: `key` in the detail.
    KeyAdded,
    /// A key signs this log's heads no more: `key`, and `until`, the size of the last head that counts with it.
    KeyRetired,
    /// An operator gave up a head that the ledger was behind: the log goes on from here, under a new name and key, with
    /// what was left. The detail names the head, what is left, and who gave it up and why.
    HeadGivenUp,
    /// The ledger was closed in good order.
    Closed,
    /// An operator gave an order, which was carried out.
    Ordered,
    /// Entries of the arbiter's spool could not be read and were set aside: `bytes` of them in the detail.
    SpoolDamaged,
}

/// An event, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRecord {
    /// Index in the log, from 0.
    pub seq: u64,
    /// When it was recorded.
    pub time: Millis,
    /// What happened.
    pub event: Event,
    /// Particulars.
    pub detail: BTreeMap<String, String>,
    /// The order, if an operator gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Ordered>,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A decision.
    Decision(Box<DecisionRecord>),
    /// An outcome.
    Outcome(OutcomeRecord),
    /// Counted attempts.
    Aggregate(AggregateRecord),
    /// An event.
    Event(EventRecord),
    /// An attempt that was refused while nothing could be recorded, entered later. No decision.
    Late(LateRecord),
    /// A list of tools that was answered. No decision.
    Listing(Box<ListingRecord>),
    /// What would have been decided of a call that was only simulated, by the state that the log had led to. No decision: it
    /// permits nothing, reserves nothing and consumes nothing.
    Simulation(Box<DecisionRecord>),
}

/// Bytes that are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not strict JSON within the bounds.
    #[error("not a record: {0}")]
    Json(JsonError),
    /// Not of a record's shape.
    #[error("not a record: {0}")]
    Shape(String),
    /// JSON of a record's shape, but not its canonical bytes.
    #[error("not a record: its bytes are not canonical (RFC 8785)")]
    NotCanonical,
    /// A decision whose parts contradict each other, such as a PERMIT with a reason.
    #[error("not a record: {0}")]
    Contradiction(&'static str),
}

impl Record {
    /// Index in the log.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Decision(record) => record.seq,
            Self::Outcome(record) => record.seq,
            Self::Aggregate(record) => record.seq,
            Self::Event(record) => record.seq,
            Self::Late(record) => record.seq,
            Self::Listing(record) => record.seq,
            Self::Simulation(record) => record.seq,
        }
    }

    /// When it was recorded.
    #[must_use]
    pub const fn time(&self) -> Millis {
        match self {
            Self::Decision(record) => record.time,
            Self::Outcome(record) => record.time,
            Self::Aggregate(record) => record.time,
            Self::Event(record) => record.time,
            Self::Late(record) => record.time,
            Self::Listing(record) => record.time,
            Self::Simulation(record) => record.time,
        }
    }

    /// The record's canonical bytes: the leaf of the log.
    ///
    /// # Errors
    /// If it has no canonical form, or is longer than 65,535 bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let bytes = canonical::to_bytes(self).map_err(|NotCanonical { .. }| RecordError::NotCanonical)?;
        if bytes.len() > Limits::RECORD.bytes {
            return Err(RecordError::Json(JsonError::TooLarge { limit: Limits::RECORD.bytes }));
        }
        Ok(bytes)
    }

    /// Reads a record from untrusted bytes. Only canonical bytes are one.
    ///
    /// # Errors
    /// [`RecordError`], by the first defect.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        Value::parse(bytes, Limits::RECORD).map_err(RecordError::Json)?;
        let record: Self =
            serde_json::from_slice(bytes).map_err(|error| RecordError::Shape(error.to_string()))?;
        if record.to_bytes()? != bytes {
            return Err(RecordError::NotCanonical);
        }
        match &record {
            Self::Decision(decision) | Self::Simulation(decision) => decision.check()?,
            Self::Outcome(outcome) => outcome.check()?,
            Self::Event(event) => event.check()?,
            Self::Late(late) => late.check()?,
            Self::Listing(listing) => listing.check()?,
            Self::Aggregate(_) => {}
        }
        Ok(record)
    }
}

impl OutcomeRecord {
    fn check(&self) -> Result<(), RecordError> {
        if self.by.is_some() != self.reason.is_some() {
            return Err(RecordError::Contradiction("an operator without a reason, or a reason without one"));
        }
        let found_out = matches!(self.outcome, Outcome::Ok | Outcome::Failed | Outcome::Expired);
        if self.by.is_some() && !(found_out && self.supersedes.is_some()) {
            return Err(RecordError::Contradiction("an operator resolved what was not unknown"));
        }
        if self.kept_until.is_some_and(|until| self.result.is_none() || until < self.time) {
            return Err(RecordError::Contradiction("a result that is kept, and is none or past its time"));
        }
        Ok(())
    }
}

impl EventRecord {
    fn check(&self) -> Result<(), RecordError> {
        if (self.event == Event::Ordered) == self.order.is_some() {
            return Ok(());
        }
        Err(RecordError::Contradiction("an order that is none, or an event that is an order"))
    }
}

impl DecisionRecord {
    /// How old the agent's proof of identity was, in milliseconds; `None` if that is not known, or lies in the future.
    #[must_use]
    pub fn identity_age(&self) -> Option<u64> {
        self.facts.authenticated.and_then(|at| self.time.0.checked_sub(at.0))
    }

    /// For whom the agent acted, where its credential lets it. Whoever else was named has no part in it.
    #[must_use]
    pub fn behind(&self) -> Option<&PrincipalId> {
        self.acts_for.as_ref().filter(|_| self.facts.principal == PrincipalFact::Admitted)
    }

    fn check(&self) -> Result<(), RecordError> {
        let said = self.reason.map_or(Decision::Permit, ReasonCode::decision);
        if said != self.decision {
            return Err(RecordError::Contradiction("decision and reason disagree"));
        }
        let terms = self.permit_ttl_ms.is_some() && self.outcome_due.is_some() && self.bundle.is_some();
        if self.decision == Decision::Permit && !terms {
            return Err(RecordError::Contradiction("a PERMIT without its terms"));
        }
        if self.decision != Decision::Permit && (self.permit_ttl_ms.is_some() || self.outcome_due.is_some()) {
            return Err(RecordError::Contradiction("the terms of a permit on a refusal"));
        }
        if self.decision != Decision::Permit && self.witnessed {
            return Err(RecordError::Contradiction("a refusal that witnesses must see"));
        }
        if self.kept_until.is_some_and(|until| until < self.time) {
            return Err(RecordError::Contradiction("a request that is kept past its time"));
        }
        if !self.policies.is_sorted() {
            return Err(RecordError::Contradiction("policies out of order"));
        }
        if let Some(what) = self.facts.principal.contradiction(self.acts_for.is_some(), self.reason) {
            return Err(RecordError::Contradiction(what));
        }
        self.labels.check(self.decision, self.time).map_err(RecordError::Contradiction)?;
        limits::check(self.reason, self.limit.as_ref(), &self.limits).map_err(RecordError::Contradiction)?;
        sources::check(self).map_err(RecordError::Contradiction)?;
        self.obligations.contradiction(self).map_or(Ok(()), |what| Err(RecordError::Contradiction(what)))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(crate) mod tests;
