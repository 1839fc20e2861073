//! The official conformance suite, run against a server of rmcp's directly and through the gate's endpoint in front of it:
//! what passes directly passes through the gate. `tests/peers/conformance` is the server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::endpoint::Endpoint;
use crate::support::process::kill;
use crate::support::{Place, peer, text};

const AGENT: &str = "suite";
const SERVER: &str = "conformance";
/// Methods that the suite asks for and that need a permit, as surfaces have them; those that no server has too, since the suite
/// wants to hear that from the server.
const METHODS: [&str; 15] = [
    "completion.complete",
    "elicitation.create",
    "prompts.get",
    "resources.read",
    "resources.subscribe",
    "resources.unsubscribe",
    "roots.list",
    "sampling.createmessage",
    "subscriptions.listen",
    "tasks.cancel",
    "tasks.get",
    "tasks.list",
    "tasks.result",
    "tasks.update",
    "unknown.method",
];

/// The server. Killed when dropped.
struct Fixture {
    child: Child,
    url: String,
}

impl Fixture {
    fn start() -> Self {
        let mut command = Command::new(peer("bin/conformance-server"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { child, url: format!("http://127.0.0.1:{}/mcp", port.trim()) }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A bundle that grants the suite's agent all that the suite asks for.
fn bundle() -> BTreeMap<String, Vec<u8>> {
    let fixture: Value = serde_json::from_str(include_str!("conformance/src/fixture.json")).unwrap();
    let tools = fixture["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap());
    let surfaces: Vec<String> = tools
        .map(|tool| format!("{SERVER}.{tool}"))
        .chain(METHODS.iter().map(|method| format!("{SERVER}.mcp.{method}")))
        .collect();
    let mut manifest =
        "name = \"conformance\"\nversion = 1\nuntested = true\nvalid_from = \"2025-01-01T00:00:00Z\"\n\
                        valid_until = \"2099-01-01T00:00:00Z\"\n"
            .to_owned();
    for surface in &surfaces {
        let rules = "tier = \"read\"\non_silence = \"terminate\"\npermit_ttl = \"5s\"\n";
        write!(manifest, "[surfaces.\"{surface}\"]\n{rules}").unwrap();
    }
    let actions: Vec<String> = surfaces.iter().map(|surface| format!("\"{surface}\"")).collect();
    let schema = format!(
        "entity Agent;\nentity Surface;\naction {} appliesTo {{ principal: Agent, resource: Surface, context: {{}} }};\n",
        actions.join(", ")
    );
    let entities =
        format!(r#"[{{ "uid": {{ "type": "Agent", "id": "{AGENT}" }}, "attrs": {{}}, "parents": [] }}]"#);
    let policy = format!("@id(\"all\")\npermit (principal == Agent::\"{AGENT}\", action, resource);\n");
    let files = [
        ("bundle.toml", manifest),
        ("schema.cedarschema", schema),
        ("entities.json", entities),
        ("policies/all.cedar", policy),
    ];
    files.into_iter().map(|(name, content)| (name.to_owned(), content.into_bytes())).collect()
}

/// The gate in front of the server, at a port that the suite's own origin is allowed at.
fn gate(place: &Place, fixture: &Fixture) -> Endpoint {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = place.configure("endpoint.toml", |text| {
        format!("{text}\n[endpoint]\norigins = [\"http://127.0.0.1:{port}\"]\n")
    });
    Endpoint::at(&format!("127.0.0.1:{port}"), &config, &["--url".into(), fixture.url.clone()])
}

/// What the suite found, by scenario and check: the worst status of each.
type Found = BTreeMap<String, BTreeMap<String, String>>;

/// Runs what a revision requires against a URL. By its status the suite says whether all passed that is scored.
fn suite(revision: &str, url: &str, token: Option<&str>) -> Found {
    let results = TempDir::new().unwrap();
    let mut command = Command::new(peer("bin/conformance"));
    command.args(["server", "--url", url, "--requirements", revision]);
    command.args(["--output-dir", &text(results.path())]);
    if let Some(token) = token {
        let hook = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/suite_token.mjs");
        command.env("NODE_OPTIONS", format!("--import={hook}")).env("PORTCULLIS_SUITE_TOKEN", token);
    }
    let said = command.output().unwrap();
    let summary = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{revision} at {url}: {summary}{}", String::from_utf8_lossy(&said.stderr));
    let found = read(results.path());
    assert!(found.len() > 30, "{summary}");
    found
}

/// The results below a folder: one folder for each scenario, `server-NAME-TIME`.
fn read(results: &Path) -> Found {
    let mut found = Found::new();
    for folder in std::fs::read_dir(results).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().strip_prefix("server-").unwrap();
        let (name, _) = name.split_at(name.len() - "-2026-01-01T00-00-00-000Z".len());
        let scenario = found.entry(name.to_owned()).or_default();
        let checks = std::fs::read(folder.join("checks.json")).unwrap();
        for check in serde_json::from_slice::<Vec<Value>>(&checks).unwrap() {
            let status = check["status"].as_str().unwrap().to_owned();
            let worst = scenario.entry(check["id"].as_str().unwrap().to_owned()).or_insert(status.clone());
            if rank(&status) > rank(worst) {
                *worst = status;
            }
        }
    }
    found
}

fn rank(status: &str) -> usize {
    let order = ["INFO", "SKIPPED", "SUCCESS", "WARNING", "FAILURE"];
    order.iter().position(|known| *known == status).unwrap_or(order.len())
}

/// How many checks of a scenario succeed, of those that say something.
fn count(checks: Option<&BTreeMap<String, String>>) -> String {
    let Some(checks) = checks else { return "not run".to_owned() };
    let said = checks.values().filter(|status| rank(status) >= rank("SUCCESS")).count();
    let good = checks.values().filter(|status| *status == "SUCCESS").count();
    format!("{good}/{said}")
}

/// Checks that succeed directly and not through the gate, and why that is so, of scenarios that pass.
const LOST: [(&str, &str, &str); 1] = [(
    "server-sse-multiple-streams",
    "server-sse-streams-functional: INFO",
    "lists are answered whole and not by streams; the scenario passes",
)];

/// A line for each scenario and each check that is lost; what is lost and not known of fails here.
fn table(direct: &Found, through: &Found) -> String {
    let mut table = format!("{:<50}{:>10}{:>10}\n", "scenario", "directly", "gate");
    for (scenario, checks) in direct {
        let gate = through.get(scenario);
        let line = format!("{scenario:<50}{:>10}{:>10}", count(Some(checks)), count(gate));
        writeln!(table, "{line}").unwrap();
        for check in checks.iter().filter(|(_, status)| *status == "SUCCESS").map(|(check, _)| check) {
            let status = gate.and_then(|checks| checks.get(check)).map_or("not run", String::as_str);
            if status == "SUCCESS" {
                continue;
            }
            let lost = format!("{check}: {status}");
            let known = LOST.iter().find(|(of, known, _)| of == scenario && *known == lost);
            let (_, _, why) = known.unwrap_or_else(|| panic!("lost through the gate: {scenario}, {lost}"));
            writeln!(table, "  {lost}\n    {why}").unwrap();
        }
    }
    table
}

fn directly_and_through_the_gate(revision: &str) -> String {
    let place = Place::deploy(bundle(), &[AGENT], SERVER);
    let fixture = Fixture::start();
    let endpoint = gate(&place, &fixture);
    let direct = suite(revision, &fixture.url, None);
    let through = suite(revision, &endpoint.url, Some(&place.token(AGENT)));
    table(&direct, &through)
}

#[test]
fn what_conforms_to_2025_11_25_directly_does_so_through_the_gate() {
    insta::assert_snapshot!(directly_and_through_the_gate("2025-11-25"));
}

#[test]
fn what_conforms_to_2026_07_28_directly_does_so_through_the_gate() {
    insta::assert_snapshot!(directly_and_through_the_gate("2026-07-28"));
}
