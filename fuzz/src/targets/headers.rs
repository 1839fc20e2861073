//! The headers of a request to the endpoint, and the body that they speak of.

use std::net::SocketAddr;

use hyper::http::request::Parts;
use hyper::http::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Request};

use super::era::{self, Post, Said};
use super::guard::{self, Names};
use crate::message::{Body, Id};
use crate::reference::Json;

/// Lines of a header as HTTP has them, an empty line, and a body. What is read of the body is what another parser reads of it, and
/// what the headers say of it is the same; who asks, from where and in which form is what another reader finds in them.
pub(crate) fn headers(data: &[u8]) {
    let (head, body) = split(data);
    let lines = lines(head);
    let Some(parts) = parts(&lines) else { return };
    let found = Found(&lines);
    bearer(&found, &parts.headers);
    host(&found, &parts);
    forms(&found, &parts.headers);
    if let Ok(post) = era::post(&parts.headers, body.to_vec()) {
        let json = Json::parse(body).expect("a message, and no JSON");
        posted(&found, &json, &post);
    }
}

fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&data[..end], &data[end + 2..]),
        None => (data, b""),
    }
}

/// Names, in lower case, and values without the white space around them (RFC 9110, section 5.5).
fn lines(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let line = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    };
    head.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// The same as the endpoint gets it; `None` if no HTTP request has them.
fn parts(lines: &[(String, Vec<u8>)]) -> Option<Parts> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let mut parts = Request::new(()).into_parts().0;
    parts.headers = headers;
    Some(parts)
}

/// The lines, searched one by one.
struct Found<'a>(&'a [(String, Vec<u8>)]);

/// What stands in a header.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Missing,
    One(&'a str),
    /// More than one value, or no plain text.
    Unclear,
}

impl Found<'_> {
    fn get(&self, name: &str) -> Value<'_> {
        let values: Vec<&[u8]> =
            self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_slice()).collect();
        match values.as_slice() {
            [] => Value::Missing,
            [value] if value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) => {
                Value::One(str::from_utf8(value).expect("ASCII"))
            }
            [..] => Value::Unclear,
        }
    }

    fn one(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Value::One(value) => Some(value),
            Value::Missing | Value::Unclear => None,
        }
    }
}

/// A token is one word behind the scheme, of the characters of RFC 6750.
fn bearer(found: &Found<'_>, headers: &HeaderMap) {
    let expected = found.one("authorization").and_then(|value| {
        let scheme = value.get(..7)?;
        let token = value.get(7..)?.trim();
        let plain = token.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/=".contains(c));
        (scheme.eq_ignore_ascii_case("bearer ") && plain && !token.is_empty()).then_some(token)
    });
    assert_eq!(guard::bearer(headers), expected);
}

/// A request is let in under a name of this machine's, from no web page or from one that was allowed.
fn host(found: &Found<'_>, parts: &Parts) {
    let address: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
    let names = Names::new(address, &["Gate.example".to_owned()], &["https://app.example".to_owned()], false);
    let known = ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "gate.example"];
    let host = found.one("host").is_some_and(|host| known.contains(&host.to_ascii_lowercase().as_str()));
    let origin = match found.get("origin") {
        Value::Missing => true,
        Value::One(origin) => origin.eq_ignore_ascii_case("https://app.example"),
        Value::Unclear => false,
    };
    assert_eq!(names.admit(parts).is_ok(), host && origin);
}

/// Of which form a body is, and which forms of an answer are read.
fn forms(found: &Found<'_>, headers: &HeaderMap) {
    let encoded = found.get("content-encoding") != Value::Missing;
    let kind = found.one("content-type").map(str::to_ascii_lowercase);
    let json = kind.as_deref().is_some_and(|kind| {
        let mut parts = kind.split(';').map(|part| part.trim().replace('"', ""));
        parts.next().as_deref() == Some("application/json")
            && parts.all(|part| ["", "charset=utf-8"].contains(&part.as_str()))
    });
    if guard::is_json(headers).is_ok() {
        assert!(json && !encoded, "{kind:?}");
    }
    if matches!(kind.as_deref(), Some("application/json" | "application/json; charset=utf-8")) && !encoded {
        assert!(guard::is_json(headers).is_ok(), "{kind:?}");
    }
    let ranges: Vec<String> = found.0.iter().filter(|(name, _)| name == "accept").flat_map(ranges).collect();
    for wanted in ["application/json", "text/event-stream"] {
        let of_kind = format!("{}/*", wanted.split('/').next().expect("a type"));
        let fits = |name: &str| [wanted, "*/*", of_kind.as_str()].contains(&name);
        let named = |range: &String| fits(range.split(';').next().expect("a range").trim());
        let accepted = guard::accepts(headers, &[wanted]).is_ok();
        assert!(!accepted || ranges.iter().any(|range| named(range) && !is_none(range)), "{ranges:?}");
        assert!(accepted || !ranges.iter().any(|range| fits(range)), "{ranges:?}");
    }
}

fn ranges((_, value): &(String, Vec<u8>)) -> Vec<String> {
    let plain = value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
    let text = if plain { str::from_utf8(value).expect("ASCII") } else { "" };
    text.split(',').map(|range| range.trim().to_ascii_lowercase()).collect()
}

/// Whether a range is one that is not accepted: its weight is nothing in the one form that RFC 9110, section 12.4.2 gives it.
fn is_none(range: &str) -> bool {
    let weights = ["q=0", "q=0.", "q=0.0", "q=0.00", "q=0.000"];
    range.split(';').skip(1).any(|parameter| weights.contains(&parameter.trim()))
}

const REVISION: &str = "mcp-protocol-version";
const SESSION: &str = "mcp-session-id";
const STATELESS: &str = "2026-07-28";

fn posted(found: &Found<'_>, json: &Json, post: &Post) {
    for name in [REVISION, SESSION, "mcp-method", "mcp-name"] {
        assert_ne!(found.get(name), Value::Unclear, "{name}");
    }
    let declared = json
        .last("params")
        .and_then(|params| params.last("_meta"))
        .and_then(|meta| meta.last("io.modelcontextprotocol/protocolVersion"));
    // Headers of the newer era that name no revision are taken for it; within a session they are clients' of both eras.
    let tells = found.one("mcp-method").is_some() || found.one("mcp-name").is_some();
    let of_old = found.one(REVISION).map_or(!tells, |revision| revision != STATELESS) && declared.is_none();
    let agrees = |body: &Body| {
        assert!(of_old && found.one("mcp-method").is_none_or(|method| method == body.method));
        if let Some(name) = found.one("mcp-name") {
            named(Some(name), json, &body.method);
        }
    };
    match post {
        Post::Stateless(id, body) => {
            same(json, Some(id), body);
            assert_eq!(declared, Some(&Json::Text(STATELESS.to_owned())));
            assert_eq!((found.one(REVISION), found.one(SESSION)), (Some(STATELESS), None));
            assert_eq!(found.one("mcp-method"), Some(body.method.as_str()));
            named(found.one("mcp-name"), json, &body.method);
        }
        Post::Opens(id, body) => {
            same(json, Some(id), body);
            agrees(body);
            assert!(body.method == "initialize" && found.one(SESSION).is_none());
            let spoken = ["2025-11-25", "2025-06-18", "2025-03-26"];
            assert!(found.one(REVISION).is_none_or(|revision| spoken.contains(&revision)));
        }
        Post::Within(session, said) => {
            assert_eq!(found.one(SESSION), Some(session.id.as_str()));
            assert_eq!(found.one(REVISION), session.revision.as_deref());
            match said {
                Said::Request(id, body) => {
                    same(json, Some(id), body);
                    agrees(body);
                    assert_ne!(body.method, "initialize");
                }
                Said::Notice(body) => {
                    same(json, None, body);
                    agrees(body);
                }
                Said::Answer(id, _) => {
                    assert!(of_old && !tells);
                    assert_eq!(json.last("method"), None);
                    identified(json, Some(id));
                }
            }
        }
        Post::Nothing => {
            assert_eq!(json.last("method"), Some(&Json::Text("notifications/cancelled".to_owned())));
            assert!(json.last("id").is_none() && !of_old && found.one(SESSION).is_none());
        }
    }
}

fn same(json: &Json, id: Option<&Id>, body: &Body) {
    assert!(json.has_distinct_keys());
    identified(json, id);
    assert_eq!(json.last("method"), Some(&Json::Text(body.method.clone())));
    let params = body.params.as_ref().map(|params| Json::parse(params.text.as_bytes()).expect("JSON"));
    assert_eq!(params.as_ref(), json.last("params"));
}

fn identified(json: &Json, id: Option<&Id>) {
    let expected = id.map(|id| match id {
        Id::Int(number) => Json::Number(number.to_string()),
        Id::Text(text) => Json::Text(text.clone()),
    });
    assert_eq!(json.last("id"), expected.as_ref());
}

/// What a request is for, in its header as in its body.
fn named(header: Option<&str>, json: &Json, method: &str) {
    let told =
        header.map(|value| match value.strip_prefix("=?base64?").and_then(|it| it.strip_suffix("?=")) {
            Some(encoded) => text_of(encoded),
            None => value.to_owned(),
        });
    let params = json.last("params").expect("what declares a revision");
    let key = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => {
            let Json::Object(members) = params else { panic!("no object") };
            let said = |told: &String| members.iter().any(|(_, value)| *value == Json::Text(told.clone()));
            return assert!(told.as_ref().is_none_or(said), "{told:?}");
        }
    };
    let body = match params.last(key) {
        Some(Json::Text(text)) => Some(text),
        Some(_) | None => None,
    };
    assert_eq!(told.as_ref(), body, "`{method}` is for two things");
}

/// Base64 by hand: RFC 4648, section 4.
fn text_of(encoded: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut length) = (Vec::new(), 0_u32, 0);
    assert_eq!(encoded.len() % 4, 0, "no whole Base64: {encoded}");
    for byte in encoded.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte).expect("Base64");
        (bits, length) = ((bits << 6 | u32::try_from(value).expect("six bits")) & 0xffff, length + 6);
        if length >= 8 {
            length -= 8;
            bytes.push(u8::try_from(bits >> length & 0xff).expect("a byte"));
        }
    }
    String::from_utf8(bytes).expect("a text")
}
