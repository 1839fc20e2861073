//! Lists of tools: of the agent that the token names, on record, and of nothing that is no list.

use portcullis_protocol::{ListingRecord, Record};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::open_ledger;
use serde_json::{Value, json};

use crate::support::{Answer, Served, post, recorded};

fn body() -> Value {
    json!({
        "listing": format!("sha256:{}", "1".repeat(64)), "gate": "gate", "server": "demo",
        "tools": ["demo/read_balance", "demo/delete_account"], "deadline_ms": 20_000,
    })
}

async fn send(served: &Served, token: &str, body: &str) -> Answer {
    post(served.address, "/v1/listings", token, body.as_bytes()).await.expect("an answer")
}

fn lists(config: &ArbiterConfig) -> Vec<ListingRecord> {
    let mut lists = Vec::new();
    let mut keep = |record| {
        if let Record::Listing(record) = record {
            lists.push(*record);
        }
    };
    open_ledger(config).unwrap().for_each(|listed| keep(listed.record)).unwrap();
    lists
}

#[tokio::test]
async fn a_list_is_of_the_agent_whose_token_came_with_it_and_is_no_decision() {
    let served = Served::start().await;
    for agent in ["demo-agent", "stranger-agent"] {
        let answer = send(&served, &served.token(agent), &body().to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer.json()["receipt"].as_str().unwrap().starts_with("c2sp.org/tlog-proof@v1"),
            "{answer:?}"
        );
    }
    let (_folder, config) = served.stop().await;
    let shown = |list: &ListingRecord| list.shown.iter().map(ToString::to_string).collect::<Vec<_>>();
    let lists: Vec<_> = lists(&config).iter().map(|list| (list.agent.to_string(), shown(list))).collect();
    let expected = [
        ("demo-agent".to_owned(), vec!["demo/read_balance".to_owned()]),
        ("stranger-agent".to_owned(), vec![]),
    ];
    assert_eq!(lists, expected);
    assert!(recorded(&config).is_empty(), "a list is no decision");
}

#[tokio::test]
async fn what_is_no_list_is_refused_by_a_code_and_nothing_is_on_record() {
    let served = Served::start().await;
    let with = |change: fn(&mut Value)| {
        let mut body = body();
        change(&mut body);
        body.to_string()
    };
    let twice = body().to_string().replacen('{', r#"{"gate":"other","#, 1);
    for (body, code) in [
        (String::new(), "request.malformed"),
        ("[]".to_owned(), "request.malformed"),
        (twice, "request.duplicate_key"),
        (with(|body| body["agent"] = json!("demo-agent")), "request.unknown_field"),
        (with(|body| drop(body.as_object_mut().unwrap().remove("tools"))), "request.malformed"),
        (with(|body| body["tools"] = json!(["read_balance"])), "request.malformed"),
        (with(|body| body["server"] = json!("git")), "request.invalid_value"),
        (
            with(|body| body["tools"] = (0..501).map(|n| json!(format!("demo/{n}"))).collect()),
            "request.invalid_value",
        ),
        (with(|body| body["acts_for"] = json!("maya")), "identity.principal"),
        (with(|body| body["deadline_ms"] = json!(0)), "overload.deadline"),
    ] {
        let answer = send(&served, &served.token("demo-agent"), &body).await;
        assert_eq!(answer.json()["reason"]["code"], code, "{body}: {answer:?}");
    }
    let (_folder, config) = served.stop().await;
    assert_eq!(lists(&config), []);
}
