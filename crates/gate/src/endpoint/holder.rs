//! Whose a session is: who bears the tokens that it was begun and is gone on with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_protocol::wire::{
    DecisionCall, DecisionReply, LateCall, LateReply, ListingCall, ListingReply, OutcomeReply,
    SimulationReply, WhoAmI,
};
use portcullis_protocol::{Digest, Millis, SurfaceTable};
use portcullis_sdk::{Authorizer, Call, OutcomeReport};

use super::who::Caller;

/// Who has a conversation: the bearer of the token that began it. A token of the same bearer that expires later takes the place of
/// the one before, for good. What is under way is decided with the newest.
pub(super) struct Holder {
    bearer: Digest,
    current: Mutex<Current>,
}

struct Current {
    token: Digest,
    expires: Option<Millis>,
    arbiter: Arc<dyn Authorizer>,
}

impl Holder {
    pub(super) fn new(caller: &Caller) -> Arc<Self> {
        let (token, expires, arbiter) = (caller.token, caller.expires, Arc::clone(&caller.arbiter));
        let current = Mutex::new(Current { token, expires, arbiter });
        Arc::new(Self { bearer: caller.bearer, current })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arbiter(&self) -> Arc<dyn Authorizer> {
        Arc::clone(&self.current().arbiter)
    }

    /// Whether the conversation is the caller's. It goes on with the caller's token then.
    pub(super) fn admits(&self, caller: &Caller) -> bool {
        if self.bearer != caller.bearer {
            return false;
        }
        let mut current = self.current();
        if current.token == caller.token {
            return true;
        }
        let later = matches!((current.expires, caller.expires), (Some(old), Some(new)) if old < new);
        if later {
            let arbiter = Arc::clone(&caller.arbiter);
            *current = Current { token: caller.token, expires: caller.expires, arbiter };
        }
        later
    }
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder").field("bearer", &self.bearer).finish_non_exhaustive()
    }
}

/// The arbiter, asked with the newest of the tokens.
impl Authorizer for Holder {
    fn decide(&self, call: DecisionCall) -> Call<'_, DecisionReply> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.decide(call).await })
    }

    fn report(&self, report: OutcomeReport) -> Call<'_, OutcomeReply> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.report(report).await })
    }

    fn ready(&self) -> Call<'_, bool> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.ready().await })
    }

    fn surfaces(&self) -> Call<'_, SurfaceTable> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.surfaces().await })
    }

    fn whoami(&self) -> Call<'_, WhoAmI> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.whoami().await })
    }

    fn list(&self, call: ListingCall) -> Call<'_, ListingReply> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.list(call).await })
    }

    fn simulate(&self, call: DecisionCall) -> Call<'_, SimulationReply> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.simulate(call).await })
    }

    fn late(&self, call: LateCall) -> Call<'_, LateReply> {
        let arbiter = self.arbiter();
        Box::pin(async move { arbiter.late(call).await })
    }
}
