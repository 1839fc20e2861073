//! What earlier decisions left for later ones: what is reserved of limits, which labels agents and those for whom they act
//! have, and as of when the newest facts of each source were.
//!
//! It is a function of the log: of what PERMITs reserve and add, of the outcomes, and of the facts that records name, in log
//! order. Whoever settles holds it in memory; a start has it from the newest mark and the records after it, as idempotency keys are had.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_protocol::{
    AgentId, DecisionRecord, Digest, Domain, LabelName, Labels, LimitName, LimitUse, Millis, Outcome,
    PrincipalId, ReasonCode, SnapshotUse, Snapshots, SourceName, canonical,
};
use serde::{Deserialize, Serialize};

mod reserved;
mod shares;

use self::reserved::{CounterRow, Held, Holding, Reserved};
use self::shares::Shares;

pub use self::shares::MOST_OF_AGENT;

/// Most amounts that are kept at once.
pub const MOST_KEPT: usize = 131_072;

type Counter = (LimitName, Digest);
/// Labels, and until when each stays.
pub type Labelled = BTreeMap<LabelName, Millis>;
/// The labels of agents and of those for whom they act. No bundle has an agent and a person of one name, so that a name
/// tells who it is.
pub type AllLabels = BTreeMap<PrincipalId, Labelled>;

/// The newest facts of a source that a record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewestFacts {
    /// As of when they are, by the source's own word.
    pub as_of: Millis,
    /// Digest of their entities.
    pub digest: Digest,
}

impl NewestFacts {
    /// Whether facts as of a time, with entities of a digest, are older than these and other ones, at `now`.
    #[must_use]
    pub fn is_after(&self, as_of: Millis, digest: Digest, now: Millis) -> bool {
        as_of < self.as_of && digest != self.digest && self.as_of <= now
    }
}

/// Of each source, the newest facts that a record names.
pub type Heard = BTreeMap<SourceName, NewestFacts>;

/// Rows that no standing was written as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row `{0}` of what is reserved is none")]
pub struct NoStanding(pub String);

/// What earlier PERMITs left.
#[derive(Clone, Debug)]
pub struct Standing {
    counters: BTreeMap<Counter, Reserved>,
    /// By PERMIT, until its final outcome.
    held: BTreeMap<u64, Held>,
    /// Whose all of that is.
    shares: Shares,
    /// By whose it is, until when each label stays.
    labels: AllLabels,
    /// Changes with every change of the labels.
    version: u64,
    /// The newest facts of each source that a record names.
    sources: Heard,
    /// When the newest PERMIT reserved: time does not go back behind it.
    newest: Millis,
    /// No fewer than the amounts that are kept, what has lapsed included.
    kept: usize,
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}

impl Standing {
    /// That of a log without records.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counters: BTreeMap::new(),
            held: BTreeMap::new(),
            shares: Shares::new(),
            labels: BTreeMap::new(),
            version: 0,
            sources: Heard::new(),
            newest: Millis(0),
            kept: 0,
        }
    }

    /// The time at which this is looked at: the record's, and never before what was reserved already. A clock that
    /// went back begins no window anew.
    #[must_use]
    pub fn at(&self, now: Millis) -> Millis {
        now.max(self.newest)
    }

    /// How much of a counter is reserved.
    #[must_use]
    pub fn used(&self, limit: &LimitName, counter: &Digest, now: Millis) -> u64 {
        let now = self.at(now);
        self.counters.get(&(limit.clone(), *counter)).map_or(0, |reserved| reserved.used(now))
    }

    /// Whether so many more amounts of an agent can be kept, beside its own and beside all.
    ///
    /// # Errors
    /// The code under which the agent is refused.
    pub fn takes(&self, agent: &AgentId, more: usize, now: Millis) -> Result<(), ReasonCode> {
        let now = self.at(now);
        if !self.shares.take(agent, more, now) {
            return Err(ReasonCode::LimitsAgentFull);
        }
        let fits = |kept: usize| kept.saturating_add(more) <= MOST_KEPT;
        // What has lapsed is forgotten now and then, and decides nothing.
        if fits(self.kept) || fits(self.count(now)) { Ok(()) } else { Err(ReasonCode::LimitsUnreadable) }
    }

    fn count(&self, now: Millis) -> usize {
        let counters = self.counters.values().map(|reserved| reserved.kept(now));
        let held = self.held.values();
        let held = held.map(|held| held.holdings.iter().filter(|holding| holding.counts(now)).count());
        counters.chain(held).fold(0, usize::saturating_add)
    }

    /// Reserves what an agent's PERMIT takes.
    pub fn reserve(&mut self, permit: u64, agent: &AgentId, time: Millis, limits: &[LimitUse]) {
        if limits.is_empty() {
            return;
        }
        self.newest = self.at(time);
        let newest = self.newest;
        for LimitUse { limit, counter, amount, lapses, .. } in limits {
            let reserved = self.counters.entry((limit.clone(), *counter)).or_default();
            reserved.forget(newest);
            if let (true, Some(lapses)) = (reserved.take(agent, *amount, *lapses), lapses) {
                self.shares.add(agent, *lapses);
            }
        }
        let holdings: Vec<_> = limits.iter().map(Holding::of).collect();
        holdings.iter().for_each(|holding| self.shares.add(agent, holding.until()));
        self.held.insert(permit, Held { agent: agent.clone(), holdings });
        self.kept = self.kept.saturating_add(limits.len().saturating_mul(2));
        if self.kept > MOST_KEPT || self.shares.are_over(agent) {
            self.forget(newest);
        }
    }

    /// Gives an agent, and whom it acts for, the labels that a PERMIT adds. One that they have stays for whichever time is
    /// longer.
    pub fn label(&mut self, agent: &AgentId, behind: Option<&PrincipalId>, time: Millis, added: &Labelled) {
        if added.is_empty() {
            return;
        }
        self.newest = self.at(time);
        self.version = self.version.wrapping_add(1);
        for who in whose(agent, behind) {
            let own = self.labels.entry(who).or_default();
            for (label, until) in added {
                let stays = own.entry(label.clone()).or_insert(*until);
                *stays = (*stays).max(*until);
            }
        }
    }

    /// The labels that an agent has, with those of whom it acts for.
    #[must_use]
    pub fn labels(&self, agent: &AgentId, behind: Option<&PrincipalId>, now: Millis) -> BTreeSet<LabelName> {
        labels_of(&self.labels, agent, behind, self.at(now))
    }

    /// The labels that count for a PERMIT that is on record and not handed out yet: those that it was decided with, as far
    /// as they stay, and those that others of its agent's PERMITs, or of whom that acts for, gave since. What it alone gives
    /// is no reason against it.
    #[must_use]
    pub fn labels_beside(&self, entry: &DecisionRecord, now: Millis) -> BTreeSet<LabelName> {
        let Labels { held, added } = &entry.labels;
        let stay: Vec<_> =
            whose(&entry.agent, entry.behind()).filter_map(|who| self.labels.get(&who)).collect();
        let longer = |label: &LabelName| stay.iter().any(|own| own.get(label) > added.get(label));
        let mut labels = self.labels(&entry.agent, entry.behind(), now);
        labels.retain(|label| held.contains(label) || longer(label));
        labels
    }

    /// Takes note of the facts that a record of `time` names. What says to be from later than the record is refused by it, and
    /// is no newest: a source that is once wrong about the time is not held to that.
    pub fn hear(&mut self, time: Millis, sources: &Snapshots) {
        for (name, used) in sources.iter().filter(|(_, used)| used.as_of <= time) {
            let newest = NewestFacts { as_of: used.as_of, digest: used.digest };
            match self.sources.get_mut(name) {
                Some(held) if held.as_of <= newest.as_of => *held = newest,
                Some(_) => {}
                None => drop(self.sources.insert(name.clone(), newest)),
            }
        }
    }

    /// Whether any of these facts are older than the newest of their source, and other ones. The same entities as of an
    /// earlier time are no older truth. What lies after `now` does not count; no record is settled at a time before what is on
    /// record, so that this matters only to whoever asks by a clock.
    #[must_use]
    pub fn is_past(&self, sources: &Snapshots, now: Millis) -> bool {
        let past = |(name, used): (&SourceName, &SnapshotUse)| {
            self.sources.get(name).is_some_and(|newest| newest.is_after(used.as_of, used.digest, now))
        };
        sources.iter().any(past)
    }

    /// The newest facts of each source that a record names.
    #[must_use]
    pub const fn heard(&self) -> &Heard {
        &self.sources
    }

    /// In how many counters something is reserved.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.counters.len()
    }

    /// All labels, with a number that changes whenever they do.
    #[must_use]
    pub const fn all_labels(&self) -> (u64, &AllLabels) {
        (self.version, &self.labels)
    }

    /// Takes note of how a PERMIT ended. What never ran gives everything back; what ran, or may have run, keeps what
    /// it took of its windows; as long as it is unknown it counts as open.
    pub fn end(&mut self, permit: u64, outcome: Outcome) {
        let all = match outcome {
            Outcome::Unknown => return,
            Outcome::Ok | Outcome::Failed => false,
            Outcome::Expired | Outcome::Withheld => true,
        };
        let Some(Held { agent, holdings }) = self.held.remove(&permit) else { return };
        for holding in &holdings {
            self.shares.remove(&agent, holding.until());
            if all || holding.lapses.is_none() {
                self.give_back(&agent, holding);
            }
        }
    }

    fn give_back(&mut self, agent: &AgentId, holding: &Holding) {
        let name = (holding.limit.clone(), holding.counter);
        let Some(reserved) = self.counters.get_mut(&name) else { return };
        if reserved.give_back(agent, holding) {
            self.shares.remove(agent, holding.until());
        }
        if reserved.is_empty() {
            self.counters.remove(&name);
        }
    }

    /// Forgets what has lapsed at `time`. It decides nothing any more.
    pub fn forget(&mut self, time: Millis) {
        let now = self.at(time);
        for reserved in self.counters.values_mut() {
            reserved.forget(now);
        }
        self.counters.retain(|_, reserved| !reserved.is_empty());
        for held in self.held.values_mut() {
            held.holdings.retain(|holding| holding.counts(now));
        }
        self.held.retain(|_, held| !held.holdings.is_empty());
        self.shares.forget(now);
        for own in self.labels.values_mut() {
            own.retain(|_, until| *until > now);
        }
        self.labels.retain(|_, own| !own.is_empty());
        if self.counters.is_empty() && self.held.is_empty() && self.labels.is_empty() {
            // Nothing is left that an earlier time could bring back.
            self.newest = Millis(0);
        }
        self.kept = self.count(now);
    }

    /// What this is as rows, by their names. Equal standings have equal rows.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<String, Vec<u8>> {
        let mut rows = BTreeMap::new();
        for ((limit, counter), reserved) in &self.counters {
            rows.insert(format!("counter {limit} {counter}"), row(&reserved.to_row((limit, counter))));
        }
        for (permit, held) in &self.held {
            rows.insert(format!("permit {permit:020}"), row(held));
        }
        for (who, own) in &self.labels {
            rows.insert(format!("labels {who}"), row(own));
        }
        if !rows.is_empty() {
            rows.insert("newest".to_owned(), row(&self.newest));
        }
        for (name, newest) in &self.sources {
            rows.insert(format!("source {name}"), row(newest));
        }
        rows
    }

    /// Reads rows that [`Self::rows`] wrote. To be done only once their [`digest`] is that of the log.
    ///
    /// # Errors
    /// [`NoStanding`].
    pub fn from_rows(rows: &BTreeMap<String, Vec<u8>>) -> Result<Self, NoStanding> {
        let mut standing = Self::new();
        for (name, body) in rows {
            standing.read(name, body).ok_or_else(|| NoStanding(name.clone()))?;
        }
        standing.kept = standing.count(Millis(0));
        standing.shares = standing.shared();
        Ok(standing)
    }

    /// Whose everything is that is reserved.
    fn shared(&self) -> Shares {
        let mut shares = Shares::new();
        let counted = self.counters.values().flat_map(Reserved::owners);
        let held = self.held.values();
        let held = held.flat_map(|held| held.holdings.iter().map(|holding| (&held.agent, holding.until())));
        counted.chain(held).for_each(|(agent, until)| shares.add(agent, until));
        shares
    }

    fn read(&mut self, name: &str, body: &[u8]) -> Option<()> {
        let (kind, rest) = name.split_once(' ').map_or((name, ""), |parts| parts);
        match kind {
            "counter" => {
                let (counter, reserved) = value::<CounterRow>(body)?.read();
                self.counters.insert(counter, reserved);
            }
            "permit" => drop(self.held.insert(number(rest)?, value(body)?)),
            "labels" => drop(self.labels.insert(rest.parse().ok()?, value(body)?)), // tidy: allow None is no row
            "source" => drop(self.sources.insert(rest.parse().ok()?, value(body)?)), // tidy: allow None is no row
            "newest" => self.newest = value(body)?,
            _ => return None,
        }
        Some(())
    }

    /// The name of the first row in which another standing differs.
    #[must_use]
    pub fn differs(&self, rows: &BTreeMap<String, Vec<u8>>) -> Option<String> {
        let own = self.rows();
        let names: BTreeSet<&String> = own.keys().chain(rows.keys()).collect();
        names.into_iter().find(|name| own.get(*name) != rows.get(*name)).cloned()
    }
}

/// Who sees and gets labels: the agent, and whom it acts for.
fn whose(agent: &AgentId, behind: Option<&PrincipalId>) -> impl Iterator<Item = PrincipalId> {
    [PrincipalId::from(agent)].into_iter().chain(behind.cloned())
}

/// Whether what one decision's PERMIT adds counts for another decision.
#[must_use]
pub fn share_labels(one: &DecisionRecord, other: &DecisionRecord) -> bool {
    let mut others = whose(&other.agent, other.behind());
    others.any(|other| whose(&one.agent, one.behind()).any(|who| who == other))
}

/// The labels that an agent has at a time, with those of whom it acts for.
#[must_use]
pub fn labels_of(
    all: &AllLabels,
    agent: &AgentId,
    behind: Option<&PrincipalId>,
    now: Millis,
) -> BTreeSet<LabelName> {
    let own: Vec<_> = whose(agent, behind).filter_map(|who| all.get(&who)).collect();
    let own = own.into_iter().flatten();
    own.filter(|(_, until)| **until > now).map(|(label, _)| label.clone()).collect()
}

/// The digest of rows: what a mark's record says. `None` of none.
#[must_use]
pub fn digest(rows: &BTreeMap<String, Vec<u8>>) -> Option<Digest> {
    let parts: Vec<&[u8]> = rows.iter().flat_map(|(name, body)| [name.as_bytes(), body]).collect();
    (!parts.is_empty()).then(|| Digest::of(Domain::Standing, &parts))
}

fn row<T: Serialize>(value: &T) -> Vec<u8> {
    // Names, digests and numbers of records: they have a canonical form. Were there none, the row would be none, and
    // no start would take it.
    canonical::to_bytes(value).unwrap_or_default() // tidy: allow an empty row is none, which refuses
}

fn value<T: serde::de::DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok() // tidy: allow None is no row, which refuses
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok() // tidy: allow None is no row, which refuses
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
