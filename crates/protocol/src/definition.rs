//! What a tool server says of a tool: every member of it, whatever it is called, and a digest of all of them.
//!
//! A definition may hold numbers that have no exact canonical form elsewhere in this product, such as the bounds of a JSON
//! Schema. Each stays as it is written, so that what was written otherwise is something else.

use std::collections::BTreeMap;

use crate::digest::{Digest, Domain};
use crate::json::{JsonError, Limits, Loose};

/// Bounds on one definition: 1 MiB, 64 levels.
const LIMITS: Limits = Limits { bytes: 1024 * 1024, depth: 64 };
/// Bounds on a file of them: 1 MiB, and the levels around each.
const FILE: Limits = Limits { bytes: 1024 * 1024, depth: 66 };

/// A JSON value with nothing lost: every key once, numbers as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exact {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number's own text.
    Number(String),
    /// A string.
    Str(String),
    /// An array.
    Array(Vec<Exact>),
    /// An object; every key once.
    Object(BTreeMap<String, Exact>),
}

impl Exact {
    /// Reads exactly one value, as large as a bundle's file may be.
    ///
    /// # Errors
    /// The first defect in the text; [`JsonError::Fraction`] and [`JsonError::IntegerRange`] do not occur.
    pub fn parse(text: &[u8]) -> Result<Self, JsonError> {
        Self::within(text, FILE)
    }

    pub(crate) fn within(text: &[u8], limits: Limits) -> Result<Self, JsonError> {
        Loose::parse(text, limits)?;
        let text = str::from_utf8(text).map_err(|_| JsonError::Syntax { line: 1, column: 1 })?;
        Reader { text, at: 0 }.value()
    }

    /// The string, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// The object's members, if this is one.
    #[must_use]
    pub const fn as_object(&self) -> Option<&BTreeMap<String, Self>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// RFC 8785, but for numbers: they are as they were written.
    #[must_use]
    pub fn to_canonical(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    /// The same for people: a member a line, two blanks a level.
    #[must_use]
    pub fn to_pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    fn write(&self, out: &mut String, level: Option<usize>) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(text),
            Self::Str(text) => out.push_str(&quoted(text)),
            Self::Array(items) => {
                let write = |out: &mut String, item: &Self, level| item.write(out, level);
                listed(out, ('[', ']'), level, items, write);
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
                let colon = if level.is_some() { ": " } else { ":" };
                listed(out, ('{', '}'), level, &members, |out, (key, value), level| {
                    out.push_str(&quoted(key));
                    out.push_str(colon);
                    value.write(out, level);
                });
            }
        }
    }
}

/// serde_json escapes strings as RFC 8785 has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn listed<T>(
    out: &mut String,
    (open, close): (char, char),
    level: Option<usize>,
    items: &[T],
    write: impl Fn(&mut String, &T, Option<usize>),
) {
    let inner = level.map(|level| level.saturating_add(1));
    out.push(open);
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.push(',');
        }
        line(out, inner);
        write(out, item, inner);
    }
    if !items.is_empty() {
        line(out, level);
    }
    out.push(close);
}

fn line(out: &mut String, level: Option<usize>) {
    if let Some(level) = level {
        out.push('\n');
        out.push_str(&"  ".repeat(level));
    }
}

/// Reads a text that was found sound: depth, size and keys are not looked at again. It goes over the text once, however deep it
/// is nested.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self, is_of_it: impl Fn(u8) -> bool) {
        while self.next().is_some_and(&is_of_it) {
            self.at = self.at.saturating_add(1);
        }
    }

    /// What begins there, behind any blanks.
    fn begin(&mut self) -> Option<u8> {
        self.skip(|byte| byte.is_ascii_whitespace());
        self.next()
    }

    /// Whether the next sign is this one, which is then behind.
    fn pass(&mut self, sign: u8) -> bool {
        let passes = self.begin() == Some(sign);
        if passes {
            self.at = self.at.saturating_add(1);
        }
        passes
    }

    fn value(&mut self) -> Result<Exact, JsonError> {
        Ok(match self.begin() {
            Some(b'{') => Exact::Object(self.members()?),
            Some(b'[') => Exact::Array(self.items()?),
            Some(b'"') => Exact::Str(self.string()?),
            Some(_) | None => {
                let start = self.at;
                self.skip(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
                match self.text.get(start..self.at) {
                    Some("null") => Exact::Null,
                    Some("true") => Exact::Bool(true),
                    Some("false") => Exact::Bool(false),
                    Some(number) if !number.is_empty() => Exact::Number(number.to_owned()),
                    Some(_) | None => return Err(self.unsound()),
                }
            }
        })
    }

    fn members(&mut self) -> Result<BTreeMap<String, Exact>, JsonError> {
        let mut members = BTreeMap::new();
        self.at = self.at.saturating_add(1);
        while self.begin() != Some(b'}') {
            let key = self.string()?;
            if !self.pass(b':') {
                return Err(self.unsound());
            }
            members.insert(key, self.value()?);
            if !self.pass(b',') {
                break;
            }
        }
        if self.pass(b'}') { Ok(members) } else { Err(self.unsound()) }
    }

    fn items(&mut self) -> Result<Vec<Exact>, JsonError> {
        let mut items = Vec::new();
        self.at = self.at.saturating_add(1);
        while self.begin() != Some(b']') {
            items.push(self.value()?);
            if !self.pass(b',') {
                break;
            }
        }
        if self.pass(b']') { Ok(items) } else { Err(self.unsound()) }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        let start = self.at;
        if !self.pass(b'"') {
            return Err(self.unsound());
        }
        loop {
            self.skip(|byte| byte != b'"' && byte != b'\\');
            // What is escaped is a sign of its own, a quotation mark too.
            let width = if self.next() == Some(b'\\') { 2 } else { 1 };
            self.at = self.at.saturating_add(width);
            if width == 1 {
                break;
            }
        }
        let written = self.text.get(start..self.at).ok_or_else(|| self.unsound())?;
        serde_json::from_str(written.trim_start()).map_err(|_| self.unsound())
    }

    const fn unsound(&self) -> JsonError {
        JsonError::Syntax { line: 1, column: self.at }
    }
}

/// A tool as its server defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolDefinition {
    name: String,
    members: BTreeMap<String, Exact>,
    digest: Digest,
}

/// Why something is no tool's definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not JSON that is read in one way only, or too large or deep.
    #[error(transparent)]
    Json(JsonError),
    /// No object.
    #[error("a tool's definition is an object")]
    NoObject,
    /// Without a name.
    #[error("a tool's definition has a string `name`")]
    Nameless,
}

impl ToolDefinition {
    /// Reads one element of what `tools/list` has in `tools`.
    ///
    /// # Errors
    /// [`DefinitionError`].
    pub fn parse(text: &[u8]) -> Result<Self, DefinitionError> {
        Self::from_exact(Exact::within(text, LIMITS).map_err(DefinitionError::Json)?)
    }

    /// A definition that was read.
    ///
    /// # Errors
    /// [`DefinitionError::NoObject`], [`DefinitionError::Nameless`].
    pub fn from_exact(definition: Exact) -> Result<Self, DefinitionError> {
        let digest = Digest::of(Domain::ToolDefinition, &[definition.to_canonical().as_bytes()]);
        let Exact::Object(members) = definition else { return Err(DefinitionError::NoObject) };
        let name = members.get("name").and_then(Exact::as_str).ok_or(DefinitionError::Nameless)?.to_owned();
        Ok(Self { name, members, digest })
    }

    /// The tool's name, as its server has it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every member, the name included.
    #[must_use]
    pub const fn members(&self) -> &BTreeMap<String, Exact> {
        &self.members
    }

    /// The digest of all of it: SHA-256, in [`Domain::ToolDefinition`], of [`Exact::to_canonical`].
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The definition as a value.
    #[must_use]
    pub fn to_exact(&self) -> Exact {
        Exact::Object(self.members.clone())
    }
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
