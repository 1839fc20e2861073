//! What the tests of this crate share.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use portcullis_policy::{Bundle, Snapshot, Trust, bundles};
use portcullis_verify::VerifierKey;

/// Two people of finance and one of security.
const ROSTER: &str = r#"
[roster.people.ada]
name = "Ada"
roles = ["finance"]
keys = [{ type = "ed25519", key = "MSRhegRhQBLrL0CPpRSoy2JRh+8RFm+Z1CYAtg2OlHU=" }]
[roster.people.ben]
name = "Ben"
roles = ["finance"]
keys = [{ type = "ed25519", key = "MUkIUn05XTMNq/XinTGRgFA2mvDE8J5CL+l+ovWeOOE=" }]
[roster.people.zoe]
name = "Zoe"
roles = ["security"]
keys = [{ type = "ed25519", key = "V3D4WZ+CZa7gLcBOttAja3VDSil3UDrfx5DX8eTrcdg=" }]
"#;

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
    bundle(|manifest| format!("{manifest}{ROSTER}"), Some(grant))
}

fn bundle(change: impl FnOnce(String) -> String, more: Option<String>) -> Bundle {
    let mut files = bundles::demo();
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    files.insert("bundle.toml".into(), change(manifest).into_bytes());
    files.extend(more.map(|policies| ("policies/more.cedar".to_owned(), policies.into_bytes())));
    verified(files)
}

/// A bundle of these files, signed with a key of the tests.
pub(crate) fn verified(mut files: BTreeMap<String, Vec<u8>>) -> Bundle {
    let key = SigningKey::from_bytes(&[7; 32]);
    let verifier = VerifierKey::ed25519("bundle.test", key.verifying_key().to_bytes()).unwrap();
    let unsigned = Snapshot::from_files(files.clone()).unwrap();
    let pin = unsigned.digest();
    files.insert("bundle.sig".into(), unsigned.sign(&key, "bundle.test").unwrap());
    Snapshot::from_files(files).unwrap().verify(&Trust::of_keys(vec![verifier], pin)).unwrap()
}
