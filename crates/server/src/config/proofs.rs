//! Whether bundles must be proved, and by what.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sections::PolicySection;
use super::{Config, ConfigError};

/// The solver, where none is named: where Debian has it. No environment variable says another.
const SOLVER: &str = "/usr/bin/cvc5";
/// How long a proof may take, in seconds: by default, and at most.
const WITHIN: u64 = 600;
const LONGEST: u64 = 86_400;

/// What is demanded of proofs, and what makes them.
#[derive(Clone, Debug)]
pub struct ProofConfig {
    /// Whether only a proved bundle decides, whatever bundles themselves say.
    pub required: bool,
    /// The solver's program.
    pub solver: PathBuf,
    /// How long the proof of a bundle may take.
    pub within: Duration,
}

impl Config {
    pub(super) fn proofs(&self, policy: &PolicySection) -> Result<ProofConfig, ConfigError> {
        let within = policy.prove_within_s.map_or(WITHIN, |seconds| seconds);
        if !(1..=LONGEST).contains(&within) {
            let error = format!("is not within 1 and {LONGEST}");
            return Err(ConfigError::Value { key: "policy.prove_within_s", error });
        }
        Ok(ProofConfig {
            required: policy.require_proofs == Some(true),
            solver: self.at(policy.solver.as_deref().map_or(Path::new(SOLVER), |solver| solver)),
            within: Duration::from_secs(within),
        })
    }
}
