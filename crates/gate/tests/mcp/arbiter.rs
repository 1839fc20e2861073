//! An arbiter whose receipts verify, and which otherwise does what a test tells it to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_protocol::request::Ask;
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, ListingCall, ListingReply, OutcomeReply, ReasonBody, SimulationReply,
    StoredResult,
};
use portcullis_protocol::{
    AttemptId, BundleRef, Captured, Decision, ListingRecord, Millis, Nonce, Outcome, PrincipalId, ReasonCode,
    Record, Snapshots, SurfaceTable, ToolName,
};
use portcullis_sdk::{Authorizer, BootInstant, Call, OutcomeReport, Refusal};
use tokio::sync::{Semaphore, watch};

use super::receipts::{agent, bundle, receipt, receipt_of, record};

/// What the arbiter does with a question.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Permits it.
    Permit,
    /// Permits it for so many milliseconds.
    PermitFor(u64),
    /// Permits it for so long, and answers only when that is over.
    PermitTooLate(Duration),
    /// Permits it once the arbiter is released.
    PermitWhenReleased,
    /// Refuses it, on record.
    Refuse(ReasonCode),
    /// Refuses it as already run.
    Completed(StoredResult, bool),
    /// Permits whatever was mapped with the bundle of this version.
    PermitMappedWith(u8),
    /// Permits all but what is asked of a surface that begins like that.
    PermitBut(&'static str, ReasonCode),
    /// Permits what the pins of the table that it gives out let through, as a real one does.
    PermitAsPinned,
    /// Never answers.
    Hang,
    /// PERMIT, with this for a receipt.
    Garbage(String),
    /// PERMIT, with the receipt of another attempt.
    OtherAttempt,
    /// PERMIT, with the receipt of the same asked for this principal, or for nobody.
    OtherPrincipal(Option<PrincipalId>),
    /// PERMIT, without a receipt.
    NoReceipt,
    /// The connection is lost, and the arbiter has heard nothing.
    Lost,
    /// The first is permitted, and the answer lost; the others are refused while that PERMIT is open.
    PermitAndLose,
}

pub(crate) struct TestArbiter {
    pub(crate) act: Mutex<Act>,
    pub(crate) table: Mutex<Result<SurfaceTable, ReasonCode>>,
    pub(crate) tables: Mutex<usize>,
    /// Questions, in order.
    pub(crate) asked: watch::Sender<Vec<DecisionCall>>,
    /// Outcomes, in order, of attempts whose nonce was shown.
    pub(crate) outcomes: watch::Sender<Vec<(Outcome, Option<String>)>>,
    /// Reports that fail before one is taken.
    pub(crate) failing_reports: Mutex<usize>,
    /// Reports hang while this is true.
    pub(crate) hanging: watch::Sender<bool>,
    /// Reports that have begun.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) release: Semaphore,
    /// The attempts of which it has heard nothing.
    unheard: Mutex<BTreeSet<AttemptId>>,
    /// The attempt whose PERMIT was lost and is open; `None` inside once it has ended.
    lost: Mutex<Option<Option<AttemptId>>>,
    /// Questions what would be decided, in order.
    pub(crate) simulated: watch::Sender<Vec<DecisionCall>>,
    /// Questions for lists, in order.
    pub(crate) lists: Mutex<Vec<ListingCall>>,
    /// The tools that it hides, or why it shows none.
    pub(crate) hides: Mutex<Result<BTreeSet<String>, ReasonCode>>,
    /// What it writes into the records of lists instead of the truth.
    pub(crate) forges: Mutex<Option<fn(&mut ListingRecord)>>,
    /// What it says of itself.
    pub(crate) ready: watch::Sender<bool>,
}

impl TestArbiter {
    pub(crate) fn new(table: SurfaceTable) -> Arc<Self> {
        Arc::new(Self {
            act: Mutex::new(Act::Permit),
            table: Mutex::new(Ok(table)),
            tables: Mutex::new(0),
            asked: watch::channel(Vec::new()).0,
            outcomes: watch::channel(Vec::new()).0,
            failing_reports: Mutex::new(0),
            hanging: watch::channel(false).0,
            begun: watch::channel(0).0,
            release: Semaphore::new(0),
            unheard: Mutex::default(),
            lost: Mutex::default(),
            simulated: watch::channel(Vec::new()).0,
            lists: Mutex::default(),
            hides: Mutex::new(Ok(BTreeSet::new())),
            forges: Mutex::default(),
            ready: watch::channel(true).0,
        })
    }

    /// Hides these tools from now on, by their servers' and their own names.
    pub(crate) fn hide(&self, tools: &[&str]) {
        *self.hides.lock().unwrap() = Ok(tools.iter().map(|tool| (*tool).to_owned()).collect());
    }

    /// Answers a list from which these tools are hidden.
    pub(crate) fn list_hiding(
        &self,
        call: ListingCall,
        hides: Result<BTreeSet<String>, ReasonCode>,
    ) -> Call<'_, ListingReply> {
        self.lists.lock().unwrap().push(call.clone());
        let version = self.table.lock().unwrap().as_ref().map(|table| table.bundle).map_err(|code| *code);
        let forges = *self.forges.lock().unwrap();
        Box::pin(async move {
            let hidden = hides.map_err(|code| Refusal::own(code, None))?;
            let mut record = listing(&call, |tool| hidden.contains(tool.as_str()));
            record.bundle.digest = version.map_err(|code| Refusal::own(code, None))?;
            if let Some(forge) = forges {
                forge(&mut record);
            }
            Ok(ListingReply { receipt: receipt_of(Record::Listing(Box::new(record))) })
        })
    }

    pub(crate) fn will(&self, act: Act) {
        *self.act.lock().unwrap() = act;
    }

    /// Whether a call was read by the table that is served, and that is the one of `version`.
    fn reads_by(&self, version: u8, call: &DecisionCall) -> bool {
        let table = self.table.lock().unwrap().clone().unwrap();
        table.bundle == bundle(version) && call.request.mapped_with == Some(table.digest().unwrap())
    }

    pub(crate) fn questions(&self) -> Vec<DecisionCall> {
        self.asked.borrow().clone()
    }

    pub(crate) fn reported(&self) -> Vec<Outcome> {
        self.outcomes.borrow().iter().map(|(outcome, _)| *outcome).collect()
    }

    /// Waits until so many questions have been asked.
    pub(crate) async fn asked(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let all = asked.wait_for(|asked| asked.len() >= count);
        drop(tokio::time::timeout(super::PATIENCE, all).await.expect("a question").unwrap());
    }

    /// Waits until so many outcomes have been reported.
    pub(crate) async fn settled(&self, count: usize) -> Vec<(Outcome, Option<String>)> {
        let mut outcomes = self.outcomes.subscribe();
        let all = outcomes.wait_for(|outcomes| outcomes.len() >= count);
        tokio::time::timeout(super::PATIENCE, all).await.expect("an outcome").unwrap().clone()
    }

    async fn answer(&self, act: Act, call: DecisionCall) -> Result<DecisionReply, Refusal> {
        match act {
            Act::Permit => Ok(permit(&call, 60_000)),
            Act::PermitFor(ttl_ms) => Ok(permit(&call, ttl_ms)),
            Act::PermitTooLate(ttl) => {
                let asked = BootInstant::now();
                while BootInstant::now().since(asked) <= ttl {
                    tokio::task::yield_now().await;
                }
                Ok(permit(&call, u64::try_from(ttl.as_millis()).unwrap()))
            }
            Act::PermitWhenReleased => {
                self.release.acquire().await.unwrap().forget();
                Ok(permit(&call, 60_000))
            }
            Act::Refuse(code) => Ok(refusal(&call, code, None)),
            Act::Completed(stored, on_record) => {
                let mut reply = refusal(&call, ReasonCode::IdempotencyCompleted, Some(stored));
                reply.receipt = reply.receipt.filter(|_| on_record);
                Ok(reply)
            }
            Act::PermitMappedWith(version) if self.reads_by(version, &call) => Ok(permit(&call, 60_000)),
            Act::PermitMappedWith(_) => Ok(refusal(&call, ReasonCode::SurfaceMappingChanged, None)),
            Act::PermitBut(surface, code) => Ok(match call.request.surface.as_str().starts_with(surface) {
                true => refusal(&call, code, None),
                false => permit(&call, 60_000),
            }),
            Act::PermitAsPinned => {
                let pins = self.table.lock().unwrap().clone().unwrap().pins;
                match pins.judge_ask(&call.request) {
                    Ok(()) => Ok(permit(&call, 60_000)),
                    Err(code) => Ok(refusal(&call, code, None)),
                }
            }
            Act::Hang => std::future::pending().await,
            Act::Garbage(text) => Ok(DecisionReply { receipt: Some(text), ..permit(&call, 60_000) }),
            Act::OtherAttempt => {
                let other = Nonce::from_bytes([9; 32]).attempt_id();
                Ok(permit(&DecisionCall { attempt: other, ..call }, 60_000))
            }
            Act::OtherPrincipal(acts_for) => {
                let request = Ask { acts_for, ..call.request };
                Ok(permit(&DecisionCall { request, ..call }, 60_000))
            }
            Act::NoReceipt => Ok(DecisionReply { receipt: None, ..permit(&call, 60_000) }),
            Act::Lost => {
                self.unheard.lock().unwrap().insert(call.attempt);
                Err(Refusal::own(ReasonCode::ArbiterUnreachable, None))
            }
            Act::PermitAndLose => {
                let mut lost = self.lost.lock().unwrap();
                match *lost {
                    None => {
                        *lost = Some(Some(call.attempt));
                        Err(Refusal::own(ReasonCode::ArbiterUnreachable, None))
                    }
                    Some(Some(_)) => Ok(refusal(&call, ReasonCode::IdempotencyInFlight, None)),
                    Some(None) => Ok(permit(&call, 60_000)),
                }
            }
        }
    }
}

/// The record of a list, from which these are hidden.
fn listing(call: &ListingCall, hides: impl Fn(&ToolName) -> bool) -> ListingRecord {
    let (hidden, shown) = call.tools.iter().cloned().partition(hides);
    ListingRecord {
        seq: 0,
        time: Millis(1_700_000_000_000),
        agent: agent(),
        acts_for: call.acts_for.clone(),
        gate: call.gate.clone(),
        listing: call.listing,
        server: call.server.clone(),
        shown,
        hidden,
        unnamed: call.unnamed,
        bundle: BundleRef { name: "test".into(), version: 1, digest: bundle(1) },
        sources: Snapshots::new(),
        engine: "test".into(),
    }
}

fn permit(call: &DecisionCall, ttl_ms: u64) -> DecisionReply {
    DecisionReply {
        decision: Decision::Permit,
        reason: None,
        captured: Captured::Logged,
        receipt: Some(receipt(record(call, None, ttl_ms))),
        stored: None,
    }
}

fn refusal(call: &DecisionCall, code: ReasonCode, stored: Option<StoredResult>) -> DecisionReply {
    DecisionReply {
        decision: code.decision(),
        reason: Some(ReasonBody::from(code)),
        captured: Captured::Logged,
        receipt: Some(receipt(record(call, Some(code), 0))),
        stored,
    }
}

impl Authorizer for TestArbiter {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        self.asked.send_modify(|asked| asked.push(call.clone()));
        let act = self.act.lock().unwrap().clone();
        Box::pin(self.answer(act, call))
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        Box::pin(async move {
            self.begun.send_modify(|begun| *begun += 1);
            drop(self.hanging.subscribe().wait_for(|hanging| !hanging).await.unwrap());
            let failing = {
                let mut failing = self.failing_reports.lock().unwrap();
                let fails = *failing > 0;
                *failing = failing.saturating_sub(1);
                fails
            };
            if failing {
                return Err(Refusal::own(ReasonCode::ArbiterUnreachable, None));
            }
            let nonce: Nonce = report.call.nonce.parse().unwrap();
            assert_eq!(nonce.attempt_id(), report.attempt);
            if self.unheard.lock().unwrap().contains(&report.attempt) {
                return Err(Refusal::own(ReasonCode::RequestInvalidValue, None));
            }
            if let Some(lost) = self.lost.lock().unwrap().as_mut() {
                lost.take_if(|lost| *lost == report.attempt);
            }
            self.outcomes.send_modify(|all| all.push((report.call.outcome, report.call.result)));
            Ok(OutcomeReply { seq: 1 })
        })
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        let hides = self.hides.lock().unwrap().clone();
        self.list_hiding(call, hides)
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        self.simulated.send_modify(|asked| asked.push(call.clone()));
        let act = self.act.lock().unwrap().clone();
        Box::pin(async move {
            let reply = self.answer(act, call.clone()).await?;
            let code = reply.reason.as_ref().map(|reason| reason.code);
            let would = record(&call, code, 60_000);
            Ok(SimulationReply {
                reason: reply.reason,
                receipt: receipt_of(Record::Simulation(Box::new(would))),
            })
        })
    }

    fn ready(&self) -> Call<'_, bool> {
        let ready = *self.ready.borrow();
        Box::pin(async move { Ok(ready) })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        *self.tables.lock().unwrap() += 1;
        let table = self.table.lock().unwrap().clone();
        Box::pin(async move { table.map_err(|code| Refusal::own(code, None)) })
    }
}
