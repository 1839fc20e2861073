//! What the ledger's writer asks of its surroundings: the operator's mark, and the bundle in force.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_arbiter::{Fact, GateState, Policy, PolicyNow, Ports, Validity};
use portcullis_policy::Bundle;
use portcullis_protocol::{BundleDigest, InForce, Millis, ReasonCode, Snapshots, Succession};

use crate::bundles::{Bundles, described};
use crate::facts::Facts;
use crate::operator::is_shut;

/// The surroundings of a data directory.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) data: PathBuf,
    pub(crate) bundles: Arc<Bundles>,
    pub(crate) facts: Arc<Facts>,
    /// The bundle that was found in force last: its sources are looked at next.
    pub(crate) found: Mutex<Option<Arc<Bundle>>>,
    /// Whether any of the witnesses answers; `None` if there are none.
    pub(crate) witnesses: Option<Arc<AtomicBool>>,
}

impl Ports for Surroundings {
    fn gate(&self) -> Fact<GateState> {
        match is_shut(&self.data) {
            Ok(None) => Fact::Known(GateState::Open),
            Ok(Some(_)) => Fact::Known(GateState::Shut),
            Err(_) => Fact::Unknown,
        }
    }

    fn witnesses(&self) -> Fact<bool> {
        Fact::Known(self.witnesses.as_ref().is_some_and(|answering| answering.load(Ordering::Acquire)))
    }

    fn in_force(&self) -> Option<InForce> {
        let bundle = self.bundles.look().ok()?.ok()?;
        Some(described(&bundle))
    }

    fn archive(&self, digest: &BundleDigest) -> Option<Arc<[u8]>> {
        let bundle = self.bundles.look().ok()?.ok()?;
        (bundle.reference().digest == *digest).then(|| Arc::clone(bundle.archive()))
    }

    fn stands(&self, succession: &Succession) {
        self.bundles.stands(succession);
    }

    fn policy(&self, now: Millis) -> Fact<PolicyNow> {
        let current = match self.bundles.look() {
            Ok(current) => current,
            // Whoever asks policy waits for it. Here all others would, and what was asked of another bundle is asked again.
            Err(compiled) => {
                *self.found() = None;
                let policy = Policy::Refused(ReasonCode::PolicyMissing);
                return Fact::Known(PolicyNow { digest: Some(compiled), root: None, policy });
            }
        };
        *self.found() = current.as_ref().map_or(None, |bundle| Some(Arc::clone(bundle)));
        Fact::Known(match current {
            Ok(bundle) => in_force(&bundle, now),
            Err(error) => PolicyNow { digest: None, root: None, policy: Policy::Refused(error.code()) },
        })
    }

    fn sources(&self) -> Fact<Snapshots> {
        match &*self.found() {
            Some(bundle) => self.facts.now(bundle),
            // Without a bundle nothing is permitted.
            None => Fact::Unknown,
        }
    }
}

impl Surroundings {
    fn found(&self) -> MutexGuard<'_, Option<Arc<Bundle>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn in_force(bundle: &Bundle, now: Millis) -> PolicyNow {
    let policy = match bundle.validity_at(now) {
        Ok(()) => Policy::InForce(Validity::Valid),
        Err(ReasonCode::PolicyNotYetValid) => Policy::InForce(Validity::NotYet),
        Err(ReasonCode::PolicyExpired) => Policy::InForce(Validity::Expired),
        Err(code) => Policy::Refused(code),
    };
    let root = bundle.authority().root().map(|root| root.digest);
    PolicyNow { digest: Some(bundle.reference().digest), root, policy }
}
