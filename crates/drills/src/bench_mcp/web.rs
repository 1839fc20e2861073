//! An MCP client over Streamable HTTP: a session that any number of callers share, each with a connection of its own.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::PATIENCE;
use super::tool::{Answered, Asked, Numbered};
use crate::DrillError;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REVISION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) struct Server {
    url: String,
    uri: Uri,
    authority: String,
    token: Option<String>,
}

impl Server {
    pub(super) fn new(url: &str, token: Option<String>) -> Result<Self, DrillError> {
        let wrong = || DrillError::Answer(format!("`{url}` is no URL of the form http://HOST:PORT/PATH"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
        let authority = match authority.port_u16() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        Ok(Self { url: url.to_owned(), authority, token, uri })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The same, for who has this token.
    pub(super) fn with(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }
}

/// A session with a server.
#[derive(Debug)]
pub(super) struct Session {
    server: Server,
    headers: HeaderMap,
}

/// A response, read to its end.
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Session {
    /// Begins one.
    pub(super) async fn begin(server: &Server) -> Result<Arc<Self>, DrillError> {
        let mut headers = HeaderMap::new();
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| DrillError::Answer("a header that is none".into()))
        };
        headers.insert(HOST, value(&server.authority)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(token) = &server.token {
            headers.insert(AUTHORIZATION, value(&format!("Bearer {token}"))?);
        }
        let mut caller = Caller::new(Arc::new(Self { server: server.clone(), headers: headers.clone() }));
        let answer = caller.post(super::hello(0)).await?;
        let said = said(&answer, 0)?;
        let revision = said.pointer("/result/protocolVersion").and_then(Value::as_str);
        let revision = revision.ok_or_else(|| DrillError::Answer(format!("no session: {said}")))?;
        headers.insert(REVISION, value(revision)?);
        if let Some(session) = answer.headers.get(SESSION) {
            headers.insert(SESSION, session.clone());
        }
        let session = Arc::new(Self { server: server.clone(), headers });
        let notice = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        Caller::new(Arc::clone(&session)).post(notice.to_string()).await?;
        Ok(session)
    }

    /// The names of the tools that it lists.
    pub(super) async fn tools(self: &Arc<Self>) -> Result<Vec<String>, DrillError> {
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
        let answer = Caller::new(Arc::clone(self)).post(list.to_string()).await?;
        let said = said(&answer, 1)?;
        let tools = said.pointer("/result/tools").and_then(Value::as_array).into_iter().flatten();
        let name = |tool: &Value| tool.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok(tools.filter_map(name).collect())
    }
}

fn said(answer: &Response, id: u64) -> Result<Value, DrillError> {
    let message = message_of(answer, id)?;
    serde_json::from_slice(message).map_err(|error| DrillError::Answer(error.to_string()))
}

/// A caller in a session, with a connection of its own.
pub(super) struct Caller {
    session: Arc<Session>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Caller {
    pub(super) const fn new(session: Arc<Session>) -> Self {
        Self { session, connection: None }
    }

    /// Calls the tool about an account.
    pub(super) async fn call(
        &mut self,
        asked: &Asked,
        id: u64,
        account: &str,
    ) -> Result<Answered, DrillError> {
        let answer = self.post(asked.message(id, account)).await?;
        if answer.status != StatusCode::OK {
            let body: String = String::from_utf8_lossy(&answer.body).chars().take(160).collect();
            return Ok(Answered::Refused(format!("status {}: {body}", answer.status.as_u16())));
        }
        asked.judge(message_of(&answer, id)?, id, account)
    }

    async fn post(&mut self, body: String) -> Result<Response, DrillError> {
        let late = |_| DrillError::Answer(format!("no answer within {PATIENCE:?}"));
        tokio::time::timeout(PATIENCE, self.exchange(body.into())).await.map_err(late)?
    }

    async fn exchange(&mut self, body: Bytes) -> Result<Response, DrillError> {
        let broken = |error: hyper::Error| DrillError::Answer(format!("a connection broke: {error}"));
        let mut connection = self.ready().await?;
        let mut request = Request::post(self.session.server.uri.path()).body(Full::from(body));
        if let Ok(request) = &mut request {
            *request.headers_mut() = self.session.headers.clone();
        }
        let request = request.map_err(|error| DrillError::Answer(error.to_string()))?;
        let response = connection.send_request(request).await.map_err(broken)?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(broken)?.to_bytes();
        self.connection = Some(connection);
        Ok(Response { status: parts.status, headers: parts.headers, body })
    }

    /// The kept connection, or a new one: a server may close it with any answer.
    async fn ready(&mut self) -> Result<SendRequest<Full<Bytes>>, DrillError> {
        if let Some(mut kept) = self.connection.take()
            && kept.ready().await.is_ok()
        {
            return Ok(kept);
        }
        let stream = TcpStream::connect(&self.session.server.authority).await;
        let stream =
            stream.map_err(DrillError::system(format!("connecting to {}", self.session.server.url)))?;
        stream.set_nodelay(true).map_err(DrillError::system("connecting"))?;
        let broken = |error: hyper::Error| DrillError::Answer(format!("a connection broke: {error}"));
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the connection; whoever holds the sender sees its error.
        tokio::spawn(async move { drop(connection.await) });
        sender.ready().await.map_err(broken)?;
        Ok(sender)
    }
}

/// The message that answers a request: the body, or the event of a stream that has the request's id.
fn message_of(answer: &Response, id: u64) -> Result<&[u8], DrillError> {
    let kind = answer.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if !kind.starts_with(b"text/event-stream") {
        return Ok(&answer.body);
    }
    let answers = |message: &&[u8]| matches!(serde_json::from_slice(message), Ok(Numbered { id: Some(named) }) if named == id);
    let lines = answer.body.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    lines.map(<[u8]>::trim_ascii).find(answers).ok_or_else(|| {
        let shown: String = String::from_utf8_lossy(&answer.body).chars().take(160).collect();
        DrillError::Answer(format!("a stream without an answer: {shown}"))
    })
}
