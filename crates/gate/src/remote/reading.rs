//! What a tool server answers, and what it says unasked.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming as Body;
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use portcullis_protocol::{Limits, Loose};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::events::Events;
use super::wire::{Connection, Unsent};
use super::{BEGINNING_BYTES, Remote};
use crate::credential::Shown;
use crate::incoming::{Answers, Fate};
use crate::message::{From, Id, Message, Reply, on_one_line, read};
use crate::session::UPSTREAM_LINE;

/// How long the rest of a stream is waited for, once it has brought the answer.
const REST: Duration = Duration::from_millis(100);
/// How often a broken stream is taken up again in vain, and after how long.
const RESUMED: usize = 8;
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Longest id of a session, or of an event, in bytes.
const LONGEST_ID: usize = 1_024;
/// Bytes of an HTTP error's body that are read.
pub(super) const ERROR_BODY: usize = 64 * 1024;
/// Characters of it that are shown.
pub(super) const SAMPLE: usize = 200;

/// Where a long message may be read.
type Place = OwnedSemaphorePermit;

/// What a request is to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It begins it.
    Begins,
    /// It begins another in its place, and the client knows nothing of that.
    BeginsAgain,
    None,
}

/// A request whose answer is read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) part: Part,
    /// The session that it was sent in.
    pub(super) session: Option<HeaderValue>,
}

/// A stream that is read, and what was shown for it: for as long as it is read that may come back.
struct Stream {
    body: Body,
    _shown: Shown,
}

/// Why there is no stream now.
enum NoStream {
    /// There is nothing to show the server for it, which is not the server's doing.
    Unshown(String),
    Broken,
}

/// The session that a response names.
pub(super) fn session_of(response: &Response<Body>) -> Option<HeaderValue> {
    let session = response.headers().get("mcp-session-id").filter(|id| id.len() <= LONGEST_ID).cloned();
    session.map(|mut id| {
        id.set_sensitive(true);
        id
    })
}

impl Remote {
    /// Reads a response up to the answer.
    pub(super) async fn answered(
        self: &Arc<Self>,
        connection: Connection,
        response: Response<Body>,
        asked: &Asked,
    ) -> Result<(), Fate> {
        let status = response.status();
        if status == StatusCode::OK {
            return match content_type(&response) {
                ContentType::Json => {
                    let (body, _place) = self.long(response.into_body()).await.map_err(Fate::Lost)?;
                    self.wire.keep(connection);
                    let answered = self.message(body, asked).await;
                    if answered {
                        Ok(())
                    } else {
                        Err(Fate::Lost("it is no answer to what was asked".into()))
                    }
                }
                ContentType::Events => self.streamed(connection, response, asked).await,
                ContentType::Other(what) => {
                    let what = self.sample(what.as_bytes());
                    Err(Fate::Lost(format!("it is `{what}`, and neither JSON nor events")))
                }
            };
        }
        self.is_refused(status);
        let body = whole(response, ERROR_BODY).await.unwrap_or_default();
        self.wire.keep(connection);
        let why = format!("status {} {}", status.as_u16(), self.sample(&body));
        // A server that knows the request says what is wrong with it in its own words. Whatever else comes may come from
        // somebody on the way, behind whom anything may have happened.
        let own_words = status.is_client_error() && is_error_of(&body, asked.number);
        let answered = own_words && self.message(body, asked).await;
        if !answered {
            self.is_over(status, asked.session.as_ref(), Some(asked.number));
        }
        if answered { Ok(()) } else { Err(Fate::Lost(why)) }
    }

    /// Reads events up to the answer, and takes a broken stream up again where the server can.
    async fn streamed(
        self: &Arc<Self>,
        connection: Connection,
        response: Response<Body>,
        asked: &Asked,
    ) -> Result<(), Fate> {
        let mut events = Events::new(UPSTREAM_LINE);
        // What the request was shown is held by who asked.
        let mut stream = Stream { body: response.into_body(), _shown: Shown::default() };
        let mut connection = Some(connection);
        let (mut tries, mut place) = (0, None);
        loop {
            let why = loop {
                match stream.body.frame().await {
                    None => break "the stream ended without the answer".to_owned(),
                    Some(Err(error)) => break error.to_string(),
                    Some(Ok(frame)) => {
                        let Ok(bytes) = frame.into_data() else { continue };
                        let Ok(ended) = events.push(&bytes) else {
                            return Err(Fate::Lost("an event that is too long".into()));
                        };
                        for event in ended {
                            tries = 0;
                            if self.message(event.data, asked).await {
                                if let (Some(connection), Ok(None)) =
                                    (connection.take(), timeout(REST, stream.body.frame()).await)
                                {
                                    self.wire.keep(connection);
                                }
                                return Ok(());
                            }
                        }
                        self.place_for(events.held(), &mut place).await;
                    }
                }
            };
            // What had come of an event is gone with the stream, and its place is another's until there is a new one.
            (connection, place) = (None, None);
            let Some(resumed) = self.resumed(&mut events, &mut tries).await else {
                return Err(Fate::Lost(why));
            };
            stream = resumed;
        }
    }

    /// Reads a body that may be as long as a message.
    async fn long(&self, mut body: Body) -> Result<(Vec<u8>, Option<Place>), String> {
        let (mut bytes, mut place) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("it broke off: {error}"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len().saturating_add(data.len()) > UPSTREAM_LINE {
                return Err("it is too long".to_owned());
            }
            bytes.extend_from_slice(&data);
            self.place_for(bytes.len(), &mut place).await;
        }
        Ok((bytes, place))
    }

    /// Has a message of which so much has come wait for its place, if it is one of those of which few are read at once. Each of many
    /// requests may have one such in answer.
    async fn place_for(&self, held: usize, place: &mut Option<Place>) {
        if held <= BEGINNING_BYTES {
            *place = None;
        } else if place.is_none() {
            *place = Arc::clone(&self.long).acquire_owned().await.ok();
        }
    }

    /// Takes a stream up again behind its last event; `None` if that cannot be.
    async fn resumed(&self, events: &mut Events, tries: &mut usize) -> Option<Stream> {
        let id = events.last_id().filter(|id| id.len() <= LONGEST_ID)?.to_owned();
        let pause =
            events.retry_ms().map_or(PAUSE, Duration::from_millis).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        *events = events.resumed();
        while *tries < RESUMED {
            *tries = tries.saturating_add(1);
            sleep(pause).await;
            match self.listen(Some(&id)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(_)) => return None,
                Err(_) => {}
            }
        }
        None
    }

    /// Asks for a stream: that, or the status that is none.
    async fn listen(&self, after: Option<&str>) -> Result<Result<Stream, StatusCode>, NoStream> {
        let mut others: Vec<(&str, &str)> = Vec::new();
        let (session, revision) = {
            let terms = self.terms();
            if terms.ended.is_some() {
                return Err(NoStream::Broken);
            }
            (
                terms.session.clone(),
                terms.revision.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned),
            )
        };
        others.extend(revision.as_deref().map(|revision| ("mcp-protocol-version", revision)));
        others.extend(after.map(|id| ("last-event-id", id)));
        let shown = self.shown_or(None).await.map_err(NoStream::Unshown)?;
        let broken = |_| NoStream::Broken;
        let request = self.request(Method::GET, (session.as_ref(), &shown), None, &others).map_err(broken)?;
        let connection = self.wire.get().await.map_err(broken)?;
        let sent = self.wire.send(connection, request).await;
        let (_, response) = sent.map_err(|(Unsent::Before(_) | Unsent::After(_))| NoStream::Broken)?;
        let status = response.status();
        if status == StatusCode::OK && matches!(content_type(&response), ContentType::Events) {
            return Ok(Ok(Stream { body: response.into_body(), _shown: shown }));
        }
        // Some servers say 404 where they have no such stream: what the session is shows with the next message.
        Ok(Err(status))
    }

    /// Hands on what the server says unasked, for as long as it offers a stream for that.
    pub(super) async fn unasked(self: Arc<Self>) {
        let mut events = Events::new(UPSTREAM_LINE);
        let (mut failed, mut place, mut unshown) = (0, None, Duration::ZERO);
        while failed < RESUMED {
            let id = events.last_id().filter(|id| id.len() <= LONGEST_ID).map(str::to_owned);
            let mut pause =
                events.retry_ms().map_or(PAUSE, Duration::from_millis).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            match self.listen(id.as_deref()).await {
                Ok(Err(_)) => return,
                Err(NoStream::Broken) => failed = failed.saturating_add(1),
                Err(NoStream::Unshown(why)) => {
                    if unshown.is_zero() {
                        self.note(&format!("the tool server's own stream waits: {why}"));
                    }
                    unshown = unshown.saturating_mul(2).clamp(pause, LONGEST_PAUSE);
                    pause = unshown;
                }
                Ok(Ok(mut stream)) => {
                    unshown = Duration::ZERO;
                    while let Some(Ok(frame)) = stream.body.frame().await {
                        let Ok(bytes) = frame.into_data() else { continue };
                        let Ok(ended) = events.push(&bytes) else {
                            return self
                                .notes
                                .say("the tool server's own stream has an event that is too long");
                        };
                        for event in ended {
                            failed = 0;
                            self.hand_on(self.entered(event.data).0, Answers::None).await;
                        }
                        self.place_for(events.held(), &mut place).await;
                    }
                    failed = failed.saturating_add(1);
                    (events, place) = (events.resumed(), None);
                }
            }
            sleep(pause).await;
        }
        self.notes
            .say("the tool server's own stream cannot be had any more; what it says unasked is not heard");
    }

    /// A message of the server's, as all but this module have it: on one line, and without the credential.
    fn entered(&self, message: Vec<u8>) -> (Vec<u8>, Option<Message>) {
        let message = self.redaction.message(on_one_line(message));
        let read = read(&message, From::Upstream).ok();
        if let Some(Message::Request(..)) = &read {
            let mut terms = self.terms();
            terms.open = terms.open.saturating_add(1);
        }
        (message, read)
    }

    /// Hands on a message that came in answer to a request; whether it is that answer.
    pub(super) async fn message(&self, message: Vec<u8>, asked: &Asked) -> bool {
        if message.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        let (message, read) = self.entered(message);
        let answer = answer_of(read, asked.number);
        if let (Part::Begins | Part::BeginsAgain, Some(reply)) = (asked.part, &answer) {
            self.terms().revision = match reply {
                Some(Reply::Result(result)) => revision_of(result),
                Some(Reply::Error(_)) | None => None,
            };
        }
        let is_answer = answer.is_some();
        if !(is_answer && asked.part == Part::BeginsAgain) {
            self.hand_on(message, Answers::Only(asked.number)).await;
        }
        is_answer
    }
}

/// The answer to the request of this number, if this is it.
fn answer_of(read: Option<Message>, number: u64) -> Option<Option<Reply>> {
    let own = Id::Int(i64::try_from(number).ok()?);
    match read {
        Some(Message::Response(id, reply)) if id == own => Some(reply),
        Some(Message::Response(..) | Message::Request(..) | Message::Notification(_)) | None => None,
    }
}

fn is_error_of(body: &[u8], number: u64) -> bool {
    let read = read(&on_one_line(body.to_vec()), From::Upstream).ok();
    matches!(answer_of(read, number), Some(Some(Reply::Error(_))))
}

enum ContentType {
    Json,
    Events,
    Other(String),
}

fn content_type(response: &Response<Body>) -> ContentType {
    let value =
        response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => ContentType::Json,
        "text/event-stream" => ContentType::Events,
        // As it came: what is to be found in it is spelt so.
        _ => ContentType::Other(value.to_owned()),
    }
}

pub(super) async fn whole(response: Response<Body>, longest: usize) -> Result<Vec<u8>, String> {
    let body = Limited::new(response.into_body(), longest).collect().await;
    body.map(|body| body.to_bytes().to_vec()).map_err(|error| format!("it broke off: {error}"))
}

/// The revision that an answer to `initialize` settles on, as later requests say it.
fn revision_of(result: &str) -> Option<HeaderValue> {
    let limits = Limits { bytes: result.len(), ..Limits::MESSAGE };
    let result = Loose::parse(result.as_bytes(), limits).ok()?;
    let Some(Loose::Str(revision)) = result.pointer("/protocolVersion") else { return None };
    HeaderValue::from_str(revision).ok().filter(|_| revision.len() <= LONGEST_ID)
}
