use super::*;

fn read(text: &str) -> Result<Examples, ExamplesError> {
    Examples::read(text.as_bytes(), &["rec".to_owned(), "git".to_owned()])
}

fn line_of(examples: &Examples, tool: &str, arguments: &str) -> Option<usize> {
    examples.of(("rec", tool), arguments).map(|example| example.line)
}

#[test]
fn an_example_of_these_very_arguments_goes_before_one_of_any() {
    let examples = read(
        r#"{"tool":"rec/read","result":{"content":[]}}

{"tool":"rec/read","arguments":{"b":[1],"a":"x"},"result":{"content":[{"type":"text","text":"x"}]}}
{"tool":"git/read","result":{}}
{"tool":"rec/pay","arguments":{},"result":{"isError":true}}
"#,
    )
    .unwrap();
    assert_eq!(line_of(&examples, "read", r#"{ "a":"x", "b":[ 1 ] }"#), Some(3));
    for other in ["{}", r#"{"a":"x","b":[1.0]}"#, r#"{"a":"x"}"#, "no JSON"] {
        assert_eq!(line_of(&examples, "read", other), Some(1), "{other}");
    }
    assert_eq!((line_of(&examples, "pay", "{}"), line_of(&examples, "pay", r#"{"a":1}"#)), (Some(5), None));
    assert_eq!(line_of(&examples, "write", "{}"), None);
}

#[test]
fn a_line_that_is_no_example_is_named_and_nothing_of_the_file_is_taken() {
    let good = r#"{"tool":"rec/read","result":{}}"#;
    let twice = format!("{good}\n{good}");
    let json = |text: &str| ExampleFault::Json(Exact::parse(text.as_bytes()).unwrap_err());
    for (text, line, fault) in [
        (twice.as_str(), 2, ExampleFault::Twice(1)),
        ("{", 1, json("{")),
        (r#"{"tool":"rec/read","tool":"rec/read","result":{}}"#, 1, json(r#"{"tool":1,"tool":1}"#)),
        ("\n[]", 2, ExampleFault::NoObject),
        (r#"{"tool":"rec/read"}"#, 1, ExampleFault::NoObject),
        (r#"{"tool":"rec/read","result":{},"results":{}}"#, 1, ExampleFault::Member("results".into())),
        (r#"{"result":{}}"#, 1, ExampleFault::Tool),
        (r#"{"tool":"read","result":{}}"#, 1, ExampleFault::Tool),
        (r#"{"tool":"other/read","result":{}}"#, 1, ExampleFault::Server("other".into())),
        (r#"{"tool":"rec/read","arguments":[],"result":{}}"#, 1, ExampleFault::Arguments),
        (r#"{"tool":"rec/read","result":[]}"#, 1, ExampleFault::Result("it is no object")),
        (
            r#"{"tool":"rec/read","result":{"content":["x"]}}"#,
            1,
            ExampleFault::Result("`content` is a list of objects, each with its `type`"),
        ),
        (
            r#"{"tool":"rec/read","result":{"isError":"no"}}"#,
            1,
            ExampleFault::Result("`isError` is true or false"),
        ),
        (
            r#"{"tool":"rec/read","result":{"structuredContent":[]}}"#,
            1,
            ExampleFault::Result("`structuredContent` is an object"),
        ),
        (r#"{"tool":"rec/read","result":{"_meta":1}}"#, 1, ExampleFault::Result("`_meta` is an object")),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!((error.line, &error.fault), (line, &fault), "{text}");
    }
    let many = "\n".repeat(LINES) + good;
    assert_eq!(read(&many).unwrap_err().fault, ExampleFault::TooMany);
}

#[test]
fn an_example_is_held_against_what_the_tool_declares_unless_it_says_that_the_call_failed() {
    let tool = br#"{"name":"read","outputSchema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}}"#;
    let schema =
        OutputSchema::of(&portcullis_protocol::ToolDefinition::parse(tool).unwrap()).unwrap().unwrap();
    let fits = |result: &str| {
        let examples = read(&format!(r#"{{"tool":"rec/read","result":{result}}}"#)).unwrap();
        examples.of(("rec", "read"), "{}").unwrap().fits(&schema)
    };
    assert!(fits(r#"{"structuredContent":{"n":1}}"#) && fits(r#"{"isError":true}"#));
    assert!(!fits(r#"{"structuredContent":{"n":"1"}}"#) && !fits(r#"{"content":[]}"#));
}
