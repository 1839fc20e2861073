//! `portcullis payloads erase`: what was kept is gone, what was proved stays proved.

use serde_json::{Value, json};

use crate::support::{Daemon, Gate, Place, demo_server, until};
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
