use std::sync::Arc;

use portcullis_protocol::Digest;
use tokio::sync::mpsc;

use crate::message::Id;

use super::super::bounds::{Bounds, Budget, Share};
use super::super::conversation::Question;
use super::super::reader::Reader;
use super::super::streams::Next;
use super::*;

fn conversation(era: Era, bounds: Bounds) -> (Arc<Conversation>, mpsc::Receiver<Vec<u8>>) {
    let (to_gate, lines) = mpsc::channel(64);
    let share = Share::new(&bounds, &Budget::new(bounds.held));
    let named = (Digest::sha256(b"token"), "bot".parse().unwrap());
    (Conversation::new(named, era, share, bounds, to_gate), lines)
}

fn body(text: &str) -> Body {
    match read(text.as_bytes(), crate::message::From::Client).unwrap() {
        Message::Request(_, body) => body,
        other @ (Message::Notification(_) | Message::Response(..)) => panic!("{other:?}"),
    }
}

async fn ask(conversation: &Arc<Conversation>, id: i64, token: &str) -> Reader {
    let body = body(&format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{{"progressToken":{token}}}}}}}"#
    ));
    let question = Question { id: &Id::Int(id), body: &body, streams: true, opens: false };
    conversation.ask(&question).await.unwrap()
}

fn text(next: &Next) -> &str {
    match next {
        Next::Message(message) => std::str::from_utf8(&message.text).unwrap(),
        Next::Nothing | Next::End | Next::Gone => panic!("{next:?}"),
    }
}

fn progress(token: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#)
        .into_bytes()
}

fn answer(number: u64, word: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{"word":"{word}"}}}}"#).into_bytes()
}

#[tokio::test]
async fn progress_and_answers_reach_the_request_that_they_are_of() {
    let (conversation, mut lines) = conversation(Era::Stateless, Bounds::USUAL);
    let (mut one, mut two) = (ask(&conversation, 7, "\"t\"").await, ask(&conversation, 7, "\"t\"").await);
    for number in [1, 2] {
        let line = String::from_utf8(lines.recv().await.unwrap()).unwrap();
        assert!(
            line.contains(&format!(r#""id":{number},"#))
                && line.contains(&format!(r#""progressToken":{number}"#)),
            "{line}"
        );
    }
    for line in [
        progress("2"),
        progress("3"),
        progress("\"t\""),
        answer(3, "x"),
        answer(2, "b"),
        answer(2, "c"),
        progress("2"),
        answer(1, "a"),
    ] {
        assert_eq!(conversation.deliver(line), Rest::Nothing);
    }
    assert!(text(&one.next().await).ends_with(r#""id":7,"result":{"word":"a"}}"#));
    assert_eq!(one.next().await, Next::End);
    assert!(text(&two.next().await).contains(r#""progressToken":"t""#));
    assert!(text(&two.next().await).ends_with(r#""id":7,"result":{"word":"b"}}"#));
    assert_eq!(two.next().await, Next::End);
}

#[tokio::test]
async fn what_is_of_no_request_for_certain_goes_to_nobody_where_it_could_be_anothers() {
    let log = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#;
    let (stateless, _lines) = conversation(Era::Stateless, Bounds::USUAL);
    let (mut one, mut two) = (ask(&stateless, 1, "1").await, ask(&stateless, 2, "1").await);
    stateless.deliver(log.to_vec());
    stateless.deliver(answer(2, "b"));
    stateless.deliver(log.to_vec());
    stateless.deliver(answer(1, "a"));
    assert!(text(&one.next().await).contains("notifications/message"), "it was the only one then");
    assert!(text(&one.next().await).contains("result"));
    assert!(text(&two.next().await).contains("result"));

    let (session, _lines) = conversation(Era::Session, Bounds::USUAL);
    let (_one, _two) = (ask(&session, 1, "1").await, ask(&session, 2, "2").await);
    let mut own = session.read(OWN, None).unwrap();
    session.deliver(log.to_vec());
    assert!(text(&own.next().await).contains("notifications/message"));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_loses_what_waits_and_never_its_answer() {
    let bounds = Bounds { waiting: 4, ..Bounds::USUAL };
    let (conversation, _lines) = conversation(Era::Session, bounds);
    let mut slow = ask(&conversation, 1, "1").await;
    for _ in 0..100 {
        conversation.deliver(progress("1"));
        assert!(conversation.state().streams[&1].len() <= 4);
    }
    assert_eq!(slow.next().await, Next::Gone);
    conversation.deliver(answer(1, "a"));
    let mut again = conversation.read(1, Some(0)).unwrap();
    let mut last = again.next().await;
    while let Next::Message(message) = again.next().await {
        last = Next::Message(message);
    }
    assert!(text(&last).contains("result"));
}

#[tokio::test]
async fn a_request_that_a_client_gave_up_is_cancelled_and_its_answer_is_nobodys() {
    let (conversation, mut lines) = conversation(Era::Stateless, Bounds::USUAL);
    drop(ask(&conversation, 1, "1").await);
    lines.recv().await.unwrap();
    let line = String::from_utf8(lines.recv().await.unwrap()).unwrap();
    assert!(line.contains("notifications/cancelled") && line.contains(r#""requestId":1"#), "{line}");
    let mut next = ask(&conversation, 1, "1").await;
    conversation.deliver(answer(1, "late"));
    conversation.deliver(answer(2, "own"));
    assert!(text(&next.next().await).contains("own"));
    drop(next);
    conversation.end();
    assert!(String::from_utf8(lines.recv().await.unwrap()).unwrap().contains("tools/call"));
    assert_eq!(lines.recv().await, None, "what was answered is not cancelled");
}

#[tokio::test]
async fn who_waits_when_the_conversation_ends_is_told() {
    for era in [Era::Session, Era::Stateless] {
        let (conversation, lines) = conversation(era, Bounds::USUAL);
        let mut asked = ask(&conversation, 1, "1").await;
        drop(lines);
        conversation.has_ended();
        assert!(text(&asked.next().await).contains("may or may not have taken effect"));
        assert_eq!(asked.next().await, Next::End);
        let body = body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        let question = Question { id: &Id::Int(2), body: &body, streams: false, opens: false };
        assert!(conversation.ask(&question).await.is_err());
    }
}

#[tokio::test]
async fn word_to_a_subscriber_never_reaches_a_request_that_is_none() {
    let (conversation, _lines) = conversation(Era::Stateless, Bounds::USUAL);
    let mut asked = ask(&conversation, 1, "1").await;
    let word = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#;
    conversation.deliver(word.as_bytes().to_vec());
    conversation.deliver(answer(1, "a"));
    assert!(text(&asked.next().await).contains("result"));
}
