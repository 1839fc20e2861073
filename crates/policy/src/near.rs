//! Which grant comes nearest to a request that nothing grants, and what of it does not hold: each part of its scope and each
//! condition is put to the engine by itself.

use std::collections::BTreeSet;

use cedar_policy::{Authorizer, Decision, Effect, Entities, Policy, PolicySet};
use portcullis_protocol::{LabelName, PolicyId, Request};
use serde::Serialize;
use serde_json::{Value, json};

use crate::slices::Question;
use crate::{Gathered, Rehearsal};

/// Whether a part of a policy holds of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// By itself it raises an error: what guards it does not hold.
    Errs,
}

/// A part of a policy, as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// `principal`, `resource`, or a condition.
    pub text: String,
    /// Whether it holds.
    pub held: Held,
}

/// A grant that is about the request's action and does not grant it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Near {
    /// The policy.
    pub policy: PolicyId,
    /// Its text.
    pub text: String,
    /// Its parts, in their order.
    pub parts: Vec<Part>,
}

impl Near {
    fn missing(&self) -> usize {
        self.parts.iter().filter(|part| part.held != Held::Yes).count()
    }
}

/// How many are told.
const MOST: usize = 3;

impl Rehearsal {
    /// The text of a policy, by its `@id`.
    #[must_use]
    pub fn policy_text(&self, id: &PolicyId) -> Option<String> {
        let policies = self.compiled.slices.policies();
        policies.get(&cedar_policy::PolicyId::new(id.as_str())).map(ToString::to_string)
    }

    /// The grants about the action of a request, by an agent with these labels, of which the fewest parts do not hold, at
    /// most three; none if Cedar is not even asked about such a request.
    #[must_use]
    pub fn nearest(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        facts: Option<&Gathered>,
    ) -> Vec<Near> {
        let Some(entities) = self.compiled.entities_with(&self.digest(), facts) else { return Vec::new() };
        let question = self.compiled.question(request, Some(labels), Some(entities));
        let Ok(question) = question else { return Vec::new() };
        let policies = self.compiled.slices.policies();
        let grants = policies.values().filter(|policy| policy.effect() == Effect::Permit);
        let mut near: Vec<_> = grants.filter_map(|policy| near(policy, &question, entities)).collect();
        near.retain(|near| near.missing() > 0);
        near.sort_by(|one, other| (one.missing(), &one.policy).cmp(&(other.missing(), &other.policy)));
        near.truncate(MOST);
        near
    }
}

/// `None` if it is about other actions, or cannot be taken apart.
fn near(policy: &Policy, question: &Question, entities: &Entities) -> Option<Near> {
    let Ok(whole) = policy.to_json() else { return None };
    let id = policy.id().to_string().parse().ok()?; // tidy: allow a policy without an id is in no bundle
    let scope = |part: &str| Some(only(part, whole.get(part)?.clone()));
    let held = |alone: Value| held(alone, question, entities);
    if held(scope("action")?)?.0 != Held::Yes {
        return None;
    }
    let mut parts = Vec::new();
    for part in ["principal", "resource"] {
        let (held, text) = held(scope(part)?)?;
        parts.push(Part { text: scope_text(&text, part), held });
    }
    let conditions = whole.get("conditions").and_then(Value::as_array);
    for condition in conditions.into_iter().flatten().flat_map(conjuncts) {
        let (held, text) = held(only("conditions", Value::Array(vec![condition])))?;
        parts.push(Part { text: condition_text(&text), held });
    }
    Some(Near { policy: id, text: policy.to_string(), parts })
}

fn held(alone: Value, question: &Question, entities: &Entities) -> Option<(Held, String)> {
    let id = cedar_policy::PolicyId::new("part");
    let Ok(policy) = Policy::from_json(Some(id), alone) else { return None };
    let text = policy.to_string();
    let Ok(set) = PolicySet::from_policies([policy]) else { return None };
    let answer = Authorizer::new().is_authorized(&question.request, &set, entities);
    let held = match answer.decision() {
        _ if answer.diagnostics().errors().next().is_some() => Held::Errs,
        Decision::Allow => Held::Yes,
        Decision::Deny => Held::No,
    };
    Some((held, text))
}

/// A grant of everything but for one part.
fn only(part: &str, value: Value) -> Value {
    let all = json!({ "op": "All" });
    let mut grant =
        json!({ "effect": "permit", "principal": all, "action": all, "resource": all, "conditions": [] });
    if let Some(parts) = grant.as_object_mut() {
        parts.insert(part.to_owned(), value);
    }
    grant
}

/// A condition's parts: what `&&` joins in a `when`, each by itself.
fn conjuncts(condition: &Value) -> Vec<Value> {
    let (kind, body) = (condition.get("kind"), condition.get("body"));
    match (kind.and_then(Value::as_str), body.and_then(|body| body.get("&&"))) {
        (Some("when"), Some(both)) => {
            let sides = ["left", "right"].into_iter().filter_map(|side| both.get(side));
            sides.flat_map(|body| conjuncts(&json!({ "kind": "when", "body": body }))).collect()
        }
        (_, _) => vec![condition.clone()],
    }
}

/// `principal in Group::"a"` out of the text of a policy that has this in its scope and nothing else.
fn scope_text(text: &str, part: &str) -> String {
    let inside =
        text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).map_or(text, |(inside, _)| inside);
    let pieces = inside.split([',', '\n']).map(str::trim);
    let own = pieces.into_iter().find(|piece| piece.starts_with(part));
    own.map_or(part, |own| own).to_owned()
}

/// `when { … }` out of the text of a policy that has this condition and nothing else.
fn condition_text(text: &str) -> String {
    let at = ["when", "unless"].into_iter().filter_map(|word| text.find(&format!("{word} {{"))).min();
    let own = at.and_then(|at| text.get(at..)).map_or(text, |own| own);
    own.trim_end_matches(';').split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "near_tests.rs"]
mod tests;
