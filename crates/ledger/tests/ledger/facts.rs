//! What sources of facts gave: what the log knows of it, how long it is kept, and its erasure.

use std::sync::mpsc::channel;

use portcullis_ledger::{Clocks, Kept, Ledger, OrderRefused};
use portcullis_protocol::{Event, Order, Ordered, ReasonCode, Record};

use crate::harness::{Call, World, answer};

/// An hour, in milliseconds: the grain of the time for which facts are kept.
const HOUR: u64 = 3_600_000;

fn count(world: &World, table: &str) -> u64 {
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn erase(ledger: &Ledger, source: &str) -> Result<u64, OrderRefused> {
    let (sender, receiver) = channel();
    let what = Order::EraseFacts { source: source.parse().unwrap() };
    let order = Ordered {
        by: "alice".parse().unwrap(),
        what,
        reason: "asked for by somebody in it".parse().unwrap(),
    };
    ledger.order(order, move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv().unwrap()
}

/// The state agrees with the log, record by record.
fn agrees(world: &World) {
    let replayed = world.reader().replay(|_, _, _| std::ops::ControlFlow::Continue(None)).unwrap();
    assert_eq!(replayed.unwrap().1, []);
}

#[test]
fn a_start_knows_the_newest_facts_whether_it_was_killed_closed_or_marked() {
    let world = World::sourced("");
    let ledger = world.start();
    world.directory(1_000, &["gone"]);
    world.permitted(&ledger, &Call::read(1));
    world.directory(500, &[]);
    world.permitted(&ledger, &Call::read(2));
    let past = |world: &World, ledger: &Ledger, attempt| {
        world.directory(800, &["gone"]);
        assert_eq!(world.refused(ledger, &Call::read(attempt)), ReasonCode::FactRolledBack, "{attempt}");
        let newest = world.status(ledger).facts[&"directory".parse().unwrap()];
        assert_eq!(newest.as_of.0, world.clocks.wall().unwrap().0 - 500);
    };
    past(&world, &ledger, 3);
    // Killed now, it is read from the first record on.
    let killed = world.crashed();
    past(&killed, &killed.start(), 4);
    // A refusal names facts too.
    world.directory(400, &["stranger"]);
    assert_eq!(
        world.refused(&ledger, &Call::read(5).by("nobody-agent")),
        ReasonCode::IdentityUnknown,
        "the directory does not give it"
    );
    world.directory(450, &[]);
    assert_eq!(world.refused(&ledger, &Call::read(6)), ReasonCode::FactRolledBack);
    let killed = world.crashed();
    assert_eq!(killed.refused(&killed.start(), &Call::read(6_000)), ReasonCode::FactRolledBack);
    world.directory(0, &["newer"]);
    let reads: Vec<_> = (10_000..11_100).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    drop(ledger);
    assert_eq!(world.events().iter().filter(|event| **event == Event::Marked).count(), 1);
    // From the mark on.
    world.directory(1, &[]);
    assert_eq!(world.refused(&world.start(), &Call::read(7)), ReasonCode::FactRolledBack);
    agrees(&world);
    // A row that says something else is noticed.
    let changed = world.crashed();
    changed.sql("DELETE FROM standing WHERE name LIKE 'source %'");
    let ledger = changed.start();
    assert_eq!(changed.refused(&ledger, &Call::read(8)), ReasonCode::EvidenceCorrupt);
}

/// The clock was ahead, and facts of that time are on record. Once it is right the whole log is ahead of it, and it is not the
/// facts that are asked about; from when their time has come on, they are the newest.
#[test]
fn facts_of_a_time_at_which_the_clock_was_ahead_are_newest_only_when_that_time_has_come() {
    let world = World::sourced("");
    world.clocks.jump(i64::try_from(HOUR).unwrap());
    let ledger = world.start();
    world.directory(0, &["ahead"]);
    world.permitted(&ledger, &Call::read(1));
    drop(ledger);
    world.clocks.jump(-i64::try_from(HOUR).unwrap());
    let ledger = world.start();
    world.directory(0, &["right"]);
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::ClockBehindLog);
    world.clocks.advance(HOUR - 1_001);
    world.directory(0, &["right"]);
    assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::ClockBehindLog);
    world.clocks.advance(1_002);
    world.directory(1_000, &["right"]);
    assert_eq!(world.refused(&ledger, &Call::read(4)), ReasonCode::FactRolledBack);
    world.directory(0, &["right"]);
    world.permitted(&ledger, &Call::read(5));
    drop(ledger);
    agrees(&world);
}

#[test]
fn what_a_directory_gave_stayed_in_the_ledger_for_good() {
    let world = World::sourced("keep_for = \"1m\"");
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.directory(0, &["another"]);
    world.permitted(&ledger, &Call::read(2));
    assert_eq!((count(&world, "snapshots"), count(&world, "payloads")), (2, 2));
    let size = world.size();
    world.clocks.advance(2 * HOUR);
    drop(ledger);
    drop(world.start());
    assert_eq!((count(&world, "snapshots"), count(&world, "payloads")), (0, 0));
    let said = world.records().into_iter().skip(usize::try_from(size).unwrap()).find_map(|record| {
        let Record::Event(entry) = record else { return None };
        (entry.event == Event::PayloadsExpired).then_some(entry.detail)
    });
    let said = said.expect("the removal");
    assert_eq!((said["payloads"].as_str(), said["facts"].as_str()), ("2", "2"));
    // What is given still is kept again with the next request that is.
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(3));
    assert_eq!(count(&world, "snapshots"), 1);
    drop(ledger);
    agrees(&world);
}

#[test]
fn facts_stay_as_long_as_a_request_that_was_decided_by_them_and_need_none() {
    let world = World::sourced("keep_for = \"90m\"");
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.clocks.advance(HOUR);
    world.permitted(&ledger, &Call::read(2));
    world.clocks.advance(HOUR + HOUR / 4);
    drop(ledger);
    drop(world.start());
    assert_eq!((count(&world, "snapshots"), count(&world, "payloads")), (1, 1), "the second is there");
    let nothing = World::sourced("keep = []");
    nothing.permitted(&nothing.start(), &Call::read(1));
    assert_eq!(count(&nothing, "snapshots"), 0, "nobody could decide again by them");
}

#[test]
fn facts_are_erased_on_an_operator_s_order_and_on_record() {
    let world = World::sourced("");
    let ledger = world.start();
    assert_eq!(erase(&ledger, "directory"), Err(OrderRefused::NoFactsKept));
    world.directory(0, &["somebody-in-it"]);
    let entry = world.permitted(&ledger, &Call::read(1));
    let (source, used) = entry.facts.sources.iter().next().unwrap();
    let kept = |world: &World| world.reader().facts(source, &used.digest).unwrap();
    assert!(matches!(kept(&world), Kept::Here(bytes) if bytes.ends_with(b"]")));
    assert_eq!(erase(&ledger, "stranger"), Err(OrderRefused::NoFactsKept));
    let seq = erase(&ledger, "directory").unwrap();
    assert_eq!(kept(&world), Kept::Erased);
    assert_eq!(erase(&ledger, "directory"), Err(OrderRefused::NoFactsKept), "it is gone already");
    let records = world.records();
    let Record::Event(order) = &records[usize::try_from(seq).unwrap()] else { panic!() };
    assert!(matches!(order.order.as_ref().unwrap().what, Order::EraseFacts { .. }));
    drop(ledger);
    let ledger = world.start();
    assert_eq!(kept(&world), Kept::Erased);
    let needle = b"somebody-in-it";
    for file in [world.database(), world.database().with_extension("db-wal")] {
        let bytes = std::fs::read(file).unwrap_or_default();
        assert!(!bytes.windows(needle.len()).any(|part| part == needle), "it lies there still");
    }
    // The directory gives it still.
    world.permitted(&ledger, &Call::read(2));
    assert!(matches!(kept(&world), Kept::Here(_)));
    drop(ledger);
    agrees(&world);
}
