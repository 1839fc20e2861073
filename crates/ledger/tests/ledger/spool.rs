use std::fs;

use portcullis_arbiter::{Fact, GateState};
use portcullis_ledger::{Ledger, SignError};
use portcullis_protocol::{Captured, Event, Keeper, LateRecord, Outcome, ReasonCode, Record};
use rusqlite::Connection;

use crate::crash::crash_before_signing;
use crate::harness::{Call, Held, World, answer};
use crate::replay::replay;

/// A ledger with a spool, whose signer can be taken away.
fn spooling(entries: usize) -> World {
    let mut world = World::new();
    world.spool = Some(entries);
    world
}

fn pull(world: &World, away: bool) {
    *world.behaviour.ready.lock().unwrap() = away.then(|| SignError::Unavailable("pulled".into()));
}

/// The call is refused while evidence is down, and said to be kept so. What is kept nowhere can be written nowhere.
#[track_caller]
fn refused(world: &World, ledger: &Ledger, call: &Call, captured: Captured) {
    let decided = world.decide(ledger, call);
    let nowhere = "`signer.unavailable`, and the spool is full or fails".to_owned();
    let (code, detail) = match captured {
        Captured::None => (ReasonCode::EvidenceUnwritable, Some(nowhere)),
        Captured::Spooled | Captured::Logged => (ReasonCode::SignerUnavailable, None),
    };
    assert_eq!((decided.verdict.reason(), decided.detail), (Some(code), detail));
    assert_eq!((decided.captured, decided.receipt), (captured, None));
}

fn late(world: &World) -> Vec<LateRecord> {
    let late = |record: Record| if let Record::Late(late) = record { Some(late) } else { None };
    world.records().into_iter().filter_map(late).collect()
}

/// The state that decisions depend on, row by row.
fn state(world: &World) -> Vec<String> {
    let connection = Connection::open(world.database()).unwrap();
    let mut rows = Vec::new();
    for table in ["attempts", "permits", "keys", "chains", "payloads", "subjects"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let values = (0..columns).map(|index| row.get::<_, rusqlite::types::Value>(index));
            Ok(format!("{table} {:?}", values.collect::<Result<Vec<_>, _>>()?))
        };
        rows.extend(statement.query_map([], row).unwrap().map(Result::unwrap));
    }
    rows
}

#[test]
fn what_was_refused_while_evidence_was_down_is_in_the_log_once_it_is_up_and_changes_no_state() {
    let world = spooling(10);
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "12.50", Some("k")));
    world.report(&ledger, &Call::charge(1, "12.50", Some("k")), Outcome::Ok, None).unwrap();
    let before = state(&world);
    pull(&world, true);
    let calls = [Call::charge(2, "12.50", Some("other")), Call::read(3), Call::ungoverned(4)];
    for call in &calls {
        refused(&world, &ledger, call, Captured::Spooled);
    }
    world.clocks.advance(60_000);
    assert_eq!(world.status(&ledger).spool.unwrap().waiting, 3);
    pull(&world, false);
    // A batch of its own, for nobody asks for anything.
    while world.status(&ledger).spool.unwrap().waiting > 0 {
        std::thread::yield_now();
    }
    assert_eq!(state(&world), before, "a late record changed the state");
    let entered = late(&world);
    assert_eq!(entered.len(), 3);
    for (record, call) in entered.iter().zip(&calls) {
        let attempted = &record.entry.attempted;
        assert_eq!((attempted.attempt, attempted.reason), (call.attempt(), ReasonCode::SignerUnavailable));
        assert_eq!((record.keeper, record.time.since(attempted.at)), (Keeper::Arbiter, 60_000));
        assert_eq!(attempted.request, world.intake(call).commitment);
    }
    // Neither its attempt nor its key was used: it is decided anew.
    world.permitted(&ledger, &calls[0]);
    drop(ledger);
    assert!(
        !world.counted().contains_key(&Some(ReasonCode::SignerUnavailable)),
        "it has a record of its own"
    );
    let (different, contradictions) = replay(&world);
    assert_eq!((different.len(), contradictions), (0, vec![]));
    // Nothing of what was asked lies in clear.
    let spool = fs::read(world.spool_path()).unwrap();
    assert_eq!(spool, b"", "what is in the log is not kept twice");
}

#[test]
fn what_is_spooled_says_nothing_of_what_was_asked() {
    let world = spooling(10);
    let ledger = world.start();
    pull(&world, true);
    refused(&world, &ledger, &Call::charge(1, "99.87", Some("secret-key")), Captured::Spooled);
    let spool = fs::read_to_string(world.spool_path()).unwrap();
    assert!(spool.contains("demo.charge") && !spool.contains("99.87") && !spool.contains("secret-key"));
}

#[test]
fn a_crash_between_the_commit_and_the_forgetting_enters_nothing_twice() {
    let world = spooling(10);
    let ledger = world.start();
    pull(&world, true);
    for attempt in 1..4 {
        refused(&world, &ledger, &Call::read(attempt), Captured::Spooled);
    }
    let kept = fs::read(world.spool_path()).unwrap();
    pull(&world, false);
    world.permitted(&ledger, &Call::read(4));
    drop(ledger);
    assert_eq!(late(&world).len(), 3);
    // As if the process had died before the file followed.
    fs::write(world.spool_path(), &kept).unwrap();
    let ledger = world.start();
    while world.status(&ledger).spool.unwrap().waiting > 0 {
        std::thread::yield_now();
    }
    world.permitted(&ledger, &Call::read(5));
    drop(ledger);
    assert_eq!(late(&world).len(), 3, "entered twice");
}

#[test]
fn a_crash_between_commit_and_anchor_loses_no_entry_and_doubles_none() {
    let world = spooling(10);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    pull(&world, true);
    for attempt in 2..5 {
        refused(&world, &ledger, &Call::read(attempt), Captured::Spooled);
    }
    pull(&world, false);
    let crashed = crash_before_signing(&world, &ledger, &Call::read(5));
    let ledger = crashed.start();
    while crashed.status(&ledger).spool.unwrap().waiting > 0 {
        std::thread::yield_now();
    }
    crashed.permitted(&ledger, &Call::read(6));
    drop(ledger);
    assert_eq!(late(&crashed).len(), 3);
}

#[test]
fn entries_whose_head_could_not_be_signed_stay_in_the_spool_until_one_was() {
    let world = spooling(10);
    let ledger = world.start();
    pull(&world, true);
    refused(&world, &ledger, &Call::read(1), Captured::Spooled);
    // The signer says that it is ready, and fails.
    *world.behaviour.fails.lock().unwrap() = Some(SignError::Unavailable("pulled".into()));
    pull(&world, false);
    refused(&world, &ledger, &Call::read(2), Captured::Spooled);
    assert_eq!(world.status(&ledger).spool.unwrap().waiting, 2, "no anchored head covers the first");
    *world.behaviour.fails.lock().unwrap() = None;
    world.permitted(&ledger, &Call::read(3));
    while world.status(&ledger).spool.unwrap().waiting > 0 {
        std::thread::yield_now();
    }
    drop(ledger);
    let attempts: Vec<_> = late(&world).iter().map(|late| late.entry.attempted.attempt).collect();
    assert_eq!(attempts, [Call::read(1).attempt(), Call::read(2).attempt()]);
    world.behaviour.assert_one_root_for_each_size();
}

#[test]
fn a_batch_that_fails_is_spooled_whole() {
    let world = spooling(10);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.sql(
        "CREATE TRIGGER broken BEFORE INSERT ON records WHEN instr(CAST(NEW.body AS TEXT), 'poison')
         AND instr(CAST(NEW.body AS TEXT), '\"kind\":\"decision\"') BEGIN SELECT RAISE(ABORT, 'broken'); END",
    );
    let held = Held::hold(&world, &ledger, 0);
    let calls = [Call::read(2), Call::poison(3), Call::read(4)];
    let replies: Vec<_> = calls.iter().map(|call| world.ask(&ledger, call)).collect();
    held.release();
    for reply in &replies {
        assert_eq!(answer(reply).captured, Captured::Spooled);
    }
    world.permitted(&ledger, &Call::read(5));
    while world.status(&ledger).spool.unwrap().waiting > 0 {
        std::thread::yield_now();
    }
    drop(ledger);
    assert_eq!(late(&world).len(), 3);
    assert!(world.events().contains(&Event::Recovered));
}

#[test]
fn a_spool_that_is_full_or_gone_says_so_and_what_it_does_not_keep_is_counted() {
    let world = spooling(2);
    let ledger = world.start();
    pull(&world, true);
    refused(&world, &ledger, &Call::read(1), Captured::Spooled);
    refused(&world, &ledger, &Call::read(2), Captured::Spooled);
    refused(&world, &ledger, &Call::read(3), Captured::None);
    // What comes before evidence is the reason still.
    *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Shut);
    let shut = world.decide(&ledger, &Call::read(6));
    assert_eq!((shut.verdict.reason(), shut.captured), (Some(ReasonCode::GateShut), Captured::None));
    *world.ports.gate.lock().unwrap() = Fact::Known(GateState::Open);
    let folder = world.spool_path().parent().unwrap().to_owned();
    fs::rename(&folder, folder.with_extension("away")).unwrap();
    refused(&world, &ledger, &Call::read(4), Captured::None);
    assert!(world.status(&ledger).spool.unwrap().failing.is_some());
    fs::rename(folder.with_extension("away"), &folder).unwrap();
    pull(&world, false);
    world.permitted(&ledger, &Call::read(5));
    drop(ledger);
    assert_eq!(late(&world).len(), 2);
    let counted = world.counted();
    assert_eq!(counted.get(&Some(ReasonCode::EvidenceUnwritable)), Some(&2), "as their callers were told");
    assert_eq!(counted.get(&Some(ReasonCode::SignerUnavailable)), None);
}

#[test]
fn nobody_crowds_others_out_of_the_spool() {
    let world = spooling(1_000);
    let ledger = world.start();
    pull(&world, true);
    let kept =
        (0..400).filter(|attempt| world.decide(&ledger, &Call::read(*attempt)).captured == Captured::Spooled);
    assert_eq!(kept.count(), 200, "an agent's share");
    let over = world.decide(&ledger, &Call::read(999));
    let told = (over.verdict.reason(), over.captured, over.detail);
    assert_eq!(told, (Some(ReasonCode::SignerUnavailable), Captured::None, None), "the spool is not full");
    refused(&world, &ledger, &Call::read(1_000).by("stranger-agent"), Captured::Spooled);
}

#[test]
fn only_what_evidence_stands_in_the_way_of_is_spooled() {
    let world = spooling(10);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.clocks.jump(3_600_000);
    let decided = world.decide(&ledger, &Call::read(2));
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::ClockJumped));
    assert_eq!(decided.captured, Captured::None, "a time that is wrong is not put on record");
    world.clocks.jump(-3_600_000);
    world.permitted(&ledger, &Call::read(3));
    // Another holds the directory now, and with it the spool.
    fs::remove_file(world.data().join("lock")).unwrap();
    let decided = world.decide(&ledger, &Call::read(4));
    assert_eq!(decided.captured, Captured::None);
}

#[test]
fn a_damaged_spool_is_on_record_and_what_is_whole_of_it_is_entered() {
    let world = spooling(10);
    let ledger = world.start();
    pull(&world, true);
    for attempt in 1..4 {
        refused(&world, &ledger, &Call::read(attempt), Captured::Spooled);
    }
    drop(ledger);
    let mut kept = fs::read(world.spool_path()).unwrap();
    let line = kept.len() / 3;
    kept[line + 90] ^= 1;
    fs::write(world.spool_path(), &kept).unwrap();
    pull(&world, false);
    let ledger = world.start();
    while world.status(&ledger).spool.unwrap().waiting > 0 {
        std::thread::yield_now();
    }
    world.permitted(&ledger, &Call::read(5));
    drop(ledger);
    assert_eq!(late(&world).len(), 2);
    let damage = |record: &Record| match record {
        Record::Event(event) if event.event == Event::SpoolDamaged => event.detail.get("bytes").cloned(),
        Record::Event(_)
        | Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    };
    let damage: Vec<_> = world.records().iter().filter_map(damage).collect();
    assert_eq!(damage, [line.to_string()]);
    assert_eq!(fs::read(world.directory.path().join("spool/attempts.set-aside.1")).unwrap(), kept);
}

#[test]
fn a_state_that_would_leave_entries_out_is_found() {
    let change = |statement: &str| {
        let world = spooling(10);
        let ledger = world.start();
        pull(&world, true);
        refused(&world, &ledger, &Call::read(1), Captured::Spooled);
        pull(&world, false);
        world.permitted(&ledger, &Call::read(2));
        pull(&world, true);
        refused(&world, &ledger, &Call::read(3), Captured::Spooled);
        world.sql(statement);
        pull(&world, false);
        let entered = world.decide(&ledger, &Call::read(4));
        drop(ledger);
        (entered.verdict.reason(), world)
    };
    let (code, world) = change("UPDATE spools SET next = 100");
    assert_eq!(code, Some(ReasonCode::EvidenceCorrupt));
    drop(world);
    let (_, world) = change("INSERT INTO spools (series, next, seq) VALUES (x'00', 1, 0)");
    let (_, contradictions) = replay(&world);
    assert_eq!(contradictions.len(), 1, "{contradictions:?}");
}

/// What is given to the spool is kept up to the first that has no room: one that no entry can hold stood before the others.
#[test]
fn an_attempt_that_is_too_long_for_the_spool_stood_before_the_others() {
    let world = spooling(10);
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 0);
    let long = "a".repeat(33 * 1024);
    let calls = [Call::charge(1, "1.00", Some("k")).on(&long), Call::read(2), Call::read(3)];
    let replies: Vec<_> = calls.iter().map(|call| world.ask(&ledger, call)).collect();
    pull(&world, true);
    held.release();
    let captured: Vec<_> = replies.iter().map(|reply| answer(reply).captured).collect();
    assert_eq!(captured, [Captured::None, Captured::Spooled, Captured::Spooled]);
}
