use super::*;
use crate::testing::{GIVEN, document};

const NOON: &str = "2026-01-10T12:00:00Z";

fn refused(document: &[u8]) -> String {
    FactSnapshot::parse(document).unwrap_err().to_string()
}

#[test]
fn a_document_says_as_of_when_it_is_and_its_digest_is_of_what_it_gives() {
    let read = FactSnapshot::parse(&document(NOON, GIVEN)).unwrap();
    assert_eq!(read.as_of(), Millis(1_768_046_400_000));
    let later = FactSnapshot::parse(&document("2026-01-10T12:00:01Z", GIVEN)).unwrap();
    assert_eq!((read.digest(), read.entities()), (later.digest(), later.entities()));
    assert_eq!(read.at(later.as_of()), later);
    let spaced = FactSnapshot::parse(&document(NOON, &GIVEN.replace('\n', "  "))).unwrap();
    assert_eq!(spaced, read, "how it is written does not matter");
    let other = FactSnapshot::parse(&document(NOON, &GIVEN.replace("rogue", "rascal"))).unwrap();
    assert_ne!(other.digest(), read.digest());
}

#[test]
fn what_is_archived_is_what_was_named_or_nothing() {
    let read = FactSnapshot::parse(&document(NOON, GIVEN)).unwrap();
    let named = SnapshotUse { as_of: read.as_of(), digest: read.digest(), max_age_ms: 1 };
    assert_eq!(FactSnapshot::from_archive(read.entities(), &named).unwrap(), read);
    let other = document(NOON, "[]");
    let other = FactSnapshot::parse(&other).unwrap();
    assert_eq!(FactSnapshot::from_archive(other.entities(), &named), Err(FactError::OtherDigest));
}

#[test]
fn what_is_ambiguous_unknown_or_out_of_form_is_refused() {
    for (bytes, told) in [
        (document("yesterday", "[]"), "`as_of` is no date"),
        (document("2026-01-10T12:00:00+01:00", "[]"), "`as_of` is no date"),
        (document(NOON, "{}"), "`entities` is no array"),
        (b"[]".to_vec(), "not an object"),
        (format!(r#"{{"v":2,"as_of":"{NOON}","entities":[]}}"#).into_bytes(), "`v` is not 1"),
        (format!(r#"{{"v":1,"as_of":"{NOON}"}}"#).into_bytes(), "there are no `entities`"),
        (
            format!(r#"{{"v":1,"as_of":"{NOON}","entities":[],"more":1}}"#).into_bytes(),
            "`more` means nothing",
        ),
        (format!(r#"{{"v":1,"v":1,"as_of":"{NOON}","entities":[]}}"#).into_bytes(), "`v` occurs twice"),
        (document(NOON, &format!("[{0},{0}]", group("g"))), "Group::\"g\" occurs twice"),
        (document(NOON, &group("g").replace("parents", "parent")), "`entities` is no array"),
        (
            document(NOON, &format!("[{}]", group("g").replace("parents", "parent"))),
            "the key `parent`, which means nothing",
        ),
        (
            document(NOON, &format!("[{}]", group("g").replace("\"id\"", "\"name\""))),
            "`uid` is not of the form",
        ),
        (document(NOON, "[1.5]"), "fraction"),
        (vec![b' '; FactSnapshot::MAX_BYTES + 1], "longer than"),
        (b"\xff".to_vec(), "not a document of facts"),
    ] {
        let found = refused(&bytes);
        assert!(found.contains(told), "{found}, and not {told}");
    }
}

fn group(id: &str) -> String {
    format!(r#"{{"uid":{{"type":"Group","id":"{id}"}},"attrs":{{}},"parents":[]}}"#)
}
