//! The keys of an issuer that are held, and how long they count.
//!
//! There is no last-known-good beyond a declared bound: keys are asked for again when they are no longer fresh, count all
//! the same while the provider cannot be asked, and count for nothing once they are as old as `expire_seconds` says. Ages
//! go by the boot clock: no change of the wall clock makes keys younger.

use std::time::Duration;

use super::keys::{Key, KeySet};

/// How long after a round began the next one may begin on a token's account.
pub(super) const REST: Duration = Duration::from_secs(5);
/// How long after a first failure the provider is asked again; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How old keys may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAges {
    /// After this they are asked for again.
    pub fresh: Duration,
    /// After this they count for nothing.
    pub expire: Duration,
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    /// The issuer has no key of that name.
    Unknown,
    /// The issuer's keys are too old to count, or have never been had.
    Expired,
}

/// Whether keys may be asked for on a token's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// They are: whoever gets this must have it done.
    Mine,
    /// They are being asked for.
    Waits,
    /// They were asked for just now.
    NotYet,
}

/// The keys that are held. Times are milliseconds of the boot clock.
#[derive(Debug)]
pub(crate) struct Held {
    ages: KeyAges,
    /// The keys of the newest answer, and when it was asked for.
    newest: Option<(KeySet, u64)>,
    /// Why the newest question had no answer that can be used.
    failure: Option<String>,
    failures: u32,
    /// When the newest round began.
    began: Option<u64>,
    asking: bool,
}

/// How an issuer's keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeysState {
    /// Never had.
    Missing,
    /// Young enough.
    Fresh,
    /// To be asked for again; they count.
    Stale,
    /// They do not count.
    Expired,
}

impl KeysState {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
        }
    }

    /// Whether tokens can be verified.
    pub(crate) const fn counts(self) -> bool {
        match self {
            Self::Fresh | Self::Stale => true,
            Self::Missing | Self::Expired => false,
        }
    }
}

pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

impl Held {
    pub(super) const fn new(ages: KeyAges) -> Self {
        Self { ages, newest: None, failure: None, failures: 0, began: None, asking: false }
    }

    /// How old the keys are.
    pub(crate) fn age(&self, boot: u64) -> Option<u64> {
        self.newest.as_ref().map(|(_, since)| boot.saturating_sub(*since))
    }

    pub(crate) fn state(&self, boot: u64) -> KeysState {
        match self.age(boot) {
            None => KeysState::Missing,
            Some(age) if age >= millis(self.ages.expire) => KeysState::Expired,
            // A round that runs on time begins when they are that old, and takes a moment.
            Some(age) if age > millis(self.ages.fresh) && self.failures > 0 => KeysState::Stale,
            Some(_) => KeysState::Fresh,
        }
    }

    /// The key of a name, if it counts.
    pub(super) fn key(&self, name: &str, boot: u64) -> Result<Key, Lacking> {
        match &self.newest {
            Some((keys, _)) if self.state(boot).counts() => keys.key(name).cloned().ok_or(Lacking::Unknown),
            Some(_) | None => Err(Lacking::Expired),
        }
    }

    /// Keys that count, and keys of the newest answer that are not taken.
    pub(crate) fn count(&self) -> (usize, usize) {
        self.newest.as_ref().map_or((0, 0), |(keys, _)| (keys.len(), keys.passed_over))
    }

    /// Why the newest question had no answer that can be used, and how many had none in a row.
    pub(crate) fn failure(&self) -> (Option<&str>, u32) {
        (self.failure.as_deref(), self.failures)
    }

    /// A token names a key that is not held, or none is: whether keys are asked for on its account.
    pub(super) fn turn(&mut self, boot: u64) -> Turn {
        if self.asking {
            return Turn::Waits;
        }
        if self.began.is_some_and(|began| boot.saturating_sub(began) < millis(REST)) {
            return Turn::NotYet;
        }
        self.begin(boot);
        Turn::Mine
    }

    /// A round begins.
    pub(super) const fn begin(&mut self, boot: u64) {
        (self.began, self.asking) = (Some(boot), true);
    }

    /// A round that began at `since` has ended.
    pub(super) fn hear(&mut self, answer: Result<KeySet, String>, since: u64) {
        self.asking = false;
        match answer {
            // What the issuer no longer shows is no longer its key, if that is all of them.
            Ok(keys) => (self.newest, self.failure, self.failures) = (Some((keys, since)), None, 0),
            Err(failure) => {
                (self.failure, self.failures) = (Some(failure), self.failures.saturating_add(1));
            }
        }
    }

    /// How long after a round the next one begins.
    pub(super) fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => self.ages.fresh,
            Some(before) => {
                FIRST_PAUSE.saturating_mul(1 << before.min(10)).min(LONGEST_PAUSE).min(self.ages.fresh)
            }
        }
    }
}

#[cfg(test)]
#[path = "held_tests.rs"]
mod tests;
