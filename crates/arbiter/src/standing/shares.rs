//! How many of the amounts that are kept are on each agent's account.

use std::collections::BTreeMap;
use std::ops::Bound;

use portcullis_protocol::{AgentId, Millis};

/// Most amounts that are kept at once of one agent: a quarter of all. What one agent does leaves room for others.
pub const MOST_OF_AGENT: usize = super::MOST_KEPT / 4;

/// By agent, the amounts that are kept. A function of what is reserved, and no row of its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(BTreeMap<AgentId, Share>);

/// The amounts of one agent.
#[derive(Clone, Debug, Default)]
struct Share {
    /// How many lapse at each time.
    until: BTreeMap<Millis, usize>,
    /// All of them, those that have lapsed and were not forgotten yet included.
    all: usize,
}

impl Shares {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn add(&mut self, agent: &AgentId, until: Millis) {
        if !self.0.contains_key(agent) {
            self.0.insert(agent.clone(), Share::default());
        }
        if let Some(own) = self.0.get_mut(agent) {
            let count = own.until.entry(until).or_insert(0);
            *count = count.saturating_add(1);
            own.all = own.all.saturating_add(1);
        }
    }

    pub(super) fn remove(&mut self, agent: &AgentId, until: Millis) {
        let Some(own) = self.0.get_mut(agent) else { return };
        // What has lapsed was forgotten before.
        let Some(count) = own.until.get_mut(&until) else { return };
        *count = count.saturating_sub(1);
        own.all = own.all.saturating_sub(1);
        if *count == 0 {
            own.until.remove(&until);
        }
        if own.until.is_empty() {
            self.0.remove(agent);
        }
    }

    /// How many amounts of an agent count at `now`.
    pub(super) fn of(&self, agent: &AgentId, now: Millis) -> usize {
        let counting = self.0.get(agent).map(|own| own.until.range((Bound::Excluded(now), Bound::Unbounded)));
        counting.into_iter().flatten().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Whether an agent may have so many more at `now`.
    pub(super) fn take(&self, agent: &AgentId, more: usize, now: Millis) -> bool {
        let fits = |kept: usize| kept.saturating_add(more) <= MOST_OF_AGENT;
        // Counted one by one only where what has lapsed would matter.
        fits(self.0.get(agent).map_or(0, |own| own.all)) || fits(self.of(agent, now))
    }

    /// Whether what has lapsed of an agent is to be forgotten, so that it need not be counted for each call.
    pub(super) fn are_over(&self, agent: &AgentId) -> bool {
        self.0.get(agent).is_some_and(|own| own.all > MOST_OF_AGENT)
    }

    pub(super) fn forget(&mut self, now: Millis) {
        for own in self.0.values_mut() {
            while let Some(first) = own.until.first_entry()
                && *first.key() <= now
            {
                own.all = own.all.saturating_sub(first.remove());
            }
        }
        self.0.retain(|_, own| !own.until.is_empty());
    }
}
