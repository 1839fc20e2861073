//! Everything a bundle's files say, parsed, validated and held against one another.

use std::collections::BTreeMap;

use cedar_policy::{Entities, EntityUid, Schema};
use portcullis_protocol::{
    BundleDigest, LimitName, Millis, PolicyId, ProofDemand, SourceName, SurfaceName, Tier,
};

use crate::annotations::Annotations;
use crate::asks::Declared;
use crate::entities::{self, Types};
use crate::error::{BundleError, Fault};
use crate::exceptions::Exception;
use crate::files::{self, Files};
use crate::invariants::{self, Invariant};
use crate::manifest::Manifest;
use crate::pinned::{self, Pinned, PinnedTools};
use crate::roster::Roster;
use crate::schema::Sight;
use crate::slices::Slices;
use crate::sources::{self, FactSource, Sourced};
use crate::trial::Case;
use crate::{ENTITIES_FILE, MANIFEST_FILE, labels, mapping, policies, principals, schema, trial};

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
    pub(crate) sight: Sight,
    pub(crate) types: Types,
    /// The bundle's own. What its sources give is not among them.
    pub(crate) entities: Entities,
    /// `entities.json`.
    pub(crate) written_entities: String,
    /// The entities that policies name and that sources must give, each with a policy that names it.
    pub(crate) literals: BTreeMap<EntityUid, PolicyId>,
    pub(crate) slices: Slices,
    pub(crate) annotations: BTreeMap<PolicyId, Annotations>,
    pub(crate) cases: Vec<Case>,
    pub(crate) ids: Vec<PolicyId>,
    pub(crate) invariants: Vec<Invariant>,
    pub(crate) pinned: Pinned,
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
    /// The sources of facts.
    pub sources: BTreeMap<SourceName, FactSource>,
    /// What governance lets proceed although facts are stale.
    pub exceptions: Vec<Exception>,
    /// The people who may be asked for approvals, if the bundle has any.
    pub roster: Option<Roster>,
    /// What it says of proofs.
    pub proofs: ProofDemand,
    /// How many cases try it.
    pub cases: usize,
    /// Whether it says that none does. One that has no case and does not say so does not come into force.
    pub untested: bool,
    /// The tools that it pins, by the names of their MCP servers.
    pub pins: BTreeMap<String, Vec<String>>,
    /// Whether tools of servers without pins are refused.
    pub require_pins: bool,
    /// MCP servers whose tools it lists and does not pin, if it may do so. What such tools say of themselves can change after
    /// somebody has reviewed it.
    pub unpinned: Vec<String>,
    /// What is allowed and probably not meant, such as a policy that can never apply.
    pub warnings: Vec<String>,
}

impl Compiled {
    pub(crate) fn new(files: &Files) -> Result<Self, BundleError> {
        let manifest = Manifest::parse(files)?;
        let mut warnings = Vec::new();
        let people = manifest.people.as_deref();
        let (schema, sight) = schema::load(files, (&manifest.surfaces, people), &mut warnings)?;
        let types = Types::new(&schema, people)?;
        sources::refuse_undeclared(&manifest.sources, &types)?;
        let sourced = Sourced::of(&manifest.sources);
        let entities = entities::load(files, &schema, &types, &manifest.surfaces, &sourced)?;
        let set = policies::load(files)?;
        policies::validate(files, &set, &schema, &mut warnings)?;
        policies::refuse_absent_entities(&set, &entities, &sourced)?;
        if set.ids.is_empty() {
            warnings.push("the bundle has no policy: it grants nothing".to_owned());
        }
        labels::refuse_undeclared(&manifest.labels, &set.annotations, &set.ids)?;
        labels::warn(&manifest.labels, &set.annotations, &mut warnings);
        let declared = Declared { manifest: &manifest, sight: &sight, entities: &entities };
        declared.refuse_unmet(files, &set, &mut warnings)?;
        let invariants = invariants::load(files, &schema, (declared, &sourced), &mut warnings)?;
        let agents = entities::agents(&entities, &types);
        principals::refuse_namesakes(&types, &entities, (&agents, manifest.roster.as_ref()))?;
        policies::refuse_unanswerable(&set, manifest.roster.as_ref(), &agents)?;
        let slices = policies::slices(&set)?;
        let pinned = pinned::load(files)?;
        pinned::warn(&manifest, &pinned, &mut warnings);
        if let Some(fault) = mapping::faults(&manifest, &pinned, &mut warnings).into_iter().next() {
            return Err(fault);
        }
        let written_entities = files::text(files, ENTITIES_FILE)?.to_owned();
        let literals = policies::sourced_literals(&set, &sourced);
        let (annotations, ids) = (set.annotations, set.ids.into_keys().collect());
        let mut compiled = Self {
            manifest,
            schema,
            sight,
            types,
            entities,
            written_entities,
            literals,
            slices,
            annotations,
            cases: Vec::new(),
            ids,
            invariants,
            pinned,
            warnings,
        };
        let cases = trial::cases(files, &compiled.manifest)?;
        compiled.cases = trial::inform(cases, files, &compiled)?;
        if compiled.manifest.untested && !compiled.cases.is_empty() {
            return Err(BundleError::corrupt(MANIFEST_FILE, Fault::Tested));
        }
        Ok(compiled)
    }

    pub(crate) fn report(self, digest: BundleDigest) -> CheckReport {
        let agents = entities::agents(&self.entities, &self.types);
        let unpinned = pinned::unpinned(&self.manifest, &self.pinned);
        let named =
            |(server, tools): (String, PinnedTools)| (server, tools.tools().keys().cloned().collect());
        let pins = self.pinned.into_iter().map(named).collect();
        let Manifest { name, version, valid_from, valid_until, .. } = self.manifest;
        let Manifest { surfaces, limits, roster, sources, exceptions, .. } = self.manifest;
        let Manifest { proofs, untested, require_pins, .. } = self.manifest;
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
            sources,
            exceptions,
            roster,
            proofs,
            cases: self.cases.len(),
            untested,
            pins,
            require_pins,
            unpinned,
            warnings: self.warnings,
        }
    }
}
