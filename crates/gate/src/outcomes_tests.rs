use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_protocol::{Outcome, ReasonCode, SurfaceTable};
use portcullis_sdk::{Call, Refusal};

use super::*;

struct Away;

fn away<T>() -> Call<'static, T> {
    Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) })
}

impl Authorizer for Away {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        away()
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        away()
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        away()
    }
}

fn report(number: u8) -> OutcomeReport {
    let call = OutcomeCall { nonce: String::new(), outcome: Outcome::Ok, result: None };
    OutcomeReport { attempt: AttemptId::from_bytes([number; 32]), call }
}

async fn told(outcomes: &Outcomes, seen: &Arc<Mutex<Vec<String>>>) -> Vec<String> {
    outcomes.notes.flush(Duration::from_secs(30)).await;
    seen.lock().unwrap().clone()
}

fn outcomes() -> (Arc<Outcomes>, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let notes = Notes::start(move |line| sink.lock().unwrap().push(line)).unwrap();
    (Arc::new(Outcomes::new(Arc::new(Away), Duration::from_secs(1), notes)), seen)
}

#[tokio::test]
async fn the_oldest_report_is_given_up_when_too_many_wait() {
    let (outcomes, seen) = outcomes();
    for number in 0..=WAITING {
        outcomes.settle(report(u8::try_from(number % 251).unwrap()), Duration::from_secs(60)).await;
    }
    assert_eq!(outcomes.queue().len(), WAITING);
    let told = told(&outcomes, &seen).await;
    assert_eq!(told.len(), 1);
    assert!(told[0].contains(&"00".repeat(32)), "{told:?}");
}

#[tokio::test]
async fn a_report_is_given_up_when_its_time_is_over_and_said_so() {
    let (outcomes, seen) = outcomes();
    outcomes.settle(report(1), Duration::ZERO).await;
    let retrying = tokio::spawn(Arc::clone(&outcomes).retry());
    assert_eq!(outcomes.flush(Duration::from_secs(30)).await, 0);
    assert!(told(&outcomes, &seen).await[0].contains("could not be reported"));
    retrying.abort();
}
