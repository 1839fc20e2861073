use super::*;
use portcullis_protocol::{OnSilence, Tier};
use std::collections::BTreeMap;

fn spec(idempotency: Idempotency) -> SurfaceSpec {
    SurfaceSpec {
        keep: portcullis_protocol::Keep::UNDECLARED,
        tier: Tier::Critical,
        on_silence: OnSilence::Terminate,
        idempotency,
        witnessed: false,
        permit_ttl_ms: 5_000,
        outcome_within_ms: 60_000,
        derived_window_ms: 10_000,
        actions: Vec::new(),
        tools: Vec::new(),
        resource: None,
        context: BTreeMap::new(),
    }
}

const NOW: Millis = Millis(1_000_000);

fn stored(status: KeyStatus, consumed: u64) -> Fact<Option<StoredKey>> {
    Fact::Known(Some(StoredKey { operation: Digest::sha256(b"this"), status, consumed: Millis(consumed) }))
}

fn state(kind: Idempotency, key: Option<&str>, stored: Fact<Option<StoredKey>>) -> Fact<KeyState> {
    let key: Option<IdempotencyKey> = key.map(|key| key.parse().unwrap());
    key_state(&spec(kind), key.as_ref(), key.as_ref(), stored, &Digest::sha256(b"this"), NOW)
}

#[test]
fn a_store_that_cannot_be_read_is_never_not_executed_yet() {
    assert_eq!(state(Idempotency::Key, Some("k"), Fact::Unknown), Fact::Unknown);
    assert_eq!(state(Idempotency::Derived, Some("k"), Fact::Unknown), Fact::Unknown);
}

#[test]
fn a_key_runs_once_whatever_became_of_it() {
    for (status, expected) in [
        (KeyStatus::InFlight, KeyState::InFlight),
        (KeyStatus::Completed, KeyState::Completed),
        (KeyStatus::Unknown, KeyState::OutcomeUnknown),
    ] {
        assert_eq!(state(Idempotency::Key, Some("k"), stored(status, 0)), Fact::Known(expected));
    }
    assert_eq!(state(Idempotency::Key, Some("k"), Fact::Known(None)), Fact::Known(KeyState::Fresh));
}

#[test]
fn a_key_of_another_operation_conflicts() {
    for status in [KeyStatus::InFlight, KeyStatus::Completed, KeyStatus::Unknown] {
        let other = StoredKey { operation: Digest::sha256(b"other"), status, consumed: NOW };
        assert_eq!(
            state(Idempotency::Key, Some("k"), Fact::Known(Some(other))),
            Fact::Known(KeyState::Conflict)
        );
    }
}

#[test]
fn keys_are_required_or_refused_as_declared() {
    assert_eq!(state(Idempotency::Key, None, Fact::Known(None)), Fact::Known(KeyState::Missing));
    assert_eq!(state(Idempotency::Derived, None, Fact::Known(None)), Fact::Known(KeyState::Missing));
    assert_eq!(state(Idempotency::None, Some("k"), Fact::Known(None)), Fact::Known(KeyState::Unexpected));
    assert_eq!(state(Idempotency::None, None, Fact::Unknown), Fact::Known(KeyState::NotKept));
}

#[test]
fn a_window_frees_only_what_completed() {
    let edge = NOW.0 - 10_000;
    let derived = |status, consumed| state(Idempotency::Derived, Some("k"), stored(status, consumed));
    assert_eq!(derived(KeyStatus::Completed, edge + 1), Fact::Known(KeyState::Completed));
    assert_eq!(derived(KeyStatus::Completed, edge), Fact::Known(KeyState::Fresh));
    assert_eq!(derived(KeyStatus::InFlight, 0), Fact::Known(KeyState::InFlight));
    assert_eq!(derived(KeyStatus::Unknown, 0), Fact::Known(KeyState::OutcomeUnknown));
    assert_eq!(
        state(Idempotency::Key, Some("k"), stored(KeyStatus::Completed, 0)),
        Fact::Known(KeyState::Completed)
    );
}
