//! What is reserved in one counter, and by whom.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use portcullis_protocol::{AgentId, Digest, LimitName, LimitUse, Millis};
use serde::{Deserialize, Serialize};

/// What lapses at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// How much.
    amount: u64,
    /// How many PERMITs of each agent took it.
    by: BTreeMap<AgentId, u64>,
}

/// What is reserved in one counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reserved {
    /// By when it lapses.
    windows: BTreeMap<Millis, Place>,
    /// Until its PERMITs end.
    open: u64,
}

/// A counter as a row.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CounterRow {
    limit: LimitName,
    counter: Digest,
    open: u64,
    windows: Vec<(Millis, Place)>,
}

/// What a PERMIT holds of a counter until it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holding {
    pub(super) limit: LimitName,
    pub(super) counter: Digest,
    amount: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lapses: Option<Millis>,
}

/// What a PERMIT holds, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    pub(super) agent: AgentId,
    pub(super) holdings: Vec<Holding>,
}

impl Reserved {
    pub(super) fn used(&self, now: Millis) -> u64 {
        let counting = self.after(now);
        counting.fold(self.open, |sum, (_, place)| sum.saturating_add(place.amount))
    }

    /// How many amounts are kept, one for each agent that has any.
    pub(super) fn kept(&self, now: Millis) -> usize {
        self.after(now).fold(0, |sum, (_, place)| sum.saturating_add(place.by.len()))
    }

    fn after(&self, now: Millis) -> impl Iterator<Item = (&Millis, &Place)> {
        self.windows.range((Bound::Excluded(now), Bound::Unbounded))
    }

    /// Whose amounts are kept, and until when.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&AgentId, Millis)> {
        self.windows.iter().flat_map(|(lapses, place)| place.by.keys().map(|agent| (agent, *lapses)))
    }

    /// Adds what an agent's PERMIT takes. Says whether it is the agent's first amount there.
    pub(super) fn take(&mut self, agent: &AgentId, amount: u64, lapses: Option<Millis>) -> bool {
        let Some(lapses) = lapses else {
            self.open = self.open.saturating_add(amount);
            return false;
        };
        let place = self.windows.entry(lapses).or_default();
        place.amount = place.amount.saturating_add(amount);
        let permits = place.by.entry(agent.clone()).or_insert(0);
        *permits = permits.saturating_add(1);
        *permits == 1
    }

    /// Takes back what an agent's PERMIT had taken. Says whether it was the agent's last amount there.
    pub(super) fn give_back(&mut self, agent: &AgentId, holding: &Holding) -> bool {
        let Some(lapses) = holding.lapses else {
            self.open = self.open.saturating_sub(holding.amount);
            return false;
        };
        let Entry::Occupied(mut window) = self.windows.entry(lapses) else { return false };
        let place = window.get_mut();
        let Entry::Occupied(mut permits) = place.by.entry(agent.clone()) else { return false };
        place.amount = place.amount.saturating_sub(holding.amount);
        *permits.get_mut() = permits.get().saturating_sub(1);
        let last = *permits.get() == 0;
        if last {
            permits.remove();
        }
        if place.by.is_empty() {
            window.remove();
        }
        last
    }

    pub(super) fn forget(&mut self, now: Millis) {
        while let Some(first) = self.windows.first_entry()
            && *first.key() <= now
        {
            first.remove();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.open == 0
    }

    pub(super) fn to_row(&self, (limit, counter): (&LimitName, &Digest)) -> CounterRow {
        let windows = self.windows.iter().map(|(lapses, place)| (*lapses, place.clone())).collect();
        CounterRow { limit: limit.clone(), counter: *counter, open: self.open, windows }
    }
}

impl CounterRow {
    pub(super) fn read(self) -> ((LimitName, Digest), Reserved) {
        let windows = self.windows.into_iter().collect();
        ((self.limit, self.counter), Reserved { windows, open: self.open })
    }
}

impl Holding {
    pub(super) fn of(taken: &LimitUse) -> Self {
        let LimitUse { limit, counter, amount, lapses, .. } = taken;
        Self { limit: limit.clone(), counter: *counter, amount: *amount, lapses: *lapses }
    }

    pub(super) fn counts(&self, now: Millis) -> bool {
        self.lapses.is_none_or(|lapses| lapses > now)
    }

    /// When it stops to be counted by itself. What lasts until its PERMIT ends never does.
    pub(super) fn until(&self) -> Millis {
        self.lapses.map_or(Millis(u64::MAX), |lapses| lapses)
    }
}
