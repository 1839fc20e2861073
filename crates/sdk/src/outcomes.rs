//! Outcome reports: what became of each PERMIT reaches the arbiter even if the arbiter is away for a while, and until
//! then no further permit is spent.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::wire::OutcomeCall;
use portcullis_protocol::{AttemptId, ReasonCode};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::authorizer::Authorizer;
use crate::permit::OutcomeReport;

/// Bytes of results that may wait with their reports. Beyond that outcomes are reported without them.
const KEPT_RESULTS: usize = 16 * 1024 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A report that is not delivered yet. There are never more of them than actions may be under way, for none begins
/// while one waits.
struct Waiting {
    attempt: AttemptId,
    call: OutcomeCall,
    /// When the arbiter ends the PERMIT as `unknown`; `None` once that was said.
    until: Option<Instant>,
}

impl Waiting {
    fn new(report: OutcomeReport) -> Self {
        let OutcomeReport { attempt, call, within } = report;
        Self { attempt, call, until: Instant::now().checked_add(within) }
    }

    fn report(&self) -> OutcomeReport {
        OutcomeReport { attempt: self.attempt, call: self.call.clone(), within: Duration::ZERO }
    }
}

/// What stands between this program and its next action.
#[derive(Clone, Copy, Debug, Default)]
struct Overdue {
    /// Reports that failed and are not delivered yet.
    waiting: usize,
    /// How often a report was tried again, those under way included.
    begun: u64,
    /// Which of these tries is the last that was in vain.
    in_vain: u64,
}

/// Reports the outcomes of one program to its arbiter, and keeps those that could not be reported yet. While it keeps
/// one, no [`Permit`](crate::Permit) is spent: `evidence.outcome_unrecorded`.
///
/// Clones are the same. With the last of them, actions under way included, the reports that still wait are gone; the
/// arbiter closes their PERMITs as `unknown` when they are due.
#[derive(Clone)]
pub struct Outcomes {
    desk: Arc<Desk>,
    _retrying: Arc<Retrying>,
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Outcomes")
            .field("overdue", &*self.desk.overdue.borrow())
            .finish_non_exhaustive()
    }
}

/// Ends the retries with the last of whom they are for.
struct Retrying(JoinHandle<()>);

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Desk {
    arbiter: Arc<dyn Authorizer>,
    deadline: Duration,
    remark: Box<dyn Fn(String) + Send + Sync>,
    queue: Mutex<VecDeque<Waiting>>,
    come: Notify,
    hurry: Notify,
    open: watch::Sender<usize>,
    overdue: watch::Sender<Overdue>,
}

impl Outcomes {
    /// Starts to report to this arbiter, with so much time for each report. `remark` gets a line for people when an
    /// outcome is late or superseded; it must not block.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with I/O and time.
    #[must_use]
    pub fn start(
        arbiter: Arc<dyn Authorizer>,
        deadline: Duration,
        remark: impl Fn(String) + Send + Sync + 'static,
    ) -> Self {
        let (open, _) = watch::channel(0);
        let (overdue, _) = watch::channel(Overdue::default());
        let queue = Mutex::new(VecDeque::new());
        let (come, hurry) = (Notify::new(), Notify::new());
        let remark = Box::new(remark);
        let desk = Arc::new(Desk { arbiter, deadline, remark, queue, come, hurry, open, overdue });
        let retrying = Arc::new(Retrying(tokio::spawn(Arc::clone(&desk).retry())));
        Self { desk, _retrying: retrying }
    }

    /// The arbiter that they are reported to.
    #[must_use]
    pub fn arbiter(&self) -> &dyn Authorizer {
        self.desk.arbiter.as_ref()
    }

    /// Whether every outcome that was to be reported is on record. One that failed is tried again at once, so that the
    /// first action after the arbiter is back runs; nothing runs if that fails too.
    pub async fn are_recorded(&self) -> bool {
        let mut overdue = self.desk.overdue.subscribe();
        let Overdue { waiting, begun, .. } = *overdue.borrow_and_update();
        if waiting == 0 {
            return true;
        }
        self.desk.hurry.notify_one();
        // A try that is under way may have failed already, before the arbiter was back.
        let told = overdue.wait_for(|now| now.waiting == 0 || now.in_vain > begun);
        drop(tokio::time::timeout(self.desk.deadline, told).await);
        !self.is_any_overdue()
    }

    /// Whether an outcome failed to be recorded and is not on record yet, as far as is known without waiting.
    #[must_use]
    pub fn is_any_overdue(&self) -> bool {
        self.desk.overdue.borrow().waiting > 0
    }

    /// Reports once, within the deadline, and says whether it is on record; what fails trips this program and is tried
    /// again in the background until the arbiter has it. So is what is dropped meanwhile.
    pub async fn settle(&self, report: OutcomeReport) -> bool {
        self.desk.open.send_modify(|open| *open = open.saturating_add(1));
        let mut kept = Kept { desk: &self.desk, waiting: Some(Waiting::new(report)) };
        if let Some(waiting) = &kept.waiting
            && self.desk.attempt(waiting).await
        {
            kept.waiting = None;
            self.desk.settled();
            return true;
        }
        false
    }

    /// Has the report of an action that ended without saying how delivered in the background.
    pub(crate) fn lost(&self, report: OutcomeReport) {
        self.desk.open.send_modify(|open| *open = open.saturating_add(1));
        self.desk.fail(Waiting::new(report));
    }

    /// Waits, at most so long, until nothing is left to report; returns how much is.
    pub async fn flush(&self, at_most: Duration) -> usize {
        let mut open = self.desk.open.subscribe();
        self.desk.hurry.notify_one();
        drop(tokio::time::timeout(at_most, open.wait_for(|open| *open == 0)).await);
        *self.desk.open.borrow()
    }
}

/// A report on its way for the first time: whatever ends that but success, it is kept.
struct Kept<'a> {
    desk: &'a Desk,
    waiting: Option<Waiting>,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.desk.fail(waiting);
        }
    }
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the arbiter now has an outcome of this PERMIT on record. Nothing but its own word says so.
    async fn attempt(&self, waiting: &Waiting) -> bool {
        let reported = self.arbiter.report(waiting.report());
        match tokio::time::timeout(self.deadline, reported).await {
            Ok(Ok(_)) => true,
            Ok(Err(refusal)) if refusal.code() == ReasonCode::RequestOutcomeRecorded => {
                let (outcome, attempt) = (waiting.call.outcome.as_str(), waiting.attempt);
                (self.remark)(format!(
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

    fn fail(&self, waiting: Waiting) {
        self.overdue.send_modify(|overdue| overdue.waiting = overdue.waiting.saturating_add(1));
        self.keep(waiting);
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
    fn remark_late(&self, waiting: &mut Waiting) {
        if waiting.until.is_some_and(|until| Instant::now() >= until) {
            waiting.until = None;
            let outcome = waiting.call.outcome.as_str();
            (self.remark)(format!(
                "the outcome `{outcome}` of attempt {} could not be reported in time; calls are blocked until it is",
                waiting.attempt
            ));
        }
    }

    /// Retries for ever. One report's failure does not hold up the others for longer than one pause.
    async fn retry(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(mut waiting) = self.next() else {
                self.come.notified().await;
                continue;
            };
            let this = self.begin();
            if self.attempt(&waiting).await {
                self.overdue.send_modify(|overdue| overdue.waiting = overdue.waiting.saturating_sub(1));
                self.settled();
                pause = FIRST_PAUSE;
                continue;
            }
            self.remark_late(&mut waiting);
            self.keep(waiting);
            self.overdue.send_modify(|overdue| overdue.in_vain = this);
            drop(tokio::time::timeout(pause, self.hurry.notified()).await);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Counts another try, and says which it is.
    fn begin(&self) -> u64 {
        self.overdue.send_modify(|overdue| overdue.begun = overdue.begun.saturating_add(1));
        self.overdue.borrow().begun
    }

    fn next(&self) -> Option<Waiting> {
        self.queue().pop_front()
    }
}

#[cfg(test)]
#[path = "outcomes_tests.rs"]
mod tests;
