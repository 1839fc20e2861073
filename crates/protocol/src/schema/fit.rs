//! How arguments fit a schema, and who is told what of it.

use std::fmt;

use super::ToolSchema;
use crate::definition::Exact;
use crate::json::Limits;
use crate::pins::ArgumentsSeen;

/// The most values that arguments may have. Each takes some hundred bytes while it is looked at, however short it is written.
const VALUES: usize = 100_000;

/// How arguments fit a tool's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They are right, and the schema declares every key of them.
    Fits,
    /// One has a key that the schema does not declare.
    Undeclared(Misfit),
    /// One is not as the schema wants it.
    Unfit(Misfit),
    /// It cannot be told, and why.
    Unchecked(String),
}

impl Fit {
    /// What a gate says of it to the arbiter.
    #[must_use]
    pub const fn seen(&self) -> ArgumentsSeen {
        match self {
            Self::Fits => ArgumentsSeen::Fit,
            Self::Undeclared(_) => ArgumentsSeen::Undeclared,
            Self::Unfit(_) => ArgumentsSeen::Unfit,
            Self::Unchecked(_) => ArgumentsSeen::Unchecked,
        }
    }

    /// What does not fit, for who called the tool; `None` if all of it does.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Fits => None,
            Self::Undeclared(misfit) | Self::Unfit(misfit) => Some(misfit.to_string()),
            Self::Unchecked(why) => Some(why.clone()),
        }
    }
}

/// An argument that does not fit. It says where, and what the schema wants; never which value there was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where, as an RFC 6901 JSON Pointer into the arguments, shortened.
    pub at: String,
    /// What the schema wants there.
    pub wants: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => write!(formatter, "the arguments: {}", self.wants),
            at => write!(formatter, "argument `{at}`: {}", self.wants),
        }
    }
}

impl ToolSchema {
    /// Holds arguments against the schema: a JSON text, as it is sent.
    #[must_use]
    pub fn check_text(&self, arguments: &str) -> Fit {
        if most_values(arguments) > VALUES {
            return Fit::Unchecked(format!("the arguments have more than {VALUES} values"));
        }
        match Exact::within(arguments.as_bytes(), Limits::MESSAGE) {
            Ok(arguments) => self.check(&arguments),
            Err(error) => Fit::Unchecked(format!("the arguments are not read: {error}")),
        }
    }
}

/// How many values a JSON text has at the most: each but the first is behind a comma, or begins what it lies in.
fn most_values(text: &str) -> usize {
    let (mut values, mut in_string, mut escaped) = (1_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' | b',' if !in_string => values = values.saturating_add(1),
            _ => {}
        }
    }
    values
}
