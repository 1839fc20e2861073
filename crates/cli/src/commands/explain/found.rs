//! Finding what stood behind a decision: in its record, in the bundle that decided, and in the log before it.

use portcullis_policy::{Otherwise, Rehearsal};
use portcullis_protocol::{
    ArgumentsSeen, CalledTool, DecisionRecord, LimitUse, Precondition, ReasonCode, Request,
};
use portcullis_server::Before;

use super::because::{Because, Full};
use crate::say;

/// What is at hand.
pub(super) struct Found<'a> {
    pub(super) record: &'a DecisionRecord,
    pub(super) bundle: Option<&'a Rehearsal>,
    pub(super) request: Option<&'a Request>,
    pub(super) before: &'a Before,
    pub(super) otherwise: Option<&'a Otherwise>,
}

/// Whether what explains a decision with this code is looked for in its request.
pub(super) const fn asks_for_the_request(code: ReasonCode) -> bool {
    matches!(code, ReasonCode::PolicyNoGrant | ReasonCode::PolicyForbidden | ReasonCode::EvidenceUnwitnessed)
        || is_of_tools(code)
        || is_of_arguments(code)
}

const fn is_of_arguments(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::ToolArgumentsUndeclared
            | ReasonCode::ToolArgumentsInvalid
            | ReasonCode::ToolArgumentsUnchecked
    )
}

const fn is_of_tools(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::ToolAmbiguous
            | ReasonCode::ToolUnpinned
            | ReasonCode::ToolDefinitionUnknown
            | ReasonCode::ToolDefinitionChanged
    )
}

impl Found<'_> {
    /// What stood behind it.
    pub(super) fn because(&self) -> Vec<Because> {
        let record = self.record;
        let Some(code) = record.reason else { return self.exception().into_iter().collect() };
        match code.precondition() {
            Precondition::Gate => {
                self.before.shut.map(|(seq, time)| Because::Shut { seq, time }).into_iter().collect()
            }
            Precondition::Policy => self.validity(code).into_iter().collect(),
            Precondition::Facts => self.facts(code),
            Precondition::Surface => {
                let pin = self.pin().filter(|_| is_of_tools(code));
                pin.into_iter().chain(self.arguments().filter(|_| is_of_arguments(code))).collect()
            }
            Precondition::Idempotency => self.before.key.clone().map(Because::Key).into_iter().collect(),
            Precondition::Evaluation => self.forbidden(code),
            Precondition::Limits => vec![Because::Limit(self.full())],
            Precondition::Freshness => self.identity().into_iter().collect(),
            Precondition::Approval => {
                record.obligations.approvals.iter().cloned().map(Because::Approval).collect()
            }
            Precondition::Witness => vec![self.witnesses()],
            Precondition::Request
            | Precondition::Clock
            | Precondition::Evidence
            | Precondition::State
            | Precondition::Identity
            | Precondition::Overload
            | Precondition::Enforcement => Vec::new(),
        }
    }

    fn exception(&self) -> Option<Because> {
        let excepted = self.record.exception.as_ref()?;
        let own = self.bundle?.exception(&self.record.surface, excepted.covers)?;
        Some(Because::Exception(own.clone()))
    }

    fn validity(&self, code: ReasonCode) -> Option<Because> {
        let timely = matches!(code, ReasonCode::PolicyExpired | ReasonCode::PolicyNotYetValid);
        let (from, until) = self.bundle.filter(|_| timely)?.validity();
        Some(Because::Validity { from, until })
    }

    fn facts(&self, code: ReasonCode) -> Vec<Because> {
        let used = &self.record.facts.sources;
        if code == ReasonCode::FactStale {
            let stale = used.iter().filter(|(_, it)| it.is_stale_at(self.record.time));
            let stale = stale.map(|(source, it)| Because::Stale {
                source: source.clone(),
                as_of: it.as_of,
                max_age_ms: it.max_age_ms,
            });
            return stale.collect();
        }
        let declared = self.bundle.map(Rehearsal::sources).into_iter().flatten();
        declared
            .map(|(source, it)| Because::Source { source: source.clone(), max_age_ms: it.max_age_ms })
            .collect()
    }

    fn pin(&self) -> Option<Because> {
        let CalledTool { name, definition, .. } = self.request?.ask.tool.as_ref()?;
        let pinned = self.bundle?.pin(name);
        Some(Because::Pin { tool: name.clone(), pinned, seen: *definition })
    }

    fn arguments(&self) -> Option<Because> {
        let CalledTool { name, arguments, .. } = self.request?.ask.tool.as_ref()?;
        Some(Because::Arguments { tool: name.clone(), seen: *arguments })
    }

    fn forbidden(&self, code: ReasonCode) -> Vec<Because> {
        let mut because = Vec::new();
        if code != ReasonCode::PolicyForbidden {
            return because;
        }
        let labels_of = |policy| self.otherwise.and_then(|it| it.labels.get(policy)).cloned();
        for policy in &self.record.policies {
            let labels = labels_of(policy).unwrap_or_default();
            because.push(Because::Forbidden { policy: policy.clone(), labels });
        }
        let mut behind: Vec<_> =
            self.otherwise.iter().flat_map(|it| it.labels.values()).flatten().cloned().collect();
        behind.sort();
        behind.dedup();
        because.extend(behind.into_iter().map(|label| {
            let given = self.before.labels.get(&label).cloned();
            Because::Label { label, given }
        }));
        because.extend(self.otherwise.map(|it| Because::Granted { policies: it.grants.clone() }));
        because
    }

    fn full(&self) -> Full {
        let record = self.record;
        let declared = record.limit.as_ref().and_then(|limit| self.bundle?.limit(limit));
        Full::new(record.limits.first().cloned(), declared.cloned(), self.before.taken.clone())
    }

    fn identity(&self) -> Option<Because> {
        let within_ms = self.record.obligations.identity_within_ms?;
        Some(Because::Identity { within_ms, age_ms: self.record.identity_age() })
    }

    fn witnesses(&self) -> Because {
        let record = self.record;
        let surface = self.bundle.and_then(|bundle| bundle.surface(&record.surface));
        let surface = surface.is_some_and(|spec| spec.witnessed);
        let policies = if record.obligations.witnessed { self.that_want_witnesses() } else { Vec::new() };
        Because::Witnesses { deployment: record.facts.witnesses, surface, policies }
    }

    fn that_want_witnesses(&self) -> Vec<portcullis_protocol::PolicyId> {
        let wants = |policy: &&_| self.bundle.and_then(|it| it.asks(policy)).is_some_and(|it| it.witnessed);
        let granted = self.otherwise.iter().flat_map(|it| &it.grants);
        granted.filter(wants).cloned().collect()
    }
}

/// What would make it a PERMIT, in sentences; none where the code's own remedy says all there is to say.
pub(super) fn needed(record: &DecisionRecord, because: &[Because]) -> Vec<String> {
    let mut needed: Vec<_> = because.iter().filter_map(|because| need(record, because)).collect();
    if let Some(Because::Granted { policies }) = because.last()
        && policies.is_empty()
    {
        needed.push("a grant that is satisfied".to_owned());
    }
    needed
}

fn need(record: &DecisionRecord, because: &Because) -> Option<String> {
    Some(match because {
        Because::Forbidden { policy, labels } if labels.is_empty() => {
            format!("another request, which policy {policy} does not forbid")
        }
        Because::Label { label, given: Some(given) } => {
            format!("an agent without label `{label}`; this one has it until {}", say::time(given.until))
        }
        Because::Label { label, given: None } => format!("an agent without label `{label}`"),
        Because::Limit(full) => return room(record, full),
        Because::Approval(need) => format!("{need}; this version has no way to give one"),
        Because::Identity { within_ms, .. } => format!(
            "a credential that says that its bearer proved the identity within {} before the request",
            portcullis_protocol::obligations::Length(*within_ms)
        ),
        Because::Witnesses { .. } => "the cosignatures of a quorum of witnesses within the deadline".to_owned(),
        Because::Stale { source, max_age_ms, .. } => format!(
            "newer facts of {source}: at the time of this request, as of {} or later",
            say::time(portcullis_protocol::Millis(record.time.0.saturating_sub(*max_age_ms)))
        ),
        Because::Validity { from, .. } if record.time < *from => {
            format!("the same request from {} on, or a bundle that is valid before", say::time(*from))
        }
        Because::Validity { .. } => "a newer version of the bundle, valid for longer, activated".to_owned(),
        Because::Pin { .. } => {
            "the tool as it is pinned, or its pin after somebody has reviewed what changed (`portcullis mcp diff`)".to_owned()
        }
        Because::Arguments { seen: Some(ArgumentsSeen::Undeclared | ArgumentsSeen::Unfit), .. } => {
            "other arguments, which the tool's pinned schema declares and lets be".to_owned()
        }
        Because::Shut { .. } => "the gate opened by an operator (`portcullis open`)".to_owned(),
        Because::Source { source, .. } => format!("facts of {source}"),
        Because::Forbidden { .. }
        | Because::Granted { .. }
        | Because::Key(_)
        | Because::Exception(_)
        | Because::Arguments { .. } => return None,
    })
}

fn room(record: &DecisionRecord, full: &Full) -> Option<String> {
    let LimitUse { limit, max, amount, .. } = full.used.as_ref()?;
    if amount > max {
        return Some(format!("a request for {} or less: limit {limit} never holds more", full.amount(*max)));
    }
    let less = full
        .left
        .filter(|left| *left > 0)
        .map(|left| format!(", or a request for {} or less", full.amount(left)));
    let less = less.unwrap_or_default();
    Some(match (full.room_at, record.reason) {
        (Some(at), _) => {
            format!(
                "the same request from {} on, if nothing else takes of limit {limit} meanwhile{less}",
                say::time(at)
            )
        }
        (None, Some(ReasonCode::LimitsTooManyOpen)) => {
            format!("an end of one of the PERMITs that limit {limit} counts as open")
        }
        (None, _) => format!("room in limit {limit}{less}"),
    })
}
