//! An attempt whose answer was lost: what it is told again, and what can be found of it.

use std::collections::BTreeSet;

use portcullis_arbiter::{Fact, Intake, Room, Settled, Standing, settle, share_labels};
use portcullis_protocol::{
    AttemptId, Decision, DecisionRecord, LabelName, Millis, Outcome, ReasonCode, Record, Verdict,
};
use rusqlite::Connection;

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
        let (body, entry) = decided(self.connection, seq)?;
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
        // Its key is consumed by itself, its reservations are its own and so are the labels that it gives, which is no
        // reason against it.
        let beside = labels_beside(self.connection, self.standing, entry, self.now())?;
        Ok(match settle(intake, self.health, Fact::Known(None), Room::Taken(self.standing, &beside)) {
            Settled::Decided(now) => match now.reason() {
                Some(code) => Some(Answer::Unlogged(code, intake.detail_of(code))),
                None if intake.is_permit_of(&now, entry, self.now()) => None,
                None => Some(Answer::Unlogged(ReasonCode::OverloadContended, Some(OTHERWISE.to_owned()))),
            },
            Settled::EvaluateAgain => Some(Answer::EvaluateAgain(Some(beside))),
        })
    }
}

/// The decision that an attempt's row names, with its bytes.
fn decided(connection: &Connection, seq: u64) -> Result<(Vec<u8>, Box<DecisionRecord>), LedgerError> {
    let missing = || LedgerError::Corrupt(format!("record {seq} of an attempt is missing"));
    let body = store::record(connection, seq)?.ok_or_else(missing)?;
    match Record::parse(&body)? {
        Record::Decision(entry) => Ok((body, entry)),
        Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => {
            Err(LedgerError::Corrupt(format!("record {seq} of an attempt is no decision")))
        }
    }
}

/// The labels that count for a PERMIT on record that is about to be handed out: [`Standing::labels_beside`]. What others of
/// its agent's PERMITs, or of whom that acts for, gave in its own millisecond cannot be told by how long it stays, and is looked up.
fn labels_beside(
    connection: &Connection,
    standing: &Standing,
    entry: &DecisionRecord,
    now: Millis,
) -> Result<BTreeSet<LabelName>, LedgerError> {
    let mut beside = standing.labels_beside(entry, now);
    let mut next = entry.seq.saturating_add(1);
    while !entry.labels.added.is_empty()
        && let Some(body) = store::record(connection, next)?
        && let record = Record::parse(&body)?
        && record.time() == entry.time
    {
        if let Record::Decision(other) = record
            && share_labels(&other, entry)
        {
            beside.extend(other.labels.added.into_keys());
        }
        next = next.saturating_add(1);
    }
    Ok(beside)
}

impl Opened {
    /// The PERMIT at this index, and the labels that count for it.
    pub(crate) fn beside(
        &self,
        seq: u64,
        now: Millis,
    ) -> Result<(Box<DecisionRecord>, BTreeSet<LabelName>), LedgerError> {
        let (_, entry) = decided(&self.store.connection, seq)?;
        let labels = labels_beside(&self.store.connection, &self.standing, &entry, now)?;
        Ok((entry, labels))
    }
}

/// Whether the receipt of a decision could still make a permit. That its PERMIT was released is not on record: it may be that
/// nobody has it, and that it would not be released now.
fn could_be_spent(entry: &DecisionRecord, outcome: Option<Outcome>, now: Option<Millis>) -> bool {
    let alive = |ttl| now.is_none_or(|now| now.since(entry.time) < ttl);
    entry.decision == Decision::Permit
        && match outcome {
            Some(Outcome::Ok | Outcome::Failed) => false,
            // One that witnesses must see is released by a receipt of theirs alone.
            None if entry.witnessed => true,
            None | Some(Outcome::Unknown | Outcome::Expired | Outcome::Withheld) => {
                entry.permit_ttl_ms.is_none_or(alive)
            }
        }
}

impl Opened {
    /// The record of an attempt with its receipt, if it is there and proves itself. `now` is the time, if it can be trusted.
    pub(crate) fn find(&self, attempt: &AttemptId, now: Option<Millis>) -> Option<Found> {
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
            let spendable = match &record {
                Record::Decision(entry) => could_be_spent(entry, taken_back, now),
                Record::Outcome(_)
                | Record::Aggregate(_)
                | Record::Event(_)
                | Record::Late(_)
                | Record::Listing(_)
                | Record::Simulation(_) => false,
            };
            let receipt = if spendable { None } else { Some(self.receipt(seq, body)?) };
            Ok(Some(Found { record, receipt }))
        };
        found().unwrap_or(None) // tidy: allow what does not prove itself is not shown
    }
}
