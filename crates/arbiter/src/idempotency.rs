//! At most once: what a stored key means for a request.

use std::collections::BTreeMap;

use portcullis_protocol::{Digest, Idempotency, IdempotencyKey, Millis, Outcome, Request, SurfaceSpec};

use crate::fact::{Fact, KeyState};

/// What became of the PERMIT that consumed a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// No outcome yet.
    InFlight,
    /// Outcome `ok` or `failed`.
    Completed,
    /// Outcome `unknown`.
    Unknown,
}

/// A consumed key. Keys of PERMITs that ended `expired` or `withheld` are given back and not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The operation that it was consumed for.
    pub operation: Digest,
    /// What became of it.
    pub status: KeyStatus,
    /// When it was consumed.
    pub consumed: Millis,
}

/// A key, and the PERMIT that consumed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumedKey {
    /// The operation that it was consumed for, if that can be told.
    pub operation: Option<Digest>,
    /// The PERMIT's index.
    pub permit: u64,
    /// When it was consumed.
    pub consumed: Millis,
    /// What became of the PERMIT.
    pub status: KeyStatus,
}

/// The keys that PERMITs consumed and that were not given back, by their commitments: a function of the log, for whoever has no
/// tables of it.
#[derive(Clone, Debug)]
pub struct Keys(BTreeMap<Digest, ConsumedKey>);

impl Keys {
    /// Those of a log without records.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// A key.
    #[must_use]
    pub fn get(&self, key: &Digest) -> Option<&ConsumedKey> {
        self.0.get(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Digest, &ConsumedKey)> {
        self.0.iter()
    }

    /// Takes note of a PERMIT that consumes a key.
    pub fn consume(&mut self, key: Digest, operation: Option<Digest>, permit: u64, time: Millis) {
        let status = KeyStatus::InFlight;
        self.0.insert(key, ConsumedKey { operation, permit, consumed: time, status });
    }

    /// Takes note of how the PERMIT that consumed a key ended. One that never ran gives it back.
    pub fn end(&mut self, key: &Digest, permit: u64, outcome: Outcome) {
        let Some(own) = self.0.get_mut(key).filter(|own| own.permit == permit) else { return };
        match outcome {
            Outcome::Ok | Outcome::Failed => own.status = KeyStatus::Completed,
            Outcome::Unknown => own.status = KeyStatus::Unknown,
            Outcome::Expired | Outcome::Withheld => drop(self.0.remove(key)),
        }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

/// The key under which a request runs at most once, if its surface keeps keys: the caller's, or for `derived`
/// surfaces without one the operation itself.
#[must_use]
pub fn key_of(spec: &SurfaceSpec, request: &Request, operation: &Digest) -> Option<IdempotencyKey> {
    let given = request.ask.idempotency_key.clone();
    match spec.idempotency {
        Idempotency::None => None,
        Idempotency::Key => given,
        Idempotency::Derived => match given {
            Some(key) => Some(key),
            // A digest's text is always a valid key.
            None => operation.to_string().parse().ok(), // tidy: allow None means KeyState::Missing, which refuses
        },
    }
}

/// Whether a request may run, as far as earlier runs go. An Unknown stays one: what cannot be read is never
/// "not executed yet".
#[must_use]
pub fn key_state(
    spec: &SurfaceSpec,
    given: Option<&IdempotencyKey>,
    key: Option<&IdempotencyKey>,
    stored: Fact<Option<StoredKey>>,
    operation: &Digest,
    now: Millis,
) -> Fact<KeyState> {
    match (spec.idempotency, given, key) {
        (Idempotency::None, None, _) => return Fact::Known(KeyState::NotKept),
        (Idempotency::None, Some(_), _) => return Fact::Known(KeyState::Unexpected),
        (Idempotency::Key | Idempotency::Derived, _, None) => return Fact::Known(KeyState::Missing),
        (Idempotency::Key | Idempotency::Derived, _, Some(_)) => {}
    }
    let stored = match stored {
        Fact::Unknown => return Fact::Unknown,
        Fact::Known(None) => return Fact::Known(KeyState::Fresh),
        Fact::Known(Some(stored)) => stored,
    };
    Fact::Known(match stored.status {
        // A derived key stands for one intent only within its window; what is still running or in doubt does not
        // become a new intent by waiting.
        KeyStatus::Completed if lapsed(spec, &stored, now) => KeyState::Fresh,
        KeyStatus::InFlight | KeyStatus::Completed | KeyStatus::Unknown if stored.operation != *operation => {
            KeyState::Conflict
        }
        KeyStatus::InFlight => KeyState::InFlight,
        KeyStatus::Completed => KeyState::Completed,
        KeyStatus::Unknown => KeyState::OutcomeUnknown,
    })
}

fn lapsed(spec: &SurfaceSpec, stored: &StoredKey, now: Millis) -> bool {
    spec.idempotency == Idempotency::Derived && now.since(stored.consumed) >= spec.derived_window_ms
}

#[cfg(test)]
#[path = "idempotency_tests.rs"]
mod tests;
