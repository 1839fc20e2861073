//! What the writer is asked, and what it answers.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_arbiter::{Heard, Intake, ListingIntake};
use portcullis_protocol::wire::StoredResult;
use portcullis_protocol::{
    AgentId, AttemptId, BundleDigest, Captured, LabelName, Millis, Ordered, Outcome, ReasonCode, Record,
    Spooled, Verdict, Vetted,
};
use portcullis_spool::SpoolStatus;

use crate::held::{Held, Proved};

/// Takes an answer. Called once, on the writer's thread: it hands the answer on and returns.
pub(crate) type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// A decision, released.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The verdict.
    pub verdict: Verdict,
    /// Particulars for the caller.
    pub detail: Option<String>,
    /// How the attempt is kept.
    pub captured: Captured,
    /// The receipt, if it is logged.
    pub receipt: Option<String>,
    /// What an earlier execution under the same key left.
    pub stored: Option<StoredResult>,
}

/// The answer to a call.
#[derive(Debug)]
pub enum DecideReply {
    /// Decided.
    Decided(Box<Decided>),
    /// A PERMIT on record that waits for witnesses.
    Held(Box<Held>),
    /// Bundle or labels changed: prepare the call again. With these labels, if they are given: those that count for a
    /// PERMIT of the attempt that is on record.
    EvaluateAgain(Option<BTreeSet<LabelName>>),
}

/// The answer to a question for a list of tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListReply {
    /// It is on record: the receipt, whose record says what may be shown.
    Listed(String),
    /// Nothing is shown.
    Refused(ReasonCode),
    /// The bundle or its facts changed: prepare it again.
    Again,
}

/// The answer to a question what would be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimulateReply {
    /// It is on record, as a simulation.
    Simulated {
        /// What would have been decided.
        verdict: Verdict,
        /// Particulars for the caller.
        detail: Option<String>,
        /// The record's receipt.
        receipt: String,
    },
    /// Nothing is on record. Under which code a call would be refused now, or this question is.
    Refused(ReasonCode, Option<String>),
    /// Bundle, facts or labels changed: prepare it again.
    Again,
}

/// An outcome to be recorded. That its reporter held the attempt's nonce was checked.
#[derive(Clone, Debug)]
pub struct ReportedOutcome {
    /// The PERMIT's attempt.
    pub attempt: AttemptId,
    /// The agent whose credential came with the report.
    pub agent: AgentId,
    /// What became of it.
    pub outcome: Outcome,
    /// The result, to be given to repeats of the same key.
    pub result: Option<String>,
}

/// Why an outcome was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutcomeRefused {
    /// There is no PERMIT of this agent for this attempt.
    #[error("there is no PERMIT for this attempt")]
    NoSuchPermit,
    /// It has another outcome already.
    #[error("the PERMIT already ended as `{}`", .0.as_str())]
    Ended(Outcome),
    /// A gate cannot report this outcome.
    #[error("a gate cannot report this outcome")]
    NotReportable,
    /// Nothing can be recorded now; report again.
    #[error("nothing can be recorded now: {0}")]
    Unavailable(ReasonCode),
}

/// An order to be carried out, with what was found out about it before.
#[derive(Clone, Debug)]
pub struct Given {
    /// The order.
    pub ordered: Ordered,
    /// Of an activation: what is known of the bundle's proofs. Without it nothing is activated.
    pub vetted: Option<Vetted>,
}

impl From<Ordered> for Given {
    fn from(ordered: Ordered) -> Self {
        Self { ordered, vetted: None }
    }
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    /// There is no PERMIT for this attempt.
    #[error("there is no PERMIT for this attempt")]
    NoSuchPermit,
    /// What became of the PERMIT is not in doubt, or not yet.
    #[error("the PERMIT's outcome is not `unknown` but {}", .0.map_or("still open", Outcome::as_str))]
    NotInDoubt(Option<Outcome>),
    /// Nothing is kept of this agent.
    #[error("nothing is kept of this agent, or it was erased already")]
    NothingKept,
    /// Nothing is kept of what this source of facts gave.
    #[error("nothing is kept of what this source of facts gave, or it was erased already")]
    NoFactsKept,
    /// A database that failed, and may hold what is to be erased, is still there.
    #[error(
        "nothing was erased: a database that failed is still there, and may hold what is to be erased ({0}); \
         remove it from the data directory's `ledger`, and give the order again"
    )]
    CopyKept(String),
    /// The bundle is not as new as it must be.
    #[error(
        "the bundle's version is not higher than every one that was in force; sign it under a higher one"
    )]
    NotNewer,
    /// The bundle could not decide.
    #[error("the bundle was not activated, and the one in force stays: {}", .0.message())]
    Bundle(ReasonCode),
    /// A case that the bundle carries fails.
    #[error("the bundle was not activated, and the one in force stays: a case in its `tests/` fails")]
    CaseFailed,
    /// The bundle declares sources of facts by which nothing would be permitted.
    #[error("the bundle was not activated, and the one in force stays: {what}")]
    Facts {
        /// The code that every decision would have.
        code: ReasonCode,
        /// Which sources, and what is wrong with them.
        what: String,
    },
    /// No record can hold it.
    #[error("the order is too long for a record")]
    TooLong,
    /// It is not known to be on record.
    #[error("the order is not on record: {0}")]
    Unavailable(ReasonCode),
    /// No answer came in time: it may be carried out all the same.
    #[error("no answer came in time")]
    Unanswered,
}

/// A record found, with its receipt.
#[derive(Clone, Debug)]
pub struct Found {
    /// The record.
    pub record: Record,
    /// Its receipt. `None` of a PERMIT that could still be spent: who may have it is settled when its gate asks, and not by
    /// looking for it.
    pub receipt: Option<String>,
}

/// How the ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code under which nothing is permitted, if something is wrong with evidence, state or clock.
    pub tripped: Option<ReasonCode>,
    /// Records in the log.
    pub size: u64,
    /// PERMITs without outcome.
    pub open_permits: u64,
    /// Durable syncs of database and anchor since the process started.
    pub syncs: u64,
    /// Batches committed since the process started.
    pub batches: u64,
    /// When the newest record was written.
    pub last: Millis,
    /// How far the ledger was read again since it was opened; `None` unless it is open.
    pub scrub: Option<ScrubStatus>,
    /// How the arbiter's spool is, if it has one.
    pub spool: Option<SpoolStatus>,
    /// The newest facts of each source that the log names.
    pub facts: Heard,
    /// Whether what was erased may still lie in the write-ahead log or in a database that failed; `None` unless the ledger is
    /// open.
    pub erasing: Option<bool>,
}

/// How far the scrub is, which reads the whole ledger again beside the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStatus {
    /// Records that were compared in this pass.
    pub checked: u64,
    /// Records that the pass is about.
    pub of: u64,
    /// Passes that found nothing, since the ledger was opened.
    pub passes: u64,
    /// What was found wrong.
    pub found: Option<String>,
}

/// A question to the writer.
pub(crate) enum Command {
    Decide(Box<Intake>, Reply<DecideReply>),
    Outcome(Box<ReportedOutcome>, Reply<Result<u64, OutcomeRefused>>),
    Order(Box<Given>, Reply<Result<u64, OrderRefused>>),
    Archive(BundleDigest, Arc<[u8]>, Reply<Result<(), ReasonCode>>),
    Late(Vec<Spooled>, Reply<Result<u64, ReasonCode>>),
    List(Box<ListingIntake>, Reply<ListReply>),
    Simulate(Box<Intake>, Reply<SimulateReply>),
    Release(Box<Proved>, Reply<Result<Box<Decided>, ReasonCode>>),
    Find(AttemptId, Reply<Option<Found>>),
    Status(Reply<Status>),
    Close(Reply<()>),
}
