//! The access token of a store while it is good, and then another.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_sdk::BootInstant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::granted::{Granted, NoGrant, granted};
use super::may_name;
use super::stored::{Held, NoStore, Secret, Stored, beside};
use crate::clock::wall;
use crate::credential::NoCredential;
use crate::remote::ServerUrl;

/// How long a store is waited for that another process holds, and how often it is looked at.
const HOLDING: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// How long before its end a token is not shown any more; a quarter of its time, where that is less.
const MARGIN: Duration = Duration::from_secs(30);
/// For how long one is good of which nobody said so, if there can be another.
const UNSAID: Duration = Duration::from_secs(300);
/// How long a token is not doubted after it was had: a server that takes none must not have another fetched for each message.
const TRUSTED: Duration = Duration::from_secs(5);
/// What a person is to do.
const AGAIN: &str = "run `portcullis mcp login` again";

/// The access token of a store.
#[derive(Debug)]
pub struct OAuth {
    path: PathBuf,
    /// One asks at a time.
    turn: Arc<Semaphore>,
    state: Mutex<State>,
}

/// Who is shown the token.
#[derive(Clone, Debug, Default)]
enum Audience {
    /// Nobody has said.
    #[default]
    Unknown,
    One(ServerUrl),
    /// It could be for one of them alone.
    Several,
}

#[derive(Debug, Default)]
struct State {
    audience: Audience,
    kept: Option<Kept>,
    /// Why there was none, and since when that is known.
    failed: Option<(BootInstant, NoCredential)>,
    /// An access token that its server did not take.
    doubted: Option<Secret>,
    /// A refresh token that is not taken any more.
    refused: Option<Secret>,
    /// What could not be stored, and the refresh token that it was had with.
    unsaved: Option<(Option<Secret>, Stored)>,
}

#[derive(Debug)]
struct Kept {
    token: Secret,
    /// Since when it may be doubted.
    doubtful: BootInstant,
    until: BootInstant,
}

/// The right to ask.
type Turn = Arc<OwnedSemaphorePermit>;

impl OAuth {
    /// That of the store at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, turn: Arc::new(Semaphore::new(1)), state: Mutex::default() }
    }

    /// The files that tool servers must not see: the store, and what becomes the store.
    #[must_use]
    pub fn hidden(&self) -> [PathBuf; 2] {
        [self.path.clone(), beside(&self.path)]
    }

    /// It is shown to the server at `url`. To two servers it is shown to neither.
    pub(crate) fn is_for(&self, url: &ServerUrl) {
        let mut state = self.state();
        state.audience = match std::mem::take(&mut state.audience) {
            Audience::Unknown => Audience::One(url.clone()),
            Audience::One(first) if first == *url => Audience::One(first),
            Audience::One(_) | Audience::Several => {
                state.kept = None;
                Audience::Several
            }
        };
    }

    fn audience(&self) -> Result<ServerUrl, NoCredential> {
        match &self.state().audience {
            Audience::One(url) => Ok(url.clone()),
            Audience::Unknown | Audience::Several => {
                Err(self.no("it is for one tool server by URL, and for nothing else"))
            }
        }
    }

    /// The token to show now. Of many who ask one has another fetched, for all of them; what was begun goes on when
    /// nobody waits for it any more.
    pub(crate) async fn access(self: &Arc<Self>) -> Result<Zeroizing<Vec<u8>>, NoCredential> {
        let asked = BootInstant::now();
        let url = self.audience()?;
        if let Some(token) = self.good() {
            return Ok(token);
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_| NoCredential::Unavailable("the gate is ending".to_owned()))?;
        if let Some(known) = self.known_since(asked) {
            return known;
        }
        let own = Arc::clone(self);
        let renewing = tokio::spawn(async move {
            let renewed = own.renewed(&url, Arc::new(turn)).await;
            own.state().failed = renewed.as_ref().err().map(|why| (BootInstant::now(), why.clone()));
            renewed.map(|token| bytes(&token))
        });
        renewing.await.unwrap_or_else(|_| Err(self.no("it could not be asked for")))
    }

    /// The server did not take what it was shown: it may have been revoked, and another is had for the next message.
    pub(crate) fn doubt(&self) {
        let mut state = self.state();
        let is_old = |kept: &mut Kept| kept.doubtful <= BootInstant::now();
        if let Some(kept) = state.kept.take_if(is_old) {
            state.doubted = Some(kept.token);
        }
    }

    /// Waits for what is under way: it may be that what lies in the store is no good any more.
    pub(crate) async fn settled(&self) {
        drop(self.turn.acquire().await);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self) -> Option<Zeroizing<Vec<u8>>> {
        let state = self.state();
        let kept = state.kept.as_ref().filter(|kept| BootInstant::now() < kept.until);
        kept.map(|kept| bytes(&kept.token))
    }

    /// What came of it when another asked, while this one waited.
    fn known_since(&self, asked: BootInstant) -> Option<Result<Zeroizing<Vec<u8>>, NoCredential>> {
        if let Some(token) = self.good() {
            return Some(Ok(token));
        }
        let state = self.state();
        state.failed.as_ref().filter(|(at, _)| asked <= *at).map(|(_, why)| Err(why.clone()))
    }

    fn no(&self, why: &str) -> NoCredential {
        NoCredential::Unavailable(format!("`{}`: {why}", self.path.display()))
    }

    async fn renewed(&self, url: &ServerUrl, turn: Turn) -> Result<Secret, NoCredential> {
        let mut held = self.held(&turn).await?;
        // What could not be stored before is, if nobody has stored anything since.
        let unsaved = self.state().unsaved.take().filter(|(with, _)| *with == held.stored.refresh_token);
        if let Some((_, stored)) = unsaved {
            self.store(held, stored, &turn).await?;
            held = self.held(&turn).await?;
        }
        self.refreshed(held, url, &turn).await
    }

    /// What lies in the store, if it is good, or else what is given for the refresh token.
    async fn refreshed(&self, held: Held, url: &ServerUrl, turn: &Turn) -> Result<Secret, NoCredential> {
        let stored = &held.stored;
        if stored.url != url.to_string() {
            return Err(
                self.no("it is of a login for another URL; log in for this one, with `portcullis mcp login`")
            );
        }
        let is_doubted = self.state().doubted.as_ref() == Some(&stored.access_token);
        if let Some(until) = good_until(stored).filter(|_| !is_doubted) {
            return Ok(self.keep(stored.access_token.clone(), until));
        }
        let Some(refresh) = stored.refresh_token.clone() else {
            return Err(self.no(&format!(
                "its token is no good any more, and there is none to refresh it with; {AGAIN}"
            )));
        };
        if self.state().refused.as_ref() == Some(&refresh) {
            return Err(self.no(&format!("{}; {AGAIN}", NoGrant::InvalidGrant)));
        }
        let asked = BootInstant::now();
        let (granted, asked_at_ms) = self.asked(stored, url, &refresh).await?;
        let next = Stored {
            refresh_token: granted.refresh.or(Some(refresh)),
            access_token: granted.access,
            asked_at_ms,
            lifetime_seconds: granted.lifetime.map(|lifetime| lifetime.as_secs()),
            ..stored.clone()
        };
        let token = next.access_token.clone();
        let lasts = useful(&next);
        self.store(held, next, turn).await?;
        Ok(self.keep(token, asked.plus(lasts.unwrap_or_default())))
    }

    fn keep(&self, token: Secret, until: BootInstant) -> Secret {
        self.state().kept =
            Some(Kept { token: token.clone(), doubtful: BootInstant::now().plus(TRUSTED), until });
        token
    }

    /// What the token endpoint gives for a refresh token, and when it was asked.
    async fn asked(
        &self,
        stored: &Stored,
        url: &ServerUrl,
        refresh: &Secret,
    ) -> Result<(Granted, u64), NoCredential> {
        let unknown = || self.no(&NoStore::Unknown.to_string());
        let endpoint: ServerUrl = stored.token_endpoint.parse().map_err(|_| unknown())?;
        if !may_name(url, &endpoint) {
            return Err(unknown());
        }
        let trust = stored.trust().ok_or_else(unknown)?;
        // Zero is long ago: what is stored with it is never taken for good.
        let asked_at = wall().map_or(0, |at| at.0);
        let pairs = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.reveal()),
            ("client_id", &stored.client_id),
            ("resource", &stored.resource),
        ];
        match granted(&endpoint, &trust, &pairs).await {
            Ok(granted) => Ok((granted, asked_at)),
            Err(NoGrant::InvalidGrant) => {
                self.state().refused = Some(refresh.clone());
                Err(self.no(&format!("{}; {AGAIN}", NoGrant::InvalidGrant)))
            }
            Err(NoGrant::InvalidClient) => Err(self.no(&format!("{}; {AGAIN}", NoGrant::InvalidClient))),
            Err(why) => Err(self.no(&why.to_string())),
        }
    }

    /// The store, once no other process has it.
    async fn held(&self, turn: &Turn) -> Result<Held, NoCredential> {
        let until = BootInstant::now().plus(HOLDING);
        while BootInstant::now() < until {
            let (path, turn) = (self.path.clone(), Arc::clone(turn));
            let taken = spawn_blocking(move || {
                // The turn is over once the thread is done, however long nobody waits for it.
                let _turn = turn;
                Held::take(&path)
            });
            let taken = taken.await.map_err(|_| self.no("it could not be read"))?;
            if let Some(held) = taken.map_err(|why| self.no(&why.to_string()))? {
                return Ok(held);
            }
            sleep(LOOK).await;
        }
        Err(self.no(&format!("another process has had it for {} s", HOLDING.as_secs())))
    }

    /// Puts `next` in the place of what is held, on the disk. What could not be put there is kept to be put there later: what was there
    /// before it may be no good any more.
    async fn store(&self, held: Held, next: Stored, turn: &Turn) -> Result<(), NoCredential> {
        let (turn, with, writes) = (Arc::clone(turn), held.stored.refresh_token.clone(), next.clone());
        let written = spawn_blocking(move || {
            let _turn = turn;
            held.replace(&writes).map_err(|error| error.to_string())
        });
        let written = written.await.unwrap_or_else(|_| Err("the thread ended".to_owned()));
        written.map_err(|why| {
            self.state().unsaved = Some((with, next));
            self.no(&format!("it could not be written: {why}"))
        })
    }
}

fn bytes(token: &Secret) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(token.reveal().as_bytes().to_vec())
}

/// For how long a token is shown after it was asked for; `None` if it is for one message.
fn useful(stored: &Stored) -> Option<Duration> {
    match (stored.lifetime(), &stored.refresh_token) {
        (Some(lifetime), _) => {
            let margin = MARGIN.min(lifetime.checked_div(4)?);
            Some(lifetime.saturating_sub(margin)).filter(|useful| !useful.is_zero())
        }
        (None, Some(_)) => Some(UNSAID),
        // There will be no other.
        (None, None) => Some(Duration::MAX),
    }
}

/// Until when a stored token may be shown. What the clock said when it was stored is a hint: one that lies in what is to come says
/// that the clock was set since, and nothing of the token.
fn good_until(stored: &Stored) -> Option<BootInstant> {
    let useful = useful(stored)?;
    let old = Duration::from_millis(wall()?.0.checked_sub(stored.asked_at_ms)?);
    let left = useful.checked_sub(old).filter(|left| !left.is_zero())?;
    Some(BootInstant::now().plus(left))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
