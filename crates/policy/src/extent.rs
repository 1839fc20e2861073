//! How much a schema comes to, asked before Cedar makes it.
//!
//! A short text can stand for very much. What is declared under several names is copied for each, the members of a type that has a
//! name are written out wherever the name stands, and every principal of an action meets every resource of it. Cedar goes through all
//! of that, and room that is used up ends the process, as a [stack](crate::nesting) does. So each of these has a bound, which the
//! schemas of servers with some hundred tools keep with room.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::SCHEMA_FILE;
use crate::error::{BundleError, Fault};
use crate::nesting::{Scan, Token};

/// The most words and signs of the text, as if each name were declared by itself.
pub(crate) const MOST_WORDS: usize = 100_000;
/// The most members of one list or record. Cedar's parser moves all that it has of a record for each further one.
pub(crate) const MOST_MEMBERS: usize = 1_000;
/// The most namespaces.
pub(crate) const MOST_SPACES: usize = 200;
/// The most entity types, and the most actions.
pub(crate) const MOST_DECLARED: usize = 2_000;
/// The most pairs of a principal's and a resource's type, over all actions.
pub(crate) const MOST_PAIRS: usize = 10_000;
/// The most types within types, those that have a name written out.
pub(crate) const MOST_TYPES: usize = 100_000;

/// Bytes of a text in quotation marks that count as one word.
const WORD: usize = 16;

fn refuse_above(most: usize, count: usize, what: &'static str) -> Result<(), BundleError> {
    if count <= most {
        return Ok(());
    }
    Err(BundleError::corrupt(SCHEMA_FILE, Fault::SchemaTooLarge { what, most }))
}

/// Refuses a text that comes to more words than Cedar is asked to read, or that has a longer list.
pub(crate) fn refuse_long(text: &str) -> Result<(), BundleError> {
    let (mut words, mut longest) = (Words::default(), 0_usize);
    // How many siblings were met in each open bracket, from the outside in.
    let mut open: Vec<usize> = Vec::new();
    for token in Scan::new(text, true) {
        match token {
            Token::Open => open.push(1),
            Token::Close => drop(open.pop()),
            Token::Sibling => {
                if let Some(members) = open.last_mut() {
                    *members = members.saturating_add(1);
                    longest = longest.max(*members);
                }
            }
            Token::End => {
                // Declarations are members of nothing.
                if let Some(members) = open.last_mut() {
                    *members = 1;
                }
            }
            Token::Word(_) | Token::Quoted(_) | Token::Or | Token::And | Token::Point | Token::Other => {}
        }
        words.meet(&token, open.len());
    }
    refuse_above(MOST_MEMBERS, longest, "members of one list or record")?;
    refuse_above(MOST_WORDS, words.written_out(), "words, with each name declared by itself")
}

/// Counts words as if `entity A, B { … };` were `entity A { … }; entity B { … };`.
#[derive(Default)]
struct Words {
    /// Of the declarations that are read.
    read: usize,
    /// Of the declaration that is being read.
    own: usize,
    /// Its commas by how deep they stand. It has as many names as it has of these where it ends, and one.
    commas: BTreeMap<usize, Commas>,
}

struct Commas {
    count: usize,
    /// Words before the first of them.
    before: usize,
    /// Words up to the last of them.
    until: usize,
}

impl Words {
    fn meet(&mut self, token: &Token<'_>, depth: usize) {
        let words = if let Token::Quoted(text) = token { text.len().div_ceil(WORD) } else { 1 };
        self.own = self.own.saturating_add(words);
        match token {
            Token::Sibling => {
                let own = self.own;
                let commas = self.commas.entry(depth).or_insert(Commas { count: 0, before: own, until: own });
                commas.count = commas.count.saturating_add(1);
                commas.until = own;
            }
            Token::End => self.declared(depth),
            Token::Open | Token::Close | Token::Word(_) | Token::Quoted(_) => {}
            Token::Or | Token::And | Token::Point | Token::Other => {}
        }
    }

    fn declared(&mut self, depth: usize) {
        let own = std::mem::take(&mut self.own);
        let written = match self.commas.get(&depth) {
            None => own,
            Some(Commas { count, before, until }) => {
                let names = until.saturating_sub(*before);
                let shared = own.saturating_sub(names);
                shared.saturating_mul(count.saturating_add(1)).saturating_add(names)
            }
        };
        self.read = self.read.saturating_add(written);
        self.commas.clear();
    }

    /// What was begun and does not end declares nothing.
    fn written_out(&self) -> usize {
        self.read.saturating_add(self.own)
    }
}

/// Refuses a schema, in its JSON form, that declares more than Cedar is asked to make of it. Names of types lead to one another at
/// most as deep as [`crate::nesting`] lets them.
pub(crate) fn refuse_large(fragment: &Value) -> Result<(), BundleError> {
    let spaces = || fragment.as_object().into_iter().flat_map(|spaces| spaces.values());
    let kinds = || spaces().flat_map(|space| members(space, "entityTypes"));
    let actions = || spaces().flat_map(|space| members(space, "actions"));
    refuse_above(MOST_SPACES, spaces().count(), "namespaces")?;
    refuse_above(MOST_DECLARED, kinds().count(), "entity types")?;
    refuse_above(MOST_DECLARED, actions().count(), "actions")?;
    let pairs = actions().map(|(_, action)| {
        let applies = action.get("appliesTo");
        let count = |of: &str| applies.and_then(|applies| applies.get(of)?.as_array()).map_or(0, Vec::len);
        count("principalTypes").saturating_mul(count("resourceTypes"))
    });
    refuse_above(MOST_PAIRS, sum(pairs), "pairs of a principal and a resource that actions apply to")?;
    let mut inlined = Inlined::default();
    for (name, kind) in spaces().flat_map(|space| members(space, "commonTypes")) {
        inlined.named.entry(name).or_default().push(kind);
    }
    let named = spaces().flat_map(|space| members(space, "commonTypes")).map(|(_, kind)| kind);
    let shapes = kinds().flat_map(|(_, kind)| [kind.get("shape"), kind.get("tags")]).flatten();
    let contexts = actions().filter_map(|(_, action)| action.get("appliesTo")?.get("context"));
    let types = sum(named.chain(shapes).chain(contexts).map(|kind| inlined.types(kind)));
    refuse_above(MOST_TYPES, types, "types within types, those that have a name written out")
}

fn members<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let members = of.get(name).and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, value)| (name.as_str(), value))
}

fn sum(counts: impl Iterator<Item = usize>) -> usize {
    counts.fold(0, usize::saturating_add)
}

/// Counts types as if those that have a name were written out where it stands.
#[derive(Default)]
struct Inlined<'a> {
    /// By the last part of its name, in whatever namespaces.
    named: BTreeMap<&'a str, Vec<&'a Value>>,
    known: BTreeMap<&'a str, usize>,
}

impl<'a> Inlined<'a> {
    /// Of the types of one name the one that comes to most: which of them is meant is Cedar's to say.
    fn named(&mut self, name: &'a str) -> usize {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        // Cedar refuses a circle before it writes anything out.
        self.known.insert(name, 0);
        let kinds = self.named.get(name).cloned().unwrap_or_default(); // tidy: allow what has no such name is an entity type or one of Cedar's own
        let count = kinds.into_iter().map(|kind| self.types(kind)).max().map_or(0, |most| most);
        self.known.insert(name, count);
        count
    }

    fn types(&mut self, kind: &'a Value) -> usize {
        let attributes = kind.get("attributes").and_then(Value::as_object).into_iter().flatten();
        let within = attributes.map(|(_, kind)| kind).chain(kind.get("element"));
        let within = sum(within.map(|kind| self.types(kind)));
        let names = ["type", "name"].into_iter().filter_map(|key| kind.get(key)?.as_str());
        let names = names.map(|name| name.rsplit("::").next().map_or(name, |last| last));
        let called = sum(names.map(|name| self.named(name)));
        within.saturating_add(called).saturating_add(1)
    }
}

#[cfg(test)]
#[path = "extent_tests.rs"]
mod tests;
