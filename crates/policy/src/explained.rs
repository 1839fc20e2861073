//! What a bundle says of a decision that was made by it, for explanations: nothing here decides.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Authorizer, Effect, Policy, PolicySet};
use portcullis_protocol::{
    Coverable, Digest, LabelName, LimitName, Millis, Obligations, PolicyId, Request, SurfaceName,
    SurfaceSpec, ToolName,
};

use crate::slices::Question;
use crate::{Exception, Gathered, Limit, Rehearsal};

/// What policy would have said of a request that it forbade, had something been otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otherwise {
    /// By the policies that forbid it, the labels for which they do: those without which a policy does not forbid, and those
    /// any of which alone is enough.
    pub labels: BTreeMap<PolicyId, BTreeSet<LabelName>>,
    /// The grants that are satisfied all the same.
    pub grants: BTreeSet<PolicyId>,
}

impl Rehearsal {
    /// A limit's declaration.
    #[must_use]
    pub fn limit(&self, name: &LimitName) -> Option<&Limit> {
        self.compiled.manifest.limits.get(name)
    }

    /// A surface's declaration.
    #[must_use]
    pub fn surface(&self, name: &SurfaceName) -> Option<&SurfaceSpec> {
        self.compiled.manifest.surfaces.get(name)
    }

    /// From when on it may decide, and from when on not any more.
    #[must_use]
    pub const fn validity(&self) -> (Millis, Millis) {
        (self.compiled.manifest.valid_from, self.compiled.manifest.valid_until)
    }

    /// How a tool is pinned.
    #[must_use]
    pub fn pin(&self, tool: &ToolName) -> Option<Digest> {
        self.table.pins.tools.get(tool).copied()
    }

    /// The exception of a surface for a code.
    #[must_use]
    pub fn exception(&self, surface: &SurfaceName, covers: Coverable) -> Option<&Exception> {
        let mut all = self.compiled.manifest.exceptions.iter();
        all.find(|exception| exception.surface == *surface && exception.covers == covers)
    }

    /// What a policy asks for besides itself.
    #[must_use]
    pub fn asks(&self, policy: &PolicyId) -> Option<&Obligations> {
        self.compiled.annotations.get(policy).map(|annotations| &annotations.obligations)
    }

    /// What else can be said of a request that these policies forbade, by an agent with these labels; `None` if Cedar is not
    /// even asked about such a request.
    #[must_use]
    pub fn otherwise(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        facts: Option<&Gathered>,
        forbids: &[PolicyId],
    ) -> Option<Otherwise> {
        let entities = self.compiled.entities_with(&self.digest(), facts)?;
        let ask = |labels: &BTreeSet<LabelName>| {
            let question = self.compiled.question(request, Some(labels), Some(entities));
            question.ok() // tidy: allow nothing is said of a request about which Cedar is not asked
        };
        let holds = |policy: &Policy, question: &Question| {
            let Ok(alone) = PolicySet::from_policies([policy.clone()]) else { return false };
            let answer = Authorizer::new().is_authorized(&question.request, &alone, entities);
            answer.diagnostics().reason().next().is_some()
        };
        let question = ask(labels)?;
        let policies = self.compiled.slices.policies();
        let mut otherwise = Otherwise::default();
        for (id, policy) in policies {
            let Ok(id) = id.to_string().parse::<PolicyId>() else { continue };
            if policy.effect() == Effect::Permit && holds(policy, &question) {
                otherwise.grants.insert(id);
            } else if forbids.contains(&id) {
                let with = |labels: &BTreeSet<LabelName>| ask(labels).is_some_and(|it| holds(policy, &it));
                otherwise.labels.insert(id, behind(labels, with));
            }
        }
        Some(otherwise)
    }
}

/// The labels for which something holds.
fn behind(labels: &BTreeSet<LabelName>, holds: impl Fn(&BTreeSet<LabelName>) -> bool) -> BTreeSet<LabelName> {
    if holds(&BTreeSet::new()) {
        return BTreeSet::new();
    }
    let matters = |label: &&LabelName| {
        let without: BTreeSet<_> = labels.iter().filter(|other| other != label).cloned().collect();
        !holds(&without) || holds(&BTreeSet::from([(*label).clone()]))
    };
    let behind: BTreeSet<_> = labels.iter().filter(matters).cloned().collect();
    // It takes some of them, and which is not to be told one by one.
    if behind.is_empty() { labels.clone() } else { behind }
}

#[cfg(test)]
#[path = "explained_tests.rs"]
mod tests;
