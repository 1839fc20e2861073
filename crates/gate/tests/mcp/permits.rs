//! What runs under a permit, and what becomes of it.

use portcullis_protocol::wire::StoredResult;
use portcullis_protocol::{Digest, Domain, Outcome, PrincipalId, ReasonCode};
use serde_json::json;

use super::arbiter::Act;
use super::support::{Gate, code, table, told};

const PAY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay","arguments":{"amount":"12.50"},"_meta":{"portcullis/idempotency-key":"k-1"}}}"#;

/// The envelope that was decided is the digest of what the server got, but for the id in front.
fn decided(gate: &Gate, question: usize) -> Digest {
    gate.arbiter.questions()[question].request.envelope.unwrap()
}

fn sent(line: &str) -> Digest {
    let (_, rest) = line.split_once(',').unwrap();
    Digest::of(Domain::Payload, &[format!("{{{rest}").as_bytes()])
}

#[tokio::test]
async fn a_permitted_call_runs_once_as_the_bytes_that_were_decided() {
    let mut gate = Gate::start();
    let answer = gate.tool(7, "read", r#"{ "b" : 1.50, "a":"\u00e9" }"#).await;
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"]["isError"], false);
    let journal = gate.journal().await;
    assert_eq!(
        journal,
        [
            r#"{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{"name":"read","arguments":{ "b" : 1.50, "a":"\u00e9" }}}"#
        ]
    );
    assert_eq!(decided(&gate, 0), sent(&journal[0]));
    assert_eq!(gate.arbiter.questions().len(), 1);
    let question = &gate.arbiter.questions()[0].request;
    assert_eq!(question.surface.as_str(), "rec.read");
    assert_eq!(question.action.as_str(), "act");
    assert_eq!((question.resource.kind.as_str(), question.resource.id.as_str()), ("Surface", "rec.read"));
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Ok, None)]);
}

#[tokio::test]
async fn every_call_says_for_whom_the_agent_acts_and_a_receipt_for_another_runs_nothing() {
    let maya: PrincipalId = "maya".parse().unwrap();
    let mut gate = Gate::with(|config| config.acts_for = Some(maya.clone()));
    assert_eq!(gate.tool(1, "read", "{}").await["result"]["isError"], false);
    assert_eq!(gate.arbiter.questions()[0].request.acts_for.as_ref(), Some(&maya));
    // What a client says in its arguments is the tool's, and names nobody.
    assert_eq!(gate.tool(2, "read", r#"{"acts_for":"kim"}"#).await["result"]["isError"], false);
    assert_eq!(gate.arbiter.questions()[1].request.acts_for.as_ref(), Some(&maya));
    let before = gate.journal().await;
    for other in [Some("kim".parse().unwrap()), None] {
        gate.arbiter.will(Act::OtherPrincipal(other));
        assert_eq!(code(&gate.tool(3, "read", "{}").await), "receipt.unverifiable");
    }
    assert_eq!(gate.journal().await, before);
}

#[tokio::test]
async fn unknown_top_level_members_are_part_of_what_is_decided() {
    let mut gate = Gate::start();
    let line = r#"{"x":[1, 2.0],"params":{"name":"read"},"method":"tools/call","id":"a","jsonrpc":"2.0"}"#;
    assert_eq!(gate.ask(line).await["id"], "a");
    let journal = gate.journal().await;
    assert_eq!(
        journal,
        [r#"{"id":1,"jsonrpc":"2.0","method":"tools/call","params":{"name":"read"},"x":[1, 2.0]}"#]
    );
    assert_eq!(decided(&gate, 0), sent(&journal[0]));
}

#[tokio::test]
async fn a_fraction_that_policy_does_not_read_arrives_as_it_was_and_one_that_it_reads_blocks() {
    let mut gate = Gate::start();
    gate.tool(1, "write", r#"{"path":"/a","ratio":0.10e1}"#).await;
    assert!(gate.journal().await[0].contains(r#""ratio":0.10e1"#));
    let context = &gate.arbiter.questions()[0].request.context;
    assert_eq!(serde_json::to_value(context).unwrap(), json!({"path": "/a"}));

    let before = gate.journal().await;
    for (arguments, expected) in [
        (r#"{"path":1.5}"#, ReasonCode::RequestFraction),
        (r#"{"path":"/a/../b"}"#, ReasonCode::RequestNotCanonical),
        (r#"{"path":7}"#, ReasonCode::RequestArgument),
        (r#"{}"#, ReasonCode::RequestArgument),
        (r#"{"path":"/a","Path":"/b"}"#, ReasonCode::RequestAmbiguousKey),
        (r#"{"Path":"/b"}"#, ReasonCode::RequestAmbiguousKey),
    ] {
        let answer = gate.tool(2, "write", arguments).await;
        assert_eq!(code(&answer), expected.as_str(), "{arguments}");
        assert_eq!(told(&answer)["captured"], "none");
    }
    assert_eq!(gate.journal().await, before);
    assert_eq!(gate.arbiter.questions().len(), 1);
}

#[tokio::test]
async fn what_a_call_came_to_is_reported() {
    let mut gate = Gate::start();
    assert_eq!(gate.tool(1, "fail", "{}").await["result"]["isError"], true);
    assert_eq!(gate.tool(2, "error", "{}").await["error"]["code"], -1);
    assert_eq!(gate.tool(3, "read", "{}").await["result"]["isError"], false);
    let outcomes = gate.arbiter.settled(3).await;
    assert_eq!(outcomes, [(Outcome::Failed, None), (Outcome::Failed, None), (Outcome::Ok, None)]);
}

#[tokio::test]
async fn the_result_of_a_keyed_call_is_on_record_before_it_is_answered() {
    let mut gate = Gate::start();
    let answer = gate.ask(PAY).await;
    // No waiting: the report was there first.
    let outcomes = gate.arbiter.outcomes.borrow().clone();
    let [(Outcome::Ok, Some(result))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!(serde_json::from_str::<serde_json::Value>(result).unwrap(), answer["result"]);
    let question = &gate.arbiter.questions()[0].request;
    assert_eq!(question.idempotency_key.as_ref().unwrap().as_str(), "k-1");
    assert!(gate.journal().await[0].contains("portcullis/idempotency-key"));
}

#[tokio::test]
async fn only_the_answer_of_a_call_that_keeps_its_result_waits_for_the_report() {
    let mut gate = Gate::with(|config| config.deadline = 2 * crate::PATIENCE);
    gate.arbiter.hanging.send_replace(true);
    assert_eq!(gate.tool(1, "read", "{}").await["id"], 1);

    gate.send(PAY).await;
    let mut begun = gate.arbiter.begun.subscribe();
    let reporting = begun.wait_for(|begun| *begun == 2);
    drop(tokio::time::timeout(crate::PATIENCE, reporting).await.expect("a report").unwrap());
    // Had it been answered before it was reported, that answer would come first.
    assert_eq!(gate.ask(r#"{"jsonrpc":"2.0","id":"ping","method":"ping"}"#).await["id"], "ping");
    gate.arbiter.hanging.send_replace(false);
    assert_eq!(gate.next().await["id"], 1);
}

#[tokio::test]
async fn a_key_is_passed_on_where_there_are_none_and_refused_where_it_is_derived() {
    let mut gate = Gate::start();
    gate.ask(&PAY.replace("\"pay\"", "\"read\"")).await;
    assert!(gate.arbiter.questions()[0].request.idempotency_key.is_some());
    let answer = gate.ask(&PAY.replace("\"pay\"", "\"move\"")).await;
    assert_eq!(code(&answer), "idempotency.key_unexpected");
    for bad in [r#""portcullis/idempotency-key":7"#, r#""portcullis/idempotency-key":"""#] {
        let answer = gate.ask(&PAY.replace(r#""portcullis/idempotency-key":"k-1""#, bad)).await;
        assert_eq!(code(&answer), "request.invalid_value");
    }
    let answer = gate.ask(&PAY.replace("idempotency-key", "Idempotency-Key")).await;
    assert_eq!(code(&answer), "request.ambiguous_key");
    assert_eq!(gate.journal().await.len(), 1);
}

#[tokio::test]
async fn a_retry_of_a_framework_is_the_same_operation_with_the_same_derived_key() {
    let mut gate = Gate::start();
    let call = |id: &str, params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"move",{params}}}}}"#)
    };
    gate.ask(&call("1", r#""arguments":{"a":1,"b":"x"}"#)).await;
    gate.ask(&call("\"again\"", r#""_meta":{"progressToken":9},"arguments":{ "b":"x", "a":1 }"#)).await;
    gate.ask(&call("3", r#""arguments":{"a":2,"b":"x"}"#)).await;
    let asks: Vec<_> = gate.arbiter.questions().into_iter().map(|call| call.request).collect();
    assert_eq!(asks[0].idempotency_key, asks[1].idempotency_key);
    assert_eq!(asks[0].payload, asks[1].payload);
    assert_ne!(asks[0].envelope, asks[1].envelope);
    assert_ne!(asks[0].idempotency_key, asks[2].idempotency_key);
    assert!(asks[0].idempotency_key.as_ref().unwrap().as_str().starts_with("run:"));

    let mut other = Gate::start();
    other.ask(&call("1", r#""arguments":{"a":1,"b":"x"}"#)).await;
    assert_ne!(other.arbiter.questions()[0].request.idempotency_key, asks[0].idempotency_key);
}

#[tokio::test]
async fn a_stored_result_is_replayed_and_nothing_is_sent() {
    let mut gate = Gate::start();
    let stored = |text: &str| StoredResult { outcome: Outcome::Ok, result: Some(text.into()) };
    let kept = r#"{"content":[{"type":"text","text":"paid"}],"isError":false,"n":1.50,"_meta":{"a":1}}"#;
    gate.arbiter.will(Act::Completed(stored(kept), true));
    gate.send(PAY).await;
    let answer = gate.next().await;
    assert_eq!(answer["result"]["content"][0]["text"], "paid");
    assert_eq!(answer["result"]["isError"], false);
    assert_eq!(answer["result"]["_meta"], json!({"a": 1, "portcullis/replayed": true}));

    // What no receipt proves is not told as a result; nor is what is none.
    gate.arbiter.will(Act::Completed(stored(kept), false));
    assert_eq!(code(&gate.ask(PAY).await), "idempotency.completed");
    gate.arbiter.will(Act::Completed(stored("paid"), true));
    assert_eq!(code(&gate.ask(PAY).await), "idempotency.completed");
    gate.arbiter.will(Act::Completed(StoredResult { outcome: Outcome::Ok, result: None }, true));
    assert_eq!(code(&gate.ask(PAY).await), "idempotency.completed");
    assert_eq!(gate.journal().await, [""; 0]);
}

#[tokio::test]
async fn a_failed_report_is_tried_again_and_does_not_hold_up_the_answer() {
    let mut gate = Gate::start();
    *gate.arbiter.failing_reports.lock().unwrap() = 3;
    assert_eq!(gate.ask(PAY).await["result"]["isError"], false);
    let outcomes = gate.arbiter.settled(1).await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].0, Outcome::Ok);
}

#[tokio::test]
async fn a_hanging_report_holds_up_the_answer_no_longer_than_the_deadline() {
    let mut gate = Gate::with(|config| config.deadline = std::time::Duration::from_secs(2));
    gate.arbiter.hanging.send_replace(true);
    assert_eq!(gate.ask(PAY).await["result"]["isError"], false);
    let (ending, _) = gate.close().await;
    assert_eq!(ending.unreported, 1);
}

/// Arguments go to the arbiter where the bundle in force has them kept, and nowhere else.
#[tokio::test]
async fn arguments_are_brought_where_the_bundle_has_them_kept_and_nowhere_else() {
    let mut gate = Gate::start();
    let mut keeping = table(1);
    keeping.surfaces.get_mut(&"rec.read".parse().unwrap()).unwrap().keep.arguments = true;
    *gate.arbiter.table.lock().unwrap() = Ok(keeping);
    assert_eq!(gate.tool(1, "read", r#"{"b":1,"a":"canary"}"#).await["result"]["isError"], false);
    assert_eq!(gate.tool(2, "write", r#"{"path":"/canary"}"#).await["result"]["isError"], false);
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(256 * 1024));
    gate.arbiter.will(Act::Refuse(ReasonCode::SurfaceArgumentsUnkept));
    let refused = gate.tool(3, "read", &long).await;
    assert_eq!(code(&refused), "surface.arguments_unkept");
    assert!(told(&refused)["reason"]["detail"].as_str().unwrap().contains("262,144"), "{refused}");
    let asked = gate.arbiter.questions();
    let brought = asked[0].payload.as_ref().unwrap();
    assert_eq!((brought.arguments.as_str(), brought.name.as_str()), (r#"{"a":"canary","b":1}"#, "read"));
    assert_eq!(asked[0].request.payload, Some(brought.digest()));
    assert_eq!((&asked[1].payload, &asked[2].payload), (&None, &None));
}
