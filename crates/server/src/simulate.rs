//! Simulation: what another bundle would have decided of what was asked, on record or in a trace, and what that would have left for
//! what was asked after it. Nothing is decided, executed, signed or written.

mod lines;
mod log;
mod trace;

use std::collections::BTreeMap;

use portcullis_policy::Rehearsal;
use portcullis_protocol::{
    AgentId, BundleDigest, Decision, DecisionRecord, LabelName, LimitName, Millis, Obligations, ReasonCode,
    SurfaceName,
};
use serde::Serialize;

pub use self::lines::{Traced, read_trace};
pub use self::log::{facts_on_record, request_on_record, simulate_ledger};
pub use self::trace::simulate_trace;

/// Why what is on record cannot be asked again. Each is counted, and none counts as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NotSimulated {
    /// The agent's key in the vault was destroyed on request.
    Erased,
    /// The bundle did not ask for the request to be kept, or it was kept for its time.
    NotKept,
    /// The vault's master key was not given.
    KeyWithheld,
    /// What is kept is not what the record commits to.
    OtherRequest,
    /// No bundle was in force, so that no policy said anything.
    NoBundle,
    /// The bundle that decided is not in the archive, or cannot be read any more.
    BundleUnreadable,
    /// The other bundle reads calls on this surface otherwise: a gate would have asked something else.
    MappedOtherwise,
    /// A bundle asks a source of facts of which nothing is known for this request.
    FactsUnknown,
    /// Its key was consumed by a request that is not to be had, so that it cannot be told whether it is the same.
    PriorNotKept,
    /// It is decided the same under both, and on other terms, which are not simulated: how silence strikes, times, witnesses, or
    /// tools that a gate would have looked at and did not.
    TermsDiffer,
}

impl NotSimulated {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Erased => "erased",
            Self::NotKept => "not kept, or kept for its time",
            Self::KeyWithheld => "the vault's master key was not given",
            Self::OtherRequest => "what is kept is not what the record commits to",
            Self::NoBundle => "no bundle was in force",
            Self::BundleUnreadable => "the bundle that decided cannot be read",
            Self::MappedOtherwise => {
                "the other bundle reads such calls otherwise, so that another request would be made"
            }
            Self::FactsUnknown => "what a source of facts would have given is not known",
            Self::PriorNotKept => "it depends on an earlier request that is not to be had",
            Self::TermsDiffer => {
                "it is decided the same, on other terms of its surface or by tools that were not looked at, which is not simulated"
            }
        }
    }
}

/// What is said of a request: decision, code, and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Said {
    /// PERMIT, DENY or SILENCE.
    pub decision: Word,
    /// Its code; `None` for a PERMIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The limit that refuses, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitName>,
    /// What the grants ask for; empty if nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// The code that an exception stands in for, if it is a PERMIT by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excepted: Option<&'static str>,
    /// The labels that the PERMIT gives the agent, and for how many milliseconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<LabelName, u64>,
}

/// A decision's word, which sorts as it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    /// DENY.
    Deny,
    /// PERMIT.
    Permit,
    /// SILENCE.
    Silence,
}

impl Said {
    /// What a record says: one of the log, or one that is none.
    fn of(entry: &DecisionRecord) -> Self {
        let decision = match entry.decision {
            Decision::Permit => Word::Permit,
            Decision::Deny => Word::Deny,
            Decision::Silence => Word::Silence,
        };
        let reason = entry.reason.map(ReasonCode::as_str);
        let excepted = entry.exception.as_ref().map(|excepted| excepted.covers.code().as_str());
        let lasts = |(label, until): (&LabelName, &Millis)| (label.clone(), until.since(entry.time));
        let labels = entry.labels.added.iter().map(lasts).collect();
        let (limit, asks) = (entry.limit.clone(), asks(&entry.obligations));
        Self { decision, reason, limit, asks, excepted, labels }
    }
}

fn asks(obligations: &Obligations) -> Vec<String> {
    let mut asks: Vec<String> = Vec::new();
    for need in &obligations.approvals {
        let roles: Vec<_> = need.roles.iter().map(ToString::to_string).collect();
        asks.push(format!("{} of {} within {} ms", need.quorum, roles.join(", "), need.lifetime_ms));
    }
    asks.extend(obligations.identity_within_ms.map(|within| format!("an identity of {within} ms")));
    asks.extend(obligations.witnessed.then(|| "witnesses".to_owned()));
    asks
}

impl std::fmt::Display for Said {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.decision {
            Word::Deny => "DENY",
            Word::Permit => "PERMIT",
            Word::Silence => "SILENCE",
        };
        formatter.write_str(word)?;
        if let Some(reason) = self.reason {
            write!(formatter, " {reason}")?;
        }
        if let Some(limit) = &self.limit {
            write!(formatter, " by limit {limit}")?;
        }
        if let Some(code) = self.excepted {
            write!(formatter, " by an exception for {code}")?;
        }
        if !self.asks.is_empty() {
            write!(formatter, " that asks for {}", self.asks.join(" and "))?;
        }
        for (label, lifetime) in &self.labels {
            write!(formatter, " with label {label} for {lifetime} ms")?;
        }
        Ok(())
    }
}

/// Requests of which the two bundles say different things, by what is the same about them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// The surface.
    pub surface: SurfaceName,
    /// Who asked.
    pub agent: AgentId,
    /// What the bundle before says.
    pub from: Said,
    /// What the other bundle says.
    pub to: Said,
}

/// What was taken as given, because nothing tells of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Assumed {
    /// PERMITs of the other bundle without an outcome on record or in the trace: taken as ended `ok`, at once.
    pub ended_ok: u64,
    /// PERMITs on record that could not be asked again: taken as PERMITs of the other bundle, with what they took of limits, the
    /// labels that they gave, and their keys.
    pub as_recorded: u64,
}

/// What a simulation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// The digest of the other bundle.
    pub bundle: BundleDigest,
    /// Requests that were asked of both, and compared.
    pub asked: u64,
    /// Those of which both say the same.
    pub unchanged: u64,
    /// The others: how many, and the first, by its index in the log or its line in the trace.
    pub changes: BTreeMap<Group, (u64, u64)>,
    /// Requests that could not be asked.
    pub not_simulated: BTreeMap<NotSimulated, u64>,
    /// Calls on record that were only simulated themselves: they are no requests, left nothing, and are not asked again.
    pub simulated_calls: u64,
    /// What was taken as given.
    pub assumed: Assumed,
    /// What in the ledger cannot be, by its own records. What is said of it is then worth nothing.
    pub contradictions: u64,
}

impl Simulation {
    fn new(other: &Rehearsal) -> Self {
        let (changes, not_simulated) = (BTreeMap::new(), BTreeMap::new());
        let (bundle, assumed) = (other.digest(), Assumed::default());
        Self {
            bundle,
            asked: 0,
            unchanged: 0,
            changes,
            not_simulated,
            simulated_calls: 0,
            assumed,
            contradictions: 0,
        }
    }

    /// `alike`: whether both bind it by the same terms. Where they do not, that both decide the same is no answer; that they do
    /// not is a change, whatever the rest would add.
    fn compare(&mut self, place: u64, (before, other): (&DecisionRecord, &DecisionRecord), alike: bool) {
        let (from, to) = (Said::of(before), Said::of(other));
        if from == to && !alike {
            return self.leave(NotSimulated::TermsDiffer);
        }
        self.asked += 1;
        if from == to {
            self.unchanged += 1;
            return;
        }
        let (surface, agent) = (before.surface.clone(), before.agent.clone());
        let (count, _) = self.changes.entry(Group { surface, agent, from, to }).or_insert((0, place));
        *count += 1;
    }

    fn leave(&mut self, why: NotSimulated) {
        *self.not_simulated.entry(why).or_insert(0) += 1;
    }
}
