//! A head that the ledger is behind is given up, and the log goes on elsewhere.

use std::collections::BTreeMap;
use std::path::Path;

use portcullis_ledger::{AbandonError, KeyFile, Loss, Successor, survey};
use portcullis_protocol::{Event, LostProofs, Outcome, ProofDemand, ReasonCode, Succession};
use portcullis_verify::{LogKeys, VerifiedCheckpoint};

use crate::crash::crash_before_signing;
use crate::harness::{Call, World, copy_tree, write_private};

pub(crate) fn look(world: &World, outside: &[VerifiedCheckpoint]) -> Result<Loss, AbandonError> {
    survey(&world.data(), &world.anchor(), &LogKeys::from(&world.verifier), outside)
}

/// The log that goes on, at a place and under a key of its own.
pub(crate) fn gone_on(world: &World, loss: &Loss) -> Result<(World, KeyFile), AbandonError> {
    gone_on_after(world, loss, (&loss.succession, LostProofs::Unknown))
}

fn gone_on_after(
    world: &World,
    loss: &Loss,
    (seen, lost): (&Succession, LostProofs),
) -> Result<(World, KeyFile), AbandonError> {
    let directory = tempfile::tempdir().unwrap();
    for name in ["anchor", "keys"] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
    }
    std::fs::copy(world.vault_key(), directory.path().join("keys/vault")).unwrap();
    let (text, verifier) = portcullis_ledger::generate("gate.test/another").unwrap();
    let file = directory.path().join("keys/log");
    write_private(&file, text.as_bytes());
    let mut next = world.at(directory);
    next.verifier = verifier.clone();
    let mut signer = KeyFile::new(file, verifier);
    let (data, anchor, vault_key) = (next.data(), next.anchor(), next.vault_key());
    let successor = Successor {
        from: &world.data(),
        directory: &data,
        anchor: &anchor,
        vault_key: &vault_key,
        seen,
        lost,
    };
    let detail = BTreeMap::from([("given_up_root".to_owned(), loss.given_up.root().to_string())]);
    let head = successor.make(loss, &mut signer, &*world.clocks, detail)?;
    assert_eq!((head.origin().as_str(), head.size() > loss.size), ("gate.test/another", true));
    Ok((next, signer))
}

/// What the surroundings of a log that goes on are told was in force.
fn told(world: &World, signer: KeyFile) -> portcullis_protocol::Succession {
    *world.ports.in_force.lock().unwrap() = None;
    drop(world.start_with(Box::new(signer)));
    world.ports.stood.lock().unwrap().clone().unwrap()
}

pub(crate) fn put_back(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    std::fs::create_dir(to).unwrap();
    copy_tree(from, to);
}

#[test]
fn permits_that_are_left_open_end_as_unknown_and_their_keys_stay_consumed() {
    let world = World::new();
    let ledger = world.start();
    let (done, open) = (Call::charge(1, "1.00", Some("done")), Call::charge(2, "2.00", Some("open")));
    world.permitted(&ledger, &done);
    world.report(&ledger, &done, Outcome::Ok, Some("paid")).unwrap();
    world.permitted(&ledger, &open);
    drop(ledger);
    let yesterday = world.crashed();
    let ledger = world.start();
    world.report(&ledger, &open, Outcome::Ok, None).unwrap();
    world.permitted(&ledger, &Call::charge(3, "3.00", Some("lost")));
    drop(ledger);
    put_back(&yesterday.data(), &world.data());

    let loss = look(&world, &[]).unwrap();
    assert_eq!((loss.open_permits, loss.contained, loss.open_ended), (1, false, false));
    assert!(loss.least() > 0 && loss.least() <= loss.most(), "{loss:?}");
    let (next, signer) = gone_on(&world, &loss).unwrap();
    assert_eq!(next.outcomes().last().unwrap().1, Outcome::Unknown);
    let given_up = next.events().iter().filter(|event| **event == Event::HeadGivenUp).count();
    assert_eq!(given_up, 1);
    let ledger = next.start_with(Box::new(signer));
    let again = |attempt, amount, key| next.refused(&ledger, &Call::charge(attempt, amount, Some(key)));
    assert_eq!(again(4, "2.00", "open"), ReasonCode::IdempotencyOutcomeUnknown);
    assert_eq!(again(5, "1.00", "done"), ReasonCode::IdempotencyCompleted);
    assert_eq!(next.refused(&ledger, &open), ReasonCode::RequestAttemptReused);
    // The gate that still has it may report what became of it.
    next.report(&ledger, &open, Outcome::Ok, None).unwrap();
    next.permitted(&ledger, &Call::charge(6, "3.00", Some("lost")));
}

#[test]
fn a_permit_beyond_the_newest_head_that_is_left_is_not_taken_for_never_released() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let call = Call::charge(1, "12.50", Some("k"));
    let crashed = crash_before_signing(&world, &ledger, &call);
    world.permitted(&ledger, &Call::read(2));
    drop(ledger);
    put_back(&crashed.data(), &world.data());
    // It was released, after the copy was made: the anchor says so. Opened as it lies it would be withheld.
    let loss = look(&world, &[]).unwrap();
    assert!(loss.proved.as_ref().unwrap().size() < loss.size && loss.most() > loss.least(), "{loss:?}");
    let (next, signer) = gone_on(&world, &loss).unwrap();
    let ledger = next.start_with(Box::new(signer));
    let again = next.refused(&ledger, &Call::charge(3, "12.50", Some("k")));
    assert_eq!(again, ReasonCode::IdempotencyOutcomeUnknown);
    drop(ledger);
    assert!(next.outcomes().iter().all(|(_, outcome)| *outcome != Outcome::Withheld));
}

#[test]
fn of_a_fork_the_head_is_given_up_that_is_not_contained_however_short_it_is() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    drop(ledger);
    let yesterday = world.crashed();
    let ledger = world.start();
    world.permitted(&ledger, &Call::charge(1, "1.00", Some("k")));
    drop(ledger);
    let seen = look_at_anchor(&world);
    // Data and anchor were put back, and the log went on: only somebody outside knows the other history.
    let ledger = yesterday.start();
    (2..20).for_each(|attempt| drop(yesterday.permitted(&ledger, &Call::read(attempt))));
    drop(ledger);
    assert!(matches!(look(&yesterday, &[]), Err(AbandonError::NotBehind)));
    let loss = look(&yesterday, std::slice::from_ref(&seen)).unwrap();
    assert!(loss.size > seen.size());
    assert_eq!((loss.given_up.root(), loss.contained, loss.least()), (seen.root(), false, 0));
    assert_eq!(loss.most(), seen.size());
}

#[test]
fn what_was_signed_after_a_head_that_an_old_anchor_did_not_hold_was_said_to_be_bounded() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    drop(ledger);
    let yesterday = world.crashed();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(1));
    let seen = look_at_anchor(&world);
    world.permitted(&ledger, &Call::read(2));
    drop(ledger);
    // Data and anchor were put back: a witness saw some of what is lost, and nobody knows of the rest.
    let loss = look(&yesterday, std::slice::from_ref(&seen)).unwrap();
    assert!(loss.given_up.root() == seen.root() && loss.open_ended, "{loss:?}");
    // The anchor is as new as what is lost: then it is all that is lost.
    put_back(&yesterday.data(), &world.data());
    let loss = look(&world, &[seen]).unwrap();
    assert!(loss.least() > 0 && !loss.open_ended, "{loss:?}");
    // The anchor alone is old.
    let loss = look_with_anchor_of(&yesterday);
    assert!(loss.contained && loss.open_ended, "{loss:?}");
}

/// What is lost where the data directory went on and its anchor was put back.
fn look_with_anchor_of(world: &World) -> portcullis_ledger::Loss {
    let newer = world.crashed();
    let ledger = newer.start();
    newer.permitted(&ledger, &Call::read(3));
    drop(ledger);
    std::fs::copy(world.anchor(), newer.anchor()).unwrap();
    look(&newer, &[]).unwrap()
}

fn look_at_anchor(world: &World) -> VerifiedCheckpoint {
    let note = portcullis_ledger::Anchor::read(&world.anchor()).unwrap().unwrap();
    let note = portcullis_verify::UnverifiedCheckpoint::parse(&note).unwrap();
    note.verify(std::slice::from_ref(&world.verifier)).unwrap()
}

#[test]
fn a_clock_before_the_newest_record_begins_no_log() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    drop(ledger);
    std::fs::remove_file(world.anchor()).unwrap();
    let loss = look(&world, &[]).unwrap();
    assert!(loss.open_ended && loss.contained, "{loss:?}");
    world.clocks.jump(-60_000);
    assert!(matches!(gone_on(&world, &loss), Err(AbandonError::Clock)));
    world.clocks.set_readable(false);
    assert!(matches!(gone_on(&world, &loss), Err(AbandonError::Clock)));
}

/// What decided by the lost records is not known, and the old copy says that an older one was in force: a signed and pinned
/// bundle of before, in which an agent is not suspended yet, decided again.
#[test]
fn a_bundle_that_only_lost_records_had_replaced_decided_again_after_an_abandon() {
    let world = World::new();
    let digest = |version: u64| portcullis_protocol::Digest::sha256(&version.to_be_bytes());
    let root = |version| portcullis_protocol::RootRef { chain: digest(1), version, digest: digest(version) };
    let comes = |version, newest| {
        let mut bundle = world.bundle.reference().clone();
        bundle.version = version;
        world.decides(portcullis_protocol::InForce { bundle, root: Some(root(newest)) });
        let ledger = world.start();
        world.permitted(&ledger, &Call::read(version));
    };
    comes(3, 1);
    let yesterday = world.crashed();
    comes(8, 2);
    put_back(&yesterday.data(), &world.data());
    let loss = look(&world, &[]).unwrap();
    let left = &loss.succession;
    assert_eq!((left.version, left.roots.get(&digest(1))), (3, Some(&root(1))));
    assert_eq!(left.digest, Some(world.bundle.reference().digest));
    // By an operator's word version 8 was in force, and by the configuration root 2.
    let mut known = left.clone();
    known.saw_root(root(2));
    let seen = left.clone().beside(&known).raised_to(8, LostProofs::Unknown);
    let unknown = |seen: &Succession| gone_on_after(&world, &loss, (seen, LostProofs::Unknown));
    let (next, signer) = unknown(&seen).unwrap();
    assert_eq!(next.reader().succession().unwrap(), seen);
    assert_eq!(told(&next, signer), seen);
    // It stands in the record that gives the head up, and no less than what is left can.
    assert_eq!(
        seen.demand,
        ProofDemand::Required,
        "of what is lost nobody knows whether it demanded a proof"
    );
    let waived = Succession { demand: ProofDemand::Unsaid, ..seen.clone() };
    for forgets in [Succession { version: 2, ..seen.clone() }, waived.clone()] {
        assert!(matches!(unknown(&forgets), Err(AbandonError::Successor(_))));
    }
    // Unless an operator says so, and then on record.
    let (next, _) = gone_on_after(&world, &loss, (&waived, LostProofs::NotDemanded)).unwrap();
    assert_eq!(next.reader().succession().unwrap(), waived);
    crate::released::assert_sound(&next);
}

/// Whoever could write the data directory had an activation decide that no head was ever signed over.
#[test]
fn an_activation_beyond_the_newest_head_that_is_left_does_not_decide_in_the_log_that_goes_on() {
    let world = World::new();
    let ledger = world.start();
    world.permitted(&ledger, &Call::read(0));
    let bundle = portcullis_protocol::BundleRef {
        name: "next".into(),
        version: 5,
        digest: portcullis_protocol::BundleDigest(portcullis_protocol::Digest::sha256(b"next")),
    };
    let crashed = std::sync::Arc::new(std::sync::Mutex::new(None));
    let (copy, from) = (std::sync::Arc::clone(&crashed), world.directory.path().to_owned());
    world.behaviour.before(move |_| {
        let mut copy = copy.lock().unwrap();
        if copy.is_none() {
            let directory = tempfile::tempdir().unwrap();
            copy_tree(&from, directory.path());
            *copy = Some(directory);
        }
    });
    let ordered = portcullis_protocol::Ordered {
        by: "alice".parse().unwrap(),
        what: portcullis_protocol::Order::ActivateBundle { bundle: bundle.clone() },
        reason: "a test".parse().unwrap(),
    };
    let vetted = portcullis_protocol::Vetted {
        bundle: bundle.digest,
        demand: portcullis_protocol::ProofDemand::Unsaid,
        proof: None,
        pinned: portcullis_protocol::ProofDemand::Unsaid,
    };
    let ordered = portcullis_ledger::Given { vetted: Some(vetted), ordered };
    let (sender, receiver) = std::sync::mpsc::channel();
    ledger.order(ordered, move |reply| sender.send(reply).unwrap()).unwrap();
    receiver.recv().unwrap().unwrap();
    drop(ledger);
    let copied = world.at(crashed.lock().unwrap().take().unwrap());
    put_back(&copied.data(), &world.data());
    let loss = look(&world, &[]).unwrap();
    assert!(loss.proved.as_ref().unwrap().size() < loss.size, "{loss:?}");
    // Its version counts, as a lower bound, and it does not.
    assert_eq!((loss.succession.version, &loss.succession.activated), (5, &None));
    let (next, signer) = gone_on(&world, &loss).unwrap();
    assert_eq!(told(&next, signer).activated, None);
}
