//! A provider, asked for its keys now and then beside everything else, and once more when a token names a key that it did
//! not give.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_ledger::{Clocks, SystemClocks};
use portcullis_protocol::json::{Limits, Loose};
use portcullis_sdk::{Authorities, HttpClient, Unanswered};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use super::held::{Held, Lacking, Turn};
use super::keys::{Key, KeySet, LONGEST_SET};
use super::place::Place;
use crate::config::{IssuerConfig, KeysAt};

/// How long one answer may take, from the connection to its last byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest metadata that are read, in bytes.
const LONGEST_METADATA: usize = 64 * 1024;
const METADATA: Limits = Limits { bytes: LONGEST_METADATA, depth: 16 };
/// How long a token waits for keys that are being asked for, and how many tokens of one issuer do.
const TOKEN_PATIENCE: Duration = Duration::from_secs(2);
const WAITING: usize = 64;

/// Why keys could not be had.
#[derive(Debug, thiserror::Error)]
enum Unhad {
    #[error("`{0}` cannot be reached: {1}")]
    Unreachable(String, String),
    #[error("`{0}` gave no whole answer in time")]
    Late(String),
    #[error("`{0}` answers with something else than HTTP, or broke off")]
    NotHttp(String),
    #[error("`{0}` answers with more than is read")]
    TooLong(String),
    #[error("`{0}` answers with status {1}, and no redirection is followed")]
    Status(String, u16),
    #[error("`{0}` gives no metadata of a provider")]
    Metadata(String),
    #[error("`{0}` gives the metadata of another issuer")]
    OtherIssuer(String),
    #[error("`{0}` names no place of keys that can be asked: {1}")]
    KeysNowhere(String, String),
    #[error("`{0}` cannot be used: {1}")]
    Document(String, super::keys::NoKeySet),
    #[error("`{0}` cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    #[error("`{0}` can be written by others than its owner, who could put keys of their own there")]
    Exposed(PathBuf),
    #[error("reading did not end: {0}")]
    Unread(String),
}

#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    /// Told when keys are to be asked for on a token's account.
    wanted: Notify,
    /// Changes when a round has ended.
    rounds: watch::Sender<u64>,
    waiting: Semaphore,
}

/// A provider whose keys are followed. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Provider {
    shared: Arc<Shared>,
    rounds: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.rounds.abort();
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provider {
    pub(crate) fn follow(config: IssuerConfig) -> Self {
        let mut held = Held::new(config.ages);
        // A token that comes before the first question is asked waits for its answer, and has none asked of its own.
        held.begin(SystemClocks.boot());
        let shared = Arc::new(Shared {
            held: Mutex::new(held),
            wanted: Notify::new(),
            rounds: watch::Sender::new(0),
            waiting: Semaphore::new(WAITING),
        });
        let rounds = tokio::spawn(rounds(config, Arc::clone(&shared)));
        Self { shared, rounds }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.shared.held()
    }

    /// The key of a name. Where none is held, keys may be asked for, for which a token waits a little.
    pub(crate) async fn key(&self, name: &str) -> Result<Key, Lacking> {
        let held = self.held().key(name, SystemClocks.boot());
        match held {
            Err(_) if self.asks_again().await => self.held().key(name, SystemClocks.boot()),
            held => held,
        }
    }

    /// Waits for the round that is under way, or begins one, if there may be one. Whether one has ended.
    async fn asks_again(&self) -> bool {
        let Ok(_place) = self.shared.waiting.try_acquire() else { return false };
        // Before it is looked whether a round is under way: its end is then seen.
        let mut rounds = self.shared.rounds.subscribe();
        let turn = self.held().turn(SystemClocks.boot());
        match turn {
            Turn::Mine => self.shared.wanted.notify_one(),
            Turn::Waits => {}
            Turn::NotYet => return false,
        }
        tokio::time::timeout(TOKEN_PATIENCE, rounds.changed()).await.is_ok_and(|changed| changed.is_ok())
    }
}

async fn rounds(config: IssuerConfig, shared: Arc<Shared>) {
    loop {
        let began = SystemClocks.boot();
        shared.held().begin(began);
        let answer = ask(&config).await.map_err(|error| error.to_string());
        let pause = {
            let mut held = shared.held();
            held.hear(answer, began);
            held.pause()
        };
        shared.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
        // Either begins the next round.
        drop(tokio::time::timeout(pause, shared.wanted.notified()).await);
    }
}

async fn ask(config: &IssuerConfig) -> Result<KeySet, Unhad> {
    let (named, document) = match &config.keys {
        KeysAt::File(path) => (path.display().to_string(), read(path.clone()).await?),
        KeysAt::Place(place) => (place.to_string(), get(place, LONGEST_SET).await?),
        KeysAt::Metadata(places) => {
            let place = discover(config, places).await?;
            (place.to_string(), get(&place, LONGEST_SET).await?)
        }
    };
    KeySet::parse(&document, &config.rules.algorithms).map_err(|error| Unhad::Document(named, error))
}

/// By OAuth 2.0 Authorization Server Metadata (RFC 8414), or else by OpenID Connect Discovery 1.0. What names another issuer
/// was not written by this one.
async fn discover(config: &IssuerConfig, places: &[Place]) -> Result<Place, Unhad> {
    let mut last = Unhad::Metadata(config.rules.issuer.clone());
    for place in places {
        let document = match get(place, LONGEST_METADATA).await {
            Ok(document) => document,
            // Of the two a provider may have one, and not every provider says of the other that it is not found.
            Err(error @ Unhad::Status(_, 400..=499)) => {
                last = error;
                continue;
            }
            Err(error) => return Err(error),
        };
        if is_page(&document) {
            last = Unhad::Metadata(place.to_string());
            continue;
        }
        return keys_of(place, &document, config);
    }
    Err(last)
}

/// Whether an answer is a page for people, as sites have that answer whatever they are asked.
fn is_page(document: &[u8]) -> bool {
    document.trim_ascii_start().starts_with(b"<")
}

fn keys_of(place: &Place, document: &[u8], config: &IssuerConfig) -> Result<Place, Unhad> {
    let Ok(document) = Loose::parse(document, METADATA) else {
        return Err(Unhad::Metadata(place.to_string()));
    };
    match document.pointer("/issuer") {
        Some(Loose::Str(issuer)) if *issuer == config.rules.issuer => {}
        Some(Loose::Str(_)) => return Err(Unhad::OtherIssuer(place.to_string())),
        Some(_) | None => return Err(Unhad::Metadata(place.to_string())),
    }
    let Some(Loose::Str(keys)) = document.pointer("/jwks_uri") else {
        return Err(Unhad::Metadata(place.to_string()));
    };
    named(keys, place, config.authorities.as_ref())
        .map_err(|error| Unhad::KeysNowhere(place.to_string(), error))
}

/// Where a provider says that its keys are: never over plain HTTP if the provider itself is asked over TLS.
fn named(keys: &str, of: &Place, authorities: Option<&Authorities>) -> Result<Place, String> {
    let keys = Place::parse(keys, authorities)?;
    if of.is_tls() && !keys.is_tls() {
        return Err("it is not asked over TLS, as the metadata are".to_owned());
    }
    Ok(keys)
}

async fn get(place: &Place, longest: usize) -> Result<Vec<u8>, Unhad> {
    let client = HttpClient::new(place.endpoint().clone(), None);
    let asked = client.fetch(place.path(), &[("accept", "application/json")], longest, PATIENCE).await;
    let named = place.to_string();
    let answer = asked.map_err(|unanswered| match unanswered {
        Unanswered::Unreachable(why) => Unhad::Unreachable(named.clone(), why),
        Unanswered::Late => Unhad::Late(named.clone()),
        Unanswered::NotHttp(_) | Unanswered::BrokenOff(_) => Unhad::NotHttp(named.clone()),
        Unanswered::TooLong => Unhad::TooLong(named.clone()),
    })?;
    match answer.status() {
        200 => Ok(answer.body().to_vec()),
        status => Err(Unhad::Status(named, status)),
    }
}

async fn read(path: PathBuf) -> Result<Vec<u8>, Unhad> {
    let reading = tokio::task::spawn_blocking(move || read_now(&path));
    reading.await.map_err(|error| Unhad::Unread(error.to_string()))?
}

fn read_now(path: &Path) -> Result<Vec<u8>, Unhad> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let failed = |error| Unhad::File(path.to_owned(), error);
    let file = std::fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o022 != 0 {
        return Err(Unhad::Exposed(path.to_owned()));
    }
    let longest = u64::try_from(LONGEST_SET).unwrap_or(u64::MAX);
    let mut text = Vec::new();
    file.take(longest.saturating_add(1)).read_to_end(&mut text).map_err(failed)?;
    if text.len() > LONGEST_SET { Err(Unhad::TooLong(path.display().to_string())) } else { Ok(text) }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
