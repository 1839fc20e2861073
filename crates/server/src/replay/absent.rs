//! What a log does not have any more, and whether it says why: rows that are gone are no reason by themselves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use portcullis_protocol::{AgentId, DecisionRecord, Keep, Millis, Order, Record};

use super::{Finding, NotReplayable};

/// What is absent, as long as nothing behind it explains that. Takes memory for agents, and for as many requests as are made
/// in the time for which they are to be kept.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// The first record of each agent whose key in the vault is gone, and that no erasure has followed yet.
    agents: BTreeMap<AgentId, u64>,
    /// The first record whose facts were destroyed, with no erasure of facts behind it yet.
    facts: Option<u64>,
    /// Requests that are gone, each until when it was to be kept.
    early: BinaryHeap<Reverse<(Millis, u64)>>,
}

impl Absent {
    /// Takes up the next record: what it explains is explained.
    pub(super) fn follow(&mut self, record: &Record) {
        while self.early.peek().is_some_and(|Reverse((until, _))| *until <= record.time()) {
            self.early.pop();
        }
        let Record::Event(event) = record else { return };
        match event.order.as_ref().map(|order| &order.what) {
            Some(Order::ErasePayloads { subject }) => drop(self.agents.remove(subject)),
            // What one source gave may be what another gave too, and is erased with it.
            Some(Order::EraseFacts { .. }) => self.facts = None,
            Some(Order::ResolveOutcome { .. } | Order::ActivateBundle { .. }) | None => {}
        }
    }

    /// Takes note of a decision that cannot be made again, and of what was to be kept of its request.
    pub(super) fn note(&mut self, entry: &DecisionRecord, why: NotReplayable, keep: Option<Keep>) {
        match why {
            NotReplayable::Erased => drop(self.agents.entry(entry.agent.clone()).or_insert(entry.seq)),
            NotReplayable::FactsErased => drop(self.facts.get_or_insert(entry.seq)),
            NotReplayable::NotKept => {
                // What the record says is compared as far as the request is there: without it the bundle's word counts too.
                let asked = keep.filter(|keep| keep.request).map(|keep| entry.time.plus(keep.for_ms));
                let until = asked.max(entry.kept_until);
                self.early.extend(until.map(|until| Reverse((until, entry.seq))));
            }
            NotReplayable::KeyWithheld
            | NotReplayable::OtherEngine
            | NotReplayable::BundleUntrusted
            | NotReplayable::PriorNotKept => {}
        }
    }

    /// What nothing in the log explains.
    pub(super) fn unexplained(self) -> Vec<Finding> {
        let finding = |seq: u64, what: &str| Finding { record: Some(seq), what: what.to_owned() };
        let agents = self.agents.into_values().map(|seq| {
            finding(seq, "its agent's key in the vault is gone, and no erasure of it is on record behind it")
        });
        let facts = self.facts.map(|seq| {
            finding(seq, "its facts were destroyed, and no erasure of facts is on record behind it")
        });
        let mut early: Vec<u64> = self.early.into_iter().map(|Reverse((_, seq))| seq).collect();
        early.sort_unstable();
        let early = early
            .into_iter()
            .map(|seq| finding(seq, "its request is gone, and was to be kept for longer than the log goes"));
        agents.chain(facts).chain(early).collect()
    }
}
