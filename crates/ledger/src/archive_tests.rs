use portcullis_protocol::ReasonCode;

use super::*;
use crate::store::Store;

/// Facts by what they say.
fn digest(entities: &str) -> Digest {
    Digest::sha256(entities.as_bytes())
}

/// Index of an order to erase.
const ORDER: u64 = 9;

struct Kit {
    _folder: tempfile::TempDir,
    store: Store,
    archive: Archive,
}

impl Kit {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("ledger.db")).unwrap();
        Self { _folder: folder, store, archive: Archive::default() }
    }

    fn keep(&mut self, source: &str, entities: &str, until: u64) {
        let source = source.parse().unwrap();
        let name = (&source, digest(entities));
        self.archive.keep(&self.store.connection, name, entities.as_bytes(), Millis(until)).unwrap();
        assert_eq!(self.archive.0, Archive::of(&self.store.connection).unwrap().0, "a start knows the same");
    }

    fn facts(&self, source: &str, entities: &str) -> Kept<Vec<u8>> {
        facts(&self.store.connection, &source.parse().unwrap(), &digest(entities)).unwrap()
    }

    fn expire(&mut self, now: u64, most: u32) -> usize {
        let expired = self.archive.expire(&self.store.connection, Millis(now), most).unwrap();
        assert_eq!(self.archive.0, Archive::of(&self.store.connection).unwrap().0, "a start knows the same");
        expired
    }

    fn erase(&mut self, source: &str) -> bool {
        let source = source.parse().unwrap();
        let erased = self.archive.holds(&source);
        self.archive.erase(&self.store.connection, &source, ORDER).unwrap();
        assert_eq!(self.archive.0, Archive::of(&self.store.connection).unwrap().0, "a start knows the same");
        erased
    }
}

fn here(entities: &str) -> Kept<Vec<u8>> {
    Kept::Here(entities.as_bytes().to_vec())
}

#[test]
fn facts_are_kept_until_the_last_request_that_needs_them_is_gone_and_no_longer() {
    let mut kit = Kit::new();
    kit.keep("directory", "a", 5);
    kit.keep("directory", "b", GRAIN);
    kit.keep("directory", "a", 2 * GRAIN + 1);
    // One that is kept for a shorter time takes nothing back.
    kit.keep("directory", "a", 7);
    assert!(!any_expired(&kit.store.connection, Millis(GRAIN - 1)).unwrap());
    assert_eq!(kit.expire(GRAIN - 1, 9), 0);
    assert!(any_expired(&kit.store.connection, Millis(GRAIN)).unwrap());
    assert_eq!(kit.expire(GRAIN, 9), 1);
    assert_eq!((kit.facts("directory", "a"), kit.facts("directory", "b")), (here("a"), Kept::Nothing));
    assert_eq!(kit.expire(3 * GRAIN - 1, 9), 0);
    assert_eq!(kit.expire(3 * GRAIN, 9), 1);
    assert_eq!(kit.facts("directory", "a"), Kept::Nothing);
}

#[test]
fn what_two_sources_gave_is_kept_for_both_and_removed_a_few_at_a_time() {
    let mut kit = Kit::new();
    kit.keep("directory", "same", GRAIN);
    kit.keep("payroll", "same", 2 * GRAIN);
    kit.keep("payroll", "own", GRAIN);
    assert_eq!((kit.expire(GRAIN, 1), kit.expire(GRAIN, 1), kit.expire(GRAIN, 1)), (1, 1, 0));
    assert_eq!((kit.facts("payroll", "same"), kit.facts("payroll", "own")), (here("same"), Kept::Nothing));
    assert_eq!(kit.expire(2 * GRAIN, 1), 1);
    assert_eq!(kit.facts("payroll", "same"), Kept::Nothing);
}

#[test]
fn what_a_source_gave_could_not_be_erased() {
    let mut kit = Kit::new();
    kit.keep("directory", "a", GRAIN);
    kit.keep("directory", "same", GRAIN);
    kit.keep("payroll", "same", GRAIN);
    kit.keep("payroll", "own", GRAIN);
    assert!(!kit.erase("stranger"));
    assert!(kit.erase("directory") && !kit.erase("directory"));
    for (source, entities) in [("directory", "a"), ("directory", "same"), ("payroll", "same")] {
        assert_eq!(kit.facts(source, entities), Kept::Erased, "{source} {entities}");
    }
    let used = used(&kit.store.connection, &"payroll".parse().unwrap(), &digest("same")).unwrap();
    assert_eq!(used.unwrap().erased, Some(ORDER), "it names the order");
    assert_eq!(kit.facts("payroll", "own"), here("own"));
    assert_eq!(kit.facts("stranger", "a"), Kept::Nothing, "nobody erased what that one gave");
    // The source gives it still, and it is needed again.
    kit.keep("directory", "a", GRAIN);
    assert_eq!(kit.facts("directory", "a"), here("a"));
    assert!(kit.erase("directory"));
    // That it was erased is known as long as it would have been kept.
    assert_eq!(kit.expire(GRAIN, 9), 4);
    assert_eq!(kit.facts("directory", "a"), Kept::Nothing);
}

#[test]
fn no_request_is_left_without_the_facts_that_it_was_decided_by() {
    let mut kit = Kit::new();
    kit.keep("directory", "a", GRAIN);
    let kept = "INSERT INTO payloads (seq, subject, expires, sealed) VALUES (1, 1, 5, x'00')";
    kit.store.connection.execute(kept, []).unwrap();
    assert_eq!((kit.expire(GRAIN, 9), kit.facts("directory", "a")), (0, here("a")));
    kit.store.connection.execute("DELETE FROM payloads", []).unwrap();
    assert_eq!(kit.expire(GRAIN, 9), 1);
}

/// The writer went by what it remembered: what was gone was not written again, and nobody was told.
#[test]
fn facts_that_were_gone_were_remembered_as_kept() {
    for statement in [
        "DELETE FROM snapshot_uses",
        "UPDATE snapshot_uses SET erased = 1",
        "DELETE FROM snapshots; DELETE FROM snapshot_uses",
    ] {
        let mut kit = Kit::new();
        kit.keep("directory", "a", 5);
        kit.store.connection.execute_batch(statement).unwrap();
        let (source, digest) = ("directory".parse().unwrap(), digest("a"));
        let kept = kit.archive.keep(&kit.store.connection, (&source, digest), b"a", Millis(2 * GRAIN));
        assert!(matches!(kept, Err(LedgerError::Corrupt(_))), "{statement}");
    }
}

/// The batch passed over it, and the record was on the log: nobody could ever decide it again.
#[test]
fn a_record_that_names_facts_which_nobody_gave_kept_none_of_them() {
    let (source, entities): (SourceName, Arc<[u8]>) = ("directory".parse().unwrap(), b"a"[..].into());
    let snapshots = [(digest("b"), b"b"[..].into()), (digest("a"), Arc::clone(&entities))];
    let named = |entities: &str| SnapshotUse { as_of: Millis(1), digest: digest(entities), max_age_ms: 2 };
    assert_eq!(given(&snapshots, &source, &named("a")).unwrap(), &(digest("a"), entities));
    for given in [given(&snapshots, &source, &named("c")), given(&[], &source, &named("a"))] {
        assert_eq!(given.unwrap_err().code(), ReasonCode::EvidenceCorrupt);
    }
}
