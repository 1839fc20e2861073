//! Operators' orders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_ledger::{Given, OrderRefused, Status};
use portcullis_policy::Bundle;
use portcullis_protocol::wire::{ProofCall, ProofReply, ProofStep};
use portcullis_protocol::{Order, Ordered, ReasonCode};
use tokio::sync::oneshot;

use super::health::wanting;
use super::{Arbiter, hand_over};
use crate::bundles::Ready;
use crate::remote::FactsHealth;
use crate::stages::Stage;

/// How long an order may take: it may be the first to open the ledger.
const ORDER_PATIENCE: Duration = Duration::from_secs(15);

impl Arbiter {
    /// Carries out an operator's order. Returns the index of its record.
    ///
    /// # Errors
    /// [`OrderRefused`].
    pub async fn order(&self, ordered: Ordered) -> Result<u64, OrderRefused> {
        let activates = matches!(ordered.what, Order::ActivateBundle { .. });
        let _turn = match activates.then(|| tokio::time::timeout(ORDER_PATIENCE, self.bundles.turn())) {
            Some(turn) => Some(turn.await.map_err(|_| OrderRefused::Unavailable(ReasonCode::OverloadShed))?),
            None => None,
        };
        if activates && !self.bundles.knows_the_log() {
            self.log_is_read().await?;
        }
        let ready = self.bundles.look_into(&ordered, self.now()).await?;
        if let Some(ready) = &ready {
            if let Err(refused) = self.informed(&ready.bundle).await {
                self.bundles.not_activated(&ready.vetted.bundle);
                return Err(refused);
            }
            self.archive(ready).await;
        }
        let vetted = ready.map(|ready| ready.vetted);
        let activated = vetted.as_ref().map(|vetted| vetted.bundle);
        let began = Instant::now();
        let (reply, answer) = oneshot::channel();
        let given = self.ledger.order(Given { ordered, vetted }, |answer| hand_over(reply, answer));
        let done = match given {
            Ok(()) => tokio::time::timeout(ORDER_PATIENCE, answer).await,
            Err(_) => Ok(Ok(Err(OrderRefused::Unavailable(ReasonCode::OverloadShed)))),
        };
        if activates {
            self.bundles.stages().note(Stage::Record, began);
        }
        let Ok(Ok(done)) = done else { return Err(OrderRefused::Unanswered) };
        if let (Some(bundle), Err(_)) = (activated, &done) {
            self.bundles.not_activated(&bundle);
        }
        done
    }

    /// Asks the sources of facts that a bundle declares whether it could decide by them. Where nothing is permitted as it is, for want
    /// of facts or of a bundle, an activation takes nothing away, and may be what mends that.
    async fn informed(&self, bundle: &Arc<Bundle>) -> Result<(), OrderRefused> {
        if bundle.sources().is_empty() {
            return Ok(());
        }
        let heard = self.status().await.ok_or(OrderRefused::Unavailable(ReasonCode::StateUnreachable))?.facts;
        let sources = self.facts.tried(bundle, self.now(), &heard).await;
        let Some(code) = wanting(&sources) else { return Ok(()) };
        let Ok(in_force) = self.bundles.ready().await else { return Ok(()) };
        let (_, lacking) = self.sources(Some(in_force), &heard).await;
        if lacking.flatten().is_some() {
            return Ok(());
        }
        Err(OrderRefused::Facts { code, what: told(&sources) })
    }

    /// Archives a bundle before it decides, so that no decision waits for it. What comes to nothing here, the first record
    /// that names the bundle does.
    async fn archive(&self, ready: &Ready) {
        let began = Instant::now();
        let (reply, answer) = oneshot::channel();
        let archive = Arc::clone(ready.bundle.archive());
        let asked = self.ledger.archive(ready.vetted.bundle, archive, |done| hand_over(reply, done));
        if asked.is_ok() {
            drop(tokio::time::timeout(ORDER_PATIENCE, answer).await);
        }
        self.bundles.stages().note(Stage::Archive, began);
    }

    /// How long the parts of the newest activation took, as metrics.
    #[must_use]
    pub fn stages(&self) -> String {
        self.bundles.stages().render()
    }

    /// Waits until the ledger was opened, or cannot be.
    async fn log_is_read(&self) -> Result<(), OrderRefused> {
        let (reply, answer) = oneshot::channel();
        let shed = OrderRefused::Unavailable(ReasonCode::OverloadShed);
        self.ledger.status(|status| hand_over(reply, status)).map_err(|_| shed)?;
        match tokio::time::timeout(ORDER_PATIENCE, answer).await {
            Ok(Ok(Status { tripped: Some(code), .. })) if !self.bundles.knows_the_log() => {
                Err(OrderRefused::Unavailable(code))
            }
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(OrderRefused::Unavailable(ReasonCode::StateUnreachable)),
        }
    }

    /// Begins, looks at or stops the proof that an activation of a bundle needs. Nothing is activated by it.
    ///
    /// # Errors
    /// [`OrderRefused`]: why the bundle would not be activated, whatever is proved of it.
    pub async fn prove(&self, call: ProofCall) -> Result<ProofReply, OrderRefused> {
        // What is demanded stands in the log, so it must have been read.
        if call.step == ProofStep::Begin && !self.bundles.knows_the_log() {
            self.log_is_read().await?;
        }
        self.bundles.prove(call, self.now()).await
    }
}

/// What is wrong with sources of facts, for an operator.
fn told(sources: &[FactsHealth]) -> String {
    let wrong = sources.iter().filter(|source| source.state != "fresh");
    let wrong = wrong.map(|FactsHealth { name, state, error, .. }| {
        let why = error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
        format!("source of facts `{name}` is {state}{why}")
    });
    wrong.collect::<Vec<_>>().join("; ")
}
