//! Entities: whom and what the bundle knows, and who is in which group.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Effect, Entity, EntityUid, Policy, PrincipalConstraint};
use portcullis_protocol::PolicyId;
use serde_json::Value;

use super::Tendency::{MorePermissive, Stricter, Unknown};
use super::{Changes, Tendency, aligned, grants, names};
use crate::compile::Compiled;
use crate::sources::Sourced;

/// An entity: what it is in, directly, and whatever else is written of it.
struct Known {
    parents: BTreeSet<String>,
    rest: Value,
}

pub(super) fn compare(changes: &mut Changes, old: &Compiled, new: &Compiled) {
    let (before, after) = (known(old), known(new));
    let (came, left, stayed) = aligned(&before, &after);
    let (sourced_before, sourced_after) =
        (Sourced::of(&old.manifest.sources), Sourced::of(&new.manifest.sources));
    for (uid, entity) in came {
        if sourced_before.is_kind(kind_of(uid)) {
            changes.at("entity", uid).say(Unknown, "comes from the bundle, and not from a source of facts");
            continue;
        }
        let within = names(entity.parents.iter()).map_or(String::new(), |parents| format!(", in {parents}"));
        let sentence = format!("added{within}: requests that name it were refused, and may be granted");
        changes.at("entity", uid).say(MorePermissive, sentence);
    }
    for (uid, _) in left {
        if sourced_after.is_kind(kind_of(uid)) {
            changes.at("entity", uid).say(Unknown, "comes from a source of facts, if that gives it");
            continue;
        }
        changes.at("entity", uid).say(Stricter, "removed: requests that name it are refused");
    }
    let (said_before, said_after) = (LazyCell::new(|| Said::by(old)), LazyCell::new(|| Said::by(new)));
    for (uid, (old_one, new_one)) in stayed {
        changes.at("entity", uid);
        for parent in new_one.parents.difference(&old_one.parents) {
            let (tendency, by) = said_after.joining(parent);
            changes.say(tendency, format!("joins {parent}{by}"));
        }
        for parent in old_one.parents.difference(&new_one.parents) {
            let (tendency, by) = said_before.joining(parent);
            changes.say(tendency.reversed(), format!("leaves {parent}{by}"));
        }
        if old_one.rest != new_one.rest {
            changes.say(Unknown, "its attributes or tags change, which policies may read");
        }
    }
}

/// The type in an entity's text.
fn kind_of(uid: &str) -> &str {
    uid.split_once("::\"").map_or(uid, |(kind, _)| kind)
}

/// All that is written of the entities.
fn known(content: &Compiled) -> BTreeMap<String, Known> {
    let read = |entity: &Entity| {
        let mut rest = match entity.to_json_value() {
            Ok(written) => written,
            // Told apart from whatever can be written.
            Err(error) => Value::String(error.to_string()),
        };
        let parents = rest.as_object_mut().and_then(|members| members.remove("parents"));
        let parents = parents.as_ref().and_then(Value::as_array).into_iter().flatten();
        Known { parents: parents.map(named).collect(), rest }
    };
    content.entities.iter().map(|entity| (entity.uid().to_string(), read(entity))).collect()
}

fn named(uid: &Value) -> String {
    let text = |key| uid.get(key).and_then(Value::as_str);
    match (text("type"), text("id")) {
        (Some(kind), Some(id)) => format!("{kind}::\"{}\"", id.escape_debug()),
        (_, _) => uid.to_string(),
    }
}

/// What a bundle's policies say of entities, found out once for all memberships that change.
struct Said<'c> {
    content: &'c Compiled,
    uids: BTreeMap<String, EntityUid>,
    /// The policies, with the entities that each names.
    policies: Vec<(&'c Policy, BTreeSet<String>)>,
    /// Whether none of them asks for membership in what it does not name, such as in an attribute.
    plain: bool,
}

impl<'c> Said<'c> {
    fn by(content: &'c Compiled) -> Self {
        let named = |policy: &'c Policy| {
            (policy, policy.entity_literals().iter().map(ToString::to_string).collect::<BTreeSet<_>>())
        };
        let policies: Vec<_> = content.slices.policies().values().copied().map(named).collect();
        let plain = policies.iter().all(|(policy, _)| !asks_membership(policy));
        let uids = content.entities.iter().map(|entity| (entity.uid().to_string(), entity.uid())).collect();
        Self { content, uids, policies, plain }
    }

    /// What it means to join a group: what the policies say that name it, or what it is in.
    fn joining(&self, group: &str) -> (Tendency, String) {
        let mut groups = BTreeSet::from([group.to_owned()]);
        let above = self.uids.get(group).and_then(|uid| self.content.entities.ancestors(uid));
        groups.extend(above.into_iter().flatten().map(ToString::to_string));
        let naming = self.policies.iter().filter(|(_, named)| !named.is_disjoint(&groups));
        let by: Vec<&Policy> = naming.map(|(policy, _)| *policy).collect();
        // What holds is the union over all grants that are satisfied: to come under one more of them may ask for more, and give
        // labels that take something away.
        let asks = by.iter().any(|policy| self.asked(policy).is_none_or(|asked| !asked.is_empty()));
        let only =
            |effect| !asks && by.iter().all(|policy| policy.effect() == effect && is_scoped(policy, &groups));
        let tendency = match (self.plain && !by.is_empty(), only(Effect::Permit), only(Effect::Forbid)) {
            (true, true, false) => MorePermissive,
            (true, false, true) => Stricter,
            (_, _, _) => Unknown,
        };
        let told = by.iter().map(|policy| {
            let word = match policy.effect() {
                Effect::Permit => "permit",
                Effect::Forbid => "forbid",
            };
            let asked = self.asked(policy).filter(|asked| !asked.is_empty());
            format!(
                "{word} {}{}",
                policy.id(),
                asked.map_or(String::new(), |asked| format!(", with {asked}"))
            )
        });
        let told = names(told).map_or("no policy names it".to_owned(), |ids| format!("named by {ids}"));
        (tendency, format!(" ({told})"))
    }

    /// What a policy asks for and which labels it adds, in words, which are none if it does neither; `None` if that is not known.
    fn asked(&self, policy: &Policy) -> Option<String> {
        let id: PolicyId = policy.id().to_string().parse().ok()?; // tidy: allow None is not known
        self.content.annotations.get(&id).map(grants::shown)
    }
}

/// Whether a policy's conditions ask for membership anywhere.
fn asks_membership(policy: &Policy) -> bool {
    // In doubt it does.
    policy.to_json().map_or(true, |json| json.get("conditions").is_none_or(has_in))
}

fn has_in(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.iter().any(|(key, value)| key == "in" || key == "is" || has_in(value))
        }
        Value::Array(items) => items.iter().any(has_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether the policy is about whoever is in one of these groups, by its scope.
fn is_scoped(policy: &Policy, groups: &BTreeSet<String>) -> bool {
    match policy.principal_constraint() {
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => groups.contains(&uid.to_string()),
        PrincipalConstraint::Any | PrincipalConstraint::Eq(_) | PrincipalConstraint::Is(_) => false,
    }
}
