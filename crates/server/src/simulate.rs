//! Simulation: what policy would say under another bundle of what was asked, on record or in a trace. Nothing is
//! decided, executed, signed or written.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::config::ArbiterConfig;
use crate::records::open_ledger;
use crate::replay::vault_key;
use portcullis_ledger::{Kept, LedgerError, LedgerReader, MasterKey};
use portcullis_policy::{Evaluation, Rehearsal, Snapshot};
use portcullis_protocol::request::{Ask, parse_strict};
use portcullis_protocol::{
    AgentId, BundleDigest, Decision, DecisionRecord, LabelName, Millis, Obligations, ReasonCode, Record,
    Request, SurfaceName,
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
    fn of(evaluation: &Evaluation) -> Self {
        let decision = match evaluation.verdict.decision() {
            Decision::Permit => Word::Permit,
            Decision::Deny => Word::Deny,
            Decision::Silence => Word::Silence,
        };
        let reason = evaluation.verdict.reason().map(ReasonCode::as_str);
        Self { decision, reason, asks: asks(&evaluation.obligations), labels: evaluation.labels.clone() }
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
    /// Requests that were asked of both.
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

impl Simulation {
    fn new(other: &Rehearsal) -> Self {
        let (changes, not_simulated) = (BTreeMap::new(), BTreeMap::new());
        Self { bundle: other.digest(), asked: 0, unchanged: 0, changes, not_simulated, contradictions: 0 }
    }

    fn ask(&mut self, place: u64, request: &Request, (before, other): (&Evaluation, &Evaluation)) {
        let (from, to) = (Said::of(before), Said::of(other));
        self.asked += 1;
        if from == to {
            self.unchanged += 1;
            return;
        }
        let (surface, agent) = (request.ask.surface.clone(), request.agent.clone());
        let (count, _) = self.changes.entry(Group { surface, agent, from, to }).or_insert((0, place));
        *count += 1;
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
    let mut bundles = BTreeMap::new();
    let read = reader.replay(|record, _, state| {
        if let Record::Decision(entry) = record {
            let labels = state.standing().labels(&entry.agent, entry.time);
            match again(reader, &mut bundles, master, (entry, &labels), other) {
                Ok((request, before)) => {
                    let said = other.evaluate(&request, &labels, Some(entry.time));
                    simulation.ask(entry.seq, &request, (&before, &said));
                }
                Err(why) => *simulation.not_simulated.entry(why).or_insert(0) += 1,
            }
        }
        if each(record.seq()) { ControlFlow::Continue(None) } else { ControlFlow::Break(()) }
    })?;
    let Some((_, contradictions)) = read else { return Ok(None) };
    // Which operation a key stood for was not told, so only what needs none of it was compared.
    simulation.contradictions = u64::try_from(contradictions.len()).unwrap_or(u64::MAX);
    Ok(Some(simulation))
}

type Archived = BTreeMap<BundleDigest, Option<Rehearsal>>;

/// The request of a record as it is kept, and what the bundle that decided says of it.
fn again(
    reader: &LedgerReader,
    bundles: &mut Archived,
    master: Option<&MasterKey>,
    (entry, labels): (&DecisionRecord, &BTreeSet<LabelName>),
    other: &Rehearsal,
) -> Result<(Request, Evaluation), NotSimulated> {
    let request = kept(reader, master.ok_or(NotSimulated::KeyWithheld)?, entry)?;
    let digest = entry.bundle.as_ref().ok_or(NotSimulated::NoBundle)?.digest;
    let archived = bundles.entry(digest).or_insert_with(|| archived(reader, &digest));
    let before = archived.as_ref().ok_or(NotSimulated::BundleUnreadable)?;
    if request.ask.mapped_with.is_some() && !before.reads_alike(other, &request.ask.surface) {
        return Err(NotSimulated::MappedOtherwise);
    }
    let said = before.evaluate(&request, labels, Some(entry.time));
    Ok((request, said))
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

/// A bundle as the ledger archived it, if it is still the one of this digest.
fn archived(reader: &LedgerReader, digest: &BundleDigest) -> Option<Rehearsal> {
    let bytes = reader.bundle(digest).ok().flatten()?;
    let snapshot = Snapshot::from_archive(&bytes).ok().filter(|snapshot| snapshot.digest() == *digest)?;
    snapshot.rehearse().ok()
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

/// Asks both bundles about every line of a trace: `{"agent": …, "request": …, "labels": "a, b", "at": …}`, the request as
/// `POST /v1/decisions` takes it, `at` in milliseconds since 1970, or left out for a time at which both are valid. Empty
/// lines are skipped.
///
/// # Errors
/// The first line that is none, by its number, and why.
pub fn simulate_trace(trace: &[u8], before: &Rehearsal, other: &Rehearsal) -> Result<Simulation, String> {
    let mut simulation = Simulation::new(other);
    for (number, line) in (1..).zip(trace.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let parsed =
            parse_strict::<Line>(line).map_err(|refused| format!("line {number}: {}", refused.detail))?;
        let labels = parsed.labels().map_err(|error| format!("line {number}: {error}"))?;
        let Line { agent, request, at, .. } = parsed;
        let request = request.by(agent);
        let said = (&before.evaluate(&request, &labels, at), &other.evaluate(&request, &labels, at));
        simulation.ask(number, &request, said);
    }
    Ok(simulation)
}
