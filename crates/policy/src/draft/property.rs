//! What of an input's description policy can read: a property of a JSON Schema as an argument, or why it is none.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{ContextKind, Loose, Value, fold};

use super::{Argument, names, text};
use crate::{labels, principals};

/// Where an argument is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A tool's arguments.
    Tool,
    /// The caller of the API says it.
    Caller,
}

/// The most arguments of one surface.
const MAX_ARGUMENTS: usize = 64;

const BY_NAME: &str = "a proposal, by its name; any path but an absolute one in its one spelling is refused";
const BY_FORMAT: &str = "a proposal, by its format; any URL but one in its normal form is refused";
const BY_PATTERN: &str = "a proposal, by its pattern; any number of places but this is refused";
/// Keys that are the arbiter's to give, what stands in for each, and why.
const RENAMED: [(&str, &str, &str); 2] = [
    (labels::CONTEXT_KEY, "labels_argument", "`labels` itself is the arbiter's"),
    (principals::CONTEXT_KEY, "acts_for_argument", "`acts_for` itself is the arbiter's"),
];

/// The arguments of an object's description, and the others with the reason.
pub(super) fn arguments(
    schema: Option<&Loose>,
    source: Source,
) -> (Vec<Argument>, Vec<(String, &'static str)>) {
    let Some(Loose::Object(properties)) = schema.and_then(|schema| schema.pointer("/properties")) else {
        return (Vec::new(), Vec::new());
    };
    let required = required(schema);
    let twins = names::lookalikes(properties.keys().map(String::as_str));
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (key, property) in properties {
        let told = match kind(key, property) {
            _ if !is_key(key) => Err("its name is not 1 to 64 plain characters"),
            _ if twins.contains(&fold(key)) => Err("another is called the same but for case"),
            _ if taken.len() >= MAX_ARGUMENTS => Err("there are more than 64"),
            told => told,
        };
        match told {
            Ok((kind, note)) => {
                taken.push(argument(key, kind, note, required.contains(key.as_str()), source))
            }
            Err(why) => left.push((text::quoted(key), why)),
        }
    }
    // The key that stands in for another may be there already.
    let own: BTreeSet<&String> = properties.keys().collect();
    taken.retain(|argument| {
        let renamed = RENAMED.iter().find(|(_, _, why)| argument.note == Some(*why));
        let clashes = renamed.filter(|_| own.contains(&argument.key));
        if let Some((key, _, _)) = clashes {
            left.push((text::quoted(key), "policy reads what the arbiter gives under this name"));
        }
        clashes.is_none()
    });
    left.truncate(MAX_ARGUMENTS);
    (taken, left)
}

fn argument(
    key: &str,
    kind: ContextKind,
    note: Option<&'static str>,
    required: bool,
    source: Source,
) -> Argument {
    let from = match source {
        Source::Tool => Some(format!("/{}", text::token(key))),
        Source::Caller => None,
    };
    let (key, note) = match RENAMED.iter().find(|(given, _, _)| *given == key) {
        Some((_, instead, why)) => (*instead, Some(*why)),
        None => (key, note),
    };
    Argument { key: key.to_owned(), kind, from, optional: !required, note }
}

/// A key that is written the same in JSON, TOML and Cedar, and means nothing else to any of them.
pub(super) fn is_key(key: &str) -> bool {
    (1..=64).contains(&key.len())
        && !key.starts_with("__")
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.$".contains(&byte))
}

fn required(schema: Option<&Loose>) -> BTreeSet<&str> {
    let Some(Loose::Array(items)) = schema.and_then(|schema| schema.pointer("/required")) else {
        return BTreeSet::new();
    };
    items.iter().filter_map(Loose::as_str).collect()
}

type Told = Result<(ContextKind, Option<&'static str>), &'static str>;

/// The type of a property, as far as it has one that policy can read.
fn kind(key: &str, property: &Loose) -> Told {
    let Loose::Object(members) = property else { return Err("it is not described") };
    let choice = ["anyOf", "oneOf", "allOf", "not", "if", "$ref", "$dynamicRef"];
    if choice.iter().any(|word| members.contains_key(*word)) {
        return Err("its description is a choice, or refers to another");
    }
    match members.get("type") {
        Some(Loose::Str(kind)) => by_type(kind, key, members),
        Some(Loose::Array(_)) => Err("it may have more than one type, or be null"),
        Some(_) => Err("its type is not understood"),
        None => match members.get("enum") {
            Some(Loose::Array(items))
                if !items.is_empty() && items.iter().all(|item| item.as_str().is_some()) =>
            {
                Ok((ContextKind::String, None))
            }
            Some(_) | None => Err("it has no type"),
        },
    }
}

fn by_type(kind: &str, key: &str, members: &BTreeMap<String, Loose>) -> Told {
    match kind {
        "string" => Ok(text_kind(key, members)),
        "integer" => Ok((ContextKind::Integer, None)),
        "boolean" => Ok((ContextKind::Boolean, None)),
        "number" => {
            Err("a number that may have a fraction; policy reads integers, and decimals that are strings")
        }
        "object" => Err("an object; policy reads single values and arrays of strings"),
        "array" => {
            match members.get("items").and_then(|items| items.pointer("/type")).and_then(Loose::as_str) {
                Some("string") => Ok((ContextKind::Strings, None)),
                Some(_) | None => Err("an array of other things than strings"),
            }
        }
        _ => Err("its type is not understood"),
    }
}

/// What kind of text: its format is said by whoever describes it, its name is a guess. Both only ever narrow.
fn text_kind(key: &str, members: &BTreeMap<String, Loose>) -> (ContextKind, Option<&'static str>) {
    let said = |word| members.get(word).and_then(Loose::as_str);
    if matches!(said("format"), Some("uri" | "url")) {
        return (ContextKind::Url, Some(BY_FORMAT));
    }
    if let Some(scale) = said("pattern").and_then(places) {
        return (ContextKind::Decimal { scale }, Some(BY_PATTERN));
    }
    let word = key.to_ascii_lowercase();
    let is_path = ["path", "file", "filepath", "filename", "directory", "dir", "folder"];
    let ends = is_path
        .iter()
        .any(|end| word == *end || word.ends_with(&format!("_{end}")) || word.ends_with(&format!("-{end}")));
    if (ends || key.ends_with("Path")) && !members.contains_key("enum") && said("format").is_none() {
        return (ContextKind::Path, Some(BY_NAME));
    }
    (ContextKind::String, None)
}

/// The places of a decimal whose pattern says how many: `^\d+\.\d{2}$`, with or without a sign.
fn places(pattern: &str) -> Option<u8> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    let inner = inner.strip_prefix("-?").map_or(inner, |rest| rest);
    let digits = inner.strip_prefix("\\d+\\.\\d{").or_else(|| inner.strip_prefix("[0-9]+\\.[0-9]{"))?;
    (1..=4).find(|scale| digits == format!("{scale}}}"))
}

/// A value of this type, for a case.
pub(super) fn sample(kind: ContextKind) -> Value {
    let text = |text: &str| Value::Str(text.to_owned());
    match kind {
        ContextKind::String => text("example"),
        ContextKind::Integer => Value::Int(1),
        ContextKind::Boolean => Value::Bool(true),
        ContextKind::Decimal { scale } => text(&format!("1.{}", "0".repeat(usize::from(scale)))),
        ContextKind::Path => text("/example"),
        ContextKind::Url => text("https://example.com/"),
        ContextKind::Strings => Value::Array(vec![text("example")]),
    }
}
