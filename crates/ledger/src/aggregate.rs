//! Attempts without a record of their own, counted until the count is recorded.

use std::collections::BTreeMap;

use portcullis_protocol::{AgentId, AggregateRecord, Millis, ReasonCode};

/// Distinct counters; what comes beyond is counted without its agent.
const MOST: usize = 1_000;
/// How often counts are recorded, in milliseconds.
const EVERY: u64 = 5_000;

#[derive(Debug)]
struct Count {
    count: u64,
    first: Millis,
    last: Millis,
}

/// Counters since the last aggregate records.
#[derive(Debug, Default)]
pub(crate) struct Aggregates {
    counts: BTreeMap<(Option<ReasonCode>, Option<AgentId>), Count>,
    recorded: u64,
}

impl Aggregates {
    /// Counts an attempt.
    pub(crate) fn count(&mut self, reason: Option<ReasonCode>, agent: Option<AgentId>, now: Millis) {
        let mut key = (reason, agent);
        if self.counts.len() >= MOST && !self.counts.contains_key(&key) {
            key.1 = None;
        }
        let count = self.counts.entry(key).or_insert(Count { count: 0, first: now, last: now });
        count.count = count.count.saturating_add(1);
        count.last = now;
    }

    /// Whether it is time to record, at boot-clock time `boot` in milliseconds.
    pub(crate) fn are_due(&self, boot: u64) -> bool {
        !self.counts.is_empty() && boot.saturating_sub(self.recorded) >= EVERY
    }

    /// The records of what was counted. They count until [`Self::clear`], for the commit may fail.
    pub(crate) fn records(&self, time: Millis) -> Vec<AggregateRecord> {
        let record =
            |((reason, agent), count): (&(Option<ReasonCode>, Option<AgentId>), &Count)| AggregateRecord {
                seq: 0,
                time,
                reason: *reason,
                agent: agent.clone(),
                count: count.count,
                first: count.first,
                last: count.last,
            };
        self.counts.iter().map(record).collect()
    }

    /// Begins anew, after the records were committed.
    pub(crate) fn clear(&mut self, boot: u64) {
        self.counts.clear();
        self.recorded = boot;
    }
}
