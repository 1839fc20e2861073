//! `portcullis explain` of real receipts, one for each kind of reason: made by a gate and an arbiter, read back from the log.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use portcullis_policy::bundles;
use portcullis_protocol::{DecisionRecord, Millis};
use serde_json::{Value, json};

use crate::facts::{Scene, ago, exception};
use crate::support::http::{Server, post};
use crate::support::{Daemon, Gate, Place, demo_server, text, until};
use crate::{pins, with};

const AGENTS: [&str; 2] = ["demo-agent", "stranger-agent"];

/// The demo's deployment with more at the end of `bundle.toml` and of the policies.
fn place(manifest: &str, policies: &str) -> Place {
    edited(manifest, policies, &[])
}

fn edited(manifest: &str, policies: &str, edits: &[(&str, &str, &str)]) -> Place {
    let mut bundle = bundles::demo();
    bundle.retain(|path, _| !path.starts_with("tests/"));
    let untested = ("bundle.toml", "\nversion = 1\n", "\nversion = 1\nuntested = true\n");
    for (path, from, to) in [&[untested], edits].concat() {
        let text = String::from_utf8(bundle[path].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        bundle.insert(path.into(), text.replace(from, to).into_bytes());
    }
    bundle.get_mut("bundle.toml").unwrap().extend_from_slice(manifest.as_bytes());
    bundle.insert("policies/more.cedar".into(), policies.into());
    Place::deploy(bundle, &AGENTS, "demo")
}

/// A gate in front of the demo's server, which may host the arbiter.
fn gate(place: &Place) -> Gate {
    Gate::start(&place.config_path, &demo_server(&place.path("journal")))
}

fn charge(gate: &mut Gate, amount: &str, key: &str) -> crate::support::Answer {
    gate.call_with("charge", &json!({ "account": "acme", "amount": amount }), Some(key))
}

fn ask(amount: &str, key: &str) -> Value {
    json!({
        "surface": "demo.charge", "action": "demo.charge",
        "resource": { "type": "Surface", "id": "demo.charge" },
        "context": { "account": "acme", "amount": amount },
        "idempotency_key": key,
    })
}

/// What is asked, and what decided it, of a deployment in which it was.
struct Case {
    name: &'static str,
    place: Place,
}

fn forbidden() -> Place {
    let place = place("", "");
    let mut gate = gate(&place);
    assert_eq!(
        gate.call_with("delete_account", &json!({ "account": "a" }), Some("k")).code(),
        "policy.forbidden"
    );
    gate.end();
    place
}

/// By labels that came from two reads, one of which is all that a third one had to give.
fn labelled() -> Place {
    let surface = "[surfaces.\"demo.read_balance\"]";
    let labels: String = ["untrusted-input", "confidential", "idle"]
        .map(|label| format!("[labels.{label}]\nlifetime = \"8h\"\n"))
        .concat();
    let declared = format!("{labels}{surface}");
    let place = edited(
        "",
        r#"
@id("reads-the-web") @adds_label("untrusted-input")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "web" };
@id("reads-customers") @adds_label("confidential, idle")
permit (principal, action == Action::"demo.read_balance", resource) when { context.account == "customer" };
@id("nothing-out-after-both")
forbid (principal, action == Action::"demo.charge", resource)
when { context.labels.containsAll(["untrusted-input", "confidential"]) };
"#,
        &[
            ("schema.cedarschema", "amount: decimal", "amount: decimal, labels: Set<String>"),
            ("bundle.toml", surface, &declared),
        ],
    );
    let mut gate = gate(&place);
    gate.call("read_balance", json!({ "account": "web" })).ran();
    gate.call("read_balance", json!({ "account": "customer" })).ran();
    place.settle();
    assert_eq!(charge(&mut gate, "1.00", "k").code(), "policy.forbidden");
    gate.end();
    place
}

fn no_grant() -> Place {
    let place = place("", "");
    let mut gate = gate(&place);
    assert_eq!(charge(&mut gate, "100.01", "k").code(), "policy.no_grant");
    gate.end();
    place
}

fn no_grant_about_it() -> Place {
    let grant = "@id(\"demo-read\")\npermit (\n  principal == Agent::\"demo-agent\",\n  action == Action::\"demo.read_balance\",\n  resource\n);";
    let place = edited("", "", &[("policies/demo.cedar", grant, "")]);
    let mut gate = gate(&place);
    assert_eq!(gate.call("read_balance", json!({ "account": "a" })).code(), "policy.no_grant");
    gate.end();
    place
}

const SPENT: &str = "\n[limits.spent]\nkind = \"sum\"\nsurfaces = [\"demo.charge\"]\nof = \"amount\"\nunit = \"EUR\"\nmax = \"10.00\"\n\
                     per = [\"agent\", \"resource\"]\nwindow = { sliding = \"1h\" }\n";

/// Four charges of 2.50, 2.00, 2.00 and 2.00, and one of 2.00 for which 1.50 is left.
fn exceeded() -> Place {
    let place = place(SPENT, "");
    let mut gate = gate(&place);
    for (at, amount) in ["2.50", "2.00", "2.00", "2.00"].into_iter().enumerate() {
        charge(&mut gate, amount, &format!("k{at}")).ran();
        place.settle();
    }
    assert_eq!(charge(&mut gate, "2.00", "more").code(), "limits.exceeded");
    gate.end();
    place
}

fn beyond() -> Place {
    let place = place(SPENT, "");
    let mut gate = gate(&place);
    assert_eq!(charge(&mut gate, "10.01", "k").code(), "limits.exceeded");
    gate.end();
    place
}

/// A PERMIT that nobody spends is open.
fn open() -> Place {
    let place = place("\n[limits.at-once]\nkind = \"open\"\nsurfaces = [\"demo.charge\"]\nmax = 1\n", "");
    let daemon = Daemon::start(&place);
    let config = place.elsewhere(&place.socket_url());
    for (key, code) in [("k1", 0), ("k2", 3)] {
        let file = place.file("request.json", &ask("1.00", key).to_string());
        let ended = with(&config, &["decide", &text(&file)]);
        assert_eq!(ended.code, code, "{ended:?}");
    }
    drop(daemon);
    place
}

fn asked(annotations: &str) -> Place {
    let place = Place::asking(annotations);
    let mut gate = gate(&place);
    charge(&mut gate, "1.00", "k").code();
    gate.end();
    place
}

fn stale() -> Place {
    let scene = Scene::new(3_600, "");
    let mut gate = gate(&scene.place);
    assert_eq!(charge(&mut gate, "1.00", "k").code(), "fact.stale");
    gate.end();
    scene.place
}

fn unavailable() -> Place {
    let scene = Scene::new(0, "");
    std::fs::remove_file(scene.place.path("directory.json")).unwrap();
    let mut gate = gate(&scene.place);
    assert_eq!(charge(&mut gate, "1.00", "k").code(), "fact.unavailable");
    gate.end();
    scene.place
}

fn excepted() -> Place {
    let scene = Scene::new(3_600, &exception(&ago(-3_600)));
    let mut gate = gate(&scene.place);
    gate.call("read_balance", json!({ "account": "acme" })).ran();
    gate.end();
    scene.place
}

/// It was valid when it was made, and is asked until it is not.
fn expired() -> Place {
    let until_then = (Utc::now() + Duration::from_secs(8)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let place = edited("", "", &[("bundle.toml", "2099-01-01T00:00:00Z", &until_then)]);
    let mut gate = gate(&place);
    until("a bundle that has expired", || {
        let answer = gate.call("read_balance", json!({ "account": "acme" }));
        (answer.told().is_some() && answer.code() == "policy.expired").then_some(())
    });
    gate.end();
    place
}

fn shut() -> Place {
    let place = place("", "");
    let mut gate = gate(&place);
    // Its first answer says that it has opened the log: else the order could come before that.
    charge(&mut gate, "1.00", "before").ran();
    with(&place.config_path, &["shut", "--reason", "an incident"]).ok();
    assert_eq!(charge(&mut gate, "1.00", "k").code(), "gate.shut");
    gate.end();
    place
}

fn late() -> Place {
    let place = place("", "");
    let daemon = Daemon::start(&place);
    let call = json!({
        "request": ask("1.00", "k"), "attempt": "a".repeat(64), "salt": "b".repeat(64), "gate": "late-gate",
        "deadline_ms": 0,
    });
    let said = post(
        &Server::url(&daemon.url),
        "/v1/decisions",
        &place.token("demo-agent"),
        call.to_string().as_bytes(),
    );
    let said = said.unwrap();
    assert_eq!(
        (said.status, said.json()["reason"]["code"].as_str()),
        (504, Some("overload.deadline")),
        "{said:?}"
    );
    until("a record of it", || (!place.rows().is_empty()).then_some(()));
    drop(daemon);
    place
}

fn repinned() -> Place {
    let place = place("", "");
    pins::pinned(&place, &demo_server(&place.path("journal")));
    let server =
        pins::rewritten(&demo_server(&place.path("journal")), "s/Charge an account/Empty an account/");
    let mut gate = Gate::start(&place.config_path, &server);
    assert_eq!(charge(&mut gate, "1.00", "k").code(), "tool.definition_changed");
    gate.end();
    place
}

fn undeclared() -> Place {
    let place = place("", "");
    let server = demo_server(&place.path("journal"));
    pins::pinned(&place, &server);
    let mut gate = Gate::start(&place.config_path, &server);
    let more = json!({ "account": "acme", "amount": "1.00", "bcc": "elsewhere" });
    assert_eq!(gate.call_with("charge", &more, Some("k")).code(), "tool.arguments_undeclared");
    gate.end();
    place
}

fn again() -> Place {
    let place = place("", "");
    let mut gate = gate(&place);
    charge(&mut gate, "1.00", "k").ran();
    place.settle();
    assert!(charge(&mut gate, "1.00", "k").is_replay());
    gate.end();
    place
}

/// Its newest decision, explained for people and for programs.
fn explained(place: &Place) -> (DecisionRecord, String, Value) {
    let record = place.rows().pop().unwrap().record;
    let file = text(&place.file("receipt", &place.receipt(record.seq)));
    let told = with(&place.config_path, &["explain", &file]).ok().to_owned();
    let json: Value =
        serde_json::from_str(with(&place.config_path, &["explain", &file, "--json"]).ok()).unwrap();
    assert!(!told.contains("not to be had"), "{told}");
    assert_eq!(json["unsaid"], json!([]), "{told}");
    (record, told, json)
}

/// Times, digests and ages are of this run.
fn steady(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';', ')', ':']);
        let rest = &word[bare.len()..];
        if chrono::DateTime::parse_from_rfc3339(bare).is_ok() {
            return format!("[time]{rest}");
        }
        if bare.starts_with("sha256:") {
            return format!("[digest]{rest}");
        }
        word.to_owned()
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The same of JSON: milliseconds since 1970 are longer than any amount here.
fn steadied(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 1_000_000_000_000) => {
            json!("[time]")
        }
        Value::String(text) => json!(steady(text)),
        Value::Array(items) => items.iter().map(steadied).collect(),
        Value::Object(entries) => entries.iter().map(|(key, value)| (key.clone(), steadied(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

fn cases() -> Vec<Case> {
    let approved =
        "@approval_roles(\"finance, security\") @approval_quorum(\"2\") @approval_lifetime(\"15m\")";
    let case = |(name, place)| Case { name, place };
    let cases = [
        ("a policy forbids it", forbidden()),
        ("a policy forbids it for labels", labelled()),
        ("no grant is satisfied", no_grant()),
        ("no grant is about it", no_grant_about_it()),
        ("a limit has too little left", exceeded()),
        ("a limit never holds so much", beyond()),
        ("too many permits are open", open()),
        ("an approval is missing", asked(approved)),
        ("an identity is not fresh", asked("@identity_within(\"5m\")")),
        ("there is no witness", asked("@witnessed")),
        ("facts are stale", stale()),
        ("facts are not there", unavailable()),
        ("an exception stood in", excepted()),
        ("the bundle has expired", expired()),
        ("an operator shut the gate", shut()),
        ("the deadline had passed", late()),
        ("a tool is not as it was pinned", repinned()),
        ("an argument is none of the tool's", undeclared()),
        ("it ran before", again()),
    ];
    cases.map(case).into_iter().collect()
}

#[test]
fn each_kind_of_reason_is_told_with_what_would_make_it_a_permit() {
    let mut all = BTreeMap::new();
    for Case { name, place } in cases() {
        let (record, told, json) = explained(&place);
        let way = told.lines().filter(|line| line.starts_with("to make it a PERMIT: ")).count();
        assert_eq!(way > 0, record.reason.is_some(), "{name}: {told}");
        let told: String = steady(&told).lines().map(|line| format!("    {line}\n")).collect();
        let parts = json!({ "because": steadied(&json["because"]), "needed": steadied(&json["needed"]) });
        all.insert(name, format!("{name}\n{told}    {parts}\n"));
    }
    insta::assert_snapshot!(all.into_values().collect::<Vec<_>>().join("\n"));
}

/// When an explanation says that there is room, there is: by what the log says was taken, and when that lapses.
#[test]
fn the_time_at_which_a_limit_has_room_again_is_that_of_what_it_needs_to_lapse() {
    let place = exceeded();
    let (record, _, json) = explained(&place);
    let room = json["because"][0]["room_at"].as_u64().unwrap();
    let permits = place.rows();
    // The first charge, of 2.50, is enough: what is left then is 4.00. Sliding windows lapse by parts of 1/1024.
    let first = permits[0].record.limits[0].lapses.unwrap();
    assert_eq!(Millis(room), first);
    assert!(first > record.time && first.0 - permits[0].record.time.0 >= 3_600_000);
    assert_eq!(json["because"][0]["left"], 150);
    assert_eq!(json["because"][0]["taken"].as_array().unwrap().len(), 4);
}

#[test]
fn a_receipt_of_another_log_is_not_explained_by_this_one() {
    let (own, other) = (exceeded(), exceeded());
    let record = own.rows().pop().unwrap().record;
    let receipt = text(&own.file("receipt", &own.receipt(record.seq)));
    let key = own.config.log_key.to_string();
    let told = with(&other.config_path, &["explain", &receipt, "--key", &key]);
    assert!(
        told.ok().contains("not to be had: what the log says before it: the receipt is of another log"),
        "{told:?}"
    );
    assert!(!told.out.contains("taken by"), "{told:?}");
    // What the receipt itself says is said.
    assert!(told.out.contains("limit spent has no room for it"), "{told:?}");
}
