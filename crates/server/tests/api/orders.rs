//! Orders of operators over the API.

use portcullis_protocol::{Event, Outcome, Record};
use serde_json::{Value, json};

use crate::support::{Served, recorded};

const ORDERS: &str = "/v1/operator/orders";

fn resolve(attempt: &str, outcome: &str) -> Value {
    json!({ "what": { "resolve_outcome": { "attempt": attempt, "outcome": outcome } }, "reason": "looked" })
}

#[tokio::test]
async fn an_operator_resolves_what_is_in_doubt_and_an_agent_cannot() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Unknown).await;
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    let body = resolve(&report.attempt.to_string(), "failed").to_string().into_bytes();
    for agent in ["demo-agent", "stranger-agent"] {
        let answer = served.post(ORDERS, agent, &body).await;
        assert_eq!((answer.status, answer.body.len()), (403, 0), "{agent}");
    }
    for nobody in ["", "retired", "wrong"] {
        let answer = served.post(ORDERS, nobody, &body).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0), "{nobody}");
    }
    let answer = served.post(ORDERS, "operator", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seq = answer.json()["seq"].as_u64().unwrap();
    let again = served.post(ORDERS, "operator", &body).await;
    assert_eq!((again.status, again.code().as_str()), (400, "request.invalid_value"), "{again:?}");

    let (_folder, config) = served.stop().await;
    assert_eq!(recorded(&config)[0].outcome, Some(Outcome::Failed));
    let mut orders = Vec::new();
    let mut turned_away = 0;
    let ledger = portcullis_server::open_ledger(&config).unwrap();
    ledger
        .for_each(|listed| {
            if let Record::Event(event) = &listed.record
                && event.event == Event::Ordered
            {
                orders.push((event.seq, event.order.clone()));
            }
            if let Record::Aggregate(counted) = &listed.record
                && counted.reason.is_none()
                && counted.agent.is_some()
            {
                turned_away += counted.count;
            }
        })
        .unwrap();
    let [(at, Some(order))] = orders.as_slice() else { panic!("{orders:?}") };
    assert_eq!((*at, order.by.as_str(), order.reason.as_str()), (seq, "operator", "looked"));
    assert_eq!(turned_away, 2, "agents that tried are counted by name");
}

#[tokio::test]
async fn an_order_that_is_none_is_refused_and_changes_nothing() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Unknown).await;
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    let attempt = report.attempt.to_string();
    let good = resolve(&attempt, "ok");
    let changed = |pointer: &str, value: Value| {
        let mut call = good.clone();
        *call.pointer_mut(pointer).unwrap() = value;
        call.to_string()
    };
    for (body, status) in [
        (String::new(), 400),
        ("{}".to_owned(), 400),
        ("[]".to_owned(), 400),
        (changed("/what", json!({ "permit": {} })), 400),
        (changed("/what", json!({})), 400),
        (changed("/reason", json!("")), 400),
        (changed("/reason", json!("x".repeat(501))), 400),
        (changed("/what/resolve_outcome/outcome", json!("withheld")), 400),
        (changed("/what/resolve_outcome/outcome", json!("unknown")), 400),
        (changed("/what/resolve_outcome/attempt", json!("0".repeat(64))), 400),
        (good.to_string().replacen('{', r#"{"by":"root","#, 1), 400),
        (good.to_string().replacen('{', r#"{"reason":"x","#, 1), 400),
        (changed("/reason", json!("x".repeat(20_000))), 413),
    ] {
        let answer = served.post(ORDERS, "operator", body.as_bytes()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let (_folder, config) = served.stop().await;
    assert_eq!(recorded(&config)[0].outcome, Some(Outcome::Unknown));
}
