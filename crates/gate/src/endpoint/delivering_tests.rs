use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{Digest, Millis};
use tokio::sync::mpsc;

use crate::message::Id;

use super::super::absent::Absent;
use super::super::bounds::{Bounds, Pool, Share};
use super::super::conversation::{Question, Said};
use super::super::holder::Holder;
use super::super::reader::Reader;
use super::super::streams::Next;
use super::super::who::Caller;
use super::*;

fn caller(share: &Arc<Share>) -> Caller {
    let token = Digest::sha256(b"token");
    let (agent, share) = ("bot".parse().unwrap(), Arc::clone(share));
    Caller { token, bearer: token, expires: None, agent, arbiter: Arc::new(Absent), share }
}

fn conversation(era: Era, bounds: Bounds) -> (Arc<Conversation>, mpsc::Receiver<Said>) {
    let (to_gate, lines) = mpsc::channel(64);
    let share = Share::new(&bounds, &Pool::new(&bounds));
    let named = (Holder::new(&caller(&share)), "bot".parse().unwrap());
    (Conversation::new(named, era, share, (bounds, Duration::from_secs(4)), to_gate), lines)
}

fn question(conversation: &Conversation, id: i64, body: Body) -> Question {
    let room = conversation.share.hold(1).unwrap();
    Question { id: Id::Int(id), body, room, streams: true, opens: false }
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
    conversation.ask(question(conversation, id, body)).await.unwrap()
}

fn text(next: &Next) -> &str {
    match next {
        Next::Message(message) => std::str::from_utf8(message.text.bytes()).unwrap(),
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
        let line = String::from_utf8(lines.recv().await.unwrap().0).unwrap();
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
    assert!(matches!(stateless.deliver(log.to_vec()), Rest::Dropped(_)));
    stateless.deliver(answer(2, "b"));
    // The server may tell of what was answered, or of what was given up.
    stateless.deliver(log.to_vec());
    stateless.deliver(answer(1, "a"));
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
    conversation.deliver(answer(1, "a"));
    assert!(text(&slow.next().await).contains("progress"), "who is slow goes on with what came last");
    let slow = slow.kept();
    drop(slow);
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
    let line = String::from_utf8(lines.recv().await.unwrap().0).unwrap();
    assert!(line.contains("notifications/cancelled") && line.contains(r#""requestId":1"#), "{line}");
    let mut next = ask(&conversation, 1, "1").await;
    conversation.deliver(answer(1, "late"));
    conversation.deliver(answer(2, "own"));
    assert!(text(&next.next().await).contains("own"));
    drop(next);
    conversation.end();
    assert!(String::from_utf8(lines.recv().await.unwrap().0).unwrap().contains("tools/call"));
    assert!(lines.recv().await.is_none(), "what was answered is not cancelled");
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
        assert!(conversation.ask(question(&conversation, 2, body)).await.is_err());
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

fn sampling(id: u64) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage","params":{{}}}}"#).into_bytes()
}

/// Log messages took the place of a question, and the server waited for its answer for ever.
#[tokio::test]
async fn a_question_of_the_servers_outlasts_what_is_said_besides_and_is_answered_if_nobody_reads_it() {
    let bounds = Bounds { waiting: 4, ..Bounds::USUAL };
    let (conversation, _lines) = conversation(Era::Session, bounds);
    assert_eq!(conversation.deliver(sampling(7)), Rest::Nothing);
    let log = br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#;
    for _ in 0..100 {
        conversation.deliver(log.to_vec());
    }
    let mut own = conversation.read(OWN, None).unwrap();
    assert!(text(&own.next().await).contains("sampling"));
    conversation.deliver(sampling(8));
    let now = Instant::now();
    assert!(conversation.tend(now).is_empty());
    assert_eq!(conversation.tend(now + bounds.reading), [Id::Int(8)]);
    let told = String::from_utf8(unheard(&Id::Int(8))).unwrap();
    assert!(told.starts_with(r#"{"jsonrpc":"2.0","id":8,"error":"#), "{told}");
}

#[tokio::test]
async fn a_question_for_which_there_is_no_room_is_answered_at_once() {
    let bounds = Bounds { held_each: 300, ..Bounds::USUAL };
    let (conversation, _lines) = conversation(Era::Session, bounds);
    let rest = conversation.deliver(sampling(7));
    assert_eq!(rest, Rest::Answer(unheard(&Id::Int(7))));
}

/// What was read in one session was kept there until there was no room, and an answer in another was thrown away for it.
#[tokio::test]
async fn what_was_read_in_one_session_makes_room_in_another() {
    let bounds = Bounds { held_each: 10_000, ..Bounds::USUAL };
    let (first, _lines) = conversation(Era::Session, bounds);
    let (to_gate, _other_lines) = mpsc::channel(64);
    let named = (Arc::clone(&first.holder), first.agent.clone());
    let second =
        Conversation::new(named, Era::Session, Arc::clone(&first.share), (bounds, Duration::ZERO), to_gate);
    let long = "x".repeat(5_000);
    for (conversation, words) in [(&first, ["a", "b"]), (&second, ["c", "d"])] {
        for (number, word) in (1..).zip(words) {
            let mut asked = ask(conversation, 1, "1").await;
            conversation.deliver(answer(number, &format!("{word}{long}")));
            assert!(text(&asked.next().await).contains(&format!("{word}xxx")));
            drop(asked.kept());
        }
    }
    assert!(first.read(1, Some(0)).is_none(), "what is not kept any more is not read as nothing");
    assert!(second.read(2, Some(0)).is_some());
}

/// Answers that nobody could ask for again pushed out those that somebody would.
#[tokio::test]
async fn an_answer_that_was_not_read_outlasts_those_that_were() {
    let (conversation, mut lines) = conversation(Era::Session, Bounds::USUAL);
    drop(ask(&conversation, 1, "1").await.kept());
    conversation.deliver(answer(1, "first"));
    for number in 2..100 {
        let mut asked = ask(&conversation, 1, "1").await;
        lines.recv().await.unwrap();
        conversation.deliver(answer(number, "a"));
        assert!(text(&asked.next().await).contains("result"));
        drop(if number % 2 == 0 { asked.kept() } else { asked });
        assert_eq!(conversation.state().streams.contains_key(&number), number % 2 == 0);
    }
    let mut again = conversation.read(1, Some(0)).unwrap();
    assert!(text(&again.next().await).contains("first"));
    assert!(conversation.state().streams.len() <= 70);
}

#[tokio::test]
async fn what_the_endpoint_says_in_a_clients_place_was_a_word_of_the_clients() {
    let (conversation, mut lines) =
        conversation(Era::Session, Bounds { idle: Duration::from_millis(20), ..Bounds::USUAL });
    let later = Instant::now() + Duration::from_millis(20);
    tokio::time::sleep_until(later).await;
    conversation.say(b"unheard".to_vec()).await.unwrap();
    assert!(conversation.is_idle(Instant::now()));
    conversation.tell(b"heard".to_vec(), None).await.unwrap();
    assert!(!conversation.is_idle(later) && lines.recv().await.is_some());
    conversation.end();
    assert!(conversation.say(Vec::new()).await.is_err());
}

/// Its room was given back when it was in line: sixteen lines of each conversation were in nobody's.
#[tokio::test]
async fn a_notice_takes_room_until_the_gate_has_read_it() {
    let (conversation, mut lines) = conversation(Era::Session, Bounds { held_each: 100, ..Bounds::USUAL });
    let room = conversation.share.hold(100);
    conversation.tell(b"notice".to_vec(), room).await.unwrap();
    assert!(conversation.share.hold(1).is_none());
    drop(lines.recv().await.unwrap());
    assert!(conversation.share.hold(100).is_some());
}

#[tokio::test]
async fn a_cancelled_request_takes_room_until_the_gate_has_let_go_of_it() {
    let bounds = Bounds { held_each: 100, ..Bounds::USUAL };
    for era in [Era::Session, Era::Stateless] {
        let (conversation, _lines) = conversation(era, bounds);
        let body = body(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#);
        let room = conversation.share.hold(100).unwrap();
        let question = Question { id: Id::Int(1), body, room, streams: true, opens: false };
        let asked = conversation.ask(question).await.unwrap();
        if era == Era::Session {
            conversation.cancel(&Id::Int(1), None).await.unwrap();
        }
        drop(asked);
        assert!(conversation.share.hold(1).is_none());
        conversation.tend(Instant::now() + Duration::from_secs(4));
        assert!(conversation.share.hold(100).is_some());
    }
}

#[test]
fn a_token_that_expires_later_takes_the_place_of_the_one_before_for_good() {
    let bounds = Bounds::USUAL;
    let share = Share::new(&bounds, &Pool::new(&bounds));
    let with = |token: &[u8], bearer: &[u8], expires: Option<u64>| {
        let (token, bearer) = (Digest::sha256(token), Digest::sha256(bearer));
        Caller { token, bearer, expires: expires.map(Millis), ..caller(&share) }
    };
    let holder = Holder::new(&with(b"1", b"b", Some(10)));
    assert!(!holder.admits(&with(b"2", b"c", Some(20))), "another bearer's");
    assert!(!holder.admits(&with(b"2", b"b", Some(10))) && !holder.admits(&with(b"2", b"b", None)));
    assert!(holder.admits(&with(b"2", b"b", Some(11))) && holder.admits(&with(b"2", b"b", Some(11))));
    assert!(!holder.admits(&with(b"1", b"b", Some(10))), "it was replaced");
    let fixed = Holder::new(&with(b"1", b"1", None));
    assert!(fixed.admits(&with(b"1", b"1", None)) && !fixed.admits(&with(b"2", b"1", Some(9))));
}
