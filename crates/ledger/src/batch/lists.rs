//! Lists of tools: one record each, before anybody sees them.

use portcullis_arbiter::{Listed, ListingIntake, Room, settle_listing};
use portcullis_protocol::{ListingRecord, ReasonCode, Record};

use crate::batch::Batch;
use crate::command::{ListReply, Reply};
use crate::error::LedgerError;
use crate::quota::Quota;
use crate::waiting::{ListAnswer, Waiting};

impl Batch<'_> {
    /// Takes a list into the batch, with whoever waits for the answer.
    pub(crate) fn take_list(
        &mut self,
        intake: &ListingIntake,
        reply: Reply<ListReply>,
        quota: &mut Quota,
    ) -> Result<(), LedgerError> {
        let (answer, failed) = match self.list(intake, quota) {
            Ok(answer) => (answer, Ok(())),
            Err(error) => (ListAnswer::Unlogged(error.code(), intake.agent.clone()), Err(error)),
        };
        self.waiting.push(Waiting::List { reply, answer });
        failed
    }

    fn list(&mut self, intake: &ListingIntake, quota: &mut Quota) -> Result<ListAnswer, LedgerError> {
        let seq = self.tree.size();
        let entry = match settle_listing(intake, self.health, Room::Of(self.standing), seq) {
            Listed::Shown(entry) => entry,
            Listed::Refused(code) => return Ok(ListAnswer::Unlogged(code, intake.agent.clone())),
            Listed::Again => return Ok(ListAnswer::Again),
        };
        if !quota.admits_list(&intake.agent, &entry.server, self.health.boot) {
            return Ok(ListAnswer::Unlogged(ReasonCode::OverloadShed, intake.agent.clone()));
        }
        let record = Record::Listing(entry);
        let Ok(body) = record.to_bytes() else {
            return Ok(ListAnswer::Unlogged(ReasonCode::RequestTooLarge, intake.agent.clone()));
        };
        let seq = self.append(&body)?;
        if let Record::Listing(entry) = &record {
            self.keep_for_list(intake, entry)?;
        }
        Ok(ListAnswer::Logged(seq, body))
    }

    /// Keeps what deriving the list again takes: the bundle's files, and the facts of its sources.
    fn keep_for_list(&mut self, intake: &ListingIntake, entry: &ListingRecord) -> Result<(), LedgerError> {
        let until = intake.keeps_until(self.health.now);
        self.keep_facts(&entry.sources, intake.snapshots(), until)?;
        self.archive_named(&entry.bundle, intake.archive.as_deref())
    }
}
