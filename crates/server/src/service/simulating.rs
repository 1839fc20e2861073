//! Simulations, as the arbiter answers them: by the same steps as a decision, up to where one would begin to count.

use std::time::Duration;

use portcullis_arbiter::Credential;
use portcullis_ledger::{Clocks, SimulateReply};
use portcullis_protocol::wire::{DecisionCall, ReasonBody, SimulationReply};
use portcullis_protocol::{ReasonCode, Verdict};
use tokio::sync::oneshot;

use super::{Arbiter, EVALUATIONS, LONGEST_DEADLINE, hand_over};

/// Why nothing is on record, with particulars.
type Unsimulated = (ReasonCode, Option<String>);

impl Arbiter {
    /// Says what would be decided of a call, once that is on record. Nothing is decided by it.
    ///
    /// # Errors
    /// The code under which nothing is on record: a call would not be permitted now either, or the arbiter has no room for the
    /// question.
    pub async fn simulate(
        &self,
        mut call: DecisionCall,
        credential: &Credential,
    ) -> Result<SimulationReply, Unsimulated> {
        call.deadline_ms = call.deadline_ms.min(LONGEST_DEADLINE);
        let deadline = Duration::from_millis(call.deadline_ms);
        let received = self.clocks.boot();
        let Ok(_place) = self.places.try_acquire() else { return Err(self.not_simulated(credential)) };
        match tokio::time::timeout(deadline, self.simulated(&call, credential, received)).await {
            Ok(reply) => reply,
            Err(_) => Err((ReasonCode::OverloadDeadline, None)),
        }
    }

    fn not_simulated(&self, credential: &Credential) -> Unsimulated {
        self.count(Some(ReasonCode::OverloadShed), Some(credential.agent.clone()));
        (ReasonCode::OverloadShed, None)
    }

    async fn simulated(
        &self,
        call: &DecisionCall,
        credential: &Credential,
        received: u64,
    ) -> Result<SimulationReply, Unsimulated> {
        for evaluation in 1..=EVALUATIONS {
            let mut intake = self.prepare(call, credential, received, None).await.map_err(|code| {
                self.count(Some(code), Some(credential.agent.clone()));
                (code, None)
            })?;
            intake.last_try = evaluation == EVALUATIONS;
            let (reply, answer) = oneshot::channel();
            if self.ledger.simulate(intake, |answer| hand_over(reply, answer)).is_err() {
                return Err(self.not_simulated(credential));
            }
            match answer.await {
                Ok(SimulateReply::Simulated { verdict, detail, receipt }) => {
                    return Ok(self.told(&verdict, detail, receipt));
                }
                Ok(SimulateReply::Refused(code, detail)) => return Err((code, detail)),
                Ok(SimulateReply::Again) => {}
                // The writer is gone: nothing was released.
                Err(_) => return Err((ReasonCode::EvidenceUnwritable, None)),
            }
        }
        Err((ReasonCode::OverloadContended, None))
    }

    fn told(&self, verdict: &Verdict, detail: Option<String>, receipt: String) -> SimulationReply {
        self.metrics.simulated(verdict.decision(), verdict.reason());
        let reason = verdict.reason().map(|code| ReasonBody { detail, ..code.into() });
        SimulationReply { reason, receipt }
    }
}
