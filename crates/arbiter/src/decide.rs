//! The order of preconditions.

use portcullis_protocol::{ReasonCode, Verdict};

use crate::fact::{
    Approval, Clock, Deadline, Evidence, Fact, Freshness, GateState, Identity, KeyState, LimitState, Policy,
    Sources, State, SurfaceMatch, Validity, Witness,
};

/// Everything that a decision depends on. The request itself is well-formed by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Shut by an operator?
    pub gate: Fact<GateState>,
    /// Can time be trusted?
    pub clock: Fact<Clock>,
    /// Can evidence be written?
    pub evidence: Fact<Evidence>,
    /// Is the state ours?
    pub state: Fact<State>,
    /// Is the pinned bundle in force?
    pub policy: Fact<Policy>,
    /// Have the bundle's sources of facts given them, lately enough?
    pub sources: Fact<Sources>,
    /// Who asks?
    pub identity: Fact<Identity>,
    /// Is the surface declared, and does the request fit it?
    pub surface: Fact<SurfaceMatch>,
    /// Did it run before?
    pub idempotency: Fact<KeyState>,
    /// What do the policies say?
    pub evaluation: Fact<Verdict>,
    /// Is there room in the limits that apply?
    pub limits: Fact<LimitState>,
    /// Is the proof of identity fresh enough, where grants ask for that?
    pub freshness: Fact<Freshness>,
    /// Is it approved, where grants ask for that?
    pub approval: Fact<Approval>,
    /// Can witnesses see it, where the surface or a grant asks for that?
    pub witness: Fact<Witness>,
    /// Is there time left?
    pub deadline: Fact<Deadline>,
}

type Check = fn(&Facts) -> Result<(), ReasonCode>;

/// The preconditions before policy is asked, in their documented order.
const BEFORE_EVALUATION: [Check; 9] =
    [gate, clock, evidence, state, policy, sources, identity, surface, idempotency];

/// Those of them that are about no request: whoever asks for what is no action is held to them.
const OF_ANYTHING: [Check; 7] = [gate, clock, evidence, state, policy, sources, identity];

/// The first precondition that fails, of those that are about no request.
pub(crate) fn refuses(facts: &Facts) -> Option<ReasonCode> {
    OF_ANYTHING.iter().find_map(|check| check(facts).err())
}

/// Decides. A refusal carries the code of the first precondition that fails.
#[must_use]
pub fn decide(facts: &Facts) -> Verdict {
    for check in BEFORE_EVALUATION {
        if let Err(code) = check(facts) {
            return Verdict::refuse(code);
        }
    }
    match &facts.evaluation {
        Fact::Unknown => Verdict::refuse(ReasonCode::PolicyEngineFailed),
        Fact::Known(refusal @ Verdict::Refuse(..)) => refusal.clone(),
        // A grant that no policy made is no grant.
        Fact::Known(Verdict::Permit(policies)) if policies.is_empty() => {
            Verdict::refuse(ReasonCode::PolicyEngineFailed)
        }
        Fact::Known(permit @ Verdict::Permit(grants)) => {
            if let Err(code) = limits(facts) {
                return Verdict::refuse(code);
            }
            // What is not met is asked for by the grants, so that they are named.
            if let Err(code) = freshness(facts).and_then(|()| approval(facts)) {
                return Verdict::Refuse(code, grants.clone());
            }
            match witness(facts).and_then(|()| deadline(facts)) {
                Ok(()) => permit.clone(),
                Err(code) => Verdict::refuse(code),
            }
        }
    }
}

const fn gate(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.gate {
        Fact::Known(GateState::Open) => Ok(()),
        Fact::Known(GateState::Shut) => Err(ReasonCode::GateShut),
        Fact::Unknown => Err(ReasonCode::GateUnknown),
    }
}

const fn clock(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.clock {
        Fact::Known(Clock::Steady) => Ok(()),
        Fact::Known(Clock::Jumped) => Err(ReasonCode::ClockJumped),
        Fact::Known(Clock::BehindLog) => Err(ReasonCode::ClockBehindLog),
        Fact::Unknown => Err(ReasonCode::ClockUnreadable),
    }
}

const fn evidence(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.evidence {
        Fact::Known(Evidence::Sound) => Ok(()),
        Fact::Known(Evidence::Tripped(code)) => Err(code),
        Fact::Unknown => Err(ReasonCode::EvidenceUnwritable),
    }
}

const fn state(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.state {
        Fact::Known(State::Held) => Ok(()),
        Fact::Known(State::Fenced) => Err(ReasonCode::StateFenced),
        Fact::Unknown => Err(ReasonCode::StateUnreachable),
    }
}

const fn policy(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.policy {
        Fact::Known(Policy::InForce(Validity::Valid)) => Ok(()),
        Fact::Known(Policy::InForce(Validity::NotYet)) => Err(ReasonCode::PolicyNotYetValid),
        Fact::Known(Policy::InForce(Validity::Expired)) => Err(ReasonCode::PolicyExpired),
        Fact::Known(Policy::Refused(code)) => Err(code),
        Fact::Unknown => Err(ReasonCode::PolicyMissing),
    }
}

const fn sources(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.sources {
        Fact::Known(Sources::Fresh) => Ok(()),
        Fact::Known(Sources::RolledBack) => Err(ReasonCode::FactRolledBack),
        Fact::Known(Sources::Stale) => Err(ReasonCode::FactStale),
        Fact::Unknown => Err(ReasonCode::FactUnavailable),
    }
}

const fn identity(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.identity {
        Fact::Known(Identity::Active) => Ok(()),
        Fact::Known(Identity::Expired) => Err(ReasonCode::IdentityExpired),
        Fact::Known(Identity::Stranger) => Err(ReasonCode::IdentityUnknown),
        Fact::Known(Identity::NotAdmitted) => Err(ReasonCode::IdentityPrincipal),
        Fact::Known(Identity::PrincipalStranger) => Err(ReasonCode::IdentityPrincipalUnknown),
        Fact::Unknown => Err(ReasonCode::IdentityUnverified),
    }
}

const fn surface(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.surface {
        Fact::Known(SurfaceMatch::Fits) => Ok(()),
        Fact::Known(SurfaceMatch::ActionUndeclared) => Err(ReasonCode::SurfaceActionUnknown),
        Fact::Known(SurfaceMatch::MappedOtherwise) => Err(ReasonCode::SurfaceMappingChanged),
        Fact::Known(SurfaceMatch::Misfit(code)) => Err(code),
        Fact::Known(SurfaceMatch::Undeclared) | Fact::Unknown => Err(ReasonCode::SurfaceUnknown),
    }
}

const fn idempotency(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.idempotency {
        Fact::Known(KeyState::NotKept | KeyState::Fresh) => Ok(()),
        Fact::Known(KeyState::Missing) => Err(ReasonCode::IdempotencyKeyMissing),
        Fact::Known(KeyState::Unexpected) => Err(ReasonCode::IdempotencyKeyUnexpected),
        Fact::Known(KeyState::Conflict) => Err(ReasonCode::IdempotencyConflict),
        Fact::Known(KeyState::InFlight) => Err(ReasonCode::IdempotencyInFlight),
        Fact::Known(KeyState::Completed) => Err(ReasonCode::IdempotencyCompleted),
        Fact::Known(KeyState::OutcomeUnknown) => Err(ReasonCode::IdempotencyOutcomeUnknown),
        Fact::Unknown => Err(ReasonCode::IdempotencyUnreadable),
    }
}

const fn limits(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.limits {
        Fact::Known(LimitState::Room) => Ok(()),
        Fact::Known(LimitState::Refused(code)) => Err(code),
        Fact::Unknown => Err(ReasonCode::LimitsUnreadable),
    }
}

const fn freshness(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.freshness {
        Fact::Known(Freshness::NotAsked | Freshness::Within) => Ok(()),
        Fact::Known(Freshness::Stale) | Fact::Unknown => Err(ReasonCode::IdentityStale),
    }
}

const fn approval(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.approval {
        Fact::Known(Approval::NotAsked) => Ok(()),
        Fact::Known(Approval::Missing) | Fact::Unknown => Err(ReasonCode::ApprovalRequired),
    }
}

const fn witness(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.witness {
        Fact::Known(Witness::NotAsked | Witness::There) => Ok(()),
        Fact::Known(Witness::Nobody) | Fact::Unknown => Err(ReasonCode::EvidenceUnwitnessed),
    }
}

const fn deadline(facts: &Facts) -> Result<(), ReasonCode> {
    match facts.deadline {
        Fact::Known(Deadline::Ahead) => Ok(()),
        Fact::Known(Deadline::Passed) | Fact::Unknown => Err(ReasonCode::OverloadDeadline),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
