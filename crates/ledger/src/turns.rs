//! What the records of a range say of bundles in force, of an operator's lever and word, and of what was released, as little of
//! it as tells.
//!
//! Whoever reads a range takes it from each record; ranges are read in any order and joined in that of the log.

use std::borrow::Cow;
use std::collections::BTreeSet;

use portcullis_arbiter::GateState;
use portcullis_protocol::facts::{GateFact, PolicyFact};
use portcullis_protocol::{BundleDigest, Decision, Event, EventRecord, Millis, Outcome, Record};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::erasures::Erasures;
use crate::error::LedgerError;
use crate::following::{BEGINNINGS, Following, Lever, Resolved};
use crate::released::{Step, Wrong};

/// What a record says.
#[derive(Debug)]
enum Turn {
    /// A bundle came into force, was activated, or is remembered; an operator turned the lever or gave an order.
    Event(Box<EventRecord>),
    /// It is one that tells what was released.
    Step(Step),
    /// This bundle decided it; `None` if a PERMIT names none.
    Decided(Option<BundleDigest>),
    /// It says that the lever stood so.
    Lever(Lever),
    /// It ends a PERMIT on an operator's word.
    Resolved(Box<Resolved>),
}

#[derive(Debug)]
struct Entry {
    seq: u64,
    time: Millis,
    turn: Turn,
}

/// What the records of a range say, in order. Of decisions that follow one another and that one bundle made, there is the
/// first, and likewise of those that found the lever alike; of what is long released, nothing of what tells only that.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    entries: Vec<Entry>,
    /// The time of the newest record; `None` before the first.
    time: Option<Millis>,
    /// Whether no event came behind the newest decision, and the bundle that made that one.
    decides: bool,
    by: Option<BundleDigest>,
    /// How the newest decision that says it found the lever; `None` if an event came behind it.
    lever: Option<Lever>,
    /// The first entry of the newest time.
    newest: usize,
    /// Whether steps from there on tell nothing once a later time comes: no opening is near that they could be about. One
    /// may be right before the range.
    passes: bool,
    /// The bundles that decided, or were named.
    pub(crate) named: BTreeSet<BundleDigest>,
    /// The orders to destroy agents' keys.
    pub(crate) erasures: Erasures,
}

/// The fields of a record that say it.
#[derive(Deserialize)]
struct Glance<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    time: Millis,
    event: Option<Event>,
    decision: Option<Decision>,
    bundle: Option<Named>,
    facts: Option<Facts>,
    permit: Option<u64>,
    outcome: Option<Outcome>,
    by: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Named {
    digest: BundleDigest,
}

#[derive(Deserialize)]
struct Facts {
    gate: GateFact,
    in_force: Option<BundleDigest>,
    policy: PolicyFact,
}

/// The events that say something of bundles, of the lever or of an order.
const EVENTS: [Event; 8] = [
    Event::BundleInForce,
    Event::HeadGivenUp,
    Event::Marked,
    Event::Opened,
    Event::Ordered,
    Event::Recovered,
    Event::Reopened,
    Event::Shut,
];
/// Those that tell only what was released.
const STEPS: [Event; 3] = [Event::Closed, Event::KeyAdded, Event::KeyRetired];

impl Turns {
    /// Takes what a record says.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] if it is no record.
    pub(crate) fn read(&mut self, seq: u64, body: &[u8]) -> Result<(), LedgerError> {
        let glance: Glance<'_> = serde_json::from_slice(body).map_err(|_| damaged(seq))?;
        let time = glance.time;
        match (glance.kind.as_ref(), glance.decision, glance.facts) {
            (kind @ ("decision" | "simulation"), Some(decision), Some(Facts { gate, in_force, policy })) => {
                // What was only simulated is never handed out, and never ends.
                let permits = kind == "decision" && decision == Decision::Permit;
                let step = if permits { Step::Permit } else { Step::Other };
                self.push(Entry { seq, time, turn: Turn::Step(step) });
                let named = glance.bundle.map(|bundle| bundle.digest);
                self.named.extend(named);
                if let Some(by) = decided_by(decision, policy, in_force, named) {
                    self.push(Entry { seq, time, turn: Turn::Decided(by) });
                }
                if let Some(lever) = Lever::of(decision, gate) {
                    self.push(Entry { seq, time, turn: Turn::Lever(lever) });
                }
                Ok(())
            }
            ("outcome", _, _) => {
                let (Some(permit), Some(outcome)) = (glance.permit, glance.outcome) else {
                    return Err(damaged(seq));
                };
                self.push(Entry { seq, time, turn: Turn::Step(Step::Ended { permit, outcome }) });
                if glance.by.is_some() { self.resolved(seq, time, body) } else { Ok(()) }
            }
            ("event", _, _) => self.event(seq, time, glance.event.ok_or_else(|| damaged(seq))?, body),
            ("listing", None, None) => {
                // It is answered by a bundle in force, and only while the gate is open.
                let digest = glance.bundle.ok_or_else(|| damaged(seq))?.digest;
                self.named.insert(digest);
                self.push(Entry { seq, time, turn: Turn::Step(Step::Other) });
                self.push(Entry { seq, time, turn: Turn::Decided(Some(digest)) });
                self.push(Entry { seq, time, turn: Turn::Lever(Lever::Stood(GateState::Open)) });
                Ok(())
            }
            ("decision" | "simulation" | "listing", _, _) => Err(damaged(seq)),
            (_, _, _) => {
                self.push(Entry { seq, time, turn: Turn::Step(Step::Other) });
                Ok(())
            }
        }
    }

    fn event(&mut self, seq: u64, time: Millis, event: Event, body: &[u8]) -> Result<(), LedgerError> {
        if !EVENTS.contains(&event) && !STEPS.contains(&event) {
            self.push(Entry { seq, time, turn: Turn::Step(Step::Other) });
            return Ok(());
        }
        let Record::Event(record) = Record::parse(body)? else { return Err(damaged(seq)) };
        self.erasures.read(seq, &record);
        let turn = if EVENTS.contains(&event) {
            Turn::Event(Box::new(record))
        } else {
            Turn::Step(Step::of_event(&record))
        };
        self.push(Entry { seq, time, turn });
        Ok(())
    }

    fn resolved(&mut self, seq: u64, time: Millis, body: &[u8]) -> Result<(), LedgerError> {
        let Record::Outcome(record) = Record::parse(body)? else { return Err(damaged(seq)) };
        let said = Resolved::by_outcome(&record).ok_or_else(|| damaged(seq))?;
        self.push(Entry { seq, time, turn: Turn::Resolved(Box::new(said)) });
        Ok(())
    }

    fn push(&mut self, entry: Entry) {
        let opens = matches!(&entry.turn, Turn::Event(record) if BEGINNINGS.contains(&record.event));
        if opens {
            self.passes = false;
        } else if self.time.is_some_and(|time| entry.time > time) {
            self.pass();
        }
        let told = self.entries.get(self.newest..).and_then(<[Entry]>::last);
        let told = told.is_some_and(|last| matches!(last.turn, Turn::Step(Step::Other)));
        self.time = self.time.max(Some(entry.time));
        match &entry.turn {
            Turn::Decided(by) if self.decides && self.by == *by => return,
            Turn::Decided(by) => (self.decides, self.by) = (true, *by),
            Turn::Lever(lever) if self.lever == Some(*lever) => return,
            Turn::Lever(lever) => self.lever = Some(*lever),
            Turn::Step(Step::Other) if told => return,
            Turn::Event(_) => (self.decides, self.lever) = (false, None),
            Turn::Step(_) | Turn::Resolved(_) => {}
        }
        self.entries.push(entry);
    }

    /// A later time comes: what was of the newest was released.
    fn pass(&mut self) {
        if std::mem::replace(&mut self.passes, true) {
            let of_it = self.entries.split_off(self.newest.min(self.entries.len()));
            self.entries.extend(of_it.into_iter().filter(|entry| !matches!(entry.turn, Turn::Step(_))));
        }
        self.newest = self.entries.len();
    }

    /// Takes what the range behind this one says.
    pub(crate) fn join(&mut self, behind: Self) {
        behind.entries.into_iter().for_each(|entry| self.push(entry));
        self.named.extend(behind.named);
        self.erasures.join(behind.erasures);
    }

    /// Follows what a whole log says.
    ///
    /// # Errors
    /// [`LedgerError::Corrupt`] names the first record that cannot be.
    pub(crate) fn follow(&self) -> Result<(), LedgerError> {
        let mut following = Following::default();
        for Entry { seq, time, turn } in &self.entries {
            match turn {
                Turn::Event(record) => following.event(*seq, record),
                Turn::Step(step) => following.step(*seq, *time, *step),
                Turn::Decided(by) => following.decided(*by).map_err(|what| Wrong { seq: *seq, what }),
                Turn::Lever(lever) => following.stood(*lever).map_err(|what| Wrong { seq: *seq, what }),
                Turn::Resolved(said) => following.resolved(*seq, *time, said),
            }?;
        }
        Ok(following.end()?)
    }
}

/// The bundle that a decision says was in force; `None` if it says of none that it was. A PERMIT always says of its own.
#[expect(clippy::option_option, reason = "that none is named, and that none had to be, are two things")]
pub(crate) fn decided_by(
    decision: Decision,
    policy: PolicyFact,
    in_force: Option<BundleDigest>,
    named: Option<BundleDigest>,
) -> Option<Option<BundleDigest>> {
    let was = match policy {
        PolicyFact::Valid | PolicyFact::NotYetValid | PolicyFact::Expired => Some(in_force.or(named)),
        PolicyFact::Unknown | PolicyFact::Refused(_) => None,
    };
    if decision == Decision::Permit { Some(named) } else { was }
}

fn damaged(seq: u64) -> LedgerError {
    LedgerError::Corrupt(format!("record {seq} is not one"))
}

#[cfg(test)]
#[path = "turns_tests.rs"]
pub(crate) mod tests;
