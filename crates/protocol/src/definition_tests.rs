use serde_json::Value;

use super::{DefinitionError, Exact, ToolDefinition};
use crate::json::JsonError;

const TOOL: &str = r#"{"name":"read","description":"Reads.","inputSchema":{"type":"object","properties":{"n":{"minimum":0.5}}},
    "annotations":{"readOnlyHint":true},"x-more":[1,null]}"#;

fn tool(text: &str) -> ToolDefinition {
    ToolDefinition::parse(text.as_bytes()).unwrap()
}

#[test]
fn the_digest_is_of_every_member_and_not_of_how_it_is_laid_out() {
    let digest = tool(TOOL).digest();
    let laid = r#" {"x-more" : [1, null],
        "annotations":{"readOnlyHint":true},"inputSchema":{"properties":{"n":{"minimum":0.5}},"type":"object"},
        "description":"Read\u0073.","name":"read"} "#;
    assert_eq!(tool(laid).digest(), digest);
    let changes = [
        (r#""read""#, r#""reed""#),
        ("Reads.", "Reads. "),
        ("0.5", "0.50"),
        (r#""properties""#, r#""Properties""#),
        ("true", "false"),
        ("[1,null]", "[null,1]"),
        ("[1,null]", r#"["1",null]"#),
        ("x-more", "x-most"),
    ];
    for (from, to) in changes {
        let changed = TOOL.replace(from, to);
        assert_ne!(changed, TOOL);
        assert_ne!(tool(&changed).digest(), digest, "{from} to {to}");
    }
}

#[test]
fn numbers_stay_as_they_are_written() {
    let text = "[1,-0,0.10,1e3,9223372036854775807]";
    assert_eq!(Exact::parse(text.as_bytes()).unwrap().to_canonical(), text);
}

#[test]
fn the_canonical_form_is_that_of_rfc_8785_where_that_has_one() {
    let text =
        "{\"\u{1f600}\":\"\\u000f\\n\\\"\\\\\u{e9}\u{7f}\",\"\u{fb33}\":{},\"a\":[],\"B\":[true,false,null]}";
    let ours = Exact::parse(text.as_bytes()).unwrap().to_canonical();
    let other: Value = serde_json::from_str(text).unwrap();
    assert_eq!(ours, serde_json_canonicalizer::to_string(&other).unwrap());
}

#[test]
fn what_is_written_for_people_reads_as_the_same() {
    let read = Exact::parse(TOOL.as_bytes()).unwrap();
    let pretty = read.to_pretty();
    assert!(pretty.starts_with("{\n  \"annotations\": {\n    \"readOnlyHint\": true\n  },\n"), "{pretty}");
    assert_eq!(Exact::parse(pretty.as_bytes()).unwrap(), read);
}

#[test]
fn what_two_parsers_could_read_differently_is_no_definition() {
    let error = |text: &str| ToolDefinition::parse(text.as_bytes()).unwrap_err();
    let twice = error(r#"{"name":"a","inputSchema":{"x":1,"x":2}}"#);
    assert_eq!(twice, DefinitionError::Json(JsonError::DuplicateKey { key: "x".into() }));
    assert_eq!(error("[]"), DefinitionError::NoObject);
    assert_eq!(error(r#"{"name":7}"#), DefinitionError::Nameless);
    assert!(matches!(error(r#"{"name":"a"} {}"#), DefinitionError::Json(JsonError::Syntax { .. })));
    let deep = format!(r#"{{"name":"a","x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(error(&deep), DefinitionError::Json(JsonError::TooDeep { limit: 64 }));
}
