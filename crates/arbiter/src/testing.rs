//! What the tests of this crate share.

use ed25519_dalek::SigningKey;
use portcullis_policy::{Bundle, Snapshot, Trust, bundles};
use portcullis_verify::VerifierKey;

/// The demo's bundle, signed with a key of the tests.
pub(crate) fn demo() -> Bundle {
    changed(|manifest| manifest)
}

/// The demo's bundle with another manifest.
pub(crate) fn changed(change: impl FnOnce(String) -> String) -> Bundle {
    bundle(change, None)
}

/// The demo's bundle with one grant more, for every charge of its agent, that asks for what these annotations say.
pub(crate) fn asking(annotations: &str) -> Bundle {
    let grant = format!(
        "@id(\"asks\")\n{annotations}\n\
         permit (principal == Agent::\"demo-agent\", action == Action::\"demo.charge\", resource);"
    );
    bundle(|manifest| manifest, Some(grant))
}

fn bundle(change: impl FnOnce(String) -> String, more: Option<String>) -> Bundle {
    let key = SigningKey::from_bytes(&[7; 32]);
    let verifier = VerifierKey::ed25519("bundle.test", key.verifying_key().to_bytes()).unwrap();
    let mut files = bundles::demo();
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    files.insert("bundle.toml".into(), change(manifest).into_bytes());
    files.extend(more.map(|policies| ("policies/more.cedar".to_owned(), policies.into_bytes())));
    let unsigned = Snapshot::from_files(files.clone()).unwrap();
    let pin = unsigned.digest();
    files.insert("bundle.sig".into(), unsigned.sign(&key, "bundle.test").unwrap());
    Snapshot::from_files(files).unwrap().verify(&Trust { keys: vec![verifier], pin }).unwrap()
}
