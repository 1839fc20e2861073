//! What the log says of records that were never released, of demands for proofs and of what was in force when a head was given
//! up is held against the log: somebody who has its key plants something else, and it is named.

use std::sync::atomic::AtomicBool;

use portcullis_ledger::{Given, KeyFile, Ledger, Signer};
use portcullis_protocol::{
    BundleDigest, BundleRef, Digest, Event, EventRecord, InForce, Order, Ordered, Outcome, ProofDemand,
    ProofRef, ReasonCode, Record, Succession, Vetted,
};

use crate::abandoned::{gone_on, look, put_back};
use crate::harness::{Call, World};
use crate::replay::{replay, sign_with};
use crate::scrub::scrubbed;
use crate::tampered::forge;

fn checked(world: &World) -> Vec<Result<(), String>> {
    let check = world.check().unwrap();
    let stopped = check.run(None, &AtomicBool::new(true), &|_, _, _| ()).unwrap().stopped;
    let run = |from| {
        let checked = check.run(from, &AtomicBool::new(false), &|_, _, _| ());
        checked.map(drop).map_err(|error| error.to_string())
    };
    [None, stopped].map(run).to_vec()
}

fn signer(world: &World) -> Box<dyn Signer> {
    let file = world.directory.path().join("keys/log");
    if file.exists() { Box::new(KeyFile::new(file, world.verifier.clone())) } else { world.signer() }
}

/// Sees that neither check nor replay finds anything.
pub(crate) fn assert_sound(world: &World) {
    assert!(checked(world).iter().all(Result::is_ok), "{:?}", checked(world));
    assert_eq!(replay(world), (vec![], vec![]));
}

/// Sees that check, replay and scrub name a record, and say this of it.
#[track_caller]
fn assert_named(world: &World, seq: u64, what: &str) {
    for checked in checked(world) {
        let error = checked.unwrap_err();
        assert!(error.contains(&format!("record {seq}: ")) && error.contains(what), "{error}");
    }
    let found = replay(world).1;
    assert!(found.iter().any(|found| found.seq == Some(seq) && found.what.contains(what)), "{found:?}");
    let world = world.crashed();
    let ledger = world.start_with(signer(&world));
    assert_eq!(scrubbed(&world, &ledger), Some(ReasonCode::EvidenceCorrupt));
    let noted = std::fs::read_to_string(world.data().join("doubted")).unwrap();
    assert!(noted.contains(&format!("record {seq}: ")) && noted.contains(what), "{noted}");
    // All of it is read before it opens again, and what was found is found then too.
    let refused = |ledger: &Ledger, attempt| {
        assert_eq!(world.refused(ledger, &Call::read(attempt)), ReasonCode::EvidenceCorrupt, "{what}");
    };
    (90_000..90_003).for_each(|attempt| refused(&ledger, attempt));
    drop(ledger);
    refused(&world.start_with(signer(&world)), 90_003);
}

/// A copy in which an event says something else, and everything that signs and anchors agrees with it.
fn planted(world: &World, seq: u64, change: impl FnOnce(&mut EventRecord)) -> World {
    let mut copy = world.crashed();
    copy.verifier = world.verifier.clone();
    let Record::Event(mut record) = copy.records().remove(usize::try_from(seq).unwrap()) else {
        panic!("{seq}")
    };
    change(&mut record);
    let connection = rusqlite::Connection::open(copy.database()).unwrap();
    let body = Record::Event(record).to_bytes().unwrap();
    connection.execute("UPDATE records SET body = ?1 WHERE seq = ?2", (body, seq)).unwrap();
    forge(&copy, "");
    sign_with(&copy, signer(&copy).as_mut());
    std::fs::remove_file(copy.data().join("released")).unwrap();
    copy
}

/// The events of a log.
fn events(world: &World) -> Vec<EventRecord> {
    let events = world.records().into_iter().filter_map(|record| match record {
        Record::Event(event) => Some(event),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    events.collect()
}

fn last(world: &World, event: Event) -> u64 {
    events(world).iter().rev().find(|record| record.event == event).unwrap().seq
}

/// A copy whose newest opening says of so many records that they were never released, that it withholds so many PERMITs, and
/// that what was in force is what the rest says.
fn unreleased(world: &World, unsigned: u64, withheld: u64) -> (World, u64) {
    let opening = last(world, Event::Opened);
    let mut says = Succession::default();
    events(world).iter().filter(|event| event.seq < opening - unsigned).for_each(|event| says.follow(event));
    let copy = planted(world, opening, |record| {
        let counts = [("records_never_released", unsigned), ("permits_withheld", withheld)];
        let counts = counts.map(|(key, count)| (key.to_owned(), count.to_string()));
        record.detail = counts.into_iter().chain(says.detail()).collect();
    });
    (copy, opening)
}

fn activate(ledger: &Ledger, version: u64, demand: ProofDemand) {
    let digest = BundleDigest(Digest::sha256(&version.to_be_bytes()));
    let ordered = Ordered {
        by: "alice".parse().unwrap(),
        what: Order::ActivateBundle { bundle: BundleRef { name: "next".into(), version, digest } },
        reason: "a test".parse().unwrap(),
    };
    let text = |text: &str| text.to_owned();
    let proof = (demand != ProofDemand::Unsaid).then(|| ProofRef {
        report: Digest::sha256(b"a report"),
        engine: text("engine"),
        compiler: text("compiler"),
        solver: text("solver"),
        statements: 2,
    });
    let vetted = Vetted { bundle: digest, demand, proof, pinned: ProofDemand::Unsaid };
    let (sender, receiver) = std::sync::mpsc::channel();
    ledger.order(Given { vetted: Some(vetted), ordered }, move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv().unwrap().unwrap();
}

fn in_force(world: &World, version: u64) {
    let bundle = BundleRef { version, ..world.bundle.reference().clone() };
    *world.ports.in_force.lock().unwrap() = Some(InForce { bundle, root: None });
}

/// As a crash leaves it, the newest batch released, and opened once more.
fn reopened(world: &World) -> World {
    let copy = world.crashed();
    drop(copy.start());
    copy
}

const SHOWN: &str = "by it no head was signed over records of which the log shows that one was";

/// The bundle that was activated did not decide any more, and the one before it did: by one count in one record.
#[test]
fn a_count_of_records_that_were_never_released_hid_that_an_activation_was_rolled_back() {
    let world = World::new();
    in_force(&world, 1);
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    world.report(&ledger, &Call::read(1), Outcome::Ok, None).unwrap();
    activate(&ledger, 5, ProofDemand::Unsaid);
    drop(ledger);
    world.permitted(&world.start(), &Call::read(2));
    // It shows that another came into force than was activated, unless it says that the activation does not hold.
    let came = last(&world, Event::BundleInForce);
    let what = "older than one that was";
    assert!(replay(&world).1.iter().any(|found| found.seq == Some(came) && found.what.contains(what)));
    let opening = last(&world, Event::Opened);
    let activation = last(&world, Event::Ordered);
    let ran = world.records().iter().find(|record| matches!(record, Record::Outcome(_))).unwrap().seq();
    for first in [activation, ran, ran - 1, 1, 0] {
        let unsigned = opening - first;
        // The PERMIT that ran has ended: nothing of it is left to be withheld.
        let (planted, opening) = unreleased(&world, unsigned, 0);
        assert_named(&planted, opening, SHOWN);
    }
    // Only the closing, whose head may have failed: it does not help.
    let (planted, _) = unreleased(&world, 1, 0);
    assert!(checked(&planted)[0].as_ref().unwrap_err().contains(&format!("record {came}: ")));
}

#[test]
fn a_permit_that_was_released_was_said_never_to_have_been() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let open = reopened(&world);
    assert_sound(&open);
    let (planted, opening) = unreleased(&open, 1, 0);
    assert_named(&planted, opening, "not as many as it says");
    let (planted, opening) = unreleased(&open, 1, 1);
    assert_named(&planted, opening, "is not withheld by it");
    // Once its outcome is there, that shows it.
    world.report(&ledger, &Call::read(1), Outcome::Ok, None).unwrap();
    let ended = reopened(&world);
    assert_sound(&unreleased(&ended, 1, 0).0);
    let (planted, opening) = unreleased(&ended, 2, 0);
    assert_named(&planted, opening, SHOWN);
}

#[test]
fn records_of_several_times_were_said_never_to_have_been_released() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    for attempt in 2..5 {
        world.clocks.advance(1);
        world.refused(&ledger, &Call::ungoverned(attempt));
    }
    let world = reopened(&world);
    assert_sound(&unreleased(&world, 1, 0).0);
    for unsigned in [2, 3] {
        let (planted, opening) = unreleased(&world, unsigned, 0);
        assert_named(&planted, opening, SHOWN);
    }
}

#[test]
fn an_activation_without_the_proof_that_the_bundle_before_it_demanded_was_sound() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    activate(&ledger, 5, ProofDemand::Required);
    activate(&ledger, 6, ProofDemand::Waived);
    drop(ledger);
    assert_sound(&world);
    let second = last(&world, Event::Ordered);
    for (key, word) in
        [("proof", None), ("proof_solver", None), ("proofs", None), ("proofs", Some("required"))]
    {
        let copy = planted(&world, second, |record| {
            record.detail.remove(key);
            record.detail.extend(word.map(|word| (key.to_owned(), word.to_owned())));
            if word.is_some() {
                record.detail.remove("proof");
            }
        });
        assert_named(&copy, second, "a bundle is activated though a proof was demanded");
    }
}

/// Whoever went on after a lost head said of the activated bundle what they liked.
#[test]
fn the_record_that_gives_a_head_up_was_believed_that_the_activated_bundle_was_proved() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    activate(&ledger, 5, ProofDemand::Required);
    activate(&ledger, 6, ProofDemand::Required);
    drop(ledger);
    let yesterday = world.crashed();
    world.permitted(&world.start(), &Call::read(2));
    put_back(&yesterday.data(), &world.data());
    let loss = look(&world, &[]).unwrap();
    let (next, _) = gone_on(&world, &loss).unwrap();
    assert_sound(&next);
    let given_up = last(&next, Event::HeadGivenUp);
    let other = Digest::sha256(b"another report").to_string();
    let first = BundleDigest(Digest::sha256(&5_u64.to_be_bytes())).to_string();
    for (key, word) in [
        ("activated_proof", Some(other.as_str())),
        ("activated_proof", None),
        ("activated_proofs", None),
        ("activated_proofs", Some("waived")),
        ("activated_digest", Some(&first)),
        ("bundle_version", Some("7")),
    ] {
        let copy = planted(&next, given_up, |record| {
            record.detail.remove(key);
            record.detail.extend(word.map(|word| (key.to_owned(), word.to_owned())));
        });
        assert_named(&copy, given_up, "are not those that it says");
    }
    // As if the second activation had not been signed.
    let copy = planted(&next, given_up, |record| {
        let signed = last(&next, Event::Ordered);
        record.detail.insert("left_signed".to_owned(), signed.to_string());
    });
    assert_named(&copy, given_up, SHOWN);
}
