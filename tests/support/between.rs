//! What stands between a gate and its arbiter: by default it hands everything through, and it does otherwise with
//! decisions as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::http::{Response, Server, request};

/// A request of a gate.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authorization: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The same with another body.
    pub(crate) fn with(&self, body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..self.clone() }
    }

    /// The same as another agent's.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { authorization: format!("Bearer {token}"), ..self.clone() }
    }

    /// What a server answers to it.
    pub(crate) fn put_to(&self, server: &Server) -> std::io::Result<Response> {
        let headers = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        request(server, &self.method, &self.path, &headers, &self.body)
    }
}

/// What is done with a decision call.
pub(crate) enum Act {
    /// These bytes are the answer, and the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes come, and then nothing any more.
    Hang(Vec<u8>),
}

impl Act {
    /// An answer with this status and body.
    pub(crate) fn reply(status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let head = format!(
            "HTTP/1.1 {status} status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    /// An answer as it came from elsewhere.
    pub(crate) fn pass(response: &Response) -> Self {
        Self::reply(response.status, &response.body)
    }
}

type Script = Box<dyn FnMut(&Asked, &Server) -> Act + Send>;
type Rewrite = Box<dyn Fn(&mut Value) + Send>;

struct Shared {
    arbiter: Server,
    script: Mutex<Option<Script>>,
    surfaces: Mutex<Option<Rewrite>>,
    hanging: Mutex<Vec<TcpStream>>,
    loses_outcomes: AtomicBool,
    /// How many answers to what is entered late are still to be lost.
    loses_confirmations: AtomicUsize,
}

/// A server that a gate takes for its arbiter.
pub(crate) struct Between {
    shared: Arc<Shared>,
    /// Where it listens.
    pub(crate) url: String,
}

impl Between {
    /// Before an arbiter. Ends with the test.
    pub(crate) fn before(arbiter: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            arbiter,
            script: Mutex::default(),
            surfaces: Mutex::default(),
            hanging: Mutex::default(),
            loses_outcomes: AtomicBool::new(false),
            loses_confirmations: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = Arc::clone(&serving);
                // A gate that has gone needs no answer.
                std::thread::spawn(move || drop(serving.attend(stream)));
            }
        });
        Self { shared, url }
    }

    /// From now on, does this with decision calls.
    pub(crate) fn decisions(&self, script: impl FnMut(&Asked, &Server) -> Act + Send + 'static) {
        *self.shared.script.lock().unwrap() = Some(Box::new(script));
    }

    /// From now on, gives gates other surfaces than the arbiter's.
    pub(crate) fn surfaces(&self, rewrite: impl Fn(&mut Value) + Send + 'static) {
        *self.shared.surfaces.lock().unwrap() = Some(Box::new(rewrite));
    }

    /// Whether reports of outcomes are lost from now on, before the arbiter has them.
    pub(crate) fn lose_outcomes(&self, lose: bool) {
        self.shared.loses_outcomes.store(lose, Ordering::SeqCst);
    }

    /// Loses the next so many answers to what is to be entered late, after the arbiter has entered it.
    pub(crate) fn lose_confirmations(&self, count: usize) {
        self.shared.loses_confirmations.store(count, Ordering::SeqCst);
    }

    /// From now on, hands decision calls through.
    pub(crate) fn honest(&self) {
        *self.shared.script.lock().unwrap() = None;
    }
}

impl Shared {
    fn attend(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let asked = read(&stream)?;
        if asked.path.ends_with("/outcome") && self.loses_outcomes.load(Ordering::SeqCst) {
            return Ok(());
        }
        let less = |left: usize| left.checked_sub(1);
        if asked.path == "/v1/late"
            && self.loses_confirmations.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
        {
            assert_eq!(asked.put_to(&self.arbiter)?.status, 200);
            return Ok(());
        }
        let decision = asked.path == "/v1/decisions";
        let scripted = self
            .script
            .lock()
            .unwrap()
            .as_mut()
            .filter(|_| decision)
            .map(|script| script(&asked, &self.arbiter));
        // Handed through without the lock: decisions of several gates do not wait for one another.
        let act = match scripted {
            Some(act) => act,
            None => self.hand_through(&asked)?,
        };
        match act {
            Act::Bytes(bytes) => stream.write_all(&bytes),
            Act::Hang(bytes) => {
                stream.write_all(&bytes)?;
                self.hanging.lock().unwrap().push(stream);
                Ok(())
            }
        }
    }
}

impl Shared {
    fn hand_through(&self, asked: &Asked) -> std::io::Result<Act> {
        let response = asked.put_to(&self.arbiter)?;
        match self.surfaces.lock().unwrap().as_ref().filter(|_| asked.path == "/v1/surfaces") {
            None => Ok(Act::pass(&response)),
            Some(rewrite) => {
                let mut table = response.json();
                rewrite(&mut table);
                Ok(Act::reply(response.status, table.to_string()))
            }
        }
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().map_err(std::io::Error::other)?,
            "authorization" => authorization = value.to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked { method, path, authorization, body })
}
