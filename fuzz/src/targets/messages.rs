//! Lines and messages between an agent's client, the gate and a tool server.

use crate::line::{Line, Lines};
use crate::message::{Body, From, Id, Message, Reply, read};
use crate::reference::Json;
use crate::rewrite;
use crate::subscription::{Named, named};

/// Longer lines are cut.
const LIMIT: usize = 4096;

/// What the gate reads of a line is what any other parser reads of it, and what it sends on is one line with the same.
pub(crate) fn message(data: &[u8]) {
    for line in lines(data) {
        for from in [From::Client, From::Upstream] {
            if let Ok(message) = read(&line, from) {
                let json = Json::parse(&line).expect("a message, and no JSON");
                understood(&json, &message, from);
            }
        }
    }
}

/// The lines of some bytes, whichever way they arrive.
fn lines(data: &[u8]) -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut whole = Vec::new();
    let mut rest = data;
    runtime.block_on(async {
        let mut reader = Lines::new(data, LIMIT);
        while let Some(line) = reader.next().await.expect("memory can be read") {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let (expected, after) = rest.split_at(end);
            rest = after.strip_prefix(b"\n").unwrap_or(after);
            match line {
                Line::Whole(bytes) => {
                    assert_eq!(bytes, expected.strip_suffix(b"\r").unwrap_or(expected));
                    whole.push(bytes);
                }
                Line::Cut(bytes) => assert!(expected.len() > LIMIT && bytes == expected[..LIMIT]),
            }
        }
    });
    assert!(rest.is_empty(), "a line was lost");
    whole
}

fn understood(json: &Json, message: &Message, from: From) {
    let Json::Object(members) = json else { panic!("{message:?} from {json:?}") };
    for known in ["jsonrpc", "id", "method", "params", "result", "error"] {
        let spellings = members.iter().filter(|(name, _)| name.to_lowercase() == known);
        let names: Vec<_> = spellings.map(|(name, _)| name).collect();
        assert!(names.len() <= 1 && names.iter().all(|name| *name == known), "{names:?}");
    }
    assert_eq!(json.last("jsonrpc"), Some(&Json::Text("2.0".to_owned())));
    let (id, body) = match message {
        Message::Request(id, body) => (Some(id), body),
        Message::Notification(body) => (None, body),
        Message::Response(id, reply) => {
            identified(json, id);
            assert_eq!(json.last("method"), None);
            let (name, text) = match reply {
                Some(Reply::Result(text)) => ("result", text),
                Some(Reply::Error(text)) => ("error", text),
                None => return,
            };
            assert_eq!(Json::parse(text.as_bytes()).as_ref(), json.last(name));
            return;
        }
    };
    assert!(json.has_distinct_keys() && json.depth() <= 64);
    match id {
        Some(id) => identified(json, id),
        None => assert_eq!(json.last("id"), None),
    }
    assert_eq!(json.last("method"), Some(&Json::Text(body.method.clone())));
    let params = body.params.as_ref().map(|params| Json::parse(params.text.as_bytes()).expect("JSON"));
    assert_eq!(params.as_ref(), json.last("params"));
    sent_on(json, body, id, from);
    match (id, from) {
        (Some(_), From::Client) => renamed(json, body),
        (None, From::Upstream) => named_again(json, body),
        (Some(_), From::Upstream) | (None, From::Client) => {}
    }
}

/// What the endpoint puts in the place of ids and tokens.
const NUMBER: u64 = 42;

/// A request under the endpoint's number is one line, and the same but for its id and its progress token.
fn renamed(json: &Json, body: &Body) {
    let Ok(renamed) = rewrite::request(body, NUMBER) else { return };
    let line = &renamed.line;
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "more than a line");
    let Ok(Message::Request(Id::Int(42), _)) = read(line, From::Client) else {
        panic!("no request: {line:?}")
    };
    let number = Json::Number(NUMBER.to_string());
    let mut expected = json.with(&["id"], &number);
    if renamed.token.is_some() {
        expected = expected.with(&["params", "_meta", "progressToken"], &number);
    }
    assert!(same(&expected, &Json::parse(line).expect("JSON")), "{expected:?} became {line:?}");
}

/// A notification under the client's own token or id is the same but for that.
fn named_again(json: &Json, body: &Body) {
    if let Some(line) = rewrite::progress_of(body).and_then(|_| rewrite::progress(body, "\"t\"")) {
        let expected = json.with(&["params", "progressToken"], &Json::Text("t".to_owned()));
        again(&expected, &line);
    }
    if let Named::Number(number) = named(body)
        && let Some(line) = rewrite::subscribed(body, number, &Id::Text("s".to_owned()))
    {
        let key = "io.modelcontextprotocol/subscriptionId";
        again(&json.with(&["params", "_meta", key], &Json::Text("s".to_owned())), &line);
    }
}

/// What JSON-RPC does not know of a notification is not passed on.
fn again(expected: &Json, line: &[u8]) {
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "more than a line");
    let line = Json::parse(line).expect("JSON");
    for known in ["jsonrpc", "method", "params"] {
        assert_eq!(expected.last(known), line.last(known));
    }
}

/// Whether two objects have the same members, in any order on top.
fn same(one: &Json, other: &Json) -> bool {
    let (Json::Object(one), Json::Object(other)) = (one, other) else { return false };
    one.len() == other.len() && one.iter().all(|member| other.contains(member))
}

fn identified(json: &Json, id: &Id) {
    match (json.last("id"), id) {
        (Some(Json::Number(text)), Id::Int(number)) => assert_eq!(*text, number.to_string()),
        (Some(Json::Text(text)), Id::Text(read)) => assert_eq!(text, read),
        (found, id) => panic!("{id:?} was read of {found:?}"),
    }
}

fn sent_on(json: &Json, body: &Body, id: Option<&Id>, from: From) {
    let bytes = body.to_bytes();
    assert!(!bytes.contains(&b'\n') && !bytes.contains(&b'\r'), "more than a line");
    let Some(Json::Object(sent)) = Json::parse(&bytes) else { panic!("what is sent on is no object") };
    let Json::Object(came) = json else { return };
    let came = came.iter().filter(|(name, _)| name != "id");
    assert!(came.clone().all(|member| sent.contains(member)) && came.count() == sent.len());
    let Some(id) = id else { return };
    let text = String::from_utf8(bytes).expect("JSON is UTF-8");
    let again = text.replacen('{', &format!("{{\"id\":{},", id.to_json()), 1);
    assert_eq!(read(again.as_bytes(), from), Ok(Message::Request(id.clone(), body.clone())));
}
