//! Limits under concurrency: many callers of a real daemon, over HTTP and over its socket, and kills in between. What
//! ran is told by the tool servers' journal, and by what `tee` recorded before them.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod labels;
mod principals;

use std::process::Command;

use portcullis_policy::bundles;
use portcullis_protocol::{Decision, Outcome, Record};
use portcullis_server::open_ledger;
use rustix::process::Signal;
use serde_json::{Value, json};

use support::process::kill;
use support::random::Random;
use support::{Answer, Daemon, Gate, Place, Recording, demo_server, program};

/// The demo's deployment, with so many charges a day.
fn limited(max: usize) -> Place {
    let mut bundle = bundles::demo();
    let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
    let limit = format!(
        "\n[limits.charges-per-day]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = {max}\n\
         window = {{ sliding = \"1d\" }}\n"
    );
    bundle.insert("bundle.toml".into(), (manifest + &limit).into_bytes());
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

/// Charges that ran, by the tool servers' journal.
fn ran(place: &Place) -> usize {
    let journal = std::fs::read_to_string(place.path("journal")).unwrap();
    let entries = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["tool"] == "charge").count()
}

fn send(gate: &mut Gate, key: &str) -> u64 {
    gate.send_call("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(key))
}

fn is_full(answer: &Answer) -> bool {
    let full = answer.told().is_some() && answer.code() == "limits.exceeded";
    if full {
        let detail = answer.told().unwrap().to_string();
        assert!(detail.contains("charges-per-day"), "{detail}");
    }
    full
}

/// How much was reserved at most, and how much is in the end, by the log.
fn reserved(place: &Place) -> (usize, usize) {
    let (mut now, mut most) = (0, 0);
    let ledger = open_ledger(&place.config).unwrap();
    ledger
        .for_each(|listed| match listed.record {
            Record::Decision(entry) if entry.decision == Decision::Permit => {
                now += entry.limits.len();
                most = most.max(now);
            }
            Record::Outcome(entry) if matches!(entry.outcome, Outcome::Expired | Outcome::Withheld) => {
                now -= 1
            }
            Record::Decision(_)
            | Record::Outcome(_)
            | Record::Aggregate(_)
            | Record::Event(_)
            | Record::Late(_)
            | Record::Listing(_)
            | Record::Simulation(_) => {}
        })
        .unwrap();
    (most, now)
}

/// Every decision comes out the same from the log, and what is reserved is what it says.
fn replays(place: &Place) {
    let replay = Command::new(program())
        .args(["log", "replay", "--json", "--config"])
        .arg(&place.config_path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&replay.stdout);
    assert!(replay.status.success(), "{said}{}", String::from_utf8_lossy(&replay.stderr));
}

#[test]
fn of_many_callers_over_http_exactly_as_many_run_as_the_limit_says() {
    const MAX: usize = 13;
    let place = limited(MAX);
    let daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    let recording = Recording::new(&place.path("recording"));
    let config = place.gate("gate.toml", &daemon.url, 20_000);
    let mut gates: Vec<_> =
        (0..4).map(|_| Gate::start(&config, &recording.of(&demo_server(&journal)))).collect();
    let mut sent = Vec::new();
    for number in 0..15 {
        for (at, gate) in gates.iter_mut().enumerate() {
            sent.push((at, send(gate, &format!("{at}-{number}"))));
        }
    }
    let answers: Vec<_> = sent.into_iter().map(|(at, id)| gates[at].called(id).unwrap()).collect();
    let refused = answers.iter().filter(|answer| is_full(answer)).count();
    assert_eq!((refused, answers.len() - refused), (60 - MAX, MAX));
    assert_eq!(ran(&place), MAX);
    for gate in &mut gates {
        gate.settled(&recording);
    }
    assert_eq!(recording.calls().len(), MAX);
    gates.into_iter().for_each(|gate| assert!(gate.end().success()));
    daemon.end(Signal::TERM);
    assert_eq!(reserved(&place), (MAX, MAX));
    replays(&place);
}

#[test]
fn no_more_run_than_the_limit_says_however_often_the_daemon_is_killed() {
    const MAX: usize = 30;
    let (mut random, seed) = Random::seeded();
    eprintln!("seed {seed}");
    let place = limited(MAX);
    let mut daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    let config = place.elsewhere(&place.socket_url());
    let mut gates: Vec<_> = (0..3).map(|_| Gate::start(&config, &demo_server(&journal))).collect();
    for round in 0..8 {
        let mut sent = Vec::new();
        for number in 0..4 {
            for (at, gate) in gates.iter_mut().enumerate() {
                sent.push((at, send(gate, &format!("{round}-{at}-{number}"))));
            }
        }
        // The moment is one of an answer's.
        let before = random.below(sent.len() / 2);
        let mut rest = sent.into_iter();
        for (at, id) in rest.by_ref().take(before) {
            gates[at].called(id).unwrap();
        }
        kill(&mut daemon.child);
        for (at, id) in rest {
            gates[at].called(id).unwrap();
        }
        assert!(ran(&place) <= MAX, "{} ran, seed {seed}", ran(&place));
        daemon = Daemon::start(&place);
    }
    // Nobody is killed any more: what is left of the limit runs, and nothing beyond it.
    let full = (0..200).any(|number| {
        let id = send(&mut gates[0], &format!("calm-{number}"));
        is_full(&gates[0].called(id).unwrap())
    });
    assert!(full, "the limit was never reached, seed {seed}");
    gates.into_iter().for_each(|gate| assert!(gate.end().success()));
    daemon.end(Signal::TERM);
    let (most, _) = reserved(&place);
    assert_eq!(most, MAX, "seed {seed}");
    assert!(ran(&place) <= MAX && ran(&place) > 0, "{} ran, seed {seed}", ran(&place));
    replays(&place);
}
