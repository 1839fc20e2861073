//! Facts: the inputs of a decision, each known or not.

use portcullis_protocol::ReasonCode;

/// An input of a decision. Nothing turns an Unknown into a value: there is no default and no unwrapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// Established.
    Known(T),
    /// Not established, for whatever cause.
    Unknown,
}

/// Whether an operator has shut the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// Nobody has.
    Open,
    /// Somebody has.
    Shut,
}

/// What comparing the wall clock with the boot clock and the log showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// They agree within the bounds.
    Steady,
    /// Wall clock and boot clock have drifted apart.
    Jumped,
    /// The wall clock is earlier than the newest record.
    BehindLog,
}

/// Whether evidence can be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The log is writable, the signer answers, the head is not behind its anchor.
    Sound,
    /// It cannot, for this reason, one of the `evidence.*` and `signer.*` codes.
    Tripped(ReasonCode),
}

/// Whether this process is the one writer of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds the data directory.
    Held,
    /// It no longer does.
    Fenced,
}

/// Where now lies in a bundle's validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Within.
    Valid,
    /// Before its beginning.
    NotYet,
    /// At or after its end.
    Expired,
}

/// The bundle in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The pinned, signed bundle is there.
    InForce(Validity),
    /// It is not, for this reason, one of the `policy.*` codes of the policy precondition.
    Refused(ReasonCode),
}

/// How old what the bundle's sources of facts gave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// No older than it may be, each of them; or there are none.
    Fresh,
    /// At least one gave what is older than other facts of its own that are on record.
    RolledBack,
    /// At least one is.
    Stale,
}

/// Whether somebody outside can see a PERMIT before it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Neither the surface nor a grant asks for it.
    NotAsked,
    /// One does, and this deployment has witnesses: the PERMIT is held until they cosigned.
    There,
    /// One does, and there are none.
    Nobody,
}

/// Whether the agent proved its identity as lately as the grants ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// No grant asks for it.
    NotAsked,
    /// It did.
    Within,
    /// It did so too long ago, or nobody knows when.
    Stale,
}

/// Whether the request is approved as the grants ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// No grant asks for it.
    NotAsked,
    /// One does, and nobody has approved it.
    Missing,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A known agent with an active credential.
    Active,
    /// Its credential has expired.
    Expired,
    /// The bundle does not know the agent.
    Stranger,
    /// Its credential does not let it act for whom it says it acts for.
    NotAdmitted,
    /// It may act for whom it says, and the bundle does not know them.
    PrincipalStranger,
}

/// How the request fits the surfaces of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SurfaceMatch {
    /// It does.
    Fits,
    /// There is no such surface.
    Undeclared,
    /// The surface has no such action.
    ActionUndeclared,
    /// The gate read the call by the rules of another bundle.
    MappedOtherwise,
    /// The context is not as declared, for this reason.
    Misfit(ReasonCode),
}

/// Whether the request ran before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The surface's requests have no key: each is its own.
    NotKept,
    /// The key was never consumed, or its window is over.
    Fresh,
    /// The surface needs a key, and the request has none.
    Missing,
    /// The surface takes no key, and the request has one.
    Unexpected,
    /// Consumed for another request.
    Conflict,
    /// Consumed, without an outcome yet.
    InFlight,
    /// Consumed, with outcome `ok` or `failed`.
    Completed,
    /// Consumed, and its outcome is unknown.
    OutcomeUnknown,
}

/// Whether limits leave room for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitState {
    /// They do, or there are none.
    Room,
    /// One does not, for this reason, one of the `limits.*` codes.
    Refused(ReasonCode),
}

/// Whether the request's deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// There is time.
    Ahead,
    /// It has passed.
    Passed,
}
