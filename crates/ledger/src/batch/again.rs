//! An attempt whose answer was lost: what it is told again, and what can be found of it.

use portcullis_arbiter::{Fact, Intake, Room, Settled, settle};
use portcullis_protocol::{AttemptId, DecisionRecord, Outcome, ReasonCode, Record, Verdict};

use super::Batch;
use crate::command::Found;
use crate::error::LedgerError;
use crate::held::Witnessed;
use crate::opened::Opened;
use crate::store;
use crate::waiting::Answer;

/// Why a PERMIT that is on record is not handed out again though the call would be permitted.
const OTHERWISE: &str = "the call would be permitted on other terms than those on record; make a new attempt";

impl Batch<'_> {
    /// The same attempt, asked again because its answer was lost: the same record, never a second one.
    pub(super) fn ask_again(&mut self, intake: &Intake, seq: u64) -> Result<Answer, LedgerError> {
        let body = store::record(self.connection, seq)?
            .ok_or_else(|| LedgerError::Corrupt(format!("record {seq} of an attempt is missing")))?;
        let Record::Decision(entry) = Record::parse(&body)? else {
            return Err(LedgerError::Corrupt(format!("record {seq} of an attempt is no decision")));
        };
        if entry.request != intake.commitment || entry.agent != intake.request.agent {
            return Ok(Answer::Unlogged(ReasonCode::RequestAttemptReused, None));
        }
        let witnessed = entry.witnessed.then(|| Witnessed::of(intake, false));
        let verdict = match entry.reason {
            Some(code) => Verdict::Refuse(code, entry.policies),
            None => match self.stands(intake, &entry)? {
                None => Verdict::Permit(entry.policies),
                Some(answer) => return Ok(answer),
            },
        };
        self.logged(intake, verdict, None, (seq, body), witnessed)
    }

    /// Whether a PERMIT may be released again: only while it is open and could be spent, and only if it would be
    /// granted now, on the same terms. An operator who shut the gate since has shut it for this one too. Otherwise, the
    /// answer.
    fn stands(&self, intake: &Intake, entry: &DecisionRecord) -> Result<Option<Answer>, LedgerError> {
        let permit = store::permit(self.connection, &intake.attempt)?;
        if !permit.is_some_and(|permit| permit.seq == entry.seq && permit.outcome.is_none()) {
            return Ok(Some(Answer::Unlogged(ReasonCode::RequestAttemptReused, None)));
        }
        let age = self.health.now.since(entry.time);
        if entry.permit_ttl_ms.is_none_or(|ttl| age >= ttl) {
            return Ok(Some(Answer::Unlogged(ReasonCode::PermitExpired, None)));
        }
        // Its key is consumed by itself and its reservations are its own, which is no reason against it.
        Ok(match settle(intake, self.health, Fact::Known(None), Room::Taken(self.standing)) {
            Settled::Decided(now) => match now.reason() {
                Some(code) => Some(Answer::Unlogged(code, intake.detail_of(code))),
                None if intake.is_permit_of(&now, entry) => None,
                None => Some(Answer::Unlogged(ReasonCode::OverloadContended, Some(OTHERWISE.to_owned()))),
            },
            Settled::EvaluateAgain => Some(Answer::EvaluateAgain),
        })
    }
}

impl Opened {
    /// The record of an attempt with its receipt, if it is there and proves itself.
    pub(crate) fn find(&self, attempt: &AttemptId) -> Option<Found> {
        let found = || -> Result<Option<Found>, LedgerError> {
            let Some(seq) = store::attempt(&self.store.connection, attempt)? else { return Ok(None) };
            let Some(body) = store::record(&self.store.connection, seq)? else { return Ok(None) };
            let record = Record::parse(&body)?;
            // The receipt of a PERMIT that was taken back would still make a permit within its lifetime.
            let permit = store::permit(&self.store.connection, attempt)?;
            let taken_back = permit.and_then(|permit| permit.outcome);
            if matches!(taken_back, Some(Outcome::Withheld | Outcome::Expired)) {
                return Ok(None);
            }
            // One that witnesses must see is released by a receipt of theirs alone.
            let held = matches!(&record, Record::Decision(decision) if decision.witnessed);
            if held && taken_back.is_none() {
                return Ok(None);
            }
            Ok(Some(Found { record, receipt: self.receipt(seq, body)? }))
        };
        found().unwrap_or(None) // tidy: allow what does not prove itself is not shown
    }
}
