//! What a bundle commits its owners to: per surface what silence, repeats, grants and limits mean, which facts come from
//! elsewhere, and what was excepted, by whom, until when.

use std::collections::BTreeMap;

use cedar_policy::{ActionConstraint, Effect, EntityUid, Policy};
use portcullis_protocol::{
    BundleDigest, Idempotency, LimitName, Millis, Obligations, OnSilence, PolicyId, SourceName, SurfaceName,
    SurfaceSpec, Tier,
};
use serde::Serialize;

use crate::compile::Compiled;
use crate::{Exception, FactSource, Rehearsal};

/// A surface, as whoever answers for it sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SurfaceGovernance {
    /// How much hangs on it.
    pub tier: Tier,
    /// What silence does to the caller.
    pub on_silence: OnSilence,
    /// How often a request may run.
    pub idempotency: Idempotency,
    /// Whether every PERMIT must be seen by witnesses.
    pub witnessed: bool,
    /// The policies that may grant its actions, each with what it asks for.
    pub grants: BTreeMap<PolicyId, Obligations>,
    /// The limits that count here.
    pub limits: Vec<LimitName>,
}

/// An exception, with who answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnedException {
    /// The exception.
    #[serde(flatten)]
    pub exception: Exception,
    /// How people call its owner.
    pub owner_name: String,
    /// Whether it was to be looked at again by now.
    pub review_overdue: bool,
    /// Whether it covers nothing any more.
    pub over: bool,
}

/// The report on a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Governance {
    /// The bundle's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Its digest.
    pub digest: BundleDigest,
    /// From when on it may decide.
    pub valid_from: Millis,
    /// From when on it may not decide any more.
    pub valid_until: Millis,
    /// The exceptions: those that were to be looked at again first, then by their review dates.
    pub exceptions: Vec<OwnedException>,
    /// The sources of facts. Each is an input of every decision.
    pub sources: BTreeMap<SourceName, FactSource>,
    /// The surfaces.
    pub surfaces: BTreeMap<SurfaceName, SurfaceGovernance>,
}

impl Rehearsal {
    /// The report on a bundle as of `now`.
    #[must_use]
    pub fn governance(&self, now: Millis) -> Governance {
        let (compiled, manifest) = (&self.compiled, &self.compiled.manifest);
        let mut exceptions: Vec<_> =
            manifest.exceptions.iter().map(|exception| compiled.owned(exception, now)).collect();
        exceptions.sort_by_key(|it| (!it.review_overdue, it.exception.review, it.exception.surface.clone()));
        let surface =
            |(name, spec): (&SurfaceName, &SurfaceSpec)| (name.clone(), compiled.governed(name, spec));
        Governance {
            name: manifest.name.clone(),
            version: manifest.version,
            digest: self.digest(),
            valid_from: manifest.valid_from,
            valid_until: manifest.valid_until,
            exceptions,
            sources: manifest.sources.clone(),
            surfaces: manifest.surfaces.iter().map(surface).collect(),
        }
    }
}

impl Compiled {
    fn owned(&self, exception: &Exception, now: Millis) -> OwnedException {
        let roster = self.manifest.roster.as_ref();
        // Without the owner in the roster no exception loads.
        let owner = roster.and_then(|roster| roster.people().get(&exception.owner));
        OwnedException {
            owner_name: owner.map_or_else(|| exception.owner.to_string(), |person| person.name.clone()),
            review_overdue: now >= exception.review && now < exception.until,
            over: now >= exception.until,
            exception: exception.clone(),
        }
    }

    fn governed(&self, name: &SurfaceName, spec: &SurfaceSpec) -> SurfaceGovernance {
        let actions: Vec<_> = spec.actions.iter().map(|action| self.types.action(action.as_str())).collect();
        let policies = self.slices.policies();
        let granting = policies.iter().filter(|(_, policy)| {
            policy.effect() == Effect::Permit && actions.iter().any(|action| self.is_about(policy, action))
        });
        let named = granting.filter_map(|(id, _)| {
            let id: PolicyId = id.to_string().parse().ok()?; // tidy: allow a policy without an id is in no bundle
            let obligations = self.annotations.get(&id)?.obligations.clone();
            Some((id, obligations))
        });
        let limits = self.manifest.limits.iter().filter(|(_, limit)| limit.surfaces.contains(name));
        SurfaceGovernance {
            tier: spec.tier,
            on_silence: spec.on_silence,
            idempotency: spec.idempotency,
            witnessed: spec.witnessed,
            grants: named.collect(),
            limits: limits.map(|(limit, _)| limit.clone()).collect(),
        }
    }

    /// Whether a policy's scope admits an action.
    fn is_about(&self, policy: &Policy, action: &EntityUid) -> bool {
        let within = |uid: &EntityUid| {
            uid == action || self.entities.ancestors(action).into_iter().flatten().any(|above| above == uid)
        };
        match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid == *action,
            ActionConstraint::In(uids) => uids.iter().any(within),
        }
    }
}

#[cfg(test)]
#[path = "governance_tests.rs"]
mod tests;
