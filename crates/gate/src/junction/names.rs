//! Which server a name means. A name is shown as its server has it, unless another one has it too: then each of the two is
//! shown behind its server's name. What was shown in a conversation means the same until the conversation's end, whatever is
//! listed later.

use std::collections::{BTreeMap, BTreeSet};

use crate::gate::GateError;
use crate::lookalike::{beginning, twins};
use crate::message::{members_of, quote, string};

/// What stands between a server's name and a name of its own.
const BETWEEN: &str = "__";
/// The most servers behind one gate.
const MOST_SERVERS: usize = 32;
/// The most names that one conversation is held to.
const MOST_BOUND: usize = 20_000;

/// Refuses names of servers of which a prefixed name could be read in two ways, or that people could take for each other.
pub(crate) fn check<'a>(servers: impl IntoIterator<Item = &'a str>) -> Result<(), GateError> {
    let servers: Vec<&str> = servers.into_iter().collect();
    let refused = |why: String| Err(GateError::ServerNames(why));
    if servers.len() > MOST_SERVERS {
        return refused(format!("there are more than {MOST_SERVERS}"));
    }
    let twins: Vec<&str> = twins(servers.iter().copied()).into_iter().collect();
    if !twins.is_empty() {
        return refused(format!("these could be taken for each other: {}", twins.join(", ")));
    }
    match servers.iter().find(|name| name.contains(BETWEEN) || name.ends_with('_')) {
        Some(name) => refused(format!(
            "`{name}` has `{BETWEEN}` in it or `_` at its end, and that stands between a server's name and a tool's"
        )),
        None => Ok(()),
    }
}

/// A prefixed name's server and the name that the server knows. There is one way to read it, for no server's name has what
/// stands between the two.
pub(crate) fn parts<'a>(name: &'a str, servers: &BTreeSet<String>) -> Option<(&'a str, &'a str)> {
    name.split_once(BETWEEN).filter(|(server, _)| servers.contains(*server))
}

/// What is listed of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The name or URI.
    name: String,
    /// Its text, as it came.
    text: String,
}

impl Item {
    /// Reads the member `key`, by which it is asked for.
    pub(super) fn read(text: String, key: &str) -> Option<Self> {
        let name = members_of(&text)?.get(key).and_then(string)?;
        Some(Self { name, text })
    }

    pub(super) fn name(&self) -> &String {
        &self.name
    }

    /// The same under its server's name.
    fn prefixed(&self, server: &str) -> Option<String> {
        let name = quote(&format!("{server}{BETWEEN}{}", self.name));
        Some(members_of(&self.text)?.with("name", name).to_text())
    }
}

/// How two servers' items of one name are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// By their servers' names.
    Prefix,
    /// Not at all: the name is a URI, and means what it says.
    Unique,
}

/// What names of one kind mean in a conversation. Nothing is ever taken back.
#[derive(Debug, Default)]
pub(super) struct Bound(BTreeMap<String, usize>);

/// What a client is shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    pub(super) items: Vec<String>,
    /// What it is not shown, and why.
    pub(super) left_out: Vec<String>,
}

impl Bound {
    pub(super) fn get(&self, name: &str) -> Option<usize> {
        self.0.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, usize)> {
        self.0.iter().map(|(name, server)| (name, *server))
    }

    /// Holds a name to mean this server's. Whether it does.
    pub(super) fn bind(&mut self, name: &str, server: usize) -> bool {
        match self.0.get(name) {
            Some(bound) => *bound == server,
            None if self.0.len() >= MOST_BOUND => false,
            None => self.0.insert(name.to_owned(), server).is_none(),
        }
    }

    /// What of all servers' lists is shown, in the order of the servers and of each one's own list.
    pub(super) fn merge(
        &mut self,
        lists: &[(String, Vec<Item>)],
        rule: Rule,
        is_ambiguous: impl Fn(&str, &str) -> bool,
    ) -> Merged {
        let mut holders: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (number, (_, list)) in lists.iter().enumerate() {
            for item in list {
                holders.entry(&item.name).or_default().insert(number);
            }
        }
        let mut merged = Merged::default();
        for (number, (server, list)) in lists.iter().enumerate() {
            for item in list {
                let shared = holders.get(item.name.as_str()).is_some_and(|holders| holders.len() > 1);
                let shown = if is_ambiguous(server, &item.name) {
                    Err("could be taken for another one")
                } else if !shared && self.bind(&item.name, number) {
                    Ok(item.text.clone())
                } else {
                    match rule {
                        Rule::Prefix => item.prefixed(server).ok_or("is not understood"),
                        Rule::Unique => Err("another server has it too"),
                    }
                };
                match shown {
                    Ok(text) => merged.items.push(text),
                    Err(why) => merged.left_out.push(format!("`{server}/{}` ({why})", beginning(&item.name))),
                }
            }
        }
        merged
    }
}

/// Whether a URI may be one that a template stands for: what it has between its expressions is there, in its order. More
/// than RFC 6570 has, never less, so that of two servers whose templates fit none is guessed.
pub(super) fn fits(uri: &str, template: &str) -> bool {
    let mut literals = Vec::new();
    let mut rest = template;
    while let Some((literal, expression)) = rest.split_once('{') {
        literals.push(literal);
        match expression.split_once('}') {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    let Some((first, between)) = literals.split_first() else { return uri == template };
    let Some(mut left) = uri.strip_prefix(first).and_then(|left| left.strip_suffix(rest)) else {
        return false;
    };
    for literal in between {
        let Some((_, after)) = left.split_once(literal) else { return false };
        left = after;
    }
    true
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
