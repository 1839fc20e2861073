//! What earlier PERMITs left for later decisions: what is reserved of limits, and which labels agents have.
//!
//! It is a function of the log: of what PERMITs reserve and add, and of the outcomes, in log order. Whoever settles holds it
//! in memory; a start has it from the newest mark and the records after it, as idempotency keys are had.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use portcullis_protocol::{
    AgentId, Digest, Domain, LabelName, LimitName, LimitUse, Millis, Outcome, canonical,
};
use serde::{Deserialize, Serialize};

/// Most amounts that are kept at once.
pub const MOST_KEPT: usize = 131_072;

type Counter = (LimitName, Digest);
/// Labels, and until when each stays.
pub type Labelled = BTreeMap<LabelName, Millis>;

/// What is reserved in one counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Reserved {
    /// By when it lapses.
    windows: BTreeMap<Millis, u64>,
    /// Until its PERMITs end.
    open: u64,
}

/// What a PERMIT holds of a counter until it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holding {
    limit: LimitName,
    counter: Digest,
    amount: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lapses: Option<Millis>,
}

/// A counter as a row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CounterRow {
    limit: LimitName,
    counter: Digest,
    open: u64,
    windows: Vec<(Millis, u64)>,
}

/// Rows that no standing was written as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row `{0}` of what is reserved is none")]
pub struct NoStanding(pub String);

/// What earlier PERMITs left.
#[derive(Clone, Debug)]
pub struct Standing {
    counters: BTreeMap<Counter, Reserved>,
    /// By PERMIT, until its final outcome.
    held: BTreeMap<u64, Vec<Holding>>,
    /// By agent, until when each label stays.
    labels: BTreeMap<AgentId, Labelled>,
    /// Changes with every change of the labels.
    version: u64,
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
            labels: BTreeMap::new(),
            version: 0,
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

    /// Whether so many more amounts can be kept.
    #[must_use]
    pub fn takes(&self, more: usize, now: Millis) -> bool {
        let fits = |kept: usize| kept.saturating_add(more) <= MOST_KEPT;
        // What has lapsed is forgotten now and then, and decides nothing.
        fits(self.kept) || fits(self.count(self.at(now)))
    }

    fn count(&self, now: Millis) -> usize {
        let counters = self.counters.values().map(|reserved| reserved.kept(now));
        let held = self.held.values().map(|held| held.iter().filter(|holding| holding.counts(now)).count());
        counters.chain(held).fold(0, usize::saturating_add)
    }

    /// Reserves what a PERMIT takes.
    pub fn reserve(&mut self, permit: u64, time: Millis, limits: &[LimitUse]) {
        if limits.is_empty() {
            return;
        }
        self.newest = self.at(time);
        let newest = self.newest;
        for LimitUse { limit, counter, amount, lapses, .. } in limits {
            let reserved = self.counters.entry((limit.clone(), *counter)).or_default();
            reserved.forget(newest);
            let place = match lapses {
                None => &mut reserved.open,
                Some(lapses) => reserved.windows.entry(*lapses).or_insert(0),
            };
            *place = place.saturating_add(*amount);
        }
        let holding = |taken: &LimitUse| Holding {
            limit: taken.limit.clone(),
            counter: taken.counter,
            amount: taken.amount,
            lapses: taken.lapses,
        };
        self.held.insert(permit, limits.iter().map(holding).collect());
        self.kept = self.kept.saturating_add(limits.len().saturating_mul(2));
        if self.kept > MOST_KEPT {
            self.forget(newest);
        }
    }

    /// Gives an agent the labels that a PERMIT adds. One that it has stays for whichever time is longer.
    pub fn label(&mut self, agent: &AgentId, time: Millis, added: &Labelled) {
        if added.is_empty() {
            return;
        }
        self.newest = self.at(time);
        self.version = self.version.wrapping_add(1);
        let own = self.labels.entry(agent.clone()).or_default();
        for (label, until) in added {
            let stays = own.entry(label.clone()).or_insert(*until);
            *stays = (*stays).max(*until);
        }
    }

    /// The labels that an agent has.
    #[must_use]
    pub fn labels(&self, agent: &AgentId, now: Millis) -> BTreeSet<LabelName> {
        self.labels.get(agent).map_or_else(BTreeSet::new, |own| labels_at(own, self.at(now)))
    }

    /// The labels of all agents, with a number that changes whenever they do.
    #[must_use]
    pub const fn all_labels(&self) -> (u64, &BTreeMap<AgentId, Labelled>) {
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
        let held = self.held.remove(&permit);
        for holding in held.iter().flatten().filter(|holding| all || holding.lapses.is_none()) {
            self.give_back(holding);
        }
    }

    fn give_back(&mut self, holding: &Holding) {
        let name = (holding.limit.clone(), holding.counter);
        let Some(reserved) = self.counters.get_mut(&name) else { return };
        match holding.lapses {
            None => reserved.open = reserved.open.saturating_sub(holding.amount),
            Some(lapses) => {
                if let Entry::Occupied(mut place) = reserved.windows.entry(lapses) {
                    let left = place.get().saturating_sub(holding.amount);
                    if left > 0 {
                        place.insert(left);
                    } else {
                        place.remove();
                    }
                }
            }
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
            held.retain(|holding| holding.counts(now));
        }
        self.held.retain(|_, held| !held.is_empty());
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
            let windows = reserved.windows.iter().map(|(lapses, amount)| (*lapses, *amount)).collect();
            let (limit, counter) = (limit.clone(), *counter);
            let name = format!("counter {limit} {counter}");
            rows.insert(name, row(&CounterRow { limit, counter, open: reserved.open, windows }));
        }
        for (permit, held) in &self.held {
            rows.insert(format!("permit {permit:020}"), row(held));
        }
        for (agent, own) in &self.labels {
            rows.insert(format!("labels {agent}"), row(own));
        }
        if !rows.is_empty() {
            rows.insert("newest".to_owned(), row(&self.newest));
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
        Ok(standing)
    }

    fn read(&mut self, name: &str, body: &[u8]) -> Option<()> {
        let (kind, rest) = name.split_once(' ').map_or((name, ""), |parts| parts);
        match kind {
            "counter" => {
                let CounterRow { limit, counter, open, windows } = value(body)?;
                let windows = windows.into_iter().collect();
                self.counters.insert((limit, counter), Reserved { windows, open });
            }
            "permit" => drop(self.held.insert(number(rest)?, value(body)?)),
            "labels" => drop(self.labels.insert(rest.parse().ok()?, value(body)?)), // tidy: allow None is no row
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

/// Those of an agent's labels that stay at a time.
#[must_use]
pub fn labels_at(own: &Labelled, now: Millis) -> BTreeSet<LabelName> {
    own.iter().filter(|(_, until)| **until > now).map(|(label, _)| label.clone()).collect()
}

impl Reserved {
    fn used(&self, now: Millis) -> u64 {
        let counting = self.windows.range((Bound::Excluded(now), Bound::Unbounded));
        counting.fold(self.open, |sum, (_, amount)| sum.saturating_add(*amount))
    }

    fn kept(&self, now: Millis) -> usize {
        self.windows.range((Bound::Excluded(now), Bound::Unbounded)).count()
    }

    fn forget(&mut self, now: Millis) {
        while let Some(first) = self.windows.first_entry()
            && *first.key() <= now
        {
            first.remove();
        }
    }

    fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.open == 0
    }
}

impl Holding {
    fn counts(&self, now: Millis) -> bool {
        self.lapses.is_none_or(|lapses| lapses > now)
    }
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
