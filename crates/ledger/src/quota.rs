//! Each agent's share of the log: nobody can fill it with refusals.

use std::collections::BTreeMap;

use portcullis_protocol::AgentId;

/// Refusals that an agent may have recorded at once.
const BURST: u64 = 200;
/// Refusals that an agent may have recorded per second, in the long run.
const PER_SECOND: u64 = 20;

/// A bucket per agent. Agents come from credentials, so their number is bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quota {
    buckets: BTreeMap<AgentId, Bucket>,
    /// The same for lists of tools, which are not to use up what refusals need.
    lists: BTreeMap<AgentId, Bucket>,
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
        take(&mut self.buckets, agent, now)
    }

    /// Whether another list may be put on record for this agent. Otherwise it is refused.
    pub(crate) fn admits_list(&mut self, agent: &AgentId, now: u64) -> bool {
        take(&mut self.lists, agent, now)
    }
}

fn take(buckets: &mut BTreeMap<AgentId, Bucket>, agent: &AgentId, now: u64) -> bool {
    let full = BURST.saturating_mul(1_000);
    let bucket = buckets.entry(agent.clone()).or_insert(Bucket { level: full, filled: now });
    let gained = now.saturating_sub(bucket.filled).saturating_mul(PER_SECOND);
    bucket.level = bucket.level.saturating_add(gained).min(full);
    bucket.filled = now;
    match bucket.level.checked_sub(1_000) {
        Some(rest) => {
            bucket.level = rest;
            true
        }
        None => false,
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
        assert_eq!((0..10_000).filter(|_| quota.admits_list(&loud, 5)).count(), 200);
        assert!(quota.admits(&loud, 5) && quota.admits_list(&quiet, 5));
        assert_eq!((0..10_000).filter(|_| quota.admits(&loud, 5)).count(), 199);
        assert_eq!((0..10_000).filter(|_| quota.admits_list(&loud, 1_005)).count(), 20);
    }
}
