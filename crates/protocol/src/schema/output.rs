//! What a tool's definition says of its results: the JSON Schema `outputSchema`, and a smallest value that is right by it. Such a value
//! means nothing; it has the form of what the tool would give.
//!
//! The value is tried, not derived: whatever is made is held against the compiled schema, part by part and as a whole, so that a
//! keyword that the making passes over costs a value and never a wrong one. The work is counted, and ends.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use super::check::WORK;
use super::compile::{Known, Object};
use super::{Id, Kind, ToolSchema, Unusable, bytes};
use crate::definition::{Exact, ToolDefinition};
use crate::json::unescape;

/// How deep schemas may lie in one another while a value is made.
const DEPTH: usize = 32;
/// Values that are tried, at most.
const TRIED: u64 = 4_000;
/// Bytes of all that is made, at most.
const SIZE: u64 = 256 * 1024;
/// Branches of a choice that are tried, at most; so with examples and values of an enumeration.
const CHOICES: usize = 16;
/// Schemas that hold of one value at once, at most.
const PARTS: usize = 64;
/// Elements, members or characters that are made because a schema asks for so many, at most.
const MOST: u64 = 1_024;
/// Strings by the format that they are to have. Clients hold results against formats too.
const FORMATS: [(&str, &str); 13] = [
    ("date", "1970-01-01"),
    ("date-time", "1970-01-01T00:00:00Z"),
    ("duration", "PT0S"),
    ("email", "a@example.com"),
    ("hostname", "example.com"),
    ("idn-email", "a@example.com"),
    ("ipv4", "192.0.2.1"),
    ("ipv6", "2001:db8::1"),
    ("iri", "https://example.com/"),
    ("time", "00:00:00Z"),
    ("uri", "https://example.com/"),
    ("uri-reference", "https://example.com/"),
    ("uuid", "00000000-0000-4000-8000-000000000000"),
];

/// The schema of a tool's results.
#[derive(Clone, Debug)]
pub struct OutputSchema {
    written: Arc<Exact>,
    compiled: ToolSchema,
    known: Known,
}

impl OutputSchema {
    /// That of a definition; `None` if it declares none.
    ///
    /// # Errors
    /// [`Unusable`], if not all of it is understood.
    #[must_use]
    pub fn of(tool: &ToolDefinition) -> Option<Result<Self, Unusable>> {
        let written = Arc::new(tool.members().get("outputSchema")?.clone());
        let compiled = ToolSchema::of_written(("outputSchema", &written), usize::MAX);
        Some(compiled.map(|(compiled, known)| Self { written, compiled, known }))
    }

    /// Whether this is a result that the tool may give, as JSON Schema has it: an object that is right. What cannot be told is not.
    #[must_use]
    pub fn holds(&self, result: &Exact) -> bool {
        result.as_object().is_some() && self.compiled.is_right_at(0, result, &mut { WORK }) == Some(true)
    }

    /// A smallest result that the tool may give; `None` if none was found. Takes a bounded time, whatever the schema is.
    #[must_use]
    pub fn smallest(&self) -> Option<Exact> {
        let mut maker = Maker { schema: self, depth: 0, tried: TRIED, size: SIZE, work: WORK };
        maker.value(&[&self.written]).filter(|made| self.holds(made))
    }
}

/// What is said of one value, in one place each: by a schema, by what it refers to, by all that it is composed of and by one branch of
/// each choice.
struct Parts<'a> {
    said: Vec<&'a Object>,
    /// Whether another branch is another value.
    chooses: usize,
}

struct Maker<'a> {
    schema: &'a OutputSchema,
    depth: usize,
    tried: u64,
    size: u64,
    work: u64,
}

impl<'a> Maker<'a> {
    /// A value by which all of these schemas hold.
    fn value(&mut self, schemas: &[&'a Exact]) -> Option<Exact> {
        if self.depth >= DEPTH {
            return None;
        }
        self.tried = self.tried.checked_sub(1)?;
        self.depth = self.depth.saturating_add(1);
        let made = self.chosen(schemas);
        self.depth = self.depth.saturating_sub(1);
        made
    }

    fn chosen(&mut self, schemas: &[&'a Exact]) -> Option<Exact> {
        let mut choice = 0;
        loop {
            let parts = self.parts(schemas, choice)?;
            if let Some(made) = self.by_parts(&parts, schemas) {
                return Some(made);
            }
            choice = choice.saturating_add(1);
            if choice >= parts.chooses.min(CHOICES) {
                return None;
            }
        }
    }

    /// What is said of a value by these schemas, with the branch of this number where there is a choice; `None` if one lets nothing be,
    /// or there is too much of it.
    fn parts(&self, schemas: &[&'a Exact], choice: usize) -> Option<Parts<'a>> {
        let mut parts = Parts { said: Vec::new(), chooses: 1 };
        let mut waiting: Vec<&'a Exact> = schemas.to_vec();
        let mut met = BTreeSet::new();
        while let Some(schema) = waiting.pop() {
            let members = match schema {
                Exact::Bool(true) => continue,
                Exact::Object(members) => members,
                Exact::Bool(false) | Exact::Null | Exact::Number(_) | Exact::Str(_) | Exact::Array(_) => {
                    return None;
                }
            };
            if !met.insert(std::ptr::from_ref(schema).addr()) {
                continue;
            }
            parts.said.push(members);
            if parts.said.len() > PARTS {
                return None;
            }
            if let Some(pointer) = members.get("$ref").and_then(Exact::as_str) {
                waiting.push(self.referred(pointer)?);
            }
            if let Some(Exact::Array(all)) = members.get("allOf") {
                waiting.extend(all);
            }
            for choices in ["anyOf", "oneOf"] {
                if let Some(Exact::Array(branches)) = members.get(choices) {
                    parts.chooses = parts.chooses.max(branches.len());
                    waiting.push(branches.get(choice.checked_rem(branches.len())?)?);
                }
            }
        }
        Some(parts)
    }

    fn referred(&self, pointer: &str) -> Option<&'a Exact> {
        let (schema, fragment) = (self.schema, pointer.strip_prefix('#')?);
        let root: &'a Exact = &schema.written;
        if fragment.is_empty() { Some(root) } else { below(root, fragment, &mut Vec::new()) }
    }

    /// The first of what may be tried that is right.
    fn by_parts(&mut self, parts: &Parts<'a>, schemas: &[&'a Exact]) -> Option<Exact> {
        for said in &parts.said {
            let given = ["const", "default"].into_iter().filter_map(|keyword| said.get(keyword));
            let listed = ["enum", "examples"].into_iter().filter_map(|keyword| said.get(keyword));
            let listed = listed.filter_map(array).flat_map(|values| values.iter().take(CHOICES));
            let known: Vec<&Exact> = given.chain(listed).collect();
            for value in known {
                if self.is_right(value, schemas) {
                    return self.counted(value.clone());
                }
            }
        }
        for kind in kinds(&parts.said) {
            let made = match kind {
                Kind::Null => vec![Exact::Null],
                Kind::Boolean => vec![Exact::Bool(false), Exact::Bool(true)],
                Kind::Integer | Kind::Number => numbers(&parts.said),
                Kind::String => strings(&parts.said),
                Kind::Array => self.array(&parts.said).into_iter().collect(),
                Kind::Object => self.object(&parts.said).into_iter().collect(),
            };
            for value in made {
                if self.is_right(&value, schemas) {
                    return self.counted(value);
                }
            }
        }
        None
    }

    fn is_right(&mut self, value: &Exact, schemas: &[&'a Exact]) -> bool {
        let Some(tried) = self.tried.checked_sub(1) else { return false };
        self.tried = tried;
        let (schema, work) = (self.schema, &mut self.work);
        schemas.iter().all(|of| {
            let id: Option<Id> = schema.known.get(&std::ptr::from_ref(*of).addr()).copied();
            id.is_some_and(|id| schema.compiled.is_right_at(id, value, work) == Some(true))
        })
    }

    /// What a value takes of all that may be made: it is part of whatever it lies in.
    fn counted(&mut self, value: Exact) -> Option<Exact> {
        self.size = self.size.checked_sub(bytes(&value.to_canonical()).saturating_add(8))?;
        Some(value)
    }

    fn array(&mut self, said: &[&'a Object]) -> Option<Exact> {
        let least =
            most_of(said, "minItems").max(u64::from(said.iter().any(|it| it.contains_key("contains"))));
        let mut items = Vec::new();
        for index in 0..usize::try_from(least.min(MOST)).map_or(0, |least| least) {
            let schemas: Vec<&'a Exact> = said
                .iter()
                .filter_map(|said| element(said, index))
                .chain(said.iter().filter_map(|said| said.get("contains").filter(|_| index == 0)))
                .collect();
            items.push(self.value(&schemas)?);
        }
        Some(Exact::Array(items))
    }

    fn object(&mut self, said: &[&'a Object]) -> Option<Exact> {
        let required = said.iter().filter_map(|said| array(said.get("required")?)).flatten();
        let mut wanted: BTreeSet<String> = required.filter_map(Exact::as_str).map(str::to_owned).collect();
        let least = usize::try_from(most_of(said, "minProperties").min(MOST)).map_or(0, |least| least);
        // What is declared first; then names that nothing declares.
        let declared = said.iter().filter_map(|said| said.get("properties")?.as_object());
        let declared = declared.flat_map(Object::keys).cloned();
        let others = (1..=MOST).map(|number| format!("member{number}"));
        for name in declared.chain(others) {
            if wanted.len() >= least {
                break;
            }
            wanted.insert(name);
        }
        let mut members = Object::new();
        for name in wanted {
            let schemas: Vec<&'a Exact> = said.iter().filter_map(|said| member(said, &name)).collect();
            let made = self.value(&schemas)?;
            members.insert(name, made);
        }
        Some(Exact::Object(members))
    }
}

const fn array(value: &Exact) -> Option<&Vec<Exact>> {
    if let Exact::Array(items) = value { Some(items) } else { None }
}

fn read<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok() // tidy: allow None is no such number
}

/// The schema of an element.
fn element(said: &Object, index: usize) -> Option<&Exact> {
    let items = said.get("items");
    let first = match (said.get("prefixItems"), items) {
        (Some(Exact::Array(first)), _) | (None, Some(Exact::Array(first))) => first.get(index),
        (Some(_) | None, _) => None,
    };
    let rest = match items {
        Some(Exact::Array(_)) => said.get("additionalItems"),
        Some(_) | None => items,
    };
    first.or(rest)
}

/// The schema of a member. What a pattern says of it is left to the check.
fn member<'a>(said: &'a Object, name: &str) -> Option<&'a Exact> {
    let declared = said.get("properties").and_then(|properties| properties.as_object()?.get(name));
    declared.or_else(|| said.get("additionalProperties"))
}

/// The types that a value may have, the one that is named first before the others. Where nobody names any, those of which something
/// is said, and then whichever.
fn kinds(said: &[&Object]) -> Vec<Kind> {
    let named = |said: &Object| -> Option<Vec<Kind>> {
        match said.get("type")? {
            Exact::Str(name) => Some(Kind::named(name).into_iter().collect()),
            Exact::Array(names) => {
                Some(names.iter().filter_map(|name| Kind::named(name.as_str()?)).collect())
            }
            Exact::Null | Exact::Bool(_) | Exact::Number(_) | Exact::Object(_) => Some(Vec::new()),
        }
    };
    let mut all = said.iter().filter_map(|said| named(said));
    if let Some(first) = all.next() {
        let others: Vec<Vec<Kind>> = all.collect();
        let also = |kind: &Kind, other: &Vec<Kind>| {
            other.contains(kind) || (*kind == Kind::Integer && other.contains(&Kind::Number))
        };
        let narrowed = |kind: Kind| {
            let integer = kind == Kind::Number && others.iter().any(|other| other.contains(&Kind::Integer));
            if integer { Kind::Integer } else { kind }
        };
        let kept = first.into_iter().map(narrowed);
        return kept.filter(|kind| others.iter().all(|other| also(kind, other))).collect();
    }
    let says = |keywords: &[&str]| said.iter().any(|said| keywords.iter().any(|it| said.contains_key(*it)));
    let hinted = [
        (Kind::Object, says(&["properties", "required", "additionalProperties", "minProperties"])),
        (Kind::Array, says(&["items", "prefixItems", "minItems", "contains"])),
        (Kind::String, says(&["minLength", "maxLength", "pattern", "format"])),
        (Kind::Number, says(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])),
    ];
    let hinted = hinted.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind);
    hinted
        .chain([Kind::Null, Kind::Boolean, Kind::Integer, Kind::String, Kind::Array, Kind::Object])
        .collect()
}

/// The largest number that a keyword has.
fn most_of(said: &[&Object], keyword: &str) -> u64 {
    let numbers = said.iter().filter_map(|said| match said.get(keyword) {
        Some(Exact::Number(text)) => read::<u64>(text),
        Some(_) | None => None,
    });
    numbers.max().map_or(0, |most| most)
}

fn strings(said: &[&Object]) -> Vec<Exact> {
    let formats = said.iter().filter_map(|said| said.get("format")?.as_str());
    let formatted = formats.filter_map(|named| FORMATS.iter().find(|(format, _)| *format == named));
    let formatted = formatted.map(|(_, sample)| (*sample).to_owned());
    let least = usize::try_from(most_of(said, "minLength").min(MOST)).map_or(0, |least| least);
    formatted.chain([" ", "a", "0", "A"].map(|sign| sign.repeat(least))).map(Exact::Str).collect()
}

/// Numbers around the bounds that are said, the plainest first.
fn numbers(said: &[&Object]) -> Vec<Exact> {
    let bounds = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
    let texts = |keywords: &[&'static str]| -> Vec<&str> {
        let all = said.iter().flat_map(|said| keywords.iter().filter_map(|keyword| said.get(*keyword)));
        all.filter_map(|value| if let Exact::Number(text) = value { Some(text.as_str()) } else { None })
            .collect()
    };
    let (bounds, steps) = (texts(&bounds), texts(&["multipleOf"]));
    let mut tried = vec!["0".to_owned(), "1".to_owned()];
    tried.extend(bounds.iter().map(|text| (*text).to_owned()));
    for bound in &bounds {
        // Of one with a fraction, what is around its whole part.
        let part = bound.split('.').next().and_then(read::<i64>);
        let around = part.into_iter().flat_map(|part| [-1, 1, 2].map(|step| part.checked_add(step)));
        tried.extend(around.flatten().map(|number| number.to_string()));
        tried.extend(part.map(|part| format!("{part}.5")));
        for step in steps.iter().filter_map(|step| read::<i64>(step)).filter(|step| *step > 0) {
            let over = part.and_then(|part| part.checked_rem_euclid(step).map(|over| (part, over)));
            let near = over.and_then(|(part, over)| part.checked_sub(over));
            let near = near.into_iter().flat_map(|near| [Some(near), near.checked_add(step)]);
            tried.extend(near.flatten().map(|number| number.to_string()));
        }
    }
    tried.extend(steps.iter().map(|text| (*text).to_owned()));
    tried.push("0.5".to_owned());
    tried.into_iter().map(Exact::Number).collect()
}

/// What a JSON Pointer names, and the objects on the way to it; percent-encoded ones name nothing here.
pub(super) fn below<'a>(root: &'a Exact, pointer: &str, way: &mut Vec<&'a Object>) -> Option<&'a Exact> {
    if pointer.contains('%') {
        return None;
    }
    pointer.strip_prefix('/')?.split('/').try_fold(root, |value, token| match value {
        Exact::Object(members) => {
            way.push(members);
            members.get(&unescape(token))
        }
        // An index has one form: neither `+1` nor `01`.
        Exact::Array(items) => match token.parse::<usize>() {
            Ok(index) if index.to_string() == token => items.get(index),
            Ok(_) | Err(_) => None,
        },
        Exact::Null | Exact::Bool(_) | Exact::Number(_) | Exact::Str(_) => None,
    })
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
