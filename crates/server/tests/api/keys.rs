//! At most once, over the API.

use portcullis_protocol::Outcome;
use serde_json::{Value, json};

use crate::support::{Answer, DEADLINE, Served, recorded};

async fn charge(served: &Served, amount: &str, key: &str) -> Answer {
    served.decide(&served.charge(amount, key).call(DEADLINE), "demo-agent").await
}

fn is(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
}

#[tokio::test]
async fn a_repeat_gets_the_stored_result_and_no_permit() {
    let served = Served::start().await;
    let mut report = served.spent(served.charge("1.00", "k"), Outcome::Ok).await;
    is(&charge(&served, "1.00", "k").await, 409, "idempotency.in_flight");
    report.call.result = Some("charged \"1.00\"\n".into());
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    let repeat = charge(&served, "1.00", "k").await;
    is(&repeat, 409, "idempotency.completed");
    let reply = repeat.json();
    assert_eq!(reply["decision"], "DENY");
    assert_eq!(reply["stored"], json!({ "outcome": "ok", "result": "charged \"1.00\"\n" }));
    let conflict = charge(&served, "2.00", "k").await;
    is(&conflict, 409, "idempotency.conflict");
    assert_eq!(conflict.json().get("stored"), None, "another request's result is not its business");
    assert_eq!(charge(&served, "1.00", "k2").await.status, 200);
    let (_folder, config) = served.stop().await;
    let permits = recorded(&config).iter().filter(|row| row.record.reason.is_none()).count();
    assert_eq!(permits, 2);
}

#[tokio::test]
async fn a_failed_run_is_a_run() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Failed).await;
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    let repeat = charge(&served, "1.00", "k").await;
    is(&repeat, 409, "idempotency.completed");
    assert_eq!(repeat.json()["stored"], json!({ "outcome": "failed" }));
}

#[tokio::test]
async fn an_unknown_outcome_is_never_retried_by_machine() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Unknown).await;
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    is(&charge(&served, "1.00", "k").await, 409, "idempotency.outcome_unknown");
    let after = charge(&served, "1.00", "k").await;
    is(&after, 409, "idempotency.outcome_unknown");
    assert_eq!(after.json()["stored"], Value::Null);
}

#[tokio::test]
async fn a_permit_that_was_never_spent_gives_its_key_back() {
    let served = Served::start().await;
    let attempt = served.charge("1.00", "k");
    let answer = served.decide(&attempt.call(DEADLINE), "demo-agent").await;
    let receipt = answer.json()["receipt"].as_str().unwrap().to_owned();
    let declined = attempt.redeem(&receipt, &served.trusted()).unwrap().decline();
    assert_eq!(served.report(&declined, "demo-agent").await.status, 200);
    assert_eq!(charge(&served, "1.00", "k").await.status, 200);
}

#[tokio::test]
async fn neither_a_denial_nor_silence_consumes_a_key() {
    let served = Served::start().await;
    is(&charge(&served, "100.01", "k").await, 403, "policy.no_grant");
    let call = served.charge("1.00", "k").call(DEADLINE);
    is(&served.decide(&call, "stranger-agent").await, 403, "policy.no_grant");
    portcullis_server::shut(&served.config.data, "a test").unwrap();
    is(&charge(&served, "1.00", "k").await, 503, "gate.shut");
    portcullis_server::open(&served.config.data).unwrap();
    assert_eq!(charge(&served, "1.00", "k").await.status, 200);
}

#[tokio::test]
async fn a_key_is_needed_where_the_surface_keeps_keys_and_refused_where_it_does_not() {
    let served = Served::start().await;
    let mut without = served.charge("1.00", "k").call(DEADLINE);
    without.request.idempotency_key = None;
    is(&served.decide(&without, "demo-agent").await, 400, "idempotency.key_missing");
    let mut with = served.read().call(DEADLINE);
    with.request.idempotency_key = Some("k".parse().unwrap());
    is(&served.decide(&with, "demo-agent").await, 400, "idempotency.key_unexpected");
}

#[tokio::test]
async fn of_many_at_once_under_one_key_one_is_permitted() {
    let served = Served::start().await;
    let answers = futures(&served, 16).await;
    let permitted = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(permitted, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        is(answer, 409, "idempotency.in_flight");
    }
}

/// The answers to so many charges under one key, asked at once.
async fn futures(served: &Served, count: usize) -> Vec<Answer> {
    let calls: Vec<_> = (0..count).map(|_| served.charge("1.00", "k").call(DEADLINE)).collect();
    let (address, token) = (served.address, served.token("demo-agent"));
    let mut tasks = tokio::task::JoinSet::new();
    for call in calls {
        let token = token.clone();
        tasks.spawn(async move {
            let body = serde_json::to_vec(&call).unwrap();
            crate::support::post(address, "/v1/decisions", &token, &body).await.expect("an answer")
        });
    }
    tasks.join_all().await
}
