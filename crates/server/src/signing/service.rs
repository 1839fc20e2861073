//! A signer that is a service of the operator's: the text to be signed is posted to it, and a signature line comes
//! back.

use portcullis_ledger::SignError;
use portcullis_protocol::ReasonCode;
use portcullis_sdk::{BootInstant, HttpClient, Refusal};
use portcullis_verify::VerifierKey;
use tokio::runtime::Runtime;

use super::{LONGEST_ANSWER, answered};
use crate::config::ServiceConfig;
use crate::signing::attended::Device;

/// A service that signs.
pub(super) struct Service {
    client: HttpClient,
    path: String,
    key: VerifierKey,
    /// Made with the service, on its thread; without one the service cannot be reached.
    runtime: std::io::Result<Runtime>,
}

impl Service {
    pub(super) fn new(config: ServiceConfig, key: VerifierKey) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self { client: HttpClient::new(config.endpoint, config.token), path: config.path, key, runtime }
    }
}

impl Device for Service {
    /// Only a signature tells whether a service signs. Between two it counts as ready; after a failure, once it
    /// has been left in peace for a moment.
    fn watch(&mut self) -> Result<(), SignError> {
        Ok(())
    }

    fn sign(&mut self, text: &[u8], until: BootInstant) -> Result<[u8; 64], SignError> {
        let runtime = self.runtime.as_ref().map_err(|error| SignError::Unavailable(error.to_string()))?;
        let patience = until.since(BootInstant::now());
        let posted =
            self.client.post(&self.path, "text/plain; charset=utf-8", text, LONGEST_ANSWER, patience);
        let (status, body) = runtime.block_on(posted).map_err(|refusal| failure(&refusal))?;
        if status != 200 {
            return Err(SignError::Failed);
        }
        answered(&body, &self.key)
    }
}

/// What became of the question.
fn failure(refusal: &Refusal) -> SignError {
    let code = refusal.code();
    if code == ReasonCode::ArbiterTimeout {
        return SignError::Timeout;
    }
    if code == ReasonCode::ReceiptUnverifiable {
        // Something answered: what is not HTTP, is cut off or too long.
        return SignError::Failed;
    }
    SignError::Unavailable(refusal.reason().detail.unwrap_or_default())
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
