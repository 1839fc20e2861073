//! Answers that wait until what they say is durable, signed and anchored.

use std::collections::BTreeSet;

use portcullis_arbiter::{Fact, Health, Intake, Listed, Room, Settled, settle, settle_listing};
use portcullis_protocol::{AgentId, Captured, LabelName, ReasonCode, Verdict};

use crate::command::{
    Command, DecideReply, Decided, ListReply, OrderRefused, OutcomeRefused, Reply, SimulateReply,
};
use crate::error::LedgerError;
use crate::held::{Holds, Witnessed};

/// What a call is answered once its batch stands.
pub(crate) enum Answer {
    /// It is on record, at this index and with these bytes: the receipt is made under the batch's head.
    Logged {
        /// The answer, without its receipt.
        decided: Box<Decided>,
        /// Index of the record.
        seq: u64,
        /// The record's bytes.
        body: Vec<u8>,
        /// If it is a PERMIT that witnesses must see before it is released.
        witnessed: Option<Witnessed>,
    },
    /// It is refused without a record of its own.
    Unlogged(ReasonCode, Option<String>),
    /// Its verdict is to be computed again, with these labels if they are given.
    EvaluateAgain(Option<BTreeSet<LabelName>>),
}

/// What a question for a list is answered once its batch stands.
pub(crate) enum ListAnswer {
    /// It is on record, at this index and with these bytes.
    Logged(u64, Vec<u8>),
    /// It has no record, and is counted as this agent's.
    Unlogged(ReasonCode, AgentId),
    /// It is to be prepared again.
    Again,
}

/// What a question what would be decided is answered once its batch stands.
pub(crate) enum SimulateAnswer {
    /// It is on record, with this verdict and particulars, at this index and with these bytes.
    Logged(Verdict, Option<String>, u64, Vec<u8>),
    /// It has no record, and is counted as this agent's.
    Unlogged(ReasonCode, Option<String>, AgentId),
    /// It is to be prepared again.
    Again,
}

/// An attempt to be counted, for it has no record.
pub(crate) type Uncounted = (ReasonCode, AgentId);

/// A call that is refused, for it cannot be put on record; to be answered once it is known whether it is kept
/// elsewhere.
pub(crate) struct Unkept {
    pub(crate) reply: Reply<DecideReply>,
    pub(crate) intake: Box<Intake>,
    pub(crate) code: ReasonCode,
    /// Whether it may be on record all the same.
    pub(crate) on_record: bool,
}

/// Somebody who waits for a batch.
pub(crate) enum Waiting {
    Decision { reply: Reply<DecideReply>, intake: Box<Intake>, answer: Answer },
    Outcome { reply: Reply<Result<u64, OutcomeRefused>>, answer: Result<u64, OutcomeRefused> },
    Order { reply: Reply<Result<u64, OrderRefused>>, answer: Result<u64, OrderRefused> },
    Late { reply: Reply<Result<u64, ReasonCode>>, answer: Result<u64, ReasonCode> },
    List { reply: Reply<ListReply>, answer: ListAnswer },
    Simulation { reply: Reply<SimulateReply>, answer: SimulateAnswer },
}

/// Makes the receipt of a record from its index and bytes.
pub(crate) type MakeReceipt<'a> = dyn FnMut(u64, Vec<u8>) -> Result<String, LedgerError> + 'a;

impl Waiting {
    /// Hands out what now stands. Says what to count.
    ///
    /// # Errors
    /// If a record's receipt does not prove itself: it is then not handed out.
    pub(crate) fn release(
        self,
        receipt: &mut MakeReceipt<'_>,
        holds: &mut Holds,
    ) -> Result<Option<Uncounted>, LedgerError> {
        match self {
            Self::Decision { reply, intake, answer } => release(reply, intake, answer, receipt, holds),
            Self::Outcome { reply, answer } => {
                reply(answer);
                Ok(None)
            }
            Self::Late { reply, answer } => {
                reply(answer);
                Ok(None)
            }
            Self::Order { reply, answer } => {
                reply(answer);
                Ok(None)
            }
            Self::List { reply, answer } => list(reply, answer, receipt),
            Self::Simulation { reply, answer } => simulation(reply, answer, receipt),
        }
    }

    /// Says that it is not on record, as far as can be told: what it asks may be `logged` all the same. Calls are
    /// returned, to be answered.
    pub(crate) fn refuse(self, code: ReasonCode, logged: bool) -> Option<Unkept> {
        match self {
            Self::Decision { reply, intake, answer } => {
                let on_record = logged && matches!(answer, Answer::Logged { .. });
                Some(Unkept { reply, intake, code, on_record })
            }
            Self::Outcome { reply, .. } => {
                reply(Err(OutcomeRefused::Unavailable(code)));
                None
            }
            Self::Late { reply, .. } => {
                reply(Err(code));
                None
            }
            Self::Order { reply, .. } => {
                reply(Err(OrderRefused::Unavailable(code)));
                None
            }
            Self::List { reply, .. } => {
                reply(ListReply::Refused(code));
                None
            }
            // The spool keeps attempts, and this is none.
            Self::Simulation { reply, .. } => {
                reply(SimulateReply::Refused(code, None));
                None
            }
        }
    }
}

fn release(
    reply: Reply<DecideReply>,
    intake: Box<Intake>,
    answer: Answer,
    receipt: &mut MakeReceipt<'_>,
    holds: &mut Holds,
) -> Result<Option<Uncounted>, LedgerError> {
    match answer {
        Answer::Logged { decided, seq, witnessed: Some(witnessed), .. } => {
            reply(DecideReply::Held(Box::new(holds.hold(witnessed, seq, decided))));
            Ok(None)
        }
        Answer::Logged { mut decided, seq, body, witnessed: None } => match receipt(seq, body) {
            Ok(receipt) => {
                decided.receipt = Some(receipt);
                reply(DecideReply::Decided(decided));
                Ok(None)
            }
            Err(error) => {
                reply(unrecorded(error.code(), None, Captured::None));
                Err(error)
            }
        },
        Answer::Unlogged(code, detail) => {
            reply(unrecorded(code, detail, Captured::None));
            Ok(Some((code, intake.request.agent)))
        }
        Answer::EvaluateAgain(labels) => {
            reply(DecideReply::EvaluateAgain(labels));
            Ok(None)
        }
    }
}

/// A list is shown by nothing but its receipt.
fn list(
    reply: Reply<ListReply>,
    answer: ListAnswer,
    receipt: &mut MakeReceipt<'_>,
) -> Result<Option<Uncounted>, LedgerError> {
    match answer {
        ListAnswer::Logged(seq, body) => match receipt(seq, body) {
            Ok(receipt) => {
                reply(ListReply::Listed(receipt));
                Ok(None)
            }
            Err(error) => {
                reply(ListReply::Refused(error.code()));
                Err(error)
            }
        },
        ListAnswer::Unlogged(code, agent) => {
            reply(ListReply::Refused(code));
            Ok(Some((code, agent)))
        }
        ListAnswer::Again => {
            reply(ListReply::Again);
            Ok(None)
        }
    }
}

/// A simulation is told by nothing but its receipt.
fn simulation(
    reply: Reply<SimulateReply>,
    answer: SimulateAnswer,
    receipt: &mut MakeReceipt<'_>,
) -> Result<Option<Uncounted>, LedgerError> {
    match answer {
        SimulateAnswer::Logged(verdict, detail, seq, body) => match receipt(seq, body) {
            Ok(receipt) => {
                reply(SimulateReply::Simulated { verdict, detail, receipt });
                Ok(None)
            }
            Err(error) => {
                reply(SimulateReply::Refused(error.code(), None));
                Err(error)
            }
        },
        SimulateAnswer::Unlogged(code, detail, agent) => {
            reply(SimulateReply::Refused(code, detail));
            Ok(Some((code, agent)))
        }
        SimulateAnswer::Again => {
            reply(SimulateReply::Again);
            Ok(None)
        }
    }
}

/// A refusal without a record.
pub(crate) fn unrecorded(code: ReasonCode, detail: Option<String>, captured: Captured) -> DecideReply {
    DecideReply::Decided(Box::new(Decided {
        verdict: Verdict::refuse(code),
        detail,
        captured,
        receipt: None,
        stored: None,
    }))
}

/// Under which code a call is refused that cannot be put on record.
fn refused_as(intake: &Intake, health: &Health, tripped: ReasonCode) -> ReasonCode {
    match settle(intake, health, Fact::Unknown, Room::Unknown) {
        Settled::Decided(Verdict::Refuse(code, _)) => code,
        // What cannot be recorded is not permitted, whatever was computed.
        Settled::Decided(Verdict::Permit(_)) | Settled::EvaluateAgain => tripped,
    }
}

/// Answers a question while nothing can be recorded, because of `tripped`. Calls are returned, to be answered.
pub(crate) fn refuse(command: Command, health: &Health, tripped: ReasonCode) -> Option<Unkept> {
    match command {
        Command::Decide(intake, reply) => {
            let code = refused_as(&intake, health, tripped);
            Some(Unkept { reply, intake, code, on_record: false })
        }
        Command::Simulate(intake, reply) => {
            reply(SimulateReply::Refused(refused_as(&intake, health, tripped), None));
            None
        }
        Command::Outcome(_, reply) => {
            reply(Err(OutcomeRefused::Unavailable(tripped)));
            None
        }
        Command::Order(_, reply) => {
            reply(Err(OrderRefused::Unavailable(tripped)));
            None
        }
        Command::Late(_, reply) => {
            reply(Err(tripped));
            None
        }
        Command::List(intake, reply) => {
            let code = match settle_listing(&intake, health, Room::Unknown, 0) {
                Listed::Refused(code) => code,
                // What cannot be recorded is not shown, whatever was computed.
                Listed::Shown(_) | Listed::Again => tripped,
            };
            reply(ListReply::Refused(code));
            None
        }
        Command::Archive(_, _, reply) => {
            reply(Err(tripped));
            None
        }
        Command::Release(..) | Command::Find(..) | Command::Status(_) | Command::Close(_) => None,
    }
}
