use super::*;

fn read(text: &str) -> Result<Document, WrapError> {
    Document::parse(text.as_bytes(), Format::ClaudeCodeUser, Path::new("/f"))
}

/// What is wrong with a file that has one server, `a`.
fn wrong(server: &str) -> Problem {
    let error = read(&format!("{{\"mcpServers\": {{\"a\": {server}}}}}")).unwrap_err();
    let WrapError::Refused(mut refusals) = error else { panic!("{error:?}") };
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.remove(0).problem
}

fn is_remote(server: &str) -> bool {
    let document = read(&format!("{{\"mcpServers\": {{\"a\": {server}}}}}")).unwrap();
    matches!(document.entries[0].kind, Kind::Remote(_))
}

#[test]
fn servers_are_found_in_every_section_with_their_way() {
    let document = read(
        r#"{"numStartups": 5, "mcpServers": {"a": {"command": "x"}},
        "projects": {"/p": {"mcpServers": {"b": {"url": "u"}}}, "/q": {"allowedTools": []}}}"#,
    );
    let document = document.unwrap();
    let ways: Vec<_> = document.entries.iter().map(|entry| entry.path.join("|")).collect();
    assert_eq!(ways, ["mcpServers|a", "projects|/p|mcpServers|b"]);
    assert_eq!(document.entries[1].project.as_deref(), Some("/p"));
    assert_eq!(document.entries[0].project, None);
}

#[test]
fn a_key_that_two_readers_take_for_two_things_is_refused() {
    let twice = |key: &str| Problem::Twice(key.into());
    assert_eq!(wrong(r#"{"command": "x", "command": "y"}"#), twice("command"));
    assert_eq!(wrong(r#"{"command": "x", "Command": "y"}"#), twice("command"));
    assert_eq!(wrong(r#"{"command": "x", "c\u006fmmand": "y"}"#), twice("command"));
    assert_eq!(wrong(r#"{"command": "x", "env": {"A": "1", "A": "2"}}"#), twice("A"));
    assert_eq!(
        wrong(r#"{"command": "x", "arg\u017f": []}"#),
        Problem::Spelling { found: "argſ".into(), key: "args" }
    );
    let file = |text: &str| read(text).unwrap_err().to_string();
    let server_twice = r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#;
    assert!(file(server_twice).contains("`a` stands there twice"));
    assert!(file(r#"{"mcpServers": {}, "mcpServers": {}}"#).contains("`mcpServers` stands there twice"));
    assert!(file(r#"{"mcpServers": {}, "McpServers": {}}"#).contains("twice"));
    assert!(file(r#"{"mcpservers": {}}"#).contains("write `mcpServers`"));
    assert!(file(r#"{"mcpServers": {}, "servers": {}}"#).contains("another client"));
    assert!(file(r#"{"projects": {"/p": {}, "/p": {}}}"#).contains("`/p` stands there twice"));
}

#[test]
fn what_is_no_known_shape_is_refused_and_never_guessed() {
    for shape in [
        "{}",
        r#"{"args": []}"#,
        r#"{"command": "x", "url": "u"}"#,
        r#"{"command": "x", "serverUrl": "u"}"#,
        r#"{"command": "x", "type": "http"}"#,
        r#"{"command": "x", "type": "docker"}"#,
        r#"{"url": "u", "type": "stdio"}"#,
        r#"{"url": "u", "type": "carrier-pigeon"}"#,
    ] {
        assert_eq!(wrong(shape), Problem::Shape, "{shape}");
    }
    assert_eq!(wrong(r#"["x"]"#), Problem::NotAnObject("it".into()));
    assert_eq!(wrong(r#"{"command": "x", "osx": {"command": "y"}}"#), Problem::Nested("osx".into()));
    assert_eq!(wrong(r#"{"command": "x", "transport": {"Url": "y"}}"#), Problem::Nested("transport".into()));
    assert_eq!(wrong(r#"{"command": ["x"]}"#), Problem::NoString("command"));
    assert_eq!(wrong(r#"{"command": "x\u0000"}"#), Problem::NoString("command"));
    assert_eq!(wrong(r#"{"command": ""}"#), Problem::NoCommand);
    assert_eq!(wrong(r#"{"command": "x", "type": 7}"#), Problem::NoString("type"));
    assert_eq!(wrong(r#"{"command": "x", "args": "y"}"#), Problem::Arguments);
    assert_eq!(wrong(r#"{"command": "x", "args": null}"#), Problem::Arguments);
    assert_eq!(wrong(r#"{"command": "x", "args": [1]}"#), Problem::NoString("args"));
    assert_eq!(wrong(r#"{"command": "x", "env": ["A"]}"#), Problem::Environment);
    assert_eq!(wrong(r#"{"command": "x", "env": {"A": {}}}"#), Problem::Environment);
    assert!(is_remote(r#"{"url": "u"}"#) && is_remote(r#"{"serverUrl": "u", "disabled": true}"#));
    assert!(is_remote(r#"{"type": "http", "url": "u", "oauth": {"url": "v"}}"#));
    assert!(!is_remote(r#"{"type": "stdio", "command": "x", "disabled": true}"#));
}

#[test]
fn variables_that_act_on_the_gate_are_refused() {
    let prefixed = ["PORTCULLIS_GATE_PID", "LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"];
    let said = [
        "HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "GLIBC_TUNABLES",
        "GCONV_PATH",
        "HOSTALIASES",
        "RES_OPTIONS",
    ];
    for name in prefixed.into_iter().chain(said).chain(NAMES_OF_THE_GATE) {
        let found = wrong(&format!(r#"{{"command": "x", "env": {{"{name}": "y"}}}}"#));
        assert_eq!(found, Problem::ActsOnGate(name.into()));
    }
    for name in ["", "A=B", "--config", "A\\u0000"] {
        let found = wrong(&format!(r#"{{"command": "x", "env": {{"{name}": "y"}}}}"#));
        assert!(matches!(found, Problem::Variable(_)), "{found:?}");
    }
    let document = read(r#"{"mcpServers": {"a": {"command": "x", "env": {"é": "1", "N": 2, "U": null}}}}"#);
    let Kind::Local(launch) = &document.unwrap().entries[0].kind else { panic!() };
    assert_eq!(launch.env, ["é", "N", "U"]);
}

#[test]
fn what_is_not_json_with_comments_is_refused() {
    for text in ["", "[]", "7", "{'mcpServers': {}}", "{mcpServers: {}}", r#"{"a": 1 "b": 2}"#, "{} {}", "{"]
    {
        assert!(matches!(read(text), Err(WrapError::Syntax { .. })), "{text}");
    }
    assert!(matches!(read("{}"), Err(WrapError::NoServers { .. })));
    let bytes = Document::parse(b"{\"mcpServers\": \"\xff\"}", Format::Cursor, Path::new("/f"));
    assert!(matches!(bytes, Err(WrapError::Unfit { .. })));
    read("{\"mcpServers\": {/* none */}, // here\n}").unwrap();
}

#[test]
fn a_mark_at_the_beginning_stays() {
    let text = "\u{feff}{\"mcpServers\": {\"a\": {\"command\": \"x\"}}}";
    let document = read(text).unwrap();
    assert_eq!(document.edited(Vec::new()), text.as_bytes());
    let Kind::Local(launch) = &document.entries[0].kind else { panic!() };
    let edited = document.edited(vec![Edit { at: launch.command.at.clone(), with: "\"y\"".into() }]);
    assert_eq!(String::from_utf8(edited).unwrap(), text.replace("\"x\"", "\"y\""));
}
