//! The end of PERMITs that were held for witnesses in vain.

use portcullis_protocol::{AttemptId, Outcome};

use super::Batch;
use crate::error::LedgerError;
use crate::store;

impl Batch<'_> {
    /// Withholds PERMITs that were held for witnesses and that nobody waits for any more.
    pub(crate) fn withhold(&mut self, abandoned: &[AttemptId]) -> Result<(), LedgerError> {
        for attempt in abandoned {
            if let Some(permit) = store::permit(self.connection, attempt)?
                && permit.outcome.is_none()
            {
                self.end(&permit, Outcome::Withheld, None)?;
            }
        }
        Ok(())
    }
}
