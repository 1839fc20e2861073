//! For whom agents act, end to end: real gates of two agents in front of real tool servers, one daemon, one person.

use std::path::PathBuf;
use std::process::Command;

use portcullis_policy::bundles;
use portcullis_protocol::{Decision, Record};
use portcullis_server::Config;
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Daemon, Gate, Place, Recording, demo_server, program, text};
use crate::{is_full, ran, replays, send};

const LABELS: &str = r#"
@id("reads-the-web") @adds_label("untrusted-input")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "web" };
@id("reads-customers") @adds_label("confidential")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "customer" };
@id("charges-for-finance")
permit (principal, action == Action::"demo.charge", resource)
when { context has acts_for && context.acts_for in Group::"finance" };
@id("nothing-out-after-both")
forbid (principal, action == Action::"demo.charge", resource)
when { context.labels.containsAll(["untrusted-input", "confidential"]) };
"#;

const PEOPLE: &str = r#"[
  { "uid": { "type": "Group", "id": "finance" }, "attrs": {}, "parents": [] },
  { "uid": { "type": "User", "id": "maya" }, "attrs": {}, "parents": [{ "type": "Group", "id": "finance" }] },
  { "uid": { "type": "User", "id": "kim" }, "attrs": {}, "parents": [] },"#;

/// The demo's deployment, in which two agents act for people, and may make `max` charges a day for each of them.
fn delegated(max: usize, credentials: &[(&str, &str)]) -> Place {
    let mut bundle = bundles::demo();
    bundle.retain(|path, _| !path.starts_with("tests/"));
    let mut edit = |path: &str, from: &str, to: &str| {
        let text = String::from_utf8(bundle[path].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        bundle.insert(path.into(), text.replacen(from, to, 1).into_bytes());
    };
    edit("schema.cedarschema", "amount: decimal", "amount: decimal, labels: Set<String>, acts_for?: User");
    edit("bundle.toml", "\nversion = 1\n", "\nversion = 1\nuntested = true\n");
    edit("schema.cedarschema", "entity Agent;", "entity Group;\nentity User in [Group];\nentity Agent;");
    edit("entities.json", "[", PEOPLE);
    let begin = "[surfaces.\"demo.read_balance\"]";
    let more = format!(
        "[principals]\ntype = \"User\"\n[labels.untrusted-input]\nlifetime = \"8h\"\n[labels.confidential]\nlifetime = \"8h\"\n\
         [limits.charges-per-day]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nper = [\"principal\"]\nmax = {max}\n\
         window = {{ sliding = \"1d\" }}\n{begin}"
    );
    edit("bundle.toml", begin, &more);
    bundle.insert("policies/labels.cedar".into(), LABELS.into());
    let mut place = Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo");
    let mut config = std::fs::read_to_string(&place.config_path).unwrap();
    for (agent, principals) in credentials {
        let at = config
            .find(&format!("[agents.{agent}]"))
            .or(config.find(&format!("[agents.\"{agent}\"]")))
            .unwrap();
        let end = at + config[at..].find('\n').unwrap();
        config.insert_str(end, &format!("\nacts_for = {principals}"));
    }
    std::fs::write(&place.config_path, config).unwrap();
    place.config = Config::read(&place.config_path).unwrap().arbiter().unwrap();
    place
}

/// The configuration of a gate of this agent that says for whom it acts.
fn gate_of(place: &Place, daemon: &Daemon, agent: &str, acts_for: Option<&str>) -> PathBuf {
    let name = format!("{agent}-{}.toml", acts_for.unwrap_or("nobody"));
    place.configure(&name, |text| {
        let own = "agent = \"demo-agent\"\ntoken_file = \"keys/demo-agent.token\"\ndeadline_ms = 2000";
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# How long a decision")).collect();
        let text = lines.join("\n");
        assert!(text.contains(own), "{text}");
        let named = acts_for.map_or_else(String::new, |name| format!("acts_for = \"{name}\"\n"));
        let other = format!(
            "agent = \"{agent}\"\ntoken_file = \"keys/{agent}.token\"\n{named}deadline_ms = 20000\narbiter = \"{}\"",
            daemon.url
        );
        text.replace(own, &other)
    })
}

/// What records say of whom was acted for and of what was decided, in order.
fn told(place: &Place) -> Vec<(String, String, String)> {
    let record = |record: &Record| {
        let Record::Decision(entry) = record else { return None };
        let named = entry.acts_for.as_ref().map_or_else(String::new, ToString::to_string);
        let what = entry.reason.map_or(entry.decision.as_str(), |code| code.as_str());
        Some((entry.agent.to_string(), named, what.to_owned()))
    };
    place.log().records.iter().filter_map(record).collect()
}

#[test]
fn of_two_agents_of_one_person_no_more_run_than_the_person_s_limit_says() {
    const MAX: usize = 7;
    let place = delegated(MAX, &[("demo-agent", "[\"maya\"]"), ("stranger-agent", "[\"maya\", \"kim\"]")]);
    let daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    let recording = Recording::new(&place.path("recording"));
    let configs = [
        gate_of(&place, &daemon, "demo-agent", Some("maya")),
        gate_of(&place, &daemon, "stranger-agent", Some("maya")),
    ];
    let mut gates: Vec<_> =
        configs.iter().map(|config| Gate::start(config, &recording.of(&demo_server(&journal)))).collect();
    // Each has a part in it before they race for the rest.
    let mut answers: Vec<_> = (0..2)
        .map(|at| {
            let id = send(&mut gates[at], &format!("{at}-0"));
            gates[at].called(id).unwrap()
        })
        .collect();
    let mut sent = Vec::new();
    for number in 1..10 {
        for (at, gate) in gates.iter_mut().enumerate() {
            sent.push((at, send(gate, &format!("{at}-{number}"))));
        }
    }
    answers.extend(sent.into_iter().map(|(at, id)| gates[at].called(id).unwrap()));
    let refused = answers.iter().filter(|answer| is_full(answer)).count();
    assert_eq!((refused, answers.len() - refused, ran(&place)), (20 - MAX, MAX, MAX));
    for gate in &mut gates {
        gate.settled(&recording);
    }
    assert_eq!(recording.calls().len(), MAX);
    gates.into_iter().for_each(|gate| assert!(gate.end().success()));
    daemon.end(Signal::TERM);
    let permits = place.log();
    let mut agents: Vec<_> = permits.permits().iter().map(|(entry, _)| entry.agent.to_string()).collect();
    agents.sort();
    agents.dedup();
    assert_eq!(agents.len(), 2, "both agents had a part in it");
    replays(&place);
}

#[test]
fn what_a_delegate_read_keeps_the_agent_that_it_acts_for_from_sending() {
    let place = delegated(100, &[("stranger-agent", "[\"demo-agent\"]")]);
    let daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    let own = gate_of(&place, &daemon, "demo-agent", None);
    let delegate = gate_of(&place, &daemon, "stranger-agent", Some("demo-agent"));
    let mut own = Gate::start(&own, &demo_server(&journal));
    let mut delegate = Gate::start(&delegate, &demo_server(&journal));
    own.call("read_balance", json!({ "account": "web" })).ran();
    let first = send(&mut own, "before");
    own.called(first).unwrap().ran();
    delegate.call("read_balance", json!({ "account": "customer" })).ran();
    let second = send(&mut own, "after");
    assert_eq!(own.called(second).unwrap().code(), "policy.forbidden");
    assert_eq!(ran(&place), 1);
    assert!(own.end().success() && delegate.end().success());
    daemon.end(Signal::TERM);
    replays(&place);
}

#[test]
fn a_forged_principal_runs_nothing_and_is_on_record_and_replays_without_the_credentials() {
    let place = delegated(100, &[("stranger-agent", "[\"kim\"]")]);
    let daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    for (agent, acts_for) in [
        ("demo-agent", Some("maya")),
        ("stranger-agent", Some("maya")),
        ("stranger-agent", None),
        ("stranger-agent", Some("demo-agent")),
    ] {
        let config = gate_of(&place, &daemon, agent, acts_for);
        let mut gate = Gate::start(&config, &demo_server(&journal));
        let id = send(&mut gate, &format!("{agent} {acts_for:?}"));
        assert_eq!(gate.called(id).unwrap().code(), "identity.principal", "{agent} {acts_for:?}");
        let read = gate.call("read_balance", json!({ "account": "web" }));
        assert_eq!(read.code(), "identity.principal");
        assert!(gate.end().success());
    }
    let mut gate =
        Gate::start(&gate_of(&place, &daemon, "stranger-agent", Some("kim")), &demo_server(&journal));
    gate.call("read_balance", json!({ "account": "web" })).ran();
    let id = send(&mut gate, "kim");
    assert_eq!(gate.called(id).unwrap().code(), "policy.no_grant");
    assert!(gate.end().success());
    assert_eq!(ran(&place), 0);
    daemon.end(Signal::TERM);
    let told = told(&place);
    assert_eq!(told.len(), 10);
    assert_eq!(told.iter().filter(|(_, _, what)| what == "identity.principal").count(), 8);
    assert!(told.iter().any(|(agent, named, _)| (agent.as_str(), named.as_str()) == ("demo-agent", "maya")));
    // What credentials let their agents do is not asked again: the log has it.
    let config = std::fs::read_to_string(&place.config_path).unwrap();
    let unlisted = config.replace("acts_for = [\"kim\"]", "acts_for = [\"maya\"]");
    assert_ne!(unlisted, config);
    std::fs::write(&place.config_path, unlisted).unwrap();
    replays(&place);
}

#[test]
fn receipts_say_for_whom_and_so_do_verify_and_explain() {
    let place = delegated(100, &[("stranger-agent", "[\"maya\"]")]);
    let daemon = Daemon::start(&place);
    let journal = place.file("journal", "");
    for (agent, acts_for) in [("stranger-agent", Some("maya")), ("demo-agent", Some("kim"))] {
        let mut gate = Gate::start(&gate_of(&place, &daemon, agent, acts_for), &demo_server(&journal));
        let id = send(&mut gate, agent);
        gate.called(id).unwrap();
        assert!(gate.end().success());
    }
    daemon.end(Signal::TERM);
    let said = |command: &str, seq: u64| {
        let receipt = text(&place.file(&format!("{seq}.receipt"), &place.receipt(seq)));
        let mut run = Command::new(program());
        run.args([command, &receipt, "--key", &place.config.log_key.to_string()]);
        if command == "explain" {
            run.arg("--config").arg(&place.config_path);
        }
        let output = run.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rows = place.rows();
    assert_eq!(
        rows.iter().map(|row| row.record.decision).collect::<Vec<_>>(),
        [Decision::Permit, Decision::Silence]
    );
    for (row, agent) in rows.iter().zip(["stranger-agent for maya", "demo-agent claiming to act for kim"]) {
        let seq = row.record.seq;
        assert!(said("verify", seq).contains(&format!("agent   {agent}\n")), "{}", said("verify", seq));
        assert!(
            said("explain", seq).contains(&format!("{agent} asked for demo.charge")),
            "{}",
            said("explain", seq)
        );
    }
    assert!(said("explain", rows[1].record.seq).contains("identity.principal"));
}
