use std::time::Duration;

use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, OutcomeCall, OutcomeReply, SimulationReply,
};
use portcullis_protocol::{AttemptId, Outcome, SurfaceTable};
use portcullis_sdk::{Attempt, Authorizer, Call, OutcomeReport, TrustedLog};
use portcullis_verify::VerifierKey;

use super::*;
use crate::confine::Confinement;
use crate::gate::Basis;
use crate::notes::Notes;
use crate::{LocalServer, McpGate, ToolServer};

/// An arbiter that must not be asked for anything but simulations.
struct Simulates;

impl Authorizer for Simulates {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        panic!("asked for a decision")
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        panic!("told of an outcome")
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(std::future::pending())
    }

    fn late(&self, _: LateCall) -> Call<'_, LateReply> {
        panic!("brought attempts")
    }

    fn simulate(&self, _: DecisionCall) -> Call<'_, SimulationReply> {
        Box::pin(async { Ok(SimulationReply { reason: None, receipt: "simulated".to_owned() }) })
    }
}

fn call() -> DecisionCall {
    let ask = r#"{"surface":"rec.read","action":"act","resource":{"type":"Surface","id":"rec.read"}}"#;
    let request = portcullis_protocol::request::Ask::parse(ask.as_bytes()).unwrap();
    let request = request.by("bot".parse().unwrap());
    Attempt::new("gate".parse().unwrap(), request).unwrap().call(Duration::from_secs(1))
}

#[tokio::test]
async fn a_gate_that_only_simulates_has_an_arbiter_that_decides_nothing() {
    let server = LocalServer {
        command: Vec::new(),
        pass_environment: Vec::new(),
        credentials: None,
        slots: None,
        supervisor: Vec::new(),
        confinement: Confinement::default(),
    };
    let gate = McpGate {
        server: "rec".into(),
        agent: "bot".parse().unwrap(),
        acts_for: None,
        gate: "gate".parse().unwrap(),
        deadline: Duration::from_secs(1),
        upstream: ToolServer::Local(server),
        beside: Vec::new(),
        spool: None,
        listed_within: McpGate::LISTED_WITHIN,
        simulation: Some(Arc::default()),
    };
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes();
    let key = VerifierKey::ed25519("gate.example/log", key).unwrap();
    let log = TrustedLog::new(vec![key]).unwrap();
    let notes = Notes::start(|_| {}).unwrap();
    let basis = Basis::of(&gate, Arc::new(Simulates), log, notes, Some([0; 32])).unwrap();
    let nobody = ReasonCode::ArbiterUnreachable;
    assert_eq!(basis.arbiter.decide(call()).await.unwrap_err().code(), nobody);
    assert_eq!(basis.arbiter.late(LateCall { entries: Vec::new() }).await.unwrap_err().code(), nobody);
    let outcome = OutcomeCall { nonce: String::new(), outcome: Outcome::Ok, result: None };
    let attempt = AttemptId::from_bytes([1; 32]);
    let report = OutcomeReport { attempt, call: outcome, within: Duration::ZERO };
    assert_eq!(basis.arbiter.report(report).await.unwrap_err().code(), nobody);
    assert_eq!(basis.arbiter.simulate(call()).await.unwrap().receipt, "simulated");
}
