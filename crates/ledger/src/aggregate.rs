//! Attempts without a record of their own, counted until the count is recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_protocol::{AgentId, AggregateRecord, Millis, ReasonCode};

/// Distinct counters; what comes beyond is counted without its agent.
const MOST: usize = 1_000;
/// How often counts are recorded, in milliseconds.
const EVERY: u64 = 5_000;

type Key = (Option<ReasonCode>, Option<AgentId>);

#[derive(Debug)]
struct Count {
    count: u64,
    first: Millis,
    last: Millis,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// Counters since the last aggregate records.
#[derive(Debug, Default)]
pub(crate) struct Aggregates {
    counts: BTreeMap<Key, Count>,
    /// Boot-clock time at which counts were last taken; `None` if they are due whenever there are any.
    taken: Option<u64>,
}

/// Counters taken to be recorded.
#[derive(Debug, Default)]
pub(crate) struct Taken(BTreeMap<Key, Count>);

/// The counters, shared: what is shed must not need a place in the queue to be counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Mutex<Aggregates>>);

impl Counts {
    /// Works on the counters. Whoever panicked with them left them whole: each step is one addition.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Aggregates) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)) // tidy: allow counts only, no decision reads them
    }
}

impl Aggregates {
    /// Counts an attempt.
    pub(crate) fn count(&mut self, reason: Option<ReasonCode>, agent: Option<AgentId>, now: Millis) {
        self.add((reason, agent), Count { count: 1, first: now, last: now });
    }

    fn add(&mut self, mut key: Key, count: Count) {
        if self.counts.len() >= MOST && !self.counts.contains_key(&key) {
            key.1 = None;
        }
        match self.counts.get_mut(&key) {
            Some(counted) => counted.add(&count),
            None => drop(self.counts.insert(key, count)),
        }
    }

    /// Takes the counters if it is time to record them, at boot-clock time `boot` in milliseconds, or if it is
    /// `now` or never.
    pub(crate) fn take(&mut self, boot: u64, now: bool) -> Taken {
        let due = self.taken.is_none_or(|taken| boot.saturating_sub(taken) >= EVERY);
        if self.counts.is_empty() || !(due || now) {
            return Taken::default();
        }
        self.taken = Some(boot);
        Taken(std::mem::take(&mut self.counts))
    }

    /// Counts on from what was taken and could not be recorded.
    pub(crate) fn restore(&mut self, taken: Taken) {
        if !taken.is_empty() {
            self.taken = None;
        }
        for (key, count) in taken.0 {
            self.add(key, count);
        }
    }
}

impl Taken {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The records of what was counted, at `time`. A count made while the clock was wrong is not later than that.
    pub(crate) fn records(&self, time: Millis) -> impl Iterator<Item = AggregateRecord> {
        self.0.iter().map(move |((reason, agent), count)| AggregateRecord {
            seq: 0,
            time,
            reason: *reason,
            agent: agent.clone(),
            count: count.count,
            first: count.first.min(time),
            last: count.last.min(time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(taken: &Taken) -> u64 {
        taken.records(Millis(9)).map(|record| record.count).sum()
    }

    #[test]
    fn counts_that_were_not_recorded_are_recorded_later() {
        let mut aggregates = Aggregates::default();
        let shed = Some(ReasonCode::OverloadShed);
        aggregates.count(shed, None, Millis(1));
        let taken = aggregates.take(10_000, false);
        assert_eq!(total(&taken), 1);
        aggregates.count(shed, None, Millis(2));
        assert!(aggregates.take(10_001, false).is_empty(), "not yet due");
        aggregates.restore(taken);
        let again = aggregates.take(10_002, false);
        assert_eq!(total(&again), 2);
        let record = again.records(Millis(9)).next().unwrap();
        assert_eq!((record.first, record.last), (Millis(1), Millis(2)));
    }

    #[test]
    fn a_flood_under_many_names_is_counted_in_bounded_memory() {
        let mut aggregates = Aggregates::default();
        for agent in 0..5_000 {
            aggregates.count(None, Some(format!("a{agent}").parse().unwrap()), Millis(1));
        }
        let taken = aggregates.take(0, true);
        assert_eq!((taken.0.len(), total(&taken)), (MOST + 1, 5_000));
    }

    #[test]
    fn a_count_from_a_clock_that_ran_ahead_is_not_later_than_its_record() {
        let mut aggregates = Aggregates::default();
        aggregates.count(None, None, Millis(1_000));
        let taken = aggregates.take(0, false);
        let record = taken.records(Millis(10)).next().unwrap();
        assert_eq!((record.first, record.last), (Millis(10), Millis(10)));
    }
}
