//! Deciding again: a record's own facts, its request and its bundle, through the code that decided it.

use portcullis_policy::{Bundle, Gathered};
use portcullis_protocol::facts::{DeadlineFact, RecordedFacts};
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{DecisionRecord, KeptRequest, ReasonCode, Salt};

use crate::fact::Fact;
use crate::idempotency::StoredKey;
use crate::limits::Room;
use crate::mandate::Mandate;
use crate::settle::{Credential, Intake, Settled, prepare_informed, record, settle};
use crate::standing::Standing;

/// Why a decision cannot be reproduced. Each of these is a difference: the log says what cannot have happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayFault {
    /// What is kept of the request is not what the record commits to.
    #[error("the kept request is not the one that the record commits to")]
    OtherRequest,
    /// The request has no canonical form, so that it cannot have been decided.
    #[error("the kept request has no canonical form")]
    NotCanonical,
    /// The bundle given is not the one that the record names.
    #[error("the bundle is not the one that the record names")]
    OtherBundle,
    /// The facts given are not those that the record names.
    #[error("the facts of its sources are not those that the record names")]
    OtherFacts,
    /// These facts lead to no decision, but to a new evaluation.
    #[error("its facts lead to no decision")]
    Undecided,
}

/// A request of the log, made ready to be decided again.
#[derive(Debug)]
pub struct Replay<'a> {
    entry: &'a DecisionRecord,
    intake: Intake,
}

impl<'a> Replay<'a> {
    /// Prepares the request that `entry` decided, as it is kept, under the bundle that the record names, after
    /// what the log before it came to.
    ///
    /// # Errors
    /// [`ReplayFault`], if request or bundle are not those of the record.
    pub fn prepare(
        entry: &'a DecisionRecord,
        request: Ask,
        salt: Salt,
        bundle: Option<&Bundle>,
        standing: &Standing,
    ) -> Result<Self, ReplayFault> {
        let kept = KeptRequest { request, salt, payload: None };
        Self::prepare_informed(entry, kept, (bundle, None), standing)
    }

    /// As [`Self::prepare`], with all that is kept of the request, and the facts that the record names.
    ///
    /// # Errors
    /// [`ReplayFault`], if request, bundle or facts are not those of the record.
    pub fn prepare_informed(
        entry: &'a DecisionRecord,
        KeptRequest { request, salt, payload }: KeptRequest,
        (bundle, gathered): (Option<&Bundle>, Option<&Gathered>),
        standing: &Standing,
    ) -> Result<Self, ReplayFault> {
        if bundle.map(Bundle::reference) != entry.bundle.as_ref() {
            return Err(ReplayFault::OtherBundle);
        }
        if !gathered.map_or(entry.facts.sources.is_empty(), |facts| *facts.used() == entry.facts.sources) {
            return Err(ReplayFault::OtherFacts);
        }
        let call = DecisionCall {
            request,
            attempt: entry.attempt,
            salt,
            gate: entry.gate.clone(),
            deadline_ms: 0,
            payload,
        };
        let facts = &entry.facts;
        let (expires, authenticated) = (facts.credential_expires, facts.authenticated);
        let acts_for = Mandate::recorded(facts.principal);
        let credential = Credential { agent: entry.agent.clone(), acts_for, expires, authenticated };
        // Under which code there was no bundle does not matter here: the recorded fact says it.
        let bundle = bundle.ok_or(ReasonCode::PolicyMissing);
        let labels = standing.labels(&entry.agent, entry.behind(), entry.time);
        let mut intake = prepare_informed(call, credential, bundle, 0, (&labels, gathered))
            .map_err(|_| ReplayFault::NotCanonical)?;
        if intake.commitment != entry.request {
            return Err(ReplayFault::OtherRequest);
        }
        intake.recall(&entry.facts);
        Ok(Self { entry, intake })
    }

    /// The call as it was settled: its key and operation, for the state that it led to.
    #[must_use]
    pub const fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Decides again, given what the log before the record says of the request's key and of reservations.
    ///
    /// # Errors
    /// [`ReplayFault::Undecided`].
    pub fn decide(
        &self,
        stored: Option<StoredKey>,
        standing: &Standing,
    ) -> Result<DecisionRecord, ReplayFault> {
        let entry = self.entry;
        let bundle = entry.bundle.as_ref().map(|bundle| bundle.digest);
        let health = crate::facts::health(&entry.facts, bundle, self.intake.informed.used(), entry.time);
        match settle(&self.intake, &health, Fact::Known(stored), Room::Of(standing)) {
            Settled::Decided(verdict) => Ok(record(&self.intake, &verdict, entry.seq, &health, standing)),
            Settled::EvaluateAgain => Err(ReplayFault::Undecided),
        }
    }
}

impl Intake {
    /// Takes over what a record says of how it was settled besides its health.
    pub(crate) const fn recall(&mut self, facts: &RecordedFacts) {
        self.last_try = facts.last_try;
        self.labels_moved = facts.labels_moved;
        self.informed.moved = facts.sources_moved;
        // The boot clock of a replay stands at zero.
        self.deadline = match facts.deadline {
            DeadlineFact::Ahead => 1,
            DeadlineFact::Passed => 0,
        };
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
