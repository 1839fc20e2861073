//! What those who run the arbiter are told of refused tokens: codes and how many, at a bounded rate. Nothing of a token.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::refused::TokenRefused;

/// How often notes are taken.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Counted {
    /// Since the arbiter started.
    all: BTreeMap<TokenRefused, u64>,
    /// Since notes were taken.
    fresh: BTreeMap<TokenRefused, u64>,
}

/// Refused tokens, counted by why.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    counted: Mutex<Counted>,
    some: Notify,
}

impl Notes {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn refused(&self, why: TokenRefused) {
        let mut counted = self.counted();
        let Counted { all, fresh } = &mut *counted;
        for counts in [all, fresh] {
            let count = counts.entry(why).or_default();
            *count = count.saturating_add(1);
        }
        drop(counted);
        self.some.notify_one();
    }

    /// Refused tokens since the arbiter started, by why.
    pub(crate) fn all(&self) -> BTreeMap<TokenRefused, u64> {
        self.counted().all.clone()
    }

    /// Tells of refused tokens for ever: of the first at once, then at most so often.
    pub(crate) async fn tell(&self, say: &impl Fn(String)) -> std::convert::Infallible {
        loop {
            self.some.notified().await;
            for (why, count) in std::mem::take(&mut self.counted().fresh) {
                say(format!("{}: {count} access tokens were refused: {why}", why.code()));
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}
