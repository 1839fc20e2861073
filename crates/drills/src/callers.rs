//! Callers of a ledger in this process: each asks, waits for its receipt, and asks again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use portcullis_arbiter::{Credential, Intake, Mandate, prepare};
use portcullis_ledger::{Clocks, DecideReply, Ledger, SystemClocks};
use portcullis_policy::Bundle;
use portcullis_protocol::wire::DecisionCall;
use portcullis_protocol::{AttemptId, Digest, Salt, request::Ask};

use crate::DrillError;

/// Threads that the callers share. A caller is no thread: in a server it is a task.
const THREADS: u32 = 2;
/// How long a caller may wait, in milliseconds.
const DEADLINE: u64 = 60_000;

/// What callers got.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) decided: u64,
    pub(crate) took: Duration,
    pub(crate) waits: Waits,
    /// The last receipt of one of them.
    pub(crate) receipt: Option<String>,
}

/// Waiting times, in buckets whose width is a 32nd of their value at most, so that a long measurement takes no more
/// memory than a short one.
#[derive(Debug, Default)]
pub(crate) struct Waits(std::collections::BTreeMap<u64, u64>);

impl Waits {
    fn add(&mut self, wait: Duration) {
        let wait = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let shift = wait.checked_ilog2().unwrap_or_default().saturating_sub(5);
        let count = self.0.entry((wait >> shift) << shift).or_default();
        *count = count.saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        for (wait, count) in &other.0 {
            let sum = self.0.entry(*wait).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// The waiting time at a percentile, in microseconds; zero for an empty sample.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        let all = self.0.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let mut rank = all.saturating_mul(percent).div_ceil(100);
        for (wait, count) in &self.0 {
            if rank <= *count {
                return *wait;
            }
            rank = rank.saturating_sub(*count);
        }
        0
    }
}

/// What the callers of one measurement share.
pub(crate) struct Scene<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) bundle: &'a Bundle,
    /// Makes every request another one.
    pub(crate) numbers: &'a AtomicU64,
    pub(crate) stop: &'a AtomicBool,
}

/// How long callers go on asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    time: Duration,
    decisions: u64,
}

impl Until {
    /// For a time.
    pub(crate) const fn time(time: Duration) -> Self {
        Self { time, decisions: u64::MAX }
    }

    /// Until so many decisions were asked for, or a few more: each caller asks once at least.
    pub(crate) const fn decisions(decisions: u64) -> Self {
        Self { time: Duration::MAX, decisions }
    }
}

impl Scene<'_> {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Lets callers ask for as long as they shall, and waits for the last answer.
    pub(crate) fn ask(&self, callers: u32, until: Until) -> Result<Answers, DrillError> {
        let threads = callers.min(THREADS);
        let last = self.numbers.load(Ordering::Relaxed).saturating_add(until.decisions);
        let began = Instant::now();
        let results = std::thread::scope(|scope| {
            let started: Vec<_> = (0..threads)
                .map(|thread| {
                    let share = callers.saturating_add(thread) / threads;
                    scope.spawn(move || self.drive(share, until.time, last))
                })
                .collect();
            started.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut all = Answers::default();
        for result in results {
            let answers = result.map_err(|_| DrillError::Answer("a caller's thread panicked".into()))??;
            all.decided = all.decided.saturating_add(answers.decided);
            all.waits.merge(&answers.waits);
            all.receipt = answers.receipt.or(all.receipt);
        }
        all.took = began.elapsed();
        Ok(all)
    }

    /// `last` is the number of the request before which it ends.
    fn drive(&self, callers: u32, time: Duration, last: u64) -> Result<Answers, DrillError> {
        let (sender, replies) = channel();
        let mut answers = Answers::default();
        let began = Instant::now();
        for _ in 0..callers {
            self.decide(&sender)?;
        }
        let mut waiting = callers;
        while waiting > 0 {
            let (asked, receipt) = taken(&replies)?;
            answers.waits.add(asked.elapsed());
            answers.decided = answers.decided.saturating_add(1);
            answers.receipt = Some(receipt);
            let more = began.elapsed() < time && self.numbers.load(Ordering::Relaxed) < last;
            if more && !self.is_stopped() {
                self.decide(&sender)?;
            } else {
                waiting = waiting.saturating_sub(1);
            }
        }
        Ok(answers)
    }

    /// Asks: from here a caller's waiting counts, the evaluation of the policies included.
    fn decide(&self, sender: &Sender<(Instant, DecideReply)>) -> Result<(), DrillError> {
        let asked = Instant::now();
        let (intake, sender) = (self.intake()?, sender.clone());
        self.ledger
            .decide(intake, move |reply| drop(sender.send((asked, reply))))
            .map_err(|error| DrillError::Answer(error.to_string()))
    }

    fn intake(&self) -> Result<Intake, DrillError> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let ask = format!(
            r#"{{"surface":"demo.read_balance","action":"demo.read_balance","resource":{{"type":"Surface","id":"demo.read_balance"}},"context":{{"account":"account-{number}"}}}}"#
        );
        let invalid = |error: String| DrillError::Answer(error);
        let call = DecisionCall {
            request: Ask::parse(ask.as_bytes()).map_err(|error| invalid(error.to_string()))?,
            attempt: AttemptId::from_bytes(*Digest::sha256(&number.to_be_bytes()).as_bytes()),
            salt: Salt::from_bytes([2; 32]),
            gate: "bench".parse().map_err(|_| invalid("a gate's name".into()))?,
            deadline_ms: DEADLINE,
            payload: None,
        };
        let agent = "demo-agent".parse().map_err(|_| invalid("an agent's name".into()))?;
        let credential =
            Credential { agent, acts_for: Mandate::nobody(), expires: None, authenticated: None };
        prepare(call, credential, Ok(self.bundle), SystemClocks.boot(), &BTreeSet::new())
            .map_err(|code| invalid(code.to_string()))
    }
}

/// Takes an answer, which must be a PERMIT with its receipt.
fn taken(replies: &Receiver<(Instant, DecideReply)>) -> Result<(Instant, String), DrillError> {
    let gone = |_| DrillError::Answer("the ledger went away".into());
    let (asked, reply) = replies.recv().map_err(gone)?;
    match reply {
        DecideReply::Decided(decided) => match (decided.verdict.reason(), decided.receipt) {
            (None, Some(receipt)) => Ok((asked, receipt)),
            (reason, _) => Err(DrillError::Answer(format!("a decision without a permit: {reason:?}"))),
        },
        DecideReply::Held(_) => Err(DrillError::Answer("a permit that waits for witnesses".into())),
        DecideReply::EvaluateAgain(_) => Err(DrillError::Answer("the bundle changed".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_32nd_below() {
        let mut waits = Waits::default();
        (1..=10_000).for_each(|wait| waits.add(Duration::from_micros(wait)));
        for (percent, exact) in [(1, 100), (50, 5_000), (99, 9_900), (100, 10_000)] {
            let found = waits.percentile(percent);
            assert!(found <= exact && found >= exact - exact / 32 - 1, "{percent}: {found}");
        }
        assert_eq!(Waits::default().percentile(50), 0);
    }
}
