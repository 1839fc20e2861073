use std::sync::atomic::{AtomicU8, Ordering};

use portcullis_protocol::wire::{DecisionCall, DecisionReply, OutcomeReply};
use portcullis_protocol::{Outcome, SurfaceTable};

use super::*;
use crate::authorizer::Call;
use crate::refusal::Refusal;

const PATIENCE: Duration = Duration::from_secs(30);
/// What the arbiter answers to reports.
const AWAY: u8 = 0;
const RECORDED: u8 = 1;
const ENDED_OTHERWISE: u8 = 2;
const NO_SUCH_PERMIT: u8 = 3;
const HUNG: u8 = 4;
/// As if it were away, but it says so only when the test lets it.
const SLOWLY_AWAY: u8 = 5;

#[derive(Default)]
struct Arbiter {
    answers: AtomicU8,
    /// Reports that it is to be slow with have come.
    come: Notify,
    go: Notify,
}

fn refused<T>(code: ReasonCode) -> Call<'static, T> {
    Box::pin(async move { Err(Refusal::own(code, None)) })
}

impl Authorizer for Arbiter {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        refused(ReasonCode::ArbiterUnreachable)
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        match self.answers.load(Ordering::SeqCst) {
            AWAY => refused(ReasonCode::ArbiterUnreachable),
            RECORDED => Box::pin(async {
                // Whoever else has something to do does it first.
                tokio::task::yield_now().await;
                Ok(OutcomeReply { seq: 1 })
            }),
            ENDED_OTHERWISE => refused(ReasonCode::RequestOutcomeRecorded),
            HUNG => Box::pin(std::future::pending()),
            SLOWLY_AWAY => Box::pin(async {
                self.come.notify_one();
                self.go.notified().await;
                Err(Refusal::own(ReasonCode::ArbiterUnreachable, None))
            }),
            _ => refused(ReasonCode::RequestInvalidValue),
        }
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        refused(ReasonCode::ArbiterUnreachable)
    }
}

fn report(number: u8) -> OutcomeReport {
    let call = OutcomeCall { nonce: String::new(), outcome: Outcome::Ok, result: None };
    OutcomeReport { attempt: AttemptId::from_bytes([number; 32]), call, within: PATIENCE }
}

struct Scene {
    arbiter: Arc<Arbiter>,
    outcomes: Outcomes,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    fn new() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let arbiter = Arc::new(Arbiter::default());
        let remark = move |line| sink.lock().unwrap().push(line);
        let outcomes = Outcomes::start(arbiter.clone(), Duration::from_secs(1), remark);
        Self { arbiter, outcomes, seen }
    }

    fn answers(&self, how: u8) {
        self.arbiter.answers.store(how, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn nothing_runs_while_an_outcome_is_not_on_record_and_the_next_call_runs_once_it_is() {
    let scene = Scene::new();
    assert!(scene.outcomes.are_recorded().await, "nothing was to be reported yet");
    assert!(!scene.outcomes.settle(report(1)).await);
    assert!(!scene.outcomes.settle(report(2)).await);
    for _ in 0..3 {
        assert!(!scene.outcomes.are_recorded().await);
    }
    scene.answers(RECORDED);
    assert!(scene.outcomes.are_recorded().await, "the retry of the very call that asks");
    assert_eq!(scene.outcomes.flush(PATIENCE).await, 0);
}

#[tokio::test]
async fn the_first_call_after_the_arbiter_was_back_was_blocked_by_a_try_from_before() {
    let scene = Scene::new();
    assert!(!scene.outcomes.settle(report(1)).await);
    scene.answers(SLOWLY_AWAY);
    scene.arbiter.come.notified().await;
    scene.answers(RECORDED);
    let fails = async { scene.arbiter.go.notify_one() };
    let (recorded, ()) = tokio::join!(biased; scene.outcomes.are_recorded(), fails);
    assert!(recorded, "what failed had begun before the call");
}

#[tokio::test]
async fn only_the_arbiters_word_that_an_outcome_is_on_record_ends_the_wait() {
    let scene = Scene::new();
    scene.answers(NO_SUCH_PERMIT);
    assert!(!scene.outcomes.settle(report(1)).await);
    assert!(!scene.outcomes.are_recorded().await);
    scene.answers(ENDED_OTHERWISE);
    assert!(scene.outcomes.are_recorded().await);
    assert!(scene.seen.lock().unwrap()[0].contains("is on record already"));
}

#[tokio::test]
async fn a_report_outlives_the_arbiters_patience_and_that_is_said_once() {
    let scene = Scene::new();
    assert!(!scene.outcomes.settle(OutcomeReport { within: Duration::ZERO, ..report(1) }).await);
    for _ in 0..3 {
        assert!(!scene.outcomes.are_recorded().await);
    }
    let told = scene.seen.lock().unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("calls are blocked until it is"));
}

#[tokio::test]
async fn results_that_wait_are_bounded_and_outcomes_are_not_lost_for_it() {
    let scene = Scene::new();
    scene.outcomes._retrying.0.abort();
    for number in 0..20 {
        let mut report = report(number);
        report.call.result = Some("x".repeat(1024 * 1024));
        assert!(!scene.outcomes.settle(report).await);
    }
    let queue = scene.outcomes.desk.queue();
    let bytes: usize = queue.iter().filter_map(|waiting| waiting.call.result.as_ref()).map(String::len).sum();
    assert_eq!((queue.len(), bytes), (20, KEPT_RESULTS));
}

#[tokio::test]
async fn a_report_that_nobody_waits_for_any_more_is_not_lost() {
    let scene = Scene::new();
    scene.answers(HUNG);
    {
        let settling = std::pin::pin!(scene.outcomes.settle(report(1)));
        assert!(tokio::time::timeout(Duration::from_millis(1), settling).await.is_err(), "it was answered");
    }
    assert!(scene.outcomes.is_any_overdue());
    scene.answers(RECORDED);
    assert_eq!(scene.outcomes.flush(PATIENCE).await, 0);
    assert!(!scene.outcomes.is_any_overdue());
}

#[tokio::test]
async fn what_is_recorded_at_once_holds_up_nobody() {
    let scene = Scene::new();
    scene.answers(RECORDED);
    assert!(scene.outcomes.settle(report(1)).await);
    assert!(!scene.outcomes.is_any_overdue());
    assert_eq!(scene.outcomes.flush(Duration::ZERO).await, 0);
}
