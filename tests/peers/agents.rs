//! Agents of frameworks that nobody here wrote, with a script in place of the model, through the gate.

use std::process::{Command, Output, Stdio};

use portcullis_protocol::{Outcome, ReasonCode};
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::lines;
use crate::support::{Daemon, PATIENCE, Place, peer, program, text, until_within};
use crate::workshop::{SERVERS, Workshop, bundle, was_told};

/// What the model of an agent is shown and told, turn by turn, and what the agent says at last.
fn agent(framework: &str, turns: &Value, gates: &Value) -> Vec<Value> {
    said(starting(framework, turns, gates).output().unwrap())
}

fn starting(framework: &str, turns: &Value, gates: &Value) -> Command {
    let program = format!("{}/../../tests/peers/agents/agent_{framework}.py", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(peer("agents/bin/python"));
    command
        .args([program, turns.to_string(), gates.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn said(output: Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    lines(&output)
}

fn words(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// Whether the model was shown and told what it is to be, in all turns, and the agent came to its end.
fn went_on(seen: &[Value]) {
    let (last, turns) = seen.split_last().unwrap();
    assert_eq!(last["final"], "done");
    assert!(turns.iter().all(|turn| turn["tools"] == turns[0]["tools"]), "{turns:?}");
    let answers: Vec<Vec<&str>> = turns[1..].iter().map(|turn| words(&turn["answers"])).collect();
    was_told(&words(&turns[0]["tools"]), &answers);
}

fn over_stdio(framework: &str) {
    let workshop = Workshop::new();
    let gates = SERVERS.map(|server| json!({ "command": workshop.gate_of(server) }));
    went_on(&agent(framework, &workshop.turns(), &json!(gates)));
    workshop.ran_once_what_was_permitted();
}

fn over_http(framework: &str) {
    let workshop = Workshop::new();
    let endpoints = SERVERS.map(|server| workshop.endpoint_of(server));
    let gates = endpoints.each_ref().map(|endpoint| workshop.way_to(endpoint));
    went_on(&agent(framework, &workshop.turns(), &json!(gates)));
    endpoints.into_iter().for_each(Endpoint::end);
    workshop.ran_once_what_was_permitted();
}

#[test]
fn an_agent_of_openai_agents_runs_once_what_is_permitted_and_goes_on_after_refusals() {
    over_stdio("openai");
}

#[test]
fn an_agent_of_pydantic_ai_runs_once_what_is_permitted_and_goes_on_after_refusals() {
    over_stdio("pydantic_ai");
}

#[test]
fn an_agent_of_langchain_runs_once_what_is_permitted_and_goes_on_after_refusals() {
    over_stdio("langchain");
}

#[test]
fn over_http_an_agent_of_openai_agents_runs_once_what_is_permitted_and_goes_on_after_refusals() {
    over_http("openai");
}

#[test]
fn over_http_an_agent_of_pydantic_ai_runs_once_what_is_permitted_and_goes_on_after_refusals() {
    over_http("pydantic_ai");
}

#[test]
fn over_http_an_agent_of_langchain_runs_once_what_is_permitted_and_goes_on_after_refusals() {
    over_http("langchain");
}

/// The SDK gives up waiting and asks again by itself, as a new request; its model does so later, as a new call.
#[test]
fn what_a_framework_asked_again_while_it_ran_ran_twice() {
    let place = Place::deploy(bundle(), &["assistant"], "orders");
    let _daemon = Daemon::start(&place);
    let folder = tempfile::TempDir::new().unwrap();
    let [journal, released, answered] =
        ["journal", "released", "answered"].map(|name| folder.path().join(name));
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/peers/agents/late_server.py");
    let mut gate = vec![text(&program()), "mcp".into(), "--config".into(), text(&place.config_path)];
    gate.extend(["--".into(), text(&peer("agents/bin/python")), server.into()]);
    gate.extend([&journal, &released].map(|file| text(file)));
    let order = json!([["place", { "item": "lamp" }]]);
    let turns = json!([order, text(&answered), order]);
    let mut command = starting("openai", &turns, &json!([{ "command": gate }]));
    // Starting the server counts too.
    let running = command.args(["20", "40"]).spawn().unwrap();
    until_within(PATIENCE * 2, "the same order, refused while it runs", || {
        place.log().refusals().contains(&ReasonCode::IdempotencyInFlight).then_some(())
    });
    std::fs::write(released, "").unwrap();
    place.settle();
    std::fs::write(answered, "").unwrap();
    let seen = said(running.wait_with_output().unwrap());
    let told: Vec<&str> = seen[1..3].iter().flat_map(|turn| words(&turn["answers"])).collect();
    assert!(told[0].contains("idempotency.in_flight"), "{told:?}");
    assert_eq!(told[1], "lamp is on its way");
    assert_eq!(std::fs::read_to_string(journal).unwrap(), "lamp\n");
    let log = place.log();
    assert_eq!(log.outcomes(Some(Outcome::Ok)), 1);
    assert_eq!(log.permits().len(), 1);
    assert_eq!(log.refusals(), [ReasonCode::IdempotencyInFlight, ReasonCode::IdempotencyCompleted]);
}
