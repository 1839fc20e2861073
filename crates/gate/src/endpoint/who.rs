//! Who asks: the agent that the arbiter says a token names.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use portcullis_protocol::{AgentId, Digest, Domain, Millis, Precondition, ReasonCode};
use portcullis_sdk::{Authorizer, Refusal, Token};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::bounds::{Bounds, Pool, Share};
use super::guard::bearer;
use super::named::{Named, REMEMBERED};
use super::refused::Refused;

/// How the arbiter is asked as the agent that a token names.
pub type Arbiters = Arc<dyn Fn(Token) -> Arc<dyn Authorizer> + Send + Sync>;

/// How long the arbiter may take to say whom a token names.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Tokens that it is asked about at once: who has none that counts does not keep it from its work.
const ASKING: usize = 16;
/// Tokens that named an agent not long ago are asked about beside them, so many at once.
const ASKING_ANEW: usize = 16;

/// An agent that asks.
#[derive(Clone)]
pub(super) struct Caller {
    /// The digest of its token.
    pub(super) token: Digest,
    /// Who bears it: the same for each token that takes its place.
    pub(super) bearer: Digest,
    /// When it expires, if that is known.
    pub(super) expires: Option<Millis>,
    pub(super) agent: AgentId,
    /// The arbiter, asked as this agent.
    pub(super) arbiter: Arc<dyn Authorizer>,
    pub(super) share: Arc<Share>,
}

struct Known {
    caller: Caller,
    until: Instant,
}

/// Whether a refusal says that a token names nobody. That nobody can say whom it names is no such word: its bearer keeps it, and asks
/// again.
pub(super) fn names_nobody(refusal: &Refusal) -> bool {
    refusal.code().precondition() == Precondition::Identity
        && refusal.code() != ReasonCode::IdentityUnavailable
}

/// What is known of tokens, for a moment. Nothing is decided by it: each decision is asked for with the token itself.
pub(super) struct Doorkeeper {
    arbiters: Arbiters,
    bounds: Bounds,
    /// What a client without a token is told, as the header's value.
    challenge: String,
    known: Mutex<BTreeMap<Digest, Known>>,
    shares: Mutex<BTreeMap<AgentId, Arc<Share>>>,
    held: Arc<Pool>,
    asking: Semaphore,
    asking_anew: Semaphore,
    named: Mutex<Named>,
}

impl Doorkeeper {
    pub(super) fn new(arbiters: Arbiters, bounds: Bounds, challenge: String) -> Self {
        Self {
            arbiters,
            bounds,
            challenge,
            known: Mutex::default(),
            shares: Mutex::default(),
            held: Pool::new(&bounds),
            asking: Semaphore::new(ASKING),
            asking_anew: Semaphore::new(ASKING_ANEW),
            named: Mutex::default(),
        }
    }

    /// The agent whose token a request carries.
    pub(super) async fn who(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        let Some(token) = bearer(headers) else { return Err(self.stranger(None)) };
        let digest = Digest::of(Domain::Token, &[token.as_bytes()]);
        if let Some(caller) = self.known(&digest) {
            return Ok(caller);
        }
        let arbiter = (self.arbiters)(Token::new(token));
        let asked = timeout(PATIENCE, async {
            let _place = self.places(&digest).acquire().await;
            arbiter.whoami().await
        });
        let who = match asked.await {
            Ok(Ok(who)) => who,
            Ok(Err(refusal)) if names_nobody(&refusal) => {
                self.named().remove(&digest);
                return Err(self.stranger(Some(&refusal)));
            }
            Ok(Err(refusal)) => return Err(Refused::refusal(StatusCode::SERVICE_UNAVAILABLE, &refusal)),
            Err(_) => {
                let refusal = Refusal::own(ReasonCode::ArbiterTimeout, None);
                return Err(Refused::refusal(StatusCode::SERVICE_UNAVAILABLE, &refusal));
            }
        };
        let share = self.share(&who.agent);
        let bearer = who.bearer.unwrap_or(digest);
        let caller = Caller { token: digest, bearer, expires: who.expires, agent: who.agent, arbiter, share };
        self.remember(&caller);
        Ok(caller)
    }

    /// The places of who asks with this token. Strangers' tokens, about which the arbiter may have to wait for an identity provider,
    /// take none that agents' have.
    fn places(&self, digest: &Digest) -> &Semaphore {
        if self.named().contains(digest) { &self.asking_anew } else { &self.asking }
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, digest: &Digest) -> Option<Caller> {
        let known = self.tokens();
        known.get(digest).filter(|known| Instant::now() < known.until).map(|known| known.caller.clone())
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeMap<Digest, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, caller: &Caller) {
        let (mut known, now) = (self.tokens(), Instant::now());
        known.retain(|_, known| now < known.until);
        // Whichever goes has a stranger's place once more.
        self.named().add(caller.token, caller.expires, crate::clock::wall());
        if known.len() < REMEMBERED {
            known.insert(caller.token, Known { caller: caller.clone(), until: now + self.bounds.known });
        }
    }

    /// What the agent may use: the same for all its tokens.
    fn share(&self, agent: &AgentId) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(agent) {
            return Arc::clone(share);
        }
        if shares.len() >= REMEMBERED {
            shares.retain(|_, share| Arc::strong_count(share) > 1 || !share.is_unused(&self.bounds));
        }
        let share = Share::new(&self.bounds, &self.held);
        shares.insert(agent.clone(), Arc::clone(&share));
        share
    }

    /// Nobody whom the arbiter knows. What is wrong with a token is not told.
    fn stranger(&self, refusal: Option<&Refusal>) -> Refused {
        let code = refusal.map_or(ReasonCode::IdentityUnverified, Refusal::code);
        let first = !self.challenge.contains(' ');
        let error = match refusal {
            None => "",
            Some(_) if first => " error=\"invalid_token\"",
            Some(_) => ", error=\"invalid_token\"",
        };
        let refused = Refused::new(StatusCode::UNAUTHORIZED, code, "no agent's token");
        match HeaderValue::from_str(&format!("{}{error}", self.challenge)) {
            Ok(value) => refused.header(WWW_AUTHENTICATE, value).and_close(),
            Err(_) => refused.and_close(),
        }
    }
}
