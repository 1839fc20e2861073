//! HTTP/1.1 to a service of the operator's: kept connections, bounded answers, deadlines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use portcullis_protocol::ReasonCode;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::refusal::Refusal;

/// Idle connections that are kept: as many as one session of a gate has calls under way. An arbiter closes those that stay idle.
const KEPT_CONNECTIONS: usize = 64;

/// A bearer token. Prints as `***`.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Wraps a token's text; surrounding white space, as files end with, is dropped.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.trim().to_owned()))
    }

    /// The token itself. Only for the `authorization` header and for comparing digests.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("***")
    }
}

type Connection = SendRequest<Full<Bytes>>;

/// Who may serve a Unix socket.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// A socket that another user serves is not the arbiter that this data directory belongs to.
    SameUser,
    /// What answers is judged by its answer.
    Anyone,
}

/// A service reached over HTTP/1.1. Keeps connections; asks within deadlines.
#[derive(Debug)]
pub struct HttpClient {
    endpoint: Endpoint,
    token: Option<Token>,
    peer: Peer,
    idle: Mutex<Vec<Connection>>,
}

/// What is asked.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) content_type: &'static str,
    /// Other headers, by their names.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Bytes,
    /// Longest answer that is read, in bytes.
    pub(crate) longest: usize,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Received {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    /// Its status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header, if it is there once and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let (first, second) = (values.next(), values.next());
        first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok())
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody could be asked.
    #[error("{0}")]
    Unreachable(String),
    /// It did not come in time.
    #[error("no whole answer came in time")]
    Late,
    /// What came is no HTTP.
    #[error("the answer is not HTTP: {0}")]
    NotHttp(String),
    /// It is longer than asked for.
    #[error("the answer broke off: length limit exceeded")]
    TooLong,
    /// It ended before its end.
    #[error("the answer broke off: {0}")]
    BrokenOff(String),
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Unreachable(detail) => unreachable(detail),
            Unanswered::Late => Self::own(ReasonCode::ArbiterTimeout, None),
            // Cut off or over-long: an answer in part is no answer.
            Unanswered::NotHttp(_) | Unanswered::TooLong | Unanswered::BrokenOff(_) => {
                Self::unverifiable(unanswered.to_string())
            }
        }
    }
}

impl HttpClient {
    /// A service at `endpoint`, asked with this bearer token if there is one. Whatever it answers is to be judged by
    /// whoever asks: a Unix socket may be served by any user.
    #[must_use]
    pub const fn new(endpoint: Endpoint, token: Option<Token>) -> Self {
        Self { endpoint, token, peer: Peer::Anyone, idle: Mutex::new(Vec::new()) }
    }

    /// The arbiter at `endpoint`: a Unix socket must be served by this process's own user.
    pub(crate) const fn arbiter(endpoint: Endpoint, token: Token) -> Self {
        Self { endpoint, token: Some(token), peer: Peer::SameUser, idle: Mutex::new(Vec::new()) }
    }

    /// Posts `body` to `path`. Returns the status and at most `longest` bytes of the answer; redirections are not
    /// followed. A question whose kept connection was just being closed is asked once more: the service must take
    /// it twice without harm.
    ///
    /// # Errors
    /// `arbiter.timeout` if no whole answer came within `patience`, `arbiter.unreachable` if there was none, and
    /// [`Refusal::Unverifiable`] if it was not HTTP, broke off or is longer.
    pub async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: &[u8],
        longest: usize,
        patience: Duration,
    ) -> Result<(u16, Vec<u8>), Refusal> {
        let body = Bytes::copy_from_slice(body);
        let question = Question { method: Method::POST, path, content_type, headers: &[], body, longest };
        let answer = self.within(patience, &question).await?;
        Ok((answer.status.as_u16(), answer.body.to_vec()))
    }

    /// The answer to `GET path`: its status and at most `longest` bytes.
    ///
    /// # Errors
    /// As [`post`](Self::post).
    pub async fn get(
        &self,
        path: &str,
        longest: usize,
        patience: Duration,
    ) -> Result<(u16, Vec<u8>), Refusal> {
        let answer = self.fetch(path, &[], longest, patience).await?;
        Ok((answer.status, answer.body.to_vec()))
    }

    /// The answer to `GET path` with these headers, and at most `longest` bytes of it, with its own headers. Redirections
    /// are not followed.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn fetch(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        longest: usize,
        patience: Duration,
    ) -> Result<Received, Unanswered> {
        let (content_type, body) = ("application/octet-stream", Bytes::new());
        let question = Question { method: Method::GET, path, content_type, headers, body, longest };
        let answer = self.within(patience, &question).await?;
        Ok(Received { status: answer.status.as_u16(), headers: answer.headers, body: answer.body })
    }

    /// The answer to `PUT path` with these headers and this JSON. As [`fetch`](Self::fetch); the service must take it twice
    /// without harm.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn put(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
        longest: usize,
        patience: Duration,
    ) -> Result<Received, Unanswered> {
        let (content_type, body) = ("application/json", Bytes::copy_from_slice(body));
        let question = Question { method: Method::PUT, path, content_type, headers, body, longest };
        let answer = self.within(patience, &question).await?;
        Ok(Received { status: answer.status.as_u16(), headers: answer.headers, body: answer.body })
    }

    async fn connect(&self) -> Result<Connection, Unanswered> {
        match &self.endpoint {
            Endpoint::Tcp { authority } => {
                let stream = TcpStream::connect(authority).await.map_err(unasked)?;
                stream.set_nodelay(true).map_err(unasked)?;
                open(stream).await
            }
            Endpoint::Tls { authority, name, authorities } => {
                let stream = TcpStream::connect(authority).await.map_err(unasked)?;
                stream.set_nodelay(true).map_err(unasked)?;
                let connector = TlsConnector::from(authorities.client());
                open(connector.connect(name.clone(), stream).await.map_err(unasked)?).await
            }
            Endpoint::Unix { path } => {
                let stream = UnixStream::connect(path).await.map_err(unasked)?;
                if matches!(self.peer, Peer::SameUser) {
                    check_peer(&stream)?;
                }
                open(stream).await
            }
        }
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that was used last is the least likely to be closed by now.
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.remove(ready))
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= KEPT_CONNECTIONS {
            idle.retain(SendRequest::is_ready);
        }
        if idle.len() < KEPT_CONNECTIONS {
            idle.push(connection);
        }
    }

    /// Asks over a kept connection if there is one. The service may be closing that in this very moment, so where
    /// it ends without an answer the question is asked once more over a new one. An arbiter takes both as one: they
    /// are about the same attempt, which is spent once, and an outcome is recorded once.
    async fn exchange(&self, question: &Question<'_>) -> Result<Answer, Unanswered> {
        if let Some(mut kept) = self.kept() {
            match kept.send_request(self.request(question)?).await {
                Ok(response) => return self.answer(kept, response, question.longest).await,
                Err(error) if error.is_parse() => return Err(unanswered(error)),
                Err(_) => {}
            }
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(self.request(question)?).await.map_err(unanswered)?;
        self.answer(fresh, response, question.longest).await
    }

    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>, Unanswered> {
        let mut request = Request::builder()
            .method(&question.method)
            .uri(question.path)
            .header("host", self.host())
            .header("content-type", question.content_type);
        for (name, value) in question.headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        request.body(Full::new(question.body.clone())).map_err(unasked)
    }

    fn host(&self) -> &str {
        match &self.endpoint {
            Endpoint::Tcp { authority } | Endpoint::Tls { authority, .. } => authority,
            Endpoint::Unix { .. } => "arbiter",
        }
    }

    async fn answer(
        &self,
        connection: Connection,
        response: hyper::Response<Incoming>,
        longest: usize,
    ) -> Result<Answer, Unanswered> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, longest).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                Unanswered::TooLong
            } else {
                Unanswered::BrokenOff(error.to_string())
            }
        })?;
        self.keep(connection);
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    pub(crate) async fn within(
        &self,
        deadline: Duration,
        question: &Question<'_>,
    ) -> Result<Answer, Unanswered> {
        match tokio::time::timeout(deadline, self.exchange(question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Unanswered::Late),
        }
    }
}

async fn open<S>(stream: S) -> Result<Connection, Unanswered>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unasked)?;
    // Ends with the connection; whoever holds the sender sees its error.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn check_peer(stream: &UnixStream) -> Result<(), Unanswered> {
    let peer = stream.peer_cred().map_err(unasked)?;
    if peer.uid() == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(unasked("the socket is served by another user"))
    }
}

pub(crate) fn unreachable(error: impl std::fmt::Display) -> Refusal {
    Refusal::own(ReasonCode::ArbiterUnreachable, Some(error.to_string()))
}

fn unasked(error: impl std::fmt::Display) -> Unanswered {
    Unanswered::Unreachable(error.to_string())
}

/// Why no answer came. Bytes that are no HTTP are one, of a sort: it proves nothing.
fn unanswered(error: hyper::Error) -> Unanswered {
    if error.is_parse() { Unanswered::NotHttp(error.to_string()) } else { unasked(error) }
}
