//! That a bundle is archived before it decides, and that nobody waits for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use portcullis_ledger::{Given, Ledger, OrderRefused, SignError};
use portcullis_protocol::{BundleDigest, BundleRef, Digest, Order, Ordered, ProofDemand, ReasonCode, Vetted};
use rusqlite::{Connection, params};

use crate::check::check;
use crate::harness::{Call, Held, World, answer};
use crate::scrub::scrubbed;

/// Larger than three parts.
const LARGE: usize = 200 * 1024;

fn large(seed: u8) -> Arc<[u8]> {
    (0..LARGE).map(|at| seed.wrapping_add(u8::try_from(at % 251).unwrap())).collect()
}

fn digest(name: &str) -> BundleDigest {
    BundleDigest(Digest::sha256(name.as_bytes()))
}

fn archive(ledger: &Ledger, bundle: BundleDigest, bytes: &Arc<[u8]>) -> Receiver<Result<(), ReasonCode>> {
    let (sender, receiver) = channel();
    ledger.archive(bundle, Arc::clone(bytes), move |done| sender.send(done).unwrap()).unwrap();
    receiver
}

fn done(receiver: &Receiver<Result<(), ReasonCode>>) -> Result<(), ReasonCode> {
    receiver.recv_timeout(Duration::from_secs(100)).expect("an answer")
}

/// The order that makes a bundle the one that decides.
fn activate(ledger: &Ledger, digest: BundleDigest) -> Result<u64, OrderRefused> {
    let bundle = BundleRef { name: "next".into(), version: 99, digest };
    let what = Order::ActivateBundle { bundle };
    let ordered = Ordered { by: "alice".parse().unwrap(), what, reason: "a test".parse().unwrap() };
    let (demand, pinned) = (ProofDemand::Unsaid, ProofDemand::Unsaid);
    let vetted = Some(Vetted { bundle: digest, demand, proof: None, pinned });
    let (sender, receiver) = channel();
    ledger.order(Given { ordered, vetted }, move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv_timeout(Duration::from_secs(100)).expect("an answer")
}

/// How many parts of an archive are in the database.
fn parts(database: &std::path::Path, bundle: &BundleDigest) -> u64 {
    let connection = Connection::open(database).unwrap();
    let text = "SELECT count(*) FROM bundles WHERE digest = ?1";
    connection.query_row(text, [bundle.0.as_bytes()], |row| row.get(0)).unwrap()
}

/// What a process that ended half-way left, of the same content and with other signatures.
fn leave_parts(world: &World, bundle: &BundleDigest) {
    let connection = Connection::open(world.database()).unwrap();
    for part in 0..2 {
        let text = "INSERT INTO bundles (digest, part, parts, bytes) VALUES (?1, ?2, 9, x'00')";
        connection.execute(text, params![bundle.0.as_bytes(), part]).unwrap();
    }
}

#[test]
fn a_bundle_is_archived_before_any_record_names_it() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let (size, next, bytes) = (world.size(), digest("next"), large(1));
    assert_eq!(done(&archive(&ledger, next, &bytes)), Ok(()));
    assert_eq!(world.reader().bundle(&next).unwrap().as_deref(), Some(&bytes[..]));
    // It is told by no record, and what is there is not written again.
    assert_eq!(world.size(), size);
    assert_eq!(done(&archive(&ledger, next, &large(2))), Ok(()));
    assert_eq!(world.reader().bundle(&next).unwrap().as_deref(), Some(&bytes[..]));
    drop(ledger);
    let ledger = world.start();
    assert_eq!(done(&archive(&ledger, next, &large(2))), Ok(()));
    assert_eq!(world.reader().bundle(&next).unwrap().as_deref(), Some(&bytes[..]));
    world.permitted(&ledger, &Call::read(2));
}

/// The first decision under a bundle of ten thousand policies waited until all of it was in the ledger.
#[test]
fn a_decision_waits_for_one_part_of_an_archive_at_most() {
    let world = World::new();
    let ledger = world.start();
    let held = Held::hold(&world, &ledger, 1);
    // Both are taken as one batch, once the writer goes on.
    let (bundle, bytes) = (digest("next"), large(3));
    let archived = archive(&ledger, bundle, &bytes);
    let (sender, seen) = channel();
    let database = world.database();
    let intake = world.intake(&Call::read(2));
    ledger.decide(intake, move |_| sender.send(parts(&database, &bundle)).unwrap()).unwrap();
    let first = held.release();
    answer(&first);
    assert_eq!(seen.recv_timeout(Duration::from_secs(100)), Ok(1));
    assert_eq!(done(&archived), Ok(()));
    assert_eq!(world.reader().bundle(&bundle).unwrap().as_deref(), Some(&bytes[..]));
}

#[test]
fn parts_that_another_process_left_are_not_taken_for_this_archive() {
    let world = World::new();
    let ledger = world.start();
    let (next, own, bytes) = (digest("next"), world.bundle.reference().digest, large(4));
    leave_parts(&world, &next);
    leave_parts(&world, &own);
    assert_eq!(world.reader().bundle(&own).unwrap(), None);
    assert_eq!(done(&archive(&ledger, next, &bytes)), Ok(()));
    assert_eq!(world.reader().bundle(&next).unwrap().as_deref(), Some(&bytes[..]));
    // Nor for that of a bundle that nobody archived before it decided.
    world.permitted(&ledger, &Call::read(1));
    assert_eq!(world.reader().bundle(&own).unwrap().as_deref(), Some(&world.bundle.archive()[..]));
}

#[test]
fn an_archive_that_cannot_be_written_is_given_up_with_the_reason() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    *world.behaviour.ready.lock().unwrap() = Some(SignError::Unavailable("pulled".into()));
    let (next, bytes) = (digest("next"), large(5));
    assert_eq!(done(&archive(&ledger, next, &bytes)), Err(ReasonCode::SignerUnavailable));
    *world.behaviour.ready.lock().unwrap() = None;
    assert_eq!(done(&archive(&ledger, next, &bytes)), Ok(()));
    assert_eq!(world.reader().bundle(&next).unwrap().as_deref(), Some(&bytes[..]));
}

#[test]
fn a_bundle_that_comes_into_force_is_archived_before_there_is_a_decision() {
    let world = World::new();
    let own = world.bundle.reference().digest;
    *world.ports.archive.lock().unwrap() = Some(Arc::clone(world.bundle.archive()));
    let ledger = world.start();
    // Each look is a turn of the writer's, and each turn writes a part.
    let written = (0..100).any(|_| {
        world.status(&ledger);
        world.reader().bundle(&own).unwrap().is_some()
    });
    assert!(written, "nobody archived it");
    assert!(world.records().iter().all(|record| !matches!(record, portcullis_protocol::Record::Decision(_))));
}

/// The archive of a bundle whose activation came to nothing stayed for good.
#[test]
fn an_archive_that_no_record_names_goes_with_the_next_one_and_no_other_does() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let own = world.bundle.reference().digest;
    let has = |bundle: &BundleDigest| world.reader().bundle(bundle).unwrap().is_some();
    let (first, second, third) = (digest("first"), digest("second"), digest("third"));
    assert_eq!(done(&archive(&ledger, first, &large(1))), Ok(()));
    assert!(has(&first) && has(&own));
    // Over a restart too, and whether or not it was whole.
    drop(ledger);
    let ledger = world.start();
    assert_eq!(done(&archive(&ledger, second, &large(2))), Ok(()));
    assert!(!has(&first) && parts(&world.database(), &first) == 0 && has(&second) && has(&own));
    // It is archived anew if it is to be activated after all.
    assert_eq!(done(&archive(&ledger, first, &large(1))), Ok(()));
    assert!(has(&first) && !has(&second) && has(&own));
    // One that a record names stays: the record of its activation is enough.
    assert!(activate(&ledger, first).is_ok());
    assert_eq!(done(&archive(&ledger, third, &large(3))), Ok(()));
    assert_eq!(done(&archive(&ledger, second, &large(2))), Ok(()));
    assert!(has(&first) && has(&second) && !has(&third) && has(&own));
    drop(ledger);
    let ledger = world.start();
    assert_eq!(done(&archive(&ledger, third, &large(3))), Ok(()));
    assert!(has(&first) && !has(&second) && has(&third) && has(&own));
}

#[test]
fn a_bundle_that_records_name_was_nobody_s_and_went_with_the_next_one() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    assert_eq!(done(&archive(&ledger, digest("first"), &large(1))), Ok(()));
    drop(ledger);
    assert!(check(&world, None).is_ok());
    // One that is called otherwise is forgotten by nobody, and nothing else comes of it.
    let flipped = world.crashed();
    flipped.sql("UPDATE unnamed SET digest = CAST(x'00' || substr(digest, 2) AS BLOB)");
    assert!(check(&flipped, None).is_ok());
    let ledger = flipped.start();
    assert_eq!(done(&archive(&ledger, digest("second"), &large(2))), Ok(()));
    assert!(flipped.reader().bundle(&digest("first")).unwrap().is_some());
    assert_eq!(scrubbed(&flipped, &ledger), None);
    world.sql("UPDATE unnamed SET digest = (SELECT digest FROM bundles WHERE digest <> unnamed.digest)");
    let error = check(&world, None).unwrap_err();
    assert!(error.to_string().contains("records name it"), "{error}");
}

/// A bundle that was archived for an activation that came to nothing, and came into force by its pin.
#[test]
fn an_archive_that_was_nobody_s_stays_once_a_decision_names_it() {
    let world = World::new();
    let ledger = world.start();
    let own = world.bundle.reference().digest;
    assert_eq!(done(&archive(&ledger, own, world.bundle.archive())), Ok(()));
    world.permitted(&ledger, &Call::read(1));
    assert_eq!(done(&archive(&ledger, digest("next"), &large(1))), Ok(()));
    assert_eq!(world.reader().bundle(&own).unwrap().as_deref(), Some(&world.bundle.archive()[..]));
}

/// A decision by it could be replayed by nobody.
#[test]
fn a_decision_by_a_bundle_whose_files_nobody_gave_was_on_record_without_them() {
    let world = World::new();
    let ledger = world.start();
    let mut intake = world.intake(&Call::read(1));
    intake.archive = None;
    let (sender, receiver) = channel();
    ledger.decide(intake, move |reply| sender.send(reply).unwrap()).unwrap();
    assert_eq!(answer(&receiver).verdict.reason(), Some(ReasonCode::EvidenceCorrupt));
    drop(ledger);
    assert_eq!(world.permits(), []);
}
