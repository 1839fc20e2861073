//! How deep what a bundle declares lies within one another, asked before Cedar reads it.
//!
//! Cedar follows `in` upwards once for each level, on the stack, when it works out what everything lies in: entities, entity types and
//! actions alike. As with [nesting](crate::nesting), a stack that is used up ends the process, so one bound holds everywhere. What
//! Cedar makes of it grows with the ways upwards, of which a short text can name very many; so these have a bound too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{BundleError, Fault};
use crate::{ENTITIES_FILE, SCHEMA_FILE};

/// The most levels.
pub(crate) const MOST: usize = 32;

/// The most ways from entities to what they lie in, at any distance.
pub(crate) const MOST_WAYS: usize = 2_000_000;

/// The most ways from entity types, and from actions, to what they lie in, at any distance. Each takes Cedar far more room than one
/// of entities.
pub(crate) const MOST_SCHEMA_WAYS: usize = 100_000;

/// Who lies in whom. Each name is a node, declared or not.
#[derive(Debug)]
struct Hierarchy<K> {
    nodes: BTreeMap<K, usize>,
    /// What each node lies in.
    above: Vec<Vec<usize>>,
    /// What lies in each node.
    below: Vec<Vec<usize>>,
}

impl<K> Default for Hierarchy<K> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), above: Vec::new(), below: Vec::new() }
    }
}

impl<K: Ord> Hierarchy<K> {
    fn node(&mut self, name: K) -> usize {
        let next = self.nodes.len();
        let node = *self.nodes.entry(name).or_insert(next);
        if node == next {
            self.above.push(Vec::new());
            self.below.push(Vec::new());
        }
        node
    }

    /// What lies in itself is not deeper for that.
    fn join(&mut self, child: usize, parent: usize) {
        if child == parent {
            return;
        }
        if let (Some(above), Some(below)) = (self.above.get_mut(child), self.below.get_mut(parent)) {
            above.push(parent);
            below.push(child);
        }
    }

    fn height(&self) -> Height {
        let everything = vec![true; self.above.len()];
        let down = peel(&self.above, &self.below, &everything);
        let up = peel(&self.below, &self.above, &down.left);
        let circular = up.left.iter().filter(|left| **left).count();
        // A way goes down to what is circular, through all of that, and on.
        Height {
            levels: down.levels.saturating_add(up.levels).saturating_add(circular),
            circular,
            ways: if circular == 0 { down.ways } else { self.ways_through(&up.left, circular) },
        }
    }

    /// The ways where all that is circular is one node, through which a way to each of these leads.
    fn ways_through(&self, is_circular: &[bool], circular: usize) -> usize {
        let hub = self.above.len();
        let of = |node: usize| if is_circular.get(node) == Some(&true) { hub } else { node };
        let mut above = vec![Vec::new(); hub.saturating_add(1)];
        let mut below = above.clone();
        for (child, parents) in self.above.iter().enumerate() {
            for parent in parents {
                let (child, parent) = (of(child), of(*parent));
                if child == parent {
                    continue;
                }
                if let (Some(above), Some(below)) = (above.get_mut(child), below.get_mut(parent)) {
                    above.push(parent);
                    below.push(child);
                }
            }
        }
        let everything = vec![true; above.len()];
        let ways = peel(&above, &below, &everything).ways;
        // Each way to the node and each that comes from it counts as often as there are nodes in it.
        ways.saturating_add(circular).saturating_mul(circular)
    }
}

/// What a hierarchy comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Height {
    /// At least as many as the longest way upwards goes through.
    levels: usize,
    /// Nodes in circles, or between two of them.
    circular: usize,
    /// Ways from a node to another above it; through what is circular, at least as many as there are pairs of such nodes.
    ways: usize,
}

struct Peeled {
    levels: usize,
    ways: usize,
    /// What has no end in this direction.
    left: Vec<bool>,
}

/// Takes the nodes away that lead to nothing but what was taken away, level by level.
fn peel(leads_to: &[Vec<usize>], led_from: &[Vec<usize>], of: &[bool]) -> Peeled {
    let is_of = |node: &usize| of.get(*node).copied() == Some(true);
    let mut open: Vec<usize> =
        leads_to.iter().map(|to| to.iter().filter(|node| is_of(node)).count()).collect();
    let mut ways = vec![0_usize; of.len()];
    let mut left = of.to_vec();
    let mut level: Vec<usize> = open
        .iter()
        .enumerate()
        .filter(|(node, open)| **open == 0 && is_of(node))
        .map(|(node, _)| node)
        .collect();
    let mut levels = 0_usize;
    while !level.is_empty() {
        levels = levels.saturating_add(1);
        let mut next = Vec::new();
        for node in level {
            if let Some(left) = left.get_mut(node) {
                *left = false;
            }
            let own = ways.get(node).copied().unwrap_or(usize::MAX); // tidy: allow every node has a count, and without one there are too many
            for from in led_from.get(node).into_iter().flatten().filter(|node| is_of(node)) {
                if let (Some(open), Some(ways)) = (open.get_mut(*from), ways.get_mut(*from)) {
                    *open = open.saturating_sub(1);
                    *ways = ways.saturating_add(own).saturating_add(1);
                    next.extend((*open == 0).then_some(*from));
                }
            }
        }
        level = next;
    }
    let ways = ways.into_iter().fold(0, usize::saturating_add);
    Peeled { levels, ways, left }
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    uid: Uid<'a>,
    #[serde(borrow)]
    parents: Vec<Uid<'a>>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Uid<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// Refuses entities that lie deeper in one another than any thread is asked to follow, in themselves, or in so many that what they
/// lie in takes no bounded room.
pub(crate) fn refuse_deep_entities(text: &str) -> Result<(), BundleError> {
    let refused = |message: String| BundleError::corrupt(ENTITIES_FILE, Fault::Entities { message });
    let items: Vec<Item<'_>> = serde_json::from_str(text).map_err(|error| refused(error.to_string()))?;
    let mut hierarchy = Hierarchy::default();
    for Item { uid, parents } in items {
        let child = hierarchy.node(uid);
        for parent in parents {
            let parent = hierarchy.node(parent);
            hierarchy.join(child, parent);
        }
    }
    let height = hierarchy.height();
    if height.circular > 0 {
        return Err(refused("entities lie in themselves: their `parents` lead in a circle".to_owned()));
    }
    if height.levels > MOST {
        return Err(BundleError::corrupt(ENTITIES_FILE, Fault::HierarchyTooDeep));
    }
    if height.ways > MOST_WAYS {
        return Err(BundleError::corrupt(ENTITIES_FILE, Fault::HierarchyTooWide));
    }
    Ok(())
}

/// Refuses a schema, in its JSON form, whose entity types or actions lie deeper in one another than any thread is asked to follow, or
/// in so many that what they lie in takes no bounded room.
pub(crate) fn refuse_deep_schema(fragment: &Value) -> Result<(), BundleError> {
    let (mut types, mut actions) = (Hierarchy::default(), Hierarchy::default());
    for (space, declared) in fragment.as_object().into_iter().flatten() {
        for (name, kind) in members(declared, "entityTypes") {
            let child = types.node(qualified(space, name));
            let parents = items(kind, "memberOfTypes").filter_map(Value::as_str);
            for parent in parents {
                let own = declared.get("entityTypes").and_then(|types| types.get(parent)).is_some();
                let parent = types.node(qualified(if own { space } else { "" }, parent));
                types.join(child, parent);
            }
        }
        for (id, action) in members(declared, "actions") {
            let child = actions.node((space.as_str(), id.as_str()));
            for parent in items(action, "memberOf") {
                let Some(id) = parent.get("id").and_then(Value::as_str) else { continue };
                let kind = parent.get("type").and_then(Value::as_str);
                // An action's type without its namespace may be the one of this namespace, or of none.
                let spaces = match kind.map(|kind| kind.strip_suffix("::Action")) {
                    Some(Some(other)) => [Some(other), None],
                    Some(None) => [Some(space.as_str()), (!space.is_empty()).then_some("")],
                    None => [Some(space.as_str()), None],
                };
                for space in spaces.into_iter().flatten() {
                    let parent = actions.node((space, id));
                    actions.join(child, parent);
                }
            }
        }
    }
    let (types, actions) = (types.height(), actions.height());
    if types.levels.max(actions.levels) > MOST {
        return Err(BundleError::corrupt(SCHEMA_FILE, Fault::HierarchyTooDeep));
    }
    let ways = [
        (types.ways, "ways from entity types to what they lie in"),
        (actions.ways, "ways from actions to what they lie in"),
    ];
    match ways.into_iter().find(|(ways, _)| *ways > MOST_SCHEMA_WAYS) {
        Some((_, what)) => {
            Err(BundleError::corrupt(SCHEMA_FILE, Fault::SchemaTooLarge { what, most: MOST_SCHEMA_WAYS }))
        }
        None => Ok(()),
    }
}

fn members<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    of.get(name).and_then(Value::as_object).into_iter().flatten()
}

fn items<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn qualified(space: &str, name: &str) -> String {
    if space.is_empty() { name.to_owned() } else { format!("{space}::{name}") }
}

#[cfg(test)]
#[path = "hierarchy_tests.rs"]
mod tests;
