//! A PERMIT that is spent over the API, without a gate.

use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{AttemptId, Outcome};
use portcullis_sdk::{Attempt, HttpAuthorizer, Outcomes, Token, TrustedLog};
use serde_json::Value;

use super::http::{Server, post};
use super::{PATIENCE, Place};

/// Asks as the demo's agent: the attempt, and what was answered.
pub(crate) fn asked(place: &Place, server: &Server, ask: &Value) -> (Attempt, Value) {
    let ask = portcullis_protocol::request::Ask::parse(ask.to_string().as_bytes()).unwrap();
    let attempt = Attempt::new("gate".parse().unwrap(), ask.by("demo-agent".parse().unwrap())).unwrap();
    let call = serde_json::to_vec(&attempt.call(Duration::from_secs(5))).unwrap();
    let reply = post(server, "/v1/decisions", &place.token("demo-agent"), &call).unwrap().json();
    (attempt, reply)
}

/// Asks for a PERMIT as the demo's agent, and spends it: the attempt, and the body that is still to be reported of it.
pub(crate) fn spent(
    place: &Place,
    server: &Server,
    ask: &Value,
    (outcome, result): (Outcome, Option<&str>),
) -> (AttemptId, Vec<u8>) {
    let (attempt, reply) = asked(place, server, ask);
    let (id, token) = (attempt.id(), place.token("demo-agent"));
    let log = TrustedLog::new(vec![place.config.log_key.clone()]).unwrap();
    let permit = attempt.redeem(reply["receipt"].as_str().expect("a PERMIT"), &log).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let arbiter = HttpAuthorizer::new(place.socket_url().parse().unwrap(), Token::new(&token), PATIENCE);
    let outcomes = Outcomes::start(Arc::new(arbiter), PATIENCE, |remark| panic!("{remark}"));
    let report = permit.begin(&outcomes).unwrap().finish(outcome, result.map(str::to_owned));
    (id, serde_json::to_vec(&report.call).unwrap())
}
