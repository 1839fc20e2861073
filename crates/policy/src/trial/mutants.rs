//! Policies changed one at a time: does a case notice?

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{Authorizer, Policy, PolicySet};
use portcullis_protocol::PolicyId;
use serde::Serialize;

use super::{Answer, BundleError, Case, Compiled, Fault, POLICIES, settled};
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
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Dropped => "dropped",
            Self::Flipped => "turned round",
            Self::Widened => "without its conditions",
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
type Changed = BTreeMap<(PolicyId, Change), Option<Policy>>;

/// Tries every mutant with every case. A case can notice a mutant only if the policy's scope may hold for it, and only
/// if it passes as things are.
pub(super) fn try_all(compiled: &Compiled) -> Result<Vec<Mutant>, BundleError> {
    let changed = changed(compiled)?;
    let mut noticed: BTreeMap<(PolicyId, Change), String> = BTreeMap::new();
    for case in &compiled.cases {
        let passes = case.against(case.evaluate(compiled, compiled.evaluate(&case.request))).passed;
        let Ok(question) = compiled.question(&case.request) else { continue };
        if !passes {
            continue;
        }
        let policies = compiled.slices.policies_for(&question, &compiled.entities);
        for id in policies.keys() {
            let Ok(policy) = id.to_string().parse::<PolicyId>() else { continue };
            for change in [Change::Dropped, Change::Flipped, Change::Widened] {
                let key = (policy.clone(), change);
                let Some(mutant) = changed.get(&key).filter(|_| !noticed.contains_key(&key)) else {
                    continue;
                };
                let others = policies.iter().filter(|(other, _)| other != &id).map(|(_, policy)| *policy);
                let set = others.chain(mutant).cloned();
                let set = PolicySet::from_policies(set).map_err(|error| broken(&policy, &error))?;
                if notices(compiled, case, &question, &set) {
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

fn notices(compiled: &Compiled, case: &Case, question: &Question, set: &PolicySet) -> bool {
    let mut answer = Answer::default();
    answer.add(&Authorizer::new().is_authorized(&question.request, set, &compiled.entities));
    !case.against(case.evaluate(compiled, settled(answer))).passed
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
            changed.insert((name.clone(), change), Some(policy));
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
        changed.insert((name, Change::Dropped), None);
    }
    Ok(changed)
}

fn broken(policy: &PolicyId, error: &dyn fmt::Display) -> BundleError {
    let message = format!("policy `{policy}` cannot be changed for a trial: {error}");
    BundleError::corrupt(POLICIES, Fault::Policy { message })
}
