//! What is kept of requests and results, encrypted, beside the log: records only commit to it.

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Domain};
use crate::ids::Salt;
use crate::request::Ask;

/// A request, as replaying it needs it. The record names its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptRequest {
    /// What was asked.
    pub request: Ask,
    /// Salt of the record's commitment to it.
    pub salt: Salt,
}

/// A result, as repeats of its key get it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptResult {
    /// The result's text.
    pub result: String,
    /// Salt of the outcome's commitment to it.
    pub salt: Salt,
}

impl std::fmt::Debug for KeptResult {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeptResult").field("bytes", &self.result.len()).finish_non_exhaustive()
    }
}

impl KeptResult {
    /// What the outcome's record says of this result: its digest, salted, so that a small set of possible results
    /// cannot be tried out against the log.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        Digest::of(Domain::Result, &[self.salt.as_bytes(), self.result.as_bytes()])
    }
}
