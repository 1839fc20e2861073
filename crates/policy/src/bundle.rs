//! A verified bundle.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_protocol::{
    AgentId, BundleRef, Digest, LabelName, LimitName, Millis, Obligations, ProofDemand, ReasonCode, Request,
    SurfaceTable, Verdict,
};

use portcullis_verify::VerifierKey;

use crate::authority::Authority;
use crate::compile::Compiled;
use crate::content;
use crate::error::{BundleError, Untested};
use crate::letting_go::Shared;
use crate::limits::{Counting, Limit};
use crate::proof::{self, ProofReport, Prover};
use crate::roster::Roster;
use crate::sources::Gathered;

/// The policy engine and its version, as records name it: another version may judge otherwise.
#[must_use]
pub const fn engine() -> &'static str {
    "cedar-policy 4.14.1"
}

/// A bundle that was signed by a trusted key, is the pinned one, and makes sense as a whole. Only
/// [`crate::Snapshot::verify`] makes one.
#[derive(Debug)]
pub struct Bundle {
    pub(crate) reference: BundleRef,
    pub(crate) table: SurfaceTable,
    pub(crate) table_digest: Option<Digest>,
    pub(crate) compiled: Shared<Compiled>,
    pub(crate) archive: Arc<[u8]>,
    vouched: Vouched,
}

/// Who vouched for a bundle.
#[derive(Debug)]
pub(crate) struct Vouched {
    pub(crate) by: Authority,
    pub(crate) signers: Vec<VerifierKey>,
}

/// What policy says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// PERMIT, DENY or SILENCE with its code and determining policies.
    pub verdict: Verdict,
    /// What the satisfied grants ask for, all of them together; nothing unless the verdict is PERMIT. A PERMIT is one only
    /// once they are met.
    pub obligations: Obligations,
    /// The labels that the satisfied grants add, and for how many milliseconds; none unless the verdict is PERMIT.
    pub labels: BTreeMap<LabelName, u64>,
    /// What exactly, for the caller and the log. It holds no value out of the request or the entities.
    pub detail: Option<String>,
}

/// Whether what is valid from the first of two instants on, and not any more from the second on, is valid at `now`.
pub(crate) fn validity((from, until): (Millis, Millis), now: Millis) -> Result<(), ReasonCode> {
    if now < from {
        Err(ReasonCode::PolicyNotYetValid)
    } else if now >= until {
        Err(ReasonCode::PolicyExpired)
    } else {
        Ok(())
    }
}

impl Bundle {
    pub(crate) fn new(
        reference: BundleRef,
        compiled: Shared<Compiled>,
        archive: Vec<u8>,
        vouched: Vouched,
    ) -> Self {
        let (table, table_digest) = content::table(&compiled, reference.digest);
        Self { reference, table, table_digest, compiled, archive: archive.into(), vouched }
    }

    /// Name, version and digest, as records name this bundle.
    #[must_use]
    pub const fn reference(&self) -> &BundleRef {
        &self.reference
    }

    /// The bundle's files in one sequence of bytes, its signature included: what [`crate::Snapshot::from_archive`]
    /// reads. Whoever replays a decision needs them.
    #[must_use]
    pub const fn archive(&self) -> &Arc<[u8]> {
        &self.archive
    }

    /// The surfaces, as gates need them.
    #[must_use]
    pub const fn surfaces(&self) -> &SurfaceTable {
        &self.table
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &BTreeMap<LimitName, Limit> {
        &self.compiled.manifest.limits
    }

    /// What a request takes of each limit that applies to it if it is permitted, by the limits' names.
    #[must_use]
    pub fn counting(&self, request: &Request, facts: Option<&Gathered>) -> Vec<Counting> {
        self.content().counting(request, facts)
    }

    /// Digest of the surfaces, for comparing by which rules a gate has read a call.
    #[must_use]
    pub const fn surfaces_digest(&self) -> Option<Digest> {
        self.table_digest
    }

    /// From when on it may decide, and from when on it may not any more.
    #[must_use]
    pub fn validity(&self) -> (Millis, Millis) {
        (self.compiled.manifest.valid_from, self.compiled.manifest.valid_until)
    }

    /// Whether this bundle may decide at `now`. To be asked for every decision: time passes while a bundle is
    /// held.
    ///
    /// # Errors
    /// [`ReasonCode::PolicyRootExpired`] at and after the end of the root whose keys signed it,
    /// [`ReasonCode::PolicyNotYetValid`] before `valid_from`, [`ReasonCode::PolicyExpired`] at and after
    /// `valid_until`.
    pub fn validity_at(&self, now: Millis) -> Result<(), ReasonCode> {
        if self.vouched.by.valid_until().is_some_and(|until| now >= until) {
            return Err(ReasonCode::PolicyRootExpired);
        }
        validity(self.validity(), now)
    }

    /// The people who may be asked for approvals, if there are any.
    #[must_use]
    pub fn roster(&self) -> Option<&Roster> {
        self.compiled.manifest.roster.as_ref()
    }

    /// What it says of proofs.
    #[must_use]
    pub fn proof_demand(&self) -> ProofDemand {
        self.compiled.manifest.proofs
    }

    /// Refuses a bundle that has no case and does not say so. To be asked of whatever is to decide.
    ///
    /// # Errors
    /// [`BundleError::Untested`].
    pub fn refuse_untested(&self) -> Result<(), BundleError> {
        if self.compiled.cases.is_empty() && !self.compiled.manifest.untested {
            return Err(BundleError::Untested(Untested(self.reference.clone())));
        }
        Ok(())
    }

    /// Has a solver prove what [`crate::Snapshot::prove`] proves, of this very bundle.
    #[must_use]
    pub fn prove(&self, prover: &Prover<'_>) -> ProofReport {
        proof::prove(&self.compiled, self.reference.digest, prover)
    }

    /// The keys that vouched for it, each once.
    #[must_use]
    pub fn signers(&self) -> &[VerifierKey] {
        &self.vouched.signers
    }

    /// Whose authority it was verified by.
    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.vouched.by
    }

    /// Whether the entities hold this agent, as `Agent::"name"`; `None` if sources of facts would have to say, and these
    /// do not.
    #[must_use]
    pub fn knows_agent(&self, agent: &AgentId, facts: Option<&Gathered>) -> Option<bool> {
        self.content().knows_agent(agent, facts)
    }
}
