//! How one of several servers is, and when it is started again.

use std::time::{Duration, Instant};

use crate::remote::backoff::Backoff;

/// So many failures in a row open the circuit.
const OPENS_AFTER: u32 = 5;
/// For about how long it is open first, and how long at most: each probe that fails doubles it.
const FIRST_OPEN: Duration = Duration::from_secs(30);
const LONGEST_OPEN: Duration = Duration::from_secs(600);
/// A server that was ready for so long has not failed in a row.
const STEADY: Duration = Duration::from_secs(60);

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was started, and has not said yet that it is there.
    Starting,
    /// Calls go to it, since then.
    Ready(Instant),
    /// It ends, or has failed: nothing goes to it before it is started again.
    Down,
    /// It has failed, and is started again then.
    Failing(Instant),
    /// It has failed too often in a row. Then one attempt is made.
    Broken(Instant),
    /// It is not started again in this conversation.
    Apart,
}

/// The health of one server.
#[derive(Debug)]
pub(super) struct Health {
    state: State,
    failures: u32,
    soon: Backoff,
    later: Backoff,
}

impl Health {
    pub(super) const fn new(seed: u64) -> Self {
        let later = Backoff::between(seed, (FIRST_OPEN, LONGEST_OPEN));
        Self { state: State::Down, failures: 0, soon: Backoff::new(seed), later }
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    pub(super) const fn is_starting(&self) -> bool {
        matches!(self.state, State::Starting)
    }

    /// When it is to be started, if it is.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.state {
            State::Failing(due) | State::Broken(due) => Some(due),
            State::Starting | State::Ready(_) | State::Down | State::Apart => None,
        }
    }

    /// Whether it has failed and not worked since: one more failure is enough.
    pub(super) const fn is_on_trial(&self) -> bool {
        self.failures > 0
    }

    pub(super) const fn starting(&mut self) {
        self.state = State::Starting;
    }

    pub(super) const fn ready(&mut self, now: Instant) {
        self.state = State::Ready(now);
    }

    /// Nothing goes to it any more.
    pub(super) fn down(&mut self, now: Instant) {
        if matches!(self.state, State::Ready(since) if now.saturating_duration_since(since) >= STEADY) {
            self.works();
        }
        if self.state != State::Apart {
            self.state = State::Down;
        }
    }

    pub(super) const fn apart(&mut self) {
        self.state = State::Apart;
    }

    /// It has done what it was asked: what failed before is no row any more.
    pub(super) fn works(&mut self) {
        self.failures = 0;
        self.soon.succeeded();
        self.later.succeeded();
    }

    /// It may not be started, and that will not pass by itself: one that has failed so often fares no worse.
    pub(super) fn denied(&mut self, now: Instant) -> (Duration, bool) {
        self.failures = self.failures.max(OPENS_AFTER);
        self.failed(now)
    }

    /// It has failed. After how long it is started again, and whether the circuit is open until then.
    pub(super) fn failed(&mut self, now: Instant) -> (Duration, bool) {
        self.failures = self.failures.saturating_add(1);
        let open = self.failures >= OPENS_AFTER;
        let backoff = if open { &mut self.later } else { &mut self.soon };
        backoff.failed(now);
        let pause = backoff.left(now).unwrap_or_default();
        let due = now.checked_add(pause).unwrap_or(now);
        self.state = if open { State::Broken(due) } else { State::Failing(due) };
        (pause, open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(health: &mut Health, times: u32, now: Instant) {
        for _ in 0..times {
            health.starting();
            health.failed(now);
        }
    }

    #[test]
    fn so_many_failures_in_a_row_open_the_circuit_and_each_probe_that_fails_keeps_it_open_longer() {
        let (mut health, now) = (Health::new(7), Instant::now());
        fails(&mut health, OPENS_AFTER - 1, now);
        assert!(matches!(health.state(), State::Failing(due) if due < now + Duration::from_secs(10)));
        fails(&mut health, 1, now);
        assert!(matches!(health.state(), State::Broken(due) if due >= now + FIRST_OPEN / 2));
        let first = health.due().unwrap();
        fails(&mut health, 1, now);
        assert!(health.due().unwrap() > first);
        fails(&mut health, 20, now);
        assert!(health.due().unwrap() <= now + LONGEST_OPEN);
    }

    #[test]
    fn a_server_that_came_up_and_did_nothing_has_failed_in_a_row() {
        let (mut health, now) = (Health::new(7), Instant::now());
        for _ in 0..OPENS_AFTER {
            health.starting();
            health.ready(now);
            health.down(now + Duration::from_secs(1));
            health.failed(now);
        }
        assert!(matches!(health.state(), State::Broken(_)));
    }

    #[test]
    fn what_worked_or_was_there_for_long_has_not_failed_in_a_row() {
        let (mut health, now) = (Health::new(7), Instant::now());
        fails(&mut health, OPENS_AFTER - 1, now);
        health.ready(now);
        health.works();
        fails(&mut health, OPENS_AFTER - 1, now);
        assert!(matches!(health.state(), State::Failing(_)));
        health.ready(now);
        health.down(now + STEADY);
        fails(&mut health, OPENS_AFTER - 1, now);
        assert!(matches!(health.state(), State::Failing(_)));
    }

    #[test]
    fn a_start_that_was_denied_is_not_asked_for_again_at_once() {
        let (mut health, now) = (Health::new(7), Instant::now());
        health.starting();
        let (pause, open) = health.denied(now);
        assert!(open && pause >= FIRST_OPEN / 2, "{pause:?}");
        assert!(matches!(health.state(), State::Broken(due) if due >= now + FIRST_OPEN / 2));
    }

    #[test]
    fn what_is_set_apart_is_not_started_again() {
        let (mut health, now) = (Health::new(7), Instant::now());
        health.apart();
        health.down(now);
        assert_eq!((health.state(), health.due()), (State::Apart, None));
    }
}
