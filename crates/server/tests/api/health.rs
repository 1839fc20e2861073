//! `/readyz`, `/metrics`, and that they say what decisions say.

use std::path::Path;

use portcullis_protocol::{Outcome, ReasonCode};
use serde_json::Value;

use crate::support::{Answer, DEADLINE, Served};

async fn read(served: &Served) -> Answer {
    served.decide(&served.read().call(DEADLINE), "demo-agent").await
}

/// The codes of the interlocks that are tripped, with their names.
fn tripped(health: &Value) -> Vec<(String, String)> {
    let interlocks = health["interlocks"].as_array().unwrap().iter();
    let tripped = interlocks.filter(|interlock| interlock["state"] == "tripped");
    let text = |interlock: &Value, key: &str| interlock[key].as_str().unwrap().to_owned();
    tripped.map(|interlock| (text(interlock, "name"), text(interlock, "reason"))).collect()
}

/// While something is pulled, nothing is permitted, and health and decision give the same code; put back, it clears.
async fn interlock(name: &str, code: ReasonCode, pull: impl Fn(&Served), back: impl Fn(&Served)) {
    let served = Served::start().await;
    assert_eq!(read(&served).await.status, 200);
    pull(&served);
    let decided = read(&served).await;
    assert_eq!((decided.status, decided.code().as_str()), (503, code.as_str()), "{decided:?}");
    let health = served.get("/readyz", "").await;
    assert_eq!(health.status, 503, "{health:?}");
    assert_eq!(tripped(&health.json()), [(name.to_owned(), code.as_str().to_owned())]);
    assert!(health.json()["interlocks"].as_array().unwrap().iter().any(|one| one["remedy"] == code.remedy()));
    assert_eq!(served.metric("portcullis_ready").await, 0);
    assert_eq!(served.get("/healthz", "").await.status, 200, "the process answers");
    back(&served);
    served.until("/readyz", "", |health| health.status == 200).await;
    assert_eq!(served.metric("portcullis_ready").await, 1);
    assert_eq!(read(&served).await.status, 200);
}

fn rename(path: &Path, there: bool) {
    let away = path.with_extension("away");
    let (from, to) = if there { (away.as_path(), path) } else { (path, away.as_path()) };
    std::fs::rename(from, to).unwrap();
}

#[tokio::test]
async fn without_the_bundle_it_is_not_ready() {
    let bundle = |served: &Served| served.config.bundle.clone();
    let (pull, back) =
        (|served: &Served| rename(&bundle(served), false), |served: &Served| rename(&bundle(served), true));
    interlock("policy", ReasonCode::PolicyMissing, pull, back).await;
}

#[tokio::test]
async fn without_the_signing_key_it_is_not_ready() {
    let key = |served: &Served| served.config.signer.key_file().unwrap().clone();
    let (pull, back) =
        (|served: &Served| rename(&key(served), false), |served: &Served| rename(&key(served), true));
    interlock("ledger", ReasonCode::SignerUnavailable, pull, back).await;
}

#[tokio::test]
async fn without_the_anchor_it_is_not_ready() {
    let anchor = |served: &Served| served.config.anchor.clone();
    let (pull, back) =
        (|served: &Served| rename(&anchor(served), false), |served: &Served| rename(&anchor(served), true));
    interlock("ledger", ReasonCode::EvidenceAnchorUnwritable, pull, back).await;
}

#[tokio::test]
async fn a_shut_gate_is_not_ready() {
    let shut = |served: &Served| portcullis_server::shut(&served.config.data, "a test").unwrap();
    let open = |served: &Served| drop(portcullis_server::open(&served.config.data).unwrap());
    interlock("gate", ReasonCode::GateShut, shut, open).await;
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_is_not_ready() {
    let mark = |served: &Served| served.config.data.join("SHUT");
    let spoil = |served: &Served| std::fs::create_dir(mark(served)).unwrap();
    let remove = |served: &Served| std::fs::remove_dir(mark(served)).unwrap();
    interlock("gate", ReasonCode::GateUnknown, spoil, remove).await;
}

#[tokio::test]
async fn an_altered_bundle_is_not_ready() {
    let policy = |served: &Served| served.config.bundle.join("policies/demo.cedar");
    let alter = |served: &Served| {
        let text = std::fs::read_to_string(policy(served)).unwrap();
        std::fs::write(policy(served), text.replace("\"100.00\"", "\"999.00\"")).unwrap();
    };
    let restore = |served: &Served| {
        let text = std::fs::read_to_string(policy(served)).unwrap();
        std::fs::write(policy(served), text.replace("\"999.00\"", "\"100.00\"")).unwrap();
    };
    interlock("policy", ReasonCode::PolicySignatureInvalid, alter, restore).await;
}

#[tokio::test]
async fn everything_is_counted_once_and_nothing_secret_is_told() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Ok).await;
    assert_eq!(served.metric("portcullis_open_permits").await, 1);
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    assert_eq!(served.metric("portcullis_open_permits").await, 0);
    for _ in 0..3 {
        assert_eq!(read(&served).await.status, 200);
    }
    served.decide(&served.charge("100.01", "dear").call(DEADLINE), "demo-agent").await;
    served.post("/v1/decisions", "demo-agent", b"{").await;
    served.get("/v1/surfaces", "wrong").await;
    let text = served.get("/metrics", "").await.text();
    for line in [
        r#"portcullis_decisions_total{decision="PERMIT",reason=""} 4"#,
        r#"portcullis_decisions_total{decision="DENY",reason="policy.no_grant"} 1"#,
        r#"portcullis_unrecorded_total{reason="request.malformed"} 1"#,
        r#"portcullis_unrecorded_total{reason="unauthenticated"} 1"#,
        "portcullis_ready 1",
        "portcullis_open_permits 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    let token = served.token("demo-agent");
    for secret in [token.as_str(), &report.call.nonce, "acme", "demo-agent"] {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
    assert!(served.metric("portcullis_scrub_records").await > 0);
    assert!(served.metric("portcullis_syncs_total").await >= served.metric("portcullis_batches_total").await);
}
