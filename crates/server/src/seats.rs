//! Seats for calls whose PERMITs wait for witnesses: many more than are decided at once, and not all for one agent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portcullis_protocol::AgentId;

/// Seats for all agents.
const ALL: usize = 1_024;
/// Seats for one agent.
const OF_ONE: usize = 64;

/// Who is seated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seats(Arc<Mutex<BTreeMap<AgentId, usize>>>);

/// A seat. Given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Seats,
    agent: AgentId,
}

impl Seats {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AgentId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for an agent, if there is one.
    pub(crate) fn take(&self, agent: &AgentId) -> Option<Seat> {
        let mut seated = self.lock();
        let all = seated.values().fold(0_usize, |all, own| all.saturating_add(*own));
        let own = seated.get(agent).map_or(0, |own| *own);
        if all >= ALL || own >= OF_ONE {
            return None;
        }
        seated.insert(agent.clone(), own.saturating_add(1));
        Some(Seat { seats: self.clone(), agent: agent.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.seats.lock();
        let left = seated.remove(&self.agent).and_then(|own| own.checked_sub(1));
        if let Some(left) = left.filter(|left| *left > 0) {
            seated.insert(self.agent.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_does_not_take_the_seats_of_others_and_a_seat_that_is_left_is_free() {
        let seats = Seats::default();
        let agent = |number: usize| -> AgentId { format!("agent-{number}").parse().unwrap() };
        let mut taken: Vec<Seat> = (0..200).filter_map(|_| seats.take(&agent(0))).collect();
        assert_eq!(taken.len(), OF_ONE);
        taken.extend(
            (1..1_000).flat_map(|number| [seats.take(&agent(number)), seats.take(&agent(number))]).flatten(),
        );
        assert_eq!(taken.len(), ALL);
        assert!(seats.take(&agent(5_000)).is_none());
        taken.truncate(OF_ONE);
        assert!(seats.take(&agent(0)).is_none() && seats.take(&agent(5_000)).is_some());
        drop(taken);
        assert!(seats.take(&agent(0)).is_some());
        assert!(seats.lock().is_empty());
    }
}
