//! `tests/*.toml`: requests, and what policy must say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy::Entities;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{
    ActionName, AgentId, ApprovalNeed, Decision, LabelName, Millis, Obligations, PolicyId, PrincipalId,
    ReasonCode, Request, Resource, RoleName, SourceName, SurfaceName, SurfaceSpec, Value,
};
use serde::Deserialize;

use crate::error::{BundleError, Fault};
use crate::files::{self, Files, TESTS};
use crate::manifest::Manifest;
use crate::trial::Expected;
use crate::units::{Instant, Span};

/// A request, and what must be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) request: Request,
    /// The labels that the agent has.
    pub(crate) labels: BTreeSet<LabelName>,
    /// By source, the file of its facts where it is not the one of the source's name.
    pub(crate) named: BTreeMap<SourceName, String>,
    /// The bundle's entities with those that the case gives in the place of sources; `None` if the bundle has no sources.
    pub(crate) facts: Option<Arc<Entities>>,
    /// When it is asked; `None` for a time at which the bundle is valid.
    pub(crate) at: Option<Millis>,
    pub(crate) expected: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasesText {
    #[serde(rename = "case")]
    cases: Vec<CaseText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseText {
    name: String,
    agent: AgentId,
    acts_for: Option<PrincipalId>,
    surface: SurfaceName,
    action: Option<ActionName>,
    resource: Option<Resource>,
    #[serde(default)]
    context: BTreeMap<String, Value>,
    #[serde(default)]
    labels: BTreeSet<LabelName>,
    #[serde(default)]
    facts: BTreeMap<SourceName, String>,
    at: Option<Instant>,
    expect: Expect,
    reason: Option<ReasonCode>,
    policies: Option<BTreeSet<PolicyId>>,
    obligations: Option<Vec<ObligationText>>,
    #[serde(default)]
    adds: BTreeSet<LabelName>,
}

/// One obligation: an approval, or a freshness of identity, or witnesses.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an obligation is { approval_roles, approval_quorum, approval_lifetime }, { identity_within } or { witnessed = true }"
)]
enum ObligationText {
    Approval(ApprovalText),
    Identity(IdentityText),
    Witnessed(WitnessedText),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalText {
    approval_roles: Vec<RoleName>,
    approval_quorum: u64,
    approval_lifetime: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityText {
    identity_within: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessedText {
    witnessed: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Permit,
    Deny,
    Silence,
}

/// Every case of a bundle, by file, in the order in which each file has them.
///
/// They have no facts yet: [`crate::trial::inform`] gives them.
pub(crate) fn cases(files: &Files, manifest: &Manifest) -> Result<Vec<Case>, BundleError> {
    let mut cases = Vec::new();
    let mut names = BTreeSet::new();
    let directory = format!("{TESTS}/");
    for file in files.keys().filter(|path| path.starts_with(&directory) && path.ends_with(".toml")) {
        for case in parse(files, file)? {
            let case = case.into_case(file, &manifest.surfaces)?;
            let mut labels = case.labels.iter().chain(&case.expected.adds);
            // A `forbid` on the same misspelt label would be found to fire.
            if let Some(label) = labels.find(|label| !manifest.labels.contains_key(*label)) {
                return Err(fault(file, &case.name, &format!("label `{label}` is not declared")));
            }
            if !names.insert(case.name.clone()) {
                return Err(fault(file, &case.name, "another case has this name"));
            }
            cases.push(case);
        }
    }
    Ok(cases)
}

fn parse(files: &Files, file: &str) -> Result<Vec<CaseText>, BundleError> {
    let text = files::text(files, file)?;
    let parsed: CasesText = toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|span| files::line_at(text, span.start));
        BundleError::corrupt_at(file, line, Fault::Case { message: error.message().to_owned() })
    })?;
    Ok(parsed.cases)
}

/// Where the text of a file of cases is not understood.
pub(crate) fn misread(text: &str) -> Option<Range<usize>> {
    match toml::from_str::<CasesText>(text) {
        Ok(_) => None,
        Err(error) => error.span(),
    }
}

pub(super) fn fault(file: &str, name: &str, message: &str) -> BundleError {
    BundleError::corrupt(file, Fault::Case { message: format!("case `{name}`: {message}") })
}

impl CaseText {
    fn into_case(
        self,
        file: &str,
        surfaces: &BTreeMap<SurfaceName, SurfaceSpec>,
    ) -> Result<Case, BundleError> {
        let fault = |message: &str| fault(file, &self.name, message);
        let spec = surfaces.get(&self.surface);
        let action = match (self.action, spec.map(|spec| spec.actions.as_slice())) {
            (Some(action), _) => action,
            (None, Some([only])) => only.clone(),
            (None, _) => return Err(fault("`action` must be given: its surface does not have exactly one")),
        };
        let resource = self
            .resource
            .or_else(|| spec.and_then(|spec| spec.resource.clone()))
            .ok_or_else(|| fault("`resource` must be given: its surface has none"))?;
        let owed = obligations(self.obligations).map_err(fault)?;
        let expected = expected(self.expect, self.reason, self.policies, (owed, self.adds)).map_err(fault)?;
        let ask = Ask {
            surface: self.surface,
            action,
            resource,
            acts_for: self.acts_for,
            context: self.context,
            idempotency_key: None,
            payload: None,
            envelope: None,
            mapped_with: None,
            tool: None,
        };
        let at = self.at.map(|Instant(at)| at);
        let (file, request) = (file.to_owned(), ask.by(self.agent));
        Ok(Case {
            file,
            name: self.name,
            request,
            labels: self.labels,
            named: self.facts,
            facts: None,
            at,
            expected,
        })
    }
}

fn expected(
    expect: Expect,
    reason: Option<ReasonCode>,
    policies: Option<BTreeSet<PolicyId>>,
    (obligations, adds): (Obligations, BTreeSet<LabelName>),
) -> Result<Expected, &'static str> {
    let decision = match expect {
        Expect::Permit => Decision::Permit,
        Expect::Deny => Decision::Deny,
        Expect::Silence => Decision::Silence,
    };
    match (decision, reason) {
        (Decision::Permit, Some(_)) => Err("a permit has no `reason`"),
        (Decision::Deny | Decision::Silence, _) if !obligations.is_empty() => {
            Err("`obligations` go with `expect = \"permit\"`: they are what granting asks for")
        }
        (Decision::Deny | Decision::Silence, _) if !adds.is_empty() => {
            Err("`adds` goes with `expect = \"permit\"`: only a grant adds labels")
        }
        (Decision::Deny | Decision::Silence, None) => Err("a refusal is expected for a `reason`"),
        (_, Some(reason)) if reason.decision() != decision => Err("`reason` belongs to another decision"),
        (_, reason) => Ok(Expected { decision, reason, policies, obligations, adds }),
    }
}

/// Listed as the grants' annotations have them, each once: what is left out is not expected.
fn obligations(given: Option<Vec<ObligationText>>) -> Result<Obligations, &'static str> {
    let given = given.unwrap_or_default(); // tidy: allow left out, none is expected
    let (listed, mut owed) = (given.len(), Obligations::none());
    for text in given {
        owed.add(&text.into_obligations()?);
    }
    let others = [owed.identity_within_ms.is_some(), owed.witnessed];
    let found = owed.approvals.len().saturating_add(others.into_iter().filter(|held| *held).count());
    if found != listed || !owed.is_well_formed() {
        return Err("`obligations` lists one twice, or one that asks for nothing");
    }
    Ok(owed)
}

impl ObligationText {
    fn into_obligations(self) -> Result<Obligations, &'static str> {
        let none = Obligations::none();
        Ok(match self {
            Self::Approval(ApprovalText {
                approval_roles,
                approval_quorum,
                approval_lifetime: Span(lifetime_ms),
            }) => {
                let (named, roles) = (approval_roles.len(), BTreeSet::from_iter(approval_roles));
                if roles.len() != named {
                    return Err("`approval_roles` names one twice");
                }
                let need = ApprovalNeed { roles, quorum: approval_quorum, lifetime_ms };
                Obligations { approvals: vec![need], ..none }
            }
            Self::Identity(IdentityText { identity_within: Span(most) }) => {
                Obligations { identity_within_ms: Some(most), ..none }
            }
            Self::Witnessed(WitnessedText { witnessed }) => Obligations { witnessed, ..none },
        })
    }
}
