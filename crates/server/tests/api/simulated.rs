//! Simulations over HTTP: what would be decided, on record, and nothing that could be taken for a decision.

use portcullis_protocol::{Decision, DecisionRecord, Payload, Record};
use portcullis_sdk::{HttpAuthorizer, Simulation, Token, simulate};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::open_ledger;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Served, charge};

const PATH: &str = "/v1/simulations";

fn simulated(config: &ArbiterConfig) -> Vec<DecisionRecord> {
    let mut records = Vec::new();
    let mut keep = |record| {
        if let Record::Simulation(record) = record {
            records.push(*record);
        }
    };
    open_ledger(config).unwrap().for_each(|listed| keep(listed.record)).unwrap();
    records
}

#[tokio::test]
async fn a_simulation_is_on_record_and_its_receipt_is_nobodys_permit() {
    let served = Served::start().await;
    let attempt = served.charge("12.50", "k");
    let call = serde_json::to_vec(&attempt.call(DEADLINE)).unwrap();
    let answer = served.post(PATH, "demo-agent", &call).await;
    assert_eq!((answer.status, answer.json().get("reason")), (200, None), "{answer:?}");
    let receipt = answer.json()["receipt"].as_str().unwrap().to_owned();
    // Nobody's attempt was decided: it is found by its index alone.
    let path = format!("/v1/receipts/{}", attempt.id());
    assert_eq!(served.get(&path, "demo-agent").await.status, 404);
    assert!(attempt.redeem(&receipt, &served.trusted()).is_err());
    let over = serde_json::to_vec(&served.charge("200.00", "k").call(DEADLINE)).unwrap();
    let answer = served.post(PATH, "demo-agent", &over).await;
    assert_eq!((answer.status, answer.code()), (200, "policy.no_grant".to_owned()), "{answer:?}");
    for (name, count) in [
        (r#"portcullis_simulations_total{decision="PERMIT",reason=""}"#, 1),
        (r#"portcullis_simulations_total{decision="DENY",reason="policy.no_grant"}"#, 1),
        (r#"portcullis_decisions_total{decision="PERMIT",reason=""}"#, 0),
        ("portcullis_open_permits", 0),
    ] {
        assert_eq!(served.metric(name).await, count, "{name}");
    }
    let (_folder, config) = served.stop().await;
    let would: Vec<_> = simulated(&config).iter().map(|record| record.decision).collect();
    assert_eq!(would, [Decision::Permit, Decision::Deny]);
}

/// A call that brings its arguments may be longer than any request, and was decided; simulated it was refused.
#[tokio::test]
async fn a_simulation_that_brought_long_arguments_was_refused_for_their_length() {
    let served = Served::start().await;
    let [server, method, name] = ["demo", "tools/call", "charge"].map(str::to_owned);
    let arguments = "a".repeat(100 * 1024);
    let payload = Payload { server, method, name, arguments, rest: String::new() };
    for path in ["/v1/decisions", PATH] {
        let call = served.charge("12.50", path).bringing(payload.clone()).call(DEADLINE);
        let answer = served.post(path, "demo-agent", &serde_json::to_vec(&call).unwrap()).await;
        assert_eq!((answer.status, answer.json().get("reason")), (200, None), "{path}: {answer:?}");
        let mut call = serde_json::to_value(&call).unwrap();
        call["request"]["context"]["account"] = json!("a".repeat(100 * 1024));
        let answer = served.post(path, "demo-agent", call.to_string().as_bytes()).await;
        assert_eq!(answer.code(), "request.too_large", "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_call_is_refused_by_a_code_and_nothing_is_on_record() {
    let served = Served::start().await;
    let with = |change: fn(&mut Value)| {
        let mut call = serde_json::to_value(served.charge("1.00", "k").call(DEADLINE)).unwrap();
        change(&mut call);
        call.to_string()
    };
    for (body, code) in [
        (String::new(), "request.malformed"),
        (with(|call| call["simulate"] = json!(true)), "request.unknown_field"),
        (with(|call| drop(call.as_object_mut().unwrap().remove("gate"))), "request.malformed"),
        (with(|call| call["deadline_ms"] = json!(0)), "overload.deadline"),
    ] {
        let answer = served.post(PATH, "demo-agent", body.as_bytes()).await;
        assert_eq!(answer.code(), code, "{body}: {answer:?}");
        assert_eq!(answer.json()["captured"], "none");
    }
    // Nor is anything simulated because it says so where decisions are asked for.
    let asked = with(|call| call["simulate"] = json!(true));
    let answer = served.post("/v1/decisions", "demo-agent", asked.as_bytes()).await;
    assert_eq!(answer.code(), "request.unknown_field");
    let (_folder, config) = served.stop().await;
    assert!(simulated(&config).iter().all(|record| record.reason.is_some()), "{:?}", simulated(&config));
}

#[tokio::test]
async fn a_key_that_was_only_simulated_is_used_up_by_nobody() {
    let served = Served::start().await;
    let endpoint = format!("http://{}", served.address).parse().unwrap();
    let arbiter = HttpAuthorizer::new(endpoint, Token::new(&served.token("demo-agent")), DEADLINE);
    for _ in 0..2 {
        let request = charge("12.50", "k").request().clone();
        let simulation = Simulation::new("gate".parse().unwrap(), request).unwrap();
        let would = simulate(&arbiter, simulation, &served.trusted(), DEADLINE).await.unwrap();
        assert_eq!(would.record.decision, Decision::Permit);
    }
    let answer = served.decide(&served.charge("12.50", "k").call(DEADLINE), "demo-agent").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let request = charge("12.50", "k").request().clone();
    let simulation = Simulation::new("gate".parse().unwrap(), request).unwrap();
    let refused = simulate(&arbiter, simulation, &served.trusted(), DEADLINE).await.unwrap_err();
    assert_eq!(refused.code(), portcullis_protocol::ReasonCode::IdempotencyInFlight);
    assert!(refused.receipt().is_some());
}
