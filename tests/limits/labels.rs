//! Labels under concurrency: a read that adds a label races sends that are forbidden after it.

use portcullis_policy::bundles;
use portcullis_protocol::{Decision, Record};
use portcullis_server::open_ledger;
use rustix::process::Signal;
use serde_json::json;

use crate::support::random::Random;
use crate::support::{Daemon, Gate, Place, demo_server};
use crate::{ran, replays, send};

/// The demo's deployment, whose agent sends nothing (charges nothing) once it has read untrusted input (account `web`)
/// and confidential data (account `customer`).
fn labelled() -> Place {
    let mut bundle = bundles::demo();
    bundle.retain(|path, _| !path.starts_with("tests/"));
    let mut edit = |path: &str, from: &str, to: &str| {
        let text = String::from_utf8(bundle[path].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        bundle.insert(path.into(), text.replace(from, to).into_bytes());
    };
    edit("schema.cedarschema", "amount: decimal", "amount: decimal, labels: Set<String>");
    edit("bundle.toml", "\nversion = 1\n", "\nversion = 1\nuntested = true\n");
    let begin = "[surfaces.\"demo.read_balance\"]";
    let labels = "[labels.untrusted-input]\nlifetime = \"8h\"\n[labels.confidential]\nlifetime = \"8h\"\n";
    edit("bundle.toml", begin, &format!("{labels}{begin}"));
    let policies = r#"
@id("reads-the-web") @adds_label("untrusted-input")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "web" };
@id("reads-customers") @adds_label("confidential")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "customer" };
@id("nothing-out-after-both")
forbid (principal, action == Action::"demo.charge", resource)
when { context.labels.containsAll(["untrusted-input", "confidential"]) };
"#;
    bundle.insert("policies/labels.cedar".into(), policies.into());
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

#[test]
fn no_send_is_permitted_after_the_read_that_it_races() {
    let (mut random, seed) = Random::seeded();
    eprintln!("seed {seed}");
    let (mut sent, mut refused) = (0, 0);
    for _ in 0..6 {
        let place = labelled();
        let daemon = Daemon::start(&place);
        let journal = place.file("journal", "");
        let config = place.gate("gate.toml", &daemon.url, 20_000);
        let mut gates: Vec<_> = (0..3).map(|_| Gate::start(&config, &demo_server(&journal))).collect();
        gates[0].call("read_balance", json!({ "account": "web" })).ran();
        let at = random.below(8);
        let mut calls = Vec::new();
        for number in 0..12 {
            for (of, gate) in gates.iter_mut().enumerate() {
                if of == 0 && number == at {
                    calls.push((of, gate.send_call("read_balance", &json!({ "account": "customer" }), None)));
                }
                calls.push((of, send(gate, &format!("{of}-{number}"))));
            }
        }
        for (of, id) in calls {
            let answer = gates[of].called(id).unwrap();
            if answer.told().is_some() {
                assert!(
                    matches!(answer.code(), "policy.forbidden" | "overload.contended"),
                    "{}",
                    answer.code()
                );
                refused += 1;
            }
        }
        let last = send(&mut gates[1], "last");
        assert_eq!(gates[1].called(last).unwrap().code(), "policy.forbidden");
        gates.into_iter().for_each(|gate| assert!(gate.end().success()));
        daemon.end(Signal::TERM);
        let (mut labelled, mut permitted) = (false, 0);
        open_ledger(&place.config)
            .unwrap()
            .for_each(|listed| {
                let Record::Decision(entry) = listed.record else { return };
                if entry.decision != Decision::Permit {
                    return;
                }
                labelled |= entry.labels.added.keys().any(|label| label.as_str() == "confidential");
                if entry.surface.as_str() == "demo.charge" {
                    assert!(!labelled, "record {} sends after the read, seed {seed}", entry.seq);
                    permitted += 1;
                }
            })
            .unwrap();
        assert!(labelled);
        assert_eq!(ran(&place), permitted);
        sent += permitted;
        replays(&place);
    }
    assert!(sent > 0 && refused > 0, "nothing raced: {sent} sent, {refused} refused, seed {seed}");
}
