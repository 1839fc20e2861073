//! A tool server with a credential in its environment, behind the real gate and arbiter: what its start takes, and where its credential
//! is afterwards.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_policy::bundles;
use portcullis_protocol::{Decision, Digest, Outcome, ReasonCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::descendants_of;
use crate::support::{Gate, Place, Recording, demo_server, files_server, peer, program, text, until};

const CANARY: &str = "canary-qrs5/3+z==";
const START: &str = "upstream.start";

const SURFACE: &str = r#"
[surfaces."upstream.start"]
tier = "high"
on_silence = "terminate"
idempotency = "none"
permit_ttl = "30s"
resource = { type = "ToolServer", id = "demo" }
context.command = { type = "string", from = "/command" }
context.variables = { type = "strings", from = "/variables" }
context.lease_seconds = { type = "integer", from = "/lease_seconds" }
"#;

const SCHEMA: &str = r#"
entity ToolServer;
action "upstream.start" appliesTo {
  principal: Agent,
  resource: ToolServer,
  context: { command: String, variables: Set<String>, lease_seconds: Long }
};
"#;

/// The demo's server, which says what it finds in its environment when it begins, and what it is started with.
struct Server {
    folder: TempDir,
    recording: Recording,
    command: Vec<String>,
}

impl Server {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let recording = Recording::new(&folder.path().join("recording"));
        // It is there: beside what is hidden from it a tool server can make no file.
        std::fs::write(folder.path().join("given"), "").unwrap();
        let given = text(&folder.path().join("given"));
        let says = r#"printf %s "$DEMO_TOKEN" > "$0"; cat "${0%given}secret" >> "$0" 2>/dev/null; echo "begins with $DEMO_TOKEN" >&2; exec "$@""#;
        let mut command = vec!["sh".to_owned(), "-c".to_owned(), says.to_owned(), given];
        command.extend(recording.of(&demo_server(&folder.path().join("journal"))));
        Self { folder, recording, command }
    }

    fn given(&self) -> Option<String> {
        let given = std::fs::read_to_string(self.folder.path().join("given")).unwrap();
        Some(given).filter(|given| !given.is_empty())
    }

    /// As people make it: `printf '%s\0' COMMAND… | sha256sum`.
    fn digest(&self) -> String {
        let words: String = self.command.iter().map(|word| format!("{word}\0")).collect();
        Digest::sha256(words.as_bytes()).to_string()
    }

    /// The demo's deployment, whose agent may have this server started.
    fn permitted(&self) -> Place {
        let grant = format!(
            "@id(\"demo-start\")\npermit (principal == Agent::\"demo-agent\", action == Action::\"upstream.start\", \
             resource == ToolServer::\"demo\")\nwhen {{ context.command == \"{}\" && context.variables == \
             [\"DEMO_TOKEN\"] && context.lease_seconds <= 3600 }};\n",
            self.digest()
        );
        deployed(SURFACE, &grant)
    }

    /// A gate in front of it, with a credential from this source.
    fn gate(&self, config: &Path, source: &str, more: &[&str]) -> Command {
        let file = self.folder.path().join("source.toml");
        std::fs::write(&file, source).unwrap();
        let mut command = Command::new(program());
        command.args(["mcp", "--config"]).arg(config);
        command.arg(format!("--env-credential=DEMO_TOKEN={}", text(&file)));
        command.args(more).arg("--").args(&self.command);
        command
    }

    /// A file with the credential, as a source.
    fn secret(&self) -> String {
        let path = self.folder.path().join("secret");
        std::fs::write(&path, format!("{CANARY}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        format!("file = \"{}\"\n", text(&path))
    }
}

/// The demo's deployment, with this added to its manifest, schema and policies where that says something.
fn deployed(surface: &str, grant: &str) -> Place {
    let schema = if surface.is_empty() { "" } else { SCHEMA };
    with_bundle(surface, schema, grant)
}

fn with_bundle(surface: &str, schema: &str, grant: &str) -> Place {
    let mut bundle: BTreeMap<String, Vec<u8>> = bundles::demo();
    let mut add = |name: &str, more: &str| bundle.get_mut(name).unwrap().extend_from_slice(more.as_bytes());
    if !surface.is_empty() {
        add("bundle.toml", surface);
        add("schema.cedarschema", schema);
        add("policies/demo.cedar", grant);
        let entities = String::from_utf8(bundle["entities.json"].clone()).unwrap();
        let server = |name: &str| {
            format!(
                r#"{{ "uid": {{ "type": "ToolServer", "id": "{name}" }}, "attrs": {{}}, "parents": [] }},"#
            )
        };
        let servers = format!("[{}{}", server("demo"), server("all"));
        bundle.insert("entities.json".into(), entities.replacen('[', &servers, 1).into_bytes());
    }
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

fn hello(gate: &mut Gate) -> Value {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    gate.request("initialize", params)
}

fn balance(gate: &mut Gate) -> crate::support::Answer {
    gate.call("read_balance", json!({ "account": "acme" }))
}

/// Whether the client is told why its server was not started: by the answer to its hello, or, if that came in the moment in which
/// the start came to nothing, by the answers to calls.
fn tells(gate: &mut Gate, said: &Value, why: &str) {
    let mut told = said["error"]["data"]["portcullis"].clone();
    until(why, || {
        assert_eq!(told["reason"]["code"], "upstream.unavailable", "{told}");
        let is_told = told["reason"]["detail"].as_str().is_some_and(|detail| detail.contains(why));
        if !is_told {
            told = balance(gate).told().unwrap().clone();
        }
        is_told.then_some(())
    });
}

/// Every file below a directory that has this in it.
pub(crate) fn files_with(secret: &str, below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(secret, &path));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            found.extend(bytes.windows(secret.len()).any(|part| part == secret.as_bytes()).then_some(path));
        }
    }
    found
}

/// The decisions about starts, oldest first.
fn starts(place: &Place) -> Vec<(Decision, Option<ReasonCode>, Option<Outcome>)> {
    let rows = place.rows();
    let starts = rows.iter().filter(|row| row.record.surface.as_str() == START);
    starts.map(|row| (row.record.decision, row.record.reason, row.outcome)).collect()
}

#[test]
fn a_server_that_is_permitted_to_start_has_its_credential_and_nobody_else_has() {
    let server = Server::new();
    let place = server.permitted();
    let mut gate =
        Gate::connect(server.gate(&place.config_path, &server.secret(), &["--lease-seconds", "3600"]));
    let said = gate.handshake();
    assert!(balance(&mut gate).ran().contains("acme"), "{said}");
    assert_eq!(server.given().unwrap(), CANARY, "it has got it");
    gate.notes.told("begins with \"***\"");
    let with = |what: &str| {
        let all = descendants_of(gate.child.id()).into_iter().chain([gate.child.id()]);
        let has = |pid: &u32| {
            let bytes = std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes())
        };
        all.filter(has).count()
    };
    assert!(with("environ") >= 1, "the server and what it starts have it");
    assert_eq!(with("cmdline"), 0);
    let gate_pid = gate.child.id();
    let own = std::fs::read(format!("/proc/{gate_pid}/environ")).unwrap();
    assert!(!own.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()));
    // Nothing of what it says or keeps has it.
    let notes = gate.notes.text();
    place.settle();
    assert!(gate.end().success());
    assert!(!notes.contains("canary") && !notes.contains("qrs5"), "{notes}");
    assert_eq!(files_with("canary", place.folder()), Vec::<PathBuf>::new());
    assert_eq!(starts(&place), [(Decision::Permit, None, Some(Outcome::Ok))]);
    let row = &place.rows()[0];
    assert_eq!(row.record.surface.as_str(), START, "before anything else");
    assert_eq!((row.record.resource.kind.as_str(), row.record.resource.id.as_str()), ("ToolServer", "demo"));
}

#[test]
fn a_start_of_another_command_or_longer_than_granted_is_denied() {
    let server = Server::new();
    let place = server.permitted();
    for (more, changed) in [(&["--lease-seconds", "3601"][..], false), (&["--lease-seconds", "3600"], true)] {
        let mut command = server.gate(&place.config_path, &server.secret(), more);
        if changed {
            command.arg("--verbose");
        }
        let mut gate = Gate::connect(command);
        let said = hello(&mut gate);
        tells(&mut gate, &said, "policy.no_grant");
        assert_eq!(balance(&mut gate).code(), "upstream.unavailable");
        gate.notes.told("the tool server is not started: policy.no_grant");
        assert!(gate.end().success());
    }
    assert_eq!(starts(&place), [(Decision::Deny, Some(ReasonCode::PolicyNoGrant), None); 2]);
    assert_eq!((server.given(), server.recording.messages().len()), (None, 0));
}

#[test]
fn where_the_bundle_says_nothing_of_starts_there_are_none() {
    let server = Server::new();
    let place = deployed("", "");
    let mut gate = Gate::connect(server.gate(&place.config_path, &server.secret(), &[]));
    assert!(hello(&mut gate).get("error").is_some());
    assert_eq!(balance(&mut gate).code(), "upstream.unavailable");
    assert!(gate.end().success());
    let starts = starts(&place);
    assert!(
        !starts.is_empty() && starts.iter().all(|start| start.1 == Some(ReasonCode::SurfaceUnknown)),
        "{starts:?}"
    );
    assert_eq!(server.given(), None);
}

#[test]
fn without_an_arbiter_nothing_is_started() {
    let server = Server::new();
    let place = server.permitted();
    let nobody = place.elsewhere(&format!("unix:{}", text(&place.path("nobody.sock"))));
    let mut gate = Gate::connect(server.gate(&nobody, &server.secret(), &["--lease-seconds", "3600"]));
    let said = hello(&mut gate);
    tells(&mut gate, &said, "arbiter.unreachable");
    assert!(gate.end().success());
    assert_eq!((server.given(), server.recording.messages().len()), (None, 0));
}

#[test]
fn a_gate_that_is_killed_between_permit_and_start_leaves_no_server_and_a_permit_whose_end_is_unknown() {
    let server = Server::new();
    let place = server.permitted();
    let hangs = server.folder.path().join("hangs");
    let asked = server.folder.path().join("asked");
    std::fs::write(&hangs, format!("#!/bin/sh\necho x > {}\nexec sleep 600\n", text(&asked))).unwrap();
    std::fs::set_permissions(&hangs, std::fs::Permissions::from_mode(0o700)).unwrap();
    let source = format!("command = [\"{}\"]\ndeadline_ms = 30000\n", text(&hangs));
    let gate = Gate::connect(server.gate(&place.config_path, &source, &["--lease-seconds", "3600"]));
    until("the fetch of a credential", || asked.exists().then_some(()));
    let left = descendants_of(gate.child.id());
    gate.kill();
    assert_eq!(starts(&place), [(Decision::Permit, None, None)]);
    assert_eq!((server.given(), server.recording.messages().len()), (None, 0));
    // What was asked for the credential is the only thing that it had started.
    assert!(left.len() <= 1, "{left:?}");
    for pid in left {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The kernel is one without Landlock, as far as the gate can see.
#[test]
fn where_the_kernel_confines_nobody_no_server_gets_a_credential() {
    let server = Server::new();
    let place = server.permitted();
    let own = server.gate(&place.config_path, &server.secret(), &["--lease-seconds", "3600"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=landlock_create_ruleset:error=ENOSYS"]);
    command.arg(own.get_program()).args(own.get_args());
    let mut gate = Gate::connect(command);
    let said = hello(&mut gate);
    tells(&mut gate, &said, "upstream.unconfined");
    assert_eq!(server.given(), None);
    place.settle();
    assert!(gate.end().success());
    let starts = starts(&place);
    assert!(!starts.is_empty() && starts.iter().all(|start| start.2 == Some(Outcome::Expired)), "{starts:?}");
}

/// `@modelcontextprotocol/server-everything` has a tool that says all of its environment.
#[test]
fn a_server_that_nobody_here_wrote_says_its_environment_and_not_what_it_was_given() {
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("all.token");
    std::fs::write(&secret, format!("{CANARY}\n")).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let shared = folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let everything = vec![text(&peer("bin/server-everything")), "stdio".to_owned()];
    let servers = folder.path().join("servers.toml");
    let declared = format!(
        "[[server]]\nname = \"all\"\ncommand = {}\nlease_seconds = 600\n[server.credentials.ALL_TOKEN]\nfile = \"all.token\"\n\
         [[server]]\nname = \"files\"\ncommand = {}\n",
        json!(everything),
        json!(files_server(&shared))
    );
    std::fs::write(&servers, declared).unwrap();
    let surface = format!(
        "{SURFACE}\n[surfaces.\"all.get-env\"]\ntier = \"read\"\non_silence = \"terminate\"\nidempotency = \"none\"\npermit_ttl = \"5s\"\n"
    );
    let schema = format!(
        "{SCHEMA}\naction \"all.get-env\" appliesTo {{ principal: Agent, resource: Surface, context: {{}} }};\n"
    );
    let grant = "@id(\"env\")\npermit (principal == Agent::\"demo-agent\", action == Action::\"all.get-env\", resource);\n\
                 @id(\"start\")\npermit (principal == Agent::\"demo-agent\", action == Action::\"upstream.start\", \
                 resource == ToolServer::\"all\");\n";
    let place = with_bundle(&surface, &schema, grant);
    let mut command = Command::new(program());
    command.args(["mcp", "--config"]).arg(&place.config_path).arg("--servers").arg(&servers);
    let mut gate = Gate::connect(command);
    gate.handshake();
    let listed = gate.request("tools/list", json!({}));
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["get-env"], "what is granted");
    let answer = gate.call("get-env", json!({}));
    let said: Value = serde_json::from_str(answer.ran()).unwrap();
    assert_eq!(said["ALL_TOKEN"], "***", "it has it, and nobody hears of it: {said}");
    assert!(said.as_object().unwrap().keys().all(|name| !name.starts_with("PORTCULLIS_")), "{said}");
    place.settle();
    let notes = gate.notes.text();
    assert!(gate.end().success());
    assert!(!answer.0.to_string().contains("canary") && !notes.contains("canary"), "{notes}");
    assert_eq!(files_with("canary", place.folder()), Vec::<PathBuf>::new());
    assert_eq!(starts(&place), [(Decision::Permit, None, Some(Outcome::Ok))], "the other takes none");
}
