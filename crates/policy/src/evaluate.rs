//! The verdict on a request. Cedar is asked only what is complete, and believed only when nothing is in doubt.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Context, Entities, EntityUid, Request as CedarRequest, RestrictedExpression};
use portcullis_protocol::{
    ActionName, ContextKind, ContextRule, LabelName, Obligations, PolicyId, ReasonCode, Request, SurfaceSpec,
    Value, Verdict,
};

use crate::annotations::Annotations;
use crate::compile::Compiled;
use crate::labels::{self, Lifetimes};
use crate::principals;
use crate::slices::{Answer, Question};
use crate::{Bundle, Evaluation, Gathered};

/// Why a request is not permitted, on the way out of a check.
struct Refusal {
    code: ReasonCode,
    policies: Vec<PolicyId>,
    detail: String,
}

impl From<Refusal> for Evaluation {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, policies, detail } = refusal;
        let verdict = Verdict::Refuse(code, policies);
        Self { verdict, obligations: Obligations::none(), labels: BTreeMap::new(), detail: Some(detail) }
    }
}

impl Refusal {
    fn new(code: ReasonCode, detail: impl Into<String>) -> Self {
        Self { code, policies: Vec::new(), detail: detail.into() }
    }
}

impl Bundle {
    /// Judges a request by this bundle alone. A pure function: the same request gives the same bytes, in every
    /// process.
    ///
    /// In this order: the surface is declared, has the action, and has exactly this context; the agent, whom it acts for,
    /// action and resource are in the entities; the request fits the schema; no policy errs; a policy grants and none
    /// forbids. The first that fails is the verdict.
    ///
    /// Whether the agent may act for whom the request names is not asked here: that is what its credential says.
    /// Validity is not asked here ([`Self::validity_at`]), nor is anything that depends on state.
    ///
    /// Which labels the agent has is not known here: an action whose policies see them is not permitted. Who knows them
    /// asks [`Self::evaluate_labelled`].
    #[must_use]
    pub fn evaluate(&self, request: &Request) -> Evaluation {
        self.compiled.evaluate_in(request, None, self.compiled.own_entities())
    }

    /// As [`Self::evaluate`], of an agent with exactly these labels.
    #[must_use]
    pub fn evaluate_labelled(&self, request: &Request, labels: &BTreeSet<LabelName>) -> Evaluation {
        self.evaluate_informed(request, labels, None)
    }

    /// As [`Self::evaluate_labelled`], with what the bundle's sources of facts gave. A bundle that has sources permits
    /// nothing without, nor with what was gathered for another one. How old it is is not asked here.
    #[must_use]
    pub fn evaluate_informed(
        &self,
        request: &Request,
        labels: &BTreeSet<LabelName>,
        facts: Option<&Gathered>,
    ) -> Evaluation {
        self.content().evaluate_informed(request, labels, facts)
    }

    /// Whether the policies of an action see the agent's labels.
    #[must_use]
    pub fn sees_labels(&self, action: &ActionName) -> bool {
        self.content().sees_labels(action)
    }
}

impl Compiled {
    /// What [`Bundle::evaluate`] says, once this is the content of a bundle that needs no other entities than its own.
    #[cfg(test)]
    pub(crate) fn evaluate(&self, request: &Request, labels: Option<&BTreeSet<LabelName>>) -> Evaluation {
        self.evaluate_in(request, labels, self.own_entities())
    }

    /// What [`Bundle::evaluate_informed`] says, once this is the content of a bundle.
    pub(crate) fn evaluate_in(
        &self,
        request: &Request,
        labels: Option<&BTreeSet<LabelName>>,
        entities: Option<&Entities>,
    ) -> Evaluation {
        let question = self.question(request, labels, entities);
        match question.and_then(|question| Ok((question, entities.ok_or_else(unsourced)?))) {
            Ok((question, entities)) => {
                let answer = self.slices.ask(&question, entities);
                settled(answer, &self.annotations, &self.manifest.labels)
            }
            Err(evaluation) => *evaluation,
        }
    }

    /// What Cedar is asked, or the verdict on a request that it is not asked about.
    pub(crate) fn question(
        &self,
        request: &Request,
        labels: Option<&BTreeSet<LabelName>>,
        entities: Option<&Entities>,
    ) -> Result<Question, Box<Evaluation>> {
        let entities = entities.ok_or_else(unsourced)?;
        self.asked(request, labels, entities).map_err(|refusal| Box::new(refusal.into()))
    }

    fn asked(
        &self,
        request: &Request,
        labels: Option<&BTreeSet<LabelName>>,
        entities: &Entities,
    ) -> Result<Question, Refusal> {
        let (ask, types) = (&request.ask, &self.types);
        let spec = self.manifest.surfaces.get(&ask.surface).ok_or_else(|| {
            Refusal::new(ReasonCode::SurfaceUnknown, format!("no surface `{}` is declared", ask.surface))
        })?;
        if !spec.actions.contains(&ask.action) {
            let detail = format!("surface `{}` has no action `{}`", ask.surface, ask.action);
            return Err(Refusal::new(ReasonCode::SurfaceActionUnknown, detail));
        }
        check_context(spec, &ask.context)?;
        let present = |uid, what: &str| entities.get(&uid).map(|_| uid).ok_or_else(|| absent(what));
        let principal = present(types.agent(request.agent.as_str()), "agent")?;
        // Even where no policy sees it: nobody acts for one whom policy does not know.
        let acts_for = ask.acts_for.as_ref().map(|named| {
            types.principal(named, entities).ok_or_else(|| absent("principal, for whom the agent acts"))
        });
        let acts_for = acts_for.transpose()?;
        let action = present(types.action(ask.action.as_str()), "action")?;
        let resource = types.resource(&ask.resource).ok_or_else(|| absent("resource"))?;
        let resource = present(resource, "resource")?;
        let labels = match (self.sight.labels.contains(&ask.action), labels) {
            (false, _) => None,
            (true, Some(labels)) => Some(labels),
            (true, None) => return Err(unfit("it is not known which labels the agent has")),
        };
        let acts_for = acts_for.filter(|_| self.sight.principals.contains(&ask.action));
        let context = build_context(spec, &ask.context, given(labels, acts_for))?;
        // Built with the schema: without one, Cedar takes any principal, resource and context for any action.
        let schema = Some(&self.schema);
        CedarRequest::new(principal.clone(), action.clone(), resource.clone(), context, schema)
            .map(|request| Question { request, principal, action, resource })
            .map_err(|_| {
                unfit("agent, action, resource, context and whom the agent acts for do not fit the schema")
            })
    }
}

/// The verdict that Cedar's answer is worth, what the grants ask for, and which labels they add.
pub(crate) fn settled(
    answer: Answer,
    annotations: &BTreeMap<PolicyId, Annotations>,
    lifetimes: &Lifetimes,
) -> Evaluation {
    let permitted = settle(answer).and_then(|grants| {
        // One that the bundle does not know would ask for nothing and add nothing.
        let said: Option<Vec<_>> = grants.iter().map(|grant| annotations.get(grant)).collect();
        let said = said.ok_or_else(unheld)?;
        let labels = labels::added(&said, lifetimes).ok_or_else(unheld)?;
        let obligations = owed(&said);
        Ok(Evaluation { verdict: Verdict::Permit(grants), obligations, labels, detail: None })
    });
    permitted.unwrap_or_else(Evaluation::from) // tidy: allow a refusal is an evaluation
}

/// What all satisfied grants ask for. A grant that asks for nothing takes nothing away from another that does.
fn owed(grants: &[&Annotations]) -> Obligations {
    let mut owed = Obligations::none();
    for grant in grants {
        owed.add(&grant.obligations);
    }
    owed
}

fn unheld() -> Refusal {
    Refusal::new(ReasonCode::PolicyEngineFailed, "the engine named a policy that the bundle does not have")
}

/// What is not known to be there must not look as if it were not: nothing is asked.
fn unsourced() -> Box<Evaluation> {
    let detail = "a source of facts that the bundle declares gives nothing that can be used";
    Box::new(Refusal::new(ReasonCode::FactUnavailable, detail).into())
}

fn absent(what: &str) -> Refusal {
    Refusal::new(ReasonCode::PolicyEntityUnknown, format!("the entities do not hold the request's {what}"))
}

fn unfit(detail: &str) -> Refusal {
    Refusal::new(ReasonCode::PolicyRequestInvalid, detail)
}

fn check_context(spec: &SurfaceSpec, context: &BTreeMap<String, Value>) -> Result<(), Refusal> {
    if context.keys().any(|key| !spec.context.contains_key(key)) {
        return Err(Refusal::new(ReasonCode::SurfaceContext, "the context has a key that is not declared"));
    }
    for (key, rule) in &spec.context {
        match context.get(key) {
            Some(value) => check_value(key, rule, value)?,
            None if rule.optional => {}
            None => {
                return Err(Refusal::new(ReasonCode::SurfaceContext, format!("context `{key}` is missing")));
            }
        }
    }
    Ok(())
}

fn check_value(key: &str, rule: &ContextRule, value: &Value) -> Result<(), Refusal> {
    rule.check(value).map_err(|code| {
        if code == ReasonCode::RequestNotCanonical {
            Refusal::new(code, format!("context `{key}` is not in canonical form"))
        } else {
            Refusal::new(
                ReasonCode::SurfaceContext,
                format!("context `{key}` is of another type than declared"),
            )
        }
    })
}

/// What the arbiter adds to a context: no surface declares these keys, so no caller can give them. Labels are there where
/// policies see them, a principal where they do and somebody is named.
fn given(labels: Option<&BTreeSet<LabelName>>, acts_for: Option<EntityUid>) -> Given {
    let labels = labels.map(|labels| {
        let labels = labels.iter().map(|label| RestrictedExpression::new_string(label.to_string()));
        (labels::CONTEXT_KEY.to_owned(), RestrictedExpression::new_set(labels))
    });
    let acts_for =
        acts_for.map(|uid| (principals::CONTEXT_KEY.to_owned(), RestrictedExpression::new_entity_uid(uid)));
    labels.into_iter().chain(acts_for).collect()
}

type Given = Vec<(String, RestrictedExpression)>;

/// Built value by value, by declared type: JSON would let `{"__entity": …}` in an argument become an entity.
fn build_context(
    spec: &SurfaceSpec,
    context: &BTreeMap<String, Value>,
    given: Given,
) -> Result<Context, Refusal> {
    let mut pairs = given;
    for (key, rule) in &spec.context {
        let Some(value) = context.get(key) else { continue };
        let value =
            expression(rule.kind, value).ok_or_else(|| unfit("a context value has no form in Cedar"))?;
        pairs.push((key.clone(), value));
    }
    Context::from_pairs(pairs).map_err(|_| unfit("a context value has no form in Cedar"))
}

fn expression(kind: ContextKind, value: &Value) -> Option<RestrictedExpression> {
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    match (kind, value) {
        (ContextKind::String | ContextKind::Path | ContextKind::Url, value) => {
            text(value).map(RestrictedExpression::new_string)
        }
        (ContextKind::Integer, Value::Int(number)) => Some(RestrictedExpression::new_long(*number)),
        (ContextKind::Boolean, Value::Bool(truth)) => Some(RestrictedExpression::new_bool(*truth)),
        (ContextKind::Decimal { .. }, value) => text(value).map(RestrictedExpression::new_decimal),
        (ContextKind::Strings, Value::Array(items)) => {
            let items = items.iter().map(|item| text(item).map(RestrictedExpression::new_string));
            Some(RestrictedExpression::new_set(items.collect::<Option<Vec<_>>>()?))
        }
        (ContextKind::Integer | ContextKind::Boolean | ContextKind::Strings, _) => None,
    }
}

/// What Cedar's answer is worth. An error in any policy outweighs whatever the others say: Cedar skips what it
/// cannot evaluate, and what was skipped may have been a `forbid`.
fn settle(answer: Answer) -> Result<Vec<PolicyId>, Refusal> {
    let Answer { failed, forbids, grants, unexplained } = answer;
    if !failed.is_empty() {
        let failed = named(failed)?;
        let detail = format!("these policies raised an error: {}", join(&failed));
        return Err(Refusal { code: ReasonCode::PolicyEvaluationError, policies: failed, detail });
    }
    if unexplained {
        let detail = "the engine allowed and named no policy for it";
        return Err(Refusal::new(ReasonCode::PolicyEngineFailed, detail));
    }
    if !forbids.is_empty() {
        let forbids = named(forbids)?;
        let detail = format!("these policies forbid it: {}", join(&forbids));
        return Err(Refusal { code: ReasonCode::PolicyForbidden, policies: forbids, detail });
    }
    if grants.is_empty() {
        return Err(Refusal::new(ReasonCode::PolicyNoGrant, "no policy grants this request"));
    }
    named(grants)
}

/// The policies' ids as the bundle has them, sorted.
fn named(ids: BTreeSet<cedar_policy::PolicyId>) -> Result<Vec<PolicyId>, Refusal> {
    let parsed = ids.iter().map(|id| {
        let id: &str = id.as_ref();
        id.parse::<PolicyId>()
    });
    let sorted = parsed.collect::<Result<BTreeSet<_>, _>>();
    sorted.map(|ids| ids.into_iter().collect()).map_err(|_| unheld())
}

fn join(ids: &[PolicyId]) -> String {
    ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "obligations_tests.rs"]
mod obligations_tests;
#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
