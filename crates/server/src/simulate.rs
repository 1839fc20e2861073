//! Simulation: what policy would say under another bundle of what was asked, on record or in a trace. Nothing is
//! decided, executed, signed or written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::config::ArbiterConfig;
use crate::in_force::archived;
use crate::kept_facts::{KeptFacts, rehearsed};
use crate::records::open_ledger;
use crate::replay::vault_key;
use portcullis_ledger::{Kept, LedgerError, LedgerReader, MasterKey};
use portcullis_policy::{Evaluation, Gathered, Rehearsal};
use portcullis_protocol::request::{Ask, parse_strict};
use portcullis_protocol::{
    AgentId, BundleDigest, Decision, DecisionRecord, Excepted, LabelName, Millis, Obligations, ReasonCode,
    Record, Request, SurfaceName,
};
use serde::{Deserialize, Serialize};

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
    /// Policy says the same of it under both, and it is bound otherwise: by limits, by pins, or by the terms of its surface.
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
            Self::TermsDiffer => {
                "policy says the same, and limits, pins or the surface's terms differ, which are not simulated"
            }
        }
    }
}

/// What policy says of a request: decision, code, and what a PERMIT asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Said {
    /// PERMIT, DENY or SILENCE.
    pub decision: Word,
    /// Its code; `None` for a PERMIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What the PERMIT asks for; empty if nothing.
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
    fn of((evaluation, excepted): &(Evaluation, Option<Excepted>)) -> Self {
        let decision = match evaluation.verdict.decision() {
            Decision::Permit => Word::Permit,
            Decision::Deny => Word::Deny,
            Decision::Silence => Word::Silence,
        };
        let reason = evaluation.verdict.reason().map(ReasonCode::as_str);
        let excepted = excepted.as_ref().map(|excepted| excepted.covers.code().as_str());
        let (asks, labels) = (asks(&evaluation.obligations), evaluation.labels.clone());
        Self { decision, reason, asks, excepted, labels }
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
    /// What in the ledger cannot be, by its own records. What is said of it is then worth nothing.
    pub contradictions: u64,
}

/// What a rehearsed bundle says, and by which exception.
type Heard = (Evaluation, Option<Excepted>);

impl Simulation {
    fn new(other: &Rehearsal) -> Self {
        let (changes, not_simulated) = (BTreeMap::new(), BTreeMap::new());
        Self { bundle: other.digest(), asked: 0, unchanged: 0, changes, not_simulated, contradictions: 0 }
    }

    /// `bound`: whether both bind it alike beside policy. Where they do not, that policy says the same is no answer; that it
    /// says something else is a change, whatever the rest would add.
    fn ask(&mut self, place: u64, request: &Request, (before, other): (&Heard, &Heard), bound: bool) {
        let (from, to) = (Said::of(before), Said::of(other));
        if from == to && !bound {
            return self.leave(NotSimulated::TermsDiffer);
        }
        self.asked += 1;
        if from == to {
            self.unchanged += 1;
            return;
        }
        let (surface, agent) = (request.ask.surface.clone(), request.agent.clone());
        let (count, _) = self.changes.entry(Group { surface, agent, from, to }).or_insert((0, place));
        *count += 1;
    }

    fn leave(&mut self, why: NotSimulated) {
        *self.not_simulated.entry(why).or_insert(0) += 1;
    }
}

/// Asks both bundles about every decision of a log. `each` is told how far it is, and says whether to go on; if it does
/// not, there is no simulation.
///
/// # Errors
/// If the ledger cannot be read, is not what its signed head says, or the master key is not its own.
pub fn simulate_ledger(
    reader: &LedgerReader,
    master: Option<&MasterKey>,
    other: &Rehearsal,
    mut each: impl FnMut(u64) -> bool,
) -> Result<Option<Simulation>, LedgerError> {
    if let Some(master) = master {
        reader.unlocks(master)?;
    }
    let mut simulation = Simulation::new(other);
    let mut log =
        Simulated { reader, master, bundles: BTreeMap::new(), facts: KeptFacts::of(reader), last: None };
    let read = reader.replay(|record, _, state| {
        if let Record::Decision(entry) = record {
            let labels = state.standing().labels(&entry.agent, entry.behind(), entry.time);
            match log.again(entry, &labels, other) {
                Ok(Again { request, before, said, bound }) => {
                    simulation.ask(entry.seq, &request, (&before, &said), bound);
                }
                Err(why) => simulation.leave(why),
            }
        }
        if each(record.seq()) { ControlFlow::Continue(None) } else { ControlFlow::Break(()) }
    })?;
    let Some((_, contradictions)) = read else { return Ok(None) };
    // Which operation a key stood for was not told, so only what needs none of it was compared.
    simulation.contradictions = u64::try_from(contradictions.len()).unwrap_or(u64::MAX);
    Ok(Some(simulation))
}

/// A request that was asked again, what both say of it, and whether both bind it alike beside policy.
struct Again {
    request: Request,
    before: Heard,
    said: Heard,
    bound: bool,
}

type Archived = BTreeMap<BundleDigest, Option<Rehearsal>>;

/// A log whose requests are asked again.
struct Simulated<'a> {
    reader: &'a LedgerReader,
    master: Option<&'a MasterKey>,
    bundles: Archived,
    facts: KeptFacts<'a>,
    /// What the other bundle was asked with last.
    last: Option<Gathered>,
}

impl Simulated<'_> {
    /// The request of a record as it is kept, what the bundle that decided says of it, and what the other one says, both by
    /// the facts that the record names. The other one counts as valid then: it is asked what it would have said in force.
    fn again(
        &mut self,
        entry: &DecisionRecord,
        labels: &BTreeSet<LabelName>,
        other: &Rehearsal,
    ) -> Result<Again, NotSimulated> {
        let request = kept(self.reader, self.master.ok_or(NotSimulated::KeyWithheld)?, entry)?;
        let digest = entry.bundle.as_ref().ok_or(NotSimulated::NoBundle)?.digest;
        let archived = self.bundles.entry(digest).or_insert_with(|| of_archive(self.reader, &digest));
        let before = archived.as_ref().ok_or(NotSimulated::BundleUnreadable)?;
        if request.ask.mapped_with.is_some() && !before.reads_alike(other, &request.ask.surface) {
            return Err(NotSimulated::MappedOtherwise);
        }
        let named = &entry.facts.sources;
        if !other.sources().keys().all(|name| named.contains_key(name)) {
            return Err(NotSimulated::FactsUnknown);
        }
        let given = self.facts.given(entry).map_err(|_| NotSimulated::FactsUnknown)?;
        let facts = rehearsed(&given, before, None);
        let said = before.evaluate(&request, labels, Some(entry.time), facts.as_ref());
        self.last = rehearsed(&given, other, self.last.as_ref());
        let bound = before.binds_alike(other, &request.ask);
        let now = other.evaluate_as_valid(&request, labels, Some(entry.time), self.last.as_ref());
        Ok(Again { request, before: said, said: now, bound })
    }
}

/// The request of a record as it is kept, if it is the one that the record commits to.
fn kept(reader: &LedgerReader, master: &MasterKey, entry: &DecisionRecord) -> Result<Request, NotSimulated> {
    let kept = match reader.kept_request(master, entry) {
        Ok(Kept::Here(kept)) => kept,
        Ok(Kept::Erased) => return Err(NotSimulated::Erased),
        Ok(Kept::Nothing) => return Err(NotSimulated::NotKept),
        Err(_) => return Err(NotSimulated::OtherRequest),
    };
    let request = kept.request.by(entry.agent.clone());
    match request.commitment(&kept.salt) {
        Ok(commitment) if commitment == entry.request => Ok(request),
        Ok(_) | Err(_) => Err(NotSimulated::OtherRequest),
    }
}

/// The request that a record decided, if this deployment's ledger and vault have it.
///
/// # Errors
/// Why it is not to be had.
pub fn request_on_record(config: &ArbiterConfig, entry: &DecisionRecord) -> Result<Request, String> {
    let reader = open_ledger(config).map_err(|error| error.to_string())?;
    let master = vault_key(config).map_err(|error| error.to_string())?;
    reader.unlocks(&master).map_err(|error| error.to_string())?;
    kept(&reader, &master, entry).map_err(|why| why.as_str().to_owned())
}

/// What the sources of facts gave for a decision, for a bundle that is to be asked again, if this deployment's ledger has it;
/// `None` if the bundle has no sources, or they gave nothing.
///
/// # Errors
/// Why it is not to be had.
pub fn facts_on_record(
    config: &ArbiterConfig,
    entry: &DecisionRecord,
    bundle: &Rehearsal,
) -> Result<Option<Gathered>, String> {
    if entry.facts.sources.is_empty() {
        return Ok(None);
    }
    let reader = open_ledger(config).map_err(|error| error.to_string())?;
    let given = KeptFacts::of(&reader).given(entry).map_err(|error| error.to_string())?;
    Ok(rehearsed(&given, bundle, None))
}

fn of_archive(reader: &LedgerReader, digest: &BundleDigest) -> Option<Rehearsal> {
    archived(reader, digest)?.rehearse().ok()
}

/// A line of a trace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    agent: AgentId,
    request: Ask,
    at: Option<Millis>,
    /// Separated by commas: strict JSON has no lists but in a context.
    labels: Option<String>,
}

impl Line {
    fn labels(&self) -> Result<BTreeSet<LabelName>, String> {
        let names = self.labels.iter().flat_map(|labels| labels.split(','));
        names.map(|name| name.trim().parse::<LabelName>().map_err(|error| error.to_string())).collect()
    }
}

/// A request of a trace.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Its line, from 1.
    pub line: u64,
    /// What was asked, and by whom.
    pub request: Request,
    /// The labels that the agent had.
    pub labels: BTreeSet<LabelName>,
    /// When; `None` for any time.
    pub at: Option<Millis>,
}

/// Reads a trace: a line each, `{"agent": …, "request": …, "labels": "a, b", "at": …}`, the request as `POST /v1/decisions`
/// takes it, `at` in milliseconds since 1970. Empty lines are skipped.
///
/// # Errors
/// The first line that is none, by its number, and why.
pub fn read_trace(trace: &[u8]) -> Result<Vec<Traced>, String> {
    let mut read = Vec::new();
    for (number, line) in (1..).zip(trace.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed =
            parse_strict::<Line>(line).map_err(|refused| format!("line {number}: {}", refused.detail))?;
        let labels = parsed.labels().map_err(|error| format!("line {number}: {error}"))?;
        let Line { agent, request, at, .. } = parsed;
        read.push(Traced { line: number, request: request.by(agent), labels, at });
    }
    Ok(read)
}

/// Asks both bundles about every line of a trace ([`read_trace`]); without a time, as of one at which both are valid.
///
/// # Errors
/// As [`read_trace`].
pub fn simulate_trace(trace: &[u8], before: &Rehearsal, other: &Rehearsal) -> Result<Simulation, String> {
    let mut simulation = Simulation::new(other);
    for Traced { line, request, labels, at } in read_trace(trace)? {
        if !(before.sources().is_empty() && other.sources().is_empty()) {
            // A trace says nothing of what sources of facts would give.
            simulation.leave(NotSimulated::FactsUnknown);
            continue;
        }
        let ask = |bundle: &Rehearsal| bundle.evaluate(&request, &labels, at, None);
        let bound = before.binds_alike(other, &request.ask);
        simulation.ask(line, &request, (&ask(before), &ask(other)), bound);
    }
    Ok(simulation)
}
