//! The arbiter across a network or a Unix socket.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_protocol::{Decision, ReasonCode, SurfaceTable};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::authorizer::{Authorizer, Call};
use crate::endpoint::Endpoint;
use crate::permit::OutcomeReport;
use crate::refusal::Refusal;

/// Longest answer that is read, in bytes. A stored result is at most 1 MiB.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;
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

/// An arbiter reached over HTTP/1.1. Keeps connections; asks within deadlines.
#[derive(Debug)]
pub struct HttpAuthorizer {
    endpoint: Endpoint,
    token: Token,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
}

struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl HttpAuthorizer {
    /// An arbiter at `endpoint`, asked as the agent whose token this is. `patience` bounds the calls that carry
    /// no deadline of their own.
    #[must_use]
    pub const fn new(endpoint: Endpoint, token: Token, patience: Duration) -> Self {
        Self { endpoint, token, patience, idle: Mutex::new(Vec::new()) }
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
                check_peer(&stream)?;
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

    /// Asks over a kept connection if there is one. The arbiter may be closing that in this very moment, so where
    /// it ends without an answer the question is asked once more over a new one: both are about the same attempt,
    /// which is spent once, and an outcome is recorded once.
    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, Refusal> {
        let body = Bytes::from(body);
        if let Some(mut kept) = self.kept() {
            match kept.send_request(self.request(&method, path, &body)?).await {
                Ok(response) => return self.answer(kept, response).await,
                Err(error) if error.is_parse() => return Err(unanswered(error)),
                Err(_) => {}
            }
        }
        let mut fresh = self.connect().await?;
        let response = fresh.send_request(self.request(&method, path, &body)?).await.map_err(unanswered)?;
        self.answer(fresh, response).await
    }

    fn request(&self, method: &Method, path: &str, body: &Bytes) -> Result<Request<Full<Bytes>>, Refusal> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "arbiter")
            .header("authorization", format!("Bearer {}", self.token.reveal()))
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .map_err(unreachable)
    }

    async fn answer(
        &self,
        connection: Connection,
        response: hyper::Response<Incoming>,
    ) -> Result<Answer, Refusal> {
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await.map_err(|error| {
            // Cut off or over-long: an answer in part is no answer.
            Refusal::unverifiable(format!("the answer broke off: {error}"))
        })?;
        self.keep(connection);
        Ok(Answer { status, body: body.to_bytes() })
    }

    async fn within(
        &self,
        deadline: Duration,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, Refusal> {
        match tokio::time::timeout(deadline, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Refusal::own(ReasonCode::ArbiterTimeout, None)),
        }
    }
}

/// The body of `GET path`, whatever its status: for health pages, which are no decisions.
///
/// # Errors
/// If the arbiter does not answer within `patience`.
pub async fn fetch(endpoint: &Endpoint, path: &str, patience: Duration) -> Result<Vec<u8>, Refusal> {
    let arbiter = HttpAuthorizer::new(endpoint.clone(), Token::new(""), patience);
    Ok(arbiter.within(patience, Method::GET, path, Vec::new()).await?.body.to_vec())
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

/// A socket that another user serves is not the arbiter that this data directory belongs to.
fn check_peer(stream: &UnixStream) -> Result<(), Refusal> {
    let peer = stream.peer_cred().map_err(unreachable)?;
    if peer.uid() == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(Refusal::own(ReasonCode::ArbiterUnreachable, Some("the socket is served by another user".into())))
    }
}

fn unreachable(error: impl std::fmt::Display) -> Refusal {
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

fn body<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(unreachable)
}

/// Reads an answer of which only `200 OK` counts.
fn success<T: DeserializeOwned>(answer: &Answer) -> Result<T, Refusal> {
    if answer.status != StatusCode::OK {
        return Err(refusal(answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| Refusal::unverifiable(error.to_string()))
}

/// What an answer other than `200 OK` says. Whatever it says, nothing runs.
fn refusal(answer: &Answer) -> Refusal {
    if answer.status == StatusCode::UNAUTHORIZED {
        return Refusal::own(
            ReasonCode::IdentityUnverified,
            Some("the arbiter does not know this token".into()),
        );
    }
    match serde_json::from_slice::<DecisionReply>(&answer.body) {
        Ok(DecisionReply { decision: Decision::Deny | Decision::Silence, reason: Some(reason), .. }) => {
            Refusal::from_reason(reason, None, None)
        }
        Ok(_) | Err(_) => {
            Refusal::unverifiable(format!("status {} with a body that is no answer", answer.status))
        }
    }
}

/// Reads the answer to a decision call: a reply whose status fits what it says. A success status with a refusal,
/// or an error status with a PERMIT, is neither.
fn decision(answer: &Answer) -> Result<DecisionReply, Refusal> {
    if answer.status == StatusCode::UNAUTHORIZED {
        return Err(refusal(answer));
    }
    let reply: DecisionReply =
        serde_json::from_slice(&answer.body).map_err(|error| Refusal::unverifiable(error.to_string()))?;
    let fitting = match &reply.reason {
        None => StatusCode::OK.as_u16(),
        Some(reason) => reason.code.http_status(),
    };
    if answer.status.as_u16() != fitting {
        return Err(Refusal::unverifiable(format!("status {} does not fit its body", answer.status)));
    }
    Ok(reply)
}

impl Authorizer for HttpAuthorizer {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(async move {
            let deadline = Duration::from_millis(call.deadline_ms);
            decision(&self.within(deadline, Method::POST, "/v1/decisions", body(&call)?).await?)
        })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async move {
            let path = format!("/v1/decisions/{}/outcome", report.attempt);
            success(&self.within(self.patience, Method::POST, &path, body(&report.call)?).await?)
        })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(async move {
            success(&self.within(self.patience, Method::GET, "/v1/surfaces", Vec::new()).await?)
        })
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
