//! Lists of tools, as the arbiter answers them.

use std::sync::Arc;
use std::time::Duration;

use portcullis_arbiter::{Credential, prepare_listing};
use portcullis_ledger::{Clocks, ListReply};
use portcullis_protocol::ReasonCode;
use portcullis_protocol::wire::{ListingCall, ListingReply};
use tokio::sync::oneshot;

use super::{Arbiter, EVALUATIONS, LONGEST_DEADLINE, hand_over};

impl Arbiter {
    /// Says which tools of a server the agent may be shown, once that is on record.
    ///
    /// # Errors
    /// The code under which nothing is shown.
    pub async fn list(
        &self,
        mut call: ListingCall,
        credential: &Credential,
    ) -> Result<ListingReply, ReasonCode> {
        call.deadline_ms = call.deadline_ms.min(LONGEST_DEADLINE);
        let deadline = Duration::from_millis(call.deadline_ms);
        let received = self.clocks.boot();
        let Ok(_place) = self.places.try_acquire() else {
            self.count(Some(ReasonCode::OverloadShed), Some(credential.agent.clone()));
            return Err(ReasonCode::OverloadShed);
        };
        let answered = tokio::time::timeout(deadline, self.listed(&call, credential, received)).await;
        answered.map_err(|_| ReasonCode::OverloadDeadline)?.map(|receipt| ListingReply { receipt })
    }

    async fn listed(
        &self,
        call: &ListingCall,
        credential: &Credential,
        received: u64,
    ) -> Result<String, ReasonCode> {
        for evaluation in 1..=EVALUATIONS {
            let current = self.bundles.ready().await;
            let facts = match &current {
                Ok(bundle) => self.facts.of(bundle).await.map_or(None, |facts| facts),
                Err(_) => None,
            };
            let bundle = current.as_ref().map_or(None, |bundle| Some(Arc::as_ref(bundle)));
            let mut intake = prepare_listing(call.clone(), credential, bundle, received, facts.as_deref());
            intake.last_try = evaluation == EVALUATIONS;
            let (reply, answer) = oneshot::channel();
            if self.ledger.list(intake, |answer| hand_over(reply, answer)).is_err() {
                self.count(Some(ReasonCode::OverloadShed), Some(credential.agent.clone()));
                return Err(ReasonCode::OverloadShed);
            }
            match answer.await {
                Ok(ListReply::Listed(receipt)) => return Ok(receipt),
                Ok(ListReply::Refused(code)) => return Err(code),
                Ok(ListReply::Again) => {}
                // The writer is gone: nothing was released.
                Err(_) => return Err(ReasonCode::EvidenceUnwritable),
            }
        }
        Err(ReasonCode::OverloadContended)
    }
}
