//! Outcome reports: what became of each PERMIT reaches the arbiter even if the arbiter is away for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_protocol::AttemptId;
use portcullis_protocol::wire::OutcomeCall;
use portcullis_sdk::{Authorizer, OutcomeReport};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::notes::Notes;

/// Reports that may wait; beyond that the oldest is given up.
const WAITING: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

struct Waiting {
    attempt: AttemptId,
    call: OutcomeCall,
    until: Instant,
}

impl Waiting {
    fn report(&self) -> OutcomeReport {
        OutcomeReport { attempt: self.attempt, call: self.call.clone() }
    }
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
}

impl Outcomes {
    pub(crate) fn new(arbiter: Arc<dyn Authorizer>, deadline: Duration, notes: Notes) -> Self {
        let (open, _) = watch::channel(0);
        let queue = Mutex::new(VecDeque::new());
        Self { arbiter, deadline, notes, queue, come: Notify::new(), hurry: Notify::new(), open }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports once, within the deadline; what fails is tried again in the background for as long as `within`.
    pub(crate) async fn settle(&self, report: OutcomeReport, within: Duration) {
        let OutcomeReport { attempt, call } = report;
        let waiting = Waiting { attempt, call, until: Instant::now() + within };
        self.open.send_modify(|open| *open = open.saturating_add(1));
        if self.attempt(&waiting).await {
            self.settled();
        } else {
            self.keep(waiting);
        }
    }

    async fn attempt(&self, waiting: &Waiting) -> bool {
        let reported = self.arbiter.report(waiting.report());
        matches!(tokio::time::timeout(self.deadline, reported).await, Ok(Ok(_)))
    }

    fn settled(&self) {
        self.open.send_modify(|open| *open = open.saturating_sub(1));
    }

    fn keep(&self, waiting: Waiting) {
        let oldest = {
            let mut queue = self.queue();
            queue.push_back(waiting);
            if queue.len() > WAITING { queue.pop_front() } else { None }
        };
        oldest.into_iter().for_each(|oldest| self.give_up(&oldest));
        self.come.notify_one();
    }

    fn give_up(&self, waiting: &Waiting) {
        let outcome = waiting.call.outcome.as_str();
        self.notes
            .say(format!("the outcome `{outcome}` of attempt {} could not be reported", waiting.attempt));
        self.settled();
    }

    /// Retries for ever. One report's failure does not hold up the others for longer than one pause.
    pub(crate) async fn retry(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(waiting) = self.next() else {
                self.come.notified().await;
                continue;
            };
            if self.attempt(&waiting).await {
                self.settled();
                pause = FIRST_PAUSE;
                continue;
            }
            if Instant::now() >= waiting.until {
                self.give_up(&waiting);
            } else {
                self.keep(waiting);
            }
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
