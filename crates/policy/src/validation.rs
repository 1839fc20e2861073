//! Cedar's strict validation, of few policies at a time and of none that is too long for what it is held against.
//!
//! Each policy is held against every pair of a principal and a resource that an action in its scope applies to, and all that is wrong
//! with it for each of them is kept until the end. A short policy that is wrong took gigabytes that way.

use std::collections::BTreeMap;

use cedar_policy::{
    ActionConstraint, EntityUid, Policy, PolicySet, PolicySetError, Schema, ValidationMode, ValidationResult,
    Validator,
};

use crate::error::Fault;

/// The most bytes of one policy, times the pairs that it is held against.
pub(crate) const MOST_HELD: usize = 4_000_000;
/// The most of the same for all policies of a bundle.
pub(crate) const MOST_HELD_TOGETHER: usize = 2_000_000_000;
/// Policies that are validated as one set. Cedar validates each by itself.
const TOGETHER: usize = 512;
/// Bytes that come to no more work than to see that a policy's scope is not about a pair.
const SCOPE: usize = 30;

pub(crate) struct Validation {
    validator: Validator,
    /// The pairs that each action applies to.
    of: BTreeMap<EntityUid, usize>,
    /// Those of all actions.
    all: usize,
}

impl Validation {
    pub(crate) fn new(schema: &Schema) -> Self {
        let of: BTreeMap<_, _> = schema.actions().map(|uid| (uid.clone(), pairs(schema, uid))).collect();
        let all = of.values().fold(0_usize, |sum, pairs| sum.saturating_add(*pairs));
        Self { validator: Validator::new(schema.clone()), of, all }
    }

    /// The bytes of a policy, times the pairs that it is held against.
    fn held(&self, policy: &Policy) -> usize {
        let pairs = match policy.action_constraint() {
            ActionConstraint::Eq(uid) => self.of.get(&uid).copied().map_or(0, |pairs| pairs),
            // A group's actions may be all there are.
            ActionConstraint::In(_) | ActionConstraint::Any => self.all,
        };
        policy.to_string().len().saturating_mul(pairs)
    }

    /// Refuses a policy that is too long for what it is held against.
    pub(crate) fn refuse_wide(&self, policy: &Policy) -> Result<(), Fault> {
        if self.held(policy) <= MOST_HELD {
            return Ok(());
        }
        Err(Fault::PolicyTooWide { policy: policy.id().to_string() })
    }

    /// Sets that may be validated at once. `None` if all together are too long for what they are held against.
    pub(crate) fn sets<'a>(
        &self,
        policies: impl Iterator<Item = &'a Policy>,
    ) -> Option<Vec<Vec<&'a Policy>>> {
        let (mut sets, mut set, mut held, mut all) = (Vec::new(), Vec::new(), 0_usize, 0_usize);
        for policy in policies {
            let own = self.held(policy);
            all = all.saturating_add(own).saturating_add(self.all.saturating_mul(SCOPE));
            if set.len() >= TOGETHER || held.saturating_add(own) > MOST_HELD {
                sets.push(std::mem::take(&mut set));
                held = 0;
            }
            held = held.saturating_add(own);
            set.push(policy);
        }
        sets.push(set);
        (all <= MOST_HELD_TOGETHER).then_some(sets)
    }

    /// What Cedar has against policies, each under its id.
    pub(crate) fn of(&self, policies: &[&Policy]) -> Result<ValidationResult, Box<PolicySetError>> {
        let set =
            PolicySet::from_policies(policies.iter().map(|policy| (*policy).clone())).map_err(Box::new)?;
        Ok(self.validator.validate(&set, ValidationMode::Strict))
    }
}

fn pairs(schema: &Schema, action: &EntityUid) -> usize {
    let principals = schema.principals_for_action(action).map_or(0, Iterator::count);
    principals.saturating_mul(schema.resources_for_action(action).map_or(0, Iterator::count))
}

#[cfg(test)]
#[path = "validation_tests.rs"]
mod tests;
