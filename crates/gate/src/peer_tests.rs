use std::time::Duration;

use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_protocol::{Digest, Domain, Outcome, ReasonCode, Resource, SurfaceTable};
use portcullis_sdk::{Attempt, Authorizer, Call, Refusal};

use tokio::time::Instant;

use super::*;
use crate::company::Company;
use crate::notes::Notes;
use crate::pins::Tools;

/// An arbiter that is not there; nothing is reported to it here but what a test says.
struct Nobody;

impl Authorizer for Nobody {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(std::future::pending())
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(std::future::pending())
    }
}

fn outcomes() -> Outcomes {
    Outcomes::start(Arc::new(Nobody), Duration::from_secs(1), |_| {})
}

#[path = "../tests/mcp/receipts.rs"]
mod receipts;

const DECIDED: &[u8] = br#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"read"}}"#;

/// A permit for sending `DECIDED`.
fn permit() -> Permit {
    let ask = Ask {
        surface: "rec.read".parse().unwrap(),
        action: "act".parse().unwrap(),
        resource: Resource { kind: "Surface".into(), id: "rec.read".into() },
        acts_for: None,
        context: Default::default(),
        idempotency_key: None,
        payload: None,
        envelope: Some(Digest::of(Domain::Payload, &[DECIDED])),
        mapped_with: None,
        tool: None,
    };
    let attempt = Attempt::new("gate".parse().unwrap(), ask.by(receipts::agent())).unwrap();
    let record = receipts::record(&attempt.call(Duration::from_secs(1)), None, 60_000);
    attempt.redeem(&receipts::receipt(record), &receipts::trusted()).unwrap()
}

struct Side {
    peer: Peer,
    writer: Writer<Vec<u8>>,
}

impl Side {
    fn new() -> Self {
        let (peer, writer) = Peer::new(Vec::new());
        Self { peer, writer }
    }

    /// Hands over these bytes with a permit for `DECIDED`; what becomes of them, and what was written.
    async fn send(self, bytes: &[u8]) -> (Sent, String) {
        self.send_after(bytes, outcomes()).await
    }

    /// The same, of a gate with these outcomes.
    async fn send_after(self, bytes: &[u8], outcomes: Outcomes) -> (Sent, String) {
        self.send_since(bytes, outcomes, None).await
    }

    /// The same, while this holds of the server's tools.
    async fn send_since(mut self, bytes: &[u8], outcomes: Outcomes, since: Option<Since>) -> (Sent, String) {
        let (sent, mut result) = oneshot::channel();
        let (answer, _) = oneshot::channel();
        let call = Some((Id::Int(1), answer));
        let (permit, bytes) = (permit(), bytes.to_vec());
        let message = Decided::AsItIs(bytes);
        self.writer.permitted(Permitted { permit, outcomes, message, since, shown: None, call, sent }).await;
        let written = self.writer.out.map_or_else(String::new, |out| String::from_utf8(out).unwrap());
        (result.try_recv().unwrap(), written)
    }
}

#[tokio::test]
async fn a_permit_sends_the_bytes_that_it_is_for() {
    let side = Side::new();
    let _cancelled = side.peer.table.open(&Id::Int(1)).unwrap();
    let (result, written) = side.send(DECIDED).await;
    assert!(result.is_ok());
    assert_eq!(
        written,
        "{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{\"name\":\"read\"}}\n"
    );
}

#[tokio::test]
async fn a_permit_for_other_bytes_sends_nothing() {
    let side = Side::new();
    let _cancelled = side.peer.table.open(&Id::Int(1)).unwrap();
    let table = Arc::clone(&side.peer.table);
    let (result, written) = side.send(&DECIDED.to_ascii_lowercase()[1..]).await;
    let Err(Unsent::Lapsed(lapsed)) = result else { panic!("{result:?}") };
    assert_eq!(lapsed.refusal.code(), ReasonCode::PermitMismatch);
    assert_eq!(lapsed.report.call.outcome, Outcome::Expired);
    assert_eq!(written, "");
    assert!(table.answered(1).is_none(), "nothing waits for an answer to what was not sent");
}

#[tokio::test]
async fn a_permit_sends_nothing_while_an_outcome_of_its_gate_is_not_on_record() {
    let side = Side::new();
    let _cancelled = side.peer.table.open(&Id::Int(1)).unwrap();
    let outcomes = outcomes();
    assert!(!outcomes.settle(permit().decline()).await);
    let (result, written) = side.send_after(DECIDED, outcomes).await;
    let Err(Unsent::Lapsed(lapsed)) = result else { panic!("{result:?}") };
    assert_eq!(lapsed.refusal.code(), ReasonCode::EvidenceOutcomeUnrecorded);
    assert_eq!(lapsed.report.call.outcome, Outcome::Expired);
    assert_eq!(written, "");
}

/// How old a list of tools may be.
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_permit_sends_nothing_once_the_server_has_said_that_its_tools_are_others() {
    for (changes, old) in [(false, false), (true, false), (false, true)] {
        let side = Side::new();
        let _cancelled = side.peer.table.open(&Id::Int(1)).unwrap();
        let notes = Notes::start(|_| {}).unwrap();
        let tools = Tools::new(
            ("rec".to_owned(), Arc::new(Company::of(["rec".to_owned()]))),
            side.peer.clone(),
            WITHIN,
            notes,
        );
        let tools = Arc::new(tools);
        let at = Instant::now().checked_sub(if old { WITHIN } else { Duration::ZERO }).unwrap();
        let since = Since::of(Arc::clone(&tools), at);
        if changes {
            tools.changed();
        }
        let (result, written) = side.send_since(DECIDED, outcomes(), Some(since)).await;
        match result {
            Ok(_) => assert!(!changes && !old && written.contains("tools/call"), "{written}"),
            Err(Unsent::Changed(report)) => {
                assert!(
                    (changes || old) && report.call.outcome == Outcome::Expired && written.is_empty(),
                    "{written}"
                );
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_waits_to_be_written_was_counted_in_messages() {
    const MEGABYTE: usize = 1 << 20;
    let Side { peer, writer } = Side::new();
    let long = || Outgoing::Answer(Answer { id: None, reply: Reply::Result("x".repeat(MEGABYTE)) });
    let offered = (0..WAITING).take_while(|_| peer.offer(long())).count();
    assert_eq!(offered, 32, "megabytes");
    tokio::select! {
        biased;
        () = peer.give(long()) => panic!("there is no room"),
        () = std::future::ready(()) => {}
    }
    let writing = tokio::spawn(writer.run());
    // What was written makes room.
    peer.give(long()).await;
    assert!(peer.offer(Outgoing::Close), "the end takes no room");
    drop(peer);
    writing.await.unwrap();
}

#[tokio::test]
async fn a_cancelled_call_sends_nothing() {
    let side = Side::new();
    let _cancelled = side.peer.table.open(&Id::Int(1)).unwrap();
    side.peer.table.cancel(&Id::Int(1));
    let (result, written) = side.send(DECIDED).await;
    assert!(matches!(result, Err(Unsent::Cancelled(_))), "{result:?}");
    assert_eq!(written, "");
}

#[tokio::test]
async fn nothing_is_sent_to_a_side_that_is_gone() {
    let side = Side::new();
    let _cancelled = side.peer.table.open(&Id::Int(1)).unwrap();
    side.peer.table.shut();
    let (result, written) = side.send(DECIDED).await;
    assert!(matches!(result, Err(Unsent::Gone(_))), "{result:?}");
    assert_eq!(written, "");
}

/// Questions are asked all together: one whose permit does not hold any more keeps the others back.
#[tokio::test]
async fn an_answer_with_questions_is_written_only_under_all_their_permits() {
    for (bytes, asked) in [([DECIDED, DECIDED], true), ([DECIDED, b"{}"], false), ([b"{}", DECIDED], false)] {
        let mut side = Side::new();
        let questions = bytes.map(|bytes| Question { permit: permit(), bytes: bytes.to_vec() }).into();
        let answer = Answer { id: Some(Id::Int(1)), reply: Reply::Result("{}".to_owned()) };
        let (told, mut result) = oneshot::channel();
        side.writer.asked(Asked { answer, questions, outcomes: outcomes(), told }).await;
        let written = side.writer.out.map_or_else(String::new, |out| String::from_utf8(out).unwrap());
        match result.try_recv().unwrap() {
            Ok((running, _)) => {
                assert!(asked && running.len() == 2 && written.contains("result"), "{written}")
            }
            Err(NotAsked { refusal, reports }) => {
                assert!(!asked && written.is_empty(), "{written}");
                assert_eq!((refusal.code(), reports.len()), (ReasonCode::PermitMismatch, 2));
            }
        }
    }
}
