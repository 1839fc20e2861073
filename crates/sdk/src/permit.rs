//! Permits: values that only a verified PERMIT receipt for this request and this attempt can produce.

use portcullis_protocol::wire::OutcomeCall;
use portcullis_protocol::{AttemptId, Digest, Domain, Nonce, Outcome, ReasonCode, Request};

use crate::clock::BootInstant;
use crate::refusal::Refusal;

/// Leave to run one request, once, now. Moving it into the executor is the only way to run.
#[derive(Debug)]
#[must_use = "a permit that is dropped leaves its PERMIT without an outcome; decline it"]
pub struct Permit {
    nonce: Nonce,
    request: Request,
    expires: BootInstant,
    receipt: String,
}

/// An action under way: what a permit becomes when it is spent.
#[derive(Debug)]
#[must_use = "an action under way ends with its outcome"]
pub struct Running {
    nonce: Nonce,
    request: Request,
}

/// A permit that was not spent: why, and the report of it.
#[derive(Debug)]
pub struct Lapsed {
    /// Why it was not spent.
    pub refusal: Refusal,
    /// To be handed to [`crate::Authorizer::report`], so that the PERMIT ends as `expired`.
    pub report: OutcomeReport,
}

/// What became of a PERMIT, by the gate that held its attempt.
#[derive(Debug)]
pub struct OutcomeReport {
    /// The attempt.
    pub attempt: AttemptId,
    /// The call's body.
    pub call: OutcomeCall,
}

impl Permit {
    pub(crate) const fn new(nonce: Nonce, request: Request, expires: BootInstant, receipt: String) -> Self {
        Self { nonce, request, expires, receipt }
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
    /// [`Lapsed`] if the lifetime is over, or if the request is bound to bytes: then only
    /// [`begin_sending`](Self::begin_sending) spends it.
    pub fn begin(self) -> Result<Running, Box<Lapsed>> {
        if self.request.ask.envelope.is_some() {
            return Err(self.lapse(ReasonCode::PermitMismatch));
        }
        self.spend()
    }

    /// Spends the permit for exactly these bytes, in the moment before they are sent.
    ///
    /// # Errors
    /// [`Lapsed`] if the lifetime is over, or if these are not the bytes that were decided.
    pub fn begin_sending(self, bytes: &[u8]) -> Result<Running, Box<Lapsed>> {
        if self.request.ask.envelope != Some(Digest::of(Domain::Payload, &[bytes])) {
            return Err(self.lapse(ReasonCode::PermitMismatch));
        }
        self.spend()
    }

    /// Gives the permit up unspent.
    pub fn decline(self) -> OutcomeReport {
        report(&self.nonce, Outcome::Expired, None)
    }

    fn spend(self) -> Result<Running, Box<Lapsed>> {
        if BootInstant::now() >= self.expires {
            return Err(self.lapse(ReasonCode::PermitExpired));
        }
        Ok(Running { nonce: self.nonce, request: self.request })
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
    #[must_use]
    pub fn finish(self, outcome: Outcome, result: Option<String>) -> OutcomeReport {
        report(&self.nonce, outcome, result)
    }
}

fn report(nonce: &Nonce, outcome: Outcome, result: Option<String>) -> OutcomeReport {
    OutcomeReport {
        attempt: nonce.attempt_id(),
        call: OutcomeCall { nonce: nonce.reveal(), outcome, result },
    }
}
