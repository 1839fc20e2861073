//! Lists of tools: which of them may be shown, by a record that verifies.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_protocol::wire::ListingCall;
use portcullis_protocol::{
    AgentId, Digest, GateId, ListingRecord, PrincipalId, ReasonCode, Record, ServerName, ToolName,
};

use crate::attempt::TrustedLog;
use crate::authorizer::Authorizer;
use crate::refusal::Refusal;

/// A list of a server's tools that is asked for once. What it is named is random, so that the record of no other list passes
/// for its own.
#[derive(Debug)]
pub struct Listing {
    name: Digest,
    agent: AgentId,
    acts_for: Option<PrincipalId>,
    gate: GateId,
    server: ServerName,
    tools: BTreeSet<ToolName>,
    unnamed: u64,
}

impl Listing {
    /// A list of these tools of a server, no more than [`check_listed`](portcullis_protocol::check_listed) admits, and of so many
    /// others whose names no bundle can have.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn new(
        (agent, acts_for): (AgentId, Option<PrincipalId>),
        gate: GateId,
        server: ServerName,
        (tools, unnamed): (BTreeSet<ToolName>, u64),
    ) -> Result<Self, Refusal> {
        let mut name = [0; 32];
        getrandom::fill(&mut name).map_err(|_| {
            let detail = "the system gives no random bytes".to_owned();
            Refusal::own(ReasonCode::RequestMalformed, Some(detail))
        })?;
        Ok(Self { name: Digest::from_bytes(name), agent, acts_for, gate, server, tools, unnamed })
    }

    /// The question to the arbiter.
    #[must_use]
    pub fn call(&self, deadline: Duration) -> ListingCall {
        ListingCall {
            listing: self.name,
            gate: self.gate.clone(),
            acts_for: self.acts_for.clone(),
            server: self.server.clone(),
            tools: self.tools.clone(),
            unnamed: self.unnamed,
            deadline_ms: u64::try_from(deadline.as_millis()).map_or(u64::MAX, |milliseconds| milliseconds),
        }
    }

    /// Turns a receipt into the record of this list, which says what may be shown.
    ///
    /// # Errors
    /// [`Refusal::Unverifiable`] unless the receipt verifies with a pinned key and records this list, of exactly these tools, for
    /// this agent and gate.
    pub fn redeem(self, receipt: &str, log: &TrustedLog) -> Result<ListingRecord, Refusal> {
        let (record, _) = log.record(receipt)?;
        let Record::Listing(record) = record else {
            return Err(Refusal::unverifiable("the receipt's record is no list"));
        };
        let differs = [
            (record.listing != self.name, "list"),
            (record.agent != self.agent, "agent"),
            (record.acts_for != self.acts_for, "principal"),
            (record.gate != self.gate, "gate"),
            (record.server != self.server, "server"),
            (record.asked() != self.tools || record.unnamed != self.unnamed, "set of tools"),
        ];
        match differs.iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(Refusal::unverifiable(format!("the receipt is for another {what}"))),
            None => Ok(*record),
        }
    }
}

/// Asks which of a server's tools may be shown.
///
/// # Errors
/// [`Refusal`]: in every case but one, a verified record of this list within the deadline. Nothing is to be shown then.
pub async fn list(
    arbiter: &dyn Authorizer,
    listing: Listing,
    log: &TrustedLog,
    deadline: Duration,
) -> Result<ListingRecord, Refusal> {
    let asked = tokio::time::timeout(deadline, arbiter.list(listing.call(deadline))).await;
    let reply = asked.map_err(|_| Refusal::own(ReasonCode::ArbiterTimeout, None))??;
    listing.redeem(&reply.receipt, log)
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
