//! A tool server that is reached by HTTP and tells what really reached it. Written on sockets, so that it can break every
//! rule; what it does about a tool call depends on the tool's name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A request that reached the server.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reached {
    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn tool(&self) -> String {
        self.message().pointer("/params/name").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// The server. Ends when it is dropped.
pub(crate) struct Web {
    pub(crate) url: String,
    address: String,
    shut: Arc<Notify>,
    reached: Arc<Mutex<Vec<Reached>>>,
    _serving: JoinSet<()>,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let url = format!("http://{address}/mcp?tenant=1");
        let shut = Arc::new(Notify::new());
        let closes = Arc::clone(&shut);
        let reached = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&reached);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        connections.spawn(serve(accepted.unwrap().0, Arc::clone(&seen)));
                    }
                    () = closes.notified() => break,
                }
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
        });
        Self { url, address, shut, reached, _serving: serving }
    }

    /// Lets it answer the calls of `late`.
    pub(crate) fn answers_now(&self) {
        let (method, target) = ("answer now".to_owned(), String::new());
        self.reached.lock().unwrap().push(Reached {
            method,
            target,
            headers: BTreeMap::new(),
            body: String::new(),
        });
    }

    /// Lets nobody connect any more. Connections that there are stay.
    pub(crate) async fn shut(&self) {
        self.shut.notify_one();
        while TcpStream::connect(&self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// What has reached it.
    pub(crate) fn reached(&self) -> Vec<Reached> {
        self.reached.lock().unwrap().clone()
    }

    /// The calls of tools that have.
    pub(crate) fn calls(&self) -> Vec<Reached> {
        self.reached().into_iter().filter(|reached| reached.message()["method"] == "tools/call").collect()
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Reached>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(reached) = request(&mut stream).await {
        seen.lock().unwrap().push(reached.clone());
        if respond(stream.get_mut(), &reached, &seen).await.is_none() {
            if reached.tool() == "silent" {
                seen.lock().unwrap().push(Reached { method: "closed".into(), ..reached });
            }
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Reached> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let headers: BTreeMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Reached { method, target, headers, body: String::from_utf8(body).unwrap() })
}

/// `None` if the connection is to be closed.
async fn respond(stream: &mut TcpStream, reached: &Reached, seen: &Arc<Mutex<Vec<Reached>>>) -> Option<()> {
    let message = reached.message();
    let all = |method: &str| {
        let seen = seen.lock().unwrap();
        seen.iter().filter(|reached| reached.message()["method"] == method).count()
    };
    match (reached.method.as_str(), message["method"].as_str()) {
        ("GET", _) => listen(stream, reached).await,
        ("DELETE", _) => answer(stream, "200 OK", "", "").await,
        (_, Some("initialize")) if reached.body.contains("silent") => std::future::pending().await,
        (_, Some("notifications/broken")) => answer(stream, "500 Internal Server Error", "", "").await,
        (_, Some("notifications/roots/list_changed")) => answer(stream, "404 Not Found", "", "").await,
        // Accepted once a call of this tool has come that did not wait for it.
        (_, Some("notifications/cancelled")) => {
            let read = || seen.lock().unwrap().iter().any(|reached| reached.tool() == "read");
            while !read() {
                tokio::task::yield_now().await;
            }
            answer(stream, "202 Accepted", "", "").await
        }
        // Accepted once a call has come that did not wait for it.
        (_, Some("notifications/progress")) => {
            while all("tools/call") == 0 {
                tokio::task::yield_now().await;
            }
            answer(stream, "202 Accepted", "", "").await
        }
        // No session but the first is begun, where that is asked for.
        (_, Some("initialize")) if reached.body.contains("once") && all("initialize") > 1 => {
            std::future::pending().await
        }
        (_, Some("initialize")) => {
            let sessions = all("initialize");
            // The second one speaks another revision, where that is asked for.
            let newer = sessions > 1 && reached.body.contains("fickle");
            let revision = if newer { "2025-06-18" } else { "2025-11-25" };
            let head = format!("content-type: application/json\r\nmcp-session-id: session-{sessions}\r\n");
            let result = json!({ "protocolVersion": revision, "capabilities": {}, "serverInfo": {} });
            answer(stream, "200 OK", &head, &response(&message["id"], &result)).await
        }
        (_, Some("tools/list")) => {
            let said = json!({
                "region": { "type": "string", "x-mcp-header": "Region" },
                "deep": { "properties": { "count": { "type": "integer", "x-mcp-header": "Count" } } },
                "api_key": { "type": "string", "x-mcp-header": "Key" },
            });
            let tools = json!({ "tools": [
                { "name": "read", "inputSchema": { "type": "object" } },
                { "name": "other", "inputSchema": { "type": "object", "properties": said } },
            ] });
            let text = response(&message["id"], &tools);
            answer(stream, "200 OK", "content-type: application/json\r\n", &text).await
        }
        // All that it was ever shown.
        (_, Some("tools/call")) if reached.tool() == "says_all" => {
            let all: Vec<_> = seen.lock().unwrap().iter().map(token).collect();
            let text = response(&message["id"], &ran(&all.join(" ")));
            answer(stream, "200 OK", "content-type: application/json\r\n", &text).await
        }
        // Once the server is told to.
        (_, Some("tools/call")) if reached.tool().starts_with("late") => {
            while !seen.lock().unwrap().iter().any(|reached| reached.method == "answer now") {
                tokio::task::yield_now().await;
            }
            let said = if reached.tool() == "late_echo" { token(reached) } else { "late".to_owned() };
            let text = response(&message["id"], &ran(&said));
            answer(stream, "200 OK", "content-type: application/json\r\n", &text).await
        }
        (_, Some("tools/call")) => call(stream, reached, &message["id"]).await,
        (_, Some(method)) if !message["id"].is_null() => {
            let text = response(&message["id"], &json!({ "pong": method }));
            answer(stream, "200 OK", "content-type: application/json; charset=utf-8\r\n", &text).await
        }
        _ => answer(stream, "202 Accepted", "", "").await,
    }
}

/// Has the server break off a long event.
pub(crate) static CUT: tokio::sync::Notify = tokio::sync::Notify::const_new();

fn response(id: &Value, result: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()
}

fn ran(tool: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": tool }], "isError": false })
}

async fn answer(stream: &mut TcpStream, status: &str, head: &str, body: &str) -> Option<()> {
    let text = format!("HTTP/1.1 {status}\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok()
}

/// A stream of events that ends with the connection.
async fn events(stream: &mut TcpStream, events: &[&str]) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("{head}{}", events.concat()).as_bytes()).await.ok()
}

async fn listen(stream: &mut TcpStream, reached: &Reached) -> Option<()> {
    match reached.header("last-event-id") {
        // The rest of a stream that broke; the id says whose.
        Some(id) => {
            let number: u64 = id.strip_prefix("of-").unwrap().parse().unwrap();
            let text = response(&json!(number), &ran("cut"));
            events(stream, &[&format!("data: {text}\n\n")]).await?;
            None
        }
        None => {
            let echo = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "data": token(reached) } });
            if token(reached).starts_with("canary") {
                events(stream, &[&format!("data: {echo}\n\ndata: {}\n\n", token(reached))]).await?;
                return std::future::pending().await;
            }
            let unasked = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
            // Answers to whatever may be in flight: nobody asked here.
            let forged: String = (1..20)
                .map(|number| format!("data: {}\n\n", response(&json!(number), &ran("forged"))))
                .collect();
            events(stream, &[&forged, &format!("data: {unasked}\n\n")]).await?;
            std::future::pending().await
        }
    }
}

/// What the server was shown, or sent.
fn token(reached: &Reached) -> String {
    let shown = reached.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let sent = || reached.message()["params"]["arguments"]["api_key"].as_str().map(str::to_owned);
    shown.map(str::to_owned).or_else(sent).unwrap_or_default()
}

/// Says the token back in one of many ways.
async fn echo(stream: &mut TcpStream, reached: &Reached, id: &Value) -> Option<()> {
    let (token, json) = (token(reached), "content-type: application/json\r\n");
    let escaped: String = token.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let result = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"\n{token} {escaped}"}}],"_meta":{{"{escaped}":1}}}}}}"#
    );
    let error = json!({ "code": -32602, "message": format!("no {token}"), "data": { token.clone(): token } });
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string();
    match reached.tool().as_str() {
        "echo_result" => answer(stream, "200 OK", json, &result).await,
        "echo_words" => answer(stream, "400 Bad Request", json, &error).await,
        "echo_body" => answer(stream, "500 Internal Server Error", "", &format!("no {token}, {token}")).await,
        "echo_json_body" => answer(stream, "403 Forbidden", "", &format!(r#"{{"no":"{escaped}"}}"#)).await,
        "echo_type" => answer(stream, "200 OK", &format!("content-type: text/{token}\r\n"), "").await,
        _ => {
            let params = json!({ "progress": 1, "message": token });
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
            let garbage = format!("data: {token}\n\ndata: {{\"{token}\n\n");
            events(stream, &[&garbage, &format!("data: {progress}\n\n"), &format!("data: {result}\n\n")])
                .await?;
            None
        }
    }
}

async fn call(stream: &mut TcpStream, reached: &Reached, id: &Value) -> Option<()> {
    let tool = reached.tool();
    let json = "content-type: application/json\r\n";
    let text = response(id, &ran(&tool));
    let progress =
        json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
    match tool.as_str() {
        echoing if echoing.starts_with("echo_") => echo(stream, reached, id).await,
        // Asks something, and goes on.
        "asks" => {
            let asks = json!({ "jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {} });
            events(stream, &[&format!("data: {asks}\n\n"), &format!("data: {text}\n\n")]).await?;
            None
        }
        // Line ends within a message, as in any JSON that is meant to be read.
        "read" => {
            let pretty =
                serde_json::to_string_pretty(&serde_json::from_str::<Value>(&text).unwrap()).unwrap();
            answer(stream, "200 OK", json, &pretty.replace('\n', "\r\n")).await
        }
        "write" => {
            let events_of = [format!("data: {progress}\n\n"), format!("id: 1\ndata: {text}\n\n")];
            events(stream, &events_of.each_ref().map(String::as_str)).await?;
            None
        }
        "other" => {
            let other = response(&json!(id.as_u64().unwrap() + 1), &ran("forged"));
            let lower = response(&json!(id.as_u64().unwrap() - 1), &ran("forged"));
            let own = [other, lower, text].map(|text| format!("data: {text}\n\n"));
            events(stream, &own.each_ref().map(String::as_str)).await?;
            None
        }
        "cut" => {
            events(stream, &[&format!("id: of-{id}\nretry: 1\ndata:\n\ndata: {progress}\n\n")]).await?;
            None
        }
        "broken_off" => {
            events(stream, &["data: {\"jsonrpc\":\"2.0\","]).await?;
            None
        }
        "lost" => None,
        "refused" => answer(stream, "400 Bad Request", "content-type: text/plain\r\n", "no\u{1b}[31m").await,
        "own_words" => {
            let error =
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32602, "message": "no such tool" } });
            answer(stream, "400 Bad Request", json, &error.to_string()).await
        }
        // Of a megabyte.
        "huge" => answer(stream, "200 OK", json, &response(id, &ran(&"x".repeat(1 << 20)))).await,
        "huge_events" => {
            let text = response(id, &ran(&"x".repeat(1 << 20)));
            events(stream, &[&format!("data: {text}\n\n")]).await?;
            None
        }
        // The beginning of a long one, behind an event from which it could go on after half a minute.
        "cut_long" => {
            let begun = format!("id: of-{id}\nretry: 30000\ndata:\n\ndata: {}", "x".repeat(1 << 20));
            events(stream, &[&begun]).await?;
            CUT.notified().await;
            None
        }
        "result" => answer(stream, "403 Forbidden", json, &text).await,
        "broken" => answer(stream, "500 Internal Server Error", "", "").await,
        "moved" => answer(stream, "307 Temporary Redirect", "location: /elsewhere\r\n", "").await,
        "page" => answer(stream, "200 OK", "content-type: text/html\r\n", "<p>hello</p>").await,
        "accepted" => answer(stream, "202 Accepted", "", "").await,
        "batch" => answer(stream, "200 OK", json, &format!("[{text}]")).await,
        "ended" => answer(stream, "404 Not Found", "", "").await,
        "flood" => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ";
            stream.write_all(head.as_bytes()).await.ok()?;
            let piece = vec![b'x'; 1 << 16];
            while stream.write_all(&piece).await.is_ok() {}
            None
        }
        // Until the other side has had enough of it.
        _ => match stream.read_u8().await {
            Ok(_) => Some(()),
            Err(_) => None,
        },
    }
}
