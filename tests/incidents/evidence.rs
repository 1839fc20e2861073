//! What was not on record, and ran: 9 to 15, 28.

use portcullis_policy::bundles;
use portcullis_protocol::{Decision, Outcome};
use rustix::process::Signal;
use serde_json::json;

use crate::scene::{ALL, Deed, Entry, LATE, Scene, VERIFYING, changed, decided, starts};
use crate::support::process::kill;
use crate::support::{Daemon, Gate, Place, demo_server, limit_files, pull, signal, text, until};

#[test]
fn i09_what_cannot_be_recorded_does_not_run() {
    let mut scene = Scene::new();
    scene.runs(&ALL, &Deed::read());
    limit_files(&scene.daemon.child, Some(0));
    scene.blocked(&ALL, &Deed::charge("1.00", "k"), "evidence.unwritable");
    scene.blocked(&ALL, &Deed::read(), "evidence.unwritable");
    limit_files(&scene.daemon.child, None);
    scene.place.ready();
    scene.runs(&ALL, &Deed::read());
}

#[test]
fn i10_nothing_runs_unsigned_or_signed_by_something_else() {
    let mut scene = Scene::new();
    let key = scene.place.signing_key();
    scene.runs(&ALL, &Deed::read());
    let pulled = pull(&key);
    scene.blocked(&ALL, &Deed::read(), "signer.unavailable");
    let private = |content: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&key, content).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for content in ["", "none\n", "PRIVATE+KEY"] {
        private(content);
        scene.blocked(&ALL, &Deed::read(), "signer.unavailable");
    }
    std::fs::remove_file(&key).unwrap();
    portcullis_server::new_key(&key, scene.place.config.log_key.name().as_str()).unwrap();
    scene.blocked(&ALL, &Deed::read(), "signer.wrong_key");
    std::fs::remove_file(&key).unwrap();
    pulled.back();
    scene.place.ready();
    scene.runs(&ALL, &Deed::read());
}

/// A tool server that only writes down what it gets, and never answers.
fn mute(recording: &std::path::Path) -> Vec<String> {
    vec!["sh".into(), "-c".into(), "exec cat >> \"$0\"".into(), text(recording)]
}

#[test]
fn i11_the_record_is_durable_before_the_effect_begins() {
    let place = Place::demo();
    let mut daemon = Daemon::start(&place);
    let path = place.file("recording", "");
    let mut gate = Gate::without_handshake(&place.elsewhere(&place.socket_url()), &mute(&path));
    gate.send_call("read_balance", &json!({ "account": "acme" }), None);
    // In the moment in which the tool server has the call, everything that could still write ends.
    until("the call at the tool server", || {
        std::fs::read_to_string(&path).unwrap().contains("tools/call").then_some(())
    });
    signal(&daemon.child, Signal::KILL);
    kill(&mut daemon.child);
    gate.kill();
    let log = place.log();
    let permits = log.permits();
    assert_eq!(permits.len(), 1);
    assert_eq!(permits[0].0.surface.as_str(), "demo.read_balance");
}

#[test]
fn i12_a_store_that_cannot_be_read_does_not_say_not_executed_yet() {
    let mut scene = Scene::new();
    let charge = Deed::charge("1.00", "once");
    scene.runs(&[Entry::Mcp, Entry::Sdk], &charge);
    let ran = scene.ran();
    let data = scene.place.config.data.clone();
    kill(&mut scene.daemon.child);
    // What it kept is gone: an empty directory has run nothing yet, but the anchor knows better.
    let kept = pull(&data);
    let config = scene.place.config_path.clone();
    let mut daemon = Daemon::with(&config);
    let request = scene.place.file("request.json", &charge.ask().to_string());
    let said = until("an answer of the arbiter", || {
        decided(&config, &request).err().filter(|code| code != "evidence.recovering")
    });
    assert_eq!(said, "evidence.behind_anchor");
    kill(&mut daemon.child);
    std::fs::remove_dir_all(&data).unwrap();
    kept.back();
    // What it kept is garbage.
    let database = database(&data);
    let genuine = std::fs::read(&database).unwrap();
    let mut garbled = genuine.clone();
    garbled.iter_mut().skip(4096).for_each(|byte| *byte = 0x5a);
    std::fs::write(&database, garbled).unwrap();
    let mut daemon = Daemon::with(&config);
    let said = until("an answer of the arbiter", || {
        decided(&config, &request).err().filter(|code| code != "evidence.recovering")
    });
    assert!(said.starts_with("evidence."), "{said}");
    kill(&mut daemon.child);
    assert_eq!(scene.ran(), ran);
}

/// The ledger's database of a data directory.
fn database(data: &std::path::Path) -> std::path::PathBuf {
    let ledger = data.join("ledger");
    let current = std::fs::read_to_string(ledger.join("CURRENT")).unwrap();
    ledger.join(current.trim()).join("ledger.db")
}

#[test]
fn i13_when_too_much_waits_calls_are_shed_and_none_runs_unrecorded() {
    let mut scene = Scene::hurried(3_000);
    signal(&scene.daemon.child, Signal::STOP);
    let ids: Vec<_> =
        (0..400).map(|_| scene.gate.send_call("read_balance", &json!({ "account": "acme" }), None)).collect();
    let mut codes = std::collections::BTreeMap::new();
    for id in ids {
        let answer = scene.gate.called(id).expect("an answer");
        *codes.entry(answer.code().to_owned()).or_insert(0) += 1;
    }
    let expected: Vec<_> = codes.keys().map(String::as_str).collect();
    assert_eq!(expected, ["arbiter.timeout", "overload.shed"], "{codes:?}");
    assert_eq!(scene.ran(), 0);
    signal(&scene.daemon.child, Signal::CONT);
    scene.place.ready();
    scene.runs(&[Entry::Mcp, Entry::Sdk], &Deed::read());
    let ran = scene.ran();
    let log = scene.log();
    assert_eq!((ran, log.outcomes(Some(Outcome::Ok))), (2, 2), "what ran is what is on record as run");
}

#[test]
fn i14_no_log_configured_is_no_log_that_is_always_fine() {
    let place = Place::demo();
    let good = std::fs::read_to_string(&place.config_path).unwrap();
    let request = text(&place.file("request.json", &Deed::read().ask().to_string()));
    let line = |key: &str| {
        good.lines().find(|line| line.starts_with(&format!("{key} ="))).unwrap_or_else(|| panic!("{key}"))
    };
    let missing = ["data", "anchor", "log_key", "signing_key"].map(|key| good.replacen(line(key), "", 1));
    let empty = good.replacen(line("log_key"), "log_key = \"\"", 1);
    for changed in missing.iter().chain([&empty]) {
        let config = text(&place.file("changed.toml", changed));
        for arguments in [
            &["mcp", "--config", &config][..],
            &["serve", "--config", &config],
            &["decide", "--config", &config, &request],
        ] {
            let (code, said, started) = starts(&place, arguments, &[]);
            assert_eq!((code, started), (Some(1), false), "{arguments:?}: {said}\n{changed}");
        }
    }
    let inside = good.replacen(line("anchor"), "anchor = \"data/head\"", 1);
    let config = text(&place.file("changed.toml", &inside));
    let (code, said, started) = starts(&place, &["mcp", "--config", &config], &[]);
    assert_eq!((code, started), (Some(1), false), "an anchor in the data directory: {said}");
}

#[test]
fn i15_a_log_that_hangs_holds_nobody_up_for_ever() {
    let mut scene = Scene::hurried(2_000);
    scene.runs(&VERIFYING, &Deed::read());
    signal(&scene.daemon.child, Signal::STOP);
    for entry in VERIFYING {
        let began = std::time::Instant::now();
        scene.blocked(&[entry], &Deed::read(), "arbiter.timeout");
        assert!(began.elapsed() < LATE / 2, "{entry:?} took {:?}", began.elapsed());
    }
    signal(&scene.daemon.child, Signal::CONT);
    scene.place.ready();
    scene.runs(&VERIFYING, &Deed::read());
}

#[test]
fn i28_an_outcome_that_nobody_knows_leaves_a_signed_trace() {
    // A charge whose outcome is due three seconds after its PERMIT.
    let bundle = changed(bundles::demo(), "bundle.toml", |text| {
        text.replace("permit_ttl = \"5s\"", "permit_ttl = \"1500ms\"\noutcome_within = \"1500ms\"")
    });
    let place = Place::deploy(bundle, &["demo-agent"], "demo");
    let daemon = Daemon::start(&place);
    let path = place.file("recording", "");
    let config = place.elsewhere(&place.socket_url());
    let mut gate = Gate::without_handshake(&config, &mute(&path));
    let arguments = json!({ "account": "acme", "amount": "1.00" });
    gate.send_call("charge", &arguments, Some("k"));
    until("the call at the tool server", || {
        std::fs::read_to_string(&path).unwrap().contains("tools/call").then_some(())
    });
    // The gate dies with the call: nobody will ever say what became of it.
    gate.kill();
    let mut gate = Gate::start(&config, &demo_server(&place.path("journal")));
    let came = until("an end of waiting for the outcome", || {
        let answer = gate.call_with("charge", &arguments, Some("k"));
        Some(answer.code().to_owned()).filter(|code| code != "idempotency.in_flight")
    });
    assert_eq!(came, "idempotency.outcome_unknown", "and it is not tried again by machine");
    assert!(gate.end().success());
    daemon.end(Signal::TERM);
    let log = place.log();
    let permits: Vec<_> = log.rows.iter().filter(|row| row.record.decision == Decision::Permit).collect();
    assert_eq!((permits.len(), permits[0].outcome), (1, Some(Outcome::Unknown)));
}

#[test]
fn i28_a_tool_server_that_dies_with_a_call_leaves_its_outcome_unknown() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    let path = place.file("recording", "");
    let config = place.elsewhere(&place.socket_url());
    let dies = vec!["sh".to_owned(), "-c".into(), "head -n 1 >> \"$0\"".into(), text(&path)];
    let mut gate = Gate::without_handshake(&config, &dies);
    let id = gate.send_call("charge", &json!({ "account": "acme", "amount": "1.00" }), Some("k"));
    let answer = gate.called(id).unwrap();
    assert_eq!(answer.0["result"]["isError"], true, "{answer:?}");
    assert!(gate.end().success());
    daemon.end(Signal::TERM);
    let log = place.log();
    let reached = std::fs::read_to_string(&path).unwrap();
    assert_eq!((reached.lines().count(), log.outcomes(Some(Outcome::Unknown))), (1, 1), "{reached}");
}
