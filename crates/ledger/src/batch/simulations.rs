//! Simulations: what would be decided of a call, in the order of the log and on record, and nothing else. The state is read and stays
//! as it is: no attempt is entered, no key consumed, nothing reserved, nobody labelled, and no outcome is ever due.

use portcullis_arbiter::{Fact, Intake, Room, Settled, record, settle};
use portcullis_protocol::{Decision, ReasonCode, Record, Verdict};

use crate::batch::Batch;
use crate::command::{Reply, SimulateReply};
use crate::error::LedgerError;
use crate::quota::Quota;
use crate::waiting::{SimulateAnswer, Waiting};

impl Batch<'_> {
    /// Takes a simulation into the batch, with whoever waits for the answer.
    pub(crate) fn take_simulation(
        &mut self,
        intake: &Intake,
        reply: Reply<SimulateReply>,
        quota: &mut Quota,
    ) -> Result<(), LedgerError> {
        let (answer, failed) = match self.simulate(intake, quota) {
            Ok(answer) => (answer, Ok(())),
            Err(error) => (unlogged(intake, error.code(), None), Err(error)),
        };
        self.waiting.push(Waiting::Simulation { reply, answer });
        failed
    }

    fn simulate(&mut self, intake: &Intake, quota: &mut Quota) -> Result<SimulateAnswer, LedgerError> {
        let stored = match intake.key_commitment() {
            None => None,
            Some(name) => self.stored_key(&name)?,
        };
        let verdict = match settle(intake, self.health, Fact::Known(stored), Room::Of(self.standing)) {
            Settled::EvaluateAgain => return Ok(SimulateAnswer::Again),
            Settled::Decided(verdict) => verdict,
        };
        // Whatever it says: nobody can fill the log with what never runs.
        if !quota.admits(&intake.request.agent, self.health.boot) {
            let code = verdict.reason().map_or(ReasonCode::OverloadShed, |code| code);
            return Ok(unlogged(intake, code, intake.detail_of(code)));
        }
        self.simulated(intake, verdict)
    }

    fn simulated(&mut self, intake: &Intake, verdict: Verdict) -> Result<SimulateAnswer, LedgerError> {
        let entry = record(intake, &verdict, self.tree.size(), self.health, self.standing);
        if entry.decision == Decision::Permit && entry.outcome_due.is_none() {
            return Ok(unlogged(intake, ReasonCode::PolicyEngineFailed, None));
        }
        let refused_by = entry.limit.as_ref().map(|limit| format!("limit `{limit}`"));
        let (sources, until) = (entry.facts.sources.clone(), entry.kept_until);
        let Ok(body) = Record::Simulation(Box::new(entry)).to_bytes() else {
            let detail = "its record would be longer than 65,535 bytes".to_owned();
            return Ok(unlogged(intake, ReasonCode::RequestTooLarge, Some(detail)));
        };
        let seq = self.append(&body)?;
        self.keep_request(seq, intake, until)?;
        self.archive(intake, &sources, until)?;
        let detail = refused_by.or_else(|| verdict.reason().and_then(|code| intake.detail_of(code)));
        Ok(SimulateAnswer::Logged(verdict, detail, seq, body))
    }
}

fn unlogged(intake: &Intake, code: ReasonCode, detail: Option<String>) -> SimulateAnswer {
    SimulateAnswer::Unlogged(code, detail, intake.request.agent.clone())
}
