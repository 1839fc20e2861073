//! Decisions and their enforcement: two things that are never one field.

use serde::{Deserialize, Serialize};

use crate::ids::PolicyId;
use crate::reason::ReasonCode;

/// What was decided about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Decision {
    /// Every precondition was asserted, and policy grants this request.
    Permit,
    /// Policy was evaluated on complete facts, and says no.
    Deny,
    /// No authorization could be established.
    Silence,
}

impl Decision {
    /// The decision's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "PERMIT",
            Self::Deny => "DENY",
            Self::Silence => "SILENCE",
        }
    }
}

/// What a gate did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Enforcement {
    /// The action was handed to its executor under a permit.
    Executed,
    /// Nothing was handed to an executor.
    Blocked,
}

impl Enforcement {
    /// The enforcement's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Executed => "EXECUTED",
            Self::Blocked => "BLOCKED",
        }
    }
}

/// How an attempt is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Captured {
    /// A record of it is in the log, and a receipt proves so.
    Logged,
    /// It lies in a spool, durably, out of the log's band, and is entered into the log late.
    Spooled,
    /// Nothing of its own was written.
    None,
}

/// A decision with what it needs to be one: a refusal always has its reason code, a PERMIT never has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// PERMIT, by these policies, sorted.
    Permit(Vec<PolicyId>),
    /// DENY or SILENCE, whichever the code says, by these policies, sorted (empty unless policy was evaluated).
    Refuse(ReasonCode, Vec<PolicyId>),
}

impl Verdict {
    /// A refusal in which no policy had a part.
    #[must_use]
    pub const fn refuse(code: ReasonCode) -> Self {
        Self::Refuse(code, Vec::new())
    }

    /// PERMIT, DENY or SILENCE.
    #[must_use]
    pub const fn decision(&self) -> Decision {
        match self {
            Self::Permit(_) => Decision::Permit,
            Self::Refuse(code, _) => code.decision(),
        }
    }

    /// The reason code of a refusal.
    #[must_use]
    pub const fn reason(&self) -> Option<ReasonCode> {
        match self {
            Self::Permit(_) => None,
            Self::Refuse(code, _) => Some(*code),
        }
    }

    /// The determining policies, sorted.
    #[must_use]
    pub fn policies(&self) -> &[PolicyId] {
        match self {
            Self::Permit(policies) | Self::Refuse(_, policies) => policies,
        }
    }
}
