//! Which bundle was in force where, by the log alone: what decided must have been, and nothing older comes again.

use portcullis_protocol::{
    BundleDigest, BundleRef, DecisionRecord, Event, EventRecord, InForce, LostProofs, Millis, Order,
    Succession, Vetted, may_follow,
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

/// What the log so far says of bundles in force, and of what was released.
#[derive(Debug, Default)]
pub(crate) struct Following {
    succession: Succession,
    /// The bundle in force; `None` before one came into force since the ledger was opened.
    in_force: Option<BundleDigest>,
    /// What the succession became, and by which record.
    changes: Vec<(u64, Succession)>,
    released: Released,
}

impl Following {
    /// Whether a decision, which comes next, was made by the bundle in force.
    pub(crate) fn admits(&self, entry: &DecisionRecord) -> Result<(), &'static str> {
        let named = entry.bundle.as_ref().map(|bundle| bundle.digest);
        let by = decided_by(entry.decision, entry.facts.policy, entry.facts.in_force, named);
        by.map_or(Ok(()), |by| self.decided(by))
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
    /// [`Wrong`] names an opening that the log contradicts.
    pub(crate) fn step(&mut self, seq: u64, time: Millis, step: Step) -> Result<(), Wrong> {
        self.released.take(seq, time, step)
    }

    /// Takes an event. Whatever it says is followed, whether or not it can be.
    ///
    /// # Errors
    /// [`Wrong`] names it, or the opening before it.
    pub(crate) fn event(&mut self, seq: u64, record: &EventRecord) -> Result<(), Wrong> {
        let before = self.succession.clone();
        let step = Step::of_event(record);
        let released = self.released.take(seq, record.time, step);
        let possible = self.is_possible(step.signed(seq), record).map_err(|what| Wrong { seq, what });
        self.succession.follow(record);
        if record.event == Event::BundleInForce {
            self.in_force = InForce::of_detail(&record.detail).map(|came| came.bundle.digest);
        } else if activated(record).is_some() || BEGINNINGS.contains(&record.event) {
            self.in_force = None;
        }
        if self.succession != before {
            self.changes.push((seq, self.succession.clone()));
        }
        released.and(possible)
    }

    /// After the last record.
    ///
    /// # Errors
    /// [`Wrong`] names an opening that does not do what it says.
    pub(crate) fn end(&mut self) -> Result<(), Wrong> {
        self.released.end()
    }

    /// `signed` is up to where a head covered the records, by what an opening says.
    fn is_possible(&self, signed: Option<u64>, record: &EventRecord) -> Result<(), &'static str> {
        if record.event == Event::BundleInForce {
            return self.comes(record);
        }
        if let Some(bundle) = activated(record) {
            return self.is_activated(bundle, record);
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
        let Some(InForce { bundle, root }) = InForce::of_detail(&record.detail) else {
            return Err("it does not say which bundle came into force");
        };
        if self.succession.admit(bundle.version, bundle.digest, root).is_err() {
            return Err(
                "a bundle came into force that is older than one that was, or another of its version",
            );
        }
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

#[cfg(test)]
#[path = "following_tests.rs"]
mod tests;
