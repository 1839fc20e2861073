use super::*;

fn asked() -> Asked {
    let gate = Gate { program: "/b/portcullis".into(), config: "/g.toml".into(), client: "/c.json".into() };
    let tokens = Tokens { directory: Some("/keys".into()), client: "/c.json".into() };
    let (names, passed, left, left_gates, asking) = Default::default();
    Asked { gate, names, passed, left, left_gates, asking, tokens }
}

fn document(text: &str) -> Document {
    Document::parse(text.as_bytes(), Format::ClaudeCodeUser, Path::new("/f")).unwrap()
}

fn planned(text: &str, asked: &Asked) -> Result<Plan, WrapError> {
    wrap(&document(text), asked, Format::ClaudeCodeUser)
}

fn refused(text: &str, asked: &Asked) -> Vec<String> {
    let error = planned(text, asked).unwrap_err();
    let WrapError::Refused(refusals) = error else { panic!("{error}") };
    refusals.iter().map(ToString::to_string).collect()
}

const MIXED: &str =
    r#"{"mcpServers": {"a": {"command": "x"}, "far": {"url": "u"}, "near": {"serverUrl": "v"}}}"#;

#[test]
fn a_remote_server_is_refused_unless_it_is_left_out_by_name() {
    let mut asked = asked();
    let refusals = refused(MIXED, &asked);
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].contains("--leave-remote far") && refusals[1].contains("--leave-remote near"));
    asked.left.insert("far".into());
    assert_eq!(refused(MIXED, &asked).len(), 1);
    asked.left.insert("near".into());
    let plan = planned(MIXED, &asked).unwrap();
    assert_eq!(plan.servers[1].became, Became::NotGoverned);
    asked.left.insert("a".into());
    assert!(refused(MIXED, &asked)[0].contains("no such remote"));
}

/// The whole file was refused, and with it each other server that was to be put behind a gate.
#[test]
fn a_gate_of_several_servers_was_taken_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = folder.path().canonicalize().unwrap().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let program = at("portcullis", "");
    let config = at("gate.toml", "");
    let both =
        "[[server]]\nname = \"files\"\ncommand = [\"x\"]\n[[server]]\nname = \"git\"\ncommand = [\"y\"]\n";
    let (several, mut asked) = (at("servers.toml", both), asked());
    asked.gate = Gate { program: program.clone(), config: config.clone(), client: "/c.json".into() };
    let text = |servers: &str, name: &str| {
        let args = ["mcp", "--config", config.as_str(), "--servers", servers, "--client", "/c.json"];
        let entry = serde_json::json!({ "command": program, "args": args });
        serde_json::json!({ "mcpServers": { "all": entry, name: { "command": "z" } } }).to_string()
    };
    let plan = planned(&text(&several, "mail"), &asked).unwrap();
    assert_eq!(plan.servers[0].became, Became::Through { surfaces: None, gate: program.clone() });
    assert!(matches!(&plan.servers[1].became, Became::Wrapped { surfaces, .. } if surfaces == "mail"));
    assert_eq!(plan.warnings, Vec::<String>::new());
    // What it declares is taken, and what cannot be read is said.
    let refusals = refused(&text(&several, "git"), &asked);
    assert!(refusals.len() == 1 && refusals[0].contains("--name"), "{refusals:?}");
    for unread in ["servers.toml", "/none.toml"] {
        let plan = planned(&text(unread, "git"), &asked).unwrap();
        assert!(plan.warnings[0].contains("which servers `all` starts is not known"), "{:?}", plan.warnings);
    }
    // It is left as it stands by whoever takes the gates out again.
    let after = String::from_utf8(planned(&text(&several, "mail"), &asked).unwrap().bytes).unwrap();
    let out = unwrapped(&document(&after), None, Format::ClaudeCodeUser, Path::new("/f")).unwrap().unwrap();
    assert!(String::from_utf8(out).unwrap().contains(&several));
    // Of another configuration it is another's, as before.
    asked.gate.config = at("other.toml", "");
    assert!(refused(&text(&several, "mail"), &asked)[0].contains("gate.toml"));
}

#[test]
fn two_servers_of_one_word_are_refused_and_one_may_be_named_otherwise() {
    let text = r#"{"mcpServers": {"A b": {"command": "x"}, "a-b": {"command": "y"}}}"#;
    let mut asked = asked();
    assert!(refused(text, &asked)[0].contains("--name 'a-b=WORD'"));
    asked.names.insert("a-b".into(), "other".into());
    let plan = planned(text, &asked).unwrap();
    let word = |server: &Server| {
        let Became::Wrapped { surfaces, .. } = &server.became else { panic!("{server:?}") };
        surfaces.clone()
    };
    assert_eq!(plan.servers.iter().map(word).collect::<Vec<_>>(), ["a-b", "other"]);
    asked.names.insert("a-b".into(), "No".into());
    assert!(refused(text, &asked)[0].contains("`No` cannot be"));
    asked.names = [("none".to_owned(), "x".to_owned())].into();
    assert!(refused(text, &asked)[0].contains("no such server"));
    let nameless = r#"{"mcpServers": {"日本": {"command": "x"}}}"#;
    assert!(refused(nameless, &self::asked())[0].contains("日本=WORD"));
    // One that goes through a gate under a word has it already.
    let text = r#"{"mcpServers": {"b": {"command": "/b/portcullis", "args": ["mcp", "--config", "/g.toml", "--server", "a", "--", "y"]}, "a": {"command": "x"}}}"#;
    assert!(refused(text, &self::asked())[0].contains("as those of `b` do"));
}

#[test]
fn one_name_in_two_projects_is_one_word_and_said_if_it_is_two_commands() {
    let text = |other: &str| {
        format!(
            r#"{{"projects": {{"/p": {{"mcpServers": {{"a": {{"command": "x"}}}}}},
            "/q": {{"mcpServers": {{"a": {{"command": "{other}"}}}}}}}}}}"#
        )
    };
    assert_eq!(planned(&text("x"), &asked()).unwrap().warnings.len(), 0);
    let warnings = planned(&text("y"), &asked()).unwrap().warnings;
    assert!(warnings[0].contains("the same rules hold for both"), "{warnings:?}");
}

#[test]
fn variables_are_passed_by_name_and_said_to_stay_where_they_are() {
    let text = r#"{"mcpServers": {"a": {"command": "x", "env": {"KEY": "k", "B": "b"}}}}"#;
    let mut asked = asked();
    asked.passed.push("C".into());
    let plan = planned(text, &asked).unwrap();
    let after = String::from_utf8(plan.bytes).unwrap();
    assert!(
        after.contains(r#""--pass-env", "B", "--pass-env", "C", "--pass-env", "KEY", "--client""#),
        "{after}"
    );
    assert!(plan.warnings[0].contains("`KEY`, `B` stay in this file in clear"), "{:?}", plan.warnings);
    asked.passed.push("PORTCULLIS_X".into());
    assert!(refused(text, &asked)[0].contains("PORTCULLIS_X"));
}

#[test]
fn a_file_of_variables_is_refused_unless_some_are_named() {
    let text = r#"{"mcpServers": {"a": {"command": "x", "envFile": ".env", "sandboxEnabled": true}}}"#;
    let mut asked = asked();
    assert!(refused(text, &asked)[0].contains("envFile"));
    asked.passed.push("KEY".into());
    let plan = planned(text, &asked).unwrap();
    assert!(plan.warnings[0].contains("sandboxEnabled"), "{:?}", plan.warnings);
}

#[test]
fn what_was_wrapped_stays() {
    let first = planned(r#"{"mcpServers": {"a": {"command": "x"}}}"#, &asked()).unwrap();
    let text = String::from_utf8(first.bytes.clone()).unwrap();
    let second = planned(&text, &asked()).unwrap();
    assert_eq!(second.bytes, first.bytes);
    assert!(second.warnings.is_empty(), "{:?}", second.warnings);
    let gate = "/b/portcullis".to_owned();
    assert_eq!(second.servers[0].became, Became::Through { surfaces: Some("a".into()), gate });
}

#[test]
fn an_entry_behind_another_gate_was_said_to_be_behind_this_one() {
    for (program, config, said) in [
        ("./portcullis", "/g.toml", "the program `./portcullis`"),
        ("portcullis", "/g.toml", "the program `portcullis`"),
        ("${PWD}/portcullis", "/g.toml", "the program `${PWD}/portcullis`"),
        ("/b/portcullis", "evil.toml", "the configuration `evil.toml`"),
        ("/b/portcullis", "/tmp/evil.toml", "the configuration `/tmp/evil.toml`"),
    ] {
        let text = format!(
            r#"{{"mcpServers": {{"a": {{"command": "{program}", "args": ["mcp", "--config", "{config}", "--client", "/c", "--", "rm"], "env": {{"PATH": "."}}}},
                "b": {{"command": "x"}}}}}}"#
        );
        let mut asked = asked();
        let refusals = refused(&text, &asked);
        assert!(refusals.len() == 1 && refusals[0].contains("which is not this gate"), "{refusals:?}");
        assert!(refusals[0].contains(said) && refusals[0].contains("--leave-gate a"), "{refusals:?}");
        asked.left_gates.insert("a".into());
        let plan = planned(&text, &asked).unwrap();
        assert_eq!(plan.servers[0].became, Became::OtherGate { gate: said.into() });
        // It stays as it was with the ways back, too: the backup has it so.
        let now = document(std::str::from_utf8(&plan.bytes).unwrap());
        let was = document(&text);
        assert_eq!(wrapped_again(&was, &now).unwrap().unwrap(), plan.bytes);
        let out = unwrapped(&now, Some(&was), Format::ClaudeCodeUser, Path::new("/f")).unwrap().unwrap();
        assert!(String::from_utf8(out).unwrap().contains(&format!(r#""{program}", "args": ["mcp""#)));
        asked.left_gates.insert("b".into());
        assert!(refused(&text, &asked)[0].contains("no such server that goes through another gate"));
    }
}

#[test]
fn a_gate_that_is_not_told_of_the_file_is_named() {
    let text = r#"{"mcpServers": {"a": {"command": "/b/portcullis", "args": ["mcp", "--config", "/g.toml", "CLIENT", "--", "x"]}}}"#;
    for (client, named) in [("--client=/c.json", false), ("--client=/d.json", true), ("--server=a", true)] {
        let plan = planned(&text.replace("CLIENT", client), &asked()).unwrap();
        assert!(matches!(plan.servers[0].became, Became::Through { .. }), "{client}");
        assert_eq!(plan.warnings.iter().any(|it| it.contains("is not told of this file")), named, "{client}");
    }
}

#[test]
fn the_same_gates_before_the_backup_are_the_file_and_before_another_they_are_not() {
    let was = r#"{"mcpServers": {"a": {"command": "x", "args": ["1" ]}, "b": {"command": "y"}}}"#;
    let now = String::from_utf8(planned(was, &asked()).unwrap().bytes).unwrap();
    assert_eq!(wrapped_again(&document(was), &document(&now)).unwrap().unwrap(), now.as_bytes());
    let edited = now.replace("\"1\"", "\"2\"");
    assert_ne!(wrapped_again(&document(was), &document(&edited)).unwrap().unwrap(), edited.as_bytes());
    let without_b = r#"{"mcpServers": {"a": {"command": "x"}}}"#;
    assert_eq!(wrapped_again(&document(without_b), &document(&now)).unwrap(), None);
    let out = unwrapped(&document(&edited), None, Format::ClaudeCodeUser, Path::new("/f")).unwrap().unwrap();
    let expected =
        r#"{"mcpServers": {"a": {"command": "x", "args": ["2" ]}, "b": {"command": "y", "args": []}}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(unwrapped(&document(was), None, Format::ClaudeCodeUser, Path::new("/f")).unwrap(), None);
}

#[test]
fn a_change_that_says_something_else_is_not_written() {
    let before = document(r#"{"mcpServers": {"a": {"command": "x"}}}"#);
    let after = document(r#"{"mcpServers": {"a": {"command": "y"}}}"#);
    let mut meant = value(before.text()).unwrap();
    assert!(means(&before, &after, &meant).is_err());
    set(&mut meant, &["mcpServers".into(), "a".into()], "y", Vec::new()).unwrap();
    assert!(means(&before, &after, &meant).is_err(), "without `args` it is not what was meant");
    let after = document(r#"{"mcpServers": {"a": {"command": "y", "args": []}}}"#);
    means(&before, &after, &meant).unwrap();
    assert!(set(&mut meant, &["nowhere".into()], "y", Vec::new()).is_err());
}

const BY_URL: &str = r#"{"mcpServers": {"crm": {"type": "http", "url": "https://h.example/mcp",
    "headers": {"Authorization": "Bearer sesame"}, "disabled": false}}}"#;

#[test]
fn a_server_by_url_is_reached_by_the_gate_and_its_token_leaves_the_file() {
    let plan = planned(BY_URL, &asked()).unwrap();
    let Became::ByUrl { surfaces, token_file: Some(file) } = &plan.servers[0].became else { panic!() };
    assert_eq!(surfaces, "crm");
    assert!(file.starts_with("/keys/mcp-crm-") && file.ends_with(".token"), "{file}");
    let text = String::from_utf8(plan.bytes).unwrap();
    let gate = r#""mcp", "--config", "/g.toml", "--server", "crm", "--client", "/c.json", "--url", "https://h.example/mcp""#;
    let expected = format!(
        r#"{{"mcpServers": {{"crm": {{"type": "stdio", "command": "/b/portcullis", "args": [{gate}, "--token-file", "{file}"],
    "disabled": false}}}}}}"#
    );
    assert_eq!(text, expected);
    assert_eq!(plan.tokens[0].token.reveal(), "sesame");
    assert!(plan.warnings[0].contains("stays in the backup in clear"), "{:?}", plan.warnings);
    let again = planned(&text, &asked()).unwrap();
    assert_eq!((again.bytes, again.tokens.len()), (text.clone().into_bytes(), 0));
    assert!(matches!(again.servers[0].became, Became::Through { .. }));
    // The same gates before the backup are the file, and before another address they are not.
    let (was, now) = (document(BY_URL), document(&text));
    assert_eq!(wrapped_again(&was, &now).unwrap().unwrap(), text.as_bytes());
    let elsewhere = document(&BY_URL.replace("h.example", "i.example"));
    assert_eq!(wrapped_again(&elsewhere, &now).unwrap(), None);
    let started = document(r#"{"mcpServers": {"crm": {"command": "x"}}}"#);
    assert_eq!(wrapped_again(&started, &now).unwrap(), None);
}

#[test]
fn the_gate_is_taken_out_of_an_entry_by_url_with_the_backup_and_not_without() {
    let wrapped = String::from_utf8(planned(BY_URL, &asked()).unwrap().bytes).unwrap();
    let taken = |text: &str, backup: Option<&str>| {
        let backup = backup.map(document);
        unwrapped(&document(text), backup.as_ref(), Format::ClaudeCodeUser, Path::new("/f"))
            .map(|bytes| value(&String::from_utf8(bytes.unwrap()).unwrap()).unwrap())
    };
    assert_eq!(taken(&wrapped, Some(BY_URL)).unwrap(), value(BY_URL).unwrap());
    for none in [None, Some(r#"{"mcpServers": {"crm": {"command": "x"}}}"#), Some(r#"{"mcpServers": {}}"#)] {
        assert!(taken(&wrapped, none).unwrap_err().to_string().contains("write its address"), "{none:?}");
    }
    // As its client has formed it anew and its user has moved it.
    let formed = serde_json::to_string_pretty(&value(&wrapped).unwrap()).unwrap();
    let moved = formed.replace("h.example", "i.example").replace("false", "true");
    let expected = BY_URL.replace("h.example", "i.example").replace("false", "true");
    assert_eq!(taken(&moved, Some(BY_URL)).unwrap(), value(&expected).unwrap());
    // Where the client has added or dropped what says how a server is reached, it says so again as it was.
    let dropped = formed.replace("\"type\": \"stdio\",", "").replace(",\n      \"type\": \"stdio\"", "");
    assert_ne!(dropped, formed);
    assert_eq!(taken(&dropped, Some(BY_URL)).unwrap(), value(BY_URL).unwrap());
    let untyped = BY_URL.replace("\"type\": \"http\", ", "");
    assert_eq!(taken(&wrapped, Some(&untyped)).unwrap(), value(BY_URL).unwrap());
}

#[test]
fn a_server_that_wants_oauth_is_refused_and_a_token_has_its_place_or_is_refused() {
    let mut asked = asked();
    asked.asking.insert(vec!["mcpServers".into(), "crm".into()]);
    let refused_for = |asked: &Asked| refused(BY_URL, asked).remove(0);
    assert!(refused_for(&asked).contains("status 401") && refused_for(&asked).contains("--leave-remote crm"));
    let mut asked = self::asked();
    asked.tokens.directory = None;
    assert!(refused_for(&asked).contains("where tool servers read it"));
    asked.left.insert("crm".into());
    assert_eq!(planned(BY_URL, &asked).unwrap().tokens.len(), 0);
    asked.names.insert("crm".into(), "other".into());
    assert!(refused_for(&asked).contains("no such server that is to be wrapped"));
    asked.left.clear();
    asked.tokens.directory = Some("/k".into());
    let plan = planned(BY_URL, &asked).unwrap();
    assert!(
        plan.tokens[0].path.starts_with("/k") && plan.tokens[0].path.to_str().unwrap().contains("mcp-other-")
    );
    let keyed = planned(&BY_URL.replace("/mcp", "/mcp?k=v"), &asked).unwrap();
    assert!(keyed.warnings[1].contains("has a query"), "{:?}", keyed.warnings);
}
