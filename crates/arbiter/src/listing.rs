//! Lists of tools: which of a server's tools an agent may be shown. It is answered as far as a decision would come without a
//! request, and put on record like one. Nothing is permitted by it.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_policy::{Bundle, Gathered, engine};
use portcullis_protocol::facts::PrincipalFact;
use portcullis_protocol::wire::ListingCall;
use portcullis_protocol::{
    AgentId, BundleRef, Digest, ListingRecord, Millis, ReasonCode, Snapshots, ToolName,
};

use crate::decide::{Facts, refuses};
use crate::fact::{Deadline, Fact};
use crate::identity::Caller;
use crate::limits::Room;
use crate::settle::{Credential, Health};
use crate::sources::Informed;

/// A list that is asked for, with everything that depends on the question and the bundle alone.
#[derive(Clone, Debug)]
pub struct ListingIntake {
    /// Who asks.
    pub agent: AgentId,
    /// That bundle's files, to be kept with the first record that names it.
    pub archive: Option<Arc<[u8]>>,
    /// Whether this is the last time that it may be computed anew.
    pub last_try: bool,
    call: ListingCall,
    bundle: Option<BundleRef>,
    expires: Option<Millis>,
    principal: PrincipalFact,
    known_agent: Fact<bool>,
    known_principal: Fact<bool>,
    informed: Informed,
    /// The tools that may be shown.
    shown: Fact<BTreeSet<ToolName>>,
    /// For how many milliseconds the bundle has requests kept, where it keeps them for longest; `None` if it keeps none.
    keeps: Option<u64>,
    /// Boot-clock milliseconds at which the caller stops waiting.
    deadline: u64,
}

/// What settling a list came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It may be shown, once this is on record.
    Shown(Box<ListingRecord>),
    /// No tool is shown.
    Refused(ReasonCode),
    /// The bundle or its facts changed since it was computed: compute it again.
    Again,
}

/// Reads a bundle for a list.
#[must_use]
pub fn prepare_listing(
    call: ListingCall,
    credential: &Credential,
    bundle: Option<&Bundle>,
    received: u64,
    facts: Option<&Gathered>,
) -> ListingIntake {
    let principal = credential.acts_for.fact(call.acts_for.as_ref());
    let mut intake = ListingIntake {
        agent: credential.agent.clone(),
        archive: None,
        last_try: false,
        bundle: None,
        expires: credential.expires,
        principal,
        known_agent: Fact::Unknown,
        known_principal: Fact::Unknown,
        informed: Informed::nothing(),
        shown: Fact::Unknown,
        keeps: None,
        deadline: received.saturating_add(call.deadline_ms),
        call,
    };
    if let Some(bundle) = bundle {
        intake.read(bundle, facts);
    }
    intake
}

impl ListingIntake {
    fn read(&mut self, bundle: &Bundle, facts: Option<&Gathered>) {
        let known = |known: Option<bool>| known.map_or(Fact::Unknown, Fact::Known);
        let named = self.call.acts_for.as_ref();
        self.bundle = Some(bundle.reference().clone());
        self.archive = Some(Arc::clone(bundle.archive()));
        self.informed = Informed::of_no_surface(bundle.content(), facts);
        self.known_agent = known(bundle.knows_agent(&self.agent, facts));
        self.known_principal = known(named.map_or(Some(true), |named| bundle.knows_principal(named, facts)));
        let shown = bundle.visible(&self.agent, &self.call.tools, facts);
        self.shown = shown.map_or(Fact::Unknown, Fact::Known);
        self.keeps = listings_kept(bundle);
    }

    /// The bundle by which it was computed, if one was in force.
    #[must_use]
    pub const fn bundle(&self) -> Option<&BundleRef> {
        self.bundle.as_ref()
    }

    /// The entities that sources of facts gave for it, by digest.
    #[must_use]
    pub fn snapshots(&self) -> &[(Digest, Arc<[u8]>)] {
        self.informed.kept()
    }

    /// Until when those are to be kept: as long as a request would be. `None` if they are not.
    #[must_use]
    pub fn keeps_until(&self, now: Millis) -> Option<Millis> {
        self.keeps.map(|for_ms| now.plus(for_ms))
    }
}

/// For how many milliseconds a bundle has the facts of lists kept: as requests are, where it keeps them for longest; `None` if
/// it keeps none.
#[must_use]
pub fn listings_kept(bundle: &Bundle) -> Option<u64> {
    let kept = bundle.surfaces().surfaces.values().map(|spec| spec.keep);
    kept.filter(|keep| keep.request).map(|keep| keep.for_ms).max()
}

/// Settles a list at index `seq`: a pure function of what was prepared and of the state's view.
#[must_use]
pub fn settle_listing(intake: &ListingIntake, health: &Health, room: Room<'_>, seq: u64) -> Listed {
    let current = health.is_read_by(intake.bundle.as_ref()) && intake.informed.are_current(health);
    if !current && !intake.last_try {
        return Listed::Again;
    }
    let (expires, principal) = (intake.expires, intake.principal);
    let caller = Caller { expires, principal, agent: &intake.known_agent, behind: &intake.known_principal };
    let facts = Facts {
        gate: health.gate.clone(),
        clock: health.clock.clone(),
        evidence: health.evidence.clone(),
        state: health.state.clone(),
        policy: health.policy_now(),
        sources: intake.informed.at(health.now, room),
        identity: caller.identity(health.now),
        surface: Fact::Unknown,
        idempotency: Fact::Unknown,
        evaluation: Fact::Unknown,
        limits: Fact::Unknown,
        freshness: Fact::Unknown,
        approval: Fact::Unknown,
        witness: Fact::Unknown,
        deadline: Fact::Known(Deadline::Ahead),
    };
    if let Some(code) = refuses(&facts) {
        return Listed::Refused(code);
    }
    if !current {
        return Listed::Refused(ReasonCode::OverloadContended);
    }
    if health.boot >= intake.deadline {
        return Listed::Refused(ReasonCode::OverloadDeadline);
    }
    match listing_record(intake, seq, health.now) {
        Some(record) => Listed::Shown(Box::new(record)),
        None => Listed::Refused(ReasonCode::PolicyEngineFailed),
    }
}

/// The record of a list at index `seq`; `None` if it is not known what may be shown.
#[must_use]
pub fn listing_record(intake: &ListingIntake, seq: u64, now: Millis) -> Option<ListingRecord> {
    let (Fact::Known(shown), Some(bundle)) = (&intake.shown, &intake.bundle) else { return None };
    let call = &intake.call;
    Some(ListingRecord {
        seq,
        time: now,
        agent: intake.agent.clone(),
        acts_for: call.acts_for.clone(),
        gate: call.gate.clone(),
        listing: call.listing,
        server: call.server.clone(),
        shown: shown.clone(),
        hidden: call.tools.difference(shown).cloned().collect(),
        unnamed: call.unnamed,
        bundle: bundle.clone(),
        sources: intake.informed.recorded(),
        engine: engine().to_owned(),
    })
}

/// Why a list cannot have been answered as its record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingFault {
    /// The bundle given is not the one that the record names.
    #[error("the bundle is not the one that the record names")]
    OtherBundle,
    /// The facts given are not those that the record names.
    #[error("the facts of its sources are not those that the record names")]
    OtherFacts,
    /// Nothing was to be listed by this bundle then.
    #[error("its bundle was not valid at its time")]
    Invalid,
    /// The bundle does not know who asked.
    #[error("its bundle does not know its agent, or whom that acts for")]
    Stranger,
}

/// Answers a list again, by the bundle and the facts that its record names: the record that it must be.
///
/// # Errors
/// [`ListingFault`]
pub fn derive_listing(
    entry: &ListingRecord,
    bundle: &Bundle,
    facts: Option<&Gathered>,
) -> Result<ListingRecord, ListingFault> {
    if *bundle.reference() != entry.bundle {
        return Err(ListingFault::OtherBundle);
    }
    let none = Snapshots::new();
    if facts.map_or(&none, Gathered::used) != &entry.sources {
        return Err(ListingFault::OtherFacts);
    }
    let (from, until) = bundle.validity();
    if !(from..until).contains(&entry.time) {
        return Err(ListingFault::Invalid);
    }
    let behind = entry.acts_for.as_ref().map_or(Some(true), |named| bundle.knows_principal(named, facts));
    if bundle.knows_agent(&entry.agent, facts) != Some(true) || behind != Some(true) {
        return Err(ListingFault::Stranger);
    }
    let asked = entry.asked();
    let shown = bundle.visible(&entry.agent, &asked, facts).ok_or(ListingFault::OtherFacts)?;
    let hidden = asked.difference(&shown).cloned().collect();
    let (sources, engine) = (entry.sources.clone(), engine().to_owned());
    Ok(ListingRecord { shown, hidden, sources, engine, ..entry.clone() })
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
