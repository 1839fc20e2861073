use hyper::Request;

use super::*;

fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn names(address: &str) -> Names {
    let origins = ["https://app.example".to_owned()];
    Names::new(address.parse().unwrap(), &["Gate.example".to_owned()], &origins, false)
}

#[test]
fn a_host_that_the_endpoint_is_not_known_by_is_refused() {
    let names = names("127.0.0.1:8080");
    for host in ["localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "gate.example"] {
        assert!(names.admit(&parts("/mcp", &[("host", host)])).is_ok(), "{host}");
    }
    for host in [
        "localhost",
        "localhost:80",
        "evil.example:8080",
        "127.0.0.1.evil.example:8080",
        "gate.example:80",
        "",
    ] {
        let refused = names.admit(&parts("/mcp", &[("host", host)])).unwrap_err();
        assert_eq!(refused.status(), 403, "{host}");
    }
    assert_eq!(names.admit(&parts("/mcp", &[])).unwrap_err().status(), 403);
    let twice = [("host", "localhost:8080"), ("host", "localhost:8080")];
    assert_eq!(names.admit(&parts("/mcp", &twice)).unwrap_err().status(), 400);
    let target = parts("http://evil.example/mcp", &[("host", "localhost:8080")]);
    assert_eq!(names.admit(&target).unwrap_err().status(), 403);
}

#[test]
fn an_address_that_is_not_this_machine_alone_is_not_known_as_localhost() {
    let names = names("10.1.2.3:80");
    for (host, known) in
        [("10.1.2.3:80", true), ("10.1.2.3", true), ("localhost:80", false), ("127.0.0.1", false)]
    {
        assert_eq!(names.admit(&parts("/mcp", &[("host", host)])).is_ok(), known, "{host}");
    }
}

#[test]
fn an_origin_that_nobody_allowed_is_refused() {
    let names = names("127.0.0.1:8080");
    let from = |origin| names.admit(&parts("/mcp", &[("host", "localhost:8080"), ("origin", origin)]));
    assert!(from("https://app.example").is_ok());
    for origin in ["http://app.example", "https://app.example.evil", "null", "", "http://localhost:8080"] {
        assert_eq!(from(origin).unwrap_err().status(), 403, "{origin}");
    }
}

#[test]
fn one_bearer_token_names_a_caller_and_nothing_else_does() {
    let token = |headers: &[(&str, &str)]| bearer(&parts("/", headers).headers).map(str::to_owned);
    assert_eq!(token(&[("authorization", "bearer  a.b-c_d~e+f/g==")]).as_deref(), Some("a.b-c_d~e+f/g=="));
    for value in ["", "Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer a,b", "Bearer \"a\"", "abc"] {
        assert_eq!(token(&[("authorization", value)]), None, "{value}");
    }
    assert_eq!(token(&[("authorization", "Bearer a"), ("authorization", "Bearer a")]), None);
    assert_eq!(token(&[("mcp-session-id", "a"), ("proxy-authorization", "Bearer a")]), None);
}

#[test]
fn a_client_must_accept_both_forms_of_an_answer() {
    let both = ["application/json", "text/event-stream"];
    let accepts = |value: &str| accepts(&parts("/", &[("accept", value)]).headers, &both).is_ok();
    for value in [
        "application/json, text/event-stream",
        "*/*",
        "text/*;q=0.5,Application/JSON",
        "application/*,text/*",
    ] {
        assert!(accepts(value), "{value}");
    }
    for value in [
        "",
        "application/json",
        "text/event-stream",
        "text/html, application/json",
        "*/*;q=0",
        "application/json, text/event-stream; q=0.0",
    ] {
        assert!(!accepts(value), "{value}");
    }
}

#[test]
fn a_body_of_another_type_is_refused() {
    let json = |headers: &[(&str, &str)]| {
        is_json(&parts("/", headers).headers).map_err(|refused| refused.status().as_u16())
    };
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        assert_eq!(json(&[("content-type", kind)]), Ok(()), "{kind}");
    }
    for kind in [
        "text/plain",
        "application/json; charset=utf-16",
        "application/jsonx",
        "application/json, text/plain",
        "",
    ] {
        assert_eq!(json(&[("content-type", kind)]), Err(415), "{kind}");
    }
    assert_eq!(json(&[]), Err(415));
    assert_eq!(json(&[("content-type", "application/json"), ("content-encoding", "gzip")]), Err(415));
    assert_eq!(json(&[("content-type", "application/json"), ("content-type", "text/plain")]), Err(400));
}
