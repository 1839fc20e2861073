//! A bundle that decides, by the log or by its pin.

use std::sync::Arc;

use portcullis_policy::{Bundle, BundleError, BundleSource, Unproved};
use portcullis_protocol::{ProofDemand, Succession};

use super::{activated_source, bundle_source};
use crate::config::ArbiterConfig;

/// The bundle that decides by the configuration and what the log says.
#[must_use]
pub fn deciding_source(config: &ArbiterConfig, succession: &Succession) -> Deciding {
    let source = match &succession.activated {
        Some(activated) => activated_source(config, &activated.digest, succession),
        None => bundle_source(config),
    };
    source.raise(succession);
    Deciding::new(config, Arc::new(source), succession)
}

/// A bundle that decides, as long as it is there, has cases or says that it has none, and, where a proof of it is demanded,
/// the log names one.
#[derive(Debug)]
pub struct Deciding {
    pub(super) source: Arc<BundleSource>,
    /// Whether the record of its activation names a proof. A pin names none.
    proved: bool,
    required: bool,
    /// Whether what was in force before demands it of whatever decides by its pin.
    of_pinned: bool,
}

impl Deciding {
    pub(super) fn new(config: &ArbiterConfig, source: Arc<BundleSource>, succession: &Succession) -> Self {
        let proved = succession.activated.is_some() && succession.proof.is_some();
        let (required, of_pinned) = (config.proofs.required, succession.demands_of_pinned());
        Self { source, proved, required, of_pinned }
    }

    /// The bundle.
    ///
    /// # Errors
    /// Why there is none.
    pub fn current(&self) -> Result<Arc<Bundle>, BundleError> {
        self.source.current().and_then(|bundle| self.admit(bundle))
    }

    /// The bundle, if nothing has to be compiled for it.
    pub(super) fn look(&self) -> Option<Result<Arc<Bundle>, BundleError>> {
        self.source.look().map(|found| found.and_then(|bundle| self.admit(bundle)))
    }

    fn admit(&self, bundle: Arc<Bundle>) -> Result<Arc<Bundle>, BundleError> {
        bundle.refuse_untested()?;
        let by = match bundle.proof_demand() {
            _ if self.proved => return Ok(bundle),
            ProofDemand::Required => "it",
            ProofDemand::Unsaid | ProofDemand::Waived if self.required => "the configuration",
            ProofDemand::Unsaid | ProofDemand::Waived if self.of_pinned => {
                "the bundle before it, for all that is known,"
            }
            ProofDemand::Unsaid | ProofDemand::Waived => return Ok(bundle),
        };
        Err(BundleError::Unproved(Unproved { bundle: bundle.reference().clone(), by }))
    }
}
