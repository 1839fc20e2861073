use super::*;

fn schema(output: &str) -> OutputSchema {
    let tool = format!(r#"{{"name":"t","inputSchema":{{"type":"object"}},"outputSchema":{output}}}"#);
    OutputSchema::of(&ToolDefinition::parse(tool.as_bytes()).unwrap()).unwrap().unwrap()
}

/// The smallest result by a schema of one member `a`.
fn made(of: &str) -> String {
    let schema = schema(&format!(r#"{{"type":"object","properties":{{"a":{of}}},"required":["a"]}}"#));
    let made = schema.smallest().unwrap_or_else(|| panic!("nothing is made of {of}"));
    assert!(schema.holds(&made));
    let text = made.to_canonical();
    text.strip_prefix(r#"{"a":"#).and_then(|text| text.strip_suffix('}')).unwrap().to_owned()
}

#[test]
fn a_smallest_result_is_made_of_what_a_schema_says() {
    for (of, value) in [
        (r#"{"const":{"x":[1]}}"#, r#"{"x":[1]}"#),
        (r#"{"enum":["red","green"]}"#, r#""red""#),
        (r#"{"type":"string","default":"usual","minLength":3}"#, r#""usual""#),
        (r#"{"type":"string","examples":["one"],"pattern":"^o"}"#, r#""one""#),
        (r#"{"type":"string"}"#, r#""""#),
        (r#"{"type":"string","minLength":3,"pattern":"^[a-z]+$"}"#, r#""aaa""#),
        (r#"{"type":"string","format":"date-time"}"#, r#""1970-01-01T00:00:00Z""#),
        (r#"{"type":"integer"}"#, "0"),
        (r#"{"type":"integer","minimum":5,"multipleOf":4}"#, "8"),
        (r#"{"type":"integer","exclusiveMaximum":0}"#, "-1"),
        (r#"{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":1}"#, "0.5"),
        (r#"{"type":"number","minimum":1.25,"maximum":1.25}"#, "1.25"),
        (r#"{"type":"boolean"}"#, "false"),
        (r#"{"type":"boolean","not":{"const":false}}"#, "true"),
        (r#"{"type":"null"}"#, "null"),
        (r#"{"type":["integer","null"]}"#, "0"),
        (r#"{"type":"array","items":{"type":"string"}}"#, "[]"),
        (r#"{"type":"array","items":{"type":"integer","minimum":2},"minItems":2}"#, "[2,2]"),
        (r#"{"type":"array","contains":{"const":7}}"#, "[7]"),
        (
            r#"{"type":"object","additionalProperties":{"type":"integer"},"minProperties":2}"#,
            r#"{"member1":0,"member2":0}"#,
        ),
        (
            r#"{"type":"object","properties":{"x":{},"y":{"type":"string"}},"required":["y"],"additionalProperties":false}"#,
            r#"{"y":""}"#,
        ),
        (r#"{"anyOf":[{"type":"string","minLength":2000},{"type":"null"}]}"#, "null"),
        // What is right by the first branch is right by both.
        (r#"{"oneOf":[{"type":"integer"},{"type":"number"}]}"#, "0.5"),
        (r#"{"allOf":[{"type":"number","minimum":3},{"type":"integer","maximum":3}]}"#, "3"),
        (r#"{"required":["b"],"properties":{"b":{"const":1}}}"#, r#"{"b":1}"#),
        ("true", "null"),
        ("{}", "null"),
    ] {
        assert_eq!(made(of), value, "{of}");
    }
}

#[test]
fn what_is_referred_to_is_made_and_what_refers_to_itself_ends() {
    let list = schema(
        r##"{"type":"object","properties":{"next":{"$ref":"#/$defs/node"}},"required":["next"],
        "$defs":{"node":{"type":"object","properties":{"value":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},
        "required":["value","next"]}}}"##,
    );
    let made = list.smallest().unwrap();
    assert!(list.holds(&made), "{}", made.to_canonical());
    let endless = schema(r##"{"type":"object","properties":{"next":{"$ref":"#"}},"required":["next"]}"##);
    assert_eq!(endless.smallest(), None);
}

#[test]
fn what_is_made_and_does_not_fit_is_not_given() {
    for of in [
        // Nothing is right.
        r#"{"type":"object","properties":{"a":{"type":"string","maxLength":0,"minLength":1}},"required":["a"]}"#,
        r#"{"type":"object","properties":{"a":false},"required":["a"]}"#,
        // Something is, and is not looked for.
        r#"{"type":"object","properties":{"a":{"type":"string","pattern":"^[0-9]{3}-[0-9]{4}$"}},"required":["a"]}"#,
        r#"{"type":"object","properties":{"a":{"type":"array","uniqueItems":true,"minItems":3,"items":{"type":"integer"}}},"required":["a"]}"#,
        r#"{"type":"object","properties":{"a":{"type":"string","minLength":100000}},"required":["a"]}"#,
        // No result of a tool's.
        r#"{"type":"array"}"#,
    ] {
        assert_eq!(schema(of).smallest(), None, "{of}");
    }
}

#[test]
fn results_are_held_against_the_schema_and_more_members_are_right_where_it_lets_them_be() {
    let schema = schema(r#"{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}"#);
    let holds = |text: &str| schema.holds(&Exact::parse(text.as_bytes()).unwrap());
    assert!(holds(r#"{"a":1}"#) && holds(r#"{"a":1,"more":[]}"#));
    assert!(!holds(r#"{"a":"1"}"#) && !holds("{}") && !holds("[]") && !holds("null"));
}

#[test]
fn a_tool_without_a_schema_has_none_and_one_that_is_not_understood_says_where() {
    let of = |text: &str| OutputSchema::of(&ToolDefinition::parse(text.as_bytes()).unwrap());
    assert!(of(r#"{"name":"t","inputSchema":{}}"#).is_none());
    let unusable = of(r#"{"name":"t","outputSchema":{"properties":{"a":{"unevaluatedItems":false}}}}"#);
    assert_eq!(unusable.unwrap().unwrap_err().at, "/properties/a");
    assert!(of(r#"{"name":"t","outputSchema":[]}"#).unwrap().is_err());
}

/// Many choices within choices, none of which is right: all that is tried is counted.
#[test]
fn a_schema_that_is_there_to_take_time_ends() {
    let mut of = r#"{"type":"string","maxLength":0,"minLength":1}"#.to_owned();
    for _ in 0..12 {
        of = format!(
            r#"{{"anyOf":[{{"type":"object","properties":{{"a":{of}}},"required":["a"]}},{{"type":"array","items":{{"type":"string","maxLength":0,"minLength":1}},"minItems":1}}]}}"#
        );
    }
    assert_eq!(
        schema(&format!(r#"{{"type":"object","properties":{{"a":{of}}},"required":["a"]}}"#)).smallest(),
        None
    );
    let mut wide = r#"{"type":"integer"}"#.to_owned();
    for _ in 0..6 {
        wide = format!(r#"{{"type":"array","minItems":64,"items":{wide}}}"#);
    }
    assert_eq!(
        schema(&format!(r#"{{"type":"object","properties":{{"a":{wide}}},"required":["a"]}}"#)).smallest(),
        None
    );
}
