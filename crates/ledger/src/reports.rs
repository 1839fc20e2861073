//! Gates' reports of what became of their PERMITs.

use portcullis_protocol::Outcome;

use crate::batch::Batch;
use crate::command::{OutcomeRefused, ReportedOutcome};
use crate::error::LedgerError;
use crate::store::{self, PermitRow};

impl Batch<'_> {
    pub(crate) fn outcome(
        &mut self,
        report: &ReportedOutcome,
    ) -> Result<Result<u64, OutcomeRefused>, LedgerError> {
        match store::permit(self.connection, &report.attempt)? {
            // One of this very batch has reached nobody. Told of here, a batch that was then not released would read as if
            // it had been.
            Some(permit) if permit.seq >= self.first => Ok(Err(OutcomeRefused::NoSuchPermit)),
            Some(permit) if permit.agent == report.agent.as_str() => {
                match reportable(&permit, report.outcome) {
                    Ok(None) => self.end(&permit, report.outcome, report.result.as_deref()).map(Ok),
                    Ok(Some(already)) => Ok(Ok(already)),
                    Err(refused) => Ok(Err(refused)),
                }
            }
            Some(_) | None => Ok(Err(OutcomeRefused::NoSuchPermit)),
        }
    }
}

/// Whether a gate may end a PERMIT so: `Ok(None)` to record it, `Ok(Some(seq))` if that is on record already.
fn reportable(permit: &PermitRow, outcome: Outcome) -> Result<Option<u64>, OutcomeRefused> {
    if outcome == Outcome::Withheld {
        return Err(OutcomeRefused::NotReportable);
    }
    match permit.outcome {
        None => Ok(None),
        Some(ended) if ended == outcome => permit.outcome_seq.map(Some).ok_or(OutcomeRefused::Ended(ended)),
        // A late outcome supersedes `unknown`, by another record.
        Some(Outcome::Unknown) => Ok(None),
        Some(ended @ (Outcome::Ok | Outcome::Failed | Outcome::Expired | Outcome::Withheld)) => {
            Err(OutcomeRefused::Ended(ended))
        }
    }
}
