use std::path::Path;

use super::*;
use crate::wrap::document::{Document, Kind};
use crate::wrap::format::Format;

fn document(server: &str) -> Document {
    let text = format!("{{\"mcpServers\": {{\"a\": {server}}}}}");
    Document::parse(text.as_bytes(), Format::Windsurf, Path::new("/f")).unwrap()
}

fn remote(document: &Document) -> &Remote {
    match &document.entries[0].kind {
        Kind::Remote(remote) => remote,
        Kind::Local(_) => panic!("local"),
    }
}

fn obstacle(server: &str) -> Obstacle {
    remote(&document(server)).reached().unwrap_err()
}

fn token(server: &str) -> Option<String> {
    let reached = remote(&document(server)).reached().unwrap();
    reached.token.map(|token| token.reveal().to_owned())
}

#[test]
fn what_the_gate_can_do_in_a_clients_place_it_does_and_the_rest_is_refused_by_name() {
    assert_eq!(token(r#"{"url": "https://h/mcp"}"#), None);
    assert_eq!(token(r#"{"serverUrl": "http://127.0.0.1:1/", "headers": {}, "disabled": true}"#), None);
    let with = |value: &str| {
        format!(r#"{{"type": "http", "url": "https://h/", "headers": {{"Authorization": "{value}"}}}}"#)
    };
    assert_eq!(token(&with("Bearer sesame")).as_deref(), Some("sesame"));
    let lower = r#"{"type": "streamable-http", "url": "https://h/sse", "headers": {"authorization": "bearer  a.b-c=="}}"#;
    assert_eq!(token(lower).as_deref(), Some("a.b-c=="));
    for value in ["sesame", "Basic c2U=", "Bearer ", "Bearer two words", "Bearer n\u{f6}"] {
        assert_eq!(obstacle(&with(value)), Obstacle::Scheme, "{value}");
    }
    for value in ["Bearer ${input:key}", "${env:KEY}", "Bearer x${KEY}"] {
        assert_eq!(obstacle(&with(value)), Obstacle::TokenFilledIn, "{value}");
    }
    for (server, expected) in [
        (r#"{"url": "https://${HOST}/"}"#, Obstacle::AddressFilledIn),
        (r#"{"url": 7}"#, Obstacle::Address),
        (r#"{"url": "https://h/", "type": "sse"}"#, Obstacle::Sse),
        (r#"{"url": "https://h/sse/?x"}"#, Obstacle::Sse),
        (r#"{"url": "wss://h/", "type": "ws"}"#, Obstacle::WebSocket),
        (r#"{"url": "https://h/", "headers": {"X-Api-Key": "k"}}"#, Obstacle::Header("X-Api-Key".into())),
        (
            r#"{"url": "https://h/", "headers": {"Authorization": "Bearer x", "X-Org": "o"}}"#,
            Obstacle::Header("X-Org".into()),
        ),
        (
            r#"{"url": "https://h/", "headers": {"Authorization": "Bearer x", "authorization": "Bearer y"}}"#,
            Obstacle::Headers,
        ),
        (r#"{"url": "https://h/", "headers": {"Authorization": 7}}"#, Obstacle::Headers),
        (
            r#"{"url": "https://h/", "headers": {"Authorization": "Bearer x", "Authorization": "Bearer y"}}"#,
            Obstacle::Headers,
        ),
        (r#"{"url": "https://h/", "oauth": {"clientId": "c"}}"#, Obstacle::Credentials("oauth".into())),
        (r#"{"url": "https://h/", "headersHelper": "x"}"#, Obstacle::Credentials("headersHelper".into())),
        (
            r#"{"url": "https://h/", "bearer_token_env": "x"}"#,
            Obstacle::Credentials("bearer_token_env".into()),
        ),
    ] {
        assert_eq!(obstacle(server), expected, "{server}");
    }
    for address in ["http://h/", "http://localhost:1/", "https://u:sesame@h/", "h", "unix:/x"] {
        let why = obstacle(&format!(r#"{{"url": "{address}"}}"#));
        assert!(matches!(why, Obstacle::Url(_)) && !why.to_string().contains("sesame"), "{address}: {why}");
    }
}

#[test]
fn what_an_entry_by_url_sets_acted_on_the_gate_that_took_its_clients_place() {
    for (member, name) in [
        (r#""env": {"SSL_CERT_FILE": "./ca.pem"}"#, "env"),
        (r#""env": {"ANY": "x"}"#, "env"),
        (r#""env": 7"#, "env"),
        (r#""envFile": ".env""#, "envFile"),
        (r#""cwd": "/tmp""#, "cwd"),
        (r#""dev": {"watch": "x"}"#, "dev"),
        (r#""sandboxEnabled": true"#, "sandboxEnabled"),
    ] {
        assert_eq!(
            obstacle(&format!(r#"{{"url": "https://h/", {member}}}"#)),
            Obstacle::Started(name),
            "{member}"
        );
    }
    assert_eq!(token(r#"{"url": "https://h/", "env": {}, "sandboxEnabled": false}"#), None);
}

/// The entry by which the client starts the gate instead.
fn changed(server: &str) -> String {
    let document = document(server);
    let words = ["W".to_owned()];
    let bytes = document.edited(through(remote(&document), "/g", &words));
    let text = String::from_utf8(bytes).unwrap();
    text.strip_prefix("{\"mcpServers\": {\"a\": ").unwrap().strip_suffix("}}").unwrap().to_owned()
}

#[test]
fn only_what_says_how_a_server_is_reached_is_written_anew() {
    let gate = r#""command": "/g", "args": ["W"]"#;
    let cases = [
        (r#"{"url": "https://h/"}"#, format!("{{{gate}}}")),
        (r#"{ "type":"http", "url" : "https://h/" }"#, format!(r#"{{ "type":"stdio", {gate} }}"#)),
        (r#"{"headers": {"A": "b"}, "url": "https://h/", "x": 1}"#, format!(r#"{{{gate}, "x": 1}}"#)),
        (r#"{"url": "https://h/", /* so */ "headers": {}}"#, format!("{{{gate} /* so */}}")),
        (
            "{\n  \"url\": \"https://h/\", // there\n  \"headers\": {\n    \"A\": \"b\"\n  }, // whose\n  \"x\": 1\n}",
            "{\n  \"command\": \"/g\",\n  \"args\": [\"W\"], // there\n  // whose\n  \"x\": 1\n}".to_owned(),
        ),
        (
            "{\r\n\t\"x\": 1, // \",\"\r\n\t\"url\": \"https://h/\",\r\n\t\"headers\": {},\r\n}",
            "{\r\n\t\"x\": 1, // \",\"\r\n\t\"command\": \"/g\",\r\n\t\"args\": [\"W\"],\r\n}".to_owned(),
        ),
        (
            "{\n  \"serverUrl\": \"https://h/\" // last, but one\n  ,\n  \"headers\": {}\n}",
            "{\n  \"command\": \"/g\",\n  \"args\": [\"W\"] // last, but one\n  \n}".to_owned(),
        ),
    ];
    for (before, expected) in cases {
        assert_eq!(changed(before), expected, "{before}");
    }
}
