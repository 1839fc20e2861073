//! What is not a call is refused with its code before anything is decided, counted, and never recorded as asked.

use portcullis_protocol::Decision;
use serde_json::{Value, json};

use crate::support::{Answer, DEADLINE, Served, recorded};

/// The call of a permitted read, to be spoiled.
fn good(served: &Served) -> Value {
    serde_json::to_value(served.read().call(DEADLINE)).unwrap()
}

/// A decision call that is refused, with this status and code.
async fn refused(served: &Served, body: &[u8], status: u16, code: &str) {
    let sample = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
    let answer = served.post("/v1/decisions", "demo-agent", body).await;
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{sample}");
    let reply = answer.json();
    assert_eq!((&reply["decision"], &reply["captured"]), (&json!("SILENCE"), &json!("none")), "{sample}");
    assert!(reply.get("receipt").is_none(), "{sample}");
}

#[tokio::test]
async fn a_body_that_is_no_call_is_refused_with_its_code() {
    let served = Served::start().await;
    let text = good(&served).to_string();
    assert_eq!(served.post("/v1/decisions", "demo-agent", text.as_bytes()).await.status, 200);
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1).into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let cases: [(Vec<u8>, &str); 23] = [
        (b"".to_vec(), "request.malformed"),
        (b"null".to_vec(), "request.malformed"),
        (b"[]".to_vec(), "request.malformed"),
        (b"{}".to_vec(), "request.malformed"),
        (b"{".to_vec(), "request.malformed"),
        (b"\xff\xfe".to_vec(), "request.malformed"),
        (text.as_bytes()[..text.len() - 1].to_vec(), "request.malformed"),
        (format!("{text}{text}").into_bytes(), "request.malformed"),
        (changed("{", r#"{"gate":"gate","#), "request.duplicate_key"),
        (changed(r#""context":{"#, r#""context":{"account":"evil","#), "request.duplicate_key"),
        (changed(r#""account":"acme""#, r#""account":1.5"#), "request.fraction"),
        (changed(r#""account":"acme""#, r#""account":1e3"#), "request.fraction"),
        (changed(r#""account":"acme""#, r#""account":9007199254740993"#), "request.integer_range"),
        (changed(r#""account":"acme""#, &format!(r#""account":{deep}"#)), "request.too_deep"),
        (changed("{", r#"{"dry_run":true,"#), "request.unknown_field"),
        (changed("{", r#"{"agent":"root","#), "request.unknown_field"),
        (changed(r#""request":{"#, r#""request":{"agent":"root","#), "request.unknown_field"),
        (changed(r#""request":{"#, r#""request":{"subject":{"id":"root"},"#), "request.unknown_field"),
        (changed(r#""resource":{"#, r#""resource":{"owner":"me","#), "request.unknown_field"),
        (changed(r#""surface":"demo."#, r#""surface":"Demo."#), "request.invalid_value"),
        (changed(r#""gate":"gate""#, r#""gate":"a gate""#), "request.invalid_value"),
        (changed(r#""deadline_ms":30000"#, r#""deadline_ms":-1"#), "request.malformed"),
        (changed(r#""deadline_ms":30000"#, r#""deadline_ms":"30000""#), "request.malformed"),
    ];
    for (body, code) in &cases {
        refused(&served, body, 400, code).await;
    }
    let mut counted = 0;
    for code in cases.iter().map(|(_, code)| code).collect::<std::collections::BTreeSet<_>>() {
        counted += served.metric(&format!("portcullis_unrecorded_total{{reason=\"{code}\"}}")).await;
    }
    assert_eq!(counted, 23);
    let (_folder, config) = served.stop().await;
    let decisions: Vec<_> = recorded(&config).iter().map(|row| row.record.decision).collect();
    assert_eq!(decisions, [Decision::Permit], "only the one call is on record");
}

#[tokio::test]
async fn a_body_over_its_limit_is_refused() {
    let served = Served::start().await;
    let mut text = good(&served).to_string().into_bytes();
    text.resize(64 * 1024, b' ');
    let longest = served.post("/v1/decisions", "demo-agent", &text).await;
    assert_eq!(longest.status, 200, "{longest:?}");
    text.push(b' ');
    refused(&served, &text, 413, "request.too_large").await;
    refused(&served, &vec![b' '; 1024 * 1024], 413, "request.too_large").await;
    let outcome = vec![b' '; 7 * 1024 * 1024 + 1];
    let answer =
        served.post(&format!("/v1/decisions/{}/outcome", "0".repeat(64)), "demo-agent", &outcome).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "request.too_large"));
}

#[tokio::test]
async fn a_body_of_chunks_is_bounded_like_any_other() {
    let served = Served::start().await;
    let chunked = async |chunks: &[&[u8]]| -> Option<Answer> {
        let head = format!(
            "POST /v1/decisions HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
             transfer-encoding: chunked\r\n\r\n",
            served.token("demo-agent")
        );
        let mut bytes = head.into_bytes();
        for chunk in chunks {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend([*chunk, b"\r\n"].concat());
        }
        bytes.extend(b"0\r\n\r\n");
        served.raw(&bytes).await
    };
    let text = good(&served).to_string().into_bytes();
    let whole = chunked(&[&text[..10], &text[10..]]).await.unwrap();
    assert_eq!(whole.status, 200);
    let spaces = vec![b' '; 8 * 1024];
    let over = chunked(&[&spaces[..]; 9]).await.unwrap();
    assert_eq!((over.status, over.code().as_str()), (413, "request.too_large"));
}

#[tokio::test]
async fn two_lengths_or_a_smuggled_call_are_no_call() {
    let served = Served::start().await;
    let body = good(&served).to_string();
    let bearer = format!("authorization: Bearer {}", served.token("demo-agent"));
    let bodies = [
        format!("content-length: {}\r\ncontent-length: 2\r\n\r\n{body}", body.len()),
        format!("content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{body}", body.len()),
        format!("transfer-encoding: xchunked\r\n\r\n{body}"),
        format!("content-length: +{}\r\n\r\n{body}", body.len()),
    ];
    for rest in bodies {
        let request =
            format!("POST /v1/decisions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}\r\n{rest}");
        let answer = served.raw(request.as_bytes()).await;
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 400), "{rest}: {answer:?}");
    }
    let (_folder, config) = served.stop().await;
    assert!(recorded(&config).is_empty());
}

#[tokio::test]
async fn the_token_names_the_agent_whatever_else_is_said() {
    let served = Served::start().await;
    let call = served.read().call(DEADLINE);
    let body = serde_json::to_vec(&call).unwrap();
    let bearer = format!("authorization: Bearer {}", served.token("stranger-agent"));
    let headers =
        [bearer.as_str(), "x-agent: demo-agent", "x-forwarded-user: demo-agent", "cookie: agent=demo-agent"];
    let answer = served.ask("POST", "/v1/decisions?agent=demo-agent", &headers, &body).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "policy.no_grant"));
    let (_folder, config) = served.stop().await;
    let rows = recorded(&config);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].record.agent.as_str(), "stranger-agent");
}

#[tokio::test]
async fn an_outcome_that_is_none_is_refused() {
    let served = Served::start().await;
    let path = format!("/v1/decisions/{}/outcome", "0".repeat(64));
    let nonce = "0".repeat(64);
    for (path, body, code) in [
        (path.as_str(), String::new(), "request.malformed"),
        (&path, "{}".into(), "request.malformed"),
        (&path, format!(r#"{{"nonce":"{nonce}"}}"#), "request.malformed"),
        (&path, format!(r#"{{"nonce":"{nonce}","outcome":"fine"}}"#), "request.malformed"),
        (&path, format!(r#"{{"nonce":"{nonce}","outcome":"ok","agent":"root"}}"#), "request.malformed"),
        (&path, format!(r#"{{"nonce":"{nonce}","outcome":"ok","outcome":"failed"}}"#), "request.malformed"),
        (&path, format!(r#"{{"nonce":"{nonce}","outcome":"withheld"}}"#), "request.invalid_value"),
        (&path, format!(r#"{{"nonce":"{nonce}","outcome":"ok"}}"#), "request.invalid_value"),
        (&path, r#"{"nonce":"zz","outcome":"ok"}"#.into(), "request.invalid_value"),
        (
            "/v1/decisions/zz/outcome",
            format!(r#"{{"nonce":"{nonce}","outcome":"ok"}}"#),
            "request.invalid_value",
        ),
        ("/v1/decisions/%ff/outcome", format!(r#"{{"nonce":"{nonce}","outcome":"ok"}}"#), ""),
    ] {
        let answer = served.post(path, "demo-agent", body.as_bytes()).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{path} {body}");
        assert!(!answer.text().contains(&nonce), "a nonce is not echoed: {answer:?}");
    }
}
