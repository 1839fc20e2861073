use super::*;

fn refused(text: &str) -> ReasonCode {
    Value::parse(text.as_bytes(), Limits::REQUEST).unwrap_err().code()
}

#[test]
fn duplicate_keys_are_refused_at_every_depth_and_through_escapes() {
    assert_eq!(refused(r#"{"a":1,"a":1}"#), ReasonCode::RequestDuplicateKey);
    assert_eq!(refused(r#"{"x":[{"a":1,"b":2,"a":3}]}"#), ReasonCode::RequestDuplicateKey);
    assert_eq!(refused(r#"{"a":1,"\u0061":2}"#), ReasonCode::RequestDuplicateKey);
    let nested = Loose::parse(br#"{"x":{"a":1.5,"a":2}}"#, Limits::MESSAGE);
    assert_eq!(nested, Err(JsonError::DuplicateKey { key: "a".into() }));
}

#[test]
fn numbers_that_a_double_would_change_are_refused() {
    assert_eq!(refused("1.5"), ReasonCode::RequestFraction);
    assert_eq!(refused("1.0"), ReasonCode::RequestFraction);
    assert_eq!(refused("1e3"), ReasonCode::RequestFraction);
    assert_eq!(refused("-0"), ReasonCode::RequestFraction);
    assert_eq!(refused("9007199254740992"), ReasonCode::RequestIntegerRange);
    assert_eq!(refused("-9007199254740992"), ReasonCode::RequestIntegerRange);
    assert_eq!(refused("18446744073709551616"), ReasonCode::RequestIntegerRange);
    assert_eq!(Value::parse(b"9007199254740991", Limits::REQUEST), Ok(Value::Int(MAX_INTEGER)));
    assert_eq!(Value::parse(b"-9007199254740991", Limits::REQUEST), Ok(Value::Int(-MAX_INTEGER)));
}

#[test]
fn length_and_depth_are_bounded_exactly() {
    let limits = Limits { bytes: 20, depth: 2 };
    assert_eq!(Value::parse(b"[[1]]", limits), Ok(Value::Array(vec![Value::Array(vec![Value::Int(1)])])));
    assert_eq!(Value::parse(b"[[[1]]]", limits), Err(JsonError::TooDeep { limit: 2 }));
    assert_eq!(Value::parse(br#"{"a":{"b":{}}}"#, limits), Err(JsonError::TooDeep { limit: 2 }));
    assert_eq!(Value::parse(b"                    1", limits), Err(JsonError::TooLarge { limit: 20 }));
}

#[test]
fn what_is_not_exactly_one_json_text_is_malformed() {
    for text in ["", "{", "{}x", "{} {}", "nul", "'a'", "[1,]", "\u{feff}{}", r#""\ud800""#, "NaN", "{1:2}"] {
        assert_eq!(refused(text), ReasonCode::RequestMalformed, "{text}");
    }
    assert_eq!(Value::parse(b"\"\xff\"", Limits::REQUEST).unwrap_err().code(), ReasonCode::RequestMalformed);
}

#[test]
fn a_fraction_that_no_policy_reads_is_kept_as_such() {
    let loose =
        Loose::parse(br#"{"ratio":0.5,"big":123456789012345678901,"path":"/a"}"#, Limits::MESSAGE).unwrap();
    assert_eq!(loose.pointer("/ratio"), Some(&Loose::Fraction));
    assert_eq!(loose.pointer("/big"), Some(&Loose::Oversize));
    assert_eq!(loose.pointer("/path"), Some(&Loose::Str("/a".into())));
}

#[test]
fn pointers_follow_rfc_6901() {
    let loose = Loose::parse(br#"{"a/b":[{"m~n":7}],"":1}"#, Limits::MESSAGE).unwrap();
    assert_eq!(loose.pointer("/a~1b/0/m~0n"), Some(&Loose::Int(7)));
    assert_eq!(loose.pointer("/"), Some(&Loose::Int(1)));
    assert_eq!(loose.pointer(""), Some(&loose));
    assert_eq!(loose.pointer("a"), None);
    assert_eq!(loose.pointer("/a~1b/1"), None);
}

#[test]
fn what_a_type_skips_was_no_text_and_was_accepted() {
    #[derive(Debug, serde::Deserialize)]
    struct Kept {
        a: u8,
    }
    let read = |text: &[u8]| read::<Kept>(text, Limits::REQUEST);
    assert_eq!(read(br#"{"a":1,"b":{"c":[1.5,"\u20ac"]}}"#).unwrap().a, 1);
    assert!(matches!(read(br#"{"b":1}"#), Err(Unread::Shape(_))));
    let deep = [br#"{"a":1,"b":"#.as_slice(), &[b'['; 500], &[b']'; 500], b"}"].concat();
    let skipped: [&[u8]; 6] = [
        b"{\"a\":1,\"b\":\"\xdf\"}",
        b"{\"a\":1,\"\xdf\":1}",
        br#"{"a":1,"b":"\ud800"}"#,
        br#"{"a":1,"b":{"c":1,"c":2}}"#,
        br#"{"a":1,"b":1e999}"#,
        &deep,
    ];
    for text in skipped {
        assert!(matches!(read(text), Err(Unread::Text(_))), "{}", String::from_utf8_lossy(text));
    }
}
