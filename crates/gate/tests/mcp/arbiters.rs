//! Whatever an arbiter answers but a PERMIT that verifies, nothing reaches the tool server.

use std::time::Duration;

use portcullis_protocol::{Outcome, ReasonCode};

use super::arbiter::Act;
use super::support::{Gate, code, table, told};

async fn blocked(act: Act, expected: ReasonCode) {
    let hangs = matches!(act, Act::Hang);
    let deadline = if hangs { Duration::from_millis(500) } else { crate::PATIENCE };
    let mut gate = Gate::with(|config| config.deadline = deadline);
    gate.arbiter.will(act.clone());
    for tool in ["read", "pay", "move", "unheard-of"] {
        let answer = gate.tool(1, tool, "{}").await;
        assert_eq!(code(&answer), expected.as_str(), "{act:?}: {answer}");
        assert_eq!(answer["result"]["isError"], true);
        assert_eq!(told(&answer)["decision"], expected.decision().as_str());
    }
    assert_eq!(gate.journal().await, [""; 0], "{act:?}");
}

#[tokio::test]
async fn a_denial_blocks() {
    blocked(Act::Refuse(ReasonCode::PolicyForbidden), ReasonCode::PolicyForbidden).await;
}

#[tokio::test]
async fn silence_blocks() {
    blocked(Act::Refuse(ReasonCode::EvidenceUnwritable), ReasonCode::EvidenceUnwritable).await;
}

#[tokio::test]
async fn a_hung_arbiter_blocks_within_the_deadline() {
    blocked(Act::Hang, ReasonCode::ArbiterTimeout).await;
}

#[tokio::test]
async fn a_lost_arbiter_blocks() {
    blocked(Act::Lost, ReasonCode::ArbiterUnreachable).await;
}

#[tokio::test]
async fn a_permit_that_proves_nothing_blocks() {
    blocked(Act::Garbage(String::new()), ReasonCode::ReceiptUnverifiable).await;
    blocked(Act::Garbage("PERMIT".into()), ReasonCode::ReceiptUnverifiable).await;
    blocked(Act::NoReceipt, ReasonCode::ReceiptUnverifiable).await;
    blocked(Act::OtherAttempt, ReasonCode::ReceiptUnverifiable).await;
}

#[tokio::test]
async fn a_permit_that_comes_after_its_lifetime_blocks() {
    blocked(Act::PermitTooLate(Duration::from_millis(20)), ReasonCode::PermitExpired).await;
}

#[tokio::test]
async fn a_surface_table_that_cannot_be_had_blocks() {
    let mut gate = Gate::start();
    *gate.arbiter.table.lock().unwrap() = Err(ReasonCode::PolicyMissing);
    assert_eq!(code(&gate.tool(1, "read", "{}").await), "policy.missing");
    assert_eq!(gate.arbiter.questions().len(), 0);
    assert_eq!(gate.journal().await, [""; 0]);
    *gate.arbiter.table.lock().unwrap() = Ok(table(1));
    assert_eq!(gate.tool(2, "read", "{}").await["result"]["isError"], false);
}

#[tokio::test]
async fn a_blocked_call_tells_the_agent_all_it_may_know() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::Refuse(ReasonCode::PolicyForbidden));
    let answer = gate.tool(1, "read", "{}").await;
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    for part in ["policy forbids this request", "policy.forbidden", "Do not try"] {
        assert!(text.contains(part), "{text}");
    }
    let attempt = gate.arbiter.questions()[0].attempt.to_string();
    assert_eq!(told(&answer)["receipt"], attempt.as_str());
    assert_eq!(told(&answer)["captured"], "logged");
    assert_eq!(told(&answer)["waiting_helps"], false);

    gate.arbiter.will(Act::Lost);
    let answer = gate.tool(2, "read", "{}").await;
    assert_eq!(told(&answer)["decision"], "SILENCE");
    assert_eq!(told(&answer)["captured"], "none");
    assert_eq!(told(&answer)["receipt"], serde_json::Value::Null);
    assert_eq!(told(&answer)["waiting_helps"], true);
}

#[tokio::test]
async fn a_changed_mapping_is_fetched_and_decided_anew_once() {
    let mut gate = Gate::start();
    gate.tool(1, "read", "{}").await;
    assert_eq!(*gate.arbiter.tables.lock().unwrap(), 1);
    // Whoever gives the gate other rules than the arbiter's has them named in the request that is decided.
    let rules = table(1).digest().unwrap();
    assert_eq!(gate.arbiter.questions()[0].request.mapped_with, Some(rules));

    gate.arbiter.will(Act::PermitMappedWith(2));
    *gate.arbiter.table.lock().unwrap() = Ok(table(2));
    assert_eq!(gate.tool(2, "read", "{}").await["result"]["isError"], false);
    assert_eq!(*gate.arbiter.tables.lock().unwrap(), 2);
    assert_eq!(gate.arbiter.questions().len(), 3);

    gate.arbiter.will(Act::PermitMappedWith(3));
    assert_eq!(code(&gate.tool(3, "read", "{}").await), "surface.mapping_changed");
    assert_eq!(gate.arbiter.questions().len(), 5);
    assert_eq!(gate.journal().await.len(), 2);
}

#[tokio::test]
async fn a_call_that_only_the_old_rules_refuse_is_read_by_the_new_ones() {
    let mut gate = Gate::start();
    gate.tool(1, "read", "{}").await;
    let mut new = table(2);
    new.surfaces.get_mut(&"rec.write".parse().unwrap()).unwrap().context.clear();
    *gate.arbiter.table.lock().unwrap() = Ok(new);
    assert_eq!(gate.tool(2, "write", "{}").await["result"]["isError"], false);
}

#[tokio::test]
async fn a_tool_whose_name_fits_no_surface_is_decided_and_never_runs() {
    let mut gate = Gate::start();
    for tool in ["Read", "read.all", "", "rèad", "_read"] {
        let answer = gate.tool(1, tool, "{}").await;
        assert_eq!(code(&answer), "surface.unknown", "{tool}");
    }
    let surfaces: Vec<_> =
        gate.arbiter.questions().iter().map(|call| call.request.surface.to_string()).collect();
    assert_eq!(surfaces, ["rec.mcp.unknown"; 5]);
    // The PERMITs that it got all the same are given back.
    assert_eq!(gate.arbiter.settled(5).await, [const { (Outcome::Expired, None) }; 5]);
    assert_eq!(gate.journal().await, [""; 0]);
}

#[tokio::test]
async fn calls_beyond_the_bound_are_shed() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::PermitWhenReleased);
    for id in 0..256 {
        gate.call(id, "read", "{}").await;
    }
    gate.arbiter.asked(256).await;
    assert_eq!(code(&gate.tool(999, "read", "{}").await), "overload.shed");
    assert_eq!(gate.journal().await, [""; 0]);
    gate.arbiter.release.add_permits(256);
    for _ in 0..256 {
        assert_eq!(gate.next().await["result"]["isError"], false);
    }
    assert_eq!(gate.journal().await.len(), 256);
}
