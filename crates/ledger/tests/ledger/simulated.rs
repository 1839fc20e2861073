//! Simulations: on record in the order of the log, by the state of their moment, and of no consequence.

use std::sync::mpsc::channel;

use portcullis_ledger::{Contradiction, Ledger, SignError, SimulateReply};
use portcullis_protocol::{Decision, DecisionRecord, Outcome, ReasonCode, Record};
use rusqlite::Connection;

use crate::check::check;
use crate::crash::crash_in;
use crate::harness::{Call, World, labelled};
use crate::replay::{replay, sign};
use crate::tampered::forge;

/// Two charges a day, of 50.00 together.
const LIMITS: &str = r#"
[limits.charges]
kind = "count"
surfaces = ["demo.charge"]
max = 2
window = { fixed = "1d" }
[limits.euros]
kind = "sum"
surfaces = ["demo.charge"]
per = ["agent"]
of = "amount"
unit = "EUR"
max = "50.00"
window = { sliding = "1d" }
"#;

/// With limits and labels.
fn world() -> World {
    let mut files = labelled();
    let begin = "[surfaces.\"demo.read_balance\"]\n";
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    assert!(manifest.contains(begin));
    files.insert("bundle.toml".into(), manifest.replace(begin, &format!("{LIMITS}{begin}")).into_bytes());
    World::under(files)
}

fn charge(attempt: u64, key: &str) -> Call {
    Call::charge(attempt, "7.00", Some(key))
}

fn simulate(world: &World, ledger: &Ledger, call: &Call) -> SimulateReply {
    let (sender, receiver) = channel();
    let intake = world.intake_with(call, &world.labels(ledger, call));
    ledger.simulate(intake, move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv().unwrap()
}

/// What is on record of a simulation, by its receipt.
#[track_caller]
fn simulated(world: &World, ledger: &Ledger, call: &Call) -> DecisionRecord {
    let SimulateReply::Simulated { verdict, receipt, .. } = simulate(world, ledger, call) else {
        panic!("not simulated")
    };
    let receipt = world.verified(&receipt);
    let Record::Simulation(record) = Record::parse(receipt.record_bytes()).unwrap() else {
        panic!("no simulation")
    };
    assert_eq!((record.seq, record.reason), (receipt.index(), verdict.reason()));
    assert_eq!(record.attempt, call.attempt());
    *record
}

/// The rows of the state, table by table.
fn state(world: &World, tables: &[&str]) -> Vec<String> {
    let connection = Connection::open(world.database()).unwrap();
    let mut rows = Vec::new();
    for table in tables {
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

/// Every kind of state there is; at closing, so many records make a mark, with which what stands is kept.
fn lived(simulates: bool) -> World {
    let world = world();
    let ledger = world.start();
    world.permitted(&ledger, &charge(1, "first"));
    world.report(&ledger, &charge(1, "first"), Outcome::Ok, Some("done")).unwrap();
    world.permitted(&ledger, &charge(2, "second"));
    world.permitted(&ledger, &Call::reads(3, "web"));
    let many: Vec<_> = (100..1_150).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    many.iter().for_each(|asked| drop(asked.recv().unwrap()));
    if simulates {
        let before = state(&world, &["attempts", "permits", "keys"]);
        for (attempt, call) in [
            Call::reads(4, "customer"),
            charge(5, "first"),
            charge(6, "other"),
            Call::ungoverned(7),
            Call::reads(8, "web"),
        ]
        .iter()
        .enumerate()
        {
            let record = simulated(&world, &ledger, call);
            assert_eq!(record.decision == Decision::Permit, [0, 4].contains(&attempt), "{record:?}");
        }
        assert_eq!(state(&world, &["attempts", "permits", "keys"]), before);
    }
    drop(ledger);
    world
}

#[test]
fn what_was_only_simulated_left_something_in_the_state() {
    let (simulating, other) = (lived(true), lived(false));
    let tables = ["attempts", "permits", "keys", "chains", "standing", "spools"];
    let rows = state(&simulating, &tables);
    assert!(rows.iter().any(|row| row.starts_with("standing")), "there is a mark");
    assert_eq!(rows, state(&other, &tables));
    assert_eq!(replay(&simulating), (vec![], vec![]));
    assert!(check(&simulating, None).unwrap().is_whole());
    // Nor is anything of it found when the ledger is opened again.
    let ledger = simulating.start();
    assert_eq!(simulating.refused(&ledger, &charge(9, "third")), ReasonCode::LimitsExceeded);
    assert_eq!(simulating.status(&ledger).tripped, None);
}

#[test]
fn a_simulation_says_what_the_state_of_its_moment_says() {
    let world = world();
    let ledger = world.start();
    let first = charge(1, "k");
    // As often as anybody asks: nothing is used up by it.
    for attempt in 2..6 {
        assert_eq!(simulated(&world, &ledger, &charge(attempt, "k")).decision, Decision::Permit);
    }
    world.permitted(&ledger, &first);
    assert_eq!(simulated(&world, &ledger, &charge(6, "k")).reason, Some(ReasonCode::IdempotencyInFlight));
    world.report(&ledger, &first, Outcome::Ok, Some("secret result")).unwrap();
    let again = simulate(&world, &ledger, &charge(7, "k"));
    let SimulateReply::Simulated { verdict, detail, .. } = &again else { panic!("{again:?}") };
    assert_eq!(verdict.reason(), Some(ReasonCode::IdempotencyCompleted));
    assert!(detail.is_none() && !format!("{again:?}").contains("secret result"));
    // What would be permitted takes of the limits as far as its record says, and of nothing.
    let would = simulated(&world, &ledger, &charge(8, "other"));
    assert!(would.limits.iter().all(|limit| limit.used > 0), "{would:?}");
    world.permitted(&ledger, &charge(9, "other"));
    let full = simulated(&world, &ledger, &charge(10, "third"));
    assert_eq!(
        (full.reason, full.limit.map(|limit| limit.to_string())),
        (Some(ReasonCode::LimitsExceeded), Some("charges".to_owned()))
    );
    // The same attempt, asked for real, is none that was asked before.
    assert_eq!(simulated(&world, &ledger, &Call::read(11)).decision, Decision::Permit);
    world.permitted(&ledger, &Call::read(11));
    drop(ledger);
    assert_eq!(world.permits().len(), 3);
}

#[test]
fn labels_that_would_be_given_are_nobodys() {
    let world = world();
    let ledger = world.start();
    for account in ["web", "customer"] {
        let would = simulated(&world, &ledger, &Call::reads(1, account));
        assert_eq!(would.labels.added.len(), 1);
    }
    let charged = world.permitted(&ledger, &charge(2, "k"));
    assert!(charged.labels.held.is_empty(), "{charged:?}");
}

#[test]
fn simulations_filled_the_log_or_an_agents_refusals_went_unrecorded_for_them_without_end() {
    let world = World::new();
    let ledger = world.start();
    let replies: Vec<_> = (0..230).map(|attempt| simulate(&world, &ledger, &Call::read(attempt))).collect();
    let logged = |reply: &SimulateReply| matches!(reply, SimulateReply::Simulated { .. });
    assert_eq!(replies.iter().filter(|reply| logged(reply)).count(), 200);
    let shed = SimulateReply::Refused(ReasonCode::OverloadShed, None);
    assert!(replies.iter().skip(200).all(|reply| *reply == shed), "{:?}", replies.last());
    // What would be refused says why, recorded or not; a permit is not counted among refusals.
    let refused = simulate(&world, &ledger, &Call::ungoverned(300));
    assert!(matches!(refused, SimulateReply::Refused(ReasonCode::SurfaceUnknown, _)), "{refused:?}");
    world.permitted(&ledger, &Call::read(301));
    let other = simulate(&world, &ledger, &Call::ungoverned(302).by("other-agent"));
    assert!(logged(&other), "{other:?}");
    world.clocks.advance(60_000);
    drop(ledger);
    assert_eq!(world.counted()[&Some(ReasonCode::OverloadShed)], 30);
}

#[test]
fn nothing_is_told_of_a_simulation_that_cannot_be_put_on_record_and_nothing_is_kept_of_it() {
    let mut world = World::new();
    world.spool = Some(10);
    let ledger = world.start();
    simulated(&world, &ledger, &Call::read(1));
    *world.behaviour.ready.lock().unwrap() = Some(SignError::Unavailable("pulled".into()));
    let size = world.status(&ledger).size;
    for call in [Call::read(2), Call::ungoverned(3)] {
        let told = simulate(&world, &ledger, &call);
        assert_eq!(told, SimulateReply::Refused(ReasonCode::SignerUnavailable, None));
    }
    let status = world.status(&ledger);
    assert_eq!((status.size, status.spool.unwrap().waiting), (size, 0));
    *world.behaviour.ready.lock().unwrap() = None;
    simulated(&world, &ledger, &Call::read(2));
    drop(ledger);
    let late = world.records().into_iter().filter(|record| matches!(record, Record::Late(_)));
    assert_eq!(late.count(), 0);
}

/// What was committed and never signed is withheld, if it is a PERMIT; what only would have been one has nothing to withhold.
#[test]
fn a_crash_between_commit_and_anchor_withheld_what_was_only_simulated() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let crashed = crash_in(&world, || drop(simulated(&world, &ledger, &charge(2, "k"))));
    drop(ledger);
    let ledger = crashed.start();
    crashed.permitted(&ledger, &charge(3, "k"));
    drop(ledger);
    assert_eq!(crashed.outcomes(), []);
    let opened = crashed.records().into_iter().filter_map(|record| match record {
        Record::Event(event) => event.detail.get("permits_withheld").cloned(),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    assert_eq!(opened.collect::<Vec<_>>(), ["0", "0"]);
    assert_eq!(replay(&crashed), (vec![], vec![]));
    assert!(check(&crashed, None).unwrap().is_whole());
}

#[test]
fn a_simulation_that_says_what_the_log_contradicts_is_named() {
    for (from, to, what) in [
        // What limits had counted.
        (r#""used":1"#, r#""used":0"#, Some("it says that limit")),
        // How the lever stood.
        (r#""gate":"open""#, r#""gate":"shut""#, None),
    ] {
        let world = world();
        let ledger = world.start();
        world.permitted(&ledger, &charge(1, "k"));
        let seq = simulated(&world, &ledger, &charge(2, "other")).seq;
        drop(ledger);
        let body = format!("CAST(replace(CAST(body AS TEXT), '{from}', '{to}') AS BLOB)");
        forge(&world, &format!("UPDATE records SET body = {body} WHERE seq = {seq}"));
        sign(&world);
        let (different, found) = replay(&world);
        match what {
            Some(what) => {
                let named = |found: &Contradiction| found.seq == Some(seq) && found.what.contains(what);
                assert!(found.iter().any(named), "{found:?}");
            }
            None => {
                assert!(!different.is_empty() && different.iter().all(|entry| entry.seq == seq));
                let said = check(&world, None).unwrap_err().to_string();
                assert!(said.contains("does not say that the gate was open"), "{said}");
            }
        }
    }
}
