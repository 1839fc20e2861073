//! Policies changed one at a time: does a case notice?

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::{Authorizer, Entities, Policy, PolicySet};
use portcullis_protocol::{Obligations, PolicyId};
use serde::Serialize;

use super::{Answer, BundleError, Case, Compiled, Fault, POLICIES, settled};
use crate::annotations::Annotations;
use crate::slices::Question;

/// What is done to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is not there.
    Dropped,
    /// It permits what it forbade, or forbids what it permitted.
    Flipped,
    /// It has its scope alone, and no conditions.
    Widened,
    /// It asks for no approval.
    Unapproved,
    /// It takes an identity of any age.
    Unrefreshed,
    /// It asks for no witnesses.
    Unwitnessed,
    /// It adds no labels.
    Unlabelled,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Dropped => "dropped",
            Self::Flipped => "turned round",
            Self::Widened => "without its conditions",
            Self::Unapproved => "without its approval",
            Self::Unrefreshed => "without its freshness of identity",
            Self::Unwitnessed => "without its witnesses",
            Self::Unlabelled => "without its labels",
        })
    }
}

/// A policy changed in one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mutant {
    /// The policy.
    pub policy: PolicyId,
    /// What was done to it.
    pub change: Change,
    /// The first case that then fails; `None` if all pass still.
    pub noticed_by: Option<String>,
}

/// What each changed policy reads.
type Changed = BTreeMap<(PolicyId, Change), Altered>;

/// What becomes of a policy.
enum Altered {
    /// Nothing is left of it.
    Gone,
    /// It reads otherwise.
    Text(Box<Policy>),
    /// It reads as it did, and asks for something else.
    Annotations(Annotations),
}

/// All that can be done to a policy.
const CHANGES: [Change; 7] = [
    Change::Dropped,
    Change::Flipped,
    Change::Widened,
    Change::Unapproved,
    Change::Unrefreshed,
    Change::Unwitnessed,
    Change::Unlabelled,
];

/// Tries every mutant with every case. A case can notice a mutant only if the policy's scope may hold for it, and only
/// if it passes as things are.
pub(super) fn try_all(compiled: &Compiled) -> Result<Vec<Mutant>, BundleError> {
    let changed = changed(compiled)?;
    let mut noticed: BTreeMap<(PolicyId, Change), String> = BTreeMap::new();
    for case in &compiled.cases {
        let passes = case.tried(compiled).passed;
        let Some(entities) = case.entities(compiled).filter(|_| passes) else { continue };
        let question = compiled.question(&case.request, Some(&case.labels), Some(entities));
        let Ok(question) = question else { continue };
        let policies = compiled.slices.policies_for(&question, entities);
        for id in policies.keys() {
            let Ok(policy) = id.to_string().parse::<PolicyId>() else { continue };
            for change in CHANGES {
                let key = (policy.clone(), change);
                let Some(mutant) = changed.get(&key).filter(|_| !noticed.contains_key(&key)) else {
                    continue;
                };
                let mut mutated = Mutated::of(compiled, &policies);
                mutated.alter(id, &policy, mutant);
                let Mutated { policies, annotations } = mutated;
                let set = PolicySet::from_policies(policies.into_values().cloned());
                let set = set.map_err(|error| broken(&policy, &error))?;
                if notices(compiled, (case, entities), (&question, &set, &annotations)) {
                    noticed.insert(key, case.name.clone());
                }
            }
        }
    }
    let mutants = changed.into_keys();
    Ok(mutants
        .map(|(policy, change)| {
            let noticed_by = noticed.remove(&(policy.clone(), change));
            Mutant { policy, change, noticed_by }
        })
        .collect())
}

/// The policies that a case is held against, one of them changed.
struct Mutated<'a> {
    policies: BTreeMap<&'a cedar_policy::PolicyId, &'a Policy>,
    annotations: BTreeMap<PolicyId, Annotations>,
}

impl<'a> Mutated<'a> {
    fn of(compiled: &Compiled, policies: &BTreeMap<&'a cedar_policy::PolicyId, &'a Policy>) -> Self {
        // One that has no annotations is refused when it grants.
        let known = |id: &&cedar_policy::PolicyId| {
            let name: PolicyId = id.to_string().parse().ok()?; // tidy: allow the mutant is then no permit
            compiled.annotations.get(&name).map(|annotations| (name.clone(), annotations.clone()))
        };
        Self { policies: policies.clone(), annotations: policies.keys().filter_map(known).collect() }
    }

    fn alter(&mut self, id: &'a cedar_policy::PolicyId, name: &PolicyId, altered: &'a Altered) {
        match altered {
            Altered::Gone => {
                self.policies.remove(id);
            }
            Altered::Text(policy) => {
                self.policies.insert(id, policy);
            }
            Altered::Annotations(annotations) => {
                self.annotations.insert(name.clone(), annotations.clone());
            }
        }
    }
}

fn notices(
    compiled: &Compiled,
    (case, entities): (&Case, &Entities),
    (question, set, annotations): (&Question, &PolicySet, &BTreeMap<PolicyId, Annotations>),
) -> bool {
    let mut answer = Answer::default();
    answer.add(&Authorizer::new().is_authorized(&question.request, set, entities));
    !case.against(case.evaluate(compiled, settled(answer, annotations, &compiled.manifest.labels))).passed
}

fn changed(compiled: &Compiled) -> Result<Changed, BundleError> {
    let mut changed = Changed::new();
    for (id, policy) in compiled.slices.policies() {
        let Ok(name) = id.to_string().parse::<PolicyId>() else { continue };
        let json = policy.to_json().map_err(|error| broken(&name, &error))?;
        let mut edited = |change, key: &str, value: serde_json::Value| {
            let mut json = json.clone();
            if let Some(object) = json.as_object_mut() {
                object.insert(key.to_owned(), value);
            }
            let policy = Policy::from_json(Some(id.clone()), json).map_err(|error| broken(&name, &error))?;
            changed.insert((name.clone(), change), Altered::Text(Box::new(policy)));
            Ok::<(), BundleError>(())
        };
        let effect = match policy.effect() {
            cedar_policy::Effect::Permit => "forbid",
            cedar_policy::Effect::Forbid => "permit",
        };
        edited(Change::Flipped, "effect", effect.into())?;
        if policy.has_non_scope_constraint() {
            edited(Change::Widened, "conditions", serde_json::Value::Array(Vec::new()))?;
        }
        changed.insert((name.clone(), Change::Dropped), Altered::Gone);
        let asked = compiled.annotations.get(&name).into_iter().flat_map(relieved);
        changed.extend(asked.map(|(change, left)| ((name.clone(), change), Altered::Annotations(left))));
    }
    Ok(changed)
}

/// A policy's annotations, each obligation and then the labels left out in turn.
fn relieved(annotations: &Annotations) -> Vec<(Change, Annotations)> {
    let all = &annotations.obligations;
    let without = [
        (Change::Unapproved, Obligations { approvals: Vec::new(), ..all.clone() }),
        (Change::Unrefreshed, Obligations { identity_within_ms: None, ..all.clone() }),
        (Change::Unwitnessed, Obligations { witnessed: false, ..all.clone() }),
    ];
    let changed = without.into_iter().filter(|(_, left)| left != all);
    let labels = || annotations.labels.clone();
    let asked = changed.map(|(change, obligations)| (change, Annotations { obligations, labels: labels() }));
    let bare = Annotations { obligations: all.clone(), labels: BTreeSet::new() };
    asked.chain((!annotations.labels.is_empty()).then_some((Change::Unlabelled, bare))).collect()
}

fn broken(policy: &PolicyId, error: &dyn fmt::Display) -> BundleError {
    let message = format!("policy `{policy}` cannot be changed for a trial: {error}");
    BundleError::corrupt(POLICIES, Fault::Policy { message })
}
