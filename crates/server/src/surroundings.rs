//! What the ledger's writer asks of its surroundings: the operator's mark, and the bundle in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis_arbiter::{Fact, GateState, Policy, PolicyNow, Ports, Validity};
use portcullis_policy::Bundle;
use portcullis_protocol::{InForce, Millis, ReasonCode, Succession};

use crate::bundles::{Bundles, described};
use crate::operator::is_shut;

/// The surroundings of a data directory.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) data: PathBuf,
    pub(crate) bundles: Arc<Bundles>,
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
        self.bundles.current().map_or(None, |bundle| Some(described(&bundle)))
    }

    fn stands(&self, succession: &Succession) {
        self.bundles.stands(succession);
    }

    fn policy(&self, now: Millis) -> Fact<PolicyNow> {
        Fact::Known(match self.bundles.current() {
            Ok(bundle) => in_force(&bundle, now),
            Err(error) => PolicyNow { digest: None, policy: Policy::Refused(error.code()) },
        })
    }
}

fn in_force(bundle: &Bundle, now: Millis) -> PolicyNow {
    let policy = match bundle.validity_at(now) {
        Ok(()) => Policy::InForce(Validity::Valid),
        Err(ReasonCode::PolicyNotYetValid) => Policy::InForce(Validity::NotYet),
        Err(ReasonCode::PolicyExpired) => Policy::InForce(Validity::Expired),
        Err(code) => Policy::Refused(code),
    };
    PolicyNow { digest: Some(bundle.reference().digest), policy }
}
