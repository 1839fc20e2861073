use super::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use portcullis_sdk::Token;

use crate::signing::tests::{TEXT, code, signed};

const PATIENCE: Duration = Duration::from_secs(30);

/// A service that answers each connection's first question with these bytes, and then closes or hangs.
struct Stage {
    service: Service,
    questions: Receiver<(String, Vec<u8>)>,
}

fn stage(answer: impl Fn(&str) -> String, hangs: bool) -> Stage {
    let (key, line) = signed();
    let answer = answer(&line);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (question, questions) = channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            if question.send(read(&stream)).is_err() {
                return;
            }
            drop(stream.write_all(answer.as_bytes()));
            if hangs {
                open.push(stream);
            }
        }
    });
    let config = ServiceConfig { endpoint, path: "/sign/it".into(), token: Some(Token::new("sesame")) };
    Stage { service: Service::new(config, key), questions }
}

fn read(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(given) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = given.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, body)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn sign(service: &mut Service, patience: Duration) -> Result<[u8; 64], SignError> {
    service.sign(TEXT, BootInstant::now().plus(patience))
}

#[test]
fn a_service_gets_the_text_and_the_token() {
    let mut stage = stage(ok, false);
    sign(&mut stage.service, PATIENCE).unwrap();
    let (head, body) = stage.questions.recv().unwrap();
    assert!(head.starts_with("POST /sign/it HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer sesame\r\n"), "{head}");
    assert_eq!(body, TEXT);
}

#[test]
fn a_service_that_answers_something_else_gives_no_signature() {
    type Answer = fn(&str) -> String;
    let cases: [(Answer, ReasonCode); 8] = [
        (|line| ok(line).replace("200 OK", "500 no"), ReasonCode::SignerFailed),
        (|line| ok(line).replace("200 OK", "302 Found\r\nlocation: /"), ReasonCode::SignerFailed),
        (|_| ok("garbage"), ReasonCode::SignerFailed),
        (|line| ok(&line.repeat(40)), ReasonCode::SignerFailed),
        (|line| ok(line).get(..60).unwrap().to_owned(), ReasonCode::SignerFailed),
        (|_| "not HTTP\r\n\r\n".to_owned(), ReasonCode::SignerFailed),
        (|_| String::new(), ReasonCode::SignerUnavailable),
        (|line| ok(&line.replace("gate.test", "gate.tist")), ReasonCode::SignerWrongKey),
    ];
    for (number, (answer, expected)) in cases.into_iter().enumerate() {
        let mut stage = stage(answer, false);
        assert_eq!(code(sign(&mut stage.service, PATIENCE)), Some(expected), "case {number}");
    }
}

#[test]
fn a_service_that_does_not_answer_in_time_gives_no_signature() {
    type Answer = fn(&str) -> String;
    let silent: Answer = |_| String::new();
    let slow: Answer = |line| ok(line).get(..60).unwrap().to_owned();
    for answer in [silent, slow] {
        let mut stage = stage(answer, true);
        let began = Instant::now();
        let failed = code(sign(&mut stage.service, Duration::from_millis(300)));
        assert_eq!(failed, Some(ReasonCode::SignerTimeout));
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    }
}

#[test]
fn a_service_that_nobody_serves_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let config = ServiceConfig { endpoint, path: "/sign".into(), token: None };
    let mut service = Service::new(config, signed().0);
    assert_eq!(code(sign(&mut service, PATIENCE)), Some(ReasonCode::SignerUnavailable));
}
