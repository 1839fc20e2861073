//! Credentials of a Vault or OpenBao server, over its HTTP API: KV version 2, and engines that make credentials for who asks and
//! lease them. What the server says is never shown, in an error or otherwise: it may be a secret.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_sdk::{Endpoint, HttpClient, Received, Unanswered};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

use super::{Here, NoCredential};

/// Longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 256 * 1024;
/// Longest path, in bytes.
const LONGEST_PATH: usize = 512;

/// One field of a secret.
///
/// What is leased is kept for two thirds of its lease, then renewed if it can be, and else fetched anew. A renewal that gives less
/// than half of what the lease was first for counts as none: it is near the end of what the server gives. The lease that is
/// kept at the end is revoked; those before it run out.
#[derive(Debug)]
pub struct Vault {
    client: HttpClient,
    token: Here,
    namespace: Option<String>,
    path: VaultPath,
    field: String,
    engine: Engine,
}

/// What kind of secret lies at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The newest version of a secret of a KV engine, version 2.
    KvV2,
    /// A credential that is made for who reads the path, under a lease.
    Dynamic,
}

/// A path below `/v1/`, as the API has it: `secret/data/crm`, `database/creds/crm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultPath(String);

/// A text that is no such path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path is written as the API has it below `/v1/`, such as `secret/data/crm`, of letters, digits and `-_.~@`"
)]
pub struct InvalidPath;

impl FromStr for VaultPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let fits = |part: &str| {
            let is_known = |c: char| c.is_ascii_alphanumeric() || "-_.~@".contains(c);
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_known)
        };
        let is_path = text.len() <= LONGEST_PATH && text.split('/').all(fits);
        if is_path { Ok(Self(text.to_owned())) } else { Err(InvalidPath) }
    }
}

/// What a credential is leased under.
#[derive(Debug)]
pub(super) struct Lease {
    id: String,
    renewable: bool,
    /// For how long it was given first.
    first: Duration,
}

impl Lease {
    /// How long what is under it is kept, since it was asked for.
    pub(super) fn kept_for(&self) -> Duration {
        two_thirds(self.first)
    }
}

fn two_thirds(duration: Duration) -> Duration {
    duration.saturating_mul(2).checked_div(3).unwrap_or_default()
}

/// What the API answers, as far as it counts here.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    renewable: bool,
    /// In seconds.
    #[serde(default)]
    lease_duration: u64,
    #[serde(borrow, default)]
    data: Option<Fields<'a>>,
}

type Fields<'a> = BTreeMap<String, &'a RawValue>;

impl Vault {
    /// The field of a secret of the server at `endpoint`, to which `token` lets the gate in.
    #[must_use]
    pub fn new(endpoint: Endpoint, token: Here, (path, field): (VaultPath, String), engine: Engine) -> Self {
        let client = HttpClient::new(endpoint, None);
        Self { client, token, namespace: None, path, field, engine }
    }

    /// The same in a namespace.
    #[must_use]
    pub fn within(self, namespace: Option<String>) -> Self {
        Self { namespace, ..self }
    }

    pub(super) fn leases(&self) -> bool {
        self.engine == Engine::Dynamic
    }

    pub(super) async fn read(
        &self,
        place: OwnedSemaphorePermit,
        patience: Duration,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<Lease>), NoCredential> {
        let path = format!("/v1/{}", self.path.0);
        let place = Arc::new(place);
        let token = self.token(&place).await?;
        let asked = self.client.fetch(&path, &self.headers(&token), LONGEST_ANSWER, patience).await;
        let body = answered(asked)?;
        let answer = understood(body.body())?;
        let data = answer.data.ok_or_else(nothing)?;
        let kept;
        let fields = match self.engine {
            Engine::Dynamic => &data,
            Engine::KvV2 => {
                let version = data.get("data").ok_or_else(|| said("it is no secret of KV version 2"))?;
                kept = serde_json::from_str::<Option<Fields<'_>>>(version.get())
                    .map_err(|_| said("it is no secret of KV version 2"))?
                    .ok_or_else(nothing)?;
                &kept
            }
        };
        let first = Duration::from_secs(answer.lease_duration);
        let lease = Lease { id: answer.lease_id, renewable: answer.renewable, first };
        Ok((self.field(fields)?, Some(lease).filter(|lease| self.leases() && !lease.id.is_empty())))
    }

    fn field(&self, fields: &Fields<'_>) -> Result<Zeroizing<Vec<u8>>, NoCredential> {
        let field = fields.get(&self.field).ok_or_else(|| said("it has no such field"))?;
        let text = serde_json::from_str::<String>(field.get()).map_err(|_| said("the field is no text"))?;
        Ok(Zeroizing::new(text.into_bytes()))
    }

    /// Has a lease go on; how long what is under it is kept then.
    pub(super) async fn renew(
        &self,
        lease: &Lease,
        place: OwnedSemaphorePermit,
        patience: Duration,
    ) -> Result<Duration, NoCredential> {
        if !lease.renewable {
            return Err(said("the lease cannot be renewed"));
        }
        let question = json!({ "lease_id": lease.id, "increment": lease.first.as_secs() });
        let body = self.put("/v1/sys/leases/renew", &question, place, patience).await?;
        let answer = understood(body.body())?;
        let given = Duration::from_secs(answer.lease_duration);
        if answer.lease_id != lease.id || given.saturating_mul(2) < lease.first {
            return Err(said("the lease goes on for too short"));
        }
        Ok(two_thirds(given))
    }

    pub(super) async fn revoke(
        &self,
        lease: &Lease,
        place: OwnedSemaphorePermit,
        patience: Duration,
    ) -> Result<(), NoCredential> {
        let question = json!({ "lease_id": lease.id });
        self.put("/v1/sys/leases/revoke", &question, place, patience).await.map(drop)
    }

    async fn put(
        &self,
        path: &str,
        question: &serde_json::Value,
        place: OwnedSemaphorePermit,
        patience: Duration,
    ) -> Result<Received, NoCredential> {
        let place = Arc::new(place);
        let token = self.token(&place).await?;
        let body = question.to_string();
        let headers = self.headers(&token);
        answered(self.client.put(path, &headers, body.as_bytes(), LONGEST_ANSWER, patience).await)
    }

    /// What lets the gate in to the server, as it lies there now. The place is taken until the file was read, however long nobody
    /// waits for it.
    async fn token(&self, place: &Arc<OwnedSemaphorePermit>) -> Result<portcullis_sdk::Token, NoCredential> {
        let (here, place) = (self.token.clone(), Arc::clone(place));
        let read = tokio::task::spawn_blocking(move || {
            let _place = place;
            here.read()
        });
        let read = read.await.unwrap_or_else(|_| Err(said("its token could not be read")))?;
        super::checked(&read).map_err(|why| said(&format!("its token: {why}")))
    }

    fn headers<'a>(&'a self, token: &'a portcullis_sdk::Token) -> Vec<(&'static str, &'a str)> {
        // Without the second, an agent of the server's may be configured to take a question for somebody else's.
        let own = [("x-vault-token", token.reveal()), ("x-vault-request", "true")];
        own.into_iter().chain(self.namespace.as_deref().map(|space| ("x-vault-namespace", space))).collect()
    }
}

fn said(why: &str) -> NoCredential {
    NoCredential::Unavailable(format!("the vault: {why}"))
}

fn nothing() -> NoCredential {
    said("there is nothing at the path")
}

/// The answer, if it is a good one.
fn answered(asked: Result<Received, Unanswered>) -> Result<Received, NoCredential> {
    let answer = asked.map_err(|why| match why {
        Unanswered::Unreachable(why) => said(&why),
        // A parser's words may be the server's.
        Unanswered::NotHttp(_) => said("its answer is not HTTP"),
        Unanswered::Late | Unanswered::TooLong | Unanswered::BrokenOff(_) => said("no whole answer came"),
    })?;
    match answer.status() {
        200 | 204 => Ok(answer),
        403 => Err(said("its token does not let the gate in (status 403)")),
        404 => Err(nothing()),
        503 => Err(said("it is sealed or down (status 503)")),
        other => Err(said(&format!("status {other}"))),
    }
}

fn understood(body: &[u8]) -> Result<Answer<'_>, NoCredential> {
    // Not the parser's words, which quote what it reads.
    serde_json::from_slice(body).map_err(|_| said("its answer is not understood"))
}
