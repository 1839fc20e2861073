//! What policies ask of that which the arbiter gives, an agent's labels and for whom it acts, and whether keys are there.
//!
//! To Cedar a label is any text, and one that no agent can have is in no set, without an error: a `forbid` on it would never
//! apply. `has` of a key that an action's schema lacks is false, and nothing behind it is looked at.

use std::collections::BTreeSet;

use cedar_policy::{ActionConstraint, Entities, Policy};
use portcullis_protocol::{ActionName, SurfaceSpec};
use serde_json::Value;

use crate::entities::action_uid;
use crate::error::{BundleError, Fault};
use crate::files::{self, Files};
use crate::labels::{self, Lifetimes};
use crate::manifest::Manifest;
use crate::policies::Named;
use crate::principals;
use crate::schema::Sight;

/// What a policy's text has in it that asks whether a key is there.
const HAS: &str = "has";

/// What a bundle declares of it.
#[derive(Clone, Copy)]
pub(crate) struct Declared<'a> {
    pub(crate) manifest: &'a Manifest,
    pub(crate) sight: &'a Sight,
    /// With those of the schema's actions.
    pub(crate) entities: &'a Entities,
}

/// What a policy's conditions ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'a> {
    labels: BTreeSet<&'a str>,
    /// Whether it asks for labels that are not written out.
    is_unread: bool,
    has_labels: bool,
    has_principal: bool,
    /// Keys of surfaces of which it asks whether they are there.
    keys: BTreeSet<&'a str>,
}

impl Declared<'_> {
    /// Refuses policies, or invariants, that ask for what can never be there, or pass over actions without a word.
    pub(crate) fn refuse_unmet(
        &self,
        files: &Files,
        named: &Named,
        warnings: &mut Vec<String>,
    ) -> Result<(), BundleError> {
        // Most policies ask for nothing of it, and a policy's JSON takes as long to make as all the rest of it.
        let gives = [labels::CONTEXT_KEY, principals::CONTEXT_KEY, "\\"];
        let is_given = |text: &str| gives.into_iter().any(|key| text.contains(key));
        for (id, policy) in &named.policies {
            let Some(path) = named.ids.get(id) else { continue };
            let text = files::text(files, path)?;
            if !is_given(text) && !text.contains(HAS) {
                continue;
            }
            let corrupt = |fault| BundleError::corrupt(path, fault);
            let own = policy.to_string();
            let is_given = is_given(&own);
            if !is_given && !own.contains(HAS) {
                continue;
            }
            let json =
                policy.to_json().map_err(|error| corrupt(Fault::Policy { message: error.to_string() }))?;
            let conditions = json.get("conditions");
            let unread = || corrupt(Fault::LabelsUnread { policy: id.to_string() });
            let mut asked = Asked::default();
            asked.note(conditions.ok_or_else(unread)?);
            warnings.extend(self.refuse_absent(policy, &asked.keys).map_err(corrupt)?);
            if is_given {
                self.refuse(policy, asked).map_err(corrupt)?;
            }
        }
        Ok(())
    }

    /// Refuses one that asks whether a key is there which no action of its scope has, and tells which of them have not.
    fn refuse_absent(&self, policy: &Policy, keys: &BTreeSet<&str>) -> Result<Vec<String>, Fault> {
        let mut told = Vec::new();
        for key in keys {
            let has = |spec: &SurfaceSpec| spec.context.contains_key(*key);
            let (with, without): (Vec<_>, Vec<_>) = self.in_scope(policy).partition(|(_, spec)| has(spec));
            let names: Vec<_> = without.iter().map(|(action, _)| format!("`{action}`")).collect();
            if with.is_empty() && !without.is_empty() {
                return Err(Fault::KeyAbsent { policy: policy.id().to_string(), key: (*key).to_owned() });
            }
            if !names.is_empty() {
                told.push(format!(
                    "policy `{}`: `context has {key}` is false on what has no such key ({}), and what is asked behind it is not \
                     looked at there",
                    policy.id(),
                    names.join(", ")
                ));
            }
        }
        Ok(told)
    }

    fn refuse(&self, policy: &Policy, asked: Asked<'_>) -> Result<(), Fault> {
        let id = || policy.id().to_string();
        if asked.has_labels {
            return Err(Fault::LabelsAsked { policy: id() });
        }
        if asked.is_unread {
            return Err(Fault::LabelsUnread { policy: id() });
        }
        if let Some(label) = asked.labels.into_iter().find(|label| !declares(&self.manifest.labels, label)) {
            return Err(Fault::LabelUnknown { policy: id(), label: label.to_owned() });
        }
        let unseen = asked.has_principal.then(|| self.blind(policy)).flatten();
        unseen.map_or(Ok(()), |action| Err(Fault::PrincipalUnseen { policy: id(), action }))
    }

    /// An action of the policy's scope on which it does not see for whom the agent acts.
    fn blind(&self, policy: &Policy) -> Option<String> {
        let mut actions = self.in_scope(policy).map(|(action, _)| action);
        actions.find(|action| !self.sight.principals.contains(*action)).map(ToString::to_string)
    }

    /// The actions of a policy's scope, each with its surface.
    fn in_scope<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = (&'a ActionName, &'a SurfaceSpec)> {
        let surfaces = self.manifest.surfaces.values();
        let all = surfaces.flat_map(|spec| spec.actions.iter().map(move |action| (action, spec)));
        all.filter(move |(action, _)| self.is_in_scope(action, policy))
    }

    fn is_in_scope(&self, action: &ActionName, policy: &Policy) -> bool {
        // What is no name of an action cannot be shown to be outside.
        let Ok(uid) = action_uid(action.as_str()) else { return true };
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(only) => only == uid,
            ActionConstraint::In(all) => {
                let above: BTreeSet<_> = self.entities.ancestors(&uid).into_iter().flatten().collect();
                all.iter().any(|of| *of == uid || above.contains(of))
            }
        }
    }
}

pub(crate) fn declares(labels: &Lifetimes, label: &str) -> bool {
    labels.keys().any(|declared| declared.as_str() == label)
}

impl<'a> Asked<'a> {
    /// Notes what an expression asks for, in the JSON form that Cedar gives it.
    fn note(&mut self, value: &'a Value) {
        if is_context(value) || is_labels(value) {
            self.is_unread = true;
            return;
        }
        match value {
            Value::Array(all) => all.iter().for_each(|value| self.note(value)),
            Value::Object(object) => object.iter().for_each(|(key, inner)| self.note_in(key, inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn note_in(&mut self, key: &str, inner: &'a Value) {
        let side = |side: &str| inner.get(side);
        let of_context = side("left").is_some_and(is_context);
        let attribute = side("attr").and_then(Value::as_str);
        match key {
            "Value" => {}
            // The keys of a record are its author's, and could be called as an operator is.
            "Record" => inner.as_object().into_iter().flat_map(|it| it.values()).for_each(|it| self.note(it)),
            "has" if of_context => match attribute {
                Some(labels::CONTEXT_KEY) => self.has_labels = true,
                Some(principals::CONTEXT_KEY) => self.has_principal = true,
                Some(key) => {
                    self.keys.insert(key);
                }
                None => self.is_unread = true,
            },
            "." if of_context => {}
            "isEmpty" if side("arg").is_some_and(is_labels) => {}
            "contains" | "containsAll" | "containsAny" => match (side("left"), side("right")) {
                (Some(held), Some(wanted)) if is_labels(held) => self.note_written(wanted),
                (Some(wanted), Some(held)) if is_labels(held) => self.note_written(wanted),
                _ => self.note(inner),
            },
            _ => self.note(inner),
        }
    }

    /// Labels that are written out: one, or a set of them.
    fn note_written(&mut self, value: &'a Value) {
        let one = |value: &'a Value| value.get("Value").and_then(Value::as_str);
        let all = match value.get("Set").and_then(Value::as_array) {
            Some(all) => all.iter().map(one).collect::<Option<Vec<_>>>(),
            None => one(value).map(|label| vec![label]),
        };
        match all {
            Some(all) => self.labels.extend(all),
            None => self.is_unread = true,
        }
    }
}

fn is_context(value: &Value) -> bool {
    value.get("Var").and_then(Value::as_str) == Some("context")
}

fn is_labels(value: &Value) -> bool {
    let Some(got) = value.get(".") else { return false };
    got.get("left").is_some_and(is_context)
        && got.get("attr").and_then(Value::as_str) == Some(labels::CONTEXT_KEY)
}

#[cfg(test)]
#[path = "asks_tests.rs"]
mod tests;
