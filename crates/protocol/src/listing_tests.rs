use super::*;
use crate::ids::BundleDigest;
use crate::record::Record;
use crate::sources::SnapshotUse;

pub(crate) fn listing() -> ListingRecord {
    let tools = |names: [&str; 2]| names.iter().map(|name| name.parse().unwrap()).collect();
    ListingRecord {
        seq: 3,
        time: Millis(1_700_000_000_000),
        agent: "bot".parse().unwrap(),
        acts_for: None,
        gate: "gate".parse().unwrap(),
        listing: Digest::sha256(b"one"),
        server: "files".parse().unwrap(),
        shown: tools(["files/read", "files/stat"]),
        hidden: tools(["files/Delete all", "files/write"]),
        unnamed: 0,
        bundle: BundleRef { name: "test".into(), version: 1, digest: BundleDigest(Digest::sha256(b"b")) },
        sources: Snapshots::new(),
        engine: "test".into(),
    }
}

fn read(record: ListingRecord) -> Result<Record, RecordError> {
    Record::parse(&Record::Listing(Box::new(record)).to_bytes().unwrap())
}

#[test]
fn a_list_is_read_as_it_was_written() {
    let more = ListingRecord { acts_for: Some("maya".parse().unwrap()), unnamed: 2, ..listing() };
    for record in [listing(), more] {
        assert_eq!(read(record.clone()), Ok(Record::Listing(Box::new(record))));
    }
}

#[test]
fn a_list_that_contradicts_itself_is_no_record() {
    let twice = ListingRecord { hidden: listing().shown, ..listing() };
    let other = ListingRecord { server: "git".parse().unwrap(), ..listing() };
    let many = (0..=MOST_LISTED).map(|number| format!("files/{number}").parse().unwrap()).collect();
    let many = ListingRecord { hidden: many, ..listing() };
    let stale = SnapshotUse { as_of: Millis(1), digest: Digest::sha256(b"facts"), max_age_ms: 1_000 };
    let stale =
        ListingRecord { sources: Snapshots::from([("directory".parse().unwrap(), stale)]), ..listing() };
    for record in [twice, other, many, stale] {
        assert!(matches!(read(record), Err(RecordError::Contradiction(_))));
    }
}

#[test]
fn as_many_names_as_a_list_may_have_fit_into_a_record_however_they_are_escaped() {
    let name = |number: usize| format!("files/{}{number}", "\"\\".repeat(20)).parse().unwrap();
    let tools: BTreeSet<ToolName> = (0..MOST_LISTED).map(name).collect();
    let server = "files".parse().unwrap();
    assert!(check_listed(&server, &tools).is_ok());
    assert!(tools.iter().map(|tool| tool.as_str().len()).sum::<usize>() > LONGEST_LISTED - 1_500);
    let record = ListingRecord { shown: tools, hidden: BTreeSet::new(), ..listing() };
    assert!(read(record).is_ok());
}
