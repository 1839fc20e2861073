//! Bundles that it takes several keys of a root to sign.

use std::sync::Arc;

use portcullis_protocol::{Digest, Millis, ReasonCode, RolledBack, RootRef, Succession};
use portcullis_verify::VerifierKey;
use tempfile::TempDir;

use crate::files::Files;
use crate::testing::{edit, files, signing_key, with, write};
use crate::{
    Authority, Bundle, BundleError, BundleSigners, BundleSource, Root, RootChain, SIGNATURE_FILE, Snapshot,
    Trust,
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
    rotated_to(&[(&[3, 4, 5], &[1, 3, 4])])
}

/// Two of three keys each, after [`two_of_three`], and who signed that.
fn rotated_to(roots: &[(&[u8], &[u8])]) -> Authority {
    let mut chain = RootChain::new(root(1, 2, &[1, 2, 3]));
    sign_root(&mut chain, &[1, 2]);
    for (version, (keys, signers)) in (2..).zip(roots) {
        chain.add(root(version, 2, keys)).unwrap();
        sign_root(&mut chain, signers);
    }
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
    Trust { authority, pin, seen: Succession::default() }
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

/// A log in which bundles of up to this version were in force, of which nobody knows the digest, and this root.
fn seen(version: u64, root: Option<RootRef>) -> Succession {
    let roots = root.map(|root| (root.chain, root)).into_iter().collect();
    Succession { version, roots, ..Succession::default() }
}

/// Incident: an old bundle, validly signed in its day, was put back in place.
#[test]
fn a_version_lower_than_one_that_was_in_force_is_policy_rolled_back() {
    let signed = by(files(), &[1, 2]);
    let with = |version| Trust { seen: seen(version, None), ..trust(two_of_three(), &signed) };
    let verify = |trust: &Trust| Snapshot::from_files(signed.clone()).unwrap().verify(trust).map(drop);
    assert!(verify(&with(6)).is_ok());
    assert!(verify(&with(7)).is_ok());
    assert_eq!(verify(&with(8)).unwrap_err().code(), ReasonCode::PolicyRolledBack);
    // It is told even where the pin would refuse it too: an operator who pins it anew gets no further.
    let elsewhere = Trust { pin: portcullis_protocol::BundleDigest(Digest::sha256(b"x")), ..with(8) };
    assert_eq!(verify(&elsewhere).unwrap_err().code(), ReasonCode::PolicyRolledBack);
}

/// An operator pinned other content of the version that was in force: what it replaced could not be told apart from it.
#[test]
fn other_content_of_a_version_that_was_in_force_is_policy_rolled_back_though_it_is_pinned() {
    let signed = by(files(), &[1, 2]);
    let pinned = trust(two_of_three(), &signed);
    let with = |digest| Succession { digest: Some(digest), ..seen(7, None) };
    let verify = |trust: Trust| Snapshot::from_files(signed.clone()).unwrap().verify(&trust).map(drop);
    assert!(verify(Trust { seen: with(pinned.pin), ..pinned.clone() }).is_ok());
    let other = portcullis_protocol::BundleDigest(Digest::sha256(b"other content"));
    let code = |trust: Trust| verify(trust).unwrap_err().code();
    assert_eq!(code(Trust { seen: with(other), ..pinned.clone() }), ReasonCode::PolicyRolledBack);
    // One that is not the pinned one is told by that.
    assert_eq!(code(Trust { seen: with(other), pin: other, ..pinned }), ReasonCode::PolicyPinMismatch);
}

/// A key that root 2 left out signs again once root 2 is taken off the chain's end.
#[test]
fn a_root_older_than_one_that_was_in_force_is_policy_rolled_back() {
    let signed = by(files(), &[1, 2]);
    let chain = two_of_three().root().unwrap().chain;
    let own = two_of_three().root().unwrap().digest;
    let seen = |chain, version| seen(0, Some(RootRef { chain, version, digest: own }));
    let verify = |seen| {
        let trust = Trust { seen, ..trust(two_of_three(), &signed) };
        Snapshot::from_files(signed.clone()).unwrap().verify(&trust).map(drop)
    };
    assert!(verify(seen(chain, 1)).is_ok());
    assert_eq!(verify(seen(chain, 2)).unwrap_err().code(), ReasonCode::PolicyRolledBack);
    // Another chain is what an operator has pinned anew.
    assert!(verify(seen(Digest::sha256(b"another"), 2)).is_ok());
}

/// Keys 1 and 2, which root 2 had left out, signed another root 2 in its place, of keys that nobody had heard of.
#[test]
fn keys_that_a_root_had_left_out_signed_another_root_in_its_place() {
    let held = rotated().root();
    let judged = |authority: &Authority, signers: &[u8]| {
        let signed = by(files(), signers);
        let trust = Trust { seen: seen(0, held), ..trust(authority.clone(), &signed) };
        Snapshot::from_files(signed).unwrap().verify(&trust).map(drop)
    };
    assert!(judged(&rotated(), &[3, 4]).is_ok());
    assert!(judged(&rotated_to(&[(&[3, 4, 5], &[1, 3, 4]), (&[4, 5, 6], &[4, 5])]), &[4, 6]).is_ok());
    let other = rotated_to(&[(&[6, 7], &[1, 2, 6, 7])]);
    let further = rotated_to(&[(&[6, 7], &[1, 2, 6, 7]), (&[7, 8], &[6, 7, 8])]);
    for (authority, signers) in [(other, [6, 7]), (further, [7, 8])] {
        let error = judged(&authority, &signers).unwrap_err();
        assert_eq!(error.code(), ReasonCode::PolicyRolledBack);
        let fork = RolledBack::Fork { version: 2, seen: held.unwrap().digest };
        assert!(matches!(&error, BundleError::RolledBack(found) if *found == fork), "{error}");
        // Without what was in force it is as good as any.
        assert!(verify(by(files(), &signers), authority).is_ok());
    }
}

/// A configuration of the time before roots named keys of which one was enough.
#[test]
fn what_roots_vouched_for_is_not_vouched_for_by_trusted_keys_again() {
    let signed = by(files(), &[1]);
    let alone = Authority::any_of(root(1, 1, &[1]).keys().to_vec());
    let verify = |root| {
        let trust = Trust { seen: seen(0, root), ..trust(alone.clone(), &signed) };
        Snapshot::from_files(signed.clone()).unwrap().verify(&trust).map(drop)
    };
    assert!(verify(None).is_ok());
    let root = RootRef { chain: Digest::sha256(b"any"), version: 1, digest: Digest::sha256(b"any") };
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

/// The bundle of Alice and Bob (keys 1 and 2), in a directory beside the chain that says that two of three must sign, and
/// its source.
fn rooted() -> (TempDir, RootChain, BundleSource) {
    let home = TempDir::new().unwrap();
    write(&home.path().join("bundle"), &by(files(), &[1, 2]));
    let mut chain = RootChain::new(root(1, 2, &[1, 2, 3]));
    sign_root(&mut chain, &[1, 2]);
    let file = home.path().join("team.root");
    std::fs::write(&file, chain.to_text()).unwrap();
    let pin = chain.roots().next().unwrap().digest();
    let wanted = Snapshot::from_files(files()).unwrap().digest();
    let source = BundleSource::open(home.path().join("bundle"), BundleSigners::Root { file, pin }, wanted);
    (home, chain, source)
}

/// A running arbiter held the root of its start: a chain that was spoiled since was noticed at a restart only.
#[test]
fn a_chain_that_was_spoiled_vouched_on_until_a_restart() {
    let (home, chain, source) = rooted();
    let code = |source: &BundleSource| source.current().unwrap_err().code();
    let file = home.path().join("team.root");
    for source in [source, rooted_again(&home, &chain).when_settled()] {
        let before = source.current().unwrap();
        assert!(Arc::ptr_eq(&before, &source.current().unwrap()));
        for spoiled in [String::new(), chain.to_text().replacen("team", "teem", 1), chain.to_text() + "\n"] {
            std::fs::write(&file, &spoiled).unwrap();
            assert_eq!(code(&source), ReasonCode::PolicyRootInvalid, "{spoiled}");
            assert_eq!(code(&source), ReasonCode::PolicyRootInvalid, "{spoiled}");
            std::fs::write(&file, chain.to_text()).unwrap();
            assert!(source.current().is_ok());
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyRootInvalid);
        std::fs::create_dir(&file).unwrap();
        assert_eq!(code(&source), ReasonCode::PolicyRootInvalid);
        std::fs::remove_dir(&file).unwrap();
        std::fs::write(&file, chain.to_text()).unwrap();
        assert!(source.current().is_ok());
    }
}

fn rooted_again(home: &TempDir, chain: &RootChain) -> BundleSource {
    let (file, pin) = (home.path().join("team.root"), chain.roots().next().unwrap().digest());
    let wanted = Snapshot::from_files(files()).unwrap().digest();
    BundleSource::open(home.path().join("bundle"), BundleSigners::Root { file, pin }, wanted)
}

/// A key that the next root left out signed on in an arbiter that ran.
#[test]
fn a_new_root_took_effect_at_a_restart_only() {
    let (home, mut chain, source) = rooted();
    // Of a bundle whose files' times say that nothing changed.
    let source = source.when_settled();
    let before = source.current().unwrap();
    chain.add(root(2, 2, &[2, 3, 4])).unwrap();
    sign_root(&mut chain, &[2, 3]);
    let file = home.path().join("team.root");
    std::fs::write(&file, chain.to_text()).unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyThreshold, "of Bob alone");
    std::fs::write(home.path().join("bundle/bundle.sig"), &by(files(), &[2, 3])[SIGNATURE_FILE]).unwrap();
    let after = source.current().unwrap();
    assert_eq!(after.authority().root().unwrap().version, 2);
    assert_eq!(before.authority().root().unwrap().version, 1);
    // An older chain that is put back in its place is what the log tells, not the file.
    source.raise(&seen(0, after.authority().root()));
    sign_root(&mut chain, &[4]);
    std::fs::write(&file, chain.to_text()).unwrap();
    assert!(source.current().is_ok(), "one more signature changes nothing");
    let old = {
        let mut old = RootChain::new(root(1, 2, &[1, 2, 3]));
        sign_root(&mut old, &[1, 2]);
        old
    };
    std::fs::write(&file, old.to_text()).unwrap();
    std::fs::write(home.path().join("bundle/bundle.sig"), &by(files(), &[1, 2])[SIGNATURE_FILE]).unwrap();
    assert_eq!(source.current().unwrap_err().code(), ReasonCode::PolicyRolledBack);
}

/// The bundle was verified by the root before it.
#[test]
fn a_key_that_a_new_root_left_out_signed_a_bundle_that_was_being_compiled() {
    let (home, mut chain, source) = rooted();
    chain.add(root(2, 2, &[2, 3, 4])).unwrap();
    sign_root(&mut chain, &[2, 3]);
    let found = source.current_while(&|| {
        std::fs::write(home.path().join("team.root"), chain.to_text()).unwrap();
        assert_eq!(source.look().unwrap().unwrap_err().code(), ReasonCode::PolicyThreshold);
    });
    assert_eq!(found.unwrap_err().code(), ReasonCode::PolicyThreshold, "of Bob alone");
}
