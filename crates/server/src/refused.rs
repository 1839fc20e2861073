//! The reason codes of what was not recorded, or not carried out.

use portcullis_ledger::{OrderRefused, OutcomeRefused};
use portcullis_protocol::ReasonCode;

/// The reason code of an outcome that was not recorded.
pub(crate) const fn outcome_code(refused: &OutcomeRefused) -> ReasonCode {
    match refused {
        OutcomeRefused::Unavailable(code) => *code,
        OutcomeRefused::Ended(_) => ReasonCode::RequestOutcomeRecorded,
        OutcomeRefused::NoSuchPermit | OutcomeRefused::NotReportable => ReasonCode::RequestInvalidValue,
    }
}

/// The reason code of an order that was not carried out.
pub(crate) const fn order_code(refused: &OrderRefused) -> ReasonCode {
    match refused {
        OrderRefused::Unavailable(code) => *code,
        OrderRefused::Unanswered => ReasonCode::OverloadDeadline,
        OrderRefused::TooLong => ReasonCode::RequestTooLarge,
        OrderRefused::Bundle(code) | OrderRefused::Facts { code, .. } => *code,
        OrderRefused::NotNewer => ReasonCode::PolicyRolledBack,
        OrderRefused::CaseFailed => ReasonCode::PolicyCorrupt,
        OrderRefused::CopyKept(_) => ReasonCode::EvidenceUnwritable,
        OrderRefused::NoSuchPermit
        | OrderRefused::NotInDoubt(_)
        | OrderRefused::NothingKept
        | OrderRefused::NoFactsKept => ReasonCode::RequestInvalidValue,
    }
}
