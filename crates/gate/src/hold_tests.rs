use super::*;

/// What is about one call does not pass by waiting, and no DENY is waited for.
#[test]
fn only_what_every_call_needs_is_waited_for() {
    for code in ReasonCode::ALL.iter().copied().filter(|code| may_clear(*code)) {
        assert_eq!(code.decision(), Decision::Silence, "{code}");
    }
    for code in [ReasonCode::EvidenceUnwritable, ReasonCode::ArbiterUnreachable, ReasonCode::PolicyExpired] {
        assert!(may_clear(code), "{code}");
    }
    for code in [ReasonCode::OverloadShed, ReasonCode::UpstreamUnavailable, ReasonCode::IdempotencyInFlight] {
        assert!(!may_clear(code), "{code}");
    }
}
