//! Bundles that it takes several keys of a root to sign.

use portcullis_protocol::{Digest, Millis, ReasonCode};
use portcullis_verify::VerifierKey;

use crate::files::Files;
use crate::testing::{edit, files, signing_key, with};
use crate::{
    Authority, Bundle, BundleError, Root, RootChain, RootRef, SIGNATURE_FILE, Seen, Snapshot, Trust,
};

const UNTIL: &str = "2026-01-20T00:00:00Z";

fn name(seed: u8) -> String {
    format!("signer-{seed}.example")
}

fn root(version: u64, threshold: usize, seeds: &[u8]) -> Root {
    let key = |seed: &u8| {
        VerifierKey::ed25519(&name(*seed), signing_key(*seed).verifying_key().to_bytes()).unwrap()
    };
    Root::new("team", version, UNTIL, threshold, seeds.iter().map(key).collect()).unwrap()
}

fn sign_root(chain: &mut RootChain, seeds: &[u8]) {
    seeds.iter().for_each(|seed| chain.sign(&signing_key(*seed), &name(*seed)).unwrap());
}

/// Two of the keys 1 to 3.
fn two_of_three() -> Authority {
    let mut chain = RootChain::new(root(1, 2, &[1, 2, 3]));
    sign_root(&mut chain, &[1, 2]);
    chain.verify(chain.roots().next().unwrap().digest()).unwrap()
}

/// Two of the keys 3 to 5, after [`two_of_three`].
fn rotated() -> Authority {
    let mut chain = RootChain::new(root(1, 2, &[1, 2, 3]));
    sign_root(&mut chain, &[1, 2]);
    chain.add(root(2, 2, &[3, 4, 5])).unwrap();
    sign_root(&mut chain, &[1, 3, 4]);
    chain.verify(chain.roots().next().unwrap().digest()).unwrap()
}

fn by(mut files: Files, seeds: &[u8]) -> Files {
    for seed in seeds {
        let snapshot = Snapshot::from_files(files.clone()).unwrap();
        files.insert(SIGNATURE_FILE.into(), snapshot.sign(&signing_key(*seed), &name(*seed)).unwrap());
    }
    files
}

fn trust(authority: Authority, files: &Files) -> Trust {
    let pin = Snapshot::from_files(files.clone()).unwrap().digest();
    Trust { authority, pin, seen: Seen::default() }
}

fn verify(files: Files, authority: Authority) -> Result<Bundle, BundleError> {
    let trust = trust(authority, &files);
    Snapshot::from_files(files).unwrap().verify(&trust)
}

#[track_caller]
fn code(files: Files, authority: Authority) -> ReasonCode {
    let error = verify(files, authority).unwrap_err();
    assert!(!error.to_string().is_empty() && !error.remedy().is_empty());
    error.code()
}

#[test]
fn as_many_distinct_keys_of_the_root_as_it_asks_for() {
    for signers in [&[1, 2][..], &[3, 1], &[1, 2, 3], &[9, 2, 3]] {
        let bundle = verify(by(files(), signers), two_of_three()).unwrap();
        let known: Vec<_> = signers.iter().filter(|seed| **seed <= 3).map(|seed| name(*seed)).collect();
        let said: Vec<_> = bundle.signers().iter().map(|key| key.name().to_string()).collect();
        assert_eq!(said, known);
    }
    for (signers, expected) in [
        (&[][..], ReasonCode::PolicyUnsigned),
        (&[9], ReasonCode::PolicyUntrustedKey),
        (&[1], ReasonCode::PolicyThreshold),
        (&[3, 3], ReasonCode::PolicyThreshold),
        (&[2, 9, 8], ReasonCode::PolicyThreshold),
    ] {
        assert_eq!(code(by(files(), signers), two_of_three()), expected, "{signers:?}");
    }
}

/// A line that is there twice is one signature.
#[test]
fn the_same_key_twice_counts_once() {
    let mut once = by(files(), &[1]);
    let note = String::from_utf8(once[SIGNATURE_FILE].clone()).unwrap();
    let (_, line) = note.split_once("\n\n").unwrap();
    once.insert(SIGNATURE_FILE.into(), format!("{note}{line}").into_bytes());
    let error = verify(once, two_of_three()).unwrap_err();
    let BundleError::TooFewSignatures(found) = &error else { panic!("{error}") };
    assert_eq!((found.needed, &found.signers[..]), (2, &[name(1)][..]));
}

/// One of the old root and one of the new are two keys of no root.
#[test]
fn keys_of_two_roots_do_not_add_up() {
    assert_eq!(code(by(files(), &[1, 4]), rotated()), ReasonCode::PolicyThreshold);
    assert_eq!(code(by(files(), &[1, 2]), rotated()), ReasonCode::PolicyUntrustedKey);
    assert_eq!(code(by(files(), &[1, 2, 3]), rotated()), ReasonCode::PolicyThreshold);
    assert!(verify(by(files(), &[3, 4]), rotated()).is_ok());
    assert_eq!(code(by(files(), &[4, 5]), two_of_three()), ReasonCode::PolicyUntrustedKey);
}

/// The second signature was made for another bundle of the same signers.
#[test]
fn a_signature_of_another_bundle_counts_for_none() {
    let other = by(with("bundle.toml", "version = 7", "version = 8"), &[2]);
    let other = String::from_utf8(other[SIGNATURE_FILE].clone()).unwrap();
    let (_, line) = other.split_once("\n\n").unwrap();
    let mut mixed = by(files(), &[1]);
    mixed.get_mut(SIGNATURE_FILE).unwrap().extend_from_slice(line.as_bytes());
    assert_eq!(code(mixed, two_of_three()), ReasonCode::PolicySignatureInvalid);
}

#[test]
fn signing_after_a_change_leaves_the_signatures_of_what_was_behind() {
    let before = by(files(), &[1, 2]);
    let changed = by(edit(before, "bundle.toml", "version = 7", "version = 8"), &[3]);
    assert_eq!(code(changed.clone(), two_of_three()), ReasonCode::PolicyThreshold);
    assert!(verify(by(changed, &[1]), two_of_three()).is_ok());
}

/// Incident: an old bundle, validly signed in its day, was put back in place.
#[test]
fn a_version_lower_than_one_that_was_in_force_is_policy_rolled_back() {
    let signed = by(files(), &[1, 2]);
    let with = |version, root| Trust { seen: Seen { version, root }, ..trust(two_of_three(), &signed) };
    let verify = |trust: &Trust| Snapshot::from_files(signed.clone()).unwrap().verify(trust).map(drop);
    assert!(verify(&with(6, None)).is_ok());
    assert!(verify(&with(7, None)).is_ok());
    assert_eq!(verify(&with(8, None)).unwrap_err().code(), ReasonCode::PolicyRolledBack);
    // It is told even where the pin would refuse it too: an operator who pins it anew gets no further.
    let elsewhere = Trust { pin: portcullis_protocol::BundleDigest(Digest::sha256(b"x")), ..with(8, None) };
    assert_eq!(verify(&elsewhere).unwrap_err().code(), ReasonCode::PolicyRolledBack);
}

/// A key that root 2 left out signs again once root 2 is taken off the chain's end.
#[test]
fn a_root_older_than_one_that_was_in_force_is_policy_rolled_back() {
    let signed = by(files(), &[1, 2]);
    let chain = two_of_three().root().unwrap().chain;
    let seen = |chain, version| Seen { version: 0, root: Some(RootRef { chain, version }) };
    let verify = |seen| {
        let trust = Trust { seen, ..trust(two_of_three(), &signed) };
        Snapshot::from_files(signed.clone()).unwrap().verify(&trust).map(drop)
    };
    assert!(verify(seen(chain, 1)).is_ok());
    assert_eq!(verify(seen(chain, 2)).unwrap_err().code(), ReasonCode::PolicyRolledBack);
    // Another chain is what an operator has pinned anew.
    assert!(verify(seen(Digest::sha256(b"another"), 2)).is_ok());
}

/// A configuration of the time before roots named keys of which one was enough.
#[test]
fn what_roots_vouched_for_is_not_vouched_for_by_trusted_keys_again() {
    let signed = by(files(), &[1]);
    let alone = Authority::any_of(root(1, 1, &[1]).keys().to_vec());
    let verify = |root| {
        let trust = Trust { seen: Seen { version: 0, root }, ..trust(alone.clone(), &signed) };
        Snapshot::from_files(signed.clone()).unwrap().verify(&trust).map(drop)
    };
    assert!(verify(None).is_ok());
    let root = RootRef { chain: Digest::sha256(b"any"), version: 1 };
    assert_eq!(verify(Some(root)).unwrap_err().code(), ReasonCode::PolicyRolledBack);
}

/// A root that nobody renewed ends what it vouched for, though the bundle itself is still valid.
#[test]
fn a_bundle_ends_with_its_root() {
    let bundle = verify(by(files(), &[1, 2]), two_of_three()).unwrap();
    let end = 1_768_867_200_000;
    assert_eq!(bundle.validity_at(Millis(end - 1)), Ok(()));
    assert_eq!(bundle.validity_at(Millis(end)), Err(ReasonCode::PolicyRootExpired));
    assert_eq!(bundle.validity_at(Millis(u64::MAX)), Err(ReasonCode::PolicyRootExpired));
    assert_eq!(bundle.validity_at(Millis(0)), Err(ReasonCode::PolicyNotYetValid));
}
