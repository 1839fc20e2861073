//! What gates have entered late: their own agent's, once, and never anything that decides.

use portcullis_protocol::{LateRecord, Millis, ReasonCode, Record, SpoolId, Spooled};
use portcullis_server::config::ArbiterConfig;
use portcullis_server::open_ledger;
use serde_json::{Value, json};

use crate::support::{Answer, DEADLINE, Served, charge, post, recorded};

/// Entries of one gate's spool, from number 0 on.
fn entries(count: u64, reason: ReasonCode) -> Vec<Spooled> {
    let entry = |number| {
        let attempted =
            charge("12.50", &format!("key-{number}")).attempted(Millis(1_700_000_000_000), reason);
        Spooled { spool: SpoolId::from_bytes([5; 32]), number, attempted }
    };
    (0..count).map(entry).collect()
}

async fn send(served: &Served, token: &str, body: &Value) -> Answer {
    post(served.address, "/v1/late", token, body.to_string().as_bytes()).await.expect("an answer")
}

async fn sent(served: &Served, entries: &[Spooled]) -> u64 {
    let answer = send(served, &served.token("demo-agent"), &json!({ "entries": entries })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["taken"].as_u64().unwrap()
}

fn late(config: &ArbiterConfig) -> Vec<LateRecord> {
    let mut late = Vec::new();
    let keep = |record| {
        if let Record::Late(record) = record {
            late.push(record)
        }
    };
    let mut keep = keep;
    open_ledger(config).unwrap().for_each(|listed| keep(listed.record)).unwrap();
    late
}

#[tokio::test]
async fn a_gates_attempts_are_entered_once_however_often_they_are_sent() {
    let served = Served::start().await;
    let mut kept = entries(5, ReasonCode::ArbiterTimeout);
    // One that came while an outcome was not on record.
    kept[2].attempted.reason = ReasonCode::EvidenceOutcomeUnrecorded;
    assert_eq!(sent(&served, &kept[..2]).await, 2);
    assert_eq!(sent(&served, &kept).await, 5);
    assert_eq!(sent(&served, &kept[1..4]).await, 3);
    let (folder, config) = served.stop().await;
    let served = Served::over(folder, config).await;
    assert_eq!(sent(&served, &kept).await, 5);
    let (_folder, config) = served.stop().await;
    let late = late(&config);
    assert_eq!(late.iter().map(|late| late.entry.clone()).collect::<Vec<_>>(), kept);
    assert!(recorded(&config).is_empty(), "a late record is no decision");
}

#[tokio::test]
async fn no_agent_has_attempts_of_another_entered_or_taken_for_known() {
    let served = Served::start().await;
    let kept = entries(2, ReasonCode::ArbiterUnreachable);
    let stranger = served.token("stranger-agent");
    let refused = send(&served, &stranger, &json!({ "entries": kept })).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "request.invalid_value"));
    // One of another agent's among those of its own.
    let mut own = kept.clone();
    own.iter_mut().for_each(|entry| entry.attempted.agent = "stranger-agent".parse().unwrap());
    let refused = send(&served, &stranger, &json!({ "entries": [own[0], kept[0]] })).await;
    assert_eq!(refused.code(), "request.invalid_value");
    // The same spool and the highest number, in its own name: nobody else's entries become known by it.
    own[1].number = (1 << 53) - 2;
    assert_eq!(send(&served, &stranger, &json!({ "entries": own })).await.status, 200);
    assert_eq!(sent(&served, &kept).await, 2);
    let (_folder, config) = served.stop().await;
    let agents: Vec<_> = late(&config).iter().map(|late| late.entry.attempted.agent.to_string()).collect();
    assert_eq!(agents, ["stranger-agent", "stranger-agent", "demo-agent", "demo-agent"]);
}

#[tokio::test]
async fn what_is_no_attempt_without_an_answer_is_refused() {
    let served = Served::start().await;
    let token = served.token("demo-agent");
    for reason in ReasonCode::ALL {
        let body = json!({ "entries": entries(1, *reason) });
        let own = [
            ReasonCode::ArbiterTimeout,
            ReasonCode::ArbiterUnreachable,
            ReasonCode::ReceiptUnverifiable,
            ReasonCode::EvidenceOutcomeUnrecorded,
        ];
        if !own.contains(reason) {
            assert_eq!(send(&served, &token, &body).await.code(), "request.invalid_value", "{reason}");
        }
    }
    let one = serde_json::to_value(&entries(1, ReasonCode::ArbiterTimeout)[0]).unwrap();
    let with = |key: &str, value: Value| {
        let mut changed = one.clone();
        changed["attempted"][key] = value;
        json!({ "entries": [changed] })
    };
    let many = vec![one.clone(); 65];
    for body in [
        json!({ "entries": [] }),
        json!({ "entries": many }),
        json!({ "entries": [one.clone()], "decision": "PERMIT" }),
        json!({ "entries": [{ "spool": one["spool"], "number": 0 }] }),
        with("decision", json!("PERMIT")),
        with("reason", json!("policy.no_such_code")),
        with("agent", json!("demo-agent ")),
        with("resource", json!({ "type": "Surface", "id": "x".repeat(40_000) })),
        with("at", json!(-1)),
    ] {
        let refused = send(&served, &token, &body).await;
        assert!([400, 413].contains(&refused.status), "{refused:?}");
    }
    let long = send(&served, &token, &with("request", json!("x".repeat(300_000)))).await;
    assert_eq!(long.status, 413);
    let (_folder, config) = served.stop().await;
    assert!(late(&config).is_empty());
}

#[tokio::test]
async fn a_late_record_uses_neither_its_attempt_nor_its_key() {
    let served = Served::start().await;
    let attempt = charge("12.50", "key-1");
    let attempted = attempt.attempted(Millis(1), ReasonCode::ArbiterTimeout);
    let entry = Spooled { spool: SpoolId::from_bytes([6; 32]), number: 0, attempted };
    assert_eq!(sent(&served, &[entry]).await, 1);
    // It is not found by its attempt either, which has no decision yet.
    let path = format!("/v1/receipts/{}", attempt.id());
    assert_eq!(served.get(&path, "demo-agent").await.status, 404);
    let answer = served.decide(&attempt.call(DEADLINE), "demo-agent").await;
    assert_eq!(answer.json()["decision"], "PERMIT", "{answer:?}");
}

#[tokio::test]
async fn a_flood_of_late_attempts_is_bounded_by_the_agents_share() {
    let served = Served::start().await;
    let kept = entries(640, ReasonCode::ArbiterTimeout);
    let mut taken = 0;
    for some in kept.chunks(64) {
        let now = sent(&served, some).await;
        taken += now;
        if now < 64 {
            break;
        }
    }
    assert!((200..400).contains(&taken), "{taken}");
    // Decisions of the same agent that are refused are counted now, and a PERMIT is granted.
    let answer = served.decide(&charge("1.00", "k").call(DEADLINE), "demo-agent").await;
    assert_eq!(answer.json()["decision"], "PERMIT", "{answer:?}");
}
