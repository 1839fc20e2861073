//! A stand-in for an authorization server, and for the metadata of a tool server, that answers whatever a test wants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What reached it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    /// A member of the form that was sent, as it is encoded.
    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        let pairs = self.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(found, _)| *found == name).map(|(_, value)| value).next()
    }
}

/// What it answers: a status, headers with their line ends, and a body. `None` answers nothing, and holds the connection.
pub(crate) type Reply = Option<(u16, String, String)>;

type Script = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// JSON under this status.
pub(crate) fn json(status: u16, body: &serde_json::Value) -> Reply {
    Some((status, "content-type: application/json\r\n".to_owned(), body.to_string()))
}

/// The server. Ends when it is dropped.
pub(crate) struct Issuer {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Arc<Mutex<Script>>,
    _serving: JoinSet<()>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Script>> =
            Arc::new(Mutex::new(Box::new(|_| Some((404, String::new(), String::new())))));
        let (own, answers) = (Arc::clone(&asked), Arc::clone(&script));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&own), Arc::clone(&answers)));
            }
        });
        Self { url, asked, script, _serving: serving }
    }

    pub(crate) fn answers(&self, script: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// What was asked since this was last called.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Asked>>>, script: Arc<Mutex<Script>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = request(&mut stream).await {
        seen.lock().unwrap().push(asked.clone());
        let reply = (*script.lock().unwrap())(&asked);
        let Some((status, head, body)) = reply else { return std::future::pending().await };
        let text = format!("HTTP/1.1 {status} Status\r\n{head}content-length: {}\r\n\r\n{body}", body.len());
        if stream.get_mut().write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
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
    Some(Asked { method, path, headers, body: String::from_utf8(body).unwrap() })
}
