//! `portcullis mcp --simulate`: whatever is asked and would be permitted, the tool server's own journal stays empty; what would have been
//! decided is on record, as no decision.

use std::path::Path;
use std::process::Command;

use portcullis_protocol::{DecisionRecord, Event, Record};
use portcullis_verify::pack::is_pack;
use serde_json::{Value, json};

use crate::forged::{named, rewrite, sound, the};
use crate::replay::replay;
use crate::support::process::pull;
use crate::support::{Gate, Place, demo_server, program, text};
use crate::{run, with};

/// Starts the gate so that it only simulates, before this server.
fn gate_before(config: &Path, more: &[&str], server: &[String]) -> Gate {
    let mut command = Command::new(program());
    command.args(["mcp", "--simulate", "--config"]).arg(config).args(more).arg("--").args(server);
    let mut gate = Gate::connect(command);
    gate.handshake();
    gate
}

fn gate(place: &Place, more: &[&str]) -> Gate {
    gate_before(&place.config_path, more, &demo_server(&place.path("journal")))
}

/// What ran, by the tool server's own journal.
fn journal(place: &Place) -> String {
    std::fs::read_to_string(place.path("journal")).unwrap()
}

fn charge(gate: &mut Gate, amount: &str, key: &str) -> Value {
    gate.call_with("charge", &json!({ "account": "acme", "amount": amount }), Some(key)).0
}

/// What an answer says of the simulation.
#[track_caller]
fn said(answer: &Value) -> &Value {
    assert_eq!(answer["result"]["_meta"]["portcullis/simulated"], true, "{answer}");
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().starts_with("simulated: "), "{answer}");
    &answer["result"]["_meta"]["portcullis/decision"]
}

fn simulations(place: &Place) -> Vec<DecisionRecord> {
    let would = |record| if let Record::Simulation(would) = record { Some(*would) } else { None };
    place.log().records.into_iter().filter_map(would).collect()
}

#[test]
fn a_gate_that_only_simulates_ran_nothing_and_its_log_says_what_would_have_been_decided() {
    let place = Place::demo();
    let mut gate = gate(&place, &[]);
    let listed = gate.request("tools/list", json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 2, "{listed}");
    let permitted = charge(&mut gate, "12.50", "k");
    assert_eq!((&said(&permitted)["decision"], permitted["result"].get("isError")), (&json!("PERMIT"), None));
    // Nothing used the key up: it would be permitted again, and again.
    assert_eq!(said(&charge(&mut gate, "12.50", "k"))["decision"], "PERMIT");
    let refused = charge(&mut gate, "200.00", "k");
    assert_eq!(
        (&said(&refused)["reason"]["code"], &refused["result"]["isError"]),
        (&json!("policy.no_grant"), &json!(true))
    );
    let receipt = place.file("answer.tlog-proof", said(&permitted)["proof"].as_str().unwrap());
    assert!(gate.end().success());
    assert_eq!(journal(&place), "");
    let log = place.log();
    assert_eq!((log.permits().len(), log.refusals().len()), (0, 0));
    assert_eq!(simulations(&place).len(), 3);
    sound(&place);
    let (_, said) = replay(&place, &[]);
    assert_eq!((&said["simulations"]["identical"], &said["identical"]), (&json!(3), &json!(0)), "{said}");
    // The receipt that the client was given verifies by itself, and says what it is.
    let key = place.config.log_key.to_string();
    let verified = run(&["verify", &text(&receipt), "--key", &key]);
    assert!(verified.ok().contains("simulated, no decision: would be PERMIT"), "{verified:?}");
    let explained = with(&place.config_path, &["explain", &text(&receipt)]);
    assert!(explained.ok().starts_with("simulated: would be PERMIT: demo-agent asked for"), "{explained:?}");
    let listed = with(&place.config_path, &["receipts", "list"]);
    assert_eq!(listed.ok().lines().filter(|line| line.ends_with("simulated")).count(), 3, "{listed:?}");
    let seq = simulations(&place)[0].seq.to_string();
    assert!(with(&place.config_path, &["receipts", "show", &seq]).ok().starts_with("c2sp.org/tlog-proof@v1"));
}

#[test]
fn who_asks_for_real_afterwards_finds_nothing_that_was_simulated_in_the_way() {
    let place = Place::demo();
    let mut simulating = gate(&place, &[]);
    said(&charge(&mut simulating, "12.50", "k"));
    assert!(simulating.end().success());
    let mut real = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    let ran = real.call_with("charge", &json!({ "account": "acme", "amount": "12.50" }), Some("k"));
    assert_eq!(ran.ran(), "charged 12.50 to acme");
    assert!(real.end().success());
    assert_eq!(journal(&place).lines().count(), 1);
    // A key that ran says what a repeat would get, and not what the first one got.
    let mut simulating = gate(&place, &[]);
    let again = charge(&mut simulating, "12.50", "k");
    assert_eq!(said(&again)["reason"]["code"], "idempotency.completed");
    assert!(!again.to_string().contains("charged 12.50"), "{again}");
    assert!(simulating.end().success());
    assert_eq!(journal(&place).lines().count(), 1);
    sound(&place);
    let log = place.log();
    assert_eq!((log.permits().len(), log.rows.len(), simulations(&place).len()), (1, 1, 2));
}

#[test]
fn examples_are_answered_marked_and_a_file_that_is_none_starts_no_gate() {
    let place = Place::demo();
    let examples = place.file(
        "examples.jsonl",
        "{\"tool\":\"demo/charge\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"charged in the sandbox\"}]}}\n",
    );
    let mut gate = gate(&place, &["--examples", &text(&examples)]);
    let answer = charge(&mut gate, "1.00", "k");
    said(&answer);
    assert_eq!(answer["result"]["content"][1]["text"], "charged in the sandbox", "{answer}");
    assert!(gate.end().success());
    assert_eq!(journal(&place), "");
    let wrong = place.file("wrong.jsonl", "\n{\"tool\":\"charge\",\"result\":{}}\n");
    let config = text(&place.config_path);
    let started = |file: &Path| {
        run(&["mcp", "--simulate", "--examples", &text(file), "--config", &config, "--", "/bin/false"])
    };
    started(&wrong).failed("line 2: `tool` is the server's name, a slash, and the tool's own name");
    started(&place.path("none.jsonl")).failed("cannot be read");
    run(&["mcp", "--examples", &text(&examples), "--config", &config, "--", "/bin/false"])
        .failed("--simulate");
}

#[test]
fn what_would_be_decided_while_nothing_can_be_recorded_is_refused_and_not_on_record() {
    let place = Place::demo();
    let mut gate = gate(&place, &[]);
    said(&charge(&mut gate, "1.00", "k"));
    with(&place.config_path, &["shut", "--reason", "a drill"]).ok();
    let shut = charge(&mut gate, "1.00", "k");
    assert_eq!(
        (&said(&shut)["reason"]["code"], &said(&shut)["captured"]),
        (&json!("gate.shut"), &json!("logged"))
    );
    with(&place.config_path, &["open"]).ok();
    place.settle();
    let away = pull(&place.signing_key());
    let refused = charge(&mut gate, "1.00", "k");
    assert_eq!(said(&refused)["captured"], "none", "{refused}");
    away.back();
    place.ready();
    said(&charge(&mut gate, "1.00", "k"));
    assert!(gate.end().success());
    assert_eq!((journal(&place).as_str(), simulations(&place).len()), ("", 3));
    sound(&place);
}

#[test]
fn a_simulation_that_was_written_otherwise_than_it_was_made_is_named() {
    let place = Place::demo();
    let mut gate = gate(&place, &[]);
    charge(&mut gate, "12.50", "k");
    for _ in 0..8 {
        said(&gate.call("read_balance", json!({ "account": "acme" })).0);
    }
    with(&place.config_path, &["shut", "--reason", "a drill"]).ok();
    assert_eq!(said(&charge(&mut gate, "12.50", "k"))["reason"]["code"], "gate.shut");
    with(&place.config_path, &["open"]).ok();
    charge(&mut gate, "12.50", "k");
    assert!(gate.end().success());
    sound(&place);
    let all = simulations(&place);
    let (first, second) = (&all[0], &all[10]);
    // By replay, from the request that is kept.
    let forged = place.copied();
    rewrite(&forged, "json_set(BODY, '$.permit_ttl_ms', 1)", &format!("seq = {}", first.seq));
    let (ended, said) = replay(&forged, &[]);
    assert_eq!((ended.code, &said["simulations"]["different"]), (1, &json!(1)), "{said}");
    // And by the log alone.
    let reopened =
        the(&place, |record| matches!(record, Record::Event(event) if event.event == Event::Reopened));
    let digest = first.bundle.as_ref().unwrap().digest.to_string();
    for (body, which, of, words) in [
        (
            format!("replace(BODY, '{digest}', 'sha256:{}')", "0".repeat(64)),
            first.seq,
            first.seq,
            "the bundle that decided it was not in force there",
        ),
        (
            "json_set(BODY, '$.event', 'key_added')".to_owned(),
            reopened,
            second.seq,
            "it says that the gate was open, and an operator had shut it",
        ),
    ] {
        let forged = place.copied();
        rewrite(&forged, &body, &format!("seq = {which}"));
        named(&forged, of, words);
    }
    // A PERMIT that was a simulation has no attempt in the state.
    let forged = place.copied();
    rewrite(&forged, "json_set(BODY, '$.kind', 'decision')", &format!("seq = {}", first.seq));
    let (ended, said) = replay(&forged, &[]);
    assert_eq!(ended.code, 1, "{said}");
}

#[test]
fn packs_exports_and_simulations_of_the_log_say_that_they_are_no_decisions() {
    let place = Place::demo();
    let mut gate = gate(&place, &[]);
    charge(&mut gate, "12.50", "k");
    charge(&mut gate, "200.00", "k");
    assert!(gate.end().success());
    let file = text(&place.path("pack.tar"));
    with(&place.config_path, &["evidence", "pack", "--out", &file, "--surface", "demo.charge"]);
    assert!(is_pack(&std::fs::read(&file).unwrap()));
    let verified = run(&["verify", &file, "--key", &place.config.log_key.to_string()]);
    // Nobody said by whom its bundle must be signed.
    assert_eq!(verified.code, 2, "{verified:?}");
    let lines = verified.out.lines().filter(|line| line.contains("simulated: would be"));
    assert_eq!(lines.filter(|line| line.ends_with("on demo.charge; no decision")).count(), 2, "{verified:?}");
    let folder = place.path("receipts");
    with(&place.config_path, &["receipts", "export", &text(&folder)]).ok();
    let mut names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let ends = |name: &str, end: &str| name.ends_with(end);
    assert!(
        ends(&names[0], "-simulated-PERMIT.tlog-proof") && ends(&names[1], "-simulated-DENY.tlog-proof"),
        "{names:?}"
    );
    let bundle = text(&place.config.bundle);
    let said = with(&place.config_path, &["simulate", "--bundle", &bundle, "--ledger", "--json"]);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert_eq!((&said["asked"], &said["simulated_calls"]), (&json!(0), &json!(2)), "{said}");
}
