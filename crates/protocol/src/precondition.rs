//! The order of preconditions.

/// The stages at which a request can be refused, in the order in which they are examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precondition {
    /// The request is well-formed, representable and within size.
    Request,
    /// No operator has shut the gate.
    Gate,
    /// The clock has not jumped.
    Clock,
    /// The log can be written, the signer answers, the head is not behind its anchor.
    Evidence,
    /// The state store answers, and this process is its one writer.
    State,
    /// The pinned bundle is present, signed and within its validity.
    Policy,
    /// Every source of facts that the bundle declares has given them, lately enough.
    Facts,
    /// The agent is known and its credential is active.
    Identity,
    /// The surface is known, and the request fits its declaration.
    Surface,
    /// The request has not run before.
    Idempotency,
    /// The bundle's policies grant the request.
    Evaluation,
    /// No limit of the bundle is used up.
    Limits,
    /// Where grants ask for it, the agent proved its identity lately.
    Freshness,
    /// Where grants ask for it, people have approved the request.
    Approval,
    /// Where the surface or a grant asks for witnesses, there are some, and they saw the record.
    Witness,
    /// Time and capacity, examined throughout.
    Overload,
    /// Found by the gate, on its own side.
    Enforcement,
}

impl Precondition {
    /// Every stage, in order.
    pub const ALL: &[Self] = &[
        Self::Request,
        Self::Gate,
        Self::Clock,
        Self::Evidence,
        Self::State,
        Self::Policy,
        Self::Facts,
        Self::Identity,
        Self::Surface,
        Self::Idempotency,
        Self::Evaluation,
        Self::Limits,
        Self::Freshness,
        Self::Approval,
        Self::Witness,
        Self::Overload,
        Self::Enforcement,
    ];

    /// The stage's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Gate => "gate",
            Self::Clock => "clock",
            Self::Evidence => "evidence",
            Self::State => "state",
            Self::Policy => "policy",
            Self::Facts => "facts",
            Self::Identity => "identity",
            Self::Surface => "surface",
            Self::Idempotency => "idempotency",
            Self::Evaluation => "policy evaluation",
            Self::Limits => "limits",
            Self::Freshness => "freshness",
            Self::Approval => "approval",
            Self::Witness => "witness",
            Self::Overload => "overload",
            Self::Enforcement => "enforcement",
        }
    }
}
