//! A page of a server's tools: what an answer to `tools/list` holds, each tool as the bytes that came.

use std::borrow::{Borrow, Cow};
use std::time::Duration;

use serde_json::value::RawValue;

use crate::message::{Members, Refused, members_of, quote, string};

/// The longest cursor, in bytes.
const MAX_CURSOR: usize = 4_096;
/// The most tools that are read of one server, over all pages.
pub(crate) const MAX_TOOLS: usize = 10_000;
/// The most pages.
pub(crate) const MAX_PAGES: usize = 1_000;

/// Where the page begins that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    /// Where the list does.
    Start,
    /// Where an earlier page said that the next one begins.
    Cursor(String),
    /// Where no page can have said so.
    Nowhere,
}

impl Whence {
    /// Of a request's cursor, as JSON text, if it has one.
    pub(crate) fn of(cursor: Option<&str>) -> Self {
        let Some(raw) = cursor else { return Self::Start };
        string(raw).filter(|cursor| cursor.len() <= MAX_CURSOR).map_or(Self::Nowhere, Self::Cursor)
    }
}

/// One page.
#[derive(Debug)]
pub(crate) struct Page {
    members: Members,
    /// Each tool's text.
    pub(crate) tools: Vec<String>,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
}

/// Why an answer is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPage {
    /// No object, or one that two parsers could read differently.
    #[error("is no object that is read in one way only")]
    Ambiguous,
    /// Nothing in it could be taken for a list of tools.
    #[error("has no array `tools`")]
    NoTools,
    /// The list is none.
    #[error("has no array `tools`")]
    OtherTools,
    /// A cursor that is none.
    #[error("has a `nextCursor` that is no string of at most {MAX_CURSOR} bytes")]
    Cursor,
}

impl From<Refused> for NoPage {
    fn from(_: Refused) -> Self {
        Self::Ambiguous
    }
}

impl Page {
    pub(crate) fn read(result: &str) -> Result<Self, NoPage> {
        Self::read_of(result, "tools")
    }

    /// The same of another list, whose items are this member.
    pub(crate) fn read_of(result: &str, items: &str) -> Result<Self, NoPage> {
        let members = members_of(result).ok_or(NoPage::Ambiguous)?;
        members.unambiguous(&[items, "nextCursor", "_meta", "ttlMs", "cacheScope"])?;
        let raw = members.get(items).ok_or(NoPage::NoTools)?;
        let tools: Vec<Box<RawValue>> = serde_json::from_str(raw).map_err(|_| NoPage::OtherTools)?;
        let next = match members.get("nextCursor") {
            None | Some("null") => None,
            Some(raw) => {
                let cursor = string(raw).filter(|cursor| cursor.len() <= MAX_CURSOR);
                Some(cursor.ok_or(NoPage::Cursor)?)
            }
        };
        let tools = tools.into_iter().map(|tool| Box::<str>::from(tool).into_string()).collect();
        Ok(Self { members, tools, next })
    }

    /// The answer with these of its tools alone, and with for how long a client of the stateless revision may go by it: no longer
    /// than the server says, and for itself alone (MCP 2026-07-28, "CacheableResult").
    pub(crate) fn showing(&self, tools: &[Cow<'_, str>], within: Option<Duration>) -> String {
        let all = self.tools.iter().eq(tools);
        let text = if all { self.members.to_text() } else { self.with(tools) };
        let (Some(within), Some(mut members)) = (within, members_of(&text)) else { return text };
        let own = members.get("ttlMs").and_then(|ttl| ttl.parse::<u64>().ok()).unwrap_or(0);
        let within = u64::try_from(within.as_millis()).unwrap_or(0);
        members.set("ttlMs", own.min(within).to_string());
        members.set("cacheScope", quote("private"));
        members.to_text()
    }

    /// The answer with these of its tools alone.
    pub(crate) fn with<T: Borrow<str>>(&self, tools: &[T]) -> String {
        let list = format!("[{}]", tools.join(","));
        let members = self.members.0.iter().map(|(key, raw)| {
            let raw = if key == "tools" { &list } else { raw };
            (key.clone(), raw.clone())
        });
        Members(members.collect()).to_text()
    }
}
