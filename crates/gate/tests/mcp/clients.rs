//! What a client may send, and what it may not.

use portcullis_protocol::Outcome;
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::Act;
use super::support::{Gate, code, local, told};
use portcullis_protocol::ReasonCode;

#[tokio::test]
async fn harmless_requests_pass_without_a_decision() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::Lost);
    let methods = [
        "initialize",
        "server/discover",
        "ping",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
    ];
    for method in methods {
        let line = format!(r#"{{"jsonrpc":"2.0","id":"x","method":"{method}","params":{{"a":1.0}}}}"#);
        let answer = gate.ask(&line).await;
        assert_eq!(answer, json!({"jsonrpc": "2.0", "id": "x", "result": {"pong": method}}));
    }
    for method in ["notifications/initialized", "notifications/progress", "notifications/roots/list_changed"]
    {
        gate.send(&format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"a":1.0}}}}"#)).await;
    }
    let journal = gate.journal().await;
    assert_eq!(journal[0], r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"a":1.0}}"#);
    assert_eq!(journal.len(), methods.len() - 1 + 3);
    assert_eq!(gate.arbiter.questions().len(), 0);
}

#[tokio::test]
async fn every_other_method_needs_a_decision() {
    let cases = [
        ("resources/read", "rec.mcp.resources.read"),
        ("resources/subscribe", "rec.mcp.resources.subscribe"),
        ("resources/unsubscribe", "rec.mcp.resources.unsubscribe"),
        ("prompts/get", "rec.mcp.prompts.get"),
        ("completion/complete", "rec.mcp.completion.complete"),
        ("tasks/get", "rec.mcp.tasks.get"),
        ("tasks/cancel", "rec.mcp.tasks.cancel"),
        ("tasks/result", "rec.mcp.tasks.result"),
        ("Tools/Call", "rec.mcp.tools.call"),
        ("tools/call ", "rec.mcp.tools.call_"),
        ("unknown", "rec.mcp.unknown"),
        ("a//b", "rec.mcp.unknown"),
        ("notifications/initialized", "rec.mcp.notifications.initialized"),
    ];
    let mut gate = Gate::start();
    gate.arbiter.will(Act::Refuse(ReasonCode::SurfaceUnknown));
    for (method, surface) in cases {
        let line =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"uri":"file:///a"}}}}"#);
        let answer = gate.ask(&line).await;
        assert_eq!(code(&answer), "surface.unknown", "{method}");
        assert_eq!(answer["error"]["code"], -32001);
        let asked = gate.arbiter.questions().last().unwrap().request.surface.to_string();
        assert_eq!(asked, surface, "{method}");
    }
    assert_eq!(gate.arbiter.questions().len(), cases.len());
    assert_eq!(gate.journal().await, [""; 0]);
}

#[tokio::test]
async fn a_permitted_method_runs_and_one_without_a_surface_of_its_own_does_not() {
    let mut gate = Gate::start();
    let line = r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#;
    assert_eq!(gate.ask(line).await["result"]["pong"], "resources/read");
    let context = gate.arbiter.questions()[0].request.context.clone();
    assert_eq!(serde_json::to_value(context).unwrap(), json!({"uri": "file:///a"}));
    let nameless = line.replace("uri", "Uri");
    assert_eq!(code(&gate.ask(&nameless).await), "request.ambiguous_key");
    let unknown = r#"{"jsonrpc":"2.0","id":1,"method":"unknown"}"#;
    assert_eq!(code(&gate.ask(unknown).await), "surface.unknown");
    assert_eq!(gate.journal().await.len(), 1);
}

#[tokio::test]
async fn an_unknown_notification_needs_a_decision_and_gets_no_answer() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::Refuse(ReasonCode::SurfaceUnknown));
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/erase","params":{}}"#).await;
    gate.told("blocked rec.mcp.notifications.erase").await;
    // Without an id nobody could be told what became of a call.
    gate.send(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read"}}"#).await;
    gate.told("a request without an id").await;
    assert_eq!(gate.journal().await, [""; 0]);
    assert_eq!(gate.arbiter.questions().len(), 1);

    gate.arbiter.will(Act::Permit);
    gate.send(r#"{"jsonrpc":"2.0","method":"notifications/erase","params":{}}"#).await;
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Ok, None)]);
    assert_eq!(gate.journal().await, [r#"{"jsonrpc":"2.0","method":"notifications/erase","params":{}}"#]);
}

/// Sends a line that must be refused with this code, under this id.
async fn refused(gate: &mut Gate, line: &str, id: Value, expected: &str) {
    let answer = gate.ask(line).await;
    assert_eq!(answer["id"], id, "{line}");
    assert_eq!(code(&answer), expected, "{line}");
    assert_eq!(told(&answer)["captured"], "none");
}

#[tokio::test]
async fn what_two_parsers_could_read_differently_is_refused() {
    let mut gate = Gate::start();
    let call = |rest: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call",{rest}}}"#);
    let null = || Value::Null;
    let (duplicate, ambiguous) = ("request.duplicate_key", "request.ambiguous_key");
    refused(&mut gate, &call(r#""params":{"name":"read"},"id":2"#), null(), duplicate).await;
    refused(&mut gate, &call(r#""params":{"name":"read"},"\u0069d":2"#), null(), duplicate).await;
    refused(&mut gate, &call(r#""params":{"name":"read","name":"pay"}"#), json!(1), duplicate).await;
    refused(
        &mut gate,
        &call(r#""params":{"name":"read","arguments":{"a":[{"b":1,"b":2}]}}"#),
        json!(1),
        duplicate,
    )
    .await;
    refused(&mut gate, &call(r#""params":{"name":"read"},"Method":"ping""#), null(), ambiguous).await;
    refused(&mut gate, &call(r#""Params":{"name":"read"}"#), null(), ambiguous).await;
    refused(&mut gate, &call(r#""x":1,"X":2,"params":{"name":"read"}"#), null(), ambiguous).await;
    refused(&mut gate, &call(r#""params":{"name":"read","Name":"pay"}"#), json!(1), ambiguous).await;
    refused(&mut gate, &call(r#""params":{"name":"read","Arguments":{"a":1}}"#), json!(1), ambiguous).await;
    refused(&mut gate, &call(r#""params":{"name":"read","argument\u017f":{"a":1}}"#), json!(1), ambiguous)
        .await;
    let harmless = r#"{"jsonrpc":"2.0","id":1,"method":"ping","call":{}}"#;
    refused(&mut gate, harmless, json!(1), "request.unknown_field").await;
    assert_eq!(gate.journal().await, [""; 0]);
    assert_eq!(gate.arbiter.questions().len(), 0);
}

#[tokio::test]
async fn a_message_within_a_message_does_not_reach_a_reader_of_other_line_ends() {
    let mut gate = Gate::start();
    let smuggled = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"read"}}"#;
    let line =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{{\"a\":\r{smuggled}\r}}}}");
    refused(&mut gate, &line, Value::Null, "request.malformed").await;
    assert_eq!(gate.journal().await, [""; 0]);
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let mut gate = Gate::start();
    let (malformed, invalid) = ("request.malformed", "request.invalid_value");
    for line in [
        "[]",
        r#" [{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}]"#,
        "7",
        "{",
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"} {}"#,
        r#"{"jsonrpc":"2.0"}"#,
    ] {
        refused(&mut gate, line, Value::Null, malformed).await;
    }
    for id in ["null", "1.0", "1e0", "true", "{}", "9007199254740993"] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        refused(&mut gate, &line, Value::Null, invalid).await;
    }
    for version in [r#""1.0""#, "2.0", "null"] {
        let line = format!(r#"{{"jsonrpc":{version},"id":1,"method":"ping"}}"#);
        refused(&mut gate, &line, json!(1), invalid).await;
    }
    refused(&mut gate, r#"{"id":1,"method":"ping"}"#, json!(1), invalid).await;
    for params in ["[]", "7", r#"{"name":7}"#, r#"{"name":"read","arguments":[]}"#, "{}"] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        refused(&mut gate, &line, json!(1), malformed).await;
    }
    let both = r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#;
    refused(&mut gate, both, json!(1), malformed).await;
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":{}{}}}}}"#,
        "[".repeat(70),
        "]".repeat(70)
    );
    refused(&mut gate, &deep, json!(1), "request.too_deep").await;
    assert_eq!(gate.journal().await, [""; 0]);
    assert_eq!(gate.arbiter.questions().len(), 0);
}

#[tokio::test]
async fn an_oversized_line_is_refused_and_the_session_goes_on() {
    let mut gate = Gate::start();
    let big =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#, "x".repeat(9 << 20));
    refused(&mut gate, &big, Value::Null, "request.too_large").await;
    assert_eq!(gate.tool(1, "read", "{}").await["result"]["isError"], false);
    assert_eq!(gate.journal().await.len(), 1);
}

#[tokio::test]
async fn an_id_in_flight_is_refused_and_free_again_after_its_answer() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::PermitWhenReleased);
    gate.call(1, "read", "{}").await;
    gate.arbiter.asked(1).await;
    // Not under the id in flight, where it would pass for the first call's answer.
    refused(&mut gate, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Value::Null, "request.invalid_value")
        .await;
    gate.call(1, "pay", "{}").await;
    assert_eq!(gate.next().await["id"], Value::Null);
    gate.arbiter.release.add_permits(1);
    assert_eq!(gate.next().await["id"], 1);
    gate.arbiter.will(Act::Permit);
    assert_eq!(gate.tool(1, "read", "{}").await["id"], 1);
    assert_eq!(gate.arbiter.questions().len(), 2);
    assert_eq!(gate.journal().await.len(), 2);
}

const CANCEL: &str =
    r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}"#;

#[tokio::test]
async fn a_call_cancelled_before_it_is_sent_is_never_sent() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::PermitWhenReleased);
    gate.call(1, "read", "{}").await;
    gate.arbiter.asked(1).await;
    gate.send(CANCEL).await;
    // Behind the cancellation, so it has been read.
    assert_eq!(gate.journal().await, [""; 0]);
    gate.arbiter.release.add_permits(1);
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Expired, None)]);
    assert_eq!(gate.journal().await, [""; 0]);
}

/// A tool server that takes up one message, then none until `go` lies beside its journal, and then all of them.
const BUSY: &str =
    r#"read -r line; echo "$line" >> "$1"; until [ -e "$1.go" ]; do sleep 0.02; done; exec cat >> "$1""#;

/// A cancellation is heeded once: what there was no room for was lost for good.
#[tokio::test]
async fn a_cancellation_that_was_dropped_could_not_be_repeated() {
    let mut gate = Gate::with(|config| {
        let journal = local(config).command.pop().unwrap();
        local(config).command = ["sh", "-c", BUSY, "sh"].map(Into::into).into();
        local(config).command.push(journal);
    });
    gate.call(1, "read", "{}").await;
    while gate.journal_now().is_empty() {
        tokio::task::yield_now().await;
    }
    let notice = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": 1, "x": "x".repeat(1024) } });
    for _ in 0..1_200 {
        gate.send(&notice.to_string()).await;
    }
    gate.told("dropped a notification").await;
    gate.send(CANCEL).await;
    gate.send(CANCEL).await;
    // Behind them, so they have been read.
    assert_eq!(code(&gate.ask(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).await), "overload.shed");
    std::fs::write(gate.folder.path().join("journal.go"), "").unwrap();
    let told = async {
        while !gate.journal_now().iter().any(|line| line.contains("notifications/cancelled")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the cancellation");
    // The journal outlives the gate's folder; all that was sent has been read by the end.
    let journal = std::fs::File::open(gate.folder.path().join("journal")).unwrap();
    gate.close().await;
    let journal = std::io::read_to_string(journal).unwrap();
    assert_eq!(journal.lines().filter(|line| line.contains("notifications/cancelled")).count(), 1);
}

#[tokio::test]
async fn a_call_cancelled_while_it_runs_is_not_answered_and_ends_with_what_is_known() {
    let mut gate = Gate::with(|config| config.deadline = std::time::Duration::from_secs(2));
    gate.call(1, "silent", "{}").await;
    while gate.journal().await.is_empty() {}
    gate.send(CANCEL).await;
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Unknown, None)]);
    let journal = gate.journal().await;
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"enough"}}"#;
    assert_eq!(journal[1].replace(char::is_numeric, ""), cancelled.replace(char::is_numeric, ""));
    let sent: Value = serde_json::from_str(&journal[0]).unwrap();
    let told: Value = serde_json::from_str(&journal[1]).unwrap();
    assert_eq!(sent["id"], told["params"]["requestId"], "under the id that the server knows");

    // This one answers when it is told: the outcome is known, and the client still gets no answer.
    gate.call(1, "hold", "{}").await;
    while gate.journal().await.len() < 3 {}
    gate.send(CANCEL).await;
    assert_eq!(gate.arbiter.settled(2).await[1], (Outcome::Ok, None));
    assert_eq!(gate.journal().await.len(), 4);
    let (_, rest) = gate.close().await;
    assert_eq!(rest, [json!(null); 0]);
}
