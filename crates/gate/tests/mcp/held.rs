//! Calls on surfaces with `on_silence = "pause"`: held while something that every call needs is away, and decided anew.

use portcullis_gate::McpGate;
use portcullis_protocol::{Idempotency, OnSilence, Outcome, ReasonCode, SurfaceSpec};
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::Act;
use super::support::{Gate, code, surface, table, told};

const LONG: u64 = 600_000;
const GONE: Act = Act::Refuse(ReasonCode::EvidenceUnwritable);

/// A gate on whose surface `rec.held` calls are held for so many milliseconds, and `rec.read` are not. It has read its table.
async fn holding(at_most_ms: u64) -> Gate {
    holding_with(at_most_ms, |_| ()).await
}

/// The same, of a gate that is changed before it starts.
async fn holding_with(at_most_ms: u64, change: impl FnOnce(&mut McpGate)) -> Gate {
    let mut gate = Gate::with(change);
    let mut table = table(1);
    let on_silence = OnSilence::Pause { at_most_ms };
    let held = SurfaceSpec { on_silence, ..surface(Idempotency::None, &[]) };
    table.surfaces.insert("rec.held".parse().unwrap(), held);
    *gate.arbiter.table.lock().unwrap() = Ok(table);
    let heard = gate.tool(100, "read", "{}").await;
    assert_eq!(heard["id"], 100);
    gate.arbiter.settled(1).await;
    gate
}

fn call(id: u64) -> String {
    let params = json!({ "name": "held", "arguments": {}, "_meta": { "progressToken": "p-1" } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
}

/// What has reached the tool server of calls on the surface.
async fn ran(gate: &mut Gate) -> usize {
    gate.journal().await.iter().filter(|line| line.contains(r#""name":"held""#)).count()
}

/// Word that a call is held, and how far it says that it is.
fn held(told: &Value, why: &str) -> f64 {
    assert_eq!(
        (&told["method"], &told["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!("p-1"))
    );
    assert!(told["params"]["message"].as_str().unwrap().starts_with(&format!("held: {why}: ")), "{told}");
    told["params"]["progress"].as_f64().unwrap()
}

#[tokio::test]
async fn a_held_call_is_decided_anew_when_the_arbiter_is_ready_and_runs_once() {
    let mut gate = holding(LONG).await;
    gate.arbiter.will(GONE);
    gate.arbiter.ready.send_replace(false);
    let first = held(&gate.ask(&call(1)).await, "evidence.unwritable");
    let second = held(&gate.next().await, "evidence.unwritable");
    assert!(0.0 < first && first < second && second < 1.0, "{first} {second}");
    // Nobody is asked for a decision that cannot be.
    assert_eq!(gate.arbiter.questions().len(), 2);
    gate.arbiter.will(Act::Permit);
    gate.arbiter.ready.send_replace(true);
    let mut heard = gate.next().await;
    while heard["method"] == "notifications/progress" {
        heard = gate.next().await;
    }
    assert_eq!((&heard["id"], heard.get("error")), (&json!(1), None));
    assert_eq!(gate.arbiter.settled(2).await[1], (Outcome::Ok, None));
    let asked = gate.arbiter.questions();
    assert_eq!(asked.len(), 3);
    assert_ne!(asked[1].attempt, asked[2].attempt, "one decision counted for two attempts");
    assert_eq!(ran(&mut gate).await, 1);
}

#[tokio::test]
async fn a_held_call_is_refused_when_its_time_is_over() {
    let mut gate = holding(300).await;
    gate.arbiter.will(GONE);
    gate.arbiter.ready.send_replace(false);
    let heard = gate.tool(1, "held", "{}").await;
    assert_eq!(code(&heard), "evidence.unwritable");
    // It is over, whatever comes now.
    gate.arbiter.will(Act::Permit);
    gate.arbiter.ready.send_replace(true);
    assert_eq!(ran(&mut gate).await, 0);
}

/// An arbiter that says that it is ready and refuses all the same is asked again, ever more rarely, and not beyond the bound.
#[tokio::test]
async fn an_arbiter_that_is_ready_and_silent_holds_a_call_no_longer_than_its_surface_says() {
    let mut gate = holding(3_000).await;
    gate.arbiter.will(GONE);
    let heard = gate.tool(1, "held", "{}").await;
    assert_eq!(code(&heard), "evidence.unwritable");
    let asked = gate.arbiter.questions().len();
    assert!((3..=6).contains(&asked), "{asked}");
    assert_eq!(ran(&mut gate).await, 0);
}

/// A call took as many places of the spool as it was looked at.
#[tokio::test]
async fn a_held_call_was_kept_anew_at_each_look() {
    let spools = tempfile::tempdir().unwrap();
    let mut gate = holding_with(3_000, |config| config.spool = Some(spools.path().to_owned())).await;
    gate.arbiter.will(Act::Lost);
    let heard = gate.tool(1, "held", "{}").await;
    assert_eq!((code(&heard), &told(&heard)["captured"]), ("arbiter.unreachable", &json!("spooled")));
    let asked = gate.arbiter.questions().len();
    assert!(asked >= 3, "{asked}");
    let files = std::fs::read_dir(spools.path()).unwrap();
    let kept: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(kept.matches(r#""surface":"rec.held""#).count(), 1, "{kept}");
}

#[tokio::test]
async fn a_held_call_that_is_cancelled_never_runs() {
    let mut gate = holding(LONG).await;
    gate.arbiter.will(GONE);
    gate.arbiter.ready.send_replace(false);
    held(&gate.ask(&call(1)).await, "evidence.unwritable");
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#).await;
    // The id is free once the call has ended.
    let again =
        |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "read" } });
    gate.arbiter.will(Act::Permit);
    loop {
        let heard = gate.ask(&again(1).to_string()).await;
        if heard.get("error").is_none() && heard["id"] == 1 && heard["result"]["isError"] != true {
            break;
        }
    }
    gate.arbiter.ready.send_replace(true);
    let asked = gate.arbiter.questions();
    let of_it = asked.iter().filter(|asked| asked.request.surface.as_str() == "rec.held").count();
    assert_eq!(of_it, 1, "it was decided anew");
    assert_eq!(ran(&mut gate).await, 0);
}

#[tokio::test]
async fn a_denial_a_defect_of_the_call_and_a_surface_that_terminates_are_answered_at_once() {
    let mut gate = holding(LONG).await;
    gate.arbiter.ready.send_replace(false);
    for refused in [ReasonCode::PolicyNoGrant, ReasonCode::OverloadShed, ReasonCode::PolicyEvaluationError] {
        gate.arbiter.will(Act::Refuse(refused));
        assert_eq!(code(&gate.tool(1, "held", "{}").await), refused.as_str());
    }
    gate.arbiter.will(GONE);
    assert_eq!(code(&gate.tool(2, "read", "{}").await), "evidence.unwritable");
}

#[tokio::test]
async fn a_call_is_held_for_an_arbiter_that_is_away() {
    let mut gate = holding(LONG).await;
    gate.arbiter.will(Act::Lost);
    gate.arbiter.ready.send_replace(false);
    held(&gate.ask(&call(1)).await, "arbiter.unreachable");
    gate.arbiter.will(Act::Permit);
    gate.arbiter.ready.send_replace(true);
    let mut heard = gate.next().await;
    while heard["method"] == "notifications/progress" {
        heard = gate.next().await;
    }
    assert_eq!(heard["id"], 1);
    assert_eq!(ran(&mut gate).await, 1);
}

/// It was refused for its own PERMIT, which nobody ran and which ended as `unknown`.
#[tokio::test]
async fn a_held_call_whose_permit_was_lost_on_its_way_was_in_its_own_way() {
    let mut gate = holding(LONG).await;
    gate.arbiter.will(Act::PermitAndLose);
    // It stays held until its end is on record.
    *gate.arbiter.failing_reports.lock().unwrap() = 1;
    held(&gate.ask(&call(1)).await, "arbiter.unreachable");
    let mut heard = gate.next().await;
    while heard["method"] == "notifications/progress" {
        heard = gate.next().await;
    }
    assert_eq!((&heard["id"], &heard["result"]["isError"]), (&json!(1), &json!(false)), "{heard}");
    gate.arbiter.settled(3).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Ok, Outcome::Expired, Outcome::Ok]);
    assert_eq!(gate.arbiter.questions().len(), 3);
    assert_eq!(ran(&mut gate).await, 1);
}

/// Nobody has said yet which surfaces hold.
#[tokio::test]
async fn before_the_surfaces_are_known_no_call_is_held() {
    let mut gate = Gate::start();
    *gate.arbiter.table.lock().unwrap() = Err(ReasonCode::ArbiterUnreachable);
    gate.arbiter.ready.send_replace(false);
    assert_eq!(code(&gate.tool(1, "held", "{}").await), "arbiter.unreachable");
}

#[tokio::test]
async fn a_session_ends_with_the_calls_that_it_holds() {
    let mut gate = holding(LONG).await;
    gate.arbiter.will(GONE);
    gate.arbiter.ready.send_replace(false);
    held(&gate.ask(&call(1)).await, "evidence.unwritable");
    let arbiter = gate.arbiter.clone();
    // The journal outlives the gate's folder.
    let journal = std::fs::File::open(gate.folder.path().join("journal")).unwrap();
    let (ending, _) = tokio::time::timeout(PATIENCE, gate.close()).await.expect("an end");
    assert_eq!(ending.unreported, 0);
    arbiter.will(Act::Permit);
    arbiter.ready.send_replace(true);
    let journal = std::io::read_to_string(journal).unwrap();
    assert!(journal.contains(r#""name":"read""#) && !journal.contains(r#""name":"held""#), "{journal}");
    assert_eq!(arbiter.questions().len(), 2);
}

#[tokio::test]
async fn a_held_call_whose_tool_server_is_gone_waits_for_nothing_more() {
    let mut gate = holding(LONG).await;
    gate.arbiter.will(GONE);
    gate.arbiter.ready.send_replace(false);
    held(&gate.ask(&call(1)).await, "evidence.unwritable");
    gate.arbiter.will(Act::Permit);
    gate.call(3, "die", "{}").await;
    let mut answered = Vec::new();
    while answered.len() < 2 {
        let heard = gate.next().await;
        if heard["method"] != "notifications/progress" {
            answered.push(heard);
        }
    }
    let of_it = answered.iter().find(|heard| heard["id"] == 1).unwrap();
    assert_eq!(code(of_it), "upstream.unavailable");
}

/// Who asks for more than may be held is answered at once, and other calls still run.
#[tokio::test]
async fn held_calls_leave_room_for_others() {
    const HELD: u64 = 128;
    let mut gate = holding(LONG).await;
    gate.arbiter.will(GONE);
    gate.arbiter.ready.send_replace(false);
    for id in 1..=HELD {
        gate.call(id, "held", "{}").await;
    }
    gate.arbiter.asked(1 + usize::try_from(HELD).unwrap()).await;
    // One of them may be answered in the place of this one.
    let heard = gate.tool(HELD + 1, "held", "{}").await;
    assert_eq!(code(&heard), "evidence.unwritable");
    gate.arbiter.will(Act::Permit);
    assert!(gate.tool(1000, "read", "{}").await["result"].is_object());
    assert_eq!(ran(&mut gate).await, 0);
}
