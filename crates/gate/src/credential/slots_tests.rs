use std::time::Duration;

use portcullis_sdk::Token;
use serde_json::json;

use super::super::{Here, Origin, Redactions};
use super::*;
use crate::message::{From, Message, read};

fn slot(name: &str, tools: &[&str], argument: &str, credential: &str) -> ArgumentSlot {
    ArgumentSlot {
        name: name.to_owned(),
        tools: tools.iter().map(|tool| (*tool).to_owned()).collect(),
        argument: argument.to_owned(),
        source: CredentialSource::given(Token::new(credential)),
    }
}

/// `/api_key` and `/auth/token` of `search`, and `/api_key` of `update`.
fn slots() -> ArgumentSlots {
    ArgumentSlots::new(vec![
        slot("key", &["search", "update"], "/api_key", "se\"same\\"),
        slot("crm-token", &["search"], "/auth/token", "open-sesame"),
    ])
    .unwrap()
}

fn body(line: &str) -> Body {
    match read(line.as_bytes(), From::Client) {
        Ok(Message::Request(_, body)) => body,
        other => panic!("{other:?}"),
    }
}

fn params(params: &str) -> Params {
    body(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)).params.unwrap()
}

fn named(tool: &str, text: &str) -> Result<Option<String>, Refused> {
    let named = slots().named(tool, &params(text))?;
    Ok(named.map(|params| {
        assert_eq!(params.raw.to_text(), params.text, "what is read is what is sent");
        params.text
    }))
}

#[test]
fn a_call_is_decided_with_the_names_of_its_slots_and_otherwise_as_it_came() {
    for (tool, came, decided) in [
        (
            "search",
            r#"{"name":"search","arguments":{"q":1.50,"auth":{"user":"x"}},"_meta":{"a":1}}"#,
            r#"{"name":"search","arguments":{"q":1.50,"auth":{"user":"x","token":"portcullis:slot:crm-token"},"api_key":"portcullis:slot:key"},"_meta":{"a":1}}"#,
        ),
        (
            "search",
            r#"{"name":"search"}"#,
            r#"{"name":"search","arguments":{"api_key":"portcullis:slot:key","auth":{"token":"portcullis:slot:crm-token"}}}"#,
        ),
        (
            "update",
            r#"{"arguments":{"auth":{"token":"own"}},"name":"update"}"#,
            r#"{"arguments":{"auth":{"token":"own"},"api_key":"portcullis:slot:key"},"name":"update"}"#,
        ),
    ] {
        assert_eq!(named(tool, came).unwrap().unwrap(), decided);
    }
    assert_eq!(named("other", r#"{"name":"other","arguments":{"api_key":"own"}}"#), Ok(None));
}

#[test]
fn what_an_agent_put_where_the_gate_fills_in_is_refused() {
    for (arguments, place) in [
        (r#"{"api_key":"own"}"#, "/api_key"),
        (r#"{"api_key":null}"#, "/api_key"),
        (r#"{"API_KEY":"own"}"#, "/api_key"),
        (r#"{"auth":{"token":""}}"#, "/auth/token"),
        (r#"{"auth":{"Token":"own"}}"#, "/auth/token"),
        (r#"{"AUTH":{"token":"own"}}"#, "/auth/token"),
        (r#"{"auth":{},"Auth":{"token":"own"}}"#, "/auth/token"),
        (r#"{"auth":"own"}"#, "/auth/token"),
        (r#"{"auth":["own"]}"#, "/auth/token"),
        (r#"{"auth":null}"#, "/auth/token"),
    ] {
        let refused =
            named("search", &format!(r#"{{"name":"search","arguments":{arguments}}}"#)).unwrap_err();
        assert_eq!(refused.code, ReasonCode::RequestInvalidValue, "{arguments}");
        assert!(refused.detail.contains(place) && !refused.detail.contains("own"), "{}", refused.detail);
    }
}

#[test]
fn an_agent_named_a_slot_itself() {
    for params in [
        r#"{"name":"other","arguments":{"a":"portcullis:slot:key"}}"#,
        r#"{"name":"other","arguments":{"a":"portcullis\u003aslot:key"}}"#,
        r#"{"name":"other","arguments":{"a":[{"b":"see portcullis:slot:key"}]}}"#,
        r#"{"name":"other","arguments":{"portcullis:slot:key":1}}"#,
        r#"{"name":"search","arguments":{"auth":{"b":"portcullis:slot:crm-token"}}}"#,
        r#"{"name":"search","_meta":{"a":"portcullis:slot:key"}}"#,
        r#"{"name":"search","portcullis:slot:key":1}"#,
    ] {
        let said = |line: String| unnamed(&body(&line)).map_err(|refused| refused.code);
        let refused = Err(ReasonCode::RequestInvalidValue);
        for method in ["tools/call", "prompts/get", "odd/method"] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            assert_eq!(said(line), refused, "{method} {params}");
            let beside = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","more":{params}}}"#);
            assert_eq!(said(beside), refused, "beside the parameters of {method}: {params}");
        }
        let fine = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"other"},"more":"portcullis:slots"}"#;
        assert_eq!(said(fine.to_owned()), Ok(()));
    }
}

#[tokio::test]
async fn a_credential_that_could_be_guessed_by_what_is_taken_out_was_sent() {
    let short = ArgumentSlots::new(vec![slot("pin", &["search"], "/pin", "1234567")]).unwrap();
    let (slot, why) = short.fetch("search").await.err().unwrap();
    assert_eq!((slot.as_str(), why), ("pin", NoCredential::TooShort(8)));
}

#[test]
fn a_slot_of_a_tool_or_an_argument_that_is_not_there_was_silent() {
    let slots = slots();
    let search = r#"{"name":"search","inputSchema":{"properties":{"api_key":{}}}}"#;
    let mut told = slots.unknown(&[("search", search)].into());
    told.sort();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("slot `crm-token`, tool `search`") && told[0].contains("nothing of the argument")
    );
    assert!(told[1].contains("slot `key`, tool `update`") && told[1].contains("no such tool"));
    assert_eq!(slots.unknown(&[].into()), Vec::<String>::new(), "once");
}

async fn filled(tool: &str, decided: &str) -> Option<String> {
    let slots = slots();
    let filling = slots.fetch(tool).await.unwrap().unwrap();
    let filled = filling.fill(decided.as_bytes().to_vec())?;
    assert_eq!(filled.decided(), decided.as_bytes());
    Some(String::from_utf8(filled.bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn a_message_is_sent_as_it_was_decided_but_for_its_credentials() {
    let decided = r#"{"a":{"t":"portcullis:slot:crm-token","n":1.0},"k":"portcullis:slot:key","é":2}"#;
    let sent = r#"{"a":{"t":"open-sesame","n":1.0},"k":"se\"same\\","é":2}"#;
    assert_eq!(filled("search", decided).await.unwrap(), sent);
    assert_eq!(filled("update", r#"["portcullis:slot:key"]"#).await.unwrap(), r#"["se\"same\\"]"#);
    assert!(slots().fetch("other").await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_that_does_not_name_each_slot_once_is_not_sent() {
    for decided in [
        r#"{"k":"portcullis:slot:key"}"#,
        r#"{"t":"portcullis:slot:crm-token"}"#,
        r#"{"t":"portcullis:slot:crm-token","k":"portcullis:slot:key","b":"portcullis:slot:key"}"#,
        r#"{"t":"portcullis:slot:crm-token","k":"portcullis:slot:key2"}"#,
        "{}",
    ] {
        assert_eq!(filled("search", decided).await, None, "{decided}");
    }
}

#[tokio::test]
async fn one_of_two_credentials_was_enough() {
    let absent = Origin::Here(Here::File("/nonexistent/credential".into()));
    let absent = CredentialSource::new(absent, Duration::from_secs(5), Duration::ZERO);
    let two = vec![
        slot("a", &["search"], "/a", "open-sesame"),
        ArgumentSlot { source: absent, ..slot("b", &["search"], "/b", "") },
    ];
    let slots = ArgumentSlots::new(two).unwrap();
    let (slot, why) = slots.fetch("search").await.err().unwrap();
    assert_eq!(slot, "b");
    assert!(matches!(why, NoCredential::Unavailable(_)));
}

#[test]
fn slots_that_are_not_clear_are_refused() {
    let of = |slots: Vec<ArgumentSlot>| ArgumentSlots::new(slots).map(drop);
    let key = |argument: &str| slot("key", &["search"], argument, "x");
    assert_eq!(of(vec![key("/api_key")]), Ok(()));
    assert_eq!(of(vec![]), Err(InvalidSlots::Count));
    let many = (0..33).map(|at| slot(&format!("key{at}"), &["search"], &format!("/{at}"), "x"));
    assert_eq!(of(many.collect()), Err(InvalidSlots::Count));
    for name in ["", "Key", "a b", "a:b", "é", &"k".repeat(65)] {
        assert_eq!(of(vec![slot(name, &["search"], "/a", "x")]), Err(InvalidSlots::Name), "{name}");
    }
    assert_eq!(of(vec![slot("key", &[], "/a", "x")]), Err(InvalidSlots::NoTools("key".to_owned())));
    assert_eq!(of(vec![slot("key", &["a", ""], "/a", "x")]), Err(InvalidSlots::NoTools("key".to_owned())));
    for argument in ["", "/", "api_key", "/a//b", "/a/", "/a~", "/a~2", "/1/2/3/4/5/6/7/8/9"] {
        assert_eq!(of(vec![key(argument)]), Err(InvalidSlots::Argument("key".to_owned())), "{argument}");
    }
    assert_eq!(of(vec![key("/a"), key("/b")]), Err(InvalidSlots::Twice("key".to_owned())));
    for (one, other) in [("/a", "/a"), ("/a", "/A"), ("/a/b", "/a"), ("/a", "/a/b"), ("/a~1b", "/A~1B")] {
        let two = vec![key(one), slot("other", &["search", "update"], other, "x")];
        assert_eq!(
            of(two),
            Err(InvalidSlots::Overlap("key".to_owned(), "other".to_owned())),
            "{one} {other}"
        );
    }
    assert_eq!(of(vec![key("/a"), slot("other", &["update"], "/a", "x")]), Ok(()));
    assert_eq!(of(vec![key("/a/b"), slot("other", &["search"], "/a/c", "x")]), Ok(()));
}

#[test]
fn a_tool_is_shown_without_what_agents_are_not_to_say() {
    let shown = |tool: &str, definition: &serde_json::Value| {
        slots().hidden_in(tool, &definition.to_string()).map(|text| serde_json::from_str(&text).unwrap())
    };
    let tool = |properties, required| json!({ "name": "search", "description": "d", "inputSchema": { "type": "object", "properties": properties, "required": required } });
    let auth = json!({ "type": "object", "properties": { "user": {}, "token": { "type": "string" } }, "required": ["token"] });
    let less = json!({ "type": "object", "properties": { "user": {} } });
    let whole =
        tool(json!({ "q": {}, "api_key": { "type": "string" }, "auth": auth }), json!(["api_key", "q"]));
    assert_eq!(shown("search", &whole), Some(tool(json!({ "q": {}, "auth": less }), json!(["q"]))));
    assert_eq!(shown("update", &whole), Some(tool(json!({ "q": {}, "auth": auth }), json!(["q"]))));
    assert_eq!(shown("other", &whole), None);
    for odd in [
        json!({ "name": "search" }),
        json!({ "name": "search", "inputSchema": true }),
        json!({ "name": "search", "inputSchema": { "properties": [], "required": ["api_key"] } }),
        json!({ "name": "search", "inputSchema": { "properties": { "auth": { "$ref": "#/$defs/auth" } } } }),
    ] {
        assert_eq!(shown("search", &odd), None, "{odd}");
    }
}

#[tokio::test]
async fn the_credential_of_one_slot_was_forgotten_for_those_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let passing = folder.path().join("passing");
    let write = |said: &str| {
        std::fs::write(&passing, said).unwrap();
        std::fs::set_permissions(&passing, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    let source = CredentialSource::new(
        Origin::Here(Here::File(passing.clone())),
        Duration::from_secs(5),
        Duration::ZERO,
    );
    let two = vec![
        slot("lasting", &["search"], "/a", "lasting-one"),
        ArgumentSlot { source, ..slot("passing", &["update"], "/a", "") },
    ];
    let slots = ArgumentSlots::new(two).unwrap();
    drop(slots.fetch("search").await.unwrap());
    for number in 0..100 {
        write(&format!("passing-{number}."));
        drop(slots.fetch("update").await.unwrap());
    }
    let said = Redactions::of([slots.redaction()]).text(b"\"lasting-one passing-99.\"");
    assert_eq!(said, b"\"*** ***\"");
}
