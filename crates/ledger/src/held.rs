//! PERMITs on record that are not released yet: their surfaces ask that witnesses saw them first.
//!
//! Each ends one way. Either the writer releases it, once, by a receipt that the quorum cosigned; or it is withheld,
//! which whoever waits for witnesses brings about by letting go of it, for whatever cause.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_arbiter::Intake;
use portcullis_protocol::{AttemptId, ReasonCode};
use portcullis_verify::{Quorum, VerifiedCheckpoint};

use crate::beside::Beside;
use crate::command::Decided;

/// Attempts whose holders let go.
type LetGo = Arc<Mutex<Vec<AttemptId>>>;

/// A hold on a PERMIT. Letting go of it, other than by a release, withholds the PERMIT.
#[derive(Debug)]
struct Hold {
    attempt: AttemptId,
    let_go: LetGo,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Needs no place in the writer's queue: it cannot be lost to a flood.
        self.let_go.lock().unwrap_or_else(PoisonError::into_inner).push(self.attempt); // tidy: allow a list of ids is whole whoever panicked
    }
}

/// A PERMIT on record that nobody has. Its receipt can be had by [`Held::prove`] and a release alone.
#[derive(Debug)]
pub struct Held {
    hold: Hold,
    decided: Box<Decided>,
    intake: Box<Intake>,
    seq: u64,
}

/// A held PERMIT with the receipt that the quorum's cosignatures are on. The writer releases it, or not.
#[derive(Debug)]
pub struct Proved {
    hold: Hold,
    decided: Box<Decided>,
    intake: Box<Intake>,
}

impl Held {
    /// Index of its record: a checkpoint covers it whose size is larger.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Makes its receipt under a checkpoint that the quorum cosigned.
    ///
    /// # Errors
    /// `evidence.unwitnessed` if the quorum did not, or the code of a ledger that does not prove it. The PERMIT is
    /// then withheld.
    pub fn prove(
        self,
        beside: &Beside,
        checkpoint: &VerifiedCheckpoint,
        quorum: &Quorum,
    ) -> Result<Proved, ReasonCode> {
        let Self { hold, mut decided, intake, seq } = self;
        quorum.check(checkpoint).map_err(|_| ReasonCode::EvidenceUnwitnessed)?;
        decided.receipt = Some(beside.receipt(seq, checkpoint).map_err(|error| error.code())?);
        Ok(Proved { hold, decided, intake })
    }
}

impl Proved {
    pub(crate) const fn attempt(&self) -> AttemptId {
        self.hold.attempt
    }

    /// The call, to be settled once more.
    pub(crate) const fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Lets it out. Only the writer decides that it may.
    pub(crate) fn into_decided(self) -> Box<Decided> {
        self.decided
    }
}

/// A PERMIT that witnesses must see.
#[derive(Debug)]
pub(crate) struct Witnessed {
    /// The call: by the time that witnesses have seen it, it may not be permitted any more.
    intake: Box<Intake>,
    /// Whether it was decided just now. One that was asked again may have been released before: what becomes of it is
    /// not known, so it is never withheld, and its key never given back, for want of witnesses today.
    fresh: bool,
}

impl Witnessed {
    pub(crate) fn of(intake: &Intake, fresh: bool) -> Self {
        // Nobody evaluates it again between its release and the answer.
        let mut intake = Box::new(intake.clone());
        intake.last_try = true;
        Self { intake, fresh }
    }
}

/// Who holds an attempt's PERMIT, and whether it was released to one of them.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    holders: u32,
    /// Or may have been, before this process or this book knew of it.
    released: bool,
}

/// The writer's book of what is held.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    standing: BTreeMap<AttemptId, Standing>,
    let_go: LetGo,
}

impl Holds {
    /// Holds a PERMIT for one more caller. The same attempt asked again may have two that wait.
    pub(crate) fn hold(&mut self, witnessed: Witnessed, seq: u64, decided: Box<Decided>) -> Held {
        let Witnessed { intake, fresh } = witnessed;
        let attempt = intake.attempt;
        let begun = Standing { holders: 0, released: !fresh };
        let standing = self.standing.entry(attempt).or_insert(begun);
        standing.holders = standing.holders.saturating_add(1);
        Held { hold: Hold { attempt, let_go: Arc::clone(&self.let_go) }, decided, intake, seq }
    }

    /// Notes that a PERMIT is released: from here on it is not withheld, whoever lets go.
    pub(crate) fn released(&mut self, attempt: AttemptId) {
        if let Some(standing) = self.standing.get_mut(&attempt) {
            standing.released = true;
        }
    }

    /// The attempts that everybody let go of and that were not released, to be withheld.
    pub(crate) fn abandoned(&mut self) -> Vec<AttemptId> {
        let let_go = std::mem::take(&mut *self.let_go.lock().unwrap_or_else(PoisonError::into_inner)); // tidy: allow a list of ids is whole whoever panicked
        let mut abandoned = Vec::new();
        for attempt in let_go {
            let Some(standing) = self.standing.get_mut(&attempt) else { continue };
            standing.holders = standing.holders.saturating_sub(1);
            if standing.holders == 0 {
                if !standing.released {
                    abandoned.push(attempt);
                }
                self.standing.remove(&attempt);
            }
        }
        abandoned
    }

    /// Takes back what could not be recorded as withheld, for another try.
    pub(crate) fn retry(&mut self, abandoned: Vec<AttemptId>) {
        for attempt in abandoned {
            self.standing.entry(attempt).or_default().holders += 1;
            self.let_go.lock().unwrap_or_else(PoisonError::into_inner).push(attempt); // tidy: allow a list of ids is whole whoever panicked
        }
    }
}
