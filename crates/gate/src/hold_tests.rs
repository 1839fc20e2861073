use std::collections::BTreeSet;

use super::*;

const WAITED_FOR: [&str; 42] = [
    "gate.shut",
    "gate.unknown",
    "clock.unreadable",
    "clock.jumped",
    "clock.behind_log",
    "evidence.unwritable",
    "evidence.recovering",
    "evidence.corrupt",
    "evidence.behind_anchor",
    "evidence.anchor_unwritable",
    "evidence.disk_reserve",
    "evidence.outcome_unrecorded",
    "evidence.vault_unavailable",
    "evidence.vault_wrong_key",
    "signer.unavailable",
    "signer.timeout",
    "signer.wrong_key",
    "signer.failed",
    "state.unreachable",
    "state.fenced",
    "arbiter.unreachable",
    "arbiter.timeout",
    "policy.missing",
    "policy.root_invalid",
    "policy.unsigned",
    "policy.untrusted_key",
    "policy.threshold",
    "policy.signature_empty",
    "policy.signature_invalid",
    "policy.rolled_back",
    "policy.pin_mismatch",
    "policy.corrupt",
    "policy.too_deep",
    "policy.unproved",
    "policy.proofs_dropped",
    "policy.untested",
    "policy.root_expired",
    "policy.not_yet_valid",
    "policy.expired",
    "fact.unavailable",
    "fact.rolled_back",
    "fact.stale",
];

/// What is about one call does not pass by waiting, and no DENY is waited for.
#[test]
fn only_what_every_call_needs_is_waited_for() {
    let waited_for: Vec<_> = ReasonCode::ALL.iter().copied().filter(|code| may_clear(*code)).collect();
    assert!(waited_for.iter().all(|code| code.decision() == Decision::Silence));
    let words: BTreeSet<_> = waited_for.iter().map(|code| code.as_str()).collect();
    assert_eq!(words, BTreeSet::from(WAITED_FOR));
}
