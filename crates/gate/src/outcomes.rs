//! Outcome reports: what became of each PERMIT reaches the arbiter even if the arbiter is away for a while, and until
//! then nothing more runs through this gate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::wire::OutcomeCall;
use portcullis_protocol::{AttemptId, ReasonCode};
use portcullis_sdk::{Authorizer, OutcomeReport};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::notes::Notes;

/// Bytes of results that may wait with their reports. Beyond that outcomes are reported without them.
const KEPT_RESULTS: usize = 16 * 1024 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A report that could not be delivered yet. There are never more of them than calls may be under way, for none begins
/// while one waits.
struct Waiting {
    attempt: AttemptId,
    call: OutcomeCall,
    /// When the arbiter ends the PERMIT as `unknown`; `None` once that was said.
    until: Option<Instant>,
}

impl Waiting {
    fn report(&self) -> OutcomeReport {
        OutcomeReport { attempt: self.attempt, call: self.call.clone() }
    }
}

/// What stands between this gate and the next call.
#[derive(Clone, Copy, Debug, Default)]
struct Overdue {
    /// Reports that failed and are not delivered yet.
    waiting: usize,
    /// Reports that were tried again in vain.
    in_vain: u64,
}

/// Reports outcomes, and keeps those that could not be reported yet.
pub(crate) struct Outcomes {
    arbiter: Arc<dyn Authorizer>,
    deadline: Duration,
    notes: Notes,
    queue: Mutex<VecDeque<Waiting>>,
    come: Notify,
    hurry: Notify,
    open: watch::Sender<usize>,
    overdue: watch::Sender<Overdue>,
}

impl Outcomes {
    pub(crate) fn new(arbiter: Arc<dyn Authorizer>, deadline: Duration, notes: Notes) -> Self {
        let (open, _) = watch::channel(0);
        let (overdue, _) = watch::channel(Overdue::default());
        let queue = Mutex::new(VecDeque::new());
        let (come, hurry) = (Notify::new(), Notify::new());
        Self { arbiter, deadline, notes, queue, come, hurry, open, overdue }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every outcome that was to be reported is on record. One that failed is tried again at once, so that the
    /// first call after the arbiter is back runs; nothing runs if that fails too.
    pub(crate) async fn are_recorded(&self) -> bool {
        let mut overdue = self.overdue.subscribe();
        let Overdue { waiting, in_vain } = *overdue.borrow_and_update();
        if waiting == 0 {
            return true;
        }
        self.hurry.notify_one();
        let told = overdue.wait_for(|now| now.waiting == 0 || now.in_vain > in_vain);
        drop(tokio::time::timeout(self.deadline, told).await);
        self.overdue.borrow().waiting == 0
    }

    /// Whether an outcome failed to be recorded and is not on record yet, as far as is known without waiting.
    pub(crate) fn is_any_overdue(&self) -> bool {
        self.overdue.borrow().waiting > 0
    }

    /// Reports once, within the deadline; what fails trips the gate and is tried again in the background until the
    /// arbiter has it. After `within` the arbiter has ended the PERMIT as `unknown`, which the report then supersedes.
    pub(crate) async fn settle(&self, report: OutcomeReport, within: Duration) {
        let OutcomeReport { attempt, call } = report;
        let waiting = Waiting { attempt, call, until: Instant::now().checked_add(within) };
        self.open.send_modify(|open| *open = open.saturating_add(1));
        if self.attempt(&waiting).await {
            self.settled();
        } else {
            self.overdue.send_modify(|overdue| overdue.waiting = overdue.waiting.saturating_add(1));
            self.keep(waiting);
        }
    }

    /// Whether the arbiter now has an outcome of this PERMIT on record. Nothing but its own word says so.
    async fn attempt(&self, waiting: &Waiting) -> bool {
        let reported = self.arbiter.report(waiting.report());
        match tokio::time::timeout(self.deadline, reported).await {
            Ok(Ok(_)) => true,
            Ok(Err(refusal)) if refusal.code() == ReasonCode::RequestOutcomeRecorded => {
                let (outcome, attempt) = (waiting.call.outcome.as_str(), waiting.attempt);
                self.notes.say(format!(
                    "another outcome than `{outcome}` of attempt {attempt} is on record already, and stands"
                ));
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn settled(&self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    fn keep(&self, mut waiting: Waiting) {
        {
            let mut queue = self.queue();
            let bytes = |waiting: &Waiting| waiting.call.result.as_ref().map_or(0, String::len);
            let kept: usize = queue.iter().map(bytes).sum();
            if kept.saturating_add(bytes(&waiting)) > KEPT_RESULTS {
                waiting.call.result = None;
            }
            queue.push_back(waiting);
        }
        self.come.notify_one();
    }

    /// Says once that the time is over in which the arbiter waits for an outcome.
    fn remark(&self, waiting: &mut Waiting) {
        if waiting.until.is_some_and(|until| Instant::now() >= until) {
            waiting.until = None;
            let outcome = waiting.call.outcome.as_str();
            self.notes.say(format!(
                "the outcome `{outcome}` of attempt {} could not be reported in time; calls are blocked until it is",
                waiting.attempt
            ));
        }
    }

    /// Retries for ever. One report's failure does not hold up the others for longer than one pause.
    pub(crate) async fn retry(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(mut waiting) = self.next() else {
                self.come.notified().await;
                continue;
            };
            if self.attempt(&waiting).await {
                self.overdue.send_modify(|overdue| overdue.waiting = overdue.waiting.saturating_sub(1));
                self.settled();
                pause = FIRST_PAUSE;
                continue;
            }
            self.remark(&mut waiting);
            self.keep(waiting);
            self.overdue.send_modify(|overdue| overdue.in_vain = overdue.in_vain.saturating_add(1));
            drop(tokio::time::timeout(pause, self.hurry.notified()).await);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    fn next(&self) -> Option<Waiting> {
        self.queue().pop_front()
    }

    /// Waits, at most so long, until nothing is left to report; returns how much is.
    pub(crate) async fn flush(&self, at_most: Duration) -> usize {
        let mut open = self.open.subscribe();
        self.hurry.notify_one();
        drop(tokio::time::timeout(at_most, open.wait_for(|open| *open == 0)).await);
        *self.open.borrow()
    }
}

#[cfg(test)]
#[path = "outcomes_tests.rs"]
mod tests;
