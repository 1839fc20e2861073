//! What is shut now, and why: as `/readyz` says it and `portcullis status` asks it.

use std::time::Duration;

use portcullis_ledger::SpoolStatus;
use portcullis_protocol::ReasonCode;
use portcullis_sdk::{Endpoint, Refusal, fetch};
use serde::{Deserialize, Serialize};

/// The health of one precondition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interlock {
    /// Its name.
    pub name: String,
    /// `clear` or `tripped`.
    pub state: String,
    /// Why it is tripped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<ReasonCode>,
    /// What can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Interlock {
    pub(crate) fn new(name: &str, tripped: Option<ReasonCode>) -> Self {
        Self {
            name: name.to_owned(),
            state: if tripped.is_some() { "tripped" } else { "clear" }.to_owned(),
            reason: tripped,
            remedy: tripped.map(|code| code.remedy().to_owned()),
        }
    }
}

/// How a witness of the log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessHealth {
    /// Its name in the configuration.
    pub name: String,
    /// `cosigned`, `refuted` (it has seen another log), `failed`, or `unasked`.
    pub state: String,
    /// The newest size that it cosigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why it did not cosign, if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the log's own cosigning is. Nothing is shut on its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CosigningHealth {
    /// The newest size that was cosigned since the arbiter started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why the newest was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is shut now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether a PERMIT could be issued now.
    pub ready: bool,
    /// Each interlock.
    pub interlocks: Vec<Interlock>,
    /// Records in the log.
    pub records: Option<u64>,
    /// PERMITs without outcome.
    pub open_permits: Option<u64>,
    /// Durable syncs since the arbiter started.
    pub syncs: Option<u64>,
    /// Batches since the arbiter started.
    pub batches: Option<u64>,
    /// How far the log was read again since it was opened.
    pub scrub: Option<Scrubbed>,
    /// The log's witnesses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<WitnessHealth>,
    /// The newest size that the quorum of witnesses cosigned since the arbiter started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnessed: Option<u64>,
    /// How the spool is, if there is one.
    #[serde(default)]
    pub spool: Option<Spool>,
    /// The log's own cosigning, if this process does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigning: Option<CosigningHealth>,
}

/// How the spool is, which keeps refused attempts while evidence cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spool {
    /// Attempts that are still to be entered into the log.
    pub waiting: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// Attempts that were entered since it was opened.
    pub entered: u64,
    /// Bytes that could not be read and were set aside, and are not on record yet.
    pub unreadable: u64,
    /// Why it keeps nothing now, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

impl From<SpoolStatus> for Spool {
    fn from(status: SpoolStatus) -> Self {
        let SpoolStatus { waiting, bytes, entered, unreadable, failing } = status;
        Self { waiting, bytes, entered, unreadable, failing }
    }
}

/// How far the scrub is, which reads the whole log again beside the arbiter's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrubbed {
    /// Records that were compared in this pass.
    pub checked: u64,
    /// Records that the pass is about.
    pub of: u64,
    /// Passes that found nothing, since the log was opened.
    pub passes: u64,
    /// What was found wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// Asks an arbiter how it is.
///
/// # Errors
/// If it does not answer, or with something else.
pub async fn ask_health(endpoint: &Endpoint, patience: Duration) -> Result<Health, Refusal> {
    let body = fetch(endpoint, "/readyz", patience).await?;
    serde_json::from_slice(&body)
        .map_err(|error| Refusal::own(ReasonCode::ReceiptUnverifiable, Some(error.to_string())))
}
