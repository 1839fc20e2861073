//! A stand-in for a Vault or OpenBao server, written from their API documentation: KV version 2 ("Read secret version"), the
//! database engine ("Generate credentials"), and leases ("Renew lease", "Revoke lease"). Answers have the form of the documents'.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the gate shows it.
pub(crate) const TOKEN: &str = "hvs.of-the-gate";

/// What it has, and what it was asked.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The newest version by path; `null` where it was deleted.
    pub(crate) secrets: BTreeMap<String, Value>,
    /// What made credentials begin with.
    pub(crate) made: String,
    pub(crate) lease_seconds: u64,
    pub(crate) renewable: bool,
    /// For how long a renewed lease goes on.
    pub(crate) renewed_seconds: u64,
    pub(crate) leases: BTreeSet<String>,
    pub(crate) sealed: bool,
    /// It answers nothing any more.
    pub(crate) hangs: bool,
    /// Method, path and namespace.
    pub(crate) asked: Vec<(String, String, String)>,
}

/// The server. Ends when it is dropped.
pub(crate) struct StandIn {
    pub(crate) address: String,
    pub(crate) state: Arc<Mutex<State>>,
    _serving: JoinSet<()>,
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let own = Arc::clone(&state);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&own)));
            }
        });
        Self { address, state, _serving: serving }
    }

    /// What was asked since this was last called.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.state.lock().unwrap().asked);
        asked.into_iter().map(|(method, path, _)| format!("{method} {path}")).collect()
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    while let Some((method, path, headers, body)) = request(&mut stream).await {
        let of = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let (status, answer) = {
            let mut state = state.lock().unwrap();
            state.asked.push((method.clone(), path.clone(), of("x-vault-namespace")));
            match (of("x-vault-token") == TOKEN && of("x-vault-request") == "true", state.sealed) {
                (_, true) => (503, json!({ "errors": ["Vault is sealed"] })),
                (false, false) => (403, json!({ "errors": ["permission denied"] })),
                (true, false) => state.answer(&method, path.trim_start_matches("/v1/"), &body),
            }
        };
        if state.lock().unwrap().hangs {
            return std::future::pending().await;
        }
        let reason = if status < 300 { "OK" } else { "Not OK" };
        let body = if answer.is_null() { String::new() } else { answer.to_string() };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let head = if status == 204 { format!("HTTP/1.1 204 {reason}\r\n\r\n") } else { head };
        if stream.get_mut().write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

type Request = (String, String, BTreeMap<String, String>, Value);

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Request> {
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
    let (method, path) = (words.next()?, words.next()?);
    let headers: BTreeMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((method, path, headers, serde_json::from_slice(&body).unwrap_or_default()))
}

impl State {
    fn answer(&mut self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let lease = body["lease_id"].as_str().unwrap_or_default().to_owned();
        match (method, path) {
            ("PUT" | "POST", "sys/leases/renew") if self.leases.contains(&lease) => {
                (200, whole((&lease, true, self.renewed_seconds), Value::Null))
            }
            ("PUT" | "POST", "sys/leases/renew") => (400, json!({ "errors": ["lease not found"] })),
            ("PUT" | "POST", "sys/leases/revoke") => {
                self.leases.remove(&lease);
                (204, Value::Null)
            }
            ("GET", path) if path.contains("/creds/") => {
                let number = self.leases.len() + 1;
                let lease = format!("{path}/lease-{number}");
                self.leases.insert(lease.clone());
                let data = json!({ "username": "v-token-crm", "password": format!("{}{number}", self.made) });
                (200, whole((&lease, self.renewable, self.lease_seconds), data))
            }
            ("GET", path) => match self.secrets.get(path) {
                None => (404, json!({ "errors": [] })),
                Some(data) => {
                    let deleted = if data.is_null() { "2018-03-22T02:36:43.986212308Z" } else { "" };
                    let metadata = json!({ "created_time": "2018-03-22T02:24:06.945319214Z", "custom_metadata": null,
                        "deletion_time": deleted, "destroyed": false, "version": 2 });
                    let status = if data.is_null() { 404 } else { 200 };
                    (status, whole(("", false, 0), json!({ "data": data, "metadata": metadata })))
                }
            },
            _ => (405, json!({ "errors": ["unsupported operation"] })),
        }
    }
}

fn whole((lease_id, renewable, lease_duration): (&str, bool, u64), data: Value) -> Value {
    json!({ "request_id": "c0ffee00-0000-0000-0000-000000000000", "lease_id": lease_id, "renewable": renewable,
        "lease_duration": lease_duration, "data": data, "wrap_info": null, "warnings": null, "auth": null })
}
