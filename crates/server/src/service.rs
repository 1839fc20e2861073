//! The arbiter as a service: intake, evaluation, settling, and the answer.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_arbiter::{Credential, Intake, prepare_informed};
use portcullis_ledger::{
    Clocks, DecideReply, Decided, DirectoryLock, Held, Ledger, LedgerConfig, OutcomeRefused, ReportedOutcome,
    Status, SystemClocks,
};
use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, OutcomeCall, OutcomeReply, ReasonBody,
};
use portcullis_protocol::{
    AgentId, AttemptId, Decision, LabelName, Millis, Nonce, OperatorId, Outcome, Precondition, ReasonCode,
    Record, SurfaceTable,
};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::bundles::Bundles;
use crate::config::ArbiterConfig;
use crate::cosigning::Cosigning;
use crate::evidence::archived_digest;
use crate::facts::Facts;
use crate::identity::Identities;
use crate::late::check_late;
use crate::metrics::Metrics;
use crate::operators::Operators;
use crate::seats::Seats;
use crate::shelf::Shelf;
use crate::signing::keyring;
use crate::sources::Following;
use crate::surroundings::Surroundings;
use crate::witnesses::{Watched, Watching};

mod health;
mod identity;
mod listing;
mod orders;
mod simulating;

/// How often a verdict is computed anew when the bundle changes under it.
const EVALUATIONS: u32 = 3;
/// Calls that are decided at once; more are shed.
const CALLS: usize = 256;
/// Longest deadline that a caller may ask for, in milliseconds.
const LONGEST_DEADLINE: u64 = 60_000;
/// What is kept of a deadline for the answer's way back, at most, in milliseconds.
const LAST_WORDS: u64 = 100;
/// How long questions without a deadline of their own may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The arbiter of one data directory.
#[derive(Debug)]
pub struct Arbiter {
    ledger: Ledger,
    bundles: Arc<Bundles>,
    facts: Arc<Facts>,
    identities: Identities,
    operators: Operators,
    clocks: SystemClocks,
    data: std::path::PathBuf,
    metrics: Metrics,
    places: Semaphore,
    seats: Seats,
    shelf: Arc<Shelf>,
    witnesses: Option<Watched>,
    cosigning: Option<Cosigning>,
    source: Option<Following>,
}

/// The arbiter could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the ledger's thread or its signer's cannot be started: {0}")]
pub struct StartError(#[from] std::io::Error);

impl Arbiter {
    /// Starts the arbiter of a data directory whose lock is held.
    ///
    /// # Errors
    /// If the system gives no thread. A ledger that cannot be opened is no error here: every call is then
    /// answered with the reason.
    pub fn start(config: &ArbiterConfig, lock: DirectoryLock) -> Result<Self, StartError> {
        let bundles = Arc::new(Bundles::new(config));
        let facts = Arc::new(Facts::new(config));
        let ledger = LedgerConfig {
            directory: config.data.clone(),
            anchor: config.anchor.clone(),
            vault_key: config.vault_key.clone(),
            bundle_digest: archived_digest(&config.signers),
            disk_reserve: config.disk_reserve,
            spool: config.spool.clone(),
            clocks: Arc::new(SystemClocks),
        };
        let signer = Box::new(keyring(config)?);
        let watching = config.witnesses.as_ref().map(|witnesses| Watching::new(config, witnesses));
        let surroundings = Surroundings {
            data: config.data.clone(),
            bundles: Arc::clone(&bundles),
            facts: Arc::clone(&facts),
            found: Mutex::default(),
            witnesses: watching.as_ref().map(Watching::answering),
        };
        let surroundings = Box::new(surroundings);
        let ledger = match &watching {
            Some(watching) => {
                Ledger::start_watched(ledger, lock, signer, surroundings, Box::new(watching.elsewhere()))?
            }
            None => Ledger::start(ledger, lock, signer, surroundings)?,
        };
        let witnesses = watching.map(|watching| watching.follow(ledger.heads()));
        let cosigning = Cosigning::follow(config, &ledger.heads());
        let source = Following::begin(config, &bundles);
        Ok(Self {
            ledger,
            witnesses,
            cosigning,
            source,
            bundles,
            facts,
            identities: Identities::new(config),
            operators: Operators::new(&config.operators),
            clocks: SystemClocks,
            data: config.data.clone(),
            metrics: Metrics::default(),
            places: Semaphore::new(CALLS),
            seats: Seats::default(),
            shelf: Arc::new(Shelf::new(config)),
        })
    }

    /// The log, as others may read it.
    pub(crate) const fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// The time, if there is a clock.
    pub(crate) fn now(&self) -> Option<Millis> {
        self.clocks.wall()
    }

    /// The operators that may give orders.
    #[must_use]
    pub const fn operators(&self) -> &Operators {
        &self.operators
    }

    /// The operator that an `authorization` header names now.
    #[must_use]
    pub fn operator(&self, header: Option<&str>) -> Option<&OperatorId> {
        self.operators.bearer(header, self.now())
    }

    /// Counters since the arbiter started.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts an attempt that gets no record of its own.
    pub fn count(&self, reason: Option<ReasonCode>, agent: Option<AgentId>) {
        self.metrics.unrecorded(reason);
        self.ledger.count(reason, agent);
    }

    /// Decides a call, or sheds it if too many are being decided already.
    pub async fn decide(&self, mut call: DecisionCall, credential: &Credential) -> DecisionReply {
        call.deadline_ms = call.deadline_ms.min(LONGEST_DEADLINE);
        let deadline = Duration::from_millis(call.deadline_ms);
        let received = self.clocks.boot();
        let reply = match self.places.try_acquire() {
            Err(_) => self.shed(credential),
            Ok(place) => {
                match tokio::time::timeout(deadline, self.settle(&call, credential, received, place)).await {
                    Ok(reply) => reply,
                    // What the writer settles from here on is not a PERMIT. One that it settled before, and is
                    // still making durable, is not released: its attempt can ask again, or it ends as unknown.
                    Err(_) => DecisionReply::unrecorded(ReasonCode::OverloadDeadline, None),
                }
            }
        };
        self.metrics.decided(reply.decision, reply.reason.as_ref().map(|reason| reason.code));
        reply
    }

    fn shed(&self, credential: &Credential) -> DecisionReply {
        self.count(Some(ReasonCode::OverloadShed), Some(credential.agent.clone()));
        DecisionReply::unrecorded(ReasonCode::OverloadShed, None)
    }

    /// Settles a call. Its place among those that are decided is given up when nothing is left but to wait for witnesses.
    async fn settle(
        &self,
        call: &DecisionCall,
        credential: &Credential,
        received: u64,
        place: SemaphorePermit<'_>,
    ) -> DecisionReply {
        let mut counting = None;
        for evaluation in 1..=EVALUATIONS {
            let intake = match self.prepare(call, credential, received, counting.take()).await {
                Ok(mut intake) => {
                    intake.last_try = evaluation == EVALUATIONS;
                    intake
                }
                Err(code) => {
                    self.count(Some(code), Some(credential.agent.clone()));
                    return DecisionReply::unrecorded(code, None);
                }
            };
            // Who would have nowhere to wait for witnesses is refused before anything is recorded.
            let waits = intake.is_witnessed();
            let seat = waits.then(|| self.seats.take(&credential.agent));
            if matches!(seat, Some(None)) {
                return self.shed(credential);
            }
            let (reply, answer) = oneshot::channel();
            let asked = self.ledger.decide(intake, |answer| hand_over(reply, answer));
            if asked.is_err() {
                return self.shed(credential);
            }
            match answer.await {
                Ok(DecideReply::Decided(decided)) => return reply_of(*decided),
                Ok(DecideReply::Held(held)) => {
                    drop(place);
                    let waited = self.clocks.boot().saturating_sub(received);
                    let left = call.deadline_ms.saturating_sub(waited);
                    // The answer is still to reach a caller whose patience ends at the deadline.
                    let margin = LAST_WORDS.min(call.deadline_ms / 10);
                    return self.witnessed(held, Duration::from_millis(left.saturating_sub(margin))).await;
                }
                Ok(DecideReply::EvaluateAgain(labels)) => counting = labels,
                // The writer is gone: nothing was released.
                Err(_) => return DecisionReply::unrecorded(ReasonCode::EvidenceUnwritable, None),
            }
        }
        DecisionReply::unrecorded(ReasonCode::OverloadContended, None)
    }

    /// Waits until witnesses have seen a PERMIT, and releases it. Whatever else happens, and if nobody waits for this
    /// any more, it is withheld.
    async fn witnessed(&self, held: Box<Held>, patience: Duration) -> DecisionReply {
        let unwitnessed = || DecisionReply::unrecorded(ReasonCode::EvidenceUnwitnessed, None);
        let Some(witnesses) = &self.witnesses else { return unwitnessed() };
        let Ok(proved) = tokio::time::timeout(patience, witnesses.prove(held)).await else {
            return unwitnessed();
        };
        let proved = match proved {
            Ok(proved) => proved,
            Err(code) => return DecisionReply::unrecorded(code, None),
        };
        let (reply, answer) = oneshot::channel();
        if self.ledger.release(proved, |answer| hand_over(reply, answer)).is_err() {
            return DecisionReply::unrecorded(ReasonCode::OverloadShed, None);
        }
        match answer.await {
            Ok(Ok(decided)) => reply_of(*decided),
            Ok(Err(code)) => DecisionReply::unrecorded(code, None),
            Err(_) => DecisionReply::unrecorded(ReasonCode::EvidenceUnwritable, None),
        }
    }

    async fn prepare(
        &self,
        call: &DecisionCall,
        credential: &Credential,
        received: u64,
        labels: Option<BTreeSet<LabelName>>,
    ) -> Result<Intake, ReasonCode> {
        let current = self.bundles.ready().await;
        let facts = match &current {
            Ok(bundle) => self.facts.of(bundle).await,
            Err(_) => Ok(None),
        };
        let (facts, missing) = facts.map_or_else(|nothing| (None, Some(nothing)), |facts| (facts, None));
        let bundle = current.as_ref().map(Arc::as_ref).map_err(|error| error.code());
        // Without a clock nothing is permitted; then as if no label had ended.
        let now = self.clocks.wall().map_or(Millis(0), |now| now);
        let behind = credential.acts_for.behind(call.request.acts_for.as_ref());
        // Those that are given count for a PERMIT of this attempt that is on record: the writer said so.
        let labels = labels.unwrap_or_else(|| self.ledger.labels(&credential.agent, behind, now));
        let known = (&labels, facts.as_deref());
        let mut intake = prepare_informed(call.clone(), credential.clone(), bundle, received, known)?;
        intake.detail = missing.map(|nothing| nothing.told()).or(intake.detail);
        Ok(intake)
    }

    /// Records what became of a PERMIT.
    ///
    /// # Errors
    /// [`OutcomeRefused`]; `NoSuchPermit` also if the nonce is not the attempt's.
    pub async fn outcome(
        &self,
        attempt: AttemptId,
        call: OutcomeCall,
        agent: &AgentId,
    ) -> Result<OutcomeReply, OutcomeRefused> {
        let held = call.nonce.parse::<Nonce>().is_ok_and(|nonce| nonce.attempt_id() == attempt);
        if !held {
            return Err(OutcomeRefused::NoSuchPermit);
        }
        let reported =
            ReportedOutcome { attempt, agent: agent.clone(), outcome: call.outcome, result: call.result };
        let (reply, answer) = oneshot::channel();
        let unavailable = OutcomeRefused::Unavailable(ReasonCode::EvidenceUnwritable);
        self.ledger
            .outcome(reported, |answer| hand_over(reply, answer))
            .map_err(|_| OutcomeRefused::Unavailable(ReasonCode::OverloadShed))?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(recorded)) => recorded.map(|seq| OutcomeReply { seq }),
            Ok(Err(_)) | Err(_) => Err(unavailable),
        }
    }

    /// Enters attempts into the log late that a gate kept while it had no answer. All must be `agent`'s.
    ///
    /// # Errors
    /// The reason code. With one of the request's nothing was entered, and nothing of it ever will be as it is.
    pub async fn late(&self, call: LateCall, agent: &AgentId) -> Result<LateReply, ReasonCode> {
        check_late(&call, agent)?;
        let (reply, answer) = oneshot::channel();
        self.ledger
            .late(call.entries, |answer| hand_over(reply, answer))
            .map_err(|_| ReasonCode::OverloadShed)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(entered)) => entered.map(|taken| LateReply { taken }),
            Ok(Err(_)) | Err(_) => Err(ReasonCode::EvidenceUnwritable),
        }
    }

    /// The receipt of an attempt of `agent`; `None` if there is none.
    ///
    /// # Errors
    /// The reason why that cannot be told: what the ledger does not show is not absent while it is not sound.
    /// `request.permit_open` of a PERMIT that could still be spent.
    pub async fn find(&self, attempt: AttemptId, agent: &AgentId) -> Result<Option<String>, ReasonCode> {
        let (reply, answer) = oneshot::channel();
        self.ledger.find(attempt, |found| hand_over(reply, found)).map_err(|_| ReasonCode::OverloadShed)?;
        let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, answer).await else {
            return Err(ReasonCode::StateUnreachable);
        };
        if let Some(found) = found {
            let own = matches!(&found.record, Record::Decision(record) if record.agent == *agent);
            return match found.receipt {
                _ if !own => Ok(None),
                Some(receipt) => Ok(Some(receipt)),
                None => Err(ReasonCode::RequestPermitOpen),
            };
        }
        let status = self.status().await.ok_or(ReasonCode::StateUnreachable)?;
        // A ledger that no witness has agreed to is not open.
        let unsound = |code: &ReasonCode| {
            matches!(
                code.precondition(),
                Precondition::Evidence | Precondition::State | Precondition::Witness
            )
        };
        status.tripped.filter(unsound).map_or(Ok(None), Err)
    }

    /// The surfaces of the bundle in force.
    ///
    /// # Errors
    /// The code under which nothing is permitted.
    pub async fn surfaces(&self) -> Result<SurfaceTable, ReasonCode> {
        self.bundles.ready().await.map(|bundle| bundle.surfaces().clone()).map_err(|error| error.code())
    }

    /// How the ledger is; `None` if it does not answer.
    pub async fn status(&self) -> Option<Status> {
        let (reply, answer) = oneshot::channel();
        self.ledger.status(|status| hand_over(reply, status)).ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }
}

/// Hands an answer to whoever asked. One who has gone by then asks again, or finds it in the log.
fn hand_over<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer).err());
}

fn reply_of(decided: Decided) -> DecisionReply {
    let Decided { verdict, detail, captured, receipt, stored } = decided;
    DecisionReply {
        decision: verdict.decision(),
        reason: verdict.reason().map(|code| ReasonBody { detail, ..code.into() }),
        captured,
        receipt,
        stored,
    }
}

/// The outcomes that a gate may report.
pub(crate) const fn is_reportable(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Ok | Outcome::Failed | Outcome::Unknown | Outcome::Expired => true,
        Outcome::Withheld => false,
    }
}

/// Whether a reply is a PERMIT.
pub(crate) fn is_permit(reply: &DecisionReply) -> bool {
    reply.decision == Decision::Permit
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
