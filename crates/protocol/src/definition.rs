//! What a tool server says of a tool: every member of it, whatever it is called, and a digest of all of them.
//!
//! A definition may hold numbers that have no exact canonical form elsewhere in this product, such as the bounds of a JSON
//! Schema. They are never computed with: each stays as it is written, so that what was written otherwise is something else.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

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

    fn within(text: &[u8], limits: Limits) -> Result<Self, JsonError> {
        Loose::parse(text, limits)?;
        let text = str::from_utf8(text).map_err(|_| JsonError::Syntax { line: 1, column: 1 })?;
        read(text.trim())
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

fn syntax(error: &serde_json::Error) -> JsonError {
    JsonError::Syntax { line: error.line(), column: error.column() }
}

/// Reads a text that was found sound: depth, size and keys are not looked at again.
fn read(raw: &str) -> Result<Exact, JsonError> {
    let parts = |raw: &str| -> Result<Vec<Box<RawValue>>, JsonError> {
        serde_json::from_str(raw).map_err(|error| syntax(&error))
    };
    Ok(match raw.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, Box<RawValue>> =
                serde_json::from_str(raw).map_err(|error| syntax(&error))?;
            let members = members.into_iter().map(|(key, value)| Ok((key, read(value.get())?)));
            Exact::Object(members.collect::<Result<_, JsonError>>()?)
        }
        Some(b'[') => {
            Exact::Array(parts(raw)?.iter().map(|item| read(item.get())).collect::<Result<_, _>>()?)
        }
        Some(b'"') => Exact::Str(serde_json::from_str(raw).map_err(|error| syntax(&error))?),
        Some(b'n') => Exact::Null,
        Some(b't') => Exact::Bool(true),
        Some(b'f') => Exact::Bool(false),
        Some(_) | None => Exact::Number(raw.to_owned()),
    })
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
