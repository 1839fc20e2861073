use super::*;
use std::sync::Mutex;

use crate::testing::{LONG, Log, agent, attempt, permit, request, wait_until};
use crate::{BootInstant, Unavailable};
use portcullis_protocol::Captured;

const DEADLINE: Duration = Duration::from_secs(20);

/// An arbiter in this process that permits whatever it is asked, for a while.
struct Generous {
    ttl_ms: u64,
    reports: Mutex<Vec<Outcome>>,
}

impl Generous {
    fn new(ttl_ms: u64) -> Self {
        Self { ttl_ms, reports: Mutex::new(Vec::new()) }
    }
}

impl Authorizer for Generous {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        let receipt = Some(Log::new().receipt(permit(&call, self.ttl_ms)));
        let (decision, captured) = (Decision::Permit, Captured::Logged);
        Box::pin(async move { Ok(DecisionReply { decision, reason: None, captured, receipt, stored: None }) })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
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

async fn run_with(arbiter: &Generous, began: impl FnOnce()) -> Result<(u8, Outcome), Refusal> {
    let log = Log::new().trusted();
    let gate = "gate".parse().unwrap();
    let ask = request().ask;
    let ran = run(arbiter, &log, (agent(), gate), ask, DEADLINE, async |running| {
        assert_eq!(running.request(), &request());
        began();
        (7, Outcome::Failed, None)
    });
    ran.await.map(|(value, outcome, reported)| {
        assert_eq!(reported.unwrap().seq, 1);
        (value, outcome)
    })
}

#[tokio::test]
async fn a_function_runs_under_a_permit_and_its_outcome_is_reported() {
    let arbiter = Generous::new(LONG);
    assert_eq!(run_with(&arbiter, || {}).await, Ok((7, Outcome::Failed)));
    assert_eq!(*arbiter.reports.lock().unwrap(), [Outcome::Failed]);
}

#[tokio::test]
async fn a_function_bound_to_bytes_does_not_run_without_them_and_its_permit_is_given_up() {
    let arbiter = Generous::new(LONG);
    let (log, gate) = (Log::new().trusted(), "gate".parse().unwrap());
    let mut ask = request().ask;
    ask.envelope = Some(portcullis_protocol::Digest::sha256(b"bytes"));
    let ran = run(&arbiter, &log, (agent(), gate), ask, DEADLINE, async |_| panic!("it ran")).await;
    let refused: Result<((), Outcome, _), Refusal> = ran;
    assert_eq!(refused.map(drop).unwrap_err().code(), ReasonCode::PermitMismatch);
    assert_eq!(*arbiter.reports.lock().unwrap(), [Outcome::Expired]);
}

#[tokio::test]
async fn a_function_whose_permit_came_too_late_does_not_run() {
    let arbiter = Generous::new(0);
    let refused = run_with(&arbiter, || panic!("it ran")).await.unwrap_err();
    assert_eq!(refused.code(), ReasonCode::PermitExpired);
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
    let refusal = authorize(&Generous::new(LONG), attempt(), &log, DEADLINE).await.unwrap_err();
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
