//! Who is asked for permission, and the one road from a question to a permit.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, ListingCall, ListingReply, OutcomeReply,
    SimulationReply, WhoAmI,
};
use portcullis_protocol::{AgentId, Decision, GateId, Outcome, ReasonCode, SurfaceTable};

use crate::attempt::{Attempt, TrustedLog};
use crate::outcomes::Outcomes;
use crate::permit::{OutcomeReport, Permit, Running};
use crate::refusal::Refusal;

/// A call under way.
pub type Call<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// An arbiter, in process or across the network. Nothing that it answers is believed before
/// [`Attempt::redeem`] has verified it; an implementation that always says PERMIT permits nothing.
pub trait Authorizer: Send + Sync {
    /// Asks for a decision.
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply>;

    /// Reports what became of a PERMIT.
    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply>;

    /// The surfaces of the bundle in force.
    fn surfaces(&self) -> Call<'_, SurfaceTable>;

    /// Which agent the arbiter takes the caller for. An arbiter that knows no such question is as one that is not there.
    fn whoami(&self) -> Call<'_, WhoAmI> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    /// Whether nothing of the arbiter's own keeps it from permitting: none of its interlocks has tripped. Not evidence; what is
    /// permitted is decided by nothing but [`decide`](Self::decide). An arbiter that knows no such question is as one that is
    /// not there.
    fn ready(&self) -> Call<'_, bool> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    /// Asks which tools of a server may be shown, and puts that on record. Nothing is permitted by it. Nothing that it answers is
    /// believed before [`Listing::redeem`](crate::Listing::redeem) has verified it. An arbiter that knows no such question is as
    /// one that is not there.
    fn list(&self, _call: ListingCall) -> Call<'_, ListingReply> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    /// Asks what would be decided, and puts that on record as a simulation. Nothing is permitted by it. Nothing that it answers is
    /// believed before [`Simulation::redeem`](crate::Simulation::redeem) has verified it. An arbiter that knows no such question is
    /// as one that is not there.
    fn simulate(&self, _call: DecisionCall) -> Call<'_, SimulationReply> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    /// Has attempts entered into the log late that a gate kept while there was no answer. Says how many of the first
    /// are in the log. An arbiter that knows no such thing is as one that is not there.
    fn late(&self, _call: LateCall) -> Call<'_, LateReply> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }
}

/// Asks for a permit.
///
/// # Errors
/// [`Refusal`]: in every case but one, a verified PERMIT within the deadline.
pub async fn authorize(
    arbiter: &dyn Authorizer,
    attempt: Attempt,
    log: &TrustedLog,
    deadline: Duration,
) -> Result<Permit, Refusal> {
    let asked = tokio::time::timeout(deadline, arbiter.decide(attempt.call(deadline))).await;
    let reply = asked.map_err(|_| Refusal::own(ReasonCode::ArbiterTimeout, None))??;
    match (reply.decision, reply.reason, reply.receipt) {
        (Decision::Permit, None, Some(receipt)) => attempt.redeem(&receipt, log),
        (Decision::Permit, _, _) => {
            Err(Refusal::unverifiable("a PERMIT without its receipt, or with a reason"))
        }
        (Decision::Deny | Decision::Silence, Some(reason), receipt) => {
            let receipt = match receipt {
                Some(receipt) => Some(attempt.refused(&receipt, reason.code, log)?),
                None => None,
            };
            if reason.code.decision() != reply.decision {
                return Err(Refusal::unverifiable("decision and reason disagree"));
            }
            Err(Refusal::from_reason(reason, (receipt, reply.captured), reply.stored))
        }
        (Decision::Deny | Decision::Silence, None, _) => {
            Err(Refusal::unverifiable("a refusal without a reason"))
        }
    }
}

/// What became of a function that ran.
#[derive(Debug)]
#[must_use = "what is not on record blocks whatever comes next"]
pub struct Ran<T> {
    /// What it returned.
    pub value: T,
    /// What it said became of its effect.
    pub outcome: Outcome,
    /// Whether that is on record. If not, [`Outcomes`] goes on to report it, and until it is nothing more runs.
    pub recorded: bool,
}

/// Runs `act` under a permit for `ask`, and reports its outcome: a function, gated in one line.
///
/// `act` says what became of the effect and may give a result to be kept for repeats of the same key. If it panics, or if
/// this future is dropped meanwhile, the outcome is `unknown`.
///
/// # Errors
/// [`Refusal`] if it was not permitted, or while an outcome of this program is not on record
/// (`evidence.outcome_unrecorded`). `act` has not begun then.
pub async fn run<T, F>(
    outcomes: &Outcomes,
    log: &TrustedLog,
    (agent, gate): (AgentId, GateId),
    ask: Ask,
    deadline: Duration,
    act: F,
) -> Result<Ran<T>, Refusal>
where
    F: AsyncFnOnce(&Running) -> (T, Outcome, Option<String>),
{
    run_attempt(outcomes, log, Attempt::new(gate, ask.by(agent))?, deadline, act).await
}

/// The same of an attempt that was made before: of one that brings along what its request's payload digest is of
/// ([`Attempt::bringing`]), without which nothing runs on a surface that has arguments kept.
///
/// # Errors
/// As [`run`].
pub async fn run_attempt<T, F>(
    outcomes: &Outcomes,
    log: &TrustedLog,
    attempt: Attempt,
    deadline: Duration,
    act: F,
) -> Result<Ran<T>, Refusal>
where
    F: AsyncFnOnce(&Running) -> (T, Outcome, Option<String>),
{
    if !outcomes.are_recorded().await {
        return Err(Refusal::own(ReasonCode::EvidenceOutcomeUnrecorded, None));
    }
    let permit = authorize(outcomes.arbiter(), attempt, log, deadline).await?;
    let running = match permit.begin(outcomes) {
        Ok(running) => running,
        Err(lapsed) => {
            // Nothing ran, whether or not the PERMIT's end gets on record at once.
            let _recorded = outcomes.settle(lapsed.report).await;
            return Err(lapsed.refusal);
        }
    };
    let (value, outcome, result) = act(&running).await;
    let recorded = outcomes.settle(running.finish(outcome, result)).await;
    Ok(Ran { value, outcome, recorded })
}

#[cfg(test)]
#[path = "authorizer_tests.rs"]
mod tests;
