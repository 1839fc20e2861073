//! Questions within answers (MCP 2026-07-28, "Multi Round-Trip Requests"): a request is asked again, with the client's answers
//! and the state that it was given, until nothing is left to ask.

use rmcp::ErrorData;
use rmcp::model::{
    ClientCapabilities, InputRequest, InputRequests, InputRequiredResult, InputResponses, RequestStateCodec,
};
use serde_json::{Value, json};

use crate::fixture::Asking;

/// A fixture keeps no secrets.
const KEY: &[u8] = b"the key of a server that is here to be tested";

/// Seals states, and knows its own.
pub(crate) fn codec() -> RequestStateCodec {
    RequestStateCodec::new_unchecked(KEY)
}

/// What comes of a request.
pub(crate) enum Turn {
    Asks(InputRequiredResult),
    /// What is said in the end.
    Done(String),
}

/// What a request brings along.
pub(crate) struct Brought<'a> {
    pub(crate) answers: Option<&'a InputResponses>,
    pub(crate) state: Option<&'a str>,
    pub(crate) capabilities: ClientCapabilities,
}

/// The next turn. Who answers too little is asked the same again.
pub(crate) fn turn(
    asking: &Asking,
    brought: &Brought<'_>,
    codec: &RequestStateCodec,
) -> Result<Turn, ErrorData> {
    let round = brought.state.map_or(Ok(0), |state| opened(codec, state))?;
    let wanted = |round: usize| asking.rounds.get(round).map(|asked| asks(asking, asked, brought));
    let answered = |asked: &InputRequests| asked.keys().all(|key| answer(brought, key).is_some());
    // An answer counts only together with the state of its round.
    let may_count = brought.state.is_some() || !asking.seals;
    let next = match wanted(round) {
        Some(asked) if may_count && answered(&asked) => round + 1,
        Some(_) | None => round,
    };
    match wanted(next) {
        Some(asked) => {
            let state = asking.seals.then(|| codec.seal_json(&json!(next))).transpose().map_err(internal)?;
            Ok(Turn::Asks(InputRequiredResult::new(Some(asked), state)))
        }
        None => Ok(Turn::Done(asking.done.replace("{}", &pointed(asking, brought)))),
    }
}

/// The round of a state, if it is one that this server gave.
fn opened(codec: &RequestStateCodec, state: &str) -> Result<usize, ErrorData> {
    let foreign = |_| ErrorData::invalid_params("the state is none that this server gave", None);
    codec.open_json(state).map_err(foreign)
}

/// The questions of a round, or of those what the client says that it can answer.
fn asks(
    asking: &Asking,
    asked: &std::collections::BTreeMap<String, InputRequest>,
    brought: &Brought<'_>,
) -> InputRequests {
    let can = |request: &InputRequest| match request {
        InputRequest::CreateMessage(_) => brought.capabilities.sampling.is_some(),
        InputRequest::Elicitation(_) => brought.capabilities.elicitation.is_some(),
        InputRequest::ListRoots(_) => brought.capabilities.roots.is_some(),
        _ => false,
    };
    let fits = |(_, request): &(&String, &InputRequest)| !asking.declared || can(request);
    asked.iter().filter(fits).map(|(key, request)| (key.clone(), request.clone())).collect()
}

/// An answer that could be one: each is an object.
fn answer<'a>(brought: &Brought<'a>, key: &str) -> Option<&'a Value> {
    brought.answers?.get(key).filter(|answer| answer.is_object())
}

fn pointed(asking: &Asking, brought: &Brought<'_>) -> String {
    let (key, rest) = asking.of.trim_start_matches('/').split_once('/').unwrap_or_default();
    let found = answer(brought, key).and_then(|answer| answer.pointer(&format!("/{rest}")));
    found.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn internal(error: impl std::fmt::Display) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}
