//! What somebody who has the log's key writes into it, signs and anchors: replay and `log check` name it by the log alone.

use serde_json::json;

use crate::outcomes::{charge, in_doubt, resolve};
use crate::replay::{found, replay, resign, sql};
use crate::support::{Daemon, Gate, Place, demo_server};
use crate::with;

/// Both refuse the log, and name this record with these words.
#[track_caller]
pub(crate) fn named(place: &Place, seq: u64, words: &str) {
    let (ended, said) = replay(place, &["--without-key"]);
    let found = found(&said);
    assert_eq!(ended.code, 1, "{said}");
    assert!(found.iter().any(|(record, what)| *record == Some(seq) && what.contains(words)), "{found:?}");
    let checked = with(&place.config_path, &["log", "check"]);
    let said = format!("{}{}", checked.out, checked.err);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(said.contains(&format!("record {seq}: ")) && said.contains(words), "{checked:?}");
}

#[track_caller]
pub(crate) fn sound(place: &Place) {
    let (ended, said) = replay(place, &[]);
    assert_eq!((ended.code, &said["findings"]), (0, &json!([])), "{said}");
    with(&place.config_path, &["log", "check"]).ok();
}

/// Sets a record's body to this expression of SQL over it as text.
pub(crate) fn rewrite(place: &Place, body: &str, which: &str) {
    let body = body.replace("BODY", "CAST(body AS TEXT)");
    sql(place, &format!("UPDATE records SET body = CAST({body} AS BLOB) WHERE {which}"));
    resign(place);
}

/// The index of the one record of a deployment's log that is such.
pub(crate) fn the(place: &Place, is: impl Fn(&portcullis_protocol::Record) -> bool) -> u64 {
    let found: Vec<_> =
        place.log().records.iter().filter(|record| is(record)).map(|record| record.seq()).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

fn is_event(event: portcullis_protocol::Event) -> impl Fn(&portcullis_protocol::Record) -> bool {
    move |record| matches!(record, portcullis_protocol::Record::Event(found) if found.event == event)
}

#[test]
fn what_an_operator_was_said_to_have_found_out_without_an_order_freed_a_key() {
    let place = Place::demo();
    let daemon = Daemon::start(&place);
    let attempt = in_doubt(&place, &daemon.server(), &charge("a"));
    in_doubt(&place, &daemon.server(), &charge("b"));
    resolve(&place.config_path, &attempt.to_string(), "not-run").ok();
    assert!(daemon.end(rustix::process::Signal::TERM).success());
    sound(&place);
    let order = the(&place, is_event(portcullis_protocol::Event::Ordered));
    let (order, outcome) = (order, order + 1);
    let without = "it is on an operator's word, and the order for it is not right before it";
    let left = "the outcome that it orders is not right behind it";
    let changes = [
        ("json_set(BODY, '$.outcome', 'ok')", outcome, outcome, without),
        ("json_set(BODY, '$.by', 'mallory')", outcome, outcome, without),
        ("json_set(BODY, '$.reason', 'asked nobody')", outcome, outcome, without),
        // Nobody ordered anything, and the key is free.
        ("json_remove(json_set(BODY, '$.event', 'key_added'), '$.order')", order, outcome, without),
        // An order that nobody carried out.
        ("json_remove(BODY, '$.by', '$.reason')", outcome, order, left),
    ];
    for (body, seq, wrong, words) in changes {
        let forged = place.copied();
        rewrite(&forged, body, &format!("seq = {seq}"));
        named(&forged, wrong, words);
    }
}

#[test]
fn a_permit_while_the_gate_was_shut_was_identical() {
    let place = Place::demo();
    let read = || json!({ "account": "acme" });
    let start = || Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    let turn = |arguments: &[&str]| with(&place.config_path, arguments).ok().to_owned();
    let mut gate = start();
    gate.call("read_balance", read()).ran();
    turn(&["shut", "--reason", "a drill"]);
    assert_eq!(gate.call("read_balance", read()).code(), "gate.shut");
    turn(&["open"]);
    gate.call("read_balance", read()).ran();
    assert!(gate.end().success());
    let first = place.copied();
    // While nobody runs, it is shut, and opened again: the next who opens the ledger finds it open.
    turn(&["shut", "--reason", "a drill"]);
    let mut gate = start();
    assert_eq!(gate.call("read_balance", read()).code(), "gate.shut");
    assert!(gate.end().success());
    turn(&["open"]);
    let mut gate = start();
    gate.call("read_balance", read()).ran();
    assert!(gate.end().success());
    sound(&place);

    let place = first;
    let shut = the(&place, is_event(portcullis_protocol::Event::Shut));
    let reopened = the(&place, is_event(portcullis_protocol::Event::Reopened));
    let other = "json_set(BODY, '$.event', 'key_added')";
    for (turn, words) in [
        (reopened, "it says that the gate was open, and an operator had shut it"),
        (shut, "it says that the gate was shut, and that it was shut is not on record there"),
    ] {
        let forged = place.copied();
        rewrite(&forged, other, &format!("seq = {turn}"));
        let next = place.rows().into_iter().find(|row| row.record.seq > turn).unwrap().record.seq;
        named(&forged, next, words);
    }
}
