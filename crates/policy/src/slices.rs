//! The policies of a bundle by their scopes, so that a request is held only against those that can apply to it.
//!
//! Cedar evaluates every policy that it is given, one after the other. A policy's scope (`principal …, action …,
//! resource …`) is evaluated before its conditions and cannot raise an error, so a policy whose scope does not hold is
//! neither satisfied nor in error, whatever its conditions say: leaving it out changes no answer. More than that is not
//! decided here, and what is looked up is rather too much than too little: Cedar evaluates the scope of all it is given.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{
    ActionConstraint, AuthorizationError, Authorizer, Decision, Effect, Entities, EntityTypeName, EntityUid,
    Policy, PolicyId, PolicySet, PolicySetError, PrincipalConstraint, Request, ResourceConstraint, Response,
};

/// The number of what one part of a scope asks for.
type Number = usize;

/// What a part of a scope asks for that asks for nothing.
const ANYTHING: Number = 0;

/// The parts of a scope: principal, action, resource.
type Scope = (Number, Number, Number);

/// Policies by scope. Those of one scope are one set, built once.
#[derive(Debug)]
pub(crate) struct Slices {
    authorizer: Authorizer,
    asked: Asked,
    sets: BTreeMap<Scope, PolicySet>,
}

/// All that scopes ask for, numbered.
#[derive(Debug, Default)]
struct Asked {
    /// `is` of a type alone.
    types: BTreeMap<EntityTypeName, Number>,
    /// `==` or `in` an entity, whatever the type: both ask for that entity or for one that is in it.
    entities: BTreeMap<EntityUid, Number>,
}

/// A request of which every part is in the entities.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The request as Cedar takes it.
    pub(crate) request: Request,
    /// Its principal, once more.
    pub(crate) principal: EntityUid,
    /// Its action.
    pub(crate) action: EntityUid,
    /// Its resource.
    pub(crate) resource: EntityUid,
}

/// The parts of a request that scopes are about. Each is in the entities.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) principal: &'a EntityUid,
    pub(crate) action: &'a EntityUid,
    pub(crate) resource: &'a EntityUid,
}

impl Question {
    const fn who(&self) -> Who<'_> {
        Who { principal: &self.principal, action: &self.action, resource: &self.resource }
    }
}

impl Who<'_> {
    /// Whether a policy's scope holds, as Cedar evaluates it.
    fn is_in_scope(&self, policy: &Policy, entities: &Entities) -> bool {
        let within = |uid: &EntityUid, of: &EntityUid| {
            uid == of || entities.ancestors(uid).is_some_and(|mut above| above.any(|it| it == of))
        };
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => true,
            PrincipalConstraint::Is(kind) => *self.principal.type_name() == kind,
            PrincipalConstraint::In(of) => within(self.principal, &of),
            PrincipalConstraint::Eq(uid) => *self.principal == uid,
            PrincipalConstraint::IsIn(kind, of) => {
                *self.principal.type_name() == kind && within(self.principal, &of)
            }
        };
        let action = match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => *self.action == uid,
            ActionConstraint::In(all) => all.iter().any(|of| within(self.action, of)),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => true,
            ResourceConstraint::Is(kind) => *self.resource.type_name() == kind,
            ResourceConstraint::In(of) => within(self.resource, &of),
            ResourceConstraint::Eq(uid) => *self.resource == uid,
            ResourceConstraint::IsIn(kind, of) => {
                *self.resource.type_name() == kind && within(self.resource, &of)
            }
        };
        principal && action && resource
    }
}

/// What Cedar says of a request, all slices together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The policies that raised an error.
    pub(crate) failed: BTreeSet<PolicyId>,
    /// The policies that forbid.
    pub(crate) forbids: BTreeSet<PolicyId>,
    /// The policies that grant. Not all of them, where any forbids.
    pub(crate) grants: BTreeSet<PolicyId>,
    /// Whether the engine allowed and named no policy for it.
    pub(crate) unexplained: bool,
}

impl Slices {
    pub(crate) fn new<'a>(
        policies: impl IntoIterator<Item = &'a Policy>,
    ) -> Result<Self, Box<PolicySetError>> {
        let mut slices =
            Self { authorizer: Authorizer::new(), asked: Asked::default(), sets: BTreeMap::new() };
        for policy in policies {
            for scope in slices.asked.scopes(policy) {
                slices.sets.entry(scope).or_default().add(policy.clone())?;
            }
        }
        Ok(slices)
    }

    /// The sets whose scope may hold.
    fn sets_for<'a>(&'a self, who: Who<'_>, entities: &Entities) -> Vec<&'a PolicySet> {
        let parts = |uid: &EntityUid| self.asked.by(uid, entities);
        let (actions, resources) = (parts(who.action), parts(who.resource));
        let mut sets = Vec::new();
        for principal in parts(who.principal) {
            for action in &actions {
                sets.extend(
                    resources.iter().filter_map(|resource| self.sets.get(&(principal, *action, *resource))),
                );
            }
        }
        sets
    }

    /// Has Cedar evaluate each set whose scope may hold, and puts its answers together.
    pub(crate) fn ask(&self, question: &Question, entities: &Entities) -> Answer {
        let mut answer = Answer::default();
        for set in self.sets_for(question.who(), entities) {
            answer.add(&self.authorizer.is_authorized(&question.request, set, entities));
        }
        answer
    }

    /// The policies whose scope may hold, by their ids.
    pub(crate) fn policies_for<'a>(
        &'a self,
        question: &Question,
        entities: &Entities,
    ) -> BTreeMap<&'a PolicyId, &'a Policy> {
        let sets = self.sets_for(question.who(), entities);
        sets.into_iter().flat_map(PolicySet::policies).map(|policy| (policy.id(), policy)).collect()
    }

    /// Whether a grant could be satisfied, whatever is asked besides: the scope of one holds, and that of no `forbid` which has
    /// no conditions. What conditions say is not known, so they are taken to hold of a grant, and not to of a `forbid`.
    pub(crate) fn could_grant(&self, who: Who<'_>, entities: &Entities) -> bool {
        let mut granted = false;
        let policies = self.sets_for(who, entities).into_iter().flat_map(PolicySet::policies);
        for policy in policies.filter(|policy| who.is_in_scope(policy, entities)) {
            match policy.effect() {
                Effect::Permit => granted = true,
                Effect::Forbid if policy.has_non_scope_constraint() => {}
                Effect::Forbid => return false,
            }
        }
        granted
    }

    /// As they are written: the texts of all policies by their ids. One that names no action, and so stands in no set, has
    /// not passed strict validation.
    pub(crate) fn texts(&self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for policy in self.sets.values().flat_map(PolicySet::policies) {
            // A policy with several actions stands in several sets.
            texts.entry(policy.id().to_string()).or_insert_with(|| policy.to_string());
        }
        texts
    }

    /// All policies, by their ids.
    pub(crate) fn policies(&self) -> BTreeMap<&PolicyId, &Policy> {
        self.sets.values().flat_map(PolicySet::policies).map(|policy| (policy.id(), policy)).collect()
    }
}

impl Asked {
    /// Under which scopes a policy stands. Under none, if its scope names no action at all and so holds for none.
    fn scopes(&mut self, policy: &Policy) -> Vec<Scope> {
        let principal = match policy.principal_constraint() {
            PrincipalConstraint::Any => ANYTHING,
            PrincipalConstraint::Is(kind) => self.kind(kind),
            PrincipalConstraint::In(uid)
            | PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::IsIn(_, uid) => self.entity(uid),
        };
        let resource = match policy.resource_constraint() {
            ResourceConstraint::Any => ANYTHING,
            ResourceConstraint::Is(kind) => self.kind(kind),
            ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => {
                self.entity(uid)
            }
        };
        let actions = match policy.action_constraint() {
            ActionConstraint::Any => vec![ANYTHING],
            ActionConstraint::Eq(uid) => vec![self.entity(uid)],
            ActionConstraint::In(uids) => uids.into_iter().map(|uid| self.entity(uid)).collect(),
        };
        let actions: BTreeSet<_> = actions.into_iter().collect();
        actions.into_iter().map(|action| (principal, action, resource)).collect()
    }

    fn next(&self) -> Number {
        self.types.len().saturating_add(self.entities.len()).saturating_add(1)
    }

    fn kind(&mut self, kind: EntityTypeName) -> Number {
        let next = self.next();
        *self.types.entry(kind).or_insert(next)
    }

    fn entity(&mut self, uid: EntityUid) -> Number {
        let next = self.next();
        *self.entities.entry(uid).or_insert(next)
    }

    /// What an entity satisfies of all that is asked for.
    fn by(&self, uid: &EntityUid, entities: &Entities) -> Vec<Number> {
        let above = entities.ancestors(uid).into_iter().flatten();
        let entities = above.chain([uid]).filter_map(|uid| self.entities.get(uid).copied());
        let kind = self.types.get(uid.type_name()).copied();
        // A store that holds an entity among its own ancestors must not have it asked twice.
        let satisfied: BTreeSet<_> = entities.chain(kind).chain([ANYTHING]).collect();
        satisfied.into_iter().collect()
    }
}

impl Answer {
    /// Adds what Cedar says of one set of policies.
    pub(crate) fn add(&mut self, response: &Response) {
        let diagnostics = response.diagnostics();
        self.failed.extend(diagnostics.errors().map(|error| match error {
            AuthorizationError::PolicyEvaluationError(error) => error.policy_id().clone(),
        }));
        let reasons: BTreeSet<_> = diagnostics.reason().cloned().collect();
        match response.decision() {
            Decision::Allow if reasons.is_empty() => self.unexplained = true,
            Decision::Allow => self.grants.extend(reasons),
            Decision::Deny => self.forbids.extend(reasons),
        }
    }
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
