//! A tool server that is reached by URL: MCP's Streamable HTTP, both as revisions 2025-03-26 to 2025-11-25 have it (sessions,
//! a stream of the server's own, resumption) and as 2026-07-28 does (each request says all about itself in its headers).
//!
//! Every message is a POST of its own, and a request's answer is believed only on the stream that the request opened.
//! Nothing is sent twice, and nothing later than in the moment in which its permit is spent.
//!
//! `sending` is what goes out, `reading` what comes in, `session` what both belong to.

mod asking;
pub(crate) mod backoff;
mod events;
mod head;
mod reading;
mod sending;
mod session;
mod url;
pub(crate) mod wire;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use portcullis_sdk::{Authorities, InvalidAuthorities};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::credential::{ArgumentSlots, Credential, NoCredential, Redactions, Shown};
use crate::incoming::{Answers, Fate, Incoming};
use crate::line::Line;
use crate::notes::{Notes, escape};
use crate::room::Rooms;
use crate::weight::of_text;

use head::Head;
use reading::SAMPLE;
use session::Terms;
use wire::Wire;

pub(crate) use head::header_value;
pub(crate) use sending::RemoteSink;

pub use asking::{NotHeard, asks_for_token};
pub use url::{InvalidUrl, ServerUrl};

/// Messages that are read beyond their beginning at once, and the bytes of a beginning: of each request's answer as much may have come.
const LONG: usize = 2;
const BEGINNING_BYTES: usize = 64 * 1024;
/// Messages of the server's that wait to be acted upon, within the bytes that may.
const WAITING: usize = 64;
/// How long a notification, or an answer, may take to be accepted.
const ACCEPTING: Duration = Duration::from_secs(5);
/// How long after `initialize` was sent messages wait for its answer, which says how the others are sent: all of them together.
const BEGINNING: Duration = Duration::from_secs(10);
/// Answers that may be on their way at once, and cancellations.
const BESIDE: usize = 32;
/// The client has taken up the session.
const INITIALIZED: &str = "notifications/initialized";
/// Requests that may be answered at once.
const MOST: usize = 1_536;
/// How long a server may take to answer what was cancelled.
const CANCELLING: Duration = Duration::from_secs(10);
/// How long the end of a session may take.
const ENDING: Duration = Duration::from_secs(1);

/// Whose certificates a tool server may show.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Those of the authorities that this system believes.
    System,
    /// Those of these authorities alone.
    Authorities(Authorities),
}

impl Trust {
    /// The authorities of a PEM file alone.
    ///
    /// # Errors
    /// [`InvalidAuthorities`].
    pub fn read(path: &Path) -> Result<Self, InvalidAuthorities> {
        Authorities::read(path).map(Self::Authorities)
    }
}

/// A tool server that is reached by URL.
#[derive(Clone, Debug)]
pub struct RemoteServer {
    /// Its MCP endpoint.
    pub url: ServerUrl,
    /// Whose certificates it may show.
    pub trust: Trust,
    /// What it is shown so that it lets the gate in. The agent never sees it.
    pub credential: Option<Credential>,
    /// What the gate fills in of the arguments of its tools, if it does.
    pub slots: Option<ArgumentSlots>,
}

/// The conversation with one server.
pub(crate) struct Remote {
    wire: Wire,
    credential: Option<Credential>,
    /// Takes what the server was shown out of all that it says.
    redaction: Redactions,
    notes: Notes,
    incoming: mpsc::Sender<Incoming>,
    /// For what waits to be acted upon, and on.
    rooms: Rooms,
    /// Places for messages that are longer than most, while they come.
    long: Arc<Semaphore>,
    terms: Mutex<Terms>,
    /// Since when `initialize` is under way, if it is.
    beginning: watch::Sender<Option<Instant>>,
    /// Whether the server has ended the session.
    gone: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
    /// Room for answers, which are said beside all else.
    beside: Arc<Semaphore>,
    /// The same for cancellations, which need not be said.
    cancelling: Arc<Semaphore>,
    /// What reads the server's own stream.
    listening: Mutex<Option<AbortHandle>>,
    under_way: Mutex<HashMap<u64, UnderWay>>,
}

/// A request that is being answered.
struct UnderWay {
    task: AbortHandle,
    /// Whether closing its stream cancels it.
    by_closing: bool,
}

/// `initialize` is under way. However that ends, messages behind it wait no longer.
struct Begins(Arc<Remote>);

impl Begins {
    fn new(remote: &Arc<Remote>) -> Self {
        remote.beginning.send_replace(Some(Instant::now()));
        Self(Arc::clone(remote))
    }
}

impl Drop for Begins {
    fn drop(&mut self) {
        self.0.beginning.send_replace(None);
    }
}

impl Remote {
    pub(crate) fn start(
        server: RemoteServer,
        notes: Notes,
        rooms: Rooms,
    ) -> io::Result<(Arc<Self>, RemoteSink, mpsc::Receiver<Incoming>)> {
        let RemoteServer { url, trust, credential, slots } = server;
        if let Some(own) = &credential {
            own.source().is_for(&url);
        }
        let wire = Wire::to(url, trust).map_err(io::Error::other)?;
        let (incoming, source) = mpsc::channel(WAITING);
        let shown = credential.iter().map(|own| own.source().redaction());
        let filled = slots.iter().map(ArgumentSlots::redaction);
        let remote = Arc::new(Self {
            wire,
            redaction: Redactions::of(shown.chain(filled)),
            credential,
            notes,
            incoming,
            rooms,
            long: Arc::new(Semaphore::new(LONG)),
            terms: Mutex::default(),
            beginning: watch::Sender::new(None),
            gone: watch::Sender::new(false),
            tasks: Mutex::default(),
            beside: Arc::new(Semaphore::new(BESIDE)),
            cancelling: Arc::new(Semaphore::new(BESIDE)),
            listening: Mutex::default(),
            under_way: Mutex::default(),
        });
        let (notices, waiting) = mpsc::channel(WAITING);
        remote.spawn(Arc::clone(&remote).tell_in_order(waiting));
        let sink = RemoteSink { remote: Arc::clone(&remote), next: None, notices };
        Ok((remote, sink, source))
    }

    /// Whether the server is known to be on another machine, so that it cannot reach what governs it here.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.wire.is_elsewhere()
    }

    /// Waits until the server has ended the session.
    pub(crate) async fn ended(&self) {
        drop(self.gone.subscribe().wait_for(|gone| *gone).await);
    }

    /// Waits, at most so long, for the requests under way, and ends the session with the server.
    pub(crate) async fn leave(&self, patience: Duration) {
        self.listens(None);
        let mut tasks = std::mem::take(&mut *self.tasks());
        drop(timeout(patience, async { while tasks.join_next().await.is_some() {} }).await);
        let Terms { session, revision, .. } = std::mem::take(&mut *self.terms());
        if session.is_some() {
            let revision = revision.as_ref().and_then(|value| value.to_str().ok());
            let others: Vec<_> =
                revision.into_iter().map(|revision| ("mcp-protocol-version", revision)).collect();
            let ended = async {
                let shown = self.shown().await.ok()?;
                let request = self.request(Method::DELETE, (session.as_ref(), &shown), None, &others).ok()?;
                let connection = self.wire.get().await.ok()?;
                self.wire.send(connection, request).await.ok()
            };
            drop(timeout(ENDING, ended).await);
        }
    }

    /// Ends whatever is under way.
    pub(crate) fn abort(&self) {
        self.tasks().abort_all();
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<u64, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the server's own stream with this task from now on, and with no other.
    fn listens(&self, task: Option<AbortHandle>) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *listening, task) {
            before.abort();
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// What the server is to be shown now. It is taken out of all that comes back, for as long as that is held.
    pub(crate) async fn shown(&self) -> Result<Shown, NoCredential> {
        let Some(credential) = &self.credential else { return Ok(Shown::default()) };
        let fetched = credential.source().fetch().await?;
        credential.shown(&fetched)
    }

    /// What the server was shown is no good any more, if it says so.
    fn is_refused(&self, status: StatusCode) {
        if let (StatusCode::UNAUTHORIZED, Some(credential)) = (status, &self.credential) {
            credential.source().doubt();
        }
    }

    /// The same as it was fetched before, or else now.
    async fn shown_or(&self, shown: Option<Shown>) -> Result<Shown, String> {
        match shown {
            Some(shown) => Ok(shown),
            None => {
                let shown = self.shown().await;
                shown.map_err(|why| format!("there is no credential to show the tool server: {why}"))
            }
        }
    }

    fn request(
        &self,
        method: Method,
        (session, shown): (Option<&HeaderValue>, &Shown),
        body: Option<Bytes>,
        others: &[(&str, &str)],
    ) -> Result<Request<Full<Bytes>>, String> {
        let url = &self.wire.url;
        let mut request = Request::builder()
            .method(method)
            .uri(&url.target)
            .header("host", &url.authority)
            .header("accept", "application/json, text/event-stream");
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        for (name, value) in others {
            request = request.header(*name, *value);
        }
        for (name, value) in shown.headers() {
            request = request.header(name, value);
        }
        request.body(Full::new(body.unwrap_or_default())).map_err(|error| error.to_string())
    }

    /// A request that carries a message, and the session that it is sent in.
    fn post(
        &self,
        message: Vec<u8>,
        head: &Head,
        shown: &Shown,
    ) -> Result<(Request<Full<Bytes>>, Option<HeaderValue>), String> {
        let mut others: Vec<(&str, &str)> = Vec::new();
        let own;
        let session = match head {
            // Says itself what the others take from the session.
            Head::Request { method, revision: Some((revision, name)), .. } => {
                others.push(("mcp-protocol-version", revision));
                others.push(("mcp-method", method));
                others.extend(name.as_deref().map(|name| ("mcp-name", name)));
                None
            }
            Head::Request { .. } | Head::Notification(_) | Head::Answer => {
                let mut terms = self.terms();
                if matches!(head, Head::Answer) {
                    terms.open = terms.open.saturating_sub(1);
                }
                if terms.ended.is_some() {
                    return Err("the tool server has ended the session that it belongs to".into());
                }
                own = terms.revision.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned);
                others.extend(own.as_deref().map(|revision| ("mcp-protocol-version", revision)));
                terms.session.clone()
            }
        };
        let of = (session.as_ref(), shown);
        let request = self.request(Method::POST, of, Some(message.into()), &others)?;
        Ok((request, session))
    }

    /// Hands a message on, as soon as there is room for it.
    async fn hand_on(&self, message: Vec<u8>, answers: Answers) {
        let room = self.rooms.take(of_text(&message)).await;
        self.say(Incoming::Message(Line::Whole(message), answers, room)).await;
    }

    async fn say(&self, incoming: Incoming) {
        drop(self.incoming.send(incoming).await);
    }

    /// What the server said, as people and records may have it.
    fn sample(&self, said: &[u8]) -> String {
        escape(&self.redaction.text(said), SAMPLE)
    }

    /// Says a line to people in which the server may have a word.
    fn note(&self, line: &str) {
        self.notes.say(escape(&self.redaction.text(line.as_bytes()), SAMPLE.saturating_mul(2)));
    }

    async fn unanswered(&self, number: u64, fate: Fate) {
        let fate = match fate {
            Fate::Void(why) => Fate::Void(self.sample(why.as_bytes())),
            Fate::Lost(why) => Fate::Lost(self.sample(why.as_bytes())),
            Fate::Unshown(why) => Fate::Unshown(self.sample(why.as_bytes())),
        };
        let (Fate::Void(why) | Fate::Lost(why) | Fate::Unshown(why)) = &fate;
        self.notes.say(format!("no answer of the tool server's: {why}"));
        self.say(Incoming::Unanswered(number, fate)).await;
    }
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
