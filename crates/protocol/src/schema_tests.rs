use super::{Fit, Stop, ToolSchema, Unusable, Why};
use crate::definition::ToolDefinition;
use crate::surface::ContextKind;

fn compiled(schema: &str) -> Result<ToolSchema, Unusable> {
    let text = format!(r#"{{"name":"t","inputSchema":{schema}}}"#);
    ToolSchema::of(&ToolDefinition::parse(text.as_bytes()).unwrap())
}

fn schema(text: &str) -> ToolSchema {
    compiled(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The same for one argument, `a`.
fn of(schema_of_a: &str) -> ToolSchema {
    schema(&format!(r#"{{"type":"object","properties":{{"a":{schema_of_a}}}}}"#))
}

fn told(fit: &Fit) -> String {
    let word = match fit {
        Fit::Fits => "fits",
        Fit::Undeclared(_) => "undeclared",
        Fit::Unfit(_) => "unfit",
        Fit::Unchecked(_) => "unchecked",
    };
    fit.told().map_or_else(|| word.to_owned(), |told| format!("{word}: {told}"))
}

#[test]
fn each_keyword_is_held_to_and_the_misfit_is_named_without_the_value() {
    let cases = [
        (r#"{"type":"string"}"#, r#""x""#, "7", "must be of type string"),
        (r#"{"type":["string","null"]}"#, "null", "true", "must be of type null or string"),
        (r#"{"type":"integer"}"#, "3.0", "3.5", "must be of type integer"),
        (r#"{"type":"number"}"#, "3", r#""3""#, "must be of type number"),
        (r#"{"enum":["a",1]}"#, "1.0", r#""secret""#, r#"must be one of "a", 1"#),
        (r#"{"const":{"x":[1]}}"#, r#"{"x":[1.0]}"#, r#"{"x":[2]}"#, "must be one of"),
        (r#"{"minimum":0.1}"#, "0.1", "0.09", "must be at least 0.1"),
        (r#"{"exclusiveMinimum":1}"#, "1.5", "1", "must be more than 1"),
        (r#"{"maximum":9007199254740993}"#, "9007199254740993", "9007199254740994", "must be at most"),
        (r#"{"exclusiveMaximum":0}"#, "-1e-200", "0", "must be less than 0"),
        (r#"{"multipleOf":0.01}"#, "19.99", "19.999", "must be a multiple of 0.01"),
        (r#"{"minLength":2}"#, r#""ää""#, r#""ä""#, "must have at least 2 characters"),
        (r#"{"maxLength":1}"#, r#""ä""#, r#""ab""#, "must have at most 1 characters"),
        (r#"{"pattern":"^a+$"}"#, r#""aa""#, r#""b""#, "must match the pattern `^a+$`"),
        (r#"{"minItems":1}"#, "[1]", "[]", "must have at least 1 elements"),
        (r#"{"maxItems":1}"#, "[1]", "[1,2]", "must have at most 1 elements"),
        (r#"{"uniqueItems":true}"#, r#"[1,"1"]"#, "[1,1.0]", "must not have an element twice"),
        (r#"{"contains":{"const":1}}"#, "[0,1]", "[0]", "does not have the elements"),
        (r#"{"items":false}"#, "[]", "[1]", "lets nothing be there"),
        (r#"{"required":["x"]}"#, r#"{"x":1}"#, "{}", "`x` is required"),
        (r#"{"dependentRequired":{"x":["y"]}}"#, r#"{"y":1}"#, r#"{"x":1}"#, "`y` is required"),
        (r#"{"minProperties":1}"#, r#"{"x":1}"#, "{}", "must have at least 1 members"),
        (r#"{"maxProperties":0}"#, "{}", r#"{"x":1}"#, "must have at most 0 members"),
        (r#"{"propertyNames":{"pattern":"^x"}}"#, r#"{"xy":1}"#, r#"{"y":1}"#, "`y` is no name"),
        (r#"{"not":{"type":"null"}}"#, "1", "null", "is what the tool's schema rules out"),
        (r#"{"anyOf":[{"type":"null"},{"minimum":5}]}"#, "5", "4", "fits none of the forms"),
        (r#"{"oneOf":[{"minimum":5},{"maximum":7}]}"#, "8", "6", "more than one of the forms"),
        (r#"{"oneOf":[{"minimum":5},{"maximum":3}]}"#, "6", "4", "fits none of the forms"),
        (r#"{"allOf":[{"minimum":5},{"maximum":7}]}"#, "6", "8", "must be at most 7"),
        (r#"{"if":{"minimum":5},"then":{"const":6},"else":{"const":1}}"#, "6", "7", "must be one of"),
        (r#"{"if":{"minimum":5},"then":{"const":6},"else":{"const":1}}"#, "1", "2", "must be one of"),
        (r#"{"dependentSchemas":{"x":{"required":["y"]}}}"#, "{}", r#"{"x":1}"#, "`y` is required"),
        (r#"false"#, "", "1", "lets nothing be there"),
    ];
    for (keyword, fits, misfits, wants) in cases {
        let schema = of(keyword);
        if !fits.is_empty() {
            let found = schema.check_text(&format!(r#"{{"a":{fits}}}"#));
            assert_eq!(found, Fit::Fits, "{keyword} and {fits}: {}", told(&found));
        }
        let found = schema.check_text(&format!(r#"{{"a":{misfits}}}"#));
        let Fit::Unfit(misfit) = &found else { panic!("{keyword} and {misfits}: {}", told(&found)) };
        assert_eq!(misfit.at, if keyword.starts_with(r#"{"items""#) { "/a/0" } else { "/a" });
        assert!(misfit.wants.contains(wants), "{keyword}: `{}`", misfit.wants);
        assert!(!misfit.wants.contains("secret"));
    }
}

#[test]
fn the_misfit_is_told_by_its_place() {
    let nested = of(r#"{"items":{"properties":{"b/c":{"type":"string"}}}}"#);
    assert_eq!(
        told(&nested.check_text(r#"{"a":[{},{"b/c":1}]}"#)),
        "unfit: argument `/a/1/b~1c`: must be of type string"
    );
    let required = schema(r#"{"properties":{"a":{}},"required":["a"]}"#);
    assert_eq!(told(&required.check_text("{}")), "unfit: the arguments: `a` is required");
    let long = format!(r#"{{"{}\u001b":1}}"#, "k".repeat(150));
    let told = told(&required.check_text(&long.replace("{", r#"{"a":1,"#)));
    assert!(told.contains("\\u{1b}") && told.len() < 300, "{told}");
    assert!(matches!(required.check_text("[]"), Fit::Unfit(_)));
    assert!(matches!(required.check_text(r#"{"a":1,"a":1}"#), Fit::Unchecked(_)));
}

#[test]
fn a_key_that_the_schema_does_not_declare_is_told_at_every_depth() {
    let cases = [
        (r#"{"properties":{"a":{}}}"#, r#"{"a":1,"b":2}"#, "/b"),
        ("{}", r#"{"b":2}"#, "/b"),
        (r#"{"type":"object","additionalProperties":false}"#, r#"{"b":2}"#, "/b"),
        (r#"{"properties":{"a":{"properties":{"b":{}}}}}"#, r#"{"a":{"b":1,"c":2}}"#, "/a/c"),
        (r#"{"properties":{"a":{"items":{"properties":{"b":{}}}}}}"#, r#"{"a":[{"b":1},{"c":2}]}"#, "/a/1/c"),
        (r#"{"patternProperties":{"^x":{}}}"#, r#"{"x1":1,"y":2}"#, "/y"),
        (r#"{"properties":{"A":{}}}"#, r#"{"a":1}"#, "/a"),
        (
            r##"{"properties":{"a":{"$ref":"#/$defs/d"}},"$defs":{"d":{"properties":{"b":{}}}}}"##,
            r#"{"a":{"c":1}}"#,
            "/a/c",
        ),
        (r#"{"allOf":[{"properties":{"a":{}}},{"properties":{"b":{}}}]}"#, r#"{"a":1,"b":1,"c":1}"#, "/c"),
        (
            r#"{"anyOf":[{"properties":{"a":{"const":1}}},{"properties":{"b":{}},"required":["b"]}]}"#,
            r#"{"a":1,"b":2,"c":3}"#,
            "/c",
        ),
        // What a branch declares that does not hold is not declared.
        (
            r#"{"anyOf":[{"properties":{"a":{}}},{"properties":{"b":{"const":1}},"required":["b"]}]}"#,
            r#"{"a":1,"b":2}"#,
            "/b",
        ),
        (
            r#"{"properties":{"a":{}},"not":{"properties":{"b":{"const":1}},"required":["b"]}}"#,
            r#"{"b":2}"#,
            "/b",
        ),
        // Having to be there, or not to be called otherwise, declares nothing.
        (r#"{"properties":{"a":{}},"required":["b"]}"#, r#"{"b":2}"#, "/b"),
        (r#"{"properties":{"a":{}},"propertyNames":{"maxLength":3}}"#, r#"{"b":2}"#, "/b"),
        (
            r#"{"properties":{"a":{"additionalProperties":{"properties":{"b":{}}}}}}"#,
            r#"{"a":{"x":{"c":1}}}"#,
            "/a/x/c",
        ),
    ];
    for (text, arguments, at) in cases {
        let found = schema(text).check_text(arguments);
        let Fit::Undeclared(misfit) = &found else { panic!("{text} and {arguments}: {}", told(&found)) };
        assert_eq!(misfit.at, at, "{text}");
    }
}

#[test]
fn what_a_schema_declares_in_any_way_or_leaves_open_fits() {
    let cases = [
        (r#"{"properties":{"a":{}}}"#, r#"{"a":{"any":{"thing":[{"x":1}]}}}"#),
        (r#"{"properties":{"a":{"type":"object"}}}"#, r#"{"a":{"b":1}}"#),
        (r#"{"properties":{"a":{"type":"array"}}}"#, r#"{"a":[{"b":1}]}"#),
        (r#"{"additionalProperties":true}"#, r#"{"b":{"c":1}}"#),
        (r#"{"properties":{"a":{}},"additionalProperties":{"type":"integer"}}"#, r#"{"b":1}"#),
        (r#"{"patternProperties":{"^x":{"type":"integer"}}}"#, r#"{"x1":1}"#),
        (
            r#"{"allOf":[{"properties":{"a":{"properties":{"b":{}}}}},{"properties":{"a":{"properties":{"c":{}}}}}]}"#,
            r#"{"a":{"b":1,"c":2}}"#,
        ),
        (
            r#"{"properties":{"kind":{"enum":["x"]}},"if":{"properties":{"kind":{"const":"x"}}},"then":{"properties":{"size":{}}}}"#,
            r#"{"kind":"x","size":1}"#,
        ),
        (r#"{"properties":{"a":{}},"dependentSchemas":{"a":{"properties":{"b":{}}}}}"#, r#"{"a":1,"b":1}"#),
        (r##"{"properties":{"v":{},"next":{"$ref":"#"}}}"##, r#"{"v":1,"next":{"v":2,"next":{"v":3}}}"#),
        (
            r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"a":{"prefixItems":[{"type":"string"}],"items":{"type":"integer"}}}}"#,
            r#"{"a":["x",1,2]}"#,
        ),
        (
            r#"{"properties":{"a":{"items":[{"type":"string"}],"additionalItems":{"type":"integer"}}}}"#,
            r#"{"a":["x",1]}"#,
        ),
        (
            r##"{"$schema":"http://json-schema.org/draft-07/schema#","$id":"https://x.example/","definitions":{"n":{"type":"integer"}},"properties":{"a":{"$ref":"#/definitions/n"}}}"##,
            r#"{"a":1}"#,
        ),
        (
            r#"{"x-vendor":{"required":7},"title":"T","properties":{"$ref":{"type":"string","format":"uri","default":3}}}"#,
            r#"{"$ref":"x"}"#,
        ),
        ("{}", "{}"),
    ];
    for (text, arguments) in cases {
        let found = schema(text).check_text(arguments);
        assert_eq!(found, Fit::Fits, "{text} and {arguments}: {}", told(&found));
    }
}

#[test]
fn a_tool_without_a_schema_takes_no_arguments() {
    let tool = ToolDefinition::parse(br#"{"name":"t"}"#).unwrap();
    let schema = ToolSchema::of(&tool).unwrap();
    assert_eq!(schema.check_text("{}"), Fit::Fits);
    assert!(matches!(schema.check_text(r#"{"a":1}"#), Fit::Undeclared(_)));
}

#[test]
fn what_is_not_understood_of_a_schema_is_not_passed_over() {
    let cases = [
        (r##"{"$dynamicRef":"#x"}"##, Why::Keyword("$dynamicRef")),
        (r#"{"unevaluatedProperties":false}"#, Why::Keyword("unevaluatedProperties")),
        (r#"{"dependencies":{"a":["b"]}}"#, Why::Keyword("dependencies")),
        (r#"{"$id":"https://x.example/a"}"#, Why::Keyword("$id")),
        (r#"{"$schema":"http://json-schema.org/draft-04/schema#"}"#, Why::Dialect),
        (r#"{"$schema":7}"#, Why::Dialect),
        (r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#, Why::Dialect),
        (r#"{"$ref":"https://x.example/a.json"}"#, Why::Remote),
        (r#"{"$ref":"other.json#/a"}"#, Why::Remote),
        (r##"{"$ref":"#/$defs/none"}"##, Why::Absent),
        (r##"{"$ref":"#anchor"}"##, Why::Absent),
        (r##"{"$ref":"#/properties/a/anyOf/01","anyOf":[{},{}]}"##, Why::Absent),
        (r##"{"$ref":"#/properties/a/anyOf/+1","anyOf":[{},{}]}"##, Why::Absent),
        (r##"{"$ref":"#/properties/a%62"}"##, Why::Absent),
        (r#"{"$ref":7}"#, Why::Absent),
        (r#"{"type":"strng"}"#, Why::Value("type".into())),
        (r#"{"minLength":0.5}"#, Why::Value("minLength".into())),
        (r#"{"exclusiveMinimum":true}"#, Why::Value("exclusiveMinimum".into())),
        (r#"{"minimum":1e-99999999999999999999}"#, Why::Value("minimum".into())),
        (r#"{"multipleOf":0}"#, Why::Value("multipleOf".into())),
        (r#"{"required":true}"#, Why::Value("required".into())),
        (r#"{"required":["a","b","a"]}"#, Why::Value("required".into())),
        (r#"{"dependentRequired":{"x":["a","a"]}}"#, Why::Value("dependentRequired".into())),
        (r#"{"enum":"a"}"#, Why::Value("enum".into())),
        (r#"{"uniqueItems":1}"#, Why::Value("uniqueItems".into())),
        (r#"{"pattern":"(?=a)"}"#, Why::Pattern("(?=a)".into())),
        (r#"{"patternProperties":{"[":{}}}"#, Why::Pattern("[".into())),
        ("7", Why::Value("schema".into())),
        (r#"{"contains":{},"minContains":0}"#, Why::Unsaid("minContains")),
        (r#"{"contains":{},"maxContains":1}"#, Why::Unsaid("maxContains")),
        (r#"{"not":{"prefixItems":[{}],"items":false}}"#, Why::Unsaid("prefixItems")),
    ];
    for (text, why) in cases {
        let error = compiled(&format!(r#"{{"properties":{{"a":{text}}}}}"#)).unwrap_err();
        assert_eq!(error.why, why, "{text}");
        assert!(error.at.starts_with("/properties"), "{error}");
    }
    assert!(compiled("true").is_err() && compiled("[]").is_err());
    let unused = schema(r##"{"properties":{"a":{}},"$defs":{"d":{"$ref":"https://x.example/"}}}"##);
    assert_eq!(unused.check_text("{}"), Fit::Fits, "what nothing refers to is no part of it");
    let many: Vec<_> = (0..5_000).map(|n| format!(r#""k{n}":{{}}"#)).collect();
    assert_eq!(
        compiled(&format!(r#"{{"properties":{{{}}}}}"#, many.join(","))).unwrap_err().why,
        Why::TooLarge
    );
}

#[test]
fn what_a_dialect_passes_over_is_not_held_to_in_it() {
    let seven = "http://json-schema.org/draft-07/schema#";
    let of = |dialect: &str, schema_of_a: &str| {
        compiled(&format!(r#"{{"$schema":"{dialect}","properties":{{"a":{schema_of_a},"b":{{}}}}}}"#))
            .map_err(|error| error.why)
    };
    let beside = r##"{"not":{"$ref":"#/properties/b","type":"string"}}"##;
    assert_eq!(of(seven, beside).unwrap_err(), Why::Beside);
    assert!(of(seven, r##"{"$ref":"#/properties/b","description":"B","default":1}"##).is_ok());
    assert!(of("https://json-schema.org/draft/2019-09/schema", beside).is_ok());
    let newer = [
        ("draft-06/schema", r#"{"if":{},"then":{}}"#, "if"),
        ("draft-07/schema", r#"{"contains":{},"minContains":0}"#, "minContains"),
        ("draft-07/schema#", r#"{"not":{"dependentRequired":{"x":["y"]}}}"#, "dependentRequired"),
        ("draft/2019-09/schema", r#"{"prefixItems":[{}],"items":{"type":"string"}}"#, "prefixItems"),
    ];
    for (dialect, text, keyword) in newer {
        let dialect = format!("http://json-schema.org/{dialect}");
        assert_eq!(of(&dialect, text).unwrap_err(), Why::Keyword(keyword));
        assert!(of("https://json-schema.org/draft/2020-12/schema", text).is_ok());
    }
    let of = |schema_of_a: &str| {
        compiled(&format!(
            r#"{{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{{"a":{schema_of_a}}}}}"#
        ))
    };
    let at_most_one = of(r#"{"contains":{"const":1},"maxContains":1}"#).unwrap();
    assert_eq!(at_most_one.check_text(r#"{"a":[1]}"#), Fit::Fits);
    assert!(told(&at_most_one.check_text(r#"{"a":[1,1]}"#)).contains("does not have the elements"));
    for text in [r#"{"contains":{},"minContains":-1}"#, r#"{"contains":{},"maxContains":0.5}"#] {
        assert!(matches!(of(text).unwrap_err().why, Why::Value(_)), "{text}");
    }
}

#[test]
fn a_schema_that_doubles_with_each_step_ends_without_a_yes() {
    let mut defs: Vec<_> = (0..28)
        .map(|n| {
            format!(r##""d{n}":{{"allOf":[{{"$ref":"#/$defs/d{0}"}},{{"$ref":"#/$defs/d{0}"}}]}}"##, n + 1)
        })
        .collect();
    defs.push(r#""d28":{}"#.to_owned());
    let doubling = schema(&format!(
        r##"{{"properties":{{"a":{{"$ref":"#/$defs/d0"}}}},"$defs":{{{}}}}}"##,
        defs.join(",")
    ));
    assert!(matches!(doubling.check_text(r#"{"a":1}"#), Fit::Unchecked(_)));
    let circle = schema(r##"{"properties":{"a":{"$ref":"#/properties/a"}}}"##);
    assert!(matches!(circle.check_text(r#"{"a":1}"#), Fit::Unchecked(_)));
    let within = schema(r##"{"anyOf":[{"$ref":"#"},{}]}"##);
    assert!(matches!(within.check_text("{}"), Fit::Unchecked(_)));
    let tree = schema(r##"{"properties":{"l":{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}}}"##);
    let deep = format!("{}{{}}{}", r#"{"l":"#.repeat(20), "}".repeat(20));
    assert!(matches!(tree.check_text(&deep), Fit::Unchecked(_)));
    assert_eq!(tree.check_text(r#"{"l":{"l":{}}}"#), Fit::Fits);
    let huge = of(r#"{"type":"number"}"#).check_text(r#"{"a":1e9999999999999999999}"#);
    assert!(matches!(huge, Fit::Unchecked(_)));
}

#[test]
fn no_pattern_takes_a_text_for_ever() {
    let hostile = of(r#"{"pattern":"^(a|a)*(a|a)*(a|a)*$"}"#);
    let text = format!(r#"{{"a":"{}!"}}"#, "a".repeat(3_000));
    assert!(matches!(hostile.check_text(&text), Fit::Unfit(_)));
    let longer = format!(r#"{{"a":"{}!"}}"#, "a".repeat(1_000_000));
    assert!(matches!(hostile.check_text(&longer), Fit::Unchecked(_)));
}

/// A reference was followed from the root of the whole, where validators follow it from what has an `$id`, which was nowhere looked at.
#[test]
fn a_reference_through_a_schema_of_its_own_name_was_followed_from_the_root() {
    let of = |dialect: &str, way: &str| {
        compiled(&format!(
            r##"{{{dialect}"properties":{{"a":{{"$ref":"#/$defs/x/properties/y"}}}},"$defs":{{"z":{{}},"x":{{{way}
            "properties":{{"y":{{"$ref":"#/$defs/z"}}}},"$defs":{{"z":{{"type":"integer"}}}}}}}}}}"##
        ))
        .map_err(|error| error.why)
        .map(|schema| schema.check_text(r#"{"a":"text"}"#))
    };
    let seven = r#""$schema":"http://json-schema.org/draft-07/schema#","#;
    assert_eq!(of("", r#""$id":"https://e.example/x","#).unwrap_err(), Why::Keyword("$id"));
    assert_eq!(of("", r#""$schema":"https://e.example/x","#).unwrap_err(), Why::Keyword("$schema"));
    assert_eq!(of(seven, r##""$ref":"#/$defs/z","##).unwrap_err(), Why::Beside);
    assert_eq!(of(seven, "").unwrap(), Fit::Fits);
    assert_eq!(of(r#""$id":"https://e.example/","#, r##""$ref":"#/$defs/z","##).unwrap(), Fit::Fits);
}

/// A tool in Go takes `PATH` for `path`, and the last of the two.
#[test]
fn a_key_that_was_another_spelling_of_a_named_one_was_one_of_those_that_a_schema_leaves_open() {
    let cases = [
        (r#"{"properties":{"path":{"pattern":"^/safe/"}},"additionalProperties":true}"#, "/PATH"),
        (r#"{"properties":{"path":{}},"patternProperties":{"^P":{}}}"#, "/PATH"),
        (
            r#"{"not":{"properties":{"path":{}},"additionalProperties":false},"additionalProperties":true}"#,
            "/PATH",
        ),
        (r#"{"properties":{"path":{}},"additionalProperties":false}"#, "/PATH"),
    ];
    for (text, at) in cases {
        let found = schema(text).check_text(r#"{"path":"/safe/a","PATH":"/etc/shadow"}"#);
        let Fit::Undeclared(misfit) = &found else { panic!("{text}: {}", told(&found)) };
        assert_eq!(misfit.at, at, "{text}");
    }
    let open = schema(r#"{"properties":{"path":{},"Path":{}},"additionalProperties":true}"#);
    assert_eq!(open.check_text(r#"{"path":1,"Path":2,"other":3,"Other":4}"#), Fit::Fits);
    assert!(matches!(open.check_text(r#"{"path":1,"pATH":2}"#), Fit::Undeclared(_)));
}

/// The digits were compared and nothing else. What is sent are the digits, and a tool that reads a double reads another number: zero, one,
/// a whole one.
#[test]
fn numbers_that_a_tool_reads_as_others_were_judged_by_their_digits() {
    let cases = [
        (r#"{"exclusiveMinimum":0}"#, "1e-400"),
        (r#"{"exclusiveMaximum":1}"#, "0.99999999999999999999"),
        (r#"{"exclusiveMaximum":1}"#, "0.99999999999999999"),
        (r#"{"not":{"type":"integer"}}"#, "1.00000000000000000001"),
        (r#"{"type":"integer"}"#, "1.00000000000000000001"),
        (r#"{"not":{"const":1}}"#, "0.99999999999999999999"),
        (r#"{"enum":[1]}"#, "0.99999999999999999999"),
        (r#"{"uniqueItems":true}"#, "[1,1.00000000000000000001]"),
        (r#"{"uniqueItems":true}"#, "[{\"x\":9007199254740993},{\"x\":9007199254740992}]"),
        (r#"{"anyOf":[{"minimum":1},{"type":"string"}]}"#, "0.99999999999999999999"),
        (r#"{"if":{"exclusiveMinimum":0},"then":true,"else":false}"#, "1e-400"),
        (r#"{"maximum":9007199254740992}"#, "9007199254740993"),
        (r#"{"multipleOf":2}"#, "9007199254740993"),
    ];
    for (keyword, number) in cases {
        let found = of(keyword).check_text(&format!(r#"{{"a":{number}}}"#));
        let Fit::Unfit(misfit) = &found else { panic!("{keyword} and {number}: {}", told(&found)) };
        assert_eq!(
            (misfit.at.as_str(), misfit.wants.as_str()),
            ("/a", Stop::Double.as_str()),
            "{keyword} {number}"
        );
    }
    let agreed = [
        (r#"{"type":"number"}"#, "1e-400"),
        (r#"{"type":"integer","minimum":0}"#, "1234567890123456789"),
        (r#"{"type":"integer","minimum":0}"#, "18446744073709551615"),
        (r#"{"exclusiveMinimum":0}"#, "0.30000000000000000001"),
        (r#"{"not":{"const":1}}"#, "2.00000000000000000001"),
        (r#"{"multipleOf":0.01}"#, "12345678901.23"),
    ];
    for (keyword, number) in agreed {
        let found = of(keyword).check_text(&format!(r#"{{"a":{number}}}"#));
        assert_eq!(found, Fit::Fits, "{keyword} and {number}");
    }
    assert!(compiled(r#"{"properties":{"a":{"multipleOf":0.10000000000000000001}}}"#).is_err());
}

/// Three keywords were looked at for what one step takes, however many keys they name: a schema of a megabyte had one call go on for
/// a minute.
#[test]
fn keys_that_a_schema_names_were_looked_for_without_being_counted() {
    const SPENT: &str =
        "unchecked: holding the arguments against the tool's schema takes more work than a call may";
    let keys = |count: usize, each: fn(usize) -> String| (0..count).map(each).collect::<Vec<_>>().join(",");
    let items = |said: String| of(&format!(r#"{{"items":{{"additionalProperties":true,{said}}}}}"#));
    let empty = |count: usize| format!(r#"{{"a":[{}]}}"#, vec!["{}"; count].join(","));
    let needs = items(format!(r#""dependentRequired":{{{}}}"#, keys(3_000, |n| format!(r#""k{n}":[]"#))));
    assert_eq!(
        (needs.check_text(&empty(10)), told(&needs.check_text(&empty(1_000)))),
        (Fit::Fits, SPENT.to_owned())
    );
    let when = items(format!(r#""dependentSchemas":{{{}}}"#, keys(3_000, |n| format!(r#""k{n}":true"#))));
    assert_eq!(
        (when.check_text(&empty(10)), told(&when.check_text(&empty(1_000)))),
        (Fit::Fits, SPENT.to_owned())
    );
    // A schema of one object that is looked at by each of so many references.
    let times = |count: usize, def: String| {
        let refs = vec![r##"{"$ref":"#/$defs/d"}"##; count].join(",");
        schema(&format!(r##"{{"properties":{{"a":{{"allOf":[{refs}]}}}},"$defs":{{"d":{def}}}}}"##))
    };
    let required = |count: usize| {
        let keys = keys(3_000, |n| format!(r#""k{n}""#));
        times(count, format!(r#"{{"additionalProperties":true,"required":[{keys}]}}"#))
    };
    let all = format!(r#"{{"a":{{{}}}}}"#, keys(3_000, |n| format!(r#""k{n}":0"#)));
    assert_eq!(required(3).check_text(&all), Fit::Fits);
    assert_eq!(told(&required(1_000).check_text(&all)), SPENT);
    let long = "k".repeat(60_000);
    let named = |count: usize| times(count, format!(r#"{{"properties":{{"{long}":true}}}}"#));
    let one = format!(r#"{{"a":{{"{long}":0}}}}"#);
    assert_eq!(
        (named(3).check_text(&one), told(&named(1_000).check_text(&one))),
        (Fit::Fits, SPENT.to_owned())
    );
    let multiple = of(r#"{"items":{"multipleOf":1}}"#);
    let numbers = |count: usize| format!(r#"{{"a":[{}]}}"#, vec!["7"; count].join(","));
    assert_eq!(told(&multiple.check_text(&numbers(40_000))), SPENT);
}

/// Each pattern had a bound, and 128 of them a bound of 160 MiB.
#[test]
fn patterns_of_one_schema_were_bounded_one_by_one() {
    let patterns = |count: usize, pattern: &str| {
        let each = |number: usize| format!(r#""k{number}":{{"pattern":"{pattern}{number}"}}"#);
        let text = format!(r#"{{"properties":{{{}}}}}"#, (0..count).map(each).collect::<Vec<_>>().join(","));
        compiled(&text)
    };
    assert!(matches!(patterns(128, "^[a-z]{1000}").unwrap_err().why, Why::Pattern(_)));
    let some = patterns(3, "^[a-z]{1000}").unwrap();
    assert!(some.patterns_size() > 0 && some.patterns_size() <= 1024 * 1024);
    assert!(patterns(100, "^[0-9]{4}-[a-z]+$").is_ok(), "small ones have room");
    let one =
        ToolDefinition::parse(br#"{"name":"t","inputSchema":{"properties":{"a":{"pattern":"a"}}}}"#).unwrap();
    assert!(ToolSchema::of_within(&one, 4 * 1024).is_ok() && ToolSchema::of_within(&one, 1024).is_err());
}

/// Eight megabytes of them took more than a gigabyte while they were looked at.
#[test]
fn arguments_of_too_many_values_are_not_looked_at() {
    let schema = of(r#"{"items":{"properties":{"k":{}}}}"#);
    let many = |count: usize| format!(r#"{{"a":[{}{{}}]}}"#, r#"{"k":1},"#.repeat(count));
    assert_eq!(schema.check_text(&many(20_000)), Fit::Fits);
    assert_eq!(
        told(&schema.check_text(&many(60_000))),
        "unchecked: the arguments have more than 100000 values"
    );
    let text = r#"\",{["#.repeat(200_000);
    assert_eq!(of(r#"{"type":"string"}"#).check_text(&format!(r#"{{"a":"{text}"}}"#)), Fit::Fits);
}

#[test]
fn a_long_text_without_a_pattern_fits() {
    let text = format!(r#"{{"a":"{}"}}"#, "x".repeat(4_000_000));
    assert_eq!(of(r#"{"type":"string"}"#).check_text(&text), Fit::Fits);
}

#[test]
fn what_policy_reads_is_told_by_place_and_type() {
    use ContextKind::{Boolean, Decimal, Integer, Path, String, Strings};
    let schema = schema(
        r##"{"type":"object","required":["s","o"],"$defs":{"s":{"type":"string"}},"properties":{
            "s":{"$ref":"#/$defs/s"},"i":{"type":["integer","null"]},"n":{"type":"number"},"b":{"enum":[true]},
            "l":{"type":"array","items":{"type":"string"}},"m":{"type":"array","items":{"type":"integer"}},
            "o":{"type":"object","required":["x"],"properties":{"x":{"anyOf":[{"type":"string"},{"type":"boolean"}]}}},
            "f":{"type":"object"},"u":{}},
            "if":{"required":["b"]},"then":{"properties":{"t":{"type":"string"}}}}"##,
    );
    let can = |pointer: &str, kind: ContextKind| {
        let place = schema.at(pointer);
        place.possible && place.can_be(kind)
    };
    let fits = [
        ("/s", String),
        ("/s", Path),
        ("/s", Decimal { scale: 2 }),
        ("/i", Integer),
        ("/n", Integer),
        ("/b", Boolean),
        ("/l", Strings),
        ("/o/x", String),
        ("/o/x", Boolean),
        ("/f/any/thing", Integer),
        ("/u", Strings),
        ("/t", String),
    ];
    for (pointer, kind) in fits {
        assert!(can(pointer, kind), "{pointer} as {kind:?}");
    }
    let misfits = [
        ("/s", Integer),
        ("/i", String),
        ("/n", Decimal { scale: 2 }),
        ("/b", String),
        ("/m", Strings),
        ("/l", String),
        ("/o/x", Integer),
        ("/o/y", String),
        ("/s/x", String),
        ("/none", String),
        ("/S", String),
        ("", String),
    ];
    for (pointer, kind) in misfits {
        assert!(!can(pointer, kind), "{pointer} as {kind:?}");
    }
    let required = |pointer: &str| schema.at(pointer).required;
    assert!(required("/s") && required("/o/x") && !required("/i") && !required("/f/x"));
    assert_eq!(schema.at("/i").kinds.to_string(), "null or integer");
    assert_eq!(schema.at("/n").kinds.to_string(), "number");
}

#[test]
fn what_cannot_be_told_of_a_place_is_not_taken_for_known() {
    let free = schema(r#"{"allOf":[{"properties":{"m":{"type":"object"}}},{"properties":{"x":{}}}]}"#);
    let place = free.at("/m/a");
    assert!(place.possible && place.unclear, "{place:?}");
    assert!(!free.at("/x").unclear);
    let ruled = schema(r#"{"properties":{"a":{"not":{"type":"string"}}}}"#);
    assert!(ruled.at("/a").possible && ruled.at("/a").unclear);
    let closed = schema(r#"{"allOf":[{"properties":{"a":{}}},{"additionalProperties":false}]}"#);
    assert!(!closed.at("/a").possible, "nothing that can be there");
    let either = schema(r#"{"oneOf":[{"properties":{"a":{"type":"string"}}},{"properties":{"b":{}}}]}"#);
    assert!(either.at("/a").possible && either.at("/a").can_be(ContextKind::String));
    let circle = schema(r##"{"properties":{"a":{"$ref":"#/properties/a"}}}"##);
    assert!(circle.at("/a").possible && circle.at("/a").unclear);
}
