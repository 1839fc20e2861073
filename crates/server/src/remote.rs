//! What is shut now, and why: as `/readyz` says it and `portcullis status` asks it.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_ledger::SpoolStatus;
use portcullis_protocol::{BundleRef, Limits, Millis, ReasonCode, SourceName, json};
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

/// What lies at the source of bundles that the configuration names. Nothing is in force on its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceHealth {
    /// Where it is.
    pub location: String,
    /// `same` (what is in force or pinned), `newer`, `refused`, `failed`, or `unasked`.
    pub state: String,
    /// The bundle that lies there, if enough of those signed it whom the configuration believes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleRef>,
    /// The code under which it was refused, or could not be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often in a row it could not be had.
    pub failures: u32,
}

/// What is shut now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether a PERMIT could be issued now: whether no interlock is tripped but `identity`, which is about the agents of
    /// some identity provider alone.
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
    /// Whether what was erased may still lie in the database's write-ahead log, or in a database that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasing: Option<bool>,
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
    /// The source of bundles, if the configuration names one across the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceHealth>,
    /// The log's own cosigning, if this process does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigning: Option<CosigningHealth>,
    /// The sources of facts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<FactsHealth>,
    /// The identity providers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerHealth>,
    /// Access tokens that were refused since the arbiter started, by why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused_tokens: BTreeMap<String, u64>,
}

/// How an identity provider's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerHealth {
    /// The issuer.
    pub issuer: String,
    /// `fresh`; `stale`: they could not be had again when that was due, and count; `expired`: they are too old to count;
    /// `missing`: they have never been had. Under the last two its tokens name nobody.
    pub state: String,
    /// Keys that can verify its tokens.
    pub keys: usize,
    /// Other keys that it gives.
    pub passed_over: usize,
    /// How old they are, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// How old they must not become.
    pub expire_ms: u64,
    /// How often in a row they could not be had.
    pub failures: u32,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a source of facts is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactsHealth {
    /// Its name.
    pub name: String,
    /// `fresh`, `stale`, `rolled back` (older than what is on record), `unavailable`, or `unused`: configured, and not
    /// declared by the bundle.
    pub state: String,
    /// As of when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Millis>,
    /// How old that is, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// How old it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// What is wrong with it, or why a service's last answer could not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl FactsHealth {
    pub(crate) fn of(
        name: &SourceName,
        as_of: Option<Millis>,
        max_age_ms: u64,
        (usable, is_past): (bool, bool),
        (error, now): (Option<String>, Option<Millis>),
    ) -> Self {
        let age_ms = as_of.zip(now).and_then(|(as_of, now)| now.0.checked_sub(as_of.0));
        let from_future = as_of.zip(now).is_some_and(|(as_of, now)| as_of > now);
        let state = match age_ms.filter(|_| usable) {
            Some(_) if is_past => "rolled back",
            Some(age) if age <= max_age_ms => "fresh",
            Some(_) => "stale",
            None => "unavailable",
        };
        let error = error.or_else(|| from_future.then(|| "it says to be from the future".to_owned()));
        let error =
            error.or_else(|| is_past.then(|| "it gives what is older than what is on record".to_owned()));
        let (name, state) = (name.to_string(), state.to_owned());
        Self { name, state, as_of, age_ms, max_age_ms: Some(max_age_ms), error }
    }

    pub(crate) fn unused(name: &SourceName) -> Self {
        let (name, state) = (name.to_string(), "unused".to_owned());
        let error = Some("the bundle in force declares no such source".to_owned());
        Self { name, state, as_of: None, age_ms: None, max_age_ms: None, error }
    }
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
    json::read(&body, Limits::MESSAGE)
        .map_err(|error| Refusal::own(ReasonCode::ReceiptUnverifiable, Some(error.to_string())))
}

/// Asks an arbiter for its metrics, as text.
///
/// # Errors
/// [`Refusal`].
pub async fn ask_metrics(endpoint: &Endpoint, patience: Duration) -> Result<String, Refusal> {
    let body = fetch(endpoint, "/metrics", patience).await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
