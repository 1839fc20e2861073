//! Each agent's share of the log: nobody can fill it with refusals.

use std::collections::BTreeMap;

use portcullis_protocol::{AgentId, ServerName};

/// Refusals that an agent may have recorded at once.
const BURST: u64 = 200;
/// Refusals that an agent may have recorded per second, in the long run.
const PER_SECOND: u64 = 20;

/// Lists of one server that an agent may have recorded at once, and per second in the long run: half of what it may have of all, so
/// that a server whose lists are many is not all that the agent can see.
const SERVER_BURST: u64 = 100;
const SERVER_PER_SECOND: u64 = 10;
/// Servers of an agent that are remembered; beyond them those are forgotten of which nothing was listed for long.
const SERVERS: usize = 64;

/// A bucket per agent. Agents come from credentials, so their number is bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quota {
    buckets: BTreeMap<AgentId, Bucket>,
    /// The same for lists of tools, which are not to use up what refusals need.
    lists: BTreeMap<AgentId, Lists>,
}

#[derive(Clone, Debug)]
struct Lists {
    all: Bucket,
    servers: BTreeMap<ServerName, Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    /// In thousandths of a record.
    level: u64,
    filled: u64,
}

impl Quota {
    /// Whether another refusal of this agent may have a record of its own, at boot-clock time `now` in
    /// milliseconds. Otherwise it is counted.
    pub(crate) fn admits(&mut self, agent: &AgentId, now: u64) -> bool {
        let bucket = self.buckets.entry(agent.clone()).or_insert_with(|| Bucket::full(BURST, now));
        bucket.fill((BURST, PER_SECOND), now);
        bucket.take()
    }

    /// Whether another list of this server may be put on record for this agent. Otherwise it is refused.
    pub(crate) fn admits_list(&mut self, agent: &AgentId, server: &ServerName, now: u64) -> bool {
        let all = || Lists { all: Bucket::full(BURST, now), servers: BTreeMap::new() };
        let Lists { all, servers } = self.lists.entry(agent.clone()).or_insert_with(all);
        all.fill((BURST, PER_SECOND), now);
        if servers.len() >= SERVERS && !servers.contains_key(server) {
            servers.retain(|_, bucket| {
                bucket.fill((SERVER_BURST, SERVER_PER_SECOND), now);
                !bucket.is_full(SERVER_BURST)
            });
        }
        let own = servers.entry(server.clone()).or_insert_with(|| Bucket::full(SERVER_BURST, now));
        own.fill((SERVER_BURST, SERVER_PER_SECOND), now);
        // What one server has too many of is not taken from the others.
        all.has() && own.take() && all.take()
    }
}

impl Bucket {
    const fn full(most: u64, now: u64) -> Self {
        Self { level: most.saturating_mul(1_000), filled: now }
    }

    const fn is_full(&self, most: u64) -> bool {
        self.level >= most.saturating_mul(1_000)
    }

    const fn has(&self) -> bool {
        self.level >= 1_000
    }

    fn fill(&mut self, (most, per_second): (u64, u64), now: u64) {
        let gained = now.saturating_sub(self.filled).saturating_mul(per_second);
        self.level = self.level.saturating_add(gained).min(most.saturating_mul(1_000));
        self.filled = now;
    }

    fn take(&mut self) -> bool {
        let rest = self.level.checked_sub(1_000);
        if let Some(rest) = rest {
            self.level = rest;
        }
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_recorded_and_others_are_not_affected() {
        let mut quota = Quota::default();
        let (loud, quiet) = ("loud".parse().unwrap(), "quiet".parse().unwrap());
        let recorded = (0..10_000).filter(|_| quota.admits(&loud, 5)).count();
        assert_eq!(recorded, 200);
        assert!(quota.admits(&quiet, 5));
        let later = (0..10_000).filter(|_| quota.admits(&loud, 1_005)).count();
        assert_eq!(later, 20);
    }

    #[test]
    fn lists_and_refusals_do_not_use_up_each_others_share() {
        let mut quota = Quota::default();
        let (loud, quiet) = ("loud".parse().unwrap(), "quiet".parse().unwrap());
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        assert_eq!((0..10_000).filter(|_| quota.admits_list(&loud, &one, 5)).count(), 100);
        assert!(quota.admits(&loud, 5) && quota.admits_list(&quiet, &one, 5));
        assert_eq!((0..10_000).filter(|_| quota.admits(&loud, 5)).count(), 199);
        assert_eq!((0..10_000).filter(|_| quota.admits_list(&loud, &one, 1_005)).count(), 10);
        assert_eq!((0..10_000).filter(|_| quota.admits_list(&loud, &two, 1_005)).count(), 100);
    }

    #[test]
    fn a_server_of_many_lists_used_up_those_of_all_others() {
        let mut quota = Quota::default();
        let agent = "agent".parse().unwrap();
        let server = |number: u64| format!("s{number}").parse().unwrap();
        assert_eq!((0..10_000).filter(|_| quota.admits_list(&agent, &server(0), 5)).count(), 100);
        assert!((1..=50).all(|number| quota.admits_list(&agent, &server(number), 5)));
        // Names that somebody makes up do not make it more, and are not remembered for ever.
        assert_eq!((100..10_000).filter(|number| quota.admits_list(&agent, &server(*number), 5)).count(), 50);
        for second in 1..1_000 {
            let admitted = (0..100).filter(|number| {
                quota.admits_list(&agent, &server(second * 1_000 + number), 5 + second * 1_000)
            });
            assert_eq!(admitted.count(), 20);
        }
        assert!(quota.lists[&agent].servers.len() <= 1_000);
    }
}
