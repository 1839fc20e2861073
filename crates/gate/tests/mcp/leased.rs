//! Tool servers with credentials in their environment: each start of one takes a PERMIT of its own, and nobody else gets to see what
//! it was given.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis_gate::confine::Confinement;
use portcullis_gate::{
    CredentialSource, Engine, EnvironmentCredentials, GateError, Here, McpGate, Origin, ToolServer, Vault,
    serve,
};
use portcullis_programs::Program;
use portcullis_protocol::{
    ContextKind, ContextRule, Digest, Idempotency, Outcome, ReasonCode, SurfaceSpec, SurfaceTable, ToolPins,
    Value as Scalar,
};
use portcullis_sdk::Token;
use serde_json::{Value, json};

use super::PATIENCE;
use super::arbiter::{Act, TestArbiter};
use super::receipts::trusted;
use super::several::{Several, table as several_table};
use super::support::{Gate, code, config, example, local, surface, table, told};
use super::vault::{StandIn, TOKEN};

const START: &str = "upstream.start";
const CANARY: &str = "canary-xyz7/9+x==";

/// `upstream.start`, of which policy may read all that there is.
fn start_surface() -> SurfaceSpec {
    let rule = |kind, from: &str| ContextRule { kind, from: Some(from.to_owned()), optional: false };
    let context = [
        ("command", rule(ContextKind::String, "/command")),
        ("lease_seconds", rule(ContextKind::Integer, "/lease_seconds")),
        ("variables", rule(ContextKind::Strings, "/variables")),
    ];
    let context = context.map(|(key, rule)| (key.to_owned(), rule)).into();
    SurfaceSpec { context, ..surface(Idempotency::None, &[]) }
}

fn with_start(mut table: SurfaceTable) -> SurfaceTable {
    table.surfaces.insert(START.parse().unwrap(), start_surface());
    for tool in ["rec.reveal", "rec.environment", "rec.die", "rec.hold"] {
        table.surfaces.insert(tool.parse().unwrap(), surface(Idempotency::None, &[]));
    }
    // Its results are kept.
    table.surfaces.insert("rec.reveal".parse().unwrap(), surface(Idempotency::Derived, &[]));
    table
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

/// A program that counts how often it ran, and then does this in its folder.
fn program(folder: &Path, body: &str) -> CredentialSource {
    let path = folder.join("program");
    executable(&path, &format!("#!/bin/sh\ncd {}\necho x >> runs\n{body}\n", folder.display()));
    let origin = Origin::Command(Program { path, arguments: Vec::new() });
    CredentialSource::new(origin, PATIENCE, Duration::ZERO)
}

fn runs(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count()
}

/// One credential, in `TOKEN`.
fn in_token(source: CredentialSource, lease: Duration) -> Option<EnvironmentCredentials> {
    Some(EnvironmentCredentials::new(vec![("TOKEN".to_owned(), source)], lease).unwrap())
}

const LONG: Duration = Duration::from_secs(3_600);

/// A gate whose server gets what a program says, with the rest of its configuration and the arbiter's first act.
fn gate(body: &str, act: Act, change: impl FnOnce(&mut McpGate)) -> Gate {
    let gate = Gate::with(|config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        local(config).credentials = in_token(program(&folder, body), LONG);
        change(config);
    });
    // Before the gate has asked for anything: this runtime has one thread.
    *gate.arbiter.table.lock().unwrap() = Ok(with_start(table(1)));
    gate.arbiter.will(act);
    gate
}

fn started(gate: &Gate) -> bool {
    gate.folder.path().join("journal").exists()
}

/// The questions about starts.
fn starts(gate: &Gate) -> usize {
    let asked = gate.arbiter.questions();
    asked.iter().filter(|call| call.request.surface.as_str() == START).count()
}

/// The answer to a request of this id, whatever comes before it.
async fn answer(gate: &mut Gate, id: u64, seen: &mut Vec<Value>) -> Value {
    loop {
        let next = gate.next().await;
        seen.push(next.clone());
        if next["id"] == id && next.get("method").is_none() {
            return next;
        }
    }
}

async fn call(gate: &mut Gate, id: u64, tool: &str, arguments: &str) -> Value {
    gate.call(id, tool, arguments).await;
    answer(gate, id, &mut Vec::new()).await
}

/// Calls until the server is there again.
async fn call_when_there(gate: &mut Gate, id: u64, tool: &str) -> Value {
    let called = async {
        for id in (id * 1_000).. {
            let answer = call(gate, id, tool, "{}").await;
            if answer.get("result").is_some_and(|result| result["isError"] == json!(false)) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
        Value::Null
    };
    tokio::time::timeout(PATIENCE, called).await.expect("a server that is there")
}

#[tokio::test]
async fn a_server_with_credentials_is_started_once_its_very_start_is_permitted() {
    let mut gate = gate("echo sesame", Act::PermitWhenReleased, |_| {});
    gate.call(1, "read", "{}").await;
    gate.arbiter.asked(1).await;
    let asked = gate.arbiter.questions()[0].request.clone();
    assert_eq!((asked.surface.as_str(), asked.action.as_str()), (START, "act"));
    assert_eq!((asked.resource.kind.as_str(), asked.resource.id.as_str()), ("ToolServer", "rec"));
    let journal = gate.folder.path().join("journal");
    let line = format!("{}\0{}\0", example("recording_server").display(), journal.display());
    let context = BTreeMap::from([
        ("command".to_owned(), Scalar::Str(Digest::sha256(line.as_bytes()).to_string())),
        ("lease_seconds".to_owned(), Scalar::Int(3_600)),
        ("variables".to_owned(), Scalar::Array(vec![Scalar::Str("TOKEN".to_owned())])),
    ]);
    assert_eq!(asked.context, context);
    assert!(asked.envelope.is_some() && asked.payload.is_some());
    assert!(!started(&gate), "it runs, and nobody has permitted it");
    assert_eq!(runs(gate.folder.path()), 0, "its credential was fetched, and nobody has permitted that");
    gate.arbiter.will(Act::Permit);
    gate.arbiter.release.add_permits(1);
    let said = answer(&mut gate, 1, &mut Vec::new()).await;
    assert_eq!(said["result"]["content"][0]["text"], "read", "{said}");
    assert_eq!(gate.arbiter.settled(2).await.first().unwrap().0, Outcome::Ok);
    let said = call(&mut gate, 2, "environment", "{}").await;
    let names: Vec<&str> =
        said["result"]["names"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert!(
        names.contains(&"TOKEN") && !names.iter().any(|name| name.starts_with("PORTCULLIS_")),
        "{names:?}"
    );
    let usual = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "TMPDIR", "SHELL", "TOKEN"];
    let besides =
        |name: &&&str| !usual.contains(*name) && !name.starts_with("LC_") && !name.starts_with("XDG_");
    assert_eq!(names.iter().filter(besides).count(), 0, "{names:?}");
    assert_eq!((starts(&gate), runs(gate.folder.path())), (1, 1));
}

/// A start that is answered so is none, and calls are told that.
async fn is_not_started(act: Act, expected: ReasonCode) {
    let deadline = if matches!(act, Act::Hang) { Duration::from_millis(500) } else { PATIENCE };
    let mut gate = gate("echo sesame", act.clone(), |config| config.deadline = deadline);
    for id in 1..3 {
        let said = call(&mut gate, id, "read", "{}").await;
        assert_eq!(code(&said), "upstream.unavailable", "{act:?}: {said}");
        let detail = told(&said)["reason"]["detail"].as_str().unwrap();
        // While it is tried again, that is what is said.
        let again = detail.contains("is being started") || detail.contains("has just ended");
        assert!(detail.contains(expected.as_str()) || (again && id > 1), "{act:?}: {detail}");
        assert_eq!(told(&said)["captured"], "none");
    }
    gate.told(&format!("the tool server is not started: {}", expected.as_str())).await;
    assert!(!started(&gate), "{act:?}");
    assert_eq!(runs(gate.folder.path()), 0, "{act:?}: its credential was fetched");
    let asked = gate.arbiter.questions();
    assert!(asked.iter().all(|call| call.request.surface.as_str() == START), "a call was asked about");
}

#[tokio::test]
async fn a_server_whose_start_is_denied_is_not_started() {
    is_not_started(Act::Refuse(ReasonCode::PolicyNoGrant), ReasonCode::PolicyNoGrant).await;
}

#[tokio::test]
async fn silence_about_a_start_starts_nothing() {
    is_not_started(Act::Refuse(ReasonCode::EvidenceUnwritable), ReasonCode::EvidenceUnwritable).await;
    is_not_started(Act::Lost, ReasonCode::ArbiterUnreachable).await;
    is_not_started(Act::Hang, ReasonCode::ArbiterTimeout).await;
}

#[tokio::test]
async fn what_proves_no_permit_of_this_very_start_starts_nothing() {
    is_not_started(Act::Garbage("PERMIT".into()), ReasonCode::ReceiptUnverifiable).await;
    is_not_started(Act::NoReceipt, ReasonCode::ReceiptUnverifiable).await;
    is_not_started(Act::OtherAttempt, ReasonCode::ReceiptUnverifiable).await;
    is_not_started(Act::PermitTooLate(Duration::from_millis(20)), ReasonCode::PermitExpired).await;
}

#[tokio::test]
async fn a_denied_start_is_not_asked_for_again_at_once() {
    let mut gate = gate("echo sesame", Act::Refuse(ReasonCode::PolicyForbidden), |_| {});
    assert_eq!(code(&call(&mut gate, 1, "read", "{}").await), "upstream.unavailable");
    gate.told("broken: ").await;
    assert_eq!(starts(&gate), 1);
}

#[tokio::test]
async fn a_start_that_no_bundle_declares_was_one_because_the_arbiter_said_so() {
    let mut gate = gate("echo sesame", Act::Permit, |_| {});
    gate.arbiter.table.lock().unwrap().as_mut().unwrap().surfaces.remove(&START.parse().unwrap());
    let said = call(&mut gate, 1, "read", "{}").await;
    assert!(told(&said)["reason"]["detail"].as_str().unwrap().contains("surface.unknown"), "{said}");
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Expired);
    assert!(!started(&gate) && runs(gate.folder.path()) == 0);
}

#[tokio::test]
async fn a_permit_that_expires_while_the_credential_is_fetched_starts_nothing() {
    // The first fetch takes longer than the PERMIT lives.
    let body = "if [ ! -e go ]; then while [ ! -e go ]; do sleep 0.05; done; fi; echo sesame";
    let mut gate = gate(body, Act::PermitFor(100), |_| {});
    gate.call(1, "read", "{}").await;
    let folder = gate.folder.path().to_owned();
    while runs(&folder) == 0 {
        tokio::task::yield_now().await;
    }
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_millis(150) {
        tokio::task::yield_now().await;
    }
    std::fs::write(folder.join("go"), "").unwrap();
    let said = answer(&mut gate, 1, &mut Vec::new()).await;
    assert!(told(&said)["reason"]["detail"].as_str().unwrap().contains("permit.expired"), "{said}");
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Expired);
    assert!(!started(&gate));
}

#[tokio::test]
async fn a_server_without_its_credential_is_not_started_and_its_permit_is_given_up() {
    let body = "[ -e sesame ] || { echo canary; echo canary >&2; exit 1; }; cat sesame";
    let mut gate = gate(body, Act::Permit, |_| {});
    let said = call(&mut gate, 1, "read", "{}").await;
    assert_eq!(code(&said), "credential.unavailable", "{said}");
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Expired);
    gate.told("there is no credential to give the tool server").await;
    assert!(!started(&gate) && !gate.notes().contains("canary") && !said.to_string().contains("canary"));
    // It is started once there is one, by another PERMIT.
    std::fs::write(gate.folder.path().join("sesame"), "sesame").unwrap();
    call_when_there(&mut gate, 2, "read").await;
    assert!(starts(&gate) > 1 && started(&gate));
}

#[tokio::test]
async fn one_of_two_credentials_is_not_enough() {
    let mut gate = gate("echo sesame", Act::Permit, |config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        let absent = Origin::Here(Here::File(folder.join("absent")));
        let absent = CredentialSource::new(absent, PATIENCE, Duration::ZERO);
        let two = vec![("A".to_owned(), program(&folder, "echo sesame")), ("B".to_owned(), absent)];
        local(config).credentials = Some(EnvironmentCredentials::new(two, LONG).unwrap());
    });
    assert_eq!(code(&call(&mut gate, 1, "read", "{}").await), "credential.unavailable");
    assert!(!started(&gate));
}

#[tokio::test]
async fn a_server_that_comes_again_takes_another_permit_and_another_credential() {
    let mut gate = gate("echo number-$(wc -l < runs).", Act::Permit, |_| {});
    call(&mut gate, 1, "read", "{}").await;
    assert_eq!((starts(&gate), runs(gate.folder.path())), (1, 1));
    call(&mut gate, 2, "die", "{}").await;
    call_when_there(&mut gate, 3, "read").await;
    assert_eq!((starts(&gate), runs(gate.folder.path())), (2, 2));
    let asked = gate.arbiter.questions();
    let starts: Vec<_> = asked.iter().filter(|call| call.request.surface.as_str() == START).collect();
    assert_ne!(starts[0].attempt, starts[1].attempt);
    // One that may not come again stays away.
    gate.arbiter.will(Act::PermitBut(START, ReasonCode::PolicyForbidden));
    call(&mut gate, 4, "die", "{}").await;
    gate.told("the tool server is not started: policy.forbidden").await;
    let said = call(&mut gate, 5, "read", "{}").await;
    assert_eq!(code(&said), "upstream.unavailable", "{said}");
    assert_eq!(runs(gate.folder.path()), 2);
}

#[tokio::test]
async fn a_server_is_stopped_when_its_lease_is_over_and_its_next_start_is_decided_anew() {
    let mut gate = gate("echo sesame", Act::Permit, |config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        local(config).credentials = in_token(program(&folder, "echo sesame"), Duration::from_secs(1));
    });
    call(&mut gate, 1, "read", "{}").await;
    gate.told("it has run for as long as its start was permitted for, and is stopped").await;
    gate.told("the tool server is gone").await;
    call_when_there(&mut gate, 2, "read").await;
    assert!(starts(&gate) > 1);
    gate.arbiter.will(Act::PermitBut(START, ReasonCode::PolicyForbidden));
    gate.told("the tool server is not started: policy.forbidden").await;
    assert_eq!(code(&call(&mut gate, 9, "read", "{}").await), "upstream.unavailable");
}

/// A gate whose server gets what a vault leases for so long.
async fn leasing(seconds: u64) -> (StandIn, Gate) {
    let vault = StandIn::start().await;
    {
        let mut state = vault.state.lock().unwrap();
        (state.made, state.lease_seconds) = (CANARY.into(), seconds);
    }
    let address = vault.address.parse().unwrap();
    let gate = gate("echo sesame", Act::Permit, |config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        let token = folder.join("token");
        executable(&token, TOKEN);
        let of = ("database/creds/crm".parse().unwrap(), "password".to_owned());
        let vault = Vault::new(address, Here::File(token), of, Engine::Dynamic);
        let source = CredentialSource::new(Origin::Vault(Box::new(vault)), PATIENCE, Duration::ZERO);
        local(config).credentials = in_token(source, LONG);
    });
    (vault, gate)
}

#[tokio::test]
async fn a_server_ran_on_with_a_credential_whose_lease_was_over() {
    let (_vault, mut gate) = leasing(3).await;
    call(&mut gate, 1, "read", "{}").await;
    gate.told("it has run for as long as its start was permitted for, and is stopped").await;
    call_when_there(&mut gate, 2, "read").await;
    assert!(starts(&gate) > 1);
}

#[tokio::test]
async fn a_credential_that_is_leased_for_no_time_is_none_to_run_with() {
    let (_vault, mut gate) = leasing(0).await;
    assert_eq!(code(&call(&mut gate, 1, "read", "{}").await), "credential.unavailable");
    assert_eq!(gate.arbiter.settled(1).await[0].0, Outcome::Expired);
    assert!(!started(&gate));
}

#[tokio::test]
async fn a_start_while_an_outcome_is_not_on_record_was_one() {
    let mut gate = gate("echo sesame", Act::Permit, |config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        local(config).credentials = in_token(program(&folder, "echo sesame"), Duration::from_secs(1));
    });
    *gate.arbiter.failing_reports.lock().unwrap() = usize::MAX;
    let said = call(&mut gate, 1, "read", "{}").await;
    assert_eq!(code(&said), "evidence.outcome_unrecorded", "that of its start: {said}");
    gate.told("the tool server is not started: evidence.outcome_unrecorded").await;
    assert_eq!((starts(&gate), runs(gate.folder.path())), (1, 1));
    *gate.arbiter.failing_reports.lock().unwrap() = 0;
    call_when_there(&mut gate, 2, "read").await;
}

#[tokio::test]
async fn an_attempt_to_start_without_an_arbiter_is_kept() {
    let spools = tempfile::tempdir().unwrap();
    let mut gate = gate("echo sesame", Act::Lost, |config| config.spool = Some(spools.path().to_owned()));
    assert_eq!(code(&call(&mut gate, 1, "read", "{}").await), "upstream.unavailable");
    let files = std::fs::read_dir(spools.path()).unwrap();
    let kept: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert!(kept.contains(r#""surface":"upstream.start""#) && kept.contains("arbiter.unreachable"), "{kept}");
    assert!(!started(&gate));
}

#[tokio::test]
async fn a_gate_that_goes_between_permit_and_start_leaves_no_server() {
    let mut gate = gate("echo x > fetching; while [ -e fetching ]; do sleep 0.05; done", Act::Permit, |_| {});
    gate.call(1, "read", "{}").await;
    let fetching = gate.folder.path().join("fetching");
    while !fetching.exists() {
        tokio::task::yield_now().await;
    }
    gate.session.abort();
    assert!((&mut gate.session).await.unwrap_err().is_cancelled());
    assert_eq!((starts(&gate), started(&gate)), (1, false));
    assert!(gate.arbiter.reported().is_empty(), "nobody says what became of it: that is unknown");
}

#[tokio::test]
async fn a_gate_that_only_simulates_starts_no_server_with_credentials() {
    let mut gate = gate("echo sesame", Act::Permit, |config| config.simulation = Some(Arc::default()));
    assert_eq!(code(&call(&mut gate, 1, "read", "{}").await), "upstream.unavailable");
    assert!(!started(&gate) && gate.arbiter.questions().is_empty() && runs(gate.folder.path()) == 0);
}

#[tokio::test]
async fn what_a_server_was_given_comes_back_to_nobody() {
    let body = format!("echo '{CANARY}'; echo canary >&2");
    let mut gate = gate(&body, Act::Permit, |_| {});
    let tool = json!({ "name": "reveal", "description": format!("my token is {CANARY}"), "inputSchema": { "type": "object", "title": CANARY } });
    gate.offers(&json!({
        "pages": [[tool]],
        "greeting": { "capabilities": { "tools": {} }, "instructions": format!("use {CANARY}") },
    }));
    let mut seen = Vec::new();
    gate.send(r#"{"jsonrpc":"2.0","id":90,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#).await;
    answer(&mut gate, 90, &mut seen).await;
    gate.send(r#"{"jsonrpc":"2.0","id":91,"method":"tools/list"}"#).await;
    let listed = answer(&mut gate, 91, &mut seen).await;
    assert_eq!(listed["result"]["tools"][0]["description"], "my token is ***", "{listed}");
    for (id, more) in [(1, ""), (2, r#","fails":1"#)] {
        gate.call(id, "reveal", &format!(r#"{{"name":"TOKEN"{more}}}"#)).await;
        answer(&mut gate, id, &mut seen).await;
    }
    let had = format!("has {} letters", CANARY.len());
    assert!(seen.iter().any(|said| said.to_string().contains(&had)), "the server has not got it: {seen:?}");
    gate.told_times(r#"the token is "***""#, 2).await;
    gate.told_times("stderr: x x x", 2).await;
    gate.told_times(r#"no message: "***""#, 2).await;
    let arbiter = Arc::clone(&gate.arbiter);
    let seen_by_processes = environments_with(CANARY);
    assert_eq!(seen_by_processes.len(), 1, "the server alone has it: {seen_by_processes:?}");
    assert!(seen_by_processes[0].contains("recording_server"), "{seen_by_processes:?}");
    assert!(command_lines_with(CANARY).is_empty());
    // Said once more by who comes again.
    call(&mut gate, 3, "die", "{}").await;
    let notes = gate.notes();
    let journal = gate.journal_now().join("\n");
    let (_, rest) = gate.close().await;
    seen.extend(rest);
    let asked = format!("{:?}", arbiter.questions());
    let bodies: Vec<String> =
        arbiter.questions().iter().map(|call| serde_json::to_string(call).unwrap()).collect();
    let reported = format!("{:?}", arbiter.outcomes.borrow());
    let lists = format!("{:?}", arbiter.lists.lock().unwrap());
    let seen: Vec<String> = seen.iter().map(Value::to_string).collect();
    for said in seen.iter().chain(&bodies).chain([&notes, &asked, &reported, &lists, &journal]) {
        assert!(!said.contains("canary") && !said.contains("xyz7"), "{said}");
    }
    for words in ["my token is ***", "use ***", r#""***":1"#, r#""escaped":"***""#, r#""message":"***""#] {
        assert!(seen.iter().any(|said| said.contains(words)), "{words}: {seen:?}");
    }
    assert!(reported.contains("***"), "a result is kept: {reported}");
}

/// The command lines of processes that have this in their environment.
fn environments_with(secret: &str) -> Vec<String> {
    processes_with(secret, "environ")
}

fn command_lines_with(secret: &str) -> Vec<String> {
    processes_with(secret, "cmdline")
}

fn processes_with(secret: &str, what: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let all = processes.filter_map(|process| {
        let found = std::fs::read(process.path().join(what)).ok()?;
        let there = found.windows(secret.len()).any(|window| window == secret.as_bytes());
        there.then(|| {
            String::from_utf8_lossy(&std::fs::read(process.path().join("cmdline")).unwrap()).into_owned()
        })
    });
    all.collect()
}

/// Two servers, of which the first gets a credential. What the second one reads of all processes is in a file.
fn beside(act: Act) -> Several {
    let several = Several::with(&[("one", &["read"]), ("two", &["pay"])], |config| {
        let folder = PathBuf::from(local(config).command[1].clone()).parent().unwrap().to_owned();
        local(config).credentials = in_token(program(&folder, &format!("echo '{CANARY}'")), LONG);
        let ToolServer::Local(second) = &mut config.beside[0].server else { panic!() };
        // It looks around once the first one runs.
        let look = "until [ -e \"$0/one.runs\" ]; do sleep 0.05; done; env > \"$0/own\"; cat /proc/*/environ > \"$0/others\" 2>/dev/null; echo x > \"$0/looked\"; exec \"$@\"";
        let mut command: Vec<std::ffi::OsString> = ["sh", "-c", look].map(Into::into).to_vec();
        command.push(folder.clone().into());
        command.append(&mut second.command);
        second.command = command;
    });
    *several.gate.arbiter.table.lock().unwrap() =
        Ok(with_start(several_table(&["one", "two"], ToolPins::none())));
    several.gate.arbiter.will(act);
    several
}

#[tokio::test]
async fn a_server_beside_one_with_credentials_sees_nothing_of_them() {
    let mut several = beside(Act::Permit);
    let folder = several.gate.folder.path().to_owned();
    assert_eq!(several.call("one__read", json!({})).await["result"]["content"][0]["text"], "read");
    assert_eq!(environments_with(CANARY).len(), 1, "the first has it");
    std::fs::write(folder.join("one.runs"), "").unwrap();
    assert_eq!(several.call("two__pay", json!({})).await["result"]["content"][0]["text"], "pay");
    assert!(folder.join("looked").exists());
    let [own, others] =
        ["own", "others"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_default());
    assert!(own.contains("PATH=") && !own.contains("TOKEN"), "{own}");
    assert!(others.contains("PATH=") && !others.contains(CANARY), "it has read the other's environment");
}

#[tokio::test]
async fn a_server_that_may_not_start_left_the_others_without_their_list() {
    let mut several = beside(Act::PermitBut(START, ReasonCode::PolicyNoGrant));
    std::fs::write(several.gate.folder.path().join("one.runs"), "").unwrap();
    several.begin().await;
    assert_eq!(several.listed().await, ["pay"]);
    assert_eq!(several.call("two__pay", json!({})).await["result"]["content"][0]["text"], "pay");
    let said = several.call("one__read", json!({})).await;
    assert_eq!(code(&said), "upstream.unavailable");
    assert!(told(&said)["reason"]["detail"].as_str().unwrap().contains("policy.no_grant"), "{said}");
    assert!(several.ran("one").is_empty() && !several.gate.folder.path().join("one").exists());
}

#[tokio::test]
async fn a_gate_with_credentials_does_not_start_where_a_server_is_kept_from_nothing() {
    async fn refused(change: impl FnOnce(&mut McpGate)) -> GateError {
        let mut config = config(vec!["cat".into()]);
        local(&mut config).credentials = in_token(CredentialSource::given(Token::new("sesame")), LONG);
        change(&mut config);
        let arbiter = TestArbiter::new(table(1));
        serve(config, arbiter, trusted(), tokio::io::empty(), tokio::io::sink(), |_| {}).await.unwrap_err()
    }
    let unconfined = |c: &mut McpGate| local(c).confinement = Confinement::default();
    assert!(matches!(refused(unconfined).await, GateError::Unconfined(name) if name == "rec"));
    let other = |c: &mut McpGate| {
        c.beside = vec![super::support::beside("two", vec!["cat".into()])];
        let ToolServer::Local(second) = &mut c.beside[0].server else { panic!() };
        second.confinement = Confinement::default();
    };
    assert!(matches!(refused(other).await, GateError::Unconfined(name) if name == "two"));
    let twice = |c: &mut McpGate| local(c).pass_environment = vec!["TOKEN".into()];
    assert!(matches!(refused(twice).await, GateError::PassCredential(name) if name == "TOKEN"));
}

/// What a supervisor says of a server that is to be given something, and whether the server ran.
fn supervised(words: &[&str], stdin: &[u8]) -> (Option<i32>, String) {
    use std::io::Write;
    let mut command = Command::new(example("gate_host"));
    command.arg("__upstream").args(words).args(["--", "sh", "-c", "echo \"has $TOKEN\"; cat"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut supervisor = command.spawn().unwrap();
    // One that refuses at once may have gone already.
    drop(supervisor.stdin.take().unwrap().write_all(stdin));
    let output = supervisor.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_server_whose_gate_is_gone_before_it_was_given_all_does_not_run() {
    let host = example("gate_host");
    let kept = ["--keep", host.to_str().unwrap(), "--given"];
    let whole = b"\0\0\0\x0dTOKEN=sesame\0rest";
    assert_eq!(supervised(&kept, whole), (Some(0), "has sesame\nrest".to_owned()));
    for end in 0..17 {
        let (status, said) = supervised(&kept, &whole[..end]);
        assert!(status != Some(0) && said.is_empty(), "{end}: {status:?} {said}");
    }
    let (status, said) = supervised(&["--unconfined", "--given"], whole);
    assert!(status != Some(0) && said.is_empty(), "others could read it: {status:?} {said}");
}
