//! What stood behind a decision, and what would have made it another one.

use std::collections::BTreeSet;
use std::fmt;

use portcullis_policy::{Exception, Limit, Measure, Per, Window};
use portcullis_protocol::facts::WitnessesFact;
use portcullis_protocol::obligations::Length;
use portcullis_protocol::{
    ApprovalNeed, ArgumentsSeen, Digest, LabelName, LimitUse, Millis, PolicyId, SourceName, ToolName,
    ToolSeen,
};
use portcullis_server::{Earlier, Labelled, Taken};
use serde::Serialize;

use crate::say;

/// Earlier PERMITs that are told one by one.
const MOST_TOLD: usize = 3;

/// One thing that stood behind a decision.
#[derive(Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Because {
    /// A policy forbids it, for the sake of these labels if there are any.
    Forbidden { policy: PolicyId, labels: BTreeSet<LabelName> },
    /// The agent had a label.
    Label { label: LabelName, given: Option<Labelled> },
    /// These grants are satisfied all the same.
    Granted { policies: BTreeSet<PolicyId> },
    /// A limit has no room.
    Limit(Full),
    /// Grants ask for an approval that nobody gave.
    Approval(ApprovalNeed),
    /// Grants ask for a fresher proof of identity.
    Identity { within_ms: u64, age_ms: Option<u64> },
    /// Witnesses must see the record.
    Witnesses { deployment: WitnessesFact, surface: bool, policies: Vec<PolicyId> },
    /// Facts of a source were too old, from then on.
    Stale { source: SourceName, as_of: Millis, max_age_ms: u64 },
    /// The bundle asks for facts of a source.
    Source { source: SourceName, max_age_ms: u64 },
    /// When the bundle is valid.
    Validity { from: Millis, until: Millis },
    /// A tool is not as it is pinned.
    Pin { tool: ToolName, pinned: Option<Digest>, seen: ToolSeen },
    /// The arguments do not fit the pinned definition of a tool.
    Arguments { tool: ToolName, seen: Option<ArgumentsSeen> },
    /// The gate is shut since that record.
    Shut { seq: u64, time: Millis },
    /// A PERMIT used the key.
    Key(Earlier),
    /// The exception that stood in.
    Exception(Exception),
}

/// A limit without room.
#[derive(Serialize)]
pub(super) struct Full {
    pub(super) used: Option<LimitUse>,
    pub(super) declared: Option<Limit>,
    /// How much is left.
    pub(super) left: Option<u64>,
    /// When there is room, if nothing else takes it and nothing is given back; `None`: not by time alone.
    pub(super) room_at: Option<Millis>,
    /// What made up the count.
    pub(super) taken: Vec<Taken>,
}

impl Full {
    /// Of what a record says of a limit, and what the log says took it.
    pub(super) fn new(used: Option<LimitUse>, declared: Option<Limit>, taken: Vec<Taken>) -> Self {
        let left = used.as_ref().map(|used| used.max.saturating_sub(used.used));
        let room_at = used.as_ref().and_then(|used| room_at(used, &taken));
        Self { used, declared, left, room_at, taken }
    }

    /// An amount as the surface writes it.
    pub(super) fn amount(&self, amount: u64) -> String {
        match self.declared.as_ref().map(|limit| &limit.measure) {
            Some(Measure::Sum { scale, .. }) => scaled(amount, *scale),
            Some(Measure::Count { .. } | Measure::Rate { .. } | Measure::Open { .. }) | None => {
                amount.to_string()
            }
        }
    }
}

/// When a request would fit, by what lapses and when.
fn room_at(used: &LimitUse, taken: &[Taken]) -> Option<Millis> {
    if used.amount > used.max {
        return None;
    }
    let mut lapsing: Vec<_> = taken.iter().filter_map(|taken| Some((taken.lapses?, taken.amount))).collect();
    lapsing.sort_unstable();
    let mut held = used.used;
    for (at, amount) in lapsing {
        held = held.saturating_sub(amount);
        if held.saturating_add(used.amount) <= used.max {
            return Some(at);
        }
    }
    None
}

fn scaled(amount: u64, scale: u8) -> String {
    let digits = usize::from(scale);
    let text = format!("{amount:0>width$}", width = digits.saturating_add(1));
    match text.split_at_checked(text.len().saturating_sub(digits)) {
        Some((whole, fraction)) if !fraction.is_empty() => format!("{whole}.{fraction}"),
        _ => text,
    }
}

fn names<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn earlier(by: &Earlier) -> String {
    let became = by.outcome.map_or("no outcome yet", portcullis_protocol::Outcome::as_str);
    format!("record {} ({} on {}, at {}, {became})", by.seq, by.agent, by.surface, say::time(by.time))
}

impl Because {
    /// In words, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = match self {
            Self::Limit(full) => return full.lines(),
            Self::Forbidden { policy, labels } if labels.is_empty() => format!("policy {policy} forbids it"),
            Self::Forbidden { policy, labels } => {
                format!("policy {policy} forbids it to an agent with the labels {}", names(labels))
            }
            Self::Label { label, given: None } => {
                format!("label `{label}` was given by a record that is not to be had here")
            }
            Self::Label { label, given: Some(Labelled { by, until }) } => {
                format!("label `{label}` was last given by {}, until {}", earlier(by), say::time(*until))
            }
            Self::Granted { policies } if policies.is_empty() => "no grant is satisfied either".to_owned(),
            Self::Granted { policies } => format!("otherwise granted by {}", names(policies)),
            Self::Approval(need) => format!("it asks for {need}, and nobody gave it"),
            Self::Identity { within_ms, age_ms } => {
                let age = age_ms.map_or_else(
                    || "the credential does not say when it was proved".to_owned(),
                    |age| format!("it was proved {} before", say::age(age)),
                );
                format!("it asks for an identity proved within {}; {age}", Length(*within_ms))
            }
            Self::Witnesses { deployment, surface, policies } => witnesses(*deployment, *surface, policies),
            Self::Stale { source, as_of, max_age_ms } => {
                let end = say::time(as_of.plus(*max_age_ms));
                format!("facts of {source} could be used until {end}")
            }
            Self::Source { source, max_age_ms } => {
                format!("the bundle asks for facts of {source}, at most {} old", Length(*max_age_ms))
            }
            Self::Validity { from, until } => {
                format!("the bundle is valid from {} until {}", say::time(*from), say::time(*until))
            }
            Self::Pin { tool, pinned, seen } => pin(tool, *pinned, *seen),
            Self::Arguments { tool, seen } => arguments(tool, *seen),
            Self::Shut { seq, time } => {
                format!("the log says that the gate is shut since record {seq}, at {}", say::time(*time))
            }
            Self::Key(by) => format!("the key was used by {}", earlier(by)),
            Self::Exception(own) => format!(
                "the exception is {}'s: {}; to be reviewed at {}",
                own.owner,
                say::harmless(&own.reason),
                say::time(own.review)
            ),
        };
        vec![line]
    }
}

fn witnesses(deployment: WitnessesFact, surface: bool, policies: &[PolicyId]) -> String {
    let by = match (surface, policies) {
        (true, []) => "the surface asks".to_owned(),
        (true, policies) => format!("the surface and {} ask", names(policies)),
        (false, []) => "after a start every surface asks".to_owned(),
        (false, policies) => format!("policy {} asks", names(policies)),
    };
    let had = match deployment {
        WitnessesFact::Nobody => "the deployment had none",
        WitnessesFact::There => "not one answered",
        WitnessesFact::Unknown => "whether there were any could not be told",
    };
    format!("{by} for witnesses, and {had}")
}

fn pin(tool: &ToolName, pinned: Option<Digest>, seen: ToolSeen) -> String {
    let pinned = pinned.map_or_else(|| "not pinned".to_owned(), |pinned| format!("pinned as {pinned}"));
    let seen = match seen {
        ToolSeen::Defined(digest) => format!("its server defines it as {digest}"),
        ToolSeen::Ambiguous => "its server's list of tools is not clear about it".to_owned(),
        ToolSeen::Absent => "its server does not list it".to_owned(),
        ToolSeen::Unknown => "its server has not said how it defines it".to_owned(),
    };
    format!("tool {tool} is {pinned}, and {seen}")
}

fn arguments(tool: &ToolName, seen: Option<ArgumentsSeen>) -> String {
    let seen = match seen {
        Some(ArgumentsSeen::Fit) => "fit",
        Some(ArgumentsSeen::Undeclared) => "had a key that its schema does not declare",
        Some(ArgumentsSeen::Unfit) => "did not fit its schema",
        Some(ArgumentsSeen::Unchecked) => "could not be held against its schema",
        None => "were not held against its schema",
    };
    format!("tool {tool} is as it is pinned, and the gate said that the arguments {seen}")
}

impl Full {
    fn lines(&self) -> Vec<String> {
        let mut lines: Vec<_> =
            self.declared.iter().map(|limit| format!("    it {}", declared(limit))).collect();
        let Some(used) = &self.used else { return lines };
        lines.push(format!(
            "    {} of {} were used, {} are left, and the request takes {}",
            self.amount(used.used),
            self.amount(used.max),
            self.amount(used.max.saturating_sub(used.used)),
            self.amount(used.amount)
        ));
        lines.extend(self.taken.iter().take(MOST_TOLD).map(|taken| {
            let until = taken
                .lapses
                .map_or_else(|| "until it has ended".to_owned(), |at| format!("until {}", say::time(at)));
            format!("    {} taken by {}, {until}", self.amount(taken.amount), earlier(&taken.by))
        }));
        if let Some(more) = self.taken.len().checked_sub(MOST_TOLD).filter(|more| *more > 0) {
            lines.push(format!("    and by {more} before"));
        }
        lines
    }
}

/// What a limit bounds, in words.
fn declared(limit: &Limit) -> String {
    let what = match &limit.measure {
        Measure::Count { window, .. } => format!("counts PERMITs {}", within(*window)),
        Measure::Sum { of, window, .. } => format!("sums `{of}` {}", within(*window)),
        Measure::Rate { window, .. } => format!("counts PERMITs {}, to the millisecond", within(*window)),
        Measure::Open { .. } => "counts PERMITs that have not ended".to_owned(),
    };
    let per = limit.per.iter().map(|per| match per {
        Per::Agent => "agent",
        Per::Surface => "surface",
        Per::Resource => "resource",
        Per::Principal => "principal",
    });
    let per: Vec<_> = per.collect();
    let whose = if per.is_empty() {
        "of all agents together".to_owned()
    } else {
        format!("for each {}", per.join(" and "))
    };
    format!("{what}, {whose}")
}

fn within(window: Window) -> String {
    match window {
        Window::Fixed(span) => format!("in each {} since 1970", Length(span)),
        Window::Sliding { span, .. } => format!("within any {}", Length(span)),
    }
}

#[cfg(test)]
#[path = "because_tests.rs"]
mod tests;
