//! What a decision asks of a bundle's content, whoever vouches for it or nobody.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{
    ActionName, AgentId, BundleDigest, BundleRef, Coverable, Digest, LabelName, Millis, PrincipalId, Request,
    SourceName, SurfaceName, SurfaceTable,
};

use crate::compile::Compiled;
use crate::limits::{self, Counting};
use crate::{Bundle, Evaluation, Exception, FactSource, Gathered, Rehearsal, exceptions, pinned};

/// The content of a [`Bundle`] or of a [`Rehearsal`], to be asked. That of a rehearsal says what would be decided, and nothing
/// leads from here to a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    compiled: &'a Compiled,
    reference: &'a BundleRef,
    table: &'a SurfaceTable,
    table_digest: Option<Digest>,
}

/// The surfaces of a bundle as gates need them, and the digest by which a gate says which it has read a call by.
pub(crate) fn table(compiled: &Compiled, bundle: BundleDigest) -> (SurfaceTable, Option<Digest>) {
    let surfaces = compiled.manifest.surfaces.clone();
    let pins = pinned::digests(compiled.manifest.require_pins, &compiled.pinned);
    let table = SurfaceTable { bundle, surfaces, pins };
    // Without a digest no gate's reading matches, so calls that gates read are refused.
    let digest = table.digest().ok(); // tidy: allow None matches nothing
    (table, digest)
}

impl Bundle {
    /// Its content.
    #[must_use]
    pub fn content(&self) -> Content<'_> {
        let Self { reference, table, table_digest, compiled, .. } = self;
        Content { compiled, reference, table, table_digest: *table_digest }
    }
}

impl Rehearsal {
    /// Its content.
    #[must_use]
    pub const fn content(&self) -> Content<'_> {
        let Self { reference, table, table_digest, compiled, .. } = self;
        Content { compiled, reference, table, table_digest: *table_digest }
    }
}

impl<'a> Content<'a> {
    /// Name, version and digest.
    #[must_use]
    pub const fn reference(&self) -> &'a BundleRef {
        self.reference
    }

    /// As [`Bundle::validity`].
    #[must_use]
    pub const fn validity(&self) -> (Millis, Millis) {
        (self.compiled.manifest.valid_from, self.compiled.manifest.valid_until)
    }

    /// As [`Bundle::surfaces`].
    #[must_use]
    pub const fn surfaces(&self) -> &'a SurfaceTable {
        self.table
    }

    /// As [`Bundle::surfaces_digest`].
    #[must_use]
    pub const fn surfaces_digest(&self) -> Option<Digest> {
        self.table_digest
    }

    /// As [`Bundle::sources`].
    #[must_use]
    pub const fn sources(&self) -> &'a BTreeMap<SourceName, FactSource> {
        &self.compiled.manifest.sources
    }

    /// As [`Bundle::exception`].
    #[must_use]
    pub fn exception(&self, surface: &SurfaceName, covers: Coverable) -> Option<&'a Exception> {
        exceptions::of(&self.compiled.manifest.exceptions, surface, covers)
    }

    /// As [`Bundle::sees_labels`].
    #[must_use]
    pub fn sees_labels(&self, action: &ActionName) -> bool {
        self.compiled.sight.labels.contains(action)
    }

    /// As [`Bundle::knows_agent`].
    #[must_use]
    pub fn knows_agent(&self, agent: &AgentId, facts: Option<&Gathered>) -> Option<bool> {
        let entities = self.compiled.entities_with(&self.reference.digest, facts)?;
        Some(entities.get(&self.compiled.types.agent(agent.as_str())).is_some())
    }

    /// As [`Bundle::knows_principal`].
    #[must_use]
    pub fn knows_principal(&self, principal: &PrincipalId, facts: Option<&Gathered>) -> Option<bool> {
        let entities = self.compiled.entities_with(&self.reference.digest, facts)?;
        Some(self.compiled.types.principal(principal, entities).is_some())
    }

    /// As [`Bundle::evaluate_informed`].
    #[must_use]
    pub fn evaluate_informed(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        facts: Option<&Gathered>,
    ) -> Evaluation {
        let entities = self.compiled.entities_with(&self.reference.digest, facts);
        self.compiled.evaluate_in(request, Some(labels), entities)
    }

    /// As [`Bundle::counting`].
    #[must_use]
    pub fn counting(&self, request: &Request, facts: Option<&Gathered>) -> Vec<Counting> {
        let entities = self.compiled.entities_with(&self.reference.digest, facts);
        // Without facts that are needed nobody is known, and then no limit has room.
        let whom = entities
            .and_then(|entities| self.compiled.whom(&request.agent, request.ask.acts_for.as_ref(), entities));
        limits::counting(&self.compiled.manifest.limits, request, whom.as_ref())
    }
}
