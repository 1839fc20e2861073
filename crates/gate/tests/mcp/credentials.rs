//! Where the credential comes from that a server by URL is shown, and what happens to calls when it does not come.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_gate::{Credential, CredentialSource, Engine, Here, Origin, Vault};
use portcullis_programs::Program;
use portcullis_protocol::{Outcome, ReasonCode};
use serde_json::json;
use tempfile::TempDir;

use super::PATIENCE;
use super::arbiter::Act;
use super::remote::{INITIALIZE, INITIALIZED, call, comes_back_to_nobody, gate_shown, started_shown, until};
use super::support::{code, told};
use super::vault::{StandIn, TOKEN};
use super::web::Web;

/// Writes a file of mode 0600.
fn write(folder: &TempDir, name: &str, said: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, said).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn file(path: &Path) -> Origin {
    Origin::Here(Here::File(path.to_owned()))
}

/// A program that counts how often it ran, and says what is in `credential`.
fn program(folder: &TempDir, body: &str) -> Origin {
    let body = format!("#!/bin/sh\ncd {}\necho x >> runs\n{body}\n", folder.path().display());
    let path = write(folder, "program", &body);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    Origin::Command(Program { path, arguments: Vec::new() })
}

fn runs(folder: &TempDir) -> usize {
    std::fs::read_to_string(folder.path().join("runs")).unwrap().lines().count()
}

/// One field of one path of the vault.
fn of_vault(vault: &StandIn, token: &Path, (path, field): (&str, &str), engine: Engine) -> Credential {
    let of = (path.parse().unwrap(), field.to_owned());
    let vault = Vault::new(vault.address.parse().unwrap(), Here::File(token.to_owned()), of, engine);
    each_time(Origin::Vault(Box::new(vault)))
}

fn each_time(origin: Origin) -> Credential {
    Credential::bearer(CredentialSource::new(origin, PATIENCE, Duration::ZERO))
}

#[tokio::test]
async fn a_call_whose_credential_does_not_come_is_not_sent_and_its_permit_is_given_up() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    let path = write(&folder, "credential", "sesame\n");
    let mut gate = gate_shown(&web, each_time(file(&path))).await;
    let long = "x".repeat(20_000);
    let none = ["", "\n", "ses\name", "ses\tame", &long];
    for (id, said) in (1..).zip(none) {
        write(&folder, "credential", said);
        let answer = call(&mut gate, id, "read").await;
        assert_eq!(code(&answer), "credential.unavailable", "{said:?}");
        // It was permitted, and that is on record.
        assert_eq!(told(&answer)["captured"], "logged", "{answer}");
        assert!(told(&answer)["receipt"].is_string(), "{answer}");
        assert!(!answer.to_string().contains("sesame"));
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(code(&call(&mut gate, 8, "read").await), "credential.unavailable");
    gate.arbiter.settled(none.len() + 1).await;
    assert_eq!(gate.arbiter.reported(), [Outcome::Expired; 6], "the PERMITs were given up unspent");
    assert!(web.calls().is_empty(), "a call was sent without one");
    gate.told("there is no credential to show the tool server: it has a line end").await;
    // Another does not stand in its place, and the one that is there again does.
    write(&folder, "credential", "sesame");
    assert_eq!(call(&mut gate, 9, "read").await["result"]["content"][0]["text"], "read");
}

#[tokio::test]
async fn what_needs_no_decision_is_not_sent_without_its_credential_either() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    let path = write(&folder, "credential", "sesame");
    let mut gate = gate_shown(&web, each_time(file(&path))).await;
    std::fs::remove_file(&path).unwrap();
    gate.send(r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#).await;
    let listed = loop {
        let next = gate.next().await;
        if next["id"] == 7 {
            break next;
        }
    };
    assert_eq!(listed["error"]["data"]["portcullis"]["reason"]["code"], "credential.unavailable");
    let shown = |reached: &super::web::Reached| reached.header("authorization") == Some("Bearer sesame");
    assert!(web.reached().iter().all(shown));
}

#[tokio::test]
async fn a_credential_that_rotates_between_two_calls_is_the_new_one_in_the_second() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    let path = write(&folder, "credential", "first");
    let mut gate = gate_shown(&web, each_time(file(&path))).await;
    call(&mut gate, 1, "read").await;
    write(&folder, "credential", "second");
    call(&mut gate, 2, "read").await;
    let shown: Vec<_> =
        web.calls().iter().map(|reached| reached.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(shown, ["Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn nothing_is_fetched_for_a_call_that_is_not_permitted() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    let mut gate = gate_shown(&web, each_time(program(&folder, "echo sesame"))).await;
    call(&mut gate, 1, "read").await;
    // What the session takes by itself has its own.
    until(&web, |reached| reached.method == "GET").await;
    let before = runs(&folder);
    gate.arbiter.will(Act::Refuse(ReasonCode::PolicyNoGrant));
    assert_eq!(code(&call(&mut gate, 2, "read").await), "policy.no_grant");
    assert_eq!(runs(&folder), before, "it was fetched for a call that was refused");
    gate.arbiter.will(Act::Permit);
    call(&mut gate, 3, "read").await;
    assert_eq!(runs(&folder), before + 1, "a call that is permitted has its own");
}

#[tokio::test]
async fn a_source_that_hangs_holds_up_its_call_until_the_deadline_and_no_other() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    // Hangs if it is told to; says so.
    let body = "if [ -e hang ]; then rm hang; echo x > hangs; sleep 600; fi; echo sesame";
    let source = CredentialSource::new(program(&folder, body), Duration::from_secs(15), Duration::ZERO);
    let mut gate = gate_shown(&web, Credential::bearer(source)).await;
    call(&mut gate, 1, "read").await;
    // What the session takes by itself would hang in the call's place.
    until(&web, |reached| reached.method == "GET").await;
    write(&folder, "hang", "");
    gate.call(2, "read", "{}").await;
    while !folder.path().join("hangs").exists() {
        tokio::task::yield_now().await;
    }
    // The one behind it is answered first.
    gate.call(3, "read", "{}").await;
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let next = gate.next().await;
        if next["id"].is_u64() {
            answers.push(next);
        }
    }
    assert_eq!(answers[0]["id"], 3);
    assert_eq!((&answers[1]["id"], code(&answers[1])), (&json!(2), "credential.unavailable"));
    assert_eq!(web.calls().len(), 2);
}

#[tokio::test]
async fn a_credential_of_any_source_that_a_server_echoes_comes_back_to_nobody() {
    const CANARY: &str = "canary-xyz7/9+x==";
    let (folder, vault) = (tempfile::tempdir().unwrap(), StandIn::start().await);
    let (path, token) = (write(&folder, "credential", CANARY), write(&folder, "token", TOKEN));
    {
        let mut state = vault.state.lock().unwrap();
        state.secrets.insert("secret/data/crm".into(), json!({ "key": CANARY, "other": "canary" }));
        (state.made, state.lease_seconds) = (CANARY.into(), 3_600);
    }
    let of_the_vault = [
        of_vault(&vault, &token, ("secret/data/crm", "key"), Engine::KvV2),
        of_vault(&vault, &token, ("database/creds/crm", "password"), Engine::Dynamic),
    ];
    let here = [each_time(file(&path)), each_time(program(&folder, "cat credential; echo canary >&2"))];
    for credential in here.into_iter().chain(of_the_vault) {
        comes_back_to_nobody(credential, CANARY).await;
    }
    let asked = vault.asked();
    for path in ["secret/data/crm", "database/creds/crm"] {
        assert!(asked.contains(&format!("GET /v1/{path}")), "{asked:?}");
    }
}

/// Another credential each time.
const ROTATES: &str = "echo rotates-$(wc -l < runs).";

#[tokio::test]
async fn the_token_of_a_slow_call_came_back_once_many_others_had_been_shown() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    let mut gate = gate_shown(&web, each_time(program(&folder, ROTATES))).await;
    until(&web, |reached| reached.method == "GET").await;
    gate.call(1, "late_echo", "{}").await;
    let slow = until(&web, |reached| reached.message()["params"]["name"] == "late_echo").await;
    let token = slow.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    for id in 2..42 {
        call(&mut gate, id, "read").await;
    }
    let others: std::collections::BTreeSet<_> =
        web.calls().iter().map(|reached| reached.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(others.len(), 41, "each call was to have its own");
    web.answers_now();
    let answer = loop {
        let next = gate.next().await;
        if next["id"] == 1 {
            break next;
        }
    };
    assert!(token.starts_with("rotates-") && !answer.to_string().contains(&token), "{answer}");
    assert_eq!(answer["result"]["content"][0]["text"], "***");
}

#[tokio::test]
async fn what_was_shown_in_one_session_came_back_in_another() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    let credential = each_time(program(&folder, ROTATES));
    let mut first = gate_shown(&web, credential.clone()).await;
    call(&mut first, 1, "read").await;
    let mut second = gate_shown(&web, credential).await;
    let answer = call(&mut second, 1, "says_all").await;
    let said = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(said.matches("***").count() > 3 && !said.contains("rotates-"), "{said}");
}

#[tokio::test]
async fn a_session_whose_credential_was_away_for_a_moment_never_heard_what_its_server_says_unasked() {
    let (web, folder) = (Web::start().await, tempfile::tempdir().unwrap());
    // The second is for `notifications/initialized`, and the fifth for the server's own stream.
    let body = "case $(wc -l < runs) in 2|5) exit 1;; esac; echo sesame";
    let mut gate = started_shown(&web, each_time(program(&folder, body)));
    gate.ask(INITIALIZE).await;
    gate.send(INITIALIZED).await;
    gate.told("a message may not have reached the tool server").await;
    assert_eq!(call(&mut gate, 1, "read").await["result"]["content"][0]["text"], "read");
    let posts: Vec<_> = web.reached().iter().map(|reached| reached.message()["method"].clone()).collect();
    let at = |method: &str| posts.iter().position(|posted| posted == method);
    assert!(at("notifications/initialized").unwrap() < at("tools/call").unwrap(), "{posts:?}");
    gate.told("the tool server's own stream waits").await;
    until(&web, |reached| reached.method == "GET").await;
}
