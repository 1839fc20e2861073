use super::*;
use crate::record::tests::permit;
use crate::record::{Record, RecordError};

pub(crate) fn snapshot(as_of: u64, max_age_ms: u64) -> SnapshotUse {
    SnapshotUse { as_of: Millis(as_of), digest: Digest::sha256(b"s"), max_age_ms }
}

/// A PERMIT of tier `read` on facts that are so old, and may be ten seconds old.
fn aged(age: u64) -> DecisionRecord {
    let mut record = permit();
    let as_of = record.time.0.checked_sub(age).unwrap();
    record.facts.sources = Snapshots::from([("directory".parse().unwrap(), snapshot(as_of, 10_000))]);
    record
}

fn excepted(record: &DecisionRecord) -> Excepted {
    Excepted {
        covers: Coverable::FactStale,
        max_age_ms: 60_000,
        sources: BTreeSet::from(["directory".parse().unwrap()]),
        until: record.time.plus(1),
    }
}

/// What a reader says of it.
fn read(record: DecisionRecord) -> Result<(), RecordError> {
    let bytes = Record::Decision(Box::new(record)).to_bytes().unwrap();
    Record::parse(&bytes).map(drop)
}

#[test]
fn a_permit_on_stale_facts_is_no_record() {
    assert_eq!(read(aged(10_000)), Ok(()));
    assert_eq!(read(aged(10_001)), Err(RecordError::Contradiction("a PERMIT on stale facts")));
    let mut future = aged(0);
    future.time = Millis(future.time.0 - 1);
    assert_eq!(read(future), Err(RecordError::Contradiction("a PERMIT on stale facts")));
}

#[test]
fn an_exception_covers_what_it_names_for_its_time_and_tiers_and_nothing_else() {
    let with = |age, tier, change: fn(&mut Excepted)| {
        let mut record = aged(age);
        record.tier = Some(tier);
        let mut exception = excepted(&record);
        change(&mut exception);
        record.exception = Some(exception);
        read(record).is_ok()
    };
    let same = |_: &mut Excepted| {};
    assert!(with(60_000, Tier::Read, same) && with(10_001, Tier::Standard, same));
    assert!(!with(60_001, Tier::Read, same), "beyond its own bound");
    assert!(!with(10_000, Tier::Read, same), "nothing was stale");
    assert!(!with(60_000, Tier::High, same) && !with(60_000, Tier::Critical, same));
    assert!(!with(60_000, Tier::Read, |it| it.until = Millis(it.until.0 - 1)), "it was over");
    assert!(!with(60_000, Tier::Read, |it| it.sources.clear()));
    assert!(!with(60_000, Tier::Read, |it| it.sources = BTreeSet::from(["other".parse().unwrap()])));
}

#[test]
fn a_refusal_has_no_exception_and_is_stale_by_something() {
    let refused = |age| {
        let mut record = aged(age);
        (record.decision, record.reason) = (Decision::Silence, Some(ReasonCode::FactStale));
        (record.permit_ttl_ms, record.outcome_due, record.policies) = (None, None, Vec::new());
        record
    };
    assert_eq!(read(refused(10_001)), Ok(()));
    assert!(read(refused(10_000)).is_err());
    let mut past = refused(10_000);
    past.reason = Some(ReasonCode::FactRolledBack);
    assert_eq!(read(past.clone()), Ok(()));
    past.facts.sources.clear();
    assert!(read(past).is_err(), "nobody gave what is rolled back");
    let mut excused = refused(10_001);
    excused.exception = Some(excepted(&excused));
    assert!(read(excused).is_err());
}

#[test]
fn nothing_but_the_age_of_facts_can_be_excepted() {
    for code in ReasonCode::ALL {
        let read = serde_json::from_value::<Coverable>(code.as_str().into());
        assert_eq!(read.is_ok(), *code == ReasonCode::FactStale, "{code}");
    }
    assert_eq!(Coverable::FactStale.code(), ReasonCode::FactStale);
}

#[test]
fn what_is_said_again_later_upholds_what_was_said() {
    let said = snapshot(5, 10);
    assert!(said.is_upheld_by(&said) && said.is_upheld_by(&snapshot(6, 10)));
    assert!(!said.is_upheld_by(&snapshot(4, 10)) && !said.is_upheld_by(&snapshot(5, 11)));
    let other = SnapshotUse { digest: Digest::sha256(b"other"), ..said };
    assert!(!said.is_upheld_by(&other));
}
