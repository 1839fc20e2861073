//! Attempts: one try to run a request, and the only way from a receipt to a permit.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_protocol::wire::{DecisionCall, OutcomeCall};
use portcullis_protocol::{
    AttemptId, Attempted, Decision, DecisionRecord, Digest, GateId, Millis, Nonce, Outcome, Payload,
    ReasonCode, Record, Request, Salt, SurfaceName, SurfaceTable,
};
use portcullis_verify::{LogKey, LogKeys, Quorum, Standing, UnverifiedReceipt, VerifiedReceipt, VerifierKey};

use crate::authorizer::Authorizer;
use crate::clock::BootInstant;
use crate::permit::{OutcomeReport, Permit};
use crate::refusal::{ReceiptRef, Refusal};

/// Longest lifetime that a gate accepts of a permit, whatever the receipt says.
const LONGEST_TTL: Duration = Duration::from_secs(300);

/// The keys of the log whose receipts a gate believes, pinned by its operator. There is no empty one.
#[derive(Clone, Debug)]
pub struct TrustedLog {
    keys: LogKeys,
    witnesses: Option<Quorum>,
    witnessed: Witnessed,
}

/// For which PERMITs a gate itself asks that witnesses saw them, whatever the arbiter's host says. Those whose record
/// asks for it need it in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witnessed {
    /// On these surfaces.
    On(BTreeSet<SurfaceName>),
    /// On every surface.
    Everywhere,
}

/// No key was pinned, so no receipt could ever verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no log key is pinned; name the log's verifier key in the gate's configuration")]
pub struct UntrustedLog;

impl TrustedLog {
    /// Pins keys.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, UntrustedLog> {
        Self::with(LogKeys::from(keys))
    }

    /// Pins keys of which some were retired or revoked.
    ///
    /// # Errors
    /// If none counts.
    pub fn with(keys: LogKeys) -> Result<Self, UntrustedLog> {
        let counts = |key: &LogKey| key.standing != Standing::Revoked;
        if !keys.all().iter().any(counts) {
            return Err(UntrustedLog);
        }
        Ok(Self { keys, witnesses: None, witnessed: Witnessed::On(BTreeSet::new()) })
    }

    /// Pins witnesses too: where a PERMIT must be witnessed, its checkpoint needs the cosignatures of this quorum, so
    /// that the arbiter's host alone cannot show the gate a log that nobody else sees. A log without pinned witnesses
    /// gives no permit where its record asks for them.
    #[must_use]
    pub fn witnessed(self, witnesses: Quorum, witnessed: Witnessed) -> Self {
        Self { witnesses: Some(witnesses), witnessed, ..self }
    }

    /// Checks that every surface for which this gate asks for witnesses is one of those in force. A name that none has
    /// would never be met in a record, so that nothing would be asked for where the operator meant to.
    ///
    /// # Errors
    /// [`ReasonCode::SurfaceUnknown`], with the name.
    pub fn check_surfaces(&self, table: &SurfaceTable) -> Result<(), Refusal> {
        let Witnessed::On(surfaces) = &self.witnessed else { return Ok(()) };
        let Some(unknown) = surfaces.iter().find(|surface| !table.surfaces.contains_key(surface)) else {
            return Ok(());
        };
        let detail = format!("this gate asks for witnesses on `{unknown}`, which the bundle does not have");
        Err(Refusal::own(ReasonCode::SurfaceUnknown, Some(detail)))
    }

    /// The record of a receipt that verifies with a pinned key.
    pub(crate) fn record(&self, receipt: &str) -> Result<(Record, VerifiedReceipt), Refusal> {
        let verified = UnverifiedReceipt::parse(receipt.as_bytes())
            .and_then(|receipt| receipt.verify_with(&self.keys))
            .map_err(|error| Refusal::unverifiable(error.to_string()))?;
        let record = verified.record().map_err(|error| Refusal::unverifiable(error.to_string()))?;
        Ok((record, verified))
    }

    /// Checks the witnesses' part of a PERMIT's receipt.
    fn check_witnesses(&self, record: &DecisionRecord, receipt: &VerifiedReceipt) -> Result<(), Refusal> {
        let asked = match &self.witnessed {
            Witnessed::Everywhere => true,
            Witnessed::On(surfaces) => surfaces.contains(&record.surface),
        };
        if !asked && !record.witnessed {
            return Ok(());
        }
        let Some(quorum) = &self.witnesses else {
            return Err(Refusal::unverifiable("the PERMIT needs witnesses, and none are pinned here"));
        };
        match quorum.check(receipt.checkpoint()) {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::unverifiable(error.to_string())),
        }
    }
}

/// An attempt to which no answer came, and that nothing runs by.
pub struct GivenUp {
    attempt: AttemptId,
    nonce: String,
}

impl std::fmt::Debug for GivenUp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "GivenUp({})", self.attempt)
    }
}

impl GivenUp {
    /// Has the arbiter end the attempt's PERMIT as `expired`, if it has one; it was not spent. Whether the arbiter says
    /// within the deadline that none is open.
    pub async fn close(&self, arbiter: &dyn Authorizer, deadline: Duration) -> bool {
        let call = OutcomeCall { nonce: self.nonce.clone(), outcome: Outcome::Expired, result: None };
        let report = OutcomeReport { attempt: self.attempt, call, within: Duration::ZERO };
        match tokio::time::timeout(deadline, arbiter.report(report)).await {
            Ok(Ok(_)) => true,
            // It has ended, or there is none.
            Ok(Err(refusal)) => {
                matches!(refusal.code(), ReasonCode::RequestOutcomeRecorded | ReasonCode::RequestInvalidValue)
            }
            Err(_) => false,
        }
    }
}

/// One try to run a request. Its nonce never leaves the gate, and [`Attempt::redeem`] spends it.
#[derive(Debug)]
pub struct Attempt {
    nonce: Nonce,
    salt: Salt,
    gate: GateId,
    request: Request,
    commitment: Digest,
    payload: Option<Payload>,
    started: BootInstant,
}

impl Attempt {
    /// Begins an attempt. A permit's lifetime counts from here, before the question is even asked.
    ///
    /// # Errors
    /// If the system gives no random bytes or the request has no canonical form.
    pub fn new(gate: GateId, request: Request) -> Result<Self, Refusal> {
        let unavailable = |detail: &str| Refusal::own(ReasonCode::RequestMalformed, Some(detail.to_owned()));
        let mut nonce = [0; 32];
        let mut salt = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| unavailable("the system gives no random bytes"))?;
        getrandom::fill(&mut salt).map_err(|_| unavailable("the system gives no random bytes"))?;
        let salt = Salt::from_bytes(salt);
        let commitment = request.commitment(&salt).map_err(|error| unavailable(&error.to_string()))?;
        let started = BootInstant::now();
        let nonce = Nonce::from_bytes(nonce);
        Ok(Self { nonce, salt, gate, request, commitment, payload: None, started })
    }

    /// The same, bringing along what the request's payload digest is of, for the arbiter to keep. Where the surface has
    /// arguments kept nothing is permitted without it; elsewhere it is not kept, and need not be brought.
    #[must_use]
    pub fn bringing(self, payload: Payload) -> Self {
        Self { payload: Some(payload), ..self }
    }

    /// The attempt's public name.
    #[must_use]
    pub fn id(&self) -> AttemptId {
        self.nonce.attempt_id()
    }

    /// The request.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// The question to the arbiter. Asking twice is harmless: both answers are for this attempt, which is
    /// spent once.
    #[must_use]
    pub fn call(&self, deadline: Duration) -> DecisionCall {
        DecisionCall {
            request: self.request.ask.clone(),
            attempt: self.id(),
            salt: self.salt,
            gate: self.gate.clone(),
            deadline_ms: u64::try_from(deadline.as_millis()).map_or(u64::MAX, |milliseconds| milliseconds),
            payload: self.payload.clone(),
        }
    }

    /// By what this attempt is given up for whom no permit of it came: whether one is on record is not known then. It is for
    /// who drops the attempt; nothing may run by it any more.
    #[must_use]
    pub fn given_up(&self) -> GivenUp {
        GivenUp { attempt: self.id(), nonce: self.nonce.reveal() }
    }

    /// What a record would say of this attempt, refused at this time for this reason.
    #[must_use]
    pub fn attempted(&self, at: Millis, reason: ReasonCode) -> Attempted {
        let ask = &self.request.ask;
        Attempted {
            at,
            reason,
            agent: self.request.agent.clone(),
            acts_for: ask.acts_for.clone(),
            gate: self.gate.clone(),
            attempt: self.id(),
            surface: ask.surface.clone(),
            action: ask.action.clone(),
            resource: ask.resource.clone(),
            request: self.commitment,
        }
    }

    /// Turns a receipt into the permit for this attempt, and spends the attempt.
    ///
    /// # Errors
    /// [`Refusal::Unverifiable`] unless the receipt verifies with a pinned key and records a PERMIT for this
    /// request, attempt, agent and gate; `permit.expired` if its lifetime is over.
    pub fn redeem(self, receipt: &str, log: &TrustedLog) -> Result<Permit, Refusal> {
        let (record, verified) = self.verify(receipt, log)?;
        if record.decision != Decision::Permit {
            return Err(Refusal::unverifiable("the receipt does not record a PERMIT"));
        }
        log.check_witnesses(&record, &verified)?;
        let ttl = record.permit_ttl_ms.ok_or_else(|| Refusal::unverifiable("a PERMIT without a lifetime"))?;
        let expires = self.started.plus(Duration::from_millis(ttl).min(LONGEST_TTL));
        if BootInstant::now() >= expires {
            return Err(Refusal::own(ReasonCode::PermitExpired, None));
        }
        // Only what is said of a late report depends on it.
        let within = record.outcome_due.map_or(0, |due| due.0.saturating_sub(record.time.0));
        let within = Duration::from_millis(within);
        let receipt = (receipt.to_owned(), record.exception);
        Ok(Permit::new(self.nonce, self.request, (expires, within), receipt))
    }

    /// Checks a receipt of a refusal of this attempt.
    ///
    /// # Errors
    /// [`Refusal::Unverifiable`] unless it verifies and records this attempt with `code`.
    pub(crate) fn refused(
        &self,
        receipt: &str,
        code: ReasonCode,
        log: &TrustedLog,
    ) -> Result<ReceiptRef, Refusal> {
        let (record, verified) = self.verify(receipt, log)?;
        if record.reason != Some(code) {
            return Err(Refusal::unverifiable("the answer and its receipt disagree"));
        }
        Ok(ReceiptRef { attempt: self.id(), index: verified.index(), text: receipt.to_owned() })
    }

    /// The decision record of a receipt that verifies and is bound to this attempt.
    fn verify(&self, receipt: &str, log: &TrustedLog) -> Result<(DecisionRecord, VerifiedReceipt), Refusal> {
        let (record, verified) = log.record(receipt)?;
        let Record::Decision(record) = record else {
            return Err(Refusal::unverifiable("the receipt's record is not a decision"));
        };
        self.bound(&record)?;
        Ok((*record, verified))
    }

    /// Whether a record is of this attempt, in all that both say.
    pub(crate) fn bound(&self, record: &DecisionRecord) -> Result<(), Refusal> {
        let ask = &self.request.ask;
        let differs = [
            (record.attempt != self.id(), "attempt"),
            (record.request != self.commitment, "request"),
            (record.agent != self.request.agent, "agent"),
            (record.acts_for != ask.acts_for, "principal"),
            (record.gate != self.gate, "gate"),
            (record.surface != ask.surface, "surface"),
            (record.action != ask.action, "action"),
            (record.resource != ask.resource, "resource"),
        ];
        match differs.iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(Refusal::unverifiable(format!("the receipt is for another {what}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
