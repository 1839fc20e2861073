//! What a tool server asks the client for within a result, and the states that it gave along (MCP 2026-07-28, "Multi Round-Trip
//! Requests"). In older revisions it asks by requests of its own; in this one a result carries them, and the client's answers come
//! with the request that goes on. Each is decided, as a request of the server's is.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use portcullis_protocol::{Digest, Domain, Limits, Loose, ReasonCode, fold};

use crate::case::Way;
use crate::harmless::ServerRequest;
use crate::message::{Body, From, Members, Message, Refused, Reply, members_of, read, string};
use crate::operation::{Operation, operands};

/// With what a request goes on that the server had answered with questions: the client's answers, and what the server gave it to
/// bring along.
pub(crate) const ANSWERS: &str = "inputResponses";
pub(crate) const STATE: &str = "requestState";
/// What a result asks for, under names of the server's.
const QUESTIONS: &str = "inputRequests";
/// Whether a result is the end of it.
const KIND: &str = "resultType";
/// The code of an error that asks for pages to be visited, and where it names them.
const VISIT: i64 = -32042;
const PAGES: &str = "elicitations";
/// Questions in one result. No more than a server's requests that may be under way at once.
const MOST: usize = 16;
/// States of one session that are remembered. Who comes with an older one begins anew.
const REMEMBERED: usize = 4096;

/// What a result asks the client for.
#[derive(Debug)]
pub(crate) struct Questions {
    pub(crate) operations: Vec<Operation>,
    /// The state that goes with the answers.
    pub(crate) state: Digest,
}

impl Questions {
    /// Reads what an answer asks for; `None` if it asks for nothing.
    pub(crate) fn of(server: &str, reply: &Reply) -> Result<Option<Self>, Refused> {
        let refused = |code, detail| Err(Refused::new(code, detail));
        let text = match reply {
            Reply::Result(text) => text,
            Reply::Error(text) if errs_without_asking(text) => return Ok(None),
            Reply::Error(_) => {
                return refused(
                    ReasonCode::SurfaceUnknown,
                    "the tool server asks for a page to be visited by an error",
                );
            }
        };
        let result = match members_of(text) {
            Some(result) if asks(&result) => result,
            None if is_object(text) => {
                return refused(ReasonCode::RequestMalformed, "the tool server's answer cannot be read");
            }
            Some(_) | None => return Ok(None),
        };
        result.unambiguous(&[QUESTIONS, STATE, KIND])?;
        let questions = result.get(QUESTIONS).map(entries).transpose()?.unwrap_or_default();
        let operations = questions.iter().map(|raw| question(server, raw)).collect::<Result<_, _>>()?;
        let state = result.get(STATE).map_or(Ok(String::new()), |raw| {
            Loose::parse(raw.as_bytes(), Limits { bytes: raw.len(), ..Limits::MESSAGE })
                .map(|read| operands(raw, &read))
                .map_err(|error| Refused::new(error.code(), error.to_string()))
        });
        Ok(Some(Self { operations, state: state_of(state?.as_bytes()) }))
    }
}

/// The digest of a state, from its canonical bytes.
pub(crate) fn state_of(bytes: &[u8]) -> Digest {
    Digest::of(Domain::Payload, &[bytes])
}

/// Whether an answer asks the client for nothing.
pub(crate) fn asks_nothing(reply: &Reply) -> bool {
    match reply {
        Reply::Error(text) => errs_without_asking(text),
        Reply::Result(text) => members_of(text).map_or(!is_object(text), |result| !asks(&result)),
    }
}

/// Whether an error asks the client for nothing. One of this code has it lead its user to pages (MCP 2025-11-25, "URL Elicitation
/// Required Error"). What is no exact integer may be that code to another parser.
fn errs_without_asking(text: &str) -> bool {
    let Some(error) = members_of(text) else { return !is_object(text) };
    error.0.iter().all(|(key, value)| match fold(key).as_str() {
        "code" => value.trim().parse::<i64>().is_ok_and(|code| code != VISIT),
        "data" => members_of(value)
            .map_or(!is_object(value), |data| data.0.iter().all(|(key, _)| fold(key) != PAGES)),
        _ => true,
    })
}

/// Whether a JSON text is an object. One that cannot be taken apart here, such as by a lone surrogate in a name, another parser may
/// read: nobody knows what it asks for.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// A member counts in any spelling: which one the client's parser takes is not known.
pub(crate) fn asks(result: &Members) -> bool {
    let names = [fold(QUESTIONS), fold(STATE)];
    let kind = fold(KIND);
    result.0.iter().any(|(key, value)| {
        let key = fold(key);
        names.contains(&key) || (key == kind && string(value).as_deref() == Some("input_required"))
    })
}

/// Whether a result says that it is the end of it, as one does that says nothing (MCP 2026-07-28, "resultType"). In any spelling.
pub(crate) fn is_complete(result: &Members) -> bool {
    let kind = fold(KIND);
    result.0.iter().all(|(key, value)| fold(key) != kind || string(value).as_deref() == Some("complete"))
}

/// Refuses a request that needs no decision and brings answers along: nobody decided the questions.
pub(crate) fn no_answers(body: &Body) -> Result<(), Refused> {
    let names = [fold(ANSWERS), fold(STATE)];
    let brings = |(key, _): &(String, String)| names.contains(&fold(key));
    if body.params.as_ref().is_some_and(|params| params.raw.0.iter().any(brings)) {
        let detail = "a request that only asks what there is goes on with nothing";
        return Err(Refused::new(ReasonCode::RequestUnknownField, detail));
    }
    Ok(())
}

/// The questions, each as its raw text.
fn entries(raw: &str) -> Result<Vec<String>, Refused> {
    let malformed = |detail| Refused::new(ReasonCode::RequestMalformed, detail);
    let questions = members_of(raw).ok_or_else(|| malformed("the tool server's questions are no object"))?;
    questions.unambiguous(&[])?;
    if questions.0.len() > MOST {
        return Err(malformed("the tool server asks for too much at once"));
    }
    Ok(questions.0.into_iter().map(|(_, raw)| raw).collect())
}

/// One question, read as the request that it would be in an older revision.
fn question(server: &str, raw: &str) -> Result<Operation, Refused> {
    let malformed =
        || Refused::new(ReasonCode::RequestMalformed, "a question of the tool server's is no request");
    let members = raw.trim_start().strip_prefix('{').ok_or_else(malformed)?;
    let line = format!(r#"{{"jsonrpc":"2.0","id":0,{members}"#);
    let body = match read(line.as_bytes(), From::Upstream) {
        Ok(Message::Request(_, body)) => body,
        Ok(Message::Notification(_) | Message::Response(..)) => return Err(malformed()),
        Err(defect) => return Err(defect.refused),
    };
    match ServerRequest::of(&body.method) {
        Some(ServerRequest::Sample | ServerRequest::Elicit | ServerRequest::Roots) => {
            Operation::of(server, Way::ToClient, &body)
        }
        Some(_) | None => Err(Refused::new(
            ReasonCode::SurfaceUnknown,
            "the tool server asks the client for what no server may ask",
        )),
    }
}

/// The states that the server gave in this session, each with the request that it gave it to. What was not given does not go on:
/// whoever makes up states would otherwise run a call again and again under one key.
#[derive(Debug, Default)]
pub(crate) struct Given(Mutex<States>);

#[derive(Debug, Default)]
struct States {
    known: BTreeSet<[u8; 32]>,
    /// The oldest first.
    order: VecDeque<[u8; 32]>,
}

impl Given {
    pub(crate) fn remember(&self, state: Digest) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = *state.as_bytes();
        if !states.known.insert(state) {
            return;
        }
        states.order.push_back(state);
        if states.order.len() > REMEMBERED
            && let Some(oldest) = states.order.pop_front()
        {
            states.known.remove(&oldest);
        }
    }

    pub(crate) fn holds(&self, state: Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.contains(state.as_bytes())
    }
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
