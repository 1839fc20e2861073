//! What a reader finds beside the records: kept requests, results and facts, and archived bundles.

use portcullis_protocol::{
    AgentId, BundleDigest, DecisionRecord, Digest, KeptRequest, OutcomeRecord, Record, SourceName,
};

use crate::archive;
use crate::bundle_archive;
use crate::error::LedgerError;
use crate::payloads::{self, Kept};
use crate::reader::LedgerReader;
use crate::vault::{MasterKey, VaultError};

impl LedgerReader {
    /// The archive of a bundle, if it is kept: at the latest since a record named it. Unverified: its digest must be the one
    /// asked for.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn bundle(&self, digest: &BundleDigest) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(bundle_archive::bundle(&self.connection, digest)?)
    }

    /// The entities of a source's facts that a record names by their digest. Unverified: their digest must be the one asked
    /// for. As long as the request of such a record is kept, they are here, or were erased.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn facts(&self, source: &SourceName, digest: &Digest) -> Result<Kept<Vec<u8>>, LedgerError> {
        archive::facts(&self.connection, source, digest)
    }

    /// Whether this master key is the one that the ledger's subjects are wrapped by, if there are any.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`] if it is not, and if the database cannot be read.
    pub fn unlocks(&self, master: &MasterKey) -> Result<(), LedgerError> {
        let named: Option<Digest> = payloads::master(&self.connection)?;
        if named.is_none_or(|named| named == master.id()) { Ok(()) } else { Err(VaultError::WrongKey.into()) }
    }

    /// What is kept of the request that a record decided. Unverified: the record commits to it.
    ///
    /// # Errors
    /// If the database cannot be read, or what is there does not open or is no request.
    pub fn kept_request(
        &self,
        master: &MasterKey,
        entry: &DecisionRecord,
    ) -> Result<Kept<KeptRequest>, LedgerError> {
        Ok(match payloads::open(&self.connection, master, entry.seq, &entry.agent)? {
            Kept::Here(opened) => Kept::Here(serde_json::from_slice(&opened).map_err(|error| {
                LedgerError::Corrupt(format!("the kept request of record {}: {error}", entry.seq))
            })?),
            Kept::Erased => Kept::Erased,
            Kept::Nothing => Kept::Nothing,
        })
    }

    /// Whether what is kept of an outcome's result is what its record (`body`, at index `seq`) commits to.
    ///
    /// # Errors
    /// If the database cannot be read, or what is there does not open.
    pub fn result_agrees(
        &self,
        master: &MasterKey,
        agent: &AgentId,
        seq: u64,
        body: &[u8],
    ) -> Result<Kept<bool>, LedgerError> {
        Ok(match payloads::open(&self.connection, master, seq, agent)? {
            Kept::Here(opened) => Kept::Here(payloads::committed_result(&opened, body).is_some()),
            Kept::Erased => Kept::Erased,
            Kept::Nothing => Kept::Nothing,
        })
    }

    /// What is kept of an outcome's result, of an agent's PERMIT: `None` if it is not what the record commits to.
    ///
    /// # Errors
    /// If the database cannot be read, or what is there does not open.
    pub fn kept_result(
        &self,
        master: &MasterKey,
        agent: &AgentId,
        entry: &OutcomeRecord,
    ) -> Result<Kept<Option<String>>, LedgerError> {
        let body = Record::Outcome(entry.clone()).to_bytes()?;
        Ok(match payloads::open(&self.connection, master, entry.seq, agent)? {
            Kept::Here(opened) => Kept::Here(payloads::committed_result(&opened, &body)),
            Kept::Erased => Kept::Erased,
            Kept::Nothing => Kept::Nothing,
        })
    }
}
