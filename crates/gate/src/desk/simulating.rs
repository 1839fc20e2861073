//! Asks what would be decided. No permit comes of it.

use portcullis_protocol::ReasonCode;
use portcullis_sdk::{Refusal, Simulated, Simulation, simulate};
use tokio::time::Instant;

use super::{Answered, Desk, NoPermit, Question, Rules, is_stale, with_misfit};
use crate::operation::{Operation, Terms};

impl Desk {
    /// What would be decided of the operation: that it would be permitted, or the refusal. Takes no longer than the deadline.
    pub(crate) async fn simulate(&self, operation: &Operation) -> Result<(Simulated, Terms), Refusal> {
        let end = Instant::now() + self.deadline;
        match tokio::time::timeout_at(end, self.simulated(operation, end)).await {
            Ok(simulated) => simulated,
            Err(_) => Err(Refusal::own(ReasonCode::ArbiterTimeout, None)),
        }
    }

    async fn simulated(&self, operation: &Operation, end: Instant) -> Result<(Simulated, Terms), Refusal> {
        let (rules, fresh) = self.surfaces(None).await?;
        let first = self.simulated_by(&rules, operation, end).await;
        if !is_stale(&first, fresh) {
            return first.map_err(Refusal::from);
        }
        let (rules, _) = self.surfaces(Some(rules.digest)).await?;
        self.simulated_by(&rules, operation, end).await.map_err(Refusal::from)
    }

    async fn simulated_by(
        &self,
        rules: &Rules,
        operation: &Operation,
        end: Instant,
    ) -> Result<(Simulated, Terms), NoPermit> {
        let Question { ask, payload, terms, misfit } = self.question(rules, operation, end).await?;
        let simulation = Simulation::new(self.gate.clone(), self.request(ask)).map_err(Answered)?;
        let simulation = match payload {
            Some(payload) => simulation.bringing(payload),
            None => simulation,
        };
        let left = end.saturating_duration_since(Instant::now());
        let simulated = simulate(self.arbiter.as_ref(), simulation, &self.log, left).await;
        Ok((simulated.map_err(|refusal| Answered(with_misfit(refusal, misfit)))?, terms))
    }
}
