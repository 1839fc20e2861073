//! What a schema says of one place in the arguments, before there are any: whether something can be there, and of which types. It is
//! never narrower than the schema: what is ruled out here is ruled out.

use std::collections::BTreeSet;

use super::{Id, Kind, Members, Rest, Rule, ToolSchema};
use crate::json::unescape;
use crate::surface::ContextKind;

/// How many schemas are looked into for one place.
const MOST: usize = 4_096;
/// How deep.
const DEPTH: usize = 64;

/// Types of JSON's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(BTreeSet<Kind>);

impl Kinds {
    fn all() -> Self {
        Self(BTreeSet::from([
            Kind::Null,
            Kind::Boolean,
            Kind::Integer,
            Kind::Number,
            Kind::String,
            Kind::Array,
            Kind::Object,
        ]))
    }

    fn of(kinds: &BTreeSet<Kind>) -> Self {
        let mut kinds = kinds.clone();
        if kinds.contains(&Kind::Number) {
            kinds.insert(Kind::Integer);
        }
        Self(kinds)
    }

    fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let covered = |kind: &&Kind| !(**kind == Kind::Integer && self.has(Kind::Number));
        let named: Vec<_> = self.0.iter().filter(covered).map(|kind| kind.as_str()).collect();
        formatter.write_str(&named.join(" or "))
    }
}

/// What a schema says of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether anything can be there that the schema declares.
    pub possible: bool,
    /// Of which types that is, at most.
    pub kinds: Kinds,
    /// Of which types its elements are at most, if it is an array.
    pub elements: Kinds,
    /// Whether it must be there.
    pub required: bool,
    /// Whether the schema says more of it than is looked at here, or nothing at all.
    pub unclear: bool,
}

impl Place {
    /// The types, for people.
    #[must_use]
    pub fn types(&self) -> String {
        let named = self.kinds.to_string();
        match (self.kinds.has(Kind::Array), self.elements == Kinds::all()) {
            _ if named.is_empty() => "nothing".to_owned(),
            (true, false) => format!("{named} of {}", self.elements),
            (true, true) | (false, _) => named,
        }
    }

    /// Whether what is there can be read as this by policy.
    #[must_use]
    pub fn can_be(&self, kind: ContextKind) -> bool {
        match kind {
            ContextKind::String | ContextKind::Decimal { .. } | ContextKind::Path | ContextKind::Url => {
                self.kinds.has(Kind::String)
            }
            ContextKind::Integer => self.kinds.has(Kind::Integer),
            ContextKind::Boolean => self.kinds.has(Kind::Boolean),
            ContextKind::Strings => self.kinds.has(Kind::Array) && self.elements.has(Kind::String),
        }
    }
}

impl ToolSchema {
    /// What it says of the place that an RFC 6901 JSON Pointer names in the arguments.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Place {
        let keys: Vec<String> = pointer.split('/').skip(1).map(unescape).collect();
        let mut steps: Vec<Step<'_>> = keys.iter().map(|key| Step::Key(key)).collect();
        let view = self.view(&steps);
        steps.push(Step::Element);
        let elements = self.view(&steps).kinds;
        let Some(Step::Key(_)) = steps.first() else {
            // The arguments themselves.
            let kinds = Kinds(BTreeSet::from([Kind::Object]));
            return Place { possible: view.possible, kinds, elements, required: true, unclear: false };
        };
        let (possible, required) = (view.possible && view.declared, view.needs && view.below);
        Place { possible, kinds: view.kinds, elements, required, unclear: view.unclear }
    }

    fn view(&self, steps: &[Step<'_>]) -> View {
        Look { schema: self, left: MOST }.view(0, steps, 0)
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    /// Any element of an array.
    Element,
}

/// What schemas say of a place together.
#[derive(Clone, Debug)]
struct View {
    /// Whether anything can be there.
    possible: bool,
    declared: bool,
    /// Whether it is said which members there are on the way to it.
    says: bool,
    kinds: Kinds,
    /// Whether the next member on the way must be there, and those below it.
    needs: bool,
    below: bool,
    unclear: bool,
}

impl View {
    /// Of a schema that says nothing.
    fn open() -> Self {
        Self {
            possible: true,
            declared: false,
            says: false,
            kinds: Kinds::all(),
            needs: false,
            below: false,
            unclear: false,
        }
    }

    /// Of two that both hold.
    fn and(self, other: Self) -> Self {
        Self {
            possible: self.possible && other.possible,
            declared: self.declared || other.declared,
            says: self.says || other.says,
            kinds: Kinds(self.kinds.0.intersection(&other.kinds.0).copied().collect()),
            needs: self.needs || other.needs,
            below: self.below || other.below,
            unclear: self.unclear || other.unclear,
        }
    }

    /// Of two of which one holds at least.
    fn or(self, other: Self) -> Self {
        if !self.possible {
            return other;
        }
        if !other.possible {
            return self;
        }
        Self {
            possible: true,
            declared: self.declared || other.declared,
            says: self.says && other.says,
            kinds: Kinds(self.kinds.0.union(&other.kinds.0).copied().collect()),
            needs: self.needs && other.needs,
            below: self.below && other.below,
            unclear: self.unclear || other.unclear,
        }
    }
}

struct Look<'s> {
    schema: &'s ToolSchema,
    /// How many schemas may still be looked into.
    left: usize,
}

impl Look<'_> {
    fn view(&mut self, id: Id, steps: &[Step<'_>], depth: usize) -> View {
        let schema = self.schema;
        let (Some(left), Some(node), true) = (self.left.checked_sub(1), schema.nodes.get(id), depth < DEPTH)
        else {
            return View { unclear: true, declared: true, ..View::open() };
        };
        self.left = left;
        node.rules
            .iter()
            .fold(View::open(), |view, rule| view.and(self.rule(rule, steps, depth.saturating_add(1))))
    }

    fn rule(&mut self, rule: &Rule, steps: &[Step<'_>], depth: usize) -> View {
        match rule {
            Rule::Never => View { possible: false, ..View::open() },
            Rule::Types(kinds) => of_types(&Kinds::of(kinds), steps),
            Rule::Among { kinds, .. } => {
                View { unclear: !steps.is_empty(), ..of_types(&Kinds::of(kinds), steps) }
            }
            Rule::Elements { first, rest } => self.elements(first, *rest, steps, depth),
            Rule::Members(said) => self.members(said, steps, depth),
            Rule::Required(keys) => {
                let needs = matches!(steps.first(), Some(Step::Key(next)) if keys.iter().any(|key| key.as_str() == *next));
                View { needs, ..View::open() }
            }
            Rule::All(ids) => {
                ids.iter().fold(View::open(), |view, id| view.and(self.view(*id, steps, depth)))
            }
            Rule::Any(ids) | Rule::One(ids) => {
                let none = View { possible: false, ..View::open() };
                ids.iter().fold(none, |view, id| view.or(self.view(*id, steps, depth)))
            }
            Rule::If { condition, then, otherwise } => {
                let all = [Some(*condition), *then, *otherwise];
                self.maybe(all.into_iter().flatten(), steps, depth)
            }
            Rule::When(schemas) => self.maybe(schemas.values().copied(), steps, depth),
            Rule::Not(_) => View { unclear: true, ..View::open() },
            // These do not say of which types something is.
            Rule::Least { .. }
            | Rule::Most { .. }
            | Rule::Multiple { .. }
            | Rule::AtLeast(..)
            | Rule::AtMost(..)
            | Rule::Pattern(_)
            | Rule::Unique
            | Rule::Contains { .. }
            | Rule::Names(_)
            | Rule::Needs(_) => View::open(),
        }
    }

    /// Of schemas that hold sometimes: what they declare counts, what they rule out does not.
    fn maybe(&mut self, ids: impl Iterator<Item = Id>, steps: &[Step<'_>], depth: usize) -> View {
        let views: Vec<View> = ids.map(|id| self.view(id, steps, depth)).collect();
        View { declared: views.iter().any(|view| view.declared), unclear: true, ..View::open() }
    }

    fn members(&mut self, said: &Members, steps: &[Step<'_>], depth: usize) -> View {
        let Some((Step::Key(key), rest)) = steps.split_first() else { return View::open() };
        let mut ids: Vec<Id> = said.named.get(*key).copied().into_iter().collect();
        ids.extend(said.patterns.iter().filter(|(pattern, _)| pattern.is_in(key)).map(|(_, id)| *id));
        match said.rest {
            Rest::Of(id) if ids.is_empty() => ids.push(id),
            Rest::None if ids.is_empty() => return View { possible: false, says: true, ..View::open() },
            Rest::Undeclared if ids.is_empty() => return View { says: true, ..View::open() },
            Rest::Of(_) | Rest::None | Rest::Undeclared => {}
        }
        let open = View::open();
        let inner = ids.into_iter().fold(open, |view, id| view.and(self.view(id, rest, depth)));
        if rest.is_empty() {
            return View { declared: true, says: true, needs: false, below: true, ..inner };
        }
        // An object whose members nothing is said of may have any.
        let is_free = !inner.declared && !inner.says;
        View {
            declared: inner.declared || is_free,
            says: true,
            needs: false,
            below: inner.needs && inner.below,
            unclear: inner.unclear || is_free,
            ..inner
        }
    }

    fn elements(&mut self, first: &[Id], rest: Option<Id>, steps: &[Step<'_>], depth: usize) -> View {
        let Some((step, inner)) = steps.split_first() else { return View::open() };
        if let Step::Key(key) = step {
            // A pointer may name an element by its number: that is not looked at.
            return View { unclear: key.parse::<usize>().is_ok(), ..View::open() };
        }
        let none = View { possible: false, ..View::open() };
        let listed = first.iter().copied().chain(rest);
        let view = listed.fold(none, |view, id| view.or(self.view(id, inner, depth)));
        // Without a word on the others they can be anything.
        let view = if rest.is_none() { view.or(View::open()) } else { view };
        View { declared: true, needs: false, below: false, ..view }
    }
}

/// Of what is said of types: of the place itself, or of what it would lie in.
fn of_types(kinds: &Kinds, steps: &[Step<'_>]) -> View {
    let possible = match steps.first() {
        None => return View { kinds: kinds.clone(), ..View::open() },
        // An element can be named by its number.
        Some(Step::Key(key)) => {
            kinds.has(Kind::Object) || (kinds.has(Kind::Array) && key.parse::<usize>().is_ok())
        }
        Some(Step::Element) => kinds.has(Kind::Array),
    };
    View { possible, ..View::open() }
}
