use portcullis_protocol::{Fit, ToolDefinition, ToolPins, ToolSeen};

use super::Schemas;

fn tool(text: &str) -> ToolDefinition {
    ToolDefinition::parse(text.as_bytes()).unwrap()
}

fn pins(tools: &[&ToolDefinition]) -> ToolPins {
    let pin = |tool: &&ToolDefinition| (format!("s/{}", tool.name()).parse().unwrap(), tool.digest());
    ToolPins { required: false, tools: tools.iter().map(pin).collect() }
}

#[test]
fn only_what_was_heard_under_the_very_digest_of_the_pin_is_held_against() {
    let (own, other) =
        (tool(r#"{"name":"a"}"#), tool(r#"{"name":"a","inputSchema":{"additionalProperties":true}}"#));
    let pins = pins(&[&own]);
    let schemas = Schemas::default();
    schemas.want(pins.of("s"));
    let name = "s/a".parse().unwrap();
    let fit = |seen, arguments| schemas.fit((&name, seen), &pins, arguments);
    let defined = ToolSeen::Defined(own.digest());
    assert!(matches!(fit(defined, "{}"), Some(Fit::Unchecked(_))), "not heard yet");
    schemas.hear(&other);
    assert!(matches!(fit(defined, "{}"), Some(Fit::Unchecked(_))), "heard of another");
    schemas.hear(&own);
    assert_eq!(fit(defined, "{}"), Some(Fit::Fits));
    assert!(matches!(fit(defined, r#"{"x":1}"#), Some(Fit::Undeclared(_))));
    assert_eq!(fit(ToolSeen::Defined(other.digest()), "{}"), None);
    assert_eq!(fit(ToolSeen::Unknown, "{}"), None);
}

#[test]
fn a_pin_that_comes_into_force_has_the_list_read_again() {
    let (one, two) = (tool(r#"{"name":"a"}"#), tool(r#"{"name":"b"}"#));
    let (first, both) = (pins(&[&one]), pins(&[&one, &two]));
    let schemas = Schemas::default();
    schemas.want(first.of("s"));
    schemas.hear(&one);
    schemas.hear(&two);
    let listed = [&one, &two].map(|tool| ToolSeen::Defined(tool.digest()));
    assert!(schemas.know(listed.iter()), "what is not pinned needs no schema");
    schemas.want(both.of("s"));
    assert!(!schemas.know(listed.iter()), "it was read before it was pinned");
    schemas.hear(&two);
    assert!(schemas.know(listed.iter()));
    let fit = |name: &str, tool: &ToolDefinition| {
        schemas.fit((&name.parse().unwrap(), ToolSeen::Defined(tool.digest())), &both, "{}")
    };
    assert_eq!((fit("s/a", &one), fit("s/b", &two)), (Some(Fit::Fits), Some(Fit::Fits)));
}
