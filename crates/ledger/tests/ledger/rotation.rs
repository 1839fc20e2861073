//! Another key in the place of the log's: both sign for a while.

use std::sync::{Arc, Mutex};

use portcullis_ledger::{KeyFile, Keyring, SignError, Signer};
use portcullis_protocol::{Event, ReasonCode};
use portcullis_verify::{CheckpointError, LogKey, LogKeys, Standing, UnverifiedReceipt, VerifierKey};

use crate::harness::{Call, World, copy_tree, write_private};

/// A new key of the log, and its signer.
fn new_key(world: &World) -> (VerifierKey, Box<dyn Signer>) {
    let (text, verifier) = portcullis_ledger::generate(world.verifier.name().as_str()).unwrap();
    let path = world.directory.path().join("keys/next");
    write_private(&path, text.as_bytes());
    (verifier.clone(), Box::new(KeyFile::new(path, verifier)))
}

fn again(world: &World, key: &VerifierKey) -> Box<dyn Signer> {
    Box::new(KeyFile::new(world.directory.path().join("keys/next"), key.clone()))
}

fn keys(all: &[(&VerifierKey, Standing)]) -> LogKeys {
    LogKeys::new(
        all.iter().map(|(key, standing)| LogKey { key: (*key).clone(), standing: *standing }).collect(),
    )
}

fn proves(receipt: &str, trusted: &LogKeys) -> Result<u64, String> {
    let receipt = UnverifiedReceipt::parse(receipt.as_bytes()).unwrap();
    receipt
        .verify_with(trusted)
        .map(|receipt| receipt.checkpoint().size())
        .map_err(|error| format!("{error:?}"))
}

#[test]
fn both_keys_sign_while_a_rotation_lasts_then_the_new_one_alone_and_the_log_says_so() {
    let mut world = World::new();
    let old = world.verifier.clone();
    let (alone, from) = (keys(&[(&old, Standing::Valid)]), world.start());
    let before = world.decide(&from, &Call::read(1)).receipt.unwrap();
    drop(from);

    let (new, signer) = new_key(&world);
    let both = keys(&[(&old, Standing::Valid), (&new, Standing::Valid)]);
    let ledger = world.start_with(Box::new(Keyring::new(world.signer(), Some(signer), both.clone())));
    let during = world.decide(&ledger, &Call::read(2)).receipt.unwrap();
    drop(ledger);
    let new_alone = keys(&[(&new, Standing::Valid)]);
    for trusted in [&alone, &new_alone, &both] {
        proves(&during, trusted).unwrap();
    }
    assert_eq!(world.events().iter().filter(|event| **event == Event::KeyAdded).count(), 1);

    let last = world.size();
    let after = keys(&[(&new, Standing::Valid), (&old, Standing::Until(last))]);
    let ledger = world.start_with(Box::new(Keyring::new(again(&world, &new), None, after.clone())));
    let later = world.decide(&ledger, &Call::read(3)).receipt.unwrap();
    drop(ledger);
    world.verifier = new.clone();
    proves(&later, &new_alone).unwrap();
    assert!(proves(&later, &alone).unwrap_err().contains("NoKnownSignature"));
    proves(&before, &after).unwrap();
    assert_eq!(world.events().iter().filter(|event| **event == Event::KeyRetired).count(), 1);
    assert_eq!(world.events().iter().filter(|event| **event == Event::KeyAdded).count(), 1);

    let revoked = keys(&[(&new, Standing::Valid), (&old, Standing::Revoked)]);
    assert!(proves(&before, &revoked).unwrap_err().contains("RevokedKey"));
    let ledger = world.start_with(Box::new(Keyring::new(again(&world, &new), None, revoked.clone())));
    world.decide(&ledger, &Call::read(4)).receipt.unwrap();
    // The same record, proved anew.
    let anew = world.decide(&ledger, &Call::read(3));
    proves(&anew.receipt.unwrap(), &revoked).unwrap();
}

#[test]
fn a_key_revoked_before_another_signed_the_newest_head_permits_nothing() {
    let world = World::new();
    let old = world.verifier.clone();
    world.permitted(&world.start(), &Call::read(1));
    let (new, signer) = new_key(&world);
    let revoked = keys(&[(&new, Standing::Valid), (&old, Standing::Revoked)]);
    let ledger = world.start_with(Box::new(Keyring::new(signer, None, revoked)));
    assert_eq!(world.refused(&ledger, &Call::read(2)), ReasonCode::EvidenceCorrupt);
    drop(ledger);
    world.permitted(&world.start(), &Call::read(3));
}

#[test]
fn while_one_of_both_keys_does_not_sign_nothing_is_permitted() {
    let world = World::new();
    let (new, signer) = new_key(&world);
    let both = keys(&[(&world.verifier, Standing::Valid), (&new, Standing::Valid)]);
    let ledger = world.start_with(Box::new(Keyring::new(world.signer(), Some(signer), both)));
    let file = world.directory.path().join("keys/next");
    let away = file.with_extension("away");
    std::fs::rename(&file, &away).unwrap();
    assert_eq!(world.refused(&ledger, &Call::read(1)), ReasonCode::SignerUnavailable);
    std::fs::rename(&away, &file).unwrap();
    world.decide(&ledger, &Call::read(2)).receipt.unwrap();
    *world.behaviour.fails.lock().unwrap() = Some(SignError::Failed);
    assert_eq!(world.refused(&ledger, &Call::read(3)), ReasonCode::SignerFailed);
    *world.behaviour.fails.lock().unwrap() = None;
    world.decide(&ledger, &Call::read(4)).receipt.unwrap();
    world.behaviour.assert_one_root_for_each_size();
}

#[test]
fn a_crash_at_any_signature_of_a_rotation_leaves_a_ledger_that_opens_under_either_configuration() {
    let world = World::new();
    world.permitted(&world.start(), &Call::read(1));
    let (new, signer) = new_key(&world);
    let both = keys(&[(&world.verifier, Standing::Valid), (&new, Standing::Valid)]);
    let images = Arc::new(Mutex::new(Vec::new()));
    let (kept, from) = (Arc::clone(&images), world.directory.path().to_owned());
    world.behaviour.before(move |size| {
        let copy = tempfile::tempdir().unwrap();
        copy_tree(&from, copy.path());
        kept.lock().unwrap().push((copy, size));
    });
    let ledger = world.start_with(Box::new(Keyring::new(world.signer(), Some(signer), both.clone())));
    world.decide(&ledger, &Call::read(2)).receipt.unwrap();
    drop(ledger);
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() >= 4, "{}", images.len());
    for (number, (image, size)) in images.into_iter().enumerate() {
        let crashed = world.at(image);
        // What was signed after the crash was not signed.
        crashed.behaviour.roots.lock().unwrap().retain(|signed, _| *signed <= size);
        // The rotation goes on, or the operator has thought better of it.
        let ledger = if number % 2 == 0 {
            crashed.start_with(Box::new(Keyring::new(
                crashed.signer(),
                Some(again(&crashed, &new)),
                both.clone(),
            )))
        } else {
            crashed.start_with(Box::new(Keyring::new(crashed.signer(), None, both.clone())))
        };
        assert_eq!(crashed.tripped(&ledger), None, "image {number}");
        crashed.decide(&ledger, &Call::read(1_000)).receipt.unwrap();
        drop(ledger);
        crashed.behaviour.assert_one_root_for_each_size();
    }
}

#[test]
fn a_retired_key_does_not_vouch_for_a_longer_log() {
    let world = World::new();
    let ledger = world.start();
    let receipt = world.decide(&ledger, &Call::read(1)).receipt.unwrap();
    let trusted = keys(&[(&world.verifier, Standing::Until(1))]);
    let refused = UnverifiedReceipt::parse(receipt.as_bytes()).unwrap().verify_with(&trusted).unwrap_err();
    let portcullis_verify::ReceiptError::Checkpoint(error) = refused else { panic!("{refused}") };
    assert!(matches!(error, CheckpointError::RetiredKey { last: 1, .. }), "{error}");
}
