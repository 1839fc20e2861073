//! Bundles: archives, manifests and signatures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use ed25519_dalek::SigningKey;
use portcullis_policy::{
    Artifact, BUNDLE_TYPE, Bundle, FactSnapshot, Given, MAX_ARCHIVE_BYTES, MAX_MANIFEST_BYTES, Root,
    RootChain, Snapshot, Trust, bundles,
};
use portcullis_protocol::request::Ask;
use portcullis_protocol::{SnapshotUse, Verdict};
use portcullis_verify::VerifierKey;
use serde_json::Value;

use crate::known::cases::packs::digest_of;

/// The name of the key that signs bundles here.
pub(crate) const SIGNER: &str = "fuzz.example/policy";

/// A key that signs bundles.
pub(crate) fn signer() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn trust(snapshot: &Snapshot) -> Trust {
    let key = VerifierKey::ed25519(SIGNER, signer().verifying_key().to_bytes()).expect("a key");
    Trust::of_keys(vec![key], snapshot.digest())
}

/// The demo's bundle, with some of its files replaced.
fn demo(path: &str, bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = bundles::demo();
    files.insert(path.to_owned(), bytes.to_vec());
    files
}

/// An archive has one spelling and its digest, and is not signed by being there.
pub(crate) fn archive(data: &[u8]) {
    let Ok(snapshot) = Snapshot::from_archive(data) else { return };
    assert_eq!(digest_of(data), Some(snapshot.digest()));
    if let Ok(statement) = snapshot.statement() {
        stated(&statement, &snapshot);
    }
    let trust = trust(&snapshot);
    let digest = snapshot.digest();
    assert!(snapshot.verify(&trust).is_err() || digest == DEMO.digest(), "nobody signed it");
}

fn stated(statement: &str, snapshot: &Snapshot) {
    let lines: Vec<_> = statement.split('\n').collect();
    let [header, name, version, digest, ""] = lines.as_slice() else { panic!("{statement:?}") };
    assert_eq!((*header, *digest), ("portcullis bundle v1", snapshot.digest().to_string().as_str()));
    assert!(
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte))
    );
    let number: u64 = version.parse().expect("a number");
    assert!((1..1 << 53).contains(&number) && number.to_string() == *version);
}

/// What is read of a registry's manifest is what another reader of JSON finds in it, and is all that decides where bytes are
/// fetched from: one layer of the right type, by SHA-256.
pub(crate) fn artifact(data: &[u8]) {
    let Ok(artifact) = Artifact::parse(data) else { return };
    let value: serde_json::Value = serde_json::from_slice(data).expect("JSON");
    let (layers, kind) = (value["layers"].as_array().expect("layers"), serde_json::Value::from(BUNDLE_TYPE));
    assert_eq!((layers.len(), &layers[0]["mediaType"], &value["artifactType"]), (1, &kind, &kind));
    assert_eq!(layers[0]["digest"].as_str(), Some(artifact.digest.to_string().as_str()));
    assert_eq!(layers[0]["size"].as_u64(), u64::try_from(artifact.size).ok());
    assert_eq!((value["schemaVersion"].as_u64(), value.get("manifests")), (Some(2), None));
    assert!(artifact.size <= MAX_ARCHIVE_BYTES && data.len() <= MAX_MANIFEST_BYTES);
    let again = artifact.to_manifest().expect("plain strings and numbers");
    assert_eq!(Artifact::parse(&again), Ok(artifact));
}

/// What `bundle check` says of a manifest is what loading says once it is signed, and unsigned it never loads.
pub(crate) fn manifest(data: &[u8]) {
    let files = demo("bundle.toml", data);
    let Ok(snapshot) = Snapshot::from_files(files.clone()) else { return };
    let Ok(statement) = snapshot.statement() else {
        assert!(snapshot.check().is_err());
        return;
    };
    stated(&statement, &snapshot);
    let trust = trust(&snapshot);
    assert!(snapshot.clone().verify(&trust).is_err(), "nobody signed it");
    let signature = snapshot.sign(&signer(), SIGNER).expect("it has a statement");
    let mut signed = files;
    signed.insert("bundle.sig".to_owned(), signature);
    let checked = snapshot.check();
    let loaded = Snapshot::from_files(signed).expect("a signature more").verify(&trust);
    assert_eq!(checked.is_ok(), loaded.is_ok(), "{checked:?}");
    if let (Ok(report), Ok(bundle)) = (checked, loaded) {
        let reference = bundle.reference();
        assert_eq!(
            (&report.name, report.version, report.digest),
            (&reference.name, reference.version, reference.digest)
        );
        assert!(report.valid_from < report.valid_until);
        // The archive that the ledger keeps is the bundle that decided.
        let again = Snapshot::from_archive(bundle.archive()).expect("an archive");
        assert_eq!(again.digest(), reference.digest);
    }
}

static DEMO: LazyLock<Snapshot> = LazyLock::new(|| Snapshot::from_files(bundles::demo()).expect("a bundle"));

/// The signature of the demo's bundle.
pub(crate) static SIGNATURE: LazyLock<Vec<u8>> =
    LazyLock::new(|| DEMO.sign(&signer(), SIGNER).expect("it has a statement"));

/// Only what was signed loads.
pub(crate) fn signature(data: &[u8]) {
    let snapshot = Snapshot::from_files(demo("bundle.sig", data));
    let Ok(snapshot) = snapshot else { return };
    assert_eq!(snapshot.digest(), DEMO.digest());
    if snapshot.verify(&trust(&DEMO)).is_ok() {
        // Signatures of keys that nobody knows may be added.
        let signed = str::from_utf8(&SIGNATURE).expect("text");
        let (text, line) = signed.split_once("\n\n").expect("a note");
        let data = str::from_utf8(data).expect("text");
        assert!(data.starts_with(&format!("{text}\n\n")) && data.contains(line), "forged");
    }
}

/// A chain has one spelling, and nobody gets in who does not hold a key: the roots that verify are those that were signed.
pub(crate) fn root(data: &[u8]) {
    let Ok(chain) = RootChain::parse(data) else { return };
    assert_eq!(str::from_utf8(data), Ok(chain.to_text().as_str()));
    for pin in [CHAIN.roots().next(), chain.roots().next()].into_iter().flatten().map(Root::digest) {
        if chain.verify(pin).is_ok() {
            let signed = |root: &Root| CHAIN.roots().any(|known| known == root);
            assert!(chain.roots().all(signed), "forged");
        }
    }
}

/// The demo's bundle, whose agents come from a source of facts.
static SOURCED: LazyLock<Bundle> = LazyLock::new(|| {
    let mut files = bundles::demo();
    let source = b"\n[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"10m\"\n";
    files.get_mut("bundle.toml").expect("a manifest").extend_from_slice(source);
    let agents = files.insert("entities.json".into(), b"[]".to_vec()).expect("entities");
    files.insert("tests/directory.json".into(), agents);
    let snapshot = Snapshot::from_files(files).expect("files");
    let signature = snapshot.sign(&signer(), SIGNER).expect("it has a statement");
    let trust = trust(&snapshot);
    snapshot.with_signature(signature).expect("signed").verify(&trust).expect("a bundle")
});

/// A document of facts is one to another parser of JSON too, which finds the same entities in it; and policy permits by it
/// only whom that parser finds.
pub(crate) fn facts(data: &[u8]) {
    let Ok(snapshot) = FactSnapshot::parse(data) else { return };
    let read: Value = serde_json::from_slice(data).expect("JSON");
    assert_eq!(read.as_object().expect("an object").len(), 3);
    assert_eq!(read["v"], 1);
    let kept: Value = serde_json::from_slice(snapshot.entities()).expect("JSON");
    assert_eq!(kept, read["entities"]);
    let named = SnapshotUse { as_of: snapshot.as_of(), digest: snapshot.digest(), max_age_ms: 1 };
    assert_eq!(FactSnapshot::from_archive(snapshot.entities(), &named), Ok(snapshot.clone()));
    let given = Given::from([("directory".parse().expect("a name"), Arc::new(snapshot))]);
    let Ok(gathered) = SOURCED.gather(&given, None) else { return };
    let ask = br#"{"surface":"demo.read_balance","action":"demo.read_balance","resource":{"type":"Surface","id":"demo.read_balance"},"context":{"account":"a"}}"#;
    let request = Ask::parse(ask).expect("a request").by("demo-agent".parse().expect("a name"));
    let said = SOURCED.evaluate_informed(&request, &BTreeSet::new(), Some(&gathered));
    let agent = serde_json::json!({ "type": "Agent", "id": "demo-agent" });
    let there = kept.as_array().expect("an array").iter().any(|entity| entity["uid"] == agent);
    assert_eq!(matches!(said.verdict, Verdict::Permit(_)), there);
}

/// Two roots, of which the second takes two keys.
pub(crate) static CHAIN: LazyLock<RootChain> = LazyLock::new(|| {
    let key = |seed: u8| SigningKey::from_bytes(&[seed; 32]);
    let named = |seed: u8| {
        VerifierKey::ed25519(&format!("fuzz.example/{seed}"), key(seed).verifying_key().to_bytes())
            .expect("a key")
    };
    let root = |version, threshold, keys| {
        Root::new("bundles", version, "2099-01-01T00:00:00Z", threshold, keys).expect("a root")
    };
    let sign = |chain: &mut RootChain, seed: u8| {
        chain.sign(&key(seed), &format!("fuzz.example/{seed}")).expect("signed")
    };
    let mut chain = RootChain::new(root(1, 1, vec![named(11)]));
    sign(&mut chain, 11);
    chain.add(root(2, 2, vec![named(11), named(12)])).expect("it follows");
    sign(&mut chain, 11);
    sign(&mut chain, 12);
    chain
});
