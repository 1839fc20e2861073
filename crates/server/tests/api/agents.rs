//! What an agent can do about its own attempts, and nothing about another's.

use portcullis_protocol::wire::OutcomeCall;
use portcullis_protocol::{AttemptId, Nonce, Outcome, Record};
use portcullis_sdk::OutcomeReport;
use portcullis_verify::UnverifiedReceipt;

use crate::support::{Answer, DEADLINE, Served, recorded};

#[tokio::test]
async fn an_agent_gets_the_receipts_of_its_own_attempts_and_no_others() {
    let served = Served::start().await;
    let open = served.read();
    assert!(served.decide(&open.call(DEADLINE), "demo-agent").await.json()["receipt"].is_string());
    let pending = served.get(&format!("/v1/receipts/{}", open.id()), "demo-agent").await;
    assert_eq!((pending.status, pending.code().as_str()), (409, "request.permit_open"));
    let spent = served.spent(served.charge("1.00", "a receipt"), Outcome::Ok).await;
    assert_eq!(served.report(&spent, "demo-agent").await.status, 200);
    let id = spent.attempt;
    let path = format!("/v1/receipts/{id}");
    let found = served.get(&path, "demo-agent").await;
    assert_eq!(found.status, 200);
    let receipt = UnverifiedReceipt::parse(&found.body).unwrap();
    let record = receipt.verify(std::slice::from_ref(&served.config.log_key)).unwrap().record().unwrap();
    let Record::Decision(record) = record else { panic!("{record:?}") };
    assert_eq!((record.attempt, record.agent.as_str()), (id, "demo-agent"));
    for (agent, id) in [("stranger-agent", id), ("ghost", id), ("stranger-agent", open.id())] {
        let hidden = served.get(&format!("/v1/receipts/{id}"), agent).await;
        assert_eq!((hidden.status, hidden.body.len()), (404, 0), "{agent}");
    }
    let nobodys = served.get(&format!("/v1/receipts/{}", "0".repeat(64)), "demo-agent").await;
    assert_eq!((nobodys.status, nobodys.body.len()), (404, 0), "the same as for another's");
    for unreadable in ["zz", "%2e%2e", &"A".repeat(64)] {
        let answer = served.get(&format!("/v1/receipts/{unreadable}"), "demo-agent").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "request.invalid_value"), "{unreadable}");
    }
}

#[tokio::test]
async fn a_receipt_that_cannot_be_looked_for_is_not_said_to_be_absent() {
    let served = Served::start().await;
    let attempt = served.read();
    served.decide(&attempt.call(DEADLINE), "demo-agent").await;
    let path = format!("/v1/receipts/{}", attempt.id());
    let (folder, config) = served.stop().await;
    std::fs::remove_file(&config.anchor).unwrap();
    let blind = Served::unready(folder, config).await;
    let answer = blind.until(&path, "demo-agent", |answer| answer.code() != "evidence.recovering").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "evidence.behind_anchor"), "{answer:?}");
}

/// The report with another nonce.
fn forged(report: &OutcomeReport, nonce: &str) -> OutcomeReport {
    let OutcomeCall { outcome, result, .. } = report.call.clone();
    let call = OutcomeCall { nonce: nonce.into(), outcome, result };
    OutcomeReport { attempt: report.attempt, call, within: report.within }
}

fn refused(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (400, "request.invalid_value"), "{answer:?}");
}

fn ended(answer: &Answer) {
    assert_eq!((answer.status, answer.code().as_str()), (409, "request.outcome_recorded"), "{answer:?}");
}

#[tokio::test]
async fn an_outcome_comes_from_who_held_the_attempt_once() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Ok).await;
    let attempt = report.attempt.to_string();
    for nonce in ["", "0", &"0".repeat(64), &attempt, &report.call.nonce.to_uppercase(), "null"] {
        refused(&served.report(&forged(&report, nonce), "demo-agent").await);
    }
    let foreign = Nonce::from_bytes([7; 32]);
    let misplaced = OutcomeReport { attempt: foreign.attempt_id(), ..forged(&report, &foreign.reveal()) };
    refused(&served.report(&misplaced, "demo-agent").await);
    let elsewhere =
        OutcomeReport { attempt: AttemptId::from_bytes([7; 32]), ..forged(&report, &report.call.nonce) };
    refused(&served.report(&elsewhere, "demo-agent").await);
    for agent in ["stranger-agent", "ghost"] {
        refused(&served.report(&report, agent).await);
    }
    let mut withheld = forged(&report, &report.call.nonce);
    withheld.call.outcome = Outcome::Withheld;
    refused(&served.report(&withheld, "demo-agent").await);

    let first = served.report(&report, "demo-agent").await;
    assert_eq!(first.status, 200, "{first:?}");
    let again = served.report(&report, "demo-agent").await;
    assert_eq!((again.status, &again.body), (200, &first.body), "the same report is on record already");
    let mut other = forged(&report, &report.call.nonce);
    other.call.outcome = Outcome::Failed;
    ended(&served.report(&other, "demo-agent").await);

    let (_folder, config) = served.stop().await;
    let outcomes: Vec<_> = recorded(&config).iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Ok)]);
}

#[tokio::test]
async fn a_late_outcome_supersedes_an_unknown_one_and_nothing_else() {
    let served = Served::start().await;
    let report = served.spent(served.charge("1.00", "k"), Outcome::Unknown).await;
    assert_eq!(served.report(&report, "demo-agent").await.status, 200);
    let mut late = forged(&report, &report.call.nonce);
    late.call.outcome = Outcome::Failed;
    assert_eq!(served.report(&late, "demo-agent").await.status, 200);
    late.call.outcome = Outcome::Ok;
    ended(&served.report(&late, "demo-agent").await);
    let (_folder, config) = served.stop().await;
    assert_eq!(recorded(&config)[0].outcome, Some(Outcome::Failed));
}

#[tokio::test]
async fn the_same_attempt_for_another_request_is_refused_and_for_the_same_answered_again() {
    let served = Served::start().await;
    let attempt = served.charge("1.00", "k");
    let call = attempt.call(DEADLINE);
    let first = served.decide(&call, "demo-agent").await;
    assert_eq!(first.status, 200);
    let again = served.decide(&call, "demo-agent").await;
    assert_eq!((again.status, again.json()["decision"].as_str()), (200, Some("PERMIT")), "{again:?}");
    let mut other = call.clone();
    other.request = served.charge("2.00", "k2").call(DEADLINE).request;
    let reused = served.decide(&other, "demo-agent").await;
    assert_eq!((reused.status, reused.code().as_str()), (409, "request.attempt_reused"));
    // Both answers are about one PERMIT.
    let (_folder, config) = served.stop().await;
    let permits = recorded(&config).iter().filter(|row| row.record.reason.is_none()).count();
    assert_eq!(permits, 1);
}

/// What a body says of whom it is asked for is held against the credential that came with it, and recorded either way.
#[tokio::test]
async fn a_principal_is_a_claim_that_the_credential_admits_or_not() {
    let served = Served::start().await;
    let cases = [
        ("demo-agent", None, ""),
        ("demo-agent", Some("stranger-agent"), "identity.principal"),
        ("demo-agent", Some("demo-agent"), "identity.principal"),
        // The same agent by two credentials: one lets it act for somebody, the other for itself.
        ("delegate", Some("demo-agent"), "policy.no_grant"),
        ("delegate", Some("maya"), "identity.principal"),
        ("delegate", None, "identity.principal"),
        ("stranger-agent", None, "policy.no_grant"),
        ("stranger-agent", Some("demo-agent"), "identity.principal"),
    ];
    for (token, acts_for, code) in cases {
        let mut call = served.read().call(DEADLINE);
        call.request.acts_for = acts_for.map(|name| name.parse().unwrap());
        let answer = served.decide(&call, token).await;
        assert_eq!(answer.code(), code, "{token} {acts_for:?}");
        assert_eq!(answer.json()["captured"], "logged");
        assert!(code != "identity.principal" || answer.status == 403, "{answer:?}");
    }
    let mut spelled = serde_json::to_value(served.read().call(DEADLINE)).unwrap();
    for (acts_for, code) in [
        (serde_json::json!("Maya"), "request.invalid_value"),
        (serde_json::json!(["maya"]), "request.malformed"),
        (serde_json::json!({ "id": "maya" }), "request.malformed"),
    ] {
        spelled["request"]["acts_for"] = acts_for;
        let answer = served.post("/v1/decisions", "demo-agent", spelled.to_string().as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{spelled}");
    }
    let (_folder, config) = served.stop().await;
    let named: Vec<_> = recorded(&config)
        .iter()
        .map(|row| (row.record.acts_for.clone(), row.record.behind().is_some()))
        .collect();
    let expected = cases.map(|(_, acts_for, code)| {
        let named = acts_for.map(|name| name.parse().unwrap());
        (named, acts_for.is_some() && code != "identity.principal")
    });
    assert_eq!(named, expected);
}

/// Who may do what at which endpoint, as checked in.
#[tokio::test]
async fn the_roles_at_every_endpoint_are_as_checked_in() {
    let served = Served::start().await;
    let spent = served.spent(served.charge("1.00", "roles"), Outcome::Ok).await;
    assert_eq!(served.report(&spent, "demo-agent").await.status, 200);
    let receipt = format!("/v1/receipts/{}", spent.attempt);
    let said = |answer: &Answer| {
        let code = answer.code();
        let what = if code.is_empty() { String::new() } else { format!(" {code}") };
        format!("{}{what}", answer.status)
    };
    let mut table = format!("{:<16}{:<44}answer\n", "role", "endpoint");
    for role in [
        "nobody",
        "wrong-token",
        "expired",
        "ghost",
        "stranger-agent",
        "delegate",
        "auditor",
        "demo-agent",
        "retired",
        "operator",
    ] {
        let token = if role == "nobody" { "" } else { role };
        let mut row = |endpoint: &str, answer: &Answer| {
            table += &format!("{role:<16}{endpoint:<44}{}\n", said(answer));
        };
        row("decide demo.read_balance", &served.decide(&served.read().call(DEADLINE), token).await);
        let charge = served.charge("1.00", &format!("of-{role}"));
        row("decide demo.charge 1.00", &served.decide(&charge.call(DEADLINE), token).await);
        let dear = served.charge("100.01", &format!("dear-of-{role}"));
        row("decide demo.charge 100.01", &served.decide(&dear.call(DEADLINE), token).await);
        row("receipt of demo-agent's attempt", &served.get(&receipt, token).await);
        row("outcome of demo-agent's attempt", &served.report(&spent, token).await);
        row("surfaces", &served.get("/v1/surfaces", token).await);
        row("whoami", &served.get("/v1/whoami", token).await);
        let order = serde_json::json!({
            "what": { "resolve_outcome": { "attempt": spent.attempt, "outcome": "ok" } }, "reason": "x",
        });
        let ordered = served.post("/v1/operator/orders", token, order.to_string().as_bytes()).await;
        row("order about what is in no doubt", &ordered);
        for path in
            ["/log/checkpoint", "/log/tile/0/000.p/1", "/healthz", "/readyz", "/metrics", "/openapi.json"]
        {
            row(path, &served.get(path, token).await);
        }
    }
    insta::assert_snapshot!("roles", table);
}
