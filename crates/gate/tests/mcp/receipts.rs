//! Receipts that verify: each of a log with one record.

use ed25519_dalek::{Signer, SigningKey};
use portcullis_protocol::facts::PrincipalFact;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{
    AgentId, BundleDigest, BundleRef, DecisionRecord, Digest, Millis, ReasonCode, Record, RecordedFacts, Tier,
};
use portcullis_sdk::TrustedLog;
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::{Checkpoint, TileTree, TlogProof, VerifierKey};

const LOG: &str = "gate.example/log";

pub(crate) fn agent() -> AgentId {
    "bot".parse().unwrap()
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn verifier_key() -> VerifierKey {
    VerifierKey::ed25519(LOG, signing_key().verifying_key().to_bytes()).unwrap()
}

pub(crate) fn trusted() -> TrustedLog {
    TrustedLog::new(vec![verifier_key()]).unwrap()
}

pub(crate) fn bundle(version: u8) -> BundleDigest {
    BundleDigest(Digest::sha256(&[version]))
}

/// As if the agent's credential admitted whom the request names.
fn principal(call: &DecisionCall) -> PrincipalFact {
    call.request.acts_for.as_ref().map_or(PrincipalFact::Nobody, |_| PrincipalFact::Admitted)
}

/// The record of a decision: a PERMIT without a code.
pub(crate) fn record(call: &DecisionCall, code: Option<ReasonCode>, ttl_ms: u64) -> DecisionRecord {
    let request = call.request.clone().by(agent());
    let permit = code.is_none();
    DecisionRecord {
        seq: 0,
        time: Millis(1_700_000_000_000),
        decision: code.map_or(portcullis_protocol::Decision::Permit, ReasonCode::decision),
        reason: code,
        agent: agent(),
        acts_for: call.request.acts_for.clone(),
        gate: call.gate.clone(),
        attempt: call.attempt,
        surface: call.request.surface.clone(),
        action: call.request.action.clone(),
        resource: call.request.resource.clone(),
        tier: Some(Tier::Standard),
        request: request.commitment(&call.salt).unwrap(),
        key: None,
        bundle: Some(BundleRef { name: "test".into(), version: 1, digest: bundle(1) }),
        policies: Vec::new(),
        witnessed: false,
        limit: None,
        limits: Vec::new(),
        labels: portcullis_protocol::Labels::none(),
        obligations: portcullis_protocol::Obligations::none(),
        exception: None,
        permit_ttl_ms: permit.then_some(ttl_ms),
        outcome_due: permit.then_some(Millis(1_700_000_060_000)),
        kept_until: None,
        engine: "test".into(),
        facts: RecordedFacts { principal: principal(call), ..RecordedFacts::sound() },
    }
}

/// The receipt of a decision's record.
pub(crate) fn receipt(record: DecisionRecord) -> String {
    receipt_of(Record::Decision(Box::new(record)))
}

/// The receipt of a record.
pub(crate) fn receipt_of(record: Record) -> String {
    let record = record.to_bytes().unwrap();
    let mut tree = TileTree::new();
    tree.append(leaf_hash(&record));
    let key = verifier_key();
    let checkpoint = Checkpoint { origin: key.name().clone(), size: 1, root: tree.root() }.to_string();
    let signature = signing_key().sign(signed_text(&checkpoint).unwrap()).to_bytes();
    let note = format!("{checkpoint}\n{}", signature_line(&key, &signature));
    let proof =
        TlogProof { extra: Some(record), index: 0, hashes: Vec::new(), checkpoint: note.into_bytes() };
    String::from_utf8(proof.to_bytes()).unwrap()
}
