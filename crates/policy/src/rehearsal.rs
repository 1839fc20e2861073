//! What a bundle would say, before anybody has signed it: for simulation and explanation. It cannot decide: there is no way
//! from here to a [`crate::Bundle`].

use std::collections::BTreeMap;

use cedar_policy::Effect;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{
    BundleDigest, BundleRef, Digest, Millis, ReasonCode, SourceName, SurfaceName, SurfaceSpec, SurfaceTable,
};

use crate::compile::Compiled;
use crate::error::BundleError;
use crate::sources::Given;
use crate::{FactSnapshot, Snapshot, content, trial};

/// A bundle's content, parsed and validated, and not known to be anybody's. What is asked of it is its [`crate::Content`].
#[derive(Debug)]
pub struct Rehearsal {
    pub(crate) compiled: Compiled,
    pub(crate) reference: BundleRef,
    pub(crate) table: SurfaceTable,
    pub(crate) table_digest: Option<Digest>,
    /// The facts that its cases have, by the names of their files.
    facts: BTreeMap<String, FactSnapshot>,
}

impl Snapshot {
    /// Parses and validates everything but the signature, as [`Self::check`] does, to ask what it would say.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect.
    pub fn rehearse(&self) -> Result<Rehearsal, BundleError> {
        let compiled = Compiled::new(&self.files)?;
        let facts = trial::facts_by_name(&self.files)?;
        let (name, version) = (compiled.manifest.name.clone(), compiled.manifest.version);
        let reference = BundleRef { name, version, digest: self.digest() };
        let (table, table_digest) = content::table(&compiled, reference.digest);
        Ok(Rehearsal { compiled, reference, table, table_digest, facts })
    }
}

impl Rehearsal {
    /// The bundle's digest.
    #[must_use]
    pub const fn digest(&self) -> BundleDigest {
        self.reference.digest
    }

    /// What its cases have in the place of its sources of facts, as of a time: of each source the file that is named for it,
    /// else the one of the source's name. `None` if one of them is not there.
    #[must_use]
    pub fn facts_of_cases(&self, named: &BTreeMap<SourceName, String>, as_of: Millis) -> Option<Given> {
        let sources = self.compiled.manifest.sources.keys();
        let given = sources.map(|source| {
            let file = named.get(source).map_or(source.as_str(), String::as_str);
            Some((source.clone(), self.facts.get(file)?.at(as_of).into()))
        });
        given.collect()
    }

    /// The `@id` of the first policy that could grant something.
    pub(crate) fn first_grant(&self) -> Option<String> {
        let policies = self.compiled.slices.policies();
        policies
            .into_iter()
            .find(|(_, policy)| policy.effect() == Effect::Permit)
            .map(|(id, _)| id.to_string())
    }

    /// Whether a gate makes the same request of a call under both: surface, tools, actions, resource and context are
    /// declared alike.
    #[must_use]
    pub fn reads_alike(&self, other: &Self, surface: &SurfaceName) -> bool {
        let read = |rehearsal: &Self| {
            let spec = rehearsal.compiled.manifest.surfaces.get(surface)?;
            Some((spec.tools.clone(), spec.actions.clone(), spec.resource.clone(), spec.context.clone()))
        };
        read(self) == read(other)
    }

    /// Whether a gate says of the tool that is called what the pins of `other` ask for: one whose bundle pins nothing says
    /// nothing of tools, and would have under one that does. So of arguments, which are held against the definition that is
    /// pinned, and against no other.
    #[must_use]
    pub fn shows_tools_for(&self, other: &Self, ask: &Ask) -> bool {
        let asked = other.table.pins.judge_ask(ask);
        let was_said = ask.tool.as_ref().is_some_and(|called| {
            called.arguments.is_some() || asked != Err(ReasonCode::ToolArgumentsUnchecked)
        });
        was_said || self.table.pins.judge_ask(ask) == asked
    }

    /// Whether a PERMIT is given and spent on the same terms under both, as far as they are no part of deciding: whom silence
    /// strikes and how, and within which times.
    #[must_use]
    pub fn binds_alike(&self, other: &Self, surface: &SurfaceName) -> bool {
        let declared = |it: &Self| it.compiled.manifest.surfaces.get(surface).map(terms);
        declared(self) == declared(other)
    }
}

/// The terms on which a PERMIT is given and spent. Taken apart field by field, so that one that is added is thought of.
fn terms(spec: &SurfaceSpec) -> impl PartialEq + use<> {
    let SurfaceSpec {
        tier,
        on_silence,
        permit_ttl_ms,
        outcome_within_ms,
        witnessed,
        // Decided by: what is asked again is asked of these too.
        idempotency: _,
        derived_window_ms: _,
        // What a request is made of, and so before policy: `Rehearsal::reads_alike`.
        actions: _,
        tools: _,
        resource: _,
        context: _,
        // What is left of a request when it is decided. That its arguments come with it is its gate's affair.
        keep: _,
    } = spec;
    (*tier, *on_silence, *permit_ttl_ms, *outcome_within_ms, *witnessed)
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
