use super::*;
use crate::wrap::document::{Document, Kind};
use crate::wrap::format::Format;

fn gate() -> Gate {
    Gate { program: "/bin/portcullis".into(), config: "/g/p.toml".into(), client: "/c.json".into() }
}

const WORDS: &str = r#""mcp", "--config", "/g/p.toml", "--server", "a", "--client", "/c.json", "--""#;

fn document(server: &str) -> Document {
    let text = format!("{{\"mcpServers\": {{\"a\": {server}}}}}");
    Document::parse(text.as_bytes(), Format::Cursor, Path::new("/f")).unwrap()
}

fn launch(document: &Document) -> &Launch {
    match &document.entries[0].kind {
        Kind::Local(launch) => launch,
        Kind::Remote(_) => panic!("remote"),
    }
}

fn server(bytes: &[u8]) -> String {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    text.strip_prefix("{\"mcpServers\": {\"a\": ").unwrap().strip_suffix("}}").unwrap().to_owned()
}

/// The server with the gate before it; taken out again it is what it was, but for `args` that were none.
fn wrapped(before: &str) -> String {
    let document = document(before);
    let words = gate().words("a", &[]);
    let bytes = document.edited(through(launch(&document), "/bin/portcullis", &words));
    server(&bytes)
}

fn unwrapped(wrapped: &str) -> String {
    let document = document(wrapped);
    let launch = launch(&document);
    let passage = Passage::of(launch).unwrap().unwrap();
    server(&document.edited(without(launch, &passage, document.text()).unwrap()))
}

#[test]
fn only_the_words_that_start_a_server_are_written_anew() {
    let cases = [
        (r#"{"command":"n","args":["x"]}"#, r#"{"command":"/bin/portcullis","args":[W, "n", "x"]}"#),
        (r#"{"command": "n", "args": []}"#, r#"{"command": "/bin/portcullis", "args": [W, "n"]}"#),
        (
            "{\n  // why\n  \"args\": [ // first\n    \"x\", /* y */ \"z\",\n  ],\n  \"command\": \"n\", \"env\": {}\n}",
            "{\n  // why\n  \"args\": [W, \"n\", // first\n    \"x\", /* y */ \"z\",\n  ],\n  \"command\": \
             \"/bin/portcullis\", \"env\": {}\n}",
        ),
        (r#"{"command": "n"}"#, r#"{"command": "/bin/portcullis", "args": [W, "n"]}"#),
        (
            "{\r\n\t\"command\": \"n\" // c\r\n}",
            "{\r\n\t\"command\": \"/bin/portcullis\",\r\n\t\"args\": [W, \"n\"] // c\r\n}",
        ),
    ];
    for (before, expected) in cases {
        assert_eq!(wrapped(before), expected.replace('W', WORDS), "{before}");
    }
}

#[test]
fn the_servers_own_words_stay_as_they_are_written_whatever_they_say() {
    for own in
        [r#""--""#, r#""--config", "--""#, r#""-x""#, r#""a\nb""#, r#""\u00e9 ☃""#, r#""""#, r#""mcp""#]
    {
        let before = format!(r#"{{"command": "n\u006fde", "args": [{own}]}}"#);
        let after = wrapped(&before);
        assert_eq!(
            after,
            format!(r#"{{"command": "/bin/portcullis", "args": [{WORDS}, "n\u006fde", {own}]}}"#)
        );
        let document = document(&after);
        let passage = Passage::of(launch(&document)).unwrap().unwrap();
        assert_eq!(passage.words, gate().words("a", &[]));
        assert!(passage.is_wrapped() && passage.server.as_deref() == Some("a"));
        assert_eq!(passage.config.as_deref(), Some(Path::new("/g/p.toml")));
        assert_eq!(unwrapped(&after), before);
    }
}

#[test]
fn the_gate_is_taken_out_of_what_another_program_has_formed_anew() {
    let cases = [
        ("{\"command\": \"n\", \"args\": [\n  \"x\"\n]}", None),
        ("{\"command\": \"n\"}", Some(r#"{"command": "n", "args": []}"#)),
        ("{\"command\": \"n\", \"args\": [\"x\", \"y\"]}", None),
    ];
    for (before, expected) in cases {
        assert_eq!(unwrapped(&wrapped(before)), expected.unwrap_or(before));
    }
    let formed: serde_json::Value =
        serde_json::from_str(&wrapped(r#"{"command": "n", "args": ["x", "y"]}"#)).unwrap();
    let formed = serde_json::to_string_pretty(&formed).unwrap();
    let taken: serde_json::Value = serde_json::from_str(&unwrapped(&formed)).unwrap();
    assert_eq!(taken, serde_json::json!({ "command": "n", "args": ["x", "y"] }));
    let none: serde_json::Value = serde_json::from_str(&wrapped(r#"{"command": "n"}"#)).unwrap();
    let none = serde_json::to_string_pretty(&none).unwrap();
    let taken: serde_json::Value = serde_json::from_str(&unwrapped(&none)).unwrap();
    assert_eq!(taken, serde_json::json!({ "command": "n", "args": [] }));
}

#[test]
fn a_gate_is_known_by_its_program_and_words_and_nothing_like_it_is_one() {
    let passage = |server: &str| Passage::of(launch(&document(server)));
    assert!(
        passage(r#"{"command": "portcullis", "args": ["mcp", "--", "x"]}"#)
            .unwrap()
            .is_some_and(|it| !it.is_wrapped() && it.config.is_none())
    );
    // One of several servers is no entry of `portcullis wrap`, also with all that it writes besides.
    let several =
        r#"{"command": "portcullis", "args": ["mcp", "--servers", "/s.toml", "--client", "/c.json"]}"#;
    let several = passage(several).unwrap().unwrap();
    assert_eq!(several.servers.as_deref(), Some(Path::new("/s.toml")));
    assert!(!several.is_wrapped() && several.words.len() == 5);
    for none in [
        r#"{"command": "npx", "args": ["mcp", "--", "x"]}"#,
        r#"{"command": "portcullis-mcp", "args": ["mcp", "--", "x"]}"#,
        r#"{"command": "portcullis", "args": ["serve"]}"#,
        r#"{"command": "portcullis"}"#,
        r#"{"command": "env", "args": ["portcullis", "mcp", "--", "x"]}"#,
    ] {
        assert!(passage(none).unwrap().is_none(), "{none}");
    }
    for unknown in [
        r#"{"command": "portcullis", "args": ["mcp"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "x"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "--servers", "s.toml", "--", "x"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "pin", "--", "x"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "list", "--", "x"]}"#,
        r#"{"command": "/x/portcullis", "args": ["mcp", "--open", "--", "x"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "--help", "--", "x"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "--url", "https://h/", "--", "x"]}"#,
        r#"{"command": "portcullis", "args": ["mcp", "--url", "http://h/"]}"#,
    ] {
        assert_eq!(passage(unknown).unwrap_err(), Problem::UnknownGate, "{unknown}");
    }
}

#[test]
fn a_name_becomes_a_word_in_one_way() {
    let cases = [
        ("files", Some("files")),
        ("Weather Station", Some("weather-station")),
        ("@scope/pkg.v2", Some("scope-pkg-v2")),
        ("my_db", Some("my_db")),
        ("--", None),
        ("日本", None),
        ("日本-1", Some("1")),
        ("_x_", Some("x")),
        ("a\nb", Some("a-b")),
        ("", None),
        ("PORTCULLIS", Some("portcullis")),
    ];
    for (name, expected) in cases {
        assert_eq!(word_for(name).as_deref(), expected, "{name}");
    }
    assert_eq!(word_for(&"x".repeat(200)).map(|word| word.len()), Some(WORD));
    assert!(is_word("a") && !is_word("a.b") && !is_word("A") && !is_word("-a") && !is_word(""));
}
