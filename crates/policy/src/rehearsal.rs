//! What a bundle would say, before anybody has signed it: for simulation and explanation. It cannot decide: there is no way
//! from here to a [`crate::Bundle`].

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{
    BundleDigest, LabelName, Millis, Obligations, ReasonCode, Request, SurfaceName, Verdict,
};

use crate::compile::Compiled;
use crate::error::BundleError;
use crate::{Evaluation, Snapshot, bundle};

/// A bundle's content, parsed and validated, and not known to be anybody's.
#[derive(Debug)]
pub struct Rehearsal {
    pub(crate) compiled: Compiled,
    digest: BundleDigest,
}

impl Snapshot {
    /// Parses and validates everything but the signature, as [`Self::check`] does, to ask what it would say.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect.
    pub fn rehearse(&self) -> Result<Rehearsal, BundleError> {
        Ok(Rehearsal { compiled: Compiled::new(&self.files)?, digest: self.digest() })
    }
}

impl Rehearsal {
    /// The bundle's digest.
    #[must_use]
    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// What a gate with this bundle would hear from policy alone at `at`, of an agent with exactly these labels, the order of
    /// preconditions kept: validity, then whether the agent is known, then [`crate::Bundle::evaluate_labelled`]. Without
    /// `at` the bundle is taken as valid.
    #[must_use]
    pub fn evaluate(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        at: Option<Millis>,
    ) -> Evaluation {
        let manifest = &self.compiled.manifest;
        let refused = |code| Evaluation {
            verdict: Verdict::Refuse(code, Vec::new()),
            obligations: Obligations::none(),
            labels: BTreeMap::new(),
            detail: None,
        };
        if let Some(Err(code)) =
            at.map(|at| bundle::validity((manifest.valid_from, manifest.valid_until), at))
        {
            return refused(code);
        }
        if self.compiled.entities.get(&self.compiled.types.agent(&request.agent)).is_none() {
            return refused(ReasonCode::IdentityUnknown);
        }
        self.compiled.evaluate(request, Some(labels))
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
}
