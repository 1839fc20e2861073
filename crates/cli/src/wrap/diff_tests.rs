use std::path::Path;

use super::*;
use crate::wrap::format::Format;

fn told(old: &str, new: &str) -> String {
    let document =
        |text: &str| Document::parse(text.as_bytes(), Format::ClaudeCodeUser, Path::new("/f")).unwrap();
    shown(&document(old), &document(new), ("old", "new")).unwrap()
}

/// A file with secrets beside a server, within it, and in what is not known of it.
const FILE: &str = r#"{"primaryApiKey": "canary-1", "oauthAccount": {"t": "canary-2"}, "mcpServers": {
    "a": {"command": "x", "args": ["--url", "https://h/?k=canary-3"], "env": {"KEY": "canary-4"}, "cwd": "canary-5"},
    "b": {"type": "http", "url": "https://h/?k=canary-6", "headers": {"Authorization": "canary-7"}},
    "c": {"command": "same", "env": {"KEY": "canary-8"}}}, "last": ["canary-9"]}"#;

#[test]
fn what_stands_beside_the_servers_was_shown_with_them() {
    let changes: [(&str, &str); 6] = [
        ("\"command\": \"x\"", "\"command\": \"y\""),
        ("\"--url\"", "\"more\", \"--url\""),
        ("canary-4", "canary-44"),
        ("canary-5", "canary-55"),
        ("\"url\": \"https://h/?k=canary-6\"", "\"serverUrl\": \"https://h/?k=canary-66\""),
        ("canary-7", "canary-77"),
    ];
    // On one line, and with each member in a line of its own.
    let pretty =
        |text: &str| serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
    for (old, new) in changes {
        let new = FILE.replace(old, new);
        assert_ne!(new, FILE);
        for (old, new) in [(FILE.to_owned(), new.clone()), (pretty(FILE), pretty(&new))] {
            for text in [told(&old, &new), told(&new, &old)] {
                assert!(text.contains("mcpServers > ") && !text.contains("canary"), "{text}");
            }
        }
    }
    let only_beside = FILE.replace("canary-1", "canary-11").replace("canary-9", "canary-99");
    assert_eq!(told(FILE, &only_beside), "");
}

#[test]
fn members_that_differ_are_shown_with_their_server_and_nothing_that_stayed() {
    let new = FILE.replace(r#""command": "x", "args": [""#, r#""command": "y\u001b", "args": ["w", ""#);
    let expected = "--- old\n+++ new\nmcpServers > a\n- \"args\": [\"--url\",\"***\"]\n+ \"args\": [\"w\",\"--url\",\"***\"]\n\
                    - \"command\": \"x\"\n+ \"command\": \"y\\u001b\"\n";
    assert_eq!(told(FILE, &new), expected);
    let gone = told(FILE, r#"{"mcpServers": {"n\nn": {"command": "z"}}}"#);
    assert!(gone.contains("mcpServers > b\n- \"headers\": {\"Authorization\":\"***\"}\n- \"type\": \"http\"\n- \"url\": \"***\"\n"), "{gone}");
    assert!(gone.contains("mcpServers > n\\nn\n+ \"command\": \"z\"\n"), "{gone}");
}
