//! What a bundle that is not in force would have decided, request after request, and the state that this would have led to: by
//! the code that decides. Nothing of it is a decision, and nothing leads from here to a record of a log.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use portcullis_policy::{Gathered, Rehearsal};
use portcullis_protocol::facts::{PolicyFact, RecordedFacts, WitnessesFact};
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{
    AttemptId, Decision, DecisionRecord, Digest, GateId, LabelName, Millis, Outcome, ReasonCode, Request,
    Salt, Verdict,
};

use crate::brought::Brought;
use crate::fact::Fact;
use crate::idempotency::{Keys, StoredKey};
use crate::limits::Room;
use crate::mandate::Mandate;
use crate::settle::{Credential, Health, Intake, Settled, record, settle};
use crate::standing::Standing;

/// What surrounded a request, beside the bundle in force and what earlier decisions had left.
#[derive(Clone, Debug)]
pub struct Occasion {
    /// The number of its PERMIT, if it is one.
    pub seq: u64,
    /// When it was settled.
    pub time: Millis,
    /// The gate that asked.
    pub gate: GateId,
    /// What else it depended on. Which bundle was in force is not looked at: `policy` says whether the one that is asked counts
    /// as valid.
    pub facts: RecordedFacts,
    /// Labels that the agent has beside those that PERMITs gave it.
    pub labels: BTreeSet<LabelName>,
    /// Whether its arguments are taken to come with it, where the bundle has them kept.
    pub brings: bool,
}

/// Why it cannot be told what would have been decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unforeseen {
    /// The request has no canonical form, so that none can have been decided.
    #[error("the request has no canonical form")]
    NotCanonical,
    /// Its key was consumed by the PERMIT of this index, and nobody knows for which operation.
    #[error("record {0} consumed its key, and for what cannot be told")]
    PriorUnknown(u64),
}

/// The state that a log would have led to under another bundle: reservations, labels, keys, and the newest facts of sources.
#[derive(Clone, Debug)]
pub struct Shadow {
    standing: Standing,
    keys: Keys,
    /// The keys of the PERMITs that have not ended, or ended as `unknown`.
    permits: BTreeMap<u64, Option<Digest>>,
}

impl Default for Shadow {
    fn default() -> Self {
        Self::new()
    }
}

impl Occasion {
    /// That of a record. The bundle that is asked counts as valid then, and witnesses as there where nobody asked for them.
    #[must_use]
    pub fn of(entry: &DecisionRecord) -> Self {
        let mut facts = entry.facts.clone();
        facts.policy = PolicyFact::Valid;
        if entry.reason != Some(ReasonCode::EvidenceUnwitnessed) && facts.witnesses == WitnessesFact::Nobody {
            facts.witnesses = WitnessesFact::There;
        }
        let (gate, labels) = (entry.gate.clone(), BTreeSet::new());
        let brings = entry.reason != Some(ReasonCode::SurfaceArgumentsUnkept);
        Self { seq: entry.seq, time: entry.time, gate, facts, labels, brings }
    }

    /// Of what moved between evaluation and settling it is not known when: where that decided, it does so again.
    fn settled(&self) -> RecordedFacts {
        let mut facts = self.facts.clone();
        facts.labels_moved |= facts.in_force.take().is_some();
        facts.last_try = true;
        facts
    }
}

impl Shadow {
    /// That of a log without records.
    #[must_use]
    pub const fn new() -> Self {
        Self { standing: Standing::new(), keys: Keys::new(), permits: BTreeMap::new() }
    }

    /// Takes note of a record as it is: of one from before the other bundle counts, or that cannot be decided again.
    /// `operation` is what a PERMIT's key was consumed for, if it can be told.
    pub fn follow(&mut self, entry: &DecisionRecord, operation: Option<Digest>) {
        if entry.decision == Decision::Permit {
            self.standing.reserve(entry.seq, &entry.agent, entry.time, &entry.limits);
            self.standing.label(&entry.agent, entry.behind(), entry.time, &entry.labels.added);
            if let Some(key) = entry.key {
                self.keys.consume(key, operation, entry.seq, entry.time);
            }
            self.permits.insert(entry.seq, entry.key);
        }
        self.standing.hear(entry.time, &entry.facts.sources);
    }

    /// Takes note of how a PERMIT ended. What is none here has no outcome.
    pub fn end(&mut self, permit: u64, outcome: Outcome) {
        let Some(key) = self.permits.get(&permit).copied() else { return };
        self.standing.end(permit, outcome);
        if let Some(key) = key {
            self.keys.end(&key, permit, outcome);
        }
        if outcome != Outcome::Unknown {
            self.permits.remove(&permit);
        }
    }

    /// Forgets what has lapsed at `time`. It decides nothing any more.
    pub fn forget(&mut self, time: Millis) {
        self.standing.forget(time);
    }

    /// The record that the bundle's decision would have been, had a gate read the call by its surfaces; what a PERMIT takes is
    /// taken. `gathered` is what its sources of facts gave.
    ///
    /// # Errors
    /// [`Unforeseen`]. Then nothing is taken.
    pub fn decide(
        &mut self,
        occasion: &Occasion,
        request: Request,
        bundle: &Rehearsal,
        gathered: Option<&Gathered>,
    ) -> Result<DecisionRecord, Unforeseen> {
        let standing = self.standing_at(occasion, &request);
        let facts = occasion.settled();
        let intake = intake(occasion, &facts, request, bundle, (&standing, gathered))?;
        let stored = self.stored(&intake)?;
        let health = health(occasion, &facts, &intake, bundle);
        let verdict = match settle(&intake, &health, Fact::Known(stored), Room::Of(&standing)) {
            Settled::Decided(verdict) => verdict,
            // The last try is never asked again.
            Settled::EvaluateAgain => Verdict::refuse(ReasonCode::OverloadContended),
        };
        let entry = record(&intake, &verdict, occasion.seq, &health, &standing);
        self.follow(&entry, Some(intake.operation));
        Ok(entry)
    }

    /// What earlier decisions left, with the labels that the agent has besides.
    fn standing_at(&self, occasion: &Occasion, request: &Request) -> Cow<'_, Standing> {
        if occasion.labels.is_empty() {
            return Cow::Borrowed(&self.standing);
        }
        let mut standing = self.standing.clone();
        let now = standing.at(occasion.time);
        let own = occasion.labels.iter().map(|label| (label.clone(), now.plus(1))).collect();
        standing.label(&request.agent, None, now, &own);
        Cow::Owned(standing)
    }

    /// What earlier decisions left of a call's key.
    fn stored(&self, intake: &Intake) -> Result<Option<StoredKey>, Unforeseen> {
        let Some(own) = intake.key_commitment().and_then(|key| self.keys.get(&key)) else { return Ok(None) };
        let operation = own.operation.ok_or(Unforeseen::PriorUnknown(own.permit))?;
        Ok(Some(StoredKey { operation, status: own.status, consumed: own.consumed }))
    }
}

fn intake(
    occasion: &Occasion,
    facts: &RecordedFacts,
    request: Request,
    bundle: &Rehearsal,
    (standing, gathered): (&Standing, Option<&Gathered>),
) -> Result<Intake, Unforeseen> {
    let Request { agent, ask: mut request } = request;
    let mandate = Mandate::recorded(facts.principal);
    let behind = mandate.behind(request.acts_for.as_ref());
    let labels = standing.labels(&agent, behind, occasion.time);
    let content = bundle.content();
    if request.mapped_with.is_some() {
        request.mapped_with = content.surfaces_digest();
    }
    let (attempt, salt) = (AttemptId::from_bytes([0; 32]), Salt::from_bytes([0; 32]));
    let call =
        DecisionCall { request, attempt, salt, gate: occasion.gate.clone(), deadline_ms: 0, payload: None };
    let (expires, authenticated) = (facts.credential_expires, facts.authenticated);
    let credential = Credential { agent, acts_for: mandate, expires, authenticated };
    let mut intake = Intake::unread(call, credential, 0).map_err(|_| Unforeseen::NotCanonical)?;
    if occasion.brings {
        // A gate under this bundle would have brought them.
        intake.brought = Brought::Assumed;
    }
    intake.read(content, (&labels, gathered));
    intake.recall(facts);
    Ok(intake)
}

/// The health that the occasion's facts tell of, with the bundle in force that is asked.
fn health(occasion: &Occasion, facts: &RecordedFacts, intake: &Intake, bundle: &Rehearsal) -> Health {
    crate::facts::health(facts, Some(bundle.digest()), intake.informed.used(), occasion.time)
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
