use super::*;
use crate::json::Limits;

fn spec(context: &[(&str, ContextKind, &str)]) -> SurfaceSpec {
    SurfaceSpec {
        keep: crate::Keep::UNDECLARED,
        tier: Tier::Standard,
        on_silence: OnSilence::Terminate,
        idempotency: Idempotency::None,
        witnessed: false,
        permit_ttl_ms: 5_000,
        outcome_within_ms: 60_000,
        derived_window_ms: 60_000,
        actions: Vec::new(),
        tools: Vec::new(),
        resource: None,
        context: context
            .iter()
            .map(|(key, kind, from)| {
                (
                    (*key).to_owned(),
                    ContextRule { kind: *kind, from: Some((*from).to_owned()), optional: false },
                )
            })
            .collect(),
    }
}

fn extract(spec: &SurfaceSpec, arguments: &str) -> Result<BTreeMap<String, Value>, ReasonCode> {
    spec.extract(&Loose::parse(arguments.as_bytes(), Limits::MESSAGE).unwrap())
}

#[test]
fn a_safe_prefix_does_not_admit_dot_dot() {
    for good in ["/", "/safe/a.txt", "/safe/..a", "/a b/ü", "/a/.hidden"] {
        assert!(is_canonical_path(good), "{good}");
    }
    for bad in [
        "",
        "safe/a",
        "/safe/../etc/passwd",
        "/safe/./a",
        "/safe//a",
        "/safe/",
        "/safe\\..\\a",
        "~/a",
        "/a\0b",
        "/..",
        "//",
    ] {
        assert!(!is_canonical_path(bad), "{bad:?}");
    }
}

#[test]
fn an_apostrophe_in_a_query_had_two_spellings() {
    // To the URL parsers of browsers, Node and Rust both are `?a=%27`: a policy that looks for one would miss the other.
    assert!(!is_canonical_url("https://example.com/?a='"));
    assert!(is_canonical_url("https://example.com/?a=%27"));
    assert!(is_canonical_url("https://example.com/it's?a=b"));
}

#[test]
fn a_url_has_one_spelling() {
    for good in [
        "https://example.com/",
        "http://127.0.0.1:8080/a?b=c%20d",
        "https://a-b.example/x%20y",
        "https://example.com/?q=/../",
    ] {
        assert!(is_canonical_url(good), "{good}");
    }
    for bad in [
        "https://example.com",
        "HTTPS://example.com/",
        "https://Example.com/",
        "https://u@example.com/",
        "https://example.com:443/",
        "https://example.com/a/../b",
        "https://example.com/%2e%2e/",
        "https://example.com/%2E%2E/",
        "https://example.com/a%2Fb",
        "https://example.com/#x",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://127.1/",
        "ftp://example.com/",
        "https://exa mple.com/",
        "https://example.com\\@evil.com/",
        "https:///x",
        "https://example.com/a%zz",
        "https://example.com/a%4",
        "https://example.com./",
        "https://[::1]/",
        "https://example.com:0080/",
        "https://example.com:+80/",
        "https://example.com/%c3%a9",
        "https://example.com//a",
    ] {
        assert!(!is_canonical_url(bad), "{bad}");
    }
}

#[test]
fn a_decimal_has_exactly_its_scale() {
    for (text, scale, fits) in [
        ("12.50", 2, true),
        ("0.05", 2, true),
        ("-3.1", 1, true),
        ("12.5", 2, false),
        ("12", 2, false),
        ("012.50", 2, false),
        ("+1.00", 2, false),
        ("1e2.00", 2, false),
        ("-0.00", 2, false),
        (".50", 2, false),
        ("1.", 0, false),
        ("1.00 ", 2, false),
        ("123456789012345.00", 2, false),
        ("١.00", 2, false),
    ] {
        assert_eq!(is_decimal(text, scale), fits, "{text} at scale {scale}");
    }
}

#[test]
fn only_declared_arguments_are_read_and_each_must_be_there() {
    let spec = spec(&[
        ("path", ContextKind::Path, "/path"),
        ("amount", ContextKind::Decimal { scale: 2 }, "/pay/amount"),
    ]);
    let context = extract(&spec, r#"{"path":"/a","pay":{"amount":"1.00"},"ratio":0.5}"#).unwrap();
    assert_eq!(context.keys().collect::<Vec<_>>(), ["amount", "path"]);
    assert_eq!(extract(&spec, r#"{"path":"/a"}"#), Err(ReasonCode::RequestArgument));
    assert_eq!(extract(&spec, r#"{"path":7,"pay":{"amount":"1.00"}}"#), Err(ReasonCode::RequestArgument));
    assert_eq!(extract(&spec, r#"{"path":"/a","pay":{"amount":1.00}}"#), Err(ReasonCode::RequestFraction));
    assert_eq!(
        extract(&spec, r#"{"path":"/a/..","pay":{"amount":"1.00"}}"#),
        Err(ReasonCode::RequestNotCanonical)
    );
}

#[test]
fn keys_equal_but_for_case_are_refused_where_policy_reads() {
    let spec = spec(&[("amount", ContextKind::String, "/pay/amount")]);
    assert_eq!(
        extract(&spec, r#"{"pay":{"amount":"1"},"Pay":{"amount":"9"}}"#),
        Err(ReasonCode::RequestAmbiguousKey)
    );
    assert_eq!(
        extract(&spec, r#"{"pay":{"amount":"1","AMOUNT":"9"}}"#),
        Err(ReasonCode::RequestAmbiguousKey)
    );
    assert!(extract(&spec, r#"{"pay":{"amount":"1"},"env":{"PATH":"a","Path":"b"}}"#).is_ok());
}

/// A tool that ignores case would run with an amount that policy took for absent.
#[test]
fn an_optional_argument_in_another_spelling_is_not_taken_for_a_missing_one() {
    let mut spec =
        spec(&[("amount", ContextKind::String, "/amount"), ("sums", ContextKind::String, "/sums")]);
    for rule in spec.context.values_mut() {
        rule.optional = true;
    }
    assert_eq!(extract(&spec, "{}"), Ok(BTreeMap::new()));
    for other in [r#"{"Amount":"9"}"#, r#"{"sum\u017f":"9"}"#, r#"{"amount":"1","\u017fums":"9"}"#] {
        assert_eq!(extract(&spec, other), Err(ReasonCode::RequestAmbiguousKey), "{other}");
    }
}
