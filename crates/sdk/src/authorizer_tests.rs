use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::testing::{LONG, Log, agent, attempt, permit, request, wait_until};
use crate::{BootInstant, Unavailable};
use portcullis_protocol::{Captured, Payload};

const DEADLINE: Duration = Duration::from_secs(20);

/// An arbiter in this process that permits whatever it is asked, for a while.
struct Generous {
    ttl_ms: u64,
    /// Whether it takes no reports.
    deaf: AtomicBool,
    /// What was reported and taken.
    reports: Mutex<Vec<Outcome>>,
    /// What came with each question.
    brought: Mutex<Vec<Option<Payload>>>,
}

impl Generous {
    fn new(ttl_ms: u64) -> Arc<Self> {
        let (reports, brought) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        Arc::new(Self { ttl_ms, deaf: AtomicBool::new(false), reports, brought })
    }

    fn is_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    fn reported(&self) -> Vec<Outcome> {
        self.reports.lock().unwrap().clone()
    }
}

impl Authorizer for Generous {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        let receipt = Some(Log::new().receipt(permit(&call, self.ttl_ms)));
        self.brought.lock().unwrap().push(call.payload);
        let (decision, captured) = (Decision::Permit, Captured::Logged);
        Box::pin(async move { Ok(DecisionReply { decision, reason: None, captured, receipt, stored: None }) })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        if self.deaf.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Refusal::own(ReasonCode::ArbiterUnreachable, None)) });
        }
        self.reports.lock().unwrap().push(report.call.outcome);
        Box::pin(async { Ok(OutcomeReply { seq: 1 }) })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(async { Err(Refusal::own(ReasonCode::PolicyMissing, None)) })
    }
}

/// One that never answers.
struct Hung;

impl Authorizer for Hung {
    fn decide(&self, _: DecisionCall) -> Call<'_, DecisionReply> {
        Box::pin(std::future::pending())
    }

    fn report(&self, _: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(std::future::pending())
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        Box::pin(std::future::pending())
    }
}

fn outcomes(arbiter: &Arc<Generous>) -> Outcomes {
    Outcomes::start(arbiter.clone(), DEADLINE, |remark| panic!("{remark}"))
}

fn me() -> (AgentId, GateId) {
    (agent(), "gate".parse().unwrap())
}

/// Runs a function that fails, and says when it began.
async fn run_with(outcomes: &Outcomes, began: impl FnOnce()) -> Result<(u8, Outcome, bool), Refusal> {
    let log = Log::new().trusted();
    let ran = run(outcomes, &log, me(), request().ask, DEADLINE, async |running| {
        assert_eq!(running.request(), &request());
        began();
        (7, Outcome::Failed, None)
    });
    ran.await.map(|ran| (ran.value, ran.outcome, ran.recorded))
}

#[tokio::test]
async fn a_function_runs_under_a_permit_and_its_outcome_is_reported() {
    let arbiter = Generous::new(LONG);
    assert_eq!(run_with(&outcomes(&arbiter), || {}).await, Ok((7, Outcome::Failed, true)));
    assert_eq!(arbiter.reported(), [Outcome::Failed]);
}

#[tokio::test]
async fn what_a_function_was_called_with_did_not_come_to_the_arbiter_that_was_to_keep_it() {
    let arbiter = Generous::new(LONG);
    let log = Log::new().trusted();
    let [server, method, name, arguments, rest] = ["srv", "call", "pay", "{}", ""].map(str::to_owned);
    let payload = Payload { server, method, name, arguments, rest };
    let (agent, gate) = me();
    let ask = portcullis_protocol::request::Ask { payload: Some(payload.digest()), ..request().ask };
    let attempt = Attempt::new(gate, ask.by(agent)).unwrap().bringing(payload.clone());
    let act = async |running: &Running| (running.request().ask.payload, Outcome::Ok, None);
    let ran = run_attempt(&outcomes(&arbiter), &log, attempt, DEADLINE, act).await.unwrap();
    assert_eq!((ran.value, ran.recorded), (Some(payload.digest()), true));
    assert_eq!(*arbiter.brought.lock().unwrap(), [Some(payload)]);
}

#[tokio::test]
async fn a_function_bound_to_bytes_does_not_run_without_them_and_its_permit_is_given_up() {
    let arbiter = Generous::new(LONG);
    let log = Log::new().trusted();
    let mut ask = request().ask;
    ask.envelope = Some(portcullis_protocol::Digest::sha256(b"bytes"));
    let ran = run(&outcomes(&arbiter), &log, me(), ask, DEADLINE, async |_| panic!("it ran")).await;
    let refused: Result<Ran<()>, Refusal> = ran;
    assert_eq!(refused.map(drop).unwrap_err().code(), ReasonCode::PermitMismatch);
    assert_eq!(arbiter.reported(), [Outcome::Expired]);
}

#[tokio::test]
async fn a_function_whose_permit_came_too_late_does_not_run() {
    let arbiter = Generous::new(0);
    let refused = run_with(&outcomes(&arbiter), || panic!("it ran")).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::PermitExpired);
}

#[tokio::test]
async fn a_program_whose_last_outcome_is_not_on_record_ran_another_function() {
    let arbiter = Generous::new(LONG);
    let outcomes = outcomes(&arbiter);
    arbiter.is_deaf(true);
    assert_eq!(run_with(&outcomes, || {}).await, Ok((7, Outcome::Failed, false)));
    for _ in 0..2 {
        let refused = run_with(&outcomes, || panic!("it ran")).await.unwrap_err();
        assert_eq!(refused.code(), ReasonCode::EvidenceOutcomeUnrecorded);
        assert_eq!(refused.decision(), Decision::Silence);
    }
    arbiter.is_deaf(false);
    assert_eq!(run_with(&outcomes, || {}).await, Ok((7, Outcome::Failed, true)));
    assert_eq!(arbiter.reported(), [Outcome::Failed, Outcome::Failed]);
}

#[tokio::test]
async fn a_permit_from_before_an_outcome_was_lost_was_spent_after_it() {
    let arbiter = Generous::new(LONG);
    let (log, outcomes) = (Log::new().trusted(), outcomes(&arbiter));
    let permit = async || authorize(outcomes.arbiter(), attempt(), &log, DEADLINE).await.unwrap();
    let (first, second) = (permit().await.begin(&outcomes).unwrap(), permit().await);
    arbiter.is_deaf(true);
    assert!(!outcomes.settle(first.finish(Outcome::Ok, None)).await);
    let lapsed = second.begin(&outcomes).unwrap_err();
    assert_eq!(lapsed.refusal.code(), ReasonCode::EvidenceOutcomeUnrecorded);
    arbiter.is_deaf(false);
    assert!(outcomes.settle(lapsed.report).await && outcomes.are_recorded().await);
    let mut reported = arbiter.reported();
    reported.sort_by_key(|outcome| outcome.as_str());
    assert_eq!(reported, [Outcome::Expired, Outcome::Ok]);
}

#[tokio::test]
async fn a_function_that_is_abandoned_halfway_ends_as_unknown() {
    let arbiter = Generous::new(LONG);
    let (log, outcomes) = (Log::new().trusted(), outcomes(&arbiter));
    let (began, mut has_begun) = tokio::sync::oneshot::channel();
    let act = async |_: &Running| {
        began.send(()).unwrap();
        std::future::pending().await
    };
    let ask = request().ask;
    let mut running = Box::pin(run::<(), _>(&outcomes, &log, me(), ask, DEADLINE, act));
    tokio::select! {
        _ = &mut running => panic!("it ended"),
        begun = &mut has_begun => begun.unwrap(),
    }
    assert_eq!(arbiter.reported(), []);
    drop(running);
    assert!(outcomes.are_recorded().await);
    assert_eq!(arbiter.reported(), [Outcome::Unknown]);
}

#[tokio::test]
async fn a_function_that_panics_ends_as_unknown_and_nothing_runs_before_that_is_on_record() {
    let arbiter = Generous::new(LONG);
    let outcomes = outcomes(&arbiter);
    arbiter.is_deaf(true);
    let panicking = tokio::spawn({
        let outcomes = outcomes.clone();
        async move { run_with(&outcomes, || panic!("the function's own")).await.map(drop) }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    let refused = run_with(&outcomes, || panic!("it ran")).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::EvidenceOutcomeUnrecorded);
    arbiter.is_deaf(false);
    assert!(run_with(&outcomes, || {}).await.is_ok());
    assert_eq!(arbiter.reported(), [Outcome::Unknown, Outcome::Failed]);
}

#[tokio::test]
async fn an_arbiter_that_never_answers_is_late() {
    let log = Log::new().trusted();
    let deadline = Duration::from_millis(50);
    let refusal = authorize(&Hung, attempt(), &log, deadline).await.unwrap_err();
    let Refusal::Unavailable(unavailable) = refusal else { panic!("{refusal:?}") };
    let Unavailable { reason, receipt, waiting_helps, spooled } = *unavailable;
    assert!(!spooled);
    assert_eq!((reason.code, receipt, waiting_helps), (ReasonCode::ArbiterTimeout, None, true));
}

#[tokio::test]
async fn a_permit_that_came_by_another_log_runs_nothing() {
    let log = Log::of("gate.example/log", 8).trusted();
    let refusal = authorize(Generous::new(LONG).as_ref(), attempt(), &log, DEADLINE).await.unwrap_err();
    assert_eq!(refusal.code(), ReasonCode::ReceiptUnverifiable);
}

#[test]
fn the_boot_clock_goes_on() {
    let before = BootInstant::now();
    let later = before.plus(Duration::from_millis(2));
    wait_until(later);
    assert!(BootInstant::now().since(before) >= Duration::from_millis(2));
    assert_eq!(before.since(later), Duration::ZERO);
}

#[test]
fn every_refusal_tells_whether_waiting_helps_and_none_of_them_permits() {
    for code in ReasonCode::ALL {
        let refusal = Refusal::own(*code, None);
        assert_eq!((refusal.code(), refusal.decision()), (*code, code.decision()));
        assert_ne!(refusal.decision(), Decision::Permit);
        assert_eq!(refusal.captured(), Captured::None);
        assert_eq!(matches!(refusal, Refusal::Blocked(_)), code.decision() == Decision::Deny, "{code}");
    }
    let helps = |code| Refusal::own(code, None).waiting_helps();
    assert!(helps(ReasonCode::EvidenceUnwritable) && helps(ReasonCode::IdempotencyInFlight));
    assert!(!helps(ReasonCode::IdempotencyOutcomeUnknown) && !helps(ReasonCode::PermitMismatch));
    assert!(!helps(ReasonCode::PolicyNoGrant) && !helps(ReasonCode::SurfaceUnknown));
}
