//! What was in force where, by the log alone: the bundle that decided must have been, and nothing older comes again; the gate
//! is open or shut as an operator left it; and what an operator ordered to be put on record is right behind the order.

use portcullis_arbiter::GateState;
use portcullis_protocol::facts::GateFact;
use portcullis_protocol::{
    AttemptId, BundleDigest, BundleRef, Decision, DecisionRecord, Event, EventRecord, InForce, LostProofs,
    Millis, OperatorId, Order, OrderReason, Ordered, Outcome, OutcomeRecord, Succession, Vetted, may_follow,
};

use crate::released::{Released, Step, Wrong};
use crate::turns::decided_by;

/// The events after which another bundle may be in force, or none.
pub(crate) const BEGINNINGS: [Event; 3] = [Event::HeadGivenUp, Event::Opened, Event::Recovered];

/// The bundle that an order activates.
fn activated(record: &EventRecord) -> Option<&BundleRef> {
    match &record.order.as_ref()?.what {
        Order::ActivateBundle { bundle } => Some(bundle),
        Order::ResolveOutcome { .. } | Order::ErasePayloads { .. } | Order::EraseFacts { .. } => None,
    }
}

/// What an operator says became of a PERMIT that was in doubt: the order says it, and so does the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    attempt: AttemptId,
    outcome: Outcome,
    by: OperatorId,
    reason: OrderReason,
}

impl Resolved {
    fn by_order(record: &EventRecord) -> Option<Self> {
        let Ordered { by, what, reason } = record.order.as_ref()?;
        match what {
            Order::ResolveOutcome { attempt, outcome } => Some(Self {
                attempt: *attempt,
                outcome: outcome.outcome(),
                by: by.clone(),
                reason: reason.clone(),
            }),
            Order::ActivateBundle { .. } | Order::ErasePayloads { .. } | Order::EraseFacts { .. } => None,
        }
    }

    /// What an outcome says on an operator's word; `None` if a gate reported it, or nobody.
    pub(crate) fn by_outcome(record: &OutcomeRecord) -> Option<Self> {
        let (by, reason) = record.by.clone().zip(record.reason.clone())?;
        Some(Self { attempt: record.attempt, outcome: record.outcome, by, reason })
    }
}

/// An order that its outcome is to follow, in the next record and at the same time: one transaction has both.
#[derive(Debug)]
struct Due {
    seq: u64,
    time: Millis,
    said: Resolved,
}

/// What a decision says of an operator's lever. A PERMIT always says that the gate was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lever {
    Stood(GateState),
    /// It is a PERMIT, and says that the gate was not open, or not known to be.
    Contradicts,
}

impl Lever {
    /// What a decision says of it; `None` if it could not be told how it stood.
    pub(crate) const fn of(decision: Decision, gate: GateFact) -> Option<Self> {
        match (decision, gate) {
            (_, GateFact::Open) => Some(Self::Stood(GateState::Open)),
            (Decision::Permit, GateFact::Shut | GateFact::Unknown) => Some(Self::Contradicts),
            (Decision::Deny | Decision::Silence, GateFact::Shut) => Some(Self::Stood(GateState::Shut)),
            (Decision::Deny | Decision::Silence, GateFact::Unknown) => None,
        }
    }
}

/// What the log so far says of bundles in force, of the lever, of orders and of what was released.
#[derive(Debug, Default)]
pub(crate) struct Following {
    succession: Succession,
    /// The bundle in force; `None` before one came into force since the ledger was opened.
    in_force: Option<BundleDigest>,
    /// What the succession became, and by which record.
    changes: Vec<(u64, Succession)>,
    /// Whether the gate is shut by an operator. Whoever opens a ledger takes it for open, and puts on record that it is not
    /// before deciding anything.
    is_shut: bool,
    due: Option<Due>,
    released: Released,
}

impl Following {
    /// Whether a decision, which comes next, was made by the bundle in force, and with the lever as it stood.
    pub(crate) fn admits(&self, entry: &DecisionRecord) -> Result<(), &'static str> {
        let named = entry.bundle.as_ref().map(|bundle| bundle.digest);
        let by = decided_by(entry.decision, entry.facts.policy, entry.facts.in_force, named);
        by.map_or(Ok(()), |by| self.decided(by))?;
        Lever::of(entry.decision, entry.facts.gate).map_or(Ok(()), |lever| self.stood(lever))
    }

    /// Whether a list of tools, which comes next, was answered by the bundle in force, and with the gate open.
    pub(crate) fn lists(&self, bundle: BundleDigest) -> Result<(), &'static str> {
        self.decided(Some(bundle))?;
        self.stood(Lever::Stood(GateState::Open))
    }

    pub(crate) const fn stood(&self, lever: Lever) -> Result<(), &'static str> {
        match (lever, self.is_shut) {
            (Lever::Stood(GateState::Open), false) | (Lever::Stood(GateState::Shut), true) => Ok(()),
            (Lever::Stood(GateState::Open), true) => {
                Err("it says that the gate was open, and an operator had shut it")
            }
            (Lever::Stood(GateState::Shut), false) => {
                Err("it says that the gate was shut, and that it was shut is not on record there")
            }
            (Lever::Contradicts, _) => Err("it permits, and does not say that the gate was open"),
        }
    }

    pub(crate) fn decided(&self, by: Option<BundleDigest>) -> Result<(), &'static str> {
        if by.is_some() && by == self.in_force {
            return Ok(());
        }
        Err("the bundle that decided it was not in force there")
    }

    /// Takes the next record, which says nothing of bundles.
    ///
    /// # Errors
    /// [`Wrong`] names an opening that the log contradicts, or an order that was not carried out.
    pub(crate) fn step(&mut self, seq: u64, time: Millis, step: Step) -> Result<(), Wrong> {
        let taken = self.released.take(seq, time, step);
        taken.and(self.carried_out(seq))
    }

    /// Takes what the outcome at this index says on an operator's word, after its step.
    ///
    /// # Errors
    /// [`Wrong`] names it, unless the order for it is right before it, or the order that it is not of.
    pub(crate) fn resolved(&mut self, seq: u64, time: Millis, said: &Resolved) -> Result<(), Wrong> {
        let left = self.carried_out(seq);
        let order = self.due.take().is_some_and(|due| due.time == time && due.said == *said);
        let what = "it is on an operator's word, and the order for it is not right before it";
        left.and(if order { Ok(()) } else { Err(Wrong { seq, what }) })
    }

    /// Whether no order is left behind without its outcome, now that the record at this index comes, or its step.
    fn carried_out(&mut self, seq: u64) -> Result<(), Wrong> {
        let left = self.due.take_if(|due| due.seq.saturating_add(1) < seq);
        left.map_or(Ok(()), |due| Err(due.is_left()))
    }

    /// Takes an event. Whatever it says is followed, whether or not it can be.
    ///
    /// # Errors
    /// [`Wrong`] names it, or the opening or the order before it.
    pub(crate) fn event(&mut self, seq: u64, record: &EventRecord) -> Result<(), Wrong> {
        let before = self.succession.clone();
        let step = Step::of_event(record);
        // No event is the outcome that an order before it is for.
        let left = self.due.take().map_or(Ok(()), |due| Err(due.is_left()));
        let released = self.released.take(seq, record.time, step).and(left);
        let possible = self.is_possible(step.signed(seq), record).map_err(|what| Wrong { seq, what });
        self.succession.follow(record);
        if record.event == Event::BundleInForce {
            self.in_force = InForce::of_detail(&record.detail).map(|came| came.bundle.digest);
        } else if activated(record).is_some() || BEGINNINGS.contains(&record.event) {
            self.in_force = None;
        }
        let stays = record.event != Event::Reopened && !BEGINNINGS.contains(&record.event);
        self.is_shut = record.event == Event::Shut || (self.is_shut && stays);
        let due = |said| Due { seq, time: record.time, said };
        self.due = Resolved::by_order(record).map(due);
        if self.succession != before {
            self.changes.push((seq, self.succession.clone()));
        }
        released.and(possible)
    }

    /// After the last record.
    ///
    /// # Errors
    /// [`Wrong`] names an opening that does not do what it says, or an order that was not carried out.
    pub(crate) fn end(&mut self) -> Result<(), Wrong> {
        let left = self.due.take().map_or(Ok(()), |due| Err(due.is_left()));
        self.released.end().and(left)
    }

    /// `signed` is up to where a head covered the records, by what an opening says.
    fn is_possible(&self, signed: Option<u64>, record: &EventRecord) -> Result<(), &'static str> {
        if record.event == Event::BundleInForce {
            return self.comes(record);
        }
        if let Some(bundle) = activated(record) {
            return self.is_activated(bundle, record);
        }
        match (record.event, self.is_shut) {
            (Event::Shut, true) => return Err("it says that the gate was shut, which it was"),
            (Event::Reopened, false) => {
                return Err("it says that the gate was opened, and nobody had shut it");
            }
            (_, _) => {}
        }
        let said = || Succession::of_mark(&record.detail);
        let agrees = if record.event == Event::Marked {
            said().as_ref() == Some(&self.succession)
        } else if record.event == Event::HeadGivenUp {
            // What no head is known to cover may have been in force all the same.
            let left = signed.map(|signed| self.at(signed).beside(&self.succession));
            let lost = LostProofs::of_detail(&record.detail);
            said().zip(left).is_some_and(|(said, left)| said.continues(&left, lost))
        } else if BEGINNINGS.contains(&record.event) {
            said().zip(signed).is_some_and(|(said, signed)| said == self.at(signed))
        } else {
            true
        };
        if agrees { Ok(()) } else { Err("the bundles that were in force are not those that it says") }
    }

    /// What was in force by the records before this index.
    fn at(&self, signed: u64) -> Succession {
        let newest = self.changes.iter().rev().find(|(at, _)| *at < signed);
        newest.map_or_else(Succession::default, |(_, succession)| succession.clone())
    }

    fn is_activated(&self, bundle: &BundleRef, record: &EventRecord) -> Result<(), &'static str> {
        if !self.succession.takes(bundle.version) {
            return Err("a bundle is activated that is not newer than those that were in force");
        }
        let vetted = Vetted::of_detail(bundle.digest, &record.detail);
        may_follow(self.succession.demand, &vetted)
            .map_err(|_| "a bundle is activated though a proof was demanded, and it has none or says nothing of proofs")
    }

    fn comes(&self, record: &EventRecord) -> Result<(), &'static str> {
        let Some(named) = InForce::of_detail(&record.detail) else {
            return Err("it does not say which bundle came into force");
        };
        if self.succession.admit_named(&named).is_err() {
            return Err(
                "a bundle came into force that is older than one that was, or another of its version, or its root is",
            );
        }
        let bundle = &named.bundle;
        match &self.succession.activated {
            Some(activated) if activated.digest != bundle.digest => {
                Err("a bundle came into force that is not the one that was activated last")
            }
            None if self.succession.demands_of_pinned() => {
                Err("a bundle came into force without an activation, and a proof of it was demanded")
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Due {
    const fn is_left(&self) -> Wrong {
        Wrong { seq: self.seq, what: "the outcome that it orders is not right behind it" }
    }
}

#[cfg(test)]
#[path = "following_tests.rs"]
mod tests;
