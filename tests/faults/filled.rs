//! A tool server that nobody here wrote, which is sent an argument that its agent neither says nor sees, behind the real gate and
//! arbiter.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portcullis_policy::bundles;
use portcullis_protocol::{Decision, Outcome, ReasonCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::starts::files_with;
use crate::support::{Gate, Place, Recording, peer, program, text, until};

const CANARY: &str = "canary-qrs5/3+z==";
const NAMED: &str = "portcullis:slot:word";

/// Whoever echoes must be sent this very credential, and no other text.
const SURFACE: &str = r#"
[surfaces."demo.echo"]
tier = "standard"
on_silence = "terminate"
idempotency = "derived"
permit_ttl = "30s"
context.message = { type = "string", from = "/message" }
keep = ["request", "arguments", "result"]
"#;
const SCHEMA: &str = r#"
action "demo.echo" appliesTo { principal: Agent, resource: Surface, context: { message: String } };
"#;
const GRANT: &str = r#"
@id("echo")
permit (principal == Agent::"demo-agent", action == Action::"demo.echo", resource)
when { context.message == "portcullis:slot:word" };
"#;

fn place() -> Place {
    let mut bundle: BTreeMap<String, Vec<u8>> = bundles::demo();
    let mut add = |name: &str, more: &str| bundle.get_mut(name).unwrap().extend_from_slice(more.as_bytes());
    add("bundle.toml", SURFACE);
    add("schema.cedarschema", SCHEMA);
    add("policies/demo.cedar", GRANT);
    Place::deploy(bundle, &["demo-agent", "stranger-agent"], "demo")
}

/// Writes a file that only its owner may read.
fn private(path: &Path, said: &str) {
    std::fs::write(path, said).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A gate in front of `server-everything`, whose `echo` says what it is sent: of this source, if there is one.
fn gate(
    place: &Place,
    folder: &Path,
    recording: &Recording,
    source: Option<&str>,
    bus: Option<&str>,
) -> Gate {
    let mut command = Command::new(program());
    command.args(["mcp", "--config"]).arg(&place.config_path);
    command.envs(bus.map(|bus| ("DBUS_SESSION_BUS_ADDRESS", bus)));
    if let Some(source) = source {
        let file = folder.join("source.toml");
        std::fs::write(&file, format!("tools = [\"echo\"]\nargument = \"/message\"\n{source}\n")).unwrap();
        command.arg(format!("--argument-credential=word={}", text(&file)));
    }
    let everything = vec![text(&peer("bin/server-everything")), "stdio".to_owned()];
    command.arg("--").args(recording.of(&everything));
    let mut gate = Gate::connect(command);
    gate.handshake();
    gate
}

#[test]
fn a_server_that_nobody_here_wrote_was_sent_what_its_agent_neither_said_nor_saw() {
    let (place, folder) = (place(), TempDir::new().unwrap());
    let recording = Recording::new(&folder.path().join("recording"));
    private(&folder.path().join("secret"), &format!("{CANARY}\n"));
    let mut gate = gate(&place, folder.path(), &recording, Some("file = \"secret\""), None);
    let listed = gate.request("tools/list", json!({}));
    let echo = listed["result"]["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == "echo");
    assert_eq!(echo.unwrap()["inputSchema"]["properties"], json!({}), "{listed}");
    let answer = gate.call("echo", json!({}));
    assert!(answer.ran().contains("***"), "{}", answer.ran());
    // The stored result, and nothing that the agent says in its place.
    let again = gate.call("echo", json!({}));
    assert!(again.0.to_string().contains("***"), "{}", again.0);
    for own in [json!({ "message": "own" }), json!({ "Message": "own" }), json!({ "message": NAMED })] {
        let answer = gate.call("echo", own);
        assert!(answer.0.to_string().contains("request.invalid_value"), "{}", answer.0);
    }
    let calls = gate.settled(&recording);
    assert_eq!(calls, [("echo".to_owned(), json!({ "message": CANARY }))], "once, and with it");
    place.settle();
    let notes = gate.notes.text();
    assert!(gate.end().success());
    let decided = decisions(&place);
    let repeat = (Decision::Deny, Some(ReasonCode::IdempotencyCompleted), None);
    assert_eq!(decided, [(Decision::Permit, None, Some(Outcome::Ok)), repeat]);
    assert!(!notes.contains("canary") && !answer.0.to_string().contains("canary"), "{notes}");
    assert_eq!(files_with("canary", place.folder()), Vec::<PathBuf>::new());
}

/// Policy grants the call with that credential, and the agent says its name.
#[test]
fn a_gate_without_the_slot_ran_what_is_granted_with_it_alone() {
    let (place, folder) = (place(), TempDir::new().unwrap());
    let recording = Recording::new(&folder.path().join("recording"));
    let mut gate = gate(&place, folder.path(), &recording, None, None);
    for own in [json!({ "message": NAMED }), json!({ "message": "own" }), json!({})] {
        let answer = gate.call("echo", own);
        assert!(answer.0.to_string().contains("BLOCKED"), "{}", answer.0);
    }
    assert_eq!(gate.settled(&recording), []);
    place.settle();
    assert!(gate.end().success());
    assert!(decisions(&place).iter().all(|(decision, ..)| *decision != Decision::Permit));
}

/// What reaches the server out of this source, and whether the call was refused.
fn sent(source: &str, folder: &Path, bus: Option<&str>) -> (Vec<(String, Value)>, bool) {
    let place = place();
    let recording = Recording::new(&folder.join("recording"));
    let mut gate = gate(&place, folder, &recording, Some(source), bus);
    let answer = gate.call("echo", json!({}));
    let refused = answer.0.to_string().contains("credential.unavailable");
    let calls = gate.settled(&recording);
    place.settle();
    let notes = gate.notes.text();
    assert!(gate.end().success());
    assert!(!notes.contains("canary") && !answer.0.to_string().contains("canary"), "{notes}");
    assert!(!refused || notes.contains("slot `word`"), "{notes}");
    let expected = if refused { Outcome::Expired } else { Outcome::Ok };
    assert_eq!(decisions(&place), [(Decision::Permit, None, Some(expected))], "{notes}");
    (calls, refused)
}

/// The call with the credential.
fn with_it() -> (Vec<(String, Value)>, bool) {
    (vec![("echo".to_owned(), json!({ "message": CANARY }))], false)
}

#[test]
fn a_file_that_is_encrypted_to_the_gate_is_a_credential_and_to_somebody_else_is_none() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["own.key", "other.key"] {
        let made = Command::new("age-keygen").arg("-o").arg(at(name)).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    private(&at("plain"), &format!("{CANARY}\n"));
    let mut age = Command::new("age");
    age.args(["--encrypt", "--identity"]).arg(at("own.key")).arg("-o").arg(at("crm.age")).arg(at("plain"));
    assert!(age.status().unwrap().success());
    std::fs::remove_file(at("plain")).unwrap();
    let of = |identity: &str| {
        sent(&format!("age = {{ file = \"crm.age\", identity = \"{identity}\" }}"), folder.path(), None)
    };
    assert_eq!(of("own.key"), with_it());
    assert_eq!(of("other.key"), (vec![], true));
    let mode = |name: &str, mode| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // Whoever may read the identity may decrypt it, and whoever may write the file chooses what is in it.
    for (name, bits) in [("own.key", 0o640), ("crm.age", 0o664), ("crm.age", 0o646)] {
        mode(name, bits);
        assert_eq!(of("own.key"), (vec![], true), "{name} {bits:o}");
        mode(name, 0o600);
    }
    assert_eq!(of("own.key"), with_it());
    // One that would ask a person.
    private(&at("ssh.key"), "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    assert_eq!(of("ssh.key"), (vec![], true));
}

/// A session's bus with GNOME's keyring on it, unlocked.
struct Session {
    processes: Vec<Child>,
    bus: String,
    _home: TempDir,
}

impl Session {
    fn start() -> Self {
        let home = TempDir::new().unwrap();
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--session", "--print-address=1", "--nofork", "--nosyslog"]).stderr(Stdio::null());
        let mut daemon = daemon.stdout(Stdio::piped()).spawn().unwrap();
        let mut bus = String::new();
        BufReader::new(daemon.stdout.as_mut().unwrap()).read_line(&mut bus).unwrap();
        let bus = bus.trim_end().to_owned();
        let mut keyring = Command::new("gnome-keyring-daemon");
        keyring.args(["--unlock", "--foreground", "--components=secrets"]).env("HOME", home.path());
        keyring.env("XDG_RUNTIME_DIR", home.path()).env("DBUS_SESSION_BUS_ADDRESS", &bus);
        let mut keyring =
            keyring.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        keyring.stdin.take().unwrap().write_all(b"password").unwrap();
        let session = Self { processes: vec![keyring, daemon], bus, _home: home };
        until("a keyring", || {
            session.tool(&["store", "--label=crm", "service", "crm", "username", "gate"], CANARY)
        });
        session
    }

    fn tool(&self, arguments: &[&str], input: &str) -> Option<()> {
        let mut tool = Command::new("secret-tool");
        tool.args(arguments)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.bus)
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        let mut tool = tool.spawn().unwrap();
        // It may have ended by now.
        drop(tool.stdin.take().unwrap().write_all(input.as_bytes()));
        tool.wait().unwrap().success().then_some(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

#[test]
fn a_secret_in_the_keyring_of_a_desktop_is_a_credential_and_one_that_is_not_there_is_none() {
    let (session, folder) = (Session::start(), TempDir::new().unwrap());
    let of = |username: &str, bus: &str| {
        sent(
            &format!("keyring = {{ service = \"crm\", username = \"{username}\" }}"),
            folder.path(),
            Some(bus),
        )
    };
    assert_eq!(of("gate", &session.bus), with_it());
    assert_eq!(of("other", &session.bus), (vec![], true));
    assert_eq!(of("gate", "unix:path=/nonexistent/bus"), (vec![], true));
    session.tool(&["clear", "service", "crm", "username", "gate"], "").unwrap();
    assert_eq!(of("gate", &session.bus), (vec![], true));
}

/// The decisions about calls, oldest first.
fn decisions(place: &Place) -> Vec<(Decision, Option<ReasonCode>, Option<Outcome>)> {
    let rows = place.rows();
    let calls = rows.iter().filter(|row| row.record.surface.as_str() == "demo.echo");
    calls.map(|row| (row.record.decision, row.record.reason, row.outcome)).collect()
}
