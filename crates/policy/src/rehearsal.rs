//! What a bundle would say, before anybody has signed it: for simulation and explanation. It cannot decide: there is no way
//! from here to a [`crate::Bundle`].

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Effect;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{
    BundleDigest, Coverable, Excepted, LabelName, Millis, Obligations, ReasonCode, Request, Snapshots,
    SurfaceName, SurfaceSpec, ToolPins, Verdict,
};

use crate::compile::Compiled;
use crate::error::BundleError;
use crate::{Evaluation, Gathered, Snapshot, bundle, exceptions, pinned};

/// A bundle's content, parsed and validated, and not known to be anybody's.
#[derive(Debug)]
pub struct Rehearsal {
    pub(crate) compiled: Compiled,
    digest: BundleDigest,
    pub(crate) pins: ToolPins,
}

impl Snapshot {
    /// Parses and validates everything but the signature, as [`Self::check`] does, to ask what it would say.
    ///
    /// # Errors
    /// [`BundleError::Corrupt`], by the first defect.
    pub fn rehearse(&self) -> Result<Rehearsal, BundleError> {
        let compiled = Compiled::new(&self.files)?;
        let pins = pinned::digests(compiled.manifest.require_pins, &compiled.pinned);
        Ok(Rehearsal { compiled, digest: self.digest(), pins })
    }
}

impl Rehearsal {
    /// The bundle's digest.
    #[must_use]
    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// What a gate with this bundle would hear from policy alone at `at`, of an agent with exactly these labels and a
    /// credential that admits whom it acts for, by these
    /// facts, the order of preconditions kept: validity, then the facts and how old they are, then whether the agent and
    /// whom it acts for are known, then [`crate::Bundle::evaluate_informed`]. Without `at` the bundle is taken as valid, and facts as fresh.
    /// The second is the exception by which it is a PERMIT, if there is one.
    #[must_use]
    pub fn evaluate(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        at: Option<Millis>,
        facts: Option<&Gathered>,
    ) -> (Evaluation, Option<Excepted>) {
        let manifest = &self.compiled.manifest;
        let validity = (manifest.valid_from, manifest.valid_until);
        if let Some(Err(code)) = at.map(|at| bundle::validity(validity, at)) {
            return (refused(code), None);
        }
        self.evaluate_as_valid(request, labels, at, facts)
    }

    /// As [`Self::evaluate`], if the bundle were in force at `at`, whatever its own validity says: one that is made for an
    /// activation to come is not valid at any time on record.
    #[must_use]
    pub fn evaluate_as_valid(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        at: Option<Millis>,
        facts: Option<&Gathered>,
    ) -> (Evaluation, Option<Excepted>) {
        let Some(entities) = self.compiled.entities_with(&self.digest, facts) else {
            return (refused(ReasonCode::FactUnavailable), None);
        };
        let whom = self.compiled.whom(&request.agent, request.ask.acts_for.as_ref(), entities);
        let evaluation = match (entities.get(&self.compiled.types.agent(request.agent.as_str())), whom) {
            (None, _) => refused(ReasonCode::IdentityUnknown),
            (Some(_), None) => refused(ReasonCode::IdentityPrincipalUnknown),
            (Some(_), Some(_)) => self.compiled.evaluate_in(request, Some(labels), Some(entities)),
        };
        match facts.zip(at) {
            Some((facts, at)) => self.aged(request, evaluation, facts.used(), at),
            None => (evaluation, None),
        }
    }

    /// What is left of an evaluation at a time: by stale facts there is a PERMIT by an exception, or none.
    fn aged(
        &self,
        request: &Request,
        evaluation: Evaluation,
        used: &Snapshots,
        at: Millis,
    ) -> (Evaluation, Option<Excepted>) {
        if used.values().any(|it| it.age_at(at).is_none()) {
            return (refused(ReasonCode::FactUnavailable), None);
        }
        if !used.values().any(|it| it.is_stale_at(at)) {
            return (evaluation, None);
        }
        let exceptions = &self.compiled.manifest.exceptions;
        let exception = exceptions::of(exceptions, &request.ask.surface, Coverable::FactStale);
        match (exception.and_then(|exception| exception.covering(used, at)), evaluation.verdict.reason()) {
            (Some(excepted), None) => (evaluation, Some(excepted)),
            (Some(_) | None, _) => (refused(ReasonCode::FactStale), None),
        }
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

    /// Whether all that is asked of a PERMIT beside policy is the same under both: the terms of the surface, the limits that
    /// count it, and what the pins say of the tool as the gate saw it. State is not looked into.
    #[must_use]
    pub fn binds_alike(&self, other: &Self, ask: &Ask) -> bool {
        let surface = &ask.surface;
        let declared = |it: &Self| it.compiled.manifest.surfaces.get(surface).map(terms);
        let limits = |it: &Self| {
            let all = it.compiled.manifest.limits.iter();
            let own = all.filter(|(_, limit)| limit.surfaces.contains(surface));
            own.map(|(name, limit)| (name.clone(), limit.clone())).collect::<Vec<_>>()
        };
        declared(self) == declared(other)
            && limits(self) == limits(other)
            && self.pins.judge_ask(ask) == other.pins.judge_ask(ask)
    }
}

/// The terms on which a PERMIT is given and spent. Taken apart field by field, so that one that is added is thought of.
fn terms(spec: &SurfaceSpec) -> impl PartialEq + use<> {
    let SurfaceSpec {
        tier,
        on_silence,
        idempotency,
        permit_ttl_ms,
        outcome_within_ms,
        derived_window_ms,
        witnessed,
        // What a request is made of, and so before policy: `Rehearsal::reads_alike`.
        actions: _,
        tools: _,
        resource: _,
        context: _,
        // What is left of a request when it is decided.
        keep: _,
    } = spec;
    let times = (*permit_ttl_ms, *outcome_within_ms, *derived_window_ms);
    (*tier, *on_silence, *idempotency, times, *witnessed)
}

fn refused(code: ReasonCode) -> Evaluation {
    let (verdict, obligations) = (Verdict::Refuse(code, Vec::new()), Obligations::none());
    Evaluation { verdict, obligations, labels: BTreeMap::new(), detail: None }
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
