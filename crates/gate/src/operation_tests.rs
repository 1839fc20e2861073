use super::*;
use crate::message::{From, Message, read};

fn body(line: &str) -> Body {
    match read(line.as_bytes(), From::Client).unwrap() {
        Message::Request(_, body) | Message::Notification(body) => body,
        Message::Response(..) => panic!("a response: {line}"),
    }
}

fn operation(method: &str, params: &str) -> Operation {
    let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    Operation::of("srv", &body(&line)).unwrap()
}

#[test]
fn surfaces_of_tools_and_methods_never_meet() {
    let tool = |name: &str| operation("tools/call", &format!(r#"{{"name":"{name}"}}"#));
    assert_eq!(tool("read_file-2").surface.as_str(), "srv.read_file-2");
    // A dot would make a tool of this name pass for a method.
    let dotted = tool("mcp.resources.read");
    assert_eq!((dotted.surface.as_str(), dotted.named), ("srv.mcp.unknown", false));
    assert!(!operation("unknown", "{}").named);
    assert!(operation("resources/read", "{}").named);
    let long = tool(&"x".repeat(200));
    assert!(!long.named);
}

#[test]
fn the_payload_is_what_makes_the_operation() {
    let payload = |params: &str| operation("tools/call", params).payload;
    let base = payload(r#"{"name":"a","arguments":{"x":1,"y":"é"}}"#);
    assert_eq!(
        base,
        payload(r#"{"_meta":{"progressToken":1},"arguments":{ "y":"\u00e9","x":1 },"name":"a"}"#)
    );
    for other in [
        r#"{"name":"b","arguments":{"x":1,"y":"é"}}"#,
        r#"{"name":"a","arguments":{"x":2,"y":"é"}}"#,
        r#"{"name":"a","arguments":{"x":1.0,"y":"é"}}"#,
        r#"{"name":"a","arguments":{"x":1,"y":"é"},"task":{"ttl":1}}"#,
        r#"{"name":"a"}"#,
    ] {
        assert_ne!(base, payload(other), "{other}");
    }
    // Without an exact form, the bytes as they are.
    assert_eq!(
        payload(r#"{"name":"a","arguments":{"x":1.50}}"#),
        payload(r#"{"name":"a","arguments":{"x":1.50}}"#)
    );
    assert_ne!(
        payload(r#"{"name":"a","arguments":{"x":1.50}}"#),
        payload(r#"{"name":"a","arguments":{"x":1.5}}"#)
    );

    let read = |params: &str| operation("resources/read", params).payload;
    assert_eq!(read(r#"{"uri":"u"}"#), read(r#"{"_meta":{"a":1.5}, "uri":"u"}"#));
    assert_ne!(read(r#"{"uri":"u"}"#), read(r#"{"uri":"v"}"#));
    assert_ne!(read(r#"{"uri":"u"}"#), operation("resources/subscribe", r#"{"uri":"u"}"#).payload);
}
