//! What the tests of this crate share: a small valid bundle, its variations, keys and requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use portcullis_protocol::request::Ask;
use portcullis_protocol::{ReasonCode, Request};
use portcullis_verify::VerifierKey;

use crate::files::Files;
use crate::{
    Bundle, BundleError, BundleSigners, BundleSource, Evaluation, Fault, SIGNATURE_FILE, Snapshot, Trust,
};

pub(crate) const KEY_NAME: &str = "portcullis.test/bundle";

const MANIFEST: &str = r#"
name = "test"
version = 7
valid_from = "2026-01-01T00:00:00Z"
valid_until = "2026-02-01T00:00:00Z"

[surfaces."pay.charge"]
tier = "critical"
on_silence = "terminate"
idempotency = "key"
permit_ttl = "5s"
actions = ["charge", "refund"]
resource = { type = "Account", id = "a-1" }
context.amount = { type = "decimal", scale = 2, from = "/amount" }
context.count = { type = "integer", from = "/count" }
context.note = { type = "string", from = "/note", optional = true }

[surfaces."fs.read"]
tier = "read"
on_silence = "terminate"
permit_ttl = "250ms"
context.path = { type = "path", from = "/path" }
context.url = { type = "url", from = "/url", optional = true }
context.tags = { type = "strings", from = "/tags", optional = true }
context.dry = { type = "boolean", from = "/dry", optional = true }
"#;

const SCHEMA: &str = r#"
entity Group;
entity Agent in [Group] = { owner?: Agent };
entity Surface;
entity Account in [Group];
type Payment = { amount: decimal, count: Long, note?: String };
action "any";
action "charge", "refund" in ["any"] appliesTo { principal: Agent, resource: Account, context: Payment };
action "fs.read" in ["any"] appliesTo {
  principal: Agent,
  resource: Surface,
  context: { path: String, url?: String, tags?: Set<String>, dry?: Bool },
};
"#;

const ENTITIES: &str = r#"[
  { "uid": { "type": "Agent", "id": "bot" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Agent", "id": "rogue" }, "attrs": {}, "parents": [{ "type": "Group", "id": "suspended" }] },
  { "uid": { "type": "Group", "id": "suspended" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Account", "id": "a-1" }, "attrs": {}, "parents": [] }
]"#;

const POLICIES: &str = r#"
@id("may-charge")
permit (principal, action == Action::"charge", resource)
when { context.amount.lessThanOrEqual(decimal("100.00")) };

@id("may-read")
permit (principal, action == Action::"fs.read", resource) when { context.path like "/safe/*" };

@id("no-suspended")
forbid (principal in Group::"suspended", action, resource);
"#;

/// The tool `fs/read`, as its surface reads what it takes.
pub(crate) const FS_READ: &str = r#"{"name":"read","inputSchema":{"type":"object","required":["path"],"properties":{"path":{"type":"string"},"url":{"type":"string"},"tags":{"type":"array","items":{"type":"string"}},"dry":{"type":"boolean"}}}}"#;

/// A valid bundle, unsigned.
pub(crate) fn files() -> Files {
    [
        ("bundle.toml", MANIFEST),
        ("schema.cedarschema", SCHEMA),
        ("entities.json", ENTITIES),
        ("policies/main.cedar", POLICIES),
    ]
    .into_iter()
    .map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))
    .map(
        |(path, text)| {
            if path == "bundle.toml" { (path, [text, roster().into_bytes()].concat()) } else { (path, text) }
        },
    )
    .collect()
}

/// Four people: three of finance, one of security and controlling, and roles `a` and `b` for two of them.
fn roster() -> String {
    let people = [
        ("ada", "[\"finance\", \"a\"]"),
        ("ben", "[\"finance\", \"b\"]"),
        ("eve", "[\"finance\"]"),
        ("zoe", "[\"security\", \"controller\"]"),
    ];
    let person = |(seed, (id, roles)): (u8, (&str, &str))| {
        let key = verifier_key(seed);
        format!(
            "\n[roster.people.{id}]\nname = \"{id}\"\nroles = {roles}\nkeys = [{{ type = \"ed25519\", key = \"{key}\" }}]\n"
        )
    };
    (101..).zip(people).map(person).collect()
}

/// The valid bundle with `from` replaced by `to` in one file. `from` must be there.
pub(crate) fn with(path: &str, from: &str, to: &str) -> Files {
    edit(files(), path, from, to)
}

pub(crate) fn edit(mut files: Files, path: &str, from: &str, to: &str) -> Files {
    let text = String::from_utf8(files[path].clone()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {path}");
    files.insert(path.to_owned(), text.replace(from, to).into_bytes());
    files
}

/// The valid bundle with other policies.
pub(crate) fn with_policies(policies: &str) -> Files {
    let mut files = files();
    files.insert("policies/main.cedar".to_owned(), policies.as_bytes().to_vec());
    files
}

pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn verifier_key(seed: u8) -> VerifierKey {
    VerifierKey::ed25519(KEY_NAME, signing_key(seed).verifying_key().to_bytes()).unwrap()
}

/// Trust in key 1 and in exactly these files.
pub(crate) fn trust(files: &Files) -> Trust {
    let pin = Snapshot::from_files(files.clone()).unwrap().digest();
    Trust::of_keys(vec![verifier_key(1)], pin)
}

/// A source of the bundle at a place that trusts key 1, and of exactly these files.
pub(crate) fn source(place: impl Into<PathBuf>, files: &Files) -> BundleSource {
    let pin = Snapshot::from_files(files.clone()).unwrap().digest();
    BundleSource::open(place, BundleSigners::Keys(vec![verifier_key(1)]), pin)
}

/// The files with a signature by key 1.
pub(crate) fn signed(mut files: Files) -> Files {
    let signature = Snapshot::from_files(files.clone()).unwrap().sign(&signing_key(1), KEY_NAME).unwrap();
    files.insert(SIGNATURE_FILE.to_owned(), signature);
    files
}

/// Signed, pinned, verified.
pub(crate) fn load(files: Files) -> Result<Bundle, BundleError> {
    let trust = trust(&files);
    Snapshot::from_files(signed(files)).unwrap().verify(&trust)
}

pub(crate) fn bundle(files: Files) -> Bundle {
    load(files).unwrap()
}

/// What is wrong with these files, which must be `policy.corrupt` to `check` and to `verify` alike, and yield no
/// bundle.
#[track_caller]
pub(crate) fn fault(files: Files) -> Fault {
    let checked = match Snapshot::from_files(files.clone()) {
        Ok(snapshot) => snapshot.check().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(checked.code(), ReasonCode::PolicyCorrupt, "{checked}");
    assert!(!checked.remedy().is_empty());
    if Snapshot::from_files(files.clone()).is_ok_and(|snapshot| snapshot.statement().is_ok()) {
        assert_eq!(load(files).unwrap_err(), checked, "verify and check must agree");
    }
    let BundleError::Corrupt(defect) = checked else { panic!("not policy.corrupt") };
    defect.fault
}

/// The text of what is wrong, with file and line.
#[track_caller]
pub(crate) fn defect(files: Files) -> String {
    let error = Snapshot::from_files(files.clone()).and_then(|snapshot| snapshot.check()).unwrap_err();
    fault(files);
    error.to_string()
}

/// A request by `agent`: surface, action, resource as `Type:id`, and context in JSON.
pub(crate) fn request(agent: &str, surface: &str, action: &str, resource: &str, context: &str) -> Request {
    let (kind, id) = resource.split_once(':').unwrap();
    let ask = format!(
        r#"{{"surface":"{surface}","action":"{action}","resource":{{"type":"{kind}","id":"{id}"}},"context":{context}}}"#
    );
    Ask::parse(ask.as_bytes()).unwrap().by(agent.parse().unwrap())
}

pub(crate) fn charge(agent: &str, amount: &str) -> Request {
    let context = format!(r#"{{"amount":"{amount}","count":1}}"#);
    request(agent, "pay.charge", "charge", "Account:a-1", &context)
}

pub(crate) fn read(agent: &str, context: &str) -> Request {
    request(agent, "fs.read", "fs.read", "Surface:fs.read", context)
}

/// The code and the ids of an evaluation, in one line: `PERMIT a, b` or `policy.forbidden c`.
pub(crate) fn said(evaluation: &Evaluation) -> String {
    let word = evaluation.verdict.reason().map_or("PERMIT", ReasonCode::as_str);
    let ids: Vec<_> = evaluation.verdict.policies().iter().map(ToString::to_string).collect();
    format!("{word} {}", ids.join(", ")).trim_end().to_owned()
}

/// Writes the files into an empty directory.
pub(crate) fn write(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    std::fs::create_dir_all(dir.join("policies")).unwrap();
    for (path, bytes) in files {
        std::fs::write(dir.join(path), bytes).unwrap();
    }
}

/// `[facts.directory]`: agents and groups come from elsewhere.
pub(crate) const DIRECTORY: &str = "[facts.directory]\ntypes = [\"Agent\", \"Group\"]\nmax_age = \"10m\"\n";

/// What the directory gives: `bot` in no group, `rogue` suspended.
pub(crate) const GIVEN: &str = r#"[
  { "uid": { "type": "Agent", "id": "bot" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "Agent", "id": "rogue" }, "attrs": {}, "parents": [{ "type": "Group", "id": "suspended" }] },
  { "uid": { "type": "Group", "id": "suspended" }, "attrs": {}, "parents": [] }
]"#;

/// The valid bundle, of which agents and groups come from the directory, with more in `bundle.toml`.
pub(crate) fn sourced(more: &str) -> Files {
    let mut files =
        with("bundle.toml", "[roster.people.ada]", &format!("{DIRECTORY}{more}\n[roster.people.ada]"));
    let account = r#"[{ "uid": { "type": "Account", "id": "a-1" }, "attrs": {}, "parents": [] }]"#;
    files.insert("entities.json".to_owned(), account.as_bytes().to_vec());
    files
}

/// A document of facts.
pub(crate) fn document(as_of: &str, entities: &str) -> Vec<u8> {
    format!(r#"{{"v":1,"as_of":"{as_of}","entities":{entities}}}"#).into_bytes()
}

/// What the directory gives, as of noon.
pub(crate) fn given(entities: &str) -> crate::Given {
    let snapshot = crate::FactSnapshot::parse(&document("2026-01-10T12:00:00Z", entities)).unwrap();
    crate::Given::from([("directory".parse().unwrap(), std::sync::Arc::new(snapshot))])
}
