//! The gate as an endpoint over Streamable HTTP, with clients and servers that nobody here wrote.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::remote::{Bank, may_read_alone, steps};
use crate::support::arbiter::Notes;
use crate::support::process::{descendants_of, ended, kill, lives, signal};
use crate::support::{Place, demo_server, peer, program, text, until};
use crate::{blocked, lines};

/// `portcullis mcp --listen`. Killed when dropped.
pub(crate) struct Endpoint {
    child: Child,
    notes: Notes,
    pub(crate) url: String,
}

impl Endpoint {
    /// In front of a server by URL, or of a command behind `--`.
    pub(crate) fn start(config: &Path, server: &[String]) -> Self {
        Self::at("127.0.0.1:0", config, server)
    }

    /// The same at an address of its own.
    pub(crate) fn at(address: &str, config: &Path, server: &[String]) -> Self {
        let mut child = Command::new(program())
            .args(["mcp", "--config", &text(config), "--listen", address])
            .args(server)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let notes = Notes::of(&mut child);
        let url = notes.told("listening on http://").split("listening on ").nth(1).unwrap().to_owned();
        Self { child, notes, url }
    }

    /// What the Python client hands to its user, step by step.
    fn python(&self, mode: &str, token: &str, steps: &Value) -> Vec<Value> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/web_client.py");
        let output = Command::new(peer("py/bin/python"))
            .arg(script)
            .args([mode, &steps.to_string(), &self.url, token])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{}", self.notes.text());
        lines(&output)
    }

    pub(crate) fn end(mut self) {
        signal(&self.child, Signal::TERM);
        assert!(ended(&mut self.child, "the endpoint").success());
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

fn the_python_client_meets_a_server_by_url(mode: &str) {
    let place = Place::demo();
    let bank = Bank::start(&place);
    let endpoint = Endpoint::start(&place.config_path, &["--url".into(), bank.url.clone()]);
    let seen = endpoint.python(mode, &place.token("demo-agent"), &steps());
    may_read_alone(&seen);
    // Another agent, over the same endpoint and before the same server, is decided as who it is.
    let stranger = endpoint.python(
        mode,
        &place.token("stranger-agent"),
        &json!([["read_balance", { "account": "acme" }]]),
    );
    assert_eq!(blocked(&stranger[0]), "policy.no_grant");
    let journal = std::fs::read_to_string(place.path("journal")).unwrap();
    assert_eq!(journal, "read_balance acme\nread_balance globex\n");
    endpoint.end();
    let agents: Vec<String> =
        place.log().permits().iter().map(|(record, _)| record.agent.to_string()).collect();
    assert_eq!(agents, ["demo-agent", "demo-agent"]);
}

#[test]
fn over_http_a_client_with_a_session_runs_what_its_agent_is_permitted_and_nothing_else() {
    the_python_client_meets_a_server_by_url("legacy");
}

#[test]
fn over_http_a_client_without_a_session_runs_what_its_agent_is_permitted_and_nothing_else() {
    the_python_client_meets_a_server_by_url("2026-07-28");
}

#[test]
fn over_http_a_client_that_knows_both_eras_gets_on_with_a_server_of_the_older_one() {
    let place = Place::demo();
    let journal = place.path("journal");
    let mut server = vec!["--".to_owned()];
    server.extend(demo_server(&journal));
    let endpoint = Endpoint::start(&place.config_path, &server);
    let read = json!([["read_balance", { "account": "acme" }]]);
    for mode in ["auto", "legacy"] {
        let seen = endpoint.python(mode, &place.token("demo-agent"), &read);
        assert_ne!(seen[0]["isError"], true, "{mode}: {seen:?}");
    }
    // Its processes end with it.
    let servers = descendants_of(endpoint.child.id());
    endpoint.end();
    until("the tool servers' end", || servers.iter().all(|pid| !lives(*pid)).then_some(()));
}

#[test]
fn over_http_a_token_that_names_nobody_gets_nothing() {
    let place = Place::demo();
    let mut server = vec!["--".to_owned()];
    server.extend(demo_server(&place.path("journal")));
    let endpoint = Endpoint::start(&place.config_path, &server);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/web_client.py");
    for token in ["pcl_wrong", "null"] {
        let output = Command::new(peer("py/bin/python"))
            .arg(&script)
            .args(["legacy", r#"["list"]"#, &endpoint.url, token])
            .output()
            .unwrap();
        assert!(!output.status.success() && output.stdout.is_empty());
    }
    assert!(descendants_of(endpoint.child.id()).is_empty(), "no server is started for nobody");
}

#[test]
fn over_http_an_address_that_is_reached_from_elsewhere_is_not_listened_on_without_tls() {
    let place = Place::demo();
    let output = Command::new(program())
        .args([
            "mcp",
            "--config",
            &text(&place.config_path),
            "--listen",
            "0.0.0.0:0",
            "--url",
            "https://tools.example/mcp",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("--tls-cert"), "{said}");
}
