use std::collections::BTreeMap;

use portcullis_protocol::facts::RecordedFacts;
use portcullis_protocol::{
    AttemptId, BundleDigest, BundleRef, Decision, Event, EventRecord, Labels, Obligations, Ordered, Resource,
    SnapshotUse, Tier,
};

use super::*;

/// A decision of which the request is kept and that names facts, each by source and what they say.
fn decided(seq: u64, facts: &[(&str, &str)]) -> DecisionRecord {
    let used =
        |says: &str| SnapshotUse { as_of: Millis(1), digest: Digest::sha256(says.as_bytes()), max_age_ms: 9 };
    let sources = facts.iter().map(|(source, says)| (source.parse().unwrap(), used(says))).collect();
    DecisionRecord {
        seq,
        time: Millis(10 + seq),
        decision: Decision::Permit,
        reason: None,
        agent: "bot".parse().unwrap(),
        acts_for: None,
        gate: "fs".parse().unwrap(),
        attempt: AttemptId::from_bytes([1; 32]),
        surface: "fs.read".parse().unwrap(),
        action: "fs.read".parse().unwrap(),
        resource: Resource { kind: "Surface".into(), id: "fs.read".into() },
        tier: Some(Tier::Read),
        request: Digest::sha256(b"x"),
        key: None,
        bundle: Some(BundleRef {
            name: "starter".into(),
            version: 1,
            digest: BundleDigest(Digest::sha256(b"b")),
        }),
        policies: Vec::new(),
        permit_ttl_ms: Some(5),
        outcome_due: Some(Millis(100)),
        kept_until: Some(Millis(1_000)),
        witnessed: false,
        limit: None,
        limits: Vec::new(),
        labels: Labels::none(),
        obligations: Obligations::none(),
        exception: None,
        engine: "test".into(),
        facts: RecordedFacts { sources, ..RecordedFacts::sound() },
    }
}

fn order(seq: u64, source: &str) -> Record {
    let what = Order::EraseFacts { source: source.parse().unwrap() };
    let order = Some(Ordered { what, by: "ops".parse().unwrap(), reason: "asked to".parse().unwrap() });
    let (event, detail) = (Event::Ordered, BTreeMap::new());
    Record::Event(EventRecord { seq, time: Millis(10 + seq), event, detail, order })
}

/// What is left unexplained of a log: records that name facts which were destroyed, and then an erasure of one source.
fn left(decided_by: &[&[(&str, &str)]], destroyed: &[&str], erased: &str) -> Vec<(Option<u64>, String)> {
    let mut absent = Absent::default();
    let mut seq = 0;
    for facts in decided_by {
        let entry = decided(seq, facts);
        absent.follow(&Record::Decision(Box::new(entry.clone())));
        let erased: Vec<SourceName> = entry.facts.sources.keys().cloned().collect();
        let erased: Vec<_> =
            erased.into_iter().filter(|source| destroyed.contains(&source.as_str())).collect();
        if !erased.is_empty() {
            absent.note(&entry, NotReplayable::FactsErased, &erased, None);
        }
        seq += 1;
    }
    absent.follow(&order(seq, erased));
    absent.unexplained().into_iter().map(|found| (found.record, found.what)).collect()
}

/// Any erasure of facts explained whatever was gone by then.
#[test]
fn facts_of_one_source_were_gone_and_the_erasure_of_another_s_explained_it() {
    let own: &[(&str, &str)] = &[("directory", "a")];
    let other: &[(&str, &str)] = &[("payroll", "b")];
    assert_eq!(left(&[own, other], &["directory"], "directory"), []);
    let found = left(&[own, other, own], &["directory"], "payroll");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, Some(0), "the first record that misses them");
    assert!(found[0].1.contains("its facts of source `directory` were destroyed"), "{found:?}");
    // What two sources gave alike is erased with either.
    let alike: &[(&str, &str)] = &[("payroll", "a")];
    assert_eq!(left(&[own, alike], &["directory"], "payroll"), []);
    // Each digest needs its own.
    let newer: &[(&str, &str)] = &[("directory", "c")];
    let found = left(&[own, newer, alike], &["directory", "payroll"], "payroll");
    assert_eq!(found.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [Some(1)]);
}

/// A list of tools that names what its directory says.
fn listing(seq: u64, source: &str, says: &str) -> ListingRecord {
    let entry = decided(seq, &[(source, says)]);
    ListingRecord {
        seq,
        time: entry.time,
        agent: entry.agent,
        acts_for: None,
        gate: entry.gate,
        listing: Digest::sha256(b"list"),
        server: "fs".parse().unwrap(),
        shown: BTreeSet::new(),
        hidden: BTreeSet::new(),
        unnamed: 0,
        bundle: entry.bundle.unwrap(),
        sources: entry.facts.sources,
        engine: entry.engine,
    }
}

#[test]
fn what_a_list_kept_of_another_source_explained_no_erasure() {
    let left = |kept: ListingKept| {
        let mut absent = Absent::default();
        let entry = decided(0, &[("directory", "a")]);
        absent.follow(&Record::Decision(Box::new(entry.clone())));
        absent.note(&entry, NotReplayable::FactsErased, &["directory".parse().unwrap()], None);
        absent.listed(&listing(1, "payroll", "a"), kept);
        absent.follow(&order(2, "payroll"));
        absent.unexplained().len()
    };
    assert_eq!((left(ListingKept::For(9)), left(ListingKept::Unknown)), (0, 0));
    assert_eq!(left(ListingKept::Not), 1, "it kept nothing that could be erased");
}

#[test]
fn a_list_s_facts_may_be_gone_once_their_time_is_over_and_no_sooner() {
    let left = |until: u64, kept: ListingKept| {
        let mut absent = Absent::default();
        absent.gone_of_list(&listing(0, "directory", "a"), kept);
        absent.follow(&order(until, "payroll"));
        absent.unexplained().into_iter().map(|found| found.record).collect::<Vec<_>>()
    };
    assert_eq!(left(8, ListingKept::For(9)), [Some(0)]);
    assert_eq!(left(9, ListingKept::For(9)), []);
    assert_eq!(left(8, ListingKept::Not), [], "it names what nobody was to keep");
}
