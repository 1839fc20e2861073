use super::{LogAudit, LogError};
use crate::checkpoint::{UnverifiedCheckpoint, VerifiedCheckpoint};
use crate::key::KeyName;
use crate::merkle::{Hash, leaf_hash};
use crate::testing::{TestKey, TestLog, reference_root};

fn pushed(records: &[Vec<u8>]) -> LogAudit {
    let mut audit = LogAudit::new();
    records.iter().for_each(|record| audit.push(record));
    audit
}

/// The root over records, without the code under test.
fn root_of(records: &[Vec<u8>]) -> Hash {
    let leaves: Vec<Hash> = records.iter().map(|record| leaf_hash(record)).collect();
    reference_root(&leaves)
}

/// The checkpoint of `size` records, by a log of another name.
fn of_another_log(log: &TestLog, size: u64) -> VerifiedCheckpoint {
    let key = TestKey::new("other.example/log", 2);
    let text = log.checkpoint_at(size).to_string().replace("gate.example/log", "other.example/log");
    UnverifiedCheckpoint::parse(key.note(&text).as_bytes()).unwrap().verify(key.alone()).unwrap()
}

#[test]
fn a_log_that_is_what_it_signed_passes() {
    for size in [0, 1, 255, 256, 600] {
        let log = TestLog::new(size);
        let mut audit = LogAudit::new();
        for earlier in [0, size / 2, size] {
            audit.expect(&log.verified_at(earlier));
        }
        log.records.iter().for_each(|record| audit.push(record));
        audit.expect(&log.verified_at(size));
        let summary = audit.finish(&log.verified_at(size)).unwrap();
        assert_eq!((summary.size(), summary.root()), (size, log.tree.root()));
        assert_eq!(summary.origin().as_str(), "gate.example/log");
        assert_eq!(summary.checkpoints(), 5);
    }
}

#[test]
fn an_altered_missing_swapped_or_added_record_is_noticed() {
    let log = TestLog::new(600);
    let latest = log.verified_at(600);
    let root = |records: &[Vec<u8>]| LogError::Root {
        size: 600,
        signed: log.tree.root(),
        computed: root_of(records),
    };
    let mut altered = log.records.clone();
    altered[17].push(b' ');
    assert_eq!(pushed(&altered).finish(&latest), Err(root(&altered)));
    let mut swapped = log.records.clone();
    swapped.swap(0, 599);
    assert_eq!(pushed(&swapped).finish(&latest), Err(root(&swapped)));
    let size = |found| LogError::Size { signed: 600, found };
    assert_eq!(pushed(&log.records[..599]).finish(&latest), Err(size(599)));
    assert_eq!(pushed(&log.records[1..]).finish(&latest), Err(size(599)));
    let added = [log.records.as_slice(), &[b"{}".to_vec()]].concat();
    assert_eq!(pushed(&added).finish(&latest), Err(size(601)));
}

#[test]
fn the_first_checkpoint_that_disagrees_is_named() {
    let signed = TestLog::new(100);
    let mut rewritten = TestLog::new(40);
    (40..100).for_each(|_| rewritten.append(b"{}"));
    let mut audit = LogAudit::new();
    for size in [90, 10, 60, 41, 40] {
        audit.expect(&signed.verified_at(size));
    }
    rewritten.records.iter().for_each(|record| audit.push(record));
    let expected = LogError::Root {
        size: 41,
        signed: signed.checkpoint_at(41).root,
        computed: rewritten.checkpoint_at(41).root,
    };
    // The log's latest checkpoint agrees with the rewritten records: only the earlier ones give it away.
    assert_eq!(audit.finish(&rewritten.verified_at(100)), Err(expected));
}

#[test]
fn a_checkpoint_of_the_size_just_reached_is_compared_at_once() {
    let signed = TestLog::new(3);
    let records = vec![b"{}".to_vec(); 3];
    let mut audit = pushed(&records);
    audit.expect(&signed.verified_at(3));
    audit.push(b"{}");
    let expected = LogError::Root { size: 3, signed: signed.tree.root(), computed: root_of(&records) };
    assert_eq!(audit.finish(&signed.verified_at(3)), Err(expected));
}

#[test]
fn a_log_shorter_than_it_once_was_is_rolled_back() {
    let log = TestLog::new(50);
    let mut audit = LogAudit::new();
    audit.expect(&log.verified_at(50));
    audit.expect(&log.verified_at(45));
    log.records[..40].iter().for_each(|record| audit.push(record));
    assert_eq!(audit.finish(&log.verified_at(40)), Err(LogError::RolledBack { signed: 45, found: 40 }));
}

#[test]
fn a_checkpoint_given_too_late_is_a_fault() {
    let log = TestLog::new(5);
    let mut audit = pushed(&log.records);
    audit.expect(&log.verified_at(4));
    assert_eq!(audit.finish(&log.verified_at(5)), Err(LogError::ExpectedTooLate { size: 4, pushed: 5 }));
}

#[test]
fn checkpoints_of_two_logs_do_not_mix() {
    let log = TestLog::new(5);
    let other = of_another_log(&log, 5);
    let [gate, another] = ["gate.example/log", "other.example/log"].map(|name| KeyName::new(name).unwrap());
    let mut audit = LogAudit::new();
    audit.expect(&log.verified_at(2));
    log.records.iter().for_each(|record| audit.push(record));
    let expected = LogError::Origin { expected: gate.clone(), found: another.clone() };
    assert_eq!(audit.clone().finish(&other), Err(expected));

    let mut audit = LogAudit::new();
    audit.expect(&other);
    audit.expect(&log.verified_at(5));
    log.records.iter().for_each(|record| audit.push(record));
    let expected = LogError::Origin { expected: another, found: gate };
    assert_eq!(audit.finish(&other), Err(expected));
}

#[test]
fn a_record_too_large_for_a_receipt_is_a_fault_though_signed() {
    let mut log = TestLog::new(2);
    log.append(&vec![b'x'; 65_535]);
    assert!(pushed(&log.records).finish(&log.verified_at(3)).is_ok());
    log.append(&vec![b'x'; 65_536]);
    let expected = LogError::RecordTooLarge { index: 3, found: 65_536 };
    assert_eq!(pushed(&log.records).finish(&log.verified_at(4)), Err(expected));
}
