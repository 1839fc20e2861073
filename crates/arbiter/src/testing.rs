//! What the tests of this crate share.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use portcullis_policy::{Bundle, FactSnapshot, Given, Snapshot, Trust, bundles};
use portcullis_protocol::Millis;
use portcullis_verify::VerifierKey;

use crate::fact::{Clock, Evidence, Fact, GateState, Policy, State, Validity};
use crate::{Health, PolicyNow};

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

/// The demo's bundle in which agents act for people, and its agent charges only for nobody or for one of finance, with
/// labels where somebody reads account `web`.
pub(crate) fn delegated() -> Bundle {
    let mut files = bundles::demo();
    files.retain(|path, _| !path.starts_with("tests/"));
    let mut edit = |path: &str, from: &str, to: &str| {
        let text = String::from_utf8(files[path].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        files.insert(path.into(), text.replacen(from, to, 1).into_bytes());
    };
    let begin = "[surfaces.\"demo.read_balance\"]";
    let labels = "[labels.untrusted-input]\nlifetime = \"8h\"\n[principals]\ntype = \"User\"\n";
    edit("bundle.toml", begin, &format!("{labels}{begin}"));
    let entities = "entity Group;\nentity User in [Group];\nentity Agent;";
    edit("schema.cedarschema", "entity Agent;", entities);
    edit("schema.cedarschema", "amount: decimal", "amount: decimal, acts_for?: User, labels: Set<String>");
    let people = r#"[ { "uid": { "type": "Group", "id": "finance" }, "attrs": {}, "parents": [] },
        { "uid": { "type": "User", "id": "maya" }, "attrs": {}, "parents": [{ "type": "Group", "id": "finance" }] },
        { "uid": { "type": "User", "id": "kim" }, "attrs": {}, "parents": [] },"#;
    edit("entities.json", "[", people);
    let more = r#"
        @id("reads-the-web") @adds_label("untrusted-input")
        permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "web" };
        @id("for-finance")
        forbid (principal, action == Action::"demo.charge", resource)
        when { context has acts_for && !(context.acts_for in Group::"finance") };
        @id("nothing-out")
        forbid (principal, action == Action::"demo.charge", resource) when { context.labels.contains("untrusted-input") };"#;
    files.insert("policies/more.cedar".into(), more.into());
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

/// Surroundings in which nothing is amiss, at this time: this bundle is in force, and witnesses are there.
pub(crate) fn sound(bundle: &Bundle, now: Millis) -> Health {
    let digest = Some(bundle.reference().digest);
    Health {
        gate: Fact::Known(GateState::Open),
        clock: Fact::Known(Clock::Steady),
        evidence: Fact::Known(Evidence::Sound),
        state: Fact::Known(State::Held),
        policy: Fact::Known(PolicyNow { digest, root: None, policy: Policy::InForce(Validity::Valid) }),
        sources: Fact::Known(portcullis_protocol::Snapshots::new()),
        witnesses: Fact::Known(true),
        now,
        boot: 10_500,
    }
}

/// The demo's bundle, whose agents come from `directory` and may be ten minutes old, with more in `bundle.toml`.
pub(crate) fn sourced(more: &str) -> Bundle {
    sourced_from("2025-01-01T00:00:00Z", more)
}

/// As [`sourced`], valid from another instant on.
pub(crate) fn sourced_from(valid_from: &str, more: &str) -> Bundle {
    let mut files = bundles::demo();
    let source = "\n[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"10m\"\n";
    let manifest = String::from_utf8(files["bundle.toml"].clone()).unwrap();
    let manifest = manifest.replace("2025-01-01T00:00:00Z", valid_from);
    files.insert("bundle.toml".into(), format!("{manifest}{source}{more}{ROSTER}").into_bytes());
    let agents = files.insert("entities.json".into(), b"[]".to_vec()).unwrap();
    files.insert("tests/directory.json".into(), agents);
    verified(files)
}

/// What the directory gives: these agents, as of a time.
pub(crate) fn given(as_of: Millis, agents: &[&str]) -> Given {
    let agent = |id: &&str| format!(r#"{{"uid":{{"type":"Agent","id":"{id}"}},"attrs":{{}},"parents":[]}}"#);
    // The demo's policies name this one.
    let agents: Vec<_> = ["demo-agent"].iter().chain(agents).map(agent).collect();
    let text = format!(r#"{{"v":1,"as_of":"2026-01-01T00:00:00Z","entities":[{}]}}"#, agents.join(","));
    let snapshot = FactSnapshot::parse(text.as_bytes()).unwrap().at(as_of);
    Given::from([("directory".parse().unwrap(), std::sync::Arc::new(snapshot))])
}
