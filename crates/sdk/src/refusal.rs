//! Why an action did not run, kept apart by what a caller must tell its user.

use portcullis_protocol::wire::{ReasonBody, StoredResult};
use portcullis_protocol::{AttemptId, Captured, Decision, Precondition, ReasonCode};

/// A verified receipt, of a refusal or of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptRef {
    /// The attempt that it is for; fetch it with `GET /v1/receipts/{attempt}`, where it is not a simulation's.
    pub attempt: AttemptId,
    /// Its index in the log.
    pub index: u64,
    /// Its text, a C2SP tlog-proof.
    pub text: String,
}

/// Policy said no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("blocked: {}", reason.message)]
pub struct Blocked {
    /// Why.
    pub reason: ReasonBody,
    /// Proof of the decision, if it is logged.
    pub receipt: Option<ReceiptRef>,
    /// What an earlier execution under the same key left.
    pub stored: Option<StoredResult>,
}

/// No authorization could be established.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("permission check unavailable, action blocked: {}", reason.message)]
pub struct Unavailable {
    /// Why.
    pub reason: ReasonBody,
    /// Proof of the decision, if it is logged.
    pub receipt: Option<ReceiptRef>,
    /// Whether waiting can help, or somebody must do something about this request first.
    pub waiting_helps: bool,
    /// Whether the arbiter says that the attempt lies in its spool, durably, and will be entered into the log late.
    pub spooled: bool,
}

/// An answer that does not prove itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer proves nothing, action blocked: {cause}")]
pub struct Unverifiable {
    /// What did not verify.
    pub cause: String,
}

/// Why an action did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Policy said no.
    #[error(transparent)]
    Blocked(Box<Blocked>),
    /// No authorization could be established.
    #[error(transparent)]
    Unavailable(Box<Unavailable>),
    /// An answer that does not prove itself.
    #[error(transparent)]
    Unverifiable(Unverifiable),
}

impl Refusal {
    /// A refusal that the gate finds by itself. No code can be PERMIT's, so none of them lets anything run.
    #[must_use]
    pub fn own(code: ReasonCode, detail: Option<String>) -> Self {
        Self::from_reason(ReasonBody { detail, ..code.into() }, (None, Captured::None), None)
    }

    pub(crate) fn unverifiable(cause: impl Into<String>) -> Self {
        Self::Unverifiable(Unverifiable { cause: cause.into() })
    }

    pub(crate) fn from_reason(
        reason: ReasonBody,
        (receipt, captured): (Option<ReceiptRef>, Captured),
        stored: Option<StoredResult>,
    ) -> Self {
        match reason.code.decision() {
            Decision::Deny => Self::Blocked(Box::new(Blocked { reason, receipt, stored })),
            Decision::Silence | Decision::Permit => {
                let waiting_helps = waiting_helps(reason.code);
                let spooled = captured == Captured::Spooled;
                Self::Unavailable(Box::new(Unavailable { reason, receipt, waiting_helps, spooled }))
            }
        }
    }

    /// DENY or SILENCE.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.code().decision()
    }

    /// The reason code.
    #[must_use]
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Blocked(blocked) => blocked.reason.code,
            Self::Unavailable(unavailable) => unavailable.reason.code,
            Self::Unverifiable(_) => ReasonCode::ReceiptUnverifiable,
        }
    }

    /// The reason, as callers are told.
    #[must_use]
    pub fn reason(&self) -> ReasonBody {
        match self {
            Self::Blocked(blocked) => blocked.reason.clone(),
            Self::Unavailable(unavailable) => unavailable.reason.clone(),
            Self::Unverifiable(unverifiable) => ReasonBody {
                detail: Some(unverifiable.cause.clone()),
                ..ReasonCode::ReceiptUnverifiable.into()
            },
        }
    }

    /// Proof of the decision, if it is logged.
    #[must_use]
    pub const fn receipt(&self) -> Option<&ReceiptRef> {
        match self {
            Self::Blocked(blocked) => blocked.receipt.as_ref(),
            Self::Unavailable(unavailable) => unavailable.receipt.as_ref(),
            Self::Unverifiable(_) => None,
        }
    }

    /// What an earlier execution under the same key left.
    #[must_use]
    pub const fn stored(&self) -> Option<&StoredResult> {
        match self {
            Self::Blocked(blocked) => blocked.stored.as_ref(),
            Self::Unavailable(_) | Self::Unverifiable(_) => None,
        }
    }

    /// How the attempt is kept: `logged` only if its receipt verified here, `spooled` by the arbiter's word.
    #[must_use]
    pub const fn captured(&self) -> Captured {
        match self {
            Self::Blocked(_) | Self::Unavailable(_) if self.receipt().is_some() => Captured::Logged,
            Self::Unavailable(unavailable) if unavailable.spooled => Captured::Spooled,
            Self::Blocked(_) | Self::Unavailable(_) | Self::Unverifiable(_) => Captured::None,
        }
    }

    /// Whether asking the same again later can help without anybody changing the request or the policy.
    #[must_use]
    pub const fn waiting_helps(&self) -> bool {
        match self {
            Self::Unavailable(unavailable) => unavailable.waiting_helps,
            Self::Blocked(_) | Self::Unverifiable(_) => false,
        }
    }
}

fn waiting_helps(code: ReasonCode) -> bool {
    match code.precondition() {
        Precondition::Gate
        | Precondition::Clock
        | Precondition::Evidence
        | Precondition::State
        | Precondition::Policy
        | Precondition::Facts
        | Precondition::Witness
        | Precondition::Overload => true,
        Precondition::Enforcement => code != ReasonCode::PermitMismatch,
        Precondition::Idempotency => {
            matches!(code, ReasonCode::IdempotencyInFlight | ReasonCode::IdempotencyUnreadable)
        }
        // What is used up comes back; a limit that no amount of waiting opens says so in its own code.
        Precondition::Limits => matches!(
            code,
            ReasonCode::LimitsExceeded
                | ReasonCode::LimitsTooFast
                | ReasonCode::LimitsTooManyOpen
                | ReasonCode::LimitsUnreadable
                | ReasonCode::LimitsAgentFull
        ),
        // Somebody must prove or approve something first.
        Precondition::Freshness | Precondition::Approval => false,
        // The tool server may say it later.
        Precondition::Surface => code == ReasonCode::ToolDefinitionUnknown,
        Precondition::Request | Precondition::Identity | Precondition::Evaluation => false,
    }
}
