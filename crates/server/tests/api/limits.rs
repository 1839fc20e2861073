//! Bounds: time, connections, callers.

use std::time::Duration;

use portcullis_protocol::Decision;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::support::{DEADLINE, PATIENCE, Served, post, recorded};

/// Connections that the daemon attends to at once.
const CONNECTIONS: usize = 512;
/// How long a request's header, and its body, may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_deadline_that_has_passed_permits_nothing() {
    let served = Served::start().await;
    let call = served.charge("1.00", "k").call(Duration::ZERO);
    let late = served.decide(&call, "demo-agent").await;
    assert_eq!((late.status, late.code().as_str()), (504, "overload.deadline"));
    // Whatever the writer still settled of it was no PERMIT: the key is free.
    let next = served.decide(&served.charge("1.00", "k").call(DEADLINE), "demo-agent").await;
    assert_eq!(next.status, 200, "{next:?}");
    let (_folder, config) = served.stop().await;
    let permits = recorded(&config).iter().filter(|row| row.record.decision == Decision::Permit).count();
    assert_eq!(permits, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_are_each_answered_and_each_recorded() {
    let served = Served::start().await;
    let (address, token) = (served.address, served.token("demo-agent"));
    let mut callers = JoinSet::new();
    for caller in 0..64 {
        let token = token.clone();
        let calls: Vec<_> =
            (0..5).map(|call| served.charge("1.00", &format!("{caller}-{call}")).call(DEADLINE)).collect();
        callers.spawn(async move {
            for call in calls {
                let body = serde_json::to_vec(&call).unwrap();
                let answer = post(address, "/v1/decisions", &token, &body).await.expect("an answer");
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        });
    }
    timeout(PATIENCE, callers.join_all()).await.expect("every caller is answered");
    assert_eq!(served.metric(r#"portcullis_decisions_total{decision="PERMIT",reason=""}"#).await, 320);
    let (_folder, config) = served.stop().await;
    assert_eq!(recorded(&config).len(), 320);
}

/// Opens a connection, writes this, and waits until the daemon has closed it; says what it answered and how long that took.
async fn cut(served: &Served, bytes: &[u8]) -> (String, Duration) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the daemon closes it").unwrap();
    (String::from_utf8(answer).unwrap(), began.elapsed())
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut() {
    let served = Served::start().await;
    for bytes in ["", "POST /v1/dec", "GET /healthz HTTP/1.1\r\nhost: x\r\n"] {
        let (answer, took) = cut(&served, bytes.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        assert!(took < 2 * ARRIVAL, "{bytes:?} took {took:?}");
    }
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_and_nobodys_is_not_even_read() {
    let served = Served::start().await;
    let head = |token: &str| {
        format!(
            "POST /v1/decisions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n{{"
        )
    };
    let (answer, took) = cut(&served, head("nobody").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(took < ARRIVAL, "nobody's body was waited for, {took:?}");
    let (answer, took) = cut(&served, head(&served.token("demo-agent")).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("overload.deadline"), "{answer}");
    assert!(took < 3 * ARRIVAL, "{took:?}");
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused_and_room_is_given_back() {
    let served = Served::start().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(TcpStream::connect(served.address).await.unwrap());
    }
    // They are accepted in their order, so this one finds no room.
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let beyond = served.raw(request).await;
    assert_eq!(beyond, None);
    drop(held);
    served.until_answered("/healthz").await;
}
