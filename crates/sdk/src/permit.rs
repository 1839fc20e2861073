//! Permits: values that only a verified PERMIT receipt for this request and this attempt can produce.

use std::time::Duration;

use portcullis_protocol::wire::OutcomeCall;
use portcullis_protocol::{AttemptId, Digest, Domain, Excepted, Nonce, Outcome, ReasonCode, Request};

use crate::clock::BootInstant;
use crate::outcomes::Outcomes;
use crate::refusal::Refusal;

/// Leave to run one request, once, now. Moving it into the executor is the only way to run.
#[derive(Debug)]
#[must_use = "a permit that is dropped leaves its PERMIT without an outcome; decline it"]
pub struct Permit {
    nonce: Nonce,
    request: Request,
    expires: BootInstant,
    within: Duration,
    receipt: String,
    exception: Option<Excepted>,
}

/// An action under way: what a permit becomes when it is spent. One that is dropped, by a panic or an abandoned future,
/// ends as `unknown`, and that is reported.
#[derive(Debug)]
#[must_use = "an action under way ends with its outcome"]
pub struct Running {
    nonce: Nonce,
    request: Request,
    within: Duration,
    outcomes: Outcomes,
    finished: bool,
}

/// A permit that was not spent: why, and the report of it.
#[derive(Debug)]
pub struct Lapsed {
    /// Why it was not spent.
    pub refusal: Refusal,
    /// To be [settled](Outcomes::settle), so that the PERMIT ends as `expired`.
    pub report: OutcomeReport,
}

/// What became of a PERMIT, by the gate that held its attempt. See [`Outcomes::settle`].
#[derive(Debug)]
#[must_use = "an outcome that is not reported is `unknown` to the arbiter"]
pub struct OutcomeReport {
    /// The attempt.
    pub attempt: AttemptId,
    /// The call's body.
    pub call: OutcomeCall,
    /// How long the arbiter waits for it before it ends the PERMIT as `unknown`.
    pub within: Duration,
}

impl Permit {
    pub(crate) fn new(
        nonce: Nonce,
        request: Request,
        (expires, within): (BootInstant, Duration),
        (receipt, exception): (String, Option<Excepted>),
    ) -> Self {
        Self { nonce, request, expires, within, receipt, exception }
    }

    /// The exception of the bundle by which this is a permit, if it is one by an exception: a fact was not as it should be.
    #[must_use]
    pub const fn exception(&self) -> Option<&Excepted> {
        self.exception.as_ref()
    }

    /// The request that may run.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The attempt's public name.
    #[must_use]
    pub fn attempt(&self) -> AttemptId {
        self.nonce.attempt_id()
    }

    /// The receipt that this permit was verified from, a C2SP tlog-proof.
    #[must_use]
    pub fn receipt(&self) -> &str {
        &self.receipt
    }

    /// When its lifetime ends.
    #[must_use]
    pub const fn expires(&self) -> BootInstant {
        self.expires
    }

    /// Spends the permit of a request that is not bound to bytes, in the moment before the effect.
    ///
    /// # Errors
    /// [`Lapsed`] if the lifetime is over, if an outcome of this program is not on record, or if the request is bound to
    /// bytes: then only [`begin_sending`](Self::begin_sending) spends it.
    pub fn begin(self, outcomes: &Outcomes) -> Result<Running, Box<Lapsed>> {
        if self.request.ask.envelope.is_some() {
            return Err(self.lapse(ReasonCode::PermitMismatch));
        }
        self.spend(outcomes)
    }

    /// Spends the permit for exactly these bytes, in the moment before they are sent.
    ///
    /// # Errors
    /// [`Lapsed`] if the lifetime is over, if an outcome of this program is not on record, or if these are not the bytes
    /// that were decided.
    pub fn begin_sending(self, bytes: &[u8], outcomes: &Outcomes) -> Result<Running, Box<Lapsed>> {
        if self.request.ask.envelope != Some(Digest::of(Domain::Payload, &[bytes])) {
            return Err(self.lapse(ReasonCode::PermitMismatch));
        }
        self.spend(outcomes)
    }

    /// Gives the permit up unspent.
    pub fn decline(self) -> OutcomeReport {
        report(&self.nonce, (Outcome::Expired, None), self.within)
    }

    fn spend(self, outcomes: &Outcomes) -> Result<Running, Box<Lapsed>> {
        if BootInstant::now() >= self.expires {
            return Err(self.lapse(ReasonCode::PermitExpired));
        }
        // Of another action, perhaps of one that began after this one was asked for.
        if outcomes.is_any_overdue() {
            return Err(self.lapse(ReasonCode::EvidenceOutcomeUnrecorded));
        }
        let Self { nonce, request, within, .. } = self;
        Ok(Running { nonce, request, within, outcomes: outcomes.clone(), finished: false })
    }

    fn lapse(self, code: ReasonCode) -> Box<Lapsed> {
        Box::new(Lapsed { refusal: Refusal::own(code, None), report: self.decline() })
    }
}

impl Running {
    /// The request that runs.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Ends the action: what became of it, and the result to be given to repeats of the same key.
    pub fn finish(mut self, outcome: Outcome, result: Option<String>) -> OutcomeReport {
        self.finished = true;
        report(&self.nonce, (outcome, result), self.within)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            self.outcomes.lost(report(&self.nonce, (Outcome::Unknown, None), self.within));
        }
    }
}

fn report(nonce: &Nonce, (outcome, result): (Outcome, Option<String>), within: Duration) -> OutcomeReport {
    let call = OutcomeCall { nonce: nonce.reveal(), outcome, result };
    OutcomeReport { attempt: nonce.attempt_id(), call, within }
}
