use hyper::header::HeaderValue;

use super::*;

const NEW: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;

fn posted(headers: &[(&str, &str)], body: &str) -> Result<Post, (u16, String)> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    post(&map, body.as_bytes().to_vec())
        .map_err(|refused| (refused.status().as_u16(), format!("{refused:?}")))
}

fn call(meta: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"read","arguments":{{}}{meta}}}}}"#
    )
}

fn new_call() -> String {
    call(&format!(",{NEW}"))
}

const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
const METHOD: (&str, &str) = ("mcp-method", "tools/call");
const NAMED_READ: (&str, &str) = ("mcp-name", "read");

#[test]
fn a_request_is_of_the_era_that_its_body_and_headers_both_name() {
    let stateless = posted(&[VERSION, METHOD, NAMED_READ], &new_call()).unwrap();
    assert!(matches!(stateless, Post::Stateless(Id::Int(7), _)));
    let within =
        posted(&[("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")], &call("")).unwrap();
    let session = Session { id: "s".into(), revision: Some("2025-11-25".into()) };
    assert!(matches!(within, Post::Within(named, Said::Request(Id::Int(7), _)) if named == session));
    let opens = posted(&[], r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{}}"#).unwrap();
    assert!(matches!(opens, Post::Opens(Id::Text(_), _)));
}

#[test]
fn headers_that_disagree_with_the_body_are_refused() {
    let mismatched: [&[(&str, &str)]; 12] = [
        &[],
        &[METHOD, NAMED_READ],
        &[VERSION, NAMED_READ],
        &[VERSION, METHOD],
        &[("mcp-protocol-version", "2025-11-25"), METHOD, NAMED_READ],
        &[VERSION, ("mcp-method", "tools/list"), NAMED_READ],
        &[VERSION, ("mcp-method", "Tools/Call"), NAMED_READ],
        &[VERSION, METHOD, ("mcp-name", "write")],
        &[VERSION, METHOD, ("mcp-name", "=?base64?d3JpdGU=?=")],
        &[VERSION, METHOD, ("mcp-name", "=?base64?!?=")],
        &[VERSION, METHOD, METHOD, NAMED_READ],
        &[VERSION, METHOD, NAMED_READ, ("mcp-session-id", "s")],
    ];
    for headers in mismatched {
        let (status, refused) = posted(headers, &new_call()).unwrap_err();
        assert!(status == 400 && refused.contains("-32020"), "{headers:?}: {refused}");
    }
    assert!(posted(&[VERSION, METHOD, ("mcp-name", "=?base64?cmVhZA==?=")], &new_call()).is_ok());
}

#[test]
fn a_name_where_none_belongs_is_refused() {
    let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{NEW}}}}}"#);
    let list_method = ("mcp-method", "tools/list");
    assert!(posted(&[VERSION, list_method], &list).is_ok());
    assert_eq!(posted(&[VERSION, list_method, NAMED_READ], &list).unwrap_err().0, 400);
}

#[test]
fn what_could_be_of_either_era_is_refused() {
    // Headers of the one over a body of the other.
    for headers in
        [&[VERSION][..], &[METHOD], &[NAMED_READ], &[VERSION, METHOD, NAMED_READ, ("mcp-session-id", "s")]]
    {
        let (status, refused) = posted(headers, &call("")).unwrap_err();
        assert!(status == 400 && refused.contains("-32602"), "{headers:?}: {refused}");
    }
    // A revision that is no text is one that is named.
    let odd = call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":20260728}"#);
    assert_eq!(posted(&[("mcp-session-id", "s")], &odd).unwrap_err().0, 400);
    let initialize = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{{NEW}}}}}"#);
    let (status, refused) = posted(&[VERSION, ("mcp-method", "initialize")], &initialize).unwrap_err();
    assert!(status == 404 && refused.contains("-32601"), "{refused}");
    let within = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    assert_eq!(posted(&[("mcp-session-id", "s")], within).unwrap_err().0, 400);
    assert_eq!(posted(&[], &call("")).unwrap_err().0, 400, "a message of no session");
}

/// A client of both eras sends the headers of the newer one with whatever it says.
#[test]
fn what_is_said_within_a_session_was_refused_for_headers_that_agree_with_it() {
    let old = [("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")];
    let with = |others: &[(&'static str, &'static str)]| [&old[..], others].concat();
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert!(posted(&with(&[METHOD, NAMED_READ]), &call("")).is_ok());
    assert!(posted(&with(&[METHOD]), &call("")).is_ok());
    assert!(posted(&with(&[("mcp-method", "notifications/initialized")]), notice).is_ok());
    assert!(posted(&[old[1], ("mcp-method", "initialize")], initialize).is_ok());
    for (others, body) in [
        (&[("mcp-method", "tools/list")][..], call("").as_str()),
        (&[METHOD, ("mcp-name", "write")], call("").as_str()),
        (&[METHOD], notice),
        (&[NAMED_READ], notice),
        (&[METHOD], answer),
        (&[NAMED_READ], answer),
    ] {
        let (status, _) = posted(&with(others), body).unwrap_err();
        assert_eq!(status, 400, "{others:?}: {body}");
    }
}

#[test]
fn a_revision_that_is_not_spoken_is_answered_with_those_that_are() {
    let old = call(r#","_meta":{"io.modelcontextprotocol/protocolVersion":"1900-01-01"}"#);
    let headers = [("mcp-protocol-version", "1900-01-01"), METHOD, NAMED_READ];
    let (status, refused) = posted(&headers, &old).unwrap_err();
    assert!(status == 400 && refused.contains("-32022") && refused.contains("2026-07-28"), "{refused}");
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    assert!(posted(&[("mcp-protocol-version", "1900-01-01")], initialize).unwrap_err().1.contains("-32022"));
}

#[test]
fn what_is_no_single_unambiguous_message_is_refused() {
    for (body, code) in [
        ("", "request.malformed"),
        ("null", "request.malformed"),
        ("[]", "request.malformed"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, "request.malformed"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#, "request.malformed"),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"x\":\"\n\"}", "request.malformed"),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n{\"jsonrpc\":\"2.0\",\"id\":2}",
            "request.malformed",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, "request.duplicate_key"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#, "request.ambiguous_key"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            "request.duplicate_key",
        ),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "request.invalid_value"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "request.invalid_value"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "request.invalid_value"),
    ] {
        let (status, refused) = posted(&[("mcp-session-id", "s")], body).unwrap_err();
        assert!(status == 400 && refused.contains(code), "{body}: {refused}");
    }
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}{}}}}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    assert!(posted(&[("mcp-session-id", "s")], &deep).unwrap_err().1.contains("request.too_deep"));
}

#[test]
fn white_space_between_members_is_none_of_the_message() {
    let pretty = "{\r\n \"jsonrpc\": \"2.0\",\r\n \"id\": 1,\n \"method\": \"ping\"\n}\n";
    let Ok(Post::Within(_, Said::Request(Id::Int(1), body))) = posted(&[("mcp-session-id", "s")], pretty)
    else {
        panic!("it is a request");
    };
    assert_eq!(body.to_bytes(), br#"{"jsonrpc":"2.0","method":"ping"}"#);
}

#[test]
fn notifications_and_answers_are_within_a_session() {
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let answer = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    for body in [notice, answer] {
        assert!(matches!(posted(&[("mcp-session-id", "s")], body), Ok(Post::Within(..))), "{body}");
        assert_eq!(posted(&[], body).unwrap_err().0, 400, "{body}");
        assert_eq!(posted(&[VERSION], body).unwrap_err().0, 400, "{body}");
    }
    let neither = r#"{"jsonrpc":"2.0","id":1}"#;
    assert_eq!(posted(&[("mcp-session-id", "s")], neither).unwrap_err().0, 400);
    assert_eq!(
        posted(&[("mcp-session-id", "s")], r#"{"jsonrpc":"2.0","method":"tools/call"}"#).unwrap_err().0,
        400
    );
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(posted(&[VERSION], cancelled), Ok(Post::Nothing));
}

#[test]
fn a_header_that_says_what_no_argument_does_is_refused() {
    let body = |arguments: &str| {
        let params = format!(r#""name":"read","arguments":{arguments},{NEW}"#);
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#)
    };
    let arguments =
        body(r#"{"region":"us west","n":42,"b":true,"deep":{"s":"\u00e9"},"list":["within"],"none":null}"#);
    let told = |value: &'static str, body: &str| {
        posted(&[VERSION, METHOD, NAMED_READ, ("mcp-param-x", value)], body)
    };
    for agrees in ["us west", "=?base64?dXMgd2VzdA==?=", "42", "42.0", "true", "=?base64?w6k=?="] {
        assert!(told(agrees, &arguments).is_ok(), "{agrees}");
    }
    for differs in ["us", "43", "42.5", "false", "True", "within", "null", "", "=?base64?w6k?=", "nan", "inf"]
    {
        let (status, refused) = told(differs, &arguments).unwrap_err();
        assert!(status == 400 && refused.contains("-32020"), "{differs}: {refused}");
    }
    assert!(told("x", &new_call()).is_err(), "no arguments at all");
    // What number it is the gate does not know.
    assert!(told("1.5", &body(r#"{"f":1.5}"#)).is_ok() && told("x", &body(r#"{"f":1.5}"#)).is_err());
    let twice = [VERSION, METHOD, NAMED_READ, ("mcp-param-x", "42"), ("mcp-param-x", "us west")];
    assert!(posted(&twice, &arguments).is_err());
    let list = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{{NEW}}}}}"#);
    assert!(posted(&[VERSION, ("mcp-method", "tools/list"), ("mcp-param-x", "42")], &list).is_err());
    // Within a session too: whoever routes by them on the way goes by them.
    let old =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":{"n":42}}}"#;
    let session = [("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25")];
    assert!(posted(&[session[0], session[1], ("mcp-param-n", "42")], old).is_ok());
    assert!(posted(&[session[0], session[1], ("mcp-param-n", "43")], old).is_err());
}
