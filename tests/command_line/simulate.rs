//! `portcullis simulate`: another bundle over what is on record, and over a trace.

use serde_json::{Value, json};

use crate::support::{Gate, Place, demo_server, text, until};
use crate::{fed, run, with};

fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

/// A deployment with some decisions on record, no two of them in one millisecond.
fn place() -> Place {
    let place = Place::demo();
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    for (amount, key) in [("12.50", "k1"), ("13.50", "k2"), ("14.50", "k3")] {
        let before = now();
        until("the next millisecond", || (now() > before).then_some(()));
        gate.call_with("charge", &json!({ "account": "acme", "amount": amount }), Some(key)).ran();
    }
    let refused = gate.call_with("charge", &json!({ "account": "acme", "amount": "999.00" }), Some("k4"));
    assert_eq!(refused.code(), "policy.no_grant");
    assert!(gate.end().success());
    place
}

/// A copy of the deployment's bundle, unsigned, in which `from` is `to` in one file.
fn other(place: &Place, file: &str, from: &str, to: &str) -> String {
    let copy = place.path("other");
    for folder in ["policies", "tests"] {
        std::fs::create_dir_all(copy.join(folder)).unwrap();
        for entry in std::fs::read_dir(place.config.bundle.join(folder)).unwrap().map(Result::unwrap) {
            std::fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
        }
    }
    for name in ["bundle.toml", "schema.cedarschema", "entities.json"] {
        std::fs::copy(place.config.bundle.join(name), copy.join(name)).unwrap();
    }
    let before = std::fs::read_to_string(copy.join(file)).unwrap();
    assert!(before.contains(from), "{from}");
    std::fs::write(copy.join(file), before.replace(from, to)).unwrap();
    text(&copy)
}

fn simulated(place: &Place, more: &[&str]) -> Value {
    let said = with(&place.config_path, &[&["simulate", "--json"], more].concat());
    serde_json::from_str(said.ok()).unwrap()
}

#[test]
fn what_is_on_record_is_asked_again_and_nothing_is_written() {
    let place = place();
    let lower = other(&place, "policies/demo.cedar", "\"100.00\"", "\"13.00\"");
    let rows = with(&place.config_path, &["receipts", "list"]).out;
    let said = simulated(&place, &["--bundle", &lower, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(5), &json!(3)), "{said}");
    let changes = said["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{said}");
    let group = &changes[0]["group"];
    assert_eq!(changes[0]["count"], 2);
    assert_eq!((&group["surface"], &group["agent"]), (&json!("demo.charge"), &json!("demo-agent")));
    assert_eq!(group["from"], json!({ "decision": "PERMIT" }));
    assert_eq!(group["to"], json!({ "decision": "DENY", "reason": "policy.no_grant" }));
    assert_eq!((&said["not_simulated"], &said["contradictions"]), (&json!({}), &json!(0)));
    let told =
        with(&place.config_path, &["simulate", "--bundle", &lower, "--ledger", &text(&place.config.data)]);
    assert!(told.ok().contains("2  demo.charge by demo-agent: PERMIT -> DENY policy.no_grant"), "{told:?}");
    assert_eq!(with(&place.config_path, &["receipts", "list"]).out, rows, "nothing new is on record");
    let journal = std::fs::read_to_string(place.path("journal")).unwrap();
    assert_eq!(journal.lines().count(), 4, "nothing ran: {journal}");
}

#[test]
fn what_cannot_be_asked_again_is_never_unchanged() {
    let place = place();
    let same = other(&place, "policies/demo.cedar", "", "");
    let said = simulated(&place, &["--bundle", &same, "--ledger", "--without-key"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(0), &json!(0)), "{said}");
    assert_eq!(said["not_simulated"], json!({ "key_withheld": 5 }));
    // Calls that would be read otherwise are other requests.
    let manifest = std::fs::read_to_string(place.config.bundle.join("bundle.toml")).unwrap();
    let rule = manifest.lines().find(|line| line.starts_with("context.amount")).unwrap();
    let mapped = other(&place, "bundle.toml", rule, &rule.replace("/amount", "/sum"));
    let said = simulated(&place, &["--bundle", &mapped, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(1), &json!(1)), "{said}");
    assert_eq!(said["not_simulated"], json!({ "mapped_otherwise": 4 }));
    std::fs::rename(&place.config.vault_key, place.path("away")).unwrap();
    with(&place.config_path, &["simulate", "--bundle", &same, "--ledger"]).failed("--without-key");
}

const BEGIN: &str = "[surfaces.\"demo.read_balance\"]";

/// A limit of this many charges an hour.
fn few(max: usize) -> String {
    format!(
        "[limits.few]\nkind = \"count\"\nsurfaces = [\"demo.charge\"]\nmax = {max}\nwindow = {{ fixed = \"366d\" }}\n\n{BEGIN}"
    )
}

/// A limit of one where there were a thousand came out as "unchanged", and later as not simulated.
#[test]
fn what_a_lower_limit_would_have_refused_is_told_by_agent_surface_and_limit() {
    let place = place();
    let limited = other(&place, "bundle.toml", BEGIN, &few(1));
    let said = simulated(&place, &["--bundle", &limited, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(5), &json!(3)), "{said}");
    let change = &said["changes"][0];
    assert_eq!((&change["count"], said["changes"].as_array().unwrap().len()), (&json!(2), 1), "{said}");
    assert_eq!(change["group"]["from"], json!({ "decision": "PERMIT" }));
    assert_eq!(
        change["group"]["to"],
        json!({ "decision": "DENY", "reason": "limits.exceeded", "limit": "few" })
    );
    assert_eq!(
        (&said["not_simulated"], &said["assumed"]),
        (&json!({}), &json!({ "ended_ok": 0, "as_recorded": 0 }))
    );
    let told = with(&place.config_path, &["simulate", "--bundle", &limited, "--ledger"]);
    let expected = "2  demo.charge by demo-agent: PERMIT -> DENY limits.exceeded by limit few (first: record";
    assert!(told.ok().contains(expected), "{told:?}");
    // What policy refuses takes nothing: then one fewer is over the limit.
    let policies = std::path::Path::new(&limited).join("policies/demo.cedar");
    let text = std::fs::read_to_string(&policies).unwrap();
    let higher = text.replace("greaterThan(decimal(\"0.00\"))", "greaterThan(decimal(\"13.00\"))");
    assert_ne!(higher, text);
    std::fs::write(&policies, higher).unwrap();
    let said = simulated(&place, &["--bundle", &limited, "--ledger"]);
    let mut to: Vec<_> = said["changes"].as_array().unwrap().iter().collect();
    to.sort_by_key(|change| change["group"]["to"]["reason"].to_string());
    let to: Vec<_> = to.iter().map(|change| (&change["group"]["to"]["reason"], &change["count"])).collect();
    assert_eq!(
        to,
        [(&json!("limits.exceeded"), &json!(1)), (&json!("policy.no_grant"), &json!(1))],
        "{said}"
    );
}

/// What was decided before `--since` left what the log says, and is not asked about.
#[test]
fn from_a_time_on_limits_begin_as_the_log_left_them() {
    let place = place();
    let limited = other(&place, "bundle.toml", BEGIN, &few(2));
    let permits: Vec<_> = place.log().permits().iter().map(|(entry, _)| (entry.seq, entry.time.0)).collect();
    let since = |milliseconds: u64| {
        simulated(&place, &["--bundle", &limited, "--ledger", "--since", &milliseconds.to_string()])
    };
    assert_eq!(since(0)["changes"][0]["first"], json!(permits[3].0), "a read and two charges are permitted");
    let said = since(permits[3].1 + 1_000_000_000);
    assert_eq!((&said["asked"], &said["changes"]), (&json!(0), &json!([])), "{said}");
    // The log's own bundle had no such limit: what went before counts nothing in it.
    assert!(permits[2].1 > permits[1].1, "{permits:?}");
    let said = since(permits[2].1);
    assert_eq!(said["changes"], json!([]), "{said}");
    assert_eq!(said["asked"], json!(3), "{said}");
    let told = with(&place.config_path, &["simulate", "--bundle", &limited, "--ledger", "--since", "soon"]);
    told.failed("is no time");
    let from = text(&place.config.bundle);
    run(&["simulate", "--bundle", &limited, "--from", &from, "--trace", "-", "--since", "0"])
        .failed("--since");
}

/// Under the bundle that decided, nothing changes: also of what limits refused, what never ran, and what was asked twice.
#[test]
fn under_the_bundle_that_decided_nothing_changes() {
    let place = Place::deploy(
        {
            let mut bundle = portcullis_policy::bundles::demo();
            let manifest = String::from_utf8(bundle["bundle.toml"].clone()).unwrap();
            bundle.insert("bundle.toml".into(), manifest.replace(BEGIN, &few(2)).into_bytes());
            bundle
        },
        &["demo-agent", "stranger-agent"],
        "demo",
    );
    let mut gate = Gate::start(&place.config_path, &demo_server(&place.path("journal")));
    let mut charge = |key: &str| {
        gate.call_with("charge", &json!({ "account": "acme", "amount": "1.00" }), Some(key)).told().cloned()
    };
    let refused = ["k1", "k1", "k2", "k3", "k4"].map(|key| charge(key).is_some());
    assert_eq!((refused[0], &refused[2..]), (false, &[false, true, true][..]));
    assert!(gate.end().success());
    let same = text(&place.config.bundle);
    let said = simulated(&place, &["--bundle", &same, "--ledger"]);
    assert_eq!(
        (&said["asked"], &said["unchanged"], &said["changes"]),
        (&json!(5), &json!(5), &json!([])),
        "{said}"
    );
    // One more, and what NEW alone permits has no outcome on record.
    let more = other(&place, "bundle.toml", "max = 2", "max = 3");
    let said = simulated(&place, &["--bundle", &more, "--ledger"]);
    assert_eq!((&said["changes"][0]["count"], &said["unchanged"]), (&json!(1), &json!(4)), "{said}");
    assert_eq!(said["assumed"], json!({ "ended_ok": 1, "as_recorded": 0 }), "{said}");
    let told = with(&place.config_path, &["simulate", "--bundle", &more, "--ledger"]);
    assert!(told.ok().contains("1 PERMITs of the other bundle have no outcome"), "{told:?}");
    // What cannot be asked again takes what the log says.
    let said = simulated(&place, &["--bundle", &same, "--ledger", "--without-key"]);
    assert_eq!(said["assumed"], json!({ "ended_ok": 0, "as_recorded": 2 }), "{said}");
}

/// Terms that differ came out as "unchanged".
#[test]
fn what_is_bound_by_other_terms_was_counted_as_unchanged() {
    let place = place();
    let witnessed = other(&place, "bundle.toml", "permit_ttl", "witnessed = true\npermit_ttl");
    let said = simulated(&place, &["--bundle", &witnessed, "--ledger"]);
    assert_eq!(
        (&said["asked"], &said["not_simulated"]),
        (&json!(0), &json!({ "terms_differ": 5 })),
        "{said}"
    );
    let told = with(&place.config_path, &["simulate", "--bundle", &witnessed, "--ledger"]);
    assert!(
        told.ok().contains("5 requests not simulated: it is decided the same, on other terms"),
        "{told:?}"
    );
    // What is decided otherwise is told all the same.
    let policies = std::path::Path::new(&witnessed).join("policies/demo.cedar");
    let lower = std::fs::read_to_string(&policies).unwrap().replace("\"100.00\"", "\"13.00\"");
    std::fs::write(&policies, lower).unwrap();
    let said = simulated(&place, &["--bundle", &witnessed, "--ledger"]);
    assert_eq!((&said["asked"], &said["changes"][0]["count"]), (&json!(2), &json!(2)), "{said}");
    assert_eq!((&said["unchanged"], &said["not_simulated"]), (&json!(0), &json!({ "terms_differ": 3 })));
    // So it is over a trace.
    let line = json!({ "agent": "demo-agent", "request": {
        "surface": "demo.read_balance", "action": "demo.read_balance",
        "resource": { "type": "Surface", "id": "demo.read_balance" }, "context": { "account": "acme" },
    }});
    let (from, trace) = (text(&place.config.bundle), line.to_string());
    let asked = fed(&["simulate", "--json", "--bundle", &witnessed, "--from", &from, "--trace", "-"], &trace);
    let said: Value = serde_json::from_str(asked.ok()).unwrap();
    assert_eq!(
        (&said["asked"], &said["not_simulated"]),
        (&json!(0), &json!({ "terms_differ": 1 })),
        "{said}"
    );
}

/// Of all that was on record, a bundle for an activation to come said that it is not valid yet.
#[test]
fn a_bundle_that_is_valid_from_tomorrow_on_said_nothing_about_what_is_on_record() {
    let place = place();
    let later = other(&place, "bundle.toml", "\"2025-01-01T00:00:00Z\"", "\"2098-01-01T00:00:00Z\"");
    let said = simulated(&place, &["--bundle", &later, "--ledger"]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(5), &json!(5)), "{said}");
}

#[test]
fn a_trace_is_asked_of_two_bundles() {
    let place = Place::demo();
    let higher = other(&place, "policies/demo.cedar", "\"100.00\"", "\"200.00\"");
    let line = |agent: &str, amount: &str| {
        json!({ "agent": agent, "request": {
            "surface": "demo.charge", "action": "demo.charge",
            "resource": { "type": "Surface", "id": "demo.charge" },
            "context": { "account": "acme", "amount": amount },
        }})
        .to_string()
    };
    let lines =
        [line("demo-agent", "50.00"), String::new(), line("demo-agent", "150.00"), line("nobody", "1.00")];
    let trace = place.path("trace.jsonl");
    std::fs::write(&trace, lines.join("\n")).unwrap();
    let said = simulated(&place, &["--bundle", &higher, "--trace", &text(&trace)]);
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(3), &json!(2)), "{said}");
    assert_eq!((&said["changes"][0]["count"], &said["changes"][0]["first"]), (&json!(1), &json!(3)));
    let from = text(&place.config.bundle);
    let told = fed(&["simulate", "--bundle", &higher, "--from", &from, "--trace", "-"], &lines.join("\n"));
    assert!(told.ok().contains("DENY policy.no_grant -> PERMIT (first: line 3)"), "{told:?}");
    let extra = lines[0].replacen('{', r#"{"executed":true,"#, 1);
    for broken in ["{", r#"{"agent":"a"}"#, r#"{"agent":"a","agent":"b"}"#, extra.as_str()] {
        let broken = format!("{}\n{broken}\n", lines[0]);
        fed(&["simulate", "--bundle", &higher, "--from", &from, "--trace", "-"], &broken).failed("line 2");
    }
    run(&["simulate", "--bundle", &higher]).failed("--trace");
}

/// A list of labels is no strict JSON of a call, so that lines with one were refused, and no trace could have labels.
#[test]
fn a_trace_says_which_labels_its_agents_have() {
    let folder = tempfile::tempdir().unwrap();
    let support = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/support");
    let looser = folder.path().join("looser");
    let copied = std::process::Command::new("cp").arg("-r").arg(&support).arg(&looser).status().unwrap();
    assert!(copied.success());
    let never = looser.join("policies/never.cedar");
    let policies = std::fs::read_to_string(&never).unwrap();
    let both = r#"["untrusted-input", "confidential"]"#;
    assert!(policies.contains(both));
    std::fs::write(&never, policies.replace(both, r#"["untrusted-input", "confidential", "never-added"]"#))
        .unwrap();
    // What is not declared would not load.
    let manifest = looser.join("bundle.toml");
    let declared =
        std::fs::read_to_string(&manifest).unwrap() + "\n[labels.never-added]\nlifetime = \"8h\"\n";
    std::fs::write(&manifest, declared).unwrap();
    let line = |labels: &str| {
        json!({ "agent": "desk-agent", "labels": labels, "request": {
            "surface": "support.fetch", "action": "support.fetch",
            "resource": { "type": "Surface", "id": "support.fetch" },
            "context": { "url": "https://docs.example.com/returns" },
        }})
        .to_string()
    };
    let ask = |trace: &str| {
        let (from, to) = (text(&support), text(&looser));
        fed(&["simulate", "--json", "--bundle", &to, "--from", &from, "--trace", "-"], trace)
    };
    let trace = [line("confidential"), line("confidential, untrusted-input")].join("\n");
    let said: Value = serde_json::from_str(ask(&trace).ok()).unwrap();
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(2), &json!(1)), "{said}");
    let change = &said["changes"][0];
    assert_eq!(change["first"], json!(2));
    assert_eq!(change["group"]["from"], json!({ "decision": "DENY", "reason": "policy.forbidden" }));
    assert_eq!(change["group"]["to"], json!({ "decision": "PERMIT" }));
    ask(&line("Not A Label")).failed("line 1");
}

fn charged(more: &Value) -> String {
    let mut line = json!({ "agent": "demo-agent", "request": {
        "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": "50.00" },
    }});
    line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line.to_string()
}

/// Each bundle goes through the trace with a state of its own, from nothing on.
#[test]
fn over_a_trace_limits_count_by_its_times_and_give_back_by_its_outcomes() {
    let place = Place::demo();
    let limit = few(2).replace("366d", "1h");
    let limited = other(&place, "bundle.toml", BEGIN, &limit);
    let from = text(&place.config.bundle);
    let ask = |lines: &[Value]| -> Value {
        let trace = lines.iter().map(charged).collect::<Vec<_>>().join("\n");
        let said =
            fed(&["simulate", "--json", "--bundle", &limited, "--from", &from, "--trace", "-"], &trace);
        serde_json::from_str(said.ok()).unwrap()
    };
    let at = |minute: u64| json!({ "at": 1_800_000_000_000_u64 + minute * 60_000 });
    // Two in an hour; without times, two at all.
    let said = ask(&[at(0), at(1), at(2), at(61), at(62), at(63)]);
    assert_eq!(
        (&said["changes"][0]["count"], &said["changes"][0]["first"]),
        (&json!(2), &json!(3)),
        "{said}"
    );
    assert_eq!(said["changes"][0]["group"]["to"]["limit"], json!("few"));
    assert_eq!(said["assumed"]["ended_ok"], json!(4), "{said}");
    let said = ask(&[json!({}), json!({}), json!({}), json!({})]);
    assert_eq!(
        (&said["changes"][0]["count"], &said["changes"][0]["first"]),
        (&json!(2), &json!(3)),
        "{said}"
    );
    // What never ran gives back; what ran, failed or may have run does not.
    for (outcome, refused) in [("expired", 0), ("ok", 2), ("failed", 2), ("unknown", 2)] {
        let ended = || json!({ "outcome": outcome });
        let said = ask(&[ended(), ended(), ended(), ended()]);
        assert_eq!(
            (said["unchanged"].as_u64(), &said["assumed"]["ended_ok"]),
            (Some(4 - refused), &json!(0)),
            "{said}"
        );
    }
    // A key that the trace names is used once.
    let keyed = |key: &str| {
        charged(&json!({})).replacen(
            "\"request\":{",
            &format!("\"request\":{{\"idempotency_key\":\"{key}\","),
            1,
        )
    };
    let trace = [keyed("a"), keyed("a"), keyed("b"), keyed("c")].join("\n");
    let said = fed(&["simulate", "--json", "--bundle", &limited, "--from", &from, "--trace", "-"], &trace);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    assert_eq!(
        (&said["changes"][0]["count"], &said["changes"][0]["first"]),
        (&json!(1), &json!(4)),
        "{said}"
    );
    let unknown = charged(&json!({ "outcome": "lost" }));
    fed(&["simulate", "--bundle", &limited, "--from", &from, "--trace", "-"], &unknown).failed("line 1");
}

/// A trace with a bundle that has sources of facts was not simulated at all.
#[test]
fn over_a_trace_facts_are_those_of_a_bundle_s_cases_or_of_the_files_that_a_line_names() {
    let place = Place::demo();
    let sourced = other(
        &place,
        "bundle.toml",
        BEGIN,
        &format!("[facts.directory]\ntypes = [\"Agent\"]\nmax_age = \"10m\"\n\n{BEGIN}"),
    );
    let folder = std::path::Path::new(&sourced);
    let agents = std::fs::read_to_string(folder.join("entities.json")).unwrap();
    std::fs::write(folder.join("entities.json"), "[]").unwrap();
    std::fs::write(folder.join("tests/directory.json"), &agents).unwrap();
    std::fs::write(folder.join("tests/renamed.json"), agents.replace("stranger-agent", "other-agent"))
        .unwrap();
    let case = "[[case]]\nname = \"others\"\nagent = \"demo-agent\"\nsurface = \"demo.charge\"\n\
        resource = { type = \"Surface\", id = \"demo.charge\" }\n\
        context = { account = \"a\", amount = \"1.00\" }\nexpect = \"permit\"\nfacts = { directory = \"renamed\" }\n";
    std::fs::write(folder.join("tests/renamed.toml"), case).unwrap();
    let from = text(&place.config.bundle);
    let ask = |lines: &[String]| {
        fed(&["simulate", "--json", "--bundle", &sourced, "--from", &from, "--trace", "-"], &lines.join("\n"))
    };
    let by = |agent: &str, more: &Value| charged(more).replace("demo-agent", agent);
    let renamed = json!({ "facts": { "directory": "renamed" } });
    let said: Value = serde_json::from_str(
        ask(&[
            by("demo-agent", &json!({})),
            by("stranger-agent", &json!({})),
            by("stranger-agent", &renamed),
            by("demo-agent", &json!({ "facts": { "directory": "nobody" } })),
        ])
        .ok(),
    )
    .unwrap();
    assert_eq!((&said["asked"], &said["unchanged"]), (&json!(3), &json!(2)), "{said}");
    assert_eq!(said["changes"][0]["group"]["to"]["reason"], json!("identity.unknown"), "{said}");
    assert_eq!(
        (&said["changes"][0]["first"], &said["not_simulated"]),
        (&json!(3), &json!({ "facts_unknown": 1 }))
    );
    ask(&[by("demo-agent", &json!({ "facts": { "payroll": "directory" } }))])
        .failed("which is no source of either bundle");
}

/// An agent that NEW alone labels is not labelled on record: what NEW refuses for the label was told as unchanged.
#[test]
fn labels_that_only_the_other_bundle_gives_count_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let support = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/support");
    let looser = folder.path().join("looser");
    let copied = std::process::Command::new("cp").arg("-r").arg(&support).arg(&looser).status().unwrap();
    assert!(copied.success());
    let grants = looser.join("policies/support.cedar");
    let text_of = std::fs::read_to_string(&grants).unwrap();
    std::fs::write(&grants, text_of.replace("@adds_label(\"confidential\")", "")).unwrap();
    let line = |surface: &str, context: &Value| {
        json!({ "agent": "desk-agent", "request": {
            "surface": surface, "action": surface,
            "resource": { "type": "Surface", "id": surface }, "context": context,
        }})
        .to_string()
    };
    let trace = [
        line("support.read_ticket", &json!({ "ticket": "t" })),
        line("support.read_customer", &json!({ "customer": "c" })),
        line("support.fetch", &json!({ "url": "https://docs.example.com/more" })),
    ]
    .join("\n");
    let (from, to) = (text(&looser), text(&support));
    let said = fed(&["simulate", "--json", "--bundle", &to, "--from", &from, "--trace", "-"], &trace);
    let said: Value = serde_json::from_str(said.ok()).unwrap();
    let last = said["changes"].as_array().unwrap().iter().find(|change| change["first"] == json!(3)).unwrap();
    assert_eq!(last["group"]["from"]["decision"], json!("PERMIT"), "{said}");
    assert_eq!(last["group"]["to"], json!({ "decision": "DENY", "reason": "policy.forbidden" }), "{said}");
}
