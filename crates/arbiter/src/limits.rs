//! Limits: whether there is room for what a request takes.

use std::collections::BTreeSet;

use portcullis_policy::{Charge, Counting};
use portcullis_protocol::{AgentId, LabelName, LimitName, LimitUse, MOST_COUNTED, Millis, ReasonCode};

use crate::fact::{Fact, LimitState};
use crate::standing::Standing;

/// What is known of reservations and labels when a call is settled.
#[derive(Clone, Copy, Debug)]
pub enum Room<'a> {
    /// What the log so far came to.
    Of(&'a Standing),
    /// That, and the call's own PERMIT is on record and has reserved what it takes. These labels count for it:
    /// [`Standing::labels_beside`].
    Taken(&'a Standing, &'a BTreeSet<LabelName>),
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
pub(crate) fn weigh(counting: &[Counting], agent: &AgentId, standing: &Standing, now: Millis) -> Weighed {
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
    let kept = standing.takes(agent, uses.len().saturating_mul(2), now);
    match (uses.last(), kept) {
        (Some(last), Err(code)) => Weighed::Full(code, last.limit.clone(), None),
        (Some(_), Ok(())) | (None, _) => Weighed::Room(uses),
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
pub(crate) fn state(
    counting: Option<&[Counting]>,
    agent: &AgentId,
    room: Room<'_>,
    now: Millis,
) -> Fact<LimitState> {
    match (counting, room) {
        (None, _) | (Some(_), Room::Unknown) => Fact::Unknown,
        (Some([]), _) | (Some(_), Room::Taken(..)) => Fact::Known(LimitState::Room),
        (Some(counting), Room::Of(standing)) => match weigh(counting, agent, standing, now) {
            Weighed::Room(_) => Fact::Known(LimitState::Room),
            Weighed::Full(code, ..) => Fact::Known(LimitState::Refused(code)),
        },
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "worked_limits_tests.rs"]
mod worked_tests;
