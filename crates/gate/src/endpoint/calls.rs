//! What is done about a POST, a GET and a DELETE of an agent's.

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use portcullis_protocol::{Limits, Loose, ReasonCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::harmless::{CANCELLED, ClientRequest, cancellation};
use crate::message::{Body, Id, members_of};
use crate::mirrored::Mirrored;
use crate::weight::weight;

use super::Served;
use super::bounds::{Part, Room};
use super::conversation::{Conversation, Era, OWN, Question};
use super::era::{self, Post, REVISION, SESSION, Said, Session};
use super::guard::{accepts, is_json, one};
use super::kept::Text;
use super::reader::Reader;
use super::refused::{HEADER_MISMATCH, NO_METHOD, Refused, UNSUPPORTED_REVISION};
use super::respond::{Answer, empty, events, json};
use super::rewrite;
use super::streams::{Message, Next};
use super::who::Caller;

/// Longest body, in bytes: the longest message of a client over stdio.
const LONGEST: usize = Limits::MESSAGE.bytes;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// A client's capability is missing (MCP 2026-07-28).
const MISSING_CAPABILITY: i64 = -32021;

/// Refuses a call without a header that its tool's definition has for an argument that is there, or with another value in it (MCP
/// 2026-07-28, "Server Behavior for Custom Headers").
fn mirrored(headers: &HeaderMap, conversation: &Conversation, body: &Body) -> Result<(), Refused> {
    let params = body.params.as_ref().filter(|_| body.method == "tools/call");
    let Some(params) = params else { return Ok(()) };
    let tool = params.read.get("name").and_then(Loose::as_str);
    let Some(known) = tool.and_then(|tool| conversation.state().mirrors.of(tool)) else {
        return Ok(());
    };
    for (name, value) in Mirrored::values_of(&known, params) {
        let said = one(headers, &name)?.map(era::decoded).transpose()?;
        let is = value.to_str().ok().map(era::decoded).transpose()?;
        let agree = said.zip(is).is_some_and(|(said, is)| said == is || era::are_one_number(&said, &is));
        if !agree {
            return Err(Refused::mismatch(&format!("the header `{name}` does not say what the body says")));
        }
    }
    Ok(())
}

impl Served {
    /// A message of an agent's.
    pub(super) async fn post(
        &self,
        parts: &Parts,
        body: Incoming,
        caller: &Caller,
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Refused> {
        is_json(&parts.headers).map_err(Refused::and_close)?;
        let (body, reading) = self.body(&parts.headers, body, caller).await.map_err(Refused::and_close)?;
        let room = room(caller, &body)?;
        drop(reading);
        match era::post(&parts.headers, body)? {
            Post::Opens(id, body) => {
                let question = Question { id: id.clone(), body, room, streams: false, opens: true };
                self.opens(parts, caller, question, place).await.map_err(|refused| refused.to(&id))
            }
            Post::Within(session, said) => {
                let conversation = self.within(&session, caller)?;
                self.said(parts, (&conversation, caller), (said, room), place).await
            }
            Post::Stateless(id, body) => {
                let asked = async {
                    accepts(&parts.headers, &[JSON, EVENTS])?;
                    let conversation = self.sessions.stateless(caller).await?;
                    mirrored(&parts.headers, &conversation, &body)?;
                    self.asked(&conversation, caller, question(&id, body, room), place).await
                };
                asked.await.map_err(|refused| refused.to(&id))
            }
            Post::Nothing => Ok(empty(StatusCode::ACCEPTED)),
        }
    }

    /// The body of a request: whole, within its limit and in time; and what it took to read it.
    async fn body(
        &self,
        headers: &HeaderMap,
        mut body: Incoming,
        caller: &Caller,
    ) -> Result<(Vec<u8>, Vec<Part>), Refused> {
        let long = || {
            let detail = format!("a body of more than {LONGEST} bytes");
            Refused::new(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::RequestTooLarge, &detail)
        };
        let said = one(headers, &CONTENT_LENGTH)?.map_or(Some(0), |length| length.parse::<usize>().ok());
        if said.is_none_or(|said| said > LONGEST)
            || body.size_hint().lower() > u64::try_from(LONGEST).unwrap_or(0)
        {
            return Err(long());
        }
        let read = async {
            let (mut whole, mut room) = (Vec::new(), Vec::new());
            while let Some(frame) = body.frame().await {
                let broken = |_| {
                    Refused::new(StatusCode::BAD_REQUEST, ReasonCode::RequestMalformed, "the body broke off")
                };
                let Ok(piece) = frame.map_err(broken)?.into_data() else { continue };
                if whole.len().saturating_add(piece.len()) > LONGEST {
                    return Err(long());
                }
                let many = || Refused::too_many("too many long messages of this agent arrive at once");
                room.push(Part::take(&caller.share.bodies, piece.len()).ok_or_else(many)?);
                let busy = || Refused::shed("too many long messages arrive at once");
                room.push(Part::take(&self.bodies, piece.len()).ok_or_else(busy)?);
                whole.extend_from_slice(&piece);
            }
            Ok((whole, room))
        };
        match timeout(self.bounds.body, read).await {
            Ok(read) => read,
            Err(_) => {
                let detail = "the body did not arrive in time";
                Err(Refused::new(StatusCode::REQUEST_TIMEOUT, ReasonCode::OverloadDeadline, detail))
            }
        }
    }

    /// The session that a message names, if it is the caller's and the message is of its revision.
    fn within(&self, session: &Session, caller: &Caller) -> Result<Arc<Conversation>, Refused> {
        let conversation = self.sessions.find(&session.id, caller)?;
        let chosen = conversation.state().revision.clone();
        match (&session.revision, chosen) {
            // Who does not say it goes by what was agreed upon (MCP 2025-11-25, "Protocol Version Header").
            (None, _) => Ok(conversation),
            (Some(said), Some(chosen)) if *said == chosen => Ok(conversation),
            (Some(_), _) => {
                let detail = "`MCP-Protocol-Version` is not the revision that the session was begun with";
                Err(Refused::new(StatusCode::BAD_REQUEST, ReasonCode::RequestInvalidValue, detail))
            }
        }
    }

    async fn opens(
        &self,
        parts: &Parts,
        caller: &Caller,
        question: Question,
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Refused> {
        accepts(&parts.headers, &[JSON, EVENTS])?;
        let (session, conversation) = self.sessions.open(caller).await?;
        // Of a session whose beginning nobody heard nobody can make use.
        let unheard = Unheard(Some(&conversation));
        let mut reader = conversation.ask(question).await?;
        let Next::Message(message) = reader.next().await else { return Err(Refused::gone()) };
        let mut answer = json(StatusCode::OK, Text::into_bytes(message.text, place));
        if conversation.state().revision.is_some() {
            let value = HeaderValue::from_str(&session).map_err(|_| Refused::gone())?;
            answer.headers_mut().insert(SESSION, value);
            unheard.heard();
        }
        Ok(answer)
    }

    async fn said(
        &self,
        parts: &Parts,
        (conversation, caller): (&Arc<Conversation>, &Caller),
        (said, room): (Said, Room),
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Refused> {
        match said {
            Said::Request(id, body) => {
                let asked = async {
                    accepts(&parts.headers, &[JSON, EVENTS])?;
                    self.asked(conversation, caller, question(&id, body, room), place).await
                };
                return asked.await.map_err(|refused| refused.to(&id));
            }
            Said::Notice(body) if body.method == CANCELLED => match cancellation(&body) {
                Some((id, reason)) => conversation.cancel(&id, reason).await?,
                None => {
                    let detail = "a cancellation that names no request";
                    return Err(Refused::new(StatusCode::BAD_REQUEST, ReasonCode::RequestMalformed, detail));
                }
            },
            Said::Notice(body) => conversation.tell(rewrite::notice(&body), Some(room)).await?,
            Said::Answer(id, reply) => conversation.tell(rewrite::answer(&id, &reply), Some(room)).await?,
        }
        Ok(empty(StatusCode::ACCEPTED))
    }

    /// Asks, and answers with one message or with a stream of them.
    async fn asked(
        &self,
        conversation: &Arc<Conversation>,
        caller: &Caller,
        question: Question,
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Refused> {
        let discovers = question.body.method == ClientRequest::Discover.as_str();
        let streams = question.streams;
        let mut reader = conversation.ask(question).await?;
        // What may take long is a stream from the start: whoever loses the connection can take it up again.
        if conversation.era == Era::Session && streams {
            return Ok(events(reader.hand_over(Vec::new(), caller, place)));
        }
        match timeout(self.bounds.quiet, reader.next()).await {
            Ok(Next::Message(message)) if message.answers => {
                Ok(whole(conversation.era, discovers, message, place))
            }
            Ok(Next::Gone) => Err(Refused::gone()),
            Ok(next) => Ok(events(reader.hand_over(vec![next], caller, place))),
            Err(_) => Ok(events(reader.hand_over(Vec::new(), caller, place))),
        }
    }

    /// Opens the server's own stream, or takes up a stream that broke.
    pub(super) fn listen(
        &self,
        parts: &Parts,
        caller: &Caller,
        place: OwnedSemaphorePermit,
    ) -> Result<Answer, Refused> {
        let conversation = self.named(parts, caller)?;
        accepts(&parts.headers, &[EVENTS])?;
        let (stream, from) = match one(&parts.headers, &LAST_EVENT)? {
            None => (OWN, None),
            Some(last) => {
                let unknown = || {
                    let detail = "`Last-Event-ID` names no event of this session";
                    Refused::new(StatusCode::BAD_REQUEST, ReasonCode::RequestInvalidValue, detail)
                };
                let (stream, from) = behind(last).ok_or_else(unknown)?;
                (stream, Some(from))
            }
        };
        let gone = || {
            let detail = "the stream of `Last-Event-ID` is not kept any more";
            Refused::new(StatusCode::BAD_REQUEST, ReasonCode::RequestInvalidValue, detail)
        };
        let reader: Reader = conversation.read(stream, from).ok_or_else(gone)?;
        Ok(events(reader.hand_over(Vec::new(), caller, place)))
    }

    /// Ends a session.
    pub(super) fn leave(&self, parts: &Parts, caller: &Caller) -> Result<Answer, Refused> {
        self.named(parts, caller)?.end();
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// The session that a request without a body names.
    fn named(&self, parts: &Parts, caller: &Caller) -> Result<Arc<Conversation>, Refused> {
        let id = one(&parts.headers, &SESSION)?;
        let revision = one(&parts.headers, &REVISION)?.map(str::to_owned);
        match id {
            Some(id) => self.within(&Session { id: id.to_owned(), revision }, caller),
            None => Err(Refused::allow("POST")),
        }
    }
}

/// What is asked. What needs no decision is answered at once, and by itself.
fn question(id: &Id, body: Body, room: Room) -> Question {
    let streams = ClientRequest::of(&body.method).is_none();
    Question { id: id.clone(), body, room, streams, opens: false }
}

/// Room for a message, until it is answered.
fn room(caller: &Caller, message: &[u8]) -> Result<Room, Refused> {
    let weight = weight(message);
    if !caller.share.could_hold(weight) {
        let detail = "a message of so many parts that an agent has no room for it";
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, ReasonCode::RequestTooLarge, detail));
    }
    let many = || Refused::too_many("what this agent has asked, and not read, takes all its room");
    caller.share.hold(weight).ok_or_else(many)
}

/// Which stream an event is of, and the number behind it.
fn behind(event: &str) -> Option<(u64, u64)> {
    let (stream, last) = event.split_once('-')?;
    let from = if last == "start" { 0 } else { last.parse::<u64>().ok()?.checked_add(1)? };
    Some((stream.parse().ok()?, from))
}

/// A whole answer. In the stateless era, what the protocol itself says is a status too (MCP 2026-07-28, "Protocol Version
/// Header" and "Server Validation").
fn whole(era: Era, discovers: bool, message: Message, place: OwnedSemaphorePermit) -> Answer {
    let status = match (era, error_code(message.text.bytes())) {
        (Era::Session, _) | (Era::Stateless, None) => StatusCode::OK,
        (Era::Stateless, Some(code)) => {
            let spoken = [HEADER_MISMATCH, UNSUPPORTED_REVISION].map(i64::from);
            match code {
                // A server that does not know this question is of the other era.
                code if discovers || spoken.contains(&code) || code == MISSING_CAPABILITY => {
                    StatusCode::BAD_REQUEST
                }
                code if code == i64::from(NO_METHOD) => StatusCode::NOT_FOUND,
                _ => StatusCode::OK,
            }
        }
    };
    json(status, Text::into_bytes(message.text, place))
}

fn error_code(text: &[u8]) -> Option<i64> {
    let message = std::str::from_utf8(text).ok().and_then(members_of)?;
    let error = message.get("error").and_then(members_of)?;
    error.get("code")?.parse().ok()
}

/// A session of which no client knows yet. When this is dropped, it ends.
struct Unheard<'a>(Option<&'a Arc<Conversation>>);

impl Unheard<'_> {
    fn heard(mut self) {
        self.0 = None;
    }
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(conversation) = self.0 {
            conversation.end();
        }
    }
}
