//! `portcullis log export` and `portcullis log verify`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, program, text};
use crate::{Ended, run, with};

/// A deployment whose log has more records than a tile has.
fn place() -> Place {
    let place = Place::demo();
    grow(&place, 135);
    place
}

/// Two records for each of so many calls, and those of a start and an end.
fn grow(place: &Place, calls: usize) {
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    for _ in 0..calls {
        gate.call("read_balance", json!({ "account": "acme" })).ran();
    }
    assert!(gate.end().success());
}

fn export(place: &Place, to: &Path) -> Ended {
    with(&place.config_path, &["log", "export", &text(to)])
}

fn verify(place: &Place, directory: &Path, more: &[&str]) -> Ended {
    let (directory, key) = (text(directory), place.config.log_key.to_string());
    run(&[&["log", "verify", &directory, "--key", &key], more].concat())
}

fn refused(said: &Ended, words: &str) {
    assert!(
        said.code == 1 && said.out.contains("NOT VERIFIED") && said.out.contains(words),
        "`{words}`: {said:?}"
    );
}

/// Every file below a directory, by its path in it.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, below: PathBuf, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(root.join(&below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                collect(root, path, found);
            } else {
                found.insert(text(&path), std::fs::read(entry.path()).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(directory, PathBuf::new(), &mut found);
    found
}

#[test]
fn an_exported_log_verifies_with_the_public_key_alone_and_every_changed_file_is_named() {
    let place = place();
    let log = place.path("log");
    let said = export(&place, &log);
    assert!(said.ok().contains("log verify"), "{said:?}");
    let records = place.log().records.len();
    let verified = verify(&place, &log, &["--json"]);
    let line: Value = serde_json::from_str(verified.ok()).unwrap();
    assert_eq!(
        (&line["verified"], &line["records"], &line["pruned"]),
        (&json!(true), &json!(records), &json!(0))
    );
    assert!(verify(&place, &log, &[]).ok().contains(": verified\n"));

    let exported = files(&log);
    assert!(exported.len() >= 1 + 3 + 2, "{:?}", exported.keys());
    for (name, bytes) in &exported {
        let path = log.join(name);
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        for changed in [Some(flipped), Some(bytes[..middle].to_vec()), None] {
            match changed {
                Some(changed) => std::fs::write(&path, changed).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            refused(&verify(&place, &log, &[]), &format!("`{name}`"));
        }
        std::fs::write(&path, bytes).unwrap();
    }
    let stray = log.join("tile/0/007");
    std::fs::write(&stray, "x").unwrap();
    refused(&verify(&place, &log, &[]), "`tile/0/007` is no part");
    std::fs::remove_file(stray).unwrap();
    assert!(verify(&place, &log, &[]).code == 0);
    let other = Place::demo();
    refused(&verify(&other, &log, &[]), "checkpoint");

    let (directory, key) = (text(&log), place.config.log_key.to_string());
    let standing = |words: &str| run(&["log", "verify", &directory, "--key", &format!("{key} {words}")]);
    assert!(standing(&format!("until {records}")).code == 0);
    refused(&standing(&format!("until {}", records - 1)), "was retired at size");
    refused(&standing("revoked"), "only the revoked key");
    assert!(standing("until tomorrow").err.contains("`until SIZE` or `revoked`"));
}

#[test]
fn an_export_is_extended_and_its_full_tiles_are_not_written_again() {
    use std::os::unix::fs::MetadataExt;
    let place = place();
    let log = place.path("log");
    export(&place, &log).ok();
    let first = files(&log);
    let full = log.join("tile/0/000");
    let written = std::fs::metadata(&full).unwrap();
    let kept = place.file("kept", std::str::from_utf8(&first["checkpoint"]).unwrap());

    let again = with(&place.config_path, &["log", "export", &text(&log), "--json"]);
    let line: Value = serde_json::from_str(again.ok()).unwrap();
    assert_eq!(line["written"], 0);

    grow(&place, 140);
    let extended = with(&place.config_path, &["log", "export", &text(&log), "--json"]);
    let line: Value = serde_json::from_str(extended.ok()).unwrap();
    assert!(line["before"].as_u64().unwrap() > 256 && line["size"].as_u64().unwrap() > 512, "{line}");
    let now = std::fs::metadata(&full).unwrap();
    assert_eq!((now.ino(), now.mtime_nsec()), (written.ino(), written.mtime_nsec()));
    let second = files(&log);
    for (name, bytes) in first.iter().filter(|(name, _)| *name != "checkpoint") {
        assert_eq!(second.get(name), Some(bytes), "{name}: readers of the earlier head need it");
    }
    assert!(verify(&place, &log, &["--since", &text(&kept)]).code == 0);
    let fresh = place.path("fresh");
    export(&place, &fresh).ok();
    assert!(files(&fresh).iter().all(|(name, bytes)| second.get(name) == Some(bytes)));
}

#[test]
fn a_rolled_back_export_is_told_by_a_checkpoint_that_was_kept() {
    let place = place();
    let (older, newer) = (place.path("older"), place.path("newer"));
    export(&place, &older).ok();
    grow(&place, 1);
    export(&place, &newer).ok();
    assert!(verify(&place, &older, &[]).code == 0, "by itself it is good");
    let kept = text(&newer.join("checkpoint"));
    refused(&verify(&place, &older, &["--since", &kept]), "rolled back");
}

#[test]
fn an_export_over_another_log_or_other_files_is_refused_and_changes_nothing() {
    let (place, other) = (place(), Place::demo());
    grow(&other, 1);
    let log = place.path("log");
    export(&place, &log).ok();
    let before = files(&log);
    export(&other, &log).failed("another log");
    assert_eq!(files(&log), before);
    let folder = place.directory("folder");
    std::fs::write(folder.join("thesis.txt"), "years of work").unwrap();
    export(&place, &folder).failed("thesis.txt");
    assert_eq!(files(&folder).len(), 1);
    let tiles = place.directory("tiles");
    std::fs::create_dir_all(tiles.join("tile")).unwrap();
    export(&place, &tiles).failed("tile");
}

#[test]
fn an_export_that_is_ahead_of_the_ledger_or_forked_from_it_is_left_as_it_is() {
    let place = place();
    let log = place.path("log");
    let copy = |from: &str, to: &str| {
        let (from, to) = (text(&place.path(from)), text(&place.path(to)));
        assert!(Command::new("cp").args(["-a", &from, &to]).status().unwrap().success());
    };
    for folder in ["data", "anchor"] {
        copy(folder, &format!("{folder}-kept"));
    }
    grow(&place, 2);
    export(&place, &log).ok();
    let before = files(&log);
    for folder in ["data", "anchor"] {
        std::fs::remove_dir_all(place.path(folder)).unwrap();
        copy(&format!("{folder}-kept"), folder);
    }
    export(&place, &log).failed("the ledger's anchored head covers");
    assert_eq!(files(&log), before);
    grow(&place, 10);
    export(&place, &log).failed("forked or replaced");
    assert_eq!(files(&log), before);
}

#[test]
fn an_export_of_a_pruned_log_verifies_only_with_consent() {
    let place = place();
    let log = place.path("log");
    with(&place.config_path, &["log", "export", &text(&log), "--from", "300"]).failed("beyond the log");
    let size = place.log().records.len();
    let from = size.min(270).to_string();
    with(&place.config_path, &["log", "export", &text(&log), "--from", &from]).ok();
    assert!(!log.join("tile/entries/000").exists() && !log.join("tile/0/000").exists());
    refused(&verify(&place, &log, &[]), "--pruned-below");
    refused(&verify(&place, &log, &["--pruned-below", "255"]), "`tile/0/000` is missing");
    let said = verify(&place, &log, &["--pruned-below", "256"]);
    assert!(said.ok().contains("256 records are not there"), "{said:?}");
    // The same directory, made whole.
    export(&place, &log).ok();
    assert!(verify(&place, &log, &[]).code == 0);
}

#[test]
fn an_interrupted_export_says_so_leaves_no_checkpoint_and_is_finished_by_the_next() {
    let place = place();
    let log = place.path("log");
    let trace = place.path("trace");
    let output = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            &text(&trace),
            "-e",
            "trace=rename",
            "-e",
            "inject=rename:signal=INT:when=2",
        ])
        .arg(program())
        .args(["log", "export", &text(&log), "--config", &text(&place.config_path)])
        .output()
        .expect("strace, which `cargo xtask test` installs");
    let said = Ended::of(&output);
    said.failed("interrupted after 2 files");
    assert!(!log.join("checkpoint").exists());
    assert_eq!(files(&log).keys().filter(|name| name.starts_with("tile/")).count(), 2);
    refused(&verify(&place, &log, &[]), "interrupted");
    let other = Place::demo();
    grow(&other, 1);
    export(&other, &log).failed("unfinished export of another log");
    export(&place, &log).ok();
    assert!(verify(&place, &log, &[]).code == 0);
}
