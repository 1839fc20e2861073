use portcullis_protocol::wire::{DecisionReply, ReasonBody};
use portcullis_protocol::{AttemptId, Decision, Digest};

use super::*;
use crate::authorizer::{Call, authorize};
use crate::refusal::Unverifiable;
use crate::testing::{LONG, Log, attempt, permit, refusal, request, text};

const DEADLINE: Duration = Duration::from_secs(10);

fn simulation() -> Simulation {
    Simulation::new("gate".parse().unwrap(), request()).unwrap()
}

/// The receipt of a log's only record, which is a simulation.
fn receipt(log: &Log, record: DecisionRecord) -> String {
    text(&log.proof_at(0, &Record::Simulation(Box::new(record))))
}

fn cause<T: std::fmt::Debug>(redeemed: Result<T, Refusal>) -> String {
    match redeemed {
        Err(Refusal::Unverifiable(Unverifiable { cause })) => cause,
        other => panic!("must be unverifiable: {other:?}"),
    }
}

/// What the receipt of what would be a PERMIT comes to, once its record was changed before it was signed.
fn redeemed(change: impl FnOnce(&mut DecisionRecord)) -> Result<Simulated, Refusal> {
    let (log, simulation) = (Log::new(), simulation());
    let mut record = permit(&simulation.call(DEADLINE), LONG);
    change(&mut record);
    let reply = SimulationReply { reason: None, receipt: receipt(&log, record) };
    simulation.redeem(reply, &log.trusted())
}

#[test]
fn a_simulation_is_what_its_receipt_says_and_no_other_ones_receipt_passes_for_it() {
    let simulated = redeemed(|_| {}).unwrap();
    assert_eq!((simulated.record.decision, simulated.receipt.index), (Decision::Permit, 0));
    assert_eq!(simulated.receipt.attempt, simulated.record.attempt);
    type Change = fn(&mut DecisionRecord);
    let changes: [(&str, Change); 6] = [
        ("attempt", |record| record.attempt = AttemptId::from_bytes([9; 32])),
        ("request", |record| record.request = Digest::sha256(b"another")),
        ("agent", |record| record.agent = "other".parse().unwrap()),
        ("gate", |record| record.gate = "other".parse().unwrap()),
        ("surface", |record| record.surface = "payments.refund".parse().unwrap()),
        ("resource", |record| record.resource.id = "a-2".into()),
    ];
    for (what, change) in changes {
        assert_eq!(cause(redeemed(change)), format!("the receipt is for another {what}"));
    }
    let (other, simulation) = (Log::of("gate.example/other", 7), simulation());
    let forged = receipt(&other, permit(&simulation.call(DEADLINE), LONG));
    let reply = SimulationReply { reason: None, receipt: forged };
    assert!(simulation.redeem(reply, &Log::new().trusted()).is_err());
}

#[test]
fn the_receipt_of_what_was_only_simulated_was_redeemed_for_a_permit() {
    let (log, attempt) = (Log::new(), attempt());
    // All that a PERMIT of this very attempt has, but its kind.
    let simulated = receipt(&log, permit(&attempt.call(DEADLINE), LONG));
    let refused = cause(attempt.redeem(&simulated, &log.trusted()));
    assert_eq!(refused, "the receipt's record is not a decision");
}

#[test]
fn a_decision_is_no_simulation() {
    let (log, simulation) = (Log::new(), simulation());
    let receipt = log.receipt(permit(&simulation.call(DEADLINE), LONG));
    let reply = SimulationReply { reason: None, receipt };
    assert_eq!(cause(simulation.redeem(reply, &log.trusted())), "the receipt's record is no simulation");
}

#[test]
fn what_would_be_refused_is_told_as_a_refusal_and_by_nothing_but_its_record() {
    let (log, code) = (Log::new(), ReasonCode::PolicyNoGrant);
    let told = |reason: Option<ReasonCode>, recorded: Option<ReasonCode>| {
        let simulation = simulation();
        let call = simulation.call(DEADLINE);
        let record = recorded.map_or_else(|| permit(&call, LONG), |code| refusal(&call, code));
        let reply = SimulationReply { reason: reason.map(ReasonBody::from), receipt: receipt(&log, record) };
        simulation.redeem(reply, &log.trusted())
    };
    let refused = told(Some(code), Some(code)).unwrap_err();
    assert_eq!((refused.code(), refused.captured()), (code, Captured::Logged));
    assert_eq!(refused.receipt().unwrap().index, 0);
    for (reason, recorded) in
        [(None, Some(code)), (Some(code), None), (Some(ReasonCode::GateShut), Some(code))]
    {
        assert_eq!(cause(told(reason, recorded)), "the answer and its receipt disagree");
    }
}

/// An arbiter that says of everything what it is told to say, as a simulation and as a decision.
struct Simulates {
    log: Log,
    /// Whether it hands simulations out as decisions.
    as_decisions: bool,
}

impl Authorizer for Simulates {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        let receipt = receipt(&self.log, permit(&call, LONG));
        let (decision, captured) = (Decision::Permit, Captured::Logged);
        let reply = DecisionReply { decision, reason: None, captured, receipt: Some(receipt), stored: None };
        Box::pin(async { Ok(reply) })
    }

    fn report(&self, _: crate::OutcomeReport) -> Call<'_, portcullis_protocol::wire::OutcomeReply> {
        Box::pin(std::future::pending())
    }

    fn surfaces(&self) -> Call<'_, portcullis_protocol::SurfaceTable> {
        Box::pin(std::future::pending())
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        let receipt = receipt(&self.log, permit(&call, LONG));
        let hangs = self.as_decisions;
        Box::pin(async move {
            if hangs { std::future::pending().await } else { Ok(SimulationReply { reason: None, receipt }) }
        })
    }
}

#[tokio::test]
async fn an_arbiter_that_answers_a_question_with_a_simulation_permits_nothing() {
    let arbiter = Simulates { log: Log::new(), as_decisions: true };
    let trusted = arbiter.log.trusted();
    let refused = authorize(&arbiter, attempt(), &trusted, DEADLINE).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::ReceiptUnverifiable);
    let late = simulate(&arbiter, simulation(), &trusted, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(late.code(), ReasonCode::ArbiterTimeout);
    let arbiter = Simulates { as_decisions: false, ..arbiter };
    assert!(simulate(&arbiter, simulation(), &trusted, DEADLINE).await.is_ok());
}
