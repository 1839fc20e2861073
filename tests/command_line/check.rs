//! `portcullis log check`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use portcullis_policy::Snapshot;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::bundles::{rooted, team};
use crate::replay::sql;
use crate::support::{Gate, Place, demo_server, program, text, until};
use crate::{Ended, run, with};

#[test]
fn a_log_is_checked_and_a_flipped_record_is_named() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    for _ in 0..3 {
        gate.call("read_balance", json!({ "account": "acme" })).ran();
    }
    assert!(gate.end().success());
    let said = with(&place.config_path, &["log", "check"]);
    assert!(said.ok().contains("is what was signed"), "{said:?}");
    let exported = place.path("exported");
    with(&place.config_path, &["log", "export", &text(&exported)]).ok();
    let since = text(&exported.join("checkpoint"));
    let said = with(&place.config_path, &["log", "check", "--json", "--since", &since]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert!(said["done"] == true && said["size"] == said["hashing"]["records"], "{said}");
    assert!(said["whole"] == true && said["payloads"].is_null(), "{said}");
    assert_eq!(said["size"], said["state"]["records"]);
    let shown = with(&place.config_path, &["log", "check", "--progress"]);
    assert!(shown.code == 0 && shown.err.contains("hashing records: "), "{shown:?}");

    let none = place.file("none", "no checkpoint");
    with(&place.config_path, &["log", "check", "--since", &text(&none)]).failed("older checkpoint");
    let log = place.log();
    let permitted = log.rows.iter().filter(|row| row.record.reason.is_none());
    let permits: Vec<u64> = permitted.map(|row| row.record.seq).collect();
    let database = place.config.data.join("ledger/000001/ledger.db");
    let mut bytes = std::fs::read(&database).unwrap();
    let permit = br#""decision":"PERMIT""#;
    let at = bytes.windows(permit.len()).position(|found| found == permit).unwrap();
    bytes[at + permit.len() - 2] ^= 1;
    std::fs::write(&database, bytes).unwrap();
    // Who was told that the ledger is behind its anchor was sent to give the log up.
    let again = text(&place.path("again"));
    for arguments in
        [&["log", "check"][..], &["log", "replay"], &["receipts", "list"], &["log", "export", &again]]
    {
        let said = with(&place.config_path, arguments);
        let named = permits.iter().any(|seq| said.err.contains(&format!("record {seq} is not one")));
        assert!(said.code == 1 && named && !said.err.contains("behind"), "{arguments:?}: {said:?}");
    }
}

/// The arbiter refuses such a ledger, and a check said that it is what was signed, of as many records as the old head covers.
#[test]
fn today_s_ledger_under_yesterday_s_anchor_was_what_was_signed() {
    let place = Place::demo();
    let called = |place: &Place| {
        let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
        gate.call("read_balance", json!({ "account": "acme" })).ran();
        assert!(gate.end().success());
    };
    called(&place);
    let yesterday = place.copied();
    called(&place);
    let exported = place.path("exported");
    with(&place.config_path, &["log", "export", &text(&exported)]).ok();
    let (anchor, data) = (&place.config.anchor, &place.config.data);
    let today = (std::fs::read(anchor).unwrap(), std::fs::read(data.join("released")).unwrap());
    let refused = |words: &str, of: &[&[&str]]| {
        for arguments in of {
            with(&place.config_path, arguments).failed(words);
        }
    };
    let older = "the anchor is older than a head that was signed";
    let (again, packed) = (text(&place.path("again")), text(&place.path("packed.tar")));
    let handed: [&[&str]; 2] = [&["log", "export", &again], &["evidence", "pack", "--out", &packed]];
    let all = [&[&["log", "check"][..], &["log", "replay"], &["receipts", "list"]], &handed[..]].concat();
    std::fs::copy(&yesterday.config.anchor, anchor).unwrap();
    refused(older, &all);
    // Either of those that lie with the ledger tells.
    std::fs::copy(yesterday.config.data.join("released"), data.join("released")).unwrap();
    refused(older, &all);
    std::fs::write(data.join("released"), &today.1).unwrap();
    sql(&place, "UPDATE head SET note = NULL");
    refused(older, &all);
    // And a cosigned checkpoint that was kept, where nothing else does.
    std::fs::remove_file(data.join("released")).unwrap();
    with(&place.config_path, &["log", "check"]).ok();
    let kept = data.join("checkpoints");
    std::fs::create_dir_all(&kept).unwrap();
    let note = std::fs::read_to_string(exported.join("checkpoint")).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    std::fs::write(kept.join(format!("{size:020}")), &note).unwrap();
    refused("the log was rolled back", &[&["log", "check"]]);
    refused("was cosigned that it does not contain", &handed);
    assert!(!Path::new(&packed).exists(), "a pack that ends with an older head");
    std::fs::write(anchor, &today.0).unwrap();
    with(&place.config_path, &["log", "check"]).ok();
}

/// The head that was released last was of another history, and no longer than the log: nobody held it against the anchor's.
#[test]
fn a_released_head_of_another_log_of_one_size_was_passed_over() {
    let place = Place::demo();
    let called = |place: &Place| {
        let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
        gate.call("read_balance", json!({ "account": "acme" })).ran();
        assert!(gate.end().success());
    };
    called(&place);
    let fork = place.copied();
    called(&place);
    called(&fork);
    with(&place.config_path, &["log", "check"]).ok();
    std::fs::copy(fork.config.data.join("released"), place.config.data.join("released")).unwrap();
    let (exported, packed) = (text(&place.path("exported")), text(&place.path("packed.tar")));
    let all: [&[&str]; 5] = [
        &["log", "check"],
        &["log", "replay"],
        &["receipts", "list"],
        &["log", "export", &exported],
        &["evidence", "pack", "--out", &packed],
    ];
    for arguments in all {
        with(&place.config_path, arguments).failed("of one size and of two logs");
    }
    std::fs::copy(&place.config.anchor, place.config.data.join("released")).unwrap();
    std::fs::write(place.config.data.join("REFUTED"), r#"{"w1":"it has seen 999 records"}"#).unwrap();
    for arguments in all {
        with(&place.config_path, arguments).failed("`w1`: it has seen 999 records");
    }
}

/// The daemon refused a ledger whose head was damaged, and whoever looked for what was wrong with it was told that nothing was.
#[test]
fn a_flipped_head_in_the_database_was_what_was_signed() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    with(&place.config_path, &["log", "check"]).ok();
    for damage in [
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET size = size + 512",
        "UPDATE head SET size = size - 1",
        "DELETE FROM head",
    ] {
        let copy = place.copied();
        sql(&copy, damage);
        let ended = with(&copy.config_path, &["log", "check"]);
        ended.failed("the head in the database is not that of its records");
    }
}

/// A deployment whose log has more than one tile of records.
fn of_several_tiles() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    let sent: Vec<_> = (0..150)
        .map(|number| gate.send_call("read_balance", &json!({ "account": number.to_string() }), None))
        .collect();
    sent.into_iter().for_each(|id| drop(gate.called(id).unwrap()));
    assert!(gate.end().success());
    place
}

/// A note that nobody signs said how far an earlier check had come. A record before that was altered since.
#[test]
fn a_check_that_went_on_from_a_note_said_that_all_of_the_log_was_what_was_signed() {
    let place = of_several_tiles();
    let said = with(&place.config_path, &["log", "check", "--json"]);
    let sound: Value = serde_json::from_str(said.ok()).unwrap();
    assert!(sound["size"].as_u64().unwrap() > 256, "{sound}");
    let note = || {
        let position = json!({
            "size": sound["size"], "root": sound["root"], "log": 256, "state": 0, "attempts": 0, "keys": 0,
            "sweep": null, "payloads": 0, "opened": null,
        });
        std::fs::write(place.config.data.join("log-check.json"), position.to_string()).unwrap();
    };
    let altered = r#"UPDATE records SET body = CAST(replace(CAST(body AS TEXT), '"engine":"', '"engine":"x') AS BLOB)
        WHERE seq = (SELECT min(seq) FROM permits)"#;
    sql(&place, altered);
    note();
    let ended = with(&place.config_path, &["log", "check", "--json"]);
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &said["done"], &said["whole"]), (2, &json!(true), &json!(false)), "{said}");
    assert_eq!(said["resumed"], json!({ "log": 256, "state": 0, "payloads": 0 }));
    note();
    let ended = with(&place.config_path, &["log", "check"]);
    assert!(ended.code == 2 && !ended.out.contains("is what was signed"), "{ended:?}");
    assert!(
        ended.out.contains("before record 256 was not hashed") && ended.out.contains("--restart"),
        "{ended:?}"
    );
    note();
    with(&place.config_path, &["log", "check", "--restart"]).failed("record ");
}

/// Calls of `newfstatat` by one thread that only comparing parts of the state takes: each part looks at the database's files anew, four times.
const LOOKS: usize = 240;

/// What came of a check that SIGINT reaches while it compares the parts of the state, by one of its threads beside the first. Each
/// look at a file takes 5 ms more, so that it is not done before.
fn interrupted(place: &Place) -> Output {
    let trace = place.path("trace");
    let check = Command::new("strace")
        .args(["-f", "-qq", "-o", &text(&trace), "-e", "trace=newfstatat"])
        .args(["-e", "inject=newfstatat:delay_enter=5000"])
        .arg(program())
        .args(["log", "check", "--with-key", "--json", "--config", &text(&place.config_path)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace, which `cargo xtask test` installs");
    let first = until("parts that are compared", || {
        let trace = std::fs::read_to_string(&trace).ok()?;
        let threads = || trace.lines().filter_map(|line| line.split(' ').next()?.parse::<i32>().ok());
        let first = threads().next()?;
        let mut looks: BTreeMap<i32, usize> = BTreeMap::new();
        threads().filter(|thread| *thread != first).for_each(|thread| *looks.entry(thread).or_default() += 1);
        looks.values().any(|looks| *looks >= LOOKS).then_some(first)
    });
    kill_process(Pid::from_raw(first).unwrap(), Signal::INT).unwrap();
    check.wait_with_output().unwrap()
}

/// It began the comparison of the state anew, and what is kept with it.
#[test]
fn an_interrupted_check_goes_on_in_the_middle_of_the_state_and_comes_to_the_same() {
    let place = of_several_tiles();
    let check =
        |more: &[&str]| with(&place.config_path, &[&["log", "check", "--with-key", "--json"], more].concat());
    let sound: Value = serde_json::from_str(check(&[]).ok()).unwrap();
    let note = place.config.data.join("log-check.json");
    let ended = Ended::of(&interrupted(&place));
    assert!(ended.code == 1 && ended.err.contains("stopped"), "{ended:?}");
    let noted: Value = serde_json::from_slice(&std::fs::read(&note).unwrap()).unwrap();
    let part = noted["sweep"]["parts"].as_u64().unwrap();
    // Two threads at least have some of them; attempts lie on both sides.
    assert!((32..240).contains(&part), "{noted}");
    assert_eq!(noted["log"], sound["size"], "{noted}");
    let goes_on = |place: &Place| {
        std::fs::write(&note, noted.to_string()).unwrap();
        let ended = with(&place.config_path, &["log", "check", "--with-key", "--json"]);
        let said: Value = serde_json::from_str(&ended.out).unwrap_or(Value::Null);
        (ended, said)
    };
    let (ended, said) = goes_on(&place);
    assert_eq!((ended.code, &said["done"], &said["whole"]), (2, &json!(true), &json!(false)), "{ended:?}");
    for same in ["log", "size", "root", "payloads"] {
        assert_eq!(said[same], sound[same], "{same}");
    }
    assert_eq!((&said["hashing"]["records"], &said["state"]["records"]), (&json!(0), &json!(0)), "{said}");
    assert!(!note.exists(), "it is done");
    // A row that it had read is not read again, and one that it had not is.
    let (part, of) = (format!("{part:02x}"), "DELETE FROM attempts WHERE hex(substr(attempt, 1, 1))");
    sql(
        &place,
        &format!(
            "{of} = (SELECT max(hex(substr(attempt, 1, 1))) FROM attempts WHERE hex(substr(attempt, 1, 1)) < upper('{part}'))"
        ),
    );
    assert_eq!(goes_on(&place).0.code, 2);
    check(&["--restart"]).failed("the state of record ");
    sql(&place, &format!("{of} >= upper('{part}')"));
    goes_on(&place).0.failed("the state of record ");
}

#[test]
fn kept_requests_and_results_are_opened_with_the_vault_s_key() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    let said = with(&place.config_path, &["log", "check", "--with-key", "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert!(said["payloads"].as_u64().unwrap() > 0, "{said}");
    sql(
        &place,
        "UPDATE payloads SET sealed = CAST(substr(sealed, 1, 40) || x'00' || substr(sealed, 42) AS BLOB)",
    );
    assert_eq!(with(&place.config_path, &["log", "check"]).code, 0);
    with(&place.config_path, &["log", "check", "--with-key"]).failed("does not open");
}

/// The signature lies in the archive, and the bundle's digest does not cover it.
#[test]
fn a_bundle_s_archive_whose_signature_was_altered_is_not_what_was_signed() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    with(&place.config_path, &["log", "check"]).ok();
    let signature = std::fs::read(place.config.bundle.join("bundle.sig")).unwrap();
    let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let mut altered = signature.clone();
    let last = altered.len() - 6;
    altered[last] = if altered[last] == b'A' { b'B' } else { b'A' };
    sql(
        &place,
        &format!(
            "UPDATE bundles SET bytes = CAST(replace(CAST(bytes AS TEXT), '{}', '{}') AS BLOB)",
            encoded(&signature),
            encoded(&altered)
        ),
    );
    with(&place.config_path, &["log", "check"]).failed("is not that bundle");
}

/// Puts another `bundle.sig` into the archive of the one bundle.
pub(crate) fn exchange_signatures(place: &Place, signature: &[u8], other: &[u8]) {
    let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let (from, to) = (encoded(signature), encoded(other));
    let to = format!("CAST(replace(CAST(bytes AS TEXT), '{from}', '{to}') AS BLOB)");
    sql(place, &format!("UPDATE bundles SET bytes = {to} WHERE instr(CAST(bytes AS TEXT), '{from}') > 0"));
}

/// With one signature of the two that it takes, or with a stranger's alone, nobody vouches for what decided, and both said
/// that all is well.
#[test]
fn nobody_vouched_any_more_for_a_bundle_by_which_records_were_decided_and_nothing_was_said() {
    let place = Place::demo();
    let team = team(place.path("").as_path());
    let bundle = rooted(&place, &team);
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    with(&place.config_path, &["log", "check"]).ok();
    with(&place.config_path, &["log", "replay"]).ok();
    let read = |file: &str| Snapshot::read(Path::new(file)).unwrap();
    let files_of = |bundle: &Snapshot, signature: bool| -> BTreeMap<String, Vec<u8>> {
        let files = bundle.files().filter(|(path, _)| (*path == "bundle.sig") == signature);
        files.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
    };
    let signature = files_of(&read(&bundle), true).remove("bundle.sig").unwrap();
    let note = String::from_utf8(signature.clone()).unwrap();
    let without = |who: &str| -> Vec<u8> {
        let lines = note.split_inclusive('\n').filter(|line| !line.contains(who));
        lines.collect::<String>().into_bytes()
    };
    let strangers = place.copied();
    let key = text(&strangers.path("stranger.key"));
    portcullis_server::new_key(Path::new(&key), "portcullis.test/stranger").unwrap();
    let alone = text(&strangers.path("alone.bundle"));
    let unsigned = Snapshot::from_files(files_of(&read(&bundle), false)).unwrap();
    std::fs::write(&alone, unsigned.to_bytes().unwrap()).unwrap();
    run(&["bundle", "sign", &alone, "--key", &key]).ok();
    let others = files_of(&read(&alone), true).remove("bundle.sig").unwrap();
    for (what, other) in [("one of two", without("alice")), ("a stranger's", others)] {
        assert_ne!(other, signature);
        let place = place.copied();
        exchange_signatures(&place, &signature, &other);
        for command in [&["log", "check"][..], &["log", "replay"], &["log", "replay", "--without-key"]] {
            let said = with(&place.config_path, command);
            assert_eq!(said.code, 2, "{what}: {command:?}: {said:?}");
            assert!(said.out.contains("nobody vouches for sha256:"), "{what}: {said:?}");
        }
        let said = with(&place.config_path, &["log", "check", "--json"]);
        let said: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(said["unvouched"].as_array().unwrap().len(), 1, "{what}: {said}");
    }
}

/// Whose keys signed a bundle's archive is in the chain of roots. While that could not be read, altered signatures passed.
#[test]
fn without_its_roots_a_check_passed_over_the_signatures_of_archived_bundles() {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    assert!(gate.end().success());
    with(&place.config_path, &["log", "check"]).ok();
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let keys = config.lines().find(|line| line.starts_with("trusted_keys")).unwrap();
    let none = format!("root = \"none.root\"\nroot_pin = \"sha256:{}\"", "0".repeat(64));
    std::fs::write(&place.config_path, config.replace(keys, &none)).unwrap();
    with(&place.config_path, &["log", "check"])
        .failed("the signatures of archived bundles cannot be looked at");
}
