//! What grants ask for besides themselves: approvals, a fresh identity, witnesses.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::RoleName;
use crate::precondition::Precondition;
use crate::reason::ReasonCode;
use crate::record::DecisionRecord;
use crate::verdict::Decision;

/// An approval that must be given before a request runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalNeed {
    /// Whoever holds any of these roles may give it.
    pub roles: BTreeSet<RoleName>,
    /// How many different people must.
    pub quorum: u64,
    /// For how long it counts once it is given, in milliseconds.
    pub lifetime_ms: u64,
}

/// All that the satisfied grants of a request ask for: the union over them, so that a broader grant beside a narrow one
/// takes nothing away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Obligations {
    /// The approvals, one for each set of roles, sorted by it. Each of them must be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalNeed>,
    /// How long ago, at most, the agent may have proved its identity, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_within_ms: Option<u64>,
    /// Whether witnesses must have seen the record before the PERMIT is released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witnessed: bool,
}

impl Obligations {
    /// Nothing is asked for.
    #[must_use]
    pub const fn none() -> Self {
        Self { approvals: Vec::new(), identity_within_ms: None, witnessed: false }
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.approvals.is_empty() && self.identity_within_ms.is_none() && !self.witnessed
    }

    /// Adds what another grant asks for. The order in which grants are added makes no difference: of one set of roles
    /// the greatest quorum and the shortest lifetime hold, of identities the freshest.
    pub fn add(&mut self, other: &Self) {
        for need in &other.approvals {
            match self.approvals.iter_mut().find(|known| known.roles == need.roles) {
                Some(known) => {
                    known.quorum = known.quorum.max(need.quorum);
                    known.lifetime_ms = known.lifetime_ms.min(need.lifetime_ms);
                }
                None => self.approvals.push(need.clone()),
            }
        }
        self.approvals.sort();
        self.identity_within_ms = match (self.identity_within_ms, other.identity_within_ms) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, None) => one,
            (None, two) => two,
        };
        self.witnessed |= other.witnessed;
    }

    /// Whether these can be the obligations of a record: each set of roles once, in order, none of them empty, and every
    /// number one that asks for something.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let sound = |need: &ApprovalNeed| !need.roles.is_empty() && need.quorum > 0 && need.lifetime_ms > 0;
        let roles = self.approvals.iter().map(|need| &need.roles);
        roles.is_sorted_by(|one, next| one < next)
            && self.approvals.iter().all(sound)
            && self.identity_within_ms != Some(0)
    }

    /// Whether a proof of identity `age` milliseconds old is fresh enough; one of unknown age never is.
    #[must_use]
    pub const fn admits_identity(&self, age: Option<u64>) -> bool {
        match (self.identity_within_ms, age) {
            (None, _) => true,
            (Some(most), Some(age)) => age <= most,
            (Some(_), None) => false,
        }
    }

    /// Whether what a refusal with this code says rests on obligations.
    #[must_use]
    pub const fn are_behind(code: ReasonCode) -> bool {
        let precondition = code.precondition();
        matches!(precondition, Precondition::Freshness | Precondition::Approval | Precondition::Witness)
    }

    /// What in a record cannot be together with these obligations. No reader takes a PERMIT for one whose own record
    /// says that more was asked for than is there.
    pub(crate) fn contradiction(&self, record: &DecisionRecord) -> Option<&'static str> {
        if !self.is_well_formed() {
            return Some("obligations that ask for nothing, or are out of order");
        }
        match record.reason {
            Some(ReasonCode::ApprovalRequired) if self.approvals.is_empty() => {
                Some("an approval is missing that nothing asks for")
            }
            Some(ReasonCode::IdentityStale) if self.admits_identity(record.identity_age()) => {
                Some("an identity is stale that is fresh enough")
            }
            Some(code) if !self.is_empty() && !Self::are_behind(code) => {
                Some("obligations on a refusal that has another reason")
            }
            Some(_) => None,
            None if record.decision != Decision::Permit => None,
            None if !self.approvals.is_empty() => {
                Some("a PERMIT without the approvals that its grants ask for")
            }
            None if !self.admits_identity(record.identity_age()) => {
                Some("a PERMIT for an identity that is not as fresh as its grants ask for")
            }
            None if self.witnessed && !record.witnessed => {
                Some("a PERMIT that is not witnessed as its grants ask for")
            }
            None => None,
        }
    }

    /// What must be approved, in words; `None` if nothing.
    #[must_use]
    pub fn approvals_in_words(&self) -> Option<String> {
        let words: Vec<_> = self.approvals.iter().map(ToString::to_string).collect();
        if words.is_empty() { None } else { Some(words.join(", and ")) }
    }
}

impl fmt::Display for ApprovalNeed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles: Vec<_> = self.roles.iter().map(|role| format!("`{role}`")).collect();
        let people = if self.quorum == 1 { "1 person" } else { "different people" };
        let number = if self.quorum == 1 { String::new() } else { format!("{} ", self.quorum) };
        write!(formatter, "approval by {number}{people} with role {}", roles.join(" or "))?;
        write!(formatter, ", valid for {}", Length(self.lifetime_ms))
    }
}

impl fmt::Display for Obligations {
    /// One sentence for people; empty if nothing is asked for.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<_> = self.approvals.iter().map(ToString::to_string).collect();
        parts.extend(self.identity_within_ms.map(|most| format!("identity proved within {}", Length(most))));
        parts.extend(self.witnessed.then(|| "witnesses".to_owned()));
        formatter.write_str(&parts.join(", and "))
    }
}

/// Milliseconds in the largest unit that leaves none over, as bundles write them: `90s`, `15m`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub u64);

impl fmt::Display for Length {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let whole = units.into_iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = whole.map_or((1, "ms"), |whole| whole);
        write!(formatter, "{}{name}", self.0 / unit)
    }
}

#[cfg(test)]
#[path = "obligations_tests.rs"]
mod tests;
