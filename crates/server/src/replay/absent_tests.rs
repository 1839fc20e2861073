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
