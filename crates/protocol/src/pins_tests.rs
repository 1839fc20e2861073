use super::{ArgumentsSeen, CalledTool, ToolPins, ToolSeen};
use crate::digest::Digest;
use crate::reason::ReasonCode;
use crate::request::Ask;

fn digest(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}

fn pins(required: bool, tools: &[(&str, &str)]) -> ToolPins {
    let tools = tools.iter().map(|(tool, text)| (tool.parse().unwrap(), digest(text)));
    ToolPins { required, tools: tools.collect() }
}

fn judge(pins: &ToolPins, tool: &str, definition: ToolSeen) -> Option<ReasonCode> {
    pins.judge(&CalledTool { name: tool.parse().unwrap(), definition, arguments: None }).err()
}

#[test]
fn only_the_pinned_definition_of_a_pinned_tool_may_be_called() {
    use ToolSeen::{Absent, Ambiguous, Defined, Unknown};
    let pins = pins(false, &[("rec/read", "one"), ("rec/write", "two"), ("recs/read", "three")]);
    let cases = [
        ("rec/read", Defined(digest("one")), None),
        ("rec/read", Defined(digest("two")), Some(ReasonCode::ToolDefinitionChanged)),
        ("rec/read", Absent, Some(ReasonCode::ToolDefinitionChanged)),
        ("rec/read", Unknown, Some(ReasonCode::ToolDefinitionUnknown)),
        ("rec/read", Ambiguous, Some(ReasonCode::ToolAmbiguous)),
        ("rec/erase", Defined(digest("one")), Some(ReasonCode::ToolUnpinned)),
        ("rec/erase", Unknown, Some(ReasonCode::ToolUnpinned)),
        ("rec/erase", Ambiguous, Some(ReasonCode::ToolAmbiguous)),
        ("other/read", Defined(digest("four")), None),
        ("other/read", Unknown, None),
        ("other/read", Absent, None),
        ("other/read", Ambiguous, Some(ReasonCode::ToolAmbiguous)),
    ];
    for (tool, seen, expected) in cases {
        assert_eq!(judge(&pins, tool, seen), expected, "{tool}, {seen}");
    }
}

#[test]
fn where_pins_are_required_a_server_without_any_has_no_tools() {
    let pins = pins(true, &[("rec/read", "one")]);
    let defined = ToolSeen::Defined(digest("one"));
    assert_eq!(judge(&pins, "rec/read", defined), None);
    assert_eq!(judge(&pins, "other/read", defined), Some(ReasonCode::ToolUnpinned));
    assert!(!pins.say_nothing() && pins.bind("other"));
}

#[test]
fn a_gates_call_that_does_not_say_what_was_seen_of_its_tool_was_seen_by_nobody() {
    let ask = |surface: &str, mapped: bool| {
        let mut ask = Ask::parse(
            format!(r#"{{"surface":"{surface}","action":"act","resource":{{"type":"Surface","id":"x"}}}}"#)
                .as_bytes(),
        )
        .unwrap();
        ask.mapped_with = mapped.then(|| digest("rules"));
        ask
    };
    let pinned = pins(false, &[("rec/read", "one")]);
    for rules in [&pinned, &pins(true, &[])] {
        assert_eq!(rules.judge_ask(&ask("rec.read", true)), Err(ReasonCode::ToolDefinitionUnknown));
        assert_eq!(rules.judge_ask(&ask("rec.mcp", true)), Err(ReasonCode::ToolDefinitionUnknown));
        assert_eq!(rules.judge_ask(&ask("rec.mcp.resources.read", true)), Ok(()));
        assert_eq!(rules.judge_ask(&ask("rec.read", false)), Ok(()), "no gate asks");
    }
    assert_eq!(ToolPins::none().judge_ask(&ask("rec.read", true)), Ok(()));
    let mut said = ask("rec.read", true);
    let name = "rec/read".parse().unwrap();
    said.tool = Some(CalledTool { name, definition: ToolSeen::Unknown, arguments: None });
    assert_eq!(pinned.judge_ask(&said), Err(ReasonCode::ToolDefinitionUnknown));
}

#[test]
fn arguments_that_do_not_fit_or_that_no_gate_looked_at_are_refused_where_pins_bind_the_server() {
    use ArgumentsSeen::{Fit, Unchecked, Undeclared, Unfit};
    let pins = pins(false, &[("rec/read", "one")]);
    let ask = |tool: &str, definition, arguments| {
        pins.judge_call(&CalledTool { name: tool.parse().unwrap(), definition, arguments }).err()
    };
    let defined = ToolSeen::Defined(digest("one"));
    let cases = [
        (Some(Fit), None),
        (Some(Undeclared), Some(ReasonCode::ToolArgumentsUndeclared)),
        (Some(Unfit), Some(ReasonCode::ToolArgumentsInvalid)),
        (Some(Unchecked), Some(ReasonCode::ToolArgumentsUnchecked)),
        (None, Some(ReasonCode::ToolArgumentsUnchecked)),
    ];
    for (arguments, expected) in cases {
        assert_eq!(ask("rec/read", defined, arguments), expected, "{arguments:?}");
        assert_eq!(ask("other/read", defined, arguments), None, "a server without pins");
        let other = ToolSeen::Defined(digest("two"));
        assert_eq!(ask("rec/read", other, arguments), Some(ReasonCode::ToolDefinitionChanged));
    }
}

#[test]
fn what_was_seen_is_written_as_one_word_and_read_back() {
    for seen in [ToolSeen::Defined(digest("x")), ToolSeen::Ambiguous, ToolSeen::Absent, ToolSeen::Unknown] {
        let called = CalledTool { name: "rec/read".parse().unwrap(), definition: seen, arguments: None };
        let text = serde_json::to_string(&called).unwrap();
        assert_eq!(serde_json::from_str::<CalledTool>(&text).unwrap(), called, "{text}");
    }
    for (seen, word) in [(ArgumentsSeen::Fit, "fit"), (ArgumentsSeen::Undeclared, "undeclared")] {
        let definition = ToolSeen::Defined(digest("x"));
        let called = CalledTool { name: "rec/read".parse().unwrap(), definition, arguments: Some(seen) };
        let text = serde_json::to_string(&called).unwrap();
        assert!(text.ends_with(&format!(r#","arguments":"{word}"}}"#)), "{text}");
        assert_eq!(serde_json::from_str::<CalledTool>(&text).unwrap(), called);
        assert!(serde_json::from_str::<CalledTool>(&text.replace(word, "right")).is_err());
    }
    for other in [r#""Absent""#, r#""""#, r#""sha256:00""#, "null", "1"] {
        let text = format!(r#"{{"name":"rec/read","definition":{other}}}"#);
        assert!(serde_json::from_str::<CalledTool>(&text).is_err(), "{text}");
    }
}
