//! What a tool's definition says of its arguments: the JSON Schema `inputSchema`, compiled, so that arguments are held against it.
//!
//! It is no general validator, and on purpose (docs/decisions/0026-arguments-against-pinned-schemas.md). What it does not
//! understand it does not pass over: such a schema is [`Unusable`]. Nothing is fetched. Numbers are compared as they are written, and as
//! doubles: where that is not the same, they do not fit.
//! The work is counted, and ends. And it tells which keys of the arguments no part of the schema declares, which JSON Schema by
//! itself lets through.

mod check;
mod compile;
mod fit;
mod look;
mod marks;
mod number;
mod output;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

pub use compile::{Unusable, Why};
pub use fit::{Fit, Misfit};
pub use look::{Kinds, Place};
pub use output::OutputSchema;

use number::{Decimal, Number};
use pattern::Pattern;

use crate::definition::Exact;

/// The schema of a tool's arguments. Made of a definition ([`ToolSchema::of`]).
#[derive(Clone, Debug)]
pub struct ToolSchema {
    /// The first is the schema of all arguments.
    nodes: Vec<Node>,
    /// What its patterns take, in bytes, at the most.
    size: usize,
}

/// A schema within the schema: what all must hold of a value.
#[derive(Clone, Debug, Default)]
struct Node {
    rules: Vec<Rule>,
}

/// The place of a node.
type Id = usize;

/// A type of JSON's, as JSON Schema tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Null,
    Boolean,
    /// A number without a fraction.
    Integer,
    /// Any number; of a value, one with a fraction.
    Number,
    String,
    Array,
    Object,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    Characters,
    Elements,
    Members,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Nothing is right.
    Never,
    Types(BTreeSet<Kind>),
    /// `enum` and `const`: the values in one form each, and their types.
    Among {
        forms: [BTreeSet<String>; 2],
        kinds: BTreeSet<Kind>,
        written: String,
    },
    Least {
        bound: Number,
        itself: bool,
        written: String,
    },
    Most {
        bound: Number,
        itself: bool,
        written: String,
    },
    Multiple {
        of: Decimal,
        written: String,
    },
    AtLeast(Counted, u64),
    AtMost(Counted, u64),
    Pattern(Pattern),
    Unique,
    /// The schemas of the first elements, and of those behind them.
    Elements {
        first: Vec<Id>,
        rest: Option<Id>,
    },
    Contains {
        id: Id,
        least: u64,
        most: Option<u64>,
    },
    Members(Members),
    Required(Vec<String>),
    Names(Id),
    /// Which keys must be there if that one is.
    Needs(BTreeMap<String, Vec<String>>),
    All(Vec<Id>),
    Any(Vec<Id>),
    One(Vec<Id>),
    Not(Id),
    If {
        condition: Id,
        then: Option<Id>,
        otherwise: Option<Id>,
    },
    /// What holds besides if that key is there.
    When(BTreeMap<String, Id>),
}

/// What is said of an object's members.
#[derive(Clone, Debug)]
struct Members {
    named: BTreeMap<String, Id>,
    /// The names without regard to case.
    folded: BTreeSet<String>,
    patterns: Vec<(Pattern, Id)>,
    rest: Rest,
}

/// What is said of the members that are not said anything of by name.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// Nothing. To JSON Schema they are right, to policy nobody has looked at them.
    Undeclared,
    /// There are none.
    None,
    Of(Id),
}

impl Kind {
    /// Of a schema's `type`.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "string" => Self::String,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// Of a value; `None` of a number that is not counted with.
    fn of(value: &Exact) -> Option<Self> {
        Some(match value {
            Exact::Null => Self::Null,
            Exact::Bool(_) => Self::Boolean,
            Exact::Number(text) => Self::of_number(&Decimal::read(text)?),
            Exact::Str(_) => Self::String,
            Exact::Array(_) => Self::Array,
            Exact::Object(_) => Self::Object,
        })
    }

    fn of_number(number: &Decimal) -> Self {
        if number.is_integer() { Self::Integer } else { Self::Number }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl Counted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::Elements => "elements",
            Self::Members => "members",
        }
    }
}

/// The most bytes of anything that others wrote and that is said again.
const SAID: usize = 160;

/// The beginning of a text, without what could steer a terminal.
fn shortened(text: &str) -> String {
    let mut said = String::new();
    for c in text.chars() {
        if said.len() >= SAID {
            said.push('…');
            break;
        }
        if c.is_control() { said.extend(c.escape_debug()) } else { said.push(c) }
    }
    said
}

/// A key as a token of a JSON Pointer.
fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// What it takes to look at one value by one schema, in units of work.
const STEP: u64 = 8;

/// Work that may still be done, in units of some ten nanoseconds.
#[derive(Debug)]
struct Meter {
    left: u64,
}

/// Why no answer was come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It takes too much work.
    Work,
    /// A schema refers to itself without an end, or goes in too deep.
    Depth,
    /// A number beyond those that are counted with.
    Number,
    /// A number that is right as it is written and wrong as a double, or the other way round.
    Double,
    /// A key that is another spelling of one that the schema names.
    Spelling,
    /// A node that is not there.
    Broken,
}

impl Stop {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Work => "holding the arguments against the tool's schema takes more work than a call may",
            Self::Depth => "the tool's schema goes in too deep, or refers to itself without an end",
            Self::Number => "a number has an exponent beyond all that are counted with",
            Self::Double => "must be a number that programs do not read as another one",
            Self::Spelling => "the tool's schema declares it in another spelling, and no such argument",
            Self::Broken => "the tool's schema is not whole",
        }
    }
}

impl Meter {
    fn spend(&mut self, work: u64) -> Result<(), Stop> {
        self.left = self.left.checked_sub(work).ok_or(Stop::Work)?;
        Ok(())
    }

    /// For a key that is looked for among others.
    fn look_for(&mut self, key: &str) -> Result<(), Stop> {
        self.spend(STEP.saturating_add(bytes(key)))
    }

    /// A number in both readings.
    fn number(&mut self, text: &str) -> Result<Number, Stop> {
        self.spend(bytes(text))?;
        let written = Decimal::read(text).ok_or(Stop::Number)?;
        self.spend(written.work_of_double())?;
        Number::read(text, written).ok_or(Stop::Number)
    }

    /// A value in one form for each reading of its numbers, so that equal values are equal texts: `1` and `1.0` are, `1` and `"1"` are
    /// not.
    fn forms(&mut self, value: &Exact) -> Result<[String; 2], Stop> {
        let mut forms = [String::new(), String::new()];
        let [written, double] = &mut forms;
        self.form(value, written, |number| number.written.to_text())?;
        self.form(value, double, |number| number.double.to_text())?;
        Ok(forms)
    }

    fn form(&mut self, value: &Exact, out: &mut String, reading: fn(&Number) -> String) -> Result<(), Stop> {
        self.spend(8)?;
        match value {
            Exact::Null => out.push_str("null"),
            Exact::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Exact::Number(text) => out.push_str(&reading(&self.number(text)?)),
            Exact::Str(text) => self.text(text, out)?,
            Exact::Array(items) => {
                out.push('[');
                for item in items {
                    self.form(item, out, reading)?;
                    out.push(',');
                }
                out.push(']');
            }
            Exact::Object(members) => {
                out.push('{');
                for (key, value) in members {
                    self.text(key, out)?;
                    out.push(':');
                    self.form(value, out, reading)?;
                    out.push(',');
                }
                out.push('}');
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &str, out: &mut String) -> Result<(), Stop> {
        self.spend(bytes(text))?;
        out.push_str(&serde_json::Value::from(text).to_string());
        Ok(())
    }
}

fn bytes(text: &str) -> u64 {
    u64::try_from(text.len()).map_or(u64::MAX, |length| length)
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;

#[cfg(test)]
mod suite_tests;
