//! The way out of a ledger that is behind its anchor: giving the lost head up by name.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use portcullis_ledger::Anchor;
use portcullis_protocol::{Event, EventRecord, Record};
use portcullis_server::Config;
use portcullis_verify::{UnverifiedCheckpoint, UnverifiedNote, VerifiedCheckpoint};
use serde_json::{Value, json};

use crate::restored::put;
use crate::scene::rounds;
use crate::strace::{lines, under_strace};
use crate::support::random::Random;
use crate::support::{Gate, Place, demo_server, program, text};

/// The calls by which a step of the command becomes durable, or takes another's place.
const STEPS: [&str; 5] = ["mkdir", "fsync", "fdatasync", "rename", "ftruncate"];

fn gate(place: &Place) -> Gate {
    Gate::start(&place.config_path, &demo_server(&place.path("journal")))
}

fn charge(place: &Place, key: &str) -> Option<String> {
    let mut gate = gate(place);
    let answer = gate.call_with("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(key));
    let code = answer.told().is_some().then(|| answer.code().to_owned());
    gate.end();
    code
}

fn ran(place: &Place) -> usize {
    std::fs::read_to_string(place.path("journal")).unwrap().lines().count()
}

fn anchored(place: &Place) -> VerifiedCheckpoint {
    let note = Anchor::read(&place.config.anchor).unwrap().unwrap();
    UnverifiedCheckpoint::parse(&note).unwrap().verify_with(&place.config.log_keys).unwrap()
}

/// Yesterday's data directory under today's anchor: `before` was charged yesterday, `lost` today.
fn restored() -> Place {
    let place = Place::demo();
    place.file("journal", "");
    assert_eq!(charge(&place, "before"), None);
    put(&place.config.data, &place.path("yesterday"));
    assert_eq!(charge(&place, "lost"), None);
    put(&place.path("yesterday"), &place.config.data);
    assert_eq!(charge(&place, "lost").as_deref(), Some("evidence.behind_anchor"));
    assert_eq!(ran(&place), 2);
    place
}

fn portcullis(place: &Place, arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).arg("--config").arg(&place.config_path).output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The words that give the anchored head up.
fn words(head: &VerifiedCheckpoint) -> Vec<String> {
    let (size, root) = (head.size().to_string(), head.root().to_string());
    let words = [
        "log",
        "abandon",
        "--json",
        "--reason",
        "the disk died",
        "--size",
        &size,
        "--root",
        &root,
        "--bundle-version",
        "1",
    ];
    words.map(str::to_owned).to_vec()
}

fn abandon(place: &Place, words: &[String]) -> Output {
    portcullis(place, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn reread(place: &mut Place) {
    place.config = Config::read(&place.config_path).unwrap().arbiter().unwrap();
}

/// The record that names the head that was given up.
fn given_up(place: &Place) -> EventRecord {
    let records = place.log().records;
    let found = records.into_iter().find_map(|record| match record {
        Record::Event(event) if event.event == Event::HeadGivenUp => Some(event),
        Record::Decision(_)
        | Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => None,
    });
    found.unwrap()
}

#[test]
fn a_restored_ledger_goes_on_under_another_name_once_its_lost_head_is_given_up_by_name() {
    let mut place = restored();
    let (old, head, data) = (place.config.log_key.clone(), anchored(&place), place.config.data.clone());
    let looked = portcullis(&place, &["log", "abandon", "--json"]);
    assert_eq!(looked.status.code(), Some(1), "looking is not giving up");
    let said: Value = serde_json::from_slice(&looked.stdout).unwrap();
    assert_eq!(said["given_up"], json!({ "size": head.size(), "root": head.root().to_string() }));
    let left = said["left"]["size"].as_u64().unwrap();
    assert_eq!(said["lost"]["least"], head.size() - left);
    assert_eq!(charge(&place, "lost").as_deref(), Some("evidence.behind_anchor"));

    let done: Value = serde_json::from_str(&out(&abandon(&place, &words(&head)))).unwrap();
    reread(&mut place);
    assert_ne!(place.config.log_key.name(), old.name(), "two roots of one size must not have one name");
    assert_eq!(done["record"], left);

    // The gate is shut until a person has found out what the lost records did.
    assert_eq!(charge(&place, "lost").as_deref(), Some("gate.shut"));
    assert_eq!(ran(&place), 2);
    out(&portcullis(&place, &["open"]));
    assert_eq!(charge(&place, "before"), None);
    assert_eq!(ran(&place), 2, "a key that is left stays consumed, with its result");
    assert_eq!(charge(&place, "new"), None);
    assert_eq!(ran(&place), 3);
    // What nobody knows any more cannot be refused: this is what the command says aloud.
    assert_eq!(charge(&place, "lost"), None);
    assert_eq!(ran(&place), 4);

    let record = given_up(&place);
    assert_eq!(record.seq, left, "the first record of its own");
    let detail = |name: &str| record.detail.get(name).cloned().unwrap();
    assert_eq!(detail("log"), old.name().as_str());
    assert_eq!(
        (detail("given_up_size"), detail("given_up_root")),
        (head.size().to_string(), head.root().to_string())
    );
    assert_eq!(detail("left_size"), left.to_string());
    assert_eq!((detail("by"), detail("reason")), ("operator".into(), "the disk died".into()));
    let statement = UnverifiedNote::parse(detail("statement").as_bytes()).unwrap();
    let statement = statement.verify(std::slice::from_ref(&old)).unwrap();
    assert!(
        statement.text().contains(&format!("continued by {}", place.config.log_key)),
        "{}",
        statement.text()
    );

    // Both logs verify, each under its own key.
    out(&portcullis(&place, &["log", "check"]));
    out(&portcullis(&place, &["log", "replay"]));
    let archive = PathBuf::from(done["archive"].as_str().unwrap());
    for (config, key, name) in [(&place.config_path, &place.config.log_key, "new"), (&archive, &old, "old")] {
        let (config, to, key) = (text(config), text(&place.path(name)), key.to_string());
        for arguments in [
            vec!["log", "check", "--config", &config],
            vec!["log", "export", &to, "--config", &config],
            vec!["log", "verify", &to, "--key", &key],
        ] {
            out(&Command::new(program()).args(&arguments).output().unwrap());
        }
    }
    // The old data is where it was, and nothing opens it for writing again, not even with the anchor taken back.
    assert!(data.join("ledger").is_dir());
    let mut old_place = place.copied();
    std::fs::copy(place.path(archive.file_name().unwrap().to_str().unwrap()), &old_place.config_path)
        .unwrap();
    reread(&mut old_place);
    assert_eq!(charge(&old_place, "more").as_deref(), Some("evidence.behind_anchor"));
    assert_eq!(ran(&place), 4);
}

#[test]
fn nothing_is_given_up_without_the_exact_head_a_reason_an_operator_and_the_log_s_key() {
    let place = restored();
    let head = anchored(&place);
    let good = words(&head);
    let config = std::fs::read(&place.config_path).unwrap();
    let refused = |words: &[String], why: &str| {
        let output = abandon(&place, words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "`{why}`: {said}");
        assert_eq!(std::fs::read(&place.config_path).unwrap(), config);
        assert_eq!(charge(&place, "lost").as_deref(), Some("evidence.behind_anchor"), "{why}");
    };
    let with = |from: &str, to: &str| -> Vec<String> {
        good.iter().map(|word| if word == from { to.to_owned() } else { word.clone() }).collect()
    };
    let (size, root) = (head.size().to_string(), head.root().to_string());
    let named = format!("has {size} records and root {root}");
    refused(&with(&size, &(head.size() - 1).to_string()), &named);
    refused(&with(&root, &portcullis_verify::merkle::empty_root().to_string()), &named);
    refused(&with("the disk died", " "), "reason");
    refused(&good[..3], "");
    let without_reason: Vec<String> = [&good[..3], &good[5..]].concat();
    refused(&without_reason, "--reason");
    let agent =
        [good.clone(), vec!["--token-file".into(), text(&place.path("keys/demo-agent.token"))]].concat();
    refused(&agent, "names no operator");
    let (key, away) = (place.signing_key(), place.path("away"));
    std::fs::rename(&key, &away).unwrap();
    let output = abandon(&place, &good);
    assert!(String::from_utf8_lossy(&output.stderr).contains("signer"), "{output:?}");
    std::fs::copy(place.path("keys/bundle.key"), &key).unwrap();
    let output = abandon(&place, &good);
    assert!(String::from_utf8_lossy(&output.stderr).contains("signer"), "{output:?}");
    std::fs::rename(&away, &key).unwrap();
    assert_eq!(std::fs::read(&place.config_path).unwrap(), config);
    // While an arbiter runs, nobody looks.
    let running = gate(&place);
    refused_while_running(&place, &good);
    running.end();
}

fn refused_while_running(place: &Place, words: &[String]) {
    let output = abandon(place, words);
    assert!(String::from_utf8_lossy(&output.stderr).contains("stop it"), "{output:?}");
}

#[test]
fn a_ledger_that_is_not_behind_or_does_not_verify_is_not_given_up() {
    let place = Place::demo();
    place.file("journal", "");
    assert_eq!(charge(&place, "k"), None);
    let head = anchored(&place);
    let output = abandon(&place, &words(&head));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not behind"), "{output:?}");
    assert_eq!(charge(&place, "k2"), None);

    let place = restored();
    let ledger = place.config.data.join("ledger");
    let current = std::fs::read_to_string(ledger.join("CURRENT")).unwrap();
    let database = ledger.join(current.trim()).join("ledger.db");
    let flipped = Command::new("python3")
        .args(["-c", "import sqlite3,sys;d=sqlite3.connect(sys.argv[1]);d.execute('update permits set agent=?',('x',));d.commit()"])
        .arg(&database)
        .status();
    assert!(flipped.unwrap().success());
    let output = abandon(&place, &words(&anchored(&place)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not verify"), "{output:?}");
}

#[test]
fn an_anchor_that_is_lost_is_given_up_with_all_records_left_and_in_doubt_what_followed() {
    let mut place = Place::demo();
    place.file("journal", "");
    assert_eq!(charge(&place, "before"), None);
    let head = anchored(&place);
    std::fs::remove_file(&place.config.anchor).unwrap();
    assert_eq!(charge(&place, "more").as_deref(), Some("evidence.behind_anchor"));
    let done: Value = serde_json::from_str(&out(&abandon(&place, &words(&head)))).unwrap();
    reread(&mut place);
    assert_eq!(done["record"], head.size());
    let record = given_up(&place);
    assert_eq!(record.detail["lost_at_least"], "0");
    assert_eq!(record.detail["lost_at_most"], "0, and what was signed after it");
    out(&portcullis(&place, &["open"]));
    assert_eq!(charge(&place, "before"), None);
    assert_eq!(ran(&place), 1);
}

#[test]
fn a_data_directory_that_is_gone_leaves_a_log_that_begins_with_the_head_it_lost() {
    let mut place = Place::demo();
    place.file("journal", "");
    assert_eq!(charge(&place, "k"), None);
    let head = anchored(&place);
    std::fs::remove_dir_all(&place.config.data).unwrap();
    std::fs::create_dir(&place.config.data).unwrap();
    assert_eq!(charge(&place, "k").as_deref(), Some("evidence.behind_anchor"));
    // Whether the bundle that was in force demanded a proof of the next, which the pinned one may be, nobody knows.
    let mut unknown = place.copied();
    let done: Value = serde_json::from_str(&out(&abandon(&unknown, &words(&head)))).unwrap();
    reread(&mut unknown);
    assert_eq!(done["bundles"]["proofs"], "required", "{done}");
    out(&portcullis(&unknown, &["open"]));
    assert_eq!(charge(&unknown, "k2").as_deref(), Some("policy.unproved"));
    out(&portcullis(&unknown, &["log", "check"]));
    // Unless an operator does.
    let said = [words(&head), vec!["--no-lost-proofs".to_owned()]].concat();
    let done: Value = serde_json::from_str(&out(&abandon(&place, &said))).unwrap();
    reread(&mut place);
    assert_eq!((&done["record"], &done["archive"]), (&json!(0), &Value::Null));
    assert_eq!(done["bundles"]["proofs"], Value::Null, "{done}");
    assert_eq!(given_up(&place).detail["lost_proofs"], "not_demanded");
    assert_eq!(given_up(&place).detail["lost_at_most"], head.size().to_string());
    assert_eq!(charge(&place, "k").as_deref(), Some("gate.shut"));
    out(&portcullis(&place, &["open"]));
    assert_eq!(charge(&place, "k2"), None);
    out(&portcullis(&place, &["log", "check"]));
}

/// Kills the command at the nth of these calls. `None` if it made fewer.
fn killed(place: &Place, words: &[String], call: &str, nth: usize) -> Option<()> {
    let log = place.path("strace");
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let mut command = under_strace(&program(), &[format!("trace={call}"), inject], &log);
    command.args(words).arg("--config").arg(&place.config_path);
    let output = command.output().unwrap();
    let struck = output.status.signal() == Some(9);
    assert!(struck || output.status.success(), "{output:?}");
    struck.then_some(())
}

/// Whether the new log is in place. Either it is there whole, or the old one is refused as it was.
fn is_new(place: &mut Place, head: &VerifiedCheckpoint) -> bool {
    let (old, ran_before) = (place.config.log_key.clone(), ran(place));
    reread(place);
    if place.config.log_key == old {
        assert_eq!(charge(place, "lost").as_deref(), Some("evidence.behind_anchor"));
        assert_eq!(ran(place), ran_before);
        return false;
    }
    assert_eq!(charge(place, "lost").as_deref(), Some("gate.shut"));
    assert_eq!(given_up(place).detail["given_up_root"], head.root().to_string());
    out(&portcullis(place, &["open"]));
    assert_eq!(charge(place, "new"), None);
    assert_eq!(ran(place), ran_before + 1);
    out(&portcullis(place, &["log", "check"]));
    true
}

#[test]
fn killed_at_any_step_it_leaves_the_refused_ledger_or_the_new_one() {
    let (mut random, seed) = Random::seeded();
    eprintln!("PORTCULLIS_SEED={seed} repeats the choices of this run");
    let place = restored();
    let head = anchored(&place);
    let words = words(&head);
    // How often each call is made, by a run that nobody kills.
    let quiet = place.copied();
    let log = quiet.path("strace");
    let mut command = under_strace(&program(), &[format!("trace={}", STEPS.join(","))], &log);
    out(&command.args(&words).arg("--config").arg(&quiet.config_path).output().unwrap());
    let calls = lines(&log);
    let mut moments = Vec::new();
    for call in STEPS {
        let made = calls.iter().filter(|line| line.contains(&format!(" {call}("))).count();
        moments.extend((1..=made).map(|nth| (call, nth)));
    }
    assert!(moments.len() > 15, "{calls:#?}");
    let chosen = rounds(14, moments.len()).min(moments.len());
    // The switch itself and what is next to it, always.
    let renames = moments.iter().filter(|(call, _)| *call == "rename").count();
    let mut now = vec![("rename", renames), ("rename", renames - 1)];
    while now.len() < chosen {
        let moment = moments.swap_remove(random.below(moments.len()));
        if !now.contains(&moment) {
            now.push(moment);
        }
        if moments.is_empty() {
            break;
        }
    }
    let mut left_old = 0;
    for (call, nth) in now {
        let mut struck = place.copied();
        killed(&struck, &words, call, nth).unwrap_or_else(|| panic!("{call} {nth} was not made"));
        if is_new(&mut struck, &head) {
            continue;
        }
        left_old += 1;
        // It can be done again, to its end.
        out(&abandon(&struck, &words));
        assert!(is_new(&mut struck, &head), "{call} {nth}");
    }
    assert!(left_old > 0, "no kill came before the switch");
}
