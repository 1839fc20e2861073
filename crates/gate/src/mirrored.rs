//! Arguments that the HTTP request of a call says in its headers too, because the tool's definition asks for that (MCP 2026-07-28, Streamable
//! HTTP, "Custom Headers from Tool Parameters"). A server that goes by it refuses a call without them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::header::{HeaderName, HeaderValue};
use portcullis_protocol::{Limits, Loose};
use tokio::time::Instant;

use crate::credential::NAMED;
use crate::message::{From, Members, Message, Params, members_of, read, string};
use crate::page::MAX_TOOLS;
use crate::pins::Tools;
use crate::remote::header_value;

/// What a property's schema says that it is mirrored by.
const MARK: &str = "x-mcp-header";
/// What every such header begins with.
const PREFIX: &str = "mcp-param-";
/// Types whose values a header can say. The specification does not have the last; its conformance suite does.
const TYPES: [&str; 4] = ["string", "integer", "boolean", "number"];
/// Headers of one tool.
const MOST: usize = 64;
/// Members that lead to one.
const DEEPEST: usize = 8;

/// An argument, by the members that lead to it, and the header that says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrored {
    path: Vec<String>,
    header: HeaderName,
}

impl Mirrored {
    /// Those of a tool, by its definition. A definition that marks what cannot be marked, or two arguments alike, has none: its server
    /// will say what it makes of a call.
    pub(crate) fn of(definition: &str) -> Vec<Self> {
        if !definition.contains(MARK) {
            return Vec::new();
        }
        let limits = Limits { bytes: definition.len(), ..Limits::MESSAGE };
        let Ok(definition) = Loose::parse(definition.as_bytes(), limits) else { return Vec::new() };
        let mut found = Vec::new();
        let whole = definition
            .pointer("/inputSchema")
            .is_some_and(|schema| walk(schema, &mut Vec::new(), &mut found));
        let mut names: Vec<_> = found.iter().map(|it| it.header.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if whole && names.len() == found.len() { found } else { Vec::new() }
    }

    /// What the headers of a message say of its arguments, as it was decided. One that is `null` or not there is said by none.
    pub(crate) fn values(all: &[Self], message: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
        match read(message, From::Client) {
            Ok(Message::Request(_, body) | Message::Notification(body)) => {
                body.params.map_or_else(Vec::new, |params| Self::values_of(all, &params))
            }
            Ok(Message::Response(..)) | Err(_) => Vec::new(),
        }
    }

    /// The same of a call's parameters.
    pub(crate) fn values_of(all: &[Self], params: &Params) -> Vec<(HeaderName, HeaderValue)> {
        let Some(arguments) = params.raw.get("arguments").and_then(members_of) else { return Vec::new() };
        let value = |it: &Self| {
            let value = HeaderValue::try_from(said(&arguments, &it.path)?).ok()?;
            Some((it.header.clone(), value))
        };
        all.iter().filter_map(value).collect()
    }
}

/// Which arguments are headers too, of each tool that was on a list.
#[derive(Debug, Default)]
pub(crate) struct Mirrors(Mutex<BTreeMap<String, Arc<[Mirrored]>>>);

impl Mirrors {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[Mirrored]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a tool's definition.
    pub(crate) fn hear(&self, name: &str, definition: &str) {
        let mut known = self.known();
        if known.len() < MAX_TOOLS || known.contains_key(name) {
            known.insert(name.to_owned(), Mirrored::of(definition).into());
        }
    }

    /// Those of a tool; `None` if it was on no list.
    pub(crate) fn of(&self, tool: &str) -> Option<Arc<[Mirrored]>> {
        self.known().get(tool).cloned()
    }

    /// The tools are others now.
    pub(crate) fn forget(&self) {
        self.known().clear();
    }
}

impl Tools {
    /// Which arguments of a tool are headers too. A server that has listed it to nobody yet is asked; where it does not say, they are
    /// none, and the server itself refuses a call without them.
    pub(crate) async fn mirrored(&self, tool: &str, end: Instant) -> Arc<[Mirrored]> {
        if let Some(known) = self.mirrors.of(tool) {
            return known;
        }
        self.list_until(end).await;
        self.mirrors.of(tool).unwrap_or_default()
    }
}

/// Takes up what is marked below a schema. Whether all of it can be.
fn walk(schema: &Loose, path: &mut Vec<String>, found: &mut Vec<Mirrored>) -> bool {
    let Some(Loose::Object(properties)) = schema.pointer("/properties") else { return true };
    for (name, property) in properties {
        path.push(name.clone());
        let whole = match mark(property) {
            Some(_) if found.len() >= MOST || path.len() > DEEPEST => false,
            Some(Some(header)) => {
                found.push(Mirrored { path: path.clone(), header });
                true
            }
            Some(None) => false,
            None => path.len() >= DEEPEST || walk(property, path, found),
        };
        path.pop();
        if !whole {
            return false;
        }
    }
    true
}

/// By which header a property is said; `Some(None)` if it is marked and can be said by none.
fn mark(property: &Loose) -> Option<Option<HeaderName>> {
    let mark = property.pointer(&format!("/{MARK}"))?;
    let typed = property.pointer("/type").and_then(Loose::as_str).is_some_and(|it| TYPES.contains(&it));
    let header = mark.as_str().filter(|mark| typed && !mark.is_empty());
    Some(header.and_then(|header| HeaderName::try_from(format!("{PREFIX}{header}")).ok()))
}

/// An argument as a header says it.
fn said(arguments: &Members, path: &[String]) -> Option<String> {
    let (key, rest) = path.split_first()?;
    let raw = arguments.get(key)?;
    if !rest.is_empty() {
        return said(&members_of(raw)?, rest);
    }
    match raw.chars().next()? {
        // What is filled in is in the body alone: headers are written down on the way.
        '"' => string(raw).filter(|text| !text.starts_with(NAMED)).map(|text| header_value(&text)),
        't' | 'f' | '-' | '0'..='9' => Some(raw.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: serde_json::Value) -> Vec<(String, String)> {
        let all = Mirrored::of(&json!({ "name": "t", "inputSchema": schema }).to_string());
        all.iter().map(|it| (it.path.join("/"), it.header.to_string())).collect()
    }

    #[test]
    fn what_is_marked_on_a_path_of_properties_is_mirrored() {
        let schema = json!({ "properties": {
            "region": { "type": "string", "x-mcp-header": "Region" },
            "deep": { "type": "object", "properties": { "count": { "type": "integer", "x-mcp-header": "Count" } } },
            "items": { "type": "array", "items": { "properties": { "no": { "type": "string", "x-mcp-header": "No" } } } },
            "plain": { "type": "string" },
        } });
        let pair = |path: &str, header: &str| (path.to_owned(), header.to_owned());
        assert_eq!(of(schema), [pair("deep/count", "mcp-param-count"), pair("region", "mcp-param-region")]);
    }

    #[test]
    fn a_definition_that_marks_what_cannot_be_said_by_a_header_has_no_headers() {
        let good = json!({ "type": "string", "x-mcp-header": "Good" });
        for bad in [
            json!({ "type": "object", "x-mcp-header": "Bad" }),
            json!({ "x-mcp-header": "Bad" }),
            json!({ "type": "string", "x-mcp-header": "" }),
            json!({ "type": "string", "x-mcp-header": "a b" }),
            json!({ "type": "string", "x-mcp-header": "a\r\nb" }),
            json!({ "type": "string", "x-mcp-header": 1 }),
            json!({ "type": "string", "x-mcp-header": "GOOD" }),
        ] {
            assert_eq!(of(json!({ "properties": { "a": good, "b": bad } })), [], "{bad}");
        }
        let many = (0..65)
            .map(|at| (format!("a{at}"), json!({ "type": "string", "x-mcp-header": format!("h{at}") })));
        assert_eq!(of(json!({ "properties": many.collect::<serde_json::Map<_, _>>() })), []);
    }

    #[test]
    fn arguments_are_said_as_the_specification_has_them() {
        let schema = json!({ "properties": {
            "s": { "type": "string", "x-mcp-header": "S" }, "n": { "type": "number", "x-mcp-header": "N" },
            "b": { "type": "boolean", "x-mcp-header": "B" },
            "o": { "properties": { "i": { "type": "integer", "x-mcp-header": "I" } } },
        } });
        let all = Mirrored::of(&json!({ "inputSchema": schema }).to_string());
        let said = |arguments: &str| {
            let message = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
            );
            let values = Mirrored::values(&all, message.as_bytes());
            let text =
                |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
            values.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(
            said(r#"{"s":"us west","n":1.50,"b":true,"o":{"i":-7}}"#),
            ["mcp-param-b: true", "mcp-param-n: 1.50", "mcp-param-i: -7", "mcp-param-s: us west"]
        );
        assert_eq!(said(r#"{"s":"\u00e9\n"}"#), ["mcp-param-s: =?base64?w6kK?="]);
        assert!(said(r#"{"s":null,"n":{},"b":[],"o":{"i":null}}"#).is_empty());
        assert!(said(r#"{"o":7}"#).is_empty() && said("[]").is_empty());
    }
}
