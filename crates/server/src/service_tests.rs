use super::*;
use portcullis_arbiter::Mandate;
use portcullis_protocol::{Captured, Salt, request::Ask};

fn arbiter() -> (tempfile::TempDir, Arbiter) {
    let directory = tempfile::tempdir().unwrap();
    let made = crate::setup::init(directory.path()).unwrap();
    let config = crate::config::Config::read(&made.config).unwrap().arbiter().unwrap();
    std::fs::create_dir(&config.data).unwrap();
    std::fs::create_dir(config.anchor.parent().unwrap()).unwrap();
    let lock = DirectoryLock::acquire(&config.data).unwrap().unwrap();
    let arbiter = Arbiter::start(&config, lock).unwrap();
    (directory, arbiter)
}

#[tokio::test]
async fn a_call_too_many_is_told_that_it_is_shed() {
    let (_directory, arbiter) = arbiter();
    let credential = Credential {
        agent: "assistant".parse().unwrap(),
        acts_for: Mandate::nobody(),
        expires: None,
        authenticated: None,
    };
    let ask = r#"{"surface":"files.list_allowed_directories","action":"files.list_allowed_directories",
        "resource":{"type":"Surface","id":"files.list_allowed_directories"}}"#;
    let call = |attempt| DecisionCall {
        request: Ask::parse(ask.as_bytes()).unwrap(),
        attempt: AttemptId::from_bytes([attempt; 32]),
        salt: Salt::from_bytes([0; 32]),
        gate: "gate".parse().unwrap(),
        deadline_ms: 20_000,
        payload: None,
    };
    let taken = arbiter.places.acquire_many(256).await.unwrap();
    let shed = arbiter.decide(call(1), &credential).await;
    assert_eq!(shed.reason.unwrap().code, ReasonCode::OverloadShed);
    assert_eq!((shed.captured, shed.receipt), (Captured::None, None));
    drop(taken);
    assert_eq!(arbiter.decide(call(2), &credential).await.decision, Decision::Permit);
}

/// One who probes waits for nothing that may take for ever.
#[tokio::test]
async fn whoever_asked_how_the_arbiter_is_waited_for_a_bundle_that_is_never_compiled() {
    let (_directory, arbiter) = arbiter();
    // Another form of what it was started with, which is not compiled.
    arbiter.bundles.is_to_be_compiled();
    let hangs = arbiter.bundles.compiled_after();
    let health = tokio::time::timeout(Duration::from_secs(30), arbiter.health()).await.expect("an answer");
    let policy = health.interlocks.iter().find(|interlock| interlock.name == "policy").unwrap();
    assert_eq!((health.ready, policy.reason), (false, Some(ReasonCode::PolicyMissing)));
    drop(hangs);
    let ready = async {
        while !arbiter.health().await.ready {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.expect("it is compiled");
}
