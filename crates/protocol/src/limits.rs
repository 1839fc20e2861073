//! What a decision read of the limits that apply to it, and what a PERMIT takes of them.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{LimitName, Millis};
use crate::precondition::Precondition;
use crate::reason::ReasonCode;

/// The largest number of a counter: integers in records are exact up to here, 2^53 - 1.
pub const MOST_COUNTED: u64 = 9_007_199_254_740_991;

/// One counter of a limit, as a decision found it. Amounts are in the smallest unit that the limit counts: requests,
/// open PERMITs, or the last digit of the surface's decimals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitUse {
    /// The limit.
    pub limit: LimitName,
    /// Which of its counters: a digest of what is counted, and for whom.
    pub counter: Digest,
    /// How much was reserved before this decision.
    pub used: u64,
    /// How much may be.
    pub max: u64,
    /// How much the request takes.
    pub amount: u64,
    /// From when on it gives room again; none for what counts until the PERMIT has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses: Option<Millis>,
}

impl LimitUse {
    /// Whether the amount fits beside what is used. A sum that no integer holds does not.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.used.checked_add(self.amount).is_some_and(|sum| sum <= self.max)
    }
}

/// Whether a record's reason and what it says of limits go together.
pub(crate) fn check(
    reason: Option<ReasonCode>,
    limit: Option<&LimitName>,
    limits: &[LimitUse],
) -> Result<(), &'static str> {
    let by_limit = reason.is_some_and(|code| code.precondition() == Precondition::Limits);
    if by_limit != limit.is_some() {
        return Err("a limit that did not refuse, or a refusal by none");
    }
    if reason.is_some() {
        let own = limits.iter().all(|read| Some(&read.limit) == limit) && limits.len() <= 1;
        return if own { Ok(()) } else { Err("limits that had no part in a refusal") };
    }
    if !limits.is_sorted_by(|one, next| one.limit < next.limit) {
        return Err("limits out of order");
    }
    if limits.iter().all(LimitUse::fits) { Ok(()) } else { Err("a PERMIT beyond a limit") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(limit: &str, used: u64, amount: u64) -> LimitUse {
        let counter = Digest::sha256(b"x");
        LimitUse { limit: limit.parse().unwrap(), counter, used, max: 10, amount, lapses: None }
    }

    #[test]
    fn a_permit_beyond_a_limit_is_no_record() {
        assert_eq!(check(None, None, &[read("a", 9, 1), read("b", 0, 10)]), Ok(()));
        assert!(check(None, None, &[read("a", 9, 2)]).is_err());
        assert!(check(None, None, &[read("a", 1, u64::MAX)]).is_err(), "a sum does not wrap");
        assert!(check(None, None, &[read("b", 0, 1), read("a", 0, 1)]).is_err());
        assert!(check(None, None, &[read("a", 0, 1), read("a", 0, 1)]).is_err());
        assert!(check(None, Some(&"a".parse().unwrap()), &[read("a", 0, 1)]).is_err());
    }

    #[test]
    fn a_refusal_by_a_limit_names_it_and_no_other_does() {
        let (code, name) = (Some(ReasonCode::LimitsExceeded), "a".parse().unwrap());
        assert_eq!(check(code, Some(&name), &[read("a", 10, 1)]), Ok(()));
        assert_eq!(check(code, Some(&name), &[]), Ok(()));
        assert!(check(code, None, &[]).is_err());
        assert!(check(code, Some(&name), &[read("b", 10, 1)]).is_err());
        assert!(check(Some(ReasonCode::GateShut), Some(&name), &[]).is_err());
        assert!(check(Some(ReasonCode::GateShut), None, &[read("a", 0, 1)]).is_err());
    }
}
