//! HTTP/1.1 to a service of the operator's: kept connections, bounded answers, deadlines.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use portcullis_protocol::ReasonCode;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::refusal::Refusal;

/// Idle connections that are kept.
const KEPT_CONNECTIONS: usize = 16;

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
    pub(crate) body: Bytes,
    /// Longest answer that is read, in bytes.
    pub(crate) longest: usize,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
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
        let question = Question { method: Method::POST, path, content_type, body, longest };
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
        let (content_type, body) = ("application/octet-stream", Bytes::new());
        let question = Question { method: Method::GET, path, content_type, body, longest };
        let answer = self.within(patience, &question).await?;
        Ok((answer.status.as_u16(), answer.body.to_vec()))
    }

    async fn connect(&self) -> Result<Connection, Refusal> {
        match &self.endpoint {
            Endpoint::Tcp { authority } => {
                let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                open(stream).await
            }
            Endpoint::Tls { authority, name, authorities } => {
                let stream = TcpStream::connect(authority).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                let connector = TlsConnector::from(authorities.client());
                open(connector.connect(name.clone(), stream).await.map_err(unreachable)?).await
            }
            Endpoint::Unix { path } => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                if matches!(self.peer, Peer::SameUser) {
                    check_peer(&stream)?;
                }
                open(stream).await
            }
        }
    }

    fn kept(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(SendRequest::is_ready)
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT_CONNECTIONS {
            idle.push(connection);
        }
    }

    /// Asks over a kept connection if there is one. The service may be closing that in this very moment, so where
    /// it ends without an answer the question is asked once more over a new one. An arbiter takes both as one: they
    /// are about the same attempt, which is spent once, and an outcome is recorded once.
    async fn exchange(&self, question: &Question<'_>) -> Result<Answer, Refusal> {
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

    fn request(&self, question: &Question<'_>) -> Result<Request<Full<Bytes>>, Refusal> {
        let mut request = Request::builder()
            .method(&question.method)
            .uri(question.path)
            .header("host", self.host())
            .header("content-type", question.content_type);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        request.body(Full::new(question.body.clone())).map_err(unreachable)
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
    ) -> Result<Answer, Refusal> {
        let status = response.status();
        let body = Limited::new(response.into_body(), longest).collect().await.map_err(|error| {
            // Cut off or over-long: an answer in part is no answer.
            Refusal::unverifiable(format!("the answer broke off: {error}"))
        })?;
        self.keep(connection);
        Ok(Answer { status, body: body.to_bytes() })
    }

    pub(crate) async fn within(
        &self,
        deadline: Duration,
        question: &Question<'_>,
    ) -> Result<Answer, Refusal> {
        match tokio::time::timeout(deadline, self.exchange(question)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::own(ReasonCode::ArbiterTimeout, None)),
        }
    }
}

async fn open<S>(stream: S) -> Result<Connection, Refusal>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    // Ends with the connection; whoever holds the sender sees its error.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn check_peer(stream: &UnixStream) -> Result<(), Refusal> {
    let peer = stream.peer_cred().map_err(unreachable)?;
    if peer.uid() == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(Refusal::own(ReasonCode::ArbiterUnreachable, Some("the socket is served by another user".into())))
    }
}

pub(crate) fn unreachable(error: impl std::fmt::Display) -> Refusal {
    Refusal::own(ReasonCode::ArbiterUnreachable, Some(error.to_string()))
}

/// Why no answer came. Bytes that are no HTTP are one, of a sort: it proves nothing.
fn unanswered(error: hyper::Error) -> Refusal {
    if error.is_parse() {
        Refusal::unverifiable(format!("the answer is not HTTP: {error}"))
    } else {
        unreachable(error)
    }
}
