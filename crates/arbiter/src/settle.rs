//! From a call to a record: what is prepared outside the ledger's writer, and what is settled inside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use portcullis_policy::{Content, Counting, Gathered};
use portcullis_protocol::facts::PrincipalFact;
use portcullis_protocol::{
    AgentId, AttemptId, BundleDigest, BundleRef, Decision, DecisionRecord, Digest, Domain, Excepted, GateId,
    IdempotencyKey, LabelName, Labels, Millis, Obligations, Payload, Precondition, PrincipalId, ReasonCode,
    Request, Salt, Snapshots, SurfaceSpec, Verdict,
};

use crate::decide::{Facts, decide};
use crate::fact::{
    Approval, Clock, Deadline, Evidence, Fact, Freshness, GateState, Identity, KeyState, Policy, Sources,
    State, SurfaceMatch, Witness,
};

use crate::brought::Brought;
use crate::idempotency::{StoredKey, key_of, key_state};
use crate::identity::Caller;
use crate::limits::{Room, state};
use crate::mandate::Mandate;
use crate::sources::Informed;
use crate::standing::Standing;

mod prepare;
mod record;
pub use prepare::{prepare, prepare_informed};
pub use record::record;

/// The credential that a caller presented, as the transport verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The agent that it names.
    pub agent: AgentId,
    /// For whom it lets the agent act.
    pub acts_for: Mandate,
    /// When it expires, if ever.
    pub expires: Option<Millis>,
    /// When its bearer proved its identity, if the credential says so. A token that was only handed out does not.
    pub authenticated: Option<Millis>,
}

/// A call, with everything that depends on the request and the bundle alone.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The request.
    pub request: Request,
    /// The attempt.
    pub attempt: AttemptId,
    /// The gate that asked.
    pub gate: GateId,
    /// Salt of the commitment.
    pub salt: Salt,
    /// The request's salted commitment.
    pub commitment: Digest,
    /// What idempotency compares.
    pub operation: Digest,
    /// The key under which it runs at most once, if its surface keeps keys.
    pub key: Option<IdempotencyKey>,
    /// What came with it of what its payload digest is of.
    pub(crate) brought: Brought,
    /// The bundle that was read, if one was in force.
    pub bundle: Option<BundleRef>,
    /// That bundle's files ([`portcullis_policy::Bundle::archive`]), to be kept with the first record that names it.
    pub archive: Option<Arc<[u8]>>,
    /// The surface's declaration, if there is one.
    pub spec: Option<SurfaceSpec>,
    /// When that bundle stops permitting.
    until: Option<Millis>,
    /// Boot-clock milliseconds at which the caller stops waiting.
    pub deadline: u64,
    /// Whether this is the last time that the verdict may be computed anew.
    pub last_try: bool,
    /// Particulars for the caller.
    pub detail: Option<String>,
    expires: Option<Millis>,
    authenticated: Option<Millis>,
    principal: PrincipalFact,
    known_agent: Fact<bool>,
    /// Whether the bundle knows whom the agent acts for; it does if it acts for nobody.
    known_principal: Fact<bool>,
    surface: Fact<SurfaceMatch>,
    evaluation: Fact<Verdict>,
    obligations: Fact<Obligations>,
    /// What it takes of limits; `None` without a bundle.
    counting: Option<Vec<Counting>>,
    /// The labels that policy was asked with; `None` if its policies see none.
    labels: Option<BTreeSet<LabelName>>,
    /// The labels that a PERMIT adds, and for how many milliseconds.
    adds: BTreeMap<LabelName, u64>,
    /// Whether the agent's labels are known to have changed since: only of a call that is decided again.
    pub(crate) labels_moved: bool,
    /// What policy was asked with of sources of facts.
    pub(crate) informed: Informed,
}

/// The bundle in force, as the writer sees it when it settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyNow {
    /// Its digest, if one is in force.
    pub digest: Option<BundleDigest>,
    /// The digest of the root by whose keys it is, if a root says which keys count.
    pub root: Option<Digest>,
    /// Whether and why not.
    pub policy: Policy,
}

/// What the writer knows of itself and its surroundings when it settles a batch.
#[derive(Clone, Debug)]
pub struct Health {
    /// Shut by an operator?
    pub gate: Fact<GateState>,
    /// Can time be trusted?
    pub clock: Fact<Clock>,
    /// Can evidence be written?
    pub evidence: Fact<Evidence>,
    /// Is the state ours?
    pub state: Fact<State>,
    /// Which bundle is in force?
    pub policy: Fact<PolicyNow>,
    /// What do the sources of facts say that the bundle in force declares?
    pub sources: Fact<Snapshots>,
    /// Does this deployment have witnesses?
    pub witnesses: Fact<bool>,
    /// The wall clock, assigned once for the batch.
    pub now: Millis,
    /// The boot clock, in milliseconds.
    pub boot: u64,
}

impl Health {
    /// Whether what was computed by this bundle was computed under what is in force now.
    pub(crate) fn is_read_by(&self, bundle: Option<&BundleRef>) -> bool {
        match &self.policy {
            Fact::Known(PolicyNow { digest: Some(digest), .. }) => {
                bundle.is_some_and(|bundle| bundle.digest == *digest)
            }
            // Nothing is in force: the policy precondition refuses, whatever was computed.
            Fact::Known(PolicyNow { digest: None, .. }) | Fact::Unknown => true,
        }
    }

    /// Whether a bundle is in force.
    pub(crate) const fn policy_now(&self) -> Fact<Policy> {
        match &self.policy {
            // In force, but nobody says which: then nothing is.
            Fact::Known(PolicyNow { digest: None, policy: Policy::InForce(_), .. }) | Fact::Unknown => {
                Fact::Unknown
            }
            Fact::Known(now) => Fact::Known(now.policy),
        }
    }
}

/// What settling came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// A decision.
    Decided(Verdict),
    /// The bundle, its facts or the labels changed since the verdict was computed: compute it again.
    EvaluateAgain,
}

impl Intake {
    /// Asks a bundle's content about it.
    pub(crate) fn read(
        &mut self,
        bundle: Content<'_>,
        (labels, facts): (&BTreeSet<LabelName>, Option<&Gathered>),
    ) {
        let known = |known: Option<bool>| known.map_or(Fact::Unknown, Fact::Known);
        self.bundle = Some(bundle.reference().clone());
        self.until = Some(bundle.validity().1);
        self.informed = Informed::of(bundle, facts, &self.request.ask.surface);
        self.known_agent = known(bundle.knows_agent(&self.request.agent, facts));
        let named = self.request.ask.acts_for.as_ref();
        self.known_principal = known(named.map_or(Some(true), |named| bundle.knows_principal(named, facts)));
        self.spec = bundle.surfaces().surfaces.get(&self.request.ask.surface).cloned();
        self.key = self.spec.as_ref().and_then(|spec| key_of(spec, &self.request, &self.operation));
        if self.principal == PrincipalFact::NotAdmitted {
            // Policy is not asked about somebody on whose word nobody acts, and nobody's labels are told.
            self.detail = Some(self.not_admitted());
            return;
        }
        let evaluation = bundle.evaluate_informed(&self.request, labels, facts);
        self.labels = bundle.sees_labels(&self.request.ask.action).then(|| labels.clone());
        self.surface = Fact::Known(self.surface_match(bundle, &evaluation.verdict));
        // What is not granted takes nothing.
        let granted = evaluation.verdict.decision() == Decision::Permit;
        self.counting = Some(if granted { bundle.counting(&self.request, facts) } else { Vec::new() });
        self.evaluation = Fact::Known(evaluation.verdict);
        self.obligations = Fact::Known(evaluation.obligations);
        self.adds = evaluation.labels;
        self.detail = evaluation.detail;
    }

    fn surface_match(&self, bundle: Content<'_>, verdict: &Verdict) -> SurfaceMatch {
        let mapped = self.request.ask.mapped_with;
        if mapped.is_some_and(|mapped| Some(mapped) != bundle.surfaces_digest()) {
            return SurfaceMatch::MappedOtherwise;
        }
        // Before the surface is looked for: that a server came to have the tool is the reason, not that it has no surface.
        if let Err(code) = bundle.surfaces().pins.judge_ask(&self.request.ask) {
            return SurfaceMatch::Misfit(code);
        }
        match (&self.spec, verdict.reason()) {
            (None, _) => SurfaceMatch::Undeclared,
            (Some(_), Some(ReasonCode::SurfaceActionUnknown)) => SurfaceMatch::ActionUndeclared,
            (Some(_), Some(code))
                if matches!(code.precondition(), Precondition::Request | Precondition::Surface) =>
            {
                SurfaceMatch::Misfit(code)
            }
            (Some(spec), Some(_) | None) if spec.keep.arguments && !self.brought.is_own() => {
                SurfaceMatch::Misfit(ReasonCode::SurfaceArgumentsUnkept)
            }
            (Some(_), Some(_) | None) => SurfaceMatch::Fits,
        }
    }

    /// What its payload digest is of, to be kept with the request: where its surface says so, and of no other.
    #[must_use]
    pub fn payload_to_keep(&self) -> Option<&Payload> {
        let keeps = self.spec.as_ref().is_some_and(|spec| spec.keep.arguments);
        self.brought.own().filter(|_| keeps)
    }

    fn not_admitted(&self) -> String {
        match &self.request.ask.acts_for {
            Some(named) => format!("this credential does not let its agent act for `{named}`"),
            None => "this credential lists for whom its agent acts, and the request names nobody".to_owned(),
        }
    }

    /// What the agent's credential says of whom the request names.
    pub(crate) const fn principal(&self) -> PrincipalFact {
        self.principal
    }

    /// For whom the agent acts, if its credential lets it.
    #[must_use]
    pub fn behind(&self) -> Option<&PrincipalId> {
        self.request.ask.acts_for.as_ref().filter(|_| self.principal == PrincipalFact::Admitted)
    }

    /// When the agent's credential expires, if ever.
    pub(crate) const fn expires(&self) -> Option<Millis> {
        self.expires
    }

    /// When the agent proved its identity, if its credential says so.
    pub(crate) const fn authenticated(&self) -> Option<Millis> {
        self.authenticated
    }

    /// Whether a PERMIT of it is released only once witnesses have seen its record: the surface or a grant asks for it.
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        let asked = matches!(&self.obligations, Fact::Known(owed) if owed.witnessed);
        asked || self.spec.as_ref().is_some_and(|spec| spec.witnessed)
    }

    /// The entities that sources of facts gave for it, by digest, to be kept with the first record that names them.
    #[must_use]
    pub fn snapshots(&self) -> &[(Digest, Arc<[u8]>)] {
        self.informed.kept()
    }

    /// The exception by which it is permitted at `now`, if its facts are stale and there is one.
    fn excepted(&self, now: Millis) -> Option<Excepted> {
        self.informed.excepted(self.spec.as_ref().map(|spec| spec.tier), now)
    }

    /// Particulars for the caller. Of an obligation that is not met they name roles and quorum.
    #[must_use]
    pub fn detail_of(&self, reason: ReasonCode) -> Option<String> {
        match (reason, &self.obligations) {
            (ReasonCode::ApprovalRequired | ReasonCode::IdentityStale, Fact::Known(owed)) => {
                Some(format!("the grants ask for {owed}"))
            }
            (ReasonCode::SurfaceArgumentsUnkept, _) => Some(self.brought.told().to_owned()),
            (_, _) => self.detail.clone(),
        }
    }

    fn freshness(&self, now: Millis) -> Fact<Freshness> {
        let Fact::Known(owed) = &self.obligations else { return Fact::Unknown };
        if owed.identity_within_ms.is_none() {
            return Fact::Known(Freshness::NotAsked);
        }
        // A proof that lies in the future has no age.
        let age = self.authenticated.and_then(|at| now.0.checked_sub(at.0));
        let fresh = owed.admits_identity(age);
        Fact::Known(if fresh { Freshness::Within } else { Freshness::Stale })
    }

    fn approval(&self) -> Fact<Approval> {
        match &self.obligations {
            Fact::Unknown => Fact::Unknown,
            Fact::Known(owed) if owed.approvals.is_empty() => Fact::Known(Approval::NotAsked),
            Fact::Known(_) => Fact::Known(Approval::Missing),
        }
    }

    /// What the record says of the obligations: they are part of what was decided only where they had a part in it.
    fn obligations_of(&self, verdict: &Verdict) -> Obligations {
        match &self.obligations {
            Fact::Known(owed) if verdict.reason().is_none_or(Obligations::are_behind) => owed.clone(),
            Fact::Known(_) | Fact::Unknown => Obligations::none(),
        }
    }

    /// Whether this verdict, settled now, is the PERMIT that is on record, on the terms that are on record: by the same
    /// bundle and grants, asking for the same and adding the same labels. Another one, however it came about, has reserved
    /// nothing, added nothing, and may need witnesses that this one did not.
    #[must_use]
    pub fn is_permit_of(&self, verdict: &Verdict, entry: &DecisionRecord, now: Millis) -> bool {
        verdict.decision() == Decision::Permit
            && entry.decision == Decision::Permit
            && self.bundle == entry.bundle
            && verdict.policies() == entry.policies
            && self.obligations_of(verdict) == entry.obligations
            && self.is_witnessed() == entry.witnessed
            && self.adds.keys().eq(entry.labels.added.keys())
            && self.informed.uphold(&entry.facts.sources)
            // What was permitted on fresh facts is not handed out on stale ones: the record says of no exception.
            && self.excepted(now) == entry.exception
    }

    /// How record and state name the key: a digest of agent and key.
    #[must_use]
    pub fn key_commitment(&self) -> Option<Digest> {
        let agent = self.request.agent.as_str().as_bytes();
        self.key.as_ref().map(|key| Digest::of(Domain::Key, &[agent, key.as_str().as_bytes()]))
    }

    fn identity(&self, now: Millis) -> Fact<Identity> {
        let (expires, principal) = (self.expires, self.principal);
        Caller { expires, principal, agent: &self.known_agent, behind: &self.known_principal }.identity(now)
    }

    fn key_state(&self, stored: Fact<Option<StoredKey>>, now: Millis) -> Fact<KeyState> {
        match &self.spec {
            None => Fact::Unknown,
            Some(spec) => {
                let given = self.request.ask.idempotency_key.as_ref();
                key_state(spec, given, self.key.as_ref(), stored, &self.operation, now)
            }
        }
    }

    fn witness(&self, witnesses: &Fact<bool>) -> Fact<Witness> {
        match (&self.spec, witnesses) {
            (None, _) => Fact::Unknown,
            (Some(_), _) if !self.is_witnessed() => Fact::Known(Witness::NotAsked),
            (Some(_), Fact::Known(true)) => Fact::Known(Witness::There),
            (Some(_), Fact::Known(false)) => Fact::Known(Witness::Nobody),
            (Some(_), Fact::Unknown) => Fact::Unknown,
        }
    }

    /// The labels of the agent and of whom it acts for.
    fn labels_now(&self, standing: &Standing, now: Millis) -> BTreeSet<LabelName> {
        standing.labels(&self.request.agent, self.behind(), now)
    }

    /// Whether policy was asked with the labels that the agent has now.
    fn labels_are_current(&self, room: Room<'_>, now: Millis) -> bool {
        let Some(seen) = &self.labels else { return !self.labels_moved };
        !self.labels_moved
            && match room {
                Room::Of(standing) => self.labels_now(standing, now) == *seen,
                Room::Taken(_, beside) => beside == seen,
                // Then nothing is known of limits either, and nothing is permitted.
                Room::Unknown => true,
            }
    }

    /// What the record says of labels.
    fn labelled(&self, verdict: &Verdict, standing: &Standing, now: Millis) -> Labels {
        let held = self.labels.as_ref().map(|_| self.labels_now(standing, now));
        let adds = self.adds.iter().filter(|_| verdict.decision() == Decision::Permit);
        let added = adds.map(|(label, lifetime)| (label.clone(), now.plus(*lifetime))).collect();
        Labels { held: held.unwrap_or_default(), added } // tidy: allow policies that see none
    }

    /// Whether the verdict was computed under what is in force now.
    fn is_current(&self, health: &Health) -> bool {
        health.is_read_by(self.bundle.as_ref())
    }
}

/// Settles a call: a pure function of what was prepared and of the state's view.
#[must_use]
pub fn settle(intake: &Intake, health: &Health, stored: Fact<Option<StoredKey>>, room: Room<'_>) -> Settled {
    let current = intake.is_current(health)
        && intake.labels_are_current(room, health.now)
        && intake.informed.are_current(health);
    if !current && !intake.last_try {
        return Settled::EvaluateAgain;
    }
    let deadline = if health.boot < intake.deadline { Deadline::Ahead } else { Deadline::Passed };
    let facts = Facts {
        gate: health.gate.clone(),
        clock: health.clock.clone(),
        evidence: health.evidence.clone(),
        state: health.state.clone(),
        policy: health.policy_now(),
        sources: intake.informed.at(health.now, room),
        identity: intake.identity(health.now),
        surface: intake.surface.clone(),
        idempotency: intake.key_state(stored, health.now),
        evaluation: intake.evaluation.clone(),
        limits: state(intake.counting.as_deref(), &intake.request.agent, room, health.now),
        freshness: intake.freshness(health.now),
        approval: intake.approval(),
        witness: intake.witness(&health.witnesses),
        deadline: Fact::Known(deadline),
    };
    let verdict = decide_excepting(facts, intake, health.now);
    // What was computed under another bundle or by other facts counts only as far as it refuses before either is asked.
    let stale = |code: ReasonCode| code.precondition() >= Precondition::Facts;
    match verdict.reason() {
        Some(code) if current || !stale(code) => Settled::Decided(verdict),
        None if current => Settled::Decided(verdict),
        Some(_) | None => Settled::Decided(Verdict::refuse(ReasonCode::OverloadContended)),
    }
}

/// Decides. Where nothing but the age of facts stands against a PERMIT, an exception of the bundle can stand in for it; where
/// anything else does too, the facts were stale first.
fn decide_excepting(facts: Facts, intake: &Intake, now: Millis) -> Verdict {
    let verdict = decide(&facts);
    if verdict.reason() != Some(ReasonCode::FactStale) || intake.excepted(now).is_none() {
        return verdict;
    }
    let excepted = decide(&Facts { sources: Fact::Known(Sources::Fresh), ..facts });
    if excepted.reason().is_none() { excepted } else { verdict }
}

#[cfg(test)]
#[path = "obligations_tests.rs"]
mod obligations_tests;
#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
