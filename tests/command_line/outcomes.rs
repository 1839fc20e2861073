//! `portcullis outcomes` and `portcullis keys operator`.

use std::path::Path;

use portcullis_protocol::{AttemptId, Event, Outcome};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::http::{Server, post};
use crate::support::{Daemon, Gate, Place, demo_server, pull, spent, text};
use crate::{Ended, with};

/// A PERMIT that was spent over the API, and of which its gate does not know what became.
pub(crate) fn in_doubt(place: &Place, server: &Server, ask: &Value) -> AttemptId {
    let (id, body) = spent(place, server, ask, (Outcome::Unknown, None));
    let token = place.token("demo-agent");
    assert_eq!(post(server, &format!("/v1/decisions/{id}/outcome"), &token, &body).unwrap().status, 200);
    id
}

pub(crate) fn charge(key: &str) -> Value {
    json!({
        "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "12.50" }, "idempotency_key": key,
    })
}

fn read() -> Value {
    json!({
        "surface": "demo.read_balance", "action": "demo.read_balance",
        "resource": { "type": "Surface", "id": "demo.read_balance" }, "context": { "account": "acme" },
    })
}

fn unknown(config: &Path, more: &[&str]) -> Vec<Value> {
    let ended = with(config, &[&["outcomes", "unknown", "--json"], more].concat());
    ended.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn resolve(config: &Path, attempt: &str, outcome: &str) -> Ended {
    with(config, &["outcomes", "resolve", attempt, "--as", outcome, "--reason", "asked the bank"])
}

fn ended_as(place: &Place, attempt: AttemptId) -> Option<Outcome> {
    place.rows().into_iter().find(|row| row.record.attempt == attempt).unwrap().outcome
}

#[test]
fn what_is_in_doubt_is_listed_and_resolved_with_the_daemon_up_and_down() {
    let place = Place::demo();
    let config = &place.config_path;
    let daemon = Daemon::start(&place);
    let server = daemon.server();
    let (first, second) = (in_doubt(&place, &server, &charge("a")), in_doubt(&place, &server, &charge("b")));
    let closes_by_itself = in_doubt(&place, &server, &read());
    let listed = unknown(config, &[]);
    let attempts: Vec<_> = listed.iter().map(|line| line["attempt"].as_str().unwrap()).collect();
    assert_eq!(attempts, [first.to_string(), second.to_string()], "a read needs nobody");
    assert_eq!(unknown(config, &["--all"]).len(), 3);
    assert!(listed[0]["key"].is_string() && listed[0]["key"] == listed[0]["permit"]["key"], "{listed:?}");
    assert_eq!(listed[0]["permit"]["agent"], "demo-agent");
    let people = with(config, &["outcomes", "unknown"]);
    for words in
        [&first.to_string()[..16], "demo-agent over gate", "demo.charge", "blocks key sha256:", "2 in doubt"]
    {
        assert!(people.ok().contains(words), "{words}: {people:?}");
    }
    let said = resolve(config, &first.to_string()[..12], "not-run");
    assert!(said.ok().contains("`expired`"), "{said:?}");
    resolve(config, &first.to_string(), "ok").failed("is not `unknown` but expired");
    assert!(daemon.end(Signal::TERM).success());

    let json = with(
        config,
        &["outcomes", "resolve", &second.to_string(), "--as", "failed", "--reason", "x", "--json"],
    );
    let json: Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!((&json["outcome"], json["record"].is_u64()), (&json!("failed"), true));
    assert!(unknown(config, &[]).is_empty());
    assert_eq!(ended_as(&place, first), Some(Outcome::Expired));
    assert_eq!(ended_as(&place, second), Some(Outcome::Failed));
    assert_eq!(ended_as(&place, closes_by_itself), Some(Outcome::Unknown));
    let orders = place.log().events().iter().filter(|event| **event == Event::Ordered).count();
    assert_eq!(orders, 2);

    // The key that was given back opens the way for one run, the other stays shut.
    let mut gate = Gate::start(config, &demo_server(&place.path("journal")));
    let again = json!({ "account": "acme", "amount": "12.50" });
    gate.call_with("charge", &again, Some("b")).code();
    // While a gate hosts the directory, orders reach it over the same socket.
    resolve(config, &second.to_string(), "ok").failed("is not `unknown` but failed");
    assert!(gate.end().success());
}

#[test]
fn nobody_but_an_operator_resolves_anything() {
    let place = Place::demo();
    let config = &place.config_path;
    let daemon = Daemon::start(&place);
    let attempt = in_doubt(&place, &daemon.server(), &charge("a")).to_string();
    let by = |file: &Path| {
        let file = text(file);
        with(config, &["outcomes", "resolve", &attempt, "--as", "ok", "--reason", "x", "--token-file", &file])
    };
    let agents = place.path("keys/demo-agent.token");
    by(&agents).failed("names no operator");
    // A token that the running arbiter does not know yet.
    let made = with(config, &["keys", "operator", "alice"]);
    assert!(made.ok().contains("alice"), "{made:?}");
    let alices = place.path("keys/alice.token");
    by(&alices).failed("names no operator");
    assert!(daemon.end(Signal::TERM).success());
    by(&agents).failed("names no operator");
    by(&place.path("keys/none.token")).failed("operator.token_file");
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&alices, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        by(&alices).failed("chmod 600");
        mode(0o600);
    }
    let misuse = with(config, &["outcomes", "resolve", &attempt, "--as", "ok", "--reason", " "]);
    misuse.failed("is not a valid reason");
    with(config, &["outcomes", "resolve", &attempt, "--as", "withheld", "--reason", "x"]).failed("withheld");
    resolve(config, "00", "ok").failed("outcomes unknown");
    let anchor = pull(&place.config.anchor);
    by(&alices).failed("evidence.");
    anchor.back();
    assert_eq!(unknown(config, &[]).len(), 1, "nothing was resolved");
    assert!(by(&alices).ok().contains("on record as `ok`"));
    let by_whom = place.log().records.iter().any(|record| {
        matches!(record, portcullis_protocol::Record::Outcome(outcome)
            if outcome.by.as_ref().is_some_and(|by| by.as_str() == "alice"))
    });
    assert!(by_whom);
}
