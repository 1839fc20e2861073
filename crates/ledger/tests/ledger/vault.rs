use std::fs;
use std::sync::mpsc::channel;
use std::time::Duration;

use portcullis_ledger::{Kept, MasterKey, ReportedOutcome};
use portcullis_protocol::{DecisionRecord, Event, KeptRequest, Millis, Outcome, Payload, ReasonCode, Record};

use crate::harness::{Call, Held, World, answer};
use crate::scrub::scrubbed;

/// Names that nothing else in a ledger's files has.
const KEY: &str = "the-key-of-this-charge";
const RESULT: &str = "the result of this charge";

/// A ledger with a charge that ran.
fn charged(world: &World) -> Call {
    let call = Call::charge(1, "57.31", Some(KEY));
    let ledger = world.start();
    world.permitted(&ledger, &call);
    world.report(&ledger, &call, Outcome::Ok, Some(RESULT)).unwrap();
    call
}

/// What a repeat of the charge gets.
fn repeated(world: &World) -> Option<String> {
    let ledger = world.start();
    let decided = world.decide(&ledger, &Call::charge(2, "57.31", Some(KEY)));
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::IdempotencyCompleted));
    decided.stored.expect("an earlier run").result
}

fn count(world: &World, table: &str) -> u64 {
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

/// Every file below the data directory.
fn bytes_on_disk(world: &World) -> Vec<u8> {
    let (mut bytes, mut folders) = (Vec::new(), vec![world.data()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                bytes.extend(fs::read(entry.path()).unwrap());
            }
        }
    }
    bytes
}

#[test]
fn requests_keys_and_results_lie_nowhere_in_clear() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "57.31", Some(KEY));
    world.permitted(&ledger, &call);
    world.report(&ledger, &call, Outcome::Ok, Some(RESULT)).unwrap();
    // While the write-ahead log is there, and once it is merged into the database.
    let open = bytes_on_disk(&world);
    drop(ledger);
    for (when, bytes) in [("open", open), ("closed", bytes_on_disk(&world))] {
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("demo-agent"), "{when}: what a record says in clear is there");
        for text in ["57.31", KEY, RESULT] {
            assert!(!holds(text), "{when}: `{text}` lies in clear");
        }
    }
    assert_eq!(repeated(&world).as_deref(), Some(RESULT));
}

#[test]
fn without_its_master_key_or_with_another_nothing_is_permitted() {
    let world = World::new();
    charged(&world);
    let ledger = world.start();
    let away = world.vault_key().with_extension("away");
    fs::rename(world.vault_key(), &away).unwrap();
    let read = |attempt| world.refused(&ledger, &Call::read(attempt));
    assert_eq!(read(10), ReasonCode::EvidenceVaultUnavailable);
    let other = World::new();
    fs::copy(other.vault_key(), world.vault_key()).unwrap();
    assert_eq!(read(11), ReasonCode::EvidenceVaultWrongKey);
    fs::rename(&away, world.vault_key()).unwrap();
    world.permitted(&ledger, &Call::read(12));
    drop(ledger);
    fs::copy(other.vault_key(), world.vault_key()).unwrap();
    let ledger = world.start();
    assert_eq!(world.refused(&ledger, &Call::read(13)), ReasonCode::EvidenceVaultWrongKey);
}

#[test]
fn a_kept_result_that_was_altered_is_not_handed_out() {
    let world = World::new();
    charged(&world);
    world.sql("UPDATE payloads SET sealed = CAST(x'00000000' || substr(sealed, 5) AS BLOB)");
    let ledger = world.start();
    let decided = world.decide(&ledger, &Call::charge(2, "57.31", Some(KEY)));
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::EvidenceCorrupt));
    assert_eq!(decided.stored, None);
}

#[test]
fn a_kept_result_put_in_another_s_place_is_not_handed_out() {
    let world = World::new();
    charged(&world);
    let ledger = world.start();
    let other = Call::charge(3, "1.00", Some("other"));
    world.permitted(&ledger, &other);
    world.report(&ledger, &other, Outcome::Ok, Some("another result")).unwrap();
    drop(ledger);
    // Its own seal holds, for the place it was made for; and the outcome's commitment for the result it was of.
    let record = "seq IN (SELECT outcome_seq FROM permits WHERE key IS NOT NULL)";
    world.sql(&format!(
        "CREATE TEMP TABLE taken AS SELECT seq, sealed FROM payloads WHERE {record};
         UPDATE payloads SET sealed = (SELECT sealed FROM taken WHERE taken.seq <> payloads.seq) WHERE {record};"
    ));
    let ledger = world.start();
    let decided = world.decide(&ledger, &Call::charge(4, "1.00", Some("other")));
    assert_eq!(decided.verdict.reason(), Some(ReasonCode::EvidenceCorrupt));
    assert_eq!(decided.stored, None);
}

#[test]
fn a_bundle_that_keeps_nothing_leaves_nothing_behind() {
    let world = World::keeping("keep = []");
    charged(&world);
    assert_eq!((count(&world, "payloads"), count(&world, "subjects")), (0, 0));
    assert_eq!(repeated(&world), None, "it ran, and what it left is not known");
    let kept = World::keeping("keep = [\"request\"]");
    charged(&kept);
    assert_eq!(count(&kept, "payloads"), 1);
    assert_eq!(repeated(&kept), None);
}

#[test]
fn what_was_kept_for_its_time_is_removed_and_its_removal_is_on_record() {
    let world = World::keeping("keep_for = \"1m\"");
    charged(&world);
    assert_eq!(count(&world, "payloads"), 2);
    world.clocks.advance(59_000);
    assert_eq!(repeated(&world).as_deref(), Some(RESULT));
    world.clocks.advance(1_000);
    let size = world.size();
    drop(world.start());
    // The repeat's own request has a minute of its own.
    assert_eq!(count(&world, "payloads"), 1);
    let said =
        world.records().into_iter().skip(usize::try_from(size).unwrap()).find_map(|record| match record {
            Record::Event(entry) if entry.event == Event::PayloadsExpired => Some((entry.time, entry.detail)),
            Record::Event(_)
            | Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
        });
    let (time, detail) = said.expect("the removal");
    assert_eq!((time, detail["payloads"].as_str()), (Millis(1_800_000_060_000), "2"));
    assert_eq!(repeated(&world), None);
}

#[test]
fn each_surface_has_its_own_time_for_which_it_keeps() {
    let world = World::spans("1m", "3m");
    let ledger = world.start();
    // The longer span is of the older request: what is due is not told by the order in which it came.
    world.permitted(&ledger, &Call::read(7));
    drop(ledger);
    charged(&world);
    let size = world.size();
    assert_eq!(count(&world, "payloads"), 3);
    let mut kept = Vec::new();
    for step in [59_999, 1, 119_999, 1] {
        world.clocks.advance(step);
        drop(world.start());
        kept.push(count(&world, "payloads"));
    }
    assert_eq!(kept, [3, 1, 1, 0]);
    let removals = world.records().into_iter().skip(usize::try_from(size).unwrap());
    let removed: Vec<_> = removals
        .filter_map(|record| match record {
            Record::Event(entry) if entry.event == Event::PayloadsExpired => {
                Some((entry.time, entry.detail["payloads"].as_str().to_owned()))
            }
            Record::Event(_)
            | Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => None,
        })
        .collect();
    let at = |minutes: u64| Millis(1_800_000_000_000 + minutes * 60_000);
    assert_eq!(removed, [(at(1), "2".to_owned()), (at(3), "1".to_owned())]);
}

#[test]
fn the_bundle_is_archived_once_with_the_first_record_that_names_it() {
    let world = World::new();
    let ledger = world.start();
    assert_eq!(count(&world, "bundles"), 0);
    world.permitted(&ledger, &Call::read(1));
    assert_eq!(count(&world, "bundles"), 1);
    world.permitted(&ledger, &Call::read(2));
    drop(ledger);
    world.permitted(&world.start(), &Call::read(3));
    assert_eq!(count(&world, "bundles"), 1);
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    let row = connection.query_row("SELECT digest, bytes FROM bundles", [], |row| {
        Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Vec<u8>>(1)?))
    });
    let (digest, archive) = row.unwrap();
    let snapshot = portcullis_policy::Snapshot::from_archive(&archive).unwrap();
    assert_eq!(snapshot.digest(), world.bundle.reference().digest);
    assert_eq!(*snapshot.digest().0.as_bytes(), digest);
}

/// What the writer found in a row that was due is in no record: the ledger was rebuilt, read through, found right and opened,
/// and the next batch found the same.
#[test]
fn damage_that_the_writer_found_had_the_ledger_rebuilt_again_and_again() {
    let world = World::sourced("");
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    drop(ledger);
    for statement in ["UPDATE payloads SET expires = 5", "UPDATE snapshot_uses SET erased = 1, expires = 5"] {
        let damaged = world.crashed();
        damaged.sql(statement);
        for life in 1..3 {
            let ledger = damaged.start();
            for attempt in 0..3 {
                let code = damaged.refused(&ledger, &Call::read(life * 10 + attempt));
                assert_eq!(code, ReasonCode::EvidenceCorrupt, "{statement}");
            }
        }
        assert!(!damaged.events().contains(&Event::Recovered), "{statement}");
        assert!(damaged.data().join("doubted").exists(), "{statement}");
    }
}

/// Whatever was to be recorded failed with a row that had nothing to do with it.
#[test]
fn an_outcome_was_lost_because_a_row_that_was_due_was_damaged() {
    let world = World::new();
    let ledger = world.start();
    let call = Call::charge(1, "57.31", Some(KEY));
    world.permitted(&ledger, &call);
    assert_eq!(scrubbed(&world, &ledger), None);
    let held = Held::hold(&world, &ledger, 2);
    world.sql("UPDATE payloads SET expires = 5");
    let (sender, receiver) = channel();
    let report = ReportedOutcome {
        attempt: call.attempt(),
        agent: call.agent.parse().unwrap(),
        outcome: Outcome::Ok,
        result: None,
    };
    ledger.outcome(report, move |reply| sender.send(reply).unwrap()).unwrap();
    world.clocks.advance(60_000);
    held.release();
    receiver.recv().unwrap().unwrap();
    assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::EvidenceCorrupt);
}

/// All that was over went in one batch, and whoever called meanwhile waited for it.
#[test]
fn whoever_called_waited_until_all_that_was_over_was_removed() {
    let world = World::spans("1m", "1m");
    let ledger = world.start();
    let reads: Vec<_> = (0..600).map(|attempt| world.ask(&ledger, &Call::read(attempt))).collect();
    assert!(reads.iter().all(|reply| answer(reply).verdict.reason().is_none()));
    drop(ledger);
    world.clocks.advance(60_000);
    let ledger = world.start();
    // Nobody asks anything: it goes on by itself.
    while count(&world, "payloads") > 0 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    drop(ledger);
    let removed = world.records().into_iter().filter_map(|record| match record {
        Record::Event(entry) if entry.event == Event::PayloadsExpired => {
            Some(entry.detail["payloads"].parse::<u64>().unwrap())
        }
        Record::Event(_)
        | Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    let removed: Vec<_> = removed.collect();
    assert_eq!(removed.iter().sum::<u64>(), 600);
    assert!(removed.iter().all(|count| *count <= 256), "{removed:?}");
}

/// What the charge was called with, beside what policy reads.
const ARGUMENTS: &str = r#"{"amount":"57.31","note":"for the canary"}"#;

fn payload() -> Payload {
    let [server, method, name] = ["demo", "tools/call", "charge"].map(str::to_owned);
    Payload { server, method, name, arguments: ARGUMENTS.to_owned(), rest: String::new() }
}

/// What is kept of the request of a record.
fn kept(world: &World, entry: &DecisionRecord) -> Kept<KeptRequest> {
    world.reader().kept_request(&MasterKey::read(&world.vault_key()).unwrap(), entry).unwrap()
}

#[test]
fn arguments_that_the_bundle_has_kept_lie_sealed_with_their_request_and_go_with_it() {
    let world = World::keeping("keep = [\"arguments\"]\nkeep_for = \"1m\"");
    let ledger = world.start();
    let call = Call::charge(1, "57.31", Some(KEY)).bringing(payload());
    let entry = world.permitted(&ledger, &call);
    world.report(&ledger, &call, Outcome::Ok, Some(RESULT)).unwrap();
    let Kept::Here(found) = kept(&world, &entry) else { panic!("{entry:?}") };
    assert_eq!(found.payload.as_ref(), Some(&payload()));
    assert!(found.is_committed_to(&entry.agent, &entry.request));
    assert_eq!(entry.kept_until, Some(entry.time.plus(60_000)));
    let held = |text: &str| bytes_on_disk(&world).windows(text.len()).any(|found| found == text.as_bytes());
    assert!(!held("canary") && !held(ARGUMENTS), "in clear");
    // A repeat is the same operation, and brings the same; it is refused, and what it brought is kept with that.
    let repeat = world.decide(&ledger, &Call::charge(2, "57.31", Some(KEY)).bringing(payload()));
    assert_eq!(repeat.verdict.reason(), Some(ReasonCode::IdempotencyCompleted));
    assert_eq!(crate::replay::replay(&world), (vec![], vec![]));
    drop(ledger);
    assert_eq!(scrubbed(&world, &world.start()), None, "what is kept is as the records say");
    world.clocks.advance(10 * 60_000);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(3));
    drop(ledger);
    assert_eq!((kept(&world, &entry), count(&world, "payloads")), (Kept::Nothing, 1));
}

#[test]
fn a_permit_whose_arguments_were_to_be_kept_is_never_without_them() {
    let world = World::keeping("keep = [\"arguments\"]");
    let ledger = world.start();
    let other = Payload { arguments: "{}".into(), ..payload() };
    let charge = |attempt| Call::charge(attempt, "57.31", Some(KEY)).committing(&payload());
    for call in [charge(1), charge(2).bringing_only(other), Call::charge(3, "1.00", Some("k"))] {
        assert_eq!(world.refused(&ledger, &call), ReasonCode::SurfaceArgumentsUnkept);
    }
    // The key is not consumed, and with its arguments it runs.
    let entry = world.permitted(&ledger, &charge(4).bringing(payload()));
    // The same attempt again, without them: what is on record stands, and is not handed out.
    assert_eq!(world.refused(&ledger, &charge(4)), ReasonCode::SurfaceArgumentsUnkept);
    assert!(matches!(kept(&world, &entry), Kept::Here(kept) if kept.payload.is_some()));
    assert_eq!(crate::replay::replay(&world), (vec![], vec![]));
    drop(ledger);
    for refused in world.records() {
        if let Record::Decision(entry) = refused
            && entry.reason == Some(ReasonCode::SurfaceArgumentsUnkept)
        {
            assert!(matches!(kept(&world, &entry), Kept::Here(kept) if kept.payload.is_none()));
        }
    }
}

#[test]
fn arguments_that_no_bundle_has_kept_are_not_kept_though_they_come() {
    let world = World::new();
    let ledger = world.start();
    let entry = world.permitted(&ledger, &Call::charge(1, "57.31", Some(KEY)).bringing(payload()));
    assert!(matches!(kept(&world, &entry), Kept::Here(kept) if kept.payload.is_none()));
    drop(ledger);
    let nothing = World::keeping("keep = []");
    let ledger = nothing.start();
    let entry = nothing.permitted(&ledger, &Call::charge(1, "57.31", Some(KEY)).bringing(payload()));
    assert_eq!((kept(&nothing, &entry), count(&nothing, "payloads")), (Kept::Nothing, 0));
}
