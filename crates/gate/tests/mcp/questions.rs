//! What a tool server asks the client for: by requests of its own, and within its answers (MCP 2026-07-28, "Multi Round-Trip
//! Requests").

use portcullis_gate::confine::Confinement;
use portcullis_protocol::wire::StoredResult;
use portcullis_protocol::{Idempotency, Outcome, ReasonCode, SurfaceSpec, Tier};
use serde_json::{Value, json};

use super::arbiter::Act;
use super::support::{Gate, code, local, surface, table, told};

/// A result that asks for the client's roots, and the user's password.
fn asking(state: &str) -> Value {
    let password = json!({ "message": "Your password?", "requestedSchema": { "type": "object" } });
    json!({
        "resultType": "input_required",
        "inputRequests": {
            "a": { "method": "roots/list" },
            "b": { "method": "elicitation/create", "params": password },
        },
        "requestState": state,
    })
}

fn call(id: u64, tool: &str, key: &str, more: &str) -> String {
    let meta = match key {
        "" => String::new(),
        key => format!(r#","_meta":{{"portcullis/idempotency-key":"{key}"}}"#),
    };
    let answer = asking("s-1");
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"answer":{answer}}}{meta}{more}}}}}"#
    )
}

fn surfaces(gate: &Gate) -> Vec<String> {
    gate.arbiter.questions().iter().map(|call| call.request.surface.to_string()).collect()
}

#[tokio::test]
async fn questions_in_answers_that_nobody_decided_reached_the_client() {
    let mut gate = Gate::start();
    let methods = [
        "server/discover",
        "ping",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "initialize",
    ];
    let spelled = |key: &str| json!({ key: { "a": { "method": "roots/list" } } });
    let answers =
        [asking("s"), spelled("inputRequests"), spelled("InputRequests"), json!({ "requestState": "s" })];
    for method in methods {
        for answer in answers.iter().chain([&json!({ "resultType": "input_required" })]) {
            let params = json!({ "answer": answer });
            let line = json!({ "jsonrpc": "2.0", "id": "x", "method": method, "params": params });
            let heard = gate.ask(&line.to_string()).await;
            assert_eq!(code(&heard), "surface.unknown", "{method}: {answer}");
            assert!(heard.get("result").is_none(), "{heard}");
        }
    }
    gate.told("questions in answer to a request without a decision").await;
    assert_eq!(gate.arbiter.questions().len(), 0);
}

#[tokio::test]
async fn answers_to_what_nobody_decided_reached_the_tool_server() {
    let mut gate = Gate::start();
    for method in ["tools/list", "prompts/list", "ping", "initialize"] {
        for brought in ["inputResponses", "requestState", "inputresponses", "RequestState"] {
            let params = json!({ brought: { "b": "hunter2" } });
            let line = json!({ "jsonrpc": "2.0", "id": "x", "method": method, "params": params });
            let heard = gate.ask(&line.to_string()).await;
            assert_eq!(code(&heard), "request.unknown_field", "{method}: {brought}");
        }
    }
    assert_eq!(gate.journal().await, [""; 0]);
    assert_eq!(gate.arbiter.questions().len(), 0);
}

#[tokio::test]
async fn each_question_in_an_answer_is_decided_and_its_outcome_reported() {
    let mut gate = Gate::start();
    let heard = gate.ask(&call(1, "answer", "", "")).await;
    assert_eq!(heard["result"], asking("s-1"));
    assert_eq!(surfaces(&gate), ["rec.answer", "rec.mcp.roots.list", "rec.mcp.elicitation.create"]);
    let asked = gate.arbiter.settled(3).await;
    // What the call was to do is not done.
    assert_eq!(asked, [(Outcome::Failed, None), (Outcome::Ok, None), (Outcome::Ok, None)]);
}

#[tokio::test]
async fn of_several_questions_one_that_is_refused_keeps_all_of_them_back() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::PermitBut("rec.mcp.elicitation", ReasonCode::PolicyNoGrant));
    let heard = gate.ask(&call(1, "answer", "", "")).await;
    assert!(!heard.to_string().contains("password"), "{heard}");
    let said = told(&heard);
    assert_eq!((&said["decision"], &said["enforcement"]), (&json!("PERMIT"), &json!("EXECUTED")));
    assert_eq!(said["reason"]["code"], "policy.no_grant");
    assert_eq!(said["captured"], "logged");
    // The call itself ran, and what was permitted of the questions was given up.
    let asked = gate.arbiter.settled(2).await;
    assert_eq!(asked, [(Outcome::Failed, None), (Outcome::Expired, None)]);
    // What was not asked has no answer.
    let goes_on = call(2, "answer", "", r#","requestState":"s-1","inputResponses":{}"#);
    assert_eq!(code(&gate.ask(&goes_on).await), "request.invalid_value");
    assert_eq!(gate.journal().await.len(), 1);
}

#[tokio::test]
async fn a_call_that_was_answered_with_a_task_was_on_record_as_done() {
    let mut gate = Gate::start();
    let handle = json!({ "answer": { "task": { "taskId": "t-1", "status": "working" } } });
    let heard = gate.tool(1, "answer", &handle.to_string()).await;
    assert_eq!(heard["result"], handle["answer"]);
    assert_eq!(gate.arbiter.settled(1).await, [(Outcome::Unknown, None)]);
    let result = |id: u64, task: &str, result: Value| {
        let params = json!({ "taskId": task, "answer": result });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tasks/result", "params": params }).to_string()
    };
    let done = json!({ "content": [], "isError": false });
    // Of a task that nothing is known of, and of one that asks something.
    gate.ask(&result(2, "t-2", done.clone())).await;
    gate.ask(&result(3, "t-1", json!({ "resultType": "input_required" }))).await;
    gate.arbiter.settled(3).await;
    // The late outcome takes the place of the one that was not known; once.
    gate.ask(&result(4, "t-1", done.clone())).await;
    gate.arbiter.settled(5).await;
    gate.ask(&result(5, "t-1", done)).await;
    gate.arbiter.settled(6).await;
    let (ok, failed) = (Outcome::Ok, Outcome::Failed);
    assert_eq!(gate.arbiter.reported(), [Outcome::Unknown, ok, failed, ok, ok, ok]);
}

#[tokio::test]
async fn a_task_of_the_stateless_revision_was_on_record_as_done_while_it_ran() {
    let mut gate = Gate::start();
    for (id, task) in (1..).zip(["t-1", "t-2", "t-3"]) {
        let handle = json!({ "answer": { "resultType": "task", "taskId": task, "status": "working" } });
        let heard = gate.tool(id, "answer", &handle.to_string()).await;
        assert_eq!(heard["result"], handle["answer"]);
    }
    let (ok, failed, unknown) = (Outcome::Ok, Outcome::Failed, Outcome::Unknown);
    gate.arbiter.settled(3).await;
    assert_eq!(gate.arbiter.reported(), [unknown, unknown, unknown]);
    let state = |id: u64, asked: &str, more: Value| {
        let mut state = json!({ "resultType": "complete", "taskId": "t-1" });
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let params = json!({ "taskId": asked, "answer": state });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tasks/get", "params": params }).to_string()
    };
    let done = json!({ "status": "completed", "result": { "content": [], "isError": false } });
    // None of these says that it has ended: it runs, it was given up, it asks something, and it is another one.
    gate.ask(&state(4, "t-1", json!({ "status": "working" }))).await;
    gate.ask(&state(5, "t-1", json!({ "status": "cancelled" }))).await;
    let asks = json!({ "resultType": "input_required" });
    gate.ask(&state(6, "t-1", json!({ "status": "completed", "result": asks }))).await;
    gate.ask(&state(7, "t-2", done.clone())).await;
    assert_eq!(gate.arbiter.settled(7).await.len(), 7);
    // This does, once.
    gate.ask(&state(8, "t-1", done.clone())).await;
    assert_eq!(gate.arbiter.settled(9).await.len(), 9);
    gate.ask(&state(9, "t-1", done)).await;
    gate.arbiter.settled(10).await;
    assert_eq!(gate.arbiter.reported()[3..], [ok; 7]);
    let fails = json!({ "taskId": "t-3", "status": "failed", "error": { "code": -32603, "message": "no" } });
    gate.ask(&state(10, "t-3", fails)).await;
    gate.arbiter.settled(12).await;
    assert!(gate.arbiter.reported()[10..].contains(&failed));
}

#[tokio::test]
async fn a_critical_question_is_not_asked_for_a_server_that_could_rewrite_what_governs_it() {
    let mut gate = Gate::with(|config| local(config).confinement = Confinement::default());
    let mut table = table(1);
    let critical = SurfaceSpec { tier: Tier::Critical, ..surface(Idempotency::None, &[]) };
    table.surfaces.insert("rec.mcp.roots.list".parse().unwrap(), critical);
    *gate.arbiter.table.lock().unwrap() = Ok(table);
    let heard = gate.ask(&call(1, "answer", "", "")).await;
    assert_eq!(told(&heard)["reason"]["code"], "upstream.unconfined");
    assert_eq!(gate.arbiter.settled(2).await, [(Outcome::Failed, None), (Outcome::Expired, None)]);
}

#[tokio::test]
async fn questions_wait_for_outcomes_that_are_not_on_record() {
    let spools = tempfile::tempdir().unwrap();
    let mut gate = Gate::with(|config| config.spool = Some(spools.path().to_owned()));
    *gate.arbiter.failing_reports.lock().unwrap() = usize::MAX;
    let heard = gate.ask(&call(1, "answer", "", "")).await;
    assert_eq!(told(&heard)["reason"]["code"], "evidence.outcome_unrecorded", "{heard}");
    assert_eq!(surfaces(&gate), ["rec.answer"]);
    // What was not asked is kept, as a call would be.
    let files = std::fs::read_dir(spools.path()).unwrap();
    let kept: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(kept.contains(r#""surface":"rec.mcp.roots.list""#), "{kept}");
    assert!(kept.contains(r#""reason":"evidence.outcome_unrecorded""#), "{kept}");
}

#[tokio::test]
async fn what_is_no_question_is_not_asked() {
    let mut gate = Gate::start();
    let many: serde_json::Map<_, _> =
        (0..17).map(|n| (n.to_string(), json!({ "method": "roots/list" }))).collect();
    let cases = [
        (r#"{"a":{"method":"tools/call","params":{"name":"x"}}}"#.to_owned(), "surface.unknown"),
        (r#"{"a":{"method":"tasks/get","params":{}}}"#.to_owned(), "surface.unknown"),
        (r#"{"a":{"method":"ping"}}"#.to_owned(), "surface.unknown"),
        (r#"{"a":{}}"#.to_owned(), "request.malformed"),
        (r#"{"a":7}"#.to_owned(), "request.malformed"),
        (r#"{"a":{"id":1,"method":"roots/list"}}"#.to_owned(), "request.duplicate_key"),
        (r#"{"a":{"method":"roots/list","Method":"x"}}"#.to_owned(), "request.ambiguous_key"),
        ("[]".to_owned(), "request.malformed"),
        (Value::from(many).to_string(), "request.malformed"),
    ];
    for (questions, reason) in &cases {
        let answer = format!(r#"{{"resultType":"input_required","inputRequests":{questions}}}"#);
        let heard = gate.tool(1, "answer", &format!(r#"{{"answer":{answer}}}"#)).await;
        assert_eq!(told(&heard)["reason"]["code"], *reason, "{questions}");
    }
    let twice = r#"{"answer":{"inputRequests":{},"inputrequests":{"a":{"method":"roots/list"}}}}"#;
    let heard = gate.tool(1, "answer", twice).await;
    assert_eq!(told(&heard)["reason"]["code"], "request.ambiguous_key");
    assert_eq!(surfaces(&gate), vec!["rec.answer"; cases.len() + 1]);
}

/// A name that this gate's parser cannot read hid what other parsers read.
#[tokio::test]
async fn a_lone_surrogate_hid_a_servers_questions() {
    let mut gate = Gate::start();
    for name in [r"\ud800", r"\udc00", r"\ud800\u0041"] {
        let questions = r#""resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}"#;
        gate.offers(&json!({ "raw": format!(r#"{{"{name}":0,{questions}}}"#) }));
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        assert_eq!(code(&gate.ask(list).await), "surface.unknown", "{name}");
        let heard = gate.tool(2, "raw", "{}").await;
        assert_eq!(told(&heard)["reason"]["code"], "request.malformed", "{name}: {heard}");
    }
    assert!(surfaces(&gate).iter().all(|surface| surface == "rec.raw"));
}

#[tokio::test]
async fn an_error_led_the_user_to_a_page_that_nobody_decided() {
    let mut gate = Gate::start();
    let page = r#""data":{"elicitations":[{"mode":"url","url":"https://evil.example"}]}"#;
    let errors = [
        format!(r#"{{"code":-32042,"message":"m",{page}}}"#),
        r#"{"code":-32042,"message":"m"}"#.to_owned(),
        r#"{"code":-32042.0,"message":"m"}"#.to_owned(),
        r#"{"code":-3.2042e4,"message":"m"}"#.to_owned(),
        format!(r#"{{"code":1,"message":"m",{}}}"#, page.replace("elicitations", "Elicitations")),
        r#"{"code":1,"message":"m","data":{"\ud800":0,"elicitations":[]}}"#.to_owned(),
        r#"{"code":1,"\ud800":0,"message":"m"}"#.to_owned(),
    ];
    for error in &errors {
        gate.offers(&json!({ "failing": error }));
        let heard = gate.ask(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).await;
        assert_eq!(code(&heard), "surface.unknown", "{error}");
        let heard = gate.tool(2, "raw", "{}").await;
        assert_eq!(told(&heard)["reason"]["code"], "surface.unknown", "{error}: {heard}");
    }
    gate.offers(&json!({ "failing": r#"{"code":-32602,"message":"m","data":{"page":1}}"# }));
    assert_eq!(gate.tool(3, "raw", "{}").await["error"]["code"], -32602);
}

#[tokio::test]
async fn made_up_states_ran_a_call_again_and_again_under_one_key() {
    let mut gate = Gate::start();
    let goes_on = |id, key: &str, state: &str| {
        call(id, "pay", key, &format!(r#","requestState":"{state}","inputResponses":{{}}"#))
    };
    let refused = gate.ask(&goes_on(1, "invoice", "s-1")).await;
    assert_eq!(code(&refused), "request.invalid_value");
    // The client is at fault, and not the tool.
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert_eq!(gate.ask(&call(2, "pay", "invoice", "")).await["result"], asking("s-1"));
    for (id, key, state) in [(3, "invoice", "made-up"), (4, "other", "s-1"), (5, "invoice", "")] {
        assert_eq!(code(&gate.ask(&goes_on(id, key, state)).await), "request.invalid_value", "{key} {state}");
    }
    assert_eq!(gate.journal().await.len(), 1);
    // What the server gave goes on.
    assert_eq!(gate.ask(&goes_on(6, "invoice", "s-1")).await["result"], asking("s-1"));
    assert_eq!(gate.journal().await.len(), 2);
    let keys: Vec<_> =
        gate.arbiter.questions().iter().filter_map(|call| call.request.idempotency_key.clone()).collect();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test]
async fn what_is_kept_of_an_earlier_run_asks_under_permits_as_it_did_then() {
    let mut gate = Gate::start();
    let stored = StoredResult { outcome: Outcome::Ok, result: Some(asking("s-1").to_string()) };
    gate.arbiter.will(Act::Completed(stored, true));
    let heard = gate.ask(&call(1, "pay", "invoice", "")).await;
    // The arbiter of this test says the same of the questions.
    assert_eq!(told(&heard)["reason"]["code"], "idempotency.completed");
    assert!(!heard.to_string().contains("password"), "{heard}");
    assert_eq!(surfaces(&gate), ["rec.pay", "rec.mcp.roots.list"]);
}

#[tokio::test]
async fn a_tool_servers_own_call_was_decided_in_the_agents_name() {
    let mut gate = Gate::start();
    let methods = [
        "tools/call",
        "tools/list",
        "resources/read",
        "prompts/get",
        "initialize",
        "completion/complete",
        "evil",
    ];
    for (id, method) in (1..).zip(methods) {
        let params = json!({ "name": "pay", "_meta": { "portcullis/idempotency-key": "invoice" } });
        let asked = json!({ "method": method, "params": params });
        let heard = gate.tool(id, "request", &asked.to_string()).await;
        assert_eq!(heard["result"]["heard"]["error"]["code"], -32601, "{method}: {heard}");
    }
    assert_eq!(surfaces(&gate), vec!["rec.request"; methods.len()]);
    gate.told("a request that no server may make").await;
}

#[tokio::test]
async fn what_both_sides_ask_of_each_other_is_decided_on_surfaces_of_their_own() {
    let mut gate = Gate::start();
    gate.arbiter.will(Act::PermitBut("rec.mcp.client.", ReasonCode::PolicyNoGrant));
    for (id, method) in (1..).zip(["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"]) {
        let asked = json!({ "method": method, "params": { "taskId": "t" } });
        let heard = gate.tool(id, "request", &asked.to_string()).await;
        assert_eq!(
            heard["result"]["heard"]["error"]["data"]["portcullis"]["reason"]["code"],
            "policy.no_grant"
        );
        let surface = surfaces(&gate).pop().unwrap();
        assert_eq!(surface, format!("rec.mcp.client.{}", method.replace('/', ".")));
    }
}

#[tokio::test]
async fn a_tool_server_uses_up_no_key_of_the_agents() {
    let mut gate = Gate::start();
    let params = json!({ "messages": [], "_meta": { "portcullis/idempotency-key": "invoice" } });
    let asked = json!({ "method": "sampling/createMessage", "params": params });
    gate.call(1, "request", &asked.to_string()).await;
    let asked = gate.next().await;
    assert_eq!(asked["method"], "sampling/createMessage");
    assert_eq!(gate.arbiter.questions()[1].request.idempotency_key, None);
}
