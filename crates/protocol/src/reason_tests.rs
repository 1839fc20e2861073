use super::*;
use std::collections::BTreeSet;

#[test]
fn codes_are_distinct_ordered_and_never_permit() {
    let words: BTreeSet<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words.len(), ReasonCode::ALL.len());
    for pair in ReasonCode::ALL.windows(2) {
        assert!(pair[0].precondition() <= pair[1].precondition(), "{} before {}", pair[0], pair[1]);
    }
    for code in ReasonCode::ALL {
        assert_ne!(code.decision(), Decision::Permit, "{code}");
        assert!(code.http_status() >= 400, "{code}: a refusal is never a success status");
        assert_eq!(code.as_str().parse(), Ok(*code));
    }
}

#[test]
fn an_unknown_word_is_no_code() {
    assert!("policy.allow".parse::<ReasonCode>().is_err());
    assert!(serde_json::from_str::<ReasonCode>("\"ok\"").is_err());
}
