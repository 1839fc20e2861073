//! Stopping loses nothing that was answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{DEADLINE, PATIENCE, Served, post, recorded};

/// How many answers are waited for before the daemon is told to stop.
const ANSWERED: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_a_stop_is_on_record_after_it() {
    let served = Served::start().await;
    let (address, token) = (served.address, served.token("demo-agent"));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (token, answered) = (token.clone(), Arc::clone(&answered));
        callers.spawn(async move {
            let mut permitted = BTreeSet::new();
            for number in 0.. {
                let call = crate::support::charge("1.00", &format!("{caller}-{number}")).call(DEADLINE);
                let body = serde_json::to_vec(&call).unwrap();
                match post(address, "/v1/decisions", &token, &body).await {
                    Some(answer) if answer.status == 200 => permitted.insert(call.attempt),
                    // It is stopping.
                    Some(_) | None => break,
                };
                answered.fetch_add(1, Ordering::SeqCst);
            }
            permitted
        });
    }
    let enough = async {
        while answered.load(Ordering::SeqCst) < ANSWERED {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, enough).await.expect("answers");
    let (folder, config) = served.stop().await;
    let permitted: BTreeSet<_> = callers.join_all().await.into_iter().flatten().collect();
    assert!(permitted.len() >= ANSWERED);
    let on_record: BTreeSet<_> = recorded(&config).iter().map(|row| row.record.attempt).collect();
    let lost: Vec<_> = permitted.difference(&on_record).collect();
    assert!(lost.is_empty(), "{lost:?}");

    // And the same directory serves again.
    let again = Served::over(folder, config).await;
    let attempt = permitted.first().unwrap();
    let found = again.get(&format!("/v1/receipts/{attempt}"), "demo-agent").await;
    assert_eq!((found.status, found.code().as_str()), (409, "request.permit_open"));
}

#[tokio::test]
async fn a_request_under_way_is_answered_and_an_idle_connection_holds_nothing_up() {
    let served = Served::start().await;
    let token = served.token("demo-agent");
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    let attempt = served.read();
    let body = serde_json::to_vec(&attempt.call(DEADLINE)).unwrap();
    let head = format!(
        "POST /v1/decisions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut under_way = TcpStream::connect(served.address).await.unwrap();
    // A whole exchange first, so that the daemon attends to the connection when it is told to stop.
    let hello = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    under_way.write_all(hello).await.unwrap();
    let mut answer = [0; 12];
    under_way.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    idle.write_all(hello).await.unwrap();
    idle.read_exact(&mut answer).await.unwrap();
    let counted = "portcullis_unrecorded_total{reason=\"request.malformed\"}";
    assert_eq!(served.metric(counted).await, 0);
    let (first, rest) = body.split_at(20);
    under_way.write_all(&[head.as_bytes(), first].concat()).await.unwrap();
    // What was sent before is read before this is answered, on a connection that was accepted later.
    served.get("/healthz", "").await;
    served.tell_to_stop();
    under_way.write_all(rest).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, under_way.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("HTTP/1.1 200 OK\r\n") && answer.contains("PERMIT"), "{answer}");
    let mut rest = Vec::new();
    timeout(PATIENCE, idle.read_to_end(&mut rest))
        .await
        .expect("closed, though it was never asked to be")
        .unwrap();
    let (_folder, config) = served.ended().await;
    let on_record: Vec<_> = recorded(&config).iter().map(|row| row.record.attempt).collect();
    assert_eq!(on_record, [attempt.id()]);
}

#[tokio::test]
async fn a_stopped_daemon_takes_no_more_calls() {
    let served = Served::start().await;
    let (address, token) = (served.address, served.token("demo-agent"));
    let (_folder, config) = served.stop().await;
    let call = crate::support::charge("1.00", "late").call(DEADLINE);
    let refused = TcpStream::connect(address).await;
    if refused.is_ok() {
        let answer = post(address, "/v1/decisions", &token, &serde_json::to_vec(&call).unwrap()).await;
        assert_eq!(answer, None);
    }
    assert!(recorded(&config).is_empty());
}
