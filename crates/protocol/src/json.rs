//! JSON as Portcullis accepts it: what is ambiguous, inexact or unbounded is refused before anything is hashed
//! or decided.
//!
//! Two traps make a parser of plain `serde_json::Value` unfit here: it silently keeps the last of two equal
//! keys, and RFC 8785 serialises numbers as doubles, so that an integer beyond 2^53 changes its value between
//! what was decided and what was hashed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::reason::ReasonCode;

/// Largest integer whose neighbours are all representable as doubles: 2^53 − 1.
pub const MAX_INTEGER: i64 = 9_007_199_254_740_991;

/// Bounds on a JSON text, checked while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text, in bytes.
    pub bytes: usize,
    /// Nesting of arrays and objects; a scalar has depth 0.
    pub depth: usize,
}

impl Limits {
    /// Bounds on a decision request: 64 KiB, 16 levels.
    pub const REQUEST: Self = Self { bytes: 64 * 1024, depth: 16 };
    /// Bounds on a record: 65,535 bytes, as C2SP tlog-tiles limits an entry, 16 levels.
    pub const RECORD: Self = Self { bytes: 65_535, depth: 16 };
    /// Bounds on one protocol message of a gated tool: 8 MiB, 64 levels.
    pub const MESSAGE: Self = Self { bytes: 8 * 1024 * 1024, depth: 64 };
}

/// Why a JSON text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is longer than the bound.
    #[error("longer than {limit} bytes")]
    TooLarge {
        /// The bound, in bytes.
        limit: usize,
    },
    /// Arrays and objects nest deeper than the bound.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// The bound, in levels.
        limit: usize,
    },
    /// An object names a key twice: two parsers could read two different requests.
    #[error("key `{key}` occurs twice in one object")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A number has a fraction or an exponent; write a decimal as a string.
    #[error("a number with a fraction or an exponent; write it as a string with its declared scale")]
    Fraction,
    /// An integer lies beyond ±(2^53 − 1), where RFC 8785 would change its value.
    #[error("an integer beyond ±9007199254740991; write it as a string")]
    IntegerRange,
    /// Not JSON.
    #[error("not JSON at line {line}, column {column}")]
    Syntax {
        /// Line of the first offence, from 1.
        line: usize,
        /// Column of the first offence, from 1.
        column: usize,
    },
}

impl JsonError {
    /// The reason code under which a request with this defect is refused.
    #[must_use]
    pub const fn code(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::RequestTooLarge,
            Self::TooDeep { .. } => ReasonCode::RequestTooDeep,
            Self::DuplicateKey { .. } => ReasonCode::RequestDuplicateKey,
            Self::Fraction => ReasonCode::RequestFraction,
            Self::IntegerRange => ReasonCode::RequestIntegerRange,
            Self::Syntax { .. } => ReasonCode::RequestMalformed,
        }
    }
}

/// Why a JSON text was not read into a type.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It is no text that is accepted here.
    #[error(transparent)]
    Text(#[from] JsonError),
    /// It is none of that type.
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
}

/// Reads exactly one value of untrusted text into a type, which may skip members that it does not know. What it skips is
/// held to the same as what it keeps: `serde_json` alone lets a skipped string be no text, a skipped value nest without
/// bound, and a skipped object name a key twice, so that another parser reads something else or nothing.
///
/// # Errors
/// The first defect in the text, else that it is no `T`.
pub fn read<T: serde::de::DeserializeOwned>(text: &[u8], limits: Limits) -> Result<T, Unread> {
    Loose::parse(text, limits)?;
    Ok(serde_json::from_slice(text)?)
}

/// A JSON value whose canonical bytes (RFC 8785) are exact: no fraction, no integer that a double would round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer within ±(2^53 − 1).
    Int(i64),
    /// A string.
    Str(String),
    /// An array.
    Array(Vec<Value>),
    /// An object; every key once.
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// Reads exactly one value; anything but white space after it is refused.
    ///
    /// # Errors
    /// The first defect in the text, as [`JsonError`].
    pub fn parse(text: &[u8], limits: Limits) -> Result<Self, JsonError> {
        Self::try_from(Loose::parse(text, limits)?)
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
}

impl TryFrom<Loose> for Value {
    type Error = JsonError;

    fn try_from(loose: Loose) -> Result<Self, JsonError> {
        Ok(match loose {
            Loose::Null => Self::Null,
            Loose::Bool(value) => Self::Bool(value),
            Loose::Int(value) => Self::Int(value),
            Loose::Fraction => return Err(JsonError::Fraction),
            Loose::Oversize => return Err(JsonError::IntegerRange),
            Loose::Str(value) => Self::Str(value),
            Loose::Array(items) => {
                Self::Array(items.into_iter().map(Self::try_from).collect::<Result<_, _>>()?)
            }
            Loose::Object(members) => Self::Object(
                members.into_iter().map(|(key, value)| Ok((key, Self::try_from(value)?))).collect::<Result<
                    _,
                    JsonError,
                >>(
                )?,
            ),
        })
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) => serializer.collect_map(members),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Value {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let refusal = RefCell::new(None);
        let seed = Seed { depth: 0, limit: Limits::RECORD.depth, refusal: &refusal };
        let loose = seed.deserialize(deserializer)?;
        Self::try_from(loose).map_err(D::Error::custom)
    }
}

/// A JSON value read for what a policy may depend on, while the rest of it stays what it is.
///
/// A tool's arguments may contain fractions that no policy reads. They are forwarded as bytes and never
/// re-serialised, so a number that has no exact canonical form is only remembered as such.
#[derive(Clone, Debug, PartialEq)]
pub enum Loose {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer within ±(2^53 − 1).
    Int(i64),
    /// A number with a fraction or an exponent.
    Fraction,
    /// An integer beyond ±(2^53 − 1).
    Oversize,
    /// A string.
    Str(String),
    /// An array.
    Array(Vec<Loose>),
    /// An object; every key once.
    Object(BTreeMap<String, Loose>),
}

impl Loose {
    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// Reads exactly one value. Duplicate keys are refused at every depth.
    ///
    /// # Errors
    /// The first defect in the text; [`JsonError::Fraction`] and [`JsonError::IntegerRange`] do not occur.
    pub fn parse(text: &[u8], limits: Limits) -> Result<Self, JsonError> {
        if text.len() > limits.bytes {
            return Err(JsonError::TooLarge { limit: limits.bytes });
        }
        let refusal = RefCell::new(None);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let seed = Seed { depth: 0, limit: limits.depth, refusal: &refusal };
        let parsed = seed.deserialize(&mut deserializer).and_then(|value| {
            deserializer.end()?;
            Ok(value)
        });
        parsed.map_err(|error| {
            refusal.take().unwrap_or_else(|| JsonError::Syntax { line: error.line(), column: error.column() }) // tidy: allow the refusal, not a default value
        })
    }

    /// The value at an RFC 6901 JSON Pointer, or `None` if there is none.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        pointer.strip_prefix('/')?.split('/').try_fold(self, |value, token| {
            let token = unescape(token);
            match value {
                Self::Object(members) => members.get(&token),
                Self::Array(items) => items.get(token.parse::<usize>().ok()?), // tidy: allow no such element is None
                Self::Null
                | Self::Bool(_)
                | Self::Int(_)
                | Self::Fraction
                | Self::Oversize
                | Self::Str(_) => None,
            }
        })
    }
}

/// A token of a JSON Pointer as the key that it stands for.
pub(crate) fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// Reads one value at `depth`, leaving the typed reason of a refusal in `refusal`, since a
/// `serde_json::Error` can only carry text.
struct Seed<'a> {
    depth: usize,
    limit: usize,
    refusal: &'a RefCell<Option<JsonError>>,
}

impl Seed<'_> {
    fn refuse<E: serde::de::Error>(&self, reason: JsonError) -> E {
        let message = reason.to_string();
        self.refusal.replace(Some(reason));
        E::custom(message)
    }

    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth >= self.limit {
            return Err(self.refuse(JsonError::TooDeep { limit: self.limit }));
        }
        Ok(Self { depth: self.depth + 1, limit: self.limit, refusal: self.refusal })
    }

    const fn again(&self) -> Self {
        Self { depth: self.depth, limit: self.limit, refusal: self.refusal }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Loose;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Loose, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Loose;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Loose, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose, E> {
        Ok(if (-MAX_INTEGER..=MAX_INTEGER).contains(&value) { Loose::Int(value) } else { Loose::Oversize })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose, E> {
        Ok(match i64::try_from(value) {
            Ok(value) if value <= MAX_INTEGER => Loose::Int(value),
            Ok(_) | Err(_) => Loose::Oversize,
        })
    }

    // serde_json hands over as a double what is written with a fraction or an exponent, an integer beyond 64
    // bits, and `-0`, which RFC 8785 would turn into `0`.
    fn visit_f64<E>(self, value: f64) -> Result<Loose, E> {
        Ok(if value.abs() > 9_007_199_254_740_991.0 && value.fract() == 0.0 {
            Loose::Oversize
        } else {
            Loose::Fraction
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose, E> {
        Ok(Loose::Str(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Loose, E> {
        Ok(Loose::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Loose, A::Error> {
        let inner = self.inner()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner.again())? {
            array.push(item);
        }
        Ok(Loose::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Loose, A::Error> {
        let inner = self.inner()?;
        let mut object = BTreeMap::new();
        while let Some(key) = members.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(self.refuse(JsonError::DuplicateKey { key }));
            }
            let value = members.next_value_seed(inner.again())?;
            object.insert(key, value);
        }
        Ok(Loose::Object(object))
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
