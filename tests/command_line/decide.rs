//! `portcullis decide`.

use portcullis_protocol::Decision;
use serde_json::{Value, json};

use crate::support::{Daemon, Place, text};
use crate::{Ended, fed, run, with};

fn charge(amount: &str, key: &str) -> Value {
    json!({
        "surface": "demo.charge",
        "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": amount },
        "idempotency_key": key,
    })
}

fn decide(place: &Place, request: &Value) -> Ended {
    let file = place.file("request.json", &request.to_string());
    with(&place.config_path, &["decide", &text(&file)])
}

/// The decision that was printed, and its code; its receipt is checked where there is one.
fn printed(place: &Place, ended: &Ended) -> (String, Option<String>) {
    let reply: Value = serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    if let Some(receipt) = reply["receipt"].as_str() {
        let portcullis_protocol::Record::Decision(record) = place.verify(receipt) else {
            panic!("{ended:?}")
        };
        assert_eq!(record.decision.as_str(), reply["decision"]);
    }
    assert_eq!(reply["receipt"].is_string(), reply["captured"] == "logged", "{ended:?}");
    (reply["decision"].as_str().unwrap().to_owned(), reply["reason"]["code"].as_str().map(str::to_owned))
}

fn is(place: &Place, ended: &Ended, code: i32, decision: &str, reason: Option<&str>) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert_eq!(printed(place, ended), (decision.to_owned(), reason.map(str::to_owned)));
}

fn every_decision(place: &Place) {
    is(place, &decide(place, &charge("12.50", "a")), 0, "PERMIT", None);
    is(place, &decide(place, &charge("5000.00", "b")), 3, "DENY", Some("policy.no_grant"));
    let mut forbidden = charge("1.00", "c");
    forbidden["surface"] = "demo.delete_account".into();
    forbidden["action"] = "demo.delete_account".into();
    forbidden["resource"]["id"] = "demo.delete_account".into();
    forbidden["context"] = json!({ "account": "acme" });
    is(place, &decide(place, &forbidden), 3, "DENY", Some("policy.forbidden"));
    let mut unknown = charge("1.00", "d");
    unknown["surface"] = "demo.wipe".into();
    is(place, &decide(place, &unknown), 4, "SILENCE", Some("surface.unknown"));
    portcullis_server::shut(&place.config.data, "a test").unwrap();
    is(place, &decide(place, &charge("1.00", "e")), 4, "SILENCE", Some("gate.shut"));
    portcullis_server::open(&place.config.data).unwrap();
    is(place, &decide(place, &charge("1.00", "e")), 0, "PERMIT", None);
    // What became of the first nobody can know; it is not decided again.
    let again = decide(place, &charge("12.50", "a"));
    assert_eq!(again.code, 4, "{again:?}");
}

#[test]
fn the_exit_code_is_the_decision() {
    let place = Place::demo();
    every_decision(&place);
    let log = place.log();
    assert_eq!(log.permits().len(), 2);
    assert_eq!(log.rows.iter().filter(|row| row.record.decision == Decision::Deny).count(), 2);
}

#[test]
fn the_exit_code_is_the_decision_with_a_daemon_too() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    every_decision(&place);
    daemon.end(rustix::process::Signal::TERM);
    assert_eq!(place.log().permits().len(), 2);
}

#[test]
fn a_request_that_is_none_is_silence_and_is_not_recorded() {
    let place = Place::demo();
    let cases = [
        ("", "request.malformed"),
        ("{}", "request.malformed"),
        ("[1,2]", "request.malformed"),
        (r#"{"surface":"a.b","surface":"a.c"}"#, "request.duplicate_key"),
    ];
    let config = text(&place.config_path);
    for (request, reason) in cases {
        let ended = fed(&["decide", "--config", &config, "-"], request);
        is(&place, &ended, 4, "SILENCE", Some(reason));
    }
    let mut unknown = charge("1.00", "a");
    unknown["dry_run"] = true.into();
    let ended = fed(&["decide", "--config", &config, "-"], &unknown.to_string());
    is(&place, &ended, 4, "SILENCE", Some("request.unknown_field"));
    assert!(!place.config.data.exists(), "something was recorded");
}

#[test]
fn a_request_from_standard_input_is_decided_like_one_in_a_file() {
    let place = Place::demo();
    let config = text(&place.config_path);
    let ended = fed(&["decide", "--config", &config, "-"], &charge("12.50", "a").to_string());
    is(&place, &ended, 0, "PERMIT", None);
}

#[test]
fn without_an_arbiter_the_exit_code_is_silence() {
    let place = Place::demo();
    let config = place.elsewhere("http://127.0.0.1:9");
    let request = place.file("request.json", &charge("12.50", "a").to_string());
    let ended = with(&config, &["decide", &text(&request)]);
    is(&place, &ended, 4, "SILENCE", Some("arbiter.unreachable"));
}

#[test]
fn misuse_is_neither_a_no_nor_a_silence() {
    let place = Place::demo();
    with(&place.config_path, &["decide", "/nonexistent/request.json"]).failed("/nonexistent/request.json");
    let request = text(&place.file("request.json", &charge("12.50", "a").to_string()));
    run(&["decide", "--config", "/nonexistent/portcullis.toml", &request]).failed("portcullis init");
    let before = std::fs::read_to_string(&place.config_path).unwrap();
    let broken = place.file("broken.toml", &before.replace("[gate]", "[gate]\nopen = true"));
    with(&broken, &["decide", &request]).failed("unknown field `open`");
    assert!(!place.config.data.exists(), "something was recorded");
}
