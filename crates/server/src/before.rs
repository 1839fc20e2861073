//! What the log says before a decision that explains it: who took what of the limit that refused, which record gave a label,
//! which one holds the key, since when the gate is shut.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_arbiter::share_labels;
use portcullis_ledger::LedgerReader;
use portcullis_protocol::{
    AgentId, Decision, DecisionRecord, Event, LabelName, LimitUse, Millis, Outcome, Precondition, ReasonCode,
    Record, SurfaceName,
};
use serde::Serialize;

use crate::config::ArbiterConfig;
use crate::records::open_ledger;

/// Records of a tile.
const TILE: u64 = 256;

/// A PERMIT before a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Earlier {
    /// Its index in the log.
    pub seq: u64,
    /// When it was settled.
    pub time: Millis,
    /// Who acted.
    pub agent: AgentId,
    /// On which surface.
    pub surface: SurfaceName,
    /// What had become of it by the time of the decision, if that was known.
    pub outcome: Option<Outcome>,
}

/// What an earlier PERMIT held of the counter that a decision found full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Whose.
    pub by: Earlier,
    /// How much.
    pub amount: u64,
    /// From when on it gives room again; `None`: when it has ended.
    pub lapses: Option<Millis>,
}

/// Where a label comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Labelled {
    /// The PERMIT that gave it last.
    pub by: Earlier,
    /// Until when, by that PERMIT. An older one may have given it for longer.
    pub until: Millis,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// What made up the count of the limit that refused, newest first.
    pub taken: Vec<Taken>,
    /// Where the labels come from that the agent had.
    pub labels: BTreeMap<LabelName, Labelled>,
    /// The PERMIT that used the key.
    pub key: Option<Earlier>,
    /// The record that says since when the gate is shut.
    pub shut: Option<(u64, Millis)>,
}

impl Before {
    /// Whether the log has anything to say that explains a decision.
    #[must_use]
    pub fn is_asked_for(entry: &DecisionRecord) -> bool {
        !Search::of(entry).is_over()
    }
}

/// Reads the log backwards from a decision, as far as it takes to explain it.
///
/// # Errors
/// In words, if the ledger cannot be read or has another record in its place.
pub fn before(config: &ArbiterConfig, entry: &DecisionRecord) -> Result<Before, String> {
    let mut search = Search::of(entry);
    if search.is_over() {
        return Ok(search.found);
    }
    let ledger = open_ledger(config).map_err(|error| error.to_string())?;
    let is_of = |record: &Record| matches!(record, Record::Decision(own) | Record::Simulation(own) if **own == *entry);
    if entry.seq >= ledger.head().size()
        || !is_of(&ledger.record(entry.seq).map_err(|error| error.to_string())?)
    {
        return Err("the receipt is of another log than the configuration's".to_owned());
    }
    search.read(&ledger)?;
    Ok(search.found)
}

/// What is looked for.
struct Search<'a> {
    entry: &'a DecisionRecord,
    limit: Option<&'a LimitUse>,
    /// How much of the limit's count is accounted for.
    counted: u64,
    labels: BTreeSet<&'a LabelName>,
    wants_key: bool,
    wants_shut: bool,
    /// The newest outcome of each PERMIT whose record was not met yet.
    outcomes: BTreeMap<u64, Outcome>,
    found: Before,
}

impl<'a> Search<'a> {
    fn of(entry: &'a DecisionRecord) -> Self {
        let of = |precondition| entry.reason.is_some_and(|code| code.precondition() == precondition);
        let by_policy = of(Precondition::Evaluation);
        Self {
            entry,
            limit: entry.limits.first().filter(|_| of(Precondition::Limits)),
            counted: 0,
            labels: entry.labels.held.iter().filter(|_| by_policy).collect(),
            wants_key: of(Precondition::Idempotency) && entry.key.is_some(),
            wants_shut: entry.reason == Some(ReasonCode::GateShut),
            outcomes: BTreeMap::new(),
            found: Before::default(),
        }
    }

    /// Whether nothing is looked for any more.
    fn is_over(&self) -> bool {
        self.limit.is_none_or(|limit| self.counted >= limit.used)
            && self.labels.is_empty()
            && !self.wants_key
            && !self.wants_shut
    }

    fn read(&mut self, ledger: &LedgerReader) -> Result<(), String> {
        for tile in (0..=self.entry.seq / TILE).rev() {
            let listed = ledger.tile(tile).map_err(|error| error.to_string())?;
            for listed in listed.into_iter().rev().filter(|listed| listed.record.seq() < self.entry.seq) {
                self.meet(&listed.record);
                if self.is_over() {
                    return Ok(());
                }
            }
        }
        if self.limit.is_some_and(|limit| self.counted != limit.used) {
            return Err("the log's records do not come to what the receipt says was used".to_owned());
        }
        Ok(())
    }

    fn meet(&mut self, record: &Record) {
        match record {
            Record::Outcome(outcome) => drop(self.outcomes.entry(outcome.permit).or_insert(outcome.outcome)),
            Record::Decision(permit) if permit.decision == Decision::Permit => self.meet_permit(permit),
            Record::Event(event) if event.event == Event::Shut && self.wants_shut => {
                self.found.shut = Some((event.seq, event.time));
                self.wants_shut = false;
            }
            Record::Decision(_)
            | Record::Event(_)
            | Record::Aggregate(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => {}
        }
    }

    fn meet_permit(&mut self, permit: &DecisionRecord) {
        let outcome = self.outcomes.remove(&permit.seq);
        let earlier = Earlier {
            seq: permit.seq,
            time: permit.time,
            agent: permit.agent.clone(),
            surface: permit.surface.clone(),
            outcome,
        };
        if self.wants_key && permit.key == self.entry.key {
            self.found.key = Some(earlier.clone());
            self.wants_key = false;
        }
        if let Some(taken) = self.limit.and_then(|limit| held(permit, limit, outcome, self.entry.time)) {
            self.counted = self.counted.saturating_add(taken.amount);
            let LimitUse { amount, lapses, .. } = *taken;
            self.found.taken.push(Taken { by: earlier.clone(), amount, lapses });
        }
        if share_labels(permit, self.entry) {
            self.label(&earlier, permit);
        }
    }

    fn label(&mut self, by: &Earlier, permit: &DecisionRecord) {
        let given = permit.labels.added.iter();
        for (label, until) in given.filter(|(_, until)| **until > self.entry.time) {
            if self.labels.remove(label) {
                self.found.labels.insert(label.clone(), Labelled { by: by.clone(), until: *until });
            }
        }
    }
}

/// What a PERMIT still held of a limit's counter at a time.
fn held<'a>(
    permit: &'a DecisionRecord,
    limit: &LimitUse,
    outcome: Option<Outcome>,
    now: Millis,
) -> Option<&'a LimitUse> {
    let is_same = |used: &&LimitUse| used.limit == limit.limit && used.counter == limit.counter;
    let used = permit.limits.iter().find(is_same)?;
    let counts = match (outcome, used.lapses) {
        (Some(Outcome::Expired | Outcome::Withheld), _) | (Some(Outcome::Ok | Outcome::Failed), None) => {
            false
        }
        (_, Some(lapses)) => lapses > now,
        (Some(Outcome::Unknown) | None, None) => true,
    };
    Some(used).filter(|_| counts)
}
