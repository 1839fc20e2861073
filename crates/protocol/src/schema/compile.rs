//! Reads a schema. Every keyword that says what is right is understood or refused; those that only describe are passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::output::below;
use super::{
    Counted, Decimal, Kind, Members, Meter, Node, Number, Pattern, Rest, Rule, Stop, ToolSchema, shortened,
    token,
};
use crate::definition::{Exact, ToolDefinition};
use crate::spelling::fold;

/// The most schemas within one.
const MAX_NODES: usize = 4_096;
/// The most values of an enumeration that are told.
const TOLD: usize = 8;
/// The most patterns.
const MAX_PATTERNS: usize = 128;
/// How large they may be together, in bytes, once they are compiled.
const PATTERNS_SIZE: usize = 1024 * 1024;
/// The dialects that are understood, without `http` or `https` and an empty fragment.
const DIALECTS: [(&str, Dialect); 4] = [
    ("://json-schema.org/draft/2020-12/schema", Dialect::Of2020),
    ("://json-schema.org/draft/2019-09/schema", Dialect::Of2019),
    ("://json-schema.org/draft-07/schema", Dialect::Of7),
    ("://json-schema.org/draft-06/schema", Dialect::Of6),
];
/// Keywords, with the first dialect in which they say what is right. To those before it they say nothing.
const SINCE: [(&str, Dialect); 6] = [
    ("if", Dialect::Of7),
    ("dependentRequired", Dialect::Of2019),
    ("dependentSchemas", Dialect::Of2019),
    ("minContains", Dialect::Of2019),
    ("maxContains", Dialect::Of2019),
    ("prefixItems", Dialect::Of2020),
];
/// Keywords by which one and the same schema lets other values be in draft 7, with what must lie beside them for that.
const READ_OTHERWISE: [(&str, &str); 3] =
    [("minContains", "contains"), ("maxContains", "contains"), ("prefixItems", "items")];
/// What says what is right, and is not understood here.
const UNKNOWN: [&str; 7] = [
    "$dynamicRef",
    "$recursiveRef",
    "$vocabulary",
    "dependencies",
    "unevaluatedItems",
    "unevaluatedProperties",
    "disallow",
];

pub(super) type Object = BTreeMap<String, Exact>;

/// The node of each schema within a schema, by the address of what is written.
pub(super) type Known = BTreeMap<usize, usize>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dialect {
    Of6,
    Of7,
    Of2019,
    /// MCP's, of schemas that do not say.
    Of2020,
}

impl Dialect {
    fn of(schema: &Object) -> Option<Self> {
        let Some(named) = schema.get("$schema") else { return Some(Self::Of2020) };
        let named = named.as_str()?.strip_prefix("http")?;
        let named = named.strip_prefix('s').map_or(named, |named| named);
        let named = named.strip_suffix('#').map_or(named, |named| named);
        DIALECTS.into_iter().find(|(name, _)| *name == named).map(|(_, dialect)| dialect)
    }
}

/// Why arguments cannot be held against a schema. No call of such a tool runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("arguments cannot be held against its `inputSchema`: at `{at}`, {why}")]
pub struct Unusable {
    /// Where, as a JSON Pointer into the schema, shortened.
    pub at: String,
    /// Why.
    pub why: Why,
}

/// What is not understood of a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A keyword that says what is right.
    #[error("`{0}` is not understood")]
    Keyword(&'static str),
    /// A keyword whose value is none that it can have.
    #[error("`{0}` has a value that means nothing")]
    Value(String),
    /// Nothing is fetched.
    #[error("it refers to something outside itself, and nothing is fetched")]
    Remote,
    /// What is referred to is not there, or not by a JSON Pointer.
    #[error("what it refers to is not there")]
    Absent,
    /// A pattern that means something else to other engines, or is too large.
    #[error("the pattern `{0}` is not understood, or too large beside the others")]
    Pattern(String),
    /// Another dialect, or another one than that of the whole.
    #[error("its dialect is not understood")]
    Dialect,
    /// A keyword that other dialects read otherwise, in a schema that does not say of which it is. Revisions of MCP before 2025-11-25 do
    /// not say it either, and the validators of their servers go by draft 7.
    #[error("`{0}` means something else to other dialects, and `$schema` does not say which this is")]
    Unsaid(&'static str),
    /// In dialects that pass over what lies beside a reference.
    #[error("its dialect passes over what lies beside `$ref`")]
    Beside,
    /// Too much of it.
    #[error("it has more than {MAX_NODES} schemas or {MAX_PATTERNS} patterns")]
    TooLarge,
}

impl ToolSchema {
    /// The schema of a tool's arguments. A definition that has none declares no arguments.
    ///
    /// # Errors
    /// [`Unusable`], if not all of it is understood.
    pub fn of(tool: &ToolDefinition) -> Result<Self, Unusable> {
        Self::of_within(tool, usize::MAX)
    }

    /// The same, with patterns of no more than so many bytes together, once they are compiled.
    ///
    /// # Errors
    /// [`Unusable`], if not all of it is understood, or its patterns are larger.
    pub fn of_within(tool: &ToolDefinition, room: usize) -> Result<Self, Unusable> {
        let nothing = Exact::Object(Object::new());
        let written = tool.members().get("inputSchema").map_or(&nothing, |written| written);
        Self::of_written(("inputSchema", written), room).map(|(schema, _)| schema)
    }

    /// The schema that is written so under this name, and which of its nodes is what lies where in it.
    pub(super) fn of_written(
        (name, written): (&str, &Exact),
        room: usize,
    ) -> Result<(Self, Known), Unusable> {
        let root = written.as_object().ok_or_else(|| at("", Why::Value(name.to_owned())))?;
        let dialect = Dialect::of(root).ok_or_else(|| at("", Why::Dialect))?;
        let (nodes, known, waiting) = (Vec::new(), BTreeMap::new(), Vec::new());
        let (patterns, size, room) = (0, 0, room.min(PATTERNS_SIZE));
        let mut compiler = Compiler { root: written, dialect, nodes, known, waiting, patterns, size, room };
        compiler.enter("", written)?;
        while let Some((id, schema, place)) = compiler.waiting.pop() {
            let rules = compiler.rules(schema, &place)?;
            if let Some(node) = compiler.nodes.get_mut(id) {
                node.rules = rules;
            }
        }
        Ok((Self { nodes: compiler.nodes, size: compiler.size }, compiler.known))
    }

    /// The bytes that its patterns take, at the most.
    #[must_use]
    pub const fn patterns_size(&self) -> usize {
        self.size
    }
}

fn is_said(members: &Object, (keyword, beside): (&str, &str)) -> bool {
    members.contains_key(keyword) && members.contains_key(beside)
}

fn at(place: &str, why: Why) -> Unusable {
    Unusable { at: place.to_owned(), why }
}

struct Compiler<'a> {
    root: &'a Exact,
    dialect: Dialect,
    nodes: Vec<Node>,
    /// What has a node already, by where it lies: a schema that refers to itself is one.
    known: Known,
    waiting: Vec<(usize, &'a Exact, String)>,
    patterns: usize,
    /// What they take together, and what they may.
    size: usize,
    room: usize,
}

impl<'a> Compiler<'a> {
    /// The node of a schema at this place, to be compiled.
    fn enter(&mut self, place: &str, schema: &'a Exact) -> Result<usize, Unusable> {
        let address = std::ptr::from_ref(schema).addr();
        if let Some(id) = self.known.get(&address) {
            return Ok(*id);
        }
        let id = self.nodes.len();
        if id >= MAX_NODES {
            return Err(at(place, Why::TooLarge));
        }
        self.known.insert(address, id);
        self.nodes.push(Node::default());
        self.waiting.push((id, schema, shortened(place)));
        Ok(id)
    }

    fn rules(&mut self, schema: &'a Exact, place: &str) -> Result<Vec<Rule>, Unusable> {
        let members = match schema {
            Exact::Bool(true) => return Ok(Vec::new()),
            Exact::Bool(false) => return Ok(vec![Rule::Never]),
            Exact::Object(members) => members,
            Exact::Null | Exact::Number(_) | Exact::Str(_) | Exact::Array(_) => {
                return Err(at(place, Why::Value("schema".to_owned())));
            }
        };
        self.refuse(members, place)?;
        let mut rules = Vec::new();
        for (keyword, value) in members {
            let place = format!("{place}/{}", token(keyword));
            let bad = |_: Misread| at(&place, Why::Value(shortened(keyword)));
            if let Some(rule) = simple(keyword, value).map_err(bad)? {
                rules.push(rule);
            } else if let Some(rule) = self.applied(keyword, value, &place)? {
                rules.push(rule);
            }
        }
        rules.extend(self.elements(members, place)?);
        rules.extend(self.contains(members, place)?);
        rules.extend(self.members(members, place)?);
        rules.extend(self.condition(members, place)?);
        if self.dialect < Dialect::Of2019 && members.contains_key("$ref") && rules.len() > 1 {
            return Err(at(place, Why::Beside));
        }
        Ok(rules)
    }

    /// Refuses what would be misread if it were passed over.
    fn refuse(&self, members: &Object, place: &str) -> Result<(), Unusable> {
        if let Some(unknown) = UNKNOWN.into_iter().find(|keyword| members.contains_key(*keyword)) {
            return Err(at(place, Why::Keyword(unknown)));
        }
        let newer = |(_, since): &(&str, Dialect)| *since > self.dialect;
        let unknown = SINCE.into_iter().filter(newer).find(|(keyword, _)| members.contains_key(*keyword));
        if let Some((unknown, _)) = unknown {
            return Err(at(place, Why::Keyword(unknown)));
        }
        let unsaid = self.root.as_object().is_none_or(|root| !root.contains_key("$schema"));
        if unsaid && let Some(keyword) = READ_OTHERWISE.into_iter().find(|it| is_said(members, *it)) {
            return Err(at(place, Why::Unsaid(keyword.0)));
        }
        if members.contains_key("$schema") && Dialect::of(members) != Some(self.dialect) {
            return Err(at(place, Why::Dialect));
        }
        // It would have references within it mean something else.
        let is_root = self.root.as_object().is_some_and(|root| std::ptr::eq(root, members));
        if !is_root && members.contains_key("$id") {
            return Err(at(place, Why::Keyword("$id")));
        }
        Ok(())
    }

    /// The rules that other schemas are part of, each by one keyword.
    fn applied(&mut self, keyword: &str, value: &'a Exact, place: &str) -> Result<Option<Rule>, Unusable> {
        Ok(Some(match keyword {
            "$ref" => Rule::All(vec![self.reference(value, place)?]),
            "allOf" => Rule::All(self.several(value, place)?),
            "anyOf" => Rule::Any(self.several(value, place)?),
            "oneOf" => Rule::One(self.several(value, place)?),
            "not" => Rule::Not(self.enter(place, value)?),
            "propertyNames" => Rule::Names(self.enter(place, value)?),
            "dependentSchemas" => Rule::When(self.by_name(value, place)?),
            "pattern" => Rule::Pattern(self.pattern(value, place)?),
            _ => return Ok(None),
        }))
    }

    fn reference(&mut self, value: &Exact, place: &str) -> Result<usize, Unusable> {
        let text = value.as_str().ok_or_else(|| at(place, Why::Absent))?;
        let fragment = text.strip_prefix('#').ok_or_else(|| at(place, Why::Remote))?;
        if fragment.is_empty() {
            return self.enter(place, self.root);
        }
        let mut way = Vec::new();
        let found = below(self.root, fragment, &mut way).ok_or_else(|| at(place, Why::Absent))?;
        // The root is what the reference is read by in any case.
        for members in way.into_iter().skip(1) {
            self.refuse_base(members, place)?;
        }
        self.enter(place, found)
    }

    /// Refuses what has references within it, or the way to it, mean something else.
    fn refuse_base(&self, members: &Object, place: &str) -> Result<(), Unusable> {
        let says = |keyword: &str| members.get(keyword).is_some_and(|value| value.as_str().is_some());
        if let Some(base) = ["$id", "$schema"].into_iter().find(|keyword| says(keyword)) {
            return Err(at(place, Why::Keyword(base)));
        }
        if self.dialect < Dialect::Of2019 && says("$ref") { Err(at(place, Why::Beside)) } else { Ok(()) }
    }

    fn several(&mut self, value: &'a Exact, place: &str) -> Result<Vec<usize>, Unusable> {
        let Exact::Array(items) = value else {
            return Err(at(place, Why::Value("a list of schemas".to_owned())));
        };
        items.iter().enumerate().map(|(index, item)| self.enter(&format!("{place}/{index}"), item)).collect()
    }

    fn by_name(&mut self, value: &'a Exact, place: &str) -> Result<BTreeMap<String, usize>, Unusable> {
        let Exact::Object(members) = value else {
            return Err(at(place, Why::Value("schemas by name".to_owned())));
        };
        let entered = members
            .iter()
            .map(|(key, schema)| Ok((key.clone(), self.enter(&format!("{place}/{}", token(key)), schema)?)));
        entered.collect()
    }

    fn pattern(&mut self, value: &Exact, place: &str) -> Result<Pattern, Unusable> {
        let text = value.as_str().ok_or_else(|| at(place, Why::Value("pattern".to_owned())))?;
        self.compiled(text, place)
    }

    fn compiled(&mut self, text: &str, place: &str) -> Result<Pattern, Unusable> {
        self.patterns = self.patterns.saturating_add(1);
        if self.patterns > MAX_PATTERNS {
            return Err(at(place, Why::TooLarge));
        }
        let pattern = Pattern::new(text, self.room.saturating_sub(self.size))
            .ok_or_else(|| at(place, Why::Pattern(shortened(text))))?;
        self.size = self.size.saturating_add(pattern.size);
        Ok(pattern)
    }

    /// `prefixItems` and `items`, which was both of them in earlier dialects.
    fn elements(&mut self, members: &'a Object, place: &str) -> Result<Option<Rule>, Unusable> {
        let at_items = format!("{place}/items");
        let (first, rest) = match (members.get("prefixItems"), members.get("items")) {
            (None, None) => return Ok(None),
            (None, Some(list @ Exact::Array(_))) => {
                (self.several(list, &at_items)?, members.get("additionalItems"))
            }
            (Some(first), rest) => (self.several(first, &format!("{place}/prefixItems"))?, rest),
            (None, rest @ Some(_)) => (Vec::new(), rest),
        };
        let rest = rest.map(|rest| self.enter(&at_items, rest)).transpose()?;
        Ok(Some(Rule::Elements { first, rest }))
    }

    fn contains(&mut self, members: &'a Object, place: &str) -> Result<Option<Rule>, Unusable> {
        let Some(schema) = members.get("contains") else { return Ok(None) };
        let count = |keyword: &str| {
            let misread = |_: Misread| at(place, Why::Value(keyword.to_owned()));
            members.get(keyword).map(count).transpose().map_err(misread)
        };
        let (least, most) = (count("minContains")?.map_or(1, |least| least), count("maxContains")?);
        let id = self.enter(&format!("{place}/contains"), schema)?;
        Ok(Some(Rule::Contains { id, least, most }))
    }

    fn members(&mut self, members: &'a Object, place: &str) -> Result<Option<Rule>, Unusable> {
        let said = ["properties", "patternProperties", "additionalProperties"];
        if !said.iter().any(|keyword| members.contains_key(*keyword)) {
            return Ok(None);
        }
        let named = match members.get("properties") {
            Some(named) => self.by_name(named, &format!("{place}/properties"))?,
            None => BTreeMap::new(),
        };
        let mut patterns = Vec::new();
        if let Some(value) = members.get("patternProperties") {
            let place = format!("{place}/patternProperties");
            for (text, id) in self.by_name(value, &place)? {
                patterns.push((self.compiled(&text, &place)?, id));
            }
        }
        let rest = match members.get("additionalProperties") {
            None => Rest::Undeclared,
            Some(Exact::Bool(false)) => Rest::None,
            Some(schema) => Rest::Of(self.enter(&format!("{place}/additionalProperties"), schema)?),
        };
        let folded = named.keys().map(|key| fold(key)).collect();
        Ok(Some(Rule::Members(Members { named, folded, patterns, rest })))
    }

    fn condition(&mut self, members: &'a Object, place: &str) -> Result<Option<Rule>, Unusable> {
        let Some(condition) = members.get("if") else { return Ok(None) };
        let condition = self.enter(&format!("{place}/if"), condition)?;
        let mut branch = |keyword: &str| {
            members.get(keyword).map(|schema| self.enter(&format!("{place}/{keyword}"), schema)).transpose()
        };
        Ok(Some(Rule::If { condition, then: branch("then")?, otherwise: branch("else")? }))
    }
}

/// A value that a keyword cannot have.
struct Misread;

impl From<Stop> for Misread {
    fn from(_: Stop) -> Self {
        Self
    }
}

/// The rules that no other schema is part of.
fn simple(keyword: &str, value: &Exact) -> Result<Option<Rule>, Misread> {
    Ok(Some(match keyword {
        "type" => Rule::Types(types(value)?),
        "enum" => {
            let Exact::Array(values) = value else { return Err(Misread) };
            among(values)?
        }
        "const" => among(std::slice::from_ref(value))?,
        "minimum" | "exclusiveMinimum" => {
            let (bound, written) = number(value)?;
            Rule::Least { bound, itself: keyword == "minimum", written }
        }
        "maximum" | "exclusiveMaximum" => {
            let (bound, written) = number(value)?;
            Rule::Most { bound, itself: keyword == "maximum", written }
        }
        "multipleOf" => {
            let (of, written) = number(value)?;
            if !of.written.divides() || !of.is_one() {
                return Err(Misread);
            }
            Rule::Multiple { of: of.written, written }
        }
        "minLength" => Rule::AtLeast(Counted::Characters, count(value)?),
        "maxLength" => Rule::AtMost(Counted::Characters, count(value)?),
        "minItems" => Rule::AtLeast(Counted::Elements, count(value)?),
        "maxItems" => Rule::AtMost(Counted::Elements, count(value)?),
        "minProperties" => Rule::AtLeast(Counted::Members, count(value)?),
        "maxProperties" => Rule::AtMost(Counted::Members, count(value)?),
        "uniqueItems" => match value {
            Exact::Bool(true) => Rule::Unique,
            Exact::Bool(false) => return Ok(None),
            Exact::Null | Exact::Number(_) | Exact::Str(_) | Exact::Array(_) | Exact::Object(_) => {
                return Err(Misread);
            }
        },
        "required" => Rule::Required(strings(value)?),
        "dependentRequired" => {
            let Exact::Object(members) = value else { return Err(Misread) };
            let needed = members.iter().map(|(key, value)| Ok((key.clone(), strings(value)?)));
            Rule::Needs(needed.collect::<Result<_, Misread>>()?)
        }
        _ => return Ok(None),
    }))
}

fn types(value: &Exact) -> Result<BTreeSet<Kind>, Misread> {
    let named = |value: &Exact| value.as_str().and_then(Kind::named).ok_or(Misread);
    if let Exact::Array(names) = value {
        return names.iter().map(named).collect();
    }
    Ok(BTreeSet::from([named(value)?]))
}

fn among(values: &[Exact]) -> Result<Rule, Misread> {
    let (mut by_written, mut by_double, mut kinds) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let some: Vec<_> = values.iter().take(TOLD).map(|value| shortened(&value.to_canonical())).collect();
    let more = if values.len() > TOLD { ", …" } else { "" };
    let written = shortened(&format!("{}{more}", some.join(", ")));
    let mut meter = Meter { left: u64::MAX };
    for value in values {
        let [one, other] = meter.forms(value)?;
        by_written.insert(one);
        by_double.insert(other);
        kinds.insert(Kind::of(value).ok_or(Misread)?);
    }
    Ok(Rule::Among { forms: [by_written, by_double], kinds, written })
}

fn number(value: &Exact) -> Result<(Number, String), Misread> {
    let Exact::Number(text) = value else { return Err(Misread) };
    let written = Decimal::read(text).ok_or(Misread)?;
    Ok((Number::read(text, written).ok_or(Misread)?, shortened(text)))
}

fn count(value: &Exact) -> Result<u64, Misread> {
    let Exact::Number(text) = value else { return Err(Misread) };
    text.parse().map_err(|_| Misread)
}

fn strings(value: &Exact) -> Result<Vec<String>, Misread> {
    let Exact::Array(items) = value else { return Err(Misread) };
    let keys: Vec<_> =
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(Misread)).collect::<Result<_, _>>()?;
    // JSON Schema has each key once; a list of one key many times is there to take time.
    if keys.iter().collect::<BTreeSet<_>>().len() == keys.len() { Ok(keys) } else { Err(Misread) }
}
