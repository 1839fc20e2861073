//! `portcullis payloads erase`: what was kept is gone, what was proved stays proved.

use portcullis_protocol::{Payload, Record};
use serde_json::{Value, json};

use crate::replay::{resign, sql};
use crate::support::{Daemon, Gate, Place, demo_server, text, until};
use crate::{Ended, with};

fn erase(place: &Place, more: &[&str]) -> Ended {
    with(&place.config_path, &[&["payloads", "erase", "--reason", "asked for by the person"], more].concat())
}

fn replay(place: &Place) -> Value {
    let ended = with(&place.config_path, &["log", "replay", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// The wrapped keys, as the database has them.
fn wrapped(place: &Place) -> Vec<Vec<u8>> {
    let program = "import sqlite3,sys\nfor row in sqlite3.connect(sys.argv[1]).execute('SELECT wrapped FROM subjects'):print(row[0].hex())";
    let root = place.config.data.join("ledger");
    let current = std::fs::read_to_string(root.join("CURRENT")).unwrap();
    let database = root.join(current.trim_end()).join("ledger.db");
    let mut python = std::process::Command::new(crate::support::peer("py/bin/python"));
    let output = python.args(["-c", program]).arg(database).output().unwrap();
    assert!(output.status.success());
    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(digit).collect()).collect()
}

/// Whether bytes lie in any file of the data directory.
fn lies_on_disk(place: &Place, bytes: &[u8]) -> bool {
    let mut folders = vec![place.config.data.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if std::fs::read(entry.path())
                .is_ok_and(|file| file.windows(bytes.len()).any(|window| window == bytes))
            {
                return true;
            }
        }
    }
    false
}

fn charge(gate: &mut Gate, key: &str) -> crate::support::Answer {
    gate.call_with("charge", &json!({ "account": "acme", "amount": "12.50" }), Some(key))
}

#[test]
fn an_erased_agent_s_payloads_are_gone_and_every_proof_stays_valid() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    charge(&mut gate, "k1").ran();
    assert!(charge(&mut gate, "k1").is_replay());
    let before = replay(&place);
    assert_eq!(before["not_replayable"], json!({}));
    let keys = wrapped(&place);
    assert!(keys.len() == 1 && lies_on_disk(&place, &keys[0]));

    // While the gate hosts the arbiter.
    let said = erase(&place, &["--subject", "demo-agent", "--json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["erased"], "demo-agent");
    // As soon as no reader holds the write-ahead log in use.
    until("a key that lies nowhere", || (!lies_on_disk(&place, &keys[0])).then_some(()));
    let after = replay(&place);
    assert_eq!((&after["different"], &after["identical"]), (&json!(0), &json!(0)));
    assert_eq!(after["not_replayable"]["erased"], before["identical"]);

    // It still runs once, and what it gave is not known any more.
    let again = charge(&mut gate, "k1");
    assert_eq!((again.code(), again.is_replay()), ("idempotency.completed", false));
    // What comes now is kept under a new key, which opens nothing of the old.
    charge(&mut gate, "k2").ran();
    assert!(charge(&mut gate, "k2").is_replay());
    assert!(gate.end().success());
    let last = replay(&place);
    assert!(last["identical"].as_u64().unwrap() >= 1, "{last}");
    assert_eq!(last["not_replayable"]["erased"], before["identical"]);
    // Every receipt verifies, the erasure's own record too.
    let log = place.log();
    let order = log.records.iter().any(|record| {
        let text = String::from_utf8(record.to_bytes().unwrap()).unwrap();
        text.contains("erase_payloads") && text.contains("asked for by the person")
    });
    assert!(order, "the erasure is on record");
}

#[test]
fn erasing_needs_an_operator_and_somebody_to_erase() {
    let place = Place::demo();
    let said = erase(&place, &["--subject", "demo-agent"]);
    assert!(said.code == 1 && said.err.contains("nothing is kept"), "{said:?}");
    let daemon = Daemon::start(&place);
    let agent = place.path("keys/demo-agent.token");
    let said = erase(&place, &["--subject", "demo-agent", "--token-file", agent.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{said:?}");
    drop(daemon);
    let log = place.log();
    let ordered = log
        .records
        .iter()
        .any(|record| String::from_utf8(record.to_bytes().unwrap()).unwrap().contains("erase_payloads"));
    assert!(!ordered, "nothing was erased");
}

/// A deployment whose charges have this kept.
fn keeping(keep: &str) -> Place {
    let mut bundle = portcullis_policy::bundles::demo();
    let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
    let surface = "[surfaces.\"demo.charge\"]\n";
    bundle.insert(
        "bundle.toml".into(),
        manifest.replace(surface, &format!("{surface}keep = {keep}\n")).into_bytes(),
    );
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

fn show(place: &Place, seq: u64, more: &[&str]) -> Ended {
    with(&place.config_path, &[&["payloads", "show", &seq.to_string()], more].concat())
}

fn shown(place: &Place, seq: u64) -> Value {
    serde_json::from_str(show(place, seq, &["--json"]).ok()).unwrap()
}

/// The record of the first charge, and that of what became of it.
fn charged(place: &Place) -> (u64, u64) {
    let log = place.log();
    let charge = log.rows.iter().find(|row| row.record.surface.as_str() == "demo.charge").unwrap();
    let ended = log.records.iter().find_map(|record| match record {
        Record::Outcome(entry) if entry.permit == charge.record.seq => Some(entry.seq),
        Record::Outcome(_)
        | Record::Decision(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    (charge.record.seq, ended.unwrap())
}

/// What a call was made with, beside what policy reads, was nowhere: its record commits to it, and nobody could say to what.
#[test]
fn arguments_that_the_bundle_has_kept_are_shown_to_whoever_has_the_vault_s_key_and_to_nobody_once_they_are_erased()
 {
    let place = keeping(r#"["arguments", "result"]"#);
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    let arguments =
        json!({ "account": "acme", "amount": "12.50", "note": "for canary\u{202e}", "n": [1, 2] });
    gate.call_with("charge", &arguments, Some("k1")).ran();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    let (charge, ended) = charged(&place);
    let said = shown(&place, charge);
    assert_eq!((&said["record"], &said["agent"]), (&json!(charge), &json!("demo-agent")));
    assert_eq!(said["request"]["context"]["amount"], "12.50");
    let payload = &said["payload"];
    let kept: Value = serde_json::from_str(payload["arguments"].as_str().unwrap()).unwrap();
    assert_eq!((kept, &payload["name"], &payload["server"]), (arguments, &json!("charge"), &json!("demo")));
    assert!(shown(&place, ended)["result"].as_str().unwrap().contains("12.50"));
    let text = show(&place, charge, &[]);
    assert!(text.ok().contains("for canary\u{fffd}") && !text.out.contains('\u{202e}'), "{text:?}");
    assert!(!lies_on_disk(&place, b"canary"), "in clear");
    let log = place.log();
    let read = log.rows.iter().find(|row| row.record.surface.as_str() == "demo.read_balance").unwrap();
    assert_eq!(shown(&place, read.record.seq).get("payload"), None, "its surface does not say so");
    // What is no decision commits to nothing of the kind, and what is not there is not shown.
    show(&place, 0, &[]).failed("commits to no request");
    show(&place, 1_000_000, &[]).failed("record 1000000");
    with(&place.config_path, &["log", "check", "--with-key"]).ok();
    assert_eq!(replay(&place)["not_replayable"], json!({}));
    // Without the key, or with another's, nobody.
    let key = place.config.vault_key.clone();
    std::fs::rename(&key, place.path("away")).unwrap();
    show(&place, charge, &[]).failed("vault");
    std::fs::copy(keeping("[]").config.vault_key, &key).unwrap();
    show(&place, charge, &[]).failed("not the ledger's");
    std::fs::rename(place.path("away"), &key).unwrap();
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert_eq!(erase(&place, &["--subject", "demo-agent"]).code, 0);
    for seq in [charge, ended] {
        show(&place, seq, &[]).failed("was erased");
    }
    assert!(gate.end().success());
}

#[test]
fn a_call_whose_arguments_are_too_long_to_be_kept_is_refused_and_does_not_run() {
    let place = keeping(r#"["arguments"]"#);
    let journal = place.path("journal");
    let mut gate = Gate::start(&place.config_path, &demo_server(&journal));
    let long = json!({ "account": "acme", "amount": "1.00", "note": "x".repeat(256 * 1024) });
    let refused = gate.call_with("charge", &long, Some("k1"));
    assert_eq!(refused.code(), "surface.arguments_unkept", "{}", refused.0);
    let told = refused.told().unwrap();
    assert_eq!(told["captured"], "logged");
    assert!(told["reason"]["detail"].as_str().unwrap().contains("262,144"), "{told}");
    assert!(!journal.exists() || std::fs::read_to_string(&journal).unwrap().is_empty(), "it ran");
    // A shorter one, of which each byte is escaped, comes over the socket and through the API whole.
    let most = json!({ "account": "acme", "amount": "1.00", "note": "\"".repeat(120 * 1024) });
    gate.call_with("charge", &most, Some("k1")).ran();
    assert!(gate.end().success());
    let log = place.log();
    let permit = log.rows.iter().find(|row| row.record.reason.is_none()).unwrap();
    let kept = shown(&place, permit.record.seq);
    let kept: Value = serde_json::from_str(kept["payload"]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(kept, most);
    let said = replay(&place);
    assert_eq!((&said["different"], &said["not_replayable"]), (&json!(0), &json!({})), "{said}");
}

#[test]
fn a_request_in_a_file_is_decided_with_what_its_payload_is_the_digest_of() {
    let place = keeping(r#"["arguments"]"#);
    let payload = json!({
        "server": "books", "method": "tools/call", "name": "charge", "arguments": "{\"to\":\"acme\"}", "rest": "",
    });
    let parsed: Payload = serde_json::from_value(payload.clone()).unwrap();
    let request = json!({
        "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "1.00" },
        "idempotency_key": "k1", "payload": parsed.digest(),
    });
    let request = text(&place.file("request.json", &request.to_string()));
    let decide = |more: &[&str]| with(&place.config_path, &[&["decide", &request], more].concat());
    let told = |ended: &Ended, code: &str| {
        assert_eq!(ended.code, 4, "{ended:?}");
        let reply: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(
            (&reply["reason"]["code"], &reply["captured"]),
            (&json!(code), &json!("logged")),
            "{reply}"
        );
    };
    told(&decide(&[]), "surface.arguments_unkept");
    let mut other = payload.clone();
    other["arguments"] = "{\"to\":\"mallory\"}".into();
    let other = text(&place.file("other.json", &other.to_string()));
    told(&decide(&["--payload", &other]), "surface.arguments_unkept");
    for (name, content) in
        [("part.json", "{\"server\":\"books\"}"), ("twice.json", "{\"server\":\"a\",\"server\":\"b\"}")]
    {
        let ended = decide(&["--payload", &text(&place.file(name, content))]);
        assert!(ended.code == 1 && ended.err.contains(name), "{ended:?}");
    }
    let own = text(&place.file("payload.json", &payload.to_string()));
    let reply: Value = serde_json::from_str(decide(&["--payload", &own]).ok()).unwrap();
    assert_eq!(reply["decision"], "PERMIT", "{reply}");
    let log = place.log();
    let permit = log.rows.iter().find(|row| row.record.reason.is_none()).unwrap();
    assert_eq!(shown(&place, permit.record.seq)["payload"], payload);
}

#[test]
fn what_is_kept_of_another_request_or_result_is_not_shown_as_what_its_record_commits_to() {
    let place = keeping(r#"["arguments", "result"]"#);
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    for key in ["k1", "k2", "k3", "k4"] {
        charge(&mut gate, key).ran();
    }
    assert!(gate.end().success());
    let (decision, ended) = charged(&place);
    for (seq, member) in [(decision, "request"), (ended, "result")] {
        let other = format!("json_set(CAST(body AS TEXT), '$.{member}', 'sha256:{}')", "0".repeat(64));
        sql(&place, &format!("UPDATE records SET body = CAST({other} AS BLOB) WHERE seq = {seq}"));
    }
    resign(&place);
    for seq in [decision, ended] {
        let said = show(&place, seq, &["--json"]);
        said.failed("is not what the record commits to");
        assert_eq!(said.out, "");
    }
    assert_eq!(shown(&place, decision + 2)["agent"], "demo-agent");
}
