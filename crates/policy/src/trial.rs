//! Trying a bundle: its cases against its policies, and mutants of its policies against its cases.
//!
//! A case that passes shows what policies say. Whether the cases say enough is shown by what they do not notice: each
//! policy is left out, turned round and freed of its conditions in turn, and some case must then fail.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Entities;
use portcullis_protocol::{
    Decision, LabelName, Millis, Obligations, PolicyId, ReasonCode, SurfaceName, Verdict,
};
use serde::Serialize;

use crate::Bundle;
use crate::compile::Compiled;
use crate::error::{BundleError, Fault};
use crate::evaluate::settled;
use crate::files::POLICIES;
use crate::slices::Answer;
use crate::{Evaluation, bundle};

mod cases;
pub(crate) mod facts;
mod mutants;

pub(crate) use cases::{Case, cases, misread};
pub(crate) use facts::{facts_by_name, inform};
pub use mutants::{Change, Mutant};

/// What a case expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expected {
    /// PERMIT, DENY or SILENCE.
    pub decision: Decision,
    /// Its code; `None` for a PERMIT.
    pub reason: Option<ReasonCode>,
    /// Exactly these policies determine it; `None` if the case does not say.
    pub policies: Option<BTreeSet<PolicyId>>,
    /// What the grants ask for, exactly; nothing, if a case does not say, so that no case passes over an approval.
    pub obligations: Obligations,
    /// The labels that the grants add, exactly; none, if a case does not say.
    pub adds: BTreeSet<LabelName>,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// The file, as a path within the bundle.
    pub file: String,
    /// The case's name.
    pub name: String,
    /// What it expects.
    pub expected: Expected,
    /// What the bundle says.
    pub found: Expected,
    /// In other words, for a refusal.
    pub detail: Option<String>,
    /// Whether they agree.
    pub passed: bool,
}

/// How often cases that pass reach a surface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SurfaceReport {
    /// Cases in which it is granted.
    pub granted: usize,
    /// Cases in which it is refused.
    pub refused: usize,
}

/// What trying a bundle showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrialReport {
    /// Every case, by file, as it stands there.
    pub cases: Vec<CaseReport>,
    /// Every policy, with the number of cases that it determined.
    pub policies: BTreeMap<PolicyId, usize>,
    /// Every surface.
    pub surfaces: BTreeMap<SurfaceName, SurfaceReport>,
    /// Every mutant of a policy.
    pub mutants: Vec<Mutant>,
}

impl TrialReport {
    /// Whether there are cases, and all pass.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.cases.is_empty() && self.cases.iter().all(|case| case.passed)
    }

    /// What the cases leave untried, in words: policies that determine none, surfaces that are in none or refused
    /// in none, mutants that none notices.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        let policies = self.policies.iter().filter(|(_, cases)| **cases == 0);
        gaps.extend(policies.map(|(policy, _)| format!("policy `{policy}` determines no case")));
        for (surface, SurfaceReport { granted, refused }) in &self.surfaces {
            match (granted, refused) {
                (0, 0) => gaps.push(format!("surface `{surface}` is in no case")),
                (_, 0) => gaps.push(format!("surface `{surface}` is refused in no case")),
                // What no policy grants cannot be granted in a case.
                (_, _) => {}
            }
        }
        let unnoticed = self.mutants.iter().filter(|mutant| mutant.noticed_by.is_none());
        gaps.extend(
            unnoticed.map(|mutant| format!("no case notices policy `{}` {}", mutant.policy, mutant.change)),
        );
        gaps
    }
}

/// Tries a bundle's cases, each by itself.
pub(crate) fn only_cases(compiled: &Compiled) -> Vec<CaseReport> {
    compiled.cases.iter().map(|case| case.tried(compiled)).collect()
}

/// Tries a bundle.
pub(crate) fn run(compiled: &Compiled) -> Result<TrialReport, BundleError> {
    let mut report = TrialReport {
        cases: Vec::new(),
        policies: compiled.ids.iter().map(|id| (id.clone(), 0)).collect(),
        surfaces: compiled
            .manifest
            .surfaces
            .keys()
            .map(|surface| (surface.clone(), SurfaceReport::default()))
            .collect(),
        mutants: Vec::new(),
    };
    for (case, tried) in compiled.cases.iter().zip(only_cases(compiled)) {
        if tried.passed {
            report.count(case, &tried);
        }
        report.cases.push(tried);
    }
    report.mutants = mutants::try_all(compiled)?;
    Ok(report)
}

impl TrialReport {
    fn count(&mut self, case: &Case, tried: &CaseReport) {
        let determined = tried.found.policies.iter().flatten();
        for policy in determined {
            if let Some(cases) = self.policies.get_mut(policy) {
                *cases = cases.saturating_add(1);
            }
        }
        if let Some(surface) = self.surfaces.get_mut(&case.request.ask.surface) {
            let count = match tried.found.decision {
                Decision::Permit => &mut surface.granted,
                Decision::Deny | Decision::Silence => &mut surface.refused,
            };
            *count = count.saturating_add(1);
        }
    }
}

impl Bundle {
    /// The first of the cases in `tests/*.toml` that does not come out as it says, if there is one. Policies are not
    /// changed for it, as [`crate::Snapshot::test`] does.
    #[must_use]
    pub fn failed_case(&self) -> Option<CaseReport> {
        let compiled = &self.compiled;
        compiled.cases.iter().map(|case| case.tried(compiled)).find(|tried| !tried.passed)
    }
}

impl Case {
    fn tried(&self, compiled: &Compiled) -> CaseReport {
        let evaluation = compiled.evaluate_in(&self.request, Some(&self.labels), self.entities(compiled));
        self.against(self.evaluate(compiled, evaluation))
    }

    /// The bundle's entities, with those that the case gives in the place of its sources.
    fn entities<'a>(&'a self, compiled: &'a Compiled) -> Option<&'a Entities> {
        compiled.own_entities().or(self.facts.as_deref())
    }

    /// The verdict at the case's time: a bundle that is not valid then says nothing else.
    fn evaluate(&self, compiled: &Compiled, otherwise: Evaluation) -> Evaluation {
        let (from, until) = (compiled.manifest.valid_from, compiled.manifest.valid_until);
        match self.at.map(|at: Millis| bundle::validity((from, until), at)) {
            Some(Err(code)) => {
                let (verdict, obligations) = (Verdict::refuse(code), Obligations::none());
                Evaluation { verdict, obligations, labels: BTreeMap::new(), detail: None }
            }
            Some(Ok(())) | None => otherwise,
        }
    }

    fn against(&self, evaluation: Evaluation) -> CaseReport {
        let Evaluation { verdict, obligations, labels, detail } = evaluation;
        let found = Expected {
            decision: verdict.decision(),
            reason: verdict.reason(),
            policies: Some(verdict.policies().iter().cloned().collect()),
            obligations,
            adds: labels.into_keys().collect(),
        };
        let passed = self.expected.decision == found.decision
            && self.expected.reason == found.reason
            && self.expected.obligations == found.obligations
            && self.expected.adds == found.adds
            && (self.expected.policies.is_none() || self.expected.policies == found.policies);
        let (file, name) = (self.file.clone(), self.name.clone());
        CaseReport { file, name, expected: self.expected.clone(), found, detail, passed }
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
