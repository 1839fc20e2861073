use std::fs;

use portcullis_protocol::{Digest, Domain, Event, Outcome, ReasonCode, Record};
use portcullis_verify::TileTree;
use portcullis_verify::merkle::leaf_hash;

use crate::check::check;
use crate::harness::{Call, World, answer};
use crate::scrub::long;

/// A closed ledger with two charges that ran, one that was not spent, one in doubt, and enough reads for a tile.
fn closed() -> World {
    let world = World::new();
    let ledger = world.start();
    let ends = [("ran", Some(Outcome::Ok)), ("unspent", Some(Outcome::Expired)), ("open", None)];
    for (attempt, (key, outcome)) in (1..).zip(ends) {
        let call = Call::charge(attempt, "1.00", Some(key));
        world.permitted(&ledger, &call);
        if let Some(outcome) = outcome {
            world.report(&ledger, &call, outcome, None).unwrap();
        }
    }
    let reads: Vec<_> = (10..270).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    drop(ledger);
    world
}

#[track_caller]
fn expect(world: &World, code: ReasonCode) {
    let ledger = world.start();
    for attempt in 1_000..1_003 {
        assert_eq!(world.refused(&ledger, &Call::read(attempt)), code);
    }
    assert_eq!(world.tripped(&ledger), Some(code));
}

/// What the state calls a key of the tests' agent.
fn name_of(key: &str) -> String {
    let name = Digest::of(Domain::Key, &[b"demo-agent", key.as_bytes()]);
    format!("x'{}'", name.to_string().trim_start_matches("sha256:"))
}

/// Replaces each `@key` by what the state calls that key.
pub(crate) fn named(statements: &str) -> String {
    let keys = ["ran", "unspent", "open", "other"];
    keys.iter().fold(statements.to_owned(), |text, key| text.replace(&format!("@{key}"), &name_of(key)))
}

fn refuses(what: &str, statements: &str, code: ReasonCode) {
    let world = closed();
    world.sql(&named(statements));
    eprintln!("{what}");
    expect(&world, code);
}

#[test]
fn what_was_not_tampered_with_is_opened() {
    let world = closed();
    world.permitted(&world.start(), &Call::read(1_000));
}

#[test]
fn records_tiles_and_heads_that_disagree_are_refused() {
    let cases = [
        (
            "a record's byte",
            "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '\"gate\":\"gate\"', '\"gate\":\"gatf\"') AS BLOB) WHERE seq = 3",
        ),
        ("a record that is none", "UPDATE records SET body = x'00' WHERE seq = 3"),
        ("a tile", "UPDATE tiles SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB)"),
        ("a short tile", "UPDATE tiles SET hashes = substr(hashes, 1, 64)"),
        ("no tile", "DELETE FROM tiles"),
        (
            "a tile of the future",
            "INSERT INTO tiles (level, position, hashes) SELECT 0, 7, hashes FROM tiles",
        ),
        ("the head's root", "UPDATE head SET root = zeroblob(32)"),
        ("the head's root, too short", "UPDATE head SET root = x'00'"),
        ("a larger head", "UPDATE head SET size = size + 1"),
        ("the head's note", "UPDATE head SET note = x'00'"),
        ("no head", "DELETE FROM head"),
        ("no records", "DELETE FROM records"),
        ("the last record missing", "DELETE FROM records WHERE seq = (SELECT max(seq) FROM records)"),
        ("a record in the middle missing", "DELETE FROM records WHERE seq = 5"),
        ("a table missing", "DROP TABLE records"),
        ("another format", "PRAGMA user_version = 1"),
    ];
    for (what, statements) in cases {
        refuses(what, statements, ReasonCode::EvidenceCorrupt);
    }
    refuses("a smaller head", "UPDATE head SET size = size - 1", ReasonCode::EvidenceBehindAnchor);
}

#[test]
fn an_anchor_wiped_out_is_no_beginning_even_if_the_database_forgot_its_head() {
    let world = closed();
    world.sql("UPDATE head SET note = NULL");
    fs::write(world.anchor(), vec![0; 8192]).unwrap();
    expect(&world, ReasonCode::EvidenceBehindAnchor);
}

#[test]
fn a_key_deleted_from_the_state_ran_twice() {
    refuses("a key", "DELETE FROM keys WHERE name = @ran", ReasonCode::EvidenceCorrupt);
    refuses("a key in flight", "DELETE FROM keys WHERE name = @open", ReasonCode::EvidenceCorrupt);
}

#[test]
fn state_that_is_not_what_the_records_say_is_refused() {
    let cases = [
        (
            "a PERMIT ended by nobody",
            "UPDATE permits SET outcome = 'expired', outcome_seq = 7 WHERE key = @open",
        ),
        ("an outcome undone", "UPDATE permits SET outcome = NULL, outcome_seq = NULL WHERE key = @ran"),
        ("another outcome", "UPDATE permits SET outcome = 'unknown' WHERE key = @ran"),
        ("no outcome known", "UPDATE permits SET outcome = 'perhaps' WHERE key = @ran"),
        ("a PERMIT missing", "DELETE FROM permits WHERE key = @open"),
        ("a PERMIT's agent", "UPDATE permits SET agent = 'stranger-agent' WHERE key = @open"),
        ("a PERMIT's key", "UPDATE permits SET key = @other WHERE key = @open"),
        ("a PERMIT without its key", "UPDATE permits SET key = NULL WHERE key = @open"),
        ("when an outcome is due", "UPDATE permits SET due = due + 1 WHERE key = @open"),
        (
            "an attempt missing",
            "DELETE FROM attempts WHERE seq = (SELECT seq FROM permits WHERE key = @open)",
        ),
        ("when a key was consumed", "UPDATE keys SET time = time - 1 WHERE name = @ran"),
        ("a key consumed by another PERMIT", "UPDATE keys SET permit = 3 WHERE name = @open"),
        ("a key given back by nobody", "UPDATE keys SET seq = seq + 1 WHERE name = @open"),
        (
            "a key that was given back, and is consumed",
            "DELETE FROM keys WHERE name = @unspent AND seq <> permit",
        ),
        (
            "another key throughout",
            "UPDATE permits SET key = @other WHERE key = @open; UPDATE keys SET name = @other WHERE name = @open",
        ),
        ("a key of nobody", "INSERT INTO keys VALUES (7, 3, zeroblob(32), 3, 0, zeroblob(32))"),
        ("an attempt of nobody", "INSERT INTO attempts VALUES (zeroblob(32), 3)"),
    ];
    for (what, statements) in cases {
        refuses(what, statements, ReasonCode::EvidenceCorrupt);
    }
}

/// Rewrites a closed ledger so that it agrees with itself.
pub(crate) fn forge(world: &World, rewrite: &str) {
    world.sql(rewrite);
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    let mut tree = TileTree::new();
    let mut statement = connection.prepare("SELECT body FROM records ORDER BY seq").unwrap();
    let bodies = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    bodies.for_each(|body| tree.append(leaf_hash(&body.unwrap())));
    for tile in tree.take_full_tiles() {
        let hashes: Vec<u8> = tile.hashes.iter().flat_map(|hash| hash.0).collect();
        connection
            .execute(
                "UPDATE tiles SET hashes = ?1 WHERE level = ?2 AND position = ?3",
                (hashes, tile.level, tile.index),
            )
            .unwrap();
    }
    connection
        .execute("UPDATE head SET root = ?1, size = ?2, note = NULL", (tree.root().0, tree.size()))
        .unwrap();
}

#[test]
fn a_ledger_rewritten_so_that_it_agrees_with_itself_is_refused_by_its_anchor() {
    let world = closed();
    forge(
        &world,
        "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '\"gate\":\"gate\"', '\"gate\":\"gatf\"') AS BLOB)",
    );
    expect(&world, ReasonCode::EvidenceBehindAnchor);
}

#[test]
fn a_permit_forged_beyond_the_signed_head_was_signed_and_released() {
    let world = closed();
    let records = world.records();
    let newest = u64::try_from(records.len()).unwrap();
    let permit = records.into_iter().find_map(|record| match record {
        Record::Decision(record) if record.reason.is_none() && record.key.is_none() => Some(record),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    let mut permit = permit.unwrap();
    let call = Call::read(5_000);
    (permit.seq, permit.attempt) = (newest, call.attempt());
    let body = Record::Decision(permit).to_bytes().unwrap();
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    connection.execute("INSERT INTO records VALUES (?1, ?2)", (newest, body)).unwrap();
    connection.execute("INSERT INTO attempts VALUES (?1, ?2)", (call.attempt().as_bytes(), newest)).unwrap();
    forge(&world, "");
    expect(&world, ReasonCode::EvidenceCorrupt);
}

#[test]
fn bytes_beyond_the_signed_head_that_are_no_record_were_signed() {
    let world = closed();
    let newest = world.size();
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    for (seq, extra) in [(newest, r#""extra":1,"#), (newest + 1, "")] {
        let body = format!(
            r#"{{"detail":{{}},"event":"opened",{extra}"kind":"event","seq":{seq},"time":1800000000000}}"#
        );
        connection.execute("INSERT INTO records VALUES (?1, ?2)", (seq, body.into_bytes())).unwrap();
    }
    forge(&world, "");
    expect(&world, ReasonCode::EvidenceCorrupt);
}

#[test]
fn a_tile_that_changes_under_an_open_ledger_releases_nothing_and_is_found() {
    let world = closed();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1_000));
    // A proof of an old record reads this tile; a new one only its root.
    world.sql("UPDATE tiles SET hashes = zeroblob(8192)");
    let again = Call::read(10);
    let decided = world.decide(&ledger, &again);
    assert_eq!((decided.verdict.reason(), decided.receipt), (Some(ReasonCode::EvidenceCorrupt), None));
    assert_eq!(world.tripped(&ledger), Some(ReasonCode::EvidenceCorrupt));
    assert_eq!(world.refused(&ledger, &Call::read(1_001)), ReasonCode::EvidenceCorrupt);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let world = closed();
    let mut bytes = fs::read(world.database()).unwrap();
    bytes[..16].fill(b'x');
    fs::write(world.database(), bytes).unwrap();
    expect(&world, ReasonCode::EvidenceCorrupt);
    fs::remove_file(world.database()).unwrap();
    expect(&world, ReasonCode::EvidenceUnwritable);
}

#[test]
fn copies_of_a_ledger_that_does_not_verify_filled_the_disk() {
    let world = closed();
    world.sql(
        "CREATE TRIGGER broken BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'broken'); END;
         UPDATE head SET note = NULL",
    );
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(1_000)), ReasonCode::EvidenceUnwritable);
    world.sql("UPDATE head SET root = zeroblob(32)");
    for attempt in 1_001..1_020 {
        let code = world.refused(&ledger, &Call::read(attempt));
        assert!(matches!(code, ReasonCode::EvidenceCorrupt | ReasonCode::EvidenceUnwritable), "{code}");
    }
    let entries = fs::read_dir(world.data().join("ledger")).unwrap().count();
    assert!(entries <= 4, "CURRENT, the failed one and at most one copy: {entries}");
}

/// A page above the records is read in its order by a start, and by its keys by whoever appends: what was appended lay before what
/// had been there, and no reader found the log whole.
#[test]
fn a_record_was_appended_out_of_order_because_a_key_above_it_had_flipped() {
    let world = long();
    let newest = world.size() - 1;
    let root: usize = {
        let connection = rusqlite::Connection::open(world.database()).unwrap();
        let busy: bool =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
        assert!(!busy, "a reader is there");
        let text = "SELECT rootpage FROM sqlite_master WHERE name = 'records'";
        connection.query_row(text, [], |row| row.get(0)).unwrap()
    };
    let mut bytes = std::fs::read(world.database()).unwrap();
    // The file format of SQLite, 1.6: an interior page of a table, its cells' places, and in the last cell a page and a key.
    let page = &mut bytes[4096 * (root - 1)..4096 * root];
    assert_eq!(page[0], 5, "an interior page");
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let place = 12 + 2 * (cells - 1);
    let cell = usize::from(u16::from_be_bytes([page[place], page[place + 1]]));
    let key = (u64::from(page[cell + 4] & 0x7f) << 7) | u64::from(page[cell + 5]);
    assert!(page[cell + 4] >= 0x80 && page[cell + 5] < 0x80 && key <= newest && key + 200 > newest, "{key}");
    page[cell + 4] |= 0x40;
    std::fs::write(world.database(), bytes).unwrap();
    // Read in order they are all there.
    assert_eq!(u64::try_from(world.records().len()), Ok(newest + 1));
    let ledger = world.start();
    // The ledger is written anew in that order, and read whole, before anything is permitted on it.
    world.permitted(&ledger, &Call::read(5_000));
    assert!(world.events().contains(&Event::Recovered));
    drop(ledger);
    check(&world, None).unwrap();
}

#[test]
fn a_row_in_the_way_of_a_new_one_was_taken_for_a_disk_that_cannot_be_written() {
    let world = closed();
    world.sql(
        "WITH RECURSIVE ahead (by) AS (SELECT 1 UNION ALL SELECT by + 1 FROM ahead WHERE by < 40)
        INSERT INTO payloads (seq, subject, expires, sealed)
        SELECT (SELECT max(seq) FROM records) + by, subject, expires, sealed
        FROM ahead, (SELECT * FROM payloads LIMIT 1)",
    );
    expect(&world, ReasonCode::EvidenceCorrupt);
}
