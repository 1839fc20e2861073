//! `portcullis receipts` and `portcullis verify`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, text};
use crate::{run, with};

/// A deployment with a read, a charge and a refusal in its log.
fn place() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    gate.call_with("charge", &json!({ "account": "acme", "amount": "12.50" }), Some("a")).ran();
    assert_eq!(gate.call("delete_everything", json!({})).code(), "surface.unknown");
    assert!(gate.end().success());
    place
}

fn exported(place: &Place) -> Vec<PathBuf> {
    let receipts = place.path("receipts");
    let said = with(&place.config_path, &["receipts", "export", &text(&receipts)]);
    assert!(said.ok().starts_with("3 receipts"), "{said:?}");
    let mut files: Vec<_> = std::fs::read_dir(receipts).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn key(place: &Place) -> String {
    place.config.log_key.to_string()
}

#[test]
fn the_list_says_what_was_decided_and_what_became_of_it() {
    let place = place();
    let list = with(&place.config_path, &["receipts", "list"]);
    let lines: Vec<&str> = list.ok().lines().collect();
    assert_eq!(lines.len(), 3);
    for (line, words) in lines.iter().zip([
        ["PERMIT", "ok", "demo.read_balance"],
        ["PERMIT", "ok", "demo.charge"],
        ["SILENCE", "surface.unknown", "demo.delete_everything"],
    ]) {
        assert!(words.iter().all(|word| line.split_whitespace().any(|it| it == *word)), "{line}");
    }
    let last = with(&place.config_path, &["receipts", "list", "--last", "1", "--json"]);
    let last: Value = serde_json::from_str(last.ok()).unwrap();
    assert_eq!(last["record"]["reason"], "surface.unknown");
}

#[test]
fn a_receipt_is_shown_by_its_index_or_the_beginning_of_its_attempt() {
    let place = place();
    for row in place.rows() {
        let record = row.record;
        let receipt = place.receipt(record.seq);
        for id in [record.seq.to_string(), record.attempt.to_string()[..12].to_owned()] {
            let shown = with(&place.config_path, &["receipts", "show", &id]);
            assert_eq!(shown.ok().trim_end(), receipt.trim_end());
        }
    }
    with(&place.config_path, &["receipts", "show", "nothing"]).failed("receipts list");
    with(&place.config_path, &["receipts", "show", ""]).failed("more than one");
}

#[test]
fn exported_receipts_verify_with_the_public_key_alone() {
    let place = place();
    let files = exported(&place);
    let key_file = text(&place.file("log.vkey", &format!("{}\n", key(&place))));
    for key in [key(&place), key_file] {
        let mut arguments = vec!["verify".to_owned(), "--key".to_owned(), key];
        arguments.extend(files.iter().map(|file| text(file)));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = run(&arguments);
        assert_eq!(said.ok().matches(": verified").count(), 3);
        assert_eq!(said.out.matches("\n  PERMIT ").count(), 2);
    }
}

#[test]
fn a_tampered_receipt_does_not_verify() {
    let place = place();
    let files = exported(&place);
    let good = text(&files[0]);
    let receipt = std::fs::read(&files[0]).unwrap();
    let file = place.path("tampered.tlog-proof");
    let name = text(&file);
    for at in (0..receipt.len()).step_by(7) {
        let mut bytes = receipt.clone();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        std::fs::write(&file, bytes).unwrap();
        let said = run(&["verify", "--key", &key(&place), &name]);
        assert_eq!(said.code, 1, "byte {at}: {said:?}");
        assert!(said.out.contains("NOT VERIFIED"), "byte {at}: {said:?}");
    }
    // One bad one among good ones is enough, wherever it stands, and the good ones are said to be good.
    for order in [[&good, &name], [&name, &good]] {
        let said = run(&["verify", "--key", &key(&place), order[0], order[1]]);
        assert_eq!((said.code, said.out.matches(": verified").count()), (1, 1), "{said:?}");
    }
    for cut in [0, 1, receipt.len() / 2, receipt.len() - 1] {
        std::fs::write(&file, &receipt[..cut]).unwrap();
        assert_eq!(run(&["verify", "--key", &key(&place), &name]).code, 1, "cut at {cut}");
    }
    let json = run(&["verify", "--json", "--key", &key(&place), &name]);
    let line: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &line["verified"]), (1, &Value::Bool(false)));
}

#[test]
fn a_receipt_verifies_with_no_other_key_and_not_without_one() {
    let place = place();
    let files = exported(&place);
    let other = Place::demo();
    let good = text(&files[0]);
    let said = run(&["verify", "--key", &key(&other), &good]);
    assert!(said.code == 1 && said.out.contains("NOT VERIFIED"), "{said:?}");
    // Among several keys one must fit.
    run(&["verify", "--key", &key(&other), "--key", &key(&place), &good]).ok();
    run(&["verify", "--key", "no key at all", &good]).failed("neither a verifier key");
    run(&["verify", "--key", &text(&place.file("empty", "")), &good]).failed("holds no verifier key");
    let gone = run(&["verify", "--key", &key(&place), "/nonexistent/receipt"]);
    assert!(gone.code == 1 && gone.out.contains("/nonexistent/receipt"), "{gone:?}");
}

#[test]
fn receipts_of_a_log_that_was_tampered_with_are_not_handed_out() {
    let place = place();
    // The anchor of another log.
    let other = self::place();
    std::fs::copy(&other.config.anchor, &place.config.anchor).unwrap();
    for command in [&["receipts", "list"][..], &["receipts", "show", "1"]] {
        let said = with(&place.config_path, command);
        assert!(said.code == 1 && said.out.is_empty(), "{said:?}");
    }
}
