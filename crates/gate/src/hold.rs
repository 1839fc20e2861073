//! Calls that are held: on a surface with `on_silence = "pause"`, one that is SILENCE for want of something that comes back
//! waits for that, within a bound, and is then decided anew. Nothing about the first decision counts for the next.

use std::sync::Arc;
use std::time::Duration;

use portcullis_protocol::{Decision, OnSilence, Precondition, ReasonCode};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::harmless::Harmless;
use crate::operation::Operation;
use crate::peer::Outgoing;
use crate::session::Shared;

/// Calls of a session that are held at once. Beyond them a call is answered at once: other calls need room too.
pub(crate) const HELD: u32 = 128;
/// Between the first questions whether the arbiter is ready.
const FIRST_STEP: Duration = Duration::from_millis(100);
const LONGEST_STEP: Duration = Duration::from_secs(2);

/// Whether a SILENCE may pass by itself: something that every call needs is away. What is about the one call is not waited for.
pub(crate) fn may_clear(code: ReasonCode) -> bool {
    match code.precondition() {
        Precondition::Clock
        | Precondition::Evidence
        | Precondition::State
        | Precondition::Policy
        | Precondition::Facts
        | Precondition::Gate => code.decision() == Decision::Silence,
        Precondition::Enforcement => {
            matches!(code, ReasonCode::ArbiterUnreachable | ReasonCode::ArbiterTimeout)
        }
        Precondition::Request
        | Precondition::Identity
        | Precondition::Surface
        | Precondition::Idempotency
        | Precondition::Evaluation
        | Precondition::Limits
        | Precondition::Freshness
        | Precondition::Approval
        | Precondition::Overload => false,
        // The PERMIT is in the log by then, and an arbiter is ready without them: each look would log another.
        Precondition::Witness => false,
    }
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// The arbiter says that nothing keeps it from permitting, or there is a new reason to look.
    Cleared,
    /// It took too long.
    Over,
    /// The asker wants it no more.
    Cancelled,
}

/// A call that is held.
pub(crate) struct Hold<'a> {
    shared: &'a Shared,
    cancelled: watch::Receiver<bool>,
    lost: watch::Receiver<bool>,
    patience: Patience<'a>,
    _place: OwnedSemaphorePermit,
}

/// How long it is still held, and what its asker was told.
struct Patience<'a> {
    end: Instant,
    step: Duration,
    /// Under which token the asker hears of it, if it wants to.
    progress: Option<&'a str>,
    told: u32,
}

impl<'a> Hold<'a> {
    /// A hold from now on; `None` if the surface has its calls answered at once, or too many are held.
    pub(crate) fn of(
        shared: &'a Shared,
        operation: &'a Operation,
        cancelled: watch::Receiver<bool>,
    ) -> Option<Self> {
        let OnSilence::Pause { at_most_ms } = shared.desk.on_silence(operation) else { return None };
        let place = Arc::clone(&shared.held).try_acquire_owned().ok()?;
        let end = Instant::now().checked_add(Duration::from_millis(at_most_ms))?;
        let patience = Patience { end, step: FIRST_STEP, progress: operation.progress.as_deref(), told: 0 };
        Some(Self { shared, cancelled, lost: shared.lost.subscribe(), patience, _place: place })
    }

    /// Waits until there is reason to decide anew.
    pub(crate) async fn wait(&mut self, code: ReasonCode) -> Waited {
        tokio::select! {
            biased;
            _ = self.cancelled.wait_for(|cancelled| *cancelled) => Waited::Cancelled,
            // There is something else to be told.
            _ = self.lost.wait_for(|lost| *lost) => Waited::Cleared,
            waited = self.patience.until_ready(self.shared, code) => waited,
        }
    }
}

impl Patience<'_> {
    async fn until_ready(&mut self, shared: &Shared, code: ReasonCode) -> Waited {
        loop {
            if let Some(token) = self.progress {
                self.told = self.told.saturating_add(1);
                shared.client.give(Outgoing::Harmless(Harmless::held(token, self.told, code))).await;
            }
            sleep_until(self.end.min(Instant::now() + self.step)).await;
            self.step = self.step.saturating_mul(2).min(LONGEST_STEP);
            let ready = timeout_at(self.end, shared.desk.is_ready()).await;
            match ready {
                _ if Instant::now() >= self.end => return Waited::Over,
                Ok(true) => return Waited::Cleared,
                Ok(false) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;
