//! At most once: what a stored key means for a request.

use portcullis_protocol::{Digest, Idempotency, IdempotencyKey, Millis, Request, SurfaceSpec};

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
