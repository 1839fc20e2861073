use super::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use portcullis_protocol::Outcome;
use portcullis_protocol::wire::{OutcomeCall, StoredResult};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::timeout;

use crate::testing::{LONG, Log, agent, attempt, permit, refusal as refused_record};
use crate::{Permit, authorize};

/// A deadline that every answer meets.
const DEADLINE: Duration = Duration::from_secs(20);
/// A deadline for an answer that never comes.
const SHORT: Duration = Duration::from_millis(300);
/// How long a test waits for what must happen, on however slow a machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a hostile arbiter does once it has written something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Waits for the next question.
    Listen,
    /// Closes the connection.
    Close,
    /// Neither writes nor closes.
    Hang,
    /// Writes this for ever.
    Repeat(&'static [u8]),
}

/// What a hostile arbiter writes, to which question.
type Script = Box<dyn Fn(Question) -> (Vec<u8>, Then) + Send + Sync>;

/// A question, as it came.
struct Question {
    /// Of how many, counted over all connections, from 0.
    number: usize,
    /// On which connection, from 0.
    connection: usize,
    head: String,
    body: Vec<u8>,
}

impl Question {
    fn call(&self) -> DecisionCall {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The answer that permits what is asked.
    fn permit(&self, log: &Log) -> DecisionReply {
        let receipt = Some(log.receipt(permit(&self.call(), LONG)));
        DecisionReply {
            decision: Decision::Permit,
            reason: None,
            captured: portcullis_protocol::Captured::Logged,
            receipt,
            stored: None,
        }
    }
}

/// An arbiter that answers as a test wants.
struct Hostile {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    questions: Arc<AtomicUsize>,
}

impl Hostile {
    async fn start(script: impl Fn(Question) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Script> = Arc::new(Box::new(script));
        let (connections, questions) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (accepted, asked) = (Arc::clone(&connections), Arc::clone(&questions));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(attend(stream, connection, Arc::clone(&asked), Arc::clone(&script)));
            }
        });
        Self { address, connections, questions }
    }

    fn authorizer(&self) -> HttpAuthorizer {
        self.with_patience(SHORT)
    }

    fn patient(&self) -> HttpAuthorizer {
        self.with_patience(DEADLINE)
    }

    fn with_patience(&self, patience: Duration) -> HttpAuthorizer {
        let endpoint = format!("http://{}", self.address).parse().unwrap();
        HttpAuthorizer::new(endpoint, Token::new("s3cret"), patience)
    }

    fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.questions.load(Ordering::SeqCst))
    }
}

async fn attend<S>(stream: S, connection: usize, asked: Arc<AtomicUsize>, script: Arc<Script>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = question(&mut stream).await {
        let number = asked.fetch_add(1, Ordering::SeqCst);
        let (bytes, then) = script(Question { number, connection, head, body });
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        match then {
            Then::Listen => {}
            Then::Close => return,
            Then::Hang => return std::future::pending().await,
            Then::Repeat(more) => while stream.write_all(more).await.is_ok() {},
        }
    }
}

async fn question<S: tokio::io::AsyncBufRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or_default() == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

fn http(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Some Reason\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn json<T: Serialize>(status: u16, body: &T) -> Vec<u8> {
    http(status, &serde_json::to_vec(body).unwrap())
}

/// Asks for a permit.
async fn ask(arbiter: &HttpAuthorizer) -> Result<Permit, Refusal> {
    ask_within(arbiter, DEADLINE).await
}

async fn ask_within(arbiter: &HttpAuthorizer, deadline: Duration) -> Result<Permit, Refusal> {
    let log = Log::new().trusted();
    let asked = authorize(arbiter, attempt(), &log, deadline);
    timeout(PATIENCE, asked).await.expect("an answer, whatever the arbiter does")
}

/// What becomes of the same answer to every question.
async fn answered(answer: impl Fn(&Question) -> Vec<u8> + Send + Sync + 'static, then: Then) -> ReasonCode {
    let deadline = match then {
        Then::Listen | Then::Close => DEADLINE,
        Then::Hang | Then::Repeat(_) => SHORT,
    };
    let hostile = Hostile::start(move |question| (answer(&question), then)).await;
    let began = Instant::now();
    let code = ask_within(&hostile.authorizer(), deadline).await.expect_err("nothing may run").code();
    assert!(began.elapsed() < DEADLINE, "took {:?}", began.elapsed());
    code
}

#[tokio::test]
async fn a_verified_permit_is_a_permit_and_says_who_asked() {
    let log = Log::new();
    let hostile = Hostile::start(move |question| {
        assert!(question.head.starts_with("POST /v1/decisions HTTP/1.1\r\n"), "{}", question.head);
        assert!(question.head.contains("\r\nauthorization: Bearer s3cret\r\n"), "{}", question.head);
        assert_eq!(question.call().request.by(agent()), crate::testing::request());
        (json(200, &question.permit(&log)), Then::Listen)
    });
    assert!(ask(&hostile.await.authorizer()).await.is_ok());
}

/// Every status with every kind of body. Only `200` with a verified PERMIT may be a permit.
#[tokio::test]
async fn no_status_with_any_body_but_a_verified_permit_runs() {
    const STATUSES: [u16; 18] =
        [200, 201, 202, 203, 206, 226, 300, 304, 400, 403, 404, 409, 418, 429, 500, 502, 503, 504];
    type Body = fn(&Question) -> Vec<u8>;
    let bodies: [(&str, Body); 12] = [
        ("empty", |_| Vec::new()),
        ("null", |_| b"null".to_vec()),
        ("true", |_| b"true".to_vec()),
        ("{}", |_| b"{}".to_vec()),
        ("html", |_| b"<html>ok</html>".to_vec()),
        ("a bare PERMIT", |_| br#"{"decision":"PERMIT"}"#.to_vec()),
        ("a PERMIT that proves nothing", |_| br#"{"decision":"PERMIT","captured":"none"}"#.to_vec()),
        ("a PERMIT with garbage for a receipt", |_| {
            br#"{"decision":"PERMIT","captured":"logged","receipt":"trust me"}"#.to_vec()
        }),
        ("a genuine PERMIT with an unknown field", |question| {
            let mut reply = serde_json::to_value(question.permit(&Log::new())).unwrap();
            reply["sandbox"] = true.into();
            reply.to_string().into_bytes()
        }),
        ("a genuine PERMIT, twice", |question| {
            serde_json::to_string(&question.permit(&Log::new())).unwrap().repeat(2).into_bytes()
        }),
        ("an unknown decision", |_| br#"{"decision":"ALLOW","captured":"none"}"#.to_vec()),
        ("a refusal with an unknown code", |_| {
            br#"{"decision":"DENY","reason":{"code":"policy.allow","message":"","remedy":""},"captured":"none"}"#.to_vec()
        }),
    ];
    for (name, body) in bodies {
        for status in STATUSES {
            let code = answered(move |question| http(status, &body(question)), Then::Listen).await;
            assert_eq!(code, ReasonCode::ReceiptUnverifiable, "{status} with {name}");
        }
        let code = answered(move |question| http(401, &body(question)), Then::Listen).await;
        assert_eq!(code, ReasonCode::IdentityUnverified, "401 with {name}");
    }
}

#[tokio::test]
async fn a_genuine_permit_counts_only_with_the_status_of_one() {
    for status in [201, 202, 203, 206, 301, 302, 307, 308, 400, 403, 500, 503] {
        let permit = move |question: &Question| json(status, &question.permit(&Log::new()));
        assert_eq!(answered(permit, Then::Listen).await, ReasonCode::ReceiptUnverifiable, "{status}");
    }
    let unauthorized = |question: &Question| json(401, &question.permit(&Log::new()));
    assert_eq!(answered(unauthorized, Then::Listen).await, ReasonCode::IdentityUnverified);
}

#[tokio::test]
async fn what_a_401_says_of_the_token_is_told_if_it_is_plain() {
    let long = "a".repeat(81);
    for (said, told) in [
        ("Bearer", ""),
        (
            "Bearer error=\"invalid_token\", error_description=\"the access token has expired\"",
            ": the access token has expired",
        ),
        ("Bearer error_description=\"<b>\"", ""),
        (&format!("Bearer error_description=\"{long}\""), ""),
        ("Bearer error_description=\"open", ""),
    ] {
        let head = format!("HTTP/1.1 401 No\r\nwww-authenticate: {said}\r\ncontent-length: 0\r\n\r\n");
        let hostile = Hostile::start(move |_| (head.clone().into_bytes(), Then::Listen)).await;
        let refusal = ask(&hostile.authorizer()).await.unwrap_err();
        assert_eq!(refusal.code(), ReasonCode::IdentityUnverified);
        assert_eq!(refusal.reason().detail, Some(format!("the arbiter does not know this token{told}")));
    }
}

#[tokio::test]
async fn a_refusal_counts_only_with_the_status_of_its_code() {
    let refusal = |status| {
        move |_: &Question| json(status, &DecisionReply::unrecorded(ReasonCode::PolicyNoGrant, None))
    };
    assert_eq!(answered(refusal(403), Then::Listen).await, ReasonCode::PolicyNoGrant);
    for status in [200, 400, 404, 500, 503] {
        assert_eq!(answered(refusal(status), Then::Listen).await, ReasonCode::ReceiptUnverifiable);
    }
}

/// Answers whose parts contradict each other, each as a change of a genuine one.
#[tokio::test]
async fn an_answer_that_contradicts_itself_proves_nothing() {
    type Change = fn(&Question, &mut DecisionReply);
    let changes: [(&str, u16, Change); 9] = [
        ("200 with DENY and a PERMIT's receipt", 200, |_, reply| reply.decision = Decision::Deny),
        ("a PERMIT with a reason", 403, |_, reply| reply.reason = Some(ReasonCode::PolicyNoGrant.into())),
        ("a PERMIT without its receipt", 200, |_, reply| reply.receipt = None),
        ("a PERMIT with the receipt of a refusal", 200, |question, reply| {
            let record = refused_record(&question.call(), ReasonCode::PolicyNoGrant);
            reply.receipt = Some(Log::new().receipt(record));
        }),
        ("a PERMIT signed by another key", 200, |question, reply| {
            reply.receipt = Some(Log::of("gate.example/log", 8).receipt(permit(&question.call(), LONG)));
        }),
        ("a refusal with a receipt that does not verify", 403, |_, reply| {
            *reply = DecisionReply::unrecorded(ReasonCode::PolicyNoGrant, None);
            reply.receipt = Some("no receipt".into());
        }),
        ("a refusal with the receipt of a PERMIT", 403, |_, reply| {
            *reply = DecisionReply {
                receipt: reply.receipt.take(),
                ..DecisionReply::unrecorded(ReasonCode::PolicyNoGrant, None)
            };
        }),
        ("a refusal with the receipt of another one", 403, |question, reply| {
            let record = refused_record(&question.call(), ReasonCode::PolicyForbidden);
            *reply = DecisionReply::unrecorded(ReasonCode::PolicyNoGrant, None);
            reply.receipt = Some(Log::new().receipt(record));
        }),
        ("a DENY for a code of silence", 503, |_, reply| {
            *reply = DecisionReply::unrecorded(ReasonCode::EvidenceUnwritable, None);
            reply.decision = Decision::Deny;
        }),
    ];
    for (name, status, change) in changes {
        let answer = move |question: &Question| {
            let mut reply = question.permit(&Log::new());
            change(question, &mut reply);
            json(status, &reply)
        };
        assert_eq!(answered(answer, Then::Listen).await, ReasonCode::ReceiptUnverifiable, "{name}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_with_its_proof_and_what_was_stored() {
    let hostile = Hostile::start(|question| {
        let code = ReasonCode::IdempotencyCompleted;
        let reply = DecisionReply {
            captured: portcullis_protocol::Captured::Logged,
            receipt: Some(Log::new().receipt(refused_record(&question.call(), code))),
            stored: Some(StoredResult { outcome: Outcome::Ok, result: Some("done".into()) }),
            ..DecisionReply::unrecorded(code, Some("ran before".into()))
        };
        (json(409, &reply), Then::Listen)
    });
    let refusal = ask(&hostile.await.authorizer()).await.unwrap_err();
    assert_eq!((refusal.code(), refusal.decision()), (ReasonCode::IdempotencyCompleted, Decision::Deny));
    assert_eq!(refusal.stored().unwrap().result.as_deref(), Some("done"));
    assert_eq!(refusal.captured(), portcullis_protocol::Captured::Logged);
    assert_eq!(refusal.reason().detail.as_deref(), Some("ran before"));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let genuine = |question: &Question| json(200, &question.permit(&Log::new()));
    let whole = Hostile::start(move |question| (genuine(&question), Then::Close)).await;
    assert!(ask(&whole.authorizer()).await.is_ok(), "whole, and then closed");
    for cut in [0, 1, 10, 20, 60, 200, 800, usize::MAX] {
        let part = move |question: &Question| {
            let whole = genuine(question);
            whole[..cut.min(whole.len() - 1)].to_vec()
        };
        let code = answered(part, Then::Close).await;
        let expected = [ReasonCode::ReceiptUnverifiable, ReasonCode::ArbiterUnreachable];
        assert!(expected.contains(&code), "{cut}: {code}");
        assert_eq!(answered(part, Then::Hang).await, ReasonCode::ArbiterTimeout, "{cut}");
    }
}

#[tokio::test]
async fn an_endless_answer_ends_with_the_bound_or_the_deadline() {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    type Endless = (&'static str, &'static [u8], Then, &'static [ReasonCode]);
    const NEVER: &[ReasonCode] = &[ReasonCode::ArbiterTimeout];
    const PROVES_NOTHING: &[ReasonCode] = &[ReasonCode::ReceiptUnverifiable];
    const EITHER: &[ReasonCode] = &[ReasonCode::ArbiterTimeout, ReasonCode::ReceiptUnverifiable];
    let endless: [Endless; 8] = [
        ("nothing", b"", Then::Hang, NEVER),
        ("a status line", b"HTTP/1.1 200 OK\r\n", Then::Hang, NEVER),
        ("a header without its body", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Then::Hang, NEVER),
        ("a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe", Then::Hang, NEVER),
        // 4 MiB and more: over the bound, or late on a slow machine.
        ("chunks", CHUNKED, Then::Repeat(b"10\r\n0123456789abcdef\r\n"), EITHER),
        ("a body without a length", b"HTTP/1.1 200 OK\r\n\r\n", Then::Repeat(&[b' '; 4096]), EITHER),
        ("headers", b"HTTP/1.1 200 OK\r\n", Then::Repeat(b"x-y: 0123456789abcdef\r\n"), EITHER),
        ("garbage", b"SSH-2.0-OpenSSH_9.9\r\n", Then::Hang, PROVES_NOTHING),
    ];
    for (name, bytes, then, expected) in endless {
        let code = answered(move |_| bytes.to_vec(), then).await;
        assert!(expected.contains(&code), "{name}: {code}");
    }
    let continues = Then::Repeat(b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(answered(|_| Vec::new(), continues).await, ReasonCode::ArbiterTimeout);
}

#[tokio::test]
async fn an_answer_over_the_bound_is_no_answer() {
    let overlong = |question: &Question| {
        let mut body = serde_json::to_vec(&question.permit(&Log::new())).unwrap();
        body.resize(LONGEST_ANSWER + 1, b' ');
        http(200, &body)
    };
    assert_eq!(answered(overlong, Then::Listen).await, ReasonCode::ReceiptUnverifiable);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Hostile::start(|question| (json(200, &question.permit(&Log::new())), Then::Listen)).await;
    let location = format!("http://{}/v1/decisions", elsewhere.address);
    let redirect = format!("HTTP/1.1 307 Go\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let code = answered(move |_| redirect.clone().into_bytes(), Then::Listen).await;
    assert_eq!(code, ReasonCode::ReceiptUnverifiable);
    assert_eq!(elsewhere.seen(), (0, 0));
}

#[tokio::test]
async fn an_arbiter_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let arbiter = HttpAuthorizer::new(endpoint, Token::new("s3cret"), DEADLINE);
    assert_eq!(ask(&arbiter).await.unwrap_err().code(), ReasonCode::ArbiterUnreachable);
    let nowhere = Endpoint::Unix { path: "/nonexistent/arbiter.sock".into() };
    let arbiter = HttpAuthorizer::new(nowhere, Token::new("s3cret"), DEADLINE);
    assert_eq!(ask(&arbiter).await.unwrap_err().code(), ReasonCode::ArbiterUnreachable);
}

#[tokio::test]
async fn one_connection_serves_one_question_after_the_other() {
    let hostile = Hostile::start(|question| (json(200, &question.permit(&Log::new())), Then::Listen)).await;
    let arbiter = hostile.authorizer();
    for _ in 0..3 {
        assert!(ask(&arbiter).await.is_ok());
    }
    assert_eq!(hostile.seen(), (1, 3));
}

#[tokio::test]
async fn most_of_many_callers_connected_anew_for_each_question() {
    let hostile = Hostile::start(|_| (http(200, b"{}"), Then::Listen)).await;
    let arbiter = Arc::new(hostile.patient());
    for round in 1..=3 {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..48 {
            let arbiter = Arc::clone(&arbiter);
            callers.spawn(async move { arbiter.ready().await.unwrap() });
        }
        assert_eq!(callers.join_all().await, [true; 48]);
        let (connections, questions) = hostile.seen();
        assert_eq!(questions, 48 * round);
        assert!(connections <= 48, "{connections} connections by round {round}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_ends_without_an_answer_is_replaced_once() {
    // The first connection answers once, and is closed when it is asked again, as by an arbiter that went meanwhile.
    let hostile = Hostile::start(|question| match (question.connection, question.number) {
        (0, 1) => (Vec::new(), Then::Close),
        _ => (json(200, &question.permit(&Log::new())), Then::Listen),
    })
    .await;
    let arbiter = hostile.authorizer();
    assert!(ask(&arbiter).await.is_ok());
    assert!(ask(&arbiter).await.is_ok());
    assert_eq!(hostile.seen(), (2, 3), "the same question twice, over two connections");
}

#[tokio::test]
async fn an_arbiter_that_closes_idle_connections_is_asked_anew() {
    let hostile = Hostile::start(|question| (json(200, &question.permit(&Log::new())), Then::Close)).await;
    let arbiter = hostile.authorizer();
    for _ in 0..20 {
        assert!(ask(&arbiter).await.is_ok());
    }
    assert_eq!(hostile.seen(), (20, 20));
}

#[tokio::test]
async fn an_arbiter_that_answers_nothing_is_not_asked_for_ever() {
    let hostile = Hostile::start(|question| match question.number {
        0 => (json(200, &question.permit(&Log::new())), Then::Listen),
        _ => (Vec::new(), Then::Close),
    })
    .await;
    let arbiter = hostile.authorizer();
    assert!(ask(&arbiter).await.is_ok());
    assert_eq!(ask(&arbiter).await.unwrap_err().code(), ReasonCode::ArbiterUnreachable);
    assert_eq!(hostile.seen(), (2, 3));
    assert_eq!(ask(&arbiter).await.unwrap_err().code(), ReasonCode::ArbiterUnreachable);
    assert_eq!(hostile.seen(), (3, 4), "a new connection is asked once");
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_not_asked_for_again() {
    let hostile = Hostile::start(|question| match question.number {
        0 => (json(200, &question.permit(&Log::new())), Then::Listen),
        _ => (b"PERMIT\r\n\r\n".to_vec(), Then::Listen),
    })
    .await;
    let arbiter = hostile.authorizer();
    assert!(ask(&arbiter).await.is_ok());
    assert_eq!(ask(&arbiter).await.unwrap_err().code(), ReasonCode::ReceiptUnverifiable);
    assert_eq!(hostile.seen(), (1, 2));
}

#[tokio::test]
async fn a_connection_whose_answer_broke_off_is_not_used_again() {
    let hostile = Hostile::start(|question| match question.number {
        // The rest of this answer is a PERMIT, as an answer to the next question would be.
        0 => (b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n".to_vec(), Then::Hang),
        _ => (json(200, &question.permit(&Log::new())), Then::Listen),
    })
    .await;
    let arbiter = hostile.authorizer();
    assert_eq!(ask_within(&arbiter, SHORT).await.unwrap_err().code(), ReasonCode::ArbiterTimeout);
    assert!(ask(&arbiter).await.is_ok());
    assert_eq!(hostile.seen(), (2, 2));
}

#[tokio::test]
async fn what_was_said_ahead_of_a_question_is_no_answer_to_it() {
    // The answer to the first question brings a second one along, before anything was asked.
    let hostile = Hostile::start(|question| match question.number {
        0 => {
            let twice = [json(200, &question.permit(&Log::new())), json(200, &question.permit(&Log::new()))];
            (twice.concat(), Then::Listen)
        }
        _ => (json(403, &DecisionReply::unrecorded(ReasonCode::PolicyNoGrant, None)), Then::Listen),
    })
    .await;
    let arbiter = hostile.authorizer();
    assert!(ask(&arbiter).await.is_ok());
    assert!(ask(&arbiter).await.is_err(), "the answer that was there already is for another attempt");
}

#[tokio::test]
async fn a_unix_socket_is_asked_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("arbiter.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let script: Arc<Script> =
            Arc::new(Box::new(|question| (json(200, &question.permit(&Log::new())), Then::Listen)));
        let (stream, _) = listener.accept().await.unwrap();
        attend(stream, 0, Arc::new(AtomicUsize::new(0)), script).await;
    });
    let arbiter = HttpAuthorizer::new(Endpoint::Unix { path }, Token::new("s3cret"), DEADLINE);
    assert!(ask(&arbiter).await.is_ok());
}

fn report() -> OutcomeReport {
    let call = OutcomeCall { nonce: "07".repeat(32), outcome: Outcome::Ok, result: None };
    OutcomeReport { attempt: attempt().id(), call, within: DEADLINE }
}

#[tokio::test]
async fn only_200_with_its_body_says_that_an_outcome_is_on_record() {
    let reported = async |status: u16, body: &'static [u8]| {
        let hostile = Hostile::start(move |_| (http(status, body), Then::Listen)).await;
        hostile.patient().report(report()).await.map_err(|refusal| refusal.code())
    };
    assert_eq!(reported(200, br#"{"seq":7}"#).await.unwrap().seq, 7);
    for (status, body) in [
        (200, &b""[..]),
        (200, b"{}"),
        (200, br#"{"seq":"7"}"#),
        (200, br#"{"seq":7,"ok":true}"#),
        (201, br#"{"seq":7}"#),
        (202, br#"{"seq":7}"#),
        (500, br#"{"seq":7}"#),
        (503, b""),
    ] {
        assert_eq!(reported(status, body).await.unwrap_err(), ReasonCode::ReceiptUnverifiable, "{status}");
    }
    assert_eq!(reported(401, b"").await.unwrap_err(), ReasonCode::IdentityUnverified);
    let hung = Hostile::start(|_| (Vec::new(), Then::Hang)).await;
    let late = timeout(PATIENCE, hung.authorizer().report(report())).await.unwrap();
    assert_eq!(late.unwrap_err().code(), ReasonCode::ArbiterTimeout);
}

#[tokio::test]
async fn surfaces_that_cannot_be_read_are_none() {
    let read = async |status: u16, body: &'static [u8]| {
        let hostile = Hostile::start(move |_| (http(status, body), Then::Listen)).await;
        hostile.patient().surfaces().await.map_err(|refusal| refusal.code())
    };
    let empty = br#"{"bundle":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","surfaces":{}}"#;
    assert!(read(200, empty).await.unwrap().surfaces.is_empty());
    for body in [&b""[..], b"null", b"{}", br#"{"surfaces":{}}"#] {
        assert_eq!(read(200, body).await.unwrap_err(), ReasonCode::ReceiptUnverifiable);
    }
    assert_eq!(read(203, empty).await.unwrap_err(), ReasonCode::ReceiptUnverifiable);
    let missing = br#"{"decision":"SILENCE","reason":{"code":"policy.missing","message":"","remedy":""},"captured":"none"}"#;
    assert_eq!(read(503, missing).await.unwrap_err(), ReasonCode::PolicyMissing);
}

#[test]
fn only_what_keeps_a_token_on_this_machine_is_an_endpoint() {
    for text in ["http://127.0.0.1:8447", "http://127.0.0.1:8447/", "http://127.9.9.9:1", "http://[::1]:8447"]
    {
        assert!(matches!(text.parse(), Ok(Endpoint::Tcp { .. })), "{text}");
    }
    let socket = Endpoint::Unix { path: "/run/arbiter.sock".into() };
    assert_eq!("unix:/run/arbiter.sock".parse(), Ok(socket));
    for text in [
        "",
        "127.0.0.1:8447",
        "http://",
        "http://127.0.0.1",
        "http://127.0.0.1:",
        "http://127.0.0.1:99999",
        "http://127.1:8447",
        "http://localhost:8447",
        "http://0.0.0.0:8447",
        "http://10.0.0.1:8447",
        "http://169.254.1.1:8447",
        "http://[::]:8447",
        "http://[::ffff:10.0.0.1]:8447",
        "http://192.0.2.1:8447",
        "http://user@127.0.0.1:8447",
        "http://127.0.0.1:8447@example.org",
        "http://127.0.0.1:8447/v1",
        "http://127.0.0.1:8447?x",
        "http://127.0.0.1:8447#x",
        "http:// 127.0.0.1:8447",
        "HTTP://127.0.0.1:8447",
        "https://127.0.0.1:8447",
        "https://arbiter.example.org",
        "ftp://127.0.0.1:8447",
        "unix:",
        "unix:arbiter.sock",
        "/run/arbiter.sock",
    ] {
        let refused = text.parse::<Endpoint>();
        assert!(refused.is_err(), "{text}: {refused:?}");
    }
}

#[tokio::test]
async fn a_token_never_prints() {
    let token = Token::new(" s3cret\n");
    assert_eq!((token.reveal(), format!("{token:?}").as_str()), ("s3cret", "***"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let arbiter = HttpAuthorizer::new(endpoint, token, DEADLINE);
    assert!(!format!("{arbiter:?}").contains("s3cret"));
    let refusal = ask(&arbiter).await.unwrap_err();
    assert!(!format!("{refusal} {refusal:?}").contains("s3cret"));
    // One that no header can hold is refused without being told.
    let endpoint = format!("http://{}", Hostile::start(|_| (Vec::new(), Then::Close)).await.address);
    let arbiter = HttpAuthorizer::new(endpoint.parse().unwrap(), Token::new("s3\ncret"), DEADLINE);
    let refusal = ask(&arbiter).await.unwrap_err();
    assert!(!format!("{refusal} {refusal:?}").contains("cret"), "{refusal:?}");
}
