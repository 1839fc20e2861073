//! Of which era a POST is, and that its headers say what its body says. The body is the truth; a header that disagrees with it
//! is refused, and what could be of either era is too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::http::HeaderName;
use hyper::{HeaderMap, StatusCode};
use portcullis_protocol::{Loose, ReasonCode};

use crate::harmless::CANCELLED;
use crate::message::{Body, Defect, From, Id, Message, NAMED, Refused as Misread, Reply, on_one_line, read};

use super::guard::one;
use super::refused::Refused;

/// Revisions with sessions that are spoken here, the newest first.
pub(super) const LEGACY: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];
/// Revisions without.
const STATELESS: [&str; 1] = ["2026-07-28"];
/// All of them, as a client is told.
const SPOKEN: [&str; 4] = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26"];

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// What the names of headers begin with that say arguments.
const ARGUMENT: &str = "mcp-param-";

/// Where in `_meta` a request says of which revision it is, whatever stands there.
const DECLARED: &str = "/io.modelcontextprotocol~1protocolVersion";

/// What a POST is.
#[derive(Debug, PartialEq)]
pub(super) enum Post {
    /// It asks for a session.
    Opens(Id, Body),
    /// A message within a session.
    Within(Session, Said),
    /// A request that says all about itself.
    Stateless(Id, Body),
    /// Of the era without sessions, and without meaning there.
    Nothing,
}

/// The session that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: String,
    /// The revision in its header.
    pub(super) revision: Option<String>,
}

/// What is said within a session.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    Request(Id, Body),
    Notice(Body),
    /// An answer to a request of the server's.
    Answer(Id, Reply),
}

/// What the headers say about the body.
struct Headers<'a> {
    session: Option<&'a str>,
    revision: Option<&'a str>,
    method: Option<&'a str>,
    name: Option<&'a str>,
    all: &'a HeaderMap,
}

impl<'a> Headers<'a> {
    fn of(headers: &'a HeaderMap) -> Result<Self, Refused> {
        Ok(Self {
            session: one(headers, &SESSION)?,
            revision: one(headers, &REVISION)?,
            method: one(headers, &METHOD)?,
            name: one(headers, &NAME)?,
            all: headers,
        })
    }

    /// Whether they say by themselves that the body is of the era without sessions.
    fn are_stateless(&self) -> bool {
        let unnamed = self.revision.is_none() && (self.method.is_some() || self.name.is_some());
        unnamed || self.revision.is_some_and(|revision| STATELESS.contains(&revision))
    }

    /// Refuses a body of the era with sessions that does not say what these headers say: they are not asked for there, but whoever
    /// routes by them on the way goes by them, and clients of both eras send them with either.
    fn agree_with(&self, body: &Body) -> Result<(), Refused> {
        if self.method.is_some_and(|method| method != body.method) {
            return Err(Refused::mismatch("`Mcp-Method` and the body name two methods"));
        }
        let told = self.name.map(decoded).transpose()?;
        if told.is_some() && !names(body, told.as_deref()) {
            return Err(Refused::mismatch("`Mcp-Name` and the body name two things"));
        }
        self.agree_with_arguments(body)
    }

    /// Refuses what says of an argument what the body does not. Which header says which of them the tool's definition tells, and so its
    /// server: here each must say one that the body has. One that is missing is no word against the body.
    fn agree_with_arguments(&self, body: &Body) -> Result<(), Refused> {
        let params = body.params.as_ref().filter(|_| body.method == "tools/call");
        let arguments = params.and_then(|params| params.read.get("arguments"));
        for name in self.all.keys().filter(|name| name.as_str().starts_with(ARGUMENT)) {
            let said = one(self.all, name)?.map(decoded).transpose()?;
            let agrees = said.zip(arguments).is_some_and(|(said, arguments)| says(arguments, &said));
            if !agrees {
                return Err(Refused::mismatch(
                    "an `Mcp-Param-…` header says what no argument of the body does",
                ));
            }
        }
        Ok(())
    }
}

/// Reads a POST.
pub(super) fn post(headers: &HeaderMap, body: Vec<u8>) -> Result<Post, Refused> {
    let headers = Headers::of(headers)?;
    match message(body).map_err(|defect| Refused::defect(&defect))? {
        Message::Request(id, body) => request(&headers, &id, body).map_err(|refused| refused.to(&id)),
        Message::Notification(body) => notice(&headers, body),
        // It names no method and no thing, so that what does is about another message.
        Message::Response(id, Some(reply))
            if !headers.are_stateless() && headers.method.is_none() && headers.name.is_none() =>
        {
            Ok(Post::Within(session(&headers)?, Said::Answer(id, reply)))
        }
        Message::Response(_, Some(_)) => Err(malformed("this revision has no answers of clients")),
        Message::Response(_, None) => Err(malformed("an answer has exactly one of `result` and `error`")),
    }
}

/// The message of a body, as a line would carry it.
fn message(body: Vec<u8>) -> Result<Message, Defect> {
    // Before line ends are replaced: within a string they are no white space, and what has them there is no JSON.
    let json = std::str::from_utf8(&body)
        .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
    if !json {
        let refused = Misread::new(ReasonCode::RequestMalformed, "the body is no JSON");
        return Err(Defect { id: None, tool: false, answerable: true, refused });
    }
    read(&on_one_line(body), From::Client)
}

fn malformed(detail: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, ReasonCode::RequestMalformed, detail)
}

/// The session that the headers name.
fn session(headers: &Headers<'_>) -> Result<Session, Refused> {
    let id = headers
        .session
        .ok_or_else(|| malformed("a message without `Mcp-Session-Id`; begin with `initialize`"))?;
    Ok(Session { id: id.to_owned(), revision: headers.revision.map(str::to_owned) })
}

fn declares(body: &Body) -> bool {
    let meta = body.params.as_ref().and_then(|params| params.read.get("_meta"));
    meta.is_some_and(|meta| meta.pointer(DECLARED).is_some())
}

fn request(headers: &Headers<'_>, id: &Id, body: Body) -> Result<Post, Refused> {
    if declares(&body) {
        return stateless(headers, id, body);
    }
    if headers.are_stateless() {
        return Err(Refused::parameters("the headers are of a revision whose requests name it in `_meta`"));
    }
    headers.agree_with(&body)?;
    if body.method != "initialize" {
        return Ok(Post::Within(session(headers)?, Said::Request(id.clone(), body)));
    }
    if headers.session.is_some() {
        return Err(malformed("`initialize` within a session"));
    }
    match headers.revision {
        Some(revision) if !LEGACY.contains(&revision) => Err(Refused::revision(revision, &SPOKEN)),
        Some(_) | None => Ok(Post::Opens(id.clone(), body)),
    }
}

fn stateless(headers: &Headers<'_>, id: &Id, body: Body) -> Result<Post, Refused> {
    let declared =
        body.revision().ok_or_else(|| malformed("`io.modelcontextprotocol/protocolVersion` is no string"))?;
    if headers.revision != Some(declared) {
        return Err(Refused::mismatch("`MCP-Protocol-Version` and the body name two revisions"));
    }
    if !STATELESS.contains(&declared) {
        return Err(Refused::revision(declared, &SPOKEN));
    }
    if headers.session.is_some() {
        return Err(Refused::mismatch("`Mcp-Session-Id` with a request of a revision without sessions"));
    }
    if headers.method != Some(body.method.as_str()) {
        return Err(Refused::mismatch("`Mcp-Method` and the body name two methods"));
    }
    let told = headers.name.map(decoded).transpose()?;
    if !names(&body, told.as_deref()) {
        return Err(Refused::mismatch("`Mcp-Name` and the body name two things"));
    }
    headers.agree_with_arguments(&body)?;
    if body.method == "initialize" {
        return Err(Refused::method("a request of a revision without `initialize`"));
    }
    Ok(Post::Stateless(id.clone(), body))
}

/// Whether a body says what its `Mcp-Name` header says. Extensions name by members of their own.
fn names(body: &Body, told: Option<&str>) -> bool {
    let params = body.params.as_ref().map(|params| &params.read);
    match (NAMED.iter().find(|(method, _)| *method == body.method), told) {
        (Some((_, key)), told) => params.and_then(|params| params.get(*key)).and_then(Loose::as_str) == told,
        (None, Some(told)) => {
            params.is_some_and(|params| params.values().filter_map(Loose::as_str).any(|value| value == told))
        }
        (None, None) => true,
    }
}

/// Whether two texts are the same number: `42` and `42.0` are.
pub(super) fn are_one_number(one: &str, other: &str) -> bool {
    let whole = |text: &str| {
        let zeros = |(_, rest): &(&str, &str)| rest.bytes().all(|digit| digit == b'0');
        text.split_once('.').filter(zeros).map_or(text, |(whole, _)| whole).parse::<i64>().ok()
    };
    whole(one).is_some_and(|one| whole(other) == Some(one))
}

/// Whether a text is what an argument, or one within it, is as a header. A number that is no exact integer is only known to be one.
fn says(value: &Loose, text: &str) -> bool {
    match value {
        Loose::Str(said) => said == text,
        Loose::Bool(said) => text == if *said { "true" } else { "false" },
        Loose::Int(said) => are_one_number(text, &said.to_string()),
        Loose::Fraction | Loose::Oversize => text.parse::<f64>().is_ok_and(f64::is_finite),
        Loose::Object(members) => members.values().any(|member| says(member, text)),
        Loose::Null | Loose::Array(_) => false,
    }
}

/// A header's value, out of the Base64 that what is not plain is sent in (MCP 2026-07-28, "Value Encoding").
pub(super) fn decoded(value: &str) -> Result<String, Refused> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    let text = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| Refused::mismatch("a header's value is no Base64 of a text"))
}

fn notice(headers: &Headers<'_>, body: Body) -> Result<Post, Refused> {
    if !body.method.starts_with("notifications/") {
        return Err(malformed("a request without an id"));
    }
    match (declares(&body) || headers.are_stateless(), headers.session) {
        (false, _) => {
            headers.agree_with(&body)?;
            Ok(Post::Within(session(headers)?, Said::Notice(body)))
        }
        (true, Some(_)) => Err(Refused::mismatch("a session in a message of a revision without sessions")),
        // Whoever has closed the stream of its answer has cancelled it already.
        (true, None) if body.method == CANCELLED => Ok(Post::Nothing),
        (true, None) => Err(malformed("this revision has no notifications of clients")),
    }
}

#[cfg(test)]
#[path = "era_tests.rs"]
mod tests;
