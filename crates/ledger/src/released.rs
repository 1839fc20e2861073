//! How much of a log was released, by the log alone: an opening says how many records never were, and somebody who has the
//! log's key could say more.
//!
//! The writer commits a batch, signs a head over it and anchors that before it begins the next one; whatever fails on the
//! way, the next thing on record is an opening. So no head covers what one batch wrote at most, and openings behind it that
//! failed in the same way; every record that shows that another batch was begun shows that those before it were released.

use std::collections::BTreeSet;

use portcullis_protocol::{Event, EventRecord, Millis, Order, Outcome};

use crate::error::LedgerError;

/// What an opening calls the records before it that no head was signed over.
pub(crate) const NEVER_RELEASED: &str = "records_never_released";
/// What it calls the PERMITs among them that had not ended: it withholds each, in the records behind it.
pub(crate) const WITHHELD: &str = "permits_withheld";
/// What the record by which a head is given up calls the records that a signed head is known to cover.
pub(crate) const LEFT_SIGNED: &str = "left_signed";

/// What a record is, as far as it tells what was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An opening, with what it says: how many records were never released, and how many PERMITs it withholds.
    Opens { unsigned: Option<u64>, withheld: Option<u64> },
    /// A head is given up, with how many records a signed head covers.
    GivesUp { signed: Option<u64> },
    /// The order to activate a bundle: nothing but a mark comes behind it in its batch.
    Activates,
    /// A bundle came into force: nothing comes before it in its batch.
    ComesIntoForce,
    /// A mark: nothing but a closing comes behind it in its batch.
    Marks,
    /// A closing: nothing but a mark comes before it in its batch.
    Closes,
    /// A key of the log's that signs from here on, or no more.
    Keys,
    /// A PERMIT.
    Permit,
    /// The end of one.
    Ended { permit: u64, outcome: Outcome },
    /// Anything else.
    Other,
}

impl Step {
    pub(crate) fn of_event(record: &EventRecord) -> Self {
        let number = |name| record.detail.get(name).and_then(|text| number_of(text));
        match record.event {
            Event::Opened | Event::Recovered => {
                Self::Opens { unsigned: number(NEVER_RELEASED), withheld: number(WITHHELD) }
            }
            Event::HeadGivenUp => Self::GivesUp { signed: number(LEFT_SIGNED) },
            Event::BundleInForce => Self::ComesIntoForce,
            Event::Marked => Self::Marks,
            Event::Closed => Self::Closes,
            Event::KeyAdded | Event::KeyRetired => Self::Keys,
            Event::Ordered => match record.order.as_ref().map(|order| &order.what) {
                Some(Order::ActivateBundle { .. }) => Self::Activates,
                Some(
                    Order::ResolveOutcome { .. } | Order::ErasePayloads { .. } | Order::EraseFacts { .. },
                )
                | None => Self::Other,
            },
            Event::Genesis | Event::Shut | Event::Reopened | Event::PayloadsExpired | Event::SpoolDamaged => {
                Self::Other
            }
        }
    }

    /// Up to which index a head covered the records, by what the record at `seq` says.
    pub(crate) fn signed(self, seq: u64) -> Option<u64> {
        match self {
            Self::Opens { unsigned, .. } => seq.checked_sub(unsigned?),
            Self::GivesUp { signed } => signed.filter(|signed| *signed <= seq),
            Self::Activates
            | Self::ComesIntoForce
            | Self::Marks
            | Self::Closes
            | Self::Keys
            | Self::Permit
            | Self::Ended { .. }
            | Self::Other => None,
        }
    }

    /// Whether it begins a batch, though it may be of the same time as the one before it.
    const fn begins_behind(self, before: Self) -> bool {
        match before {
            Self::Activates => !matches!(self, Self::Marks),
            Self::Marks | Self::Closes => true,
            Self::Opens { .. }
            | Self::GivesUp { .. }
            | Self::ComesIntoForce
            | Self::Keys
            | Self::Permit
            | Self::Ended { .. }
            | Self::Other => matches!(self, Self::ComesIntoForce | Self::Closes),
        }
    }
}

fn number_of(text: &str) -> Option<u64> {
    text.parse().ok() // tidy: allow what is no number says nothing, which is refused
}

/// What cannot be, and the record that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) seq: u64,
    pub(crate) what: &'static str,
}

impl From<Wrong> for LedgerError {
    fn from(Wrong { seq, what }: Wrong) -> Self {
        Self::Corrupt(format!("record {seq}: {what}"))
    }
}

/// An opening whose batch may still go on.
#[derive(Debug)]
struct Opening {
    seq: u64,
    /// PERMITs that it has still to withhold.
    due: BTreeSet<u64>,
}

/// What of the log so far is known to have been released.
#[derive(Debug)]
pub(crate) struct Released {
    /// All before this index.
    known: u64,
    /// PERMITs from there on that have not ended.
    open: BTreeSet<u64>,
    opening: Option<Opening>,
    /// Whether a head was given up and the log not opened since.
    given_up: bool,
    time: Millis,
    last: Step,
}

impl Default for Released {
    fn default() -> Self {
        let (open, opening) = (BTreeSet::new(), None);
        Self { known: 0, open, opening, given_up: false, time: Millis(0), last: Step::Other }
    }
}

impl Released {
    /// Takes the next record. Whatever it says is followed, whether or not it can be.
    ///
    /// # Errors
    /// [`Wrong`] names the opening, or the record that gives a head up, which the log contradicts.
    pub(crate) fn take(&mut self, seq: u64, time: Millis, step: Step) -> Result<(), Wrong> {
        let taken = if self.is_of_opening(time, step) { Ok(()) } else { self.next(seq, time, step) };
        (self.time, self.last) = (self.time.max(time), step);
        taken
    }

    fn next(&mut self, seq: u64, time: Millis, step: Step) -> Result<(), Wrong> {
        let behind_opening = self.opening.is_some();
        let whole = self.end();
        let possible = match step {
            Step::Opens { withheld, .. } => self.opens(seq, step.signed(seq), withheld),
            Step::GivesUp { .. } => self.gives_up(seq, step.signed(seq)),
            Step::Activates
            | Step::ComesIntoForce
            | Step::Marks
            | Step::Closes
            | Step::Keys
            | Step::Permit
            | Step::Ended { .. }
            | Step::Other => {
                let begins = behind_opening || time > self.time || step.begins_behind(self.last);
                self.goes_on(seq, step, begins, time == self.time);
                Ok(())
            }
        };
        whole.and(possible)
    }

    /// Ends the batch of an opening, of which nothing more comes.
    ///
    /// # Errors
    /// [`Wrong`] if it has not withheld every PERMIT that it had to.
    pub(crate) fn end(&mut self) -> Result<(), Wrong> {
        match self.opening.take() {
            Some(Opening { seq, due }) if !due.is_empty() => {
                Err(Wrong { seq, what: "a PERMIT that was never released by it is not withheld by it" })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a record is still of an opening's batch, as far as can be told.
    fn is_of_opening(&mut self, time: Millis, step: Step) -> bool {
        let Some(opening) = self.opening.as_mut().filter(|_| time == self.time) else { return false };
        match step {
            Step::Ended { permit, outcome: Outcome::Withheld } => {
                self.open.remove(&permit);
                opening.due.remove(&permit)
            }
            Step::Keys | Step::Marks => opening.due.is_empty(),
            Step::Opens { .. }
            | Step::GivesUp { .. }
            | Step::Activates
            | Step::ComesIntoForce
            | Step::Closes
            | Step::Permit
            | Step::Ended { .. }
            | Step::Other => false,
        }
    }

    fn knows(&mut self, released: u64) {
        self.known = self.known.max(released);
        self.open = self.open.split_off(&self.known);
    }

    fn opens(&mut self, seq: u64, signed: Option<u64>, withheld: Option<u64>) -> Result<(), Wrong> {
        if std::mem::take(&mut self.given_up) {
            // Whoever gave the head up has signed and anchored all that there was before this.
            self.knows(seq);
        }
        let possible = self.is_possible(seq, signed);
        self.knows(signed.map_or(seq, |signed| signed));
        let due = self.open.clone();
        let agrees = withheld.is_some_and(|said| usize::try_from(said).is_ok_and(|said| said == due.len()));
        self.opening = Some(Opening { seq, due });
        let what = "the PERMITs that were never released by it are not as many as it says";
        possible.and(if agrees { Ok(()) } else { Err(Wrong { seq, what }) })
    }

    fn gives_up(&mut self, seq: u64, signed: Option<u64>) -> Result<(), Wrong> {
        self.given_up = true;
        self.is_possible(seq, signed)
    }

    fn is_possible(&self, seq: u64, signed: Option<u64>) -> Result<(), Wrong> {
        if signed.is_some_and(|signed| signed >= self.known) {
            return Ok(());
        }
        Err(Wrong { seq, what: "by it no head was signed over records of which the log shows that one was" })
    }

    fn goes_on(&mut self, seq: u64, step: Step, begins: bool, same_time: bool) {
        // A mark right before a closing may be of the closing's batch, and not of the one before it.
        let first = if step == Step::Closes && self.last == Step::Marks && same_time {
            seq.saturating_sub(1)
        } else {
            seq
        };
        if begins {
            self.knows(first);
        }
        match step {
            Step::Permit => drop(self.open.insert(seq)),
            Step::Ended { permit, .. } => {
                // Whoever tells what became of a PERMIT had it, or waited for witnesses of its record.
                self.open.remove(&permit);
                self.knows(permit.saturating_add(1).min(seq));
            }
            Step::Opens { .. }
            | Step::GivesUp { .. }
            | Step::Activates
            | Step::ComesIntoForce
            | Step::Marks
            | Step::Closes
            | Step::Keys
            | Step::Other => {}
        }
    }
}

#[cfg(test)]
#[path = "released_tests.rs"]
mod tests;
