//! A served deployment, and callers of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AgentId, Millis, Outcome};
use portcullis_sdk::{Attempt, HttpAuthorizer, OutcomeReport, Outcomes, Permit, Running, Token, TrustedLog};
use portcullis_server::config::ListenConfig;
use portcullis_server::config::{AgentConfig, ArbiterConfig, AuditorConfig, OperatorConfig};
use portcullis_server::{Agents, Config, Row, ServeError, demo, open_ledger, rows, serve};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A deadline that every decision meets.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The demo's deployment, served. Agents: `demo-agent` may read balances and charge at most 100.00,
/// `stranger-agent` is known and has no grant, `ghost-agent` has a token and is not known to the bundle; `expired` is
/// a second token of `demo-agent`, which has expired. `auditor` is an auditor's token, `former` one that has expired.
pub(crate) struct Served {
    pub(crate) folder: TempDir,
    pub(crate) config: ArbiterConfig,
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ServeError>>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The reason code, or nothing.
    pub(crate) fn code(&self) -> String {
        let json = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        json["reason"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, head, body: bytes[end + 4..].to_vec() })
    }
}

impl Served {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let made = demo(folder.path(), true).unwrap();
        let mut config = Config::read(&made.config).unwrap().arbiter().unwrap();
        let agent = |name: &str, token: &str, expires| AgentConfig {
            agent: name.parse().unwrap(),
            token: Some(Agents::digest(token)),
            subject: None,
            expires,
            acts_for: Default::default(),
        };
        let mut delegate = agent("stranger-agent", "delegate", None);
        delegate.acts_for = ["demo-agent".parse().unwrap()].into();
        config.agents.push(delegate);
        config.agents.push(agent("ghost-agent", "ghost", None));
        config.agents.push(agent("demo-agent", "expired", Some(Millis(1))));
        let auditor = |name: &str, token: &str, expires| AuditorConfig {
            auditor: name.parse().unwrap(),
            token: Agents::digest(token),
            expires,
        };
        config.log.auditors =
            vec![auditor("auditor", "auditor", None), auditor("former", "former", Some(Millis(1)))];
        config.operators.push(OperatorConfig {
            operator: "operator".parse().unwrap(),
            token: Agents::digest("retired"),
            expires: Some(Millis(1)),
        });
        Self::over(folder, config).await
    }

    /// Serves what lies there, and waits until it is ready.
    pub(crate) async fn over(folder: TempDir, config: ArbiterConfig) -> Self {
        let served = Self::unready(folder, config).await;
        served.until("/readyz", "", |answer| answer.status == 200).await;
        served
    }

    /// Serves what lies there, ready or not.
    pub(crate) async fn unready(folder: TempDir, config: ArbiterConfig) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (say, mut said) = mpsc::unbounded_channel();
        let served = config.clone();
        let any = ListenConfig { address: "127.0.0.1:0".parse().unwrap(), tls: None };
        let task =
            tokio::spawn(async move { serve(&served, any, stopped, move |line| drop(say.send(line))).await });
        let line = timeout(PATIENCE, said.recv()).await.unwrap().expect("a daemon that serves");
        let address = line.strip_prefix("listening on http://").unwrap().parse().unwrap();
        Self { folder, config, address, stop, task }
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, agent: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let asking = async {
            loop {
                let answer = self.get(path, agent).await;
                if wanted(&answer) {
                    return answer;
                }
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never answered as wanted"))
    }

    /// The token of an agent, or `ghost` and `expired`.
    pub(crate) fn token(&self, agent: &str) -> String {
        let file = self.folder.path().join("keys").join(format!("{agent}.token"));
        std::fs::read_to_string(file).map_or_else(|_| agent.to_owned(), |token| token.trim().to_owned())
    }

    /// Writes bytes to a new connection and reads its answer to the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Option<Answer> {
        raw(self.address, bytes).await
    }

    /// Asks until there is an answer.
    pub(crate) async fn until_answered(&self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let asking = async { while self.raw(request.as_bytes()).await.is_none() {} };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never answered"));
    }

    /// Asks with these header lines besides the usual ones.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: arbiter\r\nconnection: close\r\n");
        for header in headers {
            head += &format!("{header}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        let answer = self.raw(&[head.as_bytes(), body].concat()).await;
        answer.unwrap_or_else(|| panic!("no answer to {method} {path}"))
    }

    fn bearer(&self, agent: &str) -> String {
        format!("authorization: Bearer {}", self.token(agent))
    }

    pub(crate) async fn get(&self, path: &str, agent: &str) -> Answer {
        self.ask("GET", path, &[&self.bearer(agent)], b"").await
    }

    pub(crate) async fn post(&self, path: &str, agent: &str, body: &[u8]) -> Answer {
        self.ask("POST", path, &[&self.bearer(agent)], body).await
    }

    pub(crate) async fn decide(&self, call: &DecisionCall, agent: &str) -> Answer {
        self.post("/v1/decisions", agent, &serde_json::to_vec(call).unwrap()).await
    }

    pub(crate) async fn report(&self, report: &OutcomeReport, agent: &str) -> Answer {
        let path = format!("/v1/decisions/{}/outcome", report.attempt);
        self.post(&path, agent, &serde_json::to_vec(&report.call).unwrap()).await
    }

    /// The log's key, as a gate pins it.
    pub(crate) fn trusted(&self) -> TrustedLog {
        TrustedLog::new(vec![self.config.log_key.clone()]).unwrap()
    }

    /// A new attempt to charge acme under a key.
    pub(crate) fn charge(&self, amount: &str, key: &str) -> Attempt {
        charge(amount, key)
    }

    /// A new attempt to read a balance.
    pub(crate) fn read(&self) -> Attempt {
        attempt(READ)
    }

    /// A PERMIT for an attempt, spent, with the report of its outcome, which is not sent yet.
    pub(crate) async fn spent(&self, attempt: Attempt, outcome: Outcome) -> OutcomeReport {
        let answer = self.decide(&attempt.call(DEADLINE), "demo-agent").await;
        let receipt = answer.json()["receipt"].as_str().expect("a receipt").to_owned();
        let permit = attempt.redeem(&receipt, &self.trusted()).unwrap();
        self.begin(permit).finish(outcome, None)
    }

    /// Spends a PERMIT.
    pub(crate) fn begin(&self, permit: Permit) -> Running {
        let endpoint = format!("http://{}", self.address).parse().unwrap();
        let arbiter = HttpAuthorizer::new(endpoint, Token::new(""), DEADLINE);
        let outcomes = Outcomes::start(Arc::new(arbiter), DEADLINE, |remark| panic!("{remark}"));
        permit.begin(&outcomes).unwrap()
    }

    /// What `/metrics` says of a counter; 0 if nothing.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics", "").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Tells the daemon to stop.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> (TempDir, ArbiterConfig) {
        let ended = timeout(PATIENCE, self.task).await.expect("the daemon ends");
        ended.unwrap().unwrap();
        (self.folder, self.config)
    }

    /// Stops, and waits for the end.
    pub(crate) async fn stop(self) -> (TempDir, ArbiterConfig) {
        self.tell_to_stop();
        self.ended().await
    }
}

/// Writes bytes to a new connection and reads its answer to the end; nothing if there is none.
async fn raw(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        // An answer may come before all was written.
        drop(stream.write_all(bytes).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        Answer::parse(&answer)
    };
    timeout(PATIENCE, exchange).await.expect("an end of the connection")
}

/// A call, over a connection of its own; nothing if it is not answered.
pub(crate) async fn post(address: SocketAddr, path: &str, token: &str, body: &[u8]) -> Option<Answer> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    raw(address, &[head.as_bytes(), body].concat()).await
}

/// A new attempt to charge acme under a key.
pub(crate) fn charge(amount: &str, key: &str) -> Attempt {
    attempt(&format!(
        r#"{{"surface":"demo.charge","action":"demo.charge","resource":{{"type":"Surface","id":"demo.charge"}},
        "context":{{"account":"acme","amount":"{amount}"}},"idempotency_key":"{key}"}}"#
    ))
}

const READ: &str = r#"{"surface":"demo.read_balance","action":"demo.read_balance",
    "resource":{"type":"Surface","id":"demo.read_balance"},"context":{"account":"acme"}}"#;

/// A new attempt of `demo-agent`.
pub(crate) fn attempt(ask: &str) -> Attempt {
    let agent: AgentId = "demo-agent".parse().unwrap();
    Attempt::new("gate".parse().unwrap(), Ask::parse(ask.as_bytes()).unwrap().by(agent)).unwrap()
}

/// The decisions on record, verified against the anchored head.
pub(crate) fn recorded(config: &ArbiterConfig) -> Vec<Row> {
    rows(&open_ledger(config).unwrap()).unwrap()
}
