//! `portcullis status`, `shut`, `open`, and the end of `serve`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_protocol::{Decision, Event};
use portcullis_sdk::Attempt;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::http::{get, post};
use crate::support::process::ended;
use crate::support::{Daemon, Place, pull, signal, until};
use crate::with;

#[test]
fn status_says_what_is_shut_and_why() {
    let place = Place::demo();
    let config = &place.config_path;
    with(config, &["status"]).failed("portcullis serve");
    let daemon = Daemon::start(&place);
    assert!(with(config, &["status"]).ok().starts_with("ready"));
    assert_eq!(with(config, &["shut", "--reason", "incident 7"]).ok().lines().count(), 1);
    let shut = with(config, &["status"]);
    assert_eq!(shut.code, 1, "{shut:?}");
    for words in ["shut: nothing is permitted", "gate.shut", "incident 7"] {
        assert!(shut.out.contains(words), "{words}: {shut:?}");
    }
    assert!(with(config, &["open"]).ok().contains("incident 7"));
    assert_eq!(with(config, &["open"]).ok().trim(), "it was not shut");
    let away = pull(&place.config.bundle);
    let status = with(config, &["status", "--json"]);
    let health: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!((status.code, &health["ready"]), (1, &Value::Bool(false)));
    let policy = health["interlocks"].as_array().unwrap().iter().find(|it| it["name"] == "policy").unwrap();
    assert_eq!(
        (policy["state"].as_str(), policy["reason"].as_str()),
        (Some("tripped"), Some("policy.missing"))
    );
    away.back();
    until("a status that is ready", || (with(config, &["status"]).code == 0).then_some(()));
    assert!(daemon.end(Signal::TERM).success());
    let events = place.log().events();
    for event in [Event::Shut, Event::Reopened] {
        assert!(events.contains(&event), "{event:?} is not in {events:?}");
    }
}

#[test]
fn what_is_open_to_anybody_tells_nothing_and_the_rest_needs_a_token() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    let server = daemon.server();
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(get(&server, path).unwrap().status, 200, "{path}");
    }
    let secret = place.token("demo-agent");
    for path in ["/readyz", "/metrics"] {
        let body = get(&server, path).unwrap().body;
        assert!(!body.contains(&secret) && !body.contains("acme"), "{path}");
    }
    for path in ["/v1/surfaces", "/v1/receipts/00"] {
        let answer = get(&server, path).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{path}");
    }
    let answer = post(&server, "/v1/decisions", "pcl_nobody", b"{}").unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (401, ""));
}

#[test]
fn a_daemon_without_work_ends_at_once_and_closes_the_log() {
    for by in [Signal::INT, Signal::TERM] {
        let place = Place::demo();
        let mut daemon = Daemon::start(&place);
        let start = std::time::Instant::now();
        signal(&daemon.child, by);
        assert!(ended(&mut daemon.child, "the daemon").success(), "{by:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "{by:?} took {:?}", start.elapsed());
        assert_eq!(place.log().events().last(), Some(&Event::Closed), "{by:?}");
        assert!(daemon.notes.text().contains("stopping"), "{}", daemon.notes.text());
    }
}

/// Asks for decisions until nobody answers any more; the receipts of those that were PERMITs.
fn ask(server: &crate::support::http::Server, token: &str, begun: &AtomicBool) -> Vec<String> {
    let ask = serde_json::json!({
        "surface": "demo.read_balance", "action": "demo.read_balance",
        "resource": { "type": "Surface", "id": "demo.read_balance" }, "context": { "account": "acme" },
    });
    let ask = portcullis_protocol::request::Ask::parse(ask.to_string().as_bytes()).unwrap();
    let mut receipts = Vec::new();
    loop {
        let request = ask.clone().by("demo-agent".parse().unwrap());
        let attempt = Attempt::new("gate".parse().unwrap(), request).unwrap();
        let call = serde_json::to_vec(&attempt.call(Duration::from_secs(5))).unwrap();
        let Ok(reply) = post(server, "/v1/decisions", token, &call) else { return receipts };
        let reply = reply.json();
        if reply["decision"] == "PERMIT" {
            receipts.push(reply["receipt"].as_str().unwrap().to_owned());
            begun.store(true, Ordering::SeqCst);
        } else {
            // The rest would be answered in vain.
            assert_eq!(reply["decision"], "SILENCE", "{reply}");
            return receipts;
        }
    }
}

#[test]
fn a_daemon_that_is_interrupted_under_load_loses_nothing_that_it_answered() {
    for by in [Signal::INT, Signal::TERM] {
        let place = Place::demo();
        let mut daemon = Daemon::start(&place);
        let (server, token) = (daemon.server(), place.token("demo-agent"));
        let begun = AtomicBool::new(false);
        let receipts = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..6).map(|_| scope.spawn(|| ask(&server, &token, &begun))).collect();
            until("the first PERMIT", || begun.load(Ordering::SeqCst).then_some(()));
            signal(&daemon.child, by);
            asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(ended(&mut daemon.child, "the daemon").success());
        let log = place.log();
        assert_eq!(log.events().last(), Some(&Event::Closed));
        assert!(!receipts.is_empty());
        for receipt in &receipts {
            let answered = place.verify(receipt);
            assert!(log.records.contains(&answered), "answered and not in the log: {answered:?}");
        }
        let permits = log.rows.iter().filter(|row| row.record.decision == Decision::Permit).count();
        assert!(permits >= receipts.len());
    }
}
