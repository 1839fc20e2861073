use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use portcullis_arbiter::Replay;
use portcullis_ledger::{Anchor, Contradiction, Kept, LedgerReader, MasterKey, Prior, Signer};
use portcullis_protocol::{
    BundleDigest, DecisionRecord, Digest, Event, InForce, Millis, Outcome, ReasonCode, Record,
};
use portcullis_verify::note::{signature_line, signed_text};

use crate::harness::{Call, World};
use crate::tampered::forge;

/// A change of a record.
type Change = &'static dyn Fn(&mut Record);

/// A closed ledger in which every kind of outcome follows on a PERMIT, and keys were repeated in between.
fn lived() -> World {
    let world = World::derived();
    let ledger = world.start();
    for (attempt, outcome) in
        [(1, Some(Outcome::Ok)), (2, Some(Outcome::Failed)), (3, Some(Outcome::Expired)), (4, None)]
    {
        let call = Call::charge(attempt, &format!("{attempt}.00"), Some(&format!("key {attempt}")));
        world.permitted(&ledger, &call);
        if let Some(outcome) = outcome {
            world.report(&ledger, &call, outcome, None).unwrap();
        }
    }
    world.permitted(&ledger, &Call::charge(13, "3.00", Some("key 3")));
    for (attempt, key) in [(21, "key 1"), (24, "key 4")] {
        world.decide(&ledger, &Call::charge(attempt, "1.00", Some(key)));
    }
    // Its outcome never comes; a late one does.
    world.clocks.advance(120_000);
    world.permitted(&ledger, &Call::read(30));
    let late = Call::charge(4, "4.00", Some("key 4"));
    let refused = world.refused(&ledger, &Call::charge(25, "4.00", Some("key 4")));
    assert_eq!(refused, ReasonCode::IdempotencyOutcomeUnknown);
    world.report(&ledger, &late, Outcome::Ok, None).unwrap();
    // The key's window is over, and it is not in doubt any more.
    world.permitted(&ledger, &Call::charge(26, "4.00", Some("key 4")));
    // A derived key's window is over: the same means another.
    world.clocks.advance(3_600_000);
    world.permitted(&ledger, &Call::charge(31, "9.00", Some("key 1")));
    drop(ledger);
    world
}

/// Replays a ledger: what came of each decision or simulation that was not identical, and the contradictions.
pub(crate) fn replay(world: &World) -> (Vec<DecisionRecord>, Vec<Contradiction>) {
    let reader = LedgerReader::open(&world.data(), &world.anchor(), &world.verifier).unwrap();
    let master = MasterKey::read(&world.vault_key()).unwrap();
    let mut different = Vec::new();
    let (_, found) = reader
        .replay(|record, body, state| {
            let (entry, of): (_, fn(Box<DecisionRecord>) -> Record) = match record {
                Record::Decision(entry) => (entry, Record::Decision),
                Record::Simulation(entry) => (entry, Record::Simulation),
                Record::Outcome(_)
                | Record::Aggregate(_)
                | Record::Event(_)
                | Record::Late(_)
                | Record::Listing(_) => return ControlFlow::Continue(None),
            };
            if state.in_force(entry).is_err() {
                different.push(entry.as_ref().clone());
            }
            let Kept::Here(kept) = reader.kept_request(&master, entry).unwrap() else {
                panic!("everything is kept")
            };
            let bundle = entry.bundle.as_ref().map(|_| world.bundle.as_ref());
            let replay = Replay::prepare_informed(entry, kept, (bundle, None), state.standing()).unwrap();
            let Prior::Known(stored) = state.prior(replay.intake().key_commitment().as_ref()) else {
                panic!("every operation is known")
            };
            let decided = replay.decide(stored, state.standing()).unwrap();
            let again = of(Box::new(decided)).to_bytes().unwrap();
            if again != body {
                different.push(entry.as_ref().clone());
            }
            ControlFlow::Continue(Some(replay.intake().operation))
        })
        .unwrap()
        .unwrap();
    (different, found)
}

/// Signs and anchors what the database holds now, in both places, as somebody who has the log's key can.
pub(crate) fn sign(world: &World) {
    sign_with(world, world.signer().as_mut());
}

pub(crate) fn sign_with(world: &World, signer: &mut dyn Signer) {
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    let (size, root): (u64, [u8; 32]) = connection
        .query_row("SELECT size, root FROM head", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let (origin, root) = (world.verifier.name().clone(), portcullis_verify::Hash(root));
    let text = portcullis_verify::Checkpoint { origin, size, root }.to_string();
    let signature = signer.sign(signed_text(&text).unwrap()).unwrap();
    let note = format!("{text}\n{}", signature_line(&world.verifier, &signature));
    for place in [world.anchor(), world.data().join("released")] {
        Anchor::open(&place).unwrap().0.keep(note.as_bytes()).unwrap();
    }
}

#[test]
fn a_log_of_every_kind_of_outcome_replays_byte_for_byte() {
    let world = lived();
    assert_eq!(replay(&world), (vec![], vec![]));
    // Under the eyes of a writer too.
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(40, "7.00", Some("key 40")));
    assert_eq!(replay(&world), (vec![], vec![]));
}

#[test]
fn a_verdict_flipped_by_whoever_has_the_log_s_key_is_named() {
    let world = lived();
    let permit = world.records().into_iter().find_map(|record| match record {
        Record::Decision(entry) if entry.key.is_none() && entry.reason.is_none() => Some(*entry),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    let mut entry = permit.unwrap();
    (entry.decision, entry.reason) = (ReasonCode::PolicyNoGrant.decision(), Some(ReasonCode::PolicyNoGrant));
    (entry.permit_ttl_ms, entry.outcome_due, entry.policies) = (None, None, Vec::new());
    let body = Record::Decision(Box::new(entry.clone())).to_bytes().unwrap();
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    connection.execute("UPDATE records SET body = ?1 WHERE seq = ?2", (body, entry.seq)).unwrap();
    forge(&world, "");
    sign(&world);
    let (different, found) = replay(&world);
    assert_eq!(different, vec![entry.clone()]);
    // Its outcome has no PERMIT any more, and the state has one too many.
    assert!(found.iter().any(|found| found.what.contains(&format!("record {} is no PERMIT", entry.seq))));
    assert!(found.iter().any(|found| found.seq.is_none() && found.what.contains("permits")));
}

/// By its own request and bundle each decision comes out the same: only the log says that another bundle was in force.
#[test]
fn a_decision_by_a_bundle_that_was_not_in_force_replayed_as_identical() {
    let world = lived();
    assert_eq!(replay(&world), (vec![], vec![]));
    let came = world.records().into_iter().find_map(|record| match record {
        Record::Event(event) if event.event == Event::BundleInForce => Some(event),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    let mut came = came.unwrap();
    let mut other = InForce::of_detail(&came.detail).unwrap();
    other.bundle.digest = BundleDigest(Digest::sha256(b"another bundle"));
    came.detail = other.detail();
    let first = world.records().iter().map(Record::seq).find(|seq| *seq > came.seq).unwrap();
    let body = Record::Event(came.clone()).to_bytes().unwrap();
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    connection.execute("UPDATE records SET body = ?1 WHERE seq = ?2", (body, came.seq)).unwrap();
    forge(&world, "");
    sign(&world);
    let (different, _) = replay(&world);
    assert!(different.iter().any(|entry| entry.seq == first), "{first} of {}", different.len());
    let check = world.check().unwrap();
    for resumed in [None, check.run(None, &AtomicBool::new(true), &|_, _, _| ()).unwrap().stopped] {
        let error = check.run(resumed, &AtomicBool::new(false), &|_, _, _| ()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("record {first}: the bundle that decided it was not in force")),
            "{error}"
        );
    }
}

#[test]
fn records_that_cannot_follow_one_another_are_named() {
    let world = lived();
    let rewrite = |seq: u64, change: Change| {
        let copy = world.crashed();
        let mut record = copy.records().remove(usize::try_from(seq).unwrap());
        change(&mut record);
        let connection = rusqlite::Connection::open(copy.database()).unwrap();
        let body = record.to_bytes().unwrap();
        connection.execute("UPDATE records SET body = ?1 WHERE seq = ?2", (body, seq)).unwrap();
        forge(&copy, "");
        sign(&copy);
        let found = replay(&copy).1;
        found.into_iter().filter(|found| found.seq == Some(seq)).map(|found| found.what).collect::<Vec<_>>()
    };
    let outcome = world.records().iter().find_map(|record| match record {
        Record::Outcome(entry) if entry.supersedes.is_some() => Some(entry.clone()),
        Record::Outcome(_)
        | Record::Decision(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    let outcome = outcome.expect("a late outcome");
    let cases: [(&str, Change); 4] = [
        ("does not supersede", &|record| {
            let Record::Outcome(entry) = record else { panic!() };
            entry.supersedes = None;
        }),
        ("is no PERMIT that could still end", &|record| {
            let Record::Outcome(entry) = record else { panic!() };
            entry.permit = 0;
        }),
        ("names another attempt", &|record| {
            let Record::Outcome(entry) = record else { panic!() };
            entry.attempt = portcullis_protocol::AttemptId::from_bytes([9; 32]);
        }),
        ("is earlier than the record before it", &|record| {
            let Record::Outcome(entry) = record else { panic!() };
            entry.time = Millis(entry.time.0 - 1_000_000);
        }),
    ];
    for (words, change) in cases {
        let found = rewrite(outcome.seq, change);
        assert!(found.iter().any(|what| what.contains(words)), "{words}: {found:?}");
    }
}

/// What policy says of the second is not to be told once its request is gone; that it cannot have been permitted is.
#[test]
fn two_permits_that_may_have_run_under_one_key_contradicted_nothing() {
    let world = lived();
    let permits = world.records().into_iter().filter_map(|record| match record {
        Record::Decision(entry) if entry.reason.is_none() => Some(*entry),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    let permits: Vec<_> = permits.collect();
    let of = |attempt| {
        let attempt = Call::charge(attempt, "1.00", None).attempt();
        permits.iter().find(|entry| entry.attempt == attempt).unwrap().clone()
    };
    let (first, mut second) = (of(4), of(13));
    second.key = first.key;
    let body = Record::Decision(Box::new(second.clone())).to_bytes().unwrap();
    let connection = rusqlite::Connection::open(world.database()).unwrap();
    connection.execute("UPDATE records SET body = ?1 WHERE seq = ?2", (body, second.seq)).unwrap();
    forge(&world, "");
    sign(&world);
    let found = replay(&world).1;
    let words = format!("its key is in use since record {}", first.seq);
    assert!(found.iter().any(|it| it.seq == Some(second.seq) && it.what.contains(&words)), "{found:?}");
}

#[test]
fn records_that_are_not_the_signed_ones_are_not_replayed() {
    let world = lived();
    let reader = LedgerReader::open(&world.data(), &world.anchor(), &world.verifier).unwrap();
    forge(
        &world,
        "UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '\"gate\":\"gate\"', '\"gate\":\"gatf\"') AS BLOB)",
    );
    let replayed = reader.replay(|_, _, _| ControlFlow::Continue(None));
    assert_eq!(replayed.unwrap_err().code(), ReasonCode::EvidenceBehindAnchor);
}

/// Whoever replayed was told that the state is what the records lead to, and nobody had looked at these.
#[test]
fn tiles_chains_and_marks_that_the_records_do_not_lead_to_were_the_state_that_they_lead_to() {
    let world = crate::scrub::long();
    // Opened before: what lies at the edge of the tree is looked at then.
    let found = |world: &World, statement: &str| {
        let reader = world.reader();
        world.sql(statement);
        let (_, found) = reader.replay(|_, _, _| ControlFlow::Continue(None)).unwrap().unwrap();
        found.into_iter().map(|found| found.what).collect::<Vec<_>>()
    };
    assert_eq!(found(&world, "SELECT 1"), Vec::<String>::new());
    let tile = "tile 0 of level 0 is missing or says something else";
    let mark = "the keys or their chains are not those that it says";
    for (statement, words) in [
        ("UPDATE tiles SET hashes = CAST(x'00' || substr(hashes, 2) AS BLOB) WHERE position = 0", tile),
        ("UPDATE tiles SET hashes = substr(hashes, 1, 64) WHERE position = 0", tile),
        ("DELETE FROM tiles WHERE position = 0", tile),
        (
            "INSERT INTO tiles SELECT level, position + 1000, hashes FROM tiles",
            "tiles, and the records speak of",
        ),
        ("UPDATE chains SET heads = CAST(x'01' || substr(heads, 2) AS BLOB)", mark),
        ("UPDATE chains SET heads = x'01'", mark),
        ("DELETE FROM chains", mark),
        ("UPDATE marks SET seq = seq - 1", mark),
    ] {
        let damaged = world.crashed();
        let found = found(&damaged, statement);
        assert!(found.iter().any(|what| what.contains(words)), "{statement}: {found:?}");
    }
    // What the rows of keys come to is not what the mark says, each of which the records speak of.
    let damaged = world.crashed();
    let found = found(&damaged, "UPDATE keys SET time = time - 1 WHERE seq = permit");
    assert!(found.iter().any(|what| what.contains(mark)), "{found:?}");
}
