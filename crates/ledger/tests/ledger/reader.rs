use portcullis_ledger::LedgerReader;
use portcullis_protocol::{ReasonCode, Record};

use crate::harness::{Call, World, answer};

fn open(world: &World) -> Result<LedgerReader, portcullis_ledger::LedgerError> {
    LedgerReader::open(&world.data(), &world.anchor(), &world.verifier)
}

#[test]
fn a_reader_beside_the_writer_lists_every_record_with_a_receipt_that_verifies() {
    let world = World::new();
    let ledger = world.start();
    let reads: Vec<_> = (0..300).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    let reader = open(&world).unwrap();
    world.permitted(&ledger, &Call::read(1_000));
    let mut listed = Vec::new();
    reader.for_each(|entry| listed.push(entry)).unwrap();
    assert_eq!(u64::try_from(listed.len()).unwrap(), reader.head().size());
    for (index, entry) in (0..).zip(&listed) {
        let receipt = world.verified(&reader.receipt(index).unwrap());
        assert_eq!((receipt.index(), receipt.record_bytes()), (index, entry.body.as_slice()));
        assert_eq!(entry.record.seq(), index);
    }
    assert!(reader.receipt(reader.head().size()).is_err(), "not under its head");
    assert!(reader.receipt(u64::MAX).is_err());
}

#[test]
fn a_reader_refuses_what_was_tampered_with() {
    let tampered = |statements: &str| {
        let world = World::new();
        let ledger = world.start();
        world.permitted(&ledger, &Call::read(1));
        drop(ledger);
        world.sql(statements);
        let error = open(&world).unwrap_err();
        assert_eq!(error.code(), ReasonCode::EvidenceCorrupt, "{error}");
        error.to_string()
    };
    let altered = "UPDATE records SET body = CAST(body || x'20' AS BLOB) WHERE seq = 3";
    assert!(tampered(altered).contains("record 3 is not one"));
    assert!(tampered("DELETE FROM records WHERE seq = 3").contains("record 3 is missing"));
    assert!(tampered("DROP TABLE records").contains("records"));
}

#[test]
fn records_altered_after_a_reader_had_opened_were_listed_as_good() {
    let world = World::new();
    let ledger = world.start();
    let altered = world.permitted(&ledger, &Call::read(1)).seq;
    let reader = open(&world).unwrap();
    assert!(reader.record(altered).is_ok() && reader.tile(0).is_ok());
    world.sql(
        "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), 'demo-agent', 'demo-agenx') AS BLOB)",
    );
    let error = reader.for_each(|_| ()).unwrap_err();
    assert_eq!(error.code(), ReasonCode::EvidenceCorrupt, "{error}");
    assert!(reader.receipt(altered).is_err() && reader.record(altered).is_err() && reader.tile(0).is_err());
}

#[test]
fn a_reader_made_an_empty_anchor_where_there_was_none() {
    let world = World::new();
    drop(world.start());
    let away = world.directory.path().join("away");
    std::fs::rename(world.anchor(), &away).unwrap();
    assert_eq!(open(&world).unwrap_err().code(), ReasonCode::EvidenceAnchorUnwritable);
    assert!(!world.anchor().exists());
    std::fs::write(world.anchor(), "short").unwrap();
    assert_eq!(open(&world).unwrap_err().code(), ReasonCode::EvidenceBehindAnchor);
    assert_eq!(std::fs::read(world.anchor()).unwrap(), b"short");
}

#[test]
fn a_reader_with_another_logs_key_or_without_a_ledger_reads_nothing() {
    let world = World::new();
    assert_eq!(open(&world).unwrap_err().code(), ReasonCode::EvidenceCorrupt);
    drop(world.start());
    let other = portcullis_ledger::generate("gate.test/log").unwrap().1;
    let refused = LedgerReader::open(&world.data(), &world.anchor(), &other);
    assert_eq!(refused.unwrap_err().code(), ReasonCode::EvidenceCorrupt);
    assert!(open(&world).is_ok_and(|reader| reader.head().size() == 4));
}

#[test]
fn an_empty_log_is_read_as_one() {
    let mut world = World::new();
    world.disk_reserve = 0;
    world.behaviour.garbage.store(true, std::sync::atomic::Ordering::SeqCst);
    drop(world.start());
    world.behaviour.garbage.store(false, std::sync::atomic::Ordering::SeqCst);
    drop(world.start());
    assert!(matches!(world.records().first(), Some(Record::Event(_))));
}
