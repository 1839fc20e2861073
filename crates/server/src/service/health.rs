//! What of the arbiter is shut now, and why.

use std::sync::Arc;
use std::time::Duration;

use portcullis_arbiter::Heard;
use portcullis_policy::Bundle;
use portcullis_protocol::ReasonCode;

use super::Arbiter;
use crate::cosigning::Cosigning;
use crate::identity::TokenRefused;
use crate::operator;
use crate::remote::{FactsHealth, Health, Interlock, IssuerHealth, Scrubbed, Spool};
use portcullis_ledger::Clocks;

/// How long who asks how the arbiter is waits for a bundle that is being compiled: large ones take a second, and some may never end.
const COMPILING: Duration = Duration::from_secs(2);

/// The code under which nothing is permitted by such sources of facts, if it is so.
pub(super) fn wanting(sources: &[FactsHealth]) -> Option<ReasonCode> {
    let any = |state: &str| sources.iter().any(|source| source.state == state);
    match (any("unavailable"), any("rolled back"), any("stale")) {
        (true, ..) => Some(ReasonCode::FactUnavailable),
        (false, true, _) => Some(ReasonCode::FactRolledBack),
        (false, false, true) => Some(ReasonCode::FactStale),
        (false, false, false) => None,
    }
}

impl Arbiter {
    /// How the sources of facts are, and under which code nothing is permitted on their account; without the latter if the
    /// bundle in force declares none.
    pub(super) async fn sources(
        &self,
        bundle: Option<Arc<Bundle>>,
        heard: &Heard,
    ) -> (Vec<FactsHealth>, Option<Option<ReasonCode>>) {
        let Some(bundle) = bundle else { return (Vec::new(), None) };
        let there = self.facts.of(&bundle).await.is_ok();
        let sources = self.facts.health(&bundle, self.clocks.wall(), heard);
        if bundle.sources().is_empty() {
            return (sources, None);
        }
        let code = if there { wanting(&sources) } else { Some(ReasonCode::FactUnavailable) };
        (sources, Some(code))
    }

    /// What is shut now, and why.
    pub async fn health(&self) -> Health {
        let status = self.status().await;
        let ledger = match &status {
            Some(status) => status.tripped,
            None => Some(ReasonCode::StateUnreachable),
        };
        let gate = match operator::is_shut(&self.data) {
            Ok(None) => None,
            Ok(Some(_)) => Some(ReasonCode::GateShut),
            Err(_) => Some(ReasonCode::GateUnknown),
        };
        let bundle = match tokio::time::timeout(COMPILING, self.bundles.ready()).await {
            Ok(found) => found.map_err(|error| error.code()),
            Err(_elapsed) => Err(ReasonCode::PolicyMissing),
        };
        let policy = match (&bundle, self.clocks.wall()) {
            (Ok(bundle), Some(now)) => bundle.validity_at(now).err(),
            (Ok(_), None) => Some(ReasonCode::ClockUnreadable),
            (Err(code), _) => Some(*code),
        };
        let heard = status.as_ref().map_or_else(Heard::new, |status| status.facts.clone());
        let (sources, facts) = self.sources(bundle.ok(), &heard).await;
        let source = match &self.source {
            Some(source) => Some(source.health().await),
            None => None,
        };
        let interlocks = [("gate", gate), ("ledger", ledger), ("policy", policy)];
        let interlocks: Vec<_> = interlocks.into_iter().chain(facts.map(|facts| ("facts", facts))).collect();
        let ready = interlocks.iter().all(|(_, tripped)| tripped.is_none());
        let issuers = self.identities.health(self.clocks.boot());
        let interlocks = interlocks.into_iter().chain(identity(&issuers));
        let refused: fn((TokenRefused, u64)) -> (String, u64) = |(why, count)| (why.code().to_owned(), count);
        Health {
            ready,
            refused_tokens: self.identities.notes().all().into_iter().map(refused).collect(),
            interlocks: interlocks.map(|(name, tripped)| Interlock::new(name, tripped)).collect(),
            records: status.as_ref().map(|status| status.size),
            open_permits: status.as_ref().map(|status| status.open_permits),
            syncs: status.as_ref().map(|status| status.syncs),
            batches: status.as_ref().map(|status| status.batches),
            witnesses: self.witnesses.as_ref().map_or_else(Vec::new, |witnesses| witnesses.health()),
            witnessed: self.witnesses.as_ref().and_then(|witnesses| witnesses.witnessed()),
            spool: status.as_ref().and_then(|status| status.spool.clone()).map(Spool::from),
            cosigning: self.cosigning.as_ref().map(Cosigning::health),
            source,
            facts: sources,
            issuers,
            erasing: status.as_ref().and_then(|status| status.erasing),
            scrub: status.and_then(|status| status.scrub).map(|scrub| Scrubbed {
                checked: scrub.checked,
                of: scrub.of,
                passes: scrub.passes,
                found: scrub.found,
            }),
        }
    }
}

/// The identity interlock, if there are providers: tripped for the agents of those whose keys do not count.
fn identity(issuers: &[IssuerHealth]) -> Option<(&'static str, Option<ReasonCode>)> {
    let trips = |issuer: &IssuerHealth| matches!(issuer.state.as_str(), "missing" | "expired");
    let code = issuers.iter().any(trips).then_some(ReasonCode::IdentityUnavailable);
    (!issuers.is_empty()).then_some(("identity", code))
}
