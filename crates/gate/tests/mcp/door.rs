//! An endpoint in front of the recording server, and clients to post to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use portcullis_gate::endpoint::{Bounds, Endpoint, EndpointError, serve_endpoint};
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, ListingCall, ListingReply, OutcomeReply, SimulationReply, WhoAmI,
};
use portcullis_protocol::{Digest, Millis, ReasonCode, SurfaceTable};
use portcullis_sdk::{Authorizer, Call, OutcomeReport, Refusal, Token};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::PATIENCE;
use super::arbiter::TestArbiter;
use super::receipts::{agent, trusted};
use super::support::{config, example, table};

pub(crate) const ONE: &str = "token-one";
pub(crate) const TWO: &str = "token-two";
/// The token of another agent, whose calls the test arbiter's receipts are not for.
pub(crate) const OTHER: &str = "token-other";

/// A token about which the arbiter waits for a provider that does not answer.
pub(crate) const WAITS: &str = "token-waits";

/// How tokens begin that others take the place of.
pub(crate) const RENEWED: &str = "token-of.";

/// The arbiter, asked with some token.
struct Asked {
    arbiter: Arc<TestArbiter>,
    token: Token,
    known: Arc<Mutex<Known>>,
}

/// What the arbiter says of tokens.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// How often it was asked.
    pub(crate) asked: usize,
    /// What it answers about every token, if that is not as usual.
    pub(crate) instead: Option<ReasonCode>,
    /// The tokens with which decisions were asked for.
    pub(crate) decided: Vec<String>,
    /// The tools that are hidden from who comes with a token.
    pub(crate) hides: BTreeMap<String, BTreeSet<String>>,
    /// How many questions wait for a provider.
    pub(crate) waiting: usize,
}

impl Authorizer for Asked {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        self.known.lock().unwrap().decided.push(self.token.reveal().to_owned());
        self.arbiter.decide(call)
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        self.arbiter.report(report)
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        self.arbiter.surfaces()
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        let hides = self.known.lock().unwrap().hides.get(self.token.reveal()).cloned();
        match hides {
            Some(hides) => self.arbiter.list_hiding(call, Ok(hides)),
            None => self.arbiter.list(call),
        }
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        self.arbiter.simulate(call)
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        let mut known = self.known.lock().unwrap();
        known.asked += 1;
        if self.token.reveal() == WAITS {
            known.waiting += 1;
            return Box::pin(std::future::pending());
        }
        let who = match (known.instead, self.token.reveal()) {
            (Some(code), _) => Err(code),
            (None, ONE | TWO) => Ok(agent()),
            (None, OTHER) => Ok("other".parse().unwrap()),
            (None, token) if token.starts_with(RENEWED) => Ok(agent()),
            (None, _) => Err(ReasonCode::IdentityUnverified),
        };
        // The bearer's name, and when it expires: token-of.NAME.TIME.
        let mut words =
            self.token.reveal().strip_prefix(RENEWED).into_iter().flat_map(|rest| rest.split('.'));
        let bearer = words.next().map(|bearer| Digest::sha256(bearer.as_bytes()));
        let expires = words.next().map(|time| Millis(time.parse().unwrap()));
        let who = who.map(|agent| WhoAmI { agent, bearer, expires }).map_err(|code| Refusal::own(code, None));
        Box::pin(async move { who })
    }
}

pub(crate) struct Door {
    pub(crate) arbiter: Arc<TestArbiter>,
    pub(crate) known: Arc<Mutex<Known>>,
    pub(crate) address: SocketAddr,
    folder: Arc<TempDir>,
    notes: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), EndpointError>>,
}

impl Door {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn bounded(bounds: Bounds) -> Self {
        Self::with(|endpoint| endpoint.bounds = bounds).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Endpoint)) -> Self {
        Self::at("127.0.0.1:0", change).await
    }

    pub(crate) async fn listening(address: &str) -> Self {
        Self::at(address, |_| {}).await
    }

    /// How it ended.
    pub(crate) async fn ended(self) -> Result<(), EndpointError> {
        let _open = self.stop;
        self.served.await.unwrap()
    }

    async fn at(address: &str, change: impl FnOnce(&mut Endpoint)) -> Self {
        let folder = TempDir::new().unwrap();
        let journal = folder.path().join("journal");
        let gate = config(vec![example("recording_server").into(), journal.into()]);
        let (arbiter, known) = (TestArbiter::new(table(1)), Arc::new(Mutex::new(Known::default())));
        let asked = (Arc::clone(&arbiter), Arc::clone(&known));
        let mut endpoint = Endpoint {
            gate,
            log: trusted(),
            arbiters: Arc::new(move |token| {
                let (arbiter, known) = asked.clone();
                Arc::new(Asked { arbiter, token, known })
            }),
            tls: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            resource: None,
            bounds: Bounds::USUAL,
        };
        change(&mut endpoint);
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&notes);
        let served = tokio::spawn(serve_endpoint(
            endpoint,
            listener,
            async move { drop(stopped.await) },
            move |line| sink.lock().unwrap().push(line),
        ));
        Self { arbiter, known, address, folder: Arc::new(folder), notes, stop: Some(stop), served }
    }

    /// Everything that has reached a tool server by now, but pings.
    pub(crate) fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("journal")).unwrap_or_default();
        text.lines().filter(|line| !line.contains(r#""method":"ping""#)).map(str::to_owned).collect()
    }

    /// The folder of the journal, which outlives the endpoint with this.
    pub(crate) fn journal_path(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// What the tool server says its tools are, from now on: see the recording server.
    pub(crate) fn offers(&self, said: &Value) {
        std::fs::write(self.folder.path().join("journal.tools"), said.to_string()).unwrap();
    }

    /// The calls of tools that have.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.journal().into_iter().filter(|line| line.contains("tools/call")).collect()
    }

    /// Waits until a tool server has this.
    pub(crate) async fn reached(&self, words: &str) {
        let reached = async {
            while !self.journal().iter().any(|line| line.contains(words)) {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(PATIENCE, reached).await.is_ok(), "`{words}` is not in {:?}", self.journal());
    }

    /// Waits until people were told this.
    pub(crate) async fn told(&self, words: &str) {
        self.told_times(words, 1).await;
    }

    /// The same, so often.
    pub(crate) async fn told_times(&self, words: &str, times: usize) {
        let told = async {
            while self.notes.lock().unwrap().iter().filter(|line| line.contains(words)).count() < times {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(PATIENCE, told).await.is_ok(), "nobody said `{words}`");
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        sender
    }

    /// Asks over a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let mut connection = self.connect().await;
        let response = timeout(PATIENCE, connection.send_request(request)).await.expect("an answer").unwrap();
        Reply { response, rest: Vec::new(), _connection: connection }
    }

    /// Posts a message as the agent with this token, with these headers besides the usual ones.
    pub(crate) async fn post(&self, token: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let mut all = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
        all.extend(headers);
        self.ask("POST", "/mcp", &all, body).await
    }

    /// A session of the agent with this token.
    pub(crate) async fn session(&self, token: &str) -> Session<'_> {
        let initialize =
            r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;
        let reply = self.post(token, &[], initialize).await;
        assert_eq!(reply.status(), 200);
        let id = reply.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        assert_eq!(reply.json().await["result"]["protocolVersion"], "2025-11-25");
        Session { door: self, token: token.to_owned(), id }
    }

    /// Begins a GET with these headers, of which no answer is read.
    pub(crate) async fn begin(&self, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET /mcp HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", self.address);
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Sends bytes as they are, and returns all that comes back until the endpoint closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The endpoint may close before it has read everything.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the endpoint closes"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Stops the endpoint, and waits until it has.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.served).await.expect("it stops").unwrap().unwrap();
    }
}

/// A session as its client sees it.
pub(crate) struct Session<'a> {
    door: &'a Door,
    pub(crate) token: String,
    pub(crate) id: String,
}

impl<'a> Session<'a> {
    /// The same session, gone on with under another token.
    pub(crate) fn with(&self, token: &str) -> Session<'a> {
        Session { door: self.door, token: token.to_owned(), id: self.id.clone() }
    }

    pub(crate) async fn post(&self, body: &str) -> Reply {
        self.door.post(&self.token, &[("mcp-session-id", &self.id)], body).await
    }

    /// Calls a tool, and returns the response as it begins.
    pub(crate) async fn call(&self, id: &str, tool: &str) -> Reply {
        self.post(&call(id, tool, "")).await
    }

    /// Calls a tool, and returns the answer.
    pub(crate) async fn tool(&self, id: &str, tool: &str) -> Value {
        self.call(id, tool).await.answer().await
    }

    pub(crate) async fn listen(&self, last: Option<&str>) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("accept", "text/event-stream"),
            ("mcp-session-id", &self.id),
        ];
        headers.extend(last.map(|last| ("last-event-id", last)));
        self.door.ask("GET", "/mcp", &headers, "").await
    }

    pub(crate) async fn leave(&self) -> u16 {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("mcp-session-id", &self.id)];
        self.door.ask("DELETE", "/mcp", &headers, "").await.status()
    }
}

/// A tool call of the era with sessions; `id` is raw JSON, and so is what comes behind the arguments.
pub(crate) fn call(id: &str, tool: &str, more: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}{more}}}}}"#
    )
}

pub(crate) const NEW: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;

/// The headers of a tool call of the era without sessions.
pub(crate) fn headers(tool: &str) -> [(&str, &str); 3] {
    [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)]
}

/// An answer, as it comes.
pub(crate) struct Reply {
    response: Response<Incoming>,
    rest: Vec<u8>,
    _connection: SendRequest<Full<Bytes>>,
}

/// An event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    /// `null` if there is none.
    pub(crate) data: Value,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream")
    }

    pub(crate) async fn text(self) -> String {
        let body = timeout(PATIENCE, self.response.into_body().collect()).await.expect("a body").unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.next_event()).await.expect("an event")
    }

    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
                let text: Vec<u8> = self.rest.drain(..end + 2).collect();
                let text = String::from_utf8(text).unwrap();
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if field(":").is_some() {
                    continue;
                }
                let data = field("data:").filter(|data| !data.is_empty());
                let data = data.map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
                return Some(Event { id: field("id:").map(str::to_owned), data });
            }
            let frame = self.response.body_mut().frame().await?.ok()?;
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// The answer: the whole body, or the one of the stream, which ends with it.
    pub(crate) async fn answer(mut self) -> Value {
        if !self.is_stream() {
            return self.json().await;
        }
        let mut answer = Value::Null;
        while let Some(event) = self.event().await {
            assert!(answer.is_null(), "something comes behind the answer: {event:?}");
            if event.data.get("result").is_some() || event.data.get("error").is_some() {
                answer = event.data;
            }
        }
        assert!(!answer.is_null(), "the stream ended without an answer");
        answer
    }

    /// The code under which the request was not heard.
    pub(crate) async fn code(self) -> String {
        let told = self.json().await;
        let portcullis = &told["error"]["data"]["portcullis"];
        let code = portcullis.get("code").or_else(|| portcullis.pointer("/reason/code"));
        code.and_then(Value::as_str).unwrap_or_else(|| panic!("no code: {told}")).to_owned()
    }
}

/// What the recording server says of a call that ran.
pub(crate) fn ran(id: &Value, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": tool }], "isError": false } })
}
