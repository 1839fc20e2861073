//! What a log does not have any more, and whether it says why: rows that are gone are no reason by themselves.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use portcullis_protocol::{
    AgentId, DecisionRecord, Digest, Keep, ListingRecord, Millis, Order, Record, Snapshots, SourceName,
};

use super::{Finding, ListingKept, NotReplayable};

/// What is absent, as long as nothing behind it explains that. Takes memory for agents, for what sources gave, by digest, and for
/// as many requests as are made in the time for which they are to be kept.
#[derive(Debug, Default)]
pub(super) struct Absent {
    /// The first record of each agent whose key in the vault is gone, and that no erasure has followed yet.
    agents: BTreeMap<AgentId, u64>,
    /// Of each source and digest whose facts were destroyed, the first record that names them with no erasure behind it yet.
    facts: BTreeMap<(SourceName, Digest), u64>,
    /// The sources that gave facts of a digest which were kept.
    gave: BTreeMap<Digest, BTreeSet<SourceName>>,
    /// What is gone of records, each until when it was to be kept.
    early: BinaryHeap<Reverse<(Millis, u64, Gone)>>,
}

/// What is gone of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gone {
    /// A decision's or a simulation's request, and with it what else was kept for it.
    Request,
    /// What a list of tools was computed by.
    Facts,
}

impl Absent {
    /// Takes up the next record: what it explains is explained.
    pub(super) fn follow(&mut self, record: &Record) {
        while self.early.peek().is_some_and(|Reverse((until, ..))| *until <= record.time()) {
            self.early.pop();
        }
        if let Record::Decision(entry) | Record::Simulation(entry) = record {
            self.given(entry);
        }
        let Record::Event(event) = record else { return };
        match event.order.as_ref().map(|order| &order.what) {
            Some(Order::ErasePayloads { subject }) => drop(self.agents.remove(subject)),
            // What one source gave may be what another gave too, and is erased with it.
            Some(Order::EraseFacts { source }) => {
                let gave = &self.gave;
                let by_it =
                    |digest: &Digest| gave.get(digest).is_some_and(|sources| sources.contains(source));
                self.facts.retain(|(_, digest), _| !by_it(digest));
            }
            Some(Order::ResolveOutcome { .. } | Order::ActivateBundle { .. }) | None => {}
        }
    }

    fn given(&mut self, entry: &DecisionRecord) {
        // What no request is kept for is not kept either.
        if entry.kept_until.is_some() {
            self.gave(&entry.facts.sources);
        }
    }

    /// Takes up a list, which keeps its facts as its bundle says. Those of a bundle that cannot be read may have been kept.
    pub(super) fn listed(&mut self, entry: &ListingRecord, kept: ListingKept) {
        match kept {
            ListingKept::For(_) | ListingKept::Unknown => self.gave(&entry.sources),
            ListingKept::Not => {}
        }
    }

    fn gave(&mut self, sources: &Snapshots) {
        for (source, used) in sources {
            let gave = self.gave.entry(used.digest).or_default();
            if !gave.contains(source) {
                gave.insert(source.clone());
            }
        }
    }

    /// Takes note of a decision that cannot be made again, of what was to be kept of its request, and of its sources whose
    /// facts were destroyed.
    pub(super) fn note(
        &mut self,
        entry: &DecisionRecord,
        why: NotReplayable,
        erased: &[SourceName],
        keep: Option<Keep>,
    ) {
        match why {
            NotReplayable::Erased => drop(self.agents.entry(entry.agent.clone()).or_insert(entry.seq)),
            NotReplayable::FactsErased => self.destroyed(entry.seq, &entry.facts.sources, erased),
            NotReplayable::NotKept => {
                // What the record says is compared as far as the request is there: without it the bundle's word counts too.
                let asked = keep.filter(|keep| keep.request).map(|keep| entry.time.plus(keep.for_ms));
                let until = asked.max(entry.kept_until);
                self.early.extend(until.map(|until| Reverse((until, entry.seq, Gone::Request))));
            }
            NotReplayable::KeyWithheld
            | NotReplayable::OtherEngine
            | NotReplayable::BundleUntrusted
            | NotReplayable::PriorNotKept => {}
        }
    }

    fn destroyed(&mut self, seq: u64, named: &Snapshots, erased: &[SourceName]) {
        for (source, used) in erased.iter().filter_map(|source| named.get_key_value(source)) {
            self.facts.entry((source.clone(), used.digest)).or_insert(seq);
        }
    }

    /// Takes note of a list of which some sources' facts were destroyed. What it kept was erased behind it; what it did not
    /// keep, anybody may have had erased before.
    pub(super) fn erased_of_list(&mut self, entry: &ListingRecord, erased: &[SourceName], kept: ListingKept) {
        if let ListingKept::For(_) = kept {
            self.destroyed(entry.seq, &entry.sources, erased);
        }
    }

    /// Takes note of a list of which nothing of the facts is left that it names: none were ever there, or their time is over.
    pub(super) fn gone_of_list(&mut self, entry: &ListingRecord, kept: ListingKept) {
        if let ListingKept::For(for_ms) = kept {
            self.early.push(Reverse((entry.time.plus(for_ms), entry.seq, Gone::Facts)));
        }
    }

    /// What nothing in the log explains.
    pub(super) fn unexplained(self) -> Vec<Finding> {
        let finding = |seq: u64, what: &str| Finding { record: Some(seq), what: what.to_owned() };
        let agents = self.agents.into_values().map(|seq| {
            finding(seq, "its agent's key in the vault is gone, and no erasure of it is on record behind it")
        });
        let facts = self.facts.into_iter().map(|((source, _), seq)| {
            let what = "were destroyed, and no erasure of them is on record behind it";
            finding(seq, &format!("its facts of source `{source}` {what}"))
        });
        let mut early: Vec<_> = self.early.into_iter().map(|Reverse((_, seq, gone))| (seq, gone)).collect();
        early.sort_unstable();
        let early = early.into_iter().map(|(seq, gone)| {
            let what = match gone {
                Gone::Request => "its request is gone, and was to be kept for longer than the log goes",
                Gone::Facts => {
                    "the facts that it names are not there, and were to be kept for longer than the log goes"
                }
            };
            finding(seq, what)
        });
        agents.chain(facts).chain(early).collect()
    }
}

#[cfg(test)]
#[path = "absent_tests.rs"]
mod tests;
