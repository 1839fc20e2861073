//! `portcullis log replay`: what was decided is decided again, and the state is what the records lead to.

use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_ledger::{Anchor, KeyFile, Signer};
use portcullis_verify::merkle::leaf_hash;
use portcullis_verify::note::{signature_line, signed_text};
use portcullis_verify::{Checkpoint, TileTree};
use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, peer};
use crate::{Ended, with};

/// A deployment with a log of permits, refusals, repeats and an outcome in doubt.
fn place() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    let charge = |amount: &str| json!({ "account": "acme", "amount": amount });
    gate.call_with("charge", &charge("12.50"), Some("k1")).ran();
    assert!(gate.call_with("charge", &charge("12.50"), Some("k1")).is_replay());
    for (amount, key, code) in [
        ("13.50", Some("k1"), "idempotency.conflict"),
        ("12.50", None, "idempotency.key_missing"),
        ("999.00", Some("k2"), "policy.no_grant"),
    ] {
        assert_eq!(gate.call_with("charge", &charge(amount), key).code(), code);
    }
    assert_eq!(gate.call("no_such_tool", json!({})).code(), "surface.unknown");
    assert!(with(&place.config_path, &["shut", "--reason", "a drill"]).code == 0);
    drop(gate.call("read_balance", json!({ "account": "acme" })));
    assert!(with(&place.config_path, &["open"]).code == 0);
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    place
}

pub(crate) fn replay(place: &Place, more: &[&str]) -> (Ended, Value) {
    let ended = with(&place.config_path, &[&["log", "replay", "--json"], more].concat());
    let said = serde_json::from_str(&ended.out).unwrap_or(Value::Null);
    (ended, said)
}

/// Works on the database with a program that is not ours.
pub(crate) fn sql(place: &Place, statement: &str) {
    let program = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nn=c.execute(sys.argv[2]).rowcount\nc.commit()\nassert n>0,n";
    let mut python = Command::new(peer("py/bin/python"));
    let done = python.args(["-c", program]).arg(database(place)).arg(statement).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn database(place: &Place) -> PathBuf {
    let root = place.config.data.join("ledger");
    let current = std::fs::read_to_string(root.join("CURRENT")).unwrap();
    Path::new(&root).join(current.trim_end()).join("ledger.db")
}

pub(crate) fn found(said: &Value) -> Vec<(Option<u64>, String)> {
    let findings = said["findings"].as_array().unwrap();
    findings.iter().map(|found| (found["record"].as_u64(), text_of(&found["what"]))).collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn every_decision_comes_out_the_same_byte_for_byte() {
    let place = place();
    let (ended, said) = replay(&place, &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(said["identical"].as_u64().unwrap() >= 8, "{said}");
    assert_eq!(
        (&said["different"], &said["not_replayable"], &said["findings"]),
        (&json!(0), &json!({}), &json!([]))
    );
    // What the state was compared with the records in, and in what it was not, is said.
    for of in ["compared", "not_compared"] {
        let said: Vec<&str> =
            said[of].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        assert!(said.len() >= 3, "{said:?}");
        let plain = with(&place.config_path, &["log", "replay"]);
        let line = plain.ok().lines().find(|line| line.ends_with(&said.join("; ")));
        assert!(line.is_some_and(|line| line.starts_with(&of.replace('_', " "))), "{of}: {plain:?}");
        assert!(plain.out.contains("as far as it was compared"), "{plain:?}");
    }
    // Somewhere else: a copy of everything, and nothing of the original.
    let copy = place.copied();
    drop(place);
    assert_eq!(replay(&copy, &[]).1, said);
}

#[test]
fn without_the_vault_s_key_order_and_state_are_still_compared() {
    let place = place();
    let (ended, said) = replay(&place, &["--without-key"]);
    assert_eq!((ended.code, &said["identical"]), (0, &json!(0)));
    assert!(said["not_replayable"]["key_withheld"].as_u64().unwrap() >= 8, "{said}");
    std::fs::rename(&place.config.vault_key, place.path("away")).unwrap();
    let (ended, _) = replay(&place, &[]);
    assert!(ended.code == 1 && ended.err.contains("--without-key"), "{ended:?}");
    sql(&place, "UPDATE keys SET time = time - 1");
    assert_eq!(replay(&place, &["--without-key"]).0.code, 1);
}

#[test]
fn a_missing_bundle_is_named_with_its_records() {
    let place = place();
    sql(&place, "DELETE FROM bundles");
    let (ended, said) = replay(&place, &[]);
    assert_eq!(ended.code, 1);
    let missing = |said: &Value| {
        let named = found(said);
        let named = named
            .iter()
            .filter(|(record, what)| record.is_some() && what.contains("missing from the archive"));
        u64::try_from(named.count()).unwrap()
    };
    assert_eq!(missing(&said), said["different"].as_u64().unwrap());
    // Nobody needs a key for that, nor a request.
    let (ended, without) = replay(&place, &["--without-key"]);
    assert_eq!((ended.code, missing(&without)), (1, missing(&said)));
    sql(&place, "DELETE FROM payloads");
    assert!(missing(&replay(&place, &[]).1) >= missing(&said));
}

#[test]
fn a_bundle_of_a_key_that_is_not_trusted_is_not_replayable() {
    let place = place();
    let other = portcullis_server::new_key(&place.path("other.key"), "portcullis.test/other").unwrap();
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let own = place.config.signers.authority().unwrap().keys()[0].to_string();
    std::fs::write(&place.config_path, config.replace(&own, &other.to_string())).unwrap();
    let (ended, said) = replay(&place, &[]);
    assert_eq!((ended.code, &said["different"], &said["identical"]), (2, &json!(0), &json!(0)), "{said}");
    assert!(said["not_replayable"]["bundle_untrusted"].as_u64().unwrap() >= 8);
    assert_eq!(said["unvouched"].as_array().unwrap().len(), 1, "{said}");
    let (ended, said) = replay(&place, &["--bundle-key", &own]);
    assert_eq!((ended.code, &said["not_replayable"], &said["unvouched"]), (0, &json!({}), &json!([])));
    with(&place.config_path, &["log", "check", "--bundle-key", &own]).ok();
}

#[test]
fn every_change_of_the_state_is_named_with_its_record() {
    let changes = [
        ("UPDATE keys SET time = time - 1", "its key's row in `keys`", true),
        ("UPDATE keys SET operation = zeroblob(32)", "its key's row in `keys`", true),
        ("UPDATE keys SET permit = permit + 1", "its key's row in `keys`", true),
        ("DELETE FROM keys", "its key's row in `keys`", true),
        (
            "INSERT INTO keys VALUES (7, 3, zeroblob(32), 3, 0, zeroblob(32))",
            "keys, and the records speak of",
            false,
        ),
        (
            "INSERT INTO attempts SELECT zeroblob(32), min(seq) FROM permits",
            "attempts, and the records speak of",
            false,
        ),
        (
            "INSERT INTO payloads SELECT 0, subject, expires, sealed FROM payloads LIMIT 1",
            "none of them speaks of",
            false,
        ),
        (
            "INSERT INTO payloads SELECT 1000000, subject, expires, sealed FROM payloads LIMIT 1",
            "what is kept of record 1000000 does not open",
            false,
        ),
        (
            "INSERT INTO permits SELECT 0, attempt, agent, key, due, keep_result, outcome, outcome_seq FROM permits LIMIT 1",
            "permits, and the records speak of",
            false,
        ),
        (
            "INSERT INTO spools VALUES (zeroblob(32), 1, 3)",
            "series of spools, and the records speak of",
            false,
        ),
        (
            "UPDATE permits SET keep_result = CAST(x'01' || substr(keep_result, 2) AS BLOB) WHERE key IS NOT NULL",
            "how long the result of record ",
            true,
        ),
        ("UPDATE permits SET outcome = 'unknown' WHERE outcome = 'ok'", "has another outcome", true),
        ("UPDATE permits SET outcome_seq = outcome_seq + 1", "has another outcome", true),
        ("UPDATE permits SET due = due + 1", "has its outcome due at another time", true),
        ("UPDATE permits SET agent = 'stranger-agent'", "is of another PERMIT", true),
        ("UPDATE permits SET key = zeroblob(32)", "has another key", true),
        ("DELETE FROM permits", "is missing", true),
        ("DELETE FROM attempts", "its attempt is not in the state", true),
        ("UPDATE payloads SET sealed = zeroblob(40)", "do not open", true),
        (
            "DELETE FROM payloads WHERE seq = (SELECT min(seq) FROM payloads)",
            "was to be kept for longer",
            true,
        ),
        ("DELETE FROM payloads", "was to be kept for longer", true),
        ("DELETE FROM subjects", "of a subject that is none", true),
        ("UPDATE payloads SET subject = subject + 1", "of a subject that is none", true),
        ("UPDATE subjects SET wrapped = NULL, erased = 0", "no erasure of it is on record", true),
    ];
    let original = place();
    for (statement, words, with_record) in changes {
        let place = original.copied();
        sql(&place, statement);
        let (ended, said) = replay(&place, &[]);
        assert_eq!(ended.code, 1, "{statement}: {ended:?}");
        let named = found(&said);
        assert!(
            named.iter().any(|(record, what)| record.is_some() == with_record && what.contains(words)),
            "{statement}: {named:?}"
        );
    }
    assert_eq!(replay(&original, &[]).0.code, 0);
}

/// Who has the log's key gave a result another time, and no row, index or mark could tell.
#[test]
fn an_outcome_said_another_time_for_its_result_than_its_bundle_asks_for() {
    let place = place();
    let later = "json_set(CAST(body AS TEXT), '$.kept_until', json_extract(body, '$.kept_until') + 1)";
    let of = "json_extract(body, '$.kind') = 'outcome' AND json_extract(body, '$.kept_until') IS NOT NULL";
    sql(&place, &format!("UPDATE records SET body = CAST({later} AS BLOB) WHERE {of}"));
    resign(&place);
    let (ended, said) = replay(&place, &["--without-key"]);
    let found = found(&said);
    let other = |what: &String| what.contains("does not ask for the result to be kept until then");
    assert!(ended.code == 1 && found.iter().any(|(record, what)| record.is_some() && other(what)), "{said}");
}

/// What a bundle asks not to be kept is no fault; and what depends on it cannot be told either.
#[test]
fn what_was_not_to_be_kept_is_not_replayable_and_nothing_is_found() {
    let mut bundle = portcullis_policy::bundles::demo();
    let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
    let surface = "[surfaces.\"demo.charge\"]\n";
    let manifest = manifest.replace(surface, &format!("{surface}keep = []\n"));
    bundle.insert("bundle.toml".into(), manifest.into_bytes());
    let place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    let charge = json!({ "account": "acme", "amount": "12.50" });
    gate.call_with("charge", &charge, Some("k1")).ran();
    assert_eq!(gate.call_with("charge", &charge, Some("k1")).code(), "idempotency.completed");
    assert!(gate.end().success());
    let (ended, said) = replay(&place, &[]);
    assert_eq!((ended.code, &said["findings"]), (0, &json!([])), "{said}");
    assert!(said["not_replayable"]["not_kept"].as_u64().unwrap() >= 2, "{said}");
}

#[test]
fn what_depends_on_a_request_that_is_gone_cannot_be_told() {
    let place = place();
    sql(&place, "DELETE FROM payloads WHERE seq = (SELECT min(seq) FROM permits WHERE key IS NOT NULL)");
    let (ended, said) = replay(&place, &[]);
    assert_eq!((ended.code, &said["different"]), (1, &json!(0)), "{said}");
    let why = &said["not_replayable"];
    assert!(why["not_kept"] == 1 && why["prior_not_kept"].as_u64().unwrap() >= 2, "{said}");
}

/// Its record is not the one that this engine would make, which says nothing against it.
#[test]
fn what_another_version_of_the_engine_decided_is_not_replayable() {
    let place = place();
    let (own, other) = (portcullis_policy::engine(), "cedar-policy 0.0.1");
    let replaced = format!("replace(CAST(body AS TEXT), '{own}', '{other}')");
    sql(&place, &format!("UPDATE records SET body = CAST({replaced} AS BLOB)"));
    resign(&place);
    let (ended, said) = replay(&place, &[]);
    assert_eq!((ended.code, &said["identical"], &said["different"]), (0, &json!(0), &json!(0)), "{said}");
    assert!(said["not_replayable"]["other_engine"].as_u64().unwrap() >= 8, "{said}");
}

/// Signs and anchors what the database holds now, as somebody who has the log's key can.
pub(crate) fn resign(place: &Place) {
    let program = "import sqlite3,sys\nfor body, in sqlite3.connect(sys.argv[1]).execute('SELECT body FROM records ORDER BY seq'): print(body.decode())";
    let mut python = Command::new(peer("py/bin/python"));
    let bodies = python.args(["-c", program]).arg(database(place)).output().unwrap();
    let mut tree = TileTree::new();
    String::from_utf8(bodies.stdout)
        .unwrap()
        .lines()
        .for_each(|body| tree.append(leaf_hash(body.as_bytes())));
    assert!(tree.size() > 8 && tree.take_full_tiles().is_empty(), "a short log");
    let root: String = tree.root().0.iter().map(|byte| format!("{byte:02x}")).collect();
    sql(place, &format!("UPDATE head SET root = x'{root}', note = NULL"));
    let key = place.config.log_key.clone();
    let text = Checkpoint { origin: key.name().clone(), size: tree.size(), root: tree.root() }.to_string();
    let mut signer = KeyFile::new(place.signing_key(), key.clone());
    let signature = signer.sign(signed_text(&text).unwrap()).unwrap();
    let note = format!("{text}\n{}", signature_line(&key, &signature));
    Anchor::open(&place.config.anchor).unwrap().0.keep(note.as_bytes()).unwrap();
    // They would not leave it to tell of another head.
    std::fs::remove_file(place.config.data.join("released")).unwrap();
}
