//! The facts of a decision as its record keeps them, and back.

use portcullis_protocol::facts::{
    ClockFact, DeadlineFact, EvidenceFact, GateFact, PolicyFact, RecordedFacts, StateFact, WitnessesFact,
};
use portcullis_protocol::{BundleDigest, Millis, Snapshots};

use crate::fact::{Clock, Evidence, Fact, GateState, Policy, State, Validity};
use crate::settle::{Health, Intake, PolicyNow};

/// What a settled call depended on besides its request, its bundle and the log before it.
pub(crate) fn recorded(intake: &Intake, health: &Health, labels_moved: bool) -> RecordedFacts {
    let (policy, in_force) = policy(&health.policy);
    let own = intake.bundle.as_ref().map(|bundle| bundle.digest);
    RecordedFacts {
        authenticated: intake.authenticated(),
        clock: match health.clock {
            Fact::Known(Clock::Steady) => ClockFact::Steady,
            Fact::Known(Clock::Jumped) => ClockFact::Jumped,
            Fact::Known(Clock::BehindLog) => ClockFact::BehindLog,
            Fact::Unknown => ClockFact::Unknown,
        },
        credential_expires: intake.expires(),
        deadline: if health.boot < intake.deadline { DeadlineFact::Ahead } else { DeadlineFact::Passed },
        evidence: match health.evidence {
            Fact::Known(Evidence::Sound) => EvidenceFact::Sound,
            Fact::Known(Evidence::Tripped(code)) => EvidenceFact::Refused(code),
            Fact::Unknown => EvidenceFact::Unknown,
        },
        gate: match health.gate {
            Fact::Known(GateState::Open) => GateFact::Open,
            Fact::Known(GateState::Shut) => GateFact::Shut,
            Fact::Unknown => GateFact::Unknown,
        },
        in_force: in_force.filter(|digest| own != Some(*digest)),
        labels_moved,
        last_try: intake.last_try,
        policy,
        principal: intake.principal(),
        sources: intake.informed.recorded(),
        sources_moved: !intake.informed.are_current(health),
        state: match health.state {
            Fact::Known(State::Held) => StateFact::Held,
            Fact::Known(State::Fenced) => StateFact::Fenced,
            Fact::Unknown => StateFact::Unknown,
        },
        witnesses: match health.witnesses {
            // What grants ask for under labels that have moved is asked for by nobody.
            _ if labels_moved || !intake.is_witnessed() => WitnessesFact::Nobody,
            Fact::Known(true) => WitnessesFact::There,
            Fact::Known(false) => WitnessesFact::Nobody,
            Fact::Unknown => WitnessesFact::Unknown,
        },
    }
}

fn policy(policy: &Fact<PolicyNow>) -> (PolicyFact, Option<BundleDigest>) {
    match policy {
        Fact::Unknown => (PolicyFact::Unknown, None),
        Fact::Known(PolicyNow { digest, policy, .. }) => {
            let fact = match policy {
                // In force, and nobody says which: settling takes that for Unknown too.
                Policy::InForce(_) if digest.is_none() => PolicyFact::Unknown,
                Policy::InForce(Validity::Valid) => PolicyFact::Valid,
                Policy::InForce(Validity::NotYet) => PolicyFact::NotYetValid,
                Policy::InForce(Validity::Expired) => PolicyFact::Expired,
                Policy::Refused(code) => PolicyFact::Refused(*code),
            };
            (fact, *digest)
        }
    }
}

/// The health that a record's facts were taken from, at its `time`, for a record that names `bundle` and was judged by these
/// `sources`.
pub(crate) fn health(
    facts: &RecordedFacts,
    bundle: Option<BundleDigest>,
    sources: &Fact<Snapshots>,
    time: Millis,
) -> Health {
    let digest = facts.in_force.or(bundle);
    // No decision depends on the root by which its bundle is in force.
    let policy = |policy| Fact::Known(PolicyNow { digest, root: None, policy });
    Health {
        gate: match facts.gate {
            GateFact::Open => Fact::Known(GateState::Open),
            GateFact::Shut => Fact::Known(GateState::Shut),
            GateFact::Unknown => Fact::Unknown,
        },
        clock: match facts.clock {
            ClockFact::Steady => Fact::Known(Clock::Steady),
            ClockFact::Jumped => Fact::Known(Clock::Jumped),
            ClockFact::BehindLog => Fact::Known(Clock::BehindLog),
            ClockFact::Unknown => Fact::Unknown,
        },
        evidence: match facts.evidence {
            EvidenceFact::Sound => Fact::Known(Evidence::Sound),
            EvidenceFact::Refused(code) => Fact::Known(Evidence::Tripped(code)),
            EvidenceFact::Unknown => Fact::Unknown,
        },
        state: match facts.state {
            StateFact::Held => Fact::Known(State::Held),
            StateFact::Fenced => Fact::Known(State::Fenced),
            StateFact::Unknown => Fact::Unknown,
        },
        policy: match facts.policy {
            PolicyFact::Valid => policy(Policy::InForce(Validity::Valid)),
            PolicyFact::NotYetValid => policy(Policy::InForce(Validity::NotYet)),
            PolicyFact::Expired => policy(Policy::InForce(Validity::Expired)),
            // A bundle that is refused has no digest in force, whatever the record's verdict was computed under.
            PolicyFact::Refused(code) => {
                Fact::Known(PolicyNow { digest: facts.in_force, root: None, policy: Policy::Refused(code) })
            }
            PolicyFact::Unknown => Fact::Unknown,
        },
        // Where they had moved, the record says that and not where to.
        sources: sources.clone(),
        witnesses: match facts.witnesses {
            WitnessesFact::There => Fact::Known(true),
            WitnessesFact::Nobody => Fact::Known(false),
            WitnessesFact::Unknown => Fact::Unknown,
        },
        now: time,
        // The deadline is a fact of its own: see `Intake`.
        boot: 0,
    }
}
