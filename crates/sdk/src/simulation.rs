//! Simulations: what would be decided of a request, on record, without its being decided. No permit comes of one, whatever the arbiter
//! answers: nothing here makes any.

use std::time::Duration;

use portcullis_protocol::wire::{DecisionCall, SimulationReply};
use portcullis_protocol::{Captured, DecisionRecord, GateId, Payload, ReasonCode, Record, Request};

use crate::attempt::{Attempt, TrustedLog};
use crate::authorizer::Authorizer;
use crate::refusal::{ReceiptRef, Refusal};

/// A request of which it is asked what would be decided. Its attempt is never asked for a decision, and never redeemed.
#[derive(Debug)]
pub struct Simulation(Attempt);

/// What would have been a PERMIT, by a verified record. It lets nothing run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// Its receipt.
    pub receipt: ReceiptRef,
    /// What is on record.
    pub record: Box<DecisionRecord>,
}

impl Simulation {
    /// Begins a simulation.
    ///
    /// # Errors
    /// If the system gives no random bytes or the request has no canonical form.
    pub fn new(gate: GateId, request: Request) -> Result<Self, Refusal> {
        Attempt::new(gate, request).map(Self)
    }

    /// The same, bringing along what the request's payload digest is of, as [`Attempt::bringing`] does.
    #[must_use]
    pub fn bringing(self, payload: Payload) -> Self {
        Self(self.0.bringing(payload))
    }

    /// The question to the arbiter, for [`Authorizer::simulate`] alone. Asked there twice it is on record twice.
    #[must_use]
    pub fn call(&self, deadline: Duration) -> DecisionCall {
        self.0.call(deadline)
    }

    /// What would have been decided, if the receipt says so of this very request.
    ///
    /// # Errors
    /// The refusal that it would have been, with its receipt. [`Refusal::Unverifiable`] unless the receipt verifies with a pinned
    /// key, is a simulation's, and records this request, attempt, agent and gate.
    pub fn redeem(self, reply: SimulationReply, log: &TrustedLog) -> Result<Simulated, Refusal> {
        let (record, verified) = log.record(&reply.receipt)?;
        let Record::Simulation(record) = record else {
            return Err(Refusal::unverifiable("the receipt's record is no simulation"));
        };
        self.0.bound(&record)?;
        let receipt = ReceiptRef { attempt: self.0.id(), index: verified.index(), text: reply.receipt };
        match (record.reason, reply.reason) {
            (None, None) => Ok(Simulated { receipt, record }),
            (Some(code), Some(reason)) if reason.code == code => {
                Err(Refusal::from_reason(reason, (Some(receipt), Captured::Logged), None))
            }
            (_, _) => Err(Refusal::unverifiable("the answer and its receipt disagree")),
        }
    }
}

/// Asks what would be decided of a request.
///
/// # Errors
/// [`Refusal`]: in every case but one, a verified record within the deadline that it would be a PERMIT. With a receipt it is the
/// refusal that it would have been; without one it is not on record what would have been decided.
pub async fn simulate(
    arbiter: &dyn Authorizer,
    simulation: Simulation,
    log: &TrustedLog,
    deadline: Duration,
) -> Result<Simulated, Refusal> {
    let asked = tokio::time::timeout(deadline, arbiter.simulate(simulation.call(deadline))).await;
    let reply = asked.map_err(|_| Refusal::own(ReasonCode::ArbiterTimeout, None))??;
    simulation.redeem(reply, log)
}

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod tests;
