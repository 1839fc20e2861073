//! The record of a call that was settled.

use portcullis_protocol::{
    Decision, DecisionRecord, Keep, LimitName, LimitUse, Millis, Precondition, SurfaceSpec, Verdict,
};

use super::{Health, Intake};
use crate::facts::recorded;
use crate::limits::{Room, Weighed, weigh};
use crate::standing::Standing;

/// What a record says of limits: those that a PERMIT takes of, or the one that refused.
fn limited(
    intake: &Intake,
    verdict: &Verdict,
    standing: &Standing,
    now: Millis,
) -> (Option<LimitName>, Vec<LimitUse>) {
    let by_limit = verdict.reason().is_some_and(|code| code.precondition() == Precondition::Limits);
    let counting = intake.counting.as_deref().filter(|_| by_limit || verdict.reason().is_none());
    match counting.map(|counting| weigh(counting, &intake.request.agent, standing, now)) {
        Some(Weighed::Room(uses)) => (None, uses),
        Some(Weighed::Full(_, limit, read)) => (Some(limit), read.into_iter().collect()),
        None => (None, Vec::new()),
    }
}

/// For how long a PERMIT may wait to be spent, in milliseconds: as its surface says, and not beyond the end of its bundle, or of the
/// exception by which it is one. What they permitted is permitted no more then.
fn ttl(intake: &Intake, spec: &SurfaceSpec, now: Millis) -> u64 {
    let ends = intake.until.into_iter().chain(intake.excepted(now).map(|exception| exception.until));
    let left = ends.min().map_or(0, |until| until.0.saturating_sub(now.0));
    spec.permit_ttl_ms.min(left)
}

/// Until when the request is kept, as its surface says.
fn kept_until(intake: &Intake, now: Millis) -> Option<Millis> {
    let keep = intake.spec.as_ref().map_or(Keep::UNDECLARED, |spec| spec.keep);
    keep.request.then(|| now.plus(keep.for_ms))
}

/// The record of a call settled in this health and after what the log so far came to, at index `seq`.
#[must_use]
pub fn record(
    intake: &Intake,
    verdict: &Verdict,
    seq: u64,
    health: &Health,
    standing: &Standing,
) -> DecisionRecord {
    let (ask, now) = (&intake.request.ask, health.now);
    let (limit, limits) = limited(intake, verdict, standing, now);
    let decision = verdict.decision();
    let terms = intake.spec.as_ref().filter(|_| decision == Decision::Permit);
    DecisionRecord {
        seq,
        time: now,
        decision,
        reason: verdict.reason(),
        agent: intake.request.agent.clone(),
        acts_for: ask.acts_for.clone(),
        gate: intake.gate.clone(),
        attempt: intake.attempt,
        surface: ask.surface.clone(),
        action: ask.action.clone(),
        resource: ask.resource.clone(),
        tier: intake.spec.as_ref().map(|spec| spec.tier),
        request: intake.commitment,
        key: intake.key_commitment(),
        bundle: intake.bundle.clone(),
        policies: verdict.policies().to_vec(),
        permit_ttl_ms: terms.map(|spec| ttl(intake, spec, now)),
        outcome_due: terms.map(|spec| now.plus(spec.permit_ttl_ms).plus(spec.outcome_within_ms)),
        kept_until: kept_until(intake, now),
        witnessed: terms.is_some_and(|_| intake.is_witnessed()),
        limit,
        limits,
        labels: intake.labelled(verdict, standing, now),
        obligations: intake.obligations_of(verdict),
        exception: intake.excepted(now).filter(|_| decision == Decision::Permit),
        engine: portcullis_policy::engine().to_owned(),
        facts: recorded(intake, health, !intake.labels_are_current(Room::Of(standing), now)),
    }
}
