//! What the tests of this crate share: a log that signs, and a request to be decided.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::facts::PrincipalFact;
use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_protocol::{
    AgentId, BundleDigest, BundleRef, Decision, DecisionRecord, Digest, Millis, ReasonCode, Record,
    RecordedFacts, Request, SurfaceTable, Tier,
};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::tree::inclusion_proof;
use portcullis_verify::{Checkpoint, TileReader, TileTree, TlogProof, VerifierKey};

use crate::{Attempt, Authorizer, BootInstant, Call, OutcomeReport, Outcomes, Refusal, TrustedLog};

/// A lifetime that no test outlives.
pub(crate) const LONG: u64 = 60_000;

/// A log with a key of its own.
pub(crate) struct Log {
    signing: SigningKey,
    pub(crate) key: VerifierKey,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self::of("gate.example/log", 7)
    }

    pub(crate) fn of(name: &str, seed: u8) -> Self {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let key = VerifierKey::ed25519(name, signing.verifying_key().to_bytes()).unwrap();
        Self { signing, key }
    }

    pub(crate) fn trusted(&self) -> TrustedLog {
        TrustedLog::new(vec![self.key.clone()]).unwrap()
    }

    fn note(&self, text: &str) -> String {
        let signature = self.signing.sign(signed_text(text).unwrap()).to_bytes();
        format!("{text}\n{}", signature_line(&self.key, &signature))
    }

    /// The receipt of the record that a log has at `index`, behind others.
    pub(crate) fn proof_at(&self, index: u64, record: &Record) -> TlogProof {
        let record = record.to_bytes().unwrap();
        let mut tree = TileTree::new();
        (0..index).for_each(|other| tree.append(leaf_hash(&other.to_be_bytes())));
        tree.append(leaf_hash(&record));
        let size = tree.size();
        let reader = TileReader::new(&tree, |_, _| Err("not stored"));
        let hashes = inclusion_proof(index, size, &reader).unwrap();
        let checkpoint = Checkpoint { origin: self.key.name().clone(), size, root: tree.root() };
        let checkpoint = self.note(&checkpoint.to_string()).into_bytes();
        TlogProof { extra: Some(record), index, hashes, checkpoint }
    }

    /// The receipt of a log's only record.
    pub(crate) fn receipt(&self, record: DecisionRecord) -> String {
        text(&self.proof_at(0, &Record::Decision(Box::new(record))))
    }
}

pub(crate) fn text(proof: &TlogProof) -> String {
    String::from_utf8(proof.to_bytes()).unwrap()
}

pub(crate) fn agent() -> AgentId {
    "bot".parse().unwrap()
}

pub(crate) fn request() -> Request {
    let ask = r#"{"surface":"payments.charge","action":"charge","resource":{"type":"Account","id":"a-1"},
        "context":{"amount":"12.50"},"idempotency_key":"k1"}"#;
    Ask::parse(ask.as_bytes()).unwrap().by(agent())
}

pub(crate) fn attempt() -> Attempt {
    Attempt::new("gate".parse().unwrap(), request()).unwrap()
}

/// The record of the PERMIT that `call` asks for.
pub(crate) fn permit(call: &DecisionCall, ttl_ms: u64) -> DecisionRecord {
    // As if the agent's credential admitted whom the request names.
    let principal = call.request.acts_for.as_ref().map_or(PrincipalFact::Nobody, |_| PrincipalFact::Admitted);
    DecisionRecord {
        seq: 0,
        time: Millis(1_700_000_000_000),
        decision: Decision::Permit,
        reason: None,
        agent: agent(),
        acts_for: call.request.acts_for.clone(),
        gate: call.gate.clone(),
        attempt: call.attempt,
        surface: call.request.surface.clone(),
        action: call.request.action.clone(),
        resource: call.request.resource.clone(),
        tier: Some(Tier::Critical),
        request: call.request.clone().by(agent()).commitment(&call.salt).unwrap(),
        key: None,
        bundle: Some(BundleRef {
            name: "test".into(),
            version: 1,
            digest: BundleDigest(Digest::sha256(b"bundle")),
        }),
        policies: vec!["grant".parse().unwrap()],
        permit_ttl_ms: Some(ttl_ms),
        outcome_due: Some(Millis(1_700_000_060_000)),
        kept_until: None,
        witnessed: false,
        limit: None,
        limits: Vec::new(),
        labels: portcullis_protocol::Labels::none(),
        obligations: portcullis_protocol::Obligations::none(),
        exception: None,
        engine: "test".into(),
        facts: RecordedFacts { principal, ..RecordedFacts::sound() },
    }
}

/// The record of a refusal of what `call` asks for.
pub(crate) fn refusal(call: &DecisionCall, code: ReasonCode) -> DecisionRecord {
    DecisionRecord {
        decision: code.decision(),
        reason: Some(code),
        policies: Vec::new(),
        permit_ttl_ms: None,
        outcome_due: None,
        kept_until: None,
        ..permit(call, LONG)
    }
}

/// An arbiter that is not there.
struct Nobody;

impl Authorizer for Nobody {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }
}

/// Outcomes of a program that has none yet, and that nobody takes.
pub(crate) fn outcomes() -> Outcomes {
    Outcomes::start(Arc::new(Nobody), Duration::from_secs(1), |_| {})
}

/// Waits until the boot clock has come to `instant`.
pub(crate) fn wait_until(instant: BootInstant) {
    while BootInstant::now() < instant {
        std::hint::spin_loop();
    }
}
