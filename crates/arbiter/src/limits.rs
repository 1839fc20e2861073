//! Limits: whether there is room for what a request takes.

use portcullis_policy::{Charge, Counting};
use portcullis_protocol::{LimitName, LimitUse, MOST_COUNTED, Millis, ReasonCode};

use crate::fact::{Fact, LimitState};
use crate::standing::Standing;

/// What is known of reservations and labels when a call is settled.
#[derive(Clone, Copy, Debug)]
pub enum Room<'a> {
    /// What the log so far came to.
    Of(&'a Standing),
    /// The same, where the call's own PERMIT is on record: it has reserved what it takes, and added what it adds.
    Taken(&'a Standing),
    /// Nothing.
    Unknown,
}

/// What limits came to for one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Weighed {
    /// There is room: this is to be reserved.
    Room(Vec<LimitUse>),
    /// This limit refuses, with what it had counted if that was asked.
    Full(ReasonCode, LimitName, Option<LimitUse>),
}

/// Holds what a request takes against what is reserved, limit by limit, in the order of their names.
pub(crate) fn weigh(counting: &[Counting], standing: &Standing, now: Millis) -> Weighed {
    let now = standing.at(now);
    let mut uses = Vec::with_capacity(counting.len());
    for Counting { limit, charge } in counting {
        let charge = match charge {
            Ok(charge) => charge,
            Err(code) => return Weighed::Full(*code, limit.clone(), None),
        };
        let found = read(limit, charge, standing, now);
        // A record's integers are exact up to here: beyond it nothing could be counted.
        if found.amount > MOST_COUNTED || found.lapses.is_some_and(|lapses| lapses.0 > MOST_COUNTED) {
            return Weighed::Full(ReasonCode::LimitsUnreadable, limit.clone(), None);
        }
        if !found.fits() {
            return Weighed::Full(charge.code, limit.clone(), Some(found));
        }
        uses.push(found);
    }
    // One more in its counter, and one with the PERMIT.
    match uses.last() {
        Some(last) if !standing.takes(uses.len().saturating_mul(2), now) => {
            Weighed::Full(ReasonCode::LimitsUnreadable, last.limit.clone(), None)
        }
        Some(_) | None => Weighed::Room(uses),
    }
}

fn read(limit: &LimitName, charge: &Charge, standing: &Standing, now: Millis) -> LimitUse {
    LimitUse {
        limit: limit.clone(),
        counter: charge.counter,
        used: standing.used(limit, &charge.counter, now),
        max: charge.max,
        amount: charge.amount,
        lapses: charge.window.map(|window| window.lapses(now)),
    }
}

/// The fact that limits are for a decision.
pub(crate) fn state(counting: Option<&[Counting]>, room: Room<'_>, now: Millis) -> Fact<LimitState> {
    match (counting, room) {
        (None, _) | (Some(_), Room::Unknown) => Fact::Unknown,
        (Some([]), _) | (Some(_), Room::Taken(_)) => Fact::Known(LimitState::Room),
        (Some(counting), Room::Of(standing)) => match weigh(counting, standing, now) {
            Weighed::Room(_) => Fact::Known(LimitState::Room),
            Weighed::Full(code, ..) => Fact::Known(LimitState::Refused(code)),
        },
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
