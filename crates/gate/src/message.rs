//! JSON-RPC messages, read once for what they mean and kept as the bytes they are.
//!
//! The tool server parses what it gets with a parser of its own. So a message that two parsers could read
//! differently is refused, and what is sent on is rebuilt around the raw bytes of its members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use portcullis_protocol::{Limits, Loose, ReasonCode, fold};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Members that give a message its meaning.
const KNOWN: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Where in `params._meta` a request of the stateless era says which revision it speaks.
const REVISION: &str = "/io.modelcontextprotocol~1protocolVersion";

/// An object's members in their order, values as raw JSON texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members(pub(crate) Vec<(String, String)>);

impl Members {
    /// Reads an object. Duplicate keys are kept: see [`Members::unambiguous`].
    fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The raw value of a member.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The members but these.
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        Self(self.0.iter().filter(|(key, _)| !keys.contains(&key.as_str())).cloned().collect())
    }

    /// The same with another value for a member that is there.
    pub(crate) fn with(&self, key: &str, value: String) -> Self {
        let mut members = self.clone();
        if let Some((_, old)) = members.0.iter_mut().find(|(name, _)| name == key) {
            *old = value;
        }
        members
    }

    /// Gives a member this value, whether or not it was there.
    pub(crate) fn set(&mut self, key: &str, value: String) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// The object's text.
    pub(crate) fn to_text(&self) -> String {
        let members: Vec<_> = self.0.iter().map(|(key, value)| format!("{}:{value}", quote(key))).collect();
        format!("{{{}}}", members.join(","))
    }

    /// Refuses what a parser that takes the last of two keys, or that folds case as Go's does, could read as
    /// another object: a key twice, two keys equal but for case, and one that equals a `known` key but for case.
    pub(crate) fn unambiguous(&self, known: &[&str]) -> Result<(), Refused> {
        let mut seen: BTreeMap<String, &str> = known.iter().map(|key| (fold(key), *key)).collect();
        let mut exact: BTreeSet<&str> = BTreeSet::new();
        for (key, _) in &self.0 {
            if !exact.insert(key) {
                return Err(Refused::new(ReasonCode::RequestDuplicateKey, "a member occurs twice"));
            }
            if seen.insert(fold(key), key).is_some_and(|other| other != key) {
                let detail = "a member's name equals another's but for case";
                return Err(Refused::new(ReasonCode::RequestAmbiguousKey, detail));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    members.push((key, Box::<str>::from(value).into_string()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// A JSON string.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The methods whose name or URI is a header too (MCP 2026-07-28, Streamable HTTP, "Standard Request Headers").
pub(crate) const NAMED: [(&str, &str); 3] =
    [("tools/call", "name"), ("prompts/get", "name"), ("resources/read", "uri")];

/// A request's id: what JSON-RPC and MCP both allow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// An integer within ±(2^53 − 1).
    Int(i64),
    /// A string.
    Text(String),
}

impl Id {
    fn parse(raw: &str) -> Option<Self> {
        match Loose::parse(raw.as_bytes(), Limits::MESSAGE) {
            Ok(Loose::Int(number)) => Some(Self::Int(number)),
            Ok(Loose::Str(text)) => Some(Self::Text(text)),
            Ok(
                Loose::Null
                | Loose::Bool(_)
                | Loose::Fraction
                | Loose::Oversize
                | Loose::Array(_)
                | Loose::Object(_),
            )
            | Err(_) => None,
        }
    }

    /// The id of a `requestId` parameter.
    pub(crate) fn from_loose(value: &Loose) -> Option<Self> {
        match value {
            Loose::Int(number) => Some(Self::Int(*number)),
            Loose::Str(text) => Some(Self::Text(text.clone())),
            Loose::Null
            | Loose::Bool(_)
            | Loose::Fraction
            | Loose::Oversize
            | Loose::Array(_)
            | Loose::Object(_) => None,
        }
    }

    /// Its JSON text.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Int(number) => number.to_string(),
            Self::Text(text) => quote(text),
        }
    }
}

/// Why a message is not acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: ReasonCode,
    pub(crate) detail: String,
}

impl Refused {
    pub(crate) fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// A refused message, with what is known of it for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// Its id, if it is a request with a valid one.
    pub(crate) id: Option<Id>,
    /// Whether its id can be trusted to call for a tool result.
    pub(crate) tool: bool,
    /// Whether it calls for an answer: notifications and responses do not.
    pub(crate) answerable: bool,
    pub(crate) refused: Refused,
}

impl Defect {
    fn nameless(refused: Refused) -> Self {
        Self { id: None, tool: false, answerable: true, refused }
    }
}

/// The parameters of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Params {
    pub(crate) text: String,
    pub(crate) raw: Members,
    pub(crate) read: BTreeMap<String, Loose>,
}

impl Params {
    /// Parameters of these members. `None` if they are not read in one way only.
    pub(crate) fn read(raw: Members) -> Option<Self> {
        let text = raw.to_text();
        let limits = Limits { bytes: text.len(), ..Limits::MESSAGE };
        let Ok(Loose::Object(read)) = Loose::parse(text.as_bytes(), limits) else { return None };
        Some(Self { text, raw, read })
    }
}

/// Method, parameters and further members of a request or notification.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Body {
    pub(crate) method: String,
    pub(crate) params: Option<Params>,
    /// Members that JSON-RPC does not know.
    pub(crate) others: Members,
}

impl Body {
    /// The message as it is sent on, but without its id: what a decision is bound to.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut members =
            vec![("jsonrpc".to_owned(), quote("2.0")), ("method".to_owned(), quote(&self.method))];
        members.extend(self.params.iter().map(|params| ("params".to_owned(), params.text.clone())));
        members.extend(self.others.0.iter().cloned());
        Members(members).to_text().into_bytes()
    }

    /// The revision that a request of the stateless era names (MCP 2026-07-28, "`_meta`").
    pub(crate) fn revision(&self) -> Option<&str> {
        self.params.as_ref()?.read.get("_meta")?.pointer(REVISION)?.as_str()
    }

    /// Refuses parameters that could be read in two ways.
    pub(crate) fn unambiguous(&self, known: &[&str]) -> Result<(), Refused> {
        self.params.as_ref().map_or(Ok(()), |params| params.raw.unambiguous(known))
    }
}

/// What a response says, as raw JSON texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Result(String),
    Error(String),
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Request(Id, Body),
    Notification(Body),
    /// `None` if it has not exactly one of `result` and `error`.
    Response(Id, Option<Reply>),
}

/// Whose messages are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The agent's client: every byte is examined.
    Client,
    /// The tool server: the content of its results is not the gate's business.
    Upstream,
}

/// Reads one message.
pub(crate) fn read(line: &[u8], from: From) -> Result<Message, Defect> {
    let members = split(line).map_err(Defect::nameless)?;
    let id = members.get("id").map(|raw| id_of(raw).map_err(Defect::nameless)).transpose()?;
    let method = members.get("method");
    let defect = |refused| Defect {
        tool: method == Some("\"tools/call\""),
        answerable: id.is_some() && method.is_some(),
        id: id.clone(),
        refused,
    };
    if members.get("jsonrpc").and_then(string) != Some("2.0".to_owned()) {
        return Err(defect(Refused::new(ReasonCode::RequestInvalidValue, "`jsonrpc` must be \"2.0\"")));
    }
    let whole = match (from, method) {
        (From::Upstream, None) => None,
        (From::Client, _) | (From::Upstream, Some(_)) => Some(whole(line).map_err(defect)?),
    };
    let Some(method) = method else {
        return id.map(|id| Message::Response(id, reply(&members))).ok_or_else(|| {
            let detail = "neither a request, nor a notification, nor a response";
            Defect::nameless(Refused::new(ReasonCode::RequestMalformed, detail))
        });
    };
    let body = body(&members, method, whole).map_err(defect)?;
    Ok(match id {
        Some(id) => Message::Request(id, body),
        None => Message::Notification(body),
    })
}

fn split(line: &[u8]) -> Result<Members, Refused> {
    let malformed = |detail| Refused::new(ReasonCode::RequestMalformed, detail);
    // White space to a JSON parser, the end of a line to many a line reader: what follows would be a message
    // that nobody decided.
    if line.contains(&b'\r') {
        return Err(malformed("a carriage return within a message"));
    }
    if line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(malformed("a batch; send one message a line"));
    }
    let members = Members::parse(line).ok_or_else(|| malformed("not one JSON object"))?;
    members.unambiguous(&KNOWN)?;
    Ok(members)
}

fn id_of(raw: &str) -> Result<Id, Refused> {
    let invalid = || Refused::new(ReasonCode::RequestInvalidValue, "an id is a string or an exact integer");
    Id::parse(raw).ok_or_else(invalid)
}

fn whole(line: &[u8]) -> Result<Loose, Refused> {
    let limits = Limits { bytes: line.len(), ..Limits::MESSAGE };
    Loose::parse(line, limits).map_err(|error| Refused::new(error.code(), error.to_string()))
}

pub(crate) fn string(raw: &str) -> Option<String> {
    serde_json::from_str(raw).ok()
}

fn body(members: &Members, method: &str, whole: Option<Loose>) -> Result<Body, Refused> {
    let malformed = |detail| Refused::new(ReasonCode::RequestMalformed, detail);
    let method = string(method).ok_or_else(|| malformed("`method` must be a string"))?;
    if members.get("result").is_some() || members.get("error").is_some() {
        return Err(malformed("a request and a response in one message"));
    }
    let read = match whole {
        Some(Loose::Object(mut read)) => read.remove("params"),
        Some(
            Loose::Null
            | Loose::Bool(_)
            | Loose::Int(_)
            | Loose::Fraction
            | Loose::Oversize
            | Loose::Str(_)
            | Loose::Array(_),
        )
        | None => None,
    };
    let params = match (members.get("params"), read) {
        (None, _) => None,
        (Some(text), Some(Loose::Object(read))) => {
            let raw =
                Members::parse(text.as_bytes()).ok_or_else(|| malformed("`params` must be an object"))?;
            Some(Params { text: text.to_owned(), raw, read })
        }
        (Some(_), _) => return Err(malformed("`params` must be an object")),
    };
    Ok(Body { method, params, others: members.without(&KNOWN) })
}

fn reply(members: &Members) -> Option<Reply> {
    match (members.get("result"), members.get("error")) {
        (Some(result), None) => Some(Reply::Result(result.to_owned())),
        (None, Some(error)) => Some(Reply::Error(error.to_owned())),
        (None, None) | (Some(_), Some(_)) => None,
    }
}

/// Replaces line ends, which are white space wherever JSON has them: a message is a line on other transports.
pub(crate) fn on_one_line(mut message: Vec<u8>) -> Vec<u8> {
    for byte in message.iter_mut().filter(|byte| matches!(**byte, b'\r' | b'\n')) {
        *byte = b' ';
    }
    message
}

/// Replaces carriage returns, which are white space wherever JSON has them, so that the client's line reader
/// sees the lines that the gate saw.
pub(crate) fn without_carriage_returns(mut line: Vec<u8>) -> Vec<u8> {
    for byte in line.iter_mut().filter(|byte| **byte == b'\r') {
        *byte = b' ';
    }
    line
}

/// An object's members, and nothing if the text is no object.
pub(crate) fn members_of(object: &str) -> Option<Members> {
    Members::parse(object.as_bytes())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
