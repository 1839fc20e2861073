use std::time::Duration;

use portcullis_protocol::{Event, EventRecord, Ordered};

use super::*;
use crate::store::Store;
use crate::testing::file;
use crate::vault::{Vault, generate_vault_key};

const OWN: u64 = 3;
const UNTIL: u64 = 1_000;

/// The orders to destroy agents' keys that are on record.
fn erasures(connection: &Connection) -> Erasures {
    let mut found = Erasures::default();
    let read = |seq, body: &[u8]| {
        if let Ok(Record::Event(event)) = Record::parse(body) {
            found.read(seq, &event);
        }
        Ok::<_, LedgerError>(())
    };
    store::for_each_record(connection, 0, 9, read).unwrap();
    found
}

/// A ledger that keeps something of one record.
struct Kit {
    _folder: tempfile::TempDir,
    _key: tempfile::TempDir,
    store: Store,
    master: MasterKey,
}

impl Kit {
    fn new() -> Self {
        let (key, path) = file(&generate_vault_key().unwrap(), 0o600);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("ledger.db")).unwrap();
        let mut vault = Vault::new(path.clone());
        vault.ready(None).unwrap();
        vault.keep(&store.connection, OWN, &agent(), b"content", Millis(UNTIL)).unwrap();
        let kit = Self { _folder: folder, _key: key, store, master: MasterKey::read(&path).unwrap() };
        kit.record(OWN, &format!(r#"{{"time":1,"agent":"bot","kept_until":{UNTIL}}}"#));
        kit
    }

    fn record(&self, seq: u64, body: &str) {
        store::add_record(&self.store.connection, seq, body.as_bytes()).unwrap();
    }

    fn sql(&self, text: &str) {
        self.store.connection.execute_batch(text).unwrap();
    }

    fn audit(&self) -> Result<u64, String> {
        let erasures = erasures(&self.store.connection);
        let with = (Some(&self.master), &erasures);
        let whole = payloads(&self.store.connection, with, 0..9).map_err(|error| error.to_string());
        let behind = payloads_behind(&self.store.connection, with, OWN);
        assert!(
            whole.is_ok() || behind.is_err() || self.gone(),
            "what came meanwhile is looked at less closely"
        );
        whole
    }

    fn gone(&self) -> bool {
        payloads::from(&self.store.connection, 0).unwrap().is_empty()
    }

    fn removed(&self, now: u64) -> Result<usize, String> {
        let most = (9, Duration::MAX);
        payloads::remove_expired(&self.store.connection, Millis(now), most).map_err(|error| error.to_string())
    }
}

fn agent() -> AgentId {
    "bot".parse().unwrap()
}

/// An order to destroy an agent's key, as a record.
fn order(seq: u64, agent: &AgentId) -> String {
    let what = Order::ErasePayloads { subject: agent.clone() };
    let order = Some(Ordered { what, by: "ops".parse().unwrap(), reason: "asked to".parse().unwrap() });
    let record = EventRecord { seq, time: Millis(2), event: Event::Ordered, detail: BTreeMap::new(), order };
    String::from_utf8(Record::Event(record).to_bytes().unwrap()).unwrap()
}

#[test]
fn what_is_kept_is_there_until_the_record_says_and_no_row_says_otherwise() {
    let kit = Kit::new();
    assert_eq!(kit.audit(), Ok(1));
    assert_eq!(kit.removed(UNTIL - 1), Ok(0));
    // The log goes no further than the time before it: whatever removed the row had no reason to.
    kit.record(4, &format!(r#"{{"time":{}}}"#, UNTIL - 1));
    kit.sql("CREATE TABLE aside AS SELECT * FROM payloads; DELETE FROM payloads;");
    assert!(kit.audit().unwrap_err().contains("record 3 is gone before its time"));
    kit.record(5, &format!(r#"{{"time":{UNTIL}}}"#));
    assert_eq!(kit.audit(), Ok(0));
    kit.sql("INSERT INTO payloads SELECT * FROM aside");
    assert_eq!((kit.removed(UNTIL), kit.gone()), (Ok(1), true));
}

/// A flipped bit in an index, or in the row, had what a record says is kept removed as if its time were over.
#[test]
fn a_flipped_time_removed_a_request_that_was_to_be_kept() {
    let kit = Kit::new();
    kit.sql("UPDATE payloads SET expires = 5");
    assert!(kit.removed(5).unwrap_err().contains("record 3 would go before its time"));
    assert!(!kit.gone());
    assert!(kit.audit().is_err());
}

#[test]
fn a_key_that_is_gone_was_destroyed_by_an_order_on_record_behind_what_it_sealed() {
    let kit = Kit::new();
    kit.record(4, &order(4, &"another".parse().unwrap()));
    kit.record(5, &order(5, &agent()));
    kit.record(1, &order(1, &agent()));
    let cases = [(4, "is no order to destroy it"), (6, "is no order to destroy it"), (1, "does not open")];
    for (at, expected) in cases {
        kit.sql(&format!("UPDATE subjects SET wrapped = NULL, erased = {at}"));
        assert!(kit.audit().unwrap_err().contains(expected), "{at}");
    }
    payloads::erase_subject(&kit.store.connection, &agent(), 7).unwrap();
    kit.sql("UPDATE subjects SET erased = 5");
    assert_eq!(kit.audit(), Ok(0));
}

/// The row of a destroyed key was written back out of a backup: what had been erased was open again, and all of it sound.
#[test]
fn an_erasure_that_was_undone_was_noticed_by_nobody() {
    let kit = Kit::new();
    kit.sql("CREATE TABLE aside AS SELECT * FROM subjects");
    payloads::erase_subject(&kit.store.connection, &agent(), 5).unwrap();
    kit.record(5, &order(5, &agent()));
    let found = || erasures(&kit.store.connection);
    let rows = || found().audit(&kit.store.connection).map_err(|error| error.to_string());
    assert_eq!((kit.audit(), rows()), (Ok(0), Ok(())));
    kit.sql("DELETE FROM subjects; INSERT INTO subjects SELECT * FROM aside");
    let again = "record 3 was erased, and a key of `bot` is there for it again";
    assert!(kit.audit().unwrap_err().contains(again));
    let without = payloads(&kit.store.connection, (None, &found()), 0..9);
    assert!(without.unwrap_err().to_string().contains(again));
    // Nothing that it opens is left here, and may be elsewhere.
    kit.sql("DELETE FROM payloads");
    let destroyed = "record 5 had a key of `bot` destroyed, and no row of the vault says so any more";
    assert!(rows().unwrap_err().contains(destroyed));
    kit.sql("DELETE FROM subjects");
    assert!(rows().unwrap_err().contains(destroyed));
    // What the agent does from then on is kept under a key that nobody destroyed.
    let kit = Kit::new();
    kit.record(1, &order(1, &agent()));
    assert_eq!(kit.audit(), Ok(1));
}

/// A row of another subject looked like one whose subject was erased.
#[test]
fn what_is_kept_of_a_subject_that_is_none_was_taken_for_erased() {
    let kit = Kit::new();
    kit.sql("UPDATE payloads SET subject = subject + 1");
    let opened = payloads::open(&kit.store.connection, &kit.master, OWN, &agent());
    assert!(opened.unwrap_err().to_string().contains("of a subject that is none"));
    assert!(kit.audit().is_err());
}

/// An index leads the removal: what it does not have was kept for good.
#[test]
fn what_no_index_had_was_kept_for_good() {
    let kit = Kit::new();
    kit.sql(
        "DROP INDEX payloads_expires;
         CREATE INDEX payloads_expires ON payloads (expires) WHERE seq < 0;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX payloads_expires ON payloads (expires)'
           WHERE name = 'payloads_expires';
         PRAGMA writable_schema = RESET;",
    );
    assert_eq!(kit.removed(UNTIL), Ok(0));
    assert!(kit.audit().unwrap_err().contains("record 3 would stay beyond its time"));
}

/// Rows and what they are of were gone together: what was left agreed with itself.
#[test]
fn facts_that_a_record_was_decided_by_were_gone_and_nobody_missed_them() {
    let kit = Kit::new();
    let digest = Digest::sha256(b"facts");
    let sources = format!(r#"{{"directory":{{"as_of":1,"digest":"{digest}","max_age_ms":9}}}}"#);
    kit.sql("DELETE FROM records");
    kit.record(
        OWN,
        &format!(r#"{{"time":1,"agent":"bot","kept_until":{UNTIL},"facts":{{"sources":{sources}}}}}"#),
    );
    let gone = "of record 3 are gone before its time";
    assert!(kit.audit().unwrap_err().contains(gone));
    let (source, mut facts) = ("directory".parse().unwrap(), archive::Archive::default());
    let kept = facts.keep(&kit.store.connection, (&source, digest), b"facts", Millis(UNTIL));
    kept.unwrap();
    assert_eq!(kit.audit(), Ok(1));
    for (order, erased) in [(OWN, false), (OWN + 1, true)] {
        let source = "directory".parse().unwrap();
        let used = archive::Use { source, digest, expires: Millis(UNTIL), erased: Some(order) };
        used.store(&kit.store.connection).unwrap();
        assert_eq!(kit.audit().is_ok(), erased, "they were erased before they were given: {order}");
    }
    kit.sql("DELETE FROM snapshots; DELETE FROM snapshot_uses");
    assert!(kit.audit().unwrap_err().contains(gone));
    kit.record(4, &format!(r#"{{"time":{UNTIL}}}"#));
    assert_eq!(kit.audit(), Ok(1), "nobody decides again by them");
}

#[test]
fn without_the_master_key_all_is_told_but_what_is_sealed() {
    let kit = Kit::new();
    let none = Erasures::default();
    let audit = || payloads(&kit.store.connection, (None, &none), 0..9).map_err(|error| error.to_string());
    assert_eq!(audit(), Ok(0));
    kit.sql("UPDATE payloads SET sealed = zeroblob(64)");
    assert_eq!(audit(), Ok(0));
    kit.sql("UPDATE subjects SET agent = 'another'");
    assert!(audit().is_err());
    kit.sql("DELETE FROM payloads");
    assert!(audit().unwrap_err().contains("record 3 is gone before its time"));
}

/// Each one's record is read, and a disk may be slow: the writer's callers waited for thousands.
#[test]
fn removing_what_was_over_took_as_long_as_there_was_something() {
    let kit = Kit::new();
    for seq in 10..49 {
        kit.record(seq, &format!(r#"{{"time":1,"agent":"bot","kept_until":{UNTIL}}}"#));
        kit.sql(&format!("INSERT INTO payloads VALUES ({seq}, 1, {UNTIL}, x'00')"));
    }
    let removed = || payloads::remove_expired(&kit.store.connection, Millis(UNTIL), (99, Duration::ZERO));
    let counts: Vec<_> = (0..4).map(|_| removed().unwrap()).collect();
    assert_eq!(counts, [16, 16, 8, 0]);
}
