//! Arguments that do not fit the pinned schema of their tool: the tool is not reached, the arbiter is told how they do not fit, and
//! refuses on record. What reached the tool is told by its own journal.

use std::net::TcpListener;

use portcullis_protocol::{ArgumentsSeen, Outcome, SurfaceTable, ToolSeen};
use serde_json::{Value, json};

use super::arbiter::Act;
use super::pins::{announced, gate, pages, pins, ran};
use super::support::{Gate, code, table, told};

fn tool(schema: &Value) -> Value {
    json!({ "name": "read", "inputSchema": schema })
}

/// A gate in front of a server that has one tool, with this schema, as it is pinned.
fn behind(schema: &Value) -> Gate {
    gate(&[tool(schema)], &pages(&[&[tool(schema)]]))
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": { "type": "string" },
            "depth": { "type": "number", "maximum": 9_007_199_254_740_993_u64 },
            "mode": { "enum": ["text", "bytes"] },
            "filter": { "type": "object", "properties": { "name": { "type": "string" } } },
        },
        "required": ["path"],
    })
}

/// Calls the tool, which is refused so, on record, and is not reached. What the asker is told of it.
async fn refused(gate: &mut Gate, arguments: &str, expected: &str, seen: ArgumentsSeen) -> String {
    let (before, asked) = (ran(gate).await, gate.arbiter.questions().len());
    let answer = gate.tool(7, "read", arguments).await;
    assert_eq!(code(&answer), expected, "{arguments}: {answer}");
    assert_eq!(told(&answer)["captured"], "logged", "{answer}");
    assert!(!answer.to_string().contains("canary"), "a value: {answer}");
    let questions = gate.arbiter.questions();
    assert_eq!(questions.len(), asked + 1);
    let said = questions.last().unwrap().request.tool.clone().unwrap();
    assert_eq!(said.arguments, Some(seen), "{arguments}");
    assert!(!serde_json::to_string(&said).unwrap().contains("bcc"), "no more than how they fit");
    assert_eq!(ran(gate).await, before, "{arguments} ran");
    told(&answer)["reason"]["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_argument_that_the_pinned_schema_does_not_declare_never_reaches_the_tool() {
    let mut gate = behind(&schema());
    let (none, spelt) =
        ("declares no such argument", "declares it in another spelling, and no such argument");
    let cases = [
        (r#"{"path":"/a","bcc":"canary"}"#, "/bcc", none),
        (r#"{"path":"/a","Path":"canary"}"#, "/Path", spelt),
        (r#"{"path":"/a","filter":{"name":"x","bcc":"canary"}}"#, "/filter/bcc", none),
        (r#"{"path":"/a","":1}"#, "/", none),
    ];
    for (arguments, at, says) in cases {
        let detail =
            refused(&mut gate, arguments, "tool.arguments_undeclared", ArgumentsSeen::Undeclared).await;
        assert_eq!(detail, format!("argument `{at}`: the tool's schema {says}"));
    }
}

#[tokio::test]
async fn arguments_that_the_pinned_schema_does_not_let_be_never_reach_the_tool() {
    let mut gate = behind(&schema());
    let cases = [
        (r#"{"path":7}"#, "argument `/path`: must be of type string"),
        ("{}", "the arguments: `path` is required"),
        (r#"{"path":"/a","mode":"canary"}"#, r#"argument `/mode`: must be one of "text", "bytes""#),
        (r#"{"path":"/a","filter":{"name":["canary"]}}"#, "argument `/filter/name`: must be of type string"),
        // A double takes it for the bound.
        (
            r#"{"path":"/a","depth":9007199254740993.0000001}"#,
            "argument `/depth`: must be at most 9007199254740993",
        ),
    ];
    for (arguments, expected) in cases {
        let detail = refused(&mut gate, arguments, "tool.arguments_invalid", ArgumentsSeen::Unfit).await;
        assert_eq!(detail, expected);
    }
}

#[tokio::test]
async fn arguments_that_fit_reach_the_tool_as_they_were_sent() {
    let mut gate = behind(&schema());
    let arguments = r#"{"mode" : "te\u0078t","path":"/a", "depth":1.50e0,"filter":{}}"#;
    let answer = gate.tool(1, "read", arguments).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    let said = gate.arbiter.questions()[0].request.tool.clone().unwrap();
    assert_eq!(said.arguments, Some(ArgumentsSeen::Fit));
    assert!(gate.journal().await.iter().any(|line| line.contains(arguments)), "{:?}", gate.journal().await);
    // Without any the tool is called with none.
    let mut bare = behind(&json!({ "type": "object" }));
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}"#;
    assert_eq!(bare.ask(call).await["result"]["isError"], false);
    refused(&mut bare, r#"{"path":"/a"}"#, "tool.arguments_undeclared", ArgumentsSeen::Undeclared).await;
}

/// The gate keeps to it by itself: an arbiter that permits all the same opens nothing.
#[tokio::test]
async fn a_permit_for_arguments_that_do_not_fit_is_given_back() {
    let mut gate = behind(&schema());
    gate.arbiter.will(Act::Permit);
    assert_eq!(code(&gate.tool(1, "read", r#"{"path":"/a","bcc":"x"}"#).await), "tool.arguments_undeclared");
    assert_eq!(code(&gate.tool(2, "read", r#"{"path":7}"#).await), "tool.arguments_invalid");
    let outcomes = gate.arbiter.settled(2).await;
    assert_eq!(outcomes, [(Outcome::Expired, None), (Outcome::Expired, None)]);
    assert_eq!(ran(&mut gate).await, 0);
}

#[tokio::test]
async fn a_schema_that_changed_since_it_was_pinned_is_a_changed_definition_whatever_the_arguments() {
    let mut gate = behind(&schema());
    let mut changed = schema();
    changed["properties"]["bcc"] = json!({ "type": "string" });
    announced(&mut gate, &pages(&[&[tool(&changed)]])).await;
    for arguments in [r#"{"path":"/a"}"#, r#"{"path":"/a","bcc":"x"}"#, r#"{"path":7}"#] {
        assert_eq!(code(&gate.tool(1, "read", arguments).await), "tool.definition_changed");
        let said = gate.arbiter.questions().last().unwrap().request.tool.clone().unwrap();
        assert!(matches!(said.definition, ToolSeen::Defined(_)) && said.arguments.is_none(), "{said:?}");
    }
    assert_eq!(ran(&mut gate).await, 0);
}

#[tokio::test]
async fn a_tool_that_is_pinned_while_a_session_lasts_is_called_by_its_own_schema() {
    let (read, mut write) = (tool(&schema()), tool(&schema()));
    write["name"] = json!("write");
    let mut gate = gate(std::slice::from_ref(&read), &pages(&[&[read.clone(), write.clone()]]));
    assert_eq!(gate.tool(1, "read", r#"{"path":"/a"}"#).await["result"]["isError"], false);
    *gate.arbiter.table.lock().unwrap() = Ok(SurfaceTable { pins: pins(&[read, write]), ..table(2) });
    gate.arbiter.will(Act::PermitMappedWith(2));
    let answer = gate.tool(2, "write", r#"{"path":"/a"}"#).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert_eq!(code(&gate.tool(3, "write", r#"{"path":"/a","x":1}"#).await), "tool.arguments_undeclared");
}

#[tokio::test]
async fn a_server_without_pins_takes_arguments_as_before() {
    let mut gate = gate(&[], &pages(&[&[tool(&schema())]]));
    let answer = gate.tool(1, "read", r#"{"path":7,"bcc":"x"}"#).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    assert_eq!(gate.arbiter.questions()[0].request.tool, None);
}

#[tokio::test]
async fn what_a_schema_refers_to_elsewhere_is_never_fetched_and_nothing_runs_by_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/schema.json", listener.local_addr().unwrap());
    let mut gate = behind(&json!({ "properties": { "path": { "$ref": url } } }));
    let detail =
        refused(&mut gate, r#"{"path":"/a"}"#, "tool.arguments_unchecked", ArgumentsSeen::Unchecked).await;
    assert!(detail.contains("/properties/path/$ref") && detail.contains("nothing is fetched"), "{detail}");
    let reached = listener.accept();
    assert!(reached.is_err(), "{reached:?}");
}

#[tokio::test]
async fn a_schema_that_takes_for_ever_is_given_up_and_the_call_refused() {
    // Each of these doubles the work of the one before.
    let mut definitions = serde_json::Map::new();
    for number in 0..28 {
        let next = json!({ "$ref": format!("#/$defs/d{}", number + 1) });
        definitions.insert(format!("d{number}"), json!({ "allOf": [next, next] }));
    }
    definitions.insert("d28".into(), json!({}));
    let doubling = json!({ "properties": { "path": { "$ref": "#/$defs/d0" } }, "$defs": definitions });
    let pattern = json!({ "properties": { "path": { "pattern": "^(a|a)*(a|aa)*$" } } });
    let long = format!(r#"{{"path":"{}!"}}"#, "a".repeat(2_000_000));
    for (schema, arguments) in [(doubling, r#"{"path":"/a"}"#), (pattern.clone(), long.as_str())] {
        let mut gate = behind(&schema);
        let detail =
            refused(&mut gate, arguments, "tool.arguments_unchecked", ArgumentsSeen::Unchecked).await;
        assert!(detail.contains("more work than a call may"), "{detail}");
    }
    let mut gate = behind(&pattern);
    let text = format!(r#"{{"path":"{}!"}}"#, "a".repeat(3_000));
    refused(&mut gate, &text, "tool.arguments_invalid", ArgumentsSeen::Unfit).await;
}

/// What is no object says nothing of arguments, whatever it would say to a validator.
#[tokio::test]
async fn by_a_schema_that_is_no_object_no_call_runs() {
    for schema in [json!(true), json!(false), json!(null), json!(7), json!("object"), json!([])] {
        let mut gate = behind(&schema);
        for arguments in ["{}", r#"{"path":"/a"}"#] {
            let detail =
                refused(&mut gate, arguments, "tool.arguments_unchecked", ArgumentsSeen::Unchecked).await;
            assert!(detail.contains("`inputSchema` has a value that means nothing"), "{schema}: {detail}");
        }
    }
}

#[tokio::test]
async fn arguments_that_are_no_object_or_can_be_read_in_two_ways_are_asked_of_nobody() {
    let mut gate = behind(&json!({ "type": "object", "properties": { "n": {} } }));
    for arguments in ["null", "[]", r#""n""#, r#"{"n":1,"n":2}"#, r#"{"n":1,"\u006e":2}"#, r#"{"n":1e400}"#] {
        let answer = gate.tool(1, "read", arguments).await;
        assert!(code(&answer).starts_with("request."), "{arguments}: {answer}");
    }
    assert!(gate.arbiter.questions().is_empty(), "{:?}", gate.arbiter.questions());
    assert_eq!(ran(&mut gate).await, 0);
}

/// Names that mean something to some language, and such as two programs could take for one.
#[tokio::test]
async fn names_are_the_same_if_their_characters_are_and_mean_nothing() {
    let string = json!({ "type": "string" });
    let mut gate =
        behind(&json!({ "properties": { "__proto__": string, "\u{1f600}": string, "\u{e9}": string } }));
    for arguments in [r#"{"__proto__":"x"}"#, r#"{"\ud83d\ude00":"x"}"#, r#"{"é":"x"}"#] {
        let answer = gate.tool(1, "read", arguments).await;
        assert_eq!(answer["result"]["isError"], false, "{arguments}: {answer}");
    }
    let cases = [
        (r#"{"__proto__":{"admin":true}}"#, "tool.arguments_invalid", ArgumentsSeen::Unfit),
        (r#"{"constructor":"x"}"#, "tool.arguments_undeclared", ArgumentsSeen::Undeclared),
        ("{\"\u{1f600}\u{fe0f}\":\"x\"}", "tool.arguments_undeclared", ArgumentsSeen::Undeclared),
        // The same to people, by a letter and an accent.
        (r#"{"e\u0301":"x"}"#, "tool.arguments_undeclared", ArgumentsSeen::Undeclared),
        (r#"{"\u0000__proto__":"x"}"#, "tool.arguments_undeclared", ArgumentsSeen::Undeclared),
    ];
    for (arguments, code, seen) in cases {
        refused(&mut gate, arguments, code, seen).await;
    }
}

/// A schema that goes round without a value in between, and one that goes as deep as arguments do.
#[tokio::test]
async fn a_schema_that_refers_to_itself_ends_with_the_arguments_or_with_a_refusal() {
    let mut circle = behind(&json!({ "properties": { "a": { "allOf": [{ "$ref": "#/properties/a" }] } } }));
    refused(&mut circle, r#"{"a":1}"#, "tool.arguments_unchecked", ArgumentsSeen::Unchecked).await;
    let mut list = behind(&json!({ "properties": { "v": {}, "next": { "$ref": "#" } } }));
    let nested =
        |depth: usize, end: &str| format!("{}{end}{}", r#"{"next":"#.repeat(depth), "}".repeat(depth));
    let answer = list.tool(1, "read", &nested(20, r#"{"v":1}"#)).await;
    assert_eq!(answer["result"]["isError"], false, "{answer}");
    let end = r#"{"w":"canary"}"#;
    let detail =
        refused(&mut list, &nested(20, end), "tool.arguments_undeclared", ArgumentsSeen::Undeclared).await;
    assert!(detail.contains("/next/w"), "{detail}");
    let answer = list.tool(2, "read", &nested(200, "{}")).await;
    assert!(code(&answer).starts_with("request."), "{answer}");
}
