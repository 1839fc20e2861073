//! A server that a client connects to: what its entry says, and whether the gate can reach it in the client's place.

use std::ops::Range;

use portcullis_gate::ServerUrl;
use portcullis_sdk::Token;

use super::document::{Edit, Launch, Literal};
use super::error::Obstacle;
use super::gate::quoted;

/// What clients call a server that they start.
const STARTED: &str = "\"stdio\"";
/// What most of them call Streamable HTTP.
const HTTP: &str = "\"http\"";
/// How a client's variable begins.
pub(crate) const VARIABLE: &str = "${";

/// How a client connects to a server.
#[derive(Debug)]
pub(crate) struct Remote {
    /// What the client calls the address.
    pub(crate) key: String,
    /// `None` if not every reader takes it for the same string.
    pub(crate) address: Option<Literal>,
    /// The whole member of the address.
    pub(crate) place: Range<usize>,
    /// What that member's line begins with, if it begins one.
    pub(crate) line: Option<String>,
    /// What the way to it is called.
    pub(crate) transport: Option<Literal>,
    pub(crate) headers: Option<Headers>,
    /// A member by which the client shows in another way than by a header who it is.
    pub(crate) credentials: Option<String>,
    /// A member that would act on the gate that the client starts instead.
    pub(crate) started: Option<&'static str>,
}

/// The headers that a client sends.
#[derive(Debug)]
pub(crate) struct Headers {
    /// `None` if not every reader takes them for the same.
    pub(crate) values: Option<Vec<(String, Literal)>>,
    pub(crate) raw: String,
    /// What is deleted so that they are gone.
    pub(crate) removal: Vec<Range<usize>>,
}

/// How the gate reaches a server.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) url: ServerUrl,
    pub(crate) token: Option<Token>,
}

impl Remote {
    /// How the gate can reach it in the client's place.
    pub(crate) fn reached(&self) -> Result<Reached, Obstacle> {
        let address = &self.address.as_ref().ok_or(Obstacle::Address)?.value;
        let path = address.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        match self.transport.as_ref().map(|transport| transport.value.as_str()) {
            Some("sse") => return Err(Obstacle::Sse),
            None if path.ends_with("/sse") => return Err(Obstacle::Sse),
            Some("ws") => return Err(Obstacle::WebSocket),
            // `kind` has refused what is none of the known words.
            Some(_) | None => {}
        }
        if let Some(member) = &self.credentials {
            return Err(Obstacle::Credentials(member.clone()));
        }
        if let Some(member) = self.started {
            return Err(Obstacle::Started(member));
        }
        if address.contains(VARIABLE) {
            return Err(Obstacle::AddressFilledIn);
        }
        let url =
            address.parse().map_err(|error: portcullis_gate::InvalidUrl| Obstacle::Url(error.expected()))?;
        Ok(Reached { url, token: self.token()? })
    }

    fn token(&self) -> Result<Option<Token>, Obstacle> {
        let Some(headers) = &self.headers else { return Ok(None) };
        let values = headers.values.as_ref().ok_or(Obstacle::Headers)?;
        let others = values.iter().find(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        match (values.as_slice(), others) {
            ([], _) => Ok(None),
            (_, Some((name, _))) => Err(Obstacle::Header(name.clone())),
            ([(_, value)], None) => bearer(&value.value).map(Some),
            (_, None) => Err(Obstacle::Headers),
        }
    }
}

/// The token of an `Authorization` header's value.
fn bearer(value: &str) -> Result<Token, Obstacle> {
    if value.contains(VARIABLE) {
        return Err(Obstacle::TokenFilledIn);
    }
    let (scheme, token) = value.trim().split_once(' ').ok_or(Obstacle::Scheme)?;
    let token = token.trim();
    let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if scheme.eq_ignore_ascii_case("bearer") && fits { Ok(Token::new(token)) } else { Err(Obstacle::Scheme) }
}

/// The edits by which the client starts the gate, which connects to the server. Whatever else the entry says stays.
pub(crate) fn through(remote: &Remote, program: &str, words: &[String]) -> Vec<Edit> {
    let line = remote.line.as_ref().map_or(" ", |line| line);
    let list: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    let with = format!("\"command\": {},{line}\"args\": [{}]", quoted(program), list.join(", "));
    let mut edits = vec![Edit { at: remote.place.clone(), with }];
    edits.extend(remote.transport.iter().map(|it| Edit { at: it.at.clone(), with: STARTED.into() }));
    let headers = remote.headers.iter().flat_map(|headers| &headers.removal);
    edits.extend(headers.map(|at| Edit { at: at.clone(), with: String::new() }));
    edits
}

/// The edits by which the client connects to the server itself again, as it did before, but to the address that the gate has
/// now.
pub(crate) fn without(launch: &Launch, was: &Remote, url: &str) -> Vec<Edit> {
    let line = launch.line.as_ref().map_or(" ", |line| line);
    let address = was.address.as_ref().filter(|address| address.value == url);
    let address = address.map_or_else(|| quoted(url), |address| address.raw.clone());
    let mut with = format!("{}: {address}", quoted(&was.key));
    for (name, raw) in [
        ("type", was.transport.as_ref().filter(|_| launch.transport.is_none()).map(|it| &it.raw)),
        ("headers", was.headers.as_ref().map(|headers| &headers.raw)),
    ] {
        with.extend(raw.map(|raw| format!(",{line}\"{name}\": {raw}")));
    }
    let transport = was.transport.as_ref().map_or(HTTP, |transport| &transport.raw);
    let mut edits = vec![Edit { at: launch.place.clone(), with }];
    edits.extend(launch.transport.iter().map(|it| Edit { at: it.at.clone(), with: transport.into() }));
    edits.extend(launch.args_removal.iter().map(|at| Edit { at: at.clone(), with: String::new() }));
    edits
}

/// What is deleted of a text so that a member of an object is gone: it and its comma, and its line if that is its own.
/// `before` is where the member before it ends.
pub(crate) fn removal(text: &str, member: &Range<usize>, before: Option<usize>) -> Vec<Range<usize>> {
    let own = comma_after(text, member.end);
    let other = before.filter(|_| own.is_none()).and_then(|before| comma_after(text, before));
    let end = own.map_or(member.end, |comma| comma.saturating_add(1));
    let (head, tail) = (text.get(..member.start).unwrap_or_default(), text.get(end..).unwrap_or_default());
    let blank = [' ', '\t'];
    let (shorter, rest) = (head.trim_end_matches(blank), tail.trim_start_matches(blank));
    let whole = match (shorter.strip_suffix('\n'), rest.starts_with(['\r', '\n'])) {
        (Some(line), true) => line.strip_suffix('\r').unwrap_or(line).len()..end,
        _ if own.is_some() => member.start..text.len().saturating_sub(rest.len()),
        _ => shorter.len()..end,
    };
    let other = other.map(|comma| comma..comma.saturating_add(1));
    other.into_iter().chain([whole]).collect()
}

/// Where the comma is that comes next, behind blanks and comments at most.
fn comma_after(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        let shorter = rest.trim_start();
        at = at.saturating_add(rest.len().saturating_sub(shorter.len()));
        let comment = if shorter.starts_with("//") {
            shorter.find('\n')?
        } else if shorter.starts_with("/*") {
            shorter.find("*/")?.saturating_add(2)
        } else {
            return shorter.starts_with(',').then_some(at);
        };
        at = at.saturating_add(comment);
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
