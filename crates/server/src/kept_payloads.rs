//! What is kept of a request or a result, opened with the vault's master key and held against its record.

use portcullis_ledger::{Kept, KeyFileError, LedgerError, LedgerReader};
use portcullis_protocol::request::Ask;
use portcullis_protocol::{AgentId, Millis, Payload, Record};
use serde::Serialize;

use crate::config::ArbiterConfig;
use crate::records::{RecordsError, open_ledger};
use crate::replay::vault_key;

/// What a record commits to, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptPayload {
    /// Index of the record.
    pub record: u64,
    /// Whose request or result it is.
    pub agent: AgentId,
    /// Until when it is kept.
    pub kept_until: Millis,
    /// What it is.
    #[serde(flatten)]
    pub content: KeptContent,
}

/// A request or a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum KeptContent {
    /// A decision's request.
    Request {
        /// What was asked.
        request: Box<Ask>,
        /// Its arguments, where the bundle had them kept.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Payload>,
    },
    /// An outcome's result.
    Result {
        /// Its text.
        result: String,
    },
}

/// What a record commits to is not to be had, or not to be believed.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The ledger cannot be read, the record is not there, the master key is another's, or what is kept does not open.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The master key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// It is about no request and no result.
    #[error("record {0} commits to no request and no result")]
    NoPayload(u64),
    /// By the record nothing was to be kept.
    #[error("nothing was kept of record {0}: its bundle did not ask for it, or it was too long")]
    NeverKept(u64),
    /// It was removed.
    #[error("nothing is kept of record {0} any more: its time was over")]
    Removed(u64),
    /// Its key was destroyed.
    #[error("what was kept of record {0} was erased")]
    Erased(u64),
    /// It is something else.
    #[error("what is kept of record {0} is not what the record commits to")]
    Differs(u64),
}

/// Opens what is kept of a record of this deployment's ledger, and holds it against the record, which is proved.
///
/// # Errors
/// [`PayloadError`]. What does not agree with its record is not shown.
pub fn kept_payload(config: &ArbiterConfig, seq: u64) -> Result<KeptPayload, PayloadError> {
    let reader = open_ledger(config)?;
    let master = vault_key(config)?;
    reader.unlocks(&master)?;
    let until = |until: Option<Millis>| until.ok_or(PayloadError::NeverKept(seq));
    match reader.record(seq)? {
        Record::Decision(entry) | Record::Simulation(entry) => {
            let kept_until = until(entry.kept_until)?;
            let kept = here(seq, reader.kept_request(&master, &entry)?)?;
            if !kept.is_committed_to(&entry.agent, &entry.request) {
                return Err(PayloadError::Differs(seq));
            }
            let content = KeptContent::Request { request: Box::new(kept.request), payload: kept.payload };
            Ok(KeptPayload { record: seq, agent: entry.agent, kept_until, content })
        }
        Record::Outcome(entry) => {
            let kept_until = until(entry.kept_until)?;
            let agent = agent_of(&reader, entry.permit)?;
            let kept = reader.kept_result(&master, &agent, &entry)?;
            let result = here(seq, kept)?.ok_or(PayloadError::Differs(seq))?;
            Ok(KeptPayload { record: seq, agent, kept_until, content: KeptContent::Result { result } })
        }
        Record::Aggregate(_) | Record::Event(_) | Record::Late(_) | Record::Listing(_) => {
            Err(PayloadError::NoPayload(seq))
        }
    }
}

fn here<T>(seq: u64, kept: Kept<T>) -> Result<T, PayloadError> {
    match kept {
        Kept::Here(content) => Ok(content),
        Kept::Erased => Err(PayloadError::Erased(seq)),
        Kept::Nothing => Err(PayloadError::Removed(seq)),
    }
}

/// Whose PERMIT it is.
fn agent_of(reader: &LedgerReader, permit: u64) -> Result<AgentId, PayloadError> {
    match reader.record(permit)? {
        Record::Decision(entry) => Ok(entry.agent),
        Record::Outcome(_)
        | Record::Aggregate(_)
        | Record::Event(_)
        | Record::Late(_)
        | Record::Listing(_)
        | Record::Simulation(_) => {
            Err(LedgerError::Corrupt(format!("record {permit} is no decision, and has an outcome")).into())
        }
    }
}
