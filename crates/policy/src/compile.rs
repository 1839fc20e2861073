//! Everything a bundle's files say, parsed, validated and held against one another.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Entities, Schema};
use portcullis_protocol::{ActionName, BundleDigest, LimitName, Millis, PolicyId, SurfaceName, Tier};

use crate::annotations::Annotations;
use crate::entities::{self, Types};
use crate::error::BundleError;
use crate::files::Files;
use crate::invariants::{self, Invariant};
use crate::manifest::Manifest;
use crate::roster::Roster;
use crate::slices::Slices;
use crate::trial::Case;
use crate::{labels, policies, schema, trial};

#[cfg(test)]
#[path = "property_tests.rs"]
mod property_tests;
#[cfg(test)]
#[path = "random_bundles_tests.rs"]
mod random_bundles;

/// A bundle's content in usable form. It can decide only inside a [`crate::Bundle`].
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) manifest: Manifest,
    pub(crate) schema: Schema,
    /// The actions whose policies see the agent's labels.
    pub(crate) labelled: BTreeSet<ActionName>,
    pub(crate) types: Types,
    pub(crate) entities: Entities,
    pub(crate) slices: Slices,
    pub(crate) annotations: BTreeMap<PolicyId, Annotations>,
    pub(crate) cases: Vec<Case>,
    pub(crate) ids: Vec<PolicyId>,
    pub(crate) invariants: Vec<Invariant>,
    warnings: Vec<String>,
}

/// What a bundle holds, for `portcullis bundle check`. It says nothing about signature, pin and validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The bundle's name.
    pub name: String,
    /// The bundle's version.
    pub version: u64,
    /// The digest to pin.
    pub digest: BundleDigest,
    /// From when on it may decide.
    pub valid_from: Millis,
    /// From when on it may not decide any more.
    pub valid_until: Millis,
    /// The surfaces and their tiers.
    pub surfaces: BTreeMap<SurfaceName, Tier>,
    /// The names of the limits, sorted.
    pub limits: Vec<LimitName>,
    /// The `@id` of every policy, sorted.
    pub policies: Vec<PolicyId>,
    /// The `@id` of every invariant, sorted. Only `portcullis bundle prove` says whether they hold.
    pub invariants: Vec<PolicyId>,
    /// The agents that the entities hold, sorted.
    pub agents: Vec<String>,
    /// The people who may be asked for approvals, if the bundle has any.
    pub roster: Option<Roster>,
    /// What is allowed and probably not meant, such as a policy that can never apply.
    pub warnings: Vec<String>,
}

impl Compiled {
    pub(crate) fn new(files: &Files) -> Result<Self, BundleError> {
        let manifest = Manifest::parse(files)?;
        let mut warnings = Vec::new();
        let (schema, labelled) = schema::load(files, &manifest.surfaces, &mut warnings)?;
        let types = Types::new(&schema)?;
        let entities = entities::load(files, &schema, &types, &manifest.surfaces)?;
        let set = policies::load(files)?;
        policies::validate(files, &set, &schema, &mut warnings)?;
        policies::refuse_absent_entities(&set, &entities)?;
        if set.ids.is_empty() {
            warnings.push("the bundle has no policy: it grants nothing".to_owned());
        }
        labels::refuse_undeclared(&manifest.labels, &set.annotations, &set.ids)?;
        let invariants = invariants::load(files, &schema, &entities, &mut warnings)?;
        let agents = entities::agents(&entities, &types);
        policies::refuse_unanswerable(&set, manifest.roster.as_ref(), &agents)?;
        let slices = policies::slices(&set)?;
        let cases = trial::cases(files, &manifest.surfaces)?;
        let (annotations, ids) = (set.annotations, set.ids.into_keys().collect());
        Ok(Self {
            manifest,
            schema,
            labelled,
            types,
            entities,
            slices,
            annotations,
            cases,
            ids,
            invariants,
            warnings,
        })
    }

    pub(crate) fn report(self, digest: BundleDigest) -> CheckReport {
        let agents = entities::agents(&self.entities, &self.types);
        let Manifest { name, version, valid_from, valid_until, surfaces, limits, roster, .. } = self.manifest;
        CheckReport {
            name,
            version,
            digest,
            valid_from,
            valid_until,
            surfaces: surfaces.into_iter().map(|(name, spec)| (name, spec.tier)).collect(),
            limits: limits.into_keys().collect(),
            policies: self.ids,
            invariants: self.invariants.into_iter().map(|invariant| invariant.id).collect(),
            agents,
            roster,
            warnings: self.warnings,
        }
    }
}
